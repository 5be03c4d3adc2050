//! A node that waits to be told whether it founds a cluster.
//!
//! With `cluster.wait_for_init` an empty directory founds nothing by itself, so that all nodes can be started alike: with the same
//! addresses to join, in any order. Each serves one call, and tries to join beside. The one that is told to found does; the others
//! then find somebody to join. Where that takes a token they share one, and the founder makes its own valid.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::middleware::from_fn_with_state;
use bellwether_model::Timestamp;
use bellwether_proto::peer::v1::peer_server::{Peer, PeerServer};
use bellwether_proto::peer::v1::{JoinAnswer, JoinRequest};
use bellwether_proto::v1::founding_server::{Founding, FoundingServer};
use bellwether_proto::v1::{InitRequest, InitResponse};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, ClusterError};
use crate::config::{Config, is_loopback_host};
use crate::env::Env;
use crate::far_end::Administrators;
use crate::grpc::refuse_strangers;
use crate::listen;
use crate::meta::command::TokenProof;
use crate::meta::settings::SettingKey;
use crate::meta::state::{TOKEN_USES_MAX, TokenKind};
use crate::meta::tokens::{TOKEN_VALID_MS_MAX, TokenText};
use crate::meta::{Meta, MetaCommand};
use crate::tls::Tls;
use crate::{StartError, bind};

/// For how long others can join with the founder's token if nothing else is said.
const JOIN_TOKEN_VALID_MS: u64 = 3_600_000;

/// What a cluster is to begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    shard_groups: u32,
    settings: Vec<(SettingKey, u64)>,
    /// For how long others can join with the founder's own token.
    join_token_valid_ms: u64,
}

impl Order {
    /// The configuration of the founder.
    pub fn applied_to(&self, mut config: Config) -> Config {
        config.join.0.clear();
        if self.shard_groups > 0 {
            config.shard_groups = self.shard_groups;
        }
        config
    }

    /// Chooses the settings that were asked for, and lets others join with the founder's own token. Before anybody is served.
    pub async fn choose(&self, meta: &Meta, config: &Config, now: Timestamp) {
        if let Ok(token) = TokenText::parse(&config.cluster.join_token.0) {
            let TokenProof { id, secret_hash } = token.proof();
            let expires_ms = now.saturating_add_unsigned(self.join_token_valid_ms);
            let (kind, uses) = (TokenKind::Join, TOKEN_USES_MAX);
            let made = meta.propose(MetaCommand::CreateToken { id, kind, secret_hash, expires_ms, uses }).await;
            if let Err(error) = made {
                tracing::error!(%error, "nobody can join with the token of cluster.join_token: see bwctl token create");
            }
        }
        for (key, value) in self.settings.iter().copied() {
            if let Err(error) = meta.propose(MetaCommand::SetSetting { key, value }).await {
                tracing::error!(setting = key.info().name, %error, "a setting of the new cluster was not set");
            }
        }
    }
}

/// Waits until the directory belongs to a node, or until this one is to found a cluster: then says with what.
pub async fn wait(config: &Config, env: &Env, tls: Option<Tls>, http: SocketAddr) -> Result<Option<Order>, StartError> {
    let failed = |source: ClusterError| StartError::of_cluster(config, source);
    if Cluster::is_known(env).await.map_err(failed)? {
        return Ok(None);
    }
    let listener = bind(env, "grpc", config.grpc).await?;
    let grpc = listener.local_address();
    tracing::info!(%grpc, join = config.join.0.len(), "waits to be told to found a cluster: bwctl cluster init");
    let (tell, order) = oneshot::channel();
    let service = Waiting { tell: Arc::new(Mutex::new(Some(tell))) };
    let routes = Routes::new(FoundingServer::new(service.clone())).add_service(PeerServer::new(service));
    // There is no cluster yet that could know a token.
    let administrators = Administrators::new(&config.hosts, None, env.clock.clone());
    let routes = routes.into_axum_router().fallback(waits);
    let routes = routes.layer(from_fn_with_state(administrators, refuse_strangers));
    let (stop, stopped) = watch::channel(false);
    // Both ends of it: who was told to found is answered before the listener goes.
    let serving = listen::serve(listener, routes, tls, stopped);
    let joining = async {
        let needs_token = !is_loopback_host(&config.grpc_host()) && !config.cluster.join_token.is_set();
        if needs_token && !config.join.0.is_empty() {
            tracing::warn!(
                "without cluster.join_token or cluster.join_token_file this node can found a cluster, and join none"
            );
        }
        if needs_token || config.join.0.is_empty() {
            std::future::pending::<()>().await;
        }
        let mut patient = config.clone();
        patient.cluster.join_timeout = std::time::Duration::ZERO;
        Cluster::join(&patient, env, http, grpc).await
    };
    let told = async {
        let told = tokio::select! {
            biased;
            Ok(order) = order => Ok(Some(order)),
            joined = joining => joined.map(|()| None),
        };
        stop.send_replace(true);
        told
    };
    futures::future::join(told, serving).await.0.map_err(failed)
}

/// The answer to whatever else is asked.
async fn waits() -> axum::response::Response {
    Status::unavailable("this node is not one of a cluster yet: it waits for bwctl cluster init, or for a node to join")
        .into_http::<Body>()
}

#[derive(Clone)]
struct Waiting {
    tell: Arc<Mutex<Option<oneshot::Sender<Order>>>>,
}

/// Refuses a founding where there is a cluster.
#[derive(Clone)]
pub struct Founded(pub Meta);

#[tonic::async_trait]
impl Founding for Waiting {
    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        let order = read(request.into_inner())?;
        let tell = self.tell.lock().take();
        match tell.map(|tell| tell.send(order)) {
            Some(Ok(())) => Ok(Response::new(InitResponse {})),
            _ => Err(Status::failed_precondition("this node founds or joins a cluster at this moment")),
        }
    }
}

#[tonic::async_trait]
impl Founding for Founded {
    async fn init(&self, _: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        Err(Status::failed_precondition(format!(
            "this node is one of cluster {:032x} already: to add a node start it with --join and an empty data directory; for \
             another cluster start a node elsewhere",
            self.0.identity().cluster
        )))
    }
}

#[tonic::async_trait]
impl Peer for Waiting {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinAnswer>, Status> {
        Err(Status::unavailable("it waits for a cluster itself: bwctl cluster init, asked of one node, founds one"))
    }
}

fn read(request: InitRequest) -> Result<Order, Status> {
    let mut settings = Vec::with_capacity(request.settings.len());
    for setting in request.settings {
        let wrong = |reason: String| Status::invalid_argument(format!("setting {}: {reason}", setting.name));
        let key = SettingKey::named(&setting.name).ok_or_else(|| wrong("there is none of that name".to_owned()))?;
        let info = key.info();
        let value = info.parse(&setting.value).map_err(|reason| wrong(format!("{:?} {reason}", setting.value)))?;
        if !(info.min..=info.max).contains(&value) {
            let (min, max) = (info.print(info.min), info.print(info.max));
            return Err(wrong(format!("it takes {min} to {max}, not {}", setting.value)));
        }
        settings.push((key, value));
    }
    if request.shard_groups > crate::config::SHARD_GROUPS_MAX {
        return Err(Status::invalid_argument(format!(
            "a cluster begins with at most {} shard groups",
            crate::config::SHARD_GROUPS_MAX
        )));
    }
    let join_token_valid_ms = match request.join_token_valid_ms {
        0 => JOIN_TOKEN_VALID_MS,
        valid_ms => valid_ms.min(TOKEN_VALID_MS_MAX),
    };
    Ok(Order { shard_groups: request.shard_groups, settings, join_token_valid_ms })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bellwether_kv::MemDisk;
    use bellwether_proto::v1::InitSetting;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::Server;
    use crate::config::PeerList;
    use crate::env::Seed;
    use crate::peers::testing::TestNet;
    use crate::testing::{TestClock, env};

    fn address(at: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 200 + at))
    }

    fn machine(net: &TestNet, at: u16) -> (Config, Env) {
        let mut config = Config { grpc: address(at), ..Config::default() };
        config.http.set_port(100 + at);
        config.self_collect.enabled = false;
        config.cluster.wait_for_init = true;
        config.join = PeerList((1..=3).filter(|other| *other != at).map(|other| address(other).to_string()).collect());
        let env = env(MemDisk::new(), Arc::new(TestClock::default()), Arc::new(net.clone()));
        (config, Env { seed: Seed(at.into()), ..env })
    }

    fn client(net: &TestNet, at: u16) -> bellwether_client::Client {
        let connector = crate::testing::Connector(net.clone());
        let builder = bellwether_client::Client::builder().addresses([address(at).to_string()]).connector(connector);
        builder.seed(1).discovery_interval(None).attempts_max(3).build().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_started_alike_become_one_cluster_when_one_is_told() {
        let net = TestNet::default();
        let starting = [1, 2, 3].map(|at| {
            let (config, env) = machine(&net, at);
            tokio::spawn(Server::start(config, env))
        });
        sleep(Duration::from_secs(20)).await;
        assert!(starting.iter().all(|starting| !starting.is_finished()), "nobody founds by itself");
        let second = client(&net, 2);
        assert!(second.cluster().init(0, &[("no.such".to_owned(), "1".to_owned())], None).await.is_err());
        second.cluster().init(3, &[("repair.grace".to_owned(), "7m".to_owned())], None).await.unwrap();
        let mut servers = Vec::new();
        for starting in starting {
            servers.push(timeout(Duration::from_secs(300), starting).await.unwrap().unwrap().unwrap());
        }
        let clusters: Vec<u128> = servers.iter().map(|server| server.meta().identity().cluster).collect();
        assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));
        assert_eq!(servers[1].meta().identity().node, 1, "it was told");
        let state = servers[1].meta().now();
        assert_eq!((state.placement.groups().len(), state.settings.get(SettingKey::RepairGrace)), (3, 420_000));
        let again = second.cluster().init(0, &[], None).await.err().unwrap().to_string();
        assert!(again.contains("is one of cluster"), "{again}");
    }

    #[test]
    fn what_a_cluster_cannot_begin_with_is_refused() {
        let setting = |name: &str, value: &str| InitSetting { name: name.to_owned(), value: value.to_owned() };
        let order = |shard_groups, settings: &[InitSetting]| {
            read(InitRequest { shard_groups, settings: settings.to_vec(), ..InitRequest::default() })
        };
        assert_eq!(order(0, &[]).unwrap(), Order { join_token_valid_ms: JOIN_TOKEN_VALID_MS, ..Order::default() });
        assert!(order(u32::MAX, &[]).is_err());
        for wrong in [setting("x", "1"), setting("replication.factor", "many"), setting("replication.factor", "99")] {
            assert!(order(0, &[wrong]).is_err());
        }
        let chosen = order(2, &[setting("replication.factor", "5")]).unwrap();
        assert_eq!(chosen.settings, [(SettingKey::ReplicationFactor, 5)]);
        assert_eq!(chosen.applied_to(Config::default()).shard_groups, 2);
    }
}
