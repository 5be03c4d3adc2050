//! Copies of a shard's durable state for another replica: made, carried as files, put in place.
//!
//! 1. [`Shard::checkpoint`] makes a copy beside the shard, by hard links: all runs and records as of the last flush, whose mark it
//!    names. What was applied since is in the log.
//! 2. The files are read by [`KvDisk::export`] and brought to the other node, where a [`CheckpointReceiver`] puts them into a fresh place.
//! 3. [`install`] checks the copy and moves it to where the new replica is to live, which must be a fresh place as well. A crash
//!    leaves it there whole or not at all; which place is live is the caller's to record, in one write.

use std::ops::ControlFlow;
use std::sync::Arc;

use bellwether_kv::{
    ENGINE_FILES_MAX, EngineFile, EngineImport, Error, KeyRange, KvDisk, KvEngine, Space, check_file_name,
};
use bellwether_model::RefEpoch;

use crate::error::{OpenError, StorageError};
use crate::shard::{AppliedMark, Shard, load_state};
use crate::{META, SPACES, keys, record};

/// A copy of a shard: what it contains, and the files that it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// The mark of the flush that the copy contains.
    pub applied: AppliedMark,
    /// The incarnation that its refs belong to.
    pub ref_epoch: RefEpoch,
    /// Ascending by name.
    pub files: Vec<EngineFile>,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Shard {
    /// Reads everything that is stored and checks its sums: what nobody has read for long may be damaged, and a copy of it would
    /// be. Reads as many bytes as the shard has.
    pub fn verify(&self) -> Result<(), StorageError> {
        for (number, space) in SPACES.iter().enumerate() {
            let place = || format!("the records of space {:?}", space.name);
            let mut checked = Ok(());
            let mut check = |key: &[u8], stored: &[u8]| {
                let place = || format!("space {:?}, key {key:02x?}", space.name);
                checked = record::check(&place, key, stored).map(drop);
                if checked.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let everything = KeyRange { first: b"", end: None };
            let scanned = self.reader.engine.scan(Space(number), everything, &mut check);
            scanned.map_err(StorageError::engine(place()))?;
            checked?;
        }
        Ok(())
    }

    /// Makes a copy at `target`, a fresh place on the shard's own disk, and says what it consists of. Flush, seal and merge wait meanwhile,
    /// apply and queries do not. Whoever asked for it removes it.
    pub fn checkpoint(&self, disk: &dyn KvDisk, target: &str) -> Result<CheckpointFiles, StorageError> {
        let maintenance = self.maintenance.lock();
        let place = || format!("the copy at {target}");
        self.reader.engine.checkpoint(target.as_ref()).map_err(StorageError::engine(place()))?;
        let files = disk.export(target).map(|export| export.files().to_vec());
        let files = files.map_err(|source| {
            // Left to whoever clears such places at a start, if this fails too.
            let _ = disk.remove(target);
            StorageError::Engine { place: place(), source }
        })?;
        let bytes = files.iter().map(|file| file.bytes).sum();
        let flushed = &maintenance.flushed;
        Ok(CheckpointFiles { applied: flushed.mark.clone(), ref_epoch: flushed.ref_epoch, files, bytes })
    }
}

/// Takes in a copy's files, in the order of its list.
pub struct CheckpointReceiver {
    import: Box<dyn EngineImport>,
    files: Vec<EngineFile>,
    /// The file that comes next or is coming, and how much of it is there.
    file: usize,
    received: u64,
    place: String,
}

impl CheckpointReceiver {
    /// Begins a copy at `target`, a fresh place. [`Error::DiskFull`] if it has no room for the files.
    pub fn new(disk: &dyn KvDisk, target: &str, files: Vec<EngineFile>) -> Result<CheckpointReceiver, StorageError> {
        let place = format!("the copy that comes to {target}");
        if files.len() > ENGINE_FILES_MAX {
            return Err(StorageError::corrupt(place, format!("{} files", files.len())));
        }
        files.iter().try_for_each(|file| check_file_name(&file.name)).map_err(StorageError::engine(&place))?;
        let bytes = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
        let free = disk.free_bytes().map_err(StorageError::engine(&place))?;
        if bytes > free {
            let source = Error::DiskFull(format!("{bytes} bytes are to come, {free} are free"));
            return Err(StorageError::Engine { place, source });
        }
        let import = disk.import(target).map_err(StorageError::engine(&place))?;
        Ok(CheckpointReceiver { import, files, file: 0, received: 0, place })
    }

    /// Takes the next bytes of the file `name`.
    pub fn append(&mut self, name: &str, content: &[u8]) -> Result<(), StorageError> {
        while self.files.get(self.file).is_some_and(|file| file.name != name && file.bytes == self.received) {
            self.next_file()?;
        }
        let expected = self.files.get(self.file);
        let received = self.received.saturating_add(content.len() as u64);
        if expected.is_none_or(|file| file.name != name || received > file.bytes) {
            let reason = format!("{} bytes of {name} at {}, not as listed", content.len(), self.received);
            return Err(StorageError::corrupt(&self.place, reason));
        }
        self.received = received;
        self.import.append(name, content).map_err(StorageError::engine(&self.place))
    }

    fn next_file(&mut self) -> Result<(), StorageError> {
        if self.received == 0 {
            // An empty file is a file, too.
            let name = &self.files[self.file].name;
            self.import.append(name, &[]).map_err(StorageError::engine(&self.place))?;
        }
        self.file += 1;
        self.received = 0;
        Ok(())
    }

    /// Puts the copy in place: durable, and whole.
    pub fn finish(mut self) -> Result<(), StorageError> {
        while self.files.get(self.file).is_some_and(|file| file.bytes == self.received) {
            self.next_file()?;
        }
        if let Some(file) = self.files.get(self.file) {
            let reason = format!("it ends at {} of the {} bytes of {}", self.received, file.bytes, file.name);
            return Err(StorageError::corrupt(&self.place, reason));
        }
        self.import.finish().map_err(StorageError::engine(&self.place))
    }
}

/// What the copy at `path` contains; nothing may have it open.
pub fn inspect(disk: &dyn KvDisk, path: &str) -> Result<(AppliedMark, RefEpoch), OpenError> {
    let place = || format!("the copy at {path}");
    // An engine that is opened where nothing is would be founded.
    if !disk.exists(path).map_err(StorageError::engine(place()))? {
        return Err(StorageError::corrupt(place(), "nothing is there").into());
    }
    let engine: Arc<dyn KvEngine> = disk.open(path, SPACES).map_err(StorageError::engine(place()))?;
    let stored = engine.get(META, keys::STATE).map_err(StorageError::engine(place()))?;
    let stored = stored.ok_or_else(|| StorageError::corrupt(place(), "it has no state record"))?;
    let logical = load_state(&stored)?;
    Ok((logical.mark, logical.ref_epoch))
}

/// Moves the copy at `received` to `target`, a fresh place, after a look at whether it contains what it should. After an error or a
/// crash `target` has the whole copy or nothing, and what else is on the disk is untouched.
pub fn install(disk: &dyn KvDisk, received: &str, applied: &AppliedMark, target: &str) -> Result<RefEpoch, OpenError> {
    let (found, ref_epoch) = inspect(disk, received)?;
    if found != *applied {
        let reason = format!("it is as of {found:?}, not of {applied:?}");
        return Err(StorageError::corrupt(format!("the copy at {received}"), reason).into());
    }
    disk.rename(received, target).map_err(StorageError::engine(format!("the move of {received} to {target}")))?;
    Ok(ref_epoch)
}
