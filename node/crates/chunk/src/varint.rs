//! Integers as bytes: LEB128 for unsigned ones, zigzag before it for signed ones.
//!
//! Readers take from the front of a slice and leave it at the next field. They answer with an error when the slice is too
//! short or the number too large, and leave the slice unspecified then.

use crate::DecodeError;

/// Most bytes that one 64-bit integer takes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Maps small magnitudes of either sign to small numbers: 0, -1, 1, -2 become 0, 1, 2, 3.
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends `value` as LEB128: one to ten bytes.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer, small magnitudes in few bytes.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, zigzag(value));
}

/// Bytes that [`write_u64`] takes for `value`.
#[inline]
pub const fn len_u64(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Takes an unsigned integer from the front of `input`.
#[inline]
pub fn read_u64(input: &mut &[u8]) -> Result<u64, DecodeError> {
    if let Some((&first, rest)) = input.split_first()
        && first < 0x80
    {
        *input = rest;
        return Ok(u64::from(first));
    }
    read_u64_long(input)
}

fn read_u64_long(input: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0;
    for index in 0..VARINT_BYTES_MAX {
        let byte = *input.get(index).ok_or(DecodeError::Truncated { what: "a varint" })?;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if (bits << shift) >> shift != bits {
            return Err(DecodeError::VarintOverflow);
        }
        value |= bits << shift;
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Ok(value);
        }
    }
    Err(DecodeError::VarintOverflow)
}

/// Takes a signed integer from the front of `input`.
#[inline]
pub fn read_i64(input: &mut &[u8]) -> Result<i64, DecodeError> {
    read_u64(input).map(unzigzag)
}

/// Takes one byte from the front of `input`; `what` names it in the error.
#[inline]
pub fn read_u8(input: &mut &[u8], what: &'static str) -> Result<u8, DecodeError> {
    let (&byte, rest) = input.split_first().ok_or(DecodeError::Truncated { what })?;
    *input = rest;
    Ok(byte)
}

/// Takes `len` bytes from the front of `input`; `what` names them in the error.
#[inline]
pub fn read_bytes<'a>(input: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = input.split_at_checked(len).ok_or(DecodeError::Truncated { what })?;
    *input = rest;
    Ok(taken)
}

/// Takes eight little-endian bytes from the front of `input`; `what` names them in the error.
#[inline]
pub fn read_u64_le(input: &mut &[u8], what: &'static str) -> Result<u64, DecodeError> {
    let (taken, rest) = input.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
    *input = rest;
    Ok(u64::from_le_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_u64(&mut out, value);
        out
    }

    #[test]
    fn small_numbers_take_one_byte_and_the_largest_takes_ten() {
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [127]);
        assert_eq!(written(128), [0x80, 1]);
        assert_eq!(written(300), [0xac, 2]);
        assert_eq!(written(u64::MAX), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }

    #[test]
    fn zigzag_interleaves_the_signs() {
        assert_eq!([0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag), [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }

    #[test]
    fn a_cut_varint_is_truncated_at_every_length() {
        let bytes = written(u64::MAX);
        for len in 0..bytes.len() {
            assert_eq!(read_u64(&mut &bytes[..len]), Err(DecodeError::Truncated { what: "a varint" }));
        }
    }

    #[test]
    fn more_than_64_bits_overflow() {
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert_eq!(read_u64(&mut &bytes[..]), Err(DecodeError::VarintOverflow));
        assert_eq!(read_u64(&mut &[0xff; 11][..]), Err(DecodeError::VarintOverflow));
    }

    #[test]
    fn fixed_fields_name_what_is_missing() {
        assert_eq!(read_u8(&mut &[][..], "a tag"), Err(DecodeError::Truncated { what: "a tag" }));
        assert_eq!(read_bytes(&mut &[1][..], 2, "a pair"), Err(DecodeError::Truncated { what: "a pair" }));
        assert_eq!(read_u64_le(&mut &[0; 7][..], "a word"), Err(DecodeError::Truncated { what: "a word" }));
    }

    proptest! {
        #[test]
        fn every_integer_comes_back(value: i64, shift in 0u32..64, tail: Vec<u8>) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            write_i64(&mut bytes, value);
            prop_assert_eq!(bytes.len(), len_u64(zigzag(value)));
            bytes.extend_from_slice(&tail);
            let mut input = &bytes[..];
            prop_assert_eq!(read_i64(&mut input), Ok(value));
            prop_assert_eq!(input, &tail[..]);
        }
    }
}
