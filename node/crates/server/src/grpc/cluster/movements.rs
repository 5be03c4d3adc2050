//! Drains and moves as operations: what the cluster does by itself once it is decided, followed to its end.
//!
//! What is wanted is in the meta group's state, so an operation that is lost with its node stops nothing; begun again, on any
//! node, it goes on following. Only somebody who cancels it takes back what was decided.

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId, ShardGroupId};
use bellwether_placement::{NodeState, ReplicaRole};
use bellwether_proto::v1::{self as proto, MoveShardRequest, SetNodeStateRequest};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::ClusterService;
use super::changes::group;
use crate::meta::{MetaCommand, MetaError, Refusal};
use crate::operations::{Cancelled, Handle, WorkError};

/// How often it is looked how far something has come.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// After so many looks at which nothing had changed it is asked what holds it up.
const STILL_LOOKS: u32 = 5;
/// How often the map may change while a move is given up.
const ATTEMPTS_MAX: usize = 8;
/// How long a move that is too far to be given up may take to its end.
const LAST_STEP_WAIT: Duration = Duration::from_secs(15);

/// Why a drain or a move did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MovementError {
    /// Somebody cancelled it; what that left.
    #[error("{0}")]
    GivenUp(String),
    /// The node that followed it stops.
    #[error("its node stops, the cluster goes on with it: the same command follows it again")]
    Interrupted,
    /// It cannot be done any more.
    #[error("{0}")]
    Failed(String),
}

impl From<Cancelled> for MovementError {
    fn from(_: Cancelled) -> MovementError {
        MovementError::Interrupted
    }
}

impl WorkError for MovementError {
    fn is_cancelled(&self) -> bool {
        matches!(self, MovementError::GivenUp(_) | MovementError::Interrupted)
    }
}

/// A move that was decided.
#[derive(Debug, Clone, Copy)]
pub struct Moving {
    group: ShardGroupId,
    from: NodeId,
    to: NodeId,
    /// The new replica.
    replica: ReplicaId,
}

impl ClusterService {
    /// Decides that a node is to be emptied.
    pub(in crate::grpc) async fn begin_drain(&self, node: u64) -> Result<NodeId, Status> {
        let state = proto::NodeState::Draining.into();
        self.change_node_state(&SetNodeStateRequest { node, state, force: false }).await?;
        Ok(NodeId(node))
    }

    /// Follows a drain; cancelled, ends it.
    pub(in crate::grpc) async fn drain(self, node: NodeId, handle: Arc<Handle>) -> Result<String, MovementError> {
        let drained = handle.unless_cancelled(self.drained(node, &handle)).await;
        if !matches!(drained, Err(MovementError::Interrupted)) || !handle.is_cancelled() {
            return drained;
        }
        let undrain = MetaCommand::SetNodeState { node, state: NodeState::Active, force: false };
        Err(match self.meta.propose(undrain).await {
            Ok(_) => MovementError::GivenUp(format!("node {node} is active again")),
            Err(error) => MovementError::Failed(format!("node {node} still drains: {error}")),
        })
    }

    async fn drained(&self, node: NodeId, handle: &Handle) -> Result<String, MovementError> {
        let (mut before, mut still, mut held) = (None, 0, String::new());
        loop {
            let state = self.meta.now();
            let left = state.replicas_on(node);
            match state.nodes.get(&node).map(|record| record.state) {
                Some(NodeState::Draining) if left == 0 && self.votes_in(node).is_none() => {
                    return Ok(format!("node {node} is empty: bwctl node remove {node}"));
                }
                Some(NodeState::Draining) => {}
                Some(NodeState::Removed) | None => return Ok(format!("node {node} is removed")),
                Some(state) => return Err(MovementError::Failed(format!("node {node} is {state} meanwhile"))),
            }
            if before.replace(left) != Some(left) {
                (still, held) = (0, String::new());
            }
            if still > 0 && still % STILL_LOOKS == 0 {
                held = self.held_up().await;
            }
            still += 1;
            let vote = self.votes_in(node).map_or_else(String::new, |group| format!(", votes in {group}"));
            handle.tell(format!("node {node}: {left} replicas left{vote}{held}"));
            sleep(LOOK_PAUSE).await;
        }
    }

    /// What keeps the cluster from moving something, as the end of a sentence.
    async fn held_up(&self) -> String {
        let picture = self.look().await;
        let held = self.computed(move || picture.held()).await.unwrap_or_default();
        held.first().map_or_else(String::new, |reason| format!("; not possible now: {reason}"))
    }

    /// Decides that a replica moves; none if it has moved already. One that is on its way goes on.
    pub(in crate::grpc) async fn begin_move(&self, request: &proto::MoveShard) -> Result<Option<Moving>, Status> {
        let proto::MoveShard { group: id, from, to } = *request;
        let state = self.meta.now();
        let placed = group(&state, id)?;
        let (from, to) = (NodeId(from), NodeId(to));
        let replica = match placed.on(to) {
            Some(_) if placed.on(from).is_none() => return Ok(None),
            Some(new) if new.replaces == Some(from) => new.id,
            _ => ReplicaId(self.give_copy(&MoveShardRequest { group: id, from: from.0, to: to.0 }).await?.replica),
        };
        Ok(Some(Moving { group: placed.id, from, to, replica }))
    }

    /// Follows a move; cancelled, gives it up unless that is too late.
    pub(in crate::grpc) async fn move_replica(
        self,
        moving: Option<Moving>,
        handle: Arc<Handle>,
    ) -> Result<String, MovementError> {
        let Some(moving) = moving else { return Ok("it has moved already".to_owned()) };
        let moved = handle.unless_cancelled(self.moved(moving, &handle)).await;
        if !matches!(moved, Err(MovementError::Interrupted)) || !handle.is_cancelled() {
            return moved;
        }
        self.strike_off(moving).await?;
        // Too late: what was begun is ended.
        let slow = || MovementError::Failed(format!("the copy on node {} votes already: the move goes on", moving.to));
        timeout(LAST_STEP_WAIT, self.moved(moving, &handle)).await.unwrap_or_else(|_| Err(slow()))
    }

    async fn moved(&self, moving: Moving, handle: &Handle) -> Result<String, MovementError> {
        let Moving { group, from, to, replica } = moving;
        loop {
            let picture = self.look().await;
            let placed = picture.state.placement.group(group);
            let Some(placed) = placed.filter(|placed| placed.replicas.iter().any(|known| known.id == replica)) else {
                let text = format!("the move of shard group {group} was given up: see bwctl cluster events");
                return Err(MovementError::Failed(text));
            };
            if placed.on(from).is_none() {
                return Ok(format!("shard group {group} has moved from node {from} to node {to}"));
            }
            let far = match picture.lag(group, to) {
                _ if !picture.is_up(to) => format!("node {to} does not answer"),
                None => "the copy is being made".to_owned(),
                Some(0) => "the copy has caught up".to_owned(),
                Some(lag) => format!("the copy is {lag} entries behind"),
            };
            handle.tell(format!("shard group {group}: {far}"));
            sleep(LOOK_PAUSE).await;
        }
    }

    /// Takes the new replica off the map while it only learns; its group then parts with it. Otherwise nothing is done.
    async fn strike_off(&self, moving: Moving) -> Result<(), MovementError> {
        let Moving { group, to, replica, .. } = moving;
        let given_up = || MovementError::GivenUp(format!("shard group {group} stays where it was"));
        for _ in 0..ATTEMPTS_MAX {
            let state = self.meta.now();
            let placed = state.placement.group(group);
            let new = placed.and_then(|placed| placed.replicas.iter().find(|known| known.id == replica));
            let (Some(placed), Some(new)) = (placed, new) else { return Err(given_up()) };
            if new.role == ReplicaRole::Voter {
                return Ok(());
            }
            let of = |role| {
                let replicas = placed.replicas.iter().filter(move |known| known.role == role && known.id != replica);
                replicas.map(|known| known.id).collect()
            };
            let (voters, learners) = (of(ReplicaRole::Voter), of(ReplicaRole::Learner));
            let expected_epoch = state.placement.epoch();
            match self.meta.propose(MetaCommand::SetReplicas { group, voters, learners, expected_epoch }).await {
                Ok(_) => return Err(given_up()),
                // Another change came between.
                Err(MetaError::Refused(Refusal::StaleEpoch { .. })) => {}
                Err(error) => return Err(MovementError::Failed(format!("node {to} keeps its copy: {error}"))),
            }
        }
        Err(MovementError::Failed("the map of shard groups changes again and again: try again".to_owned()))
    }

    /// Follows the cluster until nothing is left to be moved.
    pub(in crate::grpc) async fn rebalance(self, handle: Arc<Handle>) -> Result<String, MovementError> {
        let evened = handle.unless_cancelled(self.evened_out(&handle)).await;
        if !matches!(evened, Err(MovementError::Interrupted)) || !handle.is_cancelled() {
            return evened;
        }
        let text =
            "not followed any longer; the cluster goes on by itself, unless bwctl config set move.copies 0 stops it";
        Err(MovementError::GivenUp(text.to_owned()))
    }

    async fn evened_out(&self, handle: &Handle) -> Result<String, MovementError> {
        loop {
            let picture = self.look().await;
            let plan = self.computed(move || picture.plan()).await;
            let plan = plan.map_err(|status| MovementError::Failed(status.message().to_owned()))?;
            match (plan.moves.len(), plan.held.first()) {
                (0, None) => return Ok("nothing is to be moved".to_owned()),
                (0, Some(held)) => return Ok(format!("nothing else can be moved now: {held}")),
                (left, _) => handle.tell(format!("{left} moves left")),
            }
            sleep(LOOK_PAUSE).await;
        }
    }
}
