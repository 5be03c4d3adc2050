//! Nothing is read that was not written, nor in a series or at a time where it was not.

use crate::cluster::history::{Found, History};

/// Says what is not where it was written.
pub fn check(history: &History, found: &Found) -> Result<(), String> {
    for (series, samples) in found {
        for (timestamp, serial) in samples {
            match history.place(*serial) {
                Some(place) if place == (*series, *timestamp) => {}
                Some((of, at)) => {
                    return Err(format!(
                        "nothing crosses series: {series:?} has at {timestamp} the value {serial} of {of:?} at {at}"
                    ));
                }
                None => {
                    return Err(format!(
                        "no phantoms: {series:?} has at {timestamp} the value {serial}, never written"
                    ));
                }
            }
        }
    }
    Ok(())
}
