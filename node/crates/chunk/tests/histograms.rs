//! Histograms of every kind come out bit for bit; whatever else is decoded gives an error and not a panic.

use bellwether_chunk::{DecodeError, Scratch, decode_histograms, encode_histograms};
use bellwether_model::{CounterResetHint, Counts, Histogram, Span};
use proptest::collection::vec;
use proptest::prelude::*;

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), (0..100u32).prop_map(f64::from), Just(f64::NAN)]
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    vec((any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length }), 0..4)
}

fn counts() -> impl Strategy<Value = Counts> {
    let integer = || prop_oneof![any::<u64>(), 0..1000u64];
    prop_oneof![
        (integer(), integer(), vec(integer(), 0..6), vec(integer(), 0..3)).prop_map(
            |(count, zero_count, positive, negative)| Counts::Integer { count, zero_count, positive, negative }
        ),
        (float(), float(), vec(float(), 0..6), vec(float(), 0..3)).prop_map(
            |(count, zero_count, positive, negative)| Counts::Float { count, zero_count, positive, negative }
        ),
    ]
}

fn hint() -> impl Strategy<Value = CounterResetHint> {
    use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
    prop_oneof![Just(Unknown), Just(CounterReset), Just(NotCounterReset), Just(Gauge)]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    (hint(), any::<i32>(), float(), float(), counts(), spans(), spans(), vec(float(), 0..3)).prop_map(
        |(counter_reset_hint, schema, zero_threshold, sum, counts, positive_spans, negative_spans, custom_values)| {
            Histogram {
                counter_reset_hint,
                schema,
                zero_threshold,
                sum,
                counts,
                positive_spans,
                negative_spans,
                custom_values,
            }
        },
    )
}

/// Stretches of one layout, in which sums, hints and totals change.
fn histograms() -> impl Strategy<Value = Vec<Histogram>> {
    let stretch = (histogram(), vec((float(), hint(), any::<u8>()), 0..12)).prop_map(|(first, changes)| {
        let changed = changes.into_iter().map({
            let first = first.clone();
            move |(sum, counter_reset_hint, added)| {
                let mut next = Histogram { sum, counter_reset_hint, ..first.clone() };
                match &mut next.counts {
                    Counts::Integer { count, positive, .. } => {
                        *count = count.wrapping_add(added.into());
                        positive.iter_mut().for_each(|bucket| *bucket = bucket.wrapping_add(added.into()));
                    }
                    Counts::Float { count, positive, .. } => {
                        *count += f64::from(added);
                        positive.iter_mut().for_each(|bucket| *bucket += f64::from(added));
                    }
                }
                next
            }
        });
        std::iter::once(first).chain(changed).collect::<Vec<_>>()
    });
    vec(stretch, 0..3).prop_map(|stretches| stretches.concat())
}

fn encoded(histograms: &[Histogram]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_histograms(histograms, &mut Scratch::default(), &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn histograms_come_back(histograms in histograms()) {
        let mut out = Vec::new();
        decode_histograms(&encoded(&histograms), histograms.len(), &mut out).unwrap();
        prop_assert_eq!(out, histograms);
    }

    #[test]
    fn a_cut_or_longer_chunk_is_an_error(histograms in histograms()) {
        let bytes = encoded(&histograms);
        let mut out = Vec::new();
        for length in 0..bytes.len() {
            prop_assert!(decode_histograms(&bytes[..length], histograms.len(), &mut out).is_err());
            prop_assert!(out.is_empty());
        }
        let longer = [&bytes[..], &[0]].concat();
        let error = decode_histograms(&longer, histograms.len(), &mut out);
        prop_assert_eq!(error, Err(DecodeError::TrailingBytes { excess: 1 }));
    }

    #[test]
    fn a_flipped_bit_never_panics(histograms in histograms(), at: prop::sample::Index, bit in 0..8u32) {
        let mut bytes = encoded(&histograms);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = decode_histograms(&bytes, histograms.len(), &mut Vec::new());
        }
    }
}

#[test]
fn a_count_that_no_chunk_has_is_refused() {
    assert!(decode_histograms(&[0; 64], usize::MAX, &mut Vec::new()).is_err());
}
