//! Series expiry: a series whose last Window is gone is forgotten, and its ref is never used again.
//!
//! Which series those are must be the same on every replica, whatever each has flushed or merged. So it is not read from runs: every
//! series has the number of the last Window that a sample of it was accepted into, kept beside the registry as of the last flush and
//! raised by what the heads hold. Deletions do not lower it.
//!
//! Expired by apply, a series is in no list from then on. Its row stays until a flush has stored a registry without it, since a flush stores
//! an earlier moment, in which it may live.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_chunk::DecodeError;
use bellwether_chunk::varint::{read_i64, read_u64, write_i64, write_u64};
use bellwether_model::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::head::Head;
use crate::index::{Index, PairId};
use crate::shard::{Shard, State};
use crate::window::WindowStart;

/// Format of a block of last Windows.
pub const LAST_WINDOWS_VERSION: u8 = 1;
/// Series per block.
pub const SERIES_PER_BLOCK: u32 = 4096;
/// Series that one command expires: apply does nothing else meanwhile.
pub const SERIES_PER_COMMAND_MAX: usize = 1 << 16;
/// Series whose Windows are noted, or which are copied, under one hold of the state lock.
const SERIES_PER_LOCK: usize = 1024;

impl State {
    /// The first Window number that keeps a series from expiry.
    fn first_kept(&self, idle_since: Timestamp) -> i32 {
        WindowStart::of(self.logical.floor.min(idle_since)).number()
    }

    /// Series, ascending, whose last Window is below `first_kept`.
    fn expirable(&self, first_kept: i32) -> impl Iterator<Item = u32> + '_ {
        let rows = self.index.rows();
        rows.living_in(0, rows.len()).filter(move |series| {
            rows.get(*series).is_some_and(|row| row.last_window < first_kept)
                && self.heads().all(|head| head.last_window(*series).is_none_or(|last| last < first_kept))
        })
    }

    fn heads(&self) -> impl Iterator<Item = &Head> {
        self.frozen.iter().map(Arc::as_ref).chain([&self.head])
    }

    /// Expires series as [`ShardWriter::expire_series`](crate::ShardWriter::expire_series) says.
    pub(crate) fn expire(&mut self, idle_since: Timestamp) -> u64 {
        let expired: Vec<u32> = self.expirable(self.first_kept(idle_since)).take(SERIES_PER_COMMAND_MAX).collect();
        let metrics: BTreeSet<PairId> = expired.iter().filter_map(|series| self.index.metric_of(*series)).collect();
        self.forget(&expired);
        for metric in metrics.into_iter().filter(|metric| !self.index.has_series(*metric)) {
            self.metadata.remove(self.index.metric_key(metric));
        }
        expired.len() as u64
    }

    /// Takes living series, ascending, out of all lists, for good.
    pub(crate) fn forget(&mut self, series: &[u32]) {
        self.index.expire(series);
        self.exemplars.forget(series);
        for series in series {
            self.logical.state_hash = xxh3_64_with_seed(&series.to_le_bytes(), self.logical.state_hash);
        }
        self.expired.extend(series);
    }

    /// Whether the stored registry knows a series as expired: then no restart brings it back.
    pub(crate) fn is_forgotten(&self, series: u32) -> bool {
        !self.index.is_living(series) && !self.expired.contains(&series)
    }
}

impl Shard {
    /// Whether a command that expires series, idle since then, would find any.
    pub fn has_expired_series(&self, idle_since: Timestamp) -> bool {
        let state = self.state.read();
        state.expirable(state.first_kept(idle_since)).next().is_some()
    }

    /// Raises the last Windows of the series of some heads, which then need not be asked any more. Returns the first series of each block
    /// that changed.
    pub(crate) fn note_last_windows(&self, heads: &[Arc<Head>]) -> Vec<u32> {
        let mut changed = Vec::new();
        for head in heads {
            let series: Vec<u32> = head.all_series().collect();
            for some in series.chunks(SERIES_PER_LOCK) {
                let mut state = self.state.write();
                for series in some {
                    let block = block_of(*series);
                    if let Some(window) = head.last_window(*series)
                        && state.index.rows_mut().raise_last_window(*series, window)
                        && changed.last() != Some(&block)
                    {
                        changed.push(block);
                    }
                }
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Gives back what series take that a stored registry knows as expired.
    pub(crate) fn forget_expired(&self, forgotten: &BTreeSet<u32>) {
        {
            let mut state = self.state.write();
            let State { index, expired, .. } = &mut *state;
            for series in forgotten {
                index.rows_mut().free_page_of(*series, |first, end| expired.range(first..end).next().is_some());
            }
            if !index.has_much_unused() || !expired.is_empty() {
                return;
            }
        }
        self.make_index_anew();
    }

    /// Replaces the index by one of the living series alone. Apply and queries go on meanwhile; only the maintenance lock's holder may call it,
    /// since rows of series that have expired are lost.
    fn make_index_anew(&self) {
        let mut anew = self.state.read().index.successor();
        loop {
            let state = self.state.read();
            if state.index.len() - anew.len() <= SERIES_PER_LOCK as u32 {
                break;
            }
            anew.copy(&state.index, anew.len() + SERIES_PER_LOCK as u32, &state.expired);
        }
        let mut state = self.state.write();
        anew.copy(&state.index, u32::MAX, &state.expired);
        let expired: Vec<u32> = state.expired.iter().copied().collect();
        anew.expire(&expired);
        let old = std::mem::replace(&mut state.index, anew);
        drop(state);
        // Freed outside the lock.
        drop(old);
    }
}

/// The first series of the block that holds a series.
pub fn block_of(series: u32) -> u32 {
    series - series % SERIES_PER_BLOCK
}

/// The last Windows of the series from `first` on, to before `end`.
pub fn encode(index: &Index, first: u32, end: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let end = end.min(first.saturating_add(SERIES_PER_BLOCK));
    write_u64(&mut out, u64::from(end.saturating_sub(first)));
    let mut previous = 0i64;
    for series in first..end {
        // A series that has expired is written as its neighbour is, which costs least.
        let window = index.rows().get(series).map_or(previous, |row| i64::from(row.last_window));
        write_i64(&mut out, window - previous);
        previous = window;
    }
    out
}

/// Reads a block of the series from `first` on into the index.
pub fn decode_into(first: u32, mut input: &[u8], index: &mut Index) -> Result<(), DecodeError> {
    let input = &mut input;
    let count = read_u64(input)?;
    if count > u64::from(SERIES_PER_BLOCK) || count > u64::from(index.len().saturating_sub(first)) {
        return Err(DecodeError::Invalid { what: "number of series", got: count });
    }
    let mut window = 0i64;
    for series in first..first + count as u32 {
        window = window.wrapping_add(read_i64(input)?);
        let number =
            i32::try_from(window).map_err(|_| DecodeError::Invalid { what: "Window number", got: window as u64 })?;
        index.rows_mut().raise_last_window(series, number);
    }
    if input.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { excess: input.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_model::{Labels, SeriesHash, Tenant};

    fn index(windows: &[i32]) -> Index {
        let (mut index, tenant) = (Index::default(), Tenant::default_tenant());
        for (series, window) in windows.iter().enumerate() {
            let labels = Labels::of(&[("__name__", "m"), ("id", &series.to_string())]);
            index.add(SeriesHash::of(&tenant, &labels), &tenant, &labels, *window);
        }
        index
    }

    #[test]
    fn blocks_are_golden_and_round_trip() {
        let original = index(&[249_324, 249_324, -5, i32::MAX]);
        let block = encode(&original, 0, 4);
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "04d8b71e00e1b71e88808080 10".replace(' ', ""));
        let mut read = index(&[i32::MIN; 4]);
        decode_into(0, &block, &mut read).unwrap();
        assert!((0..4).all(|series| {
            read.rows().get(series).map(|row| row.last_window) == original.rows().get(series).map(|row| row.last_window)
        }));
    }

    #[test]
    fn damaged_blocks_are_errors_or_other_numbers() {
        let block = encode(&index(&[1, 2, 300]), 0, 3);
        for at in 0..block.len() {
            assert!(decode_into(0, &block[..at], &mut index(&[0; 3])).is_err());
            for bit in 0..8 {
                let mut damaged = block.clone();
                damaged[at] ^= 1 << bit;
                let _ = decode_into(0, &damaged, &mut index(&[0; 3]));
            }
        }
        assert!(decode_into(1, &block, &mut index(&[0; 3])).is_err(), "more series than there are");
    }
}
