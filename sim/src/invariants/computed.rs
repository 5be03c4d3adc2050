//! What nodes compute is what the reference computes, as far as it depends on nothing whose outcome is unknown.

use std::collections::BTreeSet;

use bellwether_model::Timestamp;

use crate::cluster::history::{Cells, Series};
use crate::reference::{Data, Key, Rows, Shape};

/// What two ways to add up the same numbers may differ by.
const TOLERANCE: f64 = 1e-9;

/// Says which row of an answer is wrong, or how many were compared. `before` and `after` are what was known when the query was
/// sent and when the answer came, of all series and times that it sees.
pub fn check(shape: &Shape, times: &[Timestamp], before: &Cells, after: &Cells, found: &Rows) -> Result<usize, String> {
    let mut data = Data::new();
    let mut doubtful: BTreeSet<Key> = BTreeSet::new();
    for (series, cells) in after {
        match certain(*series, before, after) {
            Some(samples) => drop(data.insert(*series, samples)),
            None => match shape.key(*series) {
                Some(key) => drop(doubtful.insert(key)),
                // Nothing of the answer is certain.
                None if !cells.is_empty() => return Ok(0),
                None => {}
            },
        }
    }
    let mut wanted = shape.rows(&data, times);
    wanted.retain(|key, _| !doubtful.contains(key));
    let nothing = Vec::new();
    for key in wanted.keys().chain(found.keys()).filter(|key| !doubtful.contains(key)) {
        let (wanted, found) = (wanted.get(key).unwrap_or(&nothing), found.get(key).unwrap_or(&nothing));
        let is_alike = |pair: (&(Timestamp, f64), &(Timestamp, f64))| pair.0.0 == pair.1.0 && alike(pair.0.1, pair.1.1);
        if wanted.len() != found.len() || !wanted.iter().zip(found).all(is_alike) {
            return Err(format!("queries are computed right: {key:?} is {found:?}, not {wanted:?}"));
        }
    }
    Ok(wanted.len())
}

fn alike(a: f64, b: f64) -> bool {
    // Of infinite values any difference would be within tolerance.
    let is_near = || a.is_finite() && b.is_finite() && (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    a == b || (a.is_nan() && b.is_nan()) || is_near()
}

/// A series' samples, if there was only one thing to read all the while.
fn certain(series: Series, before: &Cells, after: &Cells) -> Option<Vec<(Timestamp, f64)>> {
    let cells = &after[&series];
    if before.get(&series).map_or(!cells.is_empty(), |before| before != cells) {
        return None;
    }
    let mut samples = Vec::new();
    for (timestamp, cell) in cells {
        samples.extend(cell.certain()?.map(|serial| (*timestamp, serial as f64)));
    }
    Some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::history::Cell;
    use crate::reference::{Aggregation, By, Function, Part};

    fn series(number: usize) -> Series {
        Series { tenant: 0, writer: 1, number }
    }

    fn cell(acknowledged: u64, unknown: &[u64]) -> Cell {
        Cell { acknowledged: Some(acknowledged), unknown: unknown.iter().copied().collect(), ..Cell::default() }
    }

    #[test]
    fn only_rows_that_depend_on_nothing_unknown_are_judged() {
        let cells =
            Cells::from([(series(1), [(1000, cell(7, &[7]))].into()), (series(2), [(1000, cell(8, &[9]))].into())]);
        let part = Part { function: Function::Newest, range_s: 0, offset_s: 0 };
        let check = |shape: Shape, found: &[(Key, f64)]| {
            let rows: Rows = found.iter().map(|(key, value)| (*key, vec![(2000, *value)])).collect();
            super::check(&shape, &[2000], &cells, &cells, &rows)
        };
        let [first, second] = [1, 2].map(|number| Key::Series(series(number)));
        assert_eq!(check(Shape::Plain(part), &[(first, 7.0), (second, 9.0)]), Ok(1));
        assert_eq!(check(Shape::Plain(part), &[(first, 7.0)]), Ok(1));
        assert!(check(Shape::Plain(part), &[(first, 8.0)]).is_err());
        assert!(check(Shape::Plain(part), &[]).is_err());
        assert!(check(Shape::Plain(part), &[(first, 7.0), (Key::Series(series(3)), 1.0)]).is_err());
        let sum = Shape::Grouped(Aggregation::Sum, By::Writer, part);
        assert_eq!(check(sum, &[(Key::Group(Some(1), None), 99.0)]), Ok(0));
    }

    #[test]
    fn an_infinite_value_is_like_itself_alone() {
        let (infinite, sum) = (f64::INFINITY, 0.1 + 0.2);
        assert!(alike(infinite, infinite) && alike(f64::NAN, f64::NAN) && alike(sum, 0.3));
        assert!(!alike(infinite, 7.0) && !alike(7.0, infinite) && !alike(infinite, -infinite));
        assert!(!alike(7.0, 7.000_001) && !alike(f64::NAN, 7.0));
    }
}
