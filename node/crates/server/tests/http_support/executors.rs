//! Where work runs in tests: at once, or on threads that count what they do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether_server::env::{BoxFuture, Executor, Job, Spawner};
use tokio::runtime::Handle;

/// Runs a job where it was submitted.
pub struct InlineExecutor;

impl Executor for InlineExecutor {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async { job() })
    }
}

/// Runs jobs on the runtime's threads for blocking work.
#[derive(Clone, Default)]
pub struct ThreadExecutor {
    running: Arc<AtomicUsize>,
}

impl ThreadExecutor {
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

impl Executor for ThreadExecutor {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        let running = self.running.clone();
        running.fetch_add(1, Ordering::SeqCst);
        Handle::current().spawn_blocking(move || {
            job();
            running.fetch_sub(1, Ordering::SeqCst);
        });
        Box::pin(std::future::ready(()))
    }
}

/// Starts tasks on the test's own runtime.
pub struct ThisRuntime;

impl Spawner for ThisRuntime {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        Handle::current().spawn(task);
    }
}
