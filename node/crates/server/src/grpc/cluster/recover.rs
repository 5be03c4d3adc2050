//! A shard group that lost its majority for ever begins anew with what one node has of it.
//!
//! Nothing is done while a majority of its voters answers. What the survivor has is made into the first replica of the
//! group's next incarnation beside the old one; then one command of the meta group makes that the group, and tells
//! operators what may be lost. Copies are made again by themselves.
//!
//! A split that has begun is settled by the survivor's log: where that holds it, the child is there and has lost the same nodes;
//! otherwise nobody will ever settle it, and it is given up.

use std::time::Duration;

use bellwether_model::{NodeId, RefEpoch, ReplicaId, ShardGroupId};
use bellwether_placement::PlacedGroup;
use bellwether_proto::peer::v1::{Failure, SalvageAnswer, SalvageRequest};
use bellwether_proto::v1::{RecoverGroupRequest, RecoverGroupResponse};
use tonic::Status;

use super::ClusterService;
use super::changes::{group, replica, status};
use super::picture::Picture;
use crate::meta::{MetaCommand, MetaError, Refusal};

/// How long the survivor may take to say what it has.
const LOOK_WAIT: Duration = Duration::from_secs(5);
/// How long it may take to make a replica of it.
const PREPARE_WAIT: Duration = Duration::from_secs(600);
/// How often the map may change in between.
const ATTEMPTS_MAX: usize = 5;

impl ClusterService {
    /// See the module.
    pub(super) async fn begin_anew(&self, request: &RecoverGroupRequest) -> Result<RecoverGroupResponse, Status> {
        let picture = self.look().await;
        let placed = group(&picture.state, request.group)?;
        lost_its_majority(&picture, placed)?;
        let survivor = survivor(&picture, placed, request.node)?;
        let look = SalvageRequest { group: request.group, ..SalvageRequest::default() };
        let remains = self.salvage(survivor, look, LOOK_WAIT).await?;
        if request.look_only {
            return Ok(response(survivor, remains, 0, None));
        }
        let mut child = None;
        for attempt in 0..ATTEMPTS_MAX {
            let state = self.meta.now();
            let placed = group(&state, request.group)?;
            let new = state.placement.parts().next_replica;
            let drawn = self.seed.split("recover").split(&format!("{new} {} {attempt}", self.clock.now_ms()));
            let ref_epoch = RefEpoch(drawn.0);
            let prepare = SalvageRequest { group: request.group, replica: new.0, ref_epoch: ref_epoch.0 };
            let prepared = self.salvage(survivor, prepare, PREPARE_WAIT).await?;
            if let Some(split) = &placed.split {
                let is_done = prepared.settled_split == Some(split.child.0) && prepared.split_done;
                child = is_done.then_some(split.child);
                self.settle_split(placed.id, split.child, is_done).await?;
                // The map is another one now, and the next number with it.
                continue;
            }
            let text = format!(
                "shard group {} lost its majority and begins anew with what node {survivor} has of it: entries up to {}, {} of \
                 them not known to be acknowledged; what only the others had is lost",
                request.group,
                prepared.last,
                prepared.last.saturating_sub(remains.applied)
            );
            let command = MetaCommand::RecoverGroup {
                group: placed.id,
                node: survivor,
                replica: new,
                ref_epoch,
                text,
                expected_epoch: state.placement.epoch(),
            };
            match self.meta.propose(command).await {
                Ok(_) => return Ok(response(survivor, prepared, new.0, child)),
                // What was prepared is in nobody's way: the next attempt has another number.
                Err(MetaError::Refused(Refusal::StaleEpoch { .. })) => {}
                Err(error) => return Err(status(error)),
            }
        }
        Err(Status::unavailable("the map of shard groups changed again and again: try again"))
    }

    /// Says on the map what became of a split, as the log's answer would.
    async fn settle_split(&self, group: ShardGroupId, child: ShardGroupId, is_done: bool) -> Result<(), Status> {
        let command = match is_done {
            true => MetaCommand::FinishSplit { group, child },
            false => MetaCommand::CancelSplit { group, child },
        };
        match self.meta.propose(command).await {
            // Another one was faster.
            Ok(_) | Err(MetaError::Refused(Refusal::OtherSplit { .. })) => Ok(()),
            Err(error) => Err(status(error)),
        }
    }

    async fn salvage(&self, node: NodeId, request: SalvageRequest, wait: Duration) -> Result<SalvageAnswer, Status> {
        if node == self.meta.node() {
            return self.router.serve_salvage(&request).await.map_err(refused);
        }
        let client = self.peers.client(node).map_err(|error| Status::unavailable(error.to_string()))?;
        client.salvage(request, wait).await.map_err(|error| Status::failed_precondition(error.to_string()))
    }
}

fn refused(failure: Failure) -> Status {
    Status::failed_precondition(failure.message)
}

fn response(
    survivor: NodeId,
    remains: SalvageAnswer,
    replica: u64,
    child: Option<ShardGroupId>,
) -> RecoverGroupResponse {
    let SalvageAnswer { applied, last, time_ms, .. } = remains;
    RecoverGroupResponse { node: survivor.0, replica, applied, last, time_ms, child: child.map(|child| child.0) }
}

/// Whether the replica that the map names serves on its node.
fn serves(picture: &Picture, placed: &PlacedGroup, node: NodeId, id: ReplicaId) -> bool {
    let report = picture.replica(placed.id, node);
    report.is_some_and(|report| report.replica == id.0 && report.trouble.is_empty())
}

fn lost_its_majority(picture: &Picture, placed: &PlacedGroup) -> Result<(), Status> {
    let all = placed.voters().count();
    let alive = placed.voters().filter(|voter| serves(picture, placed, voter.node, voter.id)).count();
    if alive * 2 <= all {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "{alive} of the {all} voters of shard group {} answer, a majority: it goes on by itself, see bwctl doctor",
        placed.id
    )))
}

/// The node that was named, or the one whose replica has come furthest.
fn survivor(picture: &Picture, placed: &PlacedGroup, wanted: u64) -> Result<NodeId, Status> {
    if wanted != 0 {
        let replica = replica(placed, wanted)?;
        if serves(picture, placed, replica.node, replica.id) {
            return Ok(replica.node);
        }
        let text = format!("the copy of shard group {} on node {wanted} does not serve", placed.id);
        return Err(Status::failed_precondition(text));
    }
    let serving = placed.replicas.iter().filter(|replica| serves(picture, placed, replica.node, replica.id));
    let applied = |node| picture.replica(placed.id, node).and_then(|report| report.applied.map(|at| at.index));
    let furthest = serving.max_by_key(|replica| (applied(replica.node), std::cmp::Reverse(replica.node)));
    let nothing = || {
        Status::failed_precondition(format!(
            "no copy of shard group {} serves: nothing is left to begin with; restore it from a backup",
            placed.id
        ))
    };
    Ok(furthest.ok_or_else(nothing)?.node)
}
