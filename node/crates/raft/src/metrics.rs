//! What this crate measures, for a registry that the node gives.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// Metrics of all groups of a node.
pub(crate) struct RaftMetrics {
    pub proposals: IntCounter,
    pub refused_overload: IntCounter,
    pub refused_storage: IntCounter,
    pub refused_quorum: IntCounter,
    pub in_flight_bytes: IntGauge,
    pub entries_per_write: Histogram,
    pub write_seconds: Histogram,
    pub bytes_appended: IntCounter,
    pub unflushed_bytes: IntGauge,
    pub kept_bytes: IntGauge,
    pub tail_bytes: IntGauge,
    pub apply_seconds: Histogram,
    pub entries_applied: IntCounter,
}

/// Upper bounds from 100 us to about 26 s, each twice the one before.
fn seconds(name: &str, help: &str) -> prometheus::Result<Histogram> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(prometheus::exponential_buckets(1e-4, 2.0, 19)?))
}

impl RaftMetrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        fn add<C: Collector + Clone + 'static>(
            registry: &Registry,
            metric: prometheus::Result<C>,
        ) -> prometheus::Result<C> {
            let metric = metric?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counter = |name: &str, help: &str| add(registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| add(registry, IntGauge::new(name, help));
        Ok(Self {
            proposals: counter("bellwether_raft_proposals_total", "Payloads proposed to groups that this node leads.")?,
            refused_overload: counter(
                "bellwether_raft_refused_overload_total",
                "Proposals refused because too many bytes were in flight.",
            )?,
            refused_storage: counter(
                "bellwether_raft_refused_storage_total",
                "Proposals refused because the log store takes no writes.",
            )?,
            refused_quorum: counter(
                "bellwether_raft_refused_quorum_total",
                "Proposals refused, or given up, because no quorum answered the group's leader here.",
            )?,
            in_flight_bytes: gauge(
                "bellwether_raft_in_flight_bytes",
                "Bytes of payloads proposed on this node and not yet applied.",
            )?,
            entries_per_write: add(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "bellwether_raft_entries_per_write",
                        "Entries that one synced write to the log store held, of all groups.",
                    )
                    .buckets(prometheus::exponential_buckets(1.0, 4.0, 8)?),
                ),
            )?,
            write_seconds: add(
                registry,
                seconds("bellwether_raft_write_seconds", "Duration of a synced write to the log store."),
            )?,
            bytes_appended: counter("bellwether_raft_bytes_appended_total", "Bytes written to the log store.")?,
            unflushed_bytes: gauge(
                "bellwether_raft_unflushed_bytes",
                "Bytes of log that would be applied again after a restart, of all groups.",
            )?,
            kept_bytes: gauge(
                "bellwether_raft_kept_bytes",
                "Bytes of flushed log kept for replicas that are behind or may turn out to be, of all groups.",
            )?,
            tail_bytes: gauge(
                "bellwether_raft_tail_bytes",
                "Memory of the newest log entries, kept to be applied and sent without reading them back, of all groups.",
            )?,
            apply_seconds: add(
                registry,
                seconds("bellwether_raft_apply_batch_seconds", "Duration of applying one batch of entries."),
            )?,
            entries_applied: counter("bellwether_raft_entries_applied_total", "Entries applied, of all groups.")?,
        })
    }
}
