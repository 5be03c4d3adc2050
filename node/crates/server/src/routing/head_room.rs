//! Refuses writes while the heads take more memory than they may: when flushes do not keep up with what comes in, the
//! sender waits instead of the node running out of memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_model::ShardGroupId;
use bellwether_probe::buggify;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::{Config, HEADS_MEMORY_MAX_PERCENT};

/// The simulation has heads fill this part of their room now and then.
const TINY_PART: u64 = 64;

/// Why no write is taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "samples that are not flushed yet take {:.1} MB of memory, the limit is {:.1} MB ({HEADS_MEMORY_MAX_PERCENT} % of \
     memory_limit): they are being flushed",
    megabytes(*.held_bytes),
    megabytes(*.limit_bytes)
)]
pub struct HeadsFull {
    /// What they take.
    pub held_bytes: u64,
    /// What they may take.
    pub limit_bytes: u64,
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the heads of a node take. Set after every entry that is applied, and by maintenance.
pub struct HeadRoom {
    limit_bytes: u64,
    groups: Mutex<BTreeMap<ShardGroupId, u64>>,
    /// The sum over all groups. Relaxed: a request sees a figure that was true a moment ago.
    held: AtomicU64,
    exceeded: Notify,
}

impl HeadRoom {
    /// As configured.
    pub fn new(config: &Config) -> HeadRoom {
        let limit_bytes = config.heads_bytes_max();
        HeadRoom { limit_bytes, groups: Mutex::default(), held: AtomicU64::new(0), exceeded: Notify::new() }
    }

    /// Says what the heads of all groups that this node serves take now.
    pub fn set(&self, groups: impl Iterator<Item = (ShardGroupId, u64)>) {
        let mut known = self.groups.lock();
        *known = groups.collect();
        self.held.store(known.values().sum(), Ordering::Relaxed);
    }

    /// Says what a group's heads take after an entry was applied, and wakes whoever waits for
    /// [`exceeded`](Self::exceeded).
    pub fn grown(&self, group: ShardGroupId, bytes: u64) {
        let mut known = self.groups.lock();
        known.insert(group, bytes);
        self.held.store(known.values().sum(), Ordering::Relaxed);
        drop(known);
        if self.is_exceeded() {
            self.exceeded.notify_one();
        }
    }

    /// Whether all heads together take more than they may.
    pub fn is_exceeded(&self) -> bool {
        self.held() > self.limit_bytes
    }

    /// Waits until they do.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// An error while there is no room.
    pub fn check(&self) -> Result<(), HeadsFull> {
        let limit_bytes =
            if buggify("little room for heads") { self.limit_bytes / TINY_PART } else { self.limit_bytes };
        let held_bytes = self.held();
        if held_bytes > limit_bytes { Err(HeadsFull { held_bytes, limit_bytes }) } else { Ok(()) }
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    #[tokio::test]
    async fn there_is_room_until_all_heads_together_take_too_much() {
        let config = Config { memory_limit: ByteSize(200 << 20), ..Config::default() };
        let room = HeadRoom::new(&config);
        let (one, two) = (ShardGroupId(1), ShardGroupId(2));
        room.set([(one, 60 << 20), (two, 40 << 20)].into_iter());
        assert_eq!(room.check(), Ok(()));
        room.grown(two, 41 << 20);
        assert_eq!(
            room.check().unwrap_err().to_string(),
            "samples that are not flushed yet take 101.0 MB of memory, the limit is 100.0 MB (50 % of memory_limit): \
             they are being flushed"
        );
        room.exceeded().await;
        room.set([(one, 100 << 20)].into_iter());
        assert_eq!(room.check(), Ok(()));
    }

    #[test]
    fn without_a_memory_limit_there_is_always_room() {
        let room = HeadRoom::new(&Config::default());
        room.grown(ShardGroupId(1), u64::MAX);
        assert_eq!(room.check(), Ok(()));
    }
}
