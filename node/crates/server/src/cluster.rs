//! This node as one of a cluster: who it is, its log store, the meta group, the way to the others. What the shards and
//! everything above them stand on.

use std::net::SocketAddr;
use std::sync::Arc;

use bellwether_model::NodeId;
use prometheus::Registry;
use tokio::sync::watch;

use crate::alerting::{AlertStore, Alerting, AlertingStartError};
use crate::clock_rule::standing_at_start;
use crate::common_group::World;
use crate::config::{Config, host_of, is_loopback_host};
use crate::env::Env;
use crate::meta::founding::{EnterError, enter, known};
use crate::meta::joining::JoinPlan;
use crate::meta::remote::Strangers;
use crate::meta::settings::SettingKey;
use crate::meta::state::{MetaState, NodeFacts};
use crate::meta::take_over::{TakeOverError, take_over};
use crate::meta::tokens::TokenText;
use crate::meta::{EventKind, Meta, MetaCommand, MetaStartError, MetaStore};
use crate::peers::Peers;
use crate::replication::{self, ReplicationError, Stopping};
use crate::shards::{Replication, Ring};

/// Why a node is not one of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It has no identity.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// Raft does not run.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// The meta group does not run.
    #[error(transparent)]
    Meta(#[from] MetaStartError),
    /// The alert groups do not run.
    #[error(transparent)]
    Alerting(#[from] AlertingStartError),
    /// The meta group cannot go on with this node alone.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// Others could not reach it.
    #[error(
        "configuration key \"cluster.advertise_grpc\": {own} can be reached from this machine alone, and node {other} is \
         at {address}: set grpc, or cluster.advertise_grpc, to an address that the other nodes can reach"
    )]
    Reach {
        /// Where the node says that it is.
        own: String,
        /// A node elsewhere.
        other: NodeId,
        /// Where that one is.
        address: String,
    },
    /// Two metrics have one name: our own mistake.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// See the module.
pub struct Cluster {
    /// The meta group.
    pub meta: Meta,
    /// The alert groups.
    pub alerting: Alerting,
    /// The other nodes.
    pub peers: Peers,
    /// What all groups share.
    pub replication: Replication,
}

impl Cluster {
    /// Whether the data directory belongs to a node already.
    pub async fn is_known(env: &Env) -> Result<bool, ClusterError> {
        Ok(known(env).await?.is_some())
    }

    /// Makes the directory that of a node of the cluster that the configuration names.
    pub async fn join(config: &Config, env: &Env, http: SocketAddr, grpc: SocketAddr) -> Result<(), ClusterError> {
        let facts = facts(config, env, http, grpc).await?;
        enter(env, &facts, config.shard_groups, &plan(config), &Strangers(env.clone())).await?;
        Ok(())
    }

    /// Reads who the node is, or makes it somebody, and starts its replica of the meta group. Clocks are compared by `own`, which
    /// has the node's own.
    pub async fn enter(
        config: &Config,
        (env, own): (&Env, &Env),
        registry: &Registry,
        http: SocketAddr,
        grpc: SocketAddr,
    ) -> Result<Cluster, ClusterError> {
        let facts = facts(config, env, http, grpc).await?;
        let identity = enter(env, &facts, config.shard_groups, &plan(config), &Strangers(env.clone())).await?;
        let raft = replication::open(env, registry).await?;
        let store = MetaStore::open(identity, env).await?;
        let alert_store = AlertStore::open(env).await?;
        check_reach(&store.state().borrow(), identity.node, &facts)?;
        let peers = Peers::new(own, NodeId(identity.node), store.addresses(), identity.cluster, registry)?;
        peers.tell(raft.clone());
        raft.set_standing(standing_at_start(&store.state().borrow()));
        let transport = peers.transport();
        let taken_over = match config.cluster.recover_meta_group {
            true => take_over(&store, &alert_store, &raft, &peers).await?,
            false => None,
        };
        let meta = Meta::start(store, facts, raft.clone(), transport.clone(), Arc::new(peers.clone()), env).await?;
        if let Some(text) = taken_over
            && let Err(error) = meta.propose(MetaCommand::RecordEvent { kind: EventKind::Trouble, text }).await
        {
            tracing::warn!(%error, "what happened to the meta group is not among the events");
        }
        let remote = Arc::new(peers.clone());
        let world = World { raft: raft.clone(), transport: transport.clone(), remote, state: meta.state() };
        let alerting = Alerting::start(alert_store, &meta, world, env).await?;
        Ok(Cluster { meta, alerting, peers, replication: Replication { raft, transport } })
    }
}

fn plan(config: &Config) -> JoinPlan {
    JoinPlan {
        addresses: config.join.0.clone(),
        token: TokenText::parse(&config.cluster.join_token.0).ok(),
        patience: Some(config.cluster.join_timeout).filter(|patience| !patience.is_zero()),
    }
}

/// Refuses to go on with an address that the other nodes cannot reach.
fn check_reach(state: &MetaState, node: u64, facts: &NodeFacts) -> Result<(), ClusterError> {
    let is_local = |address: &str| is_loopback_host(host_of(address));
    let others = state.present_nodes().filter(|(other, _)| other.0 != node);
    let elsewhere = others.map(|(other, record)| (other, &record.facts.grpc)).find(|(_, address)| !is_local(address));
    match elsewhere {
        Some((other, address)) if is_local(&facts.grpc) => {
            Err(ClusterError::Reach { own: facts.grpc.clone(), other, address: address.clone() })
        }
        _ => Ok(()),
    }
}

/// What the node says of itself.
async fn facts(config: &Config, env: &Env, http: SocketAddr, grpc: SocketAddr) -> Result<NodeFacts, Stopping> {
    let said = |advertised: &str, bound: SocketAddr| {
        if advertised.is_empty() { bound.to_string() } else { advertised.to_owned() }
    };
    let capacity_bytes = match config.cluster.capacity.0 {
        0 => {
            let volume = env.volume.clone();
            let space = env.executors.background.run(move || volume.space()).await.map_err(|_| Stopping)?;
            space.map_or(0, |space| space.total_bytes)
        }
        bytes => bytes,
    };
    Ok(NodeFacts {
        grpc: said(&config.cluster.advertise_grpc, grpc),
        http: said(&config.cluster.advertise_http, http),
        zone: config.cluster.zone.clone(),
        version: env.program.version.to_owned(),
        lowest_format: env.program.formats.lowest,
        highest_format: env.program.formats.highest,
        capacity_bytes,
    })
}

/// The ring of a state, and the task that keeps it up, and `peers` at the budget that the state's settings name.
pub fn follow_state(
    mut state: watch::Receiver<Arc<MetaState>>,
    peers: Peers,
) -> (watch::Receiver<Arc<Ring>>, impl Future<Output = ()> + Send) {
    let known = state.borrow_and_update().clone();
    let (ring, watched) = watch::channel(Arc::new(Ring::from(&known.placement)));
    peers.set_copy_budget(known.settings.get(SettingKey::CopyBytesPerSecond));
    let follow = async move {
        while state.changed().await.is_ok() {
            let state = state.borrow_and_update().clone();
            peers.set_copy_budget(state.settings.get(SettingKey::CopyBytesPerSecond));
            let epoch = ring.borrow().epoch();
            if state.placement.epoch() != epoch {
                ring.send_replace(Arc::new(Ring::from(&state.placement)));
            }
        }
    };
    (watched, follow)
}

#[cfg(test)]
mod secure_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;
