//! What nodes compute is what the reference computes, as far as it depends on nothing whose outcome is unknown.

use bellwether_model::Timestamp;

use crate::cluster::history::{Cells, Series};
use crate::reference::{Data, Rows, Shape};

/// Says which row of an answer is wrong, or how many were compared. `before` and `after` are what was known when the query was
/// sent and when the answer came, of all series and times that it sees.
pub fn check(shape: &Shape, times: &[Timestamp], before: &Cells, after: &Cells, found: &Rows) -> Result<usize, String> {
    let mut data = Data::new();
    let mut doubtful = Vec::new();
    for series in after.keys() {
        match certain(*series, before, after) {
            Some(samples) => drop(data.insert(*series, samples)),
            None => doubtful.push(*series),
        }
    }
    let mut wanted = shape.rows(&data, times);
    for key in found.keys() {
        wanted.entry(*key).or_default();
    }
    wanted.retain(|key, _| !doubtful.iter().any(|series| shape.depends(*key, *series)));
    for (key, wanted) in &wanted {
        let found = found.get(key).map_or(&[][..], Vec::as_slice);
        let is_right = |(time, value): &(Timestamp, f64)| wanted.get(time).is_some_and(|number| number.is_like(*value));
        let is_there = |time: &Timestamp| found.binary_search_by_key(time, |(time, _)| *time).is_ok();
        let has_all = wanted.iter().all(|(time, number)| number.is_unknown() || is_there(time));
        let ascends = found.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ascends || !has_all || !found.iter().all(is_right) {
            return Err(format!("queries are computed right: {key:?} is {found:?}, not {wanted:?}"));
        }
    }
    Ok(wanted.len())
}

/// A series' samples, if there was only one thing to read all the while.
fn certain(series: Series, before: &Cells, after: &Cells) -> Option<Vec<(Timestamp, f64)>> {
    let cells = &after[&series];
    if before.get(&series).map_or(!cells.is_empty(), |before| before != cells) {
        return None;
    }
    let mut samples = Vec::new();
    for (timestamp, cell) in cells {
        samples.extend(cell.certain()?.map(|serial| (*timestamp, series.value(serial))));
    }
    Some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::history::Cell;
    use crate::reference::{Aggregation, By, Key, Part};

    fn series(number: usize) -> Series {
        Series { tenant: 0, writer: 1, number }
    }

    fn cell(acknowledged: u64, unknown: &[u64]) -> Cell {
        Cell { acknowledged: Some(acknowledged), unknown: unknown.iter().copied().collect(), ..Cell::default() }
    }

    #[test]
    fn only_rows_that_depend_on_nothing_unknown_are_judged() {
        let cells =
            Cells::from([(series(0), [(1000, cell(7, &[7]))].into()), (series(2), [(1000, cell(8, &[9]))].into())]);
        let part = Part::newest(0);
        let check = |shape: Shape, found: &[(Key, f64)]| {
            let rows: Rows = found.iter().map(|(key, value)| (*key, vec![(2000, *value)])).collect();
            super::check(&shape, &[2000], &cells, &cells, &rows)
        };
        let [first, second] = [0, 2].map(|number| Key::Series(series(number)));
        assert_eq!(check(Shape::Plain(part), &[(first, 7.0), (second, 9.0)]), Ok(1));
        assert_eq!(check(Shape::Plain(part), &[(first, 7.0)]), Ok(1));
        assert!(check(Shape::Plain(part), &[(first, 8.0)]).is_err());
        assert!(check(Shape::Plain(part), &[]).is_err());
        assert!(check(Shape::Plain(part), &[(first, 7.0), (Key::Series(series(7)), 1.0)]).is_err());
        let sum = Shape::Grouped(Aggregation::Sum, By::Writer, part);
        assert_eq!(check(sum, &[(Key::Group(Some(1), None), 99.0)]), Ok(0));
    }
}
