//! What the tests of this module share: a network in memory whose wires can be cut, nodes on it, a state machine with
//! checkpoints.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bellwether_kv::{Durability, KvDisk, MemDisk, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_model::NodeId;
use bellwether_raft::{
    Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, GroupId, RaftGroup, RaftNode, ReplicaId,
    StateMachine,
};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::Peers;
use super::service::PeerService;
use crate::env::{BoxFuture, Env, Listener, Net, Stream};
use crate::testing::{TestClock, env};
use crate::{listen, replication};

pub const CLUSTER: u128 = 0xc1;
pub const GROUP: GroupId = GroupId(7);

/// How the wires to an address are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// They carry.
    Whole,
    /// What is there breaks, with a word of farewell; nobody listens.
    Cut,
    /// Nothing comes through, in either direction, and nobody says so.
    Silent,
}

/// A network in memory.
#[derive(Clone, Default)]
pub struct TestNet(Arc<Mutex<BTreeMap<SocketAddr, Place>>>);

struct Place {
    incoming: mpsc::Sender<DuplexStream>,
    wire: watch::Sender<Wire>,
}

impl TestNet {
    /// Changes the wires to an address, those in use included. Streams that were silent once stay so.
    pub fn set(&self, address: SocketAddr, wire: Wire) {
        if let Some(place) = self.0.lock().get(&address) {
            place.wire.send_replace(wire);
        }
    }

    /// Nobody listens there any more.
    pub fn leave(&self, address: SocketAddr) {
        self.set(address, Wire::Cut);
        self.0.lock().remove(&address);
    }
}

impl Net for TestNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let (sender, incoming) = mpsc::channel(16);
        self.0.lock().insert(address, Place { incoming: sender, wire: watch::Sender::new(Wire::Whole) });
        Box::pin(async move { Ok(Box::new(TestListener { address, incoming }) as Box<dyn Listener>) })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let refused = io::ErrorKind::ConnectionRefused;
            let (incoming, mut wire) = {
                let places = self.0.lock();
                let place = places.get(&address.parse().unwrap()).ok_or(refused)?;
                (place.incoming.clone(), place.wire.subscribe())
            };
            let now = *wire.borrow_and_update();
            match now {
                Wire::Whole => {}
                Wire::Cut => return Err(refused.into()),
                Wire::Silent => std::future::pending().await,
            }
            let (ours, mut near) = duplex(64 << 10);
            let (mut far, theirs) = duplex(64 << 10);
            incoming.send(theirs).await.map_err(|_| refused)?;
            tokio::spawn(async move {
                let carried = tokio::select! {
                    changed = wire.changed() => changed.map(|()| *wire.borrow()),
                    _ = copy_bidirectional(&mut near, &mut far) => return,
                };
                if matches!(carried, Ok(Wire::Silent)) {
                    // Both ends stay open and hear nothing.
                    std::future::pending::<()>().await;
                }
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

struct TestListener {
    address: SocketAddr,
    incoming: mpsc::Receiver<DuplexStream>,
}

impl Listener for TestListener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let stream = self.incoming.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((Box::new(stream) as Box<dyn Stream>, self.address))
        })
    }
}

pub fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 7000))
}

/// Serves a router at an address until the handle is used.
pub async fn listen(net: &TestNet, at: SocketAddr, router: Router, stopped: watch::Receiver<bool>) -> AbortHandle {
    let listener = net.bind(at).await.unwrap();
    tokio::spawn(listen::serve_nodes(listener, router, Handle::current(), None, stopped)).abort_handle()
}

/// A node that runs Raft groups.
pub struct TestNode {
    pub id: u64,
    pub env: Env,
    pub clock: Arc<TestClock>,
    pub registry: Registry,
    pub raft: RaftNode,
    pub peers: Peers,
    pub ledger: Arc<Ledger>,
    pub disk: MemDisk,
    net: TestNet,
    listener: AbortHandle,
    _stop: watch::Sender<bool>,
}

/// The addresses of nodes 1 to `count`.
pub fn addresses(count: u64) -> BTreeMap<NodeId, String> {
    (1..=count).map(|node| (NodeId(node), address(node).to_string())).collect()
}

impl TestNode {
    /// A node of a cluster of so many, which listens and has no group yet.
    pub async fn start(
        net: &TestNet,
        id: u64,
        cluster: u128,
        known: watch::Receiver<BTreeMap<NodeId, String>>,
    ) -> Self {
        let (disk, clock, registry) = (MemDisk::new(), Arc::new(TestClock::default()), Registry::new());
        let mut env = env(disk.clone(), clock.clone(), Arc::new(net.clone()));
        env.seed = env.seed.split(&format!("node {id}"));
        let raft = replication::open(&env, &registry).await.unwrap();
        let peers = Peers::new(&env, NodeId(id), known, cluster, &registry).unwrap();
        peers.tell(raft.clone());
        let (stop, stopped) = watch::channel(false);
        let service = PeerService::open(raft.clone(), peers.clone(), env.clone(), stopped.clone()).await.unwrap();
        let listener = listen(net, address(id), service.add_to(Router::new()), stopped).await;
        let ledger = Arc::new(Ledger::new(disk.clone()));
        TestNode { id, env, clock, registry, raft, peers, ledger, disk, net: net.clone(), listener, _stop: stop }
    }

    /// The process ends without a word to anybody but the kernel.
    pub async fn kill(&self) {
        self.listener.abort();
        self.net.leave(address(self.id));
        self.raft.shutdown().await;
    }

    /// Starts this node's replica, which has the node's number; founds the group if it is one of `founders`.
    pub async fn group(&self, founders: &[u64]) -> RaftGroup {
        let (replica, transport) = (ReplicaId(self.id), self.peers.transport());
        let members: BTreeMap<ReplicaId, u64> = founders.iter().map(|id| (ReplicaId(*id), *id)).collect();
        let started = if founders.contains(&self.id) {
            self.raft.found_group(GROUP, replica, members, self.ledger.clone(), transport).await
        } else {
            self.raft.start_group(GROUP, replica, self.ledger.clone(), transport).await
        };
        started.unwrap()
    }

    /// A metric's value, over all its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.into_iter().flat_map(|family| family.get_metric());
        metrics.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

/// A whole cluster that shares its list of nodes.
pub async fn cluster(net: &TestNet, count: u64) -> (Vec<TestNode>, watch::Sender<BTreeMap<NodeId, String>>) {
    let (known, addresses) = watch::channel(addresses(count));
    let mut nodes = Vec::new();
    for id in 1..=count {
        nodes.push(TestNode::start(net, id, CLUSTER, addresses.clone()).await);
    }
    (nodes, known)
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

const SPACES: &[SpaceConfig] = &[SpaceConfig { name: "ledger", kind: SpaceKind::Records }];
const LEDGER: Space = Space(0);
/// Where a ledger's checkpoints are made.
pub const COPIES: &str = "copies";

/// Keeps what it applied; its checkpoints are engines.
pub struct Ledger {
    disk: MemDisk,
    live: Mutex<State>,
    durable: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    applied: Applied,
    payloads: Vec<Bytes>,
}

impl Ledger {
    fn new(disk: MemDisk) -> Ledger {
        Ledger { disk, live: Mutex::default(), durable: Mutex::default() }
    }

    pub fn payloads(&self) -> Vec<Bytes> {
        self.live.lock().payloads.clone()
    }
}

impl StateMachine for Ledger {
    fn applied(&self) -> Applied {
        self.live.lock().applied.clone()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let mut live = self.live.lock();
        let mut replies = Vec::new();
        for entry in entries {
            live.applied.log = Some(entry.position);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => live.applied.membership = Some(membership),
                EntryPayload::Normal(payload) => {
                    replies.push(payload.slice(..payload.len().min(8)));
                    live.payloads.push(payload);
                }
            }
        }
        Ok(replies)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        let live = self.live.lock();
        *self.durable.lock() = live.clone();
        Ok(live.applied.clone())
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        let state = self.durable.lock().clone();
        let directory = format!("{COPIES}/{}", self.disk.list(COPIES).unwrap().len());
        let engine = self.disk.open(&directory, SPACES).unwrap();
        let mut batch = WriteBatch::default();
        for (at, payload) in state.payloads.iter().enumerate() {
            batch.put(LEDGER, (at as u64).to_be_bytes(), payload.clone());
        }
        engine.write(&batch, Durability::Synced).unwrap();
        Ok(Checkpoint { applied: state.applied, directory: directory.into() })
    }

    fn discard(&self, checkpoint: Checkpoint) {
        self.disk.remove(checkpoint.directory.to_str().unwrap()).unwrap();
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        let directory = checkpoint.directory.to_str().unwrap();
        let engine = self.disk.open(directory, SPACES).unwrap();
        let mut payloads = Vec::new();
        while let Some(payload) = engine.get(LEDGER, &(payloads.len() as u64).to_be_bytes()).unwrap() {
            payloads.push(payload);
        }
        drop(engine);
        self.disk.remove(directory).unwrap();
        let state = State { applied: checkpoint.applied, payloads };
        *self.durable.lock() = state.clone();
        *self.live.lock() = state;
        Ok(())
    }
}
