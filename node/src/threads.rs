//! Threads: two runtimes, and a pool for each sort of blocking work. Nothing else starts a thread.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bellwether_server::env::{Blocking, BlockingClass, BoxFuture, Executor, ExecutorHandle, Executors, Job, Spawner};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

/// Jobs that wait for a thread of one pool; who brings more waits.
const POOL_QUEUE_MAX: usize = 1024;

/// How long tasks may take to end once the server has shut down.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(2);

/// Flush and seal give way to threads that somebody waits for.
const BACKGROUND_NICE: i32 = 5;

/// The runtimes of the process.
pub struct Runtimes {
    /// Connections, requests, maintenance.
    pub main: Runtime,
    /// Raft, transport and log writer; nothing else, so nothing else can starve them.
    raft: Runtime,
    cores: usize,
}

impl Runtimes {
    /// Starts both.
    pub fn new() -> io::Result<Runtimes> {
        let cores = thread::available_parallelism()?.get();
        let main = Builder::new_multi_thread().worker_threads(cores.max(2)).thread_name("main").enable_all().build()?;
        let raft_threads = cores.div_ceil(4).clamp(1, 4);
        let raft = Builder::new_multi_thread().worker_threads(raft_threads).thread_name("raft").enable_all().build()?;
        Ok(Runtimes { main, raft, cores })
    }

    /// Pools for blocking work, beside the runtimes.
    pub fn executors(&self) -> io::Result<Executors> {
        let background_threads = self.cores.div_ceil(2);
        let background = Arc::new(ThreadPool::new("background", background_threads, BACKGROUND_NICE)?);
        Ok(Executors {
            raft: Arc::new(RaftSpawner(self.raft.handle().clone())),
            blocking: Arc::new(RaftPools {
                log: ThreadPool::new("log", 1, 0)?,
                apply: ThreadPool::new("apply", self.cores, 0)?,
                flush: background.clone(),
            }),
            ingest: ExecutorHandle::new(ThreadPool::new("ingest", self.cores, 0)?, self.cores),
            scan: ExecutorHandle::new(ThreadPool::new("scan", self.cores, 0)?, self.cores),
            background: ExecutorHandle::new(SharedPool(background), background_threads),
        })
    }

    /// Ends what still runs.
    pub fn shutdown(self) {
        self.main.shutdown_timeout(RUNTIME_SHUTDOWN);
        self.raft.shutdown_timeout(RUNTIME_SHUTDOWN);
    }
}

struct RaftSpawner(Handle);

impl Spawner for RaftSpawner {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(task);
    }
}

/// Where Raft's blocking work runs.
struct RaftPools {
    log: ThreadPool,
    apply: ThreadPool,
    flush: Arc<ThreadPool>,
}

impl Blocking for RaftPools {
    fn run(&self, class: BlockingClass, job: Job) {
        match class {
            BlockingClass::Log => self.log.push(job),
            BlockingClass::Apply => self.apply.push(job),
            BlockingClass::Flush => self.flush.push(job),
        }
    }
}

/// A fixed number of threads that run jobs in order.
struct ThreadPool {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl ThreadPool {
    fn new(name: &'static str, threads: usize, nice: i32) -> io::Result<ThreadPool> {
        let queue = Arc::new(Queue::default());
        for at in 0..threads.max(1) {
            let queue = queue.clone();
            thread::Builder::new().name(format!("{name}-{at}")).spawn(move || {
                if nice != 0 {
                    // A refused request costs only latency.
                    let _ = rustix::process::setpriority_process(None, nice);
                }
                queue.work();
            })?;
        }
        Ok(ThreadPool { queue, room: Arc::new(Semaphore::new(POOL_QUEUE_MAX)) })
    }

    fn push(&self, job: Job) {
        self.queue.state.lock().jobs.push_back(job);
        self.queue.wake.notify_one();
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

impl Queue {
    /// Runs jobs until the pool is dropped and the queue is empty.
    fn work(&self) {
        loop {
            let mut state = self.state.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                self.wake.wait(&mut state);
            };
            drop(state);
            // The panic hook has reported it; whoever waits for the job sees its channel closed.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a background job panicked");
            }
        }
    }
}

impl Executor for ThreadPool {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
            self.push(Box::new(move || {
                drop(permit);
                job();
            }));
        })
    }
}

/// A pool that Raft and the server share.
struct SharedPool(Arc<ThreadPool>);

impl Executor for SharedPool {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        self.0.submit(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_and_a_panic_fails_only_its_own() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let pool = ExecutorHandle::new(ThreadPool::new("test", 2, 0).unwrap(), 2);
        runtime.block_on(async {
            assert_eq!(pool.run(|| 6 * 7).await.ok(), Some(42));
            assert!(pool.run(|| panic!("expected by this test")).await.is_err());
            assert_eq!(pool.run(|| 1).await.ok(), Some(1));
        });
    }
}
