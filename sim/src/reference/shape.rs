//! Whole queries over one selector.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bellwether_model::Timestamp;

use super::number::Number;
use super::part::over_numbers;
use super::{Aggregation, By, Data, Function, Key, Part, Vector, Wanted};
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

/// A shape of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `f(x[..])`
    Plain(Part),
    /// `f(x[..]) > number`
    Above(Part, u32),
    /// `f(x[..]) > bool number`
    IsAbove(Part, u32),
    /// `2 * f(x[..]) + 1`
    Scaled(Part),
    /// `-f(x[..])`
    Negated(Part),
    /// `clamp(f(x[..]), least, most)`
    Clamped(Part, i32, i32),
    /// `sum(absent(f(x[..])))`
    Absent(Part),
    /// `sum by (..) (f(x[..]))`
    Grouped(Aggregation, By, Part),
    /// `sum by (..) (f(x[..])) / count by (..) (f(x[..]))`
    Ratio(By, Part),
    /// `count_values by (..) ("v", f(x[..]))`: only for functions that round nothing.
    Values(By, Part),
    /// `topk(k, x)`
    Top(u32, i64),
    /// `bottomk(k, x)`
    Bottom(u32, i64),
    /// `f(x[..]) - g(x[..])`
    Both(Part, Operator, Part),
    /// `f(x[..]) - on (writer) group_left sum by (writer) (g(x[..]))`
    Joined(Part, Operator, Part),
    /// `f(sum by (..) (g(x[..]))[..:..])`
    Over(Steps, Aggregation, By, Part),
}

/// What a subquery is asked for: a function of so many seconds, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Which.
    pub function: Function,
    /// Over this much.
    pub range_s: i64,
    /// At multiples of this.
    pub step_s: i64,
}

impl Operator {
    fn text(self) -> &'static str {
        match self {
            Operator::Minus => "-",
            Operator::Over => "/",
            Operator::And => "and",
            Operator::Unless => "unless",
            Operator::Or => "or",
        }
    }

    fn between(self, left: &Vector, right: &Vector) -> Vector {
        let pairs = left.iter().filter_map(|(key, a)| Some((*key, *a, *right.get(key)?)));
        match self {
            Operator::Minus => pairs.map(|(key, a, b)| (key, a.minus(b))).collect(),
            Operator::Over => pairs.map(|(key, a, b)| (key, a.over(b))).collect(),
            Operator::And => pairs.map(|(key, a, _)| (key, a)).collect(),
            Operator::Unless => left.clone().into_iter().filter(|(key, _)| !right.contains_key(key)).collect(),
            Operator::Or => right.clone().into_iter().chain(left.clone()).collect(),
        }
    }
}

impl Steps {
    /// The times of its steps: multiples, in a range that is open on the left.
    fn times(self, time: Timestamp) -> impl Iterator<Item = Timestamp> {
        let (first, step) = (time - 1000 * self.range_s, 1000 * self.step_s);
        (first.div_euclid(step) + 1..=time.div_euclid(step)).map(move |number| number * step)
    }
}

impl Shape {
    /// As PromQL, with a selector in its place.
    pub fn text(&self, selector: &str) -> String {
        match self {
            Shape::Plain(part) => part.text(selector),
            Shape::Above(part, number) => format!("{} > {number}", part.text(selector)),
            Shape::IsAbove(part, number) => format!("{} > bool {number}", part.text(selector)),
            Shape::Scaled(part) => format!("2 * {} + 1", part.text(selector)),
            Shape::Negated(part) => format!("-{}", part.text(selector)),
            Shape::Clamped(part, least, most) => format!("clamp({}, {least}, {most})", part.text(selector)),
            Shape::Absent(part) => format!("sum(absent({}))", part.text(selector)),
            Shape::Grouped(aggregation, by, part) => aggregation.text(*by, &part.text(selector)),
            Shape::Ratio(by, part) => {
                let aggregated = |aggregation: Aggregation| aggregation.text(*by, &part.text(selector));
                format!("{} / {}", aggregated(Aggregation::Sum), aggregated(Aggregation::Count))
            }
            Shape::Values(by, part) => format!("count_values{} (\"v\", {})", by.text(), part.text(selector)),
            Shape::Top(k, offset_s) => format!("topk({k}, {})", Part::newest(*offset_s).text(selector)),
            Shape::Bottom(k, offset_s) => format!("bottomk({k}, {})", Part::newest(*offset_s).text(selector)),
            Shape::Both(left, operator, right) => {
                // `and` and its like compare names, too, unless they are told not to.
                let matching =
                    if matches!(operator, Operator::Minus | Operator::Over) { "" } else { " on (writer, n)" };
                format!("{} {}{matching} {}", left.text(selector), operator.text(), right.text(selector))
            }
            Shape::Joined(left, operator, right) => {
                let right = Aggregation::Sum.text(By::Writer, &right.text(selector));
                format!("{} {} on (writer) group_left {right}", left.text(selector), operator.text())
            }
            Shape::Over(steps, aggregation, by, part) => {
                let inner = aggregation.text(*by, &part.text(selector));
                let range = format!("{}s:{}s", steps.range_s, steps.step_s);
                steps.function.text(&inner, &range, "")
            }
        }
    }

    /// What it sees where it is evaluated between two times.
    pub fn sees(&self, first: Timestamp, last: Timestamp) -> RangeInclusive<Timestamp> {
        match self {
            Shape::Plain(part) | Shape::Scaled(part) | Shape::Negated(part) | Shape::Absent(part) => {
                part.sees(first, last)
            }
            Shape::Above(part, _) | Shape::IsAbove(part, _) | Shape::Clamped(part, ..) => part.sees(first, last),
            Shape::Grouped(_, _, part) | Shape::Ratio(_, part) | Shape::Values(_, part) => part.sees(first, last),
            Shape::Top(_, offset_s) | Shape::Bottom(_, offset_s) => Part::newest(*offset_s).sees(first, last),
            Shape::Both(left, _, right) | Shape::Joined(left, _, right) => {
                let (left, right) = (left.sees(first, last), right.sees(first, last));
                *left.start().min(right.start())..=*left.end().max(right.end())
            }
            Shape::Over(steps, _, _, part) => part.sees(first - 1000 * steps.range_s, last),
        }
    }

    /// Whether its rows are of groups, and not of series.
    pub fn is_of_groups(&self) -> bool {
        matches!(self, Shape::Grouped(..) | Shape::Ratio(..) | Shape::Values(..) | Shape::Absent(_) | Shape::Over(..))
    }

    /// Whether a row depends on a series.
    pub fn depends(&self, key: Key, series: Series) -> bool {
        match (self, key) {
            (Shape::Top(..) | Shape::Bottom(..) | Shape::Absent(_), _) => true,
            (_, Key::Group(writer, metric) | Key::Value(writer, metric, _)) => {
                writer.is_none_or(|writer| writer == series.writer)
                    && metric.is_none_or(|metric| metric == series.metric_number())
            }
            (Shape::Joined(..), Key::Series(of)) => of.writer == series.writer,
            (_, Key::Series(of)) => of == series,
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
                let least = f64::from(*least);
                let mut vector = each(part, &|number| if number.may_be(least) { Number::UNKNOWN } else { number });
                vector.retain(|_, number| number.is > least || number.is_unknown());
                vector
            }
            Shape::IsAbove(part, least) => each(part, &|number| {
                let least = f64::from(*least);
                let is_above = Number::exact(f64::from(u8::from(number.is > least)));
                if number.may_be(least) { Number::UNKNOWN } else { is_above }
            }),
            Shape::Scaled(part) => each(part, &|number| number.times(2.0).plus(Number::exact(1.0))),
            Shape::Negated(part) => each(part, &|number| number.times(-1.0)),
            Shape::Clamped(part, least, most) => {
                each(part, &|number| Number { is: number.is.clamp(f64::from(*least), f64::from(*most)), ..number })
            }
            Shape::Absent(part) => {
                let is_absent = part.at(data, time).is_empty();
                is_absent.then_some((Key::Group(None, None), Number::exact(1.0))).into_iter().collect()
            }
            Shape::Grouped(aggregation, by, part) => by.aggregated(*aggregation, &part.at(data, time)),
            Shape::Ratio(by, part) => by.aggregated(Aggregation::Mean, &part.at(data, time)),
            Shape::Values(by, part) => by.values(&part.at(data, time)),
            Shape::Top(k, offset_s) => most(*k, 1.0, Part::newest(*offset_s).at(data, time)),
            Shape::Bottom(k, offset_s) => most(*k, -1.0, Part::newest(*offset_s).at(data, time)),
            Shape::Both(left, operator, right) => operator.between(&left.at(data, time), &right.at(data, time)),
            Shape::Joined(left, operator, right) => {
                let left = left.at(data, time);
                let sums = by_writer(&right.at(data, time), &left);
                operator.between(&left, &sums)
            }
            Shape::Over(steps, aggregation, by, part) => {
                let mut samples = BTreeMap::<Key, Vec<(Timestamp, Number)>>::new();
                for time in steps.times(time) {
                    for (key, number) in by.aggregated(*aggregation, &part.at(data, time)) {
                        samples.entry(key).or_default().push((time, number));
                    }
                }
                let over = |seen: &[(Timestamp, Number)]| over_numbers(steps.function, seen);
                samples.into_iter().filter_map(|(key, seen)| Some((key, over(&seen)?))).collect()
            }
        }
    }
}

/// The `k` largest, or smallest where the sign is negative. No two are equal.
fn most(k: u32, sign: f64, vector: Vector) -> Vector {
    let mut numbers: Vec<(Key, Number)> = vector.into_iter().collect();
    numbers.sort_by(|a, b| (sign * b.1.is).total_cmp(&(sign * a.1.is)));
    numbers.truncate(k as usize);
    numbers.into_iter().collect()
}

/// For each of some series the sum of its writer's numbers.
fn by_writer(numbers: &Vector, of: &Vector) -> Vector {
    let sums = By::Writer.aggregated(Aggregation::Sum, numbers);
    let sum = |key: &Key| match key {
        Key::Series(series) => sums.get(&By::Writer.key(*series)).map(|sum| (*key, *sum)),
        _ => None,
    };
    of.keys().filter_map(sum).collect()
}
