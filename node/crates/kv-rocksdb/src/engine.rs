//! One RocksDB as an engine.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_kv::{
    Durability, Error, KeyRange, KvEngine, Operation, RunWriter, Space, SpaceConfig, SpaceKind, WriteBatch,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBRawIterator, DEFAULT_COLUMN_FAMILY_NAME, FlushOptions,
    Options, ReadOptions, WriteOptions,
};

use crate::disk::Claim;
use crate::error::from_rocksdb;
use crate::files::Files;
use crate::run::RocksRun;
use crate::tuning;

/// Appended to a key to be the largest that sorts below its successors of any sensible length.
const KEY_TAIL: [u8; 64] = [0xff; 64];

/// RocksDB's sequence number and count before a batch.
const BATCH_HEADER_BYTES: usize = 12;
/// A tag, a space's number and two lengths before an operation.
const OPERATION_HEADER_BYTES_MAX: usize = 16;

pub(crate) struct RocksEngine {
    // Invariant: closed, and so declared, before the claim on its directory is given up.
    db: DB,
    spaces: Vec<OpenSpace>,
    run_options: Options,
    /// Held while runs come or go, so that what was checked about their keys stays true.
    runs_change: Mutex<()>,
    /// A sync failed: RocksDB itself goes on after some of these.
    sync_failed: AtomicBool,
    claim: Claim,
}

struct OpenSpace {
    config: SpaceConfig,
    /// Ranges were dropped whose space the next flush gives back.
    dropped: AtomicBool,
}

impl RocksEngine {
    pub(crate) fn open(claim: Claim, configs: &[SpaceConfig]) -> Result<Self, Error> {
        let place = claim.path().display();
        for (number, config) in configs.iter().enumerate() {
            if configs[..number].iter().any(|earlier| earlier.name == config.name) {
                return Err(Error::Misuse(format!("{place}: the space {:?} was named twice", config.name)));
            }
        }
        let tuning = &claim.shared().tuning;
        let options = tuning.engine(configs)?;
        let mut families: Vec<_> =
            configs.iter().map(|config| ColumnFamilyDescriptor::new(config.name, tuning.space(config.kind))).collect();
        if configs.iter().all(|config| config.name != DEFAULT_COLUMN_FAMILY_NAME) {
            families.push(ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, tuning.unused_space()));
        }
        sync_logs(&claim.shared().files, claim.path())?;
        // A power loss may leave options of a higher number than those of the next open: they go first.
        remove_options(&claim.shared().files, claim.path(), 0)?;
        let db = DB::open_cf_descriptors(&options, claim.path(), families).map_err(from_rocksdb)?;
        remove_options(&claim.shared().files, claim.path(), 1)?;
        // Whether a log's ranges were dropped before it was opened is not known, so its first flush looks.
        let open = |config: &SpaceConfig| OpenSpace {
            config: *config,
            dropped: AtomicBool::new(config.kind == SpaceKind::Log),
        };
        let spaces = configs.iter().map(open).collect();
        let run_options = tuning.space(SpaceKind::Runs);
        Ok(Self { db, spaces, run_options, runs_change: Mutex::default(), sync_failed: AtomicBool::new(false), claim })
    }

    pub(crate) fn path(&self) -> &Path {
        self.claim.path()
    }

    pub(crate) fn files(&self) -> &Files {
        &self.claim.shared().files
    }

    pub(crate) fn run_options(&self) -> &Options {
        &self.run_options
    }

    /// Changes something, unless a sync failed before.
    pub(crate) fn change<T>(&self, action: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if self.sync_failed.load(Ordering::Acquire) {
            let place = self.path().display();
            return Err(Error::SyncFailed(format!("{place}: earlier, and it takes no write until it is opened anew")));
        }
        let done = action();
        if let Err(Error::SyncFailed(_)) = &done {
            self.sync_failed.store(true, Ordering::Release);
        }
        done
    }

    /// Takes the finished file at `path`, whose keys lie from `first` to `last`, into a space of runs.
    pub(crate) fn ingest(&self, space: Space, path: &Path, first: &[u8], last: &[u8]) -> Result<(), Error> {
        let (_, family) = self.space(space)?;
        let _runs_change = self.runs_change.lock();
        let mut iterator = self.iterator(family, SpaceKind::Runs, KeyRange { first, end: None });
        iterator.seek(first);
        if iterator.key().is_some_and(|live| live <= last) {
            let place = self.path().display();
            return Err(Error::Misuse(format!(
                "{place}: a run from {first:02x?} to {last:02x?} has a live key between"
            )));
        }
        iterator.status().map_err(from_rocksdb)?;
        drop(iterator);
        self.db.ingest_external_file_cf_opts(family, &tuning::ingestion(), vec![path]).map_err(from_rocksdb)
    }

    fn space(&self, space: Space) -> Result<(&OpenSpace, &ColumnFamily), Error> {
        let found = self.spaces.get(space.0).and_then(|open| Some((open, self.db.cf_handle(open.config.name)?)));
        found.ok_or_else(|| Error::Misuse(format!("{}: no space has the number {}", self.path().display(), space.0)))
    }

    /// A space that takes batches.
    fn batch_space(&self, space: Space) -> Result<&ColumnFamily, Error> {
        let (open, family) = self.space(space)?;
        match open.config.kind {
            SpaceKind::Records | SpaceKind::Log => Ok(family),
            SpaceKind::Runs => {
                let (place, name) = (self.path().display(), open.config.name);
                Err(Error::Misuse(format!("{place}: a batch names {name:?}, a space of runs")))
            }
        }
    }

    fn iterator(&self, family: &ColumnFamily, kind: SpaceKind, range: KeyRange<'_>) -> DBRawIterator<'_> {
        let mut options = read_options(kind);
        options.set_iterate_lower_bound(range.first);
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end);
        }
        self.db.raw_iterator_cf_opt(family, options)
    }

    fn commit(&self, batch: rocksdb::WriteBatch, durability: Durability) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.db.write_opt(batch, &options).map_err(from_rocksdb)
    }

    /// Makes every earlier write durable.
    fn sync_log(&self) -> Result<(), Error> {
        self.db.flush_wal(true).map_err(from_rocksdb)
    }

    /// The key after the last one of a space, `None` if it is empty.
    fn end_of(&self, family: &ColumnFamily, kind: SpaceKind) -> Result<Option<Vec<u8>>, Error> {
        let mut iterator = self.iterator(family, kind, KeyRange { first: b"", end: None });
        iterator.seek_to_last();
        let end = iterator.key().map(|last| [last, &[0]].concat());
        iterator.status().map_err(from_rocksdb)?;
        Ok(end)
    }

    fn has_key(&self, family: &ColumnFamily, kind: SpaceKind, range: KeyRange<'_>) -> Result<bool, Error> {
        let mut iterator = self.iterator(family, kind, range);
        iterator.seek(range.first);
        let valid = iterator.valid();
        iterator.status().map_err(from_rocksdb)?;
        Ok(valid)
    }

    /// Deletes the files that have keys of the range alone.
    fn drop_files(&self, family: &ColumnFamily, first: &[u8], end: &[u8]) -> Result<(), Error> {
        let Some(last) = last_below(end).filter(|last| last.as_slice() >= first) else { return Ok(()) };
        self.db.delete_file_in_range_cf(family, first, &last).map_err(from_rocksdb)
    }

    fn drop_run_range(&self, family: &ColumnFamily, first: &[u8], end: &[u8]) -> Result<(), Error> {
        let _runs_change = self.runs_change.lock();
        // Whole files go at once, and leave no mark. What is left is masked, then the files that hold it are rewritten:
        // it is rare, and a mask that stayed would cost every later read.
        self.drop_files(family, first, end)?;
        if !self.has_key(family, SpaceKind::Runs, KeyRange { first, end: Some(end) })? {
            return self.sync_log();
        }
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete_range_cf(family, first, end);
        self.commit(batch, Durability::Synced)?;
        self.flush_families(&[family])?;
        self.db.compact_range_cf_opt(family, Some(first), Some(end), &compaction());
        Ok(())
    }

    fn drop_space_range(&self, space: Space, range: KeyRange<'_>) -> Result<(), Error> {
        let (open, family) = self.space(space)?;
        if is_empty(range) {
            return self.sync_log();
        }
        let kind = open.config.kind;
        let end = match range.end {
            Some(end) => end.to_vec(),
            None => match self.end_of(family, kind)? {
                Some(end) if end.as_slice() > range.first => end,
                _ => return self.sync_log(),
            },
        };
        if kind == SpaceKind::Runs {
            return self.drop_run_range(family, range.first, &end);
        }
        // Masked durably before any file goes: a file may hold the deletion of a key whose older value is in another.
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete_range_cf(family, range.first, &end);
        self.commit(batch, Durability::Synced)?;
        open.dropped.store(true, Ordering::Relaxed);
        self.drop_files(family, range.first, &end)
    }

    fn flush_spaces(&self) -> Result<(), Error> {
        let mut families = Vec::with_capacity(self.spaces.len());
        for number in 0..self.spaces.len() {
            families.push(self.space(Space(number))?.1);
        }
        self.flush_families(&families)?;
        for (open, family) in self.spaces.iter().zip(families) {
            // Marked first: a range that is dropped meanwhile waits for the next flush.
            if open.config.kind != SpaceKind::Runs && open.dropped.swap(false, Ordering::Relaxed) {
                self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &compaction());
            }
        }
        Ok(())
    }

    fn flush_families(&self, families: &[&ColumnFamily]) -> Result<(), Error> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(families, &options).map_err(from_rocksdb)
    }
}

/// Makes durable what an engine is about to read from its logs. Whoever closed it or was killed may not have synced them, and
/// RocksDB would begin a new log: a power loss would take earlier writes and leave later ones.
fn sync_logs(files: &Files, directory: &Path) -> Result<(), Error> {
    let names = files.names(directory)?;
    names.iter().filter(|name| name.ends_with(".log")).try_for_each(|name| files.sync_file(&directory.join(name)))
}

/// RocksDB writes its options into a file of 20 KB at every open, which nobody reads, and keeps two. It copies its last
/// into checkpoints, so that is kept while it is open.
fn remove_options(files: &Files, directory: &Path, keep: usize) -> Result<(), Error> {
    let mut names = files.names(directory)?;
    names.retain(|name| name.starts_with("OPTIONS-"));
    // By number: a longer one is higher.
    names.sort_by_key(|name| name.len());
    names.truncate(names.len().saturating_sub(keep));
    names.iter().try_for_each(|name| files.remove(&directory.join(name)))
}

fn read_options(kind: SpaceKind) -> ReadOptions {
    let mut options = ReadOptions::default();
    // A log is read once, in order: it would only push records out of the cache.
    options.fill_cache(kind == SpaceKind::Records);
    options
}

fn compaction() -> CompactOptions {
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    options
}

/// The largest key below `end`, or one so close to it that a file which ends between them merely outlives its due:
/// RocksDB deletes files up to a key that is included. `None` if there is none below.
fn last_below(end: &[u8]) -> Option<Vec<u8>> {
    let (last, rest) = end.split_last()?;
    match last {
        0 => Some(rest.to_vec()),
        _ => Some([rest, &[last - 1], &KEY_TAIL].concat()),
    }
}

impl KvEngine for RocksEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let (open, family) = self.space(space)?;
        let options = read_options(open.config.kind);
        let value = self.db.get_pinned_cf_opt(family, key, &options).map_err(from_rocksdb)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let (open, family) = self.space(space)?;
        if is_empty(range) {
            return Ok(());
        }
        let mut iterator = self.iterator(family, open.config.kind, range);
        iterator.seek(range.first);
        while let Some((key, value)) = iterator.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(from_rocksdb)
    }

    fn scan_back(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let (open, family) = self.space(space)?;
        if is_empty(range) {
            return Ok(());
        }
        let mut iterator = self.iterator(family, open.config.kind, range);
        iterator.seek_to_last();
        while let Some((key, value)) = iterator.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            iterator.prev();
        }
        iterator.status().map_err(from_rocksdb)
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<(), Error> {
        let mut native = rocksdb::WriteBatch::with_capacity_bytes(encoded_bytes_max(batch));
        for operation in &batch.operations {
            match operation {
                Operation::Put(space, key, value) => native.put_cf(self.batch_space(*space)?, key, value),
                Operation::Delete(space, key) => native.delete_cf(self.batch_space(*space)?, key),
                Operation::DeleteRange(space, first, end) => {
                    let family = self.batch_space(*space)?;
                    if first < end {
                        native.delete_range_cf(family, first, end);
                    }
                }
            }
        }
        self.change(|| self.commit(native, durability))
    }

    fn begin_run(&self, space: Space) -> Result<Box<dyn RunWriter + '_>, Error> {
        let (open, _) = self.space(space)?;
        match open.config.kind {
            SpaceKind::Runs => Ok(Box::new(RocksRun::new(self, space, self.claim.shared().staging_path()))),
            SpaceKind::Records | SpaceKind::Log => {
                let (place, name) = (self.path().display(), open.config.name);
                Err(Error::Misuse(format!("{place}: a run for {name:?}, no space of runs")))
            }
        }
    }

    fn drop_range(&self, space: Space, range: KeyRange<'_>) -> Result<(), Error> {
        self.change(|| self.drop_space_range(space, range))
    }

    fn flush(&self) -> Result<(), Error> {
        self.change(|| self.flush_spaces())
    }

    fn checkpoint(&self, destination: &Path) -> Result<(), Error> {
        let Some(to) = destination.to_str() else {
            return Err(Error::Misuse(format!("{} is not UTF-8", destination.display())));
        };
        let to = self.claim.shared().resolve(to)?;
        let files = &self.claim.shared().files;
        if files.find(&to)?.is_some() {
            return Err(Error::Misuse(format!("{}: exists already", to.display())));
        }
        if let Some(parent) = to.parent() {
            files.make_directory(parent)?;
        }
        let staging = self.claim.shared().staging_path();
        let copied = self.change(|| {
            Checkpoint::new(&self.db)
                .and_then(|checkpoint| checkpoint.create_checkpoint(&staging))
                .map_err(from_rocksdb)
                .and_then(|()| files.rename(&staging, &to))
        });
        if copied.is_err() {
            // Left for the next start if this fails too.
            let _ = files.remove(&staging);
        }
        copied
    }

    fn disk_bytes(&self) -> Result<u64, Error> {
        self.claim.shared().files.occupied_bytes(self.path())
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.claim.shared().files.free_bytes(self.path())
    }
}

/// Room for a batch as RocksDB writes it, so that it is not copied while it grows.
fn encoded_bytes_max(batch: &WriteBatch) -> usize {
    let bytes = |operation: &Operation| match operation {
        Operation::Put(_, key, value) => key.len() + value.len(),
        Operation::Delete(_, key) => key.len(),
        Operation::DeleteRange(_, first, end) => first.len() + end.len(),
    };
    let payload: usize = batch.operations.iter().map(bytes).sum();
    BATCH_HEADER_BYTES + payload + batch.operations.len() * OPERATION_HEADER_BYTES_MAX
}

fn is_empty(range: KeyRange<'_>) -> bool {
    range.end.is_some_and(|end| end <= range.first)
}

#[cfg(test)]
mod tests {
    use super::last_below;

    #[test]
    fn the_last_key_below_an_end_is_below_it_and_above_all_shorter_ones() {
        assert_eq!(last_below(b""), None);
        assert_eq!(last_below(b"\0"), Some(vec![]));
        assert_eq!(last_below(b"a\0"), Some(b"a".to_vec()));
        for (below, end) in
            [(&b"a"[..], &b"b"[..]), (b"a\xff\xff", b"b"), (b"ab", b"ac"), (b"", b"a"), (b"\xfe", b"\xff")]
        {
            let last = last_below(end).unwrap();
            assert!(below < last.as_slice() && last.as_slice() < end, "{below:?} {end:?}");
        }
    }
}
