//! Ranges that know what lies at their borders: `anchored` begins at the sample before the range, `smoothed` interpolates
//! between the neighbours of both ends. Nothing is extrapolated.

use crate::functions::rate::RateOp;

/// A time and a value.
type Sample = (i64, f64);

/// The value at `time` on the line between two samples.
pub(crate) fn interpolate(before: Sample, after: Sample, time: i64) -> f64 {
    let (passed, all) = (time.saturating_sub(before.0) as f64, after.0.saturating_sub(before.0) as f64);
    before.1 + (after.1 - before.1) * passed / all
}

/// The same for a counter: one that drops is taken to have begun anew, at zero, when the first sample was.
fn interpolate_counter(before: Sample, after: Sample, time: i64) -> f64 {
    let from = if after.1 < before.1 { 0.0 } else { before.1 };
    interpolate((before.0, from), after, time)
}

/// The range of one step, from `start` (not inside) to `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Borders {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Borders {
    /// The first sample that counts: the newest one at or before the start, or else the oldest. `None` if there is none
    /// behind the start.
    pub(crate) fn anchor(self, timestamps: &[i64]) -> Option<usize> {
        let inside = timestamps.partition_point(|t| *t <= self.start);
        (inside < timestamps.len()).then(|| inside.saturating_sub(1))
    }

    /// `delta`, `increase` or `rate` from border to border; the samples reach beyond the range.
    pub(crate) fn change(self, op: RateOp, smoothed: bool, timestamps: &[i64], values: &[f64]) -> Option<f64> {
        let Borders { start, end } = self;
        let newest = timestamps.len().checked_sub(1)?;
        let (mut first, mut last) = (timestamps[..newest].partition_point(|t| *t <= start).saturating_sub(1), newest);
        if smoothed {
            last = timestamps[..newest].partition_point(|t| *t < end);
        }
        if timestamps[last] <= start || (smoothed && timestamps[first] > end) {
            return None;
        }
        let is_counter = op != RateOp::Delta;
        let between = if is_counter { interpolate_counter } else { interpolate };
        let sample = |at: usize| (timestamps[at], values[at]);
        let left = if smoothed && timestamps[first] < start {
            between(sample(first), sample(first + 1), start)
        } else {
            values[first]
        };
        let right = if smoothed && last > 0 && timestamps[last] > end {
            between(sample(last - 1), sample(last), end)
        } else {
            values[last]
        };
        let mut change = right - left;
        if is_counter {
            // Resets at the borders are in the interpolated values already.
            first += usize::from(timestamps[first] <= start);
            last -= usize::from(timestamps[last] >= end && last > 0);
            change += resets(left, right, values.get(first..=last).unwrap_or_default());
        }
        let seconds = end.saturating_sub(start) as f64 / 1000.0;
        Some(if op == RateOp::Rate { change / seconds } else { change })
    }
}

/// What a counter has lost by beginning anew on its way from `left` over `values` to `right`.
fn resets(left: f64, right: f64, values: &[f64]) -> f64 {
    let (mut lost, mut before) = (0.0, left);
    for value in values.iter().chain([&right]) {
        if *value < before {
            lost += before;
        }
        before = *value;
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(op: RateOp, smoothed: bool, start: i64, end: i64, samples: &[Sample]) -> Option<f64> {
        let (timestamps, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        Borders { start, end }.change(op, smoothed, &timestamps, &values)
    }

    #[test]
    fn an_anchor_is_the_sample_at_the_start_or_before_it() {
        let samples = [(0, 1.0), (10, 4.0), (20, 2.0)];
        assert_eq!(change(RateOp::Increase, false, 5, 20, &samples), Some(5.0));
        assert_eq!(change(RateOp::Delta, false, 10, 20, &samples), Some(-2.0));
        assert_eq!(change(RateOp::Delta, false, -5, 20, &samples), Some(1.0));
        assert_eq!(change(RateOp::Delta, false, 20, 30, &samples), None);
        assert_eq!(Borders { start: 10, end: 20 }.anchor(&[0, 10, 20]), Some(1));
        assert_eq!(Borders { start: 20, end: 30 }.anchor(&[0, 10, 20]), None);
    }

    #[test]
    fn both_ends_are_interpolated() {
        let samples = [(0, 0.0), (10, 10.0), (20, 30.0)];
        assert_eq!(change(RateOp::Delta, true, 5, 15, &samples), Some(15.0));
        // 4 of the drop from 100 to 10 has been made good before the range, 8 when it ends.
        assert_eq!(change(RateOp::Increase, true, 4, 8, &[(0, 100.0), (10, 10.0)]), Some(4.0));
        assert_eq!(change(RateOp::Rate, true, 0, 2000, &[(0, 1.0), (1000, 3.0), (2000, 2.0)]), Some(2.0));
    }

    #[test]
    fn samples_outside_alone_say_nothing() {
        assert_eq!(change(RateOp::Delta, true, 0, 10, &[(20, 1.0), (30, 2.0)]), None);
        assert_eq!(change(RateOp::Delta, true, 0, 10, &[]), None);
        assert_eq!(change(RateOp::Increase, true, 0, 10, &[(5, 7.0)]), Some(0.0));
    }
}
