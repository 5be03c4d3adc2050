//! What the walkers of both remote-write versions tell whoever listens.

use bellwether_model::{LabelError, Labels, MetricKind, Sample};

use crate::key_hasher::{CacheKey, KeyHasher};
use crate::protobuf::WireError;

/// Listens to a walk over a write request. A visitor must be ready to throw away what it heard: an error can come last.
pub trait RequestVisitor {
    /// A series with at least one sample.
    fn series<L: WireLabels>(&mut self, labels: &L, samples: &[Sample]) -> Result<(), WireError>;

    /// Whether the bytes of a series begin with the labels that the visitor expects next, followed by the byte `next`, and
    /// how long those are. After this the walk need not look into them.
    fn predict(&mut self, series: &[u8], next: u8) -> Option<usize>;

    /// The samples, at least one, of the series that was predicted last.
    fn predicted_series(&mut self, samples: &[Sample]);

    /// What a series carries beside samples and cannot be stored.
    fn unsupported(&mut self, exemplars: usize, histograms: usize);

    /// Type, help and unit of a metric. Version 2.0 tells them once per series.
    fn metadata(&mut self, metadata: MetadataRef<'_>);
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

/// The type that a number stands for; both versions use the same numbers.
pub(crate) fn metric_kind(number: u64) -> MetricKind {
    usize::try_from(number).ok().and_then(|number| MetricKind::ALL.get(number)).copied().unwrap_or(MetricKind::Unknown)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fmt::Write;

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

        pub(crate) fn text(&self, result: Result<(), WireError>) -> String {
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
        fn series<L: WireLabels>(&mut self, labels: &L, samples: &[Sample]) -> Result<(), WireError> {
            self.heard.push(match labels.build() {
                Ok(built) => {
                    let key = labels.key(&Listener::hasher()).expect("labels that can be built have a key");
                    Heard::Series { labels: built, key, samples: samples.to_vec() }
                }
                Err(BuildError::Wire(error)) => return Err(error),
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

        fn unsupported(&mut self, exemplars: usize, histograms: usize) {
            let text = format!("unsupported: {exemplars} exemplars, {histograms} histograms");
            self.heard.push(Heard::Other(text));
        }

        fn metadata(&mut self, metadata: MetadataRef<'_>) {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let (name, help, unit) = (text(metadata.name), text(metadata.help), text(metadata.unit));
            let text = format!("metadata: {} {name} {help:?} {unit:?}", metadata.kind.as_str());
            self.heard.push(Heard::Other(text));
        }
    }
}
