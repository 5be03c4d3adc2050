//! Counts, times and sizes of queries.

use std::sync::Arc;
use std::time::Duration;

use bellwether_promql::MemoryPool;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::{QueryCost, QueryError};

/// Upper bounds of the histogram of query times, in seconds.
const SECONDS_BUCKETS: [f64; 13] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// Who asks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// Somebody, for one time.
    Instant,
    /// Somebody, for many times.
    Range,
    /// A rule.
    Rule,
}

/// See [`QueryMetrics::new`].
pub struct QueryMetrics {
    seconds: HistogramVec,
    results: IntCounterVec,
    queue_seconds: prometheus::Counter,
    series: IntCounter,
    samples: IntCounter,
}

impl QueryMetrics {
    /// Registers the metrics of queries.
    ///
    /// # Panics
    /// If the registry has them already: a node has one coordinator.
    pub fn new(registry: &Registry, memory: Arc<MemoryPool>) -> QueryMetrics {
        const VALID: &str = "the names are valid";
        let seconds = HistogramOpts::new("bellwether_query_seconds", "Time of queries, waiting included.")
            .buckets(SECONDS_BUCKETS.to_vec());
        let results = Opts::new("bellwether_queries_total", "Queries by how they ended.");
        let metrics = QueryMetrics {
            seconds: HistogramVec::new(seconds, &["kind"]).expect(VALID),
            results: IntCounterVec::new(results, &["result"]).expect(VALID),
            queue_seconds: prometheus::Counter::new(
                "bellwether_query_queue_seconds_total",
                "Time that queries waited for a place to run.",
            )
            .expect(VALID),
            series: IntCounter::new("bellwether_query_series_total", "Series that queries fetched.").expect(VALID),
            samples: IntCounter::new("bellwether_query_samples_total", "Samples that queries fetched.").expect(VALID),
        };
        let collectors: [Box<dyn Collector>; 6] = [
            Box::new(MemoryInUse::new(memory)),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.results.clone()),
            Box::new(metrics.queue_seconds.clone()),
            Box::new(metrics.series.clone()),
            Box::new(metrics.samples.clone()),
        ];
        for collector in collectors {
            registry.register(collector).expect("a registry has one coordinator");
        }
        metrics
    }

    /// Counts a query that ended.
    pub fn observe(&self, kind: QueryKind, cost: &QueryCost, elapsed: Duration, error: Option<&QueryError>) {
        let kind = match kind {
            QueryKind::Instant => "instant",
            QueryKind::Range => "range",
            QueryKind::Rule => "rule",
        };
        self.seconds.with_label_values(&[kind]).observe(elapsed.as_secs_f64());
        self.results.with_label_values(&[error.map_or("success", QueryError::as_label)]).inc();
        self.queue_seconds.inc_by(cost.queue.as_secs_f64());
        self.series.inc_by(cost.series);
        self.samples.inc_by(cost.samples);
    }
}

/// Asks the pool whenever it is collected.
struct MemoryInUse {
    pool: Arc<MemoryPool>,
    used: Gauge,
    limit: Gauge,
}

impl MemoryInUse {
    fn new(pool: Arc<MemoryPool>) -> MemoryInUse {
        const VALID: &str = "the names are valid";
        let used = Gauge::new("bellwether_query_memory_bytes", "Memory that queries hold.").expect(VALID);
        let limit = Gauge::new("bellwether_query_memory_limit_bytes", "Memory that queries may hold together.");
        MemoryInUse { pool, used, limit: limit.expect(VALID) }
    }
}

impl Collector for MemoryInUse {
    fn desc(&self) -> Vec<&Desc> {
        [self.used.desc(), self.limit.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.used.set(self.pool.used() as f64);
        self.limit.set(self.pool.limit() as f64);
        [self.used.collect(), self.limit.collect()].concat()
    }
}
