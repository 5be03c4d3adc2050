//! The order of an instant query's result.

use std::cmp::Ordering;

use crate::plan::SortKey;
use crate::series::Series;

/// Orders series of one step.
pub(crate) fn sort(key: &SortKey, series: &mut [Series]) {
    match key {
        SortKey::Value { descending } => series.sort_by(|a, b| {
            let (a, b) = (a.column.values[0], b.column.values[0]);
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            // NaN goes to the end in either direction.
            a.is_nan().cmp(&b.is_nan()).then(if *descending { order.reverse() } else { order })
        }),
        SortKey::Labels { names, descending } => series.sort_by(|a, b| {
            let by_name = |name: &String| natural_order(a.labels.value(name), b.labels.value(name));
            let order = names.iter().map(by_name).find(|order| order.is_ne());
            let order = order.unwrap_or_else(|| a.labels.iter().cmp(b.labels.iter()));
            if *descending { order.reverse() } else { order }
        }),
    }
}

/// Digits compare as numbers: `node9` before `node10`.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (part_a, rest_a) = first_part(a);
        let (part_b, rest_b) = first_part(b);
        if part_a.is_empty() || part_b.is_empty() {
            return part_a.len().cmp(&part_b.len());
        }
        let number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let order = if number(part_a) && number(part_b) {
            let (digits_a, digits_b) = (part_a.trim_start_matches('0'), part_b.trim_start_matches('0'));
            digits_a.len().cmp(&digits_b.len()).then(digits_a.cmp(digits_b)).then(part_a.len().cmp(&part_b.len()))
        } else {
            part_a.cmp(part_b)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// A run of digits or of other characters, and what follows.
fn first_part(text: &str) -> (&str, &str) {
    let digit = |c: char| c.is_ascii_digit();
    let first = text.starts_with(digit);
    text.split_at(text.find(|c| digit(c) != first).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_texts_count() {
        assert_eq!(natural_order("node9", "node10"), Ordering::Less);
        assert_eq!(natural_order("a", "a1"), Ordering::Less);
        assert_eq!(natural_order("007", "7"), Ordering::Greater);
        assert_eq!(natural_order("x", "x"), Ordering::Equal);
    }
}
