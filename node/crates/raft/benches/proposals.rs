//! Proposals per second on a real disk: through groups of one voter, and through groups of three whose messages take a
//! millisecond.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bellwether_kv::{KvDisk, Space, SpaceConfig, SpaceKind};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_raft::{
    Applied, Blocking, BlockingClass, Checkpoint, CommittedEntry, EntryPayload, FatalError, GroupId, Peer, RaftGroup,
    RaftNode, RaftOptions, ReplicaId, StateMachine, Transport, TransportError,
};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;

const GROUPS: u32 = 8;
const IN_FLIGHT: usize = 256;
/// Log written per round; flushed in between, as a node does.
const ROUND_BYTES: usize = 64 << 20;
const PAYLOAD_BYTES: usize = 4096;
type Job = Box<dyn FnOnce() + Send>;

/// A thread for the log, one for applying, one for flushes.
struct Threads([mpsc::Sender<Job>; 3]);

impl Threads {
    #[allow(clippy::disallowed_methods, reason = "the executor of a benchmark")]
    fn start() -> Self {
        Self([(); 3].map(|()| {
            let (sender, jobs) = mpsc::channel::<Job>();
            std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
            sender
        }))
    }
}

impl Blocking for Threads {
    fn run(&self, class: BlockingClass, job: Job) {
        let thread = match class {
            BlockingClass::Log => 0,
            BlockingClass::Apply => 1,
            BlockingClass::Flush => 2,
        };
        self.0[thread].send(job).expect("threads run as long as the benchmark");
    }

    /// Applying here costs less than handing it over.
    fn is_inline(&self, class: BlockingClass) -> bool {
        class == BlockingClass::Apply
    }
}

/// Counts bytes.
#[derive(Default)]
struct Counter {
    bytes: AtomicU64,
    applied: Mutex<Applied>,
}

impl StateMachine for Counter {
    fn applied(&self) -> Applied {
        Applied::default()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let mut replies = Vec::with_capacity(entries.len());
        let mut applied = self.applied.lock();
        for entry in entries {
            applied.log = Some(entry.position);
            match entry.payload {
                EntryPayload::Normal(payload) => {
                    self.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
                    replies.push(Bytes::new());
                }
                EntryPayload::Membership(bytes) => applied.membership = Some(bytes),
                EntryPayload::Blank => {}
            }
        }
        Ok(replies)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        Ok(self.applied.lock().clone())
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        Err(FatalError("a counter has no files".to_owned()))
    }

    fn discard(&self, _: Checkpoint) {}

    fn install(&self, _: Checkpoint) -> Result<(), FatalError> {
        Err(FatalError("a counter has no files".to_owned()))
    }
}

struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: Peer, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }

    fn send_checkpoint(&self, _: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }
}

/// Does not compress, as batches of samples do not.
fn payload(bytes: usize) -> Bytes {
    let mut state = 88_172_645_463_325_252u64;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

fn open(directory: &std::path::Path, seed: u64) -> RaftNode {
    let disk = RocksDisk::new(directory.to_owned(), RocksOptions::default()).expect("an empty directory");
    let spaces = [SpaceConfig { name: "log", kind: SpaceKind::Log }];
    let engine = disk.open("log", &spaces).expect("an empty directory");
    let options = RaftOptions::new(prometheus::Registry::new(), Arc::new(|reason| panic!("{reason}")));
    RaftNode::open(engine, Space(0), options, Arc::new(Threads::start()), seed).expect("valid options")
}

async fn start(directory: &std::path::Path, groups: u32) -> (RaftNode, Vec<RaftGroup>) {
    let node = open(directory, 1);
    let mut started = Vec::new();
    for group in 0..groups {
        let members = BTreeMap::from([(ReplicaId(1), 1)]);
        let machine = Arc::new(Counter::default());
        let group = node.found_group(GroupId(group), ReplicaId(1), members, machine, Arc::new(Nobody)).await;
        let group = group.expect("a new group");
        group.ready().await.expect("a sole voter");
        started.push(group);
    }
    (node, started)
}

/// Each of `in_flight` callers proposes one payload after the other.
async fn propose_round(groups: &[RaftGroup], in_flight: usize, per_caller: usize, payload: &Bytes) {
    let callers = (0..in_flight).map(|caller| {
        let (group, payload) = (groups[caller % groups.len()].clone(), payload.clone());
        tokio::spawn(async move {
            for _ in 0..per_caller {
                group.propose(payload.clone()).await.expect("room for it");
            }
        })
    });
    for caller in join_all(callers).await {
        caller.expect("no panic");
    }
}

/// How long a message takes to another node. Its answer takes no time.
const LATENCY: Duration = Duration::from_millis(1);

/// The way between nodes of one process: messages to a node arrive in order, each after [`LATENCY`].
#[derive(Clone, Default)]
struct Links(Arc<Mutex<BTreeMap<u64, tokio::sync::mpsc::UnboundedSender<Sent>>>>);

struct Sent {
    at: tokio::time::Instant,
    to: Peer,
    message: Bytes,
    answer: tokio::sync::oneshot::Sender<Bytes>,
}

impl Links {
    fn attach(&self, id: u64, node: RaftNode) {
        let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel::<Sent>();
        self.0.lock().insert(id, sender);
        tokio::spawn(async move {
            while let Some(Sent { at, to, message, answer }) = sent.recv().await {
                tokio::time::sleep_until(at).await;
                let handling = node.handle(to.group, to.replica, message);
                tokio::spawn(async move {
                    if let Ok(bytes) = handling.await {
                        // Whoever asked may have given up.
                        drop(answer.send(bytes));
                    }
                });
            }
        });
    }
}

impl Transport for Links {
    fn call(&self, to: Peer, message: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let at = tokio::time::Instant::now() + LATENCY;
        if let Some(link) = self.0.lock().get(&to.node) {
            drop(link.send(Sent { at, to, message, answer }));
        }
        Box::pin(async { answered.await.map_err(|_| TransportError::Deadline) })
    }

    fn send_checkpoint(&self, _: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }
}

/// Three nodes with a replica each of `groups` groups. Returns the leaders, and all replicas.
async fn start_three(directory: &std::path::Path, groups: u32) -> (Vec<RaftGroup>, Vec<RaftGroup>) {
    let links = Links::default();
    let nodes: Vec<RaftNode> = (1..=3).map(|id| open(&directory.join(id.to_string()), id)).collect();
    let mut replicas = Vec::new();
    for (id, node) in (1..=3).zip(&nodes) {
        links.attach(id, node.clone());
    }
    for group in 0..groups {
        for (id, node) in (1..=3).zip(&nodes) {
            let members = (1..=3).map(|id| (ReplicaId(id), id)).collect();
            let (machine, transport) = (Arc::new(Counter::default()), Arc::new(links.clone()));
            let started = node.found_group(GroupId(group), ReplicaId(id), members, machine, transport).await;
            replicas.push(started.expect("a new group"));
        }
    }
    for replica in &replicas {
        replica.ready().await.expect("three voters");
    }
    let leaders = replicas.iter().filter(|replica| replica.state().is_leader).cloned().collect();
    (leaders, replicas)
}

fn replicate(bencher: divan::Bencher, groups: u32, in_flight: usize, bytes: usize, per_caller: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = runtime();
    let (leaders, replicas) = runtime.block_on(start_three(directory.path(), groups));
    let payload = payload(bytes);
    bencher
        .counter(divan::counter::ItemsCount::new(in_flight * per_caller))
        .counter(divan::counter::BytesCount::new(in_flight * per_caller * bytes))
        .bench_local(|| {
            runtime.block_on(async {
                propose_round(&leaders, in_flight, per_caller, &payload).await;
                for replica in &replicas {
                    replica.flush().await.expect("a counter flushes");
                }
            });
        });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn three_replicas_one_caller(bencher: divan::Bencher) {
    replicate(bencher, 1, 1, PAYLOAD_BYTES, 500);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn three_replicas_eight_callers(bencher: divan::Bencher) {
    replicate(bencher, 1, 8, PAYLOAD_BYTES, 500);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn three_replicas_256_callers(bencher: divan::Bencher) {
    replicate(bencher, 1, IN_FLIGHT, PAYLOAD_BYTES, 64);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn three_replicas_of_eight_groups_of_64_kib(bencher: divan::Bencher) {
    replicate(bencher, GROUPS, 32, 64 << 10, 16);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

fn propose(bencher: divan::Bencher, groups: u32, in_flight: usize, bytes: usize, per_caller: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = runtime();
    let (_node, groups) = runtime.block_on(start(directory.path(), groups));
    let payload = payload(bytes);
    bencher
        .counter(divan::counter::ItemsCount::new(in_flight * per_caller))
        .counter(divan::counter::BytesCount::new(in_flight * per_caller * bytes))
        .bench_local(|| {
            runtime.block_on(async {
                propose_round(&groups, in_flight, per_caller, &payload).await;
                for group in &groups {
                    group.flush().await.expect("a counter flushes");
                }
            });
        });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn eight_groups(bencher: divan::Bencher) {
    propose(bencher, GROUPS, IN_FLIGHT, PAYLOAD_BYTES, ROUND_BYTES / PAYLOAD_BYTES / IN_FLIGHT);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn one_group(bencher: divan::Bencher) {
    propose(bencher, 1, IN_FLIGHT, PAYLOAD_BYTES, ROUND_BYTES / PAYLOAD_BYTES / IN_FLIGHT);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn one_caller(bencher: divan::Bencher) {
    propose(bencher, 1, 1, PAYLOAD_BYTES, 1000);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn eight_groups_of_64_kib(bencher: divan::Bencher) {
    propose(bencher, GROUPS, 64, 64 << 10, ROUND_BYTES / (64 << 10) / 64);
}

/// From opening the engine until 200 MiB of log are applied again.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn start_again(bencher: divan::Bencher) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = runtime();
    let (payload, bytes) = (payload(64 << 10), 200 << 20);
    runtime.block_on(async {
        let (node, groups) = start(directory.path(), GROUPS).await;
        propose_round(&groups, 64, bytes / payload.len() / 64, &payload).await;
        node.shutdown().await;
    });
    bencher.counter(divan::counter::BytesCount::new(bytes)).bench_local(|| {
        runtime.block_on(async {
            let (node, groups) = start(directory.path(), GROUPS).await;
            drop(groups);
            node.shutdown().await;
        });
    });
}

fn main() {
    divan::main();
}
