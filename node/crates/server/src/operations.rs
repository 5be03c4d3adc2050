//! What takes long, as an operator sees it: begun, watched, cancelled, remembered for a while.
//!
//! An operation runs in the node that took it and ends with it. What it did until then is at its place; the same request
//! begins it again, and it goes on from there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_proto::v1::{Operation, OperationState};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::env::WallClock;
use crate::peers::error::chain;

/// Operations that are remembered; of those that have ended the oldest goes.
const REMEMBERED_MAX: usize = 64;
/// Operations that run at a time.
const RUNNING_MAX: usize = 8;
/// How long a cancelled operation may take to tidy up before that is no longer waited for.
const CANCEL_WAIT: Duration = Duration::from_secs(20);

/// The operations of a node. Clones are the same.
#[derive(Clone)]
pub struct Operations(Arc<Inner>);

struct Inner {
    node: u64,
    clock: Arc<dyn WallClock>,
    stop: watch::Receiver<bool>,
    given: AtomicU64,
    known: Mutex<VecDeque<Known>>,
}

#[derive(Clone)]
struct Known {
    seen: watch::Receiver<Operation>,
    cancel: Arc<watch::Sender<bool>>,
}

/// What the work of an operation tells, and hears.
pub struct Handle {
    operation: watch::Sender<Operation>,
    cancelled: watch::Receiver<bool>,
    stopped: watch::Receiver<bool>,
}

/// Why the work of an operation came to nothing; what it says is the operation's outcome.
pub trait WorkError: std::error::Error {
    /// Whether it was told to end, and did.
    fn is_cancelled(&self) -> bool;
}

/// The work was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Too many operations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{RUNNING_MAX} operations run on this node already: wait for one, or end it with bwctl operation cancel")]
pub struct TooMany;

impl Operations {
    /// None yet. All end when `stop` is true.
    pub fn new(node: u64, clock: Arc<dyn WallClock>, stop: watch::Receiver<bool>) -> Operations {
        let given = AtomicU64::new(1);
        Operations(Arc::new(Inner { node, clock, stop, given, known: Mutex::default() }))
    }

    /// Begins an operation. One that does the same already is the answer.
    pub fn begin<F, E>(&self, what: String, work: impl FnOnce(Arc<Handle>) -> F) -> Result<Operation, TooMany>
    where
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: WorkError + 'static,
    {
        let mut known = self.0.known.lock();
        let running = || known.iter().map(|known| known.seen.borrow()).filter(|seen| is_running(seen));
        if let Some(same) = running().find(|seen| seen.what == what) {
            return Ok(same.clone());
        }
        if running().count() >= RUNNING_MAX {
            return Err(TooMany);
        }
        if known.len() >= REMEMBERED_MAX
            && let Some(oldest) = known.iter().position(|known| !is_running(&known.seen.borrow()))
        {
            known.remove(oldest);
        }
        let number = self.0.given.fetch_add(1, Ordering::Relaxed);
        let operation = Operation {
            id: format!("{}-{number}", self.0.node),
            what,
            state: OperationState::Running.into(),
            began_ms: self.0.clock.now_ms(),
            ..Operation::default()
        };
        let (tell, seen) = watch::channel(operation.clone());
        let (cancel, cancelled) = watch::channel(false);
        known.push_back(Known { seen, cancel: Arc::new(cancel) });
        drop(known);
        let handle = Arc::new(Handle { operation: tell, cancelled, stopped: self.0.stop.clone() });
        let (work, clock) = (work(handle.clone()), self.0.clock.clone());
        tokio::spawn(async move {
            let ended = work.await;
            handle.operation.send_modify(|operation| {
                operation.ended_ms = clock.now_ms();
                let (state, outcome) = match ended {
                    Ok(outcome) => (OperationState::Done, outcome),
                    Err(error) if error.is_cancelled() => (OperationState::Cancelled, chain(&error)),
                    Err(error) => (OperationState::Failed, chain(&error)),
                };
                tracing::info!(id = operation.id, what = operation.what, ?state, outcome, "an operation ended");
                operation.state = state.into();
                operation.outcome = outcome;
            });
        });
        Ok(operation)
    }

    /// All that are remembered, oldest first.
    pub fn list(&self) -> Vec<Operation> {
        self.0.known.lock().iter().map(|known| known.seen.borrow().clone()).collect()
    }

    /// Tells of an operation.
    pub fn watch(&self, id: &str) -> Option<watch::Receiver<Operation>> {
        self.find(id).map(|known| known.seen)
    }

    /// Ends an operation, if it runs, and waits until it has.
    pub async fn cancel(&self, id: &str) -> Option<Operation> {
        let Known { mut seen, cancel } = self.find(id)?;
        cancel.send_replace(true);
        // One that tidies up for long says so by running on.
        drop(timeout(CANCEL_WAIT, seen.wait_for(|seen| !is_running(seen))).await);
        let operation = seen.borrow().clone();
        Some(operation)
    }

    fn find(&self, id: &str) -> Option<Known> {
        self.0.known.lock().iter().find(|known| known.seen.borrow().id == id).cloned()
    }
}

/// Whether an operation has not ended.
pub fn is_running(operation: &Operation) -> bool {
    operation.state() == OperationState::Running
}

impl Handle {
    /// Says where the work is.
    pub fn tell(&self, progress: String) {
        self.operation.send_modify(|operation| operation.progress = progress);
    }

    /// Says how far it has come.
    pub fn count(&self, done_bytes: u64, total_bytes: u64) {
        self.operation.send_modify(|operation| {
            operation.done_bytes = done_bytes;
            operation.total_bytes = total_bytes;
        });
    }

    /// Says that some more is done.
    pub fn add(&self, done_bytes: u64) {
        self.operation.send_modify(|operation| operation.done_bytes += done_bytes);
    }

    /// Says which backup it is about.
    pub fn name(&self, backup: String) {
        self.operation.send_modify(|operation| operation.backup = backup);
    }

    /// Whether somebody cancelled it; otherwise its node stops, where it is told to end.
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Does a part of the work, unless the operation is to end first.
    pub async fn unless_cancelled<T, E: From<Cancelled>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let (mut cancelled, mut stopped) = (self.cancelled.clone(), self.stopped.clone());
        tokio::select! {
            biased;
            _ = cancelled.wait_for(|cancelled| *cancelled) => Err(Cancelled.into()),
            _ = stopped.wait_for(|stopped| *stopped) => Err(Cancelled.into()),
            done = work => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::error::BackupError;
    use crate::testing::TestClock;

    fn operations() -> (Operations, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        (Operations::new(7, Arc::new(TestClock::default()), stopped), stop)
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_is_begun_once_watched_and_remembered() {
        let (operations, _stop) = operations();
        let (go, mut going) = watch::channel(false);
        let work = |handle: Arc<Handle>| async move {
            handle.count(1, 2);
            let waited = async {
                let _ = going.wait_for(|go| *go).await;
                Ok::<_, BackupError>(())
            };
            handle.unless_cancelled(waited).await?;
            Ok::<_, BackupError>("well".to_owned())
        };
        let begun = operations.begin("something".to_owned(), work).unwrap();
        assert_eq!(begun.id, "7-1");
        let again =
            operations.begin("something".to_owned(), |_| async { Ok::<_, BackupError>("twice".to_owned()) }).unwrap();
        assert_eq!(again.id, "7-1");
        go.send_replace(true);
        let mut seen = operations.watch("7-1").unwrap();
        let ended = seen.wait_for(|seen| !is_running(seen)).await.unwrap().clone();
        assert_eq!((ended.state(), &*ended.outcome, ended.done_bytes), (OperationState::Done, "well", 1));
        assert_eq!(operations.list(), [ended]);
        assert!(operations.cancel("7-2").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_operation_and_those_of_a_node_that_stops_end() {
        let (operations, stop) = operations();
        let forever = |handle: Arc<Handle>| async move {
            handle.unless_cancelled(std::future::pending::<Result<String, BackupError>>()).await
        };
        let begun = operations.begin("one".to_owned(), forever).unwrap();
        assert_eq!(operations.cancel(&begun.id).await.unwrap().state(), OperationState::Cancelled);
        for number in 0..RUNNING_MAX {
            operations.begin(number.to_string(), forever).unwrap();
        }
        assert_eq!(operations.begin("one more".to_owned(), forever), Err(TooMany));
        stop.send_replace(true);
        for known in operations.list() {
            let mut seen = operations.watch(&known.id).unwrap();
            let _ = seen.wait_for(|seen| !is_running(seen)).await.unwrap();
        }
    }
}
