//! The model to messages.

use bellwether_model::{Labels, Sample};

use crate::v1;

impl From<Sample> for v1::Sample {
    fn from(sample: Sample) -> v1::Sample {
        v1::Sample { timestamp_ms: sample.timestamp, value: sample.value }
    }
}

impl v1::Series {
    /// A series to be written.
    pub fn new(labels: &Labels, samples: impl Iterator<Item = Sample>) -> v1::Series {
        let samples = samples.map(v1::Sample::from).collect();
        v1::Series { labels: wire_labels(labels), samples, exemplars: Vec::new(), histograms: Vec::new() }
    }
}

impl v1::ResultSeries {
    /// A series of a result.
    pub fn new(
        labels: &Labels,
        samples: impl Iterator<Item = Sample>,
        histograms: Vec<v1::HistogramSample>,
    ) -> v1::ResultSeries {
        v1::ResultSeries { labels: wire_labels(labels), samples: samples.map(v1::Sample::from).collect(), histograms }
    }
}

impl From<v1::Series> for v1::ResultSeries {
    /// What was written, as a result that has no histograms.
    fn from(series: v1::Series) -> v1::ResultSeries {
        v1::ResultSeries { labels: series.labels, samples: series.samples, histograms: Vec::new() }
    }
}

fn wire_labels(labels: &Labels) -> Vec<v1::Label> {
    let label = |label: bellwether_model::Label<'_>| v1::Label { name: label.name.into(), value: label.value.into() };
    labels.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_every_bit_of_its_values() {
        let sample = Sample { timestamp: 1_000, value: f64::from_bits(0x7ff8_dead_beef_0001) };
        let series = v1::Series::new(&Labels::of(&[("__name__", "up"), ("job", "a")]), std::iter::once(sample));
        assert_eq!(series.samples[0].value.to_bits(), 0x7ff8_dead_beef_0001);
        let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
        assert_eq!(series.labels, [label("__name__", "up"), label("job", "a")]);
    }

    /// The server hands these bytes to the same reader.
    #[test]
    fn a_request_to_write_is_a_remote_write_1_0_body() {
        let sample = Sample { timestamp: 300, value: 1.0 };
        let series = vec![v1::Series::new(&Labels::of(&[("__name__", "up")]), std::iter::once(sample))];
        let bytes = prost::Message::encode_to_vec(&v1::WriteRequest { series });
        let expected: &[&[u8]] =
            &[b"\x0a\x1e", b"\x0a\x0e\x0a\x08__name__\x12\x02up", b"\x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02"];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn the_descriptors_name_every_public_service() {
        let text = String::from_utf8_lossy(crate::FILE_DESCRIPTOR_SET);
        for name in ["alerting", "cluster", "node", "query", "write"] {
            assert!(text.contains(&format!("bellwether/v1/{name}.proto")), "{name}");
        }
        assert!(!text.contains("bellwether.peer"), "the nodes' own interface is not described to clients");
    }
}
