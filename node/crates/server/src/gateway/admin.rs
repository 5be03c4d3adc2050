//! What operators ask of a node; every answer comes when the work is done.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_model::TimeRange;
use bellwether_proto::v1::OperationState;
use tokio::time::Instant;

use super::params::Params;
use super::{ApiError, ErrorKind, Gateway, answer, json, series};
use crate::operations::is_running;
use crate::peers::service::LongWork;
use crate::query::{TIME_MAX, TIME_MIN};

/// When to ask again for what this node has no room for.
const RETRY_AFTER: Duration = Duration::from_secs(10);

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

/// Where snapshots are, below the data directory; as in Prometheus.
const SNAPSHOTS: &str = "snapshots";

/// `POST /api/v1/admin/tsdb/snapshot`: a backup of the whole cluster below this node's data directory. It goes on when the
/// client hangs up.
pub(super) async fn snapshot(State(gateway): State<Arc<Gateway>>, params: Params) -> Result<Response, ApiError> {
    // It would leave out acknowledged samples; more than was asked for does no harm.
    params.flag("skip_head")?;
    let Some(LongWork { backups, operations }) = gateway.state.backups.clone() else {
        return Err(ApiError::new(ErrorKind::Unavailable, "this node makes no backups"));
    };
    let url = format!("file://{}", gateway.state.config.data_dir.join(SNAPSHOTS).display());
    let begun = operations.begin(format!("backup create {url}"), |handle| backups.create(url, handle));
    let begun = begun.map_err(|error| ApiError::unavailable(error.to_string(), RETRY_AFTER))?;
    let lost = || ApiError::new(ErrorKind::Internal, format!("create snapshot: operation {} was forgotten", begun.id));
    let mut seen = operations.watch(&begun.id).ok_or_else(lost)?;
    let ended = seen.wait_for(|operation| !is_running(operation)).await.map_err(|_| lost())?.clone();
    if ended.state() != OperationState::Done {
        return Err(ApiError::new(ErrorKind::Internal, format!("create snapshot: {}", ended.outcome)));
    }
    let mut data = b"{\"name\":".to_vec();
    json::push_string(&mut data, &ended.backup);
    data.push(b'}');
    Ok(answer::json(data))
}

fn done(started: Instant) -> Response {
    answer::json(format!("{{\"seconds\":{:.3}}}", started.elapsed().as_secs_f64()))
}
