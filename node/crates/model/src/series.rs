//! How a series is named: by hash everywhere, by a small number inside its shard group.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::{HashRange, Labels, PlacementKey, Tenant};

/// Stable 128-bit hash over tenant and canonical label bytes. It is stored and decides placement, so it never changes
/// (golden test below); two different series with one hash are refused, never merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesHash(pub u128);

/// A series inside one shard group: given by the group's state machine, rising, never reused within a ref epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u32);

/// An incarnation of a shard group; refs of another epoch mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefEpoch(pub u64);

/// One shard group of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardGroupId(pub u32);

impl fmt::Display for ShardGroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SeriesRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl SeriesHash {
    /// The hash of a tenant's series: xxh3-128 of the tenant's length (u32, little-endian), its bytes, and the canonical
    /// label bytes.
    pub fn of(tenant: &Tenant, labels: &Labels) -> SeriesHash {
        let tenant = tenant.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(4 + tenant.len() + labels.byte_len());
        bytes.extend_from_slice(&(tenant.len() as u32).to_le_bytes());
        bytes.extend_from_slice(tenant);
        bytes.extend_from_slice(labels.canonical_bytes());
        SeriesHash(xxh3_128(&bytes))
    }
}

/// Points on the ring that one metric's series lie on, at most.
pub const POINTS_PER_METRIC: u64 = 8;

impl PlacementKey {
    /// Where a series lies: the high half from tenant, metric name and one of [`POINTS_PER_METRIC`] lanes, the low half
    /// from the series, so that a hot metric can still be split.
    pub fn of(tenant: &Tenant, metric_name: &str, hash: SeriesHash) -> PlacementKey {
        let lane = (hash.0 as u64) % POINTS_PER_METRIC;
        let high = metric_point(tenant, metric_name, lane);
        let low = (hash.0 >> 96) as u64;
        PlacementKey(high << 32 | low)
    }

    /// The ranges that can hold series of a metric, one for each lane.
    pub fn of_metric(tenant: &Tenant, metric_name: &str) -> [HashRange; POINTS_PER_METRIC as usize] {
        std::array::from_fn(|lane| {
            let high = metric_point(tenant, metric_name, lane as u64) << 32;
            HashRange { first: PlacementKey(high), last: PlacementKey(high | 0xffff_ffff) }
        })
    }
}

fn metric_point(tenant: &Tenant, metric_name: &str, lane: u64) -> u64 {
    let tenant = xxh3_64_with_seed(tenant.as_str().as_bytes(), 0);
    xxh3_64_with_seed(metric_name.as_bytes(), tenant.wrapping_add(lane)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen: a change here orphans every stored series.
    #[test]
    fn hash_and_placement_are_golden() {
        let tenant = Tenant::default_tenant();
        let labels = Labels::of(&[("__name__", "up"), ("job", "node"), ("instance", "a:9100")]);
        let hash = SeriesHash::of(&tenant, &labels);
        let key = PlacementKey::of(&tenant, "up", hash);
        let text = format!("{:032x} {:016x}", hash.0, key.0);
        expect_test::expect!["cf635f8e29c13ed18ff433e9d47a04b9 b8210916cf635f8e"].assert_eq(&text);
    }

    #[test]
    fn a_series_lies_on_a_point_of_its_metric() {
        let tenant = Tenant::default_tenant();
        for i in 0..100 {
            let labels = Labels::of(&[("__name__", "m"), ("i", &i.to_string())]);
            let key = PlacementKey::of(&tenant, "m", SeriesHash::of(&tenant, &labels));
            assert!(PlacementKey::of_metric(&tenant, "m").iter().any(|range| range.contains(key)));
        }
    }
}
