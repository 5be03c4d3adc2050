//! HTTP: remote write in, Prometheus's query API out, and what operators ask for.
//!
//! This part turns requests into calls of [`WritePath`], [`Shards`] and [`Coordinator`] and their results into bytes; it
//! stores nothing and evaluates nothing. Reading order: this file (what is served where), `guard.rs`, `cors.rs` and `hosts.rs` (what happens
//! around every request), `params.rs` and `error.rs` (the two languages that clients speak), then one file for each family of
//! endpoints; `answer.rs`, `json.rs` and `number.rs` write answers.

mod admin;
mod alerting;
mod answer;
mod ast_json;
mod body;
pub(crate) mod calendar;
mod compress;
mod cors;
mod error;
mod exemplars;
mod federate;
mod guard;
mod histogram_json;
mod hosts;
mod json;
mod metrics;
mod name_escaping;
mod number;
mod pages;
mod params;
mod query;
mod remote_read;
mod result_json;
mod series;
mod status;
mod tenant;
mod trace_json;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use bellwether_model::{Tenant, Timestamp};
use tokio::sync::{Semaphore, watch};

pub use alerting::DEFINITIONS_NAMESPACE;
pub use error::{ApiError, ErrorKind};
pub use hosts::Hosts;
pub use number::{push_float, push_seconds};
pub use query::query_answer;
pub use tenant::NAMED_ELSEWHERE;

use crate::alerting::desk::Desk;
use crate::config::Config;
use crate::env::WallClock;
use crate::far_end::Administrators;
use crate::peers::service::LongWork;
use crate::query::Coordinator;
use crate::routing;
use crate::write::WritePath;
use cors::Origins;
use metrics::GatewayMetrics;

/// Read and admin requests that are in work at a time; more are answered 503. Queries have a lower bound of their own,
/// and a queue.
const READS_IN_FLIGHT_MAX: usize = 512;
/// Remote-write requests in work at a time; more are answered 503.
const WRITES_IN_FLIGHT_MAX: usize = 2048;

/// What the gateway needs of its node.
pub struct GatewayState {
    /// Reads, flush, seal, deletes.
    pub router: Arc<routing::Router>,
    /// Writes.
    pub write: Arc<WritePath>,
    /// Queries.
    pub queries: Arc<Coordinator>,
    /// How the node is set up.
    pub config: Arc<Config>,
    /// What `/metrics` shows; the gateway's own metrics are registered here.
    pub registry: prometheus::Registry,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// When the node started.
    pub started_ms: Timestamp,
    /// Backups of the whole cluster; without it there are no snapshots.
    pub backups: Option<LongWork>,
    /// Rules, alerts, silences, whom to tell.
    pub desk: Desk,
    /// Who may administer.
    pub administrators: Administrators,
    /// Whether requests are served; until then they are answered 503.
    pub ready: watch::Receiver<bool>,
}

/// Everything that handlers share.
struct Gateway {
    state: GatewayState,
    metrics: GatewayMetrics,
    reads: Arc<Semaphore>,
    writes: Semaphore,
    /// Room for request bodies of writes, in units of [`write::BODY_UNIT_BYTES`].
    write_bodies: Semaphore,
    /// Room for forms, in the same units.
    forms: Arc<Semaphore>,
    /// The tenant of requests that name none.
    default_tenant: Tenant,
    /// Whether requests may name their tenant: only those that come from this machine.
    tenant_header: bool,
}

/// All HTTP endpoints of a node.
pub fn router(state: GatewayState) -> Router {
    let hosts = Hosts::new(state.config.http, &state.config.hosts);
    let gateway = Arc::new(Gateway {
        metrics: GatewayMetrics::new(&state.registry),
        reads: Arc::new(Semaphore::new(READS_IN_FLIGHT_MAX)),
        writes: Semaphore::new(WRITES_IN_FLIGHT_MAX),
        write_bodies: Semaphore::new(write::body_units(state.config.ingest.max_inflight_bytes.0)),
        forms: Arc::new(Semaphore::new(write::body_units(params::FORMS_BYTES_MAX))),
        default_tenant: Tenant::default_tenant(),
        tenant_header: state.config.http.ip().is_loopback(),
        state,
    });
    let writes = Router::new()
        .route("/api/v1/write", post(write::remote_write))
        .route("/api/v1/push", post(write::remote_write))
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(from_fn(guard::refuse_foreign_pages));
    let admin = Router::new()
        .route("/api/v1/admin/flush", post(admin::flush))
        .route("/api/v1/admin/seal", post(admin::seal))
        .route("/api/v1/admin/kill_query", post(admin::kill_query))
        .route("/api/v1/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(from_fn_with_state(gateway.clone(), guard::refuse_strangers))
        .layer(from_fn(guard::refuse_foreign_pages));
    let reads = Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/api/v1/format_query", get(query::format).post(query::format))
        .route("/api/v1/parse_query", get(query::parse).post(query::parse))
        .route("/api/v1/read", post(remote_read::remote_read))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/labels", get(series::label_names).post(series::label_names))
        .route("/api/v1/label/{name}/values", get(series::label_values))
        .route("/api/v1/metadata", get(series::metadata))
        .merge(status_routes())
        .merge(alerting::routes(&gateway))
        // Before the layer: it answers OPTIONS, which no route here takes.
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(from_fn_with_state(Origins::new(&gateway.state.config.cors_origin), cors::allow_origins));
    let federate = Router::new()
        .route("/federate", get(federate::federate).post(federate::federate))
        .method_not_allowed_fallback(pages::method_not_allowed);
    let api = Router::new()
        .merge(admin)
        .merge(reads)
        .merge(federate)
        .layer(from_fn_with_state(gateway.clone(), guard::admit_read));
    Router::new()
        .merge(writes)
        .merge(api)
        .route("/metrics", get(pages::metrics))
        .layer(from_fn_with_state(gateway.clone(), guard::observe))
        .route("/", get(pages::index))
        .route("/-/healthy", get(pages::healthy))
        .route("/-/ready", get(pages::ready))
        .fallback(pages::not_found)
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(from_fn_with_state(hosts, hosts::refuse_other_hosts))
        .with_state(gateway)
}

fn status_routes() -> Router<Arc<Gateway>> {
    let empty = |data: &'static str| -> MethodRouter<Arc<Gateway>> { get(move || async move { answer::json(data) }) };
    Router::new()
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/active_queries", get(status::active_queries))
        .route("/api/v1/status/walreplay", empty(r#"{"min":0,"max":0,"current":0}"#))
        .route("/api/v1/alertmanagers", empty(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#))
        .route("/api/v1/targets", empty(r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#))
        .route("/api/v1/targets/metadata", empty("[]"))
        .route("/api/v1/scrape_pools", empty(r#"{"scrapePools":[]}"#))
}
