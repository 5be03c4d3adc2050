//! Samples that are not in a run yet.
//!
//! A head holds, per series, one open chunk of samples in ascending order of time, the chunks that a change of Window closed, and
//! beside them the samples that came late or changed a value that was there. It is append-only: a flush takes the whole head away,
//! reads it in peace while a new one takes over, and drops it when its run is durable.
//!
//! Later wins: a late sample beats a chunk's sample of the same time, and among late ones the last does.

mod pages;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_chunk::HeadChunk;
use bellwether_model::{Sample, TimeRange, Timestamp};
use hashbrown::HashMap;

use self::pages::Pages;
use self::words::{Chain, Words};
use crate::histograms::{Chunks, mark_of};
use crate::window::WindowStart;

/// Refs per page of the table from refs to slots.
const REFS_PER_PAGE: usize = 4096;
/// Slots per page.
const SLOTS_PER_PAGE: usize = 1024;

/// What an allocation of a histogram costs beside its bytes.
const CHUNK_OVERHEAD_BYTES: usize = 32;

const NONE: u32 = u32::MAX;

/// One series' open chunk.
struct Slot {
    chunk: HeadChunk,
    words: Chain,
    /// The latest chunk that a change of Window closed.
    closed: u32,
}

struct ClosedChunk {
    chunk: HeadChunk,
    words: Chain,
    /// The one closed before it.
    previous: u32,
}

/// Where a head has a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkAt {
    /// In the slot of its series.
    Open(u32),
    /// Among those that a change of Window closed.
    Closed(u32),
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is stored: whoever keeps account of changes must know when.
    New {
        /// Its time.
        at: Timestamp,
    },
    /// The same sample was there already.
    Unchanged,
}

/// Hashes refs by themselves: they are small and dense.
type RefMap<V> = HashMap<u32, V, std::hash::BuildHasherDefault<RefHasher>>;

/// Fixed, since its order may reach bytes.
#[derive(Default)]
pub struct RefHasher(u64);

impl std::hash::Hasher for RefHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// Open samples of a shard.
pub struct Head {
    /// Which samples a tombstone means: those of layers below its own.
    pub layer: u64,
    /// Per ref, in pages: its slot.
    slot_of: Vec<Option<Box<[u32; REFS_PER_PAGE]>>>,
    slots: Pages<Slot, SLOTS_PER_PAGE>,
    closed: Vec<ClosedChunk>,
    words: Words,
    late: RefMap<Vec<Sample>>,
    late_samples: usize,
    /// By series; only those that have any.
    histograms: RefMap<Chunks>,
    histogram_bytes: usize,
    samples: u64,
    times: TimeRange,
    /// The Window of the latest sample: saves a division per sample.
    window: TimeRange,
}

impl Head {
    /// An empty head.
    pub fn new(layer: u64) -> Head {
        Head {
            layer,
            slot_of: Vec::new(),
            slots: Pages::default(),
            closed: Vec::new(),
            words: Words::default(),
            late: RefMap::default(),
            late_samples: 0,
            histograms: RefMap::default(),
            histogram_bytes: 0,
            samples: 0,
            times: TimeRange::new(Timestamp::MAX, Timestamp::MIN),
            window: TimeRange::new(1, 0),
        }
    }

    /// Samples held.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Series with a sample.
    pub fn series(&self) -> u32 {
        self.slots.len()
    }

    /// Earliest and latest sample; empty if there is none.
    pub fn times(&self) -> TimeRange {
        self.times
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.slot_of.iter().flatten().count() * REFS_PER_PAGE * 4
            + self.slots.bytes()
            + self.closed.capacity() * size_of::<ClosedChunk>()
            + self.words.bytes()
            + self.late.capacity() * size_of::<(u32, Vec<Sample>)>()
            + self.late_samples * size_of::<Sample>()
            + self.histograms.capacity() * size_of::<(u32, Chunks)>()
            + self.histogram_bytes
    }

    /// Adds a sample of a series.
    #[inline]
    pub fn append(&mut self, series: u32, timestamp: Timestamp, value: f64) -> Inserted {
        let at = self.slot(series);
        let slot = self.slots.get_mut(at);
        if !slot.chunk.is_empty() {
            let last = slot.chunk.last_timestamp();
            if timestamp <= last {
                if timestamp == last
                    && value.to_bits() == slot.chunk.last_value().to_bits()
                    && (self.late_samples == 0 || !self.late.contains_key(&series))
                {
                    return Inserted::Unchanged;
                }
                return self.append_late(series, Sample { timestamp, value });
            }
            let same_window = self.window.contains(timestamp) && self.window.contains(last);
            if !same_window && WindowStart::of(timestamp) != WindowStart::of(last) {
                self.closed.push(ClosedChunk { chunk: slot.chunk, words: slot.words, previous: slot.closed });
                slot.closed = (self.closed.len() - 1) as u32;
                slot.chunk = HeadChunk::new();
                slot.words = Chain::EMPTY;
            }
        }
        let (words, chain) = (&mut self.words, &mut slot.words);
        slot.chunk.append(timestamp, value, &mut |word| words.push(chain, word));
        self.note(timestamp);
        Inserted::New { at: timestamp }
    }

    /// Adds a histogram of a series, as a chunk that decodes.
    pub fn append_histogram(&mut self, series: u32, timestamp: Timestamp, chunk: &[u8]) -> Inserted {
        let inserted = self.append(series, timestamp, mark_of(chunk));
        if inserted != Inserted::Unchanged {
            self.histograms.entry(series).or_default().push((timestamp, chunk.into()));
            self.histogram_bytes += chunk.len() + size_of::<(Timestamp, Arc<[u8]>)>() + CHUNK_OVERHEAD_BYTES;
        }
        inserted
    }

    /// The histograms of a series, in order of arrival.
    #[inline]
    pub fn histograms(&self, series: u32) -> &[(Timestamp, Arc<[u8]>)] {
        if self.histograms.is_empty() {
            return &[];
        }
        self.histograms.get(&series).map_or(&[], Vec::as_slice)
    }

    /// Asks the processor for the slot of a series that will be appended to soon.
    #[inline]
    pub fn prefetch(&self, series: u32) {
        #[cfg(target_arch = "x86_64")]
        if let Some(at) = self.slot_if_any(series) {
            let slot: *const Slot = self.slots.get(at);
            // SAFETY: prefetching reads nothing, whatever the address; the instruction is in every x86-64.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(slot.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = series;
    }

    fn note(&mut self, timestamp: Timestamp) {
        self.samples += 1;
        self.times.first = self.times.first.min(timestamp);
        self.times.last = self.times.last.max(timestamp);
        if !self.window.contains(timestamp) {
            self.window = WindowStart::of(timestamp).range();
        }
    }

    #[cold]
    fn append_late(&mut self, series: u32, sample: Sample) -> Inserted {
        let late = self.late.entry(series).or_default();
        if late.last().is_some_and(|last| last.same_bits(sample)) {
            return Inserted::Unchanged;
        }
        late.push(sample);
        self.late_samples += 1;
        self.note(sample.timestamp);
        Inserted::New { at: sample.timestamp }
    }

    #[inline]
    fn slot_if_any(&self, series: u32) -> Option<u32> {
        let page = self.slot_of.get(series as usize / REFS_PER_PAGE)?.as_ref()?;
        Some(page[series as usize % REFS_PER_PAGE]).filter(|slot| *slot != NONE)
    }

    #[inline]
    fn slot(&mut self, series: u32) -> u32 {
        match self.slot_if_any(series) {
            Some(slot) => slot,
            None => self.new_slot(series),
        }
    }

    #[cold]
    fn new_slot(&mut self, series: u32) -> u32 {
        let page = series as usize / REFS_PER_PAGE;
        if self.slot_of.len() <= page {
            self.slot_of.resize_with(page + 1, || None);
        }
        let slot = self.slots.push(Slot { chunk: HeadChunk::new(), words: Chain::EMPTY, closed: NONE });
        let page = self.slot_of[page].get_or_insert_with(|| Box::new([NONE; REFS_PER_PAGE]));
        page[series as usize % REFS_PER_PAGE] = slot;
        slot
    }

    /// The number of the Window of a series' latest sample.
    pub fn last_window(&self, series: u32) -> Option<i32> {
        let slot = self.slot_if_any(series)?;
        let chunk = &self.slot_at(slot).chunk;
        // Late samples are before the end of some chunk.
        (!chunk.is_empty()).then(|| WindowStart::of(chunk.last_timestamp()).number())
    }

    /// Every series with a sample, ascending.
    pub fn all_series(&self) -> impl Iterator<Item = u32> + '_ {
        self.slot_of.iter().enumerate().flat_map(|(page, slots)| {
            slots.iter().flat_map(move |slots| {
                slots
                    .iter()
                    .enumerate()
                    .filter(|(_, slot)| **slot != NONE)
                    .map(move |(at, _)| (page * REFS_PER_PAGE + at) as u32)
            })
        })
    }

    /// Adds every Window that has a sample.
    pub fn windows(&self, windows: &mut BTreeSet<WindowStart>) {
        let mut latest = TimeRange::new(1, 0);
        let mut note = |timestamp: Timestamp| {
            if !latest.contains(timestamp) {
                let window = WindowStart::of(timestamp);
                latest = window.range();
                windows.insert(window);
            }
        };
        // A chunk never crosses from one Window into the next.
        self.slots.iter().filter(|slot| !slot.chunk.is_empty()).for_each(|slot| note(slot.chunk.first_timestamp()));
        self.closed.iter().for_each(|closed| note(closed.chunk.first_timestamp()));
        self.late.values().flatten().for_each(|sample| note(sample.timestamp));
    }

    /// Whether a series has a sample inside `range`, or nearly so: chunks are judged by their ends.
    pub fn may_hold(&self, series: u32, range: TimeRange) -> bool {
        let mut found = false;
        self.chunks(series, |_, chunk| {
            found |= range.overlaps(TimeRange::new(chunk.first_timestamp(), chunk.last_timestamp()));
        });
        found
            || (self.late_samples > 0
                && self.late.get(&series).is_some_and(|late| late.iter().any(|s| range.contains(s.timestamp))))
    }

    /// Calls `visit` with the chunks of a series, oldest first. None crosses from one Window into the next.
    pub fn chunks(&self, series: u32, mut visit: impl FnMut(ChunkAt, &HeadChunk)) {
        let Some(open) = self.slot_if_any(series) else { return };
        let slot = self.slot_at(open);
        if slot.closed != NONE {
            let mut closed = Vec::new();
            let mut at = slot.closed;
            while at != NONE {
                closed.push(at);
                at = self.closed[at as usize].previous;
            }
            for at in closed.into_iter().rev() {
                visit(ChunkAt::Closed(at), &self.closed[at as usize].chunk);
            }
        }
        if !slot.chunk.is_empty() {
            visit(ChunkAt::Open(open), &slot.chunk);
        }
    }

    /// The newest sample of a series inside `range`.
    pub fn latest(&self, series: u32, range: TimeRange) -> Option<Sample> {
        let chunk = &self.slot_at(self.slot_if_any(series)?).chunk;
        let newest = Sample { timestamp: chunk.last_timestamp(), value: chunk.last_value() };
        // Mostly it is the newest of all, which the chunk knows without being decoded.
        if !chunk.is_empty()
            && newest.timestamp <= range.last
            && (self.late_samples == 0 || !self.late.contains_key(&series))
        {
            return Some(newest).filter(|newest| newest.timestamp >= range.first);
        }
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        self.read(series, range, &mut timestamps, &mut values);
        let at = timestamps.partition_point(|timestamp| *timestamp <= range.last).checked_sub(1)?;
        let found = Sample { timestamp: timestamps[at], value: values[at] };
        Some(found).filter(|found| found.timestamp >= range.first)
    }

    /// Appends the samples of a chunk to the columns.
    pub fn read_chunk(&self, at: ChunkAt, timestamps: &mut Vec<Timestamp>, values: &mut Vec<f64>) {
        let (chunk, words) = match at {
            ChunkAt::Open(slot) => (&self.slot_at(slot).chunk, self.slot_at(slot).words),
            ChunkAt::Closed(at) => (&self.closed[at as usize].chunk, self.closed[at as usize].words),
        };
        chunk.decode(self.words.iter(words), timestamps, values);
    }

    /// The samples of a series inside `range` that came late, ascending, each time once: they win over its chunks.
    pub fn late_samples(&self, series: u32, range: TimeRange) -> Vec<Sample> {
        if self.late_samples == 0 {
            return Vec::new();
        }
        let late = self.late.get(&series).into_iter().flatten();
        let mut late: Vec<Sample> = late.copied().filter(|sample| range.contains(sample.timestamp)).collect();
        // Stable: of equal times the last in log order stays last, and wins.
        late.sort_by_key(|sample| sample.timestamp);
        late.dedup_by(|next, kept| {
            let same = next.timestamp == kept.timestamp;
            if same {
                *kept = *next;
            }
            same
        });
        late
    }

    fn slot_at(&self, slot: u32) -> &Slot {
        self.slots.get(slot)
    }

    /// Appends the samples of a series inside `range` to the columns, ascending, each time once. May add samples just outside the
    /// range: a chunk is read whole.
    pub fn read(&self, series: u32, range: TimeRange, timestamps: &mut Vec<Timestamp>, values: &mut Vec<f64>) {
        let start = timestamps.len();
        self.chunks(series, |at, chunk| {
            if range.overlaps(TimeRange::new(chunk.first_timestamp(), chunk.last_timestamp())) {
                self.read_chunk(at, timestamps, values);
            }
        });
        let late = self.late_samples(series, range);
        if late.is_empty() {
            return;
        }
        let chunk_times = timestamps.split_off(start);
        let chunk_values = values.split_off(start);
        let (late_times, late_values): (Vec<_>, Vec<_>) = late.iter().map(|s| (s.timestamp, s.value)).unzip();
        crate::merge::merge(&chunk_times, &chunk_values, &late_times, &late_values, timestamps, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn read(head: &Head, series: u32) -> Vec<(Timestamp, u64)> {
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        head.read(series, TimeRange::ALL, &mut timestamps, &mut values);
        timestamps.into_iter().zip(values.into_iter().map(f64::to_bits)).collect()
    }

    #[test]
    fn a_repeated_sample_is_a_no_op() {
        let mut head = Head::new(0);
        assert_eq!(head.append(3, 10, f64::NAN), Inserted::New { at: 10 });
        assert_eq!(head.append(3, 10, f64::NAN), Inserted::Unchanged);
        assert_eq!(head.append(3, 5, 1.0), Inserted::New { at: 5 });
        assert_eq!(head.append(3, 5, 1.0), Inserted::Unchanged);
        assert_eq!(head.samples(), 2);
    }

    #[test]
    fn a_head_that_holds_next_to_nothing_takes_next_to_nothing() {
        let mut head = Head::new(0);
        for series in 0..10 {
            head.append(series, 10, f64::from(series));
        }
        assert!(head.bytes() < REFS_PER_PAGE * 4 + (8 << 10), "{} bytes", head.bytes());
    }

    #[test]
    fn a_late_value_that_was_changed_back_is_changed_back() {
        let mut head = Head::new(0);
        for value in [1.0, 2.0, 1.0] {
            head.append(0, 10, value);
        }
        assert_eq!(read(&head, 0), [(10, 1f64.to_bits())]);
    }

    proptest! {
        #[test]
        fn the_last_write_of_a_time_wins(
            writes in proptest::collection::vec((0u32..3, -3i64..40, 0u8..3), 0..200),
        ) {
            let mut head = Head::new(0);
            let mut model: BTreeMap<u32, BTreeMap<Timestamp, u64>> = BTreeMap::new();
            for (series, step, value) in writes {
                // Half an hour apart: Windows change often.
                let timestamp = step * 1_800_000;
                head.append(series * 5000, timestamp, f64::from(value));
                model.entry(series).or_default().insert(timestamp, f64::from(value).to_bits());
            }
            for series in 0..3 {
                let expected: Vec<_> = model.get(&series).into_iter().flatten().map(|(t, v)| (*t, *v)).collect();
                prop_assert_eq!(read(&head, series * 5000), expected);
            }
        }
    }
}
