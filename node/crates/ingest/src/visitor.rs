//! What the walkers of both remote-write versions tell whoever listens.

use bellwether_model::{Label, LabelError, Labels, LabelsBuilder, METRIC_NAME, MetricKind, Sample, limits};

use crate::exemplars::WireExemplar;
use crate::key_hasher::{CacheKey, KeyHasher};
use crate::protobuf::WireError;
use crate::wire_histograms::WireHistograms;

/// Listens to a walk over a write request. A visitor must be ready to throw away what it heard: an error can come last.
pub trait RequestVisitor {
    /// A series with at least one sample that is a float.
    fn series<L: WireLabels>(&mut self, labels: &L, samples: &[Sample]) -> Result<(), WalkError>;

    /// Whether the bytes of a series begin with the labels that the visitor expects next, followed by the byte `next`, and
    /// how long those are. After this the walk need not look into them.
    fn predict(&mut self, series: &[u8], next: u8) -> Option<usize>;

    /// The samples, at least one, of the series that was predicted last.
    fn predicted_series(&mut self, samples: &[Sample]);

    /// The histograms, at least one, of a series, after its other samples.
    fn histograms<L: WireLabels>(&mut self, labels: &L, histograms: WireHistograms<'_>) -> Result<(), WalkError>;

    /// The exemplars, at least one, of a series, after its samples.
    fn exemplars<L: WireLabels>(
        &mut self,
        labels: &L,
        exemplars: impl Iterator<Item = WireExemplar>,
    ) -> Result<(), WalkError>;

    /// Type, help and unit of a metric. Version 2.0 tells them once per series.
    fn metadata(&mut self, metadata: MetadataRef<'_>);

    /// Metadata that says nothing that could be used, and why.
    fn invalid_metadata(&mut self, why: String);
}

/// Why a walk ended before the body did. Nothing of the body may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The body is not the message that it should be.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The visitor holds as much of series that nobody knows yet as it may.
    #[error("the new series of one request take more than {limit} bytes of memory: send them in several requests")]
    NewSeries {
        /// Bytes that they may take.
        limit: usize,
    },
}

/// A series' labels as they lie on the wire, not validated.
pub trait WireLabels {
    /// The key that equal labels in an equal order always have; `None` if there is something wrong with them.
    fn key(&self, hasher: &KeyHasher) -> Option<CacheKey>;

    /// Parses and validates them.
    fn build(&self) -> Result<Labels, BuildError>;
}

/// Why labels could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The bytes are not protobuf: the whole body is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The labels are not valid for a series.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A reference to a symbol that the request does not have.
    #[error("label reference {reference} is beyond the request's {symbols} symbols")]
    NoSuchSymbol {
        /// The reference.
        reference: u32,
        /// Symbols there are.
        symbols: usize,
    },
    /// References come in pairs.
    #[error("the series has {count} label references, which is not an even number")]
    OddReferences {
        /// References there are.
        count: usize,
    },
}

/// A metric's metadata, in place.
#[derive(Debug, Clone, Copy)]
pub struct MetadataRef<'a> {
    /// The type.
    pub kind: MetricKind,
    /// The metric's name.
    pub name: &'a [u8],
    /// The help text.
    pub help: &'a [u8],
    /// The unit.
    pub unit: &'a [u8],
    /// Equal for equal metadata within one version of the protocol and one process.
    pub fingerprint: u64,
}

/// Validates labels off the wire, of which there are `count`; `pairs` may lack those beyond the limit. Labels that are as
/// they should be, sorted and complete, are not copied one by one.
pub(crate) fn build_labels(pairs: &[(&[u8], &[u8])], count: usize) -> Result<Labels, BuildError> {
    if count > limits::LABELS_PER_SERIES_MAX {
        return Err(LabelError::TooMany { count, limit: limits::LABELS_PER_SERIES_MAX }.into());
    }
    let mut labels = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let fits = name.len() <= limits::LABEL_NAME_BYTES_MAX && value.len() <= limits::LABEL_VALUE_BYTES_MAX;
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) if fits && !name.is_empty() && !value.is_empty() => {
                labels.push(Label { name, value })
            }
            _ => return build_untidy_labels(pairs),
        }
    }
    let is_sorted = labels.windows(2).all(|pair| pair[0].name < pair[1].name);
    let is_named = labels.iter().any(|label| label.name == METRIC_NAME);
    if is_sorted && is_named {
        return Ok(Labels::from_sorted(labels.into_iter()));
    }
    build_untidy_labels(pairs)
}

/// Sorts what is not sorted, and says what is wrong.
#[cold]
fn build_untidy_labels(pairs: &[(&[u8], &[u8])]) -> Result<Labels, BuildError> {
    let mut labels = LabelsBuilder::default();
    for (name, value) in pairs {
        labels.push_bytes(name, value)?;
    }
    Ok(labels.build_series()?)
}

/// The type that a number stands for; both versions use the same numbers.
pub(crate) fn metric_kind(number: u64) -> MetricKind {
    usize::try_from(number).ok().and_then(|number| MetricKind::ALL.get(number)).copied().unwrap_or(MetricKind::Unknown)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    proptest! {
        #[test]
        fn tidy_labels_are_built_as_untidy_ones_are(
            pairs in proptest::collection::vec(("(__name__|[a-c]{0,2})", "[xy]{0,2}"), 0..5),
            invalid in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let mut pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            if let Some(at) = invalid.filter(|_| !pairs.is_empty()) {
                let at = at.index(pairs.len());
                pairs[at].1 = b"\xff";
            }
            let text = |result: Result<Labels, BuildError>| result.map_err(|error| error.to_string());
            prop_assert_eq!(text(build_labels(&pairs, pairs.len())), text(build_untidy_labels(&pairs)));
        }
    }

    /// A visitor that remembers what it heard.
    #[derive(Default)]
    pub(crate) struct Listener {
        pub(crate) heard: Vec<Heard>,
    }

    pub(crate) enum Heard {
        Series { labels: Labels, key: CacheKey, samples: Vec<Sample> },
        Other(String),
    }

    impl Listener {
        pub(crate) fn hasher() -> KeyHasher {
            KeyHasher::new(7, &bellwether_model::Tenant::default_tenant())
        }

        pub(crate) fn keys(&self) -> impl Iterator<Item = CacheKey> {
            self.heard.iter().filter_map(|heard| match heard {
                Heard::Series { key, .. } => Some(*key),
                Heard::Other(_) => None,
            })
        }

        pub(crate) fn text(&self, result: Result<(), WalkError>) -> String {
            let mut text = String::new();
            for heard in &self.heard {
                match heard {
                    Heard::Series { labels, samples, .. } => {
                        write!(text, "{labels}").unwrap();
                        samples.iter().for_each(|s| write!(text, " {}@{}", s.value, s.timestamp).unwrap());
                        text.push('\n');
                    }
                    Heard::Other(other) => writeln!(text, "{other}").unwrap(),
                }
            }
            if let Err(error) = result {
                writeln!(text, "{error}").unwrap();
            }
            text
        }
    }

    impl RequestVisitor for Listener {
        fn series<L: WireLabels>(&mut self, labels: &L, samples: &[Sample]) -> Result<(), WalkError> {
            self.heard.push(match labels.build() {
                Ok(built) => {
                    let key = labels.key(&Listener::hasher()).expect("labels that can be built have a key");
                    Heard::Series { labels: built, key, samples: samples.to_vec() }
                }
                Err(BuildError::Wire(error)) => return Err(error.into()),
                Err(refused) => Heard::Other(format!("refused: {refused}")),
            });
            Ok(())
        }

        fn predict(&mut self, _: &[u8], _: u8) -> Option<usize> {
            None
        }

        fn predicted_series(&mut self, _: &[Sample]) {
            unreachable!("nothing is predicted");
        }

        fn histograms<L: WireLabels>(&mut self, labels: &L, histograms: WireHistograms<'_>) -> Result<(), WalkError> {
            let labels = labels.build().expect("labels of a test are valid");
            for read in histograms.iter() {
                let (timestamp, histogram) = read?;
                let text = match histogram {
                    Ok(histogram) => format!("{labels} histogram of {:?}@{timestamp}", histogram.counts),
                    Err(error) => format!("refused: {labels}@{timestamp}: {error}"),
                };
                self.heard.push(Heard::Other(text));
            }
            Ok(())
        }

        fn exemplars<L: WireLabels>(
            &mut self,
            labels: &L,
            exemplars: impl Iterator<Item = WireExemplar>,
        ) -> Result<(), WalkError> {
            let labels = labels.build().expect("labels of a test are valid");
            for read in exemplars {
                let text = match read? {
                    Ok(one) => format!("{labels} exemplar {} {}@{}", one.labels, one.value, one.timestamp),
                    Err(error) => format!("refused: {labels}: {error}"),
                };
                self.heard.push(Heard::Other(text));
            }
            Ok(())
        }

        fn metadata(&mut self, metadata: MetadataRef<'_>) {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let (name, help, unit) = (text(metadata.name), text(metadata.help), text(metadata.unit));
            let text = format!("metadata: {} {name} {help:?} {unit:?}", metadata.kind.as_str());
            self.heard.push(Heard::Other(text));
        }

        fn invalid_metadata(&mut self, why: String) {
            self.heard.push(Heard::Other(format!("invalid metadata: {why}")));
        }
    }
}
