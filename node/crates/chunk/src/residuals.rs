//! Non-negative integers, mostly small, as bytes: the last step of every column codec.
//!
//! ZSTD follows, over many chunks at once, with one Huffman table for all literals. So there are two kinds of packing:
//! - *Slots* of 1 or 4 bits keep bytes regular, and Huffman codes and matches take it from there. 4 bits are for
//!   few different residuals in no order, 1 bit is for residuals that are zero more often than not.
//! - *Rice* leaves bytes that look random and are within a few percent of the entropy of anything bell-shaped.
//!   Whole bytes would not do for wide residuals: a byte of noise beside a byte of signal spoils the code for both.
//!
//! What does not fit (from `2^width - 1` on in slots, from a quotient of [`RICE_ESCAPE`] on) follows as varints.

use crate::DecodeError;
use crate::varint::{read_bytes, read_u64, write_u64};

/// Rice quotients are below this; the quotient itself announces an escape.
const RICE_ESCAPE: u64 = 31;
/// A low part is read with one unaligned load of eight bytes, of which up to seven bits belong to its neighbour.
const RICE_LOW_BITS_MAX: u32 = 57;
const RICE_CODE_FIRST: u8 = 3;
/// Packing codes take six bits of a column's shape.
pub(crate) const PACKING_CODES: u8 = 64;
const _: () = assert!(RICE_CODE_FIRST as u32 + RICE_LOW_BITS_MAX < PACKING_CODES as u32);

/// How residuals are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// All are zero: no bytes.
    Zero,
    /// Slots of 1 bit.
    Bits,
    /// Slots of 4 bits.
    Nibbles,
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
            Self::Bits => 1,
            Self::Nibbles => 2,
            Self::Rice { low_bits } => RICE_CODE_FIRST + low_bits as u8,
        }
    }

    /// The packing with this code.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Zero),
            1 => Some(Self::Bits),
            2 => Some(Self::Nibbles),
            _ => {
                let low_bits = u32::from(code - RICE_CODE_FIRST);
                (low_bits <= RICE_LOW_BITS_MAX).then_some(Self::Rice { low_bits })
            }
        }
    }

    pub(crate) fn write(self, residuals: &[u64], out: &mut Vec<u8>) {
        match self {
            Self::Zero => debug_assert!(residuals.iter().all(|&residual| residual == 0)),
            Self::Bits => write_slots::<1>(residuals, out),
            Self::Nibbles => write_slots::<4>(residuals, out),
            Self::Rice { low_bits } => write_rice(residuals, low_bits, out),
        }
    }

    /// Fills `out` from the front of `input`.
    pub(crate) fn read<W: Word>(self, input: &mut &[u8], out: &mut [W]) -> Result<(), DecodeError> {
        match self {
            Self::Zero => {
                out.fill(W::from_word(0));
                Ok(())
            }
            Self::Bits => read_slots::<W, 1>(input, out),
            Self::Nibbles => read_slots::<W, 4>(input, out),
            Self::Rice { low_bits } => read_rice(input, low_bits, out),
        }
    }
}

fn write_slots<const WIDTH: usize>(residuals: &[u64], out: &mut Vec<u8>) {
    let escape = (1_u64 << WIDTH) - 1;
    out.extend(
        residuals
            .chunks(8 / WIDTH)
            .map(|slots| slots.iter().rev().fold(0, |byte, &residual| byte << WIDTH | residual.min(escape)) as u8),
    );
    for &residual in residuals.iter().filter(|&&residual| residual >= escape) {
        write_u64(out, residual - escape);
    }
}

fn read_slots<W: Word, const WIDTH: usize>(input: &mut &[u8], out: &mut [W]) -> Result<(), DecodeError> {
    let escape = (1_u64 << WIDTH) - 1;
    let bytes = read_bytes(input, out.len().div_ceil(8 / WIDTH), "slots")?;
    let mut escapes = 0;
    let mut unpack = |slots: &mut [W], byte: u8| {
        let mut rest = u64::from(byte);
        for slot in slots {
            let residual = rest & escape;
            *slot = W::from_word(residual);
            escapes += usize::from(residual == escape);
            rest >>= WIDTH;
        }
    };
    let mut whole = out.chunks_exact_mut(8 / WIDTH);
    for (slots, &byte) in whole.by_ref().zip(bytes) {
        unpack(slots, byte);
    }
    if let Some(&byte) = bytes.last() {
        unpack(whole.into_remainder(), byte);
    }
    if escapes > 0 {
        for slot in out.iter_mut().filter(|slot| slot.word() == escape) {
            *slot = W::from_word(escape.wrapping_add(read_u64(input)?));
        }
    }
    Ok(())
}

fn write_rice(residuals: &[u64], low_bits: u32, out: &mut Vec<u8>) {
    out.reserve((residuals.len() * (low_bits as usize + 2)).div_ceil(8));
    if low_bits > 0 {
        let mask = mask(low_bits);
        let mut bits = BitWriter::new(out);
        for &residual in residuals {
            bits.put(residual & mask, low_bits);
        }
        bits.finish();
    }
    let mut escapes = false;
    let mut bits = BitWriter::new(out);
    for &residual in residuals {
        let quotient = (residual >> low_bits).min(RICE_ESCAPE);
        escapes |= quotient == RICE_ESCAPE;
        bits.put(1 << quotient, quotient as u32 + 1);
    }
    bits.finish();
    if escapes {
        for quotient in residuals.iter().filter_map(|residual| (residual >> low_bits).checked_sub(RICE_ESCAPE)) {
            write_u64(out, quotient);
        }
    }
}

fn read_rice<W: Word>(input: &mut &[u8], low_bits: u32, out: &mut [W]) -> Result<(), DecodeError> {
    let low_len = (out.len() as u64 * u64::from(low_bits)).div_ceil(8);
    let truncated = DecodeError::Truncated { what: "Rice low bits" };
    let low = *input;
    *input = usize::try_from(low_len).ok().and_then(|len| low.get(len..)).ok_or(truncated)?;
    let escapes = read_quotients(input, out)?;
    if low_bits > 0 {
        add_low_bits(low, low_bits, out);
    }
    if escapes {
        for slot in out.iter_mut().filter(|slot| slot.word() >> low_bits == RICE_ESCAPE) {
            let quotient = read_u64(input)?.wrapping_add(RICE_ESCAPE);
            *slot = W::from_word(quotient << low_bits | slot.word() & mask(low_bits));
        }
    }
    Ok(())
}

/// The lowest `len` bits, fewer than 64.
#[inline]
fn mask(len: u32) -> u64 {
    (1 << len) - 1
}

/// Makes residuals of quotients.
fn add_low_bits<W: Word>(low: &[u8], low_bits: u32, out: &mut [W]) {
    let mask = mask(low_bits);
    if low_bits > RICE_LOW_BITS_MAX / 2 {
        for (index, slot) in out.iter_mut().enumerate() {
            let bit = index * low_bits as usize;
            *slot = W::from_word(slot.word() << low_bits | load_word(&low[bit / 8..]) >> (bit % 8) & mask);
        }
        return;
    }
    // As many as one load holds wherever it begins inside a byte.
    let together = (RICE_LOW_BITS_MAX / low_bits) as usize;
    let mut bit = 0;
    for slots in out.chunks_mut(together) {
        // What lies behind the low bits fills the last load and is masked away.
        let mut word = load_word(&low[bit / 8..]) >> (bit % 8);
        for slot in slots {
            *slot = W::from_word(slot.word() << low_bits | word & mask);
            word >>= low_bits;
        }
        bit += together * low_bits as usize;
    }
}

/// Fills `out` with the lengths of runs of zero bits, each ended by a one bit. Answers whether any is an escape.
fn read_quotients<W: Word>(input: &mut &[u8], out: &mut [W]) -> Result<bool, DecodeError> {
    let mut largest = 0;
    let mut run_start = 0;
    let mut filled = 0;
    'words: for (index, bytes) in input.chunks(8).enumerate() {
        let mut word = load_word(bytes);
        while word != 0 {
            let Some(slot) = out.get_mut(filled) else {
                break 'words;
            };
            let run_end = 64 * index as u64 + u64::from(word.trailing_zeros());
            let quotient = run_end - run_start;
            largest = largest.max(quotient);
            *slot = W::from_word(quotient);
            run_start = run_end + 1;
            filled += 1;
            word &= word - 1;
        }
    }
    if filled < out.len() {
        return Err(DecodeError::Truncated { what: "Rice quotients" });
    }
    if largest > RICE_ESCAPE {
        return Err(DecodeError::Invalid { what: "Rice quotient", got: largest });
    }
    *input = &input[run_start.div_ceil(8) as usize..];
    Ok(largest == RICE_ESCAPE)
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

/// Estimates what packings cost after ZSTD and answers the cheapest.
pub(crate) fn choose_packing(residuals: &[u64]) -> Packing {
    let mut sizes = [0_u32; 65];
    for &residual in residuals {
        sizes[64 - residual.leading_zeros() as usize] += 1;
    }
    let count = residuals.len() as u32;
    if sizes[0] == count {
        return Packing::Zero;
    }
    if sizes[0] * 2 >= count {
        return Packing::Bits;
    }
    let (rice_bits, low_bits) = rice_cost(&sizes, count);
    if low_bits <= NIBBLES_LOW_BITS_MAX && nibbles_cost(residuals) < rice_bits as f32 {
        return Packing::Nibbles;
    }
    Packing::Rice { low_bits }
}

/// Residuals of which Rice would keep more low bits are too wide for nibbles.
const NIBBLES_LOW_BITS_MAX: u32 = 3;

/// The bits of the best Rice packing, and its low bits, from how many residuals have which size in bits.
fn rice_cost(sizes: &[u32; 65], count: u32) -> (u64, u32) {
    let mut below = 0;
    let median = sizes.iter().position(|&residuals| {
        below += residuals;
        2 * below >= count
    });
    let median = median.unwrap_or(0) as u32;
    let largest = sizes.iter().rposition(|&residuals| residuals > 0).unwrap_or(0);
    let cost = |low_bits: u32| {
        let quotients = (low_bits as usize + 1..=largest).map(|size| {
            // The quotient's bits beyond the first. Residuals of one size are taken as evenly spread.
            let bits = match size as u32 - low_bits {
                above @ 1..=5 => (3 << (above - 1)) / 2,
                _ => RICE_ESCAPE + 8 * size.div_ceil(7) as u64,
            };
            u64::from(sizes[size]) * bits
        });
        u64::from(count) * u64::from(low_bits + 1) + quotients.sum::<u64>()
    };
    let candidates = median.saturating_sub(2)..=(median + 2).min(RICE_LOW_BITS_MAX);
    candidates.map(|low_bits| (cost(low_bits), low_bits)).min().unwrap_or((u64::MAX, 0))
}

/// The entropy of residuals in nibbles, in bits: what Huffman codes make of it.
fn nibbles_cost(residuals: &[u64]) -> f32 {
    const ESCAPE_BITS: f32 = 9.0;
    // An entropy measured on few samples is too low by about this much per different symbol.
    const BIAS_BITS: f32 = 0.72;
    let mut counts = [0_u32; 16];
    for &residual in residuals {
        counts[residual.min(15) as usize] += 1;
    }
    let total = residuals.len() as f32;
    let entropy: f32 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| count as f32 * (total / count as f32).log2() + BIAS_BITS)
        .sum();
    entropy + counts[15] as f32 * ESCAPE_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(packing: Packing, residuals: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        packing.write(residuals, &mut bytes);
        let mut out = vec![-1; residuals.len()];
        let tail = [0xff, 0x80, 0x01];
        let followed = [&bytes[..], &tail].concat();
        let mut input = &followed[..];
        packing.read(&mut input, &mut out).expect("our own bytes decode");
        assert_eq!(input, tail, "{packing:?} reads what it wrote and no more");
        assert_eq!(out, residuals.iter().map(|&residual| residual as i64).collect::<Vec<_>>());
        for len in 0..bytes.len() {
            assert!(packing.read(&mut &bytes[..len], &mut out).is_err(), "{packing:?} cut to {len} bytes");
        }
        assert_eq!(Packing::from_code(packing.code()), Some(packing));
        bytes
    }

    #[test]
    fn golden_bytes() {
        let residuals = [1, 0, 14, 15, 16, 300, 0, 2, 5];
        assert_eq!(check(Packing::Zero, &[0; 9]), []);
        let bits = [0b1011_1101, 0b1, 0, 13, 14, 15, 0xab, 2, 1, 4];
        assert_eq!(check(Packing::Bits, &residuals), bits);
        assert_eq!(check(Packing::Nibbles, &residuals), [0x01, 0xfe, 0xff, 0x20, 0x05, 0, 1, 0x9d, 2]);
        assert_eq!(check(Packing::Rice { low_bits: 3 }, &residuals), [129, 15, 66, 5, 43, 1, 0, 0, 0, 15, 6]);
    }

    #[test]
    fn unknown_codes_and_endless_quotients_are_refused() {
        assert_eq!(Packing::from_code(60), Some(Packing::Rice { low_bits: 57 }));
        assert_eq!(Packing::from_code(61), None);
        let refused = Packing::Rice { low_bits: 0 }.read(&mut &[0, 0, 0, 0, 1][..], &mut [0_i64]);
        assert_eq!(refused, Err(DecodeError::Invalid { what: "Rice quotient", got: 32 }));
    }

    #[test]
    fn the_packing_follows_the_spread() {
        let noise = |modulus: u64| (0..120_u64).map(|i| ((i * 2_654_435_761) >> 7) % modulus).collect::<Vec<_>>();
        assert_eq!(choose_packing(&[0; 120]), Packing::Zero);
        assert_eq!(choose_packing(&[&[0; 80][..], &[70_000; 40]].concat()), Packing::Bits);
        assert_eq!(choose_packing(&noise(7)), Packing::Nibbles);
        assert!(matches!(choose_packing(&noise(500)), Packing::Rice { low_bits: 7 | 8 }));
        assert!(matches!(choose_packing(&noise(u64::MAX)), Packing::Rice { .. }));
    }

    proptest! {
        #[test]
        fn any_residuals_come_back_from_any_packing(
            residuals in prop::collection::vec(any::<u64>(), 1..100), shift in 0u32..64, low_bits in 0..=RICE_LOW_BITS_MAX
        ) {
            let residuals: Vec<u64> = residuals.into_iter().map(|residual| residual >> shift).collect();
            check(Packing::Bits, &residuals);
            check(Packing::Nibbles, &residuals);
            check(Packing::Rice { low_bits }, &residuals);
            check(choose_packing(&residuals), &residuals);
        }
    }
}
