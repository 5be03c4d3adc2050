//! What was acknowledged before a query is in its answer.

use crate::cluster::history::{Cells, Found, History, Moment};

/// Says what is lost, for a query that was sent at a moment when `before` was known.
pub fn check(before: &Cells, sent: Moment, history: &History, found: &Found) -> Result<(), String> {
    for (series, cells) in before {
        let samples = found.get(series).map_or(&[][..], Vec::as_slice);
        for (timestamp, cell) in cells {
            let is_due = history.now(*series, *timestamp).is_some_and(|now| cell.is_due(now, sent));
            if is_due && samples.binary_search_by_key(timestamp, |(timestamp, _)| *timestamp).is_err() {
                return Err(format!(
                    "acknowledged is never lost: {series:?} has nothing at {timestamp}, where {:?} was acknowledged",
                    cell.acknowledged
                ));
            }
        }
    }
    Ok(())
}
