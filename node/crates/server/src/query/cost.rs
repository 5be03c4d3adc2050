//! What a query cost.

use std::time::Duration;

use bellwether_promql::FetchedSeries;

/// What a query has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryCost {
    /// Series fetched; a series that two selectors read counts twice.
    pub series: u64,
    /// Samples fetched, likewise.
    pub samples: u64,
    /// Time until it got its place among the running queries.
    pub queue: Duration,
    /// Time to fetch the data.
    pub fetch: Duration,
    /// Time to evaluate.
    pub evaluate: Duration,
}

impl QueryCost {
    /// Adds what was fetched for one selector.
    pub fn add(&mut self, fetched: &[FetchedSeries]) {
        self.series += fetched.len() as u64;
        self.samples += fetched.iter().map(|series| series.values.len() as u64).sum::<u64>();
    }
}
