//! Running one read on several shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use super::{SelectError, ShardGroup, Shards};

impl Shards {
    /// Runs `read` on each group; results in the order of `groups`.
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
