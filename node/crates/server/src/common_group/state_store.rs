//! Where a node keeps the state of such a group: one small file in a directory, and beside it copies of that file on their way to
//! other nodes, each an engine with one record, because copies travel as engines.
//!
//! ```text
//! <directory>/state      the state and how far the log is applied in it, in the bytes of the group's machine
//! <directory>/copy-<n>/  a copy that another node is to get
//! ```

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_kv::{Durability, KvDisk, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_raft::{Applied, Checkpoint, FatalError};
use bytes::Bytes;

use crate::env::Fatal;

const STATE_FILE: &str = "state";
const COPY_PREFIX: &str = "copy-";

const COPY_SPACES: &[SpaceConfig] = &[SpaceConfig { name: "state", kind: SpaceKind::Records }];
const COPY: Space = Space(0);
const COPY_KEY: &[u8] = b"state";

/// See the module. All methods block.
pub struct StateStore {
    disk: Arc<dyn KvDisk>,
    fatal: Fatal,
    directory: String,
    copies: AtomicU64,
}

fn state_file(directory: &str) -> String {
    format!("{directory}/{STATE_FILE}")
}

impl StateStore {
    /// A directory's, after removing copies that an earlier process left.
    pub fn open(disk: Arc<dyn KvDisk>, fatal: Fatal, directory: String) -> Result<StateStore, bellwether_kv::Error> {
        for name in disk.list(&directory)?.iter().filter(|name| name.starts_with(COPY_PREFIX)) {
            disk.remove(&format!("{directory}/{name}"))?;
        }
        Ok(StateStore { disk, fatal, directory, copies: AtomicU64::new(0) })
    }

    /// What is kept; nothing, at first.
    pub fn read(&self) -> Result<Option<Bytes>, bellwether_kv::Error> {
        self.disk.read_small_file(&state_file(&self.directory))
    }

    /// Keeps this instead, durably.
    pub fn write(&self, content: &[u8]) -> Result<(), FatalError> {
        let file = state_file(&self.directory);
        self.disk.write_small_file(&file, content).map_err(|error| self.failed(&file, &error))
    }

    /// Makes a copy of what is kept. `applied` reads how far the log is applied in it.
    pub fn checkpoint<E: Display>(
        &self,
        applied: impl FnOnce(&[u8]) -> Result<Applied, E>,
    ) -> Result<Checkpoint, FatalError> {
        let file = state_file(&self.directory);
        let unreadable = |reason: &dyn Display| FatalError(format!("{file}: {reason}"));
        let content = self.read().map_err(|error| self.failed(&file, &error))?;
        let content = content.ok_or_else(|| unreadable(&"it is missing"))?;
        let applied = applied(&content).map_err(|error| unreadable(&error))?;
        let path = format!("{}/{COPY_PREFIX}{}", self.directory, self.copies.fetch_add(1, Ordering::Relaxed));
        self.write_copy(&path, content).map_err(|error| self.failed(&path, &error))?;
        Ok(Checkpoint { applied, directory: path.into() })
    }

    /// Removes a copy that nobody takes.
    pub fn discard(&self, checkpoint: &Checkpoint) {
        let path = checkpoint.directory.to_string_lossy();
        if let Err(error) = self.disk.remove(&path) {
            tracing::warn!(directory = %path, %error, "a copy that nobody takes cannot be removed");
        }
    }

    /// What is in a copy that another node made.
    pub fn received(&self, checkpoint: &Checkpoint) -> Result<Bytes, FatalError> {
        let path = path_of(checkpoint)?;
        let read = self.disk.open(path, COPY_SPACES).and_then(|engine| engine.get(COPY, COPY_KEY));
        let content = read.map_err(|error| self.failed(path, &error))?;
        content.ok_or_else(|| FatalError(format!("{path}: it is no copy of a state")))
    }

    /// Keeps what was in a copy that another node made, and removes the copy.
    pub fn take(&self, checkpoint: &Checkpoint, content: &[u8]) -> Result<(), FatalError> {
        let path = path_of(checkpoint)?;
        // First, for on a full disk its room is all that there is. If this is not the end, the leader sends it again.
        self.disk.remove(path).map_err(|error| self.failed(path, &error))?;
        self.write(content)
    }

    /// Makes a copy with this content at a path.
    pub fn write_copy(&self, path: &str, content: Bytes) -> Result<(), bellwether_kv::Error> {
        let engine = self.disk.open(path, COPY_SPACES)?;
        let mut batch = WriteBatch::default();
        batch.put(COPY, COPY_KEY, content);
        engine.write(&batch, Durability::Synced)?;
        engine.flush()
    }

    /// After a failed sync nobody knows what the disk holds.
    fn failed(&self, doing: &str, error: &bellwether_kv::Error) -> FatalError {
        if matches!(error, bellwether_kv::Error::SyncFailed(_)) {
            (self.fatal)(&error.to_string());
        }
        FatalError(format!("{doing}: {error}"))
    }
}

fn path_of(checkpoint: &Checkpoint) -> Result<&str, FatalError> {
    checkpoint.directory.to_str().ok_or_else(|| FatalError("a copy at a strange path".to_owned()))
}
