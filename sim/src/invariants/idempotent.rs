//! A sample that was sent more than once is there once: the samples of an answer ascend.

use crate::cluster::history::Found;

/// Says what is there twice.
pub fn check(found: &Found) -> Result<(), String> {
    for (series, samples) in found {
        if let Some(pair) = samples.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("retries are idempotent: {series:?} has {:?} after {:?}", pair[1], pair[0]));
        }
    }
    Ok(())
}
