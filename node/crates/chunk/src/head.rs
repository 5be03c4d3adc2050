//! Open samples in memory: Gorilla, streaming. <https://www.vldb.org/pvldb/vol8/p1816-teller.pdf>
//!
//! 1. The first timestamp stays in the state, the first value is written as 64 bits.
//! 2. A timestamp is written as the change of its distance to the one before (delta of delta), in the smallest of five
//!    size classes: a regular series costs one bit.
//! 3. A value is XORed with the one before. Zero costs one bit; else the bits between the first and the last set bit are
//!    written, either in the window of the value before or, when that would waste more than a new window costs, in
//!    a window of their own.
//!
//! Bits fill words from the lowest bit up. Whole words go to the caller's sink, the tail stays in the state, so
//! the state alone knows nothing but the newest sample, and the words alone are not decodable.

use crate::varint::{unzigzag, zigzag};

/// Bits of a delta of deltas per size class; a class is announced by its index in unary (ones, then a zero).
const TIMESTAMP_CLASS_BITS: [u32; 5] = [0, 8, 14, 24, 64];
const LEADING_BITS: u32 = 5;
const LEADING_MAX: u32 = (1 << LEADING_BITS) - 1;
const SIGNIFICANT_BITS: u32 = 6;
const WINDOW_BITS: u32 = LEADING_BITS + SIGNIFICANT_BITS;

/// The writing end of one open chunk. The words it gave away live with the caller.
#[derive(Debug, Clone, Copy)]
pub struct HeadChunk {
    first_timestamp: i64,
    last_timestamp: i64,
    last_delta: i64,
    last_bits: u64,
    /// Bits that do not fill a word yet, lowest first; zero above `pending_bits`.
    pending: u64,
    count: u32,
    /// Invariant: below 64.
    pending_bits: u8,
    /// The window of XOR bits: 64 - leading - significant zeros below it. No window yet while `significant` is 0.
    leading: u8,
    significant: u8,
}

const _: () = assert!(size_of::<HeadChunk>() <= 48);

impl Default for HeadChunk {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadChunk {
    /// An empty chunk.
    pub const fn new() -> Self {
        Self {
            first_timestamp: 0,
            last_timestamp: 0,
            last_delta: 0,
            last_bits: 0,
            pending: 0,
            count: 0,
            pending_bits: 0,
            leading: 0,
            significant: 0,
        }
    }

    /// Number of samples.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing was appended yet.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Timestamp of the first sample; 0 when empty.
    pub const fn first_timestamp(&self) -> i64 {
        self.first_timestamp
    }

    /// Timestamp of the newest sample; 0 when empty.
    pub const fn last_timestamp(&self) -> i64 {
        self.last_timestamp
    }

    /// Value of the newest sample; 0 when empty.
    pub const fn last_value(&self) -> f64 {
        f64::from_bits(self.last_bits)
    }

    /// Appends a sample newer than all before and hands every word that fills to `sink`, at most three.
    #[inline]
    pub fn append(&mut self, timestamp: i64, value: f64, sink: &mut impl FnMut(u64)) {
        let bits = value.to_bits();
        if self.count == 0 {
            self.first_timestamp = timestamp;
            self.put(bits, 64, sink);
        } else {
            debug_assert!(timestamp > self.last_timestamp, "timestamps must rise");
            self.append_timestamp(timestamp, sink);
            self.append_xor(bits ^ self.last_bits, sink);
        }
        self.last_timestamp = timestamp;
        self.last_bits = bits;
        self.count += 1;
    }

    /// Appends all samples to the two columns. `words` are those that the sink was given, in order.
    ///
    /// # Panics
    /// When `words` are not this chunk's: they never left this process's memory.
    pub fn decode(&self, words: impl Iterator<Item = u64>, timestamps: &mut Vec<i64>, values: &mut Vec<f64>) {
        if self.count == 0 {
            return;
        }
        timestamps.reserve(self.count as usize);
        values.reserve(self.count as usize);
        let mut reader = BitReader { words: words.chain([self.pending]), current: 0, left: 0 };
        let (mut timestamp, mut delta) = (self.first_timestamp, 0_i64);
        let mut bits = reader.take(64);
        let (mut trailing, mut significant) = (0, 0);
        timestamps.push(timestamp);
        values.push(f64::from_bits(bits));
        for _ in 1..self.count {
            let mut class = 0;
            while class < TIMESTAMP_CLASS_BITS.len() - 1 && reader.take(1) == 1 {
                class += 1;
            }
            if class > 0 {
                delta = delta.wrapping_add(unzigzag(reader.take(TIMESTAMP_CLASS_BITS[class])));
            }
            timestamp = timestamp.wrapping_add(delta);
            if reader.take(1) == 1 {
                if reader.take(1) == 1 {
                    let window = reader.take(WINDOW_BITS) as u32;
                    significant = (window >> LEADING_BITS) + 1;
                    trailing = 64 - (window & LEADING_MAX) - significant;
                }
                bits ^= reader.take(significant) << trailing;
            }
            timestamps.push(timestamp);
            values.push(f64::from_bits(bits));
        }
    }

    #[inline]
    fn append_timestamp(&mut self, timestamp: i64, sink: &mut impl FnMut(u64)) {
        let delta = timestamp.wrapping_sub(self.last_timestamp);
        let change = zigzag(delta.wrapping_sub(self.last_delta));
        self.last_delta = delta;
        let size = 64 - change.leading_zeros();
        match TIMESTAMP_CLASS_BITS.iter().position(|&bits| size <= bits).expect("the last class holds 64 bits") {
            0 => self.put(0, 1, sink),
            1 => self.put(0b01 | change << 2, 2 + TIMESTAMP_CLASS_BITS[1], sink),
            2 => self.put(0b011 | change << 3, 3 + TIMESTAMP_CLASS_BITS[2], sink),
            3 => self.put(0b0111 | change << 4, 4 + TIMESTAMP_CLASS_BITS[3], sink),
            _ => {
                self.put(0b1111, 4, sink);
                self.put(change, 64, sink);
            }
        }
    }

    #[inline]
    fn append_xor(&mut self, xor: u64, sink: &mut impl FnMut(u64)) {
        if xor == 0 {
            return self.put(0, 1, sink);
        }
        let leading = xor.leading_zeros().min(LEADING_MAX);
        let trailing = xor.trailing_zeros();
        let significant = 64 - leading - trailing;
        let window_trailing = 64 - u32::from(self.leading) - u32::from(self.significant);
        let fits = self.significant > 0 && leading >= u32::from(self.leading) && trailing >= window_trailing;
        if fits && u32::from(self.significant) <= significant + WINDOW_BITS {
            self.put(0b01, 2, sink);
            self.put(xor >> window_trailing, u32::from(self.significant), sink);
        } else {
            let window = u64::from(leading | (significant - 1) << LEADING_BITS);
            self.put(0b11 | window << 2, 2 + WINDOW_BITS, sink);
            self.put(xor >> trailing, significant, sink);
            self.leading = leading as u8;
            self.significant = significant as u8;
        }
    }

    /// Appends the lowest `len` bits of `bits`, which has no others; `len` is 1 to 64.
    #[inline]
    fn put(&mut self, bits: u64, len: u32, sink: &mut impl FnMut(u64)) {
        let used = u32::from(self.pending_bits);
        self.pending |= bits << used;
        let total = used + len;
        if total >= 64 {
            sink(self.pending);
            // Two shifts, because `used` may be 0 and a shift by 64 is not one.
            self.pending = (bits >> 1) >> (63 - used);
        }
        self.pending_bits = (total % 64) as u8;
    }
}

struct BitReader<W> {
    words: W,
    current: u64,
    left: u32,
}

impl<W: Iterator<Item = u64>> BitReader<W> {
    /// The next `len` bits, 1 to 64.
    #[inline]
    fn take(&mut self, len: u32) -> u64 {
        let mask = u64::MAX >> (64 - len);
        if len <= self.left {
            let bits = self.current & mask;
            // Two shifts, because `len` may be 64.
            self.current = (self.current >> 1) >> (len - 1);
            self.left -= len;
            return bits;
        }
        let next = self.words.next().expect("the head wrote as many words as its count needs");
        let bits = (self.current | next << self.left) & mask;
        let from_next = len - self.left;
        self.current = (next >> 1) >> (from_next - 1);
        self.left = 64 - from_next;
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(samples: &[(i64, f64)]) -> Vec<u64> {
        let mut chunk = HeadChunk::new();
        let mut words = Vec::new();
        for (index, &(timestamp, value)) in samples.iter().enumerate() {
            chunk.append(timestamp, value, &mut |word| words.push(word));
            assert_eq!(chunk.count() as usize, index + 1);
            assert_eq!(chunk.last_timestamp(), timestamp);
            assert_eq!(chunk.last_value().to_bits(), value.to_bits());
        }
        let (mut timestamps, mut values) = (vec![-1], vec![-1.0]);
        chunk.decode(words.iter().copied(), &mut timestamps, &mut values);
        assert_eq!(timestamps[1..], samples.iter().map(|s| s.0).collect::<Vec<_>>());
        let bits = |values: &mut dyn Iterator<Item = f64>| values.map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&mut values[1..].iter().copied()), bits(&mut samples.iter().map(|s| s.1)));
        assert_eq!(chunk.first_timestamp(), samples.first().map_or(0, |s| s.0));
        assert_eq!(chunk.is_empty(), samples.is_empty());
        words.push(chunk.pending);
        words
    }

    #[test]
    fn an_empty_chunk_decodes_to_nothing() {
        check(&[]);
    }

    #[test]
    fn a_regular_constant_costs_two_bits_a_sample() {
        let samples: Vec<_> = (0..10_000).map(|i| (i * 15_000, 42.5)).collect();
        assert_eq!(check(&samples).len(), 1 + 10_000 * 2 / 64 + 1);
    }

    #[test]
    fn golden_words() {
        let samples = [(1_000, 1.0), (16_000, 2.0), (31_000, 2.0), (46_020, 3.0), (i64::MAX, f64::NAN)];
        let expected = [0x3ff0_0000_0000_0000, 0x284f_fe50_7007_5307, 0xffff_fff8_8c7b_e033, 0x0000_01ff_922f_ffff_u64];
        let words = check(&samples);
        assert_eq!(words, expected, "{words:#018x?}");
    }

    #[test]
    fn the_extremes_of_time_and_value_come_back() {
        check(&[
            (i64::MIN, f64::NEG_INFINITY),
            (-1, -0.0),
            (0, 0.0),
            (1, f64::from_bits(0x7ff0_0000_0000_0002)),
            (i64::MAX, f64::from_bits(1)),
        ]);
    }

    proptest! {
        #[test]
        fn any_bits_come_back(steps in prop::collection::vec((1i64..100_000, any::<u64>(), 0u32..64), 0..300)) {
            let mut timestamp = -500_000;
            let samples: Vec<_> = steps.into_iter().map(|(step, bits, shift)| {
                timestamp += step;
                (timestamp, f64::from_bits(bits >> shift))
            }).collect();
            check(&samples);
        }

        #[test]
        fn jittered_walks_come_back(steps in prop::collection::vec((-20i64..20, -300i64..300), 0..300)) {
            let mut value = 0;
            let samples: Vec<_> = steps.into_iter().enumerate().map(|(index, (jitter, step))| {
                value += step;
                (index as i64 * 15_000 + jitter, value as f64 / 100.0)
            }).collect();
            check(&samples);
        }
    }
}
