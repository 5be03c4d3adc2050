//! What a query may cost, and the bounds of the parser.

/// Bytes of a query's text.
pub const QUERY_BYTES_MAX: usize = 256 << 10;
/// Depth of the syntax tree: every pass over the tree recurses, and stacks are small.
pub const EXPRESSION_DEPTH_MAX: usize = 256;
/// Different selectors of one query: each is a read of its own.
pub const SELECTIONS_MAX: usize = 1_000;
/// Matchers of one selector.
pub const MATCHERS_PER_SELECTOR_MAX: usize = 256;
/// Bytes of a label value that `label_replace` or `label_join` makes.
pub const MADE_VALUE_BYTES_MAX: usize = 1 << 20;
/// Points of each series of a range query, as in Prometheus.
pub const POINTS_PER_SERIES_MAX: i64 = 11_000;
/// Distance of a subquery's evaluations when it names none: Prometheus's default evaluation interval.
pub const SUBQUERY_STEP_MS_DEFAULT: i64 = 60_000;
/// Default lookback of instant selectors.
pub const LOOKBACK_MS_DEFAULT: i64 = 300_000;
/// Warnings and infos (each) that one evaluation collects.
pub const ANNOTATIONS_MAX: usize = 100;
/// Warnings and infos (each) that an outcome spells out; the others are counted, as in Prometheus.
pub const ANNOTATIONS_SHOWN_MAX: usize = 10;
/// Quantiles of one call of `histogram_quantiles`, as in Prometheus.
pub const QUANTILES_MAX: usize = 10;
/// Values of one series in [`crate::series_notation`].
pub const NOTED_VALUES_MAX: usize = 1_000_000;
