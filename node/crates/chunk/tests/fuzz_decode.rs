//! Fuzz targets: hostile bytes give values or an error, never a panic and never more memory than asked for.
//! `cargo test` runs them on random input, `cargo bolero test` with a fuzzer.

use bellwether_chunk::{
    Effort, HISTOGRAMS_PER_CHUNK_MAX, SAMPLES_PER_CHUNK_MAX, Scratch, ValueCodec, decode_histograms, decode_timestamps,
    decode_values, encode_values,
};

const COUNT_MAX: usize = 4_096;

#[test]
fn hostile_values_never_panic() {
    bolero::check!().with_type::<(u8, u16, Vec<u8>)>().for_each(|(tag, count, bytes)| {
        let Ok(codec) = ValueCodec::try_from(tag % 4) else { unreachable!("four codecs") };
        let count = usize::from(*count) % COUNT_MAX;
        let mut values = Vec::new();
        let decoded = decode_values(codec, bytes, count, &mut values).is_ok();
        assert_eq!(values.len(), if decoded { count } else { 0 });
        assert!(values.capacity() <= count.max(4));
    });
}

#[test]
fn hostile_timestamps_never_panic() {
    bolero::check!().with_type::<(u16, Vec<u8>)>().for_each(|(count, bytes)| {
        let count = usize::from(*count) % COUNT_MAX;
        let mut timestamps = Vec::new();
        let decoded = decode_timestamps(bytes, count, &mut timestamps).is_ok();
        assert_eq!(timestamps.len(), if decoded { count } else { 0 });
        assert!(timestamps.capacity() <= count.max(4));
        assert!(timestamps.is_sorted());
    });
}

#[test]
fn any_bits_come_back() {
    let mut scratch = Scratch::default();
    bolero::check!().with_type::<Vec<u64>>().for_each(|bits| {
        let values: Vec<f64> = bits.iter().copied().map(f64::from_bits).collect();
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        let codec = encode_values(&values, Effort::Best, &mut scratch, &mut bytes);
        decode_values(codec, &bytes, values.len(), &mut out).expect("our own bytes decode");
        assert!(out.iter().map(|value| value.to_bits()).eq(bits.iter().copied()));
    });
}

#[test]
fn a_count_that_no_chunk_has_is_refused_before_anything_is_allocated() {
    for count in [SAMPLES_PER_CHUNK_MAX + 1, usize::MAX] {
        let mut values = Vec::new();
        assert!(decode_values(ValueCodec::Constant, &[0; 8], count, &mut values).is_err());
        assert_eq!(values.capacity(), 0);
        assert!(decode_timestamps(&[0; 8], count, &mut Vec::new()).is_err());
    }
}

#[test]
fn hostile_histograms_never_panic() {
    bolero::check!().with_type::<(u16, Vec<u8>)>().for_each(|(count, bytes)| {
        let count = usize::from(*count) % (HISTOGRAMS_PER_CHUNK_MAX + 1);
        let mut histograms = Vec::new();
        let decoded = decode_histograms(bytes, count, &mut histograms).is_ok();
        assert_eq!(histograms.len(), if decoded { count } else { 0 });
    });
}
