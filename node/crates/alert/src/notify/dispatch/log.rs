//! What each way of each receiver was told last of each group, so that none is told the same twice.

use std::collections::BTreeMap;

use bellwether_model::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::{Alert, Message, Way};
use crate::set_back::SetBack;

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
    /// Somebody takes care of all that fires.
    Acknowledged,
    /// The receiver's throttle holds messages back: so many, of so many groups; or none any longer.
    HeldBack {
        /// How often a group was held back.
        messages: u64,
        /// Groups that are.
        groups: u64,
    },
}

impl Why {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Changed => "changed",
            Why::Resolved => "resolved",
            Why::Repeated => "repeated",
            Why::Acknowledged => "acknowledged",
            Why::HeldBack { .. } => "held back",
        }
    }

    /// Whether it is what a look at a group found to tell: these are noted in the log.
    pub(crate) fn is_of_look(self) -> bool {
        !matches!(self, Why::Acknowledged | Why::HeldBack { .. })
    }
}

/// The last message of each way.
#[derive(Debug, Clone, Default)]
pub struct Log {
    entries: BTreeMap<Way, Entry>,
    /// No entry is forgotten before.
    forget_next: Timestamp,
}

/// The last message of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Hashes of the labels of alerts that fired, ascending.
    pub(crate) firing: Vec<u64>,
    /// Of those that were over.
    pub(crate) resolved: Vec<u64>,
    pub(crate) sent_at: Timestamp,
    pub(crate) forget_at: Timestamp,
    /// Something else was to be told since, and nobody knows whether it came.
    pub(crate) is_uncertain: bool,
}

impl Log {
    /// What the message is for, if it is to be sent.
    pub fn why(&self, message: &Message, tells_resolved: bool, repeat_ms: i64, now: Timestamp) -> Option<Why> {
        let Some(last) = self.entries.get(&message.way()) else {
            return (!message.firing.is_empty()).then_some(Why::New);
        };
        let (firing, resolved) = (hashes(&message.firing), hashes(&message.resolved));
        if !is_subset(&firing, &last.firing) {
            // After all was over, the first that fires is the first of all.
            return Some(if last.firing.is_empty() { Why::New } else { Why::Changed });
        }
        if firing.is_empty() {
            return (!last.firing.is_empty()).then_some(Why::Resolved);
        }
        if tells_resolved && !is_subset(&resolved, &last.resolved) {
            return Some(Why::Resolved);
        }
        if last.is_uncertain {
            return Some(Why::Changed);
        }
        (now.saturating_sub(repeat_ms) > last.sent_at).then_some(Why::Repeated)
    }

    /// Whether a way was told last of alerts that fire.
    pub(crate) fn tells_firing(&self, way: &Way) -> bool {
        self.entries.get(way).is_some_and(|last| !last.firing.is_empty())
    }

    /// What was told last is told still, though not again.
    pub(super) fn remember(&mut self, way: &Way, repeat_ms: i64, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(way) {
            entry.forget_at = now.saturating_add(repeat_ms.saturating_mul(REPEATS_KEPT));
        }
    }

    /// Notes that a message was sent.
    pub fn note(&mut self, message: &Message, repeat_ms: i64, now: Timestamp) {
        let entry = Entry {
            firing: hashes(&message.firing),
            resolved: hashes(&message.resolved),
            sent_at: now,
            forget_at: now.saturating_add(repeat_ms.saturating_mul(REPEATS_KEPT)),
            is_uncertain: false,
        };
        if self.entries.len() >= LOG_ENTRIES_MAX
            && let Some((first, _)) = self.entries.iter().min_by_key(|(_, entry)| entry.forget_at)
        {
            let first = first.clone();
            self.entries.remove(&first);
        }
        self.insert(message.way(), entry);
    }

    /// Notes that nobody knows whether a message came.
    pub(crate) fn doubt(&mut self, message: &Message) {
        if let Some(last) = self.entries.get_mut(&message.way()) {
            last.is_uncertain |= last.firing != hashes(&message.firing) || last.resolved != hashes(&message.resolved);
        }
    }

    /// Forgets what is too old to matter.
    pub fn forget(&mut self, now: Timestamp) {
        if self.forget_next > now {
            return;
        }
        self.entries.retain(|_, entry| entry.forget_at > now);
        self.forget_next = self.entries.values().map(|entry| entry.forget_at).min().unwrap_or(Timestamp::MAX);
    }

    /// Its times were wrong.
    pub(super) fn set_back(&mut self, back: SetBack) {
        for Entry { sent_at, forget_at, .. } in self.entries.values_mut() {
            back.happened(sent_at);
            back.awaited(forget_at);
        }
        self.forget_next = self.entries.values().map(|entry| entry.forget_at).min().unwrap_or(Timestamp::MAX);
    }

    /// What a way was told is to be told again, however long ago that was.
    pub(super) fn repeat(&mut self, way: &Way) {
        if let Some(entry) = self.entries.get_mut(way) {
            entry.sent_at = Timestamp::MIN;
        }
    }

    /// All, by way.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = (&Way, &Entry)> {
        self.entries.iter()
    }

    pub(crate) fn insert(&mut self, way: Way, entry: Entry) {
        self.forget_next = self.forget_next.min(entry.forget_at);
        self.entries.insert(way, entry);
    }
}

/// As Alertmanager does, alerts are told apart by hashes: there may be many, and they are kept for long.
fn hashes(alerts: &[Alert]) -> Vec<u64> {
    let mut hashes: Vec<u64> = alerts.iter().map(|alert| xxh3_64(alert.labels.canonical_bytes())).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// A hash of the alerts of a message.
pub(super) fn content_hash(message: &Message) -> u64 {
    let (firing, resolved) = (hashes(&message.firing), hashes(&message.resolved));
    let parts = [firing.len() as u64].into_iter().chain(firing).chain(resolved);
    xxh3_64(&parts.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

fn is_subset(some: &[u64], of: &[u64]) -> bool {
    some.iter().all(|hash| of.binary_search(hash).is_ok())
}
