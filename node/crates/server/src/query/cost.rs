//! What a query cost.

use std::time::Duration;

/// What a query has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryCost {
    /// Series fetched; a series that two selectors read counts twice.
    pub series: u64,
    /// Samples fetched, likewise.
    pub samples: u64,
    /// Steps that were taken from the cache.
    pub cached_steps: u64,
    /// The most memory that it held at one time.
    pub peak_bytes: u64,
    /// Time until it got its place among the running queries.
    pub queue: Duration,
    /// Time to fetch the data.
    pub fetch: Duration,
    /// Time to evaluate.
    pub evaluate: Duration,
}
