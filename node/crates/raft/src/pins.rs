//! What must stay in a log because a checkpoint is on its way: whoever receives it needs the entries behind it, else it
//! would need another checkpoint by the time that it has this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits;
use crate::types::ReplicaId;

/// Checkpoints of one group, as index of the first entry that they lack.
#[derive(Default)]
pub(crate) struct Pins(Mutex<Pinned>);

#[derive(Default)]
struct Pinned {
    /// The last one made. Whom it is for is known when it is sent.
    made: Option<Pin>,
    sent: BTreeMap<ReplicaId, Pin>,
}

#[derive(Clone, Copy)]
struct Pin {
    next: u64,
    /// `None` while it is being sent.
    until: Option<Instant>,
}

impl Pin {
    /// One that holds until its replica had the time to ask for what follows.
    fn for_a_while(next: u64) -> Self {
        Self { next, until: Some(Instant::now() + limits::CHECKPOINT_GRACE) }
    }

    fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Pins {
    /// A checkpoint is made that lacks the entries from index `next` on, or fewer.
    pub fn made(&self, next: u64) {
        self.0.lock().made = Some(Pin::for_a_while(next));
    }

    /// A checkpoint is being sent, until what this returns is dropped.
    pub fn sending(self: &Arc<Self>, replica: ReplicaId, next: u64) -> Sending {
        self.0.lock().sent.insert(replica, Pin { next, until: None });
        Sending { pins: self.clone(), replica, next }
    }

    /// Index from which on a replica that gets a checkpoint needs the log; `None` if no checkpoint is on its way.
    pub fn needed_by(&self, replica: ReplicaId) -> Option<u64> {
        let mut pinned = self.0.lock();
        pinned.sent.retain(|_, pin| pin.holds());
        pinned.made = pinned.made.filter(Pin::holds);
        let pin = pinned.sent.get(&replica).or(pinned.made.as_ref());
        pin.map(|pin| pin.next)
    }
}

/// Holds the log behind a checkpoint for the replica that gets it, and for a while longer.
pub(crate) struct Sending {
    pins: Arc<Pins>,
    replica: ReplicaId,
    next: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.pins.0.lock().sent.insert(self.replica, Pin::for_a_while(self.next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_holds_the_log_while_it_is_sent_and_a_while_longer() {
        let pins = Arc::<Pins>::default();
        let (one, two) = (ReplicaId(1), ReplicaId(2));
        assert_eq!(pins.needed_by(one), None);
        pins.made(10);
        assert_eq!(pins.needed_by(one), Some(10));
        let sending = pins.sending(one, 12);
        tokio::time::sleep(limits::CHECKPOINT_GRACE * 10).await;
        assert_eq!((pins.needed_by(one), pins.needed_by(two)), (Some(12), None));
        drop(sending);
        assert_eq!(pins.needed_by(one), Some(12));
        tokio::time::sleep(limits::CHECKPOINT_GRACE).await;
        assert_eq!(pins.needed_by(one), None);
    }
}
