//! `rate`, `increase`, `delta`, `irate`, `idelta`: what happens between the samples of a range.
//!
//! Everything that depends on timestamps alone (extrapolation) is computed once for a timestamp column; a series then
//! costs two reads and a few multiplications for each step.

use crate::column::Column;
use crate::windows::Windows;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateOp {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
}

/// What a step's timestamps say about extrapolation to the whole range; for a range of two samples or more.
#[derive(Debug, Clone, Copy, Default)]
struct Extrapolation {
    /// Seconds from the first sample to the last.
    sampled_s: f64,
    /// Seconds that the result reaches before the first sample and behind the last.
    before_s: f64,
    after_s: f64,
    /// What the difference is multiplied by, unless the counter would have been negative before the first sample.
    factor: f64,
}

/// Extrapolations of one timestamp column.
#[derive(Debug)]
pub(crate) struct Extrapolations {
    op: RateOp,
    steps: Vec<Option<Extrapolation>>,
    generation: u64,
    /// Places where the counter of the current series drops.
    resets: Vec<u32>,
}

impl Extrapolations {
    pub(crate) fn new(op: RateOp) -> Extrapolations {
        Extrapolations { op, steps: Vec::new(), generation: 0, resets: Vec::new() }
    }

    /// Evaluates one series.
    pub(crate) fn evaluate(&mut self, windows: &Windows, timestamps: &[i64], values: &[f64], column: &mut Column) {
        if matches!(self.op, RateOp::Irate | RateOp::Idelta) {
            return self.newest_two(windows, timestamps, values, column);
        }
        if self.generation != windows.generation {
            self.prepare(windows, timestamps);
        }
        if self.op == RateOp::Delta {
            return self.deltas(windows, values, column);
        }
        self.find_resets(values);
        self.counters(windows, values, column);
    }

    fn prepare(&mut self, windows: &Windows, timestamps: &[i64]) {
        self.steps.clear();
        self.steps.extend((0..windows.ends.len()).map(|step| extrapolation(self.op, windows, step, timestamps)));
        self.generation = windows.generation;
    }

    fn find_resets(&mut self, values: &[f64]) {
        self.resets.clear();
        // Most counters never drop: this comparison runs over the whole series at once.
        if values.iter().zip(values.iter().skip(1)).fold(false, |any, (a, b)| any | (b < a)) {
            let drops = (1..values.len()).filter(|at| values[*at] < values[at - 1]);
            self.resets.extend(drops.map(|at| at as u32));
        }
    }

    fn deltas(&self, windows: &Windows, values: &[f64], column: &mut Column) {
        for (step, part) in self.steps.iter().enumerate() {
            if let Some(part) = part {
                let bounds = windows.bounds(step);
                column.set(step, (values[bounds.end - 1] - values[bounds.start]) * part.factor);
            }
        }
    }

    fn counters(&self, windows: &Windows, values: &[f64], column: &mut Column) {
        let range_s = windows.range_ms as f64 / 1000.0;
        // Resets from..to lie inside the window; both only move forward.
        let (mut from, mut to) = (0, 0);
        for (step, part) in self.steps.iter().enumerate() {
            let Some(part) = part else { continue };
            let bounds = windows.bounds(step);
            let first = values[bounds.start];
            let mut increase = values[bounds.end - 1] - first;
            if !self.resets.is_empty() {
                while from < self.resets.len() && self.resets[from] as usize <= bounds.start {
                    from += 1;
                }
                to = to.max(from);
                while to < self.resets.len() && (self.resets[to] as usize) < bounds.end {
                    to += 1;
                }
                for reset in &self.resets[from..to] {
                    increase += values[*reset as usize - 1];
                }
            }
            column.set(step, increase * part.counter_factor(self.op, range_s, first, increase));
        }
    }

    fn newest_two(&self, windows: &Windows, timestamps: &[i64], values: &[f64], column: &mut Column) {
        for step in 0..windows.ends.len() {
            let bounds = windows.bounds(step);
            if bounds.len() < 2 {
                continue;
            }
            let last = bounds.end - 1;
            let (older, newer) = (values[last - 1], values[last]);
            let difference = if self.op == RateOp::Irate && newer < older { newer } else { newer - older };
            let seconds = (timestamps[last] - timestamps[last - 1]) as f64 / 1000.0;
            column.set(step, if self.op == RateOp::Irate { difference / seconds } else { difference });
        }
    }
}

/// What the timestamps of one step say.
fn extrapolation(op: RateOp, windows: &Windows, step: usize, timestamps: &[i64]) -> Option<Extrapolation> {
    let range_s = windows.range_ms as f64 / 1000.0;
    let seen = &timestamps[windows.bounds(step)];
    let (first, last) = (*seen.first()?, *seen.last()?);
    if seen.len() < 2 {
        return None;
    }
    let end = windows.ends[step];
    let before_s = (first - end.saturating_sub(windows.range_ms)) as f64 / 1000.0;
    let after_s = (end - last) as f64 / 1000.0;
    let sampled_s = (last - first) as f64 / 1000.0;
    let interval_s = sampled_s / (seen.len() - 1) as f64;
    // A gap at an end that is longer than usual means that the series begins or ends inside the range.
    let threshold_s = interval_s * 1.1;
    let reach = |gap_s: f64| if gap_s >= threshold_s { interval_s / 2.0 } else { gap_s };
    let (before_s, after_s) = (reach(before_s), reach(after_s));
    let mut part = Extrapolation { sampled_s, before_s, after_s, factor: 0.0 };
    part.factor = factor(op, &part, before_s, range_s);
    Some(part)
}

impl Extrapolation {
    /// The factor for a counter that was `first` and has grown by `increase`.
    #[inline]
    fn counter_factor(&self, op: RateOp, range_s: f64, first: f64, increase: f64) -> f64 {
        if increase > 0.0 && first >= 0.0 {
            // A counter starts at zero: it cannot have grown for longer than that takes at its rate.
            let since_zero_s = self.sampled_s * (first / increase);
            if since_zero_s < self.before_s {
                return factor(op, self, since_zero_s, range_s);
            }
        }
        self.factor
    }
}

/// What the difference between the first and the last sample of a step is multiplied by, for a counter that was `first` and
/// has grown by `increase`; `None` if there are not two.
pub(crate) fn extrapolated_by(
    op: RateOp,
    windows: &Windows,
    step: usize,
    timestamps: &[i64],
    (first, increase): (f64, f64),
) -> Option<f64> {
    let part = extrapolation(op, windows, step, timestamps)?;
    let range_s = windows.range_ms as f64 / 1000.0;
    Some(if op == RateOp::Delta { part.factor } else { part.counter_factor(op, range_s, first, increase) })
}

fn factor(op: RateOp, part: &Extrapolation, before_s: f64, range_s: f64) -> f64 {
    let factor = (part.sampled_s + before_s + part.after_s) / part.sampled_s;
    if op == RateOp::Rate { factor / range_s } else { factor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ResolvedShift;
    use crate::windows::Grid;

    fn evaluate(op: RateOp, times: &[i64], values: &[f64], end: i64, range_ms: i64) -> Option<f64> {
        let mut windows = Windows::new(&Grid::at(end), ResolvedShift::default(), range_ms);
        windows.of_own(times);
        let mut column = Column::absent(1);
        Extrapolations::new(op).evaluate(&windows, times, values, &mut column);
        column.get(0)
    }

    #[test]
    fn increase_reaches_to_both_ends_of_the_range() {
        let times = [10_000, 20_000, 30_000];
        assert_eq!(evaluate(RateOp::Increase, &times, &[100.0, 110.0, 120.0], 40_000, 40_000), Some(40.0));
        assert_eq!(evaluate(RateOp::Rate, &times, &[100.0, 110.0, 120.0], 40_000, 40_000), Some(1.0));
    }

    #[test]
    fn a_reset_counts_what_was_there_before() {
        let times = [0, 10_000, 20_000, 30_000];
        assert_eq!(evaluate(RateOp::Increase, &times, &[5.0, 10.0, 3.0, 4.0], 30_000, 30_001), Some(9.0003));
    }

    #[test]
    fn a_young_counter_is_not_extrapolated_below_zero() {
        let times = [10_000, 20_000];
        assert_eq!(evaluate(RateOp::Increase, &times, &[0.0, 10.0], 20_000, 20_000), Some(10.0));
        assert_eq!(evaluate(RateOp::Delta, &times, &[0.0, 10.0], 20_000, 20_000), Some(20.0));
    }

    #[test]
    fn one_sample_gives_nothing() {
        for op in [RateOp::Rate, RateOp::Delta, RateOp::Irate, RateOp::Idelta] {
            assert_eq!(evaluate(op, &[10], &[1.0], 10, 20), None);
        }
    }

    #[test]
    fn irate_looks_at_the_newest_two() {
        assert_eq!(evaluate(RateOp::Irate, &[0, 10_000, 20_000], &[0.0, 1.0, 11.0], 20_000, 60_000), Some(1.0));
        assert_eq!(evaluate(RateOp::Irate, &[0, 10_000], &[100.0, 5.0], 10_000, 60_000), Some(0.5));
        assert_eq!(evaluate(RateOp::Idelta, &[0, 10_000], &[100.0, 5.0], 10_000, 60_000), Some(-95.0));
    }
}
