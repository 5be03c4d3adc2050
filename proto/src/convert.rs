//! Messages to the model, checked, and the model to messages.

use bellwether_model::{LabelError, Labels, LabelsBuilder, Sample};

use crate::v1;

/// Why a message from outside could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A series of a request has labels that cannot be stored.
    #[error("series {position}: {source}")]
    Labels {
        /// Which series, counted from 0.
        position: usize,
        /// What is wrong with its labels.
        source: LabelError,
    },
}

impl From<Sample> for v1::Sample {
    fn from(sample: Sample) -> v1::Sample {
        v1::Sample { timestamp_ms: sample.timestamp, value: sample.value }
    }
}

impl From<v1::Sample> for Sample {
    fn from(sample: v1::Sample) -> Sample {
        Sample { timestamp: sample.timestamp_ms, value: sample.value }
    }
}

impl v1::Series {
    /// A series of a result.
    pub fn new(labels: &Labels, samples: impl Iterator<Item = Sample>) -> v1::Series {
        let labels = labels
            .iter()
            .map(|label| v1::Label { name: label.name.to_owned(), value: label.value.to_owned() })
            .collect();
        v1::Series { labels, samples: samples.map(v1::Sample::from).collect() }
    }
}

impl TryFrom<&v1::Series> for Labels {
    type Error = LabelError;

    /// The labels of a series to be stored: sorted, with a metric name, inside the limits.
    fn try_from(series: &v1::Series) -> Result<Labels, LabelError> {
        let mut builder = LabelsBuilder::default();
        for label in &series.labels {
            builder.push(&label.name, &label.value);
        }
        builder.build_series()
    }
}

impl TryFrom<v1::WriteRequest> for Vec<(Labels, Sample)> {
    type Error = MessageError;

    fn try_from(request: v1::WriteRequest) -> Result<Vec<(Labels, Sample)>, MessageError> {
        let mut rows = Vec::with_capacity(request.series.iter().map(|series| series.samples.len()).sum());
        for (position, series) in request.series.iter().enumerate() {
            let labels = Labels::try_from(series).map_err(|source| MessageError::Labels { position, source })?;
            rows.extend(series.samples.iter().map(|sample| (labels.clone(), Sample::from(*sample))));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, value: &str) -> v1::Label {
        v1::Label { name: name.into(), value: value.into() }
    }

    fn request(labels: Vec<v1::Label>) -> v1::WriteRequest {
        let sample = v1::Sample { timestamp_ms: 1_000, value: f64::from_bits(0x7ff8_dead_beef_0001) };
        v1::WriteRequest { series: vec![v1::Series { labels, samples: vec![sample] }] }
    }

    #[test]
    fn a_series_keeps_every_bit_of_its_values() {
        let rows = Vec::try_from(request(vec![label("job", "a"), label("__name__", "up")])).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].0, Labels::of(&[("__name__", "up"), ("job", "a")]));
        assert!(rows[0].1.same_bits(Sample { timestamp: 1_000, value: f64::from_bits(0x7ff8_dead_beef_0001) }));
        let back = v1::Series::new(&rows[0].0, std::iter::once(rows[0].1));
        assert_eq!(back.samples[0].value.to_bits(), 0x7ff8_dead_beef_0001);
        assert_eq!(back.labels, [label("__name__", "up"), label("job", "a")]);
    }

    #[test]
    fn a_bad_series_is_named_by_its_position() {
        let error = Vec::try_from(request(vec![label("job", "a")])).unwrap_err();
        assert_eq!(error.to_string(), "series 0: the series has no metric name (label __name__): {job=\"a\"}");
        let error =
            Vec::try_from(request(vec![label("__name__", "up"), label("a", "1"), label("a", "2")])).unwrap_err();
        assert_eq!(error.to_string(), "series 0: label \"a\" occurs more than once");
    }

    #[test]
    fn the_descriptors_name_every_public_service() {
        let text = String::from_utf8_lossy(crate::FILE_DESCRIPTOR_SET);
        for name in ["bellwether/v1/node.proto", "bellwether/v1/query.proto", "bellwether/v1/write.proto"] {
            assert!(text.contains(name), "{name}");
        }
        assert!(!text.contains("bellwether.peer"), "the nodes' own interface is not described to clients");
    }
}
