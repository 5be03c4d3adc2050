//! Where a time was written more than once, no value is read that was replaced before the query was sent; nor is one that
//! was deleted before.

use crate::cluster::history::{Found, History, Moment};

/// Says what is older than it may be, for a query that was sent at a moment.
pub fn check(sent: Moment, history: &History, found: &Found) -> Result<(), String> {
    for (series, samples) in found {
        for (timestamp, serial) in samples {
            let cell = history.now(*series, *timestamp);
            if !cell.is_some_and(|cell| cell.allows(*serial, sent)) {
                return Err(format!(
                    "read your writes: {series:?} has at {timestamp} the value {serial}, but now {cell:?}"
                ));
            }
        }
    }
    Ok(())
}
