//! Where blocking work runs: the executor that the node gives to this crate.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Kinds of blocking work, so that an executor can keep one kind from starving another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockingClass {
    /// The log writer. One job at a time per node; waits for the disk.
    Log,
    /// Applying entries and reading the log. One job at a time per group.
    Apply,
    /// Flushes, checkpoints and giving space back: long.
    Flush,
}

/// Runs blocking jobs. Production gives threads; the simulation runs a job after a modelled delay.
///
/// Every job must be run. Dropping one instead stops the group, or for [`BlockingClass::Log`] every group, that gave it.
pub trait Blocking: Send + Sync + 'static {
    /// Runs `job`, soon and not necessarily before this returns.
    fn run(&self, class: BlockingClass, job: Box<dyn FnOnce() + Send>);

    /// Whether jobs of this class are better run by the caller itself, at once.
    fn is_inline(&self, class: BlockingClass) -> bool {
        let _ = class;
        false
    }
}

/// Runs every job at once, in the caller: for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

impl Blocking for Inline {
    fn run(&self, _class: BlockingClass, job: Box<dyn FnOnce() + Send>) {
        job();
    }

    fn is_inline(&self, _class: BlockingClass) -> bool {
        true
    }
}

/// The executor dropped a job or the job panicked.
#[derive(Debug, thiserror::Error)]
#[error("the executor dropped a job of class {0:?}, or the job panicked")]
pub(crate) struct JobLost(pub BlockingClass);

/// Runs `job` on the executor and waits for its result. A panic ends the job alone: whoever asked is told, and nothing
/// that the job held is used again.
pub(crate) async fn call<T: Send + 'static>(
    executor: &Arc<dyn Blocking>,
    class: BlockingClass,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobLost> {
    let job = move || catch_unwind(AssertUnwindSafe(job)).ok();
    if executor.is_inline(class) {
        return job().ok_or(JobLost(class));
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    executor.run(
        class,
        Box::new(move || {
            // The receiver is gone when the caller was cancelled: nobody wants the result.
            let _ = sender.send(job());
        }),
    );
    receiver.await.ok().flatten().ok_or(JobLost(class))
}
