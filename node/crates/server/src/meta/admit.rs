//! The leader's side of a join: the node is registered, its replica becomes a learner of the meta group, and it is told
//! the cluster as it is.

use std::net::SocketAddr;
use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId};
use bellwether_raft::MembershipError;
use tokio::time::{Instant, sleep};

use super::command::{MetaCommand, Outcome, Refusal};
use super::joining::{JoinAsk, JoinGrant};
use super::{Meta, MetaError};
use crate::common_group::members;
use crate::config::{host_of, is_loopback_host};

/// How long the membership may take to take the new replica in.
const LEARN_BUDGET: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Why a node was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// Another node decides.
    #[error("this node does not lead the meta group")]
    NotLeader {
        /// Who does, if known.
        node: Option<NodeId>,
        /// Where that node is.
        address: Option<String>,
    },
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// Not at all.
    #[error("{0}")]
    Refused(String),
}

impl Meta {
    /// Lets a node in. Asked again by the same node, it gives the same answer.
    pub async fn admit(&self, ask: JoinAsk) -> Result<JoinGrant, AdmitError> {
        if !self.is_leader() {
            return Err(self.not_leader());
        }
        if let Some((node, address)) = self.unreachable_member() {
            return Err(AdmitError::Refused(format!(
                "node {node} says that it is reached at {address}, where no other node can: start it with \
                 cluster.advertise_grpc set, then try again"
            )));
        }
        self.check_reach(&ask)?;
        let JoinAsk { nonce, facts, rules, token } = ask;
        let token = token.map(|token| token.proof());
        let registered = self.propose(MetaCommand::RegisterNode { nonce, facts, rules, token }).await;
        let (node, meta_replica) = match registered {
            Ok(Outcome::Node { node, meta_replica }) => (node, meta_replica),
            Ok(other) => return Err(AdmitError::Refused(format!("the meta group answered {other:?}"))),
            Err(MetaError::Refused(refusal)) => return Err(AdmitError::Refused(refusal.to_string())),
            Err(error @ MetaError::Unanswered(_)) => {
                return Err(AdmitError::Unavailable(error.to_string()));
            }
        };
        self.let_learn(node, meta_replica).await?;
        Ok(JoinGrant { node, meta_replica, state: (*self.now()).clone() })
    }

    /// Either all nodes are on one machine or none is reached by a loopback address; whoever comes over the network needs
    /// a token.
    fn check_reach(&self, ask: &JoinAsk) -> Result<(), AdmitError> {
        let is_local = |address: &str| is_loopback_host(host_of(address));
        let refused = |text: String| Err(AdmitError::Refused(text));
        let (address, is_local_joiner) = (&ask.facts.grpc, is_local(&ask.facts.grpc));
        let state = self.now();
        let mut members = state.present_nodes().map(|(node, record)| (node, &record.facts.grpc));
        match members.find(|(_, member)| is_local(member) != is_local_joiner) {
            Some((node, member)) if is_local_joiner => refused(format!(
                "it says that it is reached at {address}, which no other machine can reach, and node {node} is at \
                 {member}: set grpc or cluster.advertise_grpc to an address that the others can reach"
            )),
            Some((node, member)) => refused(format!(
                "node {node} says that it is reached at {member}, which no other machine can reach: start that node \
                 with grpc or cluster.advertise_grpc set to an address that {address} can reach, then try again"
            )),
            None if !is_local_joiner && ask.token.is_none() => refused(Refusal::TokenNeeded.to_string()),
            None => Ok(()),
        }
    }

    /// A node that listens on all addresses and names none.
    fn unreachable_member(&self) -> Option<(NodeId, String)> {
        let is_any = |address: &str| address.parse().is_ok_and(|address: SocketAddr| address.ip().is_unspecified());
        let state = self.now();
        let found = state.present_nodes().find(|(_, record)| is_any(&record.facts.grpc));
        found.map(|(node, record)| (node, record.facts.grpc.clone()))
    }

    async fn let_learn(&self, node: NodeId, replica: ReplicaId) -> Result<(), AdmitError> {
        let started = Instant::now();
        loop {
            let reason = match members::add_learner(&self.group(), node, replica).await {
                Ok(()) => return Ok(()),
                Err(MembershipError::NotLeader { .. }) => return Err(self.not_leader()),
                Err(error) => error.to_string(),
            };
            if started.elapsed() >= LEARN_BUDGET {
                return Err(AdmitError::Unavailable(reason));
            }
            sleep(PAUSE).await;
        }
    }

    fn not_leader(&self) -> AdmitError {
        let node = self.leader().filter(|node| *node != self.node());
        let address = node.and_then(|node| self.now().nodes.get(&node).map(|record| record.facts.grpc.clone()));
        AdmitError::NotLeader { node, address }
    }
}
