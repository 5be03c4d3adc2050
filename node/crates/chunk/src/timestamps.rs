//! The stored format of a column of timestamps, shared by all series of a scrape group or owned by one.

use crate::column::{Predictor, decode_column, encode_column};
use crate::varint::{read_i64, write_i64};
use crate::{DecodeError, SAMPLES_PER_CHUNK_MAX, check_count};

const PREDICTORS: [Predictor; 3] = [Predictor::Line, Predictor::Delta, Predictor::DeltaOfDelta];

/// Appends strictly rising timestamps to `out`. The count is not stored.
///
/// # Panics
/// When there are more than [`SAMPLES_PER_CHUNK_MAX`].
pub fn encode_timestamps(timestamps: &[i64], out: &mut Vec<u8>) {
    assert!(timestamps.len() <= SAMPLES_PER_CHUNK_MAX, "too many timestamps for a chunk");
    debug_assert!(timestamps.is_sorted_by(|before, after| before < after), "timestamps must rise");
    let Some(&first) = timestamps.first() else {
        return;
    };
    write_i64(out, first);
    if timestamps.len() > 1 {
        encode_column(timestamps, &PREDICTORS, &mut Vec::new(), out);
    }
}

/// Appends exactly `count` timestamps to `out`, or leaves it as it was and says why.
pub fn decode_timestamps(mut bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    check_count(count)?;
    let start = out.len();
    let result = decode_after(&mut bytes, count, start, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn decode_after(input: &mut &[u8], count: usize, start: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    if count > 0 {
        let first = read_i64(input)?;
        out.resize(start + count, 0);
        decode_column(input, first, &mut out[start..])?;
        if let Some(pair) = out[start..].windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(DecodeError::Invalid { what: "timestamp, not after the one before", got: pair[1] as u64 });
        }
    }
    if input.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { excess: input.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(timestamps: &[i64], expected: &[u8]) {
        let mut bytes = Vec::new();
        encode_timestamps(timestamps, &mut bytes);
        assert_eq!(bytes, expected, "{bytes:02x?}");
        let mut out = Vec::new();
        decode_timestamps(&bytes, timestamps.len(), &mut out).expect("our own bytes decode");
        assert_eq!(out, timestamps);
    }

    // Stored formats: when one of these changes, data on disk cannot be read any more.

    #[test]
    fn golden_single() {
        check(&[-1], &[0x01]);
    }

    #[test]
    fn golden_regular() {
        check(
            &[1_790_000_000_000, 1_790_000_015_000, 1_790_000_030_000],
            &[0x80, 0xb0, 0x83, 0xc5, 0x98, 0x68, 0xc0, 0xb0, 0xea, 0x01],
        );
    }

    #[test]
    fn golden_jitter() {
        check(
            &[0, 15_003, 29_990, 45_012, 60_000, 74_991, 90_001],
            &[0x00, 0xc6, 0xb0, 0xea, 0x01, 0x1e, 0x10, 0x01, 0x89, 0x19],
        );
    }
}
