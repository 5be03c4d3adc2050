//! A native histogram as `prometheus.Histogram`, for bodies of our own making and for remote read.

use bellwether_model::{CounterResetHint, Counts, Histogram, Span, Timestamp};
use prost::encoding::encode_varint;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The message's bytes. What is zero is left out, but for the count, which says of what kind the counts are.
pub fn encode(timestamp: Timestamp, histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + histogram.parts() * 4);
    match &histogram.counts {
        Counts::Integer { count, .. } => put_varint(&mut out, 1, *count),
        Counts::Float { count, .. } => put_fixed64(&mut out, 2, count.to_bits()),
    }
    if histogram.sum.to_bits() != 0 {
        put_fixed64(&mut out, 3, histogram.sum.to_bits());
    }
    put_varint(&mut out, 4, zigzag(histogram.schema.into()));
    if histogram.zero_threshold.to_bits() != 0 {
        put_fixed64(&mut out, 5, histogram.zero_threshold.to_bits());
    }
    match &histogram.counts {
        Counts::Integer { zero_count, .. } => put_varint(&mut out, 6, *zero_count),
        Counts::Float { zero_count, .. } => put_fixed64(&mut out, 7, zero_count.to_bits()),
    }
    put_spans(&mut out, 8, &histogram.negative_spans);
    match &histogram.counts {
        Counts::Integer { negative, .. } => put_deltas(&mut out, 9, negative),
        Counts::Float { negative, .. } => put_floats(&mut out, 10, negative),
    }
    put_spans(&mut out, 11, &histogram.positive_spans);
    match &histogram.counts {
        Counts::Integer { positive, .. } => put_deltas(&mut out, 12, positive),
        Counts::Float { positive, .. } => put_floats(&mut out, 13, positive),
    }
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    if hint != 0 {
        put_varint(&mut out, 14, hint);
    }
    put_varint(&mut out, 15, timestamp as u64);
    put_floats(&mut out, 16, &histogram.custom_values);
    out
}

/// Appends a field that holds bytes.
pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    encode_varint(field << 3 | BYTES, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, field: u64, value: u64) {
    encode_varint(field << 3 | VARINT, out);
    encode_varint(value, out);
}

fn put_fixed64(out: &mut Vec<u8>, field: u64, bits: u64) {
    encode_varint(field << 3 | FIXED64, out);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_spans(out: &mut Vec<u8>, field: u64, spans: &[Span]) {
    for span in spans {
        let mut one = Vec::with_capacity(12);
        put_varint(&mut one, 1, zigzag(span.offset.into()));
        put_varint(&mut one, 2, span.length.into());
        put_bytes(out, field, &one);
    }
}

/// Each count as what it is more than the one before.
fn put_deltas(out: &mut Vec<u8>, field: u64, counts: &[u64]) {
    if counts.is_empty() {
        return;
    }
    let mut packed = Vec::with_capacity(counts.len() * 2);
    let mut before = 0;
    for count in counts {
        encode_varint(zigzag(count.wrapping_sub(before) as i64), &mut packed);
        before = *count;
    }
    put_bytes(out, field, &packed);
}

fn put_floats(out: &mut Vec<u8>, field: u64, values: &[f64]) {
    if !values.is_empty() {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
        put_bytes(out, field, &packed);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
