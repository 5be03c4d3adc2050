//! Counts that nodes compute lie between what must be there and what may be.

use std::collections::BTreeMap;

use crate::cluster::history::{Cells, Moment, Series};

/// Says which count is impossible, for a query that was sent at a moment when `before` was known; `after` is known now.
/// `key` says what a series is counted under.
pub fn check<K: Ord + std::fmt::Debug>(
    before: &Cells,
    sent: Moment,
    after: &Cells,
    counts: &BTreeMap<K, u64>,
    key: impl Fn(Series) -> K,
) -> Result<(), String> {
    let mut bounds: BTreeMap<K, (u64, u64)> = BTreeMap::new();
    for (series, now) in after {
        let known = before.get(series);
        let is_due =
            |timestamp, now| known.and_then(|cells| cells.get(timestamp)).is_some_and(|cell| cell.is_due(now, sent));
        let bounds = bounds.entry(key(*series)).or_default();
        bounds.0 += now.iter().filter(|(timestamp, now)| is_due(timestamp, now)).count() as u64;
        bounds.1 += now.len() as u64;
    }
    for (key, (least, most)) in &bounds {
        let counted = counts.get(key).copied().unwrap_or_default();
        if !(*least..=*most).contains(&counted) {
            return Err(format!("counts are right: {key:?} counts {counted}, not {least} to {most}"));
        }
    }
    match counts.keys().find(|key| !bounds.contains_key(key)) {
        Some(key) => Err(format!("counts are right: {key:?} was never written")),
        None => Ok(()),
    }
}
