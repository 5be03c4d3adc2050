//! What the groups of a node share: the log store and its writer, limits, metrics, and the list of groups.

mod alone;
mod hand_over;
mod heartbeats;
mod removal;
mod standing;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bellwether_kv::{KvEngine, Space};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, Either, join_all};
use openraft::{Config, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use tokio::sync::watch;

use crate::adapter::{Adapter, Durable};
use crate::admission::Budget;
use crate::blocking::{self, Blocking, BlockingClass};
use crate::errors::{AddressError, FlushError, LogError, OpenError, StartError, StorageTrouble};
use crate::group::{Backlogs, QuorumHeard, Raft, RaftGroup};
use crate::group_log::{GroupLog, LogHandle};
use crate::limits;
use crate::log_tail::TailLimits;
use crate::metrics::RaftMetrics;
use crate::network::{Network, Outgoing, Transport};
use crate::recovery;
use crate::state_machine::{Checkpoint, StateMachine};
use crate::types::{GroupId, NodeId, ReplicaId, ReplicaKey, Runtime};
use crate::writer::{OnFatal, Writer};

pub use alone::LastKnown;
pub use hand_over::HandOver;
pub use standing::Standing;

/// What a node chooses.
#[derive(Clone)]
pub struct RaftOptions {
    /// Bytes of payloads proposed to one group and not yet applied.
    pub group_in_flight_bytes: usize,
    /// Bytes of payloads proposed to all groups and not yet applied.
    pub node_in_flight_bytes: usize,
    /// Largest payload of an entry; at most [`limits::ENTRY_BYTES_MAX`].
    pub entry_bytes_max: usize,
    /// How long a proposal waits for room before it is refused.
    pub admission_wait: Duration,
    /// Bytes of a group's applied entries kept in memory for followers.
    pub applied_tail_bytes: usize,
    /// Bytes of all groups' entries kept in memory, applied or not.
    pub node_tail_bytes: usize,
    /// Bytes of log that a flush leaves for a replica that is behind, per group.
    pub lagging_log_bytes: u64,
    /// Bytes of log that flushes leave for replicas that are behind, of all groups.
    pub node_lagging_log_bytes: u64,
    /// Interval of heartbeats.
    pub heartbeat: Duration,
    /// A follower elects when it has heard nothing for a random time between this and
    /// [`election_timeout_max`](Self::election_timeout_max), behind that.
    pub election_timeout_min: Duration,
    /// How long a follower that has heard its leader votes for nobody else; several heartbeats.
    pub election_timeout_max: Duration,
    /// A leader that no quorum has answered for this long refuses proposals.
    pub quorum_silence_max: Duration,
    /// Where the metrics go.
    pub registry: Registry,
    /// Called when a write or a sync failed; in production it ends the process.
    pub on_fatal: OnFatal,
}

impl RaftOptions {
    /// The defaults of [`limits`].
    pub fn new(registry: Registry, on_fatal: OnFatal) -> Self {
        Self {
            group_in_flight_bytes: limits::GROUP_IN_FLIGHT_BYTES,
            node_in_flight_bytes: limits::NODE_IN_FLIGHT_BYTES,
            entry_bytes_max: limits::ENTRY_BYTES_MAX,
            admission_wait: limits::ADMISSION_WAIT,
            applied_tail_bytes: limits::APPLIED_TAIL_BYTES,
            node_tail_bytes: limits::NODE_TAIL_BYTES,
            lagging_log_bytes: limits::LAGGING_LOG_BYTES,
            node_lagging_log_bytes: limits::NODE_LAGGING_LOG_BYTES,
            heartbeat: limits::HEARTBEAT,
            election_timeout_min: limits::ELECTION_TIMEOUT_MIN,
            election_timeout_max: limits::ELECTION_TIMEOUT_MAX,
            quorum_silence_max: limits::QUORUM_SILENCE_MAX,
            registry,
            on_fatal,
        }
    }

    fn tail_limits(&self) -> TailLimits {
        TailLimits {
            applied_bytes: self.applied_tail_bytes,
            unapplied_bytes: limits::UNAPPLIED_TAIL_BYTES,
            node_bytes: self.node_tail_bytes,
        }
    }

    fn config(&self) -> Result<Config, OpenError> {
        if self.entry_bytes_max > limits::ENTRY_BYTES_MAX {
            let reason = format!("entry_bytes_max is above {}", limits::ENTRY_BYTES_MAX);
            return Err(OpenError::Options(reason));
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "bellwether".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_timeout_min),
            election_timeout_max: millis(self.election_timeout_max),
            max_payload_entries: limits::ENTRIES_PER_MESSAGE_MAX,
            backoff: limits::UNREACHABLE_BACKOFF.to_owned(),
            api_channel_size: Some(limits::GROUP_QUEUE_MESSAGES),
            notification_channel_size: Some(limits::GROUP_QUEUE_MESSAGES),
            // A flush is the snapshot, and the flush cuts the log.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            // See `heartbeats`.
            enable_heartbeat: false,
            enable_pre_vote: Some(true),
            // The state machine goes back to its last flush: a leader must win an election to know what is committed.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().map_err(|error| OpenError::Options(error.to_string()))
    }
}

/// What all groups of a node use.
pub(crate) struct Shared {
    pub options: RaftOptions,
    pub executor: Arc<dyn Blocking>,
    pub writer: Arc<Writer>,
    pub metrics: Arc<RaftMetrics>,
    pub budget: Budget,
    outgoing: Arc<Outgoing>,
    config: Arc<Config>,
    pub seed: u64,
    pub standing: RwLock<Standing>,
    /// Replicas that were started.
    pub starts: AtomicU64,
}

/// The replicas that run on this node; `None` while one starts.
#[derive(Default)]
pub(crate) struct Groups(Mutex<BTreeMap<ReplicaKey, Option<RaftGroup>>>);

impl Groups {
    /// Keeps others from starting or removing a replica; `None` if somebody does, or if it runs.
    fn reserve(self: &Arc<Self>, id: ReplicaKey) -> Option<Reserved> {
        match self.0.lock().entry(id) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(None);
                Some(Reserved { groups: self.clone(), id, kept: false })
            }
        }
    }

    pub fn remove(&self, id: ReplicaKey) {
        self.0.lock().remove(&id);
    }
}

/// A place in the list of groups, given back unless the group starts.
struct Reserved {
    groups: Arc<Groups>,
    id: ReplicaKey,
    kept: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.kept {
            self.groups.remove(self.id);
        }
    }
}

/// The Raft side of a node. Clones are handles to the same; when the last one is dropped, nothing is written any more.
#[derive(Clone)]
pub struct RaftNode(Arc<NodeInner>);

struct NodeInner {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
}

impl Drop for NodeInner {
    fn drop(&mut self) {
        self.shared.writer.close();
    }
}

impl RaftNode {
    /// Opens a node's log store, which is `space` of `log`, and starts its writer on the current tokio runtime, which
    /// also carries everything else here. Reads nothing yet: each group's log is read and checked when it starts, so
    /// that damage to one does not stop the others.
    ///
    /// `seed` decides all that is random: the election timeouts.
    pub fn open(
        log: Arc<dyn KvEngine>,
        space: Space,
        options: RaftOptions,
        executor: Arc<dyn Blocking>,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let config = Arc::new(options.config()?);
        let metrics = Arc::new(RaftMetrics::new(&options.registry)?);
        let writer = Writer::start(log, space, executor.clone(), options.on_fatal.clone(), metrics.clone());
        let budget = Budget::new("node", options.node_in_flight_bytes);
        let (outgoing, standing) = (Arc::default(), RwLock::default());
        let starts = AtomicU64::default();
        let shared = Shared { options, executor, writer, metrics, budget, outgoing, config, seed, standing, starts };
        let shared = Arc::new(shared);
        let period = shared.options.heartbeat;
        let node = Arc::new(NodeInner { shared, groups: Arc::default() });
        tokio::spawn(heartbeats::beat(Arc::downgrade(&node), period));
        Ok(Self(node))
    }

    /// The replicas that have a log here, whether they run or not.
    pub async fn stored_replicas(&self) -> Result<Vec<(GroupId, ReplicaId)>, bellwether_kv::Error> {
        let shared = self.0.shared.clone();
        let executor = shared.executor.clone();
        let stored = blocking::call(&executor, BlockingClass::Apply, move || {
            recovery::stored_replicas(&**shared.writer.engine(), shared.writer.space())
        });
        match stored.await {
            Ok(stored) => Ok(stored?.into_iter().map(|id| (id.group, id.replica)).collect()),
            Err(lost) => Err(bellwether_kv::Error::Io(lost.to_string())),
        }
    }

    /// Starts a replica: reads its log, and applies it again from where the state machine is. Returns before that is
    /// done, see [`RaftGroup::ready`]. A group that was never founded waits to be added to by its leader. A sole voter
    /// elects itself at once.
    pub async fn start_group(
        &self,
        group: GroupId,
        replica: ReplicaId,
        machine: Arc<dyn StateMachine>,
        transport: Arc<dyn Transport>,
    ) -> Result<RaftGroup, StartError> {
        self.start(group, replica, None, machine, transport).await
    }

    /// Starts the first replica of a new group, or one of the first. Every one of `members` must be founded so, with
    /// the same members; where the replica has a log already, this only starts it.
    pub async fn found_group(
        &self,
        group: GroupId,
        replica: ReplicaId,
        members: BTreeMap<ReplicaId, NodeId>,
        machine: Arc<dyn StateMachine>,
        transport: Arc<dyn Transport>,
    ) -> Result<RaftGroup, StartError> {
        if members.len() > limits::MEMBERS_MAX || !members.contains_key(&replica) {
            let reason = format!("replica {replica} is not among {members:?}, or they are too many");
            return Err(StartError::Founding { group, reason });
        }
        self.start(group, replica, Some(members), machine, transport).await
    }

    async fn start(
        &self,
        group: GroupId,
        replica: ReplicaId,
        members: Option<BTreeMap<ReplicaId, NodeId>>,
        machine: Arc<dyn StateMachine>,
        transport: Arc<dyn Transport>,
    ) -> Result<RaftGroup, StartError> {
        let NodeInner { shared, groups } = &*self.0;
        let id = ReplicaKey { group, replica };
        let mut reserved = groups.reserve(id).ok_or(StartError::Running(group, replica))?;
        let (writer, asked) = (shared.writer.clone(), machine.clone());
        let (recovered, applied) = blocking::call(&shared.executor, BlockingClass::Apply, move || {
            let applied = asked.applied();
            (recovery::recover(&**writer.engine(), writer.space(), id, applied.log), applied)
        })
        .await
        .map_err(|_| LogError::executor(id))?;
        let recovered = recovered?;
        let damaged = |error: crate::codec::DecodeError| StartError::Membership { group, reason: error.to_string() };
        let durable = Durable::new(&applied).map_err(damaged)?;
        let log = Arc::new(GroupLog::new(
            id,
            recovered,
            shared.writer.clone(),
            shared.executor.clone(),
            shared.metrics.clone(),
            shared.options.tail_limits(),
        ));
        if let Some(applied) = applied.log {
            log.on_applied(applied);
            log.on_flushed(applied.index);
        }
        let pristine = log.is_pristine() && applied.log.is_none();
        let (running, watched) = watch::channel(());
        let handle = LogHandle { log: log.clone(), _running: watched };
        let adapter = Adapter::new(
            machine.clone(),
            shared.executor.clone(),
            handle.clone(),
            shared.metrics.clone(),
            durable.clone(),
        );
        let (quorum, backlogs) = (Arc::<QuorumHeard>::default(), Arc::<Backlogs>::default());
        let network = Network {
            quorum: quorum.clone(),
            backlogs: backlogs.clone(),
            log: log.clone(),
            transport,
            heartbeat: shared.options.heartbeat,
            commit_notice_delay: machine.commit_notice_delay(),
            outgoing: shared.outgoing.clone(),
        };
        let seed = mix(shared.seed, mix(u64::from(group.0), replica.0));
        let build = async {
            let raft = Raft::build(replica.0, shared.config.clone(), network, handle, adapter).await?;
            log.started();
            // Before the first election could be held.
            raft.runtime_config().elect(!shared.standing.read().abstains);
            raft.run();
            Ok(raft)
        };
        let raft = Runtime::scope(seed, build).await;
        let stopped = |fatal: openraft::errors::Fatal<_>| StartError::Stopped { group, reason: fatal.to_string() };
        let raft = raft.map_err(stopped)?;
        let started = RaftGroup::new(
            raft,
            log,
            machine,
            durable,
            shared.clone(),
            Arc::downgrade(groups),
            running,
            quorum,
            backlogs,
        );
        let founded = match members.filter(|_| pristine) {
            Some(members) => started.found(members).await.map_err(|reason| StartError::Founding { group, reason }),
            None => Ok(()),
        };
        let elected = match founded {
            Ok(()) => started.elect_sole_voter().await.map_err(stopped),
            Err(error) => Err(error),
        };
        if let Err(error) = elected {
            started.shutdown().await;
            return Err(error);
        }
        groups.0.lock().insert(id, Some(started.clone()));
        reserved.kept = true;
        // What was told while it was not in the list yet.
        started.apply_standing();
        Ok(started)
    }

    /// A replica that runs here.
    pub fn group(&self, group: GroupId, replica: ReplicaId) -> Option<RaftGroup> {
        self.0.groups.0.lock().get(&ReplicaKey { group, replica })?.clone()
    }

    /// All replicas that run here.
    pub fn groups(&self) -> Vec<RaftGroup> {
        self.0.groups.0.lock().values().flatten().cloned().collect()
    }

    fn addressed(&self, group: GroupId, replica: ReplicaId) -> Result<RaftGroup, AddressError> {
        self.group(group, replica).ok_or(AddressError::NotHere(group, replica))
    }

    /// Handles a message that another node's [`Transport`] brought, and returns the answer to take back.
    ///
    /// The message is in the replica's queue when this returns: messages that come one after the other are to be
    /// handed over so, while the answers may be waited for in any order.
    pub fn handle(
        &self,
        group: GroupId,
        replica: ReplicaId,
        message: Bytes,
    ) -> impl Future<Output = Result<Bytes, AddressError>> + Send + 'static {
        let addressed = self.addressed(group, replica);
        // Out of reach of tokio's budgets, so that a single look is enough to queue the message.
        let mut handling = Box::pin(tokio::task::unconstrained(async move { addressed?.handle(message).await }));
        match (&mut handling).now_or_never() {
            Some(answer) => Either::Left(future::ready(answer)),
            None => Either::Right(handling),
        }
    }

    /// Handles a checkpoint that another node's [`Transport`] brought, and returns the answer to take back.
    pub async fn install(
        &self,
        group: GroupId,
        replica: ReplicaId,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> Result<Bytes, AddressError> {
        self.addressed(group, replica)?.install(header, checkpoint).await
    }

    /// Tells that a node's process is gone: a connection to it was refused, or ended and cannot be made again. Groups
    /// that it led elect at once, each at a random moment shortly after, instead of when they notice. Where the
    /// other voters still hear from it, they refuse, and nothing changes. Returns at once.
    pub fn peer_lost(&self, node: NodeId) {
        for group in self.groups() {
            group.leader_lost(node);
        }
    }

    /// Tells that a node can be reached again: replicas there are sent at once what they lack. Returns at once.
    pub fn peer_found(&self, node: NodeId) {
        for group in self.groups() {
            group.follower_found(node);
        }
    }

    /// Bytes of log that would be applied again after a restart, of all groups here.
    pub fn unflushed_log_bytes(&self) -> u64 {
        self.groups().iter().map(RaftGroup::unflushed_log_bytes).sum()
    }

    /// Why the log store takes no writes, while it takes none.
    pub fn storage_trouble(&self) -> Option<StorageTrouble> {
        self.0.shared.writer.trouble().borrow().clone()
    }

    /// Makes the log store give back what flushes have cut, now rather than when it would.
    pub async fn reclaim(&self) -> Result<(), FlushError> {
        let shared = self.0.shared.clone();
        let executor = shared.executor.clone();
        let flushed = blocking::call(&executor, BlockingClass::Flush, move || shared.writer.engine().flush()).await;
        let flushed = flushed.map_err(|lost| FlushError::Reclaim(lost.to_string()))?;
        flushed.map_err(|error| FlushError::Reclaim(error.to_string()))
    }

    /// Stops all groups, after what they have queued is written, and lets go of the engine.
    pub async fn shutdown(&self) {
        join_all(self.groups().iter().map(RaftGroup::shutdown)).await;
        self.0.shared.writer.closed().await;
    }
}

/// Mixes two numbers into one that differs wherever they do (splitmix64's finalizer).
pub(crate) fn mix(left: u64, right: u64) -> u64 {
    let mut mixed = left ^ right.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
