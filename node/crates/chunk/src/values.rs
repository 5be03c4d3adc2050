//! The stored format of a column of values: the best codec per chunk, bit-exact.
//!
//! 1. One bit pattern throughout: stored once.
//! 2. Integers under a common scale (`decimal`), less their common divisor, predicted (`column`) and packed (`residuals`).
//! 3. What is not decimal is taken as integers too: the bit patterns, in the order of the floats. Their differences need
//!    fewer bits than Gorilla's XOR, whose window must reach from the first to the last bit that changed.
//! 4. Few different bit patterns in no order are left raw: ZSTD finds what repeats.

use crate::column::{Predictor, decode_column, encode_column};
use crate::decimal::{self, Exception, Scale};
use crate::varint::{read_bytes, read_i64, read_u8, read_u64, read_u64_le, write_i64, write_u64};
use crate::{DecodeError, SAMPLES_PER_CHUNK_MAX, check_count};

/// Values that are looked at to see whether bit patterns repeat.
const REPEAT_SAMPLES: usize = 32;
/// What ZSTD leaves of a raw value that is near its like: a match of eight bytes.
const RAW_REPEATED_BITS: usize = 20;
const FAST_PREDICTORS: [Predictor; 1] = [Predictor::Delta];
const BEST_PREDICTORS: [Predictor; 3] = [Predictor::Delta, Predictor::Plain, Predictor::DeltaOfDelta];

const SCALE_MASK: u8 = 0x1f;
const _: () = assert!(Scale::CODES <= SCALE_MASK as usize + 1);
const HAS_DIVISOR: u8 = 0x20;
const HAS_EXCEPTIONS: u8 = 0x40;

/// How a chunk's values are stored. The number is on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ValueCodec {
    /// Eight bytes per value.
    Raw = 0,
    /// All values have the same bits, stored once.
    Constant = 1,
    /// Integers times a power of ten.
    Decimal = 2,
    /// Bit patterns as integers, in the order of the floats.
    Bits = 3,
}

impl TryFrom<u8> for ValueCodec {
    type Error = DecodeError;

    fn try_from(tag: u8) -> Result<Self, DecodeError> {
        [Self::Raw, Self::Constant, Self::Decimal, Self::Bits]
            .into_iter()
            .find(|&codec| codec as u8 == tag)
            .ok_or(DecodeError::UnknownCodec { tag })
    }
}

/// How hard to look for the smallest encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For what will be rewritten soon.
    Fast,
    /// For what stays.
    Best,
}

/// Buffers that an encoder keeps between chunks, so that encoding allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    integers: Vec<i64>,
    exceptions: Vec<Exception>,
    residuals: Vec<u64>,
}

/// Appends the values to `out`, at most eight bytes each, and says how. The count is not stored.
///
/// # Panics
/// When there are more than [`SAMPLES_PER_CHUNK_MAX`].
pub fn encode_values(values: &[f64], effort: Effort, scratch: &mut Scratch, out: &mut Vec<u8>) -> ValueCodec {
    assert!(values.len() <= SAMPLES_PER_CHUNK_MAX, "too many values for a chunk");
    let Some(&first) = values.first() else {
        return ValueCodec::Raw;
    };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return ValueCodec::Constant;
    }
    let start = out.len();
    let scale = decimal::find(values, &mut scratch.integers, &mut scratch.exceptions);
    if scale.is_none() {
        scratch.exceptions.clear();
        scratch.integers.clear();
        scratch.integers.extend(values.iter().map(|value| ordered(value.to_bits() as i64)));
    }
    encode_integers(scale.map_or(0, Scale::code), effort, scratch, out);
    let raw_len = if scale.is_none() { raw_len_after_zstd(values) } else { size_of_val(values) };
    if out.len() - start >= raw_len {
        out.truncate(start);
        out.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        return ValueCodec::Raw;
    }
    if scale.is_some() { ValueCodec::Decimal } else { ValueCodec::Bits }
}

/// How small raw values become after ZSTD, estimated from how many of some samples are different.
fn raw_len_after_zstd(values: &[f64]) -> usize {
    let mut samples = [0; REPEAT_SAMPLES];
    let picked = values.iter().step_by(values.len().div_ceil(REPEAT_SAMPLES));
    let count = picked.len();
    for (sample, value) in samples.iter_mut().zip(picked) {
        *sample = value.to_bits();
    }
    let samples = &mut samples[..count];
    samples.sort_unstable();
    let different = samples.chunk_by(|a, b| a == b).count();
    let bits = (different * 64 + (count - different) * RAW_REPEATED_BITS) / count;
    (values.len() * bits).div_ceil(8)
}

/// Appends exactly `count` values to `out`, or leaves it as it was and says why.
/// Allocates room for `count` values at most.
pub fn decode_values(codec: ValueCodec, mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    check_count(count)?;
    let start = out.len();
    out.reserve(count);
    let mut result = if count == 0 { Ok(()) } else { decode_some(codec, &mut bytes, count, out) };
    if result.is_ok() && !bytes.is_empty() {
        result = Err(DecodeError::TrailingBytes { excess: bytes.len() });
    }
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn decode_some(codec: ValueCodec, input: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    let start = out.len();
    match codec {
        ValueCodec::Raw => {
            let words = read_bytes(input, 8 * count, "raw values")?.as_chunks().0;
            out.extend(words.iter().map(|&word| f64::from_bits(u64::from_le_bytes(word))));
        }
        ValueCodec::Constant => {
            let value = f64::from_bits(read_u64_le(input, "a constant")?);
            out.resize(start + count, value);
        }
        ValueCodec::Decimal => decode_decimal(input, count, out)?,
        ValueCodec::Bits => {
            let flags = read_u8(input, "flags")?;
            if flags & !HAS_DIVISOR != 0 {
                return Err(DecodeError::Invalid { what: "flags", got: flags.into() });
            }
            out.resize(start + count, 0.0);
            let slots = &mut out[start..];
            let (first, step) = decode_integers(flags, input, slots)?;
            for slot in slots {
                let integer = first.wrapping_add(step.wrapping_mul(slot.to_bits() as i64));
                *slot = f64::from_bits(ordered(integer) as u64);
            }
        }
    }
    Ok(())
}

fn decode_decimal(input: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    let start = out.len();
    let flags = read_u8(input, "flags")?;
    let invalid = DecodeError::Invalid { what: "flags", got: flags.into() };
    if flags & !(SCALE_MASK | HAS_DIVISOR | HAS_EXCEPTIONS) != 0 {
        return Err(invalid);
    }
    let scale = Scale::from_code(flags & SCALE_MASK).ok_or(invalid)?;
    let (mut positions, exceptions) =
        if flags & HAS_EXCEPTIONS != 0 { read_exceptions(input, count)? } else { (&[][..], &[][..]) };
    out.resize(start + count - exceptions.len(), 0.0);
    let slots = &mut out[start..];
    let (first, step) = decode_integers(flags, input, slots)?;
    scale.fill_floats(first, step, slots);
    let mut next = start;
    for &value in exceptions {
        let at = usize::try_from(read_u64(&mut positions)?).ok().and_then(|distance| next.checked_add(distance));
        let Some(at) = at.filter(|&at| at <= out.len()) else {
            return Err(DecodeError::Invalid { what: "exception's position after", got: (next - start) as u64 });
        };
        out.insert(at, f64::from_bits(u64::from_le_bytes(value)));
        next = at + 1;
    }
    Ok(())
}

/// Positions (as distances) and values of the exceptions, fewer than `count`.
fn read_exceptions<'a>(input: &mut &'a [u8], count: usize) -> Result<(&'a [u8], &'a [[u8; 8]]), DecodeError> {
    let exceptions = read_u64(input)?;
    if exceptions >= count as u64 || exceptions > decimal::exceptions_max(count) as u64 {
        return Err(DecodeError::Invalid { what: "number of exceptions", got: exceptions });
    }
    let exceptions = exceptions as usize;
    let positions = *input;
    for _ in 0..exceptions {
        read_u64(input)?;
    }
    Ok((positions, read_bytes(input, 8 * exceptions, "exceptions")?.as_chunks().0))
}

fn encode_integers(scale: u8, effort: Effort, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Scratch { integers, exceptions, residuals } = scratch;
    let first = integers[0];
    let divisor = common_divisor(integers);
    let mut flags = scale;
    if divisor > 1 {
        flags |= HAS_DIVISOR;
        for integer in integers.iter_mut() {
            *integer = integer.wrapping_sub(first) / divisor as i64;
        }
    }
    if !exceptions.is_empty() {
        flags |= HAS_EXCEPTIONS;
    }
    out.push(flags);
    if !exceptions.is_empty() {
        write_u64(out, exceptions.len() as u64);
        let mut next = 0;
        for exception in exceptions.iter() {
            write_u64(out, (exception.index - next) as u64);
            next = exception.index + 1;
        }
        out.extend(exceptions.iter().flat_map(|exception| exception.value.to_bits().to_le_bytes()));
    }
    write_i64(out, first);
    if divisor > 1 {
        write_u64(out, divisor);
    }
    if integers.len() > 1 {
        let predictors = match effort {
            Effort::Fast => &FAST_PREDICTORS[..],
            Effort::Best => &BEST_PREDICTORS[..],
        };
        encode_column(integers, predictors, residuals, out);
    }
}

/// Fills `slots` with integers and answers what they still lack: add the first to the second times the integer.
fn decode_integers(flags: u8, input: &mut &[u8], slots: &mut [f64]) -> Result<(i64, i64), DecodeError> {
    let first = read_i64(input)?;
    let step = if flags & HAS_DIVISOR == 0 { 1 } else { read_u64(input)? as i64 };
    decode_column(input, 0, slots)?;
    Ok((first, step))
}

/// The largest integer that divides all distances; 1 as well when a distance does not fit 63 bits.
fn common_divisor(integers: &[i64]) -> u64 {
    let first = integers[0];
    let mut divisor = 0;
    for &integer in &integers[1..] {
        let Some(distance) = integer.checked_sub(first) else {
            return 1;
        };
        divisor = greatest_common_divisor(divisor, distance.unsigned_abs());
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Maps a float's bits to an integer of the same order, and back.
#[inline]
fn ordered(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(values: &[f64], expected: Expect) {
        let mut bytes = Vec::new();
        let codec = encode_values(values, Effort::Best, &mut Scratch::default(), &mut bytes);
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        expected.assert_eq(&format!("{codec:?} {}", hex.join(" ")));
        let mut out = Vec::new();
        decode_values(codec, &bytes, values.len(), &mut out).expect("our own bytes decode");
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&out), bits(values));
    }

    // Stored formats: when one of these changes, data on disk cannot be read any more.

    #[test]
    fn golden_raw() {
        check(
            &[f64::MAX, -f64::MIN_POSITIVE, 0.1 + 0.2],
            expect!["Raw ff ff ff ff ff ff ef 7f 00 00 00 00 00 00 10 80 34 33 33 33 33 33 d3 3f"],
        );
    }

    #[test]
    fn golden_constant() {
        check(&[f64::from_bits(0x7ff0_0000_0000_0002); 100], expect!["Constant 02 00 00 00 00 00 f0 7f"]);
    }

    #[test]
    fn golden_counter() {
        check(&[1000.0, 1010.0, 1021.0, 1029.0, 1041.0, 1050.0, 1061.0], expect!["Decimal 00 d0 0f 44 16 15 53 03"]);
    }

    #[test]
    fn golden_decimal_with_a_divisor_and_an_exception() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        check(
            &[0.25, 0.5, 1.0, 0.25, 0.75, stale, 7.25, 0.25],
            expect!["Decimal 62 01 05 02 00 00 00 00 00 f0 7f 32 19 02 04 21 03 3f 25"],
        );
    }

    #[test]
    fn golden_twice_rounded() {
        check(
            &[6_112, 6_140, 6_172, 6_184, 6_200, 6_301].map(|milliseconds: i32| f64::from(milliseconds) * 0.001),
            expect!["Decimal 17 c0 5f 48 38 00 fd 2b 01 0f 01"],
        );
    }

    #[test]
    fn golden_single_precision() {
        check(&[23.4, 23.5, 23.4, 23.3, 23.1_f32].map(f64::from), expect!["Decimal 1c d4 03 81 02 0a 02 00"]);
    }

    #[test]
    fn golden_bits() {
        let sums: Vec<f64> = (1..9).map(|i| f64::from(i * i).sqrt() + f64::from(i).sqrt() * 1e-9).collect();
        check(
            &sums,
            expect![
                "Bits 00 e0 e0 a5 84 80 80 80 f0 7f 97 bc fd de fe ff ff ff 0f 00 00 70 74 1e d3 25 58 52 59 33 c7 f0 6e 09 0d 0f 01 01 00 00 00 21 00 00 00 e0 08 dd ff ff ff 0f dd ff ff ff 07"
            ],
        );
    }
}
