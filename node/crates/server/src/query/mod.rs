//! Queries: parse, plan, fetch what the plan reads from all shards, evaluate.
//!
//! A [`Coordinator`] bounds what queries cost: how many run and wait, how long each may take, and how many series,
//! samples and bytes it may touch; an error names the bound. A query stops for real when its time is over or nobody waits
//! for it any more: dropping the future of [`Coordinator::run`] raises the flag that fetching and evaluating look at.
//!
//! A small query costs one hop to the scan executor, for its data; it is evaluated where it was awaited.

mod active;
mod cost;
mod error;
mod metrics;
mod weight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_model::{Matcher, Tenant, Timestamp};
use bellwether_promql::{self as promql, EvalTimes, FetchedSeries, Outcome, Plan, Selection};
use futures::{StreamExt, TryStreamExt};
use prometheus::Registry;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

pub use active::ActiveQuery;
pub use cost::QueryCost;
pub use error::QueryError;

use crate::config::QueryConfig;
use crate::env::ExecutorHandle;
use crate::shards::{SelectError, SelectLimits, Shards};
use active::ActiveQueries;
use metrics::QueryMetrics;
use weight::Weight;

/// Queries that may wait for one of the places of `query.max_concurrent`; more are answered 503.
const WAITING_MAX: usize = 256;
/// Selections of one query that are fetched at a time: they hold memory together.
const SELECTIONS_IN_FLIGHT_MAX: usize = 4;
/// Up to this much work, in samples read and points made, a query is evaluated without a hop to the scan executor:
/// about a quarter of a millisecond, which other connections of the thread can wait.
const INLINE_WORK_MAX: u64 = 20_000;
/// Queries that take longer are logged.
const SLOW_QUERY: Duration = Duration::from_secs(5);
/// Characters of a query's text in the log.
const LOGGED_CHARS_MAX: usize = 1_000;

/// Times are kept this far from the ends of an i64, so that sums with ranges and offsets cannot overflow.
pub const TIME_MAX: Timestamp = i64::MAX / 4;
/// See [`TIME_MAX`].
pub const TIME_MIN: Timestamp = -TIME_MAX;

/// A query to be run.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// Whose data it reads.
    pub tenant: Tenant,
    /// PromQL.
    pub text: String,
    /// For what times.
    pub times: QueryTimes,
    /// Gives up after this long; the configured limit holds as well.
    pub timeout: Option<Duration>,
    /// How far back an instant selector looks, if not as configured.
    pub lookback: Option<Duration>,
}

/// The times of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryTimes {
    /// One time.
    Instant(Timestamp),
    /// Every step from start to end, both included.
    Range {
        /// First time.
        start: Timestamp,
        /// No time after this.
        end: Timestamp,
        /// Distance of the times.
        step_ms: i64,
    },
}

/// Runs queries, within bounds.
pub struct Coordinator {
    shards: Arc<Shards>,
    scan: ExecutorHandle,
    config: QueryConfig,
    metrics: QueryMetrics,
    running: Semaphore,
    waiting: Semaphore,
    active: Arc<ActiveQueries>,
}

/// Raises a query's flag when its future ends, in whatever way.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Coordinator {
    /// A coordinator over a node's shards; registers its metrics.
    ///
    /// # Panics
    /// If the registry has them already: a node has one coordinator.
    pub fn new(shards: Arc<Shards>, scan: ExecutorHandle, config: QueryConfig, registry: &Registry) -> Coordinator {
        Coordinator {
            shards,
            scan,
            metrics: QueryMetrics::new(registry),
            running: Semaphore::new(config.max_concurrent as usize),
            waiting: Semaphore::new(WAITING_MAX),
            active: Arc::default(),
            config,
        }
    }

    /// Runs a query. Cancelled when dropped.
    pub async fn run(&self, request: QueryRequest) -> Result<(Outcome, QueryCost), QueryError> {
        let started = Instant::now();
        let _active = self.active.enter(&request.tenant, &request.text, started);
        let mut cost = QueryCost::default();
        let result = self.run_in_time(&request, started, &mut cost).await;
        let elapsed = started.elapsed();
        self.metrics.observe(&request.times, &cost, elapsed, result.as_ref().err());
        if elapsed >= SLOW_QUERY {
            tracing::warn!(
                tenant = %request.tenant,
                query = %request.text.chars().take(LOGGED_CHARS_MAX).collect::<String>(),
                times = ?request.times,
                seconds = elapsed.as_secs_f64(),
                series = cost.series,
                samples = cost.samples,
                error = result.as_ref().err().map(tracing::field::display),
                "slow query"
            );
        }
        result.map(|outcome| (outcome, cost))
    }

    /// What runs and waits now, oldest first.
    pub fn active(&self) -> Vec<ActiveQuery> {
        self.active.list(Instant::now())
    }

    /// Where scans and evaluations run.
    pub fn executor(&self) -> &ExecutorHandle {
        &self.scan
    }

    async fn run_in_time(
        &self,
        request: &QueryRequest,
        started: Instant,
        cost: &mut QueryCost,
    ) -> Result<Outcome, QueryError> {
        let planned = self.plan(request)?;
        let limit = request.timeout.unwrap_or(self.config.timeout).min(self.config.timeout);
        let deadline = started + limit;
        let _permit = match tokio::time::timeout_at(deadline, self.admit()).await {
            Ok(permit) => permit?,
            Err(_) => return Err(QueryError::QueueTimeout { limit, running: self.config.max_concurrent }),
        };
        let admitted = Instant::now();
        cost.queue = admitted - started;
        let cancel = CancelOnDrop(Arc::default());
        let work = self.fetch_and_evaluate(&request.tenant, planned, &cancel.0, cost);
        tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(QueryError::Timeout { limit }))
    }

    fn plan(&self, request: &QueryRequest) -> Result<(Plan, Weight), QueryError> {
        let expr = promql::parse(&request.text)?;
        let times = match request.times {
            QueryTimes::Instant(time) => EvalTimes::instant(time.clamp(TIME_MIN, TIME_MAX)),
            QueryTimes::Range { start, end, step_ms } => {
                EvalTimes::range(start.clamp(TIME_MIN, TIME_MAX), end.clamp(TIME_MIN, TIME_MAX), step_ms)?
            }
        };
        let lookback = request.lookback.unwrap_or(self.config.lookback_delta);
        let lookback_ms = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
        Ok((Plan::new(&expr, times, lookback_ms)?, Weight::of(&expr, times)))
    }

    /// A place among the running queries; waits for one if not too many wait already.
    async fn admit(&self) -> Result<SemaphorePermit<'_>, QueryError> {
        if let Ok(permit) = self.running.try_acquire() {
            return Ok(permit);
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(QueryError::QueueFull { running: self.config.max_concurrent, waiting: WAITING_MAX });
        };
        Ok(self.running.acquire().await.expect("the semaphore is never closed"))
    }

    async fn fetch_and_evaluate(
        &self,
        tenant: &Tenant,
        (plan, weight): (Plan, Weight),
        cancel: &Arc<AtomicBool>,
        cost: &mut QueryCost,
    ) -> Result<Outcome, QueryError> {
        let began = Instant::now();
        let fetched = self.fetch(tenant, &plan, cancel, cost).await?;
        let read = Instant::now();
        cost.fetch = read - began;
        let limits = promql::Limits { samples: self.config.max_samples, memory_bytes: self.config.max_bytes.0 };
        let outcome = if weight.work(cost) <= INLINE_WORK_MAX {
            promql::evaluate(&plan, &fetched, &limits, &**cancel)
        } else {
            let cancel = cancel.clone();
            self.scan.run(move || promql::evaluate(&plan, &fetched, &limits, &*cancel)).await?
        };
        cost.evaluate = read.elapsed();
        Ok(outcome?)
    }

    /// The data of every selection of the plan, in its order.
    async fn fetch(
        &self,
        tenant: &Tenant,
        plan: &Plan,
        cancel: &Arc<AtomicBool>,
        cost: &mut QueryCost,
    ) -> Result<Vec<Vec<FetchedSeries>>, QueryError> {
        let select = |selection: &Selection| {
            let matchers: Arc<[Matcher]> = selection.matchers.clone().into();
            let range = selection.range;
            async move {
                let limits = SelectLimits {
                    series: self.config.max_series,
                    samples: self.config.max_samples,
                    bytes: self.config.max_bytes.0,
                };
                self.shards.select(tenant, matchers, range, limits, cancel.clone()).await
            }
        };
        let all = match plan.selections() {
            [only] => vec![select(only).await.map_err(|error| self.name_limit(error))?],
            several => {
                // Fetched data is held until the evaluation: the limits hold for all selections together.
                let selects: Vec<_> = several.iter().map(select).collect();
                let mut fetches = futures::stream::iter(selects).buffered(SELECTIONS_IN_FLIGHT_MAX);
                let mut all = Vec::with_capacity(several.len());
                let mut so_far = QueryCost::default();
                while let Some(series) = fetches.try_next().await.map_err(|error| self.name_limit(error))? {
                    so_far.add(&series);
                    self.check(&so_far)?;
                    all.push(series);
                }
                all
            }
        };
        all.iter().for_each(|series| cost.add(series));
        Ok(all)
    }

    fn check(&self, cost: &QueryCost) -> Result<(), QueryError> {
        let bytes = cost.samples.saturating_mul(size_of::<f64>() as u64);
        for (what, used, limit) in [
            ("series", cost.series, self.config.max_series),
            ("samples", cost.samples, self.config.max_samples),
            ("bytes of samples", bytes, self.config.max_bytes.0),
        ] {
            if used > limit {
                return Err(self.name_limit(SelectError::LimitExceeded { what, limit }));
            }
        }
        Ok(())
    }

    fn name_limit(&self, error: SelectError) -> QueryError {
        match error {
            SelectError::LimitExceeded { what, limit } => {
                let key = match what {
                    "series" => "query.max_series",
                    "samples" => "query.max_samples",
                    _ => "query.max_bytes",
                };
                QueryError::Limit { what, limit, key }
            }
            other => QueryError::Select(other),
        }
    }
}
