//! Prometheus's chunk encoding of samples (`XOR`, after Facebook's Gorilla), written as its clients read it.
//!
//! ```text
//! count: u16 BE | t0: zigzag varint | v0: 64 bits | t1 - t0: varint | v1 xor v0 | (delta of t's delta, v xor v before)*
//! ```
//!
//! A delta of deltas takes `0`, or a prefix and 14, 17, 20 or 64 bits. An xor takes `0` if nothing changed; `10` and the bits
//! in the window of the one before if they fit there; or `11`, the leading zeros in 5 bits, the number of significant bits in 6
//! (64 as 0), and those. <https://github.com/prometheus/prometheus/blob/main/tsdb/chunkenc/xor.go>

use bellwether_model::Timestamp;
use prost::encoding::encode_varint;

use super::bit_writer::BitWriter;

/// Samples of a chunk; as in Prometheus.
pub const SAMPLES_PER_CHUNK: usize = 120;

/// The bytes of a chunk. Timestamps rise, and there are as many values.
///
/// # Panics
/// If there are more samples than the chunk's head can count.
pub fn encode(timestamps: &[Timestamp], values: &[f64]) -> Vec<u8> {
    assert_eq!(timestamps.len(), values.len(), "each sample has a time and a value");
    let count = u16::try_from(timestamps.len()).expect("callers cut series into chunks");
    let mut out = Vec::with_capacity(2 + timestamps.len() * 4);
    out.extend_from_slice(&count.to_be_bytes());
    let mut samples = timestamps.iter().zip(values);
    let Some((first, value)) = samples.next() else { return out };
    encode_varint(((first << 1) ^ (first >> 63)) as u64, &mut out);
    out.extend_from_slice(&value.to_bits().to_be_bytes());
    let (mut before, mut bits_before) = (*first, value.to_bits());
    let mut delta_before: Option<i64> = None;
    let mut window = None;
    let mut bits = BitWriter::after(out);
    for (timestamp, value) in samples {
        // Times may lie further apart than an i64 holds: the reader's sums wrap as well.
        let delta = timestamp.wrapping_sub(before);
        match delta_before {
            // Everything before was whole bytes.
            None => encode_varint(delta as u64, bits.whole_bytes()),
            Some(delta_before) => push_delta(&mut bits, delta.wrapping_sub(delta_before)),
        }
        bits.push_xor(value.to_bits() ^ bits_before, &mut window);
        (before, bits_before, delta_before) = (*timestamp, value.to_bits(), Some(delta));
    }
    bits.finish()
}

fn push_delta(bits: &mut BitWriter, delta: i64) {
    // Prometheus's ranges, which reach from -(2^(n-1) - 1) to 2^(n-1).
    let fits = |width: u32| (-((1 << (width - 1)) - 1)..=1 << (width - 1)).contains(&delta);
    if delta == 0 {
        return bits.push(0, 1);
    }
    let (prefix, prefix_width, width) = if fits(14) {
        (0b10, 2, 14)
    } else if fits(17) {
        (0b110, 3, 17)
    } else if fits(20) {
        (0b1110, 4, 20)
    } else {
        (0b1111, 4, 64)
    };
    bits.push(prefix, prefix_width);
    bits.push(delta as u64, width);
}

#[cfg(test)]
pub mod tests {
    use bellwether_model::stale_marker;
    use proptest::prelude::*;

    use super::*;

    /// Reads bits from the highest down.
    pub struct BitReader<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl<'a> BitReader<'a> {
        pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
            BitReader { bytes, at: 0 }
        }

        /// Bits read.
        pub fn at(&self) -> usize {
            self.at
        }

        pub fn bit(&mut self) -> u64 {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            u64::from(bit)
        }

        pub fn bits(&mut self, count: u32) -> u64 {
            (0..count).fold(0, |value, _| value << 1 | self.bit())
        }

        fn varint(&mut self) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = self.bits(8);
                value |= (byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }

        fn delta(&mut self) -> i64 {
            let ones = (0..4).take_while(|_| self.bit() == 1).count();
            let bits = [0, 14, 17, 20, 64][ones];
            if bits == 0 || bits == 64 {
                return self.bits(bits) as i64;
            }
            let value = self.bits(bits) as i64;
            if value > 1 << (bits - 1) { value - (1 << bits) } else { value }
        }
    }

    /// The samples of a chunk, decoded bit by bit.
    pub fn decode(chunk: &[u8]) -> Vec<(Timestamp, u64)> {
        let count = usize::from(u16::from_be_bytes([chunk[0], chunk[1]]));
        let mut bits = BitReader::new(&chunk[2..]);
        let mut samples: Vec<(Timestamp, u64)> = Vec::new();
        let mut delta = 0i64;
        let (mut leading, mut trailing) = (0, 0);
        for at in 0..count {
            let Some((time, value)) = samples.last().copied() else {
                let zigzag = bits.varint();
                samples.push(((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), bits.bits(64)));
                continue;
            };
            delta = if at == 1 { bits.varint() as i64 } else { delta.wrapping_add(bits.delta()) };
            let mut xor = 0;
            if bits.bit() == 1 {
                if bits.bit() == 1 {
                    leading = bits.bits(5) as u32;
                    let significant = bits.bits(6) as u32;
                    trailing = 64 - leading - if significant == 0 { 64 } else { significant };
                }
                xor = bits.bits(64 - leading - trailing) << trailing;
            }
            samples.push((time.wrapping_add(delta), value ^ xor));
        }
        assert!(bits.bytes.len() * 8 - bits.at <= 8, "bytes are left over");
        samples
    }

    fn check(samples: &[(Timestamp, f64)]) -> Vec<u8> {
        let (timestamps, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
        let chunk = encode(&timestamps, &values);
        let bits: Vec<_> = samples.iter().map(|(time, value)| (*time, value.to_bits())).collect();
        assert_eq!(decode(&chunk), bits);
        chunk
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn chunks_have_prometheus_s_bytes() {
        // What Prometheus 2.42 answers after it was sent these samples.
        const T: i64 = 1_795_226_640_000;
        assert_eq!(hex(&check(&[])), "0000");
        assert_eq!(hex(&check(&[(T, 1.0)])), "000180fac4bdbf683ff000000000000000");
        assert_eq!(hex(&check(&[(T, 1.0), (T + 15_000, 2.5)])), "000280fac4bdbf683ff00000000000009875c26fff40");
        let regular: Vec<_> = (0..10).map(|at| (T + at * 15_000, at as f64)).collect();
        assert_eq!(hex(&check(&regular)), "000a80fac4bdbf6800000000000000009875c457fec25fff6c06d616da0db02d2d427b7030");
        // Go's NaN is not Rust's.
        let odd = [
            (T, 0.1),
            (T + 15_001, 0.2),
            (T + 29_998, -7.25),
            (T + 45_000, f64::INFINITY),
            (T + 45_001, -0.0),
            (T + 700_000, f64::from_bits(0x7ff8_0000_0000_0000)),
            (T + 3_000_000, 1e300),
            (T + 3_000_001, 5e-324),
            (T + 3_015_001, 5e-324),
        ];
        assert_eq!(
            hex(&check(&odd)),
            "000980fac4bdbf683fb999999999999a9975d21fbffcc1fffea4ccccccccccd8005affb4000000000006e2b3dffe0000000000003c\
             000000000027fa5afff8000000000001e000000000032339300e7f21e44003acefffffffffffdce7a1c3ffe37e43c8800759dc3a9700"
        );
    }

    #[test]
    fn every_width_of_a_delta_reads_back() {
        let limits = [1i64 << 13, 1 << 16, 1 << 19, 1 << 40];
        let deltas = limits.into_iter().flat_map(|limit| [limit - 1, limit, limit + 1, -limit, 1 - limit, -limit - 1]);
        for delta in deltas {
            let step = 1 << 41;
            check(&[(0, 1.0), (step, 2.0), (2 * step + delta, 3.0), (3 * step + delta, 3.0)]);
        }
    }

    #[test]
    fn extreme_samples_read_back() {
        check(&[(i64::MIN, f64::NAN), (-1, f64::INFINITY), (0, -0.0), (i64::MAX, stale_marker())]);
        check(&[(0, f64::from_bits(1)), (1, f64::from_bits(u64::MAX)), (2, 0.0), (3, f64::from_bits(1 << 63 | 1))]);
    }

    proptest! {
        #[test]
        fn any_samples_read_back(
            first in -1i64 << 50..1 << 50,
            steps in proptest::collection::vec((prop_oneof![Just(15_000), 1i64..40_000, 1i64..1 << 45], any::<u64>(), 0..4u8), 0..150),
        ) {
            let mut time = first;
            let mut samples = Vec::new();
            for (step, bits, kind) in steps {
                let value = match kind {
                    0 => f64::from_bits(bits),
                    1 => (bits % 1000) as f64,
                    2 => samples.last().map_or(0.0, |(_, value)| *value),
                    _ => (bits % 10_000) as f64 / 100.0,
                };
                samples.push((time, value));
                time += step;
            }
            check(&samples);
        }
    }
}
