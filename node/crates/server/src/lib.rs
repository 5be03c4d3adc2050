//! A node: what listens, what stores, what answers, over an [`Env`].
//!
//! Reading order: [`env`] (the door to the world), [`config`], [`tls`] and [`far_end`] (who is who on a connection),
//! [`replication`] (the log store), [`peers`] (other nodes), [`common_group`] (groups of all nodes),
//! [`meta`] (what concerns the whole cluster), [`cluster`] (this
//! node as one of it), [`clock_rule`] (whose clock counts), [`shards`] (the groups of this node and reads across them),
//! [`routing`], [`balance`] (who makes copies and moves them), [`write`] (from a request's body to acknowledged samples),
//! [`maintenance`] (flush, seal, retention, disk space), then what clients see: [`gateway`], [`grpc`], [`query`],
//! [`self_collect`].

pub mod alerting;
pub mod backup;
pub mod balance;
pub mod clock_rule;
pub mod cluster;
pub mod common_group;
pub mod config;
pub mod env;
pub mod far_end;
pub mod gateway;
pub mod grpc;
mod join_token;
mod listen;
pub mod maintenance;
pub mod meta;
pub mod metrics;
pub mod operations;
pub mod peers;
pub mod program;
pub mod query;
pub mod replication;
pub mod routing;
pub mod self_collect;
mod sending;
pub mod shards;
#[cfg(test)]
mod testing;
pub mod tls;
mod waiting;
pub mod write;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use alerting::Alerting;
use alerting::desk::Desk;
use alerting::evaluator::{self, Evaluator};
use alerting::notifier::metrics::NotifierMetrics;
use alerting::notifier::totals::Totals;
use alerting::notifier::{Notifier, Notifiers};
use alerting::on_write::{self, Carrier};
use alerting::send::Sender;
use backup::Backups;
use balance::Mover;
use balance::report::Reporter;
use bellwether_alert::evaluate::External;
use bellwether_probe::reached;
use clock_rule::{ClockRule, CorrectedClock};
use cluster::{Cluster, ClusterError};
use config::ConfigError;
use env::Listener;
use far_end::Administrators;
use gateway::GatewayState;
use grpc::GrpcState;
use grpc::cluster::ClusterService;
use grpc::operations::OperationsService;
pub use join_token::JoinTokenError;
use maintenance::Maintenance;
use meta::founding::EnterError;
use meta::joining::JoinError;
use meta::{Meta, Refusal};
use metrics::{StorageMetrics, WriteMetrics};
use operations::Operations;
use peers::Peers;
use peers::service::{LongWork, PeerService};
use query::Coordinator;
use routing::Router;
use routing::reconcile::reconcile;
use self_collect::SelfCollect;
use shards::{AdminError, Shards, active_version};
use tls::{Tls, TlsError};
use write::WritePath;

pub use config::Config;
pub use env::Env;

/// How long others may take to take over what a node leads that stops.
const HAND_OVER_WAIT: Duration = Duration::from_secs(5);

/// A node that runs.
pub struct Server {
    http_address: SocketAddr,
    grpc_address: SocketAddr,
    meta: Meta,
    alerting: Alerting,
    peers: Peers,
    router: Arc<Router>,
    shards: Arc<Shards>,
    write: Arc<WritePath>,
    registry: Registry,
    ready: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    notifiers: Notifiers,
    tasks: JoinSet<()>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not hold together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("data directory {path}")]
    Data {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        #[source]
        source: DataError,
    },
    /// No cluster took the node.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The other nodes could not reach it.
    #[error(transparent)]
    Reach(ClusterError),
    /// An address is taken, or not ours.
    #[error("cannot listen on {address} (configuration key {key:?})")]
    Listen {
        /// The key that says so.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The token to join with is not where it should be.
    #[error(transparent)]
    JoinToken(#[from] JoinTokenError),
    /// Two metrics have one name: our own mistake.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// The node cannot prove who it is.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Other nodes cannot be served.
    #[error(transparent)]
    Peers(#[from] peers::service::ServiceError),
    /// The gRPC interface's description is damaged: our own mistake.
    #[error("gRPC reflection: {0}")]
    Reflection(String),
}

impl StartError {
    fn of_cluster(config: &Config, error: ClusterError) -> StartError {
        match error {
            ClusterError::Enter(EnterError::Join(error)) => StartError::Join(error),
            error @ ClusterError::Reach { .. } => StartError::Reach(error),
            error => StartError::Data { path: config.data_dir.display().to_string(), source: error.into() },
        }
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The node cannot be one of its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Its replicas cannot be opened.
    #[error(transparent)]
    Shards(#[from] shards::open::OpenError),
}

impl Server {
    /// Opens the data directory, or founds a cluster in an empty one, and serves. Returns once requests are answered.
    pub async fn start(config: Config, env: Env) -> Result<Server, StartError> {
        config.validate()?;
        let registry = Registry::new();
        let tls = Tls::load(&config.tls, &config.grpc_host(), &env, &registry).await?;
        // Receivers are no nodes: what the nodes show each other is not for them.
        let outside = env.net.clone();
        let env = match &tls {
            Some(tls) => Env { net: tls.over(env.net.clone()), ..env },
            None => env,
        };
        let config = join_token::filled_in(config, &env).await?;
        let order = match config.cluster.wait_for_init {
            true => waiting::wait(&config, &env, tls.clone(), config.http).await?,
            false => None,
        };
        let config = Arc::new(match &order {
            Some(order) => order.applied_to(config),
            None => config,
        });
        let started_ms = env.clock.now_ms();
        let http = bind(&env, "http", config.http).await?;
        // Raft's runtime is told of what happens on this listener's connections.
        let grpc = {
            let (env_of_task, address) = (env.clone(), config.grpc);
            let bound =
                replication::on_raft(&env.executors, async move { bind(&env_of_task, "grpc", address).await }).await;
            bound.map_err(peers::service::ServiceError::from)??
        };
        let (http_address, grpc_address) = (http.local_address(), grpc.local_address());

        let refusing = maintenance::look_before_start(&config, &env).await;
        let data = |source: DataError| StartError::Data { path: config.data_dir.display().to_string(), source };
        let storage_metrics = Arc::new(StorageMetrics::new(&registry)?);
        // What is done by a clock from here on is done by one that the cluster agrees with.
        let clock = CorrectedClock::new(env.clock.clone());
        let own_env = env.clone();
        let env = Env { clock: clock.clone(), ..env };
        let cluster = Cluster::enter(&config, (&env, &own_env), &registry, http_address, grpc_address).await;
        let Cluster { meta, alerting, peers, replication } =
            cluster.map_err(|error| StartError::of_cluster(&config, error))?;
        if let Some(order) = order {
            order.choose(&meta, &config, env.clock.now_ms()).await;
        }
        let identity = meta.identity();
        let clock_rule = ClockRule::new(meta.clone(), peers.clone(), replication.raft.clone(), clock, &registry)?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (ring, follow) = cluster::follow_state(meta.state(), peers.clone());
        let mut stopping = stopped.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = follow => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        });
        let raft = replication.raft.clone();
        let metrics = storage_metrics.clone();
        let shards = Shards::open(identity.node, ring, replication, &config, &env, &registry, metrics).await;
        let shards = Arc::new(shards.map_err(|error| data(error.into()))?);
        let write_metrics = Arc::new(WriteMetrics::new(&registry)?);
        let router = Router::new(shards.clone(), Arc::new(peers.clone()), &config, &env, write_metrics.clone());
        let write = WritePath::new(router.clone(), Some(meta.state()), &config, &env, write_metrics);
        write.set_refusing(refusing);
        let queries = Coordinator::new(router.clone(), env.executors.scan.clone(), &config, &registry);
        let queries = Arc::new(queries);

        let backups = Backups::new(meta.clone(), peers.clone(), router.clone(), write.clone(), env.clone());
        let operations = Operations::new(identity.node, env.clock.clone(), stopped.clone());
        let long_work = LongWork { backups, operations };

        let states = Arc::new(alerting.clone());
        let desk = Desk::new(states, env.clock.clone(), env.key.clone(), &config, http_address);
        let (ready, is_ready) = watch::channel(router.is_alone());
        let evaluator = evaluator::Parts {
            alerting: alerting.clone(),
            queries: queries.clone(),
            write: write.clone(),
            external: External {
                labels: config.alerting.external_labels.0.clone(),
                url: config.external_url(http_address),
            },
            clock: env.clock.clone(),
        };
        let evaluator = Evaluator::new(evaluator, &config.alerting, &registry)?;
        let carrier = on_write::Parts { alerting: alerting.clone(), shards: shards.clone(), peers: peers.clone() };
        let carrier = Carrier::new(carrier, &registry)?;
        let files_dir = Some(PathBuf::from(&config.alerting.files_dir)).filter(|path| !path.as_os_str().is_empty());
        let sender = Arc::new(Sender::new(outside, files_dir, &env, &registry)?);
        let notifier_metrics = Arc::new(NotifierMetrics::new(&registry)?);
        let external_url = config.external_url(http_address);
        let links = (!config.alerting.external_url.is_empty()).then(|| env.key.clone());
        let totals: Arc<dyn Totals> = Arc::new(queries.clone());
        let notifiers = Notifiers::start(alerting.groups().iter().map(|group| {
            let (clock, metrics) = (env.clock.clone(), notifier_metrics.clone());
            let told_by = (sender.clone(), totals.clone());
            Notifier::new(group.clone(), told_by, (&external_url, links.clone()), clock, metrics)
        }));
        let http_routes = gateway::router(GatewayState {
            router: router.clone(),
            write: write.clone(),
            queries: queries.clone(),
            config: config.clone(),
            registry: registry.clone(),
            clock: env.clock.clone(),
            started_ms,
            backups: Some(long_work.clone()),
            desk: desk.clone(),
            administrators: Administrators::new(&config.hosts, Some(meta.state()), env.clock.clone()),
            ready: is_ready.clone(),
        });
        let reporter = Reporter::new(&router, clock_rule.judgement(), &config, &env);
        let administration = ClusterService {
            meta: meta.clone(),
            alerting: alerting.clone(),
            peers: peers.clone(),
            router: router.clone(),
            reporter: reporter.clone(),
            clock: env.clock.clone(),
            seed: env.seed.split("administration"),
            key: env.key.clone(),
            tokens: Arc::default(),
            ready: is_ready.clone(),
        };
        let grpc_state = GrpcState {
            router: router.clone(),
            write: write.clone(),
            queries,
            config: config.clone(),
            clock: env.clock.clone(),
            started_ms,
            http_address,
            meta: Some(meta.state()),
            desk,
            ready: is_ready,
        };
        let administration = OperationsService { cluster: administration, work: long_work.clone() };
        let grpc_routes = grpc::routes(grpc_state, Some(administration))
            .map_err(|error| StartError::Reflection(error.to_string()))?;
        let mover = Mover {
            meta: meta.clone(),
            router: router.clone(),
            peers: peers.clone(),
            reporter: reporter.clone(),
            seed: env.seed.split("mover"),
        };
        let service = PeerService::open(raft, peers.clone(), own_env, stopped.clone()).await?;
        let service = service
            .with_router(router.clone())
            .with_meta(meta.clone())
            .with_alerting(alerting.clone())
            .with_tls(tls.clone())
            .with_reporter(reporter)
            .with_long_work(long_work);
        let grpc_routes = service.add_to(grpc_routes);
        let http_tls = tls.clone().filter(|_| !config.http_is_plain());
        tasks.spawn(listen::serve(http, http_routes, http_tls, stopped.clone()));
        let grpc = listen::serve_nodes(grpc, grpc_routes, Handle::current(), tls.clone(), stopped.clone());
        let env_of_task = env.clone();
        tasks.spawn(async move {
            // An error means that Raft's runtime is gone, and all connections with it.
            let _ = replication::on_raft(&env_of_task.executors, grpc).await;
        });
        let maintenance = Maintenance::new(shards.clone(), write.clone(), &config, &env, storage_metrics);
        tasks.spawn(maintenance.run(stopped.clone()));
        if !router.is_alone() {
            tasks.spawn(router.clone().become_ready(ready.clone(), stopped.clone()));
        }
        tasks.spawn(reconcile(router.clone(), Some(meta.clone()), stopped.clone()));
        tasks.spawn(active_version::follow(meta.state(), shards.clone(), env.clock.clone(), stopped.clone()));
        tasks.spawn(mover.run(stopped.clone()));
        tasks.spawn(evaluator.run(ready.subscribe(), stopped.clone()));
        tasks.spawn(carrier.run(stopped.clone()));
        if let Some(tls) = tls {
            tasks.spawn(tls.follow(stopped.clone()));
        }
        tasks.spawn(clock_rule.run(stopped.clone()));
        if config.self_collect.enabled {
            let collect = SelfCollect {
                config: config.self_collect.clone(),
                instance: http_address.to_string(),
                registry: registry.clone(),
                host: env.host.clone(),
                background: env.executors.background.clone(),
                write: write.clone(),
                clock: env.clock.clone(),
            };
            tasks.spawn(self_collect::run(collect, stopped));
        }
        tracing::info!(
            cluster = %format!("{:032x}", identity.cluster),
            node = identity.node,
            http = %http_address,
            grpc = %grpc_address,
            series = shards.stats().series,
            "serving"
        );
        Ok(Server {
            http_address,
            grpc_address,
            meta,
            alerting,
            peers,
            router,
            shards,
            write,
            registry,
            ready,
            stop,
            notifiers,
            tasks,
        })
    }

    /// Where HTTP really listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where gRPC really listens.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// The meta group.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The alert groups.
    pub fn alerting(&self) -> &Alerting {
        &self.alerting
    }

    /// The way to all data of the cluster.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What is stored here.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// The way in.
    pub fn write_path(&self) -> &Arc<WritePath> {
        &self.write
    }

    /// The node's metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Ends when the node is no part of the cluster any more, with what to say: nobody answers it, and what it answers is old.
    pub fn removed(&self) -> impl Future<Output = Refusal> + Send + use<> {
        let (node, mut state, peers) = (self.meta.node(), self.meta.state(), self.peers.clone());
        async move {
            tokio::select! {
                biased;
                Ok(_) = state.wait_for(|state| state.is_removed(node)) => {}
                () = peers.removed() => reached("a node heard of others that it was removed"),
            }
            Refusal::NodeRemoved(node)
        }
    }

    /// Lets messages under way arrive, hands over what the node leads, lets requests under way end, writes everything to runs, and
    /// stops: the next start has no log to apply, and writers that repeat what failed notice nothing.
    pub async fn shutdown(mut self) -> Result<(), AdminError> {
        self.ready.send_replace(false);
        // Before others lead, who would send again what has no result.
        self.notifiers.stop().await;
        self.shards.hand_over(HAND_OVER_WAIT).await;
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the server ended badly");
            }
        }
        self.write.close();
        let flushed = self.shards.flush_all().await;
        self.alerting.stop().await;
        self.meta.stop().await;
        self.shards.shutdown().await;
        tracing::info!("stopped");
        flushed
    }
}

async fn bind(env: &Env, key: &'static str, address: SocketAddr) -> Result<Box<dyn Listener>, StartError> {
    env.net.bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}
