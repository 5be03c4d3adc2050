//! Where a time was written more than once, no value is read that was replaced before the query was sent.

use crate::cluster::history::{Cells, Found, History};

/// Says what is older than it may be.
pub fn check(before: &Cells, history: &History, found: &Found) -> Result<(), String> {
    let now = history.cells(|series| found.contains_key(&series));
    for (series, samples) in found {
        for (timestamp, serial) in samples {
            let cells = [before, &now].map(|cells| cells.get(series).and_then(|cells| cells.get(timestamp)));
            if !cells.into_iter().flatten().any(|cell| cell.allows(*serial)) {
                return Err(format!(
                    "read your writes: {series:?} has at {timestamp} the value {serial}, but now {:?}",
                    cells[1]
                ));
            }
        }
    }
    Ok(())
}
