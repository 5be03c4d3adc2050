//! A read that has its place among the running queries, until its answer is sent.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::QueryError;
use super::active::ActiveGuard;
use crate::shards::ReadContext;

/// A read at work. Dropping it ends the work.
pub struct Running {
    pub(super) place: Place,
    pub(super) read: ReadContext,
    /// When it gives up.
    pub(super) deadline: Instant,
    /// How long that is from its beginning.
    pub(super) limit: Duration,
    pub(super) admitted: Instant,
    pub(super) _cancel: CancelOnDrop,
}

/// Raises a query's flag when its future ends, in whatever way.
pub struct CancelOnDrop(pub(super) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a read holds on to until its answer is sent: its place among the running queries and in the list of them, and
/// the memory of its result.
pub struct Place {
    /// None for a rule: its evaluator bounds how many it asks at a time.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    pub(super) active: ActiveGuard,
    pub(super) _account: Arc<bellwether_promql::QueryAccount>,
}

impl Place {
    /// Whether somebody ended the query: the rest of its answer is not sent.
    pub fn is_killed(&self) -> bool {
        self.active.is_killed()
    }
}

impl Running {
    /// Does the work, unless its time is over or it is killed before.
    pub async fn within<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        tokio::select! {
            biased;
            () = self.place.active.killed() => Err(QueryError::Killed),
            done = tokio::time::timeout_at(self.deadline, work) => {
                done.unwrap_or(Err(QueryError::Timeout { limit: self.limit }))
            }
        }
    }
}
