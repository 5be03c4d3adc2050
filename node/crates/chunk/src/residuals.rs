//! Non-negative integers, mostly small, as bytes: the last step of every column codec.
//!
//! ZSTD follows, over many chunks at once, with one Huffman table for all literals. So there are two kinds of packing:
//! - *Slots* of 1, 2, 4 or 8 bits (and plain varints) keep bytes regular: Huffman codes and matches take it from there.
//!   The narrower the slot, the fewer bytes for ZSTD's match finder to trip over.
//! - *Rice* leaves bytes that look random and are within a few percent of the entropy of anything bell-shaped.
//!   It is for wide residuals: a byte of noise beside a byte of signal would spoil the Huffman table for both.
//!
//! Slots: `2^width - 1` is the escape; Rice: a quotient of [`RICE_ESCAPE`]. What is escaped follows as varints.

use crate::DecodeError;
use crate::varint::{len_u64, read_bytes, read_u64, write_u64};

/// Rice quotients are below this; the quotient itself announces an escape.
const RICE_ESCAPE: u64 = 31;
/// A low part is read with one unaligned load of eight bytes, of which up to seven bits belong to its neighbour.
const RICE_LOW_BITS_MAX: u32 = 57;
const RICE_CODE_FIRST: u8 = 6;
/// Packing codes are below this: six bits.
pub(crate) const PACKING_CODES: u8 = 64;
const _: () = assert!(RICE_CODE_FIRST as u32 + RICE_LOW_BITS_MAX + 1 == PACKING_CODES as u32);

/// How residuals are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// All are zero: no bytes.
    Zero,
    /// Slots of 1, 2, 4 or 8 bits.
    Slots { width: u32 },
    /// LEB128 each.
    Varint,
    /// Low bits side by side, then quotients in unary.
    Rice { low_bits: u32 },
}

/// Where residuals are decoded to: a column of the caller, whose elements hold raw bits until they are done.
pub(crate) trait Word: Copy {
    fn from_word(bits: u64) -> Self;
    fn word(self) -> u64;
}

impl Word for f64 {
    #[inline]
    fn from_word(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    #[inline]
    fn word(self) -> u64 {
        self.to_bits()
    }
}

impl Word for i64 {
    #[inline]
    fn from_word(bits: u64) -> Self {
        bits as Self
    }
    #[inline]
    fn word(self) -> u64 {
        self as u64
    }
}

impl Packing {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::Slots { width } => 1 + width.trailing_zeros() as u8,
            Self::Varint => 5,
            Self::Rice { low_bits } => RICE_CODE_FIRST + low_bits as u8,
        }
    }

    /// The packing with this code; the bits above the code are not looked at.
    pub(crate) fn from_code(code: u8) -> Self {
        match code % PACKING_CODES {
            0 => Self::Zero,
            code @ 1..=4 => Self::Slots { width: 1 << (code - 1) },
            5 => Self::Varint,
            code => Self::Rice { low_bits: u32::from(code - RICE_CODE_FIRST) },
        }
    }

    pub(crate) fn write(self, residuals: &[u64], out: &mut Vec<u8>) {
        match self {
            Self::Zero => debug_assert!(residuals.iter().all(|&residual| residual == 0)),
            Self::Slots { width } => write_slots(residuals, width, out),
            Self::Varint => residuals.iter().for_each(|&residual| write_u64(out, residual)),
            Self::Rice { low_bits } => write_rice(residuals, low_bits, out),
        }
    }

    /// Fills `out` from the front of `input`.
    pub(crate) fn read<W: Word>(self, input: &mut &[u8], out: &mut [W]) -> Result<(), DecodeError> {
        match self {
            Self::Zero => out.fill(W::from_word(0)),
            Self::Slots { width: 1 } => read_slots::<W, 1>(input, out)?,
            Self::Slots { width: 2 } => read_slots::<W, 2>(input, out)?,
            Self::Slots { width: 4 } => read_slots::<W, 4>(input, out)?,
            Self::Slots { .. } => read_slots::<W, 8>(input, out)?,
            Self::Varint => {
                for slot in out {
                    *slot = W::from_word(read_u64(input)?);
                }
            }
            Self::Rice { low_bits } => read_rice(input, low_bits, out)?,
        }
        Ok(())
    }
}

fn write_slots(residuals: &[u64], width: u32, out: &mut Vec<u8>) {
    let escape = (1 << width) - 1;
    for slots in residuals.chunks(8 / width as usize) {
        let byte = slots.iter().rev().fold(0_u64, |byte, &residual| byte << width | residual.min(escape));
        out.push(byte as u8);
    }
    for &residual in residuals.iter().filter(|&&residual| residual >= escape) {
        write_u64(out, residual - escape);
    }
}

fn read_slots<W: Word, const WIDTH: usize>(input: &mut &[u8], out: &mut [W]) -> Result<(), DecodeError> {
    let escape = (1_u64 << WIDTH) - 1;
    let bytes = read_bytes(input, out.len().div_ceil(8 / WIDTH), "slots")?;
    let mut escapes = 0;
    for (slots, &byte) in out.chunks_mut(8 / WIDTH).zip(bytes) {
        let mut byte = u64::from(byte);
        for slot in slots {
            *slot = W::from_word(byte & escape);
            escapes += usize::from(byte & escape == escape);
            byte >>= WIDTH;
        }
    }
    if escapes > 0 {
        for slot in out.iter_mut().filter(|slot| slot.word() == escape) {
            *slot = W::from_word(escape.wrapping_add(read_u64(input)?));
        }
    }
    Ok(())
}

fn write_rice(residuals: &[u64], low_bits: u32, out: &mut Vec<u8>) {
    let mask = (1_u64 << low_bits) - 1;
    let escaped = |residual: u64| residual >> low_bits >= RICE_ESCAPE;
    let mut bits = BitWriter::new(out);
    for &residual in residuals {
        bits.put(if escaped(residual) { 0 } else { residual & mask }, low_bits);
    }
    bits.finish();
    let mut bits = BitWriter::new(out);
    for &residual in residuals {
        let quotient = (residual >> low_bits).min(RICE_ESCAPE);
        bits.put(1 << quotient, quotient as u32 + 1);
    }
    bits.finish();
    for &residual in residuals.iter().filter(|&&residual| escaped(residual)) {
        write_u64(out, residual);
    }
}

fn read_rice<W: Word>(input: &mut &[u8], low_bits: u32, out: &mut [W]) -> Result<(), DecodeError> {
    let low_len = (out.len() as u64 * u64::from(low_bits)).div_ceil(8);
    let truncated = DecodeError::Truncated { what: "Rice low bits" };
    let unary = usize::try_from(low_len).ok().and_then(|len| input.get(len..)).ok_or(truncated)?;
    let mut next_bit = 0;
    let mut escapes = 0;
    let mut slots = out.iter_mut().enumerate();
    let mut slot = slots.next();
    'words: for (word_index, bytes) in unary.chunks(8).enumerate() {
        let mut word = load_word(bytes);
        while word != 0 {
            let Some((index, place)) = slot else { break 'words };
            let bit = 64 * word_index as u64 + u64::from(word.trailing_zeros());
            let quotient = bit - next_bit;
            if quotient >= RICE_ESCAPE {
                if quotient > RICE_ESCAPE {
                    return Err(DecodeError::Invalid { what: "Rice quotient", got: quotient });
                }
                escapes += 1;
            }
            let at = index * low_bits as usize;
            let low = load_word(&input[at / 8..]) >> (at % 8) & ((1 << low_bits) - 1);
            *place = W::from_word(quotient << low_bits | low);
            next_bit = bit + 1;
            word &= word - 1;
            slot = slots.next();
        }
    }
    if slot.is_some() {
        return Err(DecodeError::Truncated { what: "Rice quotients" });
    }
    *input = &unary[next_bit.div_ceil(8) as usize..];
    if escapes > 0 {
        for slot in out.iter_mut().filter(|slot| slot.word() >> low_bits == RICE_ESCAPE) {
            *slot = W::from_word(read_u64(input)?);
        }
    }
    Ok(())
}

/// The first eight bytes as a little-endian word, zeros where there are fewer.
#[inline]
fn load_word(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.first_chunk() {
        return u64::from_le_bytes(*word);
    }
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Bits into bytes, lowest first.
struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    used: u32,
}

impl<'a> BitWriter<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, used: 0 }
    }

    /// Appends the lowest `len` bits of `bits`, which has no others; `len` is at most 63.
    #[inline]
    fn put(&mut self, bits: u64, len: u32) {
        self.pending |= bits << self.used;
        let total = self.used + len;
        if total >= 64 {
            self.out.extend_from_slice(&self.pending.to_le_bytes());
            // Two shifts, because `used` may be 0 and a shift by 64 is not one.
            self.pending = (bits >> 1) >> (63 - self.used);
        }
        self.used = total % 64;
    }

    fn finish(self) {
        let len = self.used.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..len]);
    }
}

/// What a choice of packing needs to know about residuals, gathered in one pass.
pub(crate) struct Profile {
    /// How many residuals have this many significant bits.
    sizes: [u32; 65],
    count: u32,
}

impl Profile {
    pub(crate) fn of(residuals: &[u64]) -> Self {
        let mut sizes = [0; 65];
        for &residual in residuals {
            sizes[64 - residual.leading_zeros() as usize] += 1;
        }
        Self { sizes, count: residuals.len() as u32 }
    }

    pub(crate) fn choose(&self, residuals: &[u64]) -> Packing {
        if self.sizes[0] == self.count {
            return Packing::Zero;
        }
        if self.sizes[9..].iter().sum::<u32>() * 8 < self.count {
            return Packing::Slots { width: 8 };
        }
        let mut best = (u64::MAX, 0);
        for low_bits in 0..=RICE_LOW_BITS_MAX {
            let bits: u64 = residuals
                .iter()
                .map(|&residual| {
                    let quotient = residual >> low_bits;
                    u64::from(low_bits)
                        + if quotient >= RICE_ESCAPE {
                            RICE_ESCAPE + 1 + 8 * len_u64(residual) as u64
                        } else {
                            quotient + 1
                        }
                })
                .sum();
            best = best.min((bits, low_bits));
        }
        Packing::Rice { low_bits: best.1 }
    }
}
