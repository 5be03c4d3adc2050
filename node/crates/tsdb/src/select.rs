//! Reading: the samples of all series that match, over all layers.
//!
//! 1. In short holds of the state lock: which series match, and where each stands in runs.
//! 2. For a few dozen series at a time, under the lock: labels and the open head's samples, with the catalog of that moment, so that
//!    a flush in between neither hides nor doubles anything.
//! 3. Without the lock: frozen heads and runs. Series come in the order of runs, so a pack is opened once for all of its series.
//!
//! Timestamps are shared: series whose samples have equal times get one and the same column, whether it comes from a run or from a head,
//! and what is computed per column is computed once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_model::{Histogram, Labels, Matcher, SeriesRef, Tenant, TimeRange, Timestamp};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::Catalog;
use crate::error::{SelectError, StorageError};
use crate::head::Head;
use crate::histograms::{Beside, Chunks};
use crate::index::lookup::{self, Holds, Interrupted, LOOKS_PER_HOLD};
use crate::index::{Index, SortKey};
use crate::keys::RunId;
use crate::merge::merge;
use crate::pack::Pack;
use crate::run::{RunDirectory, RunMeta, RunReader};
use crate::shard::Shard;
use crate::tombstone::{Tombstone, bury, hides};
use crate::window::WindowStart;

/// Series read under one hold of the state lock.
const SERIES_PER_LOCK: usize = 64;

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct SelectRequest<'a> {
    /// Whose series.
    pub tenant: &'a Tenant,
    /// Conditions, all of which hold.
    pub matchers: &'a [Matcher],
    /// Samples inside it are returned, none outside.
    pub range: TimeRange,
    /// Bounds of the answer.
    pub limits: SelectLimits,
}

/// Bounds of one answer.
#[derive(Debug, Clone, Copy)]
pub struct SelectLimits {
    /// Series with samples.
    pub series: usize,
    /// Samples over all series.
    pub samples: usize,
}

/// One series of an answer.
#[derive(Debug, Clone)]
pub struct SelectedSeries {
    /// All its labels.
    pub labels: Labels,
    /// Ascending, each once; the same allocation for all series with equal times.
    pub timestamps: Arc<[Timestamp]>,
    /// One per timestamp.
    pub values: Vec<f64>,
    /// Its samples that are histograms, at other times; few series have any.
    pub histograms: Option<Box<SelectedHistograms>>,
}

/// Samples of a series that are histograms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedHistograms {
    /// Ascending, each once.
    pub timestamps: Arc<[Timestamp]>,
    /// One per timestamp.
    pub histograms: Vec<Histogram>,
}

impl SelectedSeries {
    /// Samples of either kind.
    pub fn sample_count(&self) -> usize {
        self.values.len() + self.histograms.as_ref().map_or(0, |histograms| histograms.histograms.len())
    }
}

/// Which samples of each series are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All inside the range.
    All,
    /// The newest inside the range.
    Newest,
}

/// Which series' labels to read.
#[derive(Debug, Clone, Copy)]
pub struct LabelsRequest<'a> {
    /// Whose series.
    pub tenant: &'a Tenant,
    /// Series that pass all matchers of any of these.
    pub selectors: &'a [Arc<[Matcher]>],
    /// Series that have a sample in a Window that it touches.
    pub range: TimeRange,
    /// Bounds the answer.
    pub limit: usize,
}

impl Shard {
    /// The samples of all matching series that have some inside the range.
    pub fn select(&self, request: &SelectRequest<'_>, cancel: &AtomicBool) -> Result<Vec<SelectedSeries>, SelectError> {
        let mut selected = Vec::new();
        let mut samples = 0;
        self.select_each(request, Wanted::All, cancel, &mut |series: SelectedSeries| {
            samples += series.sample_count();
            if samples > request.limits.samples {
                return Err(SelectError::TooManySamples { limit: request.limits.samples });
            }
            if selected.len() == request.limits.series {
                return Err(SelectError::TooManySeries { limit: request.limits.series });
            }
            selected.push(series);
            Ok(())
        })?;
        Ok(selected)
    }

    /// Hands over the wanted samples of the matching series one by one; the bounds are the visitor's affair, whose error
    /// ends the reading.
    pub fn select_each<E: From<SelectError>>(
        &self,
        request: &SelectRequest<'_>,
        wanted: Wanted,
        cancel: &AtomicBool,
        visit: &mut dyn FnMut(SelectedSeries) -> Result<(), E>,
    ) -> Result<(), E> {
        let range = self.visible(request.range);
        if range.is_empty() {
            return Ok(());
        }
        let keys = self.matching_in_order(request.tenant, request.matchers, cancel)?;
        self.read_each(&keys, range, wanted, cancel, visit)
    }

    /// Hands over the wanted samples of these series, which are in the order of storage.
    pub(crate) fn read_each<E: From<SelectError>>(
        &self,
        keys: &[SortKey],
        range: TimeRange,
        wanted: Wanted,
        cancel: &AtomicBool,
        visit: &mut dyn FnMut(SelectedSeries) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut columns = ColumnTable::default();
        let mut layers = Layers::default();
        let mut beside = Beside::default();
        let mut open: Vec<(Labels, usize, Chunks)> = Vec::with_capacity(SERIES_PER_LOCK);
        let (mut head_times, mut head_values) = (Vec::new(), Vec::new());
        for some in keys.chunks(SERIES_PER_LOCK) {
            go_on(cancel)?;
            open.clear();
            head_times.clear();
            head_values.clear();
            {
                let state = self.state.read();
                layers.note(&state.catalog, &state.frozen, &state.tombstones, range);
                let reads_head = state.head.times().overlaps(range);
                for key in some {
                    match wanted {
                        _ if !reads_head => {}
                        Wanted::All => state.head.read(key.series, range, &mut head_times, &mut head_values),
                        Wanted::Newest => {
                            if let Some(newest) = state.head.latest(key.series, range) {
                                head_times.push(newest.timestamp);
                                head_values.push(newest.value);
                            }
                        }
                    }
                    let chunks = if reads_head { state.head.histograms(key.series) } else { &[] };
                    let read = match (wanted, head_times.last()) {
                        (Wanted::Newest, Some(newest)) => TimeRange::new(*newest, *newest),
                        _ => range,
                    };
                    let inside = chunks.iter().filter(|(timestamp, _)| read.contains(*timestamp)).cloned().collect();
                    open.push((state.index.labels(SeriesRef(key.series)), head_times.len(), inside));
                }
            }
            columns.bound();
            layers.open_runs(&self.reader, range).map_err(SelectError::from)?;
            let mut from = 0;
            for (key, (labels, end, chunks)) in some.iter().zip(open.drain(..)) {
                beside.clear();
                let newest = (&head_times[from..end], &head_values[from..end]);
                from = end;
                let read = match wanted {
                    Wanted::All => layers.read(&self.reader, *key, range, newest, (&mut columns, &mut beside)),
                    Wanted::Newest => {
                        layers.read_newest(&self.reader, *key, range, newest, (&mut columns, &mut beside))
                    }
                };
                let Some((timestamps, values)) = read.map_err(SelectError::from)? else { continue };
                beside.add_chunks(&chunks, range);
                let series = SelectedSeries { labels, timestamps, values, histograms: None };
                visit(if beside.is_empty() { series } else { apart(series, &mut beside, &mut columns) })?;
            }
        }
        Ok(())
    }

    /// Labels of the series that a request means, at most as many as it allows.
    pub fn series(&self, request: &LabelsRequest<'_>, cancel: &AtomicBool) -> Result<Vec<Labels>, SelectError> {
        let refs = self.present(request, cancel)?;
        let mut found = Vec::new();
        for some in refs[..refs.len().min(request.limit)].chunks(SERIES_PER_LOCK) {
            go_on(cancel)?;
            let state = self.state.read();
            let labels = some.iter().map(|series| state.index.labels(SeriesRef(*series)));
            // A series that expired in the meantime has none.
            found.extend(labels.filter(|labels| !labels.is_empty()));
        }
        Ok(found)
    }

    /// The label names of those series, ascending.
    pub fn label_names(&self, request: &LabelsRequest<'_>, cancel: &AtomicBool) -> Result<Vec<String>, SelectError> {
        let refs = self.present(request, cancel)?;
        let mut names = BTreeSet::new();
        for some in refs.chunks(LOOKS_PER_HOLD) {
            go_on(cancel)?;
            names.append(&mut self.state.read().index.label_names(some));
        }
        Ok(names.into_iter().take(request.limit).collect())
    }

    /// The values of one label in those series, ascending.
    pub fn label_values(
        &self,
        name: &str,
        request: &LabelsRequest<'_>,
        cancel: &AtomicBool,
    ) -> Result<Vec<String>, SelectError> {
        let refs = self.present(request, cancel)?;
        let mut values = BTreeSet::new();
        for some in refs.chunks(LOOKS_PER_HOLD) {
            go_on(cancel)?;
            values.append(&mut self.state.read().index.label_values(name, some));
            while values.len() > request.limit {
                values.pop_last();
            }
        }
        Ok(values.into_iter().collect())
    }

    pub(crate) fn visible(&self, range: TimeRange) -> TimeRange {
        TimeRange::new(range.first.max(self.state.read().logical.floor), range.last)
    }

    pub(crate) fn matching_in_order(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        cancel: &AtomicBool,
    ) -> Result<Vec<SortKey>, SelectError> {
        let refs = self.matching(tenant, matchers, cancel)?;
        let mut keys: Vec<SortKey> = Vec::with_capacity(refs.len());
        for some in refs.chunks(LOOKS_PER_HOLD) {
            let state = self.state.read();
            keys.extend(some.iter().map(|series| state.index.sort_key(SeriesRef(*series))));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// The series of a tenant that pass all matchers, ascending. Apply goes on meanwhile.
    pub(crate) fn matching(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        cancel: &AtomicBool,
    ) -> Result<Vec<u32>, SelectError> {
        loop {
            let held = Held { shard: self, generation: self.state.read().index.generation() };
            let remembered = self.remembered.of_generation(held.generation);
            match lookup::matching(&held, remembered, cancel, tenant, matchers) {
                Ok(found) => return Ok(found),
                Err(Interrupted::Cancelled) => return Err(SelectError::Cancelled),
                // Rare, as it takes a flush that forgets half of all pairs.
                Err(Interrupted::MadeAnew) => {}
            }
        }
    }

    /// The series that a request means, ascending.
    fn present(&self, request: &LabelsRequest<'_>, cancel: &AtomicBool) -> Result<Vec<u32>, SelectError> {
        let range = self.visible(request.range);
        let mut refs = Vec::new();
        for matchers in request.selectors {
            refs.extend(self.matching(request.tenant, matchers, cancel)?);
            if request.selectors.len() > 1 {
                refs.sort();
                refs.dedup();
            }
        }
        let mut present: Vec<bool> = Vec::with_capacity(refs.len());
        for some in refs.chunks(LOOKS_PER_HOLD) {
            go_on(cancel)?;
            let state = self.state.read();
            let heads = || state.frozen.iter().map(Arc::as_ref).chain([&state.head]);
            present.extend(some.iter().map(|series| heads().any(|head| head.may_hold(*series, range))));
        }
        // After the heads: what a flush took out of them meanwhile is in it.
        let catalog = self.state.read().catalog.clone();
        for (window, runs) in catalog.overlapping(range) {
            for run in runs.runs.iter().filter(|run| run.times.overlaps(range)) {
                go_on(cancel)?;
                if present.iter().all(|present| *present) {
                    break;
                }
                let held = self.reader.series(window, run.id)?;
                let mut held = held.into_iter().peekable();
                for (series, present) in refs.iter().zip(&mut present) {
                    while held.next_if(|held| held < series).is_some() {}
                    *present |= held.peek() == Some(series);
                }
            }
        }
        Ok(refs.into_iter().zip(present).filter(|(_, present)| *present).map(|(series, _)| series).collect())
    }
}

/// Takes histograms out of a series' values.
fn apart(mut series: SelectedSeries, beside: &mut Beside, columns: &mut ColumnTable) -> SelectedSeries {
    let rows = beside.take(&series.timestamps, &series.values);
    if rows.is_empty() {
        return series;
    }
    let (rows, histograms): (Vec<usize>, Vec<Histogram>) = rows.into_iter().unzip();
    let times: Vec<Timestamp> = rows.iter().map(|row| series.timestamps[*row]).collect();
    let mut of_histograms = rows.into_iter().peekable();
    let samples = series.timestamps.iter().zip(&series.values).enumerate();
    let floats = samples.filter(|(row, _)| of_histograms.next_if_eq(row).is_none());
    let (float_times, values): (Vec<Timestamp>, Vec<f64>) = floats.map(|(_, (time, value))| (*time, *value)).unzip();
    series.timestamps = columns.whole(&float_times).column;
    series.values = values;
    let timestamps = columns.whole(&times).column;
    series.histograms = Some(Box::new(SelectedHistograms { timestamps, histograms }));
    series
}

fn go_on(cancel: &AtomicBool) -> Result<(), SelectError> {
    if cancel.load(Ordering::Relaxed) { Err(SelectError::Cancelled) } else { Ok(()) }
}

/// A shard's index, held under the state lock each time.
struct Held<'s> {
    shard: &'s Shard,
    /// The index that the lookup began with.
    generation: u64,
}

impl Holds for Held<'_> {
    fn hold<R>(&self, look: impl FnOnce(&Index) -> R) -> Result<R, Interrupted> {
        let state = self.shard.state.read();
        if state.index.generation() != self.generation {
            return Err(Interrupted::MadeAnew);
        }
        Ok(look(&state.index))
    }
}

/// The immutable layers below the open head, as they were at one moment.
#[derive(Default)]
struct Layers {
    catalog: Arc<Catalog>,
    tombstones: Arc<Vec<Tombstone>>,
    /// Windows ascending; inside one, oldest first.
    runs: Vec<OpenRun>,
    frozen: Vec<Arc<Head>>,
    /// The catalog that `runs` was opened from.
    opened: Option<Arc<Catalog>>,
}

struct OpenRun {
    window: WindowStart,
    run: RunMeta,
    directory: Arc<RunDirectory>,
    /// The pack read last: the next series is often in it as well.
    pack: Option<(u32, Arc<Pack>)>,
    /// The column read last.
    column: Option<(u32, Arc<[Timestamp]>)>,
}

/// A stretch of one layer: the column's rows from `from` to before `to`.
#[derive(Clone)]
struct Stretch {
    column: Arc<[Timestamp]>,
    from: usize,
    to: usize,
}

impl Stretch {
    fn times(&self) -> &[Timestamp] {
        &self.column[self.from..self.to]
    }
}

type Columns = (Arc<[Timestamp]>, Vec<f64>);

impl Layers {
    /// Notes the layers of this moment, under the state lock; reads nothing.
    fn note(
        &mut self,
        catalog: &Arc<Catalog>,
        frozen: &[Arc<Head>],
        tombstones: &Arc<Vec<Tombstone>>,
        range: TimeRange,
    ) {
        self.frozen.clear();
        self.frozen.extend(frozen.iter().filter(|head| head.times().overlaps(range)).cloned());
        self.tombstones = tombstones.clone();
        self.catalog = catalog.clone();
    }

    /// Opens the runs of the noted catalog, which keeps them alive, unless they are open already.
    fn open_runs(&mut self, reader: &RunReader, range: TimeRange) -> Result<(), StorageError> {
        if self.opened.as_ref().is_some_and(|opened| Arc::ptr_eq(opened, &self.catalog)) {
            return Ok(());
        }
        self.opened = Some(self.catalog.clone());
        self.runs.clear();
        for (window, runs) in self.catalog.overlapping(range) {
            for run in runs.runs.iter().filter(|run| run.times.overlaps(range)) {
                let directory = reader.directory(window, run.id)?;
                self.runs.push(OpenRun { window, run: *run, directory, pack: None, column: None });
            }
        }
        Ok(())
    }

    /// One series' samples inside the range, over these layers and the open head's samples above them.
    fn read(
        &mut self,
        reader: &RunReader,
        key: SortKey,
        range: TimeRange,
        (head_times, head_values): (&[Timestamp], &[f64]),
        (columns, beside): (&mut ColumnTable, &mut Beside),
    ) -> Result<Option<Columns>, StorageError> {
        let mut stretches: Vec<Stretch> = Vec::with_capacity(self.runs.len() + 1);
        let mut of_run: Vec<Stretch> = Vec::new();
        let mut values: Vec<f64> = Vec::new();
        // Whether each layer begins after the one before it ends: then nothing needs merging.
        let mut ascending = true;
        let mut latest = Timestamp::MIN;
        let mut add = |stretch: Stretch| {
            if let (Some(first), Some(last)) = (stretch.times().first(), stretch.times().last()) {
                ascending &= stretches.is_empty() || latest < *first;
                latest = *last;
                stretches.push(stretch);
            }
        };
        for run in &mut self.runs {
            let before = values.len();
            run.read(reader, key, range, (&mut values, beside), &mut of_run)?;
            if hides(&self.tombstones, run.run.layer, key.series) {
                let mut times: Vec<Timestamp> = of_run.drain(..).flat_map(|stretch| stretch.times().to_vec()).collect();
                let mut own = values.split_off(before);
                bury(&self.tombstones, run.run.layer, key.series, 0, &mut times, &mut own);
                values.append(&mut own);
                add(columns.whole(&times));
            } else {
                of_run.drain(..).for_each(&mut add);
            }
        }
        let (mut times, mut own) = (Vec::new(), Vec::new());
        for head in &self.frozen {
            times.clear();
            own.clear();
            head.read(key.series, range, &mut times, &mut own);
            beside.add_chunks(head.histograms(key.series), range);
            bury(&self.tombstones, head.layer, key.series, 0, &mut times, &mut own);
            let inside = rows_inside(&times, range);
            values.extend_from_slice(&own[inside.clone()]);
            add(columns.whole(&times[inside]));
        }
        let inside = rows_inside(head_times, range);
        if !inside.is_empty() {
            values.extend_from_slice(&head_values[inside.clone()]);
            add(columns.whole(&head_times[inside]));
        }
        if values.is_empty() {
            return Ok(None);
        }
        // Many series are held at a time, for as long as their query runs.
        values.shrink_to_fit();
        if ascending {
            return Ok(Some((columns.joined(&stretches), values)));
        }
        Ok(Some(merge_stretches(&stretches, &values, columns)))
    }
}

impl Layers {
    /// One series' newest sample inside the range: layers are asked from the newest down, and only those that may have
    /// something newer than what is found.
    fn read_newest(
        &mut self,
        reader: &RunReader,
        key: SortKey,
        range: TimeRange,
        (head_times, head_values): (&[Timestamp], &[f64]),
        (columns, beside): (&mut ColumnTable, &mut Beside),
    ) -> Result<Option<Columns>, StorageError> {
        // Of equal times the newer layer's sample counts.
        let mut found = head_times.last().copied().zip(head_values.last().copied());
        let newer = |found: Option<(Timestamp, f64)>| {
            TimeRange::new(found.map_or(range.first, |(timestamp, _)| timestamp.saturating_add(1)), range.last)
        };
        for head in self.frozen.iter().rev() {
            let wanted = newer(found);
            if !head.times().overlaps(wanted) {
                continue;
            }
            let latest = if hides(&self.tombstones, head.layer, key.series) {
                let (mut times, mut values) = (Vec::new(), Vec::new());
                head.read(key.series, wanted, &mut times, &mut values);
                bury(&self.tombstones, head.layer, key.series, 0, &mut times, &mut values);
                let inside = rows_inside(&times, wanted);
                inside.last().map(|at| (times[at], values[at]))
            } else {
                head.latest(key.series, wanted).map(|sample| (sample.timestamp, sample.value))
            };
            if let Some((at, _)) = latest {
                beside.add_chunks(head.histograms(key.series), TimeRange::new(at, at));
            }
            found = latest.or(found);
        }
        let (mut values, mut stretches) = (Vec::new(), Vec::new());
        for run in self.runs.iter_mut().rev() {
            let wanted = newer(found);
            if !run.run.times.overlaps(wanted) {
                continue;
            }
            values.clear();
            stretches.clear();
            run.read(reader, key, wanted, (&mut values, beside), &mut stretches)?;
            if hides(&self.tombstones, run.run.layer, key.series) {
                let mut times: Vec<Timestamp> =
                    stretches.drain(..).flat_map(|stretch: Stretch| stretch.times().to_vec()).collect();
                bury(&self.tombstones, run.run.layer, key.series, 0, &mut times, &mut values);
                found = times.last().copied().zip(values.last().copied()).or(found);
            } else {
                let last = stretches.last().and_then(|stretch| stretch.times().last().copied());
                found = last.zip(values.last().copied()).or(found);
            }
        }
        Ok(found.map(|(timestamp, value)| (columns.whole(&[timestamp]).column, vec![value])))
    }
}

/// Merges layers, oldest first, whose values stand end to end.
fn merge_stretches(stretches: &[Stretch], values: &[f64], columns: &mut ColumnTable) -> Columns {
    let (mut times, mut merged) = (Vec::new(), Vec::new());
    let mut from = 0;
    for stretch in stretches {
        let own = &values[from..from + stretch.times().len()];
        from += own.len();
        let (old_times, old_values) = (std::mem::take(&mut times), std::mem::take(&mut merged));
        merge(&old_times, &old_values, stretch.times(), own, &mut times, &mut merged);
    }
    (columns.whole(&times).column, merged)
}

impl OpenRun {
    /// Appends a series' values inside the range and names their times.
    fn read(
        &mut self,
        reader: &RunReader,
        key: SortKey,
        range: TimeRange,
        (values, beside): (&mut Vec<f64>, &mut Beside),
        stretches: &mut Vec<Stretch>,
    ) -> Result<(), StorageError> {
        for number in self.directory.packs_of(key) {
            self.read_pack(reader, number, key, range, (values, beside), stretches)?;
        }
        Ok(())
    }

    fn read_pack(
        &mut self,
        reader: &RunReader,
        number: u32,
        key: SortKey,
        range: TimeRange,
        (values, beside): (&mut Vec<f64>, &mut Beside),
        stretches: &mut Vec<Stretch>,
    ) -> Result<(), StorageError> {
        let (window, id) = (self.window, self.run.id);
        let pack = match &self.pack {
            Some((open, pack)) if *open == number => pack,
            _ => &self.pack.insert((number, reader.pack(window, id, number)?)).1,
        };
        for series in pack.find(key) {
            let rows = series.rows;
            let column = match &self.column {
                Some((open, column)) if *open == rows.column => column,
                _ => &self.column.insert((rows.column, reader.column(window, id, &self.directory, rows.column)?)).1,
            };
            let Some(own) = column.get(rows.first as usize..rows.first as usize + rows.count as usize) else {
                return Err(corrupt(window, id, key, "rows beyond the end of their column"));
            };
            let Range { start: from, end: to } = rows_inside(own, range);
            if from == to {
                continue;
            }
            let start = values.len();
            pack.values(series, own, values, beside).map_err(|error| corrupt(window, id, key, &error.to_string()))?;
            values.truncate(start + to);
            if from > 0 {
                values.drain(start..start + from);
            }
            let first = rows.first as usize;
            stretches.push(Stretch { column: column.clone(), from: first + from, to: first + to });
        }
        Ok(())
    }
}

/// The rows of an ascending column that lie inside a range: what is outside may be below the retention floor.
fn rows_inside(times: &[Timestamp], range: TimeRange) -> Range<usize> {
    let from = times.partition_point(|t| *t < range.first);
    from..times.partition_point(|t| *t <= range.last).max(from)
}

fn corrupt(window: WindowStart, run: RunId, key: SortKey, reason: &str) -> StorageError {
    StorageError::corrupt(format!("run {} of the window at {} ms, series {}", run.0, window.0, key.series), reason)
}

/// The distinct timestamp columns of one answer.
#[derive(Default)]
struct ColumnTable {
    /// By content.
    whole: HashTable<(u64, Arc<[Timestamp]>)>,
    /// By the stretches that they join. The stretches keep their columns alive, so equal addresses mean equal columns.
    joined: HashTable<(u64, Vec<Stretch>, Arc<[Timestamp]>)>,
    /// The content found last.
    last: Option<Arc<[Timestamp]>>,
    /// Timestamps in it.
    held: usize,
}

/// Timestamps that the table of an answer's columns holds: where series share so few, it is not worth its memory.
const COLUMN_TABLE_TIMES_MAX: usize = 512 << 10;

impl ColumnTable {
    /// Starts anew once it has grown too large: columns that are found again are then made again.
    fn bound(&mut self) {
        if self.held > COLUMN_TABLE_TIMES_MAX {
            *self = ColumnTable::default();
        }
    }

    /// A column with these times.
    fn whole(&mut self, times: &[Timestamp]) -> Stretch {
        let stretch = |column: &Arc<[Timestamp]>| Stretch { column: column.clone(), from: 0, to: times.len() };
        if let Some(last) = self.last.as_ref().filter(|last| last[..] == *times) {
            return stretch(last);
        }
        let mut hash = times.len() as u64;
        for time in times {
            hash = (hash.rotate_left(5) ^ *time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let entry = self.whole.entry(hash, |(known, column)| *known == hash && column[..] == *times, |(hash, _)| *hash);
        let held = &mut self.held;
        let make = || {
            *held += times.len();
            (hash, times.into())
        };
        let column = entry.or_insert_with(make).get().1.clone();
        let stretch = stretch(&column);
        self.last = Some(column);
        stretch
    }

    /// The column that some stretches make end to end.
    fn joined(&mut self, stretches: &[Stretch]) -> Arc<[Timestamp]> {
        if let [one] = stretches
            && one.to - one.from == one.column.len()
        {
            return one.column.clone();
        }
        let mut name = Vec::with_capacity(stretches.len() * 24);
        for stretch in stretches {
            for part in [stretch.column.as_ptr() as usize, stretch.from, stretch.to] {
                name.extend_from_slice(&part.to_le_bytes());
            }
        }
        let hash = xxh3_64(&name);
        let same = |known: &[Stretch]| {
            known.len() == stretches.len()
                && known
                    .iter()
                    .zip(stretches)
                    .all(|(a, b)| Arc::ptr_eq(&a.column, &b.column) && (a.from, a.to) == (b.from, b.to))
        };
        let entry = self.joined.entry(hash, |(known, parts, _)| *known == hash && same(parts), |(hash, _, _)| *hash);
        let held = &mut self.held;
        let join = || {
            let all: Vec<Timestamp> = stretches.iter().flat_map(Stretch::times).copied().collect();
            *held += all.len();
            (hash, stretches.to_vec(), all.into())
        };
        entry.or_insert_with(join).get().2.clone()
    }
}
