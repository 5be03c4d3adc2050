//! gRPC: the node's status, writes and queries for programs, administration, health for supervisors, reflection for tools.
//!
//! Each service is a thin edge like the HTTP gateway's: messages in, calls of the node's parts, messages out.

mod alerting;
pub mod cluster;
mod explanation;
mod health;
mod node;
pub mod operations;
mod query;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use bellwether_model::{Tenant, Timestamp};
use bellwether_proto::{FILE_DESCRIPTOR_SET, v1};
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_health::pb::health_server::HealthServer;

use self::operations::OperationsService;
use crate::alerting::desk::Desk;
use crate::config::Config;
use crate::env::WallClock;
use crate::far_end::Administrators;
use crate::gateway::{Hosts, NAMED_ELSEWHERE};
use crate::meta::MetaState;
use crate::query::Coordinator;
use crate::routing;
use crate::waiting::Founded;
use crate::write::WritePath;

/// The metadata key that names the tenant.
const TENANT_KEY: &str = "x-scope-orgid";

/// What the services need of their node.
#[derive(Clone)]
pub struct GrpcState {
    /// What is stored.
    pub router: Arc<routing::Router>,
    /// Writes.
    pub write: Arc<WritePath>,
    /// Queries.
    pub queries: Arc<Coordinator>,
    /// How the node is set up.
    pub config: Arc<Config>,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// When the node started.
    pub started_ms: Timestamp,
    /// Where HTTP really listens.
    pub http_address: SocketAddr,
    /// The cluster, where the node is of one.
    pub meta: Option<watch::Receiver<Arc<MetaState>>>,
    /// Rules, alerts, silences, whom to tell.
    pub desk: Desk,
    /// Whether requests are served.
    pub ready: watch::Receiver<bool>,
}

/// All gRPC services of a node; administration where the node is one of a cluster.
///
/// # Errors
/// If the interface's own description is damaged.
pub fn routes(
    state: GrpcState,
    administration: Option<OperationsService>,
) -> Result<Router, tonic_reflection::server::Error> {
    let hosts = Hosts::new(state.config.grpc, &state.config.hosts);
    let queries = v1::query_server::QueryServer::new(query::Query(state.clone()));
    // To callers that ask for it.
    let queries = queries.send_compressed(CompressionEncoding::Zstd);
    let routes = Routes::new(HealthServer::new(health::Health::new(state.ready.clone())))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(v1::node_server::NodeServer::new(node::Node(state.clone())))
        .add_service(v1::alerting_server::AlertingServer::new(alerting::Alerting(state.clone())))
        .add_service(queries);
    let administrators = Administrators::new(&state.config.hosts, state.meta.clone(), state.clock.clone());
    let routes = match administration {
        Some(operations) => {
            let cluster = v1::cluster_server::ClusterServer::new(operations.cluster.clone());
            let founded = v1::founding_server::FoundingServer::new(Founded(operations.cluster.meta.clone()));
            let operations = v1::operations_server::OperationsServer::new(operations);
            routes.add_service(cluster).add_service(operations).add_service(founded)
        }
        None => routes,
    };
    let writes = Router::new().route(write::PATH, post(write::write)).with_state(state);
    let routes = routes.into_axum_router().merge(writes).layer(from_fn_with_state(administrators, refuse_strangers));
    Ok(routes.layer(from_fn_with_state(hosts, refuse_other_hosts)))
}

/// Services for those who administer.
const ADMINISTRATION: [&str; 3] =
    [v1::cluster_server::SERVICE_NAME, v1::operations_server::SERVICE_NAME, v1::founding_server::SERVICE_NAME];

/// Refuses administration to those who may not.
pub async fn refuse_strangers(
    State(administrators): State<Administrators>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let service = path.trim_start_matches('/').split('/').next();
    let is_for_few = service.is_some_and(|service| ADMINISTRATION.contains(&service));
    if (is_for_few || alerting::ADMINISTRATION.contains(&path))
        && let Err(reason) = administrators.check(&request)
    {
        return Status::permission_denied(reason.to_string()).into_http::<Body>();
    }
    next.run(request).await
}

/// What the reflection services describe. A function that takes nothing, not a closure that takes the builder: rustc
/// 1.95 hands two calls of such a closure, with arguments made alike, one and the same builder when it optimises.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Refuses calls for other hosts.
async fn refuse_other_hosts(State(hosts): State<Hosts>, request: axum::extract::Request, next: Next) -> Response {
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(message) => Status::permission_denied(message).into_http::<Body>(),
    }
}

impl GrpcState {
    /// Refuses while the node starts; else says whose data a request concerns.
    fn admit<T>(&self, request: &Request<T>) -> Result<Tenant, Status> {
        if !*self.ready.borrow() {
            return Err(Status::unavailable("the node is not ready yet"));
        }
        self.tenant(request.metadata())
    }

    fn tenant(&self, metadata: &MetadataMap) -> Result<Tenant, Status> {
        let Some(name) = metadata.get(TENANT_KEY) else { return Ok(Tenant::default_tenant()) };
        let name = name.to_str().map_err(|_| Status::invalid_argument("x-scope-orgid is not ASCII text"))?;
        let tenant = Tenant::new(name).map_err(|error| Status::invalid_argument(format!("x-scope-orgid: {error}")))?;
        // Only requests that come from this machine may name another.
        if tenant != Tenant::default_tenant() && !self.config.grpc.ip().is_loopback() {
            return Err(Status::permission_denied(format!("x-scope-orgid: {NAMED_ELSEWHERE}")));
        }
        Ok(tenant)
    }
}
