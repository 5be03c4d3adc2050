//! Splitting: a shard gives up the series outside a range, and a copy of it becomes the child that owns those.
//!
//! 1. Where the split stands in the log, the parent flushes and makes a [checkpoint](Shard::checkpoint), from which the child is installed.
//! 2. The child, opened from the copy, [becomes one](Shard::become_child): it takes a ref epoch and a mark of its own, and keeps what it owns.
//! 3. The parent [gives up](ShardWriter::disown) what the child owns.
//!
//! What a shard does not own is forgotten as an expired series is: no list has it from then on. Its samples stay in runs, where nobody finds
//! them, until a [seal](Shard::seal) merges those runs.

use bellwether_model::{HashRange, METRIC_NAME, PlacementKey, RefEpoch, Tenant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::StorageError;
use crate::run::RunMeta;
use crate::shard::{AppliedMark, Shard, State};
use crate::writer::ShardWriter;

/// Series whose keys are looked up under one hold of the state lock.
const SERIES_PER_LOCK: u32 = 1024;

impl State {
    /// Forgets the series outside `owned`, and the metadata that others keep; returns how many series.
    fn disown(&mut self, owned: HashRange) -> u64 {
        let rows = self.index.rows();
        let is_foreign = |series: &u32| self.key_of(*series).is_none_or(|key| !owned.contains(key));
        let foreign: Vec<u32> = rows.living_in(0, rows.len()).filter(is_foreign).collect();
        self.forget(&foreign);
        let gone = |(tenant, metric): &&(Tenant, String)| !owned.contains(metadata_key(tenant, metric));
        let gone: Vec<(Tenant, String)> = self.metadata.keys().filter(gone).cloned().collect();
        gone.into_iter().for_each(|key| self.metadata.remove(key));
        self.logical.foreign_below = self.logical.next_run;
        foreign.len() as u64
    }

    /// Where a series lies.
    fn key_of(&self, series: u32) -> Option<PlacementKey> {
        let row = self.index.rows().get(series)?;
        let mut pairs = row.pairs.iter().map(|pair| self.index.pair_text(*pair));
        let metric = pairs.find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| value);
        let tenant = self.index.tenant_name(self.index.tenant_of(series));
        Some(PlacementKey::of(tenant, metric, row.hash))
    }

    /// Runs that may hold samples of series that were given up.
    pub(crate) fn foreign_runs(&self) -> impl Iterator<Item = &RunMeta> {
        let below = self.logical.foreign_below;
        self.catalog.all().map(|(_, run)| run).filter(move |run| run.id.0 < below)
    }
}

/// Where a metric's metadata lies: on the first of its points.
pub fn metadata_key(tenant: &Tenant, metric: &str) -> PlacementKey {
    let [first, ..] = PlacementKey::of_metric(tenant, metric);
    first.first
}

impl ShardWriter<'_> {
    /// Gives up every series outside `owned`: their refs are unknown from now on. Returns how many there were.
    pub fn disown(&mut self, owned: HashRange) -> u64 {
        self.state_mut().changes.everything();
        self.state_mut().disown(owned)
    }
}

impl Shard {
    /// The key below which half of the series lie; none without series.
    pub fn middle_key(&self) -> Option<PlacementKey> {
        let mut keys = Vec::new();
        let mut first = 0;
        loop {
            let state = self.state.read();
            let end = state.index.len().min(first + SERIES_PER_LOCK);
            keys.extend(state.index.rows().living_in(first, end).filter_map(|series| state.key_of(series)));
            if first == end {
                break;
            }
            first = end;
        }
        let middle = keys.len() / 2;
        (!keys.is_empty()).then(|| *keys.select_nth_unstable(middle).1)
    }

    /// Makes this shard, opened from a copy, the child that owns `owned`, with refs of its own epoch, as of its own log's `mark`. Durable when it
    /// returns; after a crash before that it is the copy that it was.
    pub fn become_child(&self, ref_epoch: RefEpoch, owned: HashRange, mark: AppliedMark) -> Result<(), StorageError> {
        {
            let mut writer = self.writer();
            let state = writer.state_mut();
            state.logical.ref_epoch = ref_epoch;
            state.logical.mark = mark;
            state.logical.state_hash = xxh3_64_with_seed(&ref_epoch.0.to_le_bytes(), state.logical.state_hash);
            state.disown(owned);
        }
        self.flush().map(drop)
    }
}
