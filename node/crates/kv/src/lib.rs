//! What storage needs of a key-value engine, and nothing more.
//!
//! An engine holds a few named *spaces*. A space of kind [`SpaceKind::Records`] takes small batches; one of kind
//! [`SpaceKind::Log`] takes appended entries that are soon dropped again, from the front; one of kind
//! [`SpaceKind::Runs`] takes only whole sorted files, which are never merged or rewritten. Engines are synchronous:
//! whoever calls them decides on which executor. Keys order by bytes.
//!
//! A [`KvDisk`] holds a node's engines by path. [`MemDisk`] is one in memory, with faults for tests and the simulation;
//! the crate `bellwether-kv-rocksdb` has the real one. `conformance` (a feature) is the suite that both pass.

#![allow(clippy::type_complexity, reason = "a visitor's type is spelled out: an alias would hide its lifetime")]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod disk;
mod files;
mod mem;

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

pub use disk::{KvDisk, check_path};
pub use files::{ENGINE_FILES_MAX, EngineExport, EngineFile, EngineImport, check_file_name};
pub use mem::{Damage, Faults, MemDisk, MemEngine, Trigger, Unsynced};

/// One space of an engine: the position of its [`SpaceConfig`] in the list that the engine was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub usize);

/// A space's name and use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceConfig {
    /// Stored with the data: stays the same for ever.
    pub name: &'static str,
    /// What it is tuned for.
    pub kind: SpaceKind,
}

/// What a space is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceKind {
    /// Small records, rarely written, kept.
    Records,
    /// Entries appended in order, dropped from the front by [`KvEngine::drop_range`].
    Log,
    /// Immutable sorted files, added by [`KvEngine::begin_run`] alone.
    Runs,
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a loss of power; so does every earlier write.
    Synced,
    /// It survives the end of the process, and a loss of power only after a later synced write.
    Buffered,
}

/// Keys from `first`, included, to `end`, excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// Lowest key inside.
    pub first: &'a [u8],
    /// The first key no longer inside; `None`: up to the last key.
    pub end: Option<&'a [u8]>,
}

/// Puts and deletes that happen together or not at all.
#[derive(Debug, Default, Clone)]
pub struct WriteBatch {
    /// In order; a later operation on a key wins.
    pub operations: Vec<Operation>,
}

/// One change of a batch.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Sets a key.
    Put(Space, Vec<u8>, Bytes),
    /// Removes a key.
    Delete(Space, Vec<u8>),
    /// Removes the keys from the first, included, to the second, excluded.
    DeleteRange(Space, Vec<u8>, Vec<u8>),
}

impl WriteBatch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.operations.push(Operation::Put(space, key.into(), value.into()));
    }

    /// Removes `key`.
    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.operations.push(Operation::Delete(space, key.into()));
    }

    /// Removes the keys from `first`, included, to `end`, excluded.
    pub fn delete_range(&mut self, space: Space, first: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) {
        self.operations.push(Operation::DeleteRange(space, first.into(), end.into()));
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No space left on the device: nothing was written, reads go on, a later write may succeed.
    #[error("no space left on the device: {0}")]
    DiskFull(String),
    /// Stored bytes are not what was written; says where.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// The directory is open, in this process or another.
    #[error("the data directory is in use: {0}")]
    Locked(String),
    /// An fsync failed: what reached the disk is unknown, the engine takes no more writes, and the process must not go on.
    #[error("an fsync failed: {0}")]
    SyncFailed(String),
    /// Anything else.
    #[error("storage engine: {0}")]
    Io(String),
    /// Keys were not given in ascending order, or another broken rule of this interface.
    #[error("storage engine misused: {0}")]
    Misuse(String),
}

/// See the crate's documentation. All methods block.
pub trait KvEngine: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Calls `visit` with each key and value of the range in ascending order until it breaks. It sees one moment:
    /// `visit` may write to the engine and does not meet what it wrote.
    fn scan(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// As [`scan`](Self::scan), in descending order.
    fn scan_back(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// Applies a batch atomically. After an error nothing of it is visible, except after [`Error::SyncFailed`]. A
    /// batch that names a space of kind [`SpaceKind::Runs`] is [`Error::Misuse`]. Buffered writes survive a loss of
    /// power in order: if one does, all written before it do.
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<(), Error>;

    /// Begins a sorted file for a space of kind [`SpaceKind::Runs`]. Nothing is visible until
    /// [`RunWriter::finish`]. Its keys must not lie between keys of a live run, nor those between its own.
    fn begin_run(&self, space: Space) -> Result<Box<dyn RunWriter + '_>, Error>;

    /// Forgets the keys of a range and gives their space back to the file system as soon as the engine can, preferably
    /// by deleting whole files: at once in a space of runs, at the next [`flush`](Self::flush) elsewhere. Durable when it
    /// returns, and so is every earlier write. May be interrupted by a crash: then some of the keys are gone.
    fn drop_range(&self, space: Space, range: KeyRange<'_>) -> Result<(), Error>;

    /// Moves what is in memory or in a write-ahead log into place and shrinks that log: a later open has little to
    /// replay, and dropped ranges really give their space back. Every earlier write is durable when it returns.
    fn flush(&self) -> Result<(), Error>;

    /// Makes a durable copy of the whole engine at `destination`, by hard links where it can: a path on the same
    /// [`KvDisk`], given as to [`KvDisk::open`], where nothing is yet.
    fn checkpoint(&self, destination: &Path) -> Result<(), Error>;

    /// Bytes that the engine occupies on disk.
    fn disk_bytes(&self) -> Result<u64, Error>;

    /// Bytes free on the file system that holds the engine, for unprivileged use.
    fn free_bytes(&self) -> Result<u64, Error>;
}

/// A sorted file being written. Dropping it without [`finish`](Self::finish) leaves nothing behind.
pub trait RunWriter {
    /// Adds a key above all keys added so far.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// Makes the file durable and its keys visible, all at once; returns its size in bytes. A file without keys is none.
    fn finish(self: Box<Self>) -> Result<u64, Error>;
}
