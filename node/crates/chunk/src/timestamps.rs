//! The stored format of a column of timestamps, shared by all series of a scrape group or owned by one.

use crate::DecodeError;
use crate::column::{ColumnScratch, decode_column, encode_column};
use crate::varint::{read_i64, write_i64};

/// Appends strictly rising timestamps to `out`. The count is not stored.
pub fn encode_timestamps(timestamps: &[i64], out: &mut Vec<u8>) {
    debug_assert!(
        timestamps.is_sorted_by(|before, after| before < after),
        "timestamps must rise"
    );
    let Some(&first) = timestamps.first() else {
        return;
    };
    write_i64(out, first);
    if timestamps.len() > 1 {
        encode_column(timestamps, [1, 2, 3], &mut ColumnScratch::default(), out);
    }
}

/// Appends exactly `count` timestamps to `out`, or leaves it as it was and says why.
pub fn decode_timestamps(
    mut bytes: &[u8],
    count: usize,
    out: &mut Vec<i64>,
) -> Result<(), DecodeError> {
    let start = out.len();
    let result = decode_after(&mut bytes, count, start, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn decode_after(
    input: &mut &[u8],
    count: usize,
    start: usize,
    out: &mut Vec<i64>,
) -> Result<(), DecodeError> {
    if count > 0 {
        let first = read_i64(input)?;
        out.resize(start + count, 0);
        decode_column(input, first, &mut out[start..])?;
        if let Some(pair) = out[start..].windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(DecodeError::Invalid {
                what: "timestamp, not after the one before",
                got: pair[1] as u64,
            });
        }
    }
    if input.is_empty() {
        Ok(())
    } else {
        Err(DecodeError::TrailingBytes {
            excess: input.len(),
        })
    }
}
