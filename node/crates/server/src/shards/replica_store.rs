//! Where a replica's data is on the disk, and how it is opened.
//!
//! ```text
//! shards/<group>-<replica>/<generation>/   one engine: the replica's data; the highest generation is the live one
//! copies/<group>-<replica>-<number>/       a copy that is being sent; cleared when the node starts
//! ```
//! A copy from another replica comes in as the next generation, whole or not at all. The one before it goes as soon as
//! nobody reads it any more, at the latest when the replica is opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_kv::{Error, KvDisk};
use bellwether_model::{RefEpoch, ShardGroupId};
use bellwether_raft::ReplicaId;
use bellwether_tsdb::{PackCache, Shard, ShardMetrics, ShardOptions, StorageError};

use super::open::GroupTrouble;
use super::state_machine::{ScratchPool, end_if_sync_failed};
use super::watches::WatchBoard;
use crate::env::Fatal;

/// The directory of all replicas.
pub const SHARDS_PATH: &str = "shards";
/// The directory of copies that are being sent.
pub const COPIES_PATH: &str = "copies";

/// The data of one replica on the disk.
#[derive(Clone)]
pub struct ReplicaStore {
    /// The node's disk.
    pub disk: Arc<dyn KvDisk>,
    /// Decoded packs of all replicas.
    pub cache: Arc<PackCache>,
    /// Of all shards.
    pub metrics: Arc<ShardMetrics>,
    /// The group.
    pub group: ShardGroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// The group's incarnation.
    pub ref_epoch: RefEpoch,
    /// Buffers of all replicas.
    pub scratches: Arc<ScratchPool>,
    /// Of which series somebody wants to hear at once.
    pub watches: Arc<WatchBoard>,
    /// The newest version of what is replicated that this program understands.
    pub supported: u32,
    /// Copies made so far, of all replicas.
    pub copies: Arc<AtomicU64>,
    /// Ends the process after a failed sync.
    pub fatal: Fatal,
}

impl ReplicaStore {
    /// The directory of everything that the replica has.
    pub fn directory(&self) -> String {
        replica_directory(self.group, self.replica)
    }

    /// Where a generation's engine is.
    pub fn generation(&self, generation: u64) -> String {
        format!("{}/{generation}", self.directory())
    }

    /// A fresh place for a copy.
    pub fn fresh_copy(&self) -> String {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        format!("{COPIES_PATH}/{}-{}-{number}", self.group, self.replica)
    }

    /// Whether the replica has data.
    pub fn is_there(&self) -> Result<bool, Error> {
        Ok(!self.disk.list(&self.directory())?.is_empty())
    }

    /// Opens a copy, of whatever group it is.
    pub fn open_copy(&self, path: &str) -> Result<Shard, bellwether_tsdb::OpenError> {
        let opened = self.disk.open(path, bellwether_tsdb::SPACES);
        let engine = opened.map_err(|source| StorageError::Engine { place: path.to_owned(), source })?;
        let options = ShardOptions { new_ref_epoch: self.ref_epoch };
        Shard::open(engine, options, self.cache.clone(), self.metrics.clone())
    }

    /// Opens the live generation, the first one if there is none, and removes the others: not before, for if it is
    /// damaged they may be all that is left to look at.
    pub(super) fn open(&self) -> Result<(u64, Shard), GroupTrouble> {
        let directory = self.directory();
        let names = self.disk.list(&directory).map_err(|error| self.trouble(&directory, &error))?;
        let generations: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let live = generations.iter().copied().max().unwrap_or_default();
        let shard = self.open_generation(live)?;
        for old in generations.into_iter().filter(|generation| *generation != live) {
            self.remove(old);
        }
        Ok((live, shard))
    }

    /// Opens one generation.
    pub(super) fn open_generation(&self, generation: u64) -> Result<Shard, GroupTrouble> {
        let path = self.generation(generation);
        let shard = self.open_copy(&path).map_err(|error| match error {
            bellwether_tsdb::OpenError::NewerFormat { .. } => GroupTrouble::NewerFormat(format!("{path}: {error}")),
            bellwether_tsdb::OpenError::Storage(error) if error.is_disk_full() => {
                GroupTrouble::DiskFull(format!("{path}: {error}"))
            }
            bellwether_tsdb::OpenError::Storage(error) if error.is_corrupt() => {
                GroupTrouble::Corrupt(format!("{path}: {error}"))
            }
            bellwether_tsdb::OpenError::Storage(error) => {
                end_if_sync_failed(&error, &self.fatal);
                GroupTrouble::Failed(format!("{path}: {error}"))
            }
        })?;
        if shard.ref_epoch() == self.ref_epoch {
            return Ok(shard);
        }
        let (found, expected) = (shard.ref_epoch().0, self.ref_epoch.0);
        let reason = format!("{path}: it is of incarnation {found:x}, the placement says {expected:x}");
        Err(GroupTrouble::Failed(reason))
    }

    fn trouble(&self, path: &str, error: &Error) -> GroupTrouble {
        let reason = format!("{path}: {error}");
        match error {
            Error::DiskFull(_) => GroupTrouble::DiskFull(reason),
            Error::Corrupt(_) => GroupTrouble::Corrupt(reason),
            Error::SyncFailed(_) => {
                (self.fatal)(&reason);
                GroupTrouble::Failed(reason)
            }
            _ => GroupTrouble::Failed(reason),
        }
    }

    /// Removes a generation; says whether it is gone. It stays while somebody reads it.
    pub fn remove(&self, generation: u64) -> bool {
        match self.disk.remove(&self.generation(generation)) {
            Ok(()) => true,
            Err(Error::Locked(_)) => false,
            Err(error) => {
                tracing::warn!(group = self.group.0, generation, %error, "old data of a replica was not removed");
                false
            }
        }
    }
}

/// The directory of everything that a replica has.
pub fn replica_directory(group: ShardGroupId, replica: ReplicaId) -> String {
    format!("{SHARDS_PATH}/{group}-{replica}")
}

/// The replica that a directory below [`SHARDS_PATH`] is of.
pub fn replica_of(name: &str) -> Option<(ShardGroupId, ReplicaId)> {
    let (group, replica) = name.split_once('-')?;
    Some((ShardGroupId(group.parse().ok()?), ReplicaId(replica.parse().ok()?)))
}
