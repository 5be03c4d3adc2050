//! Whatever goes in comes out bit for bit; whatever else is decoded gives an error and not a panic.

use bellwether_chunk::{
    DecodeError, Effort, Scratch, ValueCodec, decode_timestamps, decode_values, encode_timestamps, encode_values,
};
use proptest::prelude::*;

const STALE: u64 = 0x7ff0_0000_0000_0002;

fn encode(values: &[f64], effort: Effort) -> (ValueCodec, Vec<u8>) {
    let mut bytes = vec![0xab];
    let codec = encode_values(values, effort, &mut Scratch::default(), &mut bytes);
    assert_eq!(bytes.remove(0), 0xab, "encoding appends");
    (codec, bytes)
}

fn check_values(values: &[f64]) -> ValueCodec {
    let expected: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
    for effort in [Effort::Fast, Effort::Best] {
        let (codec, bytes) = encode(values, effort);
        assert!(bytes.len() <= 8 * values.len(), "never larger than raw");
        let mut out = vec![1.5];
        decode_values(codec, &bytes, values.len(), &mut out).expect("our own bytes decode");
        assert_eq!(out.remove(0), 1.5, "decoding appends");
        assert_eq!(out.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), expected);
        for len in 0..bytes.len() {
            assert!(decode_values(codec, &bytes[..len], values.len(), &mut out).is_err(), "cut to {len} bytes");
            assert_eq!(out.len(), values.len(), "an error leaves the column as it was");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let excess = decode_values(codec, &longer, values.len(), &mut out);
        assert_eq!(excess, Err(DecodeError::TrailingBytes { excess: 1 }));
    }
    encode(values, Effort::Best).0
}

fn check_timestamps(timestamps: &[i64]) -> usize {
    let mut bytes = Vec::new();
    encode_timestamps(timestamps, &mut bytes);
    let mut out = vec![-7];
    decode_timestamps(&bytes, timestamps.len(), &mut out).expect("our own bytes decode");
    assert_eq!(out.remove(0), -7);
    assert_eq!(out, timestamps);
    for len in 0..bytes.len() {
        assert!(decode_timestamps(&bytes[..len], timestamps.len(), &mut out).is_err(), "cut to {len} bytes");
        assert_eq!(out, timestamps);
    }
    bytes.len()
}

#[test]
fn nothing_takes_nothing() {
    assert_eq!(encode(&[], Effort::Best), (ValueCodec::Raw, vec![]));
    for codec in [ValueCodec::Raw, ValueCodec::Constant, ValueCodec::Decimal, ValueCodec::Bits] {
        assert_eq!(decode_values(codec, &[], 0, &mut Vec::new()), Ok(()));
    }
    assert_eq!(check_timestamps(&[]), 0);
}

#[test]
fn special_values_alone_and_among_decimals_come_back() {
    let specials = [
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from_bits(STALE),
        f64::NAN,
        f64::from_bits(0xfff8_dead_beef_0001),
        f64::from_bits(1),
        f64::from_bits(0x000f_ffff_ffff_ffff),
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        9_007_199_254_740_993.0,
        9_223_372_036_854_775_807.0,
        -9_223_372_036_854_775_808.0,
        1e22,
        1e23,
        1e-22,
        0.1 + 0.2,
    ];
    check_values(&specials);
    for special in specials {
        check_values(&[special]);
        check_values(&[special, 1.0]);
        check_values(&[1.0, special]);
        for at in [0, 1, 59, 119] {
            let mut values: Vec<f64> = (0..120).map(|i| f64::from(i * i % 37) / 100.0).collect();
            values[at] = special;
            check_values(&values);
        }
    }
}

#[test]
fn a_stale_marker_and_a_reset_leave_a_counter_decimal() {
    let mut values: Vec<f64> = (0..120).map(|i| 1e9 + f64::from(i * 500 + i * i % 40)).collect();
    values.extend((0..120).map(|i| f64::from(i * 500)));
    let plain = encode(&values, Effort::Best).1.len();
    values.push(f64::from_bits(STALE));
    assert_eq!(check_values(&values), ValueCodec::Decimal);
    assert!(encode(&values, Effort::Best).1.len() <= plain + 12);
}

#[test]
fn regular_spacing_takes_constant_space() {
    let timestamps: Vec<i64> = (0..5_000).map(|i| 1_790_000_000_000 + i * 15_000).collect();
    assert!(check_timestamps(&timestamps[..480]) <= 10);
    assert!(check_timestamps(&timestamps) <= 10);
}

#[test]
fn jitter_takes_less_than_a_byte_a_timestamp() {
    let mut noise = 1_u64;
    let timestamps: Vec<i64> = (0..480)
        .map(|i| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1_790_000_000_000 + i * 15_000 + (noise >> 33) as i64 % 41 - 20
        })
        .collect();
    let len = check_timestamps(&timestamps);
    assert!(len < 400, "{len} bytes for 480 timestamps");
}

#[test]
fn timestamps_that_do_not_rise_are_refused() {
    let mut bytes = Vec::new();
    encode_timestamps(&[0, 15_000, 30_000], &mut bytes);
    let bias = bytes.len() - 3;
    bytes.truncate(bias);
    bytes.push(0);
    assert!(matches!(decode_timestamps(&bytes, 3, &mut Vec::new()), Err(DecodeError::Invalid { .. })));
}

#[test]
fn unknown_codecs_are_refused() {
    assert_eq!(ValueCodec::try_from(2), Ok(ValueCodec::Decimal));
    assert_eq!(ValueCodec::try_from(200), Err(DecodeError::UnknownCodec { tag: 200 }));
}

fn decimals() -> impl Strategy<Value = Vec<f64>> {
    let special = prop_oneof![Just(f64::from_bits(STALE)), Just(f64::INFINITY), Just(-0.0), Just(0.1 + 0.2)];
    let step = (-3000_i64..3000, 0u32..12, proptest::option::weighted(0.02, special));
    (prop::collection::vec(step, 0..300), -4i32..12, 1i64..5000, any::<i32>()).prop_map(
        |(steps, exponent, scale, first)| {
            let mut mantissa = i64::from(first);
            steps
                .into_iter()
                .map(|(step, shift, special)| {
                    mantissa += (step >> shift) * scale;
                    special.unwrap_or(mantissa as f64 / 10_f64.powi(exponent))
                })
                .collect()
        },
    )
}

fn counters() -> impl Strategy<Value = Vec<f64>> {
    let step = (0u64..1000, 0u32..10, prop::bool::weighted(0.02));
    (prop::collection::vec(step, 0..300), any::<u32>()).prop_map(|(steps, first)| {
        let mut count = u64::from(first);
        steps
            .into_iter()
            .map(|(step, shift, reset)| {
                count = if reset { 0 } else { count + (step >> shift) };
                count as f64
            })
            .collect()
    })
}

fn codecs() -> impl Strategy<Value = ValueCodec> {
    (0u8..4).prop_map(|tag| ValueCodec::try_from(tag).expect("four codecs"))
}

proptest! {
    #[test]
    fn any_bit_patterns_come_back(bits in prop::collection::vec(any::<u64>(), 0..300), shift in 0u32..64) {
        check_values(&bits.into_iter().map(|bits| f64::from_bits(bits >> shift)).collect::<Vec<_>>());
    }

    #[test]
    fn decimals_come_back(values in decimals()) {
        check_values(&values);
    }

    #[test]
    fn counters_come_back(values in counters()) {
        check_values(&values);
    }

    #[test]
    fn timestamps_come_back(
        first in -1_000_000_000_000i64..2_000_000_000_000, steps in prop::collection::vec((1i64..100_000, 0u32..17), 0..300)
    ) {
        let mut timestamp = first;
        let timestamps: Vec<i64> = steps.into_iter().map(|(step, shift)| {
            timestamp += (step >> shift).max(1);
            timestamp
        }).collect();
        check_timestamps(&timestamps);
    }

    #[test]
    fn flipped_bits_never_panic_nor_add_more_values_than_asked(
        values in prop_oneof![decimals(), counters()], flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4)
    ) {
        let (codec, mut bytes) = encode(&values, Effort::Best);
        prop_assume!(!bytes.is_empty());
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let mut out = Vec::new();
        let result = decode_values(codec, &bytes, values.len(), &mut out);
        prop_assert_eq!(out.len(), if result.is_ok() { values.len() } else { 0 });
        prop_assert!(out.capacity() <= values.len().max(4));
    }

    #[test]
    fn arbitrary_bytes_never_panic(codec in codecs(), bytes: Vec<u8>, count in 0usize..1000) {
        let mut values = Vec::new();
        let _ = decode_values(codec, &bytes, count, &mut values);
        prop_assert!(values.capacity() <= count.max(4));
        let mut timestamps = Vec::new();
        let _ = decode_timestamps(&bytes, count, &mut timestamps);
        prop_assert!(timestamps.capacity() <= count.max(4));
    }
}
