//! The keys of the series cache: seeded 128-bit hashes of a tenant and of labels as they lie on the wire.
//!
//! Version 1.0 hashes the raw label bytes with xxh3-128. Version 2.0 names labels by references into a table that every
//! request brings along, so equal bytes do not mean equal series: each symbol is hashed once per request, and a series'
//! key is the sum of its symbols' hashes times rising powers of a secret odd multiplier, in two lanes of 64 bits. A
//! series has one key per version, and different orders of its labels have different keys; all lead to one SeriesRef.
//!
//! Two series with one key would be merged. The seed is random per process and never leaves it, so that nobody can look
//! for such a pair, and by chance a million series meet one with probability 10^-27.

use bellwether_model::Tenant;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_secret, xxh3_128_with_seed};

const SECRET_BYTES: usize = 192;

/// What the cache knows a series by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheKey {
    pub(crate) hash: KeyHash,
    /// How many raw bytes were hashed; 0 if it was symbols, or too many to be counted here.
    pub(crate) raw_bytes: u16,
}

/// A 128-bit hash in two lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyHash {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

/// What the cache knows a tenant by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantKey(pub(crate) KeyHash);

/// Makes [`CacheKey`]s for one tenant.
#[derive(Debug, Clone)]
pub struct KeyHasher {
    secret: [u8; SECRET_BYTES],
    multipliers: [u64; 2],
    tenant: KeyHash,
}

impl KeyHasher {
    /// A hasher for a tenant; the same seed gives the same keys.
    pub fn new(seed: u64, tenant: &Tenant) -> KeyHasher {
        let word = |index: u64| xxh3_64_with_seed(&index.to_le_bytes(), seed);
        let mut secret = [0; SECRET_BYTES];
        for (index, chunk) in secret.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&word(index as u64).to_le_bytes());
        }
        let words = (SECRET_BYTES / 8) as u64;
        // 5 modulo 8: the powers of such a number differ in all but the lowest bits.
        let multipliers = [word(words) & !7 | 5, word(words + 1) & !7 | 5];
        let tenant = halves(xxh3_128_with_seed(tenant.as_str().as_bytes(), word(words + 2)));
        KeyHasher { secret, multipliers, tenant }
    }

    /// The tenant's own key.
    pub(crate) fn tenant_key(&self) -> TenantKey {
        TenantKey(self.tenant)
    }

    /// The key of labels whose bytes are a version 1.0 series' label fields.
    #[inline]
    pub(crate) fn raw_labels(&self, bytes: &[u8]) -> CacheKey {
        CacheKey { hash: self.raw_hash(bytes), raw_bytes: u16::try_from(bytes.len()).unwrap_or(0) }
    }

    /// The hash in the key of such labels.
    #[inline]
    pub(crate) fn raw_hash(&self, bytes: &[u8]) -> KeyHash {
        let hash = halves(xxh3_128_with_secret(bytes, &self.secret));
        KeyHash { low: hash.low.wrapping_add(self.tenant.low), high: hash.high.wrapping_add(self.tenant.high) }
    }

    /// One symbol of a version 2.0 request.
    #[inline]
    pub(crate) fn symbol(&self, bytes: &[u8]) -> KeyHash {
        halves(xxh3_128_with_secret(bytes, &self.secret))
    }

    /// The key of labels given as the hashes of names and values in order.
    #[inline]
    pub(crate) fn symbols(&self, hashes: impl Iterator<Item = KeyHash>) -> CacheKey {
        let [by_low, by_high] = self.multipliers;
        let mut sum = KeyHash { low: self.tenant.high, high: self.tenant.low };
        for hash in hashes {
            sum.low = sum.low.wrapping_mul(by_low).wrapping_add(hash.low);
            sum.high = sum.high.wrapping_mul(by_high).wrapping_add(hash.high);
        }
        CacheKey { hash: sum, raw_bytes: 0 }
    }
}

#[inline]
fn halves(hash: u128) -> KeyHash {
    KeyHash { low: hash as u64, high: (hash >> 64) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(seed: u64, tenant: &str) -> KeyHasher {
        KeyHasher::new(seed, &Tenant::new(tenant).unwrap())
    }

    #[test]
    fn tenants_and_seeds_keep_keys_apart() {
        let key = |seed, tenant| hasher(seed, tenant).raw_labels(b"labels");
        assert_eq!(key(1, "a"), key(1, "a"));
        assert_ne!(key(1, "a"), key(1, "b"));
        assert_ne!(key(1, "a"), key(2, "a"));
    }

    #[test]
    fn symbols_count_by_order_and_number() {
        let hasher = hasher(1, "a");
        let key = |symbols: &[&str]| hasher.symbols(symbols.iter().map(|symbol| hasher.symbol(symbol.as_bytes()))).hash;
        let mut keys = [
            key(&[]),
            key(&["a"]),
            key(&["a", "b"]),
            key(&["b", "a"]),
            key(&["a", "b", "a", "b"]),
            key(&["a", "a", "b", "b"]),
            key(&["", "a"]),
            key(&["a", ""]),
        ];
        keys.sort();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
