//! Handing leadership over.
//!
//! Leadership moves when a leader dies, or when it is handed over here; there are no priorities by which it would move
//! back by itself. Whoever wants it elsewhere asks for it.

use std::sync::Arc;
use std::time::Duration;

use bellwether_probe::reached;
use openraft::RaftState;
use openraft::errors::RaftError;
use openraft::raft::VoteRequest;
use tokio::time::{Instant, sleep, timeout_at};

use super::state::ReplicaProgress;
use super::{GroupState, Inner, Leadership, RaftGroup};
use crate::errors::TransferError;
use crate::limits;
use crate::node::mix;
use crate::types::{NodeId, ReplicaId, Types, Vote};

impl RaftGroup {
    /// Hands leadership over to a voter, and waits for the outcome no longer than `within`. Until the voter answers, has
    /// nearly caught up and applied what it has, nothing is stopped; from then on this replica takes no proposals, and if
    /// the voter fails to take over, any voter does after an election timeout. If none does, this one stands for election
    /// again.
    pub async fn transfer_leadership(&self, to: ReplicaId, within: Duration) -> Result<(), TransferError> {
        let this = &*self.0;
        let stopped = || TransferError::Stopped { group: this.group, reason: this.failure() };
        let deadline = Instant::now() + within;
        let state = self.state();
        if !state.is_leader {
            return Err(TransferError::NotLeader { hint: state.leader });
        }
        if to == this.replica {
            return Ok(());
        }
        if !state.voters.contains_key(&to) {
            return Err(TransferError::NotAVoter { group: this.group, replica: to });
        }
        let unfit = |node: &NodeId| this.shared.standing.read().unfit.contains(node);
        if let Some(node) = state.voters.get(&to).copied().filter(unfit) {
            return Err(TransferError::Unfit { group: this.group, node });
        }
        let silence_max = this.shared.options.quorum_silence_max;
        let ready = self.wait_until(|state| !state.is_leader || is_near(state, to, silence_max));
        match timeout_at(deadline, ready).await {
            Ok(true) => {}
            Ok(false) => return Err(stopped()),
            Err(_) => {
                let bytes_behind = self.state().progress.get(&to).map_or(0, to_do);
                return Err(TransferError::Behind { group: this.group, replica: to, bytes_behind });
            }
        }
        this.raft
            .trigger()
            .transfer_leader(to.0)
            .await
            .map_err(|fatal| TransferError::Stopped { group: this.group, reason: fatal.to_string() })?;
        self.take_back_untaken(state.term, to);
        let mut found = None;
        let taken = self.wait_until(|state| {
            found = state.leader.filter(|leader| leader.replica != this.replica);
            found.is_some()
        });
        match timeout_at(deadline, taken).await {
            Ok(true) => {}
            Ok(false) => return Err(stopped()),
            Err(_) => return Err(TransferError::Deadline(this.group)),
        }
        match found {
            Some(leader) if leader.replica == to => Ok(()),
            hint => Err(TransferError::NotLeader { hint }),
        }
    }

    /// Has this replica stand for election where nobody has taken over in time what it led in `term`: openraft's leader
    /// proposes nothing any more once it hands over, and cannot be told otherwise. The voter may be gone by now, and the
    /// others may be too far behind, or not be allowed to lead. Goes on where the hand-over was cancelled.
    fn take_back_untaken(&self, term: u64, to: ReplicaId) {
        let group = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            sleep(limits::TAKE_OVER_WAIT).await;
            // A group that stopped leads nothing, and its log may be open in other hands by now.
            let Some(group) = group.upgrade().map(RaftGroup) else { return };
            if !group.0.step_down(term, to).await.unwrap_or(false) {
                return;
            }
            reached("a hand-over that nobody took was taken back");
            tracing::warn!(group = group.0.group.0, "nobody took over: this replica stands for election again");
            for attempt in 0..limits::TAKE_BACK_ATTEMPTS {
                if group.leadership() != Leadership::Unknown || group.0.raft.trigger().elect(true).await.is_err() {
                    break;
                }
                sleep(limits::HEARTBEAT + group.0.jitter(attempt)).await;
            }
        });
    }

    /// Hands leadership over to the voter that has the most of the log, or the next one if that does not answer. `None`:
    /// nobody else votes, or none of those that do may lead.
    pub(crate) async fn hand_over(&self, deadline: Instant) -> Option<Result<(), TransferError>> {
        let successors = self.successors();
        let mut outcome = None;
        let count = successors.len() as u32;
        for (tried, successor) in successors.into_iter().enumerate() {
            // Each gets an equal share of what is left, so that one that does not answer leaves time for the next.
            let left = deadline.saturating_duration_since(Instant::now());
            let transferred = match self.transfer_leadership(successor, left / (count - tried as u32)).await {
                // Somebody else was faster: what matters is that this replica does not lead any more.
                Err(TransferError::NotLeader { hint: Some(_) }) => Ok(()),
                other => other,
            };
            let go_on = matches!(transferred, Err(TransferError::Behind { .. }));
            outcome = Some(transferred);
            if !go_on {
                break;
            }
        }
        outcome
    }

    /// The voters that may take over, best first: those that answer before those that do not, then those that lack
    /// and have yet to apply the least. Among equals the group's number decides, so that many groups do not all choose the same node.
    fn successors(&self) -> Vec<ReplicaId> {
        let state = self.state();
        let group = u64::from(self.0.group.0);
        let silence_max = self.0.shared.options.election_timeout_max;
        let standing = self.0.shared.standing.read();
        let mut successors: Vec<_> = state
            .progress
            .iter()
            .filter(|(replica, _)| state.voters.get(replica).is_some_and(|node| !standing.unfit.contains(node)))
            .map(|(replica, progress)| {
                let is_silent = progress.silent.is_none_or(|silent| silent > silence_max);
                (is_silent, to_do(progress), mix(group, replica.0), *replica)
            })
            .collect();
        successors.sort_unstable();
        successors.into_iter().map(|(.., replica)| replica).collect()
    }
}

impl Inner {
    /// Ends the leadership of `term`, if this replica still has it, by what it has asked for: that `to` stands for election
    /// in the next term. Should `to` really do so later, with all of the log, this vote is its own. Says whether it had it.
    async fn step_down(&self, term: u64, to: ReplicaId) -> Result<bool, RaftError<Types>> {
        let look = |state: &RaftState<Types>| (*state.vote_ref(), state.log_ids.last().cloned());
        let (vote, last) = self.raft.with_raft_state(look).await?;
        if !vote.committed || vote.leader_id.term != term || vote.leader_id.node_id != self.replica.0 {
            return Ok(false);
        }
        let mut request = VoteRequest::new(Vote::new(term + 1, to.0), last);
        request.leadership_transfer = true;
        Ok(self.raft.vote(request).await?.vote_granted)
    }
}

/// Bytes of log that a voter lacks or has yet to apply: before it has done that, nobody gets an answer from it as the leader.
fn to_do(progress: &ReplicaProgress) -> u64 {
    progress.bytes_behind.saturating_add(progress.bytes_unapplied.unwrap_or(0))
}

/// Whether a voter answers, and has so little to do that it has done it before callers notice.
fn is_near(state: &GroupState, replica: ReplicaId, silence_max: Duration) -> bool {
    state.progress.get(&replica).is_some_and(|progress| {
        progress.matched.is_some()
            && progress.silent.is_some_and(|silent| silent <= silence_max)
            && progress.bytes_unapplied.is_some()
            && to_do(progress) <= limits::TRANSFER_LAG_BYTES_MAX
    })
}
