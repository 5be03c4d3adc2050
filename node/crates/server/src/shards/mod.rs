//! The replicas of shard groups that this node has, and reads across them.
//!
//! Reading order: [`identity`] (what a data directory says about itself), [`ring`] (who owns what),
//! [`state_machine`] (what a group replicates), [`split`], [`group`] (one replica that runs), [`replica_store`] and [`open`] (from a
//! directory to running replicas), [`lifecycle`], [`active_version`], [`watches`] (who hears of samples at once), then what is asked of all of them here, and reads in [`read`].

pub mod active_version;
pub mod applied_mark;
pub mod group;
pub mod identity;
mod lifecycle;
mod missing;
pub mod open;
mod read;
mod recover;
mod reduce;
mod replay;
mod replica_store;
pub mod replies;
pub mod ring;
mod scan;
pub mod shard_mark;
pub mod split;
pub mod state_machine;
pub mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::ShardGroupId;
use bellwether_promql::EvalError;
use bellwether_raft::{NodeId, ReplicaId};
use bellwether_tsdb::{SealReport, SealWhen};
use futures::future::try_join_all;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::env::{ExecutorHandle, WallClock};
use crate::metrics::StorageMetrics;

pub use bellwether_promql::{FetchedSeries, LimitError, Limits, QueryAccount};
pub use bellwether_tsdb::Wanted;
pub use group::{CommandError, ShardGroup};
pub use missing::Missing;
use open::Opener;
pub use open::{Replication, Start};
pub use read::{Fetched, LabelsRead, ReadContext, SeriesExemplars, metadata_bytes};
pub use recover::{RecoverError, Remains};
pub use reduce::{GroupPartial, Subplan};
pub use ring::{Ring, RingGroup};
use watches::WatchBoard;

/// Every replica of a shard group that this node has.
pub struct Shards {
    node: NodeId,
    ring: watch::Receiver<Arc<Ring>>,
    slots: RwLock<BTreeMap<ShardGroupId, Slot>>,
    opener: Opener,
    scan: ExecutorHandle,
    background: ExecutorHandle,
    clock: Arc<dyn WallClock>,
    metrics: Arc<StorageMetrics>,
}

/// A replica of this node, whether it runs or not.
#[derive(Clone)]
struct Slot {
    replica: ReplicaId,
    start: Start,
    state: Result<Arc<ShardGroup>, Quarantined>,
}

/// Why a group cannot be asked on this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// This node has no replica of it.
    #[error("shard group {0} has no replica on this node")]
    NotHere(ShardGroupId),
    /// The replica here does not serve.
    #[error(transparent)]
    Quarantined(#[from] Quarantined),
}

/// Why a group does not serve. The others go on without it, and whatever needs it says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shard group {group} does not serve: {reason}")]
pub struct Quarantined {
    /// The group.
    pub group: ShardGroupId,
    /// What was found, and where.
    pub reason: String,
    /// What that means for who asks.
    pub cause: Cause,
}

/// What keeps a group from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What it stores cannot be read: only somebody who looks at it can help.
    Damaged,
    /// It served before, and stopped: it is started again.
    Stopped,
    /// It is being started for the first time: that takes moments.
    Starting,
    /// There is no room to start it: it is started once there is.
    DiskFull,
}

impl NotServed {
    /// Whether the replica is about to serve for the first time.
    pub fn is_starting(&self) -> bool {
        matches!(self, NotServed::Quarantined(Quarantined { cause: Cause::Starting, .. }))
    }

    /// Whether it is room on the disk that is missing.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, NotServed::Quarantined(Quarantined { cause: Cause::DiskFull, .. }))
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A limit of the query was reached.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Stored bytes are damaged; says where. Nothing of them is returned.
    #[error("shard group {group}: {place}")]
    Corrupt {
        /// The group.
        group: ShardGroupId,
        /// What is damaged, and how that shows.
        place: String,
    },
    /// The group cannot answer now; a later try may succeed.
    #[error("shard group {group} is not available: {reason}")]
    Unavailable {
        /// The group.
        group: ShardGroupId,
        /// Why.
        reason: String,
    },
    /// What was read does not fit the query.
    #[error(transparent)]
    Evaluation(EvalError),
    /// The group's node does not do what was asked.
    #[error("shard group {group}: {reason}")]
    Refused {
        /// The group.
        group: ShardGroupId,
        /// What it says.
        reason: String,
    },
    /// Anything else.
    #[error("shard group {group}: {reason}")]
    Storage {
        /// The group.
        group: ShardGroupId,
        /// Why.
        reason: String,
    },
}

/// Why a flush, seal or delete failed.
#[derive(Debug, thiserror::Error)]
#[error("shard group {group}: {reason}")]
pub struct AdminError {
    /// The group.
    pub group: ShardGroupId,
    /// Why.
    pub reason: String,
}

/// What the groups of a node hold, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Shard groups.
    pub groups: u64,
    /// Groups that do not serve because their data is damaged.
    pub quarantined: u64,
    /// Series in the registries.
    pub series: u64,
    /// Series with samples in the head.
    pub active_series: u64,
    /// Memory of the heads.
    pub head_bytes: u64,
    /// Memory of the series indexes.
    pub index_bytes: u64,
    /// Memory of decoded packs.
    pub pack_cache_bytes: u64,
    /// Samples not yet in runs.
    pub unflushed_samples: u64,
    /// Log that a restart would apply again.
    pub unflushed_log_bytes: u64,
    /// Windows with runs.
    pub windows: u64,
    /// Live runs.
    pub runs: u64,
    /// Samples in runs.
    pub run_samples: u64,
    /// Bytes of runs on disk.
    pub disk_bytes: u64,
}

impl Shards {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where it stands of which series somebody wants to hear at once.
    pub fn watch_board(&self) -> &Arc<WatchBoard> {
        self.opener.watches()
    }

    /// Where reads run.
    pub fn executor(&self) -> &ExecutorHandle {
        &self.scan
    }

    /// Who owns what, as last heard.
    pub fn ring(&self) -> Arc<Ring> {
        self.ring.borrow().clone()
    }

    /// Tells of every change of who owns what.
    pub fn watch_ring(&self) -> watch::Receiver<Arc<Ring>> {
        self.ring.clone()
    }

    /// The replicas that serve.
    pub fn serving(&self) -> Vec<Arc<ShardGroup>> {
        self.slots.read().values().filter_map(|slot| slot.state.clone().ok()).collect()
    }

    /// The replicas that do not serve, and why.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.slots.read().values().filter_map(|slot| slot.state.clone().err()).collect()
    }

    /// This node's replica of a group.
    pub fn local(&self, group: ShardGroupId) -> Result<Arc<ShardGroup>, NotServed> {
        match self.slots.read().get(&group) {
            Some(slot) => Ok(slot.state.clone()?),
            None => Err(NotServed::NotHere(group)),
        }
    }

    /// The same, if the group has that replica already. One that was given to this node a moment ago waits to be brought what there is, and
    /// must not be asked: it would say that there is nothing.
    pub fn member(&self, group: ShardGroupId) -> Result<Arc<ShardGroup>, NotServed> {
        self.local(group)?.if_member().ok_or(NotServed::NotHere(group))
    }

    /// The replicas that serve and are in their groups.
    pub fn members(&self) -> Vec<Arc<ShardGroup>> {
        self.serving().into_iter().filter_map(ShardGroup::if_member).collect()
    }

    /// Writes everything applied to runs and gives the log's space back. Answers when done.
    pub async fn flush_all(&self) -> Result<(), AdminError> {
        let groups = self.serving();
        try_join_all(groups.iter().map(|group| group.flush(&self.metrics))).await?;
        self.reclaim().await
    }

    /// Flushes, then seals every closed Window. Answers when done.
    pub async fn seal_all(&self) -> Result<(), AdminError> {
        self.flush_all().await?;
        let groups = self.serving();
        try_join_all(groups.iter().map(|group| self.seal(group, SealWhen::AllClosed))).await?;
        Ok(())
    }

    /// Seals Windows of one group.
    pub async fn seal(&self, group: &Arc<ShardGroup>, when: SealWhen) -> Result<SealReport, AdminError> {
        group.seal(self.clock.now_ms(), when, &self.background, &self.metrics).await
    }

    /// Makes the log store give back what flushes have cut.
    pub async fn reclaim(&self) -> Result<(), AdminError> {
        let Some(first) = self.slots.read().keys().next().copied() else { return Ok(()) };
        self.opener.raft().reclaim().await.map_err(|error| AdminError { group: first, reason: error.to_string() })
    }

    /// What the groups hold, added up. Cheap enough for every scrape.
    pub fn stats(&self) -> NodeStats {
        let mut sum = NodeStats {
            groups: self.slots.read().len() as u64,
            quarantined: self.quarantined().len() as u64,
            pack_cache_bytes: self.opener.cache_bytes(),
            unflushed_log_bytes: self.opener.raft().unflushed_log_bytes(),
            ..NodeStats::default()
        };
        for stats in self.serving().iter().map(|group| group.shard().stats()) {
            sum.series += stats.series;
            sum.active_series += stats.active_series;
            sum.head_bytes += stats.head_bytes;
            sum.index_bytes += stats.index_bytes;
            sum.unflushed_samples += stats.unflushed_samples;
            sum.windows += stats.windows;
            sum.runs += stats.runs;
            sum.run_samples += stats.run_samples;
            sum.disk_bytes += stats.run_bytes;
        }
        sum
    }

    /// Stops all groups. What was acknowledged is in the log or in runs.
    pub async fn shutdown(&self) {
        self.opener.raft().shutdown().await;
    }
}

#[cfg(test)]
mod tests;
