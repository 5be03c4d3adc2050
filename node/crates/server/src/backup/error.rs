//! Why a backup, or something that is done with one, came to nothing.

use bellwether_model::ShardGroupId;

use super::manifest::{BackupId, ManifestError};
use crate::env::{JobFailed, ObjectError};
use crate::operations::{Cancelled, WorkError};

/// See the module. Messages name the object, the group or the place.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store does not do what it should.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A manifest cannot be used.
    #[error("object {key}")]
    Manifest {
        /// Which.
        key: String,
        /// Why.
        source: ManifestError,
    },
    /// An object has another length than the manifest says.
    #[error("object {key} has {found} bytes instead of {expected}: the backup is damaged")]
    Length {
        /// Which.
        key: String,
        /// What it has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// An object has another content than its name says.
    #[error("object {key} has another content than it should: the backup is damaged")]
    Content {
        /// Which.
        key: String,
    },
    /// Something else works at the place.
    #[error("{url} is in use by {holder}: wait for that, or end it with bwctl operation cancel")]
    Locked {
        /// The place.
        url: String,
        /// Whoever does.
        holder: String,
    },
    /// Something else works at the place although this held its lock.
    #[error("the lock at {url} was taken away: this node was silent for too long; begin again")]
    LockLost {
        /// The place.
        url: String,
    },
    /// Nothing is there.
    #[error("there is no backup at {url}")]
    NoBackup {
        /// The place.
        url: String,
    },
    /// That one is not there.
    #[error("there is no backup {id} at {url}: bwctl backup list {url} says what there is")]
    UnknownBackup {
        /// Which.
        id: BackupId,
        /// The place.
        url: String,
    },
    /// No node could copy a group.
    #[error("shard group {group} was not copied: {reason}")]
    Group {
        /// Which.
        group: ShardGroupId,
        /// What each node said that was asked.
        reason: String,
    },
    /// Ranges changed faster than they were copied.
    #[error("the shard groups were split again and again while they were copied: try again when that is over")]
    Restless,
    /// What a node wrote is not there for others.
    #[error(
        "node {node} wrote object {key}, and this node does not find it: {url} is not the same place for all nodes; use a \
         directory that they share, or s3://"
    )]
    NotShared {
        /// The place.
        url: String,
        /// Who wrote.
        node: u64,
        /// What.
        key: String,
    },
    /// The cluster is not one to restore into.
    #[error("{0}")]
    Unfit(String),
    /// The cluster does not take what is restored.
    #[error("the cluster did not take what is restored: {0}")]
    NotTaken(String),
    /// This node's own disk or data.
    #[error("{0}")]
    Storage(String),
    /// A background job failed.
    #[error(transparent)]
    Job(#[from] JobFailed),
    /// Somebody cancelled it.
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for BackupError {
    fn from(_: Cancelled) -> BackupError {
        BackupError::Cancelled
    }
}

impl WorkError for BackupError {
    fn is_cancelled(&self) -> bool {
        matches!(self, BackupError::Cancelled)
    }
}
