//! The only way in: what apply does to a shard. Deterministic: equal commands in equal order give equal shards.

use std::sync::Arc;

use bellwether_model::{
    Exemplar, Labels, Matcher, MetricMetadata, SeriesHash, SeriesRef, Tenant, TimeRange, Timestamp,
};
use bellwether_probe::{Bug, planted};
use parking_lot::RwLockWriteGuard;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::RegisterError;
use crate::head::{Head, Inserted};
use crate::histograms;
use crate::shard::{AppliedMark, State};
use crate::tombstone::Tombstone;
use crate::window::WindowStart;

/// Rows ahead whose slots are asked for while a row is appended.
const PREFETCH_ROWS: usize = 8;

/// What became of the rows of one append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Stored.
    pub accepted: u64,
    /// Stored already, with the same value.
    pub unchanged: u64,
    /// Refused: before the oldest time accepted.
    pub too_old: u64,
    /// Refused: after the newest time accepted.
    pub too_far_ahead: u64,
    /// Refused: no series has this ref.
    pub unknown_ref: u64,
    /// Refused: not a histogram.
    pub damaged: u64,
}

/// Exclusive access to a shard's logical state.
pub struct ShardWriter<'a> {
    state: RwLockWriteGuard<'a, State>,
}

impl<'a> ShardWriter<'a> {
    pub(crate) fn new(mut state: RwLockWriteGuard<'a, State>) -> ShardWriter<'a> {
        state.is_dirty = true;
        ShardWriter { state }
    }

    /// Finds or creates a series. `labels` are those of a valid series: they have a metric name.
    pub fn register(&mut self, hash: SeriesHash, tenant: &Tenant, labels: &Labels) -> Result<SeriesRef, RegisterError> {
        let state = &mut *self.state;
        if let Some(series) = state.index.find(hash) {
            let existing = state.index.labels(series);
            if existing != *labels || state.index.tenant_of_series(series) != tenant {
                return Err(RegisterError::HashConflict { hash, existing: existing.to_string() });
            }
            return Ok(series);
        }
        if planted(Bug::ReuseSeriesRef)
            && hash.0.is_multiple_of(8)
            && let Some(last) = state.index.len().checked_sub(1)
        {
            return Ok(SeriesRef(last));
        }
        if state.index.len() == u32::MAX {
            return Err(RegisterError::RefsExhausted { epoch: state.logical.ref_epoch });
        }
        state.index.has_room(tenant).map_err(|what| RegisterError::IndexFull { what })?;
        let window = WindowStart::of(state.logical.group_time).number();
        let series = state.index.add(hash, tenant, labels, window);
        let row = [hash.0.to_le_bytes().as_slice(), &series.0.to_le_bytes()].concat();
        state.logical.state_hash = xxh3_64_with_seed(&row, state.logical.state_hash);
        state.logical.series = state.index.len();
        Ok(series)
    }

    /// Whether a series has this hash.
    pub fn is_registered(&self, hash: SeriesHash) -> bool {
        self.state.index.find(hash).is_some()
    }

    /// The refs of a tenant's series that pass all matchers, ascending.
    pub fn matching(&self, tenant: &Tenant, matchers: &[Matcher]) -> Vec<u32> {
        self.state.index.matching(tenant, matchers)
    }

    /// How many series of a tenant are registered.
    pub fn tenant_series_count(&self, tenant: &Tenant) -> u64 {
        self.state.index.tenant_series_count(tenant)
    }

    /// Appends one sample per ref. `timestamps` has one entry for all rows, or one per row. Samples outside `bounds`, or
    /// before the retention floor, are refused.
    ///
    /// # Panics
    /// If the lengths do not fit together: the caller decoded them as one batch.
    pub fn append(&mut self, refs: &[u32], timestamps: &[Timestamp], values: &[f64], bounds: TimeRange) -> Appended {
        assert_eq!(refs.len(), values.len(), "a value per ref");
        assert!(timestamps.len() == 1 || timestamps.len() == refs.len(), "one timestamp, or one per ref");
        let state = &mut *self.state;
        let bounds = TimeRange::new(bounds.first.max(state.logical.floor), bounds.last);
        let shared = timestamps.len() == 1;
        let mut appended = Appended::default();
        for (row, (&series_ref, &value)) in refs.iter().zip(values).enumerate() {
            if let Some(ahead) = refs.get(row + PREFETCH_ROWS) {
                state.head.prefetch(*ahead);
            }
            let timestamp = if shared { timestamps[0] } else { timestamps[row] };
            if timestamp < bounds.first {
                appended.too_old += 1;
            } else if timestamp > bounds.last {
                appended.too_far_ahead += 1;
            } else if !state.index.is_living(series_ref) {
                appended.unknown_ref += 1;
            } else {
                match state.head.append(series_ref, timestamp, value) {
                    Inserted::New { at } => {
                        appended.accepted += 1;
                        state.changes.stored(at);
                    }
                    Inserted::Unchanged => appended.unchanged += 1,
                }
            }
        }
        appended
    }

    /// Appends histograms, each a chunk of its own. Otherwise as [`append`](Self::append).
    pub fn append_histograms<'h>(
        &mut self,
        rows: impl Iterator<Item = (u32, Timestamp, &'h [u8])>,
        bounds: TimeRange,
    ) -> Appended {
        let state = &mut *self.state;
        let bounds = TimeRange::new(bounds.first.max(state.logical.floor), bounds.last);
        let mut appended = Appended::default();
        for (series, timestamp, chunk) in rows {
            if timestamp < bounds.first {
                appended.too_old += 1;
            } else if timestamp > bounds.last {
                appended.too_far_ahead += 1;
            } else if !state.index.is_living(series) {
                appended.unknown_ref += 1;
            } else if !histograms::is_valid(chunk) {
                appended.damaged += 1;
            } else {
                match state.head.append_histogram(series, timestamp, chunk) {
                    Inserted::New { at } => {
                        appended.accepted += 1;
                        state.changes.stored(at);
                    }
                    Inserted::Unchanged => appended.unchanged += 1,
                }
            }
        }
        appended
    }

    /// Takes exemplars of series: the latest of each are kept, an equal one once. Otherwise as [`append`](Self::append).
    pub fn append_exemplars(
        &mut self,
        rows: impl Iterator<Item = (u32, Option<Exemplar>)>,
        bounds: TimeRange,
    ) -> Appended {
        let state = &mut *self.state;
        let bounds = TimeRange::new(bounds.first.max(state.logical.floor), bounds.last);
        let mut appended = Appended::default();
        for (series, exemplar) in rows {
            match exemplar {
                None => appended.damaged += 1,
                Some(exemplar) if exemplar.timestamp < bounds.first => appended.too_old += 1,
                Some(exemplar) if exemplar.timestamp > bounds.last => appended.too_far_ahead += 1,
                Some(_) if !state.index.is_living(series) => appended.unknown_ref += 1,
                Some(exemplar) => {
                    state.exemplars.add(series, exemplar);
                    appended.accepted += 1;
                }
            }
        }
        appended
    }

    /// Deletes the samples of the matching series inside `range` that are there now. Returns how many series match.
    pub fn delete(&mut self, tenant: &Tenant, matchers: &[Matcher], range: TimeRange, log_index: u64) -> u64 {
        let state = &mut *self.state;
        let series = state.index.matching(tenant, matchers);
        if series.is_empty() || range.is_empty() {
            return series.len() as u64;
        }
        // What is written after this command goes to a newer layer, which the tombstone does not concern.
        state.next_layer();
        state.changes.deleted(range);
        let matched = series.len() as u64;
        state.exemplars.delete(&series, range);
        let tombstone = Tombstone { log_index, layer: state.logical.layer, range, series };
        Arc::make_mut(&mut state.tombstones).push(tombstone);
        matched
    }

    /// Keeps what a sender says about a metric, if there is room for it, until the last series of the metric expires here.
    pub fn set_metadata(&mut self, tenant: &Tenant, metric: &str, metadata: MetricMetadata) {
        self.state.metadata.set((tenant.clone(), metric.to_owned()), metadata);
    }

    /// Raises the retention floor: samples before `floor` are gone from now on, whole Windows below it lose their files later.
    pub fn raise_floor(&mut self, floor: Timestamp) {
        if floor > self.state.logical.floor {
            self.state.logical.floor = floor;
            self.state.changes.dropped(floor);
            self.state.exemplars.drop_before(floor);
        }
    }

    /// Says where in the log the command stands that has changed what was changed since the last call.
    pub fn changed_by(&mut self, log_index: u64) {
        self.state.changes.made_by(log_index);
    }

    /// Expires series: those whose last Window is before the retention floor, and before the one that `idle_since` lies in. At most
    /// some ten thousand at a time; returns how many. Their refs are unknown from now on.
    pub fn expire_series(&mut self, idle_since: Timestamp) -> u64 {
        self.state.expire(idle_since)
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Says how far the log is applied, after the commands up to there. `time` is the time that the last command carried, `command_hash`
    /// a hash of the commands.
    pub fn mark_applied(&mut self, mark: AppliedMark, time: Timestamp, command_hash: u64) {
        let logical = &mut self.state.logical;
        logical.state_hash = xxh3_64_with_seed(&command_hash.to_le_bytes(), logical.state_hash);
        logical.group_time = logical.group_time.max(time);
        logical.mark = mark;
    }
}

impl State {
    /// Takes the open head away, if it has samples, and opens the next layer in any case.
    pub(crate) fn next_layer(&mut self) {
        self.logical.layer += 1;
        let head = std::mem::replace(&mut self.head, Head::new(self.logical.layer));
        if head.samples() > 0 {
            self.frozen.push(Arc::new(head));
        }
    }
}
