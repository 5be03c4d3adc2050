//! How old what a replica has applied may be, without asking its leader.
//!
//! Every message of a leader names how far the group has come, and how long ago a quorum answered the leader: until then nobody else led.
//! Once the replica has applied that much, it has everything that was acknowledged before that quorum answered, so what it has is no older. A
//! leader that is cut off with this replica says so with every message.

use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use openraft::{Instant as _, ServerState};
use openraft_rt::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Inner, RaftGroup};
use crate::types::Types;
use crate::wire::QuorumAge;

/// What a leader said of its group, and as of when that is so.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaderWord {
    at: Instant,
    committed: u64,
}

impl LeaderWord {
    /// What a message says that comes now. A leader that has committed nothing in its own term does not know yet what the one before it has
    /// acknowledged, one that no quorum ever answered may lead nobody: `None`.
    pub fn of(request: &AppendEntriesRequest<Types>, age: QuorumAge) -> Option<LeaderWord> {
        let committed = request.leader_commit.as_ref()?;
        let is_of_its_term = committed.leader_id.term == request.vote.leader_id.term;
        let at = Instant::now().checked_sub(age.duration()?)?;
        is_of_its_term.then_some(LeaderWord { at, committed: committed.index })
    }
}

/// What a replica has heard from its leaders.
#[derive(Default)]
pub(super) struct Heard(Mutex<State>);

#[derive(Default)]
struct State {
    /// The latest word that the replica has applied.
    reached: Option<Instant>,
    /// The oldest word after that. Later ones are not kept: a replica that is always a little behind would never reach the latest.
    awaited: Option<LeaderWord>,
}

impl State {
    fn look(&mut self, applied: Option<u64>) {
        if let Some(word) = self.awaited.take_if(|word| applied.is_some_and(|applied| applied >= word.committed)) {
            self.reached = self.reached.max(Some(word.at));
        }
    }
}

impl Heard {
    /// Remembers what the leader said.
    pub fn note(&self, word: LeaderWord, applied: Option<u64>) {
        let mut state = self.0.lock();
        state.look(applied);
        state.awaited.get_or_insert(word);
        state.look(applied);
    }

    /// When the word came up to which everything is applied.
    fn reached(&self, applied: Option<u64>) -> Option<Instant> {
        let mut state = self.0.lock();
        state.look(applied);
        state.reached
    }
}

impl RaftGroup {
    /// How old what is applied here may be: everything that was acknowledged so long ago is there. `None` where that cannot be told, as where the
    /// group does not have this replica, or has not brought it what there is.
    pub fn staleness(&self) -> Option<Duration> {
        let this = &*self.0;
        if !self.is_member() {
            return None;
        }
        {
            let metrics = this.raft.metrics();
            let now = metrics.borrow_watched();
            if now.running_state.is_err() {
                return None;
            }
            let is_current = now.last_applied.as_ref().is_some_and(|at| at.leader_id.term == now.current_term);
            if now.state == ServerState::Leader && is_current {
                if now.membership_config.voter_ids().eq([this.replica.0]) {
                    return Some(Duration::ZERO);
                }
                // A quorum that heard this leader has heard of no later one.
                let acknowledged = now.last_quorum_acked.as_ref().map(|at| at.into_inner().elapsed());
                if acknowledged.is_some() {
                    return acknowledged;
                }
            }
        }
        this.heard.reached(this.applied_index()).map(|at| at.elapsed())
    }
}

impl Inner {
    pub(super) fn applied_index(&self) -> Option<u64> {
        self.log.applied().borrow().map(|applied| applied.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_word_that_is_applied_counts_and_one_always_behind_is_a_little_old() {
        let heard = Heard::default();
        assert_eq!(heard.reached(Some(100)), None);
        let mut words = Vec::new();
        for at in 0..5 {
            words.push(Instant::now());
            // It hears of entry 10 * (at + 1) while it has applied the one of the word before.
            heard.note(LeaderWord { at: Instant::now(), committed: 10 * (at + 1) }, (at > 0).then_some(10 * at));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(heard.reached(Some(40)), Some(words[3]));
        assert_eq!(heard.reached(Some(49)), Some(words[3]));
        assert_eq!(heard.reached(Some(50)), Some(words[4]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_without_its_copy_hears_its_leader_and_is_not_fresh() {
        let heard = Heard::default();
        for _ in 0..10 {
            heard.note(LeaderWord { at: Instant::now(), committed: 7 }, None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(heard.reached(None), None);
        assert_eq!(heard.reached(Some(6)), None);
        assert!(
            heard.reached(Some(7)).unwrap().elapsed() == Duration::from_secs(10),
            "the first word counts, then the next"
        );
    }
}
