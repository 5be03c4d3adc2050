//! The ring as this node knows it: which group owns which range, and on which nodes its replicas are meant to be.
//!
//! A view of the placement for those that route by it, made anew when the placement changes and never changed itself. It
//! is intent and a cache: a group's committed membership is the truth about its replicas.

use std::collections::BTreeMap;

use bellwether_ingest::{GroupTable, GroupTableError};
use bellwether_model::limits::SHARD_GROUP_NUMBER_MAX;
use bellwether_model::{HashRange, PlacementKey, RefEpoch, ShardGroupId, Tenant};
use bellwether_placement::{Origin, Placement};
use bellwether_raft::{NodeId, ReplicaId};

/// See the module.
// Invariant: groups ascend by range, and no two share a point or an id.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    epoch: u64,
    groups: Vec<RingGroup>,
    /// Places in `groups`.
    by_id: BTreeMap<ShardGroupId, usize>,
    table: GroupTable,
}

/// One group of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingGroup {
    /// The group.
    pub id: ShardGroupId,
    /// What it owns.
    pub range: HashRange,
    /// How it came to be.
    pub origin: Origin,
    /// Its incarnation.
    pub ref_epoch: RefEpoch,
    /// Where its replicas are meant to be.
    pub replicas: BTreeMap<ReplicaId, NodeId>,
}

/// Why groups cannot be a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The number is too large for the tables that samples are distributed by.
    #[error("shard group {0} has a number above {SHARD_GROUP_NUMBER_MAX}")]
    NumberTooLarge(ShardGroupId),
    /// Two groups have one id.
    #[error("there are two shard groups {0}")]
    Twice(ShardGroupId),
    /// Two groups own one point, or a group owns none.
    #[error(transparent)]
    Ranges(#[from] GroupTableError),
}

impl RingGroup {
    /// The id of this group's replica on `node`.
    pub fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().find(|(_, on)| **on == node).map(|(replica, _)| *replica)
    }

    /// The nodes that are meant to have a replica.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.values().copied()
    }
}

impl Ring {
    /// A ring of groups in any order.
    pub fn new(epoch: u64, mut groups: Vec<RingGroup>) -> Result<Ring, RingError> {
        groups.sort_unstable_by_key(|group| group.range.first);
        let mut by_id = BTreeMap::new();
        let mut ranges = Vec::with_capacity(groups.len());
        for (at, group) in groups.iter().enumerate() {
            if by_id.insert(group.id, at).is_some() {
                return Err(RingError::Twice(group.id));
            }
            let index = u16::try_from(group.id.0).ok().filter(|_| group.id.0 <= SHARD_GROUP_NUMBER_MAX);
            ranges.push((group.range, index.ok_or(RingError::NumberTooLarge(group.id))?));
        }
        Ok(Ring { epoch, groups, by_id, table: GroupTable::new(ranges)? })
    }

    /// Rises with every change of the placement.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The groups, in order of their ranges.
    pub fn groups(&self) -> &[RingGroup] {
        &self.groups
    }

    /// A group by its id.
    pub fn group(&self, id: ShardGroupId) -> Option<&RingGroup> {
        self.by_id.get(&id).map(|at| &self.groups[*at])
    }

    /// Which group owns which point; a group's index is its id.
    pub fn table(&self) -> &GroupTable {
        &self.table
    }

    /// The group that owns a point.
    pub fn owner(&self, key: PlacementKey) -> Option<ShardGroupId> {
        self.table.group_of(key).map(id_of)
    }

    /// The group that keeps a metric's metadata.
    pub fn metadata_owner(&self, tenant: &Tenant, metric: &str) -> Option<ShardGroupId> {
        let [first, ..] = PlacementKey::of_metric(tenant, metric);
        self.owner(first.first)
    }
}

impl From<&Placement> for Ring {
    fn from(placement: &Placement) -> Ring {
        let groups = placement.groups().iter().map(|group| RingGroup {
            id: group.id,
            range: group.range,
            origin: group.origin,
            ref_epoch: group.ref_epoch,
            replicas: group.replicas.iter().map(|replica| (ReplicaId(replica.id.0), replica.node.0)).collect(),
        });
        Ring::new(placement.epoch(), groups.collect())
            .expect("a placement covers the ring exactly once, with numbers that fit")
    }
}

/// The group that an index of [`Ring::table`] means.
pub fn id_of(index: u16) -> ShardGroupId {
    ShardGroupId(u32::from(index))
}

/// The index of a group of the ring.
pub fn index_of(group: ShardGroupId) -> u16 {
    u16::try_from(group.0).expect("a ring refuses larger numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u32, first: u64, last: u64) -> RingGroup {
        let range = HashRange { first: PlacementKey(first), last: PlacementKey(last) };
        RingGroup {
            id: ShardGroupId(id),
            range,
            origin: Origin { parent: None, range },
            ref_epoch: RefEpoch(1),
            replicas: BTreeMap::from([(ReplicaId(u64::from(id) * 10), 1), (ReplicaId(u64::from(id) * 10 + 1), 2)]),
        }
    }

    #[test]
    fn a_group_keeps_its_index_when_others_come() {
        let before = Ring::new(1, vec![group(0, 0, 9), group(7, 10, u64::MAX)]).unwrap();
        let after = Ring::new(2, vec![group(8, 5, 9), group(0, 0, 4), group(7, 10, u64::MAX)]).unwrap();
        for (key, owner) in [(4, 0), (10, 7), (u64::MAX, 7)] {
            assert_eq!(before.owner(PlacementKey(key)), Some(ShardGroupId(owner)));
            assert_eq!(after.owner(PlacementKey(key)), Some(ShardGroupId(owner)));
        }
        assert_eq!(after.owner(PlacementKey(6)), Some(ShardGroupId(8)));
        assert_eq!(after.group(ShardGroupId(8)).unwrap().replica_on(2), Some(ReplicaId(81)));
        assert_eq!(after.group(ShardGroupId(8)).unwrap().replica_on(3), None);
        assert!(after.group(ShardGroupId(9)).is_none());
    }

    #[test]
    fn what_is_no_ring_is_refused() {
        assert_eq!(Ring::new(1, vec![group(1, 0, 4), group(1, 5, 9)]).unwrap_err(), RingError::Twice(ShardGroupId(1)));
        let large = Ring::new(1, vec![group(65_535, 0, 4)]).unwrap_err();
        assert_eq!(large.to_string(), "shard group 65535 has a number above 65534");
        assert!(matches!(Ring::new(1, vec![group(1, 0, 4), group(2, 4, 9)]), Err(RingError::Ranges(_))));
    }
}
