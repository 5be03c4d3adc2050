//! The rows of a frame as columns: numbers ascending, timestamps once where equal, values without their trailing zeros.
//!
//! A value's 8 bytes are kept without the zero bytes at their low end, with a count of the kept ones in half a byte.
//! Counters and other small whole numbers, most of what monitoring sends, have two or three bytes left, and both ways
//! are a shift and an unaligned access. The byte layout is in `node/docs/format/shard-batch.md`.

use bellwether_model::{SeriesRef, Timestamp};

use crate::cursor::{Cursor, FormatError, put_varint, unzigzag, zigzag};

/// Bytes that one row takes at most: a number's delta, a timestamp's, half a byte, a value.
pub(crate) const ROW_BYTES_MAX: usize = 5 + 10 + 1 + 8;
/// Bytes that a block of rows takes beside its rows: counts, lengths and a common timestamp.
pub(crate) const ROWS_OVERHEAD_BYTES_MAX: usize = 32;

/// How the timestamps follow.
const SHAPE_ONE_TIMESTAMP: u8 = 0;
const SHAPE_OWN_TIMESTAMPS: u8 = 1;

/// One sample of a series that is known by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) number: u32,
    pub(crate) timestamp: Timestamp,
    pub(crate) value: f64,
}

/// Rows, decoded into buffers that are used again.
#[derive(Debug, Default, Clone)]
pub struct RowColumns {
    /// The series, ascending; a series with several samples stands several times, its samples in order of arrival.
    pub refs: Vec<SeriesRef>,
    /// One for each row, also when all are equal.
    pub timestamps: Vec<Timestamp>,
    /// One for each row.
    pub values: Vec<f64>,
    /// The timestamp of all rows, if they have one in common.
    pub one_timestamp: Option<Timestamp>,
}

impl RowColumns {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.refs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.refs.clear();
        self.timestamps.clear();
        self.values.clear();
        self.one_timestamp = None;
    }
}

/// Brings rows into ascending order of their numbers, those of one number in order of arrival.
pub(crate) fn sort(rows: &mut [Row]) {
    // The usual case: refs are given in the order in which a sender first sent its series.
    if !rows.is_sorted_by_key(|row| row.number) {
        // Stable, and quick on runs that are sorted already.
        rows.sort_by_key(|row| row.number);
    }
}

/// Appends sorted rows.
pub(crate) fn encode(rows: &[Row], out: &mut Vec<u8>) {
    put_varint(out, rows.len() as u64);
    let Some(first) = rows.first() else {
        return;
    };
    let one_timestamp = rows.iter().all(|row| row.timestamp == first.timestamp);
    out.push(if one_timestamp { SHAPE_ONE_TIMESTAMP } else { SHAPE_OWN_TIMESTAMPS });
    encode_numbers(rows, out);
    if one_timestamp {
        put_varint(out, zigzag(first.timestamp));
    } else {
        encode_timestamps(rows, out);
    }
    encode_values(rows, out);
}

/// A varint can be ten bytes long; the length in front of a column is a fixed four.
fn put_column(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn encode_numbers(rows: &[Row], out: &mut Vec<u8>) {
    put_column(out, |out| {
        out.reserve(rows.len() * 2);
        let mut previous = 0;
        for row in rows {
            put_varint(out, u64::from(row.number - previous));
            previous = row.number;
        }
    });
}

fn encode_timestamps(rows: &[Row], out: &mut Vec<u8>) {
    put_column(out, |out| {
        let mut previous: Timestamp = 0;
        for row in rows {
            put_varint(out, zigzag(row.timestamp.wrapping_sub(previous)));
            previous = row.timestamp;
        }
    });
}

fn encode_values(rows: &[Row], out: &mut Vec<u8>) {
    let kept_at = out.len();
    let bytes_at = kept_at + rows.len().div_ceil(2);
    // Eight bytes are written for every value and the next one overwrites those that are not kept.
    out.resize(bytes_at + rows.len() * 8 + 8, 0);
    let (kept_counts, bytes) = out[kept_at..].split_at_mut(bytes_at - kept_at);
    let mut end = 0;
    for (kept_pair, pair) in kept_counts.iter_mut().zip(rows.chunks(2)) {
        for (half, row) in pair.iter().enumerate() {
            let bits = row.value.to_bits();
            let kept = 8 - bits.trailing_zeros() / 8;
            let word = bits.checked_shr(64 - 8 * kept).unwrap_or(0);
            bytes[end..end + 8].copy_from_slice(&word.to_le_bytes());
            end += kept as usize;
            *kept_pair |= (kept as u8) << (4 * half);
        }
    }
    out.truncate(bytes_at + end);
}

/// Where the columns of a block of rows lie; made by [`RowBlock::read`], which checks all lengths.
#[derive(Debug, Clone)]
pub(crate) struct RowBlock<'a> {
    count: usize,
    numbers: Cursor<'a>,
    timestamps: TimestampColumn<'a>,
    kept_counts: &'a [u8],
    values: &'a [u8],
}

#[derive(Debug, Clone)]
enum TimestampColumn<'a> {
    One(Timestamp),
    Own(Cursor<'a>),
}

impl<'a> RowBlock<'a> {
    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<RowBlock<'a>, FormatError> {
        let count = cursor.length("rows")?;
        let empty = cursor.window(0, "rows")?;
        if count == 0 {
            let timestamps = TimestampColumn::One(0);
            return Ok(RowBlock { count, numbers: empty, timestamps, kept_counts: &[], values: &[] });
        }
        let shape = cursor.u8("the timestamps' shape")?;
        let length = cursor.u32("the length of the series numbers")?;
        let numbers = cursor.window(length as usize, "series numbers")?;
        let timestamps = match shape {
            SHAPE_ONE_TIMESTAMP => TimestampColumn::One(unzigzag(cursor.varint("the timestamp")?)),
            SHAPE_OWN_TIMESTAMPS => {
                let length = cursor.u32("the length of the timestamps")?;
                TimestampColumn::Own(cursor.window(length as usize, "timestamps")?)
            }
            _ => return Err(cursor.invalid("an unknown shape of timestamps")),
        };
        let kept_counts = cursor.take(count.div_ceil(2), "the lengths of values")?;
        if count % 2 == 1 && kept_counts.last().is_some_and(|pair| pair >> 4 != 0) {
            return Err(cursor.invalid("a length for a value that is not there"));
        }
        if kept_counts.iter().any(|pair| pair & 15 > 8 || pair >> 4 > 8) {
            return Err(cursor.invalid("a value has more than eight bytes"));
        }
        let kept: usize = kept_counts.iter().map(|pair| usize::from(pair & 15) + usize::from(pair >> 4)).sum();
        let values = cursor.take(kept, "values")?;
        Ok(RowBlock { count, numbers, timestamps, kept_counts, values })
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Replaces the contents of `out` by the rows.
    pub(crate) fn decode(&self, out: &mut RowColumns) -> Result<(), FormatError> {
        out.clear();
        self.decode_numbers(&mut out.refs)?;
        match &self.timestamps {
            TimestampColumn::One(timestamp) => {
                out.one_timestamp = Some(*timestamp).filter(|_| self.count > 0);
                out.timestamps.resize(self.count, *timestamp);
            }
            TimestampColumn::Own(column) => self.decode_timestamps(column.clone(), &mut out.timestamps)?,
        }
        self.decode_values(&mut out.values)
    }

    fn decode_numbers(&self, refs: &mut Vec<SeriesRef>) -> Result<(), FormatError> {
        let column = self.numbers.clone();
        if self.count > column.remaining() {
            return Err(column.truncated("series numbers"));
        }
        refs.resize(self.count, SeriesRef(0));
        let mut number = 0u32;
        column.varints(refs, "a series number", |delta| {
            number = number.checked_add(u32::try_from(delta).ok()?)?;
            Some(SeriesRef(number))
        })
    }

    fn decode_timestamps(&self, column: Cursor<'_>, timestamps: &mut Vec<Timestamp>) -> Result<(), FormatError> {
        timestamps.resize(self.count, 0);
        let mut timestamp: Timestamp = 0;
        column.varints(timestamps, "a timestamp", |delta| {
            timestamp = timestamp.wrapping_add(unzigzag(delta));
            Some(timestamp)
        })
    }

    fn decode_values(&self, values: &mut Vec<f64>) -> Result<(), FormatError> {
        values.resize(self.count, 0.0);
        let mut rest = self.values;
        for (pair, slots) in self.kept_counts.iter().zip(values.chunks_mut(2)) {
            for (kept, slot) in [pair & 15, pair >> 4].into_iter().zip(slots) {
                // The kept bytes of all values are as many as there are, so only the load may reach beyond them.
                let word = match rest.first_chunk::<8>() {
                    Some(word) => u64::from_le_bytes(*word),
                    None => last_word(rest),
                };
                // If no byte is kept, the shift is by 64.
                let bits = word.checked_shl(64 - 8 * u32::from(kept)).unwrap_or(0);
                *slot = f64::from_bits(bits);
                rest = &rest[usize::from(kept)..];
            }
        }
        Ok(())
    }
}

/// As many bytes as there are, and zeros.
fn last_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(rows: &[Row]) -> RowColumns {
        let mut bytes = Vec::new();
        encode(rows, &mut bytes);
        assert!(bytes.len() <= ROWS_OVERHEAD_BYTES_MAX + rows.len() * ROW_BYTES_MAX);
        let mut cursor = Cursor::new("rows", &bytes);
        let block = RowBlock::read(&mut cursor).unwrap();
        cursor.expect_end().unwrap();
        let mut columns = RowColumns::default();
        block.decode(&mut columns).unwrap();
        assert_eq!(columns.len(), rows.len());
        columns
    }

    fn row() -> impl Strategy<Value = Row> {
        let number = prop_oneof![0..200u32, any::<u32>()];
        let timestamp = prop_oneof![Just(1_790_000_000_000), 1_790_000_000_000..1_790_000_100_000i64, any::<i64>()];
        let value =
            prop_oneof![(-1000..1000i32).prop_map(f64::from), any::<u64>().prop_map(f64::from_bits), Just(-0.0)];
        (number, timestamp, value).prop_map(|(number, timestamp, value)| Row { number, timestamp, value })
    }

    proptest! {
        #[test]
        fn rows_round_trip_bit_for_bit(mut rows in proptest::collection::vec(row(), 0..60)) {
            let mut expected = rows.clone();
            expected.sort_by_key(|row| row.number);
            sort(&mut rows);
            let columns = round_trip(&rows);
            for (at, row) in expected.iter().enumerate() {
                prop_assert_eq!(columns.refs[at].0, row.number);
                prop_assert_eq!(columns.timestamps[at], row.timestamp);
                prop_assert_eq!(columns.values[at].to_bits(), row.value.to_bits());
            }
            let first = rows.first().map(|row| row.timestamp);
            let one = first.filter(|first| rows.iter().all(|row| row.timestamp == *first));
            prop_assert_eq!(columns.one_timestamp, one);
        }
    }

    #[test]
    fn small_whole_numbers_take_few_bytes() {
        let rows: Vec<Row> = (0..1000)
            .map(|number| Row { number, timestamp: 1_790_000_000_000, value: f64::from(number % 100) })
            .collect();
        let mut bytes = Vec::new();
        encode(&rows, &mut bytes);
        assert!(bytes.len() < 4_000, "{}", bytes.len());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let mut bytes = Vec::new();
        encode(&[Row { number: 1, timestamp: 2, value: 3.5 }], &mut bytes);
        let read = |bytes: &[u8]| {
            let block = RowBlock::read(&mut Cursor::new("rows", bytes))?;
            block.decode(&mut RowColumns::default())
        };
        read(&bytes).unwrap();
        let kept_at = bytes.len() - 3;
        assert_eq!(bytes[kept_at], 2);
        bytes[kept_at] = 0x12;
        assert!(read(&bytes).unwrap_err().to_string().ends_with("a length for a value that is not there"));
        bytes[kept_at] = 9;
        bytes.resize(kept_at + 1 + 9, 0);
        assert!(read(&bytes).unwrap_err().to_string().ends_with("a value has more than eight bytes"));
        // More rows than there are bytes.
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap_err().to_string().contains("rows is missing"));
    }
}
