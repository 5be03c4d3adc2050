//! The map of the ring: which group owns which range, and where its replicas are.
//!
//! A group's committed membership and range are the truth; the Placement is what is intended and what everybody
//! remembers of it. What is observed (who leads, who has caught up, how much load there is) rides along as hints, which
//! do not raise the epoch. How the map changes: `changes`.

use std::collections::BTreeSet;
use std::fmt;

use bellwether_model::limits::SHARD_GROUP_NUMBER_MAX;
use bellwether_model::{HashRange, NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId};

/// How series get their point on the ring: `PlacementKey::of` as it is now.
pub const POINT_RULE: u8 = 1;

/// The map of the ring.
// Invariant: what `Placement::check` demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement(PlacementParts);

/// All that a [`Placement`] consists of, to be stored and sent. Becomes a Placement only through its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementParts {
    /// Rises with every change, hints excepted.
    pub epoch: u64,
    /// How series get their point on the ring.
    pub point_rule: u8,
    /// The next group gets this id.
    pub next_group: ShardGroupId,
    /// The next replica gets this id.
    pub next_replica: ReplicaId,
    /// The groups in order of their ranges.
    pub groups: Vec<PlacedGroup>,
}

/// A ShardGroup on the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedGroup {
    /// The group.
    pub id: ShardGroupId,
    /// What it owns.
    pub range: HashRange,
    /// Rises when the range changes.
    pub range_generation: u64,
    /// How it came to be.
    pub origin: Origin,
    /// Its incarnation: SeriesRefs of another one mean nothing.
    pub ref_epoch: RefEpoch,
    /// Its copies, by ascending replica id.
    pub replicas: Vec<Replica>,
    /// A split that has begun and is not finished.
    pub split: Option<PendingSplit>,
    /// Hint: the node whose replica leads.
    pub leader: Option<NodeId>,
    /// Hint: what it holds and takes in.
    pub load: GroupLoad,
}

/// How a group came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The group that it was split off; none for a group that the cluster was founded with.
    pub parent: Option<ShardGroupId>,
    /// What it owned then. Its log begins with that, so a replica that is given all of the log does too.
    pub range: HashRange,
}

/// One node's copy of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Which copy.
    pub id: ReplicaId,
    /// The node that holds it.
    pub node: NodeId,
    /// Whether it votes.
    pub role: ReplicaRole,
    /// The node whose replica goes once this one has taken its place.
    pub replaces: Option<NodeId>,
    /// Hint: the leader finds it level with itself, but for what is in flight.
    pub caught_up: bool,
}

/// Whether a replica votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicaRole {
    /// Counts for the quorum.
    Voter,
    /// Only copies.
    Learner,
}

/// What a split needs before it can be proposed to the parent's log: the child's ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSplit {
    /// The child's first key; the parent keeps what is below.
    pub at: PlacementKey,
    /// The child.
    pub child: ShardGroupId,
    /// The child's incarnation.
    pub ref_epoch: RefEpoch,
    /// The child's replicas, one beside each of the parent's, with the same role.
    pub replicas: Vec<Replica>,
}

/// What a group holds and takes in, as its leader last said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupLoad {
    /// Bytes on the disk of one replica.
    pub bytes: u64,
    /// Active series.
    pub series: u64,
    /// Samples written per second.
    pub samples_per_second: u64,
    /// The key below which about half of the load lies, where the group knows it.
    pub middle: Option<PlacementKey>,
}

/// Why a map is not a map of the ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Series get their points by a rule that this program does not know.
    #[error("point rule {found} is not known, this program knows up to {POINT_RULE}")]
    UnknownPointRule {
        /// The rule found.
        found: u8,
    },
    /// Keys that nobody owns.
    #[error("no shard group owns the keys {missing}")]
    Gap {
        /// Those keys.
        missing: HashRange,
    },
    /// Keys that two groups own.
    #[error("shard groups {lower} and {upper} both own the keys {shared}, or are not in order")]
    Overlap {
        /// The first group.
        lower: ShardGroupId,
        /// The one after it.
        upper: ShardGroupId,
        /// What both own.
        shared: HashRange,
    },
    /// A range that ends before it begins.
    #[error("the range {range} of shard group {group} ends before it begins")]
    Reversed {
        /// The group.
        group: ShardGroupId,
        /// Its range.
        range: HashRange,
    },
    /// A group id that is never given.
    #[error("shard group {0} has a number above {SHARD_GROUP_NUMBER_MAX}")]
    GroupNumber(ShardGroupId),
    /// A group id used twice, or not given yet.
    #[error("the id of shard group {0} is used twice or was never given")]
    GroupId(ShardGroupId),
    /// A replica id used twice, or not given yet.
    #[error("the id of replica {replica} of shard group {group} is used twice or was never given")]
    ReplicaId {
        /// The group.
        group: ShardGroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Replicas are not in order of their ids.
    #[error("the replicas of shard group {0} are not in order of their ids")]
    ReplicaOrder(ShardGroupId),
    /// A node that holds two copies of one group.
    #[error("node {node} holds two replicas of shard group {group}")]
    NodeTwice {
        /// The group.
        group: ShardGroupId,
        /// The node.
        node: NodeId,
    },
    /// A group that could never commit anything.
    #[error("shard group {0} has no voter")]
    NoVoter(ShardGroupId),
    /// A split outside of the range, or whose child has other nodes than its parent.
    #[error("the split of shard group {0} that has begun does not fit it")]
    Split(ShardGroupId),
}

impl Placement {
    /// The map of a new cluster: `range_count` groups of equal range, each with one voter on `founder`. Groups count from 0,
    /// replicas from 1.
    ///
    /// # Panics
    /// If `range_count` is zero, or more than there are numbers for groups.
    pub fn initial(
        range_count: u32,
        founder: NodeId,
        mut ref_epoch: impl FnMut(ShardGroupId) -> RefEpoch,
    ) -> Placement {
        assert!(range_count <= SHARD_GROUP_NUMBER_MAX, "{range_count} shard groups are too many");
        let ids = (0..range_count).map(ShardGroupId).zip((1..).map(ReplicaId));
        let groups = ids.zip(HashRange::split_ring(range_count)).map(|((id, replica), range)| PlacedGroup {
            id,
            range,
            range_generation: 0,
            origin: Origin { parent: None, range },
            ref_epoch: ref_epoch(id),
            replicas: vec![Replica {
                id: replica,
                node: founder,
                role: ReplicaRole::Voter,
                replaces: None,
                caught_up: true,
            }],
            split: None,
            leader: Some(founder),
            load: GroupLoad::default(),
        });
        Placement(PlacementParts {
            epoch: 1,
            point_rule: POINT_RULE,
            groups: groups.collect(),
            next_group: ShardGroupId(range_count),
            next_replica: ReplicaId(u64::from(range_count) + 1),
        })
    }

    /// Rises with every change, hints excepted.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The groups in order of their ranges.
    pub fn groups(&self) -> &[PlacedGroup] {
        &self.0.groups
    }

    /// All of it, to be stored or sent.
    pub fn parts(&self) -> &PlacementParts {
        &self.0
    }

    /// The group with this id.
    pub fn group(&self, id: ShardGroupId) -> Option<&PlacedGroup> {
        self.0.groups.iter().find(|group| group.id == id)
    }

    /// The group that owns `key`.
    pub fn owner(&self, key: PlacementKey) -> &PlacedGroup {
        &self.0.groups[self.0.groups.partition_point(|group| group.range.last < key)]
    }

    /// The groups that own some key of `range`, in order.
    pub fn owners(&self, range: HashRange) -> &[PlacedGroup] {
        let groups = &self.0.groups;
        let first = groups.partition_point(|group| group.range.last < range.first);
        let end = groups.partition_point(|group| group.range.first <= range.last);
        &groups[first..end.max(first)]
    }

    /// For `changes`, which keeps the invariant.
    pub(crate) fn parts_mut(&mut self) -> &mut PlacementParts {
        &mut self.0
    }
}

impl TryFrom<PlacementParts> for Placement {
    type Error = PlacementError;

    fn try_from(parts: PlacementParts) -> Result<Placement, PlacementError> {
        if parts.point_rule > POINT_RULE {
            return Err(PlacementError::UnknownPointRule { found: parts.point_rule });
        }
        check_ring(&parts.groups)?;
        check_members(&parts)?;
        Ok(Placement(parts))
    }
}

/// The ranges ascend and cover the ring once.
fn check_ring(groups: &[PlacedGroup]) -> Result<(), PlacementError> {
    // The lowest key that no group before owns; none once the last key is owned.
    let mut next = Some(PlacementKey(0));
    let mut before = None;
    for PlacedGroup { id, range, .. } in groups {
        if range.first > range.last {
            return Err(PlacementError::Reversed { group: *id, range: *range });
        }
        if let Some(next) = next.filter(|next| *next < range.first) {
            let missing = HashRange { first: next, last: PlacementKey(range.first.0 - 1) };
            return Err(PlacementError::Gap { missing });
        }
        if let Some(lower) = before.filter(|_| next.is_none_or(|next| next > range.first)) {
            let end = next.map_or(u64::MAX, |next| next.0 - 1);
            let shared = HashRange { first: range.first, last: PlacementKey(end.min(range.last.0)) };
            return Err(PlacementError::Overlap { lower, upper: *id, shared });
        }
        next = range.last.0.checked_add(1).map(PlacementKey);
        before = Some(*id);
    }
    match next {
        Some(first) => Err(PlacementError::Gap { missing: HashRange { first, last: PlacementKey(u64::MAX) } }),
        None => Ok(()),
    }
}

/// Ids are unique and were given, and every group can commit something.
fn check_members(parts: &PlacementParts) -> Result<(), PlacementError> {
    let mut group_ids = BTreeSet::new();
    let mut replica_ids = BTreeSet::new();
    for group in &parts.groups {
        let child = group.split.as_ref();
        for id in [Some(group.id), child.map(|split| split.child)].into_iter().flatten() {
            if id.0 > SHARD_GROUP_NUMBER_MAX {
                return Err(PlacementError::GroupNumber(id));
            }
            if id >= parts.next_group || !group_ids.insert(id) {
                return Err(PlacementError::GroupId(id));
            }
        }
        for replica in group.replicas.iter().chain(child.iter().flat_map(|split| &split.replicas)) {
            if replica.id >= parts.next_replica || !replica_ids.insert(replica.id) {
                return Err(PlacementError::ReplicaId { group: group.id, replica: replica.id });
            }
        }
        if !group.replicas.is_sorted_by_key(|replica| replica.id) {
            return Err(PlacementError::ReplicaOrder(group.id));
        }
        let mut nodes = BTreeSet::new();
        if let Some(twice) = group.replicas.iter().find(|replica| !nodes.insert(replica.node)) {
            return Err(PlacementError::NodeTwice { group: group.id, node: twice.node });
        }
        if group.voters().next().is_none() {
            return Err(PlacementError::NoVoter(group.id));
        }
        if child.is_some_and(|split| !group.fits(split)) {
            return Err(PlacementError::Split(group.id));
        }
    }
    Ok(())
}

impl PlacedGroup {
    /// The replicas that count for the quorum.
    pub fn voters(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter)
    }

    /// The replica on a node.
    pub fn on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }

    /// Whether the cluster was founded with the group and it owns what it owned then.
    pub fn is_as_founded(&self) -> bool {
        self.origin == Origin { parent: None, range: self.range }
    }

    /// Whether the range can be cut so that the child begins with `at`.
    pub fn can_split_at(&self, at: PlacementKey) -> bool {
        self.range.first < at && at <= self.range.last
    }

    fn fits(&self, split: &PendingSplit) -> bool {
        let seats = |replicas: &[Replica]| -> BTreeSet<(NodeId, ReplicaRole)> {
            replicas.iter().map(|replica| (replica.node, replica.role)).collect()
        };
        self.can_split_at(split.at)
            && split.replicas.is_sorted_by_key(|replica| replica.id)
            && split.replicas.len() == self.replicas.len()
            && seats(&split.replicas) == seats(&self.replicas)
    }
}

impl fmt::Display for ReplicaRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplicaRole::Voter => "voter",
            ReplicaRole::Learner => "learner",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(range_count: u32) -> Placement {
        Placement::initial(range_count, NodeId(1), |group| RefEpoch(u64::from(group.0) + 100))
    }

    /// What is wrong with a map of three groups after `damage`.
    fn error(damage: impl FnOnce(&mut PlacementParts)) -> String {
        let mut parts = placement(3).parts().clone();
        damage(&mut parts);
        Placement::try_from(parts).unwrap_err().to_string()
    }

    #[test]
    fn a_new_map_passes_its_own_checks() {
        for count in [1, 2, 3, 8, 250] {
            let placement = placement(count);
            assert_eq!(Placement::try_from(placement.parts().clone()), Ok(placement));
        }
    }

    #[test]
    fn every_key_has_its_owner() {
        let placement = placement(7);
        for group in placement.groups() {
            assert_eq!(placement.owner(group.range.first), group);
            assert_eq!(placement.owner(group.range.last), group);
            assert_eq!(placement.owners(group.range), std::slice::from_ref(group));
        }
        assert_eq!(placement.owners(HashRange::ALL), placement.groups());
        let [first, second, third, ..] = placement.groups() else { panic!() };
        let across = HashRange { first: first.range.last, last: third.range.first };
        assert_eq!(placement.owners(across).len(), 3);
        let reversed = HashRange { first: second.range.last, last: PlacementKey(0) };
        assert_eq!(placement.owners(reversed), []);
    }

    #[test]
    fn an_error_names_the_keys() {
        let key = |delta: i64| move |key: &mut PlacementKey| key.0 = key.0.wrapping_add_signed(delta);
        expect_test::expect!["no shard group owns the keys 5555555555555555-5555555555555555"]
            .assert_eq(&error(|parts| key(1)(&mut parts.groups[1].range.first)));
        expect_test::expect![
            "shard groups 0 and 1 both own the keys 5555555555555554-5555555555555554, or are not in order"
        ]
        .assert_eq(&error(|parts| key(-1)(&mut parts.groups[1].range.first)));
        expect_test::expect!["no shard group owns the keys ffffffffffffffff-ffffffffffffffff"]
            .assert_eq(&error(|parts| key(-1)(&mut parts.groups[2].range.last)));
        expect_test::expect!["no shard group owns the keys 0000000000000000-0000000000000000"]
            .assert_eq(&error(|parts| key(1)(&mut parts.groups[0].range.first)));
        expect_test::expect!["no shard group owns the keys 0000000000000000-ffffffffffffffff"]
            .assert_eq(&error(|parts| parts.groups.clear()));
        expect_test::expect![
            "shard groups 2 and 2 both own the keys aaaaaaaaaaaaaaaa-ffffffffffffffff, or are not in order"
        ]
        .assert_eq(&error(|parts| parts.groups.push(parts.groups[2].clone())));
        expect_test::expect!["the range 5555555555555555-0000000000000000 of shard group 1 ends before it begins"]
            .assert_eq(&error(|parts| parts.groups[1].range.last = PlacementKey(0)));
    }

    #[test]
    fn ids_are_given_once() {
        expect_test::expect!["the id of shard group 0 is used twice or was never given"]
            .assert_eq(&error(|parts| parts.groups[1].id = ShardGroupId(0)));
        expect_test::expect!["the id of shard group 9 is used twice or was never given"]
            .assert_eq(&error(|parts| parts.groups[1].id = ShardGroupId(9)));
        expect_test::expect!["the id of replica 1 of shard group 1 is used twice or was never given"]
            .assert_eq(&error(|parts| parts.groups[1].replicas[0].id = ReplicaId(1)));
        expect_test::expect!["node 1 holds two replicas of shard group 2"].assert_eq(&error(|parts| {
            let again = Replica { id: ReplicaId(4), ..parts.groups[2].replicas[0] };
            parts.groups[2].replicas.push(again);
            parts.next_replica = ReplicaId(5);
        }));
        expect_test::expect!["shard group 1 has no voter"]
            .assert_eq(&error(|parts| parts.groups[1].replicas[0].role = ReplicaRole::Learner));
        expect_test::expect!["point rule 2 is not known, this program knows up to 1"]
            .assert_eq(&error(|parts| parts.point_rule = 2));
    }
}
