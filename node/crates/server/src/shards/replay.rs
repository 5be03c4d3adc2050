//! Memory while a start applies the log again: nobody flushes yet, so applying does it itself once the head is too large.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bellwether_tsdb::{Shard, StorageError};

use crate::config::Config;

/// Share of the memory limit, in per cent, that all heads may take while logs are applied again.
const HEADS_MEMORY_PERCENT: u64 = 35;
/// A group's head may take so much in any case: smaller flushes would only make more runs to merge.
const HEAD_BYTES_MIN: u64 = 1 << 20;

/// One group's replay. Ends when the group has applied its log; from then on maintenance decides.
pub struct Replay {
    head_bytes_max: u64,
    /// The head's size at which the next flush is tried: more than the bound after one that failed.
    flush_at: AtomicU64,
    is_over: AtomicBool,
}

impl Replay {
    /// For one of `groups` groups that may replay at the same time.
    pub fn new(config: &Config, groups: usize) -> Replay {
        let share = match config.memory_limit.0 {
            0 => u64::MAX,
            limit => (limit / 100 * HEADS_MEMORY_PERCENT / groups.max(1) as u64).max(HEAD_BYTES_MIN),
        };
        Replay { head_bytes_max: share, flush_at: AtomicU64::new(share), is_over: AtomicBool::new(false) }
    }

    /// Of a group that has nothing to apply again.
    pub fn over() -> Replay {
        Replay { head_bytes_max: u64::MAX, flush_at: AtomicU64::new(u64::MAX), is_over: AtomicBool::new(true) }
    }

    /// The log is applied.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Flushes a head that is too large; called between entries. A flush that fails takes no data and ends no replay: it is tried again
    /// when the head has grown by as much once more.
    pub fn relieve(&self, shard: &Shard) -> Result<(), StorageError> {
        if self.is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let head_bytes = shard.head_bytes();
        if head_bytes <= self.flush_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let flushed = shard.flush();
        let held_bytes = if flushed.is_ok() { 0 } else { head_bytes };
        self.flush_at.store(held_bytes.saturating_add(self.head_bytes_max), Ordering::Relaxed);
        flushed.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use bellwether_kv::{Faults, KvDisk, MemDisk};
    use bellwether_model::{Labels, RefEpoch, SeriesHash, Tenant, TimeRange};
    use bellwether_tsdb::{PackCache, SPACES, ShardMetrics, ShardOptions};

    use crate::config::ByteSize;

    fn replay() -> Replay {
        Replay::new(&Config { memory_limit: ByteSize(8 << 20), ..Config::default() }, 2)
    }

    fn shard(disk: &MemDisk) -> Shard {
        let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
        let engine = disk.open("shard", SPACES).unwrap();
        Shard::open(engine, ShardOptions { new_ref_epoch: RefEpoch(1) }, PackCache::new(0), metrics).unwrap()
    }

    /// Applies one entry of many samples.
    fn apply(shard: &Shard, entry: i64) {
        let (tenant, labels) = (Tenant::default_tenant(), Labels::of(&[("__name__", "m")]));
        let mut writer = shard.writer();
        let series = writer.register(SeriesHash::of(&tenant, &labels), &tenant, &labels).unwrap();
        for row in 0..10_000 {
            let value = f64::from_bits(((entry * 10_000 + row) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
            writer.append(&[series.0], &[(entry * 10_000 + row) * 1000], &[value], TimeRange::ALL);
        }
    }

    #[test]
    fn a_long_log_never_fills_memory() {
        let (shard, replay) = (shard(&MemDisk::new()), replay());
        let mut highest = 0;
        for entry in 0..100 {
            apply(&shard, entry);
            highest = highest.max(shard.head_bytes());
            replay.relieve(&shard).unwrap();
            assert!(shard.head_bytes() <= replay.head_bytes_max);
        }
        assert!(highest < 2 * replay.head_bytes_max, "{highest} bytes");
        let stats = shard.stats();
        assert!(stats.run_samples > 0);
        assert_eq!(stats.run_samples + stats.unflushed_samples, 1_000_000);
    }

    #[test]
    fn after_the_replay_nothing_is_flushed() {
        let (shard, replay) = (shard(&MemDisk::new()), replay());
        replay.end();
        for entry in 0..50 {
            apply(&shard, entry);
            replay.relieve(&shard).unwrap();
        }
        assert_eq!(shard.stats().run_samples, 0);
    }

    #[test]
    fn a_full_disk_is_asked_again_only_now_and_then() {
        let disk = MemDisk::new();
        let (shard, replay) = (shard(&disk), replay());
        disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
        let failed = (0..50).filter(|entry| {
            apply(&shard, *entry);
            replay.relieve(&shard).is_err()
        });
        let failed = failed.count();
        assert!((1..10).contains(&failed), "{failed} flushes failed");
        disk.set_faults(Faults::default());
        shard.flush().unwrap();
        assert_eq!(shard.stats().run_samples, 500_000);
    }
}
