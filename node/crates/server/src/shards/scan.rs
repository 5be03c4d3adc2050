//! Running one read on several shards, with bounds that hold for all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bellwether_model::ShardGroupId;
use bellwether_raft::ReadError;
use bellwether_tsdb::{SelectError as ShardError, SelectLimits as ShardLimits, SelectedSeries};
use futures::future::{join_all, try_join_all};

use super::{SelectError, SelectLimits, ShardGroup, Shards};

/// Bytes of a sample in a result: its value. Timestamps are shared and counted by what series have them to themselves.
const SAMPLE_BYTES: u64 = 8;

impl Shards {
    /// Runs `read` on each group once everything acknowledged before is applied there; results in the order of `groups`.
    ///
    /// The executor gets as many jobs as it has threads, each of which takes the next group until none is left: a small
    /// read costs few hand-overs, a large one uses all threads.
    pub(super) async fn scan<T, F>(
        &self,
        kind: &'static str,
        groups: Vec<Arc<ShardGroup>>,
        read: F,
    ) -> Result<Vec<T>, SelectError>
    where
        T: Send + 'static,
        F: Fn(&ShardGroup) -> Result<T, SelectError> + Send + Sync + 'static,
    {
        let Some(first) = groups.first().map(|group| group.id()) else { return Ok(Vec::new()) };
        try_join_all(groups.iter().map(|group| barrier(group))).await?;
        let seconds = self.metrics.scan_seconds.with_label_values(&[kind]);
        let jobs = self.scan.threads().min(groups.len());
        let work = Arc::new((groups, read, AtomicUsize::new(0), seconds));
        let jobs = (0..jobs).map(|_| {
            let work = work.clone();
            self.scan.run(move || {
                let (groups, read, next, seconds) = &*work;
                let mut results = Vec::new();
                while let Some((at, group)) = take(groups, next) {
                    let timer = seconds.start_timer();
                    results.push((at, read(group)));
                    timer.observe_duration();
                }
                results
            })
        });
        let mut results = Vec::new();
        for part in join_all(jobs).await {
            let failed =
                |error: crate::env::JobFailed| SelectError::Storage { group: first, reason: error.to_string() };
            results.extend(part.map_err(failed)?);
        }
        results.sort_unstable_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

fn take<'a>(groups: &'a [Arc<ShardGroup>], next: &AtomicUsize) -> Option<(usize, &'a Arc<ShardGroup>)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, groups.get(at)?))
}

async fn barrier(group: &ShardGroup) -> Result<(), SelectError> {
    group
        .raft
        .read_barrier()
        .await
        .map_err(|error: ReadError| SelectError::Unavailable { group: group.id(), reason: error.to_string() })
}

/// What all shards of one selection have found so far.
pub(super) struct Tally {
    limits: SelectLimits,
    series: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub fn new(limits: SelectLimits) -> Tally {
        Tally { limits, series: AtomicU64::new(0), samples: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// What the next shard may still find.
    pub fn limits_of_shard(&self) -> ShardLimits {
        let left = |limit: u64, used: &AtomicU64| {
            usize::try_from(limit.saturating_sub(used.load(Ordering::Relaxed))).unwrap_or(usize::MAX)
        };
        let of_bytes = left(self.limits.bytes, &self.bytes) / SAMPLE_BYTES as usize;
        ShardLimits {
            series: left(self.limits.series, &self.series),
            samples: left(self.limits.samples, &self.samples).min(of_bytes),
        }
    }

    /// Counts what a shard found.
    pub fn add(&self, selected: &[SelectedSeries]) -> Result<(), SelectError> {
        let samples: u64 = selected.iter().map(|series| series.values.len() as u64).sum();
        let count = |what, used: &AtomicU64, more: u64, limit: u64| {
            let sum = used.fetch_add(more, Ordering::Relaxed) + more;
            if sum > limit { Err(SelectError::LimitExceeded { what, limit }) } else { Ok(()) }
        };
        count("series", &self.series, selected.len() as u64, self.limits.series)?;
        count("samples", &self.samples, samples, self.limits.samples)?;
        count("bytes of samples", &self.bytes, samples * SAMPLE_BYTES, self.limits.bytes)
    }

    /// A shard's error, naming the limit of the whole selection.
    pub fn error(&self, group: ShardGroupId, error: ShardError) -> SelectError {
        let exceeded = |what, limit| SelectError::LimitExceeded { what, limit };
        match error {
            ShardError::TooManySeries { .. } => exceeded("series", self.limits.series),
            ShardError::TooManySamples { .. } if self.limits.bytes / SAMPLE_BYTES < self.limits.samples => {
                exceeded("bytes of samples", self.limits.bytes)
            }
            ShardError::TooManySamples { .. } => exceeded("samples", self.limits.samples),
            other => plain_error(group, other),
        }
    }
}

/// A shard's error, where the read has no limits of its own.
pub(super) fn plain_error(group: ShardGroupId, error: ShardError) -> SelectError {
    match error {
        ShardError::Cancelled => SelectError::Cancelled,
        ShardError::Storage(error) if error.is_corrupt() => {
            tracing::error!(group = group.0, %error, "stored data is damaged");
            SelectError::Corrupt { group, place: error.to_string() }
        }
        other => SelectError::Storage { group, reason: other.to_string() },
    }
}
