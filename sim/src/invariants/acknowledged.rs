//! What was acknowledged before a query is in its answer.

use crate::cluster::history::{Cells, Found};

/// Says what is lost.
pub fn check(before: &Cells, found: &Found) -> Result<(), String> {
    for (series, cells) in before {
        let samples = found.get(series).map_or(&[][..], Vec::as_slice);
        for (timestamp, cell) in cells.iter().filter(|(_, cell)| cell.acknowledged.is_some()) {
            if samples.binary_search_by_key(timestamp, |(timestamp, _)| *timestamp).is_err() {
                return Err(format!(
                    "acknowledged is never lost: {series:?} has nothing at {timestamp}, where {:?} was acknowledged",
                    cell.acknowledged
                ));
            }
        }
    }
    Ok(())
}
