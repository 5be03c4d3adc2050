//! Queries of rules: instant, parsed once, asked again and again. They do not wait behind dashboards for a place to run;
//! their evaluator bounds how many it asks at a time. All other bounds are those of queries.

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{Tenant, Timestamp};
use bellwether_promql::{EvalTimes, Expr, Plan, Value};
use tokio::time::Instant;

use super::metrics::QueryKind;
use super::weight::Weight;
use super::{Coordinator, QueryCost, QueryError, QueryRequest, QueryTimes, TIME_MAX, TIME_MIN};

/// What a rule asks.
#[derive(Debug, Clone, Copy)]
pub struct RuleQuery<'q> {
    /// Whose data it reads.
    pub tenant: &'q Tenant,
    /// As it was written.
    pub text: &'q str,
    /// What that means.
    pub expr: &'q Expr,
    /// For what time.
    pub time: Timestamp,
    /// Gives up after this long; the configured limit holds as well.
    pub timeout: Duration,
}

impl Coordinator {
    /// What a rule's query comes to. Cancelled when dropped.
    pub async fn ask(&self, query: RuleQuery<'_>) -> Result<Value, QueryError> {
        let started = Instant::now();
        let mut cost = QueryCost::default();
        let request = QueryRequest {
            tenant: query.tenant.clone(),
            text: query.text.to_owned(),
            times: QueryTimes::Instant(query.time),
            timeout: None,
            lookback: None,
            stale: None,
            partial: false,
            samples_per_step: false,
            cached: false,
            traced: false,
        };
        let result = self.ask_in_time(&request, query, started, &mut cost).await;
        self.ended(QueryKind::Rule, &request, &cost, started.elapsed(), result.as_ref().err());
        result
    }

    async fn ask_in_time(
        &self,
        request: &QueryRequest,
        query: RuleQuery<'_>,
        started: Instant,
        cost: &mut QueryCost,
    ) -> Result<Value, QueryError> {
        let limit = self.config.timeout.min(query.timeout);
        let active = self.active.enter(query.tenant, query.text, started);
        let running = self.running(active, None, started + limit, limit);
        let times = EvalTimes::instant(query.time.clamp(TIME_MIN, TIME_MAX));
        let plan = Arc::new(Plan::with_options(query.expr, times, self.options(request))?);
        let weight = Weight::of(query.expr, times);
        let computed = running.within(self.compute_plan(request, &plan, &weight, &running.read, cost)).await;
        let account = &running.read.account;
        (cost.series, cost.samples, cost.peak_bytes) = (account.series(), account.samples(), account.peak_bytes());
        Ok(computed?.0.value)
    }
}
