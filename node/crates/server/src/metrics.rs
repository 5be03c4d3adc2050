//! What a node measures about its writes, its storage and its maintenance. Registered with an injected registry.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::write::RefusalReason;

/// Bounds of the acknowledgement histogram in seconds: fine between 1 and 100 ms, where its promises are.
const ACK_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.001_5, 0.002, 0.003, 0.004, 0.005, 0.007, 0.010, 0.015, 0.020, 0.025, 0.030, 0.035,
    0.040, 0.045, 0.050, 0.060, 0.070, 0.085, 0.100, 0.150, 0.250, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Bounds of flush and seal durations in seconds.
const MAINTENANCE_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Of the write path.
pub struct WriteMetrics {
    /// Requests by outcome: `ok`, `partial`, `malformed`, `too_large`, `transient`, `internal`.
    pub requests: IntCounterVec,
    /// Samples acknowledged.
    pub samples: IntCounter,
    /// Samples, histograms and exemplars refused for good, by reason.
    refused: Vec<(RefusalReason, IntCounter)>,
    /// From a body's arrival to its acknowledgement.
    pub ack_seconds: Histogram,
    /// Decompressed bytes of requests being handled.
    pub in_flight_bytes: IntGauge,
    /// Entries proposed.
    pub proposals: IntCounter,
    /// Bytes proposed, before the entry is compressed.
    pub proposed_bytes: IntCounter,
    /// Frames proposed: requests' parts, several to an entry.
    pub frames: IntCounter,
    /// Samples whose series the cache knew.
    pub cache_hits: IntCounter,
    /// Samples whose series the cache did not know.
    pub cache_misses: IntCounter,
    /// Series proposed for registration.
    pub registrations: IntCounter,
    /// Frames sent a second time because their refs were unknown.
    pub resends: IntCounter,
    /// Entries in the cache.
    pub cache_entries: IntGauge,
    /// Memory of the cache.
    pub cache_bytes: IntGauge,
}

/// Of storage and its maintenance.
pub struct StorageMetrics {
    /// Flushes of one group, in seconds.
    pub flush_seconds: Histogram,
    /// Seals of one group, in seconds.
    pub seal_seconds: Histogram,
    /// Maintenance that failed, by kind.
    pub failures: IntCounterVec,
    /// 1 while writes are refused because the disk is nearly full.
    pub writes_refused: IntGauge,
    /// What heads, log and disk hold; set before each scrape.
    pub held: IntGaugeVec,
    /// Queries' scans of one group, in seconds, by kind.
    pub scan_seconds: HistogramVec,
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::new(name, help))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::new(name, help))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
    registered(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

impl WriteMetrics {
    /// Registers everything; fails only if a name is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<WriteMetrics> {
        let requests = Opts::new("bellwether_write_requests_total", "Write requests by outcome.");
        let refused = registered(
            registry,
            IntCounterVec::new(
                Opts::new("bellwether_write_refused_total", "Samples, histograms and exemplars refused for good."),
                &["reason"],
            ),
        )?;
        let by_reason = RefusalReason::ALL.map(|reason| (reason, refused.with_label_values(&[reason.as_str()])));
        Ok(WriteMetrics {
            requests: registered(registry, IntCounterVec::new(requests, &["outcome"]))?,
            samples: counter(registry, "bellwether_write_samples_total", "Samples acknowledged.")?,
            refused: by_reason.into(),
            ack_seconds: histogram(
                registry,
                "bellwether_write_ack_seconds",
                "Time from a write's arrival to its acknowledgement.",
                ACK_BUCKETS,
            )?,
            in_flight_bytes: gauge(
                registry,
                "bellwether_write_in_flight_bytes",
                "Decompressed bytes of writes being handled.",
            )?,
            proposals: counter(registry, "bellwether_write_proposals_total", "Log entries proposed.")?,
            proposed_bytes: counter(
                registry,
                "bellwether_write_proposed_bytes_total",
                "Bytes of proposed log entries.",
            )?,
            frames: counter(registry, "bellwether_write_frames_total", "Requests' parts inside proposed log entries.")?,
            cache_hits: counter(
                registry,
                "bellwether_series_cache_hits_total",
                "Samples whose series the cache knew.",
            )?,
            cache_misses: counter(
                registry,
                "bellwether_series_cache_misses_total",
                "Samples whose series the cache did not know.",
            )?,
            registrations: counter(
                registry,
                "bellwether_write_registrations_total",
                "Series sent into the log with their labels.",
            )?,
            resends: counter(
                registry,
                "bellwether_write_resends_total",
                "Frames sent again because refs were unknown.",
            )?,
            cache_entries: gauge(registry, "bellwether_series_cache_entries", "Series in the cache.")?,
            cache_bytes: gauge(registry, "bellwether_series_cache_bytes", "Memory of the series cache.")?,
        })
    }

    /// Counts refusals of one reason.
    pub fn count_refused(&self, reason: RefusalReason, count: u64) {
        if let Some((_, counter)) = self.refused.iter().find(|(known, _)| *known == reason) {
            counter.inc_by(count);
        }
    }
}

impl StorageMetrics {
    /// Registers everything; fails only if a name is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<StorageMetrics> {
        let failures = Opts::new("bellwether_maintenance_failures_total", "Maintenance that failed, by kind.");
        let held = Opts::new("bellwether_storage_held", "What storage holds: series, samples, bytes, runs.");
        let scans = HistogramOpts::new("bellwether_scan_seconds", "Time of reads of one shard group.")
            .buckets(vec![0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0]);
        Ok(StorageMetrics {
            flush_seconds: histogram(
                registry,
                "bellwether_flush_seconds",
                "Time of a shard group's flush.",
                MAINTENANCE_BUCKETS,
            )?,
            seal_seconds: histogram(
                registry,
                "bellwether_seal_seconds",
                "Time of a shard group's seal.",
                MAINTENANCE_BUCKETS,
            )?,
            failures: registered(registry, IntCounterVec::new(failures, &["kind"]))?,
            writes_refused: gauge(
                registry,
                "bellwether_disk_writes_refused",
                "1 while writes are refused because the disk is nearly full.",
            )?,
            held: registered(registry, IntGaugeVec::new(held, &["what"]))?,
            scan_seconds: registered(registry, HistogramVec::new(scans, &["kind"]))?,
        })
    }
}
