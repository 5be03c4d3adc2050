//! Flush: everything applied becomes durable as runs, and the log before it can go.
//!
//! 1. Under the state lock, take the open head away and note what is applied: the only moment that apply waits for.
//! 2. Write one run per Window that the taken heads touch, one at a time. A run that no Window record names does not exist.
//! 3. In one small synced write: the changed Window records, new registry rows and those of series that expired, their last Windows, metadata, exemplars and
//!    tombstones, and the state record with the applied mark.
//! 4. Under the state lock, swap the heads for the runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_kv::{Durability, WriteBatch};
use bellwether_model::SeriesRef;
use bellwether_probe::{Bug, planted, reached};

use crate::catalog::Catalog;
use crate::error::StorageError;
use crate::exemplars;
use crate::expiry;
use crate::head::Head;
use crate::index::SortKey;
use crate::keys::{self, RunId};
use crate::metadata::Change;
use crate::pieces::{Pieces, Scratch};
use crate::record::{Compression, Sealer};
use crate::registry::{self, REGISTRY_VERSION};
use crate::run::{RunBuilder, RunMeta};
use crate::shard::{
    AppliedMark, Logical, Maintenance, Shard, drop_run, put_exemplar, put_metadata, put_record, put_state,
    put_tombstone, put_window,
};
use crate::tombstone::Tombstone;
use crate::window::WindowStart;

/// Series looked up under one hold of the state lock.
const SERIES_PER_LOCK: usize = 4096;
/// Registry blocks are rarely written and kept for long.
const REGISTRY_ZSTD_LEVEL: i32 = 9;

/// What one flush makes durable.
struct Cut {
    heads: Vec<Arc<Head>>,
    logical: Logical,
    catalog: Arc<Catalog>,
    tombstones: Arc<Vec<Tombstone>>,
    metadata: Vec<Change>,
    exemplars: Vec<exemplars::Change>,
    /// Series that expired since the flush before.
    expired: BTreeSet<u32>,
    /// Runs begun; if the flush fails, those that exist are removed again.
    begun: Vec<(WindowStart, RunId)>,
}

impl Shard {
    /// Makes everything applied so far durable as runs and returns its mark. Concurrent calls wait for each other.
    pub fn flush(&self) -> Result<AppliedMark, StorageError> {
        let mut maintenance = self.maintenance.lock();
        self.flush_locked(&mut maintenance)?;
        if let Err(error) = self.drop_retired(&mut maintenance) {
            tracing::warn!(%error, "runs that are no longer needed stay until the next flush");
        }
        Ok(maintenance.flushed.mark.clone())
    }

    pub(crate) fn flush_locked(&self, maintenance: &mut Maintenance) -> Result<(), StorageError> {
        let Some(mut cut) = self.cut() else { return Ok(()) };
        maintenance.unstored_windows.extend(self.note_last_windows(&cut.heads));
        let timer = self.metrics.flush_seconds.start_timer();
        let flushed = self.write_runs(&mut cut).and_then(|runs| self.commit(maintenance, &cut, runs));
        match &flushed {
            Ok(()) => timer.observe_duration(),
            // Nothing is undone: the records may be on disk, and then they name these runs.
            Err(error) if error.is_sync_failed() => {
                timer.stop_and_discard();
            }
            Err(_) => {
                // The heads stay frozen and the next flush takes them again; only the notes about what changed go back.
                timer.stop_and_discard();
                let mut state = self.state.write();
                state.is_dirty = true;
                state.metadata.changed_still(std::mem::take(&mut cut.metadata));
                state.exemplars.changed_still(std::mem::take(&mut cut.exemplars));
                state.expired.append(&mut cut.expired);
                state.logical.next_run = cut.logical.next_run;
                drop(state);
                self.remove_begun(&cut.begun);
            }
        }
        flushed
    }

    fn cut(&self) -> Option<Cut> {
        let mut state = self.state.write();
        if !std::mem::take(&mut state.is_dirty) {
            return None;
        }
        if state.head.samples() > 0 {
            state.next_layer();
        }
        Some(Cut {
            heads: state.frozen.clone(),
            logical: state.logical.clone(),
            catalog: state.catalog.clone(),
            tombstones: state.tombstones.clone(),
            metadata: state.metadata.take_changes(),
            exemplars: state.exemplars.take_changes(),
            expired: std::mem::take(&mut state.expired),
            begun: Vec::new(),
        })
    }

    /// Removes runs of a flush or merge that failed. What cannot be removed now is removed at the next open.
    pub(crate) fn remove_begun(&self, begun: &[(WindowStart, RunId)]) {
        for (window, run) in begun {
            if let Err(error) = drop_run(&self.reader, *window, *run) {
                tracing::warn!(%error, run = run.0, "an unfinished run stays until the next start");
            }
        }
    }

    /// Writes the heads' samples, one run per Window; the cut's `next_run` moves on.
    fn write_runs(&self, cut: &mut Cut) -> Result<Vec<(WindowStart, RunMeta)>, StorageError> {
        let Some(layer) = cut.heads.last().map(|head| head.layer) else { return Ok(Vec::new()) };
        let series = self.sorted_series(&cut.heads);
        let mut windows = BTreeSet::new();
        for head in &cut.heads {
            head.windows(&mut windows);
        }
        let floor = cut.logical.floor;
        let windows: Vec<WindowStart> = windows.into_iter().filter(|window| window.end() > floor).collect();
        let pieces = Pieces::new(&cut.heads, &series, &windows);
        let (mut sealer, mut scratch) = (Sealer::default(), Scratch::default());
        let mut runs = Vec::new();
        for (at, of_window) in pieces.by_window() {
            let (window, id) = (windows[at], RunId(cut.logical.next_run));
            cut.logical.next_run += 1;
            cut.begun.push((window, id));
            let mut builder = RunBuilder::new(self.reader.engine.as_ref(), window, id, layer, &mut sealer)?;
            of_window.visit(&cut.tombstones, floor, &mut scratch, |key, timestamps, values, beside| {
                builder.push(key, timestamps, values, beside)
            })?;
            runs.extend(builder.finish()?.map(|run| (window, run)));
        }
        self.metrics.flushed_samples.inc_by(runs.iter().map(|(_, run)| run.samples).sum());
        Ok(runs)
    }

    /// The series of some heads in the order of runs.
    fn sorted_series(&self, heads: &[Arc<Head>]) -> Vec<SortKey> {
        let mut series: Vec<u32> = heads.iter().flat_map(|head| head.all_series()).collect();
        if heads.len() > 1 {
            series.sort_unstable();
            series.dedup();
        }
        let mut keys = Vec::with_capacity(series.len());
        for some in series.chunks(SERIES_PER_LOCK) {
            let state = self.state.read();
            // What is left of a series that expired since lies before the floor.
            let living = some.iter().filter(|series| state.index.is_living(**series));
            keys.extend(living.map(|series| state.index.sort_key(SeriesRef(*series))));
        }
        keys.sort_unstable();
        keys
    }

    fn commit(
        &self,
        maintenance: &mut Maintenance,
        cut: &Cut,
        runs: Vec<(WindowStart, RunMeta)>,
    ) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        let sealer = &mut maintenance.sealer;
        let mut catalog = Catalog::clone(&cut.catalog);
        let mut gone = Vec::new();
        for (window, run) in runs {
            let entry = catalog.windows.entry(window).or_default();
            entry.runs.push(run);
            entry.sealed = false;
            entry.changed_at = cut.logical.group_time;
            put_window(&mut batch, sealer, window, Some(entry));
        }
        catalog.windows.retain(|window, runs| {
            let keep = window.end() > cut.logical.floor;
            if !keep {
                gone.extend(runs.runs.iter().map(|run| (*window, run.id)));
                put_window(&mut batch, sealer, *window, None);
            }
            keep
        });
        let mut blocks = maintenance.registry_blocks.clone();
        self.put_registry(&mut batch, sealer, cut, maintenance.stored_series, &mut blocks);
        if maintenance.stored_series < cut.logical.series {
            let first = expiry::block_of(maintenance.stored_series);
            maintenance.unstored_windows.extend((first..cut.logical.series).step_by(expiry::SERIES_PER_BLOCK as usize));
        }
        for first in &maintenance.unstored_windows {
            let body = expiry::encode(&self.state.read().index, *first, cut.logical.series);
            let key = keys::last_windows(SeriesRef(*first));
            put_record(&mut batch, sealer, &key, expiry::LAST_WINDOWS_VERSION, &body, Compression::Zstd(1));
        }
        for (key, metadata) in &cut.metadata {
            put_metadata(&mut batch, sealer, key, metadata.as_deref());
        }
        cut.exemplars.iter().for_each(|change| put_exemplar(&mut batch, sealer, change));
        let stored = &maintenance.stored_tombstones;
        let is_new = |tombstone: &&Tombstone| !stored.contains(&tombstone.log_index) && !planted(Bug::LoseTombstones);
        for tombstone in cut.tombstones.iter().filter(is_new) {
            put_tombstone(&mut batch, sealer, tombstone);
        }
        if planted(Bug::MarkBeforeRecords) {
            let mut mark = WriteBatch::default();
            put_state(&mut mark, sealer, &cut.logical);
            self.reader.engine.write(&mark, Durability::Synced).map_err(StorageError::engine("a flush's mark"))?;
        }
        if planted(Bug::ApplyTwice) {
            let mark = maintenance.flushed.mark.clone();
            put_state(&mut batch, sealer, &Logical { mark, ..cut.logical.clone() });
        } else {
            put_state(&mut batch, sealer, &cut.logical);
        }
        let is_unsynced = planted(Bug::FlushUnsynced) || planted(Bug::MarkBeforeRecords);
        let durability = if is_unsynced { Durability::Buffered } else { Durability::Synced };
        self.reader.engine.write(&batch, durability).map_err(StorageError::engine("a flush's records"))?;
        reached("a flush was stored");

        maintenance.stored_series = cut.logical.series;
        maintenance.registry_blocks = blocks;
        maintenance.unstored_windows.clear();
        maintenance.stored_tombstones = cut.tombstones.iter().map(|tombstone| tombstone.log_index).collect();
        maintenance.flushed = cut.logical.clone();
        let catalog = Arc::new(catalog);
        let (old_catalog, old_heads) = {
            let mut state = self.state.write();
            state.logical.next_run = cut.logical.next_run;
            let old_catalog = std::mem::replace(&mut state.catalog, catalog);
            let old_heads: Vec<Arc<Head>> = state.frozen.drain(..cut.heads.len()).collect();
            (old_catalog, old_heads)
        };
        // Freed here, outside the lock.
        drop(old_heads);
        maintenance.retired.push_back((old_catalog, gone));
        if !cut.expired.is_empty() {
            self.forget_expired(&cut.expired);
        }
        Ok(())
    }

    /// Writes the registry's blocks of new series, and again those of series that expired.
    fn put_registry(
        &self,
        batch: &mut WriteBatch,
        sealer: &mut Sealer,
        cut: &Cut,
        stored_series: u32,
        blocks: &mut BTreeMap<u32, u32>,
    ) {
        let block_of = |series: &u32| blocks.range(..=series).next_back().filter(|(_, end)| series < *end);
        let changed: BTreeMap<u32, u32> = cut.expired.iter().filter_map(block_of).map(|(k, v)| (*k, *v)).collect();
        let new = (stored_series < cut.logical.series).then_some((stored_series, cut.logical.series));
        for (mut first, end) in changed.into_iter().chain(new) {
            while first < end {
                let (block, next) = {
                    let state = self.state.read();
                    registry::encode(&state.index, first, end, &state.expired)
                };
                let key = keys::registry(SeriesRef(first));
                put_record(batch, sealer, &key, REGISTRY_VERSION, &block, Compression::Zstd(REGISTRY_ZSTD_LEVEL));
                blocks.insert(first, next);
                first = next;
            }
        }
    }
}
