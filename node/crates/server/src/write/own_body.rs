//! Samples of our own making as a remote-write 1.0 body: they take the same way in as everybody's.

use bellwether_model::{Exemplar, Histogram, Label, Labels, MetricKind, MetricMetadata, Sample, Timestamp};

use super::wire_histogram;

/// Whole series as a `prometheus.WriteRequest`, not compressed: each with its labels, and rows of times and values.
pub fn encode_series<'a>(series: impl IntoIterator<Item = (&'a Labels, &'a [Timestamp], &'a [f64])>) -> Vec<u8> {
    let mut request = Vec::new();
    let (mut body, mut part) = (Vec::new(), Vec::new());
    for (labels, timestamps, values) in series {
        body.clear();
        put_labels(&mut body, labels);
        for (timestamp, value) in timestamps.iter().zip(values) {
            part.clear();
            put_sample(&mut part, *timestamp, *value);
            put_bytes(&mut body, 2, &part);
        }
        put_bytes(&mut request, 1, &body);
    }
    request
}

/// A series' histograms as a field of a `prometheus.WriteRequest`, at its end.
pub fn put_histograms(request: &mut Vec<u8>, labels: &Labels, timestamps: &[Timestamp], histograms: &[Histogram]) {
    let mut body = Vec::new();
    put_labels(&mut body, labels);
    for (timestamp, histogram) in timestamps.iter().zip(histograms) {
        put_bytes(&mut body, 4, &wire_histogram::encode(*timestamp, histogram));
    }
    put_bytes(request, 1, &body);
}

/// A series' exemplars, likewise.
pub fn put_exemplars(request: &mut Vec<u8>, labels: &Labels, exemplars: &[Exemplar]) {
    let (mut body, mut part) = (Vec::new(), Vec::new());
    put_labels(&mut body, labels);
    for exemplar in exemplars {
        part.clear();
        put_labels(&mut part, &exemplar.labels);
        put_key(&mut part, 2, WIRE_FIXED64);
        part.extend_from_slice(&exemplar.value.to_le_bytes());
        put_key(&mut part, 3, WIRE_VARINT);
        put_varint(&mut part, exemplar.timestamp as u64);
        put_bytes(&mut body, 3, &part);
    }
    put_bytes(request, 1, &body);
}

/// A `prometheus.WriteRequest`, not compressed.
pub fn encode(samples: &[(Labels, Sample)], metadata: &[(String, MetricMetadata)]) -> Vec<u8> {
    let labels_bytes: usize = samples.iter().map(|(labels, _)| labels.byte_len()).sum();
    let mut request = Vec::with_capacity(labels_bytes + samples.len() * 32);
    let (mut series, mut part) = (Vec::new(), Vec::new());
    for (labels, sample) in samples {
        series.clear();
        put_labels(&mut series, labels);
        part.clear();
        put_sample(&mut part, sample.timestamp, sample.value);
        put_bytes(&mut series, 2, &part);
        put_bytes(&mut request, 1, &series);
    }
    for (metric, MetricMetadata { kind, help, unit }) in metadata {
        part.clear();
        put_key(&mut part, 1, WIRE_VARINT);
        let kind = MetricKind::ALL.iter().position(|known| known == kind).expect("ALL has every kind");
        put_varint(&mut part, kind as u64);
        put_bytes(&mut part, 2, metric.as_bytes());
        put_bytes(&mut part, 4, help.as_bytes());
        put_bytes(&mut part, 5, unit.as_bytes());
        put_bytes(&mut request, 3, &part);
    }
    request
}

const WIRE_VARINT: u8 = 0;
const WIRE_FIXED64: u8 = 1;
const WIRE_BYTES: u8 = 2;

fn put_labels(series: &mut Vec<u8>, labels: &Labels) {
    let mut part = Vec::new();
    for Label { name, value } in labels.iter() {
        part.clear();
        put_bytes(&mut part, 1, name.as_bytes());
        put_bytes(&mut part, 2, value.as_bytes());
        put_bytes(series, 1, &part);
    }
}

fn put_sample(out: &mut Vec<u8>, timestamp: Timestamp, value: f64) {
    put_key(out, 1, WIRE_FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
    put_key(out, 2, WIRE_VARINT);
    put_varint(out, timestamp as u64);
}

fn put_key(out: &mut Vec<u8>, field: u8, wire: u8) {
    out.push(field << 3 | wire);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_key(out, field, WIRE_BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field numbers and wire types are the protocol's, not ours.
    #[test]
    fn the_bytes_are_golden() {
        let samples = [(Labels::of(&[("__name__", "up")]), Sample { timestamp: 300, value: 1.0 })];
        let metadata = MetricMetadata { kind: MetricKind::Gauge, help: "h".to_owned(), unit: String::new() };
        let bytes = encode(&samples, &[("up".to_owned(), metadata)]);
        let expected: &[&[u8]] = &[
            b"\x0a\x1e",
            b"\x0a\x0e\x0a\x08__name__\x12\x02up",
            b"\x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02",
            b"\x1a\x0b\x08\x02\x12\x02up\x22\x01h\x2a\x00",
        ];
        assert_eq!(bytes, expected.concat());
        let labels = Labels::of(&[("__name__", "up")]);
        let mut with_exemplar = Vec::new();
        let of_exemplar = Labels::of(&[("t", "a")]);
        let exemplar = Exemplar { labels: of_exemplar, value: 1.0, timestamp: 300 };
        put_exemplars(&mut with_exemplar, &Labels::empty(), &[exemplar]);
        assert_eq!(with_exemplar, b"\x0a\x16\x1a\x14\x0a\x06\x0a\x01t\x12\x01a\x11\0\0\0\0\0\0\xf0\x3f\x18\xac\x02");
        let whole = encode_series([(&labels, &[300][..], &[1.0][..])]);
        assert_eq!(whole, expected[..3].concat());
    }
}
