//! What routing asks of other nodes, and why an answer may not come.
//!
//! Calls carry a deadline of their own; none is repeated here.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_model as model;
use bellwether_proto::peer::v1::{
    CommandAnswer, CommandRequest, MaintainAnswer, MaintainRequest, MembershipAnswer, MembershipRequest,
    ReadIndexAnswer, ReadIndexRequest, ResolveAnswer, ResolveRequest, ScanPart, ScanRequest, WriteAnswer, WriteRequest,
};
use bellwether_raft::NodeId;
use futures::stream::{BoxStream, StreamExt, unfold};

use crate::env::BoxFuture;
use crate::peers::{Callee, PeerError, Peers};

/// How long a write may take: the leader has its own bounds, this is for one that is gone.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a short question may take.
pub const QUESTION_DEADLINE: Duration = Duration::from_secs(2);
/// How long a control command may take, a deletion over many series included.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// How long a change of members may take: a joint one commits twice.
pub const MEMBERSHIP_DEADLINE: Duration = Duration::from_secs(20);
/// How long a scan may take; a query's own timeout ends it earlier.
pub const SCAN_DEADLINE: Duration = Duration::from_secs(300);
/// How long the flush or seal of a whole node may take.
pub const MAINTAIN_DEADLINE: Duration = Duration::from_secs(600);

/// The answer to a call, when it comes.
pub type Answered<'a, T> = BoxFuture<'a, Result<T, PeerError>>;

/// The calls that routing makes to other nodes.
pub trait Remote: Send + Sync + 'static {
    /// Frames for groups that the node leads.
    fn write(&self, node: NodeId, request: WriteRequest) -> Answered<'_, WriteAnswer>;
    /// The refs of series.
    fn resolve(&self, node: NodeId, request: ResolveRequest) -> Answered<'_, ResolveAnswer>;
    /// How far a replica must have come to see everything acknowledged.
    fn read_index(&self, node: NodeId, request: ReadIndexRequest) -> Answered<'_, ReadIndexAnswer>;
    /// A read of the node's replicas. Ends there when the stream is dropped.
    fn scan(&self, node: NodeId, request: ScanRequest)
    -> Answered<'_, BoxStream<'static, Result<ScanPart, PeerError>>>;
    /// A control command for a group that the node leads.
    fn command(&self, node: NodeId, request: CommandRequest) -> Answered<'_, CommandAnswer>;
    /// A change of a group's members, or of its leader, for a group that the node leads.
    fn membership(&self, node: NodeId, request: MembershipRequest) -> Answered<'_, MembershipAnswer>;
    /// A flush or seal of all replicas of the node.
    fn maintain(&self, node: NodeId, request: MaintainRequest) -> Answered<'_, MaintainAnswer>;
    /// The nodes that said lately that their disks have no room.
    fn full_nodes(&self) -> BTreeSet<NodeId> {
        BTreeSet::new()
    }
}

/// Of a node that is alone.
pub struct Alone;

fn nobody<'a, T: Send + 'a>(node: NodeId) -> Answered<'a, T> {
    Box::pin(std::future::ready(Err(PeerError::UnknownNode(model::NodeId(node)))))
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

    fn scan(&self, node: NodeId, _: ScanRequest) -> Answered<'_, BoxStream<'static, Result<ScanPart, PeerError>>> {
        nobody(node)
    }

    fn command(&self, node: NodeId, _: CommandRequest) -> Answered<'_, CommandAnswer> {
        nobody(node)
    }

    fn membership(&self, node: NodeId, _: MembershipRequest) -> Answered<'_, MembershipAnswer> {
        nobody(node)
    }

    fn maintain(&self, node: NodeId, _: MaintainRequest) -> Answered<'_, MaintainAnswer> {
        nobody(node)
    }
}

/// What a node is called in errors.
pub(super) fn callee(node: NodeId) -> Callee {
    Callee::Node(model::NodeId(node))
}

/// The answer that cannot be one.
pub(super) fn unreadable(node: NodeId, reason: String) -> PeerError {
    PeerError::Broken { callee: callee(node), reason }
}

impl Remote for Peers {
    fn write(&self, node: NodeId, request: WriteRequest) -> Answered<'_, WriteAnswer> {
        Box::pin(async move { self.client(model::NodeId(node))?.write(request, WRITE_DEADLINE).await })
    }

    fn resolve(&self, node: NodeId, request: ResolveRequest) -> Answered<'_, ResolveAnswer> {
        Box::pin(async move { self.client(model::NodeId(node))?.resolve(request, QUESTION_DEADLINE).await })
    }

    fn read_index(&self, node: NodeId, request: ReadIndexRequest) -> Answered<'_, ReadIndexAnswer> {
        Box::pin(async move { self.client(model::NodeId(node))?.read_index(request, QUESTION_DEADLINE).await })
    }

    fn scan(
        &self,
        node: NodeId,
        request: ScanRequest,
    ) -> Answered<'_, BoxStream<'static, Result<ScanPart, PeerError>>> {
        Box::pin(async move {
            let stream = self.client(model::NodeId(node))?.scan(request, SCAN_DEADLINE).await?;
            let parts = unfold(Some(stream), |stream| async move {
                let mut stream = stream?;
                match stream.next().await {
                    Ok(Some(part)) => Some((Ok(part), Some(stream))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            });
            Ok(parts.boxed())
        })
    }

    fn command(&self, node: NodeId, request: CommandRequest) -> Answered<'_, CommandAnswer> {
        Box::pin(async move { self.client(model::NodeId(node))?.command(request, COMMAND_DEADLINE).await })
    }

    fn membership(&self, node: NodeId, request: MembershipRequest) -> Answered<'_, MembershipAnswer> {
        Box::pin(async move { self.client(model::NodeId(node))?.membership(request, MEMBERSHIP_DEADLINE).await })
    }

    fn maintain(&self, node: NodeId, request: MaintainRequest) -> Answered<'_, MaintainAnswer> {
        Box::pin(async move { self.client(model::NodeId(node))?.maintain(request, MAINTAIN_DEADLINE).await })
    }

    fn full_nodes(&self) -> BTreeSet<NodeId> {
        self.full_disks().into_iter().map(|node| node.0).collect()
    }
}
