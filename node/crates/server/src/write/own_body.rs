//! Samples of our own making as a remote-write 1.0 body: they take the same way in as everybody's.

use bellwether_model::{Label, Labels, MetricKind, MetricMetadata, Sample};

/// A `prometheus.WriteRequest`, not compressed.
pub fn encode(samples: &[(Labels, Sample)], metadata: &[(String, MetricMetadata)]) -> Vec<u8> {
    let labels_bytes: usize = samples.iter().map(|(labels, _)| labels.byte_len()).sum();
    let mut request = Vec::with_capacity(labels_bytes + samples.len() * 32);
    let (mut series, mut part) = (Vec::new(), Vec::new());
    for (labels, sample) in samples {
        series.clear();
        for Label { name, value } in labels.iter() {
            part.clear();
            put_bytes(&mut part, 1, name.as_bytes());
            put_bytes(&mut part, 2, value.as_bytes());
            put_bytes(&mut series, 1, &part);
        }
        part.clear();
        put_key(&mut part, 1, WIRE_FIXED64);
        part.extend_from_slice(&sample.value.to_le_bytes());
        put_key(&mut part, 2, WIRE_VARINT);
        put_varint(&mut part, sample.timestamp as u64);
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
    }
}
