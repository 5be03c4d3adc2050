//! The shard groups of this node, and reads across them.

pub mod identity;
pub mod placement;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{Labels, Matcher, MetricMetadata, ShardGroupId, Tenant, TimeRange};

/// Every shard group that this node serves.
pub struct Shards {}

/// One series with its samples of the asked range.
#[derive(Debug, Clone)]
pub struct FetchedSeries {
    /// Its labels.
    pub labels: Labels,
    /// Ascending.
    pub timestamps: Arc<[i64]>,
    /// One for each timestamp.
    pub values: Vec<f64>,
}

/// What one selection may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectLimits {
    /// Series that match.
    pub series: u64,
    /// Samples that are read.
    pub samples: u64,
    /// Bytes that the result holds.
    pub bytes: u64,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A limit of the query was reached; names it.
    #[error("the selection touches more than {limit} {what}")]
    LimitExceeded {
        /// `series`, `samples` or `bytes of samples`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Stored bytes are damaged; says where. Nothing of them is returned.
    #[error("shard group {group}: stored data is corrupt: {place}")]
    Corrupt {
        /// The group.
        group: ShardGroupId,
        /// File, key or offset.
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
    /// Series in the registries.
    pub series: u64,
    /// Series with samples in the head.
    pub active_series: u64,
    /// Memory of the heads.
    pub head_bytes: u64,
    /// Samples not yet in runs.
    pub unflushed_samples: u64,
    /// Live runs.
    pub runs: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

impl Shards {
    /// All samples of the matching series inside `range`, sorted by labels. Sees everything that was acknowledged
    /// before the call.
    pub async fn select(
        &self,
        _tenant: &Tenant,
        _matchers: Arc<[Matcher]>,
        _range: TimeRange,
        _limits: SelectLimits,
        _cancel: Arc<AtomicBool>,
    ) -> Result<Vec<FetchedSeries>, SelectError> {
        Ok(Vec::new())
    }

    /// Labels of matching series with data in `range`, sorted; at most `limit`. To know whether there are more, ask for
    /// one more than needed.
    pub async fn series(
        &self,
        _tenant: &Tenant,
        _matchers: Arc<[Matcher]>,
        _range: TimeRange,
        _limit: usize,
    ) -> Result<Vec<Labels>, SelectError> {
        Ok(Vec::new())
    }

    /// Names of the labels that matching series have, sorted; at most `limit`.
    pub async fn label_names(
        &self,
        _tenant: &Tenant,
        _matchers: Arc<[Matcher]>,
        _range: TimeRange,
        _limit: usize,
    ) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    /// Values of a label that matching series have, sorted; at most `limit`.
    pub async fn label_values(
        &self,
        _tenant: &Tenant,
        _name: &str,
        _matchers: Arc<[Matcher]>,
        _range: TimeRange,
        _limit: usize,
    ) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    /// What senders said about metrics, by metric name.
    pub async fn metadata(&self, _tenant: &Tenant) -> Result<BTreeMap<String, MetricMetadata>, SelectError> {
        Ok(BTreeMap::new())
    }

    /// Writes everything applied to runs and gives the log's space back. Answers when done.
    pub async fn flush_all(&self) -> Result<(), AdminError> {
        Ok(())
    }

    /// Flushes, then seals every closed Window. Answers when done.
    pub async fn seal_all(&self) -> Result<(), AdminError> {
        Ok(())
    }

    /// Deletes samples of matching series inside `range`, through the log; returns how many series matched.
    pub async fn delete_series(
        &self,
        _tenant: &Tenant,
        _matchers: Arc<[Matcher]>,
        _range: TimeRange,
    ) -> Result<u64, AdminError> {
        Ok(0)
    }

    /// What the groups hold, added up. Cheap enough for every scrape.
    pub fn stats(&self) -> NodeStats {
        NodeStats::default()
    }
}
