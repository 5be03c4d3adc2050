//! The nouns that every crate shares: labels, hashes, ranges, matchers, samples, histograms, limits.
//!
//! Nothing here does I/O, knows a wire or storage format, or holds a policy. Only words of the glossary go in,
//! because a change here rebuilds everything.

pub mod exemplar;
pub mod hash_range;
pub mod histogram;
pub mod labels;
pub mod limits;
pub mod matcher;
pub mod metadata;
pub mod node;
pub mod pattern;
pub mod sample;
pub mod series;
pub mod tenant;

pub use exemplar::{Exemplar, ExemplarError};
pub use hash_range::{HashRange, PlacementKey};
pub use histogram::{CounterResetHint, Counts, Histogram, HistogramError, Span};
pub use labels::{Label, LabelError, Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{MetricKind, MetricMetadata};
pub use node::{NodeId, ReplicaId};
pub use pattern::{PatternBudget, PatternError, WholeRegex};
pub use sample::{Sample, TimeRange, Timestamp, is_stale_marker, stale_marker};
pub use series::{RefEpoch, SeriesHash, SeriesRef, ShardGroupId};
pub use tenant::{Tenant, TenantError};
