//! How a request finds the leader, wherever it is: proposed here, or by way of another node, again and again within a budget of
//! time. A request that arrives twice must not count twice: that is for the group's machine to see to.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_raft::{GroupId, LeaderHint, ProposeError};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{CommonGroup, Pauses};
use crate::env::BoxFuture;

/// How long a request is tried: clients that wait for ten seconds, as most do, are to be told why it did not succeed.
pub const PROPOSE_BUDGET: Duration = Duration::from_secs(8);
/// How long another node may take to answer once.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// How long a request that is committed elsewhere may take to be applied here.
const VISIBLE_WAIT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The way of requests to other nodes.
pub trait Remote: Send + Sync + 'static {
    /// Has a node propose a request; returns the state machine's reply and the index of a state that contains it.
    fn propose(
        &self,
        node: NodeId,
        group: GroupId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<(Bytes, u64), RemoteError>>;
}

/// Why another node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Another node leads the group.
    #[error("it does not lead the group")]
    NotLeader {
        /// Who does, if known.
        node: Option<NodeId>,
        /// Where that node is, if known.
        address: Option<String>,
    },
    /// It cannot be reached, or cannot do it now. Whether it has done it is unknown.
    #[error("{0}")]
    Transient(String),
    /// It will never do it.
    #[error("{0}")]
    Refused(String),
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No leader took it in time. It may or may not be applied.
    #[error("{group} took no command within {waited:?}: {reason}")]
    Unavailable {
        /// The group's name.
        group: String,
        /// How long was tried.
        waited: Duration,
        /// What came of the last attempt.
        reason: String,
    },
    /// Nobody will take it.
    #[error("{0}")]
    Rejected(String),
}

/// Why a request was not proposed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HereError {
    /// The request cannot be read.
    #[error("the request: {0}")]
    Unreadable(String),
    /// Raft did not take it, or its fate is unknown.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// No quorum has it yet; it may still be applied.
    #[error("no quorum of the group answered within {CALL_DEADLINE:?}")]
    NoQuorum,
}

/// Where to go next.
enum Next {
    Done(Bytes),
    /// To a node that should know.
    Ask(Option<NodeId>),
    /// Wait first.
    Pause(String),
    GiveUp(String),
}

impl CommonGroup {
    /// Has a request applied, wherever the leader is; returns the machine's reply. What it changed is seen here by then.
    pub async fn propose(&self, request: &Bytes) -> Result<Bytes, Unanswered> {
        let started = Instant::now();
        let number = self.0.drawn.fetch_add(1, Ordering::Relaxed);
        let mut pauses = Pauses::new(self.seed(&format!("request {number}")), PAUSE_MIN, PAUSE_MAX);
        let mut hint = None;
        let mut turn = 0;
        loop {
            let (next, reason) = if self.is_leader() {
                (self.try_here(request).await, "this node has just lost the lead")
            } else {
                match hint.take().or_else(|| self.leader()).filter(|node| *node != self.node()) {
                    Some(node) => (self.try_there(node, request).await, "no leader is known"),
                    // Whoever has an election behind it knows more than a node that was away.
                    None => match self.any_other(&mut turn) {
                        Some(node) => (self.try_there(node, request).await, "no leader is known"),
                        None => (Next::Pause("no leader is elected".to_owned()), ""),
                    },
                }
            };
            let reason = match next {
                Next::Done(reply) => return Ok(reply),
                Next::GiveUp(reason) => return Err(Unanswered::Rejected(reason)),
                Next::Ask(Some(node)) if node != self.node() => {
                    hint = Some(node);
                    reason.to_owned()
                }
                Next::Ask(_) => reason.to_owned(),
                Next::Pause(reason) => reason,
            };
            let waited = started.elapsed();
            if waited >= PROPOSE_BUDGET {
                return Err(Unanswered::Unavailable { group: self.name().to_owned(), waited, reason });
            }
            sleep(pauses.next()).await;
        }
    }

    /// Like [`propose`](Self::propose), but once, and only while this node leads in `term`: what is known of the cluster in a
    /// term is not to be told to whoever leads in a later one. An attempt of which nobody hears comes before all that is done
    /// in the next term, or never.
    pub async fn propose_in_term(&self, term: u64, request: &Bytes) -> Result<Bytes, Unanswered> {
        let started = Instant::now();
        let leading = self.replica().state();
        let next = match leading.is_leader && leading.term == term {
            true => self.try_here(request).await,
            false => Next::Ask(None),
        };
        let reason = match next {
            Next::Done(reply) => return Ok(reply),
            Next::GiveUp(reason) => return Err(Unanswered::Rejected(reason)),
            Next::Ask(_) => format!("this node does not lead it in term {term} any more"),
            Next::Pause(reason) => reason,
        };
        Err(Unanswered::Unavailable { group: self.name().to_owned(), waited: started.elapsed(), reason })
    }

    /// Proposes a request to the group, which this node must lead. Returns the machine's reply and the index of a state that
    /// contains it.
    pub async fn propose_here(&self, request: &[u8]) -> Result<(Bytes, u64), HereError> {
        // The leader's clock is the one that counts; the request's own may be any node's.
        let stamped = self.0.machine.stamped(request, self.0.clock.now_ms()).map_err(HereError::Unreadable)?;
        // A leader that nobody hears waits for ever.
        let reply = timeout(CALL_DEADLINE, self.replica().propose(stamped)).await;
        Ok((reply.map_err(|_| HereError::NoQuorum)??, self.0.machine.index()))
    }

    async fn try_here(&self, request: &Bytes) -> Next {
        match self.propose_here(request).await {
            Ok((reply, _)) => Next::Done(reply),
            Err(HereError::Unreadable(error)) => Next::GiveUp(error),
            Err(HereError::Propose(ProposeError::NotLeader { hint } | ProposeError::Unknown { hint })) => {
                Next::Ask(hint.map(|LeaderHint { node, .. }| NodeId(node)))
            }
            Err(HereError::Propose(error @ ProposeError::TooLarge { .. })) => Next::GiveUp(error.to_string()),
            Err(error @ (HereError::Propose(_) | HereError::NoQuorum)) => Next::Pause(error.to_string()),
        }
    }

    async fn try_there(&self, node: NodeId, request: &Bytes) -> Next {
        match self.0.world.remote.propose(node, self.0.id, request.clone(), CALL_DEADLINE).await {
            Ok((reply, index)) => {
                // It is done whether it shows here in time or not.
                drop(timeout(VISIBLE_WAIT, self.0.machine.has_applied(index)).await);
                Next::Done(reply)
            }
            Err(RemoteError::NotLeader { node, .. }) => Next::Ask(node),
            Err(RemoteError::Transient(reason)) => Next::Pause(format!("node {node}: {reason}")),
            Err(RemoteError::Refused(reason)) => Next::GiveUp(format!("node {node}: {reason}")),
        }
    }

    /// Another node, in turn.
    fn any_other(&self, turn: &mut usize) -> Option<NodeId> {
        let state = self.cluster();
        let others: Vec<NodeId> = state.present_nodes().map(|(id, _)| id).filter(|id| *id != self.node()).collect();
        *turn += 1;
        others.get(*turn % others.len().max(1)).copied()
    }
}
