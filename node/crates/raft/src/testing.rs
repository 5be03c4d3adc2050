//! What the tests of this crate share: a state machine that keeps what it applied, a network in memory, a node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bellwether_kv::{KvDisk, MemDisk, Space, SpaceConfig, SpaceKind};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    Applied, Blocking, Checkpoint, CommittedEntry, EntryPayload, FatalError, GroupId, Inline, NodeId, Peer, RaftGroup,
    RaftNode, RaftOptions, ReplicaId, StateMachine, Transport, TransportError,
};

pub(crate) const SPACES: [SpaceConfig; 1] = [SpaceConfig { name: "log", kind: SpaceKind::Log }];
pub(crate) const SPACE: Space = Space(0);
pub(crate) const LOG: &str = "log";

/// Keeps every payload it applied, and replies with its length and the count so far.
#[derive(Default)]
pub(crate) struct Ledger {
    live: Mutex<LedgerState>,
    durable: Arc<Mutex<LedgerState>>,
    pub refuse: Mutex<Option<String>>,
    pub panic: AtomicBool,
    pub batches: Mutex<Vec<usize>>,
    pub checkpoints: AtomicUsize,
}

#[derive(Default, Clone)]
pub(crate) struct LedgerState {
    pub applied: Applied,
    pub payloads: Vec<Bytes>,
}

impl Ledger {
    /// As after a restart: what was flushed.
    pub fn reopen(&self) -> Arc<Self> {
        let durable = self.durable.clone();
        let live = Mutex::new(durable.lock().clone());
        Arc::new(Self { live, durable, ..Self::default() })
    }

    /// Checkpoints that are neither discarded nor installed elsewhere.
    pub fn copies(&self) -> usize {
        let own = PathBuf::from(format!("{self:p}"));
        CHECKPOINTS.lock().keys().filter(|directory| directory.starts_with(&own)).count()
    }

    pub fn payloads(&self) -> Vec<Bytes> {
        self.live.lock().payloads.clone()
    }
}

/// Checkpoints of [`Ledger`]s, by the directory that they say they are in.
static CHECKPOINTS: Mutex<BTreeMap<PathBuf, LedgerState>> = Mutex::new(BTreeMap::new());

impl StateMachine for Ledger {
    fn applied(&self) -> Applied {
        self.live.lock().applied.clone()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        if let Some(reason) = &*self.refuse.lock() {
            return Err(FatalError(reason.clone()));
        }
        assert!(!self.panic.load(Ordering::Relaxed), "as asked for");
        self.batches.lock().push(entries.len());
        let mut live = self.live.lock();
        let mut replies = Vec::new();
        for entry in entries {
            let next = live.applied.log.map_or(0, |log| log.index + 1);
            assert_eq!(entry.position.index, next, "entries come in order, each once");
            live.applied.log = Some(entry.position);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(bytes) => live.applied.membership = Some(bytes),
                EntryPayload::Normal(bytes) => {
                    live.payloads.push(bytes.clone());
                    replies.push(bytes);
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
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        let state = self.durable.lock().clone();
        let mut checkpoints = CHECKPOINTS.lock();
        let directory = PathBuf::from(format!("{:p}/{}", self, checkpoints.len()));
        checkpoints.insert(directory.clone(), state.clone());
        Ok(Checkpoint { applied: state.applied, directory })
    }

    fn discard(&self, checkpoint: Checkpoint) {
        assert!(CHECKPOINTS.lock().remove(&checkpoint.directory).is_some(), "a checkpoint is discarded once");
    }

    fn install(&self, checkpoint: Checkpoint) -> Result<(), FatalError> {
        let found = CHECKPOINTS.lock().get(&checkpoint.directory).cloned();
        let mut state = found.ok_or_else(|| FatalError("no such checkpoint".to_owned()))?;
        assert_eq!(state.applied, checkpoint.applied, "a checkpoint says what is in it");
        state.applied = checkpoint.applied;
        *self.durable.lock() = state.clone();
        *self.live.lock() = state;
        Ok(())
    }
}

/// Reaches nobody: for groups with one voter.
pub(crate) struct Nobody;

impl Transport for Nobody {
    fn call(&self, to: Peer, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        async move { Err(TransportError::Unreachable(format!("{to:?}"))) }.boxed()
    }

    fn send_checkpoint(&self, to: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        async move { Err(TransportError::Unreachable(format!("{to:?}"))) }.boxed()
    }
}

pub(crate) fn options() -> RaftOptions {
    RaftOptions::new(Registry::new(), Arc::new(|reason| panic!("fatal: {reason}")))
}

/// A node on `disk`, working inline.
pub(crate) fn open(disk: &MemDisk, options: RaftOptions) -> RaftNode {
    open_with(disk, options, Arc::new(Inline), 1)
}

pub(crate) fn open_with(disk: &MemDisk, options: RaftOptions, executor: Arc<dyn Blocking>, seed: u64) -> RaftNode {
    RaftNode::open(disk.open(LOG, &SPACES).unwrap(), SPACE, options, executor, seed).unwrap()
}

/// Founds or starts replica 1 of a group as its sole voter, and waits until it has applied its log.
pub(crate) async fn sole(node: &RaftNode, group: u32, ledger: &Arc<Ledger>) -> RaftGroup {
    let members = BTreeMap::from([(ReplicaId(1), 1)]);
    let group =
        node.found_group(GroupId(group), ReplicaId(1), members, ledger.clone(), Arc::new(Nobody)).await.unwrap();
    group.ready().await.unwrap();
    group
}

pub(crate) fn payload(number: u64, bytes: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes.max(8), number as u8);
    payload.into()
}

/// Messages between nodes in memory: late, lost, or cut off, as a seed decides. Those that arrive do so in order, unless
/// they are to be shuffled.
#[derive(Clone)]
pub(crate) struct MemoryNetwork(Arc<Mutex<NetworkState>>);

/// Bytes by receiver.
pub(crate) type HeldBytes = Arc<Mutex<BTreeMap<NodeId, usize>>>;

struct NetworkState {
    nodes: BTreeMap<NodeId, RaftNode>,
    /// Nodes that reach nobody and are reached by nobody.
    cut_off: BTreeSet<NodeId>,
    /// Nodes that refuse what is sent to them.
    refusing: BTreeSet<NodeId>,
    /// Of a thousand messages, how many are lost.
    lost_per_mille: u64,
    /// Whether messages overtake each other.
    shuffled: bool,
    links: BTreeMap<(NodeId, NodeId), Link>,
    checkpoints: u64,
    checkpoint_delay: Duration,
    lose_answers_of_checkpoints: bool,
    /// A node whose messages are held back, and the bytes held per receiver.
    held: Option<(NodeId, HeldBytes)>,
    random: u64,
    /// Hash of all messages so far, in order.
    trace: u64,
    messages: u64,
    started: Instant,
}

impl MemoryNetwork {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(NetworkState {
            nodes: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            refusing: BTreeSet::new(),
            lost_per_mille: 0,
            shuffled: false,
            links: BTreeMap::new(),
            checkpoints: 0,
            checkpoint_delay: Duration::ZERO,
            lose_answers_of_checkpoints: false,
            held: None,
            random: seed,
            trace: 0,
            messages: 0,
            started: Instant::now(),
        })))
    }

    pub fn attach(&self, id: NodeId, node: &RaftNode) {
        self.0.lock().nodes.insert(id, node.clone());
    }

    pub fn detach(&self, id: NodeId) {
        self.0.lock().nodes.remove(&id);
    }

    pub fn cut_off(&self, id: NodeId) {
        self.0.lock().cut_off.insert(id);
    }

    pub fn refuse(&self, id: NodeId) {
        self.0.lock().refusing.insert(id);
    }

    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.cut_off.clear();
        state.refusing.clear();
        state.lost_per_mille = 0;
        state.shuffled = false;
    }

    /// Takes the messages of a node and delivers none. Returns the bytes taken so far, by receiver.
    pub fn hold(&self, id: NodeId) -> HeldBytes {
        let held = Arc::default();
        self.0.lock().held = Some((id, Arc::clone(&held)));
        held
    }

    /// How many checkpoints were sent.
    pub fn checkpoints(&self) -> u64 {
        self.0.lock().checkpoints
    }

    pub fn lose_answers_of_checkpoints(&self) {
        self.0.lock().lose_answers_of_checkpoints = true;
    }

    /// Checkpoints take this long from now on.
    pub fn slow_checkpoints(&self, delay: Duration) {
        self.0.lock().checkpoint_delay = delay;
    }

    pub fn shuffle(&self) {
        self.0.lock().shuffled = true;
    }

    pub fn lose(&self, per_mille: u64) {
        self.0.lock().lost_per_mille = per_mille;
    }

    /// Hash of all messages so far, and their count.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.trace, state.messages)
    }

    /// The transport of one node.
    pub fn of(&self, node: NodeId) -> Arc<dyn Transport> {
        Arc::new(NodeTransport { from: node, network: self.clone() })
    }

    fn draw(state: &mut NetworkState, below: u64) -> u64 {
        state.random = state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state.random >> 33) % below
    }

    /// Puts a message on its way; `None` if it is lost.
    fn send(&self, from: NodeId, to: Peer, message: Bytes) -> Option<oneshot::Receiver<Bytes>> {
        let (node, delay) = self.route(from, to, &message)?;
        let (answer, answered) = oneshot::channel();
        let mut state = self.0.lock();
        let shuffled = state.shuffled;
        if let Some((_, held)) = state.held.as_ref().filter(|(id, _)| *id == from) {
            *held.lock().entry(to.node).or_default() += message.len();
            return None;
        }
        let at = Instant::now() + delay;
        if shuffled {
            tokio::spawn(async move {
                sleep_until(at).await;
                if let Ok(bytes) = node.handle(to.group, to.replica, message).await {
                    drop(answer.send(bytes));
                }
            });
        } else {
            let link = state.links.entry((from, to.node)).or_insert_with(Link::new);
            link.last = link.last.max(at);
            drop(link.sender.send(Sent { at: link.last, node, to, message, answer }));
        }
        Some(answered)
    }

    /// Where a message goes and how late it is; `None` if it is lost.
    fn route(&self, from: NodeId, to: Peer, message: &[u8]) -> Option<(RaftNode, Duration)> {
        let mut state = self.0.lock();
        state.messages += 1;
        let at = state.started.elapsed().as_micros() as u64;
        let seen = xxhash_rust::xxh3::xxh3_64_with_seed(message, state.trace ^ from.rotate_left(32) ^ to.node ^ at);
        state.trace = seen;
        let delay = Duration::from_micros(200 + Self::draw(&mut state, 3000));
        let lost = Self::draw(&mut state, 1000) < state.lost_per_mille;
        if lost || state.cut_off.contains(&from) || state.cut_off.contains(&to.node) {
            return None;
        }
        Some((state.nodes.get(&to.node)?.clone(), delay))
    }
}

/// One direction between two nodes.
struct Link {
    last: Instant,
    sender: mpsc::UnboundedSender<Sent>,
}

struct Sent {
    at: Instant,
    node: RaftNode,
    to: Peer,
    message: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Link {
    fn new() -> Self {
        let (sender, mut sent) = mpsc::unbounded_channel::<Sent>();
        tokio::spawn(async move {
            while let Some(Sent { at, node, to, message, answer }) = sent.recv().await {
                sleep_until(at).await;
                let handling = node.handle(to.group, to.replica, message);
                tokio::spawn(async move {
                    if let Ok(bytes) = handling.await {
                        drop(answer.send(bytes));
                    }
                });
            }
        });
        Self { last: Instant::now(), sender }
    }
}

struct NodeTransport {
    from: NodeId,
    network: MemoryNetwork,
}

/// When a checkpoint that makes no progress is given up.
const STALLED: Duration = Duration::from_secs(5);

/// Waits for an exchange; what was lost is noticed at the deadline.
async fn by_deadline(
    deadline: Duration,
    exchange: impl Future<Output = Option<Bytes>>,
) -> Result<Bytes, TransportError> {
    let answer = async {
        match exchange.await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    };
    timeout(deadline, answer).await.map_err(|_| TransportError::Deadline)
}

impl Transport for NodeTransport {
    fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (from, network) = (self.from, self.network.clone());
        if network.0.lock().refusing.contains(&to.node) {
            return async { Err(TransportError::Unreachable("refused".to_owned())) }.boxed();
        }
        let answered = network.send(from, to, message);
        let exchange = async move {
            let answer = answered?.await.ok()?;
            let (_, delay) = network.route(to.node, Peer { node: from, ..to }, &answer)?;
            sleep(delay).await;
            Some(answer)
        };
        by_deadline(deadline, exchange).boxed()
    }

    fn send_checkpoint(
        &self,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (from, network) = (self.from, self.network.clone());
        let exchange = async move {
            let (node, delay) = network.route(from, to, &header)?;
            let slow = {
                let mut state = network.0.lock();
                state.checkpoints += 1;
                state.checkpoint_delay
            };
            sleep(delay + slow).await;
            let answer = node.install(to.group, to.replica, header, checkpoint).await.ok()?;
            if network.0.lock().lose_answers_of_checkpoints {
                return None;
            }
            let (_, delay) = network.route(to.node, Peer { node: from, ..to }, &answer)?;
            sleep(delay).await;
            Some(answer)
        };
        by_deadline(STALLED, exchange).boxed()
    }
}
