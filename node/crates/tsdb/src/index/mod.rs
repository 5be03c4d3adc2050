//! Which series exist and which of them a query means.
//!
//! A *pair* is one tenant's (label name, value); a series is the list of its pairs in the order of label names. Each pair knows the
//! refs of its series, ascending because refs only rise. Tenants share texts and nothing else: a pair belongs to one tenant, so no
//! lookup can cross.
//!
//! Storage order: a series sorts by (first ref of its tenant, first ref of its metric, own ref). Neighbours in that order are of one
//! metric, so they compress together and are read together; the keys never change, since they are stored with the series.

pub mod lookup;
pub mod postings;
pub mod symbols;

use std::collections::BTreeMap;

use bellwether_model::{Label, Labels, METRIC_NAME, SeriesHash, SeriesRef, Tenant, limits};
use hashbrown::HashTable;

use self::symbols::{Symbol, Symbols};

/// Tenants of one shard.
pub const TENANTS_MAX: usize = u16::MAX as usize;
/// Label texts of one shard, in bytes; a series adds at most its own labels to them.
pub const TEXT_BYTES_MAX: usize = 3 << 30;
/// Label pairs over all series of one shard.
pub const SERIES_PAIRS_MAX: usize = u32::MAX as usize - limits::LABELS_PER_SERIES_MAX;

const _: () = assert!(
    TEXT_BYTES_MAX + limits::LABELS_PER_SERIES_MAX * (limits::LABEL_NAME_BYTES_MAX + limits::LABEL_VALUE_BYTES_MAX)
        < u32::MAX as usize
);

/// One tenant's (label name, value).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u32);

/// Position of a tenant in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u16);

/// Where a series stands in runs: see the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey {
    /// First ref of the series' tenant.
    pub tenant: u32,
    /// First ref of the series' metric.
    pub metric: u32,
    /// The series' own ref.
    pub series: u32,
}

struct Pair {
    tenant: TenantId,
    name: Symbol,
    value: Symbol,
    /// Ascending.
    series: Vec<u32>,
}

struct TenantIndex {
    tenant: Tenant,
    /// First ref ever given to this tenant.
    first: u32,
    /// Ascending.
    series: Vec<u32>,
    names: BTreeMap<Symbol, Vec<PairId>>,
}

/// All series of a shard.
#[derive(Default)]
pub struct Index {
    symbols: Symbols,
    pairs: Vec<Pair>,
    pair_of: HashTable<u32>,
    tenants: Vec<TenantIndex>,
    tenant_ids: BTreeMap<Tenant, TenantId>,
    /// Per ref.
    hashes: Vec<SeriesHash>,
    /// Per ref: where its pairs end in `series_pairs`.
    pair_ends: Vec<u32>,
    series_pairs: Vec<PairId>,
    /// Per ref: its tenant's and its metric's first ref.
    sort_of: Vec<(u32, u32)>,
    by_hash: HashTable<u32>,
}

impl Index {
    /// How many series there are; also the next ref.
    pub fn len(&self) -> u32 {
        self.hashes.len() as u32
    }

    /// The ref of a series.
    pub fn find(&self, hash: SeriesHash) -> Option<SeriesRef> {
        let found = self.by_hash.find(hash.0 as u64, |series| self.hashes[*series as usize] == hash);
        found.map(|series| SeriesRef(*series))
    }

    /// Whether one more series of `tenant` fits; if not, says what there is too much of.
    pub fn has_room(&self, tenant: &Tenant) -> Result<(), &'static str> {
        if self.tenants.len() >= TENANTS_MAX && self.tenant(tenant).is_none() {
            return Err("tenants");
        }
        if self.symbols.text_bytes() > TEXT_BYTES_MAX || self.series_pairs.len() > SERIES_PAIRS_MAX {
            return Err("label text");
        }
        Ok(())
    }

    /// Adds a series that is not there yet and for which there is room; its ref is the next one.
    pub fn add(&mut self, hash: SeriesHash, tenant: &Tenant, labels: &Labels) -> SeriesRef {
        let series = self.len();
        let tenant = self.tenant_or_new(tenant, series);
        let start = self.series_pairs.len();
        for label in labels.iter() {
            let (name, value) = (self.symbols.intern(label.name), self.symbols.intern(label.value));
            let pair = self.pair_or_new(tenant, name, value);
            self.series_pairs.push(pair);
        }
        self.finish(hash, tenant, start, None)
    }

    /// Adds a series whose pairs are known, as the registry stores it. `sort` is its stored sort key.
    pub(crate) fn add_stored(
        &mut self,
        hash: SeriesHash,
        tenant: TenantId,
        pairs: &[PairId],
        sort: (u32, u32),
    ) -> SeriesRef {
        let start = self.series_pairs.len();
        self.series_pairs.extend_from_slice(pairs);
        self.finish(hash, tenant, start, Some(sort))
    }

    fn finish(&mut self, hash: SeriesHash, tenant: TenantId, start: usize, sort: Option<(u32, u32)>) -> SeriesRef {
        let series = self.len();
        let metric_name = self.symbols.find(METRIC_NAME);
        let mut metric = series;
        for at in start..self.series_pairs.len() {
            let pair = &mut self.pairs[self.series_pairs[at].0 as usize];
            if Some(pair.name) == metric_name {
                metric = pair.series.first().map_or(series, |first| self.sort_of[*first as usize].1);
            }
            pair.series.push(series);
        }
        let tenant = &mut self.tenants[tenant.0 as usize];
        tenant.series.push(series);
        self.pair_ends.push(u32::try_from(self.series_pairs.len()).expect("labels of one shard fit in 4 G pairs"));
        self.sort_of.push(sort.unwrap_or((tenant.first, metric)));
        self.hashes.push(hash);
        let hashes = &self.hashes;
        self.by_hash.insert_unique(hash.0 as u64, series, |series| hashes[*series as usize].0 as u64);
        SeriesRef(series)
    }

    pub(crate) fn tenant_or_new(&mut self, tenant: &Tenant, first: u32) -> TenantId {
        if let Some(id) = self.tenant(tenant) {
            return id;
        }
        let id = TenantId(u16::try_from(self.tenants.len()).expect("`has_room` bounds tenants"));
        self.tenants.push(TenantIndex { tenant: tenant.clone(), first, series: Vec::new(), names: BTreeMap::new() });
        self.tenant_ids.insert(tenant.clone(), id);
        id
    }

    pub(crate) fn intern(&mut self, text: &str) -> Symbol {
        self.symbols.intern(text)
    }

    pub(crate) fn pair_or_new(&mut self, tenant: TenantId, name: Symbol, value: Symbol) -> PairId {
        let hash = pair_hash(tenant, name, value);
        let pairs = &self.pairs;
        let same = |pair: &u32| {
            let pair = &pairs[*pair as usize];
            (pair.tenant, pair.name, pair.value) == (tenant, name, value)
        };
        if let Some(found) = self.pair_of.find(hash, same) {
            return PairId(*found);
        }
        let pair = PairId(self.pairs.len() as u32);
        self.pairs.push(Pair { tenant, name, value, series: Vec::new() });
        let pairs = &self.pairs;
        self.pair_of.insert_unique(hash, pair.0, |pair| {
            let pair = &pairs[*pair as usize];
            pair_hash(pair.tenant, pair.name, pair.value)
        });
        self.tenants[tenant.0 as usize].names.entry(name).or_default().push(pair);
        pair
    }

    pub(crate) fn tenant(&self, tenant: &Tenant) -> Option<TenantId> {
        self.tenant_ids.get(tenant).copied()
    }

    /// How many series a tenant has.
    pub(crate) fn tenant_series_count(&self, tenant: &Tenant) -> u64 {
        self.tenant(tenant).map_or(0, |id| self.tenants[id.0 as usize].series.len() as u64)
    }

    pub(crate) fn tenant_name(&self, id: TenantId) -> &Tenant {
        &self.tenants[id.0 as usize].tenant
    }

    /// The tenant of a series.
    pub(crate) fn tenant_of(&self, series: u32) -> TenantId {
        let first = self.pairs_of(series).first().expect("a series has a metric name, so at least one pair");
        self.pairs[first.0 as usize].tenant
    }

    pub(crate) fn pairs_of(&self, series: u32) -> &[PairId] {
        let series = series as usize;
        let start = if series == 0 { 0 } else { self.pair_ends[series - 1] as usize };
        &self.series_pairs[start..self.pair_ends[series] as usize]
    }

    /// Name and value of a pair.
    pub(crate) fn pair_text(&self, pair: PairId) -> (&str, &str) {
        let pair = &self.pairs[pair.0 as usize];
        (self.symbols.text(pair.name), self.symbols.text(pair.value))
    }

    /// The labels of a series.
    pub fn labels(&self, series: SeriesRef) -> Labels {
        Labels::from_sorted(self.pairs_of(series.0).iter().map(|pair| {
            let (name, value) = self.pair_text(*pair);
            Label { name, value }
        }))
    }

    /// The place of a series in runs.
    pub fn sort_key(&self, series: SeriesRef) -> SortKey {
        let (tenant, metric) = self.sort_of[series.0 as usize];
        SortKey { tenant, metric, series: series.0 }
    }

    /// Bytes held, without the allocator's overhead.
    pub fn bytes(&self) -> usize {
        let postings: usize = self.pairs.iter().map(|pair| pair.series.capacity() * 4).sum();
        self.symbols.bytes()
            + self.pairs.capacity() * size_of::<Pair>()
            + self.pair_of.capacity() * 5
            + self.hashes.capacity() * 16
            + self.pair_ends.capacity() * 4
            + self.series_pairs.capacity() * 4
            + self.sort_of.capacity() * 8
            + self.by_hash.capacity() * 5
            + postings
            + self.tenants.iter().map(|tenant| tenant.series.capacity() * 4).sum::<usize>()
    }
}

fn pair_hash(tenant: TenantId, name: Symbol, value: Symbol) -> u64 {
    // The finaliser of splitmix64 over the three numbers.
    let mut x = (u64::from(name.0) << 32 | u64::from(value.0)) ^ (u64::from(tenant.0) << 48);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_sort_by_tenant_then_metric_then_ref() {
        let mut index = Index::default();
        let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
        let mut add = |tenant: &Tenant, metric: &str, host: &str| {
            let labels = Labels::of(&[("__name__", metric), ("host", host)]);
            index.add(SeriesHash::of(tenant, &labels), tenant, &labels)
        };
        let cpu_a = add(&one, "cpu", "a");
        let other = add(&two, "cpu", "a");
        let mem_a = add(&one, "mem", "a");
        let cpu_b = add(&one, "cpu", "b");
        let mut order = [cpu_a, other, mem_a, cpu_b];
        order.sort_by_key(|series| index.sort_key(*series));
        assert_eq!(order, [cpu_a, cpu_b, mem_a, other]);
        assert_eq!(index.labels(cpu_b).to_string(), r#"cpu{host="b"}"#);
        assert_eq!(index.tenant_name(index.tenant_of(other.0)), &two);
    }
}
