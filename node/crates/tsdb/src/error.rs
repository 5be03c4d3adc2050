//! One error type per operation.

use bellwether_model::{RefEpoch, SeriesHash};

/// Reading or writing stored data failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The engine refused or failed.
    #[error("{place}: {source}")]
    Engine {
        /// What was being read or written.
        place: String,
        /// What the engine says.
        #[source]
        source: bellwether_kv::Error,
    },
    /// Stored bytes are not what was written.
    #[error("corrupt data in {place}: {reason}")]
    Corrupt {
        /// Which record, run or pack.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StorageError {
    pub(crate) fn engine(place: impl Into<String>) -> impl FnOnce(bellwether_kv::Error) -> StorageError {
        move |source| StorageError::Engine { place: place.into(), source }
    }

    pub(crate) fn corrupt(place: impl Into<String>, reason: impl Into<String>) -> StorageError {
        StorageError::Corrupt { place: place.into(), reason: reason.into() }
    }

    /// Whether writing failed only because no space is left.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StorageError::Engine { source: bellwether_kv::Error::DiskFull(_), .. })
    }

    /// Whether an fsync failed: what reached the disk is unknown, so the process must end without touching anything more.
    pub fn is_sync_failed(&self) -> bool {
        matches!(self, StorageError::Engine { source: bellwether_kv::Error::SyncFailed(_), .. })
    }

    /// Whether stored bytes are damaged, wherever that was noticed.
    pub fn is_corrupt(&self) -> bool {
        match self {
            StorageError::Corrupt { .. } => true,
            StorageError::Engine { source, .. } => matches!(source, bellwether_kv::Error::Corrupt(_)),
        }
    }
}

/// A shard's directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading it failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A newer program wrote it.
    #[error("{place} has format version {found}, this program reads up to {supported}")]
    NewerFormat {
        /// Which record.
        place: String,
        /// The version found.
        found: u8,
        /// The newest version that this program reads.
        supported: u8,
    },
}

/// A series was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another series already has this hash; series are never merged.
    #[error("series hash {:032x} already belongs to another series: {existing}", hash.0)]
    HashConflict {
        /// The hash that both have.
        hash: SeriesHash,
        /// The labels of the series that has it.
        existing: String,
    },
    /// Every ref of the epoch is in use.
    #[error("ref epoch {} has no series refs left", epoch.0)]
    RefsExhausted {
        /// The epoch.
        epoch: RefEpoch,
    },
    /// The shard holds as many tenants, or as much label text, as it can.
    #[error("the shard's index has no room for more {what}")]
    IndexFull {
        /// What there is too much of.
        what: &'static str,
    },
}

/// A query on one shard failed.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// Too many series match.
    #[error("the query touches more than {limit} series")]
    TooManySeries {
        /// Series allowed.
        limit: usize,
    },
    /// Too many samples lie in the range.
    #[error("the query touches more than {limit} samples")]
    TooManySamples {
        /// Samples allowed.
        limit: usize,
    },
    /// The caller gave up.
    #[error("the query was cancelled")]
    Cancelled,
    /// Reading failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
