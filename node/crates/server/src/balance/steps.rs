//! Carrying out the planner's steps. Each names the membership and the map that it was planned against, so that whoever
//! comes too late changes nothing.

use std::collections::BTreeSet;

use bellwether_model::{NodeId, ReplicaId, ShardGroupId};
use bellwether_placement::{Move, PlacedGroup, Step};
use bellwether_proto::peer::v1::membership_request::Change;
use bellwether_proto::peer::v1::{Member, Members, MembershipRequest};
use futures::FutureExt;

use super::intent::MapMembers;
use super::survey::{Led, Survey};
use super::{Mover, at_once};
use crate::meta::{MetaCommand, Outcome};
use crate::peers::error::wire_position;

impl Mover {
    /// Carries out moves of different groups: the groups change at the same time, the map by one after the other.
    pub(super) async fn carry_out(&self, survey: &Survey, moves: Vec<Move>) {
        let changes = moves.iter().map(|planned| self.change_group(survey, planned).boxed());
        let changed = at_once(changes.collect()).await;
        for (planned, changed) in moves.iter().zip(changed) {
            let done = match changed {
                Ok(members) => self.change_map(survey, planned, members).await,
                Err(reason) => Err(reason),
            };
            match done {
                Ok(()) => tracing::info!(step = %planned, "moved"),
                // Whatever came between shows in the next round's survey.
                Err(reason) => tracing::warn!(step = %planned, reason, "not moved"),
            }
        }
    }

    /// What a step changes in the group itself. Returns what the map is to say afterwards, if that is something else.
    async fn change_group(&self, survey: &Survey, planned: &Move) -> Result<Option<MapMembers>, String> {
        let placed = placed(survey, planned.group)?;
        let led = survey.led.get(&planned.group).ok_or("its leader does not answer, or its members are changing");
        match &planned.step {
            // Its node starts it as it sees that on the map, and its group takes it in as a learner in the next round.
            Step::AddLearner { .. } => Ok(None),
            Step::ChangeVoters { voters } => {
                let replicas = |wanted: &dyn Fn(NodeId) -> bool| -> BTreeSet<ReplicaId> {
                    placed.replicas.iter().filter(|replica| wanted(replica.node)).map(|replica| replica.id).collect()
                };
                let voters_of = replicas(&|node| voters.contains(&node));
                let learners_of = replicas(&|node| !voters.contains(&node));
                self.change_members(survey, placed, led?, &voters_of, &learners_of).await?;
                Ok(Some(MapMembers { voters: voters_of, learners: learners_of }))
            }
            Step::RemoveReplica { node } => {
                let gone = placed.on(*node).ok_or("it has no copy there")?.id;
                let led = led?;
                let without = |of: &BTreeSet<ReplicaId>| of.iter().filter(|id| **id != gone).copied().collect();
                let (voters, learners): (BTreeSet<_>, BTreeSet<_>) = (without(&led.voters), without(&led.learners));
                self.change_members(survey, placed, led, &voters, &learners).await?;
                Ok(Some(MapMembers { voters, learners }))
            }
            Step::TransferLeader { to, .. } => {
                let to = placed.on(*to).ok_or("it has no copy there")?.id;
                self.change(survey, placed.id, None, Change::TransferTo(to.0)).await?;
                Ok(None)
            }
            // The mover proposes it to the group's log once the map has given it its ids.
            Step::Split { .. } => Ok(None),
        }
    }

    /// What a step changes on the map.
    async fn change_map(&self, survey: &Survey, planned: &Move, members: Option<MapMembers>) -> Result<(), String> {
        let placed = placed(survey, planned.group)?;
        match (&planned.step, members) {
            (Step::AddLearner { node, replaces }, _) => self.give_copy(placed, *node, *replaces).await,
            (Step::Split { at }, _) => self.split(placed, *at).await,
            (_, Some(members)) => self.record(survey, placed, &members).await,
            (_, None) => Ok(()),
        }
    }

    /// Gives a replica its id, unless the group is not where it was when that was planned.
    async fn give_copy(&self, before: &PlacedGroup, node: NodeId, replaces: Option<NodeId>) -> Result<(), String> {
        let state = self.meta.now();
        let seats = |placed: &PlacedGroup| placed.replicas.iter().map(|replica| replica.id).collect::<Vec<_>>();
        let now = state.placement.group(before.id).map(seats);
        if now != Some(seats(before)) {
            return Err("its replicas have changed meanwhile".to_owned());
        }
        let expected_epoch = state.placement.epoch();
        let command = MetaCommand::AllocateReplica { group: before.id, node, replaces, expected_epoch };
        match self.meta.propose(command).await {
            Ok(Outcome::Replica { .. }) => Ok(()),
            Ok(other) => Err(format!("the meta group answered {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) async fn change_members(
        &self,
        survey: &Survey,
        placed: &PlacedGroup,
        led: &Led,
        voters: &BTreeSet<ReplicaId>,
        learners: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let node_of = |replica: &ReplicaId| -> Option<NodeId> {
            let on_map = || placed.replicas.iter().find(|found| found.id == *replica).map(|found| found.node);
            led.nodes.get(replica).copied().or_else(on_map)
        };
        let members = |of: &BTreeSet<ReplicaId>| -> Result<Vec<Member>, String> {
            let member = |replica: &ReplicaId| {
                let unknown = || format!("nobody knows where replica {replica} of shard group {} is", placed.id);
                Ok(Member { replica: replica.0, node: node_of(replica).ok_or_else(unknown)?.0 })
            };
            of.iter().map(member).collect()
        };
        let change = Change::Members(Members { voters: members(voters)?, learners: members(learners)? });
        self.change(survey, placed.id, Some(led), change).await
    }

    async fn change(
        &self,
        survey: &Survey,
        group: ShardGroupId,
        led: Option<&Led>,
        change: Change,
    ) -> Result<(), String> {
        let request = MembershipRequest {
            group: group.0,
            expected: led.map(|led| wire_position(led.membership)),
            mover_epoch: survey.mover_epoch,
            change: Some(change),
        };
        self.router.membership(group, request).await.map(drop).map_err(|error| error.to_string())
    }
}

fn placed(survey: &Survey, group: ShardGroupId) -> Result<&PlacedGroup, String> {
    survey.placement.group(group).ok_or_else(|| "the group is not on the map".to_owned())
}
