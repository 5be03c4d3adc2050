//! What Raft sees of the other nodes.

use std::sync::Weak;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_raft::{Checkpoint, Peer, Transport, TransportError};
use bytes::Bytes;
use futures::future::BoxFuture;

use super::Inner;

/// See [`Peers::transport`](super::Peers::transport).
// Weak: groups hold their transport, and the other nodes hold the groups.
pub struct PeersTransport(pub(super) Weak<Inner>);

impl Transport for PeersTransport {
    fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let peers = self.0.upgrade();
        let link = peers.and_then(|peers| peers.with_peer(NodeId(to.node), |peer| peer.link.clone()));
        Box::pin(async move {
            let unknown = || TransportError::Unreachable(format!("node {} is not known here", to.node));
            let link = link.ok_or_else(unknown)?;
            link.call(to, message, deadline).await
        })
    }

    fn send_checkpoint(
        &self,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let peers = self.0.upgrade();
        Box::pin(async move {
            let stopping = || TransportError::Unreachable("the node is shutting down".to_owned());
            peers.ok_or_else(stopping)?.send_checkpoint(to, header, checkpoint).await
        })
    }
}
