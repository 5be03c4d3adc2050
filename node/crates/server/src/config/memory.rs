//! How the memory limit is shared out.

use super::Config;

/// Heads may take this share of the memory limit, in per cent, before the largest is flushed.
const HEADS_MEMORY_FLUSH_PERCENT: u64 = 35;
/// Above this share writes are refused until flushes have caught up.
pub const HEADS_MEMORY_MAX_PERCENT: u64 = 50;

// Flushing begins before anybody is refused.
const _: () = assert!(HEADS_MEMORY_FLUSH_PERCENT < HEADS_MEMORY_MAX_PERCENT);

impl Config {
    /// Memory of heads above which the largest is flushed.
    pub fn heads_bytes_flush(&self) -> u64 {
        self.memory_share(HEADS_MEMORY_FLUSH_PERCENT)
    }

    /// Memory of heads above which writes are refused.
    pub fn heads_bytes_max(&self) -> u64 {
        self.memory_share(HEADS_MEMORY_MAX_PERCENT)
    }

    fn memory_share(&self, percent: u64) -> u64 {
        if self.memory_limit.0 == 0 { u64::MAX } else { self.memory_limit.0 / 100 * percent }
    }
}
