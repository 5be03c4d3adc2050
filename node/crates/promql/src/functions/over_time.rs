//! Functions of all samples of a range.

use crate::functions::math::{quantile_of_sorted, sort_nan_first};
use crate::functions::regression::linear_regression;
use crate::functions::summation::{Deviation, Mean, Sum};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverTimeOp {
    Avg,
    Changes,
    Count,
    Deriv,
    First,
    Last,
    Mad,
    Max,
    Min,
    Present,
    Resets,
    Stddev,
    Stdvar,
    Sum,
    TimeOfFirst,
    TimeOfLast,
    TimeOfMax,
    TimeOfMin,
}

/// Times and values of the samples that a step sees; never empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) timestamps: &'a [i64],
    pub(crate) values: &'a [f64],
}

impl OverTimeOp {
    /// Whether the result is a sample of the series itself and keeps its name.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, OverTimeOp::First | OverTimeOp::Last)
    }

    /// Work of one sample compared with the cheapest function; for checks of cancellation.
    pub(crate) fn is_constant_time(self) -> bool {
        matches!(
            self,
            OverTimeOp::Count
                | OverTimeOp::First
                | OverTimeOp::Last
                | OverTimeOp::Present
                | OverTimeOp::TimeOfFirst
                | OverTimeOp::TimeOfLast
        )
    }

    /// The value of a window; `scratch` is reused between windows.
    #[inline]
    pub(crate) fn apply(self, window: Window<'_>, scratch: &mut Vec<f64>) -> Option<f64> {
        let Window { timestamps, values } = window;
        let last = values.len() - 1;
        Some(match self {
            OverTimeOp::Avg => Mean::of(values),
            OverTimeOp::Changes => {
                let changed = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
                values.windows(2).filter(changed).count() as f64
            }
            OverTimeOp::Count => values.len() as f64,
            OverTimeOp::Deriv => {
                if values.len() < 2 {
                    return None;
                }
                linear_regression(timestamps, values, timestamps[0]).0
            }
            OverTimeOp::First => values[0],
            OverTimeOp::Last => values[last],
            OverTimeOp::Mad => median_deviation(values, scratch),
            OverTimeOp::Max => values[extreme(values, |value, max| value > max)],
            OverTimeOp::Min => values[extreme(values, |value, min| value < min)],
            OverTimeOp::Present => 1.0,
            OverTimeOp::Resets => values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64,
            OverTimeOp::Stddev => deviation(values).variance().sqrt(),
            OverTimeOp::Stdvar => deviation(values).variance(),
            OverTimeOp::Sum => Sum::of(values).value(),
            OverTimeOp::TimeOfFirst => seconds(timestamps[0]),
            OverTimeOp::TimeOfLast => seconds(timestamps[last]),
            OverTimeOp::TimeOfMax => seconds(timestamps[extreme(values, |value, max| value >= max)]),
            OverTimeOp::TimeOfMin => seconds(timestamps[extreme(values, |value, min| value <= min)]),
        })
    }
}

fn seconds(timestamp: i64) -> f64 {
    timestamp as f64 / 1000.0
}

/// Where the most extreme value is; any value beats NaN.
fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> usize {
    let mut at = 0;
    for (candidate, value) in values.iter().enumerate() {
        if beats(*value, values[at]) || values[at].is_nan() {
            at = candidate;
        }
    }
    at
}

fn deviation(values: &[f64]) -> Deviation {
    let mut deviation = Deviation::default();
    values.iter().for_each(|value| deviation.add(*value));
    deviation
}

fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    // There is no middle where something is not a number.
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, values, scratch);
    scratch.iter_mut().for_each(|value| *value = (*value - median).abs());
    sort_nan_first(scratch);
    quantile_of_sorted(0.5, scratch)
}

/// The quantile of unsorted values; leaves them sorted in `scratch`.
pub(crate) fn quantile(q: f64, values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend_from_slice(values);
    sort_nan_first(scratch);
    quantile_of_sorted(q, scratch)
}

/// Smooths with a factor for level and one for trend (Holt's linear method).
pub(crate) fn double_exponential_smoothing(values: &[f64], smoothing: f64, trend_factor: f64) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (mut before, mut level) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (at, value) in values.iter().enumerate().skip(1) {
        let scaled = smoothing * value;
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let smoothed = (1.0 - smoothing) * (level + trend);
        (before, level) = (level, scaled + smoothed);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(op: OverTimeOp, values: &[f64]) -> f64 {
        let timestamps: Vec<i64> = (0..values.len() as i64).map(|at| at * 1000).collect();
        op.apply(Window { timestamps: &timestamps, values }, &mut Vec::new()).unwrap()
    }

    #[test]
    fn any_value_beats_nan() {
        assert_eq!(apply(OverTimeOp::Max, &[f64::NAN, 1.0, f64::NAN, 0.5]), 1.0);
        assert_eq!(apply(OverTimeOp::Min, &[f64::NAN, 1.0, 0.5]), 0.5);
        assert!(apply(OverTimeOp::Max, &[f64::NAN]).is_nan());
    }

    #[test]
    fn the_newest_of_equal_extremes_tells_the_time() {
        assert_eq!(apply(OverTimeOp::TimeOfMax, &[3.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(apply(OverTimeOp::TimeOfMin, &[1.0, 1.0, 3.0]), 1.0);
    }

    #[test]
    fn nan_to_nan_is_no_change() {
        assert_eq!(apply(OverTimeOp::Changes, &[1.0, f64::NAN, f64::NAN, 1.0, 1.0]), 2.0);
        assert_eq!(apply(OverTimeOp::Resets, &[1.0, 0.0, f64::NAN, -1.0]), 1.0);
    }

    #[test]
    fn deviations_and_medians() {
        assert_eq!(apply(OverTimeOp::Stdvar, &[2.0, 4.0]), 1.0);
        assert_eq!(apply(OverTimeOp::Mad, &[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0]), 1.0);
    }
}
