//! Series in memory, for evaluations that store what they read.

use std::sync::Arc;

use bellwether_model::{Histogram, Labels, TimeRange, Timestamp};
use bellwether_promql::{FetchedHistograms, FetchedSeries};

/// Samples of a series, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    timestamps: Vec<i64>,
    values: Vec<f64>,
    histogram_timestamps: Vec<i64>,
    histograms: Vec<Histogram>,
}

impl Samples {
    /// Samples come in order; one that does not is left out, as Prometheus does.
    fn is_next(&self, timestamp: Timestamp) -> bool {
        [&self.timestamps, &self.histogram_timestamps].iter().all(|column| column.last() < Some(&timestamp))
    }

    pub fn push(&mut self, timestamp: Timestamp, value: f64) {
        if self.is_next(timestamp) {
            self.timestamps.push(timestamp);
            self.values.push(value);
        }
    }

    pub fn push_histogram(&mut self, timestamp: Timestamp, histogram: Histogram) {
        if self.is_next(timestamp) {
            self.histogram_timestamps.push(timestamp);
            self.histograms.push(histogram);
        }
    }

    /// What there is from one time to another, both included.
    pub fn within(&self, labels: &Labels, range: TimeRange) -> Option<FetchedSeries> {
        let part = |column: &[i64]| {
            let from = column.partition_point(|time| *time < range.first);
            from..column.partition_point(|time| *time <= range.last).max(from)
        };
        let (floats, histograms) = (part(&self.timestamps), part(&self.histogram_timestamps));
        if floats.is_empty() && histograms.is_empty() {
            return None;
        }
        let histograms = (!histograms.is_empty()).then(|| {
            Box::new(FetchedHistograms {
                timestamps: Arc::from(&self.histogram_timestamps[histograms.clone()]),
                histograms: self.histograms[histograms.clone()].to_vec(),
            })
        });
        Some(FetchedSeries {
            labels: labels.clone(),
            timestamps: Arc::from(&self.timestamps[floats.clone()]),
            values: self.values[floats].to_vec(),
            histograms,
        })
    }
}

impl Samples {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.timestamps.len() + self.histogram_timestamps.len()
    }
}
