//! Splitting: a shard gives up the series outside a range, and a copy of it becomes the child that owns those.
//!
//! 1. Where the split stands in the log, the parent flushes and makes a [checkpoint](Shard::checkpoint), from which the child is installed.
//! 2. The child, opened from the copy, [becomes one](Shard::become_child): it takes a ref epoch and a mark of its own, and keeps what it owns.
//! 3. The parent [gives up](ShardWriter::disown) what the child owns.
//!
//! What a shard does not own is forgotten as an expired series is: no list has it from then on. Its samples stay in runs, where nobody finds
//! them, until the runs are merged.

use bellwether_model::{HashRange, METRIC_NAME, PlacementKey, RefEpoch};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::StorageError;
use crate::shard::{AppliedMark, Shard, State};
use crate::writer::ShardWriter;

impl State {
    /// Forgets the series outside `owned`; returns how many.
    fn disown(&mut self, owned: HashRange) -> u64 {
        let rows = self.index.rows();
        let foreign: Vec<u32> =
            rows.living_in(0, rows.len()).filter(|series| !self.is_inside(*series, owned)).collect();
        self.forget(&foreign);
        foreign.len() as u64
    }

    fn is_inside(&self, series: u32, owned: HashRange) -> bool {
        let Some(row) = self.index.rows().get(series) else { return false };
        let pairs = row.pairs.iter().map(|pair| self.index.pair_text(*pair));
        let metric = pairs.into_iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| value);
        let tenant = self.index.tenant_name(self.index.tenant_of(series));
        owned.contains(PlacementKey::of(tenant, metric, row.hash))
    }
}

impl ShardWriter<'_> {
    /// Gives up every series outside `owned`: their refs are unknown from now on. Returns how many there were.
    pub fn disown(&mut self, owned: HashRange) -> u64 {
        self.state_mut().disown(owned)
    }
}

impl Shard {
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
