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

use bellwether_kv::KvDisk;
use bellwether_model::{HashRange, ShardGroupId};
use bellwether_raft::{
    Checkpoint, GroupId, LogError, Peer, RaftNode, ReplicaId, StartError, StateMachine, Transport, TransportError,
};
use bellwether_tsdb::{PackCache, Shard, ShardMetrics, ShardOptions};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use parking_lot::RwLock;
use prometheus::Registry;

use super::applied_mark::MarkError;
use super::identity::{IdentityError, NodeIdentity};
use super::placement::{PLACEMENT_FILE, PlacedGroup, Placement, PlacementError};
use super::state_machine::ShardStateMachine;
use super::{Quarantined, ShardGroup, Shards};
use crate::config::Config;
use crate::env::{BALLAST_FILE, Env, Fatal};
use crate::metrics::StorageMetrics;
use crate::replication::{ReplicationError, Stopping, on_raft};

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
    /// Raft does not run.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
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
    #[error(transparent)]
    Stopping(#[from] Stopping),
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
        raft: RaftNode,
        config: &Config,
        env: &Env,
        registry: &Registry,
        metrics: Arc<StorageMetrics>,
    ) -> Result<Shards, OpenError> {
        let opener = Opener::new(raft, config, env, registry);
        let placed = placement.groups().iter().enumerate();
        let opened = join_all(placed.map(|(index, placed)| opener.open(index as u16, *placed))).await;
        let mut slots = Vec::with_capacity(opened.len());
        for (opened, placed) in opened.into_iter().zip(placement.groups()) {
            slots.push(match opened {
                Ok(group) => Ok(group),
                Err(GroupTrouble::Damaged(reason)) => {
                    tracing::error!(group = placed.id.0, reason, "a shard group does not serve");
                    Err(Quarantined { group: placed.id, reason, stopped: false })
                }
                Err(GroupTrouble::NewerFormat(reason)) => {
                    return Err(OpenError::NewerFormat { group: placed.id, reason });
                }
            });
        }
        let all_damaged = slots.iter().all(Result::is_err).then(|| slots.iter().find_map(|slot| slot.clone().err()));
        if let Some(Some(first)) = all_damaged {
            return Err(OpenError::AllDamaged(first.reason));
        }
        Ok(Shards {
            placement,
            slots: slots.into_iter().map(RwLock::new).collect(),
            opener,
            scan: env.executors.scan.clone(),
            background: env.executors.background.clone(),
            clock: env.clock.clone(),
            metrics,
        })
    }
}

/// Why one group does not serve.
pub(super) enum GroupTrouble {
    Damaged(String),
    NewerFormat(String),
}

impl GroupTrouble {
    pub fn into_reason(self) -> String {
        match self {
            GroupTrouble::Damaged(reason) | GroupTrouble::NewerFormat(reason) => reason,
        }
    }
}

/// What opening a group takes.
pub(super) struct Opener {
    env: Env,
    raft: RaftNode,
    cache: Arc<PackCache>,
    metrics: Arc<ShardMetrics>,
}

impl Opener {
    fn new(raft: RaftNode, config: &Config, env: &Env, registry: &Registry) -> Opener {
        let cache = PackCache::new(pack_cache_bytes(config));
        Opener { env: env.clone(), raft, cache, metrics: Arc::new(ShardMetrics::new(registry)) }
    }

    /// What all groups share of Raft.
    pub fn raft(&self) -> &RaftNode {
        &self.raft
    }

    /// Memory of decoded packs.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes() as u64
    }

    /// Opens a group's data, starts its replica, and waits until it has applied its log.
    pub async fn open(&self, index: u16, placed: PlacedGroup) -> Result<Arc<ShardGroup>, GroupTrouble> {
        let shard = self.open_shard(placed).await?;
        let fatal = self.env.fatal.clone();
        let machine = machine(shard.clone(), placed.range, fatal.clone())?;
        let raft = self.raft.clone();
        let start = async move {
            let (group, replica) = (GroupId(placed.id.0), ReplicaId(placed.replica));
            let members = BTreeMap::from([(replica, placed.node)]);
            let started = raft.found_group(group, replica, members, machine, Arc::new(NoPeers)).await;
            let started = started.map_err(|error| match error {
                StartError::Log(LogError::Version { .. }) => GroupTrouble::NewerFormat(error.to_string()),
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
        let started = on_raft(&self.env, start).await.map_err(|error| GroupTrouble::Damaged(error.to_string()))??;
        Ok(Arc::new(ShardGroup::new(index, placed, shard, started, fatal)))
    }

    async fn open_shard(&self, placed: PlacedGroup) -> Result<Arc<Shard>, GroupTrouble> {
        let (disk, cache, metrics) = (self.env.disk.clone(), self.cache.clone(), self.metrics.clone());
        let open = move || {
            let damaged = |reason: String| GroupTrouble::Damaged(reason);
            let path = format!("shards/{}", placed.id);
            let engine = disk.open(&path, bellwether_tsdb::SPACES);
            let engine = engine.map_err(|error| damaged(format!("{path}: {error}")))?;
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
        self.env.executors.scan.run(open).await.map_err(|error| GroupTrouble::Damaged(error.to_string())).flatten()
    }
}

fn machine(shard: Arc<Shard>, range: HashRange, fatal: Fatal) -> Result<Arc<dyn StateMachine>, GroupTrouble> {
    match ShardStateMachine::new(shard, range, fatal) {
        Ok(machine) => Ok(Arc::new(machine)),
        Err(error @ MarkError::NewerFormat { .. }) => Err(GroupTrouble::NewerFormat(error.to_string())),
        Err(error @ MarkError::Damaged) => Err(GroupTrouble::Damaged(error.to_string())),
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
