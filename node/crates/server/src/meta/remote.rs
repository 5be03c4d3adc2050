//! The way to the meta group, and other groups of all nodes, on other nodes: over the connections between nodes.

use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId};
use bellwether_proto::peer::v1;
use bellwether_raft::GroupId;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::META_GROUP;
use super::codec::states;
use super::joining::{Doors, JoinAsk, JoinGrant};
use crate::common_group::propose::{Remote, RemoteError};
use crate::env::Env;
use crate::peers::{self, PeerError, Peers};

/// For a node without identity: whoever is at an address.
pub struct Strangers(pub Env);

impl Doors for Strangers {
    fn knock<'a>(
        &'a self,
        address: &'a str,
        ask: &'a JoinAsk,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<JoinGrant, RemoteError>> {
        Box::pin(async move {
            let answer = peers::stranger(&self.0, address).join(request(ask), deadline).await?;
            let unreadable = |reason: String| RemoteError::Refused(format!("its answer cannot be read: {reason}"));
            let (state, _) = states::decode(&answer.state, self.0.program.formats.highest)
                .map_err(|error| unreadable(error.to_string()))?;
            let state = state.ok_or_else(|| unreadable("no cluster is in it".to_owned()))?;
            Ok(JoinGrant { node: NodeId(answer.node), meta_replica: ReplicaId(answer.meta_replica), state })
        })
    }
}

impl Remote for Peers {
    fn propose(
        &self,
        node: NodeId,
        group: GroupId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<(Bytes, u64), RemoteError>> {
        Box::pin(async move {
            let (client, command) = (self.client(node)?, request);
            if group == META_GROUP {
                let answer = client.propose_meta(v1::ProposeMetaRequest { command }, deadline).await?;
                return Ok((answer.reply, answer.index));
            }
            let request = v1::ProposeAlertingRequest { group: group.0, command };
            let answer = client.propose_alerting(request, deadline).await?;
            Ok((answer.reply, answer.index))
        })
    }
}

impl From<PeerError> for RemoteError {
    fn from(error: PeerError) -> RemoteError {
        match error {
            PeerError::NotLeader { hint, address, .. } => {
                RemoteError::NotLeader { node: hint.map(|leader| NodeId(leader.node)), address }
            }
            PeerError::Refused { reason, .. } | PeerError::Removed { reason, .. } => RemoteError::Refused(reason),
            other => RemoteError::Transient(other.to_string()),
        }
    }
}

fn request(ask: &JoinAsk) -> v1::JoinRequest {
    let JoinAsk { nonce, facts, rules, token } = ask;
    v1::JoinRequest {
        nonce: Bytes::copy_from_slice(&nonce.to_be_bytes()),
        grpc_address: facts.grpc.clone(),
        http_address: facts.http.clone(),
        zone: facts.zone.clone(),
        version: facts.version.clone(),
        lowest_format: facts.lowest_format,
        highest_format: facts.highest_format,
        capacity_bytes: facts.capacity_bytes,
        rules: *rules,
        token: token.as_ref().map(|token| v1::JoinToken { id: token.id(), secret: token.secret().to_owned() }),
    }
}
