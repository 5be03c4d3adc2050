//! Remote-write 1.0 bodies, as a Prometheus would send them.

use bellwether_model::{Labels, Sample};

/// A snappy-compressed `prometheus.WriteRequest`.
pub fn remote_write(series: &[(Labels, Vec<Sample>)]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in series {
        let mut time_series = Vec::new();
        for label in labels.iter() {
            let mut pair = Vec::new();
            put_bytes(&mut pair, 1, label.name.as_bytes());
            put_bytes(&mut pair, 2, label.value.as_bytes());
            put_bytes(&mut time_series, 1, &pair);
        }
        for sample in samples {
            let mut message = vec![1 << 3 | 1];
            message.extend_from_slice(&sample.value.to_le_bytes());
            message.push(2 << 3);
            put_varint(&mut message, sample.timestamp as u64);
            put_bytes(&mut time_series, 2, &message);
        }
        put_bytes(&mut request, 1, &time_series);
    }
    snap::raw::Encoder::new().compress_vec(&request).expect("a small request compresses")
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
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
