//! Critical rules are evaluated on the write stream: as soon as a sample is stored that they may see.
//!
//! 1. Every node knows all rules. The [`table`] says which series critical rules read; the node's replicas of shard groups look for
//!    these among what they apply ([`WatchBoard`](crate::shards::watches::WatchBoard)).
//! 2. The node that leads the shard group tells the rule groups' evaluators ([`carrier`]): itself, or another node, to which
//!    whatever gathers while one call is under way goes together.
//! 3. The evaluator finds what was told in its [`Touches`] and evaluates the rules that are concerned
//!    ([`touched`](super::evaluator)).
//!
//! What waits anywhere is bounded by the critical rules that there are: what is told again while it waits is there once, and stays
//! until somebody has evaluated it. What is lost with a node that dies is seen at the group's next tick.

mod carrier;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_model::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::evaluator::GroupKey;
pub use carrier::{Carrier, Parts};
pub use table::critical_groups;

/// Samples that critical rules of a group may see were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The rules, as they are numbered in the revision.
    pub rules: BTreeSet<u32>,
    /// The group's revision. In another one, all of its critical rules are meant.
    pub revision: u64,
    /// When the first of the samples could be read.
    pub since: Instant,
    /// No sample among them is newer.
    pub newest: Timestamp,
}

impl Touch {
    /// Takes another one in.
    pub fn merge(&mut self, other: Touch) {
        let Touch { rules, revision, since, newest } = other;
        if self.revision != revision {
            // Neither numbers mean anything any more.
            self.revision = 0;
        }
        self.rules.extend(rules);
        self.since = self.since.min(since);
        self.newest = self.newest.max(newest);
    }
}

/// What was told to this node and its evaluator has not looked at yet. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Touches(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<BTreeMap<GroupKey, Touch>>,
    news: Notify,
}

impl Touches {
    /// Tells of a group, of which the teller knows that it is there.
    pub fn tell(&self, key: GroupKey, touch: Touch) {
        add(&mut self.0.waiting.lock(), key, touch);
        self.0.news.notify_one();
    }

    /// Waits until something was told since the last time that it was taken.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    /// Takes what was told.
    pub fn take(&self) -> BTreeMap<GroupKey, Touch> {
        std::mem::take(&mut *self.0.waiting.lock())
    }
}

/// Adds a touch to others.
fn add(to: &mut BTreeMap<GroupKey, Touch>, key: GroupKey, touch: Touch) {
    match to.get_mut(&key) {
        Some(known) => known.merge(touch),
        None => {
            to.insert(key, touch);
        }
    }
}
