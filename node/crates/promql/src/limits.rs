//! What a query may cost, and the bounds of the parser.

/// Bytes of a query's text.
pub const QUERY_BYTES_MAX: usize = 256 << 10;
/// Depth of the syntax tree: every pass over the tree recurses, and stacks are small.
pub const EXPRESSION_DEPTH_MAX: usize = 256;
/// Points of each series of a range query, as in Prometheus.
pub const POINTS_PER_SERIES_MAX: i64 = 11_000;
/// Distance of a subquery's evaluations when it names none: Prometheus's default evaluation interval.
pub const SUBQUERY_STEP_MS_DEFAULT: i64 = 60_000;
/// Default lookback of instant selectors.
pub const LOOKBACK_MS_DEFAULT: i64 = 300_000;
/// Warnings and infos (each) that one evaluation reports.
pub const ANNOTATIONS_MAX: usize = 100;

/// What one evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples read from selectors, each selector's counted for itself, and points made by subqueries.
    pub samples: u64,
    /// Bytes of columns and label sets held at one time, fetched data not included.
    pub memory_bytes: u64,
}

impl Default for Limits {
    /// Prometheus's 50 million samples, and a gigabyte.
    fn default() -> Limits {
        Limits { samples: 50_000_000, memory_bytes: 1 << 30 }
    }
}
