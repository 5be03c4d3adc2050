//! What queries of some shapes must answer, computed in the simplest way over all samples: what the nodes answer is compared
//! with this. It shares no code with the nodes' parser, planner or evaluator.
//!
//! Reading order: [`number`] (how right an answer must be), [`part`] (of each series), [`group`] (of several), [`shape`] (whole
//! queries).

mod group;
mod number;
mod part;
mod shape;

use std::collections::BTreeMap;

use bellwether_model::Timestamp;

pub use self::group::{Aggregation, By};
pub use self::number::Number;
pub use self::part::{Function, LOOKBACK_S, Part};
pub use self::shape::{Operator, Shape, Steps};
use crate::cluster::history::Series;

/// Whose a row of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One series'.
    Series(Series),
    /// A group's: its writer and its metric, where they are named.
    Group(Option<usize>, Option<usize>),
    /// A group's, as with [`Group`](Key::Group), and in it those series that have a value with these bits.
    Value(Option<usize>, Option<usize>, u64),
}

/// Samples of series, in order.
pub type Data = BTreeMap<Series, Vec<(Timestamp, f64)>>;
/// Rows of an answer.
pub type Rows = BTreeMap<Key, Vec<(Timestamp, f64)>>;
/// Rows as they must be.
pub type Wanted = BTreeMap<Key, BTreeMap<Timestamp, Number>>;
/// One time's values.
type Vector = BTreeMap<Key, Number>;

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
        Part { function, range_s, offset_s: 0, at_s: None }
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

    #[test]
    fn times_that_are_pinned_or_later() {
        check(Shape::Plain(Part { at_s: Some(30), ..Part::newest(10) }), 1_000, &[4.0]);
        check(Shape::Plain(Part::newest(-10)), 30, &[7.0, 5.0]);
        let part = Part { offset_s: -5, at_s: Some(20), ..part(Function::Sum, 10) };
        assert_eq!(part.text("x"), "sum_over_time(x[10s] @ 20 offset -5s)");
        assert_eq!(part.sees(0, 99_000), 15_001..=25_000);
    }

    #[test]
    fn rare_functions() {
        check(Shape::Plain(part(Function::Timestamp, 0)), 45, &[40.0, 40.0]);
        check(Shape::Plain(part(Function::Irate, 30)), 30, &[0.2]);
        check(Shape::Plain(part(Function::Idelta, 30)), 30, &[-2.0]);
        check(Shape::Plain(part(Function::Deriv, 40)), 40, &[0.16]);
        check(Shape::Plain(part(Function::Stddev, 15)), 40, &[2.5, 0.0]);
        check(Shape::Plain(part(Function::Quantile, 40)), 40, &[4.75, 5.0]);
        check(Shape::Plain(part(Function::Present, 40)), 40, &[1.0, 1.0]);
    }

    #[test]
    fn rare_aggregations() {
        let grouped = |aggregation| Shape::Grouped(aggregation, By::Writer, Part::newest(0));
        check(grouped(Aggregation::Group), 40, &[1.0]);
        check(grouped(Aggregation::Stddev), 40, &[1.0]);
        check(grouped(Aggregation::Stdvar), 40, &[1.0]);
        check(grouped(Aggregation::Quantile), 40, &[6.5]);
        check(Shape::Values(By::Nothing, part(Function::Count, 31)), 40, &[1.0, 1.0]);
        check(Shape::Bottom(1, 0), 40, &[5.0]);
    }

    #[test]
    fn rare_operators() {
        check(Shape::IsAbove(Part::newest(0), 5), 40, &[1.0, 0.0]);
        check(Shape::Negated(Part::newest(0)), 40, &[-7.0, -5.0]);
        check(Shape::Clamped(Part::newest(0), -1, 6), 40, &[6.0, 5.0]);
        check(Shape::Absent(Part::newest(0)), 40, &[]);
        check(Shape::Absent(Part::newest(0)), 400, &[1.0]);
        check(Shape::Joined(Part::newest(0), Operator::Minus, Part::newest(0)), 40, &[-5.0, -7.0]);
    }

    #[test]
    fn subqueries_step_at_multiples() {
        let over = |function| {
            let steps = Steps { function, range_s: 20, step_s: 10 };
            Shape::Over(steps, Aggregation::Sum, By::Writer, Part::newest(0))
        };
        // At 30 and 40, also where 45 is asked about.
        check(over(Function::Sum), 45, &[14.0]);
        check(over(Function::Count), 40, &[2.0]);
        assert_eq!(over(Function::Most).text("x"), "max_over_time(sum by (writer) (x)[20s:10s])");
        assert_eq!(over(Function::Most).sees(60_000, 70_000), 40_000 - 1000 * LOOKBACK_S + 1..=70_000);
    }
}
