//! Queries: `/api/v1/query`, `query_range`, and what concerns a query's text alone.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bellwether_promql::{Expr, Outcome, ParseError};

use super::params::{Params, parse_duration_ms};
use super::result_json::{QueryResult, Statistics};
use super::{ApiError, Gateway, answer, ast_json, json, trace_json};
use crate::query::{Answer, Place, QueryError, QueryRequest, QueryTimes};

/// `/api/v1/query`
pub(super) async fn instant(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let time = params.time_or("time", gateway.state.clock.now_ms())?;
    run(&gateway, &headers, &params, QueryTimes::Instant(time)).await
}

/// `/api/v1/query_range`
pub(super) async fn range(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration_ms("step")?;
    if step_ms <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", reason));
    }
    run(&gateway, &headers, &params, QueryTimes::Range { start, end, step_ms }).await
}

async fn run(gateway: &Gateway, headers: &HeaderMap, params: &Params, times: QueryTimes) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let request = QueryRequest {
        tenant: gateway.tenant(headers)?,
        text: params.get("query").unwrap_or_default().to_owned(),
        times,
        timeout: params.timeout()?,
        lookback: lookback(params)?,
        stale: stale(params)?,
        partial: params.flag("partial_response")?,
        samples_per_step: params.get("stats").is_some(),
        cached: !params.flag("nocache")?,
        traced: params.flag("trace")?,
    };
    let Answer { outcome, cost, plan, trace, place } = gateway.state.queries.run(request).await?;
    let statistics = params.get("stats").map(|stats| {
        let steps = (stats == "all").then_some(plan.times());
        Statistics { cost, steps }
    });
    let (result, notes) = QueryResult::new(outcome, limit, statistics);
    let trace = trace.map(|trace| trace_json::tree(&plan, &trace).to_string());
    Ok(answer::pieces(result.with_trace(trace), notes, Some(place)))
}

/// A result as the HTTP API sends it: cut to `limit` series, with statistics if they are given. It keeps the
/// query's place until it is sent.
pub fn query_answer(
    outcome: Outcome,
    limit: Option<usize>,
    stats: Option<Statistics>,
    place: Option<Place>,
) -> Response {
    let (result, notes) = QueryResult::new(outcome, limit, stats);
    answer::pieces(result, notes, place)
}

fn lookback(params: &Params) -> Result<Option<Duration>, ApiError> {
    let Some(text) = params.get("lookback_delta") else { return Ok(None) };
    let ms = parse_duration_ms(text)
        .map_err(|reason| ApiError::bad_data(format!("error parsing lookback delta duration: {reason}")))?;
    // Prometheus takes a lookback that is not positive for its default.
    Ok(u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis))
}

/// `stale`: how long ago a replica may have heard its leader to answer without asking it.
fn stale(params: &Params) -> Result<Option<Duration>, ApiError> {
    let Some(text) = params.get("stale") else { return Ok(None) };
    let ms = parse_duration_ms(text).map_err(|reason| ApiError::parameter("stale", reason))?;
    let ms = u64::try_from(ms).map_err(|_| ApiError::parameter("stale", "it must not be negative"))?;
    Ok(Some(Duration::from_millis(ms)))
}

/// `/api/v1/format_query`
pub(super) async fn format(State(gateway): State<Arc<Gateway>>, params: Params) -> Result<Response, ApiError> {
    let mut data = Vec::new();
    let pretty = parsed(&gateway, &params, Expr::pretty).await?.map_err(wrong_query)?;
    json::push_string(&mut data, &pretty);
    Ok(answer::json(data))
}

/// `/api/v1/parse_query`
pub(super) async fn parse(State(gateway): State<Arc<Gateway>>, params: Params) -> Result<Response, ApiError> {
    let tree = parsed(&gateway, &params, |expr| ast_json::tree(expr).to_string()).await?;
    Ok(answer::json(tree.map_err(wrong_query)?))
}

fn wrong_query(error: ParseError) -> ApiError {
    ApiError::parameter("query", error)
}

/// What is made of the query's tree, where scans run: hostile texts take their time.
pub(super) async fn parsed<T: Send + 'static>(
    gateway: &Gateway,
    params: &Params,
    make: impl FnOnce(&Expr) -> T + Send + 'static,
) -> Result<Result<T, ParseError>, ApiError> {
    let text = params.get("query").unwrap_or_default().to_owned();
    let parse = move || bellwether_promql::parse(&text).map(|expr| make(&expr));
    Ok(gateway.state.queries.executor().run(parse).await.map_err(QueryError::from)?)
}
