//! What queries of some shapes must answer, computed in the simplest way over all samples: what the nodes answer is compared
//! with this. It shares no code with the nodes' parser, planner or evaluator.
//!
//! Reading order: [`number`] (how right an answer must be), [`part`] (of each series), [`group`] (of several), then this.

mod group;
mod number;
mod part;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bellwether_model::Timestamp;

pub use self::group::{Aggregation, By};
pub use self::number::Number;
pub use self::part::{Function, LOOKBACK_S, Part};
use crate::cluster::history::Series;

/// An operator between two values of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `-`
    Minus,
    /// `/`
    Over,
    /// `and`
    And,
    /// `unless`
    Unless,
    /// `or`
    Or,
}

/// A shape of a query over one selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `f(x[..])`
    Plain(Part),
    /// `f(x[..]) > number`
    Above(Part, u32),
    /// `2 * f(x[..]) + 1`
    Scaled(Part),
    /// `sum by (..) (f(x[..]))`
    Grouped(Aggregation, By, Part),
    /// `sum by (..) (f(x[..])) / count by (..) (f(x[..]))`
    Ratio(By, Part),
    /// `topk(k, x)`
    Top(u32, i64),
    /// `f(x[..]) - g(x[..])`
    Both(Part, Operator, Part),
}

/// Whose a row of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One series'.
    Series(Series),
    /// A group's: its writer and its metric, where they are named.
    Group(Option<usize>, Option<usize>),
}

/// Samples of series, in order.
pub type Data = BTreeMap<Series, Vec<(Timestamp, f64)>>;
/// Rows of an answer.
pub type Rows = BTreeMap<Key, Vec<(Timestamp, f64)>>;
/// Rows as they must be.
pub type Wanted = BTreeMap<Key, BTreeMap<Timestamp, Number>>;
/// One time's values.
type Vector = BTreeMap<Key, Number>;

impl Shape {
    /// As PromQL, with a selector in its place.
    pub fn text(&self, selector: &str) -> String {
        match self {
            Shape::Plain(part) => part.text(selector),
            Shape::Above(part, number) => format!("{} > {number}", part.text(selector)),
            Shape::Scaled(part) => format!("2 * {} + 1", part.text(selector)),
            Shape::Grouped(aggregation, by, part) => aggregation.text(*by, &part.text(selector)),
            Shape::Ratio(by, part) => {
                let aggregated = |aggregation: Aggregation| aggregation.text(*by, &part.text(selector));
                format!("{} / {}", aggregated(Aggregation::Sum), aggregated(Aggregation::Count))
            }
            Shape::Top(k, offset_s) => format!("topk({k}, {})", Part::newest(*offset_s).text(selector)),
            Shape::Both(left, operator, right) => {
                let name = match operator {
                    Operator::Minus => "-",
                    Operator::Over => "/",
                    Operator::And => "and",
                    Operator::Unless => "unless",
                    Operator::Or => "or",
                };
                // `and` and its like compare names, too, unless they are told not to.
                let matching =
                    if matches!(operator, Operator::Minus | Operator::Over) { "" } else { " on (writer, n)" };
                format!("{} {name}{matching} {}", left.text(selector), right.text(selector))
            }
        }
    }

    /// What it sees where it is evaluated between two times.
    pub fn sees(&self, first: Timestamp, last: Timestamp) -> RangeInclusive<Timestamp> {
        match self {
            Shape::Plain(part) | Shape::Above(part, _) | Shape::Scaled(part) => part.sees(first, last),
            Shape::Grouped(_, _, part) | Shape::Ratio(_, part) => part.sees(first, last),
            Shape::Top(_, offset_s) => Part::newest(*offset_s).sees(first, last),
            Shape::Both(left, _, right) => hull(left.sees(first, last), right.sees(first, last)),
        }
    }

    /// Whether a row depends on a series.
    pub fn depends(&self, key: Key, series: Series) -> bool {
        match self {
            Shape::Grouped(_, by, _) | Shape::Ratio(by, _) => key == by.key(series),
            Shape::Top(..) => true,
            _ => key == Key::Series(series),
        }
    }

    /// All rows, at these times.
    pub fn rows(&self, data: &Data, times: &[Timestamp]) -> Wanted {
        let mut rows = Wanted::new();
        for time in times {
            for (key, number) in self.at(data, *time) {
                rows.entry(key).or_default().insert(*time, number);
            }
        }
        rows
    }

    fn at(&self, data: &Data, time: Timestamp) -> Vector {
        let each = |part: &Part, change: &dyn Fn(Number) -> Number| -> Vector {
            part.at(data, time).into_iter().map(|(key, number)| (key, change(number))).collect()
        };
        match self {
            Shape::Plain(part) => part.at(data, time),
            Shape::Above(part, least) => {
                let mut vector = part.at(data, time);
                vector.retain(|_, number| number.is > f64::from(*least));
                vector
            }
            Shape::Scaled(part) => each(part, &|number| number.times(2.0).plus(Number::exact(1.0))),
            Shape::Grouped(aggregation, by, part) => by.aggregated(*aggregation, &part.at(data, time)),
            Shape::Ratio(by, part) => by.aggregated(Aggregation::Mean, &part.at(data, time)),
            Shape::Top(k, offset_s) => {
                let mut vector: Vec<(Key, Number)> = Part::newest(*offset_s).at(data, time).into_iter().collect();
                vector.sort_by(|a, b| b.1.is.total_cmp(&a.1.is));
                vector.truncate(*k as usize);
                vector.into_iter().collect()
            }
            Shape::Both(left, operator, right) => {
                let (left, right) = (left.at(data, time), right.at(data, time));
                let pairs = left.iter().filter_map(|(key, a)| Some((*key, *a, *right.get(key)?)));
                match operator {
                    Operator::Minus => pairs.map(|(key, a, b)| (key, a.minus(b))).collect(),
                    Operator::Over => pairs.map(|(key, a, b)| (key, a.over(b))).collect(),
                    Operator::And => pairs.map(|(key, a, _)| (key, a)).collect(),
                    Operator::Unless => left.into_iter().filter(|(key, _)| !right.contains_key(key)).collect(),
                    Operator::Or => right.into_iter().chain(left).collect(),
                }
            }
        }
    }
}

fn hull(one: RangeInclusive<Timestamp>, other: RangeInclusive<Timestamp>) -> RangeInclusive<Timestamp> {
    *one.start().min(other.start())..=*one.end().max(other.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series = Series { tenant: 0, writer: 1, number: 2 };

    fn data() -> Data {
        let samples = [(10_000, 1.0), (20_000, 4.0), (30_000, 2.0), (40_000, 7.0)];
        Data::from([(SERIES, samples.to_vec()), (Series { number: 3, ..SERIES }, vec![(40_000, 5.0)])])
    }

    fn check(shape: Shape, time_s: i64, expected: &[f64]) {
        let rows = shape.rows(&data(), &[1000 * time_s]);
        let found: Vec<f64> = rows.values().flat_map(BTreeMap::values).map(|number| number.is).collect();
        assert_eq!(found, expected, "{shape:?}");
    }

    fn part(function: Function, range_s: i64) -> Part {
        Part { function, range_s, offset_s: 0 }
    }

    #[test]
    fn ranges_are_open_on_the_left() {
        check(Shape::Plain(part(Function::Count, 30)), 40, &[3.0, 1.0]);
        check(Shape::Plain(part(Function::Count, 31)), 40, &[4.0, 1.0]);
        check(Shape::Plain(Part { offset_s: 5, ..part(Function::Sum, 30) }), 40, &[7.0]);
        check(Shape::Plain(Part::newest(0)), 340, &[]);
        check(Shape::Plain(Part::newest(0)), 339, &[7.0, 5.0]);
    }

    #[test]
    fn a_counter_that_falls_began_anew() {
        // 4 2 7: it grew by 2 and by 5 in 20 of 30 seconds.
        check(Shape::Plain(part(Function::Increase, 30)), 40, &[7.0 * 30.0 / 20.0]);
        check(Shape::Plain(part(Function::Rate, 30)), 40, &[7.0 * (30.0 / 20.0 / 30.0)]);
    }

    #[test]
    fn groups_and_pairs() {
        check(Shape::Grouped(Aggregation::Sum, By::Writer, Part::newest(0)), 40, &[12.0]);
        check(Shape::Ratio(By::Nothing, Part::newest(0)), 40, &[6.0]);
        check(Shape::Top(1, 0), 40, &[7.0]);
        check(Shape::Both(Part::newest(0), Operator::Minus, Part::newest(10)), 40, &[5.0]);
        check(Shape::Both(Part::newest(0), Operator::Unless, Part::newest(10)), 40, &[5.0]);
        check(Shape::Both(Part::newest(10), Operator::Or, Part::newest(0)), 40, &[2.0, 5.0]);
        check(Shape::Above(Part::newest(0), 6), 40, &[7.0]);
    }
}
