//! What queries of some shapes must answer, computed in the simplest way over all samples: what the nodes answer is compared
//! with this. It shares no code with the nodes' parser, planner or evaluator.

use std::collections::BTreeMap;

use bellwether_model::Timestamp;

use crate::cluster::history::Series;

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
}

impl Function {
    /// All of them.
    pub const ALL: [Function; 12] = [
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

    fn name(self) -> &'static str {
        match self {
            Function::Newest => "",
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
        }
    }
}

/// A function of each series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub function: Function,
    /// Over this much.
    pub range_s: i64,
    /// This much ago.
    pub offset_s: i64,
}

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
/// One time's values.
type Vector = BTreeMap<Key, f64>;

impl Part {
    fn text(&self, selector: &str) -> String {
        let offset = if self.offset_s == 0 { String::new() } else { format!(" offset {}s", self.offset_s) };
        match self.function {
            Function::Newest => format!("{selector}{offset}"),
            function => format!("{}({selector}[{}s]{offset})", function.name(), self.range_s),
        }
    }

    fn reach_s(&self) -> i64 {
        let range_s = if self.function == Function::Newest { LOOKBACK_S } else { self.range_s };
        range_s + self.offset_s
    }

    fn at(&self, data: &Data, time: Timestamp) -> Vector {
        let last = time - 1000 * self.offset_s;
        let first = time - 1000 * self.reach_s();
        let value = |samples: &Vec<(Timestamp, f64)>| {
            let seen: Vec<(Timestamp, f64)> =
                samples.iter().copied().filter(|(timestamp, _)| first < *timestamp && *timestamp <= last).collect();
            over(self.function, &seen, first, last)
        };
        data.iter().filter_map(|(series, samples)| Some((Key::Series(*series), value(samples)?))).collect()
    }
}

impl By {
    fn text(self) -> &'static str {
        match self {
            By::Nothing => "",
            By::Writer => " by (writer)",
            By::WithoutNumber => " without (n)",
            By::Metric => " by (__name__)",
        }
    }

    fn key(self, series: Series) -> Key {
        match self {
            By::Nothing => Key::Group(None, None),
            By::Writer | By::WithoutNumber => Key::Group(Some(series.writer), None),
            By::Metric => Key::Group(None, Some(series.metric_number())),
        }
    }
}

impl Shape {
    /// As PromQL, with a selector in its place.
    pub fn text(&self, selector: &str) -> String {
        match self {
            Shape::Plain(part) => part.text(selector),
            Shape::Above(part, number) => format!("{} > {number}", part.text(selector)),
            Shape::Scaled(part) => format!("2 * {} + 1", part.text(selector)),
            Shape::Grouped(aggregation, by, part) => {
                let name = match aggregation {
                    Aggregation::Sum => "sum",
                    Aggregation::Mean => "avg",
                    Aggregation::Least => "min",
                    Aggregation::Most => "max",
                    Aggregation::Count => "count",
                };
                format!("{name}{} ({})", by.text(), part.text(selector))
            }
            Shape::Ratio(by, part) => {
                let (by, part) = (by.text(), part.text(selector));
                format!("sum{by} ({part}) / count{by} ({part})")
            }
            Shape::Top(k, offset_s) => format!("topk({k}, {})", newest(*offset_s).text(selector)),
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

    /// How far before its time a query sees.
    pub fn reach_s(&self) -> i64 {
        match self {
            Shape::Plain(part) | Shape::Above(part, _) | Shape::Scaled(part) => part.reach_s(),
            Shape::Grouped(_, _, part) | Shape::Ratio(_, part) => part.reach_s(),
            Shape::Top(_, offset_s) => newest(*offset_s).reach_s(),
            Shape::Both(left, _, right) => left.reach_s().max(right.reach_s()),
        }
    }

    /// The row that a series takes part in; `None` if it can change every row.
    pub fn key(&self, series: Series) -> Option<Key> {
        match self {
            Shape::Grouped(_, by, _) | Shape::Ratio(by, _) => Some(by.key(series)),
            Shape::Top(..) => None,
            _ => Some(Key::Series(series)),
        }
    }

    /// All rows, at these times.
    pub fn rows(&self, data: &Data, times: &[Timestamp]) -> Rows {
        let mut rows = Rows::new();
        for time in times {
            for (key, value) in self.at(data, *time) {
                rows.entry(key).or_default().push((*time, value));
            }
        }
        rows
    }

    fn at(&self, data: &Data, time: Timestamp) -> Vector {
        match self {
            Shape::Plain(part) => part.at(data, time),
            Shape::Above(part, number) => {
                let mut vector = part.at(data, time);
                vector.retain(|_, value| *value > f64::from(*number));
                vector
            }
            Shape::Scaled(part) => {
                part.at(data, time).into_iter().map(|(key, value)| (key, 2.0 * value + 1.0)).collect()
            }
            Shape::Grouped(aggregation, by, part) => {
                let groups = groups(*by, &part.at(data, time));
                groups.into_iter().map(|(key, values)| (key, aggregation.of(&values))).collect()
            }
            Shape::Ratio(by, part) => {
                let groups = groups(*by, &part.at(data, time));
                groups.into_iter().map(|(key, values)| (key, Aggregation::Mean.of(&values))).collect()
            }
            Shape::Top(k, offset_s) => {
                let mut vector: Vec<(Key, f64)> = newest(*offset_s).at(data, time).into_iter().collect();
                vector.sort_by(|a, b| b.1.total_cmp(&a.1));
                vector.truncate(*k as usize);
                vector.into_iter().collect()
            }
            Shape::Both(left, operator, right) => {
                let (left, right) = (left.at(data, time), right.at(data, time));
                let pairs = left.iter().filter_map(|(key, a)| Some((*key, *a, *right.get(key)?)));
                match operator {
                    Operator::Minus => pairs.map(|(key, a, b)| (key, a - b)).collect(),
                    Operator::Over => pairs.map(|(key, a, b)| (key, a / b)).collect(),
                    Operator::And => pairs.map(|(key, a, _)| (key, a)).collect(),
                    Operator::Unless => left.into_iter().filter(|(key, _)| !right.contains_key(key)).collect(),
                    Operator::Or => right.into_iter().chain(left).collect(),
                }
            }
        }
    }
}

impl Aggregation {
    fn of(self, values: &[f64]) -> f64 {
        match self {
            Aggregation::Sum => values.iter().sum(),
            Aggregation::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Aggregation::Least => values.iter().copied().fold(f64::INFINITY, f64::min),
            Aggregation::Most => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Aggregation::Count => values.len() as f64,
        }
    }
}

fn newest(offset_s: i64) -> Part {
    Part { function: Function::Newest, range_s: 0, offset_s }
}

fn groups(by: By, vector: &Vector) -> BTreeMap<Key, Vec<f64>> {
    let mut groups: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for (key, value) in vector {
        if let Key::Series(series) = key {
            groups.entry(by.key(*series)).or_default().push(*value);
        }
    }
    groups
}

/// A function of what a range that is open on the left has of a series.
fn over(function: Function, seen: &[(Timestamp, f64)], first: Timestamp, last: Timestamp) -> Option<f64> {
    let newest = seen.last()?.1;
    let values = || seen.iter().map(|(_, value)| *value);
    let pairs = || seen.windows(2).map(|pair| (pair[0].1, pair[1].1));
    Some(match function {
        Function::Newest | Function::Last => newest,
        Function::Sum => values().sum(),
        Function::Mean => values().sum::<f64>() / seen.len() as f64,
        Function::Least => values().fold(f64::INFINITY, f64::min),
        Function::Most => values().fold(f64::NEG_INFINITY, f64::max),
        Function::Count => seen.len() as f64,
        Function::Changes => pairs().filter(|(a, b)| a != b).count() as f64,
        Function::Resets => pairs().filter(|(a, b)| b < a).count() as f64,
        Function::Delta => extrapolated(seen, first, last, false, 1.0)?,
        Function::Increase => extrapolated(seen, first, last, true, 1.0)?,
        Function::Rate => extrapolated(seen, first, last, true, (last - first) as f64 / 1000.0)?,
    })
}

/// Prometheus's extrapolation: what was seen is stretched to the range, but by half a mean gap at most where the series
/// seems to begin or end inside of it, and for counters not to before they were zero. In Prometheus's order, factors first:
/// of two rates that are nearly equal the difference is otherwise another one.
fn extrapolated(
    seen: &[(Timestamp, f64)],
    first: Timestamp,
    last: Timestamp,
    is_counter: bool,
    per: f64,
) -> Option<f64> {
    let [(begin, begin_value), .., (end, end_value)] = *seen else { return None };
    let mut change = end_value - begin_value;
    if is_counter {
        change += seen.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1).sum::<f64>();
    }
    let seconds = |from: Timestamp, to: Timestamp| (to - from) as f64 / 1000.0;
    let sampled = seconds(begin, end);
    let gap = sampled / (seen.len() - 1) as f64;
    let reach = |room: f64| if room >= gap * 1.1 { gap / 2.0 } else { room };
    let mut before = reach(seconds(first, begin));
    if is_counter && change > 0.0 && begin_value >= 0.0 {
        before = before.min(sampled * (begin_value / change));
    }
    Some(change * ((sampled + before + reach(seconds(end, last))) / sampled / per))
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
        let found: Vec<f64> = rows.values().map(|row| row[0].1).collect();
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
        check(Shape::Plain(newest(0)), 340, &[]);
        check(Shape::Plain(newest(0)), 339, &[7.0, 5.0]);
    }

    #[test]
    fn a_counter_that_falls_began_anew() {
        // 4 2 7: it grew by 2 and by 5 in 20 of 30 seconds.
        check(Shape::Plain(part(Function::Increase, 30)), 40, &[7.0 * 30.0 / 20.0]);
        check(Shape::Plain(part(Function::Rate, 30)), 40, &[7.0 * (30.0 / 20.0 / 30.0)]);
    }

    #[test]
    fn groups_and_pairs() {
        check(Shape::Grouped(Aggregation::Sum, By::Writer, newest(0)), 40, &[12.0]);
        check(Shape::Ratio(By::Nothing, newest(0)), 40, &[6.0]);
        check(Shape::Top(1, 0), 40, &[7.0]);
        check(Shape::Both(newest(0), Operator::Minus, newest(10)), 40, &[5.0]);
        check(Shape::Both(newest(0), Operator::Unless, newest(10)), 40, &[5.0]);
        check(Shape::Both(newest(10), Operator::Or, newest(0)), 40, &[2.0, 5.0]);
        check(Shape::Above(newest(0), 6), 40, &[7.0]);
    }
}
