//! What one in-memory engine holds: the live content of its spaces, and how to take back what is not durable yet.
//!
//! The maps are shared by reference counts, so a scan and a checkpoint see one moment at no cost; a write to a map that
//! somebody else holds copies it first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, KeyRange, Operation, SpaceConfig, WriteBatch};

/// A space's records.
pub(super) type Records = BTreeMap<Vec<u8>, Bytes>;

/// What a record takes beside its key and value.
const RECORD_OVERHEAD_BYTES: u64 = 16;

/// One engine's content. Spaces are numbered in the order in which they were first named.
#[derive(Debug, Clone, Default)]
pub(super) struct EngineState {
    pub(super) spaces: Vec<SpaceState>,
    /// Per batch that is not durable, oldest first: what it overwrote.
    unsynced: Vec<Vec<Overwritten>>,
    /// Bytes of all records.
    pub(super) bytes: u64,
    /// Held by a handle.
    pub(super) open: bool,
    /// A sync failed since it was opened.
    pub(super) poisoned: bool,
}

#[derive(Debug, Clone)]
pub(super) struct SpaceState {
    pub(super) name: Arc<str>,
    pub(super) records: Arc<Records>,
    /// Keys whose value no longer matches its checksum.
    pub(super) damaged: Arc<BTreeSet<Vec<u8>>>,
}

#[derive(Debug, Clone)]
struct Overwritten {
    space: usize,
    key: Vec<u8>,
    value: Option<Bytes>,
}

impl EngineState {
    /// Adds the spaces that are new and says where each of `configs` is.
    pub(super) fn bind(&mut self, path: &str, configs: &[SpaceConfig]) -> Result<Vec<usize>, Error> {
        if let Some(stored) = self.spaces.iter().find(|stored| configs.iter().all(|named| *named.name != *stored.name))
        {
            return Err(Error::Misuse(format!("{path}: the stored space {:?} was not named", stored.name)));
        }
        let mut positions = Vec::with_capacity(configs.len());
        for config in configs {
            let position = self.spaces.iter().position(|stored| *stored.name == *config.name).unwrap_or_else(|| {
                let name = Arc::from(config.name);
                self.spaces.push(SpaceState { name, records: Arc::default(), damaged: Arc::default() });
                self.spaces.len() - 1
            });
            if positions.contains(&position) {
                return Err(Error::Misuse(format!("{path}: the space {:?} was named twice", config.name)));
            }
            positions.push(position);
        }
        Ok(positions)
    }

    /// A copy as durable as a synced write, for a checkpoint.
    pub(super) fn copied(&self) -> Self {
        Self { unsynced: Vec::new(), open: false, poisoned: false, ..self.clone() }
    }

    /// Applies a batch, volatile until [`make_durable`](Self::make_durable). `positions` are those of
    /// [`bind`](Self::bind).
    pub(super) fn apply(&mut self, positions: &[usize], batch: &WriteBatch) {
        let mut overwritten = Vec::with_capacity(batch.operations.len());
        for operation in &batch.operations {
            match operation {
                Operation::Put(space, key, value) => {
                    self.set(positions[space.0], key, Some(value.clone()), &mut overwritten);
                }
                Operation::Delete(space, key) => self.set(positions[space.0], key, None, &mut overwritten),
                Operation::DeleteRange(space, first, end) => {
                    self.clear(positions[space.0], KeyRange { first, end: Some(end) }, &mut overwritten);
                }
            }
        }
        self.unsynced.push(overwritten);
    }

    /// Removes the keys of a range, volatile until [`make_durable`](Self::make_durable).
    pub(super) fn drop_range(&mut self, position: usize, range: KeyRange<'_>) {
        let mut overwritten = Vec::new();
        self.clear(position, range, &mut overwritten);
        self.unsynced.push(overwritten);
    }

    /// Adds the records of a finished run, durable at once and without a say on what else is.
    pub(super) fn add_run(&mut self, position: usize, run: Records) {
        self.bytes += run.iter().map(|(key, value)| record_bytes(key, value)).sum::<u64>();
        Arc::make_mut(&mut self.spaces[position].records).extend(run);
    }

    pub(super) fn make_durable(&mut self) {
        self.unsynced.clear();
    }

    /// How many batches are not durable.
    pub(super) fn unsynced_batches(&self) -> usize {
        self.unsynced.len()
    }

    /// Takes back all batches that are not durable but the first `keep`, which become so.
    pub(super) fn lose_unsynced(&mut self, keep: usize) {
        while self.unsynced.len() > keep {
            let Some(batch) = self.unsynced.pop() else { break };
            for Overwritten { space, key, value } in batch.into_iter().rev() {
                self.set(space, &key, value, &mut Vec::new());
            }
        }
        self.unsynced.clear();
    }

    fn set(&mut self, position: usize, key: &[u8], value: Option<Bytes>, overwritten: &mut Vec<Overwritten>) {
        let space = &mut self.spaces[position];
        if space.damaged.contains(key) {
            Arc::make_mut(&mut space.damaged).remove(key);
        }
        let records = Arc::make_mut(&mut space.records);
        let before = match value {
            Some(value) => {
                self.bytes += record_bytes(key, &value);
                records.insert(key.to_vec(), value)
            }
            None => records.remove(key),
        };
        if let Some(before) = &before {
            self.bytes -= record_bytes(key, before);
        }
        overwritten.push(Overwritten { space: position, key: key.to_vec(), value: before });
    }

    fn clear(&mut self, position: usize, range: KeyRange<'_>, overwritten: &mut Vec<Overwritten>) {
        let Some(bounds) = bounds(range) else { return };
        let keys: Vec<Vec<u8>> =
            self.spaces[position].records.range::<[u8], _>(bounds).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.set(position, &key, None, overwritten);
        }
    }
}

/// Bytes that a record takes.
pub(super) fn record_bytes(key: &[u8], value: &[u8]) -> u64 {
    key.len() as u64 + value.len() as u64 + RECORD_OVERHEAD_BYTES
}

/// Bytes that the puts of a batch take, overwritten or not.
pub(super) fn put_bytes(batch: &WriteBatch) -> u64 {
    let bytes = |operation: &Operation| match operation {
        Operation::Put(_, key, value) => record_bytes(key, value),
        Operation::Delete(..) | Operation::DeleteRange(..) => 0,
    };
    batch.operations.iter().map(bytes).sum()
}

/// The range as the standard maps want it; `None` if no key can be inside (they panic on that).
pub(super) fn bounds<'a>(range: KeyRange<'a>) -> Option<(Bound<&'a [u8]>, Bound<&'a [u8]>)> {
    match range.end {
        Some(end) if end <= range.first => None,
        Some(end) => Some((Bound::Included(range.first), Bound::Excluded(end))),
        None => Some((Bound::Included(range.first), Bound::Unbounded)),
    }
}
