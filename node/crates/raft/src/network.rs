//! How replicas of a group reach each other: the transport that the node gives, and what openraft sees of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Either};
use openraft::RaftNetworkV2;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use crate::limits;
use crate::state_machine::Checkpoint;
use crate::types::{GroupId, Member, NodeId, ReplicaId, ReplicaKey, Snapshot, Types, Vote};
use crate::wire::{Answer, InstallHeader, Message};

/// A replica of a group, and where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its node.
    pub node: NodeId,
}

/// Carries messages between nodes. What is sent may be lost, late or sent twice; it must not be changed.
///
/// A future may be dropped before it is done. Every call ends by its deadline.
pub trait Transport: Send + Sync + 'static {
    /// Brings `message` to [`RaftNode::handle`](crate::RaftNode::handle) on the peer's node, and its answer back.
    fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// Brings a checkpoint's files and `header` to [`RaftNode::install`](crate::RaftNode::install) on the peer's node,
    /// and its answer back. Removes the checkpoint's directory on this side in any case. Gives up well before the
    /// deadline where nothing moves: the next checkpoint is not made before this one has ended.
    fn send_checkpoint(
        &self,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// A message did not arrive, or its answer did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The peer cannot be reached now: worth a pause before the next attempt.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("no answer by the deadline")]
    Deadline,
}

/// Makes a group's connections.
pub(crate) struct Network {
    pub id: ReplicaKey,
    pub transport: Arc<dyn Transport>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, member: &Member) -> Connection {
        let peer = Peer { group: self.id.group, replica: ReplicaId(target), node: member.node };
        Connection { from: self.id.replica, peer, transport: self.transport.clone() }
    }
}

/// openraft's way to one peer.
pub(crate) struct Connection {
    from: ReplicaId,
    peer: Peer,
    transport: Arc<dyn Transport>,
}

impl Connection {
    async fn call(&self, action: RPCTypes, message: Message, option: &RPCOption) -> Result<Answer, RPCError<Types>> {
        let deadline = option.hard_ttl();
        let answer = self.transport.call(self.peer, message.encode(), deadline).await;
        let answer = answer.map_err(|error| self.error(action, deadline, error))?;
        Answer::decode(answer).map_err(|error| Unreachable::new(&error).into())
    }

    fn error(&self, action: RPCTypes, timeout: Duration, error: TransportError) -> RPCError<Types> {
        match error {
            TransportError::Unreachable(_) => Unreachable::new(&error).into(),
            TransportError::Deadline => {
                Timeout { action, id: self.from.0, target: self.peer.replica.0, timeout }.into()
            }
        }
    }

    /// The peer answered another question than was asked.
    fn confused(&self, answer: &Answer) -> RPCError<Types> {
        Unreachable::from_string(format!("replica {} answered {answer:?}", self.peer.replica)).into()
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = Option<Checkpoint>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::AppendEntries, Message::Append(request), &option).await? {
            Answer::Append(answer) => Ok(answer),
            other => Err(self.confused(&other)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::Vote, Message::Vote(request), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            other => Err(self.confused(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::Vote, Message::PreVote(request), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            other => Err(self.confused(&other)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.call(RPCTypes::TransferLeader, Message::TransferLeader(request), &option).await? {
            Answer::TransferLeader(answer) => Ok(answer),
            other => Err(self.confused(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Some(checkpoint) = snapshot.snapshot else {
            return Err(Unreachable::from_string("the state machine made no checkpoint").into());
        };
        let header = InstallHeader { vote, meta: snapshot.meta }.encode();
        let deadline = limits::INSTALL_DEADLINE;
        let sending = self.transport.send_checkpoint(self.peer, header, checkpoint, deadline);
        let answer = match futures::future::select(std::pin::pin!(cancel), sending).await {
            Either::Left((closed, _)) => return Err(closed.into()),
            Either::Right((answer, _)) => answer,
        };
        let answer = answer.map_err(|error| self.error(RPCTypes::InstallSnapshot, deadline, error))?;
        match Answer::decode(answer).map_err(|error| Unreachable::new(&error))? {
            Answer::Install(answer) => Ok(answer),
            other => Err(self.confused(&other).into()),
        }
    }
}
