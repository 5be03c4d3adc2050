//! How a command finds the leader, wherever it is: proposed here, or by way of another node, again and again within a
//! budget of time. A request keeps its id, so however often it arrives, it is applied once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_raft::{LeaderHint, ProposeError};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Meta;
use super::codec::{DecodeError, replies, requests};
use super::command::{MetaCommand, MetaReply, Outcome, Refusal, Request};
use super::joining::{Pauses, RemoteError};

/// How long a command is tried: clients that wait for ten seconds, as most do, are to be told why it did not succeed.
pub const PROPOSE_BUDGET: Duration = Duration::from_secs(8);
/// How long another node may take to answer once.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// How long a command that is committed elsewhere may take to be applied here.
const VISIBLE_WAIT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// The command is not possible; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No leader took it in time. It may or may not be applied.
    #[error("the meta group took no command within {waited:?}: {reason}")]
    Unavailable {
        /// How long was tried.
        waited: Duration,
        /// What came of the last attempt.
        reason: String,
    },
    /// Another node will not take anything from this one.
    #[error("{0}")]
    Rejected(String),
}

/// Why a request was not proposed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HereError {
    /// The request cannot be read.
    #[error("the request: {0}")]
    Unreadable(#[from] DecodeError),
    /// Raft did not take it, or its fate is unknown.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// No quorum has it yet; it may still be applied.
    #[error("no quorum of the meta group answered within {CALL_DEADLINE:?}")]
    NoQuorum,
}

/// Where to go next.
enum Next {
    Done(MetaReply),
    /// To a node that should know.
    Ask(Option<NodeId>),
    /// Wait first.
    Pause(String),
    GiveUp(String),
}

impl Meta {
    /// Has the cluster's state changed. When it returns, this node's [state](Self::state) contains the change.
    pub async fn propose(&self, command: MetaCommand) -> Result<Outcome, MetaError> {
        let request = Request { id: self.draw_id(), proposed_ms: self.0.clock.now_ms(), command };
        let bytes = Bytes::from(requests::encode(&request, self.now().active_version));
        let started = Instant::now();
        let mut pauses = Pauses::new(self.0.seed.split(&request.id.to_string()), PAUSE_MIN, PAUSE_MAX);
        let mut hint = None;
        let mut turn = 0;
        loop {
            let (next, reason) = if self.is_leader() {
                (self.try_here(&bytes).await, "this node has just lost the lead")
            } else {
                match hint.take().or_else(|| self.leader()).filter(|node| *node != self.node()) {
                    Some(node) => (self.try_there(node, &bytes).await, "no leader is known"),
                    // Whoever has an election behind it knows more than a node that was away.
                    None => match self.any_other(&mut turn) {
                        Some(node) => (self.try_there(node, &bytes).await, "no leader is known"),
                        None => (Next::Pause("no leader is elected".to_owned()), ""),
                    },
                }
            };
            let reason = match next {
                Next::Done(reply) => return Ok(reply?),
                Next::GiveUp(reason) => return Err(MetaError::Rejected(reason)),
                Next::Ask(Some(node)) if node != self.node() => {
                    hint = Some(node);
                    reason.to_owned()
                }
                Next::Ask(_) => reason.to_owned(),
                Next::Pause(reason) => reason,
            };
            let waited = started.elapsed();
            if waited >= PROPOSE_BUDGET {
                return Err(MetaError::Unavailable { waited, reason });
            }
            sleep(pauses.next()).await;
        }
    }

    /// Like [`propose`](Self::propose), but once, and only while this node leads in `term`: what is known of the cluster in a
    /// term is not to be told to whoever leads in a later one. An attempt of which nobody hears comes before all that is done
    /// in the next term, or never.
    pub async fn propose_in_term(&self, term: u64, command: MetaCommand) -> Result<Outcome, MetaError> {
        let started = Instant::now();
        let request = Request { id: self.draw_id(), proposed_ms: self.0.clock.now_ms(), command };
        let bytes = Bytes::from(requests::encode(&request, self.now().active_version));
        let leading = self.group().state();
        let next = match leading.is_leader && leading.term == term {
            true => self.try_here(&bytes).await,
            false => Next::Ask(None),
        };
        let reason = match next {
            Next::Done(reply) => return Ok(reply?),
            Next::GiveUp(reason) => return Err(MetaError::Rejected(reason)),
            Next::Ask(_) => format!("this node does not lead it in term {term} any more"),
            Next::Pause(reason) => reason,
        };
        Err(MetaError::Unavailable { waited: started.elapsed(), reason })
    }

    /// Proposes an encoded request to the group, which this node must lead. Returns the encoded reply and the index of a
    /// state that contains it.
    pub async fn propose_here(&self, request: &[u8]) -> Result<(Bytes, u64), HereError> {
        // The leader's clock is the one that counts; the request's own may be any node's.
        let request =
            Request { proposed_ms: self.0.clock.now_ms(), ..requests::decode(request, self.0.machine.supported())? };
        // A leader that nobody hears waits for ever.
        let reply =
            timeout(CALL_DEADLINE, self.group().propose(requests::encode(&request, self.now().active_version).into()))
                .await;
        Ok((reply.map_err(|_| HereError::NoQuorum)??, self.now().index))
    }

    async fn try_here(&self, request: &Bytes) -> Next {
        match self.propose_here(request).await {
            Ok((reply, _)) => read(&reply),
            Err(HereError::Unreadable(error)) => Next::GiveUp(error.to_string()),
            Err(HereError::Propose(ProposeError::NotLeader { hint } | ProposeError::Unknown { hint })) => {
                Next::Ask(hint.map(|LeaderHint { node, .. }| NodeId(node)))
            }
            Err(HereError::Propose(error @ ProposeError::TooLarge { .. })) => Next::GiveUp(error.to_string()),
            Err(error @ (HereError::Propose(_) | HereError::NoQuorum)) => Next::Pause(error.to_string()),
        }
    }

    async fn try_there(&self, node: NodeId, request: &Bytes) -> Next {
        match self.0.remote.propose(node, request.clone(), CALL_DEADLINE).await {
            Ok((reply, index)) => {
                let mut state = self.state();
                // It is done whether it shows here in time or not.
                drop(timeout(VISIBLE_WAIT, state.wait_for(|state| state.index >= index)).await);
                read(&reply)
            }
            Err(RemoteError::NotLeader { node, .. }) => Next::Ask(node),
            Err(RemoteError::Transient(reason)) => Next::Pause(format!("node {node}: {reason}")),
            Err(RemoteError::Refused(reason)) => Next::GiveUp(format!("node {node}: {reason}")),
        }
    }

    /// Another node, in turn.
    fn any_other(&self, turn: &mut usize) -> Option<NodeId> {
        let state = self.now();
        let others: Vec<NodeId> = state.present_nodes().map(|(id, _)| id).filter(|id| *id != self.node()).collect();
        *turn += 1;
        others.get(*turn % others.len().max(1)).copied()
    }

    /// A number that no request has had: the seed is this start's, and the count rises.
    fn draw_id(&self) -> u128 {
        let count = self.0.drawn.fetch_add(1, Ordering::Relaxed);
        xxh3_128_with_seed(&count.to_le_bytes(), self.0.seed.0)
    }
}

fn read(reply: &[u8]) -> Next {
    match replies::decode(reply) {
        Ok(reply) => Next::Done(reply),
        Err(error) => Next::GiveUp(format!("the meta group's reply: {error}")),
    }
}
