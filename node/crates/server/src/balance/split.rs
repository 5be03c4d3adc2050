//! Cutting shard groups in two. A split is begun by the meta group, which gives it its ids, settled by the split group's own log,
//! and then finished or given up on the map. Each round looks where every split stands and takes the next step, so it does not matter
//! who began it or what was lost on the way: the log answers every repetition of a proposal as it did the first one.

use bellwether_ingest::{ControlCommand, SplitCommand};
use bellwether_model::{NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId};
use bellwether_placement::{PendingSplit, PlacedGroup};
use bellwether_proto::peer::v1::ReportRequest;
use futures::future::join_all;

use super::survey::Survey;
use super::{Mover, REPORT_WAIT};
use crate::env::Seed;
use crate::meta::propose::Unanswered;
use crate::meta::{EventKind, Meta, MetaCommand, MetaError, MetaState, Outcome, Refusal};
use crate::peers::Peers;
use crate::shards::split::SplitOutcome;

impl Mover {
    /// Takes the next step of every split whose group has a leader that answers; whether the map has changed.
    pub(super) async fn settle_splits(&self, state: &MetaState, survey: &Survey) -> bool {
        let led = |group: &&PlacedGroup| survey.placement.group(group.id).is_some_and(|group| group.leader.is_some());
        let pending = state.placement.groups().iter().filter(led);
        let pending = pending.filter_map(|group| Some((group, group.split.as_ref()?)));
        let settled = join_all(pending.map(|(group, split)| async move {
            match self.settle_split(group, split).await {
                Ok(()) => true,
                Err(reason) => {
                    tracing::debug!(group = group.id.0, reason, "a split is settled later");
                    false
                }
            }
        }));
        settled.await.into_iter().any(|settled| settled)
    }

    async fn settle_split(&self, placed: &PlacedGroup, split: &PendingSplit) -> Result<(), String> {
        let (group, child) = (placed.id, split.child);
        let command = ControlCommand::Split(command(placed, split));
        let answer = self.router.command(group, &command).await.map_err(|error| error.to_string())?;
        let outcome = SplitOutcome::numbered(answer).ok_or_else(|| format!("its log answered {answer}"))?;
        let next = match outcome {
            SplitOutcome::Done => MetaCommand::FinishSplit { group, child },
            _ => MetaCommand::CancelSplit { group, child },
        };
        tracing::info!(group = group.0, child = child.0, ?outcome, "a split is settled");
        match self.meta.propose(next).await {
            Ok(_) if outcome == SplitOutcome::Done => Ok(()),
            Ok(_) => {
                let text = format!("shard group {group} was not split into {child}: {}", refusal(outcome));
                let told = self.meta.propose(MetaCommand::RecordEvent { kind: EventKind::Placement, text }).await;
                told.map(drop).map_err(|error| error.to_string())
            }
            // Another mover was faster.
            Err(MetaError::Refused(Refusal::OtherSplit { .. })) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Begins a split that the planner wants, where half of the group's series lie if that can be found out.
    pub(super) async fn split(&self, placed: &PlacedGroup, planned: PlacementKey) -> Result<(), String> {
        let middle = match placed.leader {
            Some(leader) => self.middle_of(leader, placed.id).await,
            None => None,
        };
        let at = middle.filter(|at| placed.can_split_at(*at)).unwrap_or(planned);
        let state = self.meta.now();
        begin(&self.meta, self.seed, &state, placed.id, at).await.map(drop).map_err(|error| error.to_string())
    }

    async fn middle_of(&self, leader: NodeId, group: ShardGroupId) -> Option<PlacementKey> {
        if leader == self.meta.node() {
            return self.reporter.middle_of(group).await;
        }
        middle_there(&self.peers, leader, group).await
    }
}

/// The key below which half of the series of a group lie, as the node says that leads it.
pub async fn middle_there(peers: &Peers, leader: NodeId, group: ShardGroupId) -> Option<PlacementKey> {
    let request = ReportRequest { middle_of: vec![group.0] };
    let report = peers.client(leader).ok()?.report(request, REPORT_WAIT).await.ok()?;
    let replica = report.replicas.into_iter().find(|replica| replica.group == group.0)?;
    replica.middle_key.map(PlacementKey)
}

/// Begins a split: from now on it will be settled. Returns the child.
pub async fn begin(
    meta: &Meta,
    seed: Seed,
    state: &MetaState,
    group: ShardGroupId,
    at: PlacementKey,
) -> Result<ShardGroupId, MetaError> {
    // The child gets the next id, which no other incarnation had.
    let number = state.placement.parts().next_group.0;
    let ref_epoch = RefEpoch(seed.split("split").split(&format!("{number} {}", state.placement.epoch())).0);
    let expected_epoch = state.placement.epoch();
    match meta.propose(MetaCommand::BeginSplit { group, at, ref_epoch, expected_epoch }).await? {
        Outcome::Split { child, .. } => Ok(child),
        other => Err(Unanswered::Rejected(format!("the meta group answered {other:?}")).into()),
    }
}

/// Why a group's log refused a split, for people.
fn refusal(outcome: SplitOutcome) -> &'static str {
    match outcome {
        SplitOutcome::Done => "it was",
        SplitOutcome::Outdated => "a later split came before it",
        SplitOutcome::OutsideRange => "it does not own the key any more",
        SplitOutcome::OtherMembers => "its members were changed at the same time; try again",
    }
}

/// What a group's log is told.
fn command(placed: &PlacedGroup, split: &PendingSplit) -> SplitCommand {
    let beside = |replica: &bellwether_placement::Replica| -> Option<(ReplicaId, ReplicaId)> {
        let own = split.replicas.iter().find(|own| own.node == replica.node)?;
        Some((replica.id, own.id))
    };
    let replicas = placed.replicas.iter().filter_map(beside).collect();
    SplitCommand { child: split.child, at: split.at, ref_epoch: split.ref_epoch, replicas }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_placement::Placement;

    #[test]
    fn each_replica_of_the_child_is_beside_one_of_the_parents() {
        let group = ShardGroupId(0);
        let mut placement = Placement::initial(1, NodeId(1), |_| RefEpoch(1));
        placement.add_learner(group, NodeId(3), None).unwrap();
        placement.add_learner(group, NodeId(2), None).unwrap();
        placement.begin_split(group, PlacementKey(9), RefEpoch(7)).unwrap();
        let placed = placement.group(group).unwrap();
        let split = placed.split.as_ref().unwrap();
        let command = command(placed, split);
        assert_eq!((command.child, command.at, command.ref_epoch), (ShardGroupId(1), PlacementKey(9), RefEpoch(7)));
        for (parents, childs) in command.replicas {
            let node = placed.replicas.iter().find(|replica| replica.id == parents).unwrap().node;
            assert_eq!(split.replicas.iter().find(|replica| replica.id == childs).unwrap().node, node);
        }
    }
}
