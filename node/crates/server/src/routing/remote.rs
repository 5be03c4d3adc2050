//! What routing asks of other nodes, and why an answer may not come.
//!
//! Calls carry a deadline of their own; none is repeated here.

use std::time::Duration;

use bellwether_proto::peer::v1::{
    CommandAnswer, CommandRequest, Failure, MaintainAnswer, MaintainRequest, ReadIndexAnswer, ReadIndexRequest,
    ResolveAnswer, ResolveRequest, ScanPart, ScanRequest, WriteAnswer, WriteRequest,
};
use bellwether_raft::NodeId;
use futures::stream::BoxStream;

use crate::env::BoxFuture;

/// How long a write may take: the leader has its own bounds, this is for one that is gone.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a short question may take.
pub const QUESTION_DEADLINE: Duration = Duration::from_secs(2);
/// How long a control command may take, a deletion over many series included.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// How long the flush or seal of a whole node may take.
pub const MAINTAIN_DEADLINE: Duration = Duration::from_secs(600);

/// The answer to a call, when it comes.
pub type Answered<'a, T> = BoxFuture<'a, Result<T, RemoteError>>;

/// The calls that routing makes to other nodes.
pub trait Remote: Send + Sync + 'static {
    /// Frames for groups that the node leads.
    fn write(&self, node: NodeId, request: WriteRequest) -> Answered<'_, WriteAnswer>;
    /// The refs of series.
    fn resolve(&self, node: NodeId, request: ResolveRequest) -> Answered<'_, ResolveAnswer>;
    /// How far a replica must have come to see everything acknowledged.
    fn read_index(&self, node: NodeId, request: ReadIndexRequest) -> Answered<'_, ReadIndexAnswer>;
    /// A read of the node's replicas. Ends there when the stream is dropped.
    fn scan(
        &self,
        node: NodeId,
        request: ScanRequest,
    ) -> Answered<'_, BoxStream<'static, Result<ScanPart, RemoteError>>>;
    /// A control command for a group that the node leads.
    fn command(&self, node: NodeId, request: CommandRequest) -> Answered<'_, CommandAnswer>;
    /// A flush or seal of all replicas of the node.
    fn maintain(&self, node: NodeId, request: MaintainRequest) -> Answered<'_, MaintainAnswer>;
}

/// Why a call to another node gave no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RemoteError {
    /// The node says no, and why.
    #[error("node {node}: {}", failure.message)]
    Failed {
        /// Which node.
        node: NodeId,
        /// What it says.
        failure: Box<Failure>,
    },
    /// The node could not be reached, or went away: what was asked for may have been done.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The answer is not one: a newer or a broken program.
    #[error("node {node} gave an answer that cannot be read: {reason}")]
    Unreadable {
        /// Which node.
        node: NodeId,
        /// What is wrong with it.
        reason: String,
    },
}

/// Of a node that is alone.
pub struct Alone;

fn nobody<'a, T: Send + 'a>(node: NodeId) -> Answered<'a, T> {
    let reason = "this node knows no others".to_owned();
    Box::pin(std::future::ready(Err(RemoteError::Unreachable { node, reason })))
}

impl Remote for Alone {
    fn write(&self, node: NodeId, _: WriteRequest) -> Answered<'_, WriteAnswer> {
        nobody(node)
    }

    fn resolve(&self, node: NodeId, _: ResolveRequest) -> Answered<'_, ResolveAnswer> {
        nobody(node)
    }

    fn read_index(&self, node: NodeId, _: ReadIndexRequest) -> Answered<'_, ReadIndexAnswer> {
        nobody(node)
    }

    fn scan(&self, node: NodeId, _: ScanRequest) -> Answered<'_, BoxStream<'static, Result<ScanPart, RemoteError>>> {
        nobody(node)
    }

    fn command(&self, node: NodeId, _: CommandRequest) -> Answered<'_, CommandAnswer> {
        nobody(node)
    }

    fn maintain(&self, node: NodeId, _: MaintainRequest) -> Answered<'_, MaintainAnswer> {
        nobody(node)
    }
}
