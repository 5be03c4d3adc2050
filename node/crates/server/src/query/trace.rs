//! What a query did, for whoever wants to know where its time goes.

use std::time::Duration;

use bellwether_promql::{Fetched, PlanStep};

/// What was read, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTrace {
    /// The plan's steps, each before those that it takes series from.
    pub steps: Vec<PlanStep>,
    /// What each selection of the plan took.
    pub reads: Vec<ReadCost>,
}

/// What reading a selection took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadCost {
    /// From the question to the last answer; selections are read side by side.
    pub time: Duration,
    /// Series that came; none where aggregations came instead.
    pub series: u64,
    /// Samples that were read, wherever that was.
    pub samples: u64,
    /// Bytes of what came.
    pub bytes: u64,
}

impl ReadCost {
    /// Of what came in this time.
    pub fn of(fetched: &Fetched, time: Duration) -> ReadCost {
        match fetched {
            Fetched::Series(series) => ReadCost {
                time,
                series: series.len() as u64,
                samples: series.iter().map(|series| series.sample_count() as u64).sum(),
                bytes: series.iter().map(|series| series.byte_len()).sum(),
            },
            Fetched::Reduced(partial) => {
                ReadCost { time, series: 0, samples: partial.samples_read(), bytes: partial.byte_len() }
            }
        }
    }
}
