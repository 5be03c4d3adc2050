//! The histograms of one series on their way into a batch, each encoded as a chunk of its own.

use bellwether_chunk::{Scratch, encode_histograms};
use bellwether_model::{Histogram, Timestamp};

/// What an allocation costs beside what it holds.
pub(crate) const ALLOCATION_BYTES: usize = 16;

/// The histograms of one series that can be stored, as chunks.
#[derive(Debug, Default)]
pub(crate) struct HistogramChunks {
    /// Times, and where each chunk ends.
    rows: Vec<(Timestamp, usize)>,
    bytes: Vec<u8>,
    encoder: Scratch,
}

impl HistogramChunks {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn push(&mut self, timestamp: Timestamp, histogram: &Histogram) {
        encode_histograms(std::slice::from_ref(histogram), &mut self.encoder, &mut self.bytes);
        self.rows.push((timestamp, self.bytes.len()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timestamp, &[u8])> {
        let mut start = 0;
        self.rows.iter().map(move |(timestamp, end)| {
            let chunk = &self.bytes[start..*end];
            start = *end;
            (*timestamp, chunk)
        })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(Timestamp, usize)>() + self.bytes.capacity()
    }

    /// What they take once they are a new series'.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * (size_of::<(Timestamp, Box<[u8]>)>() + ALLOCATION_BYTES)
    }
}
