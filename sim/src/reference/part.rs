//! A function of each series, and what it sees of them.

use std::ops::RangeInclusive;

use bellwether_model::Timestamp;

use super::number::{Number, QUANTILE, deviation, quantile, sum};
use super::{Data, Key, Vector};

/// An instant selector finds nothing that is older.
pub const LOOKBACK_S: i64 = 300;

/// What is computed from the samples of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// An instant selector.
    Newest,
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `sum_over_time`
    Sum,
    /// `avg_over_time`
    Mean,
    /// `min_over_time`
    Least,
    /// `max_over_time`
    Most,
    /// `count_over_time`
    Count,
    /// `last_over_time`
    Last,
    /// `changes`
    Changes,
    /// `resets`
    Resets,
    /// `timestamp` of an instant selector
    Timestamp,
    /// `irate`
    Irate,
    /// `idelta`
    Idelta,
    /// `deriv`
    Deriv,
    /// `stddev_over_time`
    Stddev,
    /// `quantile_over_time`
    Quantile,
    /// `present_over_time`
    Present,
}

impl Function {
    /// Those that are asked for most.
    pub const COMMON: [Function; 12] = [
        Function::Newest,
        Function::Rate,
        Function::Increase,
        Function::Delta,
        Function::Sum,
        Function::Mean,
        Function::Least,
        Function::Most,
        Function::Count,
        Function::Last,
        Function::Changes,
        Function::Resets,
    ];
    /// And the others.
    pub const RARE: [Function; 7] = [
        Function::Timestamp,
        Function::Irate,
        Function::Idelta,
        Function::Deriv,
        Function::Stddev,
        Function::Quantile,
        Function::Present,
    ];
    /// Those that give a sample's own value, or count.
    pub const EXACT: [Function; 7] = [
        Function::Newest,
        Function::Least,
        Function::Most,
        Function::Count,
        Function::Last,
        Function::Changes,
        Function::Resets,
    ];
    /// Those that make sense over the steps of a subquery.
    pub const OVER_STEPS: [Function; 6] =
        [Function::Sum, Function::Mean, Function::Least, Function::Most, Function::Count, Function::Present];

    /// As PromQL, over a range of what stands before it.
    pub(super) fn text(self, of: &str, range: &str, modifiers: &str) -> String {
        let name = match self {
            Function::Newest => return format!("{of}{modifiers}"),
            Function::Timestamp => return format!("timestamp({of}{modifiers})"),
            Function::Quantile => return format!("quantile_over_time({QUANTILE}, {of}[{range}]{modifiers})"),
            Function::Rate => "rate",
            Function::Increase => "increase",
            Function::Delta => "delta",
            Function::Sum => "sum_over_time",
            Function::Mean => "avg_over_time",
            Function::Least => "min_over_time",
            Function::Most => "max_over_time",
            Function::Count => "count_over_time",
            Function::Last => "last_over_time",
            Function::Changes => "changes",
            Function::Resets => "resets",
            Function::Irate => "irate",
            Function::Idelta => "idelta",
            Function::Deriv => "deriv",
            Function::Stddev => "stddev_over_time",
            Function::Present => "present_over_time",
        };
        format!("{name}({of}[{range}]{modifiers})")
    }

    /// Whether it sees back as far as an instant selector does.
    fn is_instant(self) -> bool {
        matches!(self, Function::Newest | Function::Timestamp)
    }
}

/// A function of each series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub function: Function,
    /// Over this much.
    pub range_s: i64,
    /// This much ago; later, where it is negative.
    pub offset_s: i64,
    /// As of this time, whenever it is evaluated.
    pub at_s: Option<i64>,
}

impl Part {
    /// The newest values.
    pub fn newest(offset_s: i64) -> Part {
        Part { function: Function::Newest, range_s: 0, offset_s, at_s: None }
    }

    /// As PromQL.
    pub fn text(&self, selector: &str) -> String {
        let offset = if self.offset_s == 0 { String::new() } else { format!(" offset {}s", self.offset_s) };
        let at = self.at_s.map(|at_s| format!(" @ {at_s}")).unwrap_or_default();
        self.function.text(selector, &format!("{}s", self.range_s), &format!("{at}{offset}"))
    }

    /// What it sees where it is evaluated between two times.
    pub fn sees(&self, first: Timestamp, last: Timestamp) -> RangeInclusive<Timestamp> {
        *self.window(first).start()..=*self.window(last).end()
    }

    fn window(&self, time: Timestamp) -> RangeInclusive<Timestamp> {
        let range_s = if self.function.is_instant() { LOOKBACK_S } else { self.range_s };
        let last = self.at_s.map_or(time, |at_s| 1000 * at_s) - 1000 * self.offset_s;
        // Ranges are open on the left.
        last - 1000 * range_s + 1..=last
    }

    pub(super) fn at(&self, data: &Data, time: Timestamp) -> Vector {
        let window = self.window(time);
        let value = |samples: &Vec<(Timestamp, f64)>| {
            let seen: Vec<(Timestamp, f64)> =
                samples.iter().copied().filter(|(timestamp, _)| window.contains(timestamp)).collect();
            over(self.function, &seen, window.start() - 1, *window.end())
        };
        data.iter().filter_map(|(series, samples)| Some((Key::Series(*series), value(samples)?))).collect()
    }
}

/// A function of what a range that is open on the left has of a series.
fn over(function: Function, seen: &[(Timestamp, f64)], first: Timestamp, last: Timestamp) -> Option<Number> {
    let newest = seen.last()?.1;
    let values = || seen.iter().map(|(_, value)| *value);
    let pairs = || seen.windows(2).map(|pair| (pair[0].1, pair[1].1));
    let rounded = |value: f64| Number::rounded(value, value.abs());
    let exact = Number::exact;
    Some(match function {
        Function::Newest | Function::Last => exact(newest),
        Function::Sum => rounded(sum(values())),
        Function::Mean => rounded(sum(values()) / seen.len() as f64),
        Function::Least => exact(values().fold(f64::INFINITY, f64::min)),
        Function::Most => exact(values().fold(f64::NEG_INFINITY, f64::max)),
        Function::Count => exact(seen.len() as f64),
        Function::Changes => exact(pairs().filter(|(a, b)| a != b).count() as f64),
        Function::Resets => exact(pairs().filter(|(a, b)| b < a).count() as f64),
        Function::Delta => extrapolated(seen, first, last, false, 1.0)?,
        Function::Increase => extrapolated(seen, first, last, true, 1.0)?,
        Function::Rate => extrapolated(seen, first, last, true, (last - first) as f64 / 1000.0)?,
        Function::Timestamp => exact(seen.last()?.0 as f64 / 1000.0),
        Function::Irate => between_newest(seen, true)?,
        Function::Idelta => between_newest(seen, false)?,
        Function::Deriv => slope(seen)?,
        Function::Stddev => deviation(values()),
        Function::Quantile => quantile(values()),
        Function::Present => exact(1.0),
    })
}

/// A function of what the steps of a subquery gave, one of [`Function::OVER_STEPS`].
pub(super) fn over_numbers(function: Function, seen: &[(Timestamp, Number)]) -> Option<Number> {
    let values: Vec<(Timestamp, f64)> = seen.iter().map(|(time, number)| (*time, number.is)).collect();
    let off: f64 = seen.iter().map(|(_, number)| number.off).sum();
    let is_count = matches!(function, Function::Count | Function::Present);
    Some(over(function, &values, 0, 0)?.with(if is_count { 0.0 } else { off }))
}

/// What happens between the two newest samples: by the second for a counter, which begins anew at zero where it falls.
fn between_newest(seen: &[(Timestamp, f64)], is_counter: bool) -> Option<Number> {
    let [.., (older_time, older), (newer_time, newer)] = *seen else { return None };
    if !is_counter {
        return Some(Number::exact(newer).minus(Number::exact(older)));
    }
    let grown = if newer < older { Number::exact(newer) } else { Number::exact(newer).minus(Number::exact(older)) };
    Some(grown.times(1000.0 / (newer_time - older_time) as f64))
}

/// The slope by the second of the line through all samples that has the least squares.
fn slope(seen: &[(Timestamp, f64)]) -> Option<Number> {
    let [(begin, _), _, ..] = *seen else { return None };
    let count = seen.len() as f64;
    let points: Vec<(f64, f64)> = seen.iter().map(|(time, value)| ((time - begin) as f64 / 1000.0, *value)).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| sum(points.iter().map(of)) / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let variance = sum(points.iter().map(|(x, _)| (x - mean_x) * (x - mean_x)));
    let covariance = sum(points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)));
    // As whoever takes the means away at the end.
    let size: f64 = points.iter().map(|(x, y)| (x * y).abs() + mean_x * y.abs()).sum();
    Some(Number::rounded(covariance / variance, (size + covariance.abs()) / variance))
}

/// Prometheus's extrapolation: what was seen is stretched to the range, but by half a mean gap at most where the series
/// seems to begin or end inside of it, and for counters not to before they were zero. In Prometheus's order, one reset after
/// the other and factors first: of two rates that are nearly equal the difference is otherwise another one.
fn extrapolated(
    seen: &[(Timestamp, f64)],
    first: Timestamp,
    last: Timestamp,
    is_counter: bool,
    per: f64,
) -> Option<Number> {
    let [(begin, begin_value), .., (end, end_value)] = *seen else { return None };
    let mut change = end_value - begin_value;
    let mut size = end_value.abs() + begin_value.abs();
    let resets = seen.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1);
    for before in resets.filter(|_| is_counter) {
        change += before;
        size += before.abs();
    }
    let seconds = |from: Timestamp, to: Timestamp| (to - from) as f64 / 1000.0;
    let sampled = seconds(begin, end);
    let gap = sampled / (seen.len() - 1) as f64;
    let reach = |room: f64| if room >= gap * 1.1 { gap / 2.0 } else { room };
    let mut before = reach(seconds(first, begin));
    if is_counter && change > 0.0 && begin_value >= 0.0 {
        before = before.min(sampled * (begin_value / change));
    }
    Some(Number::rounded(change, size).times((sampled + before + reach(seconds(end, last))) / sampled / per))
}
