//! The names of series that nodes list are those of series that were written, and none that has samples is missing.

use std::collections::BTreeSet;

use crate::cluster::history::{Cells, Moment, Series};

/// Says which name is wrong, for a query that was sent at a moment when `before` was known; `after` is known now.
pub fn check(before: &Cells, sent: Moment, after: &Cells, named: &BTreeSet<Series>) -> Result<(), String> {
    if let Some(series) = named.iter().find(|series| !after.contains_key(series)) {
        return Err(format!("series have their names: {series:?} was never written"));
    }
    for (series, cells) in before {
        let is_due = cells.iter().any(|(timestamp, cell)| cell.is_due(&after[series][timestamp], sent));
        if is_due && !named.contains(series) {
            return Err(format!("series have their names: {series:?} is not listed"));
        }
    }
    Ok(())
}
