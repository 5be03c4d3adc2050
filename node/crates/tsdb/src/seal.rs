//! Seal: a closed Window's runs become one, without what tombstones hide. The same merge keeps open Windows at few runs.

use std::sync::Arc;

use bellwether_kv::{Durability, WriteBatch};
use bellwether_model::{Timestamp, limits};
use bellwether_probe::{Bug, buggify, planted};
use parking_lot::MutexGuard;

use crate::META;
use crate::catalog::{Catalog, WindowRuns};
use crate::error::StorageError;
use crate::histograms::Beside;
use crate::index::SortKey;
use crate::keys::{self, RunId};
use crate::merge::merge;
use crate::pack::Pack;
use crate::record::Sealer;
use crate::run::{RunBuilder, RunDirectory, RunMeta, RunReader};
use crate::shard::{Maintenance, Shard, put_state, put_window};
use crate::tombstone::{Tombstone, bury, hides};
use crate::window::WindowStart;

/// A closed Window counts as quiet when nothing was added to it for this long, in milliseconds.
const QUIET_MS: i64 = 15 * 60 * 1000;
/// Runs that an open Window keeps before they are merged.
const RUNS_PER_WINDOW_MAX: usize = 4;
/// Windows whose runs are merged in one go for nothing but to get rid of what was given up in a split.
const CLEANED_WINDOWS_MAX: u64 = 1;
/// Late data is merged into a sealed Window when it is more than this part of it...
const LATE_PART_OF_WINDOW: u64 = 10;
/// ...or after this long, in milliseconds.
const LATE_WAIT_MS: i64 = 24 * 60 * 60 * 1000;

const _: () = assert!(QUIET_MS < limits::WINDOW_MS);

/// Which Windows to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealWhen {
    /// Those that are closed and quiet, and those with much late data.
    Quiet,
    /// Every closed Window, quiet or not.
    AllClosed,
}

/// What a seal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealReport {
    /// Windows that became sealed.
    pub sealed_windows: u64,
    /// Runs that were merged away.
    pub merged_runs: u64,
    /// Samples written.
    pub written_samples: u64,
    /// Windows merged to get rid of what was given up in a split.
    pub cleaned_windows: u64,
}

impl Shard {
    /// Flushes, then seals the closed Windows that `when` names and merges the runs of open Windows that have too many. A Window is closed once `now`
    /// is past its end.
    pub fn seal(&self, now: Timestamp, when: SealWhen) -> Result<SealReport, StorageError> {
        let mut maintenance = self.maintenance.lock();
        self.drop_retired(&mut maintenance)?;
        if when == SealWhen::AllClosed {
            self.flush_locked(&mut maintenance)?;
        }
        let mut report = SealReport::default();
        let windows: Vec<WindowStart> = self.state.read().catalog.windows.keys().copied().collect();
        let mut first_error = None;
        for window in windows {
            // Apply may wait for a flush, if it cuts the group in two.
            MutexGuard::bump(&mut maintenance);
            match self.seal_window(&mut maintenance, window, now, when, &mut report) {
                Ok(()) => {}
                Err(error) if error.is_sync_failed() => return Err(error),
                // A damaged Window must not keep the others from being merged.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        self.forget_tombstones(&mut maintenance)?;
        self.drop_retired(&mut maintenance)?;
        first_error.map_or(Ok(report), Err)
    }

    fn seal_window(
        &self,
        maintenance: &mut Maintenance,
        window: WindowStart,
        now: Timestamp,
        when: SealWhen,
        report: &mut SealReport,
    ) -> Result<(), StorageError> {
        let (catalog, tombstones) = {
            let state = self.state.read();
            (state.catalog.clone(), state.tombstones.clone())
        };
        let Some(runs) = catalog.windows.get(&window) else { return Ok(()) };
        let has_hidden = runs.runs.iter().any(|run| {
            tombstones.iter().any(|tombstone| tombstone.layer > run.layer && tombstone.range.overlaps(run.times))
        });
        let closed = window.end() <= now;
        let seals = closed
            && match when {
                SealWhen::AllClosed => !runs.sealed || has_hidden,
                SealWhen::Quiet => {
                    !runs.sealed && !self.heads_touch(window) && (is_due(window, runs, now) || buggify("an early seal"))
                }
            };
        // As of the last flush: what was given up since may come back with a restart.
        let has_foreign = runs.runs.iter().any(|run| run.id.0 < maintenance.flushed.foreign_below);
        let cleans = closed
            && has_foreign
            && (when == SealWhen::AllClosed
                || report.cleaned_windows < CLEANED_WINDOWS_MAX && !self.heads_touch(window));
        let gains = runs.runs.len() > 1 || has_hidden;
        let merges = runs.runs.len() > RUNS_PER_WINDOW_MAX || gains && buggify("an early merge");
        if !seals && !cleans && !merges {
            return Ok(());
        }
        let timer = self.metrics.merge_seconds.start_timer();
        let mut merged = runs.clone();
        merged.sealed = seals || cleans && runs.sealed;
        let mut begun = None;
        if gains || cleans {
            let id = RunId(self.take_run_id());
            begun = Some((window, id));
            let written = self.merge_runs(window, runs, &tombstones, id);
            let written = written.inspect_err(|error| self.undo(begun, error))?;
            report.merged_runs += runs.runs.len() as u64;
            report.written_samples += written.map_or(0, |run| run.samples);
            self.metrics.merged_samples.inc_by(written.map_or(0, |run| run.samples));
            merged.runs = written.into_iter().collect();
        }
        report.sealed_windows += u64::from(seals);
        report.cleaned_windows += u64::from(cleans);
        self.replace_window(maintenance, &catalog, window, merged).inspect_err(|error| self.undo(begun, error))?;
        timer.observe_duration();
        Ok(())
    }

    /// Removes a run that was begun, unless it may be named on disk already.
    fn undo(&self, begun: Option<(WindowStart, RunId)>, error: &StorageError) {
        if !error.is_sync_failed() {
            self.remove_begun(begun.as_slice());
        }
    }

    fn heads_touch(&self, window: WindowStart) -> bool {
        let state = self.state.read();
        state.frozen.iter().map(Arc::as_ref).chain([&state.head]).any(|head| head.times().overlaps(window.range()))
    }

    fn take_run_id(&self) -> u64 {
        let mut state = self.state.write();
        let id = state.logical.next_run;
        state.logical.next_run += 1;
        id
    }

    fn merge_runs(
        &self,
        window: WindowStart,
        runs: &WindowRuns,
        tombstones: &[Tombstone],
        id: RunId,
    ) -> Result<Option<RunMeta>, StorageError> {
        let reader = RunReader { keeps: false, ..self.reader.clone() };
        let mut cursors = Vec::with_capacity(runs.runs.len());
        for run in &runs.runs {
            cursors.push(RunCursor::new(&reader, window, *run)?);
        }
        // The result holds nothing that these tombstones still concern.
        let buried = tombstones.iter().map(|tombstone| tombstone.layer).max().unwrap_or_default();
        let layer = runs.runs.iter().map(|run| run.layer).max().unwrap_or_default().max(buried);
        let mut sealer = Sealer::default();
        let mut builder = RunBuilder::new(self.reader.engine.as_ref(), window, id, layer, &mut sealer)?;
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        let (mut next_timestamps, mut next_values) = (Vec::new(), Vec::new());
        let mut merged = (Vec::new(), Vec::new());
        let mut beside = Beside::default();
        while let Some(key) = cursors.iter().filter_map(RunCursor::key).min() {
            timestamps.clear();
            values.clear();
            beside.clear();
            // Oldest first, as the catalog lists them: newer ones win.
            for cursor in cursors.iter_mut().filter(|cursor| cursor.key() == Some(key)) {
                next_timestamps.clear();
                next_values.clear();
                while cursor.key() == Some(key) {
                    cursor.take(&mut next_timestamps, &mut next_values, &mut beside)?;
                }
                if hides(tombstones, cursor.run.layer, key.series) && !planted(Bug::LoseTombstonesAtSeal) {
                    bury(tombstones, cursor.run.layer, key.series, 0, &mut next_timestamps, &mut next_values);
                }
                if timestamps.is_empty() {
                    std::mem::swap(&mut timestamps, &mut next_timestamps);
                    std::mem::swap(&mut values, &mut next_values);
                } else {
                    merged.0.clear();
                    merged.1.clear();
                    merge(&timestamps, &values, &next_timestamps, &next_values, &mut merged.0, &mut merged.1);
                    std::mem::swap(&mut timestamps, &mut merged.0);
                    std::mem::swap(&mut values, &mut merged.1);
                }
            }
            // Of a series that is forgotten nobody finds them any more.
            if !self.state.read().is_forgotten(key.series) {
                builder.push(key, &timestamps, &values, &mut beside)?;
            }
        }
        builder.finish()
    }

    /// Puts a Window's new runs in the place of those that `catalog` lists.
    fn replace_window(
        &self,
        maintenance: &mut Maintenance,
        catalog: &Arc<Catalog>,
        window: WindowStart,
        runs: WindowRuns,
    ) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        let keeps = !runs.runs.is_empty();
        put_window(&mut batch, &mut maintenance.sealer, window, keeps.then_some(&runs));
        // Only the run counter moves: what is applied but not flushed is not in the state record.
        maintenance.flushed.next_run = self.state.read().logical.next_run;
        put_state(&mut batch, &mut maintenance.sealer, &maintenance.flushed);
        let written = self.reader.engine.write(&batch, Durability::Synced);
        written.map_err(StorageError::engine(format!("the record of the window at {} ms", window.0)))?;

        let old = &catalog.windows[&window].runs;
        let gone = old.iter().filter(|run| !runs.runs.iter().any(|kept| kept.id == run.id)).map(|run| (window, run.id));
        let gone: Vec<_> = gone.collect();
        let mut next = Catalog::clone(catalog);
        if keeps {
            next.windows.insert(window, runs);
        } else {
            next.windows.remove(&window);
        }
        let old = std::mem::replace(&mut self.state.write().catalog, Arc::new(next));
        maintenance.retired.push_back((old, gone));
        Ok(())
    }

    /// Forgets tombstones that concern no run and no head any more.
    fn forget_tombstones(&self, maintenance: &mut Maintenance) -> Result<(), StorageError> {
        let mut state = self.state.write();
        if state.tombstones.is_empty() {
            return Ok(());
        }
        let is_needed = |tombstone: &Tombstone| {
            state.catalog.all().any(|(_, run)| run.layer < tombstone.layer && run.times.overlaps(tombstone.range))
                || state.frozen.iter().any(|head| head.layer < tombstone.layer)
        };
        let (kept, gone): (Vec<_>, Vec<_>) = state.tombstones.iter().cloned().partition(is_needed);
        let mut batch = WriteBatch::default();
        for tombstone in &gone {
            batch.delete(META, keys::tombstone(tombstone.log_index));
        }
        state.tombstones = Arc::new(kept);
        drop(state);
        if batch.is_empty() {
            return Ok(());
        }
        maintenance.stored_tombstones.retain(|stored| !gone.iter().any(|tombstone| tombstone.log_index == *stored));
        // If it is lost, the tombstones come back and hide nothing.
        self.reader.engine.write(&batch, Durability::Buffered).map_err(StorageError::engine("tombstones"))
    }
}

/// Whether a closed, unsealed Window is quiet enough, or has enough late data, to be sealed.
fn is_due(window: WindowStart, runs: &WindowRuns, now: Timestamp) -> bool {
    let quiet = now.saturating_sub(QUIET_MS) >= window.end().max(runs.changed_at);
    let largest = runs.runs.iter().map(|run| run.samples).max().unwrap_or_default();
    let rest = runs.runs.iter().map(|run| run.samples).sum::<u64>() - largest;
    let is_first_seal = window.end().saturating_add(LATE_WAIT_MS) > now;
    quiet
        && (is_first_seal
            || rest > largest / LATE_PART_OF_WINDOW
            || now.saturating_sub(LATE_WAIT_MS) >= runs.changed_at)
}

/// Reads a run from its first series to its last.
struct RunCursor<'a> {
    reader: &'a RunReader,
    window: WindowStart,
    run: RunMeta,
    directory: Arc<RunDirectory>,
    next_pack: u32,
    tenant: u32,
    pack: Option<Arc<Pack>>,
    at: usize,
}

impl<'a> RunCursor<'a> {
    fn new(reader: &'a RunReader, window: WindowStart, run: RunMeta) -> Result<RunCursor<'a>, StorageError> {
        let directory = reader.directory(window, run.id)?;
        let mut cursor = RunCursor { reader, window, run, directory, next_pack: 0, tenant: 0, pack: None, at: 0 };
        cursor.settle()?;
        Ok(cursor)
    }

    /// Moves on to the next pack when the present one is used up.
    fn settle(&mut self) -> Result<(), StorageError> {
        while self.pack.as_ref().is_none_or(|pack| self.at >= pack.series().len()) {
            if self.next_pack == self.directory.pack_count() {
                self.pack = None;
                return Ok(());
            }
            self.tenant = self.directory.first_key(self.next_pack).tenant;
            self.pack = Some(self.reader.pack(self.window, self.run.id, self.next_pack)?);
            self.next_pack += 1;
            self.at = 0;
        }
        Ok(())
    }

    fn key(&self) -> Option<SortKey> {
        let series = self.pack.as_ref()?.series()[self.at];
        Some(SortKey { tenant: self.tenant, metric: series.metric, series: series.series })
    }

    /// Appends the samples of the present series and moves on.
    fn take(
        &mut self,
        timestamps: &mut Vec<Timestamp>,
        values: &mut Vec<f64>,
        beside: &mut Beside,
    ) -> Result<(), StorageError> {
        let Some(pack) = &self.pack else { return Ok(()) };
        let series = pack.series()[self.at];
        let column = self.reader.timestamps(self.window, self.run.id, &self.directory, series.rows)?;
        let own = &column[series.rows.first as usize..][..series.rows.count as usize];
        timestamps.extend_from_slice(own);
        pack.values(&series, own, values, beside).map_err(|error| {
            let place =
                format!("run {} of the window at {} ms, series {}", self.run.id.0, self.window.0, series.series);
            StorageError::corrupt(place, error.to_string())
        })?;
        self.at += 1;
        self.settle()
    }
}
