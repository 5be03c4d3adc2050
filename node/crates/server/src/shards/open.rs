//! From a data directory to running replicas.
//!
//! ```text
//! IDENTITY         who the directory belongs to; written last when a directory is founded, read first ever after
//! meta/            the cluster's state: see [`crate::meta::machine`]
//! log/             Raft's log of all groups: one engine
//! shards/          the data of each replica: see [`super::replica_store`]
//! ballast          room to flush and purge when the disk is full
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bellwether_model::{RefEpoch, ShardGroupId};
use bellwether_probe::{Bug, planted};
use bellwether_raft::{
    Checkpoint, GroupId, LogError, NodeId, Peer, RaftGroup, RaftNode, ReplicaId, StartError, StorageTrouble, Transport,
    TransportError,
};
use bellwether_tsdb::{PackCache, ShardMetrics};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::timeout;

use super::applied_mark::MarkError;
use super::replay::Replay;
use super::replica_store::{COPIES_PATH, ReplicaStore, SHARDS_PATH, replica_directory, replica_of};
use super::state_machine::{ScratchPool, ShardStateMachine};
use super::watches::WatchBoard;
use super::{Cause, Quarantined, Ring, RingGroup, ShardGroup, Shards, Slot};
use crate::config::Config;
use crate::env::{Env, Fatal};
use crate::metrics::StorageMetrics;
use crate::replication::{Stopping, on_raft};

/// How often a group that is not ready yet looks whether it is the disk that keeps it.
const DISK_LOOK: Duration = Duration::from_secs(2);

/// Share of the memory limit that caches decoded packs, unless configured.
const PACK_CACHE_SHARE: u64 = 8;
/// Bounds of that share.
const PACK_CACHE_BYTES_MIN: u64 = 16 << 20;
const PACK_CACHE_BYTES_MAX: u64 = 1 << 30;

/// Why shards could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log store does not say which replicas it has.
    #[error("the list of replicas in the log store cannot be read")]
    StoredReplicas(#[source] bellwether_kv::Error),
    /// What an earlier run left cannot be cleared.
    #[error("what an earlier run left in {COPIES_PATH}/ and {SHARDS_PATH}/ cannot be removed")]
    Leftovers(#[source] bellwether_kv::Error),
    /// A newer program wrote a shard: starting without it would look like a loss.
    #[error("shard group {group}: {reason}")]
    NewerFormat {
        /// The group.
        group: ShardGroupId,
        /// Both versions.
        reason: String,
    },
    /// Every group is damaged, and there are no other copies.
    #[error(
        "no shard group can be opened, and no other node has a copy; the first says: {0}; restore a backup, or see the log \
         for what is damaged"
    )]
    AllDamaged(String),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Shards {
    /// Opens the replicas that the ring gives to this node, and waits until those that are alone in their groups have
    /// applied their logs. The others catch up with their leaders by themselves.
    pub async fn open(
        node: NodeId,
        ring: watch::Receiver<Arc<Ring>>,
        replication: Replication,
        config: &Config,
        env: &Env,
        registry: &Registry,
        metrics: Arc<StorageMetrics>,
    ) -> Result<Shards, OpenError> {
        let now = ring.borrow().clone();
        let groups = now.groups().iter().filter(|group| group.replica_on(node).is_some()).count();
        let opener = Opener::new(node, groups, replication, config, env, registry);
        let stored = opener.raft().stored_replicas().await.map_err(OpenError::StoredReplicas)?;
        let stored = stored.into_iter().map(|(group, replica)| (ShardGroupId(group.0), replica)).collect();
        let here = opener.without_unmade(opener.replicas_here(&now, &stored).await).await;
        opener.clear_leftovers(&now, stored).await?;
        let opened = join_all(here.into_iter().map(|(group, replica)| {
            let (opener, start) = (&opener, Start::of(group));
            async move { (group.id, replica, start, opener.open(group, replica, start).await) }
        }));
        let mut slots = BTreeMap::new();
        for (group, replica, start, opened) in opened.await {
            let state = match opened {
                Ok(running) => Ok(running),
                Err(GroupTrouble::Corrupt(reason) | GroupTrouble::Failed(reason)) => {
                    tracing::error!(group = group.0, reason, "a shard group does not serve");
                    Err(Quarantined { group, reason, cause: Cause::Damaged })
                }
                Err(GroupTrouble::DiskFull(reason)) => {
                    tracing::warn!(group = group.0, reason, "a shard group waits for room on the disk");
                    Err(Quarantined { group, reason, cause: Cause::DiskFull })
                }
                Err(GroupTrouble::NewerFormat(reason)) => return Err(OpenError::NewerFormat { group, reason }),
            };
            slots.insert(group, Slot { replica, start, state });
        }
        let is_damaged = |slot: &Slot| matches!(slot.state, Err(Quarantined { cause: Cause::Damaged, .. }));
        // Where others have copies, the cluster makes new ones here.
        let is_here_alone = slots.keys().all(|group| now.group(*group).is_none_or(|group| group.replicas.len() == 1));
        if is_here_alone
            && slots.values().all(is_damaged)
            && let Some(first) = slots.values().find_map(|slot| slot.state.as_ref().err())
        {
            return Err(OpenError::AllDamaged(first.reason.clone()));
        }
        Ok(Shards {
            node,
            ring,
            slots: RwLock::new(slots),
            opener,
            scan: env.executors.scan.clone(),
            background: env.executors.background.clone(),
            clock: env.clock.clone(),
            metrics,
        })
    }
}

/// The replica of a group that a node is to run: the ring's, or one that has a log here all the same. Such a one goes only when
/// its group says that it does not have it any more: it may vote, and have acknowledged what others lack. So it stands also above
/// the ring's one that has nothing yet; `of_ring_has_data` without a log is the beginning of a group that goes on without the others.
fn replica_here(
    of_ring: Option<ReplicaId>,
    of_ring_has_data: bool,
    mut stored: impl DoubleEndedIterator<Item = ReplicaId>,
) -> Option<ReplicaId> {
    let of_ring_begun = of_ring.filter(|_| of_ring_has_data);
    of_ring_begun.or_else(|| stored.next_back()).or(of_ring)
}

/// How a replica begins that has no log yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// As the first of its group, and its only member.
    Founded,
    /// Empty, waiting for the group's leader to add it and to bring it what there is.
    Waiting,
}

impl Start {
    /// Replicas are added to groups one after the other, each before another goes: only the first one is ever alone
    /// without having a log. Those of a group that was split off begin with what its parent made for them.
    pub fn of(group: &RingGroup) -> Start {
        let is_first = (group.replicas.len() == 1 || planted(Bug::LearnerFounds)) && group.origin.parent.is_none();
        let is_child = group.origin.parent.is_some();
        if is_first || is_child && planted(Bug::ChildBeginsEmpty) { Start::Founded } else { Start::Waiting }
    }
}

/// Why one group does not serve.
pub(super) enum GroupTrouble {
    /// What is stored is not what was written.
    Corrupt(String),
    /// Opening it failed otherwise.
    Failed(String),
    NewerFormat(String),
    DiskFull(String),
}

impl GroupTrouble {
    pub fn into_reason(self) -> String {
        match self {
            GroupTrouble::Corrupt(reason)
            | GroupTrouble::Failed(reason)
            | GroupTrouble::NewerFormat(reason)
            | GroupTrouble::DiskFull(reason) => reason,
        }
    }
}

/// What replicas share to reach each other.
#[derive(Clone)]
pub struct Replication {
    /// The log store and what runs on it.
    pub raft: RaftNode,
    /// The way to other nodes.
    pub transport: Arc<dyn Transport>,
}

impl Replication {
    /// Of a node that is alone.
    pub fn alone(raft: RaftNode) -> Replication {
        Replication { raft, transport: Arc::new(NoPeers) }
    }
}

/// What opening a replica takes.
pub(super) struct Opener {
    node: NodeId,
    env: Env,
    replication: Replication,
    cache: Arc<PackCache>,
    metrics: Arc<ShardMetrics>,
    scratches: Arc<ScratchPool>,
    watches: Arc<WatchBoard>,
    /// Copies of replicas made so far.
    copies: Arc<AtomicU64>,
    config: Config,
    /// Groups that may apply their logs at the same time: those of the node's start.
    groups: usize,
    /// Groups that wait for room on the disk to write their vote.
    waiting: Mutex<BTreeMap<ShardGroupId, Started>>,
}

/// A replica that may not have applied its log yet.
struct Started {
    machine: Arc<ShardStateMachine>,
    raft: RaftGroup,
}

impl Opener {
    fn new(
        node: NodeId,
        groups: usize,
        replication: Replication,
        config: &Config,
        env: &Env,
        registry: &Registry,
    ) -> Opener {
        let cache = PackCache::new(pack_cache_bytes(config));
        let metrics = Arc::new(ShardMetrics::new(registry));
        Opener {
            node,
            env: env.clone(),
            replication,
            cache,
            metrics,
            scratches: Arc::default(),
            watches: Arc::default(),
            copies: Arc::default(),
            config: config.clone(),
            groups,
            waiting: Mutex::default(),
        }
    }

    /// What all groups share of Raft.
    pub fn raft(&self) -> &RaftNode {
        &self.replication.raft
    }

    /// Of which series somebody wants to hear.
    pub fn watches(&self) -> &Arc<WatchBoard> {
        &self.watches
    }

    /// Memory of decoded packs.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes() as u64
    }

    async fn replicas_here<'a>(
        &self,
        ring: &'a Ring,
        stored: &BTreeSet<(ShardGroupId, ReplicaId)>,
    ) -> Vec<(&'a RingGroup, ReplicaId)> {
        let mut here = Vec::new();
        for group in ring.groups() {
            let of_ring = group.replica_on(self.node);
            let has_data = match of_ring {
                Some(replica) => stored.contains(&(group.id, replica)) || self.has_data(group.id, replica).await,
                None => false,
            };
            let of_group = stored.range((group.id, ReplicaId(0))..=(group.id, ReplicaId(u64::MAX)));
            let replica = replica_here(of_ring, has_data, of_group.map(|(_, replica)| *replica));
            here.extend(replica.map(|replica| (group, replica)));
        }
        here
    }

    /// Leaves replicas out that a parent's replica is to make once it has applied its log so far: they are started then.
    async fn without_unmade<'a>(&self, here: Vec<(&'a RingGroup, ReplicaId)>) -> Vec<(&'a RingGroup, ReplicaId)> {
        let groups: BTreeSet<ShardGroupId> = here.iter().map(|(group, _)| group.id).collect();
        let mut made = Vec::with_capacity(here.len());
        for (group, replica) in here {
            let has_parent = group.origin.parent.is_some_and(|parent| groups.contains(&parent));
            if !has_parent || self.has_data(group.id, replica).await {
                made.push((group, replica));
            }
        }
        made
    }

    /// Removes copies whose sending ended with the process, and the data of replicas whose log was removed, which is the
    /// first thing that goes. Those of a group that is not known here stay: it may have been split off a moment ago.
    async fn clear_leftovers(
        &self,
        ring: &Ring,
        mut known: BTreeSet<(ShardGroupId, ReplicaId)>,
    ) -> Result<(), OpenError> {
        known.extend(ring.groups().iter().flat_map(|group| group.replicas.keys().map(|replica| (group.id, *replica))));
        let groups: BTreeSet<ShardGroupId> = ring.groups().iter().map(|group| group.id).collect();
        let disk = self.env.disk.clone();
        let clear = move || {
            disk.remove(COPIES_PATH)?;
            for name in disk.list(SHARDS_PATH)? {
                let is_left =
                    |replica: (ShardGroupId, ReplicaId)| groups.contains(&replica.0) && !known.contains(&replica);
                if replica_of(&name).is_some_and(is_left) {
                    tracing::info!(directory = name, "removing the data of a replica that was removed");
                    disk.remove(&format!("{SHARDS_PATH}/{name}"))?;
                }
            }
            Ok(())
        };
        self.env.executors.scan.run(clear).await.map_err(|_| Stopping)?.map_err(OpenError::Leftovers)
    }

    /// Removes the data of a replica; says whether they are gone. They stay while somebody reads them.
    pub async fn remove_directory(&self, directory: String) -> bool {
        let disk = self.env.disk.clone();
        let removed = self.env.executors.background.run(move || match disk.remove(&directory) {
            Err(error) if !matches!(error, bellwether_kv::Error::Locked(_)) => {
                tracing::warn!(directory, %error, "the data of a replica were not removed");
                false
            }
            removed => removed.is_ok(),
        });
        removed.await.unwrap_or(false)
    }

    /// Opens a replica's data and starts it. If it is alone in its group, waits until it has applied its log.
    pub async fn open(
        &self,
        group: &RingGroup,
        replica: ReplicaId,
        start: Start,
    ) -> Result<Arc<ShardGroup>, GroupTrouble> {
        let waiting = self.waiting.lock().remove(&group.id);
        let started = match waiting {
            Some(started) => started,
            None => self.start(group, replica, start).await?,
        };
        let (raft, own) = (self.raft().clone(), started.raft.clone());
        let ready = on_raft(&self.env.executors, async move {
            let ready = ready(&raft, &own).await;
            if ready.as_ref().is_err_and(|trouble| !matches!(trouble, GroupTrouble::DiskFull(_))) {
                own.shutdown().await;
            }
            ready
        });
        match ready.await.map_err(|error| GroupTrouble::Failed(error.to_string()))? {
            Ok(()) => {
                started.machine.end_replay();
                Ok(Arc::new(ShardGroup::new(group.id, started.machine, started.raft, self.env.fatal.clone())))
            }
            Err(trouble) => {
                // What its log says could not be done for want of room.
                let no_room = started.machine.no_room().filter(|_| matches!(trouble, GroupTrouble::Failed(_)));
                if let GroupTrouble::DiskFull(_) = trouble {
                    // It cannot even be stopped before its vote is written, and goes on by itself once it is.
                    self.waiting.lock().insert(group.id, started);
                }
                Err(no_room.map_or(trouble, GroupTrouble::DiskFull))
            }
        }
    }

    async fn start(&self, group: &RingGroup, replica: ReplicaId, start: Start) -> Result<Started, GroupTrouble> {
        let machine = Arc::new(self.open_machine(group, replica).await?);
        let (id, machine_of_group) = (GroupId(group.id.0), machine.clone());
        let Replication { raft, transport } = self.replication.clone();
        let members = BTreeMap::from([(replica, self.node)]);
        let started = on_raft(&self.env.executors, async move {
            match start {
                Start::Founded => raft.found_group(id, replica, members, machine_of_group, transport).await,
                Start::Waiting => raft.start_group(id, replica, machine_of_group, transport).await,
            }
        });
        let started = started.await.map_err(|error| GroupTrouble::Failed(error.to_string()))?;
        let raft = started.map_err(|error| match error {
            StartError::Log(LogError::Version { .. }) => GroupTrouble::NewerFormat(error.to_string()),
            StartError::Log(log) if log.is_corrupt() => GroupTrouble::Corrupt(log.to_string()),
            other => GroupTrouble::Failed(other.to_string()),
        })?;
        Ok(Started { machine, raft })
    }

    /// Stops a replica that waits for room, if it does.
    pub async fn stop_waiting(&self, group: ShardGroupId) {
        let waiting = self.waiting.lock().remove(&group);
        if let Some(started) = waiting {
            started.raft.shutdown().await;
        }
    }

    /// Whether a replica has data here.
    pub(super) async fn has_data(&self, group: ShardGroupId, replica: ReplicaId) -> bool {
        let (disk, directory) = (self.env.disk.clone(), replica_directory(group, replica));
        let listed = self.env.executors.scan.run(move || disk.list(&directory)).await;
        listed.is_ok_and(|names| names.is_ok_and(|names| !names.is_empty()))
    }

    /// Where a replica's data are.
    pub(super) fn store(&self, group: ShardGroupId, replica: ReplicaId, ref_epoch: RefEpoch) -> ReplicaStore {
        ReplicaStore {
            disk: self.env.disk.clone(),
            cache: self.cache.clone(),
            metrics: self.metrics.clone(),
            group,
            replica,
            ref_epoch,
            scratches: self.scratches.clone(),
            watches: self.watches.clone(),
            supported: self.env.program.formats.highest,
            copies: self.copies.clone(),
            fatal: self.env.fatal.clone(),
        }
    }

    /// What ends the process.
    pub(super) fn fatal(&self) -> Fatal {
        self.env.fatal.clone()
    }

    async fn open_machine(&self, group: &RingGroup, replica: ReplicaId) -> Result<ShardStateMachine, GroupTrouble> {
        let store = self.store(group.id, replica, group.ref_epoch);
        let (founded, fatal) = (group.origin.range, self.env.fatal.clone());
        let replay = Replay::new(&self.config, self.groups);
        let open = move || {
            let machine = ShardStateMachine::new(store.open()?, store, founded, fatal);
            machine.map(|machine| machine.replaying(replay)).map_err(|error| match error {
                MarkError::NewerFormat { .. } | MarkError::Unsupported { .. } => {
                    GroupTrouble::NewerFormat(error.to_string())
                }
                MarkError::Damaged => GroupTrouble::Corrupt(error.to_string()),
            })
        };
        self.env.executors.scan.run(open).await.map_err(|error| GroupTrouble::Failed(error.to_string())).flatten()
    }
}

/// Waits until a group has applied its log, if it needs nobody else for that. On a full disk it would wait for ever: a start
/// writes a vote, and until then openraft does not even say who votes.
async fn ready(raft: &RaftNode, group: &RaftGroup) -> Result<(), GroupTrouble> {
    let alone = async { if group.votes_alone().await { group.ready().await } else { Ok(()) } };
    let mut ready = std::pin::pin!(alone);
    loop {
        match timeout(DISK_LOOK, &mut ready).await {
            Ok(ready) => return ready.map_err(|error| GroupTrouble::Failed(error.to_string())),
            Err(_) => {
                if let Some(StorageTrouble::DiskFull(reason)) = raft.storage_trouble() {
                    return Err(GroupTrouble::DiskFull(format!("the log store is full: {reason}")));
                }
            }
        }
    }
}

fn pack_cache_bytes(config: &Config) -> usize {
    let chosen = config.storage.cache_bytes.0;
    let share = (config.memory_limit.0 / PACK_CACHE_SHARE).clamp(PACK_CACHE_BYTES_MIN, PACK_CACHE_BYTES_MAX);
    usize::try_from(if chosen == 0 { share } else { chosen }).unwrap_or(usize::MAX)
}

/// The transport of a node that is alone: nobody can be reached.
struct NoPeers;

impl Transport for NoPeers {
    fn call(&self, to: Peer, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        unreachable(to)
    }

    fn send_checkpoint(&self, to: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        unreachable(to)
    }
}

fn unreachable(to: Peer) -> BoxFuture<'static, Result<Bytes, TransportError>> {
    let reason = format!("this node is alone, node {} is not known", to.node);
    Box::pin(std::future::ready(Err(TransportError::Unreachable(reason))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_may_vote_stands_above_one_that_has_nothing_yet() {
        let here = |of_ring: Option<u64>, has_data, stored: &[u64]| {
            replica_here(of_ring.map(ReplicaId), has_data, stored.iter().copied().map(ReplicaId)).map(|one| one.0)
        };
        assert_eq!(here(None, false, &[]), None);
        assert_eq!(here(Some(9), false, &[]), Some(9));
        assert_eq!(here(Some(9), true, &[4, 9]), Some(9));
        assert_eq!(here(None, false, &[4, 5]), Some(5), "its group has not said yet that it is gone");
        assert_eq!(here(Some(9), false, &[4]), Some(4), "nor here");
        assert_eq!(here(Some(9), true, &[4]), Some(9), "its group goes on with this one");
    }
}
