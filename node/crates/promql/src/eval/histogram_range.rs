//! Functions of ranges that have histograms in them.
//!
//! The values of a range have been seen to when this is asked: what it finds at a step stands in place of what they gave, or
//! takes it away. Most functions know one kind of samples alone and say so where they meet both.

use std::ops::Range;
use std::sync::Arc;

use crate::ast::Extension;
use crate::column::Column;
use crate::eval::Evaluator;
use crate::eval::histogram_notes::Combination;
use crate::eval::selector::RangeData;
use crate::functions::over_time::OverTimeOp;
use crate::histogram::{FloatHistogram, HistogramTotal};
use crate::outcome::EvalError;
use crate::plan::{RangeNode, RangeOp};
use crate::windows::{Grid, Windows};

/// The histograms of one series, without stale markers, and what each step sees of them.
pub(crate) struct HistogramSamples {
    pub(crate) timestamps: Vec<i64>,
    pub(crate) histograms: Vec<Arc<FloatHistogram>>,
    pub(crate) windows: Windows,
}

impl HistogramSamples {
    pub(crate) fn new(samples: Vec<(i64, Arc<FloatHistogram>)>, mut windows: Windows) -> HistogramSamples {
        let (timestamps, histograms): (Vec<i64>, Vec<_>) = samples.into_iter().unzip();
        windows.of_own(&timestamps);
        HistogramSamples { timestamps, histograms, windows }
    }
}

/// A sample of either kind.
#[derive(Debug, Clone)]
pub(crate) enum Sample {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Sample {
    /// Bytes that it holds beside itself.
    pub(crate) fn byte_len(&self) -> usize {
        match self {
            Sample::Float(_) => 0,
            Sample::Histogram(histogram) => histogram.byte_len(),
        }
    }
}

impl Column {
    /// Puts it in place of what a step has.
    pub(crate) fn replace(&mut self, step: usize, sample: Option<Sample>) {
        self.unset(step);
        match sample {
            Some(Sample::Float(value)) => self.set(step, value),
            Some(Sample::Histogram(histogram)) => self.set_histogram(step, histogram),
            None => {}
        }
    }
}

/// What one step sees of a series.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'d> {
    pub(crate) times: &'d [i64],
    pub(crate) values: &'d [f64],
    pub(crate) histogram_times: &'d [i64],
    pub(crate) histograms: &'d [Arc<FloatHistogram>],
}

impl<'d> Seen<'d> {
    /// `None` if there is no histogram.
    pub(crate) fn at(data: &RangeData<'d>, step: usize) -> Option<Seen<'d>> {
        let of_histograms = data.histograms?;
        let bounds: Range<usize> = of_histograms.windows.bounds(step);
        if bounds.is_empty() {
            return None;
        }
        let of_values = data.windows.bounds(step);
        Some(Seen {
            times: &data.timestamps[of_values.clone()],
            values: &data.values[of_values],
            histogram_times: &of_histograms.timestamps[bounds.clone()],
            histograms: &of_histograms.histograms[bounds],
        })
    }

    /// What it costs to look at all of it, in points.
    pub(crate) fn work(self) -> usize {
        self.values.len() + self.histograms.iter().map(|histogram| histogram.work()).sum::<usize>()
    }

    pub(crate) fn is_mixed(self) -> bool {
        !self.values.is_empty()
    }

    /// All of it in the order of time.
    pub(crate) fn merged(self) -> Vec<(i64, Sample)> {
        let floats = self.times.iter().zip(self.values).map(|(time, value)| (*time, Sample::Float(*value)));
        let histograms = self.histogram_times.iter().zip(self.histograms);
        let histograms = histograms.map(|(time, histogram)| (*time, Sample::Histogram(histogram.clone())));
        let mut merged: Vec<(i64, Sample)> = floats.chain(histograms).collect();
        merged.sort_by_key(|(time, _)| *time);
        merged
    }

    fn first(self) -> Sample {
        match (self.times.first(), self.histogram_times.first()) {
            (Some(float), Some(histogram)) if float < histogram => Sample::Float(self.values[0]),
            _ => Sample::Histogram(self.histograms[0].clone()),
        }
    }

    fn last(self) -> Sample {
        let (last, newest) = (self.values.len().wrapping_sub(1), self.histograms.len() - 1);
        match (self.times.last(), self.histogram_times.last()) {
            (Some(float), Some(histogram)) if float > histogram => Sample::Float(self.values[last]),
            _ => Sample::Histogram(self.histograms[newest].clone()),
        }
    }
}

fn seconds(timestamp: Option<i64>) -> Option<Sample> {
    timestamp.map(|timestamp| Sample::Float(timestamp as f64 / 1000.0))
}

impl Evaluator<'_> {
    /// Functions of all samples of a range, for a series with histograms.
    pub(crate) fn ranges_of_histograms(
        &self,
        op: &RangeOp,
        range: &RangeNode,
        grid: &Grid,
        data: &RangeData<'_>,
        column: &mut Column,
    ) -> Result<(), EvalError> {
        let mut account = self.meter.account();
        for step in 0..grid.steps {
            let Some(seen) = Seen::at(data, step) else { continue };
            self.meter.work(seen.work())?;
            let sample = match op {
                RangeOp::OverTime(OverTimeOp::Count) => {
                    Some(Sample::Float((seen.values.len() + seen.histograms.len()) as f64))
                }
                RangeOp::OverTime(OverTimeOp::Present) => Some(Sample::Float(1.0)),
                RangeOp::OverTime(OverTimeOp::First) => Some(seen.first()),
                RangeOp::OverTime(OverTimeOp::Last) => Some(seen.last()),
                RangeOp::OverTime(OverTimeOp::TimeOfFirst) => {
                    seconds(seen.times.first().into_iter().chain(seen.histogram_times.first()).min().copied())
                }
                RangeOp::OverTime(OverTimeOp::TimeOfLast) => {
                    seconds(seen.times.last().into_iter().chain(seen.histogram_times.last()).max().copied())
                }
                RangeOp::OverTime(op @ (OverTimeOp::Sum | OverTimeOp::Avg)) => {
                    if seen.is_mixed() {
                        self.warn_of_mixed_range(data.name(), range.span);
                        None
                    } else {
                        self.total(*op, range, data, seen.histograms)
                    }
                }
                RangeOp::OverTime(op @ (OverTimeOp::Changes | OverTimeOp::Resets)) => {
                    count_of_turns(*op, range, grid, step, seen).map(Sample::Float)
                }
                _ => {
                    // They know numbers alone, and these have been seen to.
                    if seen.is_mixed() {
                        self.inform_of_ignored_range(data.name(), range.span);
                    }
                    continue;
                }
            };
            sample.iter().try_for_each(|sample| account.take(sample.byte_len()))?;
            column.replace(step, sample);
        }
        Ok(())
    }

    fn total(
        &self,
        op: OverTimeOp,
        range: &RangeNode,
        data: &RangeData<'_>,
        histograms: &[Arc<FloatHistogram>],
    ) -> Option<Sample> {
        let averages = op == OverTimeOp::Avg;
        let mut total = HistogramTotal::default();
        histograms.iter().for_each(|histogram| total.add(histogram, averages));
        if total.flags.is_mixed {
            self.warn_of_mixed_schemas(data.name(), range.span);
            return None;
        }
        if total.flags.hints_collide() {
            self.warn_of_collision(Combination::Aggregation, range.span);
        }
        if total.flags.bounds_differ {
            self.inform_of_bounds(Combination::Aggregation, range.span);
        }
        total.value(averages).map(|value| Sample::Histogram(Arc::new(value)))
    }
}

/// How often a series changes, or begins anew; a change between floats and histograms is both.
fn count_of_turns(op: OverTimeOp, range: &RangeNode, grid: &Grid, step: usize, seen: Seen<'_>) -> Option<f64> {
    let mut samples = seen.merged();
    if range.extension == Extension::Anchored {
        let times: Vec<i64> = samples.iter().map(|(time, _)| *time).collect();
        samples.drain(..range.borders(grid, step).anchor(&times)?);
    }
    let turns = |pair: &&[(i64, Sample)]| match (&pair[0].1, &pair[1].1) {
        (Sample::Float(before), Sample::Float(now)) if op == OverTimeOp::Resets => now < before,
        (Sample::Float(before), Sample::Float(now)) => before != now && !(before.is_nan() && now.is_nan()),
        (Sample::Histogram(before), Sample::Histogram(now)) if op == OverTimeOp::Resets => now.is_reset_after(before),
        (Sample::Histogram(before), Sample::Histogram(now)) => !now.same(before),
        (Sample::Float(_), Sample::Histogram(_)) | (Sample::Histogram(_), Sample::Float(_)) => true,
    };
    Some(samples.windows(2).filter(turns).count() as f64)
}
