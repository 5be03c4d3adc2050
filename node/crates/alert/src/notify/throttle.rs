//! How much a receiver is told: beyond that, groups of alerts are held back, and one message says how many.
//!
//! 1. A message of a group counts once, by however many integrations it goes; one that tells of ends alone does not count, since
//!    it ends what was told.
//! 2. A group that has no room is looked at again as always, and told once there is room.
//! 3. While groups are held back the receiver is told so at once and then once in the time of the throttle, with their
//!    alerts; and once more when nothing is held back any longer. An integration by which that did not arrive is tried again by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bellwether_model::Timestamp;

use super::config::IntegrationAt;
use super::dispatch::GroupId;
use crate::set_back::SetBack;

/// Messages that a throttle can let through: the time of each is remembered.
pub const THROTTLE_MESSAGES_MAX: usize = 1_000;
/// What is held back is told again after so long at the earliest where it did not arrive.
pub const TOLD_AGAIN_MS_MIN: i64 = 60 * 1000;
/// Alerts that a message of what is held back tells of; how many there are is told.
pub const HELD_BACK_ALERTS_MAX: usize = 1_000;

/// How much a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// So many messages, [`THROTTLE_MESSAGES_MAX`] at most.
    pub messages: usize,
    /// In so long.
    pub per_ms: i64,
}

/// What was told to receivers that have a throttle, and what is held back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttles(pub(crate) BTreeMap<String, Throttled>);

/// The same of a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttled {
    /// When its last messages were made, ascending.
    pub(crate) made: VecDeque<Timestamp>,
    /// Groups of which it does not know what is new.
    pub(crate) held: BTreeSet<GroupId>,
    /// How often a group was held back, since nothing was.
    pub(crate) messages: u64,
    /// When it is told what is held back, at the earliest.
    pub(crate) next: Option<Timestamp>,
    /// It was told that something is held back.
    pub(crate) is_told: bool,
    /// Integrations by which the last message of that did not arrive, and when they are told.
    pub(crate) again: BTreeMap<IntegrationAt, Timestamp>,
}

impl Throttles {
    /// Groups that a receiver is not told of now, and how often one was held back.
    pub fn held_back(&self, receiver: &str) -> (u64, u64) {
        self.0.get(receiver).map_or((0, 0), |known| (known.held.len() as u64, known.messages))
    }

    /// When somebody is to be told next of what is held back.
    pub fn next(&self) -> Option<Timestamp> {
        let known = self.0.values().filter(|known| !known.held.is_empty());
        known.flat_map(|known| known.next.into_iter().chain(known.again.values().copied())).min()
    }

    /// Whether there is room for a message of a group, which takes it then; otherwise the group is held back.
    pub(super) fn takes(&mut self, receiver: &str, throttle: Throttle, id: &GroupId, now: Timestamp) -> bool {
        let known = self.0.entry(receiver.to_owned()).or_default();
        known.forget(throttle, now);
        if known.made.len() < throttle.messages.min(THROTTLE_MESSAGES_MAX) {
            known.made.push_back(now);
            known.held.remove(id);
            return true;
        }
        known.held.insert(id.clone());
        known.messages = known.messages.saturating_add(1);
        false
    }

    /// There is nothing more to tell of a group.
    pub(super) fn let_go(&mut self, receiver: &str, id: &GroupId) {
        if let Some(known) = self.0.get_mut(receiver) {
            known.held.remove(id);
        }
    }

    /// Groups are others now.
    pub(crate) fn regroup(&mut self) {
        for known in self.0.values_mut() {
            known.held.clear();
            known.again.clear();
        }
    }

    /// Its times were wrong.
    pub(crate) fn set_back(&mut self, back: SetBack) {
        for known in self.0.values_mut() {
            known.made.iter_mut().for_each(|at| back.happened(at));
            known.next.iter_mut().chain(known.again.values_mut()).for_each(|at| back.awaited(at));
        }
    }

    /// The message that said what is held back did not arrive by an integration; others may have it.
    pub(crate) fn not_told(&mut self, receiver: &str, integration: IntegrationAt, again_at: Timestamp) {
        if let Some(known) = self.0.get_mut(receiver).filter(|known| !known.held.is_empty()) {
            known.again.insert(integration, again_at);
        }
    }
}

impl Throttled {
    /// Forgets messages that do not count any more.
    pub(super) fn forget(&mut self, throttle: Throttle, now: Timestamp) {
        while self.made.front().is_some_and(|at| at.saturating_add(throttle.per_ms) <= now) {
            self.made.pop_front();
        }
    }

    /// Nothing to remember.
    pub(super) fn is_idle(&self) -> bool {
        self.made.is_empty() && self.held.is_empty() && !self.is_told
    }
}
