//! Nodes that share a process and a list of each other: no sockets, and wires that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bellwether_ingest::SplitCommand;
use bellwether_kv::MemDisk;
use bellwether_model::{HashRange, Labels, Matcher, PlacementKey, RefEpoch, Sample, ShardGroupId, Tenant, TimeRange};
use bellwether_placement::Origin;
use bellwether_proto::peer::v1::scan_part::Part;
use bellwether_proto::peer::v1::scan_request::What;
use bellwether_proto::peer::v1::{
    CommandAnswer, CommandRequest, Failure, MaintainAnswer, MaintainRequest, MembershipAnswer, MembershipRequest,
    ReadIndexAnswer, ReadIndexRequest, ResolveAnswer, ResolveRequest, ScanPart, ScanRequest, WriteAnswer, WriteRequest,
};
use bellwether_raft::{Checkpoint, Members, NodeId, Peer, RaftNode, ReplicaId, Transport, TransportError};
use bellwether_tsdb::CheckpointReceiver;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;

use super::Router;
use super::reconcile::reconcile;
use super::remote::{Answered, Remote, callee};
use crate::config::Config;
use crate::env::{BoxFuture, Env, Executor, ExecutorHandle, Job, Seed};
use crate::maintenance::Maintenance;
use crate::metrics::{StorageMetrics, WriteMetrics};
use crate::peers::PeerError;
use crate::replication;
use crate::shards::{
    Limits, QueryAccount, ReadContext, Replication, Ring, RingGroup, SelectError, ShardGroup, Shards, Wanted,
};
use crate::testing::{NoNet, TestClock, env};
use crate::write::{WriteError, WriteOutcome, WritePath};

/// The wires between the nodes.
#[derive(Default)]
pub struct Wires {
    nodes: Mutex<BTreeMap<NodeId, Place>>,
    /// Nodes that nobody reaches and that reach nobody.
    cut: Mutex<BTreeSet<NodeId>>,
    /// Whether copies of replicas do not come through.
    pub no_copies: AtomicBool,
    /// Calls of `Write` that arrived.
    pub writes: Mutex<u64>,
    /// Calls of `Scan` that were made.
    pub scans: Mutex<u64>,
    /// Parts of scans that were samples.
    pub columns: Arc<Mutex<u64>>,
    /// Nodes that do not know what it is to aggregate for another.
    pub old: Mutex<BTreeSet<NodeId>>,
}

struct Place {
    raft: RaftNode,
    disk: MemDisk,
    router: Option<Weak<Router>>,
}

impl Wires {
    pub fn cut(&self, node: NodeId) {
        self.cut.lock().insert(node);
    }

    pub fn mend(&self, node: NodeId) {
        self.cut.lock().remove(&node);
    }

    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let cut = self.cut.lock();
        !cut.contains(&from) && !cut.contains(&to)
    }

    fn raft(&self, from: NodeId, to: NodeId) -> Result<(RaftNode, MemDisk), TransportError> {
        let nodes = self.nodes.lock();
        let place = nodes.get(&to).filter(|_| self.reaches(from, to));
        let place = place.ok_or_else(|| TransportError::Unreachable(format!("node {to}")))?;
        Ok((place.raft.clone(), place.disk.clone()))
    }

    fn router(&self, from: NodeId, to: NodeId) -> Result<Arc<Router>, PeerError> {
        let nodes = self.nodes.lock();
        let place = nodes.get(&to).filter(|_| self.reaches(from, to));
        let router = place.and_then(|place| place.router.as_ref()?.upgrade());
        router.ok_or_else(|| PeerError::Unreachable { callee: callee(to), reason: "the wire is cut".to_owned() })
    }
}

/// Does what it is given after others have had time for what they do at once.
struct LateExecutor;

impl Executor for LateExecutor {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            job();
        })
    }
}

/// Raft's side of a wire.
struct TestTransport(Arc<Wires>, NodeId);

impl Transport for TestTransport {
    fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (wires, from) = (self.0.clone(), self.1);
        Box::pin(async move {
            let (raft, _) = wires.raft(from, to.node)?;
            let handled = tokio::time::timeout(deadline, raft.handle(to.group, to.replica, message)).await;
            if !wires.reaches(from, to.node) {
                return Err(TransportError::Deadline);
            }
            let refused = |error: bellwether_raft::AddressError| TransportError::Unreachable(error.to_string());
            handled.map_err(|_| TransportError::Deadline)?.map_err(refused)
        })
    }

    fn send_checkpoint(
        &self,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        use bellwether_kv::KvDisk;
        let (wires, from) = (self.0.clone(), self.1);
        Box::pin(async move {
            if wires.no_copies.load(Ordering::Relaxed) {
                return Err(TransportError::Unreachable("copies do not come through".to_owned()));
            }
            let own = wires.nodes.lock()[&from].disk.clone();
            let (raft, disk) = wires.raft(from, to.node)?;
            let directory = checkpoint.directory.to_str().unwrap().to_owned();
            let export = own.export(&directory).unwrap();
            let target = format!("incoming/{}", to.replica);
            disk.remove(&target).unwrap();
            let mut receiver = CheckpointReceiver::new(&disk, &target, export.files().to_vec()).unwrap();
            for file in export.files() {
                receiver.append(&file.name, &export.read(&file.name, 0, usize::MAX >> 1).unwrap()).unwrap();
            }
            receiver.finish().unwrap();
            drop(export);
            own.remove(&directory).unwrap();
            let received = Checkpoint { applied: checkpoint.applied, directory: target.into() };
            let installed = raft.install(to.group, to.replica, header, received).await;
            installed.map_err(|error| TransportError::Unreachable(error.to_string()))
        })
    }
}

/// Routing's side of a wire.
struct TestRemote(Arc<Wires>, NodeId);

impl TestRemote {
    fn ask<'a, T: Send + 'a, F: Future<Output = Result<T, Failure>> + Send + 'a>(
        &self,
        node: NodeId,
        ask: impl FnOnce(Arc<Router>) -> F + Send + 'a,
    ) -> Answered<'a, T> {
        let (wires, from) = (self.0.clone(), self.1);
        Box::pin(async move {
            let answered = ask(wires.router(from, node)?).await;
            wires.router(from, node)?;
            answered.map_err(|failure| PeerError::of_failure(callee(node), failure))
        })
    }
}

impl Remote for TestRemote {
    fn write(&self, node: NodeId, request: WriteRequest) -> Answered<'_, WriteAnswer> {
        *self.0.writes.lock() += 1;
        self.ask(node, |router| async move { Ok(router.serve_write(request).await) })
    }

    fn resolve(&self, node: NodeId, request: ResolveRequest) -> Answered<'_, ResolveAnswer> {
        self.ask(node, |router| async move { router.serve_resolve(&request) })
    }

    fn read_index(&self, node: NodeId, request: ReadIndexRequest) -> Answered<'_, ReadIndexAnswer> {
        self.ask(node, |router| async move { Ok(router.serve_read_index(&request).await) })
    }

    fn scan(
        &self,
        node: NodeId,
        mut request: ScanRequest,
    ) -> Answered<'_, BoxStream<'static, Result<ScanPart, PeerError>>> {
        *self.0.scans.lock() += 1;
        if self.0.old.lock().contains(&node) {
            request.what = request.what.filter(|what| !matches!(what, What::Reduced(_)));
        }
        let columns = self.0.columns.clone();
        self.ask(node, move |router| async move {
            let parts = router.serve_scan(request).await?;
            let parts = parts.inspect(move |part| {
                let is_columns = matches!(part, Ok(ScanPart { part: Some(Part::Columns(_)) }));
                *columns.lock() += u64::from(is_columns);
            });
            Ok(parts.map(move |part| part.map_err(|failure| PeerError::of_failure(callee(node), failure))).boxed())
        })
    }

    fn command(&self, node: NodeId, request: CommandRequest) -> Answered<'_, CommandAnswer> {
        self.ask(node, |router| async move { router.serve_command(&request).await })
    }

    fn membership(&self, node: NodeId, request: MembershipRequest) -> Answered<'_, MembershipAnswer> {
        self.ask(node, |router| async move { router.serve_membership(request).await })
    }

    fn maintain(&self, node: NodeId, request: MaintainRequest) -> Answered<'_, MaintainAnswer> {
        self.ask(node, move |router| async move { router.serve_maintain(&request).await })
    }
}

/// One node.
pub struct TestNode {
    pub id: NodeId,
    pub router: Arc<Router>,
    pub write: Arc<WritePath>,
    pub metrics: Arc<WriteMetrics>,
    pub disk: MemDisk,
    env: Env,
    storage_metrics: Arc<StorageMetrics>,
    stop: watch::Sender<bool>,
}

impl TestNode {
    pub fn shards(&self) -> &Arc<Shards> {
        self.router.shards()
    }

    /// What looks after it, not yet running.
    pub fn maintenance(&self, config: &Config) -> Maintenance {
        let (shards, write) = (self.shards().clone(), self.write.clone());
        Maintenance::new(shards, write, config, &self.env, self.storage_metrics.clone())
    }

    pub fn group(&self, id: u32) -> Arc<ShardGroup> {
        self.shards().local(ShardGroupId(id)).unwrap()
    }

    /// The values of a metric, oldest first.
    pub async fn values(&self, name: &str) -> Result<Vec<f64>, SelectError> {
        self.values_stale(name, None).await
    }

    /// The same, from replicas that heard their leaders so lately.
    pub async fn values_stale(&self, name: &str, stale: Option<Duration>) -> Result<Vec<f64>, SelectError> {
        let read = ReadContext { stale, ..ReadContext::new(QueryAccount::new(Limits::default())) };
        let matchers: Arc<[Matcher]> = [Matcher::equal("__name__", name)].into();
        let tenant = Tenant::default_tenant();
        let found = self.router.select(&tenant, matchers, TimeRange::ALL, Wanted::All, &read).await?;
        Ok(found.into_iter().flat_map(|series| series.values).collect())
    }

    pub async fn write(&self, names: &[&str], sample: Sample) -> Result<WriteOutcome, WriteError> {
        let samples = names.iter().map(|name| (Labels::of(&[("__name__", *name)]), sample)).collect();
        self.write.write_samples(&Tenant::default_tenant(), samples, Vec::new()).await
    }
}

/// Some nodes and the ring that all of them follow.
pub struct TestCluster {
    pub nodes: BTreeMap<NodeId, TestNode>,
    pub wires: Arc<Wires>,
    pub clock: Arc<TestClock>,
    ring: watch::Sender<Arc<Ring>>,
}

/// The ring of two groups whose replicas are on these nodes; replica ids are `10 * group + node`.
fn ring(epoch: u64, nodes: &[[&[NodeId]; 2]; 1]) -> Arc<Ring> {
    let groups = HashRange::split_ring(2).into_iter().zip(nodes[0]).zip(0..);
    let groups = groups.map(|((range, nodes), id)| RingGroup {
        id: ShardGroupId(id),
        range,
        origin: Origin { parent: None, range },
        ref_epoch: RefEpoch(u64::from(id) + 100),
        replicas: nodes.iter().map(|node| (replica(id, *node), *node)).collect(),
    });
    Arc::new(Ring::new(epoch, groups.collect()).unwrap())
}

pub fn replica(group: u32, node: NodeId) -> ReplicaId {
    ReplicaId(u64::from(group) * 10 + node)
}

impl TestCluster {
    /// Nodes from 1 to `count`, both groups on the first alone.
    pub async fn start(count: u64) -> TestCluster {
        let (ring, _) = watch::channel(ring(1, &[[&[1], &[1]]]));
        let (wires, clock) = (Arc::<Wires>::default(), Arc::<TestClock>::default());
        let mut cluster = TestCluster { nodes: BTreeMap::new(), wires, clock, ring };
        for id in 1..=count {
            cluster.boot(id, MemDisk::new()).await;
        }
        cluster
    }

    /// Starts a node on what its disk holds.
    pub async fn boot(&mut self, id: NodeId, disk: MemDisk) {
        let config = Config::default();
        let mut env: Env = env(disk.clone(), self.clock.clone(), Arc::new(NoNet));
        env.seed = Seed(id);
        env.executors.ingest = ExecutorHandle::new(LateExecutor, 1);
        let registry = Registry::new();
        let raft = replication::open(&env, &registry).await.unwrap();
        let place = Place { raft: raft.clone(), disk: disk.clone(), router: None };
        self.wires.nodes.lock().insert(id, place);
        let transport = Arc::new(TestTransport(self.wires.clone(), id));
        let storage_metrics = Arc::new(StorageMetrics::new(&registry).unwrap());
        let (replication, ring) = (Replication { raft, transport }, self.ring.subscribe());
        let shards = Shards::open(id, ring, replication, &config, &env, &registry, storage_metrics.clone()).await;
        let (shards, remote) = (Arc::new(shards.unwrap()), Arc::new(TestRemote(self.wires.clone(), id)));
        let metrics = Arc::new(WriteMetrics::new(&registry).unwrap());
        let router = Router::new(shards, remote, &config, &env, metrics.clone());
        let write = WritePath::new(router.clone(), None, &config, &env, metrics.clone());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(reconcile(router.clone(), None, stopped));
        self.wires.nodes.lock().get_mut(&id).unwrap().router = Some(Arc::downgrade(&router));
        self.nodes.insert(id, TestNode { id, router, write, metrics, disk, env, storage_metrics, stop });
    }

    /// Ends a node without a farewell; its disk stays.
    pub async fn crash(&mut self, id: NodeId) -> MemDisk {
        let node = self.nodes.remove(&id).unwrap();
        self.wires.nodes.lock().get_mut(&id).unwrap().router = None;
        self.wires.cut(id);
        node.stop.send_replace(true);
        node.write.close();
        node.shards().shutdown().await;
        node.disk.crash();
        self.wires.mend(id);
        node.disk
    }

    /// Says where the replicas of both groups are meant to be.
    pub fn place(&self, nodes: [&[NodeId]; 2]) {
        let epoch = self.ring.borrow().epoch() + 1;
        self.ring.send_replace(ring(epoch, &[nodes]));
    }

    /// Shows these groups to all nodes.
    pub fn show(&self, groups: Vec<RingGroup>) {
        let epoch = self.ring.borrow().epoch() + 1;
        self.ring.send_replace(Arc::new(Ring::new(epoch, groups).unwrap()));
    }

    /// How a group that all nodes know is cut, and the groups after that.
    pub fn cut(&self, group: u32, at: PlacementKey, child: u32) -> (SplitCommand, Vec<RingGroup>) {
        let mut groups = self.ring.borrow().groups().to_vec();
        let parent = groups.iter_mut().find(|known| known.id == ShardGroupId(group)).unwrap();
        let range = HashRange { first: at, last: parent.range.last };
        parent.range.last = PlacementKey(at.0 - 1);
        let ref_epoch = RefEpoch(u64::from(child) + 100);
        let nodes: Vec<NodeId> = parent.nodes().collect();
        let beside = |node: &NodeId| {
            let (parents, childs) = (replica(group, *node), replica(child, *node));
            (bellwether_model::ReplicaId(parents.0), bellwether_model::ReplicaId(childs.0))
        };
        let replicas = nodes.iter().map(beside).collect();
        groups.push(RingGroup {
            id: ShardGroupId(child),
            range,
            origin: Origin { parent: Some(ShardGroupId(group)), range },
            ref_epoch,
            replicas: nodes.iter().map(|node| (replica(child, *node), *node)).collect(),
        });
        (SplitCommand { child: ShardGroupId(child), at, ref_epoch, replicas }, groups)
    }

    /// The node whose replica leads a group.
    pub async fn leader(&self, group: u32) -> &TestNode {
        loop {
            for node in self.nodes.values().filter(|node| self.wires.reaches(node.id, node.id)) {
                let local = node.shards().local(ShardGroupId(group));
                if local.is_ok_and(|local| local.raft.state().is_leader && local.raft.state().failure.is_none()) {
                    return node;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes these nodes the members of a group, all voters.
    pub async fn vote(&self, group: u32, nodes: &[NodeId]) {
        let members: BTreeMap<ReplicaId, NodeId> = nodes.iter().map(|node| (replica(group, *node), *node)).collect();
        for as_learners in [true, false] {
            let leader = self.leader(group).await.group(group);
            let state = leader.raft.state();
            let new = members.clone().into_iter().filter(|(id, _)| !state.voters.contains_key(id));
            let wanted = match as_learners {
                true => Members { voters: state.voters.clone(), learners: new.collect() },
                false => Members { voters: members.clone(), learners: BTreeMap::new() },
            };
            leader.raft.change_members(state.membership.unwrap(), wanted).await.unwrap();
            let caught_up = leader.raft.wait_until(|state| {
                state.progress.values().all(|progress| progress.entries_behind == 0) && state.membership_committed
            });
            assert!(caught_up.await);
        }
    }

    /// Three nodes, each of which has a voter of both groups.
    pub async fn of_three() -> TestCluster {
        let cluster = TestCluster::start(3).await;
        cluster.place([&[1, 2, 3], &[1, 2, 3]]);
        for group in 0..2 {
            cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 2).await;
            cluster.vote(group, &[1, 2, 3]).await;
        }
        cluster
    }

    /// Waits until something holds on every node.
    pub async fn eventually(&self, what: &str, holds: impl Fn(&TestNode) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !self.nodes.values().all(&holds) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}");
    }
}
