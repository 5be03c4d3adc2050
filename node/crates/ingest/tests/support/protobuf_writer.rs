//! Just enough of a protobuf writer to build remote-write bodies for tests and benchmarks.
#![allow(dead_code, missing_docs)]

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

pub fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `Sample` of either version; zeros are left out, as Go's encoder does.
pub fn sample(timestamp: i64, value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    if value.to_bits() != 0 {
        put_double(&mut out, 1, value);
    }
    if timestamp != 0 {
        put_number(&mut out, 2, timestamp as u64);
    }
    out
}

/// The label fields of a version 1.0 `TimeSeries`.
pub fn labels_v1(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut out, 1, &label);
    }
    out
}

/// A version 1.0 `TimeSeries` from its label fields.
pub fn series_v1(labels: &[u8], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut out = labels.to_vec();
    for (timestamp, value) in samples {
        put_bytes(&mut out, 2, &sample(*timestamp, *value));
    }
    out
}

/// A version 1.0 body.
pub fn request_v1(series: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for series in series {
        put_bytes(&mut out, 1, series);
    }
    out
}

/// Adds a version 1.0 `MetricMetadata` to a body.
pub fn put_metadata_v1(body: &mut Vec<u8>, kind: u64, name: &str, help: &str, unit: &str) {
    let mut out = Vec::new();
    put_number(&mut out, 1, kind);
    put_bytes(&mut out, 2, name.as_bytes());
    put_bytes(&mut out, 4, help.as_bytes());
    put_bytes(&mut out, 5, unit.as_bytes());
    put_bytes(body, 3, &out);
}

/// Builds a version 2.0 body with its symbol table.
pub struct RequestV2 {
    pub symbols: Vec<String>,
    pub series: Vec<Vec<u8>>,
}

impl Default for RequestV2 {
    fn default() -> RequestV2 {
        RequestV2 { symbols: vec![String::new()], series: Vec::new() }
    }
}

impl RequestV2 {
    pub fn symbol(&mut self, text: &str) -> u64 {
        let at = self.symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        });
        at as u64
    }

    pub fn label_refs(&mut self, labels: &[(&str, &str)]) -> Vec<u64> {
        labels.iter().flat_map(|(name, value)| [self.symbol(name), self.symbol(value)]).collect()
    }

    pub fn push(&mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> &mut Vec<u8> {
        let refs = self.label_refs(labels);
        self.push_refs(&refs, samples)
    }

    pub fn push_refs(&mut self, refs: &[u64], samples: &[(i64, f64)]) -> &mut Vec<u8> {
        let mut packed = Vec::new();
        refs.iter().for_each(|reference| put_varint(&mut packed, *reference));
        let mut out = Vec::new();
        put_bytes(&mut out, 1, &packed);
        for (timestamp, value) in samples {
            put_bytes(&mut out, 2, &sample(*timestamp, *value));
        }
        self.series.push(out);
        self.series.last_mut().expect("just pushed")
    }

    pub fn metadata(&mut self, kind: u64, help: &str, unit: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, 1, kind);
        let help = self.symbol(help);
        put_number(&mut out, 3, help);
        let unit = self.symbol(unit);
        put_number(&mut out, 4, unit);
        out
    }

    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.symbols.iter().for_each(|symbol| put_bytes(&mut out, 4, symbol.as_bytes()));
        self.series.iter().for_each(|series| put_bytes(&mut out, 5, series));
        out
    }
}

/// A `Histogram` of either version; zeros are left out, as Go's encoder does.
pub fn wire_histogram(timestamp: i64, histogram: &bellwether_model::Histogram) -> Vec<u8> {
    use bellwether_model::{CounterResetHint, Counts, Span};
    let zigzag = |value: i64| ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    let put_spans = |out: &mut Vec<u8>, field: u64, spans: &[Span]| {
        for span in spans {
            let mut one = Vec::new();
            put_number(&mut one, 1, zigzag(span.offset.into()));
            put_number(&mut one, 2, span.length.into());
            put_bytes(out, field, &one);
        }
    };
    let deltas = |counts: &[u64]| {
        let (mut packed, mut before) = (Vec::new(), 0);
        for count in counts {
            put_varint(&mut packed, zigzag(count.wrapping_sub(before) as i64));
            before = *count;
        }
        packed
    };
    let floats = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    put_double(&mut out, 3, histogram.sum);
    put_number(&mut out, 4, zigzag(histogram.schema.into()));
    put_double(&mut out, 5, histogram.zero_threshold);
    put_spans(&mut out, 8, &histogram.negative_spans);
    put_spans(&mut out, 11, &histogram.positive_spans);
    match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            put_number(&mut out, 1, *count);
            put_number(&mut out, 6, *zero_count);
            put_bytes(&mut out, 9, &deltas(negative));
            put_bytes(&mut out, 12, &deltas(positive));
        }
        Counts::Float { count, zero_count, positive, negative } => {
            put_double(&mut out, 2, *count);
            put_double(&mut out, 7, *zero_count);
            put_bytes(&mut out, 10, &floats(negative));
            put_bytes(&mut out, 13, &floats(positive));
        }
    }
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    put_number(&mut out, 14, hint);
    put_number(&mut out, 15, timestamp as u64);
    put_bytes(&mut out, 16, &floats(&histogram.custom_values));
    out
}

/// An `Exemplar` of version 1.0.
pub fn wire_exemplar_v1(labels: &[(&str, &str)], value: f64, timestamp: i64) -> Vec<u8> {
    let mut out = labels_v1(labels);
    put_double(&mut out, 2, value);
    put_number(&mut out, 3, timestamp as u64);
    out
}

/// An `Exemplar` of version 2.0, by its label references.
pub fn wire_exemplar_v2(refs: &[u64], value: f64, timestamp: i64) -> Vec<u8> {
    let mut packed = Vec::new();
    refs.iter().for_each(|reference| put_varint(&mut packed, *reference));
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &packed);
    put_double(&mut out, 2, value);
    put_number(&mut out, 3, timestamp as u64);
    out
}
