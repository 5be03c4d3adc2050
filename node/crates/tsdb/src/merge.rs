//! Layers of samples of one series become one: ascending, each time once, the newer layer's value wins.

use bellwether_model::Timestamp;
use bellwether_probe::{Bug, planted};

/// Merges an older and a newer layer, each ascending without repeats, to the end of the output columns.
pub fn merge(
    old_times: &[Timestamp],
    old_values: &[f64],
    new_times: &[Timestamp],
    new_values: &[f64],
    timestamps: &mut Vec<Timestamp>,
    values: &mut Vec<f64>,
) {
    let in_order = match (old_times.last(), new_times.first()) {
        (Some(last), Some(first)) => last < first,
        _ => true,
    };
    if in_order {
        timestamps.extend_from_slice(old_times);
        values.extend_from_slice(old_values);
        timestamps.extend_from_slice(new_times);
        values.extend_from_slice(new_values);
        return;
    }
    let (mut old, mut new) = (0, 0);
    while old < old_times.len() || new < new_times.len() {
        let take_new = match (old_times.get(old), new_times.get(new)) {
            (Some(o), Some(n)) if o == n && planted(Bug::OldestWins) => {
                new += 1;
                false
            }
            (Some(o), Some(n)) if o == n => {
                old += 1;
                true
            }
            (Some(o), Some(n)) => n < o,
            (None, _) => true,
            (_, None) => false,
        };
        if take_new {
            timestamps.push(new_times[new]);
            values.push(new_values[new]);
            new += 1;
        } else {
            timestamps.push(old_times[old]);
            values.push(old_values[old]);
            old += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_newer_layer_wins(
            old in proptest::collection::btree_map(0i64..30, 0u32..9, 0..20),
            new in proptest::collection::btree_map(0i64..60, 10u32..19, 0..20),
        ) {
            let columns = |map: &BTreeMap<i64, u32>| -> (Vec<i64>, Vec<f64>) {
                map.iter().map(|(t, v)| (*t, f64::from(*v))).unzip()
            };
            let ((old_times, old_values), (new_times, new_values)) = (columns(&old), columns(&new));
            let (mut timestamps, mut values) = (Vec::new(), Vec::new());
            merge(&old_times, &old_values, &new_times, &new_values, &mut timestamps, &mut values);
            let mut expected = old;
            expected.extend(new);
            prop_assert_eq!((timestamps, values), columns(&expected));
        }
    }
}
