//! Counts that nodes compute lie between what must be there and what may be.

use std::collections::BTreeMap;

use crate::cluster::history::{Cells, Series};

/// Says which count is impossible. `key` says what a series is counted under.
pub fn check<K: Ord + std::fmt::Debug>(
    before: &Cells,
    after: &Cells,
    counts: &BTreeMap<K, u64>,
    key: impl Fn(Series) -> K,
) -> Result<(), String> {
    let mut bounds: BTreeMap<K, (u64, u64)> = BTreeMap::new();
    for (series, cells) in before {
        let must = cells.values().filter(|cell| cell.acknowledged.is_some()).count() as u64;
        bounds.entry(key(*series)).or_default().0 += must;
    }
    for (series, cells) in after {
        bounds.entry(key(*series)).or_default().1 += cells.len() as u64;
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
