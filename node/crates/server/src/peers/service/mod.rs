//! What other nodes ask of this one: the service of `bellwether.peer.v1`, one file per concern. A call that has no handler
//! here is answered as unimplemented.

mod backup;
mod guard;
mod install;
mod join;
mod propose_alerting;
mod propose_meta;
mod raft;
mod report;
mod routed;
mod touched;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use bellwether_kv::Error;
use bellwether_proto::peer::v1::peer_server::{Peer, PeerServer, SERVICE_NAME};
use bellwether_proto::peer::v1::{
    BackUpGroupPart, BackUpGroupRequest, CommandAnswer, CommandRequest, InstallAnswer, InstallChunk, JoinAnswer,
    JoinRequest, MaintainAnswer, MaintainRequest, MembershipAnswer, MembershipRequest, OperateAnswer, OperateRequest,
    ProposeAlertingAnswer, ProposeAlertingRequest, ProposeMetaAnswer, ProposeMetaRequest, RaftBatch, ReadIndexAnswer,
    ReadIndexRequest, ReportAnswer, ReportRequest, ResolveAnswer, ResolveRequest, SalvageAnswer, SalvageRequest,
    ScanPart, ScanRequest, TouchedAnswer, TouchedRequest, WriteAnswer, WriteRequest,
};
use bellwether_raft::RaftNode;
use tokio::sync::{Semaphore, watch};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

pub use self::backup::LongWork;
use self::guard::{Guard, Passes};
use super::Peers;
use super::identity::Caller;
use super::limits::{CHECKPOINTS_RECEIVED_MAX, MESSAGE_BYTES_MAX};
use crate::alerting::Alerting;
use crate::balance::report::Reporter;
use crate::env::Env;
use crate::meta::Meta;
use crate::replication::Stopping;
use crate::routing;
use crate::tls::Tls;

/// What the handlers need of their node.
#[derive(Clone)]
pub struct PeerService {
    /// The groups of this node.
    pub raft: RaftNode,
    /// The other nodes.
    pub peers: Peers,
    /// The world.
    pub env: Env,
    /// Who may call.
    passes: Passes,
    /// What concerns the whole cluster; none in a test that has no need of it.
    meta: Option<Meta>,
    /// The alert groups; without them calls for them are answered as unimplemented.
    alerting: Option<Alerting>,
    /// True once the node stops: streams end, so that the listener can.
    pub stopped: watch::Receiver<bool>,
    /// Checkpoints that come in.
    pub arrivals: Arc<Arrivals>,
    /// What carries out the others' requests. Without it they are answered as unimplemented.
    pub router: Option<Arc<routing::Router>>,
    /// What this node says of itself; none where it is not asked.
    reporter: Option<Reporter>,
    /// Backups and operations; without it calls for them are answered as unimplemented.
    long_work: Option<LongWork>,
}

/// Checkpoints that come in.
#[derive(Debug)]
pub struct Arrivals {
    /// For so many at a time.
    room: Arc<Semaphore>,
    /// How many have come: each gets a place of its own, while one that was given up may still be ending.
    count: AtomicU64,
}

/// Why the service cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// What an earlier process left of checkpoints cannot be removed.
    #[error("checkpoints that did not arrive whole cannot be removed")]
    Leftovers(#[source] Error),
    /// The node is going away.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl PeerService {
    /// A service that admits every node of the cluster, after removing what an earlier process left of checkpoints.
    pub async fn open(
        raft: RaftNode,
        peers: Peers,
        env: Env,
        stopped: watch::Receiver<bool>,
    ) -> Result<PeerService, ServiceError> {
        let disk = env.disk.clone();
        let cleared = env.executors.scan.run(move || install::remove_leftovers(&*disk)).await;
        cleared.map_err(|_| Stopping)?.map_err(ServiceError::Leftovers)?;
        let room = Arc::new(Semaphore::new(CHECKPOINTS_RECEIVED_MAX));
        let arrivals = Arc::new(Arrivals { room, count: AtomicU64::new(0) });
        let passes = Passes::default();
        let (meta, alerting, router, reporter, long_work) = (None, None, None, None, None);
        Ok(PeerService { raft, peers, env, passes, meta, alerting, stopped, arrivals, router, reporter, long_work })
    }

    /// The same, for a node that carries out the others' requests.
    pub fn with_router(mut self, router: Arc<routing::Router>) -> PeerService {
        self.router = Some(router);
        self
    }

    /// Says what this node carries as well.
    pub fn with_reporter(self, reporter: Reporter) -> PeerService {
        PeerService { reporter: Some(reporter), ..self }
    }

    /// The same, for a node that does long work.
    pub fn with_long_work(mut self, long_work: LongWork) -> PeerService {
        self.long_work = Some(long_work);
        self
    }

    /// Serves the meta group as well, and admits nobody whom it has removed.
    pub fn with_meta(self, meta: Meta) -> PeerService {
        let passes = Passes { state: Some(meta.state()), ..self.passes };
        PeerService { meta: Some(meta), passes, ..self }
    }

    /// Serves the alert groups as well.
    pub fn with_alerting(self, alerting: Alerting) -> PeerService {
        PeerService { alerting: Some(alerting), ..self }
    }

    /// The same, for a node whose callers must show certificates.
    pub fn with_tls(self, tls: Option<Tls>) -> PeerService {
        PeerService { passes: Passes { tls, ..self.passes }, ..self }
    }

    fn meta(&self) -> Result<&Meta, Status> {
        self.meta.as_ref().ok_or_else(|| Status::unimplemented("this node serves no meta group"))
    }

    /// Adds the service to others of the same listener.
    pub fn add_to(self, router: Router) -> Router {
        let (own, spoken, passes) = (self.peers.identity(), self.env.program.peers, self.passes.clone());
        let server = PeerServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX);
        router.route_service(&format!("/{SERVICE_NAME}/{{*call}}"), Guard::new(server, own, spoken, passes))
    }
}

/// Who sent a request that the guard let in.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get().copied();
    caller.ok_or_else(|| Status::internal("the guard does not stand before the service"))
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn raft(&self, requests: Request<Streaming<RaftBatch>>) -> Result<Response<BoxStream<RaftBatch>>, Status> {
        Ok(Response::new(self.serve_raft(requests)?))
    }

    async fn install(&self, chunks: Request<Streaming<InstallChunk>>) -> Result<Response<InstallAnswer>, Status> {
        self.receive_checkpoint(chunks).await.map(Response::new)
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteAnswer>, Status> {
        self.serve_write(request.into_inner()).await.map(Response::new)
    }

    async fn resolve(&self, request: Request<ResolveRequest>) -> Result<Response<ResolveAnswer>, Status> {
        self.serve_resolve(request.into_inner()).await.map(Response::new)
    }

    async fn read_index(&self, request: Request<ReadIndexRequest>) -> Result<Response<ReadIndexAnswer>, Status> {
        self.serve_read_index(request.into_inner()).await.map(Response::new)
    }

    async fn command(&self, request: Request<CommandRequest>) -> Result<Response<CommandAnswer>, Status> {
        self.serve_command(request.into_inner()).await.map(Response::new)
    }

    async fn membership(&self, request: Request<MembershipRequest>) -> Result<Response<MembershipAnswer>, Status> {
        self.serve_membership(request.into_inner()).await.map(Response::new)
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportAnswer>, Status> {
        self.serve_report(request.get_ref()).await.map(Response::new)
    }

    async fn maintain(&self, request: Request<MaintainRequest>) -> Result<Response<MaintainAnswer>, Status> {
        self.serve_maintain(request.into_inner()).await.map(Response::new)
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinAnswer>, Status> {
        self.admit(request).await.map(Response::new)
    }

    async fn propose_meta(&self, request: Request<ProposeMetaRequest>) -> Result<Response<ProposeMetaAnswer>, Status> {
        self.propose(request.into_inner()).await.map(Response::new)
    }

    async fn propose_alerting(
        &self,
        request: Request<ProposeAlertingRequest>,
    ) -> Result<Response<ProposeAlertingAnswer>, Status> {
        self.propose_to_alert_group(request.into_inner()).await.map(Response::new)
    }

    async fn touched(&self, request: Request<TouchedRequest>) -> Result<Response<TouchedAnswer>, Status> {
        self.serve_touched(request.into_inner()).map(Response::new)
    }

    async fn back_up_group(
        &self,
        request: Request<BackUpGroupRequest>,
    ) -> Result<Response<BoxStream<BackUpGroupPart>>, Status> {
        self.serve_back_up(request.into_inner()).map(Response::new)
    }

    async fn salvage(&self, request: Request<SalvageRequest>) -> Result<Response<SalvageAnswer>, Status> {
        self.serve_salvage(request.into_inner()).await.map(Response::new)
    }

    async fn operate(&self, request: Request<OperateRequest>) -> Result<Response<OperateAnswer>, Status> {
        self.serve_operate(request.into_inner()).await.map(Response::new)
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<BoxStream<ScanPart>>, Status> {
        self.serve_scan(request.into_inner()).await.map(Response::new)
    }
}
