//! Histograms among floats.
//!
//! Everywhere a histogram's place among a series' samples is held by a float, its *mark*: a NaN that is made of the histogram's bytes. So whatever
//! decides about samples (which of two with one time holds, what came late, what a tombstone hides, what is merged) decides about marks as about any float,
//! and writing the same histogram again changes nothing. The histograms themselves are beside: in a head as they came, in a pack as a
//! chunk. In the end each mark takes the [`Beside`] histogram of its time; a float that happens to look like a mark has none and stays what it is.
//!
//! Two histograms that are written to one time of a series and differ count as the same with a probability of 2^-50.

use std::sync::Arc;

use bellwether_chunk::{Scratch, decode_histograms, encode_histograms};
use bellwether_model::{Histogram, TimeRange, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

/// The highest bits of a mark: those of a NaN that no arithmetic makes and no sender uses.
const MARK: u64 = 0xfff4 << 48;
const MARK_MASK: u64 = 0xfffc << 48;

/// What holds the place of a histogram with this chunk.
pub fn mark_of(chunk: &[u8]) -> f64 {
    f64::from_bits(MARK | (xxh3_64(chunk) & !MARK_MASK))
}

fn is_mark(value: f64) -> bool {
    value.to_bits() & MARK_MASK == MARK
}

/// Histograms of a series, each a chunk of its own, in order of arrival.
pub type Chunks = Vec<(Timestamp, Arc<[u8]>)>;

/// Histograms that marks of one series may mean, from all its layers.
#[derive(Default)]
pub struct Beside {
    found: Vec<Found>,
    encoder: Scratch,
    buffer: Vec<u8>,
}

struct Found {
    timestamp: Timestamp,
    mark: u64,
    histogram: Histogram,
}

impl Beside {
    /// Whether no layer has any.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.found.clear();
    }

    /// Adds those of a head that lie inside `range`.
    pub fn add_chunks(&mut self, chunks: &[(Timestamp, Arc<[u8]>)], range: TimeRange) {
        let mut decoded = Vec::with_capacity(1);
        for (timestamp, chunk) in chunks.iter().filter(|(timestamp, _)| range.contains(*timestamp)) {
            decode_histograms(chunk, 1, &mut decoded).expect("it was decoded before it was taken in");
            let mark = mark_of(chunk).to_bits();
            let histogram = decoded.pop().expect("one was asked for");
            self.found.push(Found { timestamp: *timestamp, mark, histogram });
        }
    }

    /// Adds one of a run, and returns its mark.
    pub fn add(&mut self, timestamp: Timestamp, histogram: Histogram) -> f64 {
        self.buffer.clear();
        encode_histograms(std::slice::from_ref(&histogram), &mut self.encoder, &mut self.buffer);
        let mark = mark_of(&self.buffer);
        self.found.push(Found { timestamp, mark: mark.to_bits(), histogram });
        mark
    }

    /// The rows whose values are marks of histograms, with these; the rest is forgotten.
    pub fn take(&mut self, timestamps: &[Timestamp], values: &[f64]) -> Vec<(usize, Histogram)> {
        self.found.sort_by_key(|found| (found.timestamp, found.mark));
        let mut found = self.found.drain(..).peekable();
        let mut rows = Vec::new();
        for (row, (timestamp, value)) in timestamps.iter().zip(values).enumerate() {
            if is_mark(*value) {
                let wanted = (*timestamp, value.to_bits());
                while found.next_if(|found| (found.timestamp, found.mark) < wanted).is_some() {}
                let here = found.next_if(|found| (found.timestamp, found.mark) == wanted);
                rows.extend(here.map(|found| (row, found.histogram)));
            }
        }
        rows
    }
}

/// Whether a chunk is one valid histogram.
// What is valid must not change but with a version of entries: replicas would disagree.
pub fn is_valid(chunk: &[u8]) -> bool {
    let mut decoded = Vec::with_capacity(1);
    decode_histograms(chunk, 1, &mut decoded).is_ok() && decoded.iter().all(|histogram| histogram.validate().is_ok())
}
