//! The placement is intent, the groups' memberships are the truth: what brings one in line with the other.

use std::collections::BTreeSet;

use bellwether_model::{ReplicaId, ShardGroupId};
use bellwether_placement::{PlacedGroup, ReplicaRole};
use bellwether_probe::reached;
use futures::FutureExt;

use super::survey::{Led, Survey};
use super::{Mover, at_once};
use crate::meta::{MetaCommand, MetaError, Refusal};

/// How often a fact is told to the meta group while other changes come between.
const RECORD_ATTEMPTS_MAX: usize = 8;

/// What is to be done about one group before anything is planned for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// Whoever changed the voters is gone: what was begun is ended.
    End,
    /// These replicas are to learn, and no others: some were given out that the group does not know yet, or struck off that
    /// it still has.
    Learn(BTreeSet<ReplicaId>),
    /// These lose their votes and leave: the map does not know them, and each keeps the one out that it has on their node.
    Unseat(BTreeSet<ReplicaId>),
    /// The map is to say who votes and who learns.
    Record(MapMembers),
}

/// Groups that were to be corrected: they have changed since the survey, so nothing that is planned by it holds for them.
pub struct Touched {
    /// Whether that went well or not.
    pub all: BTreeSet<ShardGroupId>,
    /// Where it did not.
    pub failed: BTreeSet<ShardGroupId>,
}

/// Who votes and who learns, as the map is to say it. Who is not named is struck off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapMembers {
    /// Who votes.
    pub voters: BTreeSet<ReplicaId>,
    /// Who learns.
    pub learners: BTreeSet<ReplicaId>,
}

/// What differs. Voters that the map does not know are left to the group's next change of voters, unless that would wait for
/// who is to come in their place: then they leave, where the good ones of the others can go on without them.
pub fn correction(placed: &PlacedGroup, led: &Led, is_good: impl Fn(&ReplicaId) -> bool) -> Option<Correction> {
    if led.is_joint {
        return Some(Correction::End);
    }
    // Its log decides about the split by the members that it has; afterwards they are looked at again.
    if placed.split.is_some() {
        return None;
    }
    let all = ids(placed);
    let voters: BTreeSet<ReplicaId> = led.voters.intersection(&all).copied().collect();
    // Never a map on which nobody votes: then the group's members are all strangers, and somebody must look.
    if voters.is_empty() {
        return None;
    }
    let keeps_out = |replica: &&ReplicaId| led.nodes.get(*replica).is_some_and(|node| placed.on(*node).is_some());
    let unseated: BTreeSet<ReplicaId> = led.voters.difference(&all).filter(keeps_out).copied().collect();
    if !unseated.is_empty() && led.can_part_with(&unseated, is_good) {
        return Some(Correction::Unseat(unseated));
    }
    let learners: BTreeSet<ReplicaId> = all.difference(&voters).copied().collect();
    if learners != led.learners {
        return Some(Correction::Learn(learners));
    }
    let votes = |replica: &&bellwether_placement::Replica| replica.role == ReplicaRole::Voter;
    let voters_on_map: BTreeSet<ReplicaId> = placed.replicas.iter().filter(votes).map(|replica| replica.id).collect();
    (voters != voters_on_map).then_some(Correction::Record(MapMembers { voters, learners }))
}

impl MapMembers {
    /// What the map can say of them `now`, where they were decided upon when it was as `before`: who was given out since
    /// then learns, who was struck off stays so.
    fn on(&self, before: &PlacedGroup, now: &PlacedGroup) -> MapMembers {
        let (before, now) = (ids(before), ids(now));
        let is_new = |replica: &ReplicaId| !before.contains(replica);
        let learns = |replica: &ReplicaId| self.learners.contains(replica) || is_new(replica);
        let (voters, others): (BTreeSet<ReplicaId>, BTreeSet<ReplicaId>) =
            now.into_iter().partition(|replica| self.voters.contains(replica));
        MapMembers { voters, learners: others.into_iter().filter(learns).collect() }
    }
}

fn ids(placed: &PlacedGroup) -> BTreeSet<ReplicaId> {
    placed.replicas.iter().map(|replica| replica.id).collect()
}

impl Mover {
    /// Corrects what differs.
    pub(super) async fn settle_intent(&self, survey: &Survey) -> Touched {
        let due = survey.placement.groups().iter().filter_map(|placed| {
            let led = survey.led.get(&placed.id)?;
            Some((placed, led, correction(placed, led, |replica| survey.is_good(led, replica))?))
        });
        let due: Vec<(&PlacedGroup, &Led, Correction)> = due.collect();
        let changes = due.iter().map(|(placed, led, correction)| self.correct(survey, placed, led, correction).boxed());
        let groups = at_once(changes.collect()).await;
        let mut touched = Touched { all: due.iter().map(|(placed, ..)| placed.id).collect(), failed: BTreeSet::new() };
        for ((placed, _, correction), mut done) in due.iter().zip(groups) {
            // One after the other: each changes the same map.
            if let Correction::Record(members) = correction {
                done = self.record(survey, placed, members).await;
            }
            match done {
                Ok(()) => tracing::info!(group = placed.id.0, ?correction, "the members of a shard group are in line"),
                Err(reason) => {
                    touched.failed.insert(placed.id);
                    tracing::warn!(
                        group = placed.id.0,
                        reason,
                        "the members of a shard group are brought in line later"
                    );
                }
            }
        }
        touched
    }

    /// What is to be corrected in the group itself.
    async fn correct(
        &self,
        survey: &Survey,
        placed: &PlacedGroup,
        led: &Led,
        correction: &Correction,
    ) -> Result<(), String> {
        match correction {
            Correction::End => {
                reached("a half-done change of voters was ended by the mover");
                self.change_members(survey, placed, led, &led.voters, &led.learners).await
            }
            Correction::Learn(learners) => self.change_members(survey, placed, led, &led.voters, learners).await,
            Correction::Unseat(unseated) => {
                let voters = led.voters.difference(unseated).copied().collect();
                self.change_members(survey, placed, led, &voters, &led.learners).await
            }
            Correction::Record(_) => Ok(()),
        }
    }

    /// Tells the meta group who votes and who learns. `before` is the group on the map by which that was decided.
    pub(super) async fn record(
        &self,
        survey: &Survey,
        before: &PlacedGroup,
        members: &MapMembers,
    ) -> Result<(), String> {
        let group = before.id;
        let mut attempts = RECORD_ATTEMPTS_MAX;
        loop {
            attempts -= 1;
            let state = self.meta.now();
            let now = state.placement.group(group).ok_or("the group is not on the map any more")?;
            let MapMembers { voters, learners } = members.on(before, now);
            let expected_epoch = state.placement.epoch();
            let command = MetaCommand::SetReplicas { group, voters, learners, expected_epoch };
            // A later mover may have changed the group's members once more.
            match self.meta.propose_in_term(survey.mover_epoch, command).await {
                Ok(_) => return Ok(()),
                // Another change came between; what this group's log has committed stays true.
                Err(MetaError::Refused(Refusal::StaleEpoch { .. })) if attempts > 0 => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bellwether_model::{NodeId, RefEpoch};
    use bellwether_placement::Placement;
    use bellwether_raft::LogPosition;

    use super::*;

    const GROUP: ShardGroupId = ShardGroupId(0);

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn members(voters: &[u64], learners: &[u64]) -> MapMembers {
        MapMembers { voters: ids(voters), learners: ids(learners) }
    }

    fn led(voters: &[u64], learners: &[u64]) -> Led {
        let membership = LogPosition { term: 1, leader: bellwether_raft::ReplicaId(1), index: 1 };
        let (voters, learners, caught_up) = (ids(voters), ids(learners), ids(voters));
        Led { node: NodeId(1), membership, is_joint: false, voters, learners, nodes: BTreeMap::new(), caught_up }
    }

    fn decide(placed: &PlacedGroup, led: &Led) -> Option<Correction> {
        correction(placed, led, |_| true)
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
        assert_eq!(decide(placed, &led(&[1], &[])), Some(Correction::Learn(ids(&[2]))));
        assert_eq!(decide(placed, &led(&[1], &[2])), None);
    }

    #[test]
    fn a_learner_that_was_struck_off_leaves_the_group() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        assert_eq!(decide(placed, &led(&[1], &[2, 3])), Some(Correction::Learn(ids(&[2]))));
    }

    #[test]
    fn a_change_that_was_committed_and_not_recorded_is_recorded() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        assert_eq!(decide(placed, &led(&[2], &[1])), Some(Correction::Record(members(&[2], &[1]))));
    }

    #[test]
    fn a_voter_that_is_not_on_the_map_makes_room_for_the_one_that_is_where_the_others_can_go_on() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        let with = |voters: &[u64], at: u64, good: &[u64]| {
            let nodes = BTreeMap::from([(ReplicaId(8), NodeId(at))]);
            let led = Led { nodes, ..led(voters, &[2]) };
            correction(placed, &led, |replica| good.contains(&replica.0))
        };
        assert_eq!(with(&[1, 7, 8], 2, &[1, 7]), Some(Correction::Unseat(ids(&[8]))));
        assert_eq!(with(&[1, 7, 8], 3, &[1, 7]), None, "nobody is to come there");
        assert_eq!(with(&[1, 7, 8], 2, &[1, 8]), None, "1 and 7 could not go on while 7 is down");
        assert_eq!(with(&[1, 8], 2, &[1, 8]), None, "one of two is no majority");
    }

    #[test]
    fn a_change_of_voters_that_was_interrupted_is_ended_before_anything_else() {
        let placement = placement();
        let half_done = Led { is_joint: true, ..led(&[1, 2], &[]) };
        assert_eq!(decide(placement.group(GROUP).unwrap(), &half_done), Some(Correction::End));
    }

    #[test]
    fn members_stay_while_a_group_is_split() {
        let mut placement = placement();
        placement.begin_split(GROUP, bellwether_model::PlacementKey(9), RefEpoch(2)).unwrap();
        assert_eq!(decide(placement.group(GROUP).unwrap(), &led(&[1], &[])), None);
    }

    #[test]
    fn a_group_of_strangers_is_left_alone() {
        let placement = placement();
        let placed = placement.group(GROUP).unwrap();
        assert_eq!(decide(placed, &led(&[8], &[1, 2])), None);
    }

    #[test]
    fn a_replica_that_is_given_out_meanwhile_is_not_struck_off() {
        let mut placement = placement();
        let before = placement.group(GROUP).unwrap().clone();
        placement.add_learner(GROUP, NodeId(3), None).unwrap();
        let now = placement.group(GROUP).unwrap();
        assert_eq!(members(&[1], &[]).on(&before, now), members(&[1], &[3]), "2 was to go, 3 came");
    }

    #[test]
    fn a_replica_that_is_struck_off_meanwhile_does_not_come_back() {
        let mut placement = placement();
        let before = placement.group(GROUP).unwrap().clone();
        placement.remove_replica(GROUP, NodeId(2)).unwrap();
        let now = placement.group(GROUP).unwrap();
        assert_eq!(members(&[1, 2], &[]).on(&before, now), members(&[1], &[]));
        assert_eq!(members(&[1], &[2]).on(&before, now), members(&[1], &[]));
    }
}
