//! The way to the other nodes of the cluster, and what they ask of this one.
//!
//! [`Peers`] has two connections to each node. One carries Raft and nothing else, on Raft's own runtime on both sides:
//! neither a large scan's bytes nor a busy runtime stands before a heartbeat. The other carries every other call and is made when it is
//! first used. Both go to wherever the node is at the moment, find out within seconds that the other side is gone, and
//! are made again after a pause. Every call has a deadline.
//!
//! [`service`] is the other side. Who calls says who he is (`identity`), and is refused where he has no business.
//!
//! Reading order: `identity`, `error`, `dial`, `client`, `link` (Raft's stream), `transport` (what Raft sees of it),
//! `clock_filter`, `checkpoint` (copies of replicas), then `service`.

pub mod backup;
mod checkpoint;
mod client;
mod clock_filter;
mod dial;
pub mod error;
pub mod identity;
pub mod limits;
mod link;
mod metrics;
mod pace;
pub mod service;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod throttle;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bellwether_model::NodeId;
use bellwether_raft::{RaftNode, Transport};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::transport::Channel;

use self::dial::Dialer;
use self::identity::{Identity, Introduction};
use self::link::{Carrier, Link};
use self::metrics::PeerMetrics;
use self::pace::Pace;
use self::throttle::Throttle;
use self::transport::PeersTransport;
use crate::env::{Env, Seed};

pub use client::{PeerClient, ScanStream};
pub use error::{Callee, LimitKind, PeerError};

/// Where the gRPC interfaces of the cluster's nodes are, `host:port`.
pub type Addresses = watch::Receiver<BTreeMap<NodeId, String>>;

/// The other nodes of the cluster. Clones are the same.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    env: Env,
    seed: Seed,
    own: Identity,
    addresses: Addresses,
    /// Where connections live that do not carry Raft.
    runtime: Handle,
    metrics: Arc<PeerMetrics>,
    checkpoint_budget: Throttle,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    removal: Removal,
    /// The groups of this node, once they are told of others that are lost and found.
    raft: Arc<OnceLock<RaftNode>>,
    /// Closes when the last clone is gone.
    alive: watch::Sender<()>,
}

/// Whether another node has said that this one was removed from the cluster. Clones are the same.
#[derive(Clone, Default)]
struct Removal(Arc<watch::Sender<bool>>);

impl Removal {
    fn learn(&self) {
        self.0.send_if_modified(|told| !std::mem::replace(told, true));
    }
}

/// One node, for as long as the cluster has it.
struct Peer {
    channel: Channel,
    link: Arc<Link>,
    /// Dropped, it ends the link.
    _alive: watch::Sender<()>,
}

impl Peers {
    /// The nodes in `addresses`, of which the own may be one. Connects to each as it appears there, and lets go of it when
    /// it disappears. Calls' connections live on the runtime that this is called on, Raft's on its own.
    pub fn new(
        env: &Env,
        own: NodeId,
        addresses: Addresses,
        cluster: u128,
        registry: &Registry,
    ) -> prometheus::Result<Peers> {
        let inner = Arc::new(Inner {
            env: env.clone(),
            seed: env.seed.split("peers"),
            own: Identity { cluster, node: own },
            addresses: addresses.clone(),
            runtime: Handle::current(),
            metrics: Arc::new(PeerMetrics::new(registry)?),
            checkpoint_budget: Throttle::new(u64::MAX),
            peers: Mutex::default(),
            removal: Removal::default(),
            raft: Arc::default(),
            alive: watch::Sender::new(()),
        });
        let (watched, alive) = (Arc::downgrade(&inner), inner.alive.subscribe());
        let follow = async move {
            let (mut addresses, mut alive) = (addresses, alive);
            loop {
                match watched.upgrade() {
                    Some(inner) => inner.follow(&addresses.borrow_and_update()),
                    None => return,
                }
                tokio::select! {
                    _ = alive.changed() => return,
                    changed = addresses.changed() => if changed.is_err() { return },
                }
            }
        };
        env.executors.raft.spawn(Box::pin(follow));
        Ok(Peers(inner))
    }

    /// The way to a node of the cluster.
    pub fn client(&self, node: NodeId) -> Result<PeerClient, PeerError> {
        self.0.client(node).ok_or(PeerError::UnknownNode(node))
    }

    /// The way to whoever is at an address, over a connection of its own.
    pub fn client_at(&self, address: &str) -> PeerClient {
        at_address(&self.0.env, Some(self.0.own), address, self.0.removal.clone())
    }

    /// Raft's way to the other nodes, for as long as this or a clone of it lives.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(PeersTransport(Arc::downgrade(&self.0)))
    }

    /// Bytes per second that this node sends of copies from now on; unbounded until it is told.
    pub fn set_copy_budget(&self, bytes_per_second: u64) {
        self.0.checkpoint_budget.set(bytes_per_second);
    }

    /// Each other node's wall clock minus ours in milliseconds, where there is a connection.
    pub fn clock_offsets(&self) -> BTreeMap<NodeId, i64> {
        let peers = self.0.peers.lock();
        let offsets = peers.iter().filter_map(|(node, peer)| Some((*node, peer.link.clock()?.offset_ms)));
        offsets.collect()
    }

    /// The nodes that said in their last answers that their disks have no room.
    pub fn full_disks(&self) -> BTreeSet<NodeId> {
        let peers = self.0.peers.lock();
        peers.iter().filter(|(_, peer)| peer.link.is_disk_full()).map(|(node, _)| *node).collect()
    }

    /// Compares all clocks anew: this node's has jumped, so what was found before is not so any more.
    pub fn forget_clocks(&self) {
        self.0.peers.lock().values().for_each(|peer| peer.link.forget_clock());
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.0.own
    }

    /// Ends when another node has said that this one was removed from the cluster. That is never taken back, and a node that
    /// was away then hears of it in no other way: nobody sends it anything any more.
    pub async fn removed(&self) {
        let mut told = self.0.removal.0.subscribe();
        // It cannot close: this holds it.
        let _ = told.wait_for(|told| *told).await;
    }

    fn metrics(&self) -> &PeerMetrics {
        &self.0.metrics
    }

    /// From now on the groups of this node are told of nodes that can be reached again, and of those where nobody listens
    /// any more. To be called once.
    pub fn tell(&self, raft: RaftNode) {
        assert!(self.0.raft.set(raft).is_ok(), "a node has one log store, which knows its groups");
    }
}

/// The way to a node at an address, for one that has no identity yet. Only `Join` is answered.
pub fn stranger(env: &Env, address: &str) -> PeerClient {
    at_address(env, None, address, Removal::default())
}

fn at_address(env: &Env, own: Option<Identity>, address: &str, removal: Removal) -> PeerClient {
    let dialer = Dialer::to_address(env.net.clone(), address.to_owned());
    let callee = dialer.callee();
    let channel = dialer.lazy(&Handle::current(), Pace::new(env.seed.split(address)));
    PeerClient::new(callee, channel, Introduction::new(own, None, env.program.peers), removal)
}

impl Inner {
    /// Makes the list of nodes what it should be.
    fn follow(self: &Arc<Self>, addresses: &BTreeMap<NodeId, String>) {
        for node in addresses.keys() {
            self.with_peer(*node, |_| ());
        }
        let mut peers = self.peers.lock();
        let gone: Vec<NodeId> = peers.keys().filter(|node| !addresses.contains_key(node)).copied().collect();
        for node in gone {
            peers.remove(&node);
            self.metrics.forget(node);
        }
    }

    /// Finds a node that the cluster has.
    fn with_peer<T>(self: &Arc<Self>, node: NodeId, found: impl FnOnce(&Peer) -> T) -> Option<T> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(&node) {
            return Some(found(peer));
        }
        if !self.addresses.borrow().contains_key(&node) {
            return None;
        }
        Some(found(peers.entry(node).or_insert_with(|| self.connect(node))))
    }

    fn client(self: &Arc<Self>, node: NodeId) -> Option<PeerClient> {
        let channel = self.with_peer(node, |peer| peer.channel.clone())?;
        Some(PeerClient::new(Callee::Node(node), channel, self.introduction(node), self.removal.clone()))
    }

    fn introduction(&self, to: NodeId) -> Introduction {
        Introduction::new(Some(self.own), Some(to), self.env.program.peers)
    }

    fn connect(self: &Arc<Self>, node: NodeId) -> Peer {
        let dialer = Dialer::to_node(self.env.net.clone(), node, self.addresses.clone());
        let seed = |part: &str| self.seed.split(&format!("{part} {node}"));
        let channel = dialer.lazy(&self.runtime, Pace::new(seed("calls")));
        let link = Arc::new(Link::new(self.metrics.of_peer(node)));
        let (alive, watched) = watch::channel(());
        // Nothing that this node says to itself is Raft's.
        if node != self.own.node {
            let carrier = Carrier {
                link: link.clone(),
                dialer,
                introduction: self.introduction(node),
                removal: self.removal.clone(),
                spawner: self.env.executors.raft.clone(),
                clock: self.env.clock.clone(),
                pace: Pace::new(seed("raft")),
                raft: self.raft.clone(),
                node,
            };
            self.env.executors.raft.spawn(Box::pin(carrier.run(watched)));
        }
        Peer { channel, link, _alive: alive }
    }
}
