//! A leader that no quorum hears any more commits nothing: it refuses what is proposed to it, instead of letting callers
//! wait until the others are back. It goes on leading, for nobody else could do better; where the others elect one of
//! them, it hears of it when it is back.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Instant as _, ServerState};
use openraft_rt::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::RaftGroup;
use crate::wire::QuorumAge;

/// When a quorum last answered this replica, where it leads: its messages say so, since whoever hears it alone cannot know
/// whether the others have elected somebody else. As of the last beat.
#[derive(Default)]
pub(crate) struct QuorumHeard(Mutex<Option<Answered>>);

#[derive(Debug, Clone, Copy)]
enum Answered {
    /// Nobody else votes.
    Alone,
    At(Instant),
}

impl QuorumHeard {
    /// How long ago that is now.
    pub fn age(&self) -> QuorumAge {
        match *self.0.lock() {
            None => QuorumAge::UNHEARD,
            Some(Answered::Alone) => QuorumAge::of(Duration::ZERO),
            Some(Answered::At(at)) => QuorumAge::of(at.elapsed()),
        }
    }
}

/// Whether a quorum hears this replica, where it leads. Looked at with every beat.
pub(super) struct Quorum {
    is_lost: watch::Sender<bool>,
    /// Since when it leads without having heard a quorum even once.
    unheard_since: Mutex<Option<Instant>>,
    heard: Arc<QuorumHeard>,
}

impl Quorum {
    pub fn new(heard: Arc<QuorumHeard>) -> Self {
        Self { is_lost: watch::Sender::new(false), unheard_since: Mutex::default(), heard }
    }

    pub fn is_lost(&self) -> watch::Receiver<bool> {
        self.is_lost.subscribe()
    }
}

impl RaftGroup {
    /// Takes note of whether a quorum has answered lately.
    pub(super) fn watch_quorum(&self) {
        let this = &*self.0;
        let longest = this.shared.options.quorum_silence_max;
        let is_lost = self.quorum_silence().is_some_and(|silence| silence > longest);
        let changed = this.quorum.is_lost.send_if_modified(|known| std::mem::replace(known, is_lost) != is_lost);
        if changed && is_lost {
            tracing::warn!(group = this.group.0, "no quorum answers this leader: proposals are refused");
        } else if changed {
            tracing::info!(group = this.group.0, "a quorum answers again, or somebody else leads");
        }
    }

    /// For how long no quorum has answered; `None` where this replica does not lead, or needs nobody.
    fn quorum_silence(&self) -> Option<Duration> {
        let this = &*self.0;
        let metrics = this.raft.metrics();
        let now = metrics.borrow_watched();
        let mut unheard_since = this.quorum.unheard_since.lock();
        let needs_others = !now.membership_config.voter_ids().eq([this.replica.0]);
        let leads = now.state == ServerState::Leader && now.running_state.is_ok();
        if !leads {
            this.backlogs.clear();
        }
        *this.quorum.heard.0.lock() = match &now.last_quorum_acked {
            _ if !leads => None,
            _ if !needs_others => Some(Answered::Alone),
            Some(at) => Instant::now().checked_sub(at.into_inner().elapsed()).map(Answered::At),
            None => None,
        };
        if !leads || !needs_others {
            *unheard_since = None;
            return None;
        }
        match &now.last_quorum_acked {
            Some(at) => {
                *unheard_since = None;
                Some(at.into_inner().elapsed())
            }
            None => Some(unheard_since.get_or_insert_with(Instant::now).elapsed()),
        }
    }
}
