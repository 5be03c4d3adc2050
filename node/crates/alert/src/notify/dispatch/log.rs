//! What each way of each receiver was told last of each group, so that none is told the same twice.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{Labels, Timestamp};

use super::{Alert, Message};

/// An entry is forgotten after so many times the route's `repeat_interval`.
const REPEATS_KEPT: i64 = 2;
/// Entries at a time; above them the one that is forgotten first makes room.
pub const LOG_ENTRIES_MAX: usize = 500_000;

/// What a message is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The first of its group.
    New,
    /// Alerts fire that the last one did not have.
    Changed,
    /// Alerts are over that fired before.
    Resolved,
    /// Nothing is new, and `repeat_interval` is over.
    Repeated,
}

impl Why {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Changed => "changed",
            Why::Resolved => "resolved",
            Why::Repeated => "repeated",
        }
    }
}

/// The last message of each group, receiver and way.
#[derive(Debug, Clone, Default)]
pub struct Log(BTreeMap<(String, String, usize), Entry>);

#[derive(Debug, Clone)]
struct Entry {
    firing: BTreeSet<Labels>,
    resolved: BTreeSet<Labels>,
    sent_at: Timestamp,
    forget_at: Timestamp,
}

impl Log {
    /// What the message is for, if it is to be sent.
    pub fn why(&self, message: &Message, tells_resolved: bool, repeat_ms: i64, now: Timestamp) -> Option<Why> {
        let Some(last) = self.0.get(&key(message)) else {
            return (!message.firing.is_empty()).then_some(Why::New);
        };
        let (firing, resolved) = (labels(&message.firing), labels(&message.resolved));
        if !firing.is_subset(&last.firing) {
            // After all was over, the first that fires is the first of all.
            return Some(if last.firing.is_empty() { Why::New } else { Why::Changed });
        }
        if firing.is_empty() {
            return (!last.firing.is_empty()).then_some(Why::Resolved);
        }
        if tells_resolved && !resolved.is_subset(&last.resolved) {
            return Some(Why::Resolved);
        }
        (now.saturating_sub(repeat_ms) > last.sent_at).then_some(Why::Repeated)
    }

    /// Notes that a message was sent.
    pub fn note(&mut self, message: &Message, repeat_ms: i64, now: Timestamp) {
        let entry = Entry {
            firing: labels(&message.firing),
            resolved: labels(&message.resolved),
            sent_at: now,
            forget_at: now.saturating_add(repeat_ms.saturating_mul(REPEATS_KEPT)),
        };
        if self.0.len() >= LOG_ENTRIES_MAX
            && let Some((first, _)) = self.0.iter().min_by_key(|(_, entry)| entry.forget_at)
        {
            let first = first.clone();
            self.0.remove(&first);
        }
        self.0.insert(key(message), entry);
    }

    /// Forgets what is too old to matter.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, entry| entry.forget_at > now);
    }
}

fn key(message: &Message) -> (String, String, usize) {
    (message.group_key.clone(), message.receiver.clone(), message.integration)
}

fn labels(alerts: &[Alert]) -> BTreeSet<Labels> {
    alerts.iter().map(|alert| alert.labels.clone()).collect()
}
