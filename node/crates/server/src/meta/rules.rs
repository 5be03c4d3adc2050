//! What every node of a cluster must compute alike, as one number. A node for which it differs would put series where
//! nobody looks for them; it is refused when it joins.

use bellwether_model::{Labels, PlacementKey, SeriesHash, Tenant, limits};
use bellwether_placement::POINT_RULE;
use xxhash_rust::xxh3::xxh3_64;

/// Fingerprint of this program's rules: how a series is hashed, where it lies on the ring, how time is cut.
pub fn fingerprint() -> u64 {
    let (tenant, labels) = (Tenant::default_tenant(), Labels::of(&[("__name__", "rules"), ("of", "this program")]));
    let hash = SeriesHash::of(&tenant, &labels);
    let point = PlacementKey::of(&tenant, "rules", hash);
    let mut bytes = vec![POINT_RULE];
    bytes.extend_from_slice(&hash.0.to_le_bytes());
    bytes.extend_from_slice(&point.0.to_le_bytes());
    bytes.extend_from_slice(&limits::WINDOW_MS.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rules_stay_as_they_are() {
        expect_test::expect!["040bee3a60d3c0a1"].assert_eq(&format!("{:016x}", super::fingerprint()));
    }
}
