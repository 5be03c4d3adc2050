//! Carrying out the planner's steps. Each names the membership and the map that it was planned against, so that whoever
//! comes too late changes nothing.

use std::collections::BTreeSet;

use bellwether_model::{NodeId, ReplicaId, ShardGroupId};
use bellwether_placement::{Move, PlacedGroup, Step};
use bellwether_proto::peer::v1::membership_request::Change;
use bellwether_proto::peer::v1::{Member, Members, MembershipRequest};
use futures::future::join_all;

use super::Mover;
use super::intent::node_of;
use super::survey::{Led, Survey};
use crate::meta::{MetaCommand, Outcome};
use crate::peers::error::wire_position;

impl Mover {
    /// Carries out moves of different groups: new copies one after the other, since each changes the map, the rest at the
    /// same time.
    pub(super) async fn carry_out(&self, survey: &Survey, moves: Vec<Move>) {
        let (copies, others): (Vec<Move>, Vec<Move>) =
            moves.into_iter().partition(|step| matches!(step.step, Step::AddLearner { .. }));
        for step in &copies {
            self.carried_out(survey, step).await;
        }
        join_all(others.iter().map(|step| self.carried_out(survey, step))).await;
    }

    async fn carried_out(&self, survey: &Survey, step: &Move) {
        match self.carry_out_one(survey, step).await {
            Ok(()) => tracing::info!(step = %step, "moved"),
            // Whatever came between shows in the next round's survey.
            Err(reason) => tracing::warn!(step = %step, reason, "not moved"),
        }
    }

    async fn carry_out_one(&self, survey: &Survey, step: &Move) -> Result<(), String> {
        let group = step.group;
        let placed = survey.placement.group(group).ok_or("the group is not on the map")?;
        let led = survey.led.get(&group).ok_or("its leader does not answer, or its members are changing");
        match &step.step {
            Step::AddLearner { node, replaces } => self.give_copy(group, *node, *replaces).await,
            Step::ChangeVoters { voters } => {
                let replicas = |wanted: &dyn Fn(NodeId) -> bool| -> BTreeSet<ReplicaId> {
                    placed.replicas.iter().filter(|replica| wanted(replica.node)).map(|replica| replica.id).collect()
                };
                let voters_of = replicas(&|node| voters.contains(&node));
                let learners_of = replicas(&|node| !voters.contains(&node));
                self.change_members(placed, led?, &voters_of, &learners_of).await?;
                self.record(group, voters_of, learners_of).await
            }
            Step::RemoveReplica { node } => {
                let gone = placed.on(*node).ok_or("it has no copy there")?.id;
                let led = led?;
                let without = |of: &BTreeSet<ReplicaId>| of.iter().filter(|id| **id != gone).copied().collect();
                let (voters, learners): (BTreeSet<_>, BTreeSet<_>) = (without(&led.voters), without(&led.learners));
                self.change_members(placed, led, &voters, &learners).await?;
                self.record(group, voters, learners).await
            }
            Step::TransferLeader { to, .. } => {
                let to = placed.on(*to).ok_or("it has no copy there")?.id;
                self.change(placed.id, None, Change::TransferTo(to.0)).await
            }
            Step::Split { .. } => Err("shard groups are not split yet".to_owned()),
        }
    }

    /// Gives a replica its id. Its node starts it as it sees that on the map, and its group takes it in as a learner in the
    /// next round.
    async fn give_copy(&self, group: ShardGroupId, node: NodeId, replaces: Option<NodeId>) -> Result<(), String> {
        let expected_epoch = self.meta.now().placement.epoch();
        let command = MetaCommand::AllocateReplica { group, node, replaces, expected_epoch };
        match self.meta.propose(command).await {
            Ok(Outcome::Replica { .. }) => Ok(()),
            Ok(other) => Err(format!("the meta group answered {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Has a group take in replicas that learn.
    pub(super) async fn add_to_group(
        &self,
        placed: &PlacedGroup,
        led: &Led,
        missing: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let learners = led.learners.union(missing).copied().collect();
        self.change_members(placed, led, &led.voters, &learners).await
    }

    async fn change_members(
        &self,
        placed: &PlacedGroup,
        led: &Led,
        voters: &BTreeSet<ReplicaId>,
        learners: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let placement = &self.meta.now().placement;
        let members = |of: &BTreeSet<ReplicaId>| -> Result<Vec<Member>, String> {
            let member = |replica: &ReplicaId| {
                let node = node_of(placement, placed.id, *replica);
                let unknown = || format!("replica {replica} of shard group {} is not on the map", placed.id);
                Ok(Member { replica: replica.0, node: node.ok_or_else(unknown)? })
            };
            of.iter().map(member).collect()
        };
        let change = Change::Members(Members { voters: members(voters)?, learners: members(learners)? });
        self.change(placed.id, Some(led), change).await
    }

    async fn change(&self, group: ShardGroupId, led: Option<&Led>, change: Change) -> Result<(), String> {
        let request = MembershipRequest {
            group: group.0,
            expected: led.map(|led| wire_position(led.membership)),
            mover_epoch: self.meta.group().state().term,
            change: Some(change),
        };
        self.router.membership(group, request).await.map(drop).map_err(|error| error.to_string())
    }
}
