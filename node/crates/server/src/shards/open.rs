//! From a data directory to running shard groups.
//!
//! ```text
//! IDENTITY         who the directory belongs to; written last when a directory is founded, read first ever after
//! PLACEMENT        which group owns which range
//! log/             Raft's log of all groups: one engine
//! shards/<group>/  one engine for each group's data
//! ballast          room to flush and purge when the disk is full
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{Error, KvDisk, Space, SpaceConfig, SpaceKind};
use bellwether_model::{HashRange, ShardGroupId};
use bellwether_raft::{
    Checkpoint, GroupId, Peer, RaftNode, RaftOptions, ReplicaId, StateMachine, Transport, TransportError,
};
use bellwether_tsdb::{PackCache, Shard, ShardMetrics, ShardOptions};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use prometheus::Registry;
use tokio::sync::oneshot;

use super::applied_mark::MarkError;
use super::identity::{IdentityError, NodeIdentity};
use super::placement::{PLACEMENT_FILE, PlacedGroup, Placement, PlacementError};
use super::state_machine::ShardStateMachine;
use super::{Quarantined, ShardGroup, Shards, Slot};
use crate::config::Config;
use crate::env::{BALLAST_FILE, Env, Fatal};
use crate::metrics::StorageMetrics;

/// Where Raft's log is, below the data directory.
const LOG_PATH: &str = "log";
const LOG_SPACES: &[SpaceConfig] = &[SpaceConfig { name: "log", kind: SpaceKind::Log }];
const LOG: Space = Space(0);

/// The first node of a cluster.
const FOUNDER: u64 = 1;

/// What may lie in a directory that is founded: of an earlier founding that did not end, of the file system, of nobody.
const NOT_DATA: &[&str] = &[PLACEMENT_FILE, BALLAST_FILE, "cache", "lost+found"];

/// Share of the memory limit that caches decoded packs, unless configured.
const PACK_CACHE_SHARE: u64 = 8;
/// Bounds of that share.
const PACK_CACHE_BYTES_MIN: u64 = 16 << 20;
const PACK_CACHE_BYTES_MAX: u64 = 1 << 30;

/// Why shards could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not ours, newer, or damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The map of the ring is missing, newer, or damaged.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The log store cannot be opened: no group can run without it.
    #[error("the log store in {LOG_PATH}/ cannot be opened")]
    Log(#[source] Error),
    /// The log store's options or metrics.
    #[error(transparent)]
    Raft(#[from] bellwether_raft::OpenError),
    /// A newer program wrote a shard: starting without it would look like a loss.
    #[error("shard group {group}: {reason}")]
    NewerFormat {
        /// The group.
        group: ShardGroupId,
        /// Both versions.
        reason: String,
    },
    /// Every group is damaged.
    #[error("no shard group can be opened; the first says: {0}")]
    AllDamaged(String),
    /// A runtime ended while it was needed.
    #[error("the node is shutting down")]
    Stopping,
}

/// Reads who the directory belongs to and its map of the ring, or founds both.
pub fn found_or_read(disk: &dyn KvDisk, config: &Config, env: &Env) -> Result<(NodeIdentity, Placement), OpenError> {
    if let Some(identity) = NodeIdentity::read(disk, NOT_DATA)? {
        return Ok((identity, Placement::read(disk)?));
    }
    let high = u128::from(env.seed.split("cluster id, high").0);
    let cluster = high << 64 | u128::from(env.seed.split("cluster id, low").0);
    let identity = NodeIdentity { cluster, node: FOUNDER };
    let placement = Placement::found(config.shard_groups, FOUNDER, env.seed.split("placement"));
    placement.write(disk)?;
    identity.write(disk)?;
    tracing::info!(cluster = %format!("{cluster:032x}"), groups = config.shard_groups, "founded a new cluster");
    Ok((identity, placement))
}

impl Shards {
    /// Opens every group of the placement and waits until each has applied its log.
    pub async fn open(
        placement: Placement,
        config: &Config,
        env: &Env,
        registry: &Registry,
        metrics: Arc<StorageMetrics>,
    ) -> Result<Shards, OpenError> {
        let scan = &env.executors.scan;
        let disk = env.disk.clone();
        let log = scan.run(move || disk.open(LOG_PATH, LOG_SPACES)).await.map_err(|_| OpenError::Stopping)?;
        let log = log.map_err(OpenError::Log)?;
        let options = RaftOptions::new(registry.clone(), env.fatal.clone());
        let (blocking, seed) = (env.executors.blocking.clone(), env.seed.split("raft").0);
        let raft = on_raft(env, async move { RaftNode::open(log, LOG, options, blocking, seed) }).await??;

        let cache = PackCache::new(pack_cache_bytes(config));
        let shard_metrics = Arc::new(ShardMetrics::new(registry));
        let opened =
            placement.groups().iter().map(|group| open_shard(env, *group, cache.clone(), shard_metrics.clone()));
        let opened = join_all(opened).await;
        let started = placement
            .groups()
            .iter()
            .zip(opened)
            .enumerate()
            .map(|(index, (placed, shard))| start_group(env, &raft, index as u16, *placed, shard));
        let mut slots = Vec::with_capacity(placement.groups().len());
        for (slot, placed) in join_all(started).await.into_iter().zip(placement.groups()) {
            slots.push(match slot {
                Ok(group) => Slot::Serving(Arc::new(group)),
                Err(GroupTrouble::Damaged(reason)) => {
                    tracing::error!(group = placed.id.0, reason, "a shard group does not serve: its data is damaged");
                    Slot::Quarantined(Quarantined { group: placed.id, reason })
                }
                Err(GroupTrouble::NewerFormat(reason)) => {
                    return Err(OpenError::NewerFormat { group: placed.id, reason });
                }
            });
        }
        let shards = Shards {
            placement,
            slots,
            raft,
            scan: env.executors.scan.clone(),
            background: env.executors.background.clone(),
            clock: env.clock.clone(),
            metrics,
        };
        let first_reason = shards.quarantined().next().map(|quarantined| quarantined.reason.clone());
        match first_reason {
            Some(reason) if shards.serving().next().is_none() => Err(OpenError::AllDamaged(reason)),
            _ => Ok(shards),
        }
    }
}

/// Why one group does not serve.
enum GroupTrouble {
    Damaged(String),
    NewerFormat(String),
}

async fn open_shard(
    env: &Env,
    placed: PlacedGroup,
    cache: Arc<PackCache>,
    metrics: Arc<ShardMetrics>,
) -> Result<Arc<Shard>, GroupTrouble> {
    let disk = env.disk.clone();
    let open = move || {
        let damaged = |reason: String| GroupTrouble::Damaged(reason);
        let path = format!("shards/{}", placed.id);
        let engine = disk.open(&path, bellwether_tsdb::SPACES).map_err(|error| damaged(format!("{path}: {error}")))?;
        let options = ShardOptions { new_ref_epoch: placed.ref_epoch };
        let shard = Shard::open(engine, options, cache, metrics).map_err(|error| match error {
            bellwether_tsdb::OpenError::NewerFormat { .. } => GroupTrouble::NewerFormat(format!("{path}: {error}")),
            other => damaged(format!("{path}: {other}")),
        })?;
        if shard.ref_epoch() != placed.ref_epoch {
            let (found, expected) = (shard.ref_epoch().0, placed.ref_epoch.0);
            let reason = format!("{path}: it is of incarnation {found:x}, the placement says {expected:x}");
            return Err(damaged(reason));
        }
        Ok(Arc::new(shard))
    };
    env.executors.scan.run(open).await.map_err(|error| GroupTrouble::Damaged(error.to_string())).flatten()
}

async fn start_group(
    env: &Env,
    raft: &RaftNode,
    index: u16,
    placed: PlacedGroup,
    shard: Result<Arc<Shard>, GroupTrouble>,
) -> Result<ShardGroup, GroupTrouble> {
    let shard = shard?;
    let damaged = |reason: String| GroupTrouble::Damaged(reason);
    let machine = machine(shard.clone(), placed.range, env.fatal.clone())?;
    let raft = raft.clone();
    let start = async move {
        let (group, replica) = (GroupId(placed.id.0), ReplicaId(placed.replica));
        let members = BTreeMap::from([(replica, placed.node)]);
        let started = raft.found_group(group, replica, members, machine, Arc::new(NoPeers)).await;
        let started = started.map_err(|error| match error {
            bellwether_raft::StartError::Log(bellwether_raft::LogError::Version { .. }) => {
                GroupTrouble::NewerFormat(error.to_string())
            }
            other => GroupTrouble::Damaged(other.to_string()),
        })?;
        match started.ready().await {
            Ok(()) => Ok(started),
            Err(error) => {
                started.shutdown().await;
                Err(GroupTrouble::Damaged(error.to_string()))
            }
        }
    };
    let started = on_raft(env, start).await.map_err(|error| damaged(error.to_string()))??;
    Ok(ShardGroup::new(index, placed, shard, started, env.fatal.clone()))
}

fn machine(shard: Arc<Shard>, range: HashRange, fatal: Fatal) -> Result<Arc<dyn StateMachine>, GroupTrouble> {
    match ShardStateMachine::new(shard, range, fatal) {
        Ok(machine) => Ok(Arc::new(machine)),
        Err(error @ MarkError::NewerFormat { .. }) => Err(GroupTrouble::NewerFormat(error.to_string())),
        Err(error @ MarkError::Damaged) => Err(GroupTrouble::Damaged(error.to_string())),
    }
}

/// Runs `work` on Raft's runtime, which carries what it starts.
async fn on_raft<T: Send + 'static>(env: &Env, work: impl Future<Output = T> + Send + 'static) -> Result<T, OpenError> {
    let (reply, result) = oneshot::channel();
    env.executors.raft.spawn(Box::pin(async move {
        // The asker may have given up starting.
        let _ = reply.send(work.await);
    }));
    result.await.map_err(|_| OpenError::Stopping)
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

    fn send_checkpoint(
        &self,
        to: Peer,
        _: Bytes,
        _: Checkpoint,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        unreachable(to)
    }
}

fn unreachable(to: Peer) -> BoxFuture<'static, Result<Bytes, TransportError>> {
    let reason = format!("this node is alone, node {} is not known", to.node);
    Box::pin(std::future::ready(Err(TransportError::Unreachable(reason))))
}
