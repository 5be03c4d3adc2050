//! Queries: parse, plan, fetch what the plan reads from all shards, or what aggregations make of it there, evaluate.
//!
//! A [`Coordinator`] bounds what queries cost: how many run and wait, how long each may take, how many series, samples
//! and bytes it may touch, how much memory all hold together; an error names the bound. Whatever works for a query shares
//! one account, and a query keeps its place and pays for its result until that is sent. It stops for real when its time is
//! over, when somebody kills it, or when nobody waits for it any more: dropping the future of [`Coordinator::run`] raises
//! the flag that fetching and evaluating look at.
//!
//! Nothing of a query is done before it has its place, parsing included, and nothing long where it is awaited. A small
//! query costs one hop to the scan executor, for its data; it is planned and evaluated where it was awaited. What was computed
//! before and still stands is not computed again ([`through_cache`]).

mod active;
mod cache;
mod cost;
mod error;
mod labels;
mod metrics;
mod rules;
mod running;
mod samples;
mod through_cache;
mod trace;
mod weight;

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{Matcher, Tenant, Timestamp};
use bellwether_promql::{
    self as promql, EvalError, EvalTimes, Expr, Fetched, Limits, MemoryPool, Outcome, Plan, PlanOptions, QueryAccount,
    Selection,
};
use futures::{StreamExt, TryStreamExt};
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use active::ActiveQuery;
pub use cost::QueryCost;
pub use error::QueryError;
pub use labels::{LabelsQuery, Listed, Selectors};
pub use rules::RuleQuery;
pub use running::Place;
pub use samples::{MatcherText, SamplesRead};
pub use trace::{QueryTrace, ReadCost};

use crate::config::{Config, QueryConfig};
use crate::env::ExecutorHandle;
use crate::routing::{Reduction, Router};
use crate::shards::{ReadContext, SelectError, Subplan, Wanted};
use active::{ActiveGuard, ActiveQueries};
use cache::ResultCache;
use metrics::{QueryKind, QueryMetrics};
use running::{CancelOnDrop, Running};
use weight::Weight;

/// Queries that may wait for one of the places of `query.max_concurrent`; more are answered 503.
const WAITING_MAX: usize = 256;
/// Selections of one query that are fetched at a time.
const SELECTIONS_IN_FLIGHT_MAX: usize = 4;
/// Up to this much work, in samples read and points made, a query is evaluated without a hop to the scan executor:
/// about a quarter of a millisecond, which other connections of the thread can wait.
const INLINE_WORK_MAX: u64 = 20_000;
/// Up to this many bytes of text without regular expressions are planned without a hop to the scan executor.
const INLINE_TEXT_BYTES_MAX: usize = 1024;
/// Part of the node's memory limit that queries may hold together, unless `query.max_total_bytes` says otherwise.
const MEMORY_SHARE: u64 = 4;
/// Results that are kept take at most this part of it, whatever `query.cache_bytes` says: heads, queries and packs have the rest.
const KEPT_SHARE: u64 = 16;
/// Memory of queries where the node has no memory limit.
const MEMORY_BYTES_WITHOUT_LIMIT: u64 = 1 << 30;
/// Characters of a query's text in the log.
const LOGGED_CHARS_MAX: usize = 1_000;

/// Times are kept this far from the ends of an i64, so that sums with ranges and offsets cannot overflow.
pub const TIME_MAX: Timestamp = i64::MAX / 4;
/// See [`TIME_MAX`].
pub const TIME_MIN: Timestamp = -TIME_MAX;

/// A query to be run.
#[derive(Debug, Clone, PartialEq)]
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
    /// If given, replicas may answer that heard their leaders so lately.
    pub stale: Option<Duration>,
    /// Goes on without groups that cannot be read; warnings name them.
    pub partial: bool,
    /// Counts the samples that each step sees.
    pub samples_per_step: bool,
    /// Takes what was computed before and still stands.
    pub cached: bool,
    /// Tells where the time goes; then nothing is taken that was computed before.
    pub traced: bool,
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
    router: Arc<Router>,
    scan: ExecutorHandle,
    config: QueryConfig,
    metrics: QueryMetrics,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    active: Arc<ActiveQueries>,
    memory: Arc<MemoryPool>,
    cache: ResultCache,
}

/// A query that is ready to be run.
struct Planned {
    expr: Arc<Expr>,
    plan: Arc<Plan>,
    weight: Weight,
}

/// The result of a query.
pub struct Answer {
    /// What came out.
    pub outcome: Outcome,
    /// What it cost.
    pub cost: QueryCost,
    /// What it read.
    pub plan: Arc<Plan>,
    /// Where its time went, if that was asked for.
    pub trace: Option<QueryTrace>,
    /// To be kept until the answer is sent.
    pub place: Place,
}

impl Coordinator {
    /// A coordinator over what a router reaches; registers its metrics.
    ///
    /// # Panics
    /// If the registry has them already: a node has one coordinator.
    pub fn new(router: Arc<Router>, scan: ExecutorHandle, config: &Config, registry: &Registry) -> Coordinator {
        let total_bytes = match (config.query.max_total_bytes.0, config.memory_limit.0) {
            (0, 0) => MEMORY_BYTES_WITHOUT_LIMIT,
            (0, limit) => limit / MEMORY_SHARE,
            (total, _) => total,
        };
        let kept_max = if config.memory_limit.0 == 0 { u64::MAX } else { config.memory_limit.0 / KEPT_SHARE };
        let config = config.query.clone();
        let memory = MemoryPool::new(total_bytes);
        Coordinator {
            router,
            scan,
            metrics: QueryMetrics::new(registry, memory.clone()),
            running: Arc::new(Semaphore::new(config.max_concurrent as usize)),
            waiting: Semaphore::new(WAITING_MAX),
            active: Arc::default(),
            memory,
            cache: ResultCache::new(config.cache_bytes.0.min(kept_max), registry),
            config,
        }
    }

    /// Runs a query. Cancelled when dropped.
    pub async fn run(&self, request: QueryRequest) -> Result<Answer, QueryError> {
        let started = Instant::now();
        let mut cost = QueryCost::default();
        let result = self.run_in_time(&request, started, &mut cost).await;
        let kind = match &request.times {
            QueryTimes::Instant(_) => QueryKind::Instant,
            QueryTimes::Range { .. } => QueryKind::Range,
        };
        self.ended(kind, &request, &cost, started.elapsed(), result.as_ref().err());
        result.map(|(Evaluated { outcome, plan, trace }, place)| Answer { outcome, cost, plan, trace, place })
    }

    fn ended(
        &self,
        kind: QueryKind,
        request: &QueryRequest,
        cost: &QueryCost,
        elapsed: Duration,
        error: Option<&QueryError>,
    ) {
        self.metrics.observe(kind, cost, elapsed, error);
        if !self.config.slow_after.is_zero() && elapsed >= self.config.slow_after {
            tracing::warn!(
                tenant = %request.tenant,
                query = %request.text.chars().take(LOGGED_CHARS_MAX).collect::<String>(),
                times = ?request.times,
                seconds = elapsed.as_secs_f64(),
                series = cost.series,
                samples = cost.samples,
                peak_bytes = cost.peak_bytes,
                error = error.map(tracing::field::display),
                "slow query (query.slow_after)"
            );
        }
    }

    /// What waits, runs and sends its answer now, oldest first.
    pub fn active(&self) -> Vec<ActiveQuery> {
        self.active.list(Instant::now())
    }

    /// Ends one of the active queries of a tenant; says whether there is such a one.
    pub fn kill(&self, tenant: &Tenant, id: u64) -> bool {
        self.active.kill(tenant, id)
    }

    /// Where scans and evaluations run.
    pub fn executor(&self) -> &ExecutorHandle {
        &self.scan
    }

    /// How long a client may take to receive an answer.
    pub fn send_timeout(&self) -> Duration {
        self.config.send_timeout
    }

    async fn run_in_time(
        &self,
        request: &QueryRequest,
        started: Instant,
        cost: &mut QueryCost,
    ) -> Result<(Evaluated, Place), QueryError> {
        // Before it waits: others' texts are kept meanwhile, and shown.
        promql::check_length(request.text.len())?;
        let mut running = self.admit(&request.tenant, &request.text, request.timeout, started).await?;
        running.read.stale = request.stale;
        running.read.missing = request.partial.then(Arc::default);
        cost.queue = running.admitted - started;
        let result = running.within(self.fetch_and_evaluate(request, &running.read, cost)).await;
        let account = &running.read.account;
        (cost.series, cost.samples, cost.peak_bytes) = (account.series(), account.samples(), account.peak_bytes());
        let mut evaluated = result?;
        evaluated.outcome.warnings.extend(running.read.missing.iter().flat_map(|missing| missing.warnings()));
        Ok((evaluated, running.place))
    }

    /// A place among the running queries; waits for one if not too many wait already.
    async fn admit(
        &self,
        tenant: &Tenant,
        text: &str,
        timeout: Option<Duration>,
        started: Instant,
    ) -> Result<Running, QueryError> {
        let active = self.active.enter(tenant, text, started);
        let limit = timeout.unwrap_or(self.config.timeout).min(self.config.timeout);
        let deadline = started + limit;
        let permit = tokio::select! {
            biased;
            () = active.killed() => return Err(QueryError::Killed),
            permit = tokio::time::timeout_at(deadline, self.permit()) => match permit {
                Ok(permit) => permit?,
                Err(_) => return Err(QueryError::QueueTimeout { limit, running: self.config.max_concurrent }),
            },
        };
        Ok(self.running(active, Some(permit), deadline, limit))
    }

    fn running(
        &self,
        active: ActiveGuard,
        permit: Option<OwnedSemaphorePermit>,
        deadline: Instant,
        limit: Duration,
    ) -> Running {
        let limits = Limits {
            series: self.config.max_series,
            samples: self.config.max_samples,
            memory_bytes: self.config.max_bytes.0,
        };
        let account = Arc::new(QueryAccount::within(limits, self.memory.clone()));
        let cancel = CancelOnDrop(Arc::default());
        Running {
            place: Place { _permit: permit, active, _account: account.clone() },
            read: ReadContext { account, cancel: cancel.0.clone(), stale: None, missing: None },
            deadline,
            limit,
            admitted: Instant::now(),
            _cancel: cancel,
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        const OPEN: &str = "the semaphore is never closed";
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(QueryError::QueueFull { running: self.config.max_concurrent, waiting: WAITING_MAX });
        };
        Ok(self.running.clone().acquire_owned().await.expect(OPEN))
    }

    fn options(&self, request: &QueryRequest) -> PlanOptions {
        let lookback = request.lookback.unwrap_or(self.config.lookback_delta);
        let lookback_ms = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
        let delayed_name_removal = self.config.delayed_name_removal;
        let samples_per_step = request.samples_per_step;
        PlanOptions { lookback_ms, delayed_name_removal, samples_per_step, ..PlanOptions::default() }
    }

    async fn plan(&self, request: &QueryRequest) -> Result<Planned, QueryError> {
        let options = self.options(request);
        let (text, times) = (request.text.clone(), request.times);
        let plan = move || -> Result<Planned, QueryError> {
            let expr = promql::parse(&text)?;
            let times = match times {
                QueryTimes::Instant(time) => EvalTimes::instant(time.clamp(TIME_MIN, TIME_MAX)),
                QueryTimes::Range { start, end, step_ms } => {
                    EvalTimes::range(start.clamp(TIME_MIN, TIME_MAX), end.clamp(TIME_MIN, TIME_MAX), step_ms)?
                }
            };
            planned(Arc::new(expr), times, options)
        };
        if is_cheap_to_plan(&request.text) { plan() } else { self.scan.run(plan).await? }
    }

    /// The same query at other times.
    async fn plan_again(
        &self,
        request: &QueryRequest,
        known: &Planned,
        times: EvalTimes,
    ) -> Result<Planned, QueryError> {
        let (expr, options) = (known.expr.clone(), self.options(request));
        let plan = move || planned(expr, times, options);
        if is_cheap_to_plan(&request.text) { plan() } else { self.scan.run(plan).await? }
    }

    async fn fetch_and_evaluate(
        &self,
        request: &QueryRequest,
        read: &ReadContext,
        cost: &mut QueryCost,
    ) -> Result<Evaluated, QueryError> {
        let planned = self.plan(request).await?;
        let (outcome, trace) = match self.cacheable(request, &planned) {
            Some(of) => (self.through_cache(of, request, &planned, read, cost).await?, None),
            None => self.compute_traced(request, &planned, read, cost).await?,
        };
        Ok(Evaluated { outcome, plan: planned.plan, trace })
    }

    async fn compute(
        &self,
        request: &QueryRequest,
        planned: &Planned,
        read: &ReadContext,
        cost: &mut QueryCost,
    ) -> Result<Outcome, QueryError> {
        Ok(self.compute_traced(request, planned, read, cost).await?.0)
    }

    async fn compute_traced(
        &self,
        request: &QueryRequest,
        planned: &Planned,
        read: &ReadContext,
        cost: &mut QueryCost,
    ) -> Result<(Outcome, Option<QueryTrace>), QueryError> {
        self.compute_plan(request, &planned.plan, &planned.weight, read, cost).await
    }

    async fn compute_plan(
        &self,
        request: &QueryRequest,
        plan: &Arc<Plan>,
        weight: &Weight,
        read: &ReadContext,
        cost: &mut QueryCost,
    ) -> Result<(Outcome, Option<QueryTrace>), QueryError> {
        let began = Instant::now();
        let (fetched, reads): (Vec<Fetched>, Vec<ReadCost>) =
            self.fetch(request, plan, read).await?.into_iter().unzip();
        let have = Instant::now();
        cost.fetch += have - began;
        (cost.series, cost.samples) = (read.account.series(), read.account.samples());
        let (of, plan, traced) = (read.clone(), plan.clone(), request.traced);
        let evaluate = move || -> Result<_, EvalError> {
            let (account, cancel) = (&of.account, &*of.cancel);
            if !traced {
                return Ok((promql::evaluate_with(&plan, fetched, account, cancel)?, None));
            }
            let began = Instant::now();
            let clock = || began.elapsed();
            let (outcome, steps) = promql::evaluate_traced(&plan, fetched, account, cancel, &clock)?;
            Ok((outcome, Some(QueryTrace { steps, reads })))
        };
        let evaluated = if weight.work(cost) <= INLINE_WORK_MAX { evaluate() } else { self.scan.run(evaluate).await? };
        cost.evaluate += have.elapsed();
        Ok(evaluated?)
    }

    /// The data of every selection of the plan, in its order: series, or what aggregations make of them where they are; and
    /// what that took.
    async fn fetch(
        &self,
        request: &QueryRequest,
        plan: &Arc<Plan>,
        read: &ReadContext,
    ) -> Result<Vec<(Fetched, ReadCost)>, QueryError> {
        let (tenant, options) = (&request.tenant, self.options(request));
        let select = |(number, selection): (usize, &Selection)| {
            let reduction =
                Subplan::new(plan, number).map(|subplan| Reduction { text: &request.text, options, subplan });
            let matchers: Arc<[Matcher]> = selection.matchers.clone().into();
            let (range, wanted) = (selection.range, if selection.newest { Wanted::Newest } else { Wanted::All });
            async move {
                let began = Instant::now();
                let fetched = match reduction {
                    Some(reduction) => self.router.reduce(tenant, reduction, read).await.map(Fetched::Reduced),
                    None => self.router.select(tenant, matchers, range, wanted, read).await.map(Fetched::Series),
                }?;
                let cost = if request.traced { ReadCost::of(&fetched, began.elapsed()) } else { ReadCost::default() };
                Ok::<_, SelectError>((fetched, cost))
            }
        };
        // Not lazily: the closure's futures would not be Send.
        let selects: Vec<_> = plan.selections().iter().enumerate().map(select).collect();
        Ok(futures::stream::iter(selects).buffered(SELECTIONS_IN_FLIGHT_MAX).try_collect().await?)
    }
}

/// What a query came to.
struct Evaluated {
    outcome: Outcome,
    plan: Arc<Plan>,
    trace: Option<QueryTrace>,
}

fn planned(expr: Arc<Expr>, times: EvalTimes, options: PlanOptions) -> Result<Planned, QueryError> {
    let plan = Arc::new(Plan::with_options(&expr, times, options)?);
    let weight = Weight::of(&expr, times);
    Ok(Planned { expr, plan, weight })
}

/// Whether a text is parsed and planned in microseconds: only regular expressions take long for their length.
fn is_cheap_to_plan(text: &str) -> bool {
    text.len() <= INLINE_TEXT_BYTES_MAX && !text.contains('~') && !text.contains("label_replace")
}
