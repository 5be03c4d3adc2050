//! Copies that are damaged, whether they cannot be opened or were found so by a read: they leave their groups, so that new ones are made in their place as for any
//! group that lacks some. A group parts with one at a time, and only where those that stay can decide without it.

use std::collections::BTreeSet;

use bellwether_model::{ReplicaId, ShardGroupId};
use bellwether_placement::PlacedGroup;
use bellwether_probe::reached;
use futures::FutureExt;

use super::intent::MapMembers;
use super::survey::{Led, Survey};
use super::{Mover, at_once};

impl Mover {
    /// Has groups part with damaged copies. Returns the groups that were asked to.
    pub(super) async fn part_with_damaged(
        &self,
        survey: &Survey,
        touched: &BTreeSet<ShardGroupId>,
    ) -> BTreeSet<ShardGroupId> {
        let due = survey.damaged.iter().filter(|(group, _)| !touched.contains(group)).filter_map(|(group, damaged)| {
            let placed = survey.placement.group(*group).filter(|placed| placed.split.is_none())?;
            let led = survey.led.get(group)?;
            // The last good copies are what the next ones are made of.
            let left = without(led, *damaged, |replica| survey.is_good(led, replica))?;
            Some((placed, led, *damaged, left))
        });
        let due: Vec<(&PlacedGroup, &Led, ReplicaId, MapMembers)> = due.collect();
        let changes = due.iter().map(|(placed, led, _, left)| {
            self.change_members(survey, placed, led, &left.voters, &left.learners).boxed()
        });
        let changed = at_once(changes.collect()).await;
        for ((placed, _, damaged, left), changed) in due.iter().zip(changed) {
            let done = match changed {
                Ok(()) => self.record(survey, placed, left).await,
                Err(reason) => Err(reason),
            };
            let (group, replica) = (placed.id.0, damaged.0);
            match done {
                Ok(()) => {
                    reached("a damaged copy left its group");
                    tracing::info!(group, replica, "a damaged copy has left its group, a new one will be made");
                }
                Err(reason) => tracing::warn!(group, replica, reason, "a damaged copy leaves its group later"),
            }
        }
        due.iter().map(|(placed, ..)| placed.id).collect()
    }
}

/// The members without a damaged one, if they can part with it.
fn without(led: &Led, damaged: ReplicaId, is_good: impl Fn(&ReplicaId) -> bool) -> Option<MapMembers> {
    let left = |of: &BTreeSet<ReplicaId>| of.iter().copied().filter(|replica| *replica != damaged).collect();
    let (voters, learners): (BTreeSet<ReplicaId>, BTreeSet<ReplicaId>) = (left(&led.voters), left(&led.learners));
    let is_member = led.voters.contains(&damaged) || led.learners.contains(&damaged);
    let can_go = is_member && led.can_part_with(&BTreeSet::from([damaged]), is_good);
    can_go.then_some(MapMembers { voters, learners })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bellwether_model::NodeId;
    use bellwether_raft::LogPosition;

    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn check(voters: &[u64], caught_up: &[u64], down: &[u64], left: Option<&[u64]>) {
        let membership = LogPosition { term: 1, leader: bellwether_raft::ReplicaId(1), index: 1 };
        let (voters, learners, caught_up) = (ids(voters), ids(&[9]), ids(caught_up));
        let nodes = BTreeMap::new();
        let led = Led { node: NodeId(1), membership, is_joint: false, voters, learners, nodes, caught_up };
        let found = without(&led, ReplicaId(3), |replica| !down.contains(&replica.0));
        assert_eq!(found, left.map(|voters| MapMembers { voters: ids(voters), learners: ids(&[9]) }));
    }

    #[test]
    fn a_damaged_copy_goes_where_the_others_can_decide_it() {
        check(&[1, 2, 3], &[1, 2], &[], Some(&[1, 2]));
        check(&[1, 2, 3], &[1, 2], &[2], None);
        check(&[1, 2, 3], &[1], &[], None);
        check(&[1, 2, 3, 4, 5], &[1, 2, 4], &[], Some(&[1, 2, 4, 5]));
        check(&[3], &[], &[], None);
        check(&[1, 2], &[1, 2], &[], None);
    }
}
