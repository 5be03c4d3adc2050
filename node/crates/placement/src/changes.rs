//! How the map changes. Each change raises the epoch, or is refused and changes nothing; hints never raise it.

use std::collections::BTreeSet;

use bellwether_model::limits::SHARD_GROUP_NUMBER_MAX;
use bellwether_model::{HashRange, NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId};

use crate::placement::{GroupLoad, Origin, PendingSplit, PlacedGroup, Placement, PlacementParts, Replica, ReplicaRole};

/// Why the map did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No such group.
    #[error("there is no shard group {0}")]
    UnknownGroup(ShardGroupId),
    /// The group has no replica there.
    #[error("node {node} holds no replica of shard group {group}")]
    NotHeld {
        /// The group.
        group: ShardGroupId,
        /// The node.
        node: NodeId,
    },
    /// The group has a replica there already.
    #[error("node {node} holds a replica of shard group {group} already")]
    HeldAlready {
        /// The group.
        group: ShardGroupId,
        /// The node.
        node: NodeId,
    },
    /// The id is not the next one.
    #[error("replica {replica} is not the next one to be given out, {next} is")]
    ReplicaTaken {
        /// What was asked for.
        replica: ReplicaId,
        /// The next one.
        next: ReplicaId,
    },
    /// Somebody has to vote.
    #[error("shard group {0} would have no voter")]
    NoVoter(ShardGroupId),
    /// A voter stops voting before it is removed.
    #[error("the replica of shard group {group} on node {node} votes: its vote must be taken first")]
    Votes {
        /// The group.
        group: ShardGroupId,
        /// The node.
        node: NodeId,
    },
    /// The group is being split, until that is finished or given up its members stay.
    #[error("shard group {0} is being split")]
    Splitting(ShardGroupId),
    /// Numbers are not used again, and there is none left.
    #[error(
        "shard group {0} cannot be split: all {SHARD_GROUP_NUMBER_MAX} numbers for shard groups were given out; restore \
         a backup into a new cluster to begin anew"
    )]
    NumbersUsedUp(ShardGroupId),
    /// No split has begun.
    #[error("shard group {0} is not being split")]
    NotSplitting(ShardGroupId),
    /// Nothing would be left for one half.
    #[error("shard group {group} owns {range}, it cannot be cut before {at}")]
    OutsideRange {
        /// The group.
        group: ShardGroupId,
        /// Its range.
        range: HashRange,
        /// Where it was to be cut.
        at: PlacementKey,
    },
}

impl Placement {
    /// Gives a node a replica that learns, and says which.
    pub fn add_learner(
        &mut self,
        group: ShardGroupId,
        node: NodeId,
        replaces: Option<NodeId>,
    ) -> Result<ReplicaId, ChangeError> {
        let id = self.parts().next_replica;
        let placed = self.whole_group(group)?;
        if placed.on(node).is_some() {
            return Err(ChangeError::HeldAlready { group, node });
        }
        if let Some(node) = replaces.filter(|old| placed.on(*old).is_none()) {
            return Err(ChangeError::NotHeld { group, node });
        }
        placed.replicas.push(Replica { id, node, role: ReplicaRole::Learner, replaces, caught_up: false });
        let parts = self.parts_mut();
        parts.next_replica = ReplicaId(id.0 + 1);
        parts.epoch += 1;
        Ok(id)
    }

    /// Makes the replicas on exactly these nodes voters; the group's other replicas learn.
    pub fn change_voters(&mut self, group: ShardGroupId, voters: &BTreeSet<NodeId>) -> Result<(), ChangeError> {
        let placed = self.whole_group(group)?;
        if voters.is_empty() {
            return Err(ChangeError::NoVoter(group));
        }
        if let Some(&node) = voters.iter().find(|node| placed.on(**node).is_none()) {
            return Err(ChangeError::NotHeld { group, node });
        }
        for replica in &mut placed.replicas {
            let votes = voters.contains(&replica.node);
            replica.role = if votes { ReplicaRole::Voter } else { ReplicaRole::Learner };
        }
        end_replacements(placed);
        self.parts_mut().epoch += 1;
        Ok(())
    }

    /// Takes away the replica on a node, which does not vote.
    pub fn remove_replica(&mut self, group: ShardGroupId, node: NodeId) -> Result<(), ChangeError> {
        let placed = self.whole_group(group)?;
        match placed.on(node).map(|replica| replica.role) {
            None => return Err(ChangeError::NotHeld { group, node }),
            Some(ReplicaRole::Voter) => return Err(ChangeError::Votes { group, node }),
            Some(ReplicaRole::Learner) => placed.replicas.retain(|replica| replica.node != node),
        }
        for replica in placed.replicas.iter_mut().filter(|replica| replica.replaces == Some(node)) {
            replica.replaces = None;
        }
        end_replacements(placed);
        self.parts_mut().epoch += 1;
        Ok(())
    }

    /// Begins a group anew with one replica: what its others had is gone. `replica` must be the next id, so that whoever
    /// prepared for it knows that nobody else has it.
    pub fn begin_anew(
        &mut self,
        group: ShardGroupId,
        node: NodeId,
        replica: ReplicaId,
        ref_epoch: RefEpoch,
    ) -> Result<(), ChangeError> {
        let next = self.parts().next_replica;
        let placed = self.whole_group(group)?;
        if placed.on(node).is_none() {
            return Err(ChangeError::NotHeld { group, node });
        }
        if replica != next {
            return Err(ChangeError::ReplicaTaken { replica, next });
        }
        placed.ref_epoch = ref_epoch;
        placed.leader = None;
        placed.replicas =
            vec![Replica { id: replica, node, role: ReplicaRole::Voter, replaces: None, caught_up: false }];
        let parts = self.parts_mut();
        parts.next_replica = ReplicaId(replica.0 + 1);
        parts.epoch += 1;
        Ok(())
    }

    /// Begins a split: gives the child and its replicas their ids. The child owns nothing before
    /// [`Placement::finish_split`].
    pub fn begin_split(
        &mut self,
        group: ShardGroupId,
        at: PlacementKey,
        ref_epoch: RefEpoch,
    ) -> Result<(), ChangeError> {
        let &PlacementParts { next_group: child, next_replica, .. } = self.parts();
        let placed = self.whole_group(group)?;
        if child.0 > SHARD_GROUP_NUMBER_MAX {
            return Err(ChangeError::NumbersUsedUp(group));
        }
        if !placed.can_split_at(at) {
            return Err(ChangeError::OutsideRange { group, range: placed.range, at });
        }
        let ids = (next_replica.0..).map(ReplicaId);
        let replicas: Vec<Replica> = ids
            .zip(&placed.replicas)
            .map(|(id, beside)| Replica { id, node: beside.node, role: beside.role, replaces: None, caught_up: true })
            .collect();
        let given = replicas.len() as u64;
        placed.split = Some(PendingSplit { at, child, ref_epoch, replicas });
        let parts = self.parts_mut();
        parts.next_group = ShardGroupId(child.0 + 1);
        parts.next_replica = ReplicaId(next_replica.0 + given);
        parts.epoch += 1;
        Ok(())
    }

    /// The parent's log has committed the split: the child owns its part from now on. Its id is returned.
    pub fn finish_split(&mut self, group: ShardGroupId) -> Result<ShardGroupId, ChangeError> {
        let at = self.index(group)?;
        let parts = self.parts_mut();
        let parent = &mut parts.groups[at];
        let split = parent.split.take().ok_or(ChangeError::NotSplitting(group))?;
        let half = GroupLoad {
            bytes: parent.load.bytes / 2,
            series: parent.load.series / 2,
            samples_per_second: parent.load.samples_per_second / 2,
            middle: None,
        };
        let range = HashRange { first: split.at, last: parent.range.last };
        let child = PlacedGroup {
            id: split.child,
            range,
            range_generation: 0,
            origin: Origin { parent: Some(group), range },
            ref_epoch: split.ref_epoch,
            replicas: split.replicas,
            split: None,
            leader: None,
            load: half,
        };
        parent.range.last = PlacementKey(split.at.0 - 1);
        parent.range_generation += 1;
        parent.load = half;
        parts.groups.insert(at + 1, child);
        parts.epoch += 1;
        Ok(split.child)
    }

    /// Gives a split up that the parent's log has not committed. The child's ids are not used again.
    pub fn cancel_split(&mut self, group: ShardGroupId) -> Result<(), ChangeError> {
        let at = self.index(group)?;
        let parts = self.parts_mut();
        parts.groups[at].split.take().ok_or(ChangeError::NotSplitting(group))?;
        parts.epoch += 1;
        Ok(())
    }

    /// Says how a group came to be, as it was stored beside the map. Nothing changes for a group that is not on it.
    pub fn set_origin(&mut self, group: ShardGroupId, origin: Origin) {
        if let Ok(at) = self.index(group) {
            self.parts_mut().groups[at].origin = origin;
        }
    }

    /// Hint: who leads a group. Nothing changes for a group that is not on the map.
    pub fn observe_leader(&mut self, group: ShardGroupId, leader: Option<NodeId>) {
        if let Ok(at) = self.index(group) {
            self.parts_mut().groups[at].leader = leader;
        }
    }

    /// Hint: what a group holds and takes in. Nothing changes for a group that is not on the map.
    pub fn observe_load(&mut self, group: ShardGroupId, load: GroupLoad) {
        if let Ok(at) = self.index(group) {
            self.parts_mut().groups[at].load = load;
        }
    }

    /// Hint: whether a replica has caught up. Nothing changes for one that is not on the map.
    pub fn observe_caught_up(&mut self, group: ShardGroupId, replica: ReplicaId, caught_up: bool) {
        if let Ok(at) = self.index(group) {
            let replicas = self.parts_mut().groups[at].replicas.iter_mut();
            replicas.filter(|found| found.id == replica).for_each(|found| found.caught_up = caught_up);
        }
    }

    fn index(&self, group: ShardGroupId) -> Result<usize, ChangeError> {
        self.groups().iter().position(|placed| placed.id == group).ok_or(ChangeError::UnknownGroup(group))
    }

    /// A group whose members may change.
    fn whole_group(&mut self, group: ShardGroupId) -> Result<&mut PlacedGroup, ChangeError> {
        let at = self.index(group)?;
        let placed = &mut self.parts_mut().groups[at];
        if placed.split.is_some() { Err(ChangeError::Splitting(group)) } else { Ok(placed) }
    }
}

/// Where every replica votes, none is still to take another's place: one that was meant for it has taken the place of a
/// replica that was lost meanwhile.
fn end_replacements(placed: &mut PlacedGroup) {
    if placed.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter) {
        placed.replicas.iter_mut().for_each(|replica| replica.replaces = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: ShardGroupId = ShardGroupId(1);

    fn placement() -> Placement {
        Placement::initial(3, NodeId(1), |group| RefEpoch(u64::from(group.0)))
    }

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn valid(placement: &Placement) {
        assert_eq!(Placement::try_from(placement.parts().clone()).as_ref(), Ok(placement));
    }

    /// Refused with this message, and nothing changed.
    fn refused<T: std::fmt::Debug>(
        change: impl FnOnce(&mut Placement) -> Result<T, ChangeError>,
        message: expect_test::Expect,
    ) {
        let mut placement = placement();
        placement.add_learner(GROUP, NodeId(2), None).unwrap();
        let before = placement.clone();
        message.assert_eq(&change(&mut placement).unwrap_err().to_string());
        assert_eq!(placement, before);
    }

    #[test]
    fn a_replica_moves_in_four_steps() {
        let mut placement = placement();
        assert_eq!(placement.add_learner(GROUP, NodeId(2), Some(NodeId(1))), Ok(ReplicaId(4)));
        placement.observe_caught_up(GROUP, ReplicaId(4), true);
        placement.change_voters(GROUP, &nodes(&[2])).unwrap();
        assert_eq!(placement.group(GROUP).unwrap().on(NodeId(1)).unwrap().role, ReplicaRole::Learner);
        placement.remove_replica(GROUP, NodeId(1)).unwrap();
        valid(&placement);
        let [left] = placement.group(GROUP).unwrap().replicas[..] else { panic!() };
        let id = ReplicaId(4);
        let role = ReplicaRole::Voter;
        assert_eq!(left, Replica { id, node: NodeId(2), role, replaces: None, caught_up: true });
        assert_eq!(placement.epoch(), 4);
        assert_eq!(placement.add_learner(GROUP, NodeId(1), None), Ok(ReplicaId(5)), "ids are not used again");
    }

    #[test]
    fn a_replica_that_took_a_lost_one_s_place_replaces_nobody() {
        let mut placement = placement();
        placement.add_learner(GROUP, NodeId(2), None).unwrap();
        placement.add_learner(GROUP, NodeId(3), None).unwrap();
        placement.change_voters(GROUP, &nodes(&[1, 2, 3])).unwrap();
        // Meant for node 1, it is needed for node 2, which is lost.
        placement.add_learner(GROUP, NodeId(4), Some(NodeId(1))).unwrap();
        placement.change_voters(GROUP, &nodes(&[1, 3, 4])).unwrap();
        assert_eq!(placement.group(GROUP).unwrap().on(NodeId(4)).unwrap().replaces, Some(NodeId(1)));
        placement.remove_replica(GROUP, NodeId(2)).unwrap();
        assert!(placement.group(GROUP).unwrap().replicas.iter().all(|replica| replica.replaces.is_none()));
        valid(&placement);
    }

    #[test]
    fn numbers_of_groups_run_out_with_a_message() {
        let mut parts = placement().parts().clone();
        parts.next_group = ShardGroupId(SHARD_GROUP_NUMBER_MAX);
        let mut placement = Placement::try_from(parts).unwrap();
        let at = PlacementKey(0x8000_0000_0000_0000);
        placement.begin_split(GROUP, at, RefEpoch(1)).unwrap();
        let child = placement.finish_split(GROUP).unwrap();
        valid(&placement);
        let error = placement.begin_split(child, PlacementKey(at.0 + 2), RefEpoch(2)).unwrap_err();
        assert_eq!(error, ChangeError::NumbersUsedUp(child));
        assert!(error.to_string().starts_with("shard group 65534 cannot be split: all 65534 numbers"), "{error}");
    }

    #[test]
    fn a_split_gives_the_upper_part_to_a_child_with_new_ids() {
        let mut placement = placement();
        placement.add_learner(GROUP, NodeId(2), None).unwrap();
        placement.observe_load(GROUP, GroupLoad { bytes: 100, series: 10, samples_per_second: 4, middle: None });
        let at = PlacementKey(0x8000_0000_0000_0000);
        placement.begin_split(GROUP, at, RefEpoch(77)).unwrap();
        valid(&placement);
        assert_eq!(placement.owner(at).id, GROUP, "until the split is committed");
        assert_eq!(placement.remove_replica(GROUP, NodeId(2)), Err(ChangeError::Splitting(GROUP)));
        assert_eq!(placement.finish_split(GROUP), Ok(ShardGroupId(3)));
        valid(&placement);
        let (parent, child) = (placement.group(GROUP).unwrap(), placement.owner(at));
        assert_eq!((parent.range.last.0, child.range.first), (at.0 - 1, at));
        assert_eq!((parent.range_generation, child.ref_epoch, child.load.bytes), (1, RefEpoch(77), 50));
        assert_eq!(child.replicas.iter().map(|replica| replica.id.0).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(child.voters().map(|replica| replica.node).collect::<Vec<_>>(), [NodeId(1)]);
    }

    #[test]
    fn a_split_that_is_given_up_uses_its_ids_up() {
        let mut placement = placement();
        placement.begin_split(GROUP, PlacementKey(0x8000_0000_0000_0000), RefEpoch(7)).unwrap();
        placement.cancel_split(GROUP).unwrap();
        valid(&placement);
        assert_eq!(placement.groups().len(), 3);
        assert_eq!(placement.add_learner(GROUP, NodeId(2), None), Ok(ReplicaId(5)));
    }

    #[test]
    fn hints_do_not_raise_the_epoch() {
        let mut placement = placement();
        placement.observe_leader(GROUP, None);
        placement.observe_load(GROUP, GroupLoad { bytes: 1, ..GroupLoad::default() });
        placement.observe_caught_up(GROUP, ReplicaId(2), false);
        placement.observe_leader(ShardGroupId(9), None);
        assert_eq!(placement.epoch(), 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        use expect_test::expect;
        let at = PlacementKey(0x8000_0000_0000_0000);
        refused(|p| p.add_learner(ShardGroupId(9), NodeId(2), None), expect!["there is no shard group 9"]);
        refused(|p| p.add_learner(GROUP, NodeId(2), None), expect!["node 2 holds a replica of shard group 1 already"]);
        refused(
            |p| p.add_learner(GROUP, NodeId(3), Some(NodeId(4))),
            expect!["node 4 holds no replica of shard group 1"],
        );
        refused(|p| p.change_voters(GROUP, &nodes(&[])), expect!["shard group 1 would have no voter"]);
        refused(|p| p.change_voters(GROUP, &nodes(&[1, 3])), expect!["node 3 holds no replica of shard group 1"]);
        refused(
            |p| p.remove_replica(GROUP, NodeId(1)),
            expect!["the replica of shard group 1 on node 1 votes: its vote must be taken first"],
        );
        refused(|p| p.remove_replica(GROUP, NodeId(3)), expect!["node 3 holds no replica of shard group 1"]);
        refused(|p| p.finish_split(GROUP), expect!["shard group 1 is not being split"]);
        refused(|p| p.cancel_split(GROUP), expect!["shard group 1 is not being split"]);
        refused(
            |p| p.begin_split(GROUP, PlacementKey(0x5555_5555_5555_5555), RefEpoch(0)),
            expect!["shard group 1 owns 5555555555555555-aaaaaaaaaaaaaaa9, it cannot be cut before 5555555555555555"],
        );
        refused(|p| p.begin_split(ShardGroupId(7), at, RefEpoch(0)), expect!["there is no shard group 7"]);
    }
}
