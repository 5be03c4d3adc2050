//! How several series become one.

use std::collections::BTreeMap;

use super::number::{Number, QUANTILE, deviation, quantile, sum};
use super::{Key, Vector};
use crate::cluster::history::Series;

/// How several series become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// `sum`
    Sum,
    /// `avg`
    Mean,
    /// `min`
    Least,
    /// `max`
    Most,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `quantile`
    Quantile,
}

/// Which series become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// All.
    Nothing,
    /// Those of a writer, named.
    Writer,
    /// Those of a writer, by leaving out the rest.
    WithoutNumber,
    /// Those of a metric: only for functions that keep the name.
    Metric,
}

impl By {
    pub(super) fn text(self) -> &'static str {
        match self {
            By::Nothing => "",
            By::Writer => " by (writer)",
            By::WithoutNumber => " without (n)",
            By::Metric => " by (__name__)",
        }
    }

    pub(super) fn key(self, series: Series) -> Key {
        match self {
            By::Nothing => Key::Group(None, None),
            By::Writer | By::WithoutNumber => Key::Group(Some(series.writer), None),
            By::Metric => Key::Group(None, Some(series.metric_number())),
        }
    }

    pub(super) fn aggregated(self, aggregation: Aggregation, vector: &Vector) -> Vector {
        let mut groups: BTreeMap<Key, Vec<Number>> = BTreeMap::new();
        for (key, number) in vector {
            if let Key::Series(series) = key {
                groups.entry(self.key(*series)).or_default().push(*number);
            }
        }
        groups.into_iter().map(|(key, numbers)| (key, aggregation.of(&numbers))).collect()
    }

    /// How many series have each value.
    pub(super) fn values(self, vector: &Vector) -> Vector {
        let mut counts = Vector::new();
        for (key, number) in vector {
            if let Key::Series(series) = key
                && let Key::Group(writer, metric) = self.key(*series)
            {
                let count = counts.entry(Key::Value(writer, metric, number.is.to_bits())).or_insert(Number::exact(0.0));
                count.is += 1.0;
            }
        }
        counts
    }
}

impl Aggregation {
    /// As PromQL.
    pub(super) fn text(self, by: By, argument: &str) -> String {
        let name = match self {
            Aggregation::Sum => "sum",
            Aggregation::Mean => "avg",
            Aggregation::Least => "min",
            Aggregation::Most => "max",
            Aggregation::Count => "count",
            Aggregation::Group => "group",
            Aggregation::Stddev => "stddev",
            Aggregation::Stdvar => "stdvar",
            Aggregation::Quantile => return format!("quantile{} ({QUANTILE}, {argument})", by.text()),
        };
        format!("{name}{} ({argument})", by.text())
    }

    fn of(self, numbers: &[Number]) -> Number {
        let values = || numbers.iter().map(|number| number.is);
        let rounded = |value: f64| Number::rounded(value, value.abs());
        let most_off = numbers.iter().map(|number| number.off).fold(0.0, f64::max);
        let all_off: f64 = numbers.iter().map(|number| number.off).sum();
        let count = numbers.len() as f64;
        match self {
            Aggregation::Sum => rounded(sum(values())).with(all_off),
            Aggregation::Mean => rounded(sum(values()) / count).with(all_off / count),
            Aggregation::Least => Number::exact(values().fold(f64::INFINITY, f64::min)).with(most_off),
            Aggregation::Most => Number::exact(values().fold(f64::NEG_INFINITY, f64::max)).with(most_off),
            Aggregation::Count => Number::exact(count),
            Aggregation::Group => Number::exact(1.0),
            Aggregation::Stddev => deviation(values()).with(most_off),
            Aggregation::Stdvar => {
                let deviation = deviation(values()).with(most_off);
                let variance = deviation.is * deviation.is;
                rounded(variance).with(deviation.off * (2.0 * deviation.is + deviation.off))
            }
            Aggregation::Quantile => quantile(values()).with(most_off),
        }
    }
}
