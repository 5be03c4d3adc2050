//! The histograms and the exemplars of a frame: rows as of floats, each with bytes of its own. The byte layout is in
//! `node/docs/format/shard-batch.md`.

use bellwether_model::limits::HISTOGRAM_BUCKETS_MAX;
use bellwether_model::{SeriesRef, Timestamp};

use crate::cursor::{Cursor, FormatError, put_sized, put_varint, unzigzag, zigzag};

/// Bytes that one row takes beside its histogram: a number's delta, a timestamp's, a length.
const ROW_OVERHEAD_BYTES: usize = 5 + 10 + 5;
/// Bytes of the largest histogram: ten for each part, and its other fields.
pub(crate) const HISTOGRAM_BYTES_MAX: usize = ROW_OVERHEAD_BYTES + HISTOGRAM_BUCKETS_MAX * 10 + 128;

/// One histogram of a series that is known by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkRow {
    pub(crate) number: u32,
    pub(crate) timestamp: Timestamp,
    start: usize,
    end: usize,
}

impl ChunkRow {
    /// Bytes that it takes of a frame.
    pub(crate) fn byte_len(&self) -> usize {
        ROW_OVERHEAD_BYTES + self.end - self.start
    }
}

/// Rows in order of arrival, and their histograms end to end.
#[derive(Debug, Default)]
pub(crate) struct ChunkRows {
    pub(crate) rows: Vec<ChunkRow>,
    bytes: Vec<u8>,
}

impl ChunkRows {
    pub(crate) fn push(&mut self, number: u32, timestamp: Timestamp, histogram: &[u8]) {
        assert!(histogram.len() <= HISTOGRAM_BYTES_MAX - ROW_OVERHEAD_BYTES, "histograms are validated first");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(histogram);
        self.rows.push(ChunkRow { number, timestamp, start, end: self.bytes.len() });
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
    }

    pub(crate) fn sort(&mut self) {
        // Stable: those of one series stay in order of arrival.
        self.rows.sort_by_key(|row| row.number);
    }

    /// Bytes held.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<ChunkRow>() + self.bytes.capacity()
    }

    /// Appends sorted rows of these, counted from the number `first`.
    pub(crate) fn encode(&self, rows: &[ChunkRow], first: u32, out: &mut Vec<u8>) {
        put_varint(out, rows.len() as u64);
        let (mut number, mut timestamp) = (first, 0i64);
        for row in rows {
            put_varint(out, u64::from(row.number - number));
            put_varint(out, zigzag(row.timestamp.wrapping_sub(timestamp)));
            put_sized(out, &self.bytes[row.start..row.end]);
            (number, timestamp) = (row.number, row.timestamp);
        }
    }
}

/// A histogram in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRowRef<'a> {
    /// Its series, or the index of its registration.
    pub series: SeriesRef,
    /// Its time.
    pub timestamp: Timestamp,
    /// A chunk of one histogram; not looked into yet.
    pub chunk: &'a [u8],
}

/// Where the histograms of a frame lie; made by [`ChunkBlock::read`], which checks the structure.
#[derive(Debug, Clone)]
pub(crate) struct ChunkBlock<'a> {
    count: usize,
    list: Cursor<'a>,
}

impl<'a> ChunkBlock<'a> {
    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<ChunkBlock<'a>, FormatError> {
        let count = cursor.length("histograms")?;
        let block = ChunkBlock { count, list: cursor.clone() };
        let (mut number, mut timestamp) = (0, 0);
        for _ in 0..count {
            next(cursor, &mut number, &mut timestamp)?;
        }
        Ok(block)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The largest number of a series.
    pub(crate) fn last(&self) -> Option<SeriesRef> {
        self.iter().last().and_then(Result::ok).map(|row| row.series)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<ChunkRowRef<'a>, FormatError>> + use<'a> {
        let (count, mut list) = (self.count, self.list.clone());
        let (mut number, mut timestamp) = (0, 0);
        (0..count).map(move |_| next(&mut list, &mut number, &mut timestamp))
    }
}

fn next<'a>(
    cursor: &mut Cursor<'a>,
    number: &mut u32,
    timestamp: &mut Timestamp,
) -> Result<ChunkRowRef<'a>, FormatError> {
    let above = cursor.varint_u32("a series number")?;
    *number = number.checked_add(above).ok_or_else(|| cursor.invalid("a number is too large"))?;
    *timestamp = timestamp.wrapping_add(unzigzag(cursor.varint("a timestamp")?));
    let chunk = cursor.sized("a histogram")?;
    Ok(ChunkRowRef { series: SeriesRef(*number), timestamp: *timestamp, chunk })
}
