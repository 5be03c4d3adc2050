//! What a node's shards tell its operator, summed over the shards.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};

/// Counters of all shards that were opened with them.
pub struct ShardMetrics {
    /// Samples written by flushes.
    pub flushed_samples: IntCounter,
    /// Seconds per flush that had something to write.
    pub flush_seconds: Histogram,
    /// Samples written by merges and seals.
    pub merged_samples: IntCounter,
    /// Seconds per Window merged or sealed.
    pub merge_seconds: Histogram,
    /// Parts of runs found damaged.
    pub corrupt_parts: IntCounter,
}

impl ShardMetrics {
    /// Registers the metrics.
    ///
    /// # Panics
    /// If they are registered already: one node makes them once.
    pub fn new(registry: &Registry) -> ShardMetrics {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("the name is legal");
            registry.register(Box::new(counter.clone())).expect("the name is free");
            counter
        };
        let seconds = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(0.001, 2.0, 16).expect("sixteen buckets");
            let histogram =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect("the name is legal");
            registry.register(Box::new(histogram.clone())).expect("the name is free");
            histogram
        };
        ShardMetrics {
            flushed_samples: counter("bellwether_shard_flushed_samples_total", "Samples written by flushes"),
            flush_seconds: seconds("bellwether_shard_flush_seconds", "Duration of flushes that wrote something"),
            merged_samples: counter("bellwether_shard_merged_samples_total", "Samples written by merges and seals"),
            merge_seconds: seconds("bellwether_shard_merge_seconds", "Duration of merges and seals of one Window"),
            corrupt_parts: counter("bellwether_shard_corrupt_parts_total", "Damaged parts of runs met by readers"),
        }
    }
}
