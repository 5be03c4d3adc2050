//! Where a time was written more than once, no value is read that was replaced before the query was sent.

use crate::cluster::history::{Found, History, Moment};

/// Says what is older than it may be, for a query that was sent at a moment.
pub fn check(sent: Moment, history: &History, found: &Found) -> Result<(), String> {
    let now = history.cells(|series| found.contains_key(&series));
    for (series, samples) in found {
        for (timestamp, serial) in samples {
            let cell = now.get(series).and_then(|cells| cells.get(timestamp));
            if !cell.is_some_and(|cell| cell.allows(*serial, sent)) {
                return Err(format!(
                    "read your writes: {series:?} has at {timestamp} the value {serial}, but now {cell:?}"
                ));
            }
        }
    }
    Ok(())
}
