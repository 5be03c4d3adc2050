//! A client that leaves batches, pauses and retries to the client library: what that says is stored must be.

use std::time::Duration;

use bellwether_client::{Error, Writer, WriterError, WriterOptions, series};

use super::Client;
use crate::cluster::coverage::Mark;
use crate::cluster::history::{Series, Write, tenant};
use crate::cluster::library;
use crate::random::Random;

/// How long one call may take, how long one attempt of it, and after how long none is begun any more: together less than others
/// wait for an answer.
const CALL_MAX: Duration = Duration::from_secs(3);
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
const RETRY_FOR: Duration = Duration::from_secs(6);
/// Small, so that the series of one write leave in several batches.
const BATCH_SAMPLES: usize = 4;

impl Client {
    /// For each tenant a writer of the library, for the one client that uses it where the seed says so.
    pub(super) fn gatherers(&self) -> Result<Vec<Writer>, Error> {
        let options = &self.shared.options;
        if self.number > 0 || !options.workload.gathers {
            return Ok(Vec::new());
        }
        let seed = Random::of(options.seed, "gathering").bits();
        let library = library::builder(options.nodes, seed, &self.shared.trace);
        let library = library.timeout(CALL_MAX).attempt_timeout(ATTEMPT_MAX).build()?;
        let writer = WriterOptions { batch_samples: BATCH_SAMPLES, retry_for: RETRY_FOR, ..WriterOptions::default() };
        let writer = |index| Ok(library.for_tenant(tenant(index).as_str())?.writer(writer.clone()));
        (0..options.workload.tenants).map(writer).collect()
    }

    /// Whether all samples are stored, as the library says.
    pub(super) async fn gather(&self, writer: &Writer, writes: &[Write]) -> bool {
        let (first, last) =
            (writes.first().map_or(0, |write| write.serial), writes.last().map_or(0, |write| write.serial));
        let refused_before = writer.stats().refused;
        let done = append(writer, writes).await;
        self.event(&format!("gathers {first} to {last}: {done:?}"));
        let stats = writer.stats();
        if stats.refused > refused_before {
            let reason = stats.refused_because.unwrap_or_default();
            if self.may_be_refused(writes, &reason) {
                self.shared.reach(Mark::Refused);
            } else {
                self.shared.violated(format!("legal writes are taken: the library is told {reason}"));
            }
            return false;
        }
        match done {
            Ok(()) => {
                self.shared.reach(Mark::Gathered);
                true
            }
            Err(WriterError::Lost { source, .. }) if source.is_transient() => false,
            Err(error) => {
                self.shared.violated(format!("legal writes are taken: the library says {error:?}"));
                false
            }
        }
    }
}

async fn append(writer: &Writer, writes: &[Write]) -> Result<(), WriterError> {
    for (of, samples) in by_series(writes) {
        let labels = of.labels();
        let labels: Vec<(&str, &str)> = labels.iter().map(|label| (label.name, label.value)).collect();
        writer.append(series(labels, samples)).await?;
    }
    writer.flush().await
}

/// Samples of each series, in the order in which they are written.
fn by_series(writes: &[Write]) -> Vec<(Series, Vec<(i64, f64)>)> {
    let mut found: Vec<(Series, Vec<(i64, f64)>)> = Vec::new();
    for Write { series, timestamp, serial } in writes {
        let sample = (*timestamp, series.value(*serial));
        match found.iter_mut().find(|(of, _)| of == series) {
            Some((_, samples)) => samples.push(sample),
            None => found.push((*series, vec![sample])),
        }
    }
    found
}
