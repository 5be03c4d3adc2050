//! The placement is intent, the groups' memberships are the truth: what brings one in line with the other.

use std::collections::BTreeSet;

use bellwether_model::{ReplicaId, ShardGroupId};
use bellwether_placement::{PlacedGroup, Placement, ReplicaRole};

use super::Mover;
use super::survey::{Led, Survey};
use crate::meta::{MetaCommand, MetaError, Refusal};

/// How often a fact is told to the meta group while other changes come between.
const RECORD_ATTEMPTS_MAX: usize = 8;

/// What is to be done about one group before anything is planned for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// Replicas that were given out and that the group does not know yet are to learn.
    Add(BTreeSet<ReplicaId>),
    /// The map is to say who votes and who learns.
    Record {
        /// Who votes.
        voters: BTreeSet<ReplicaId>,
        /// Who learns.
        learners: BTreeSet<ReplicaId>,
    },
}

/// What differs. Replicas that the group has and the map does not are left to the group's next change.
pub fn correction(placed: &PlacedGroup, led: &Led) -> Option<Correction> {
    let on_map = |role| -> BTreeSet<ReplicaId> {
        placed.replicas.iter().filter(|replica| replica.role == role).map(|replica| replica.id).collect()
    };
    let all: BTreeSet<ReplicaId> = placed.replicas.iter().map(|replica| replica.id).collect();
    let missing: BTreeSet<ReplicaId> = all
        .iter()
        .filter(|replica| !led.voters.contains(replica) && !led.learners.contains(replica))
        .copied()
        .collect();
    if !missing.is_empty() {
        return Some(Correction::Add(missing));
    }
    let voters: BTreeSet<ReplicaId> = led.voters.intersection(&all).copied().collect();
    // Never a map on which nobody votes: then the group's members are all strangers, and somebody must look.
    if voters == on_map(ReplicaRole::Voter) || voters.is_empty() {
        return None;
    }
    let learners = all.difference(&voters).copied().collect();
    Some(Correction::Record { voters, learners })
}

impl Mover {
    /// Corrects what differs; whether nothing did.
    pub(super) async fn settle_intent(&self, survey: &Survey) -> bool {
        let mut settled = true;
        for placed in survey.placement.groups() {
            let Some(led) = survey.led.get(&placed.id) else { continue };
            let Some(correction) = correction(placed, led) else { continue };
            settled = false;
            let done = match correction {
                Correction::Add(missing) => self.add_to_group(placed, led, &missing).await,
                Correction::Record { voters, learners } => self.record(placed.id, voters, learners).await,
            };
            if let Err(reason) = done {
                tracing::debug!(group = placed.id.0, reason, "the members of a shard group are brought in line later");
            }
        }
        settled
    }

    /// Tells the meta group who votes and who learns; who is not named is struck off.
    pub(super) async fn record(
        &self,
        group: ShardGroupId,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let mut attempts = RECORD_ATTEMPTS_MAX;
        loop {
            attempts -= 1;
            let expected_epoch = self.meta.now().placement.epoch();
            let command =
                MetaCommand::SetReplicas { group, voters: voters.clone(), learners: learners.clone(), expected_epoch };
            match self.meta.propose(command).await {
                Ok(_) => return Ok(()),
                // Another group's change came between; what this group's log has committed stays true.
                Err(MetaError::Refused(Refusal::StaleEpoch { .. })) if attempts > 0 => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// The node of each replica that the map knows.
pub(super) fn node_of(placement: &Placement, group: ShardGroupId, replica: ReplicaId) -> Option<u64> {
    placement.group(group)?.replicas.iter().find(|found| found.id == replica).map(|found| found.node.0)
}

#[cfg(test)]
mod tests {
    use bellwether_model::{NodeId, RefEpoch};
    use bellwether_raft::LogPosition;

    use super::*;

    const GROUP: ShardGroupId = ShardGroupId(0);

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn led(voters: &[u64], learners: &[u64]) -> Led {
        let membership = LogPosition { term: 1, leader: bellwether_raft::ReplicaId(1), index: 1 };
        let caught_up = BTreeSet::new();
        Led { node: NodeId(1), membership, voters: ids(voters), learners: ids(learners), caught_up }
    }

    fn placement() -> Placement {
        let mut placement = Placement::initial(1, NodeId(1), |_| RefEpoch(1));
        placement.add_learner(GROUP, NodeId(2), None).unwrap();
        placement
    }

    #[test]
    fn a_replica_that_was_given_out_is_added_and_then_nothing_is_left_to_do() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        assert_eq!(correction(placed, &led(&[1], &[])), Some(Correction::Add(ids(&[2]))));
        assert_eq!(correction(placed, &led(&[1], &[2])), None);
    }

    #[test]
    fn a_change_that_was_committed_and_not_recorded_is_recorded() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        let recorded = Correction::Record { voters: ids(&[2]), learners: ids(&[1]) };
        assert_eq!(correction(placed, &led(&[2], &[1])), Some(recorded));
    }

    #[test]
    fn a_group_of_strangers_is_left_alone() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        assert_eq!(correction(placed, &led(&[8], &[1, 2])), None);
    }
}
