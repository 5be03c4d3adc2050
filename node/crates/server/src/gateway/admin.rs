//! What operators ask of a node; every answer comes when the work is done.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_model::TimeRange;
use tokio::time::Instant;

use super::params::Params;
use super::{ApiError, ErrorKind, Gateway, answer, series};
use crate::query::{TIME_MAX, TIME_MIN};

/// `POST /api/v1/admin/flush`: everything acknowledged is in runs, and the log's space is given back.
pub(super) async fn flush(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let started = Instant::now();
    gateway.state.router.flush_all().await?;
    Ok(done(started))
}

/// `POST /api/v1/admin/seal`: flushes, and every closed Window is one run.
pub(super) async fn seal(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let started = Instant::now();
    gateway.state.router.seal_all().await?;
    Ok(done(started))
}

/// `POST /api/v1/admin/tsdb/delete_series`
pub(super) async fn delete_series(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let range = TimeRange::new(params.time_or("start", TIME_MIN)?, params.time_or("end", TIME_MAX)?);
    let selectors = gateway.state.queries.required_selectors(series::selectors(&params)).await?;
    for matchers in selectors.iter() {
        gateway.state.router.delete_series(&tenant, matchers.clone(), range).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/admin/kill_query`: ends one of the tenant's queries, wherever it is.
pub(super) async fn kill_query(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let text = params.get("id").unwrap_or_default();
    let id = text.parse().map_err(|_| ApiError::parameter("id", format!("cannot parse {text:?} to a number")))?;
    if !gateway.state.queries.kill(&tenant, id) {
        return Err(ApiError::new(
            ErrorKind::NotFound,
            format!("no query {id} is active (api/v1/status/active_queries)"),
        ));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/admin/tsdb/clean_tombstones`: sealing writes Windows anew without what was deleted.
pub(super) async fn clean_tombstones(State(gateway): State<Arc<Gateway>>) -> Result<StatusCode, ApiError> {
    gateway.state.router.seal_all().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn done(started: Instant) -> Response {
    answer::json(format!("{{\"seconds\":{:.3}}}", started.elapsed().as_secs_f64()))
}
