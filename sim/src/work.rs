//! Work beside the tasks: as long as a seed says, longer where the machine is slow, and not at all while it is halted.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_server::env::{Blocking, BlockingClass, BoxFuture, Executor, ExecutorHandle, Executors, Job, Spawner};
use tokio::sync::watch;

use crate::random::Random;

/// What weighs on a machine, whatever process runs on it.
#[derive(Debug)]
pub struct Burden {
    /// Work takes so many times as long.
    times: AtomicU64,
    /// No work is done.
    halted: watch::Sender<bool>,
}

impl Default for Burden {
    fn default() -> Burden {
        Burden { times: AtomicU64::new(1), halted: watch::Sender::new(false) }
    }
}

impl Burden {
    /// Work takes so many times as long from now on.
    pub fn set_times(&self, times: u64) {
        self.times.store(times, Ordering::Relaxed);
    }

    /// No work is done from now on, or again.
    pub fn halt(&self, halted: bool) {
        self.halted.send_replace(halted);
    }

    async fn carry(&self, delay: Duration) {
        let times = self.times.load(Ordering::Relaxed);
        tokio::time::sleep(delay * u32::try_from(times).unwrap_or(u32::MAX)).await;
        // An error means that the machine is gone, and its work with it.
        let _ = self.halted.subscribe().wait_for(|halted| !*halted).await;
    }
}

/// Executors whose work takes what `seed` says. Everything runs on the runtime of whoever asks.
pub fn executors(seed: u64, burden: &Arc<Burden>) -> Executors {
    let work = |name: &str| Work { delays: Mutex::new(Random::of(seed, name)), burden: burden.clone() };
    Executors {
        raft: Arc::new(SameRuntime),
        blocking: Arc::new(work("raft")),
        ingest: ExecutorHandle::new(work("ingest"), 1),
        scan: ExecutorHandle::new(work("scan"), 1),
        background: ExecutorHandle::new(work("background"), 1),
    }
}

/// Nothing here is left half-changed by a panic, so a poisoned lock is as good as any.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Work {
    delays: Mutex<Random>,
    burden: Arc<Burden>,
}

impl Work {
    /// Usually a fraction of a millisecond, now and then much longer.
    fn start(&self, job: Job) {
        let mut random = lock(&self.delays);
        let micros = if random.percent(2) { random.below(200_000) } else { random.below(2_000) };
        let burden = self.burden.clone();
        tokio::spawn(async move {
            burden.carry(Duration::from_micros(micros)).await;
            job();
        });
    }
}

impl Executor for Work {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.start(job) })
    }
}

impl Blocking for Work {
    fn run(&self, _class: BlockingClass, job: Job) {
        self.start(job);
    }
}

struct SameRuntime;

impl Spawner for SameRuntime {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task);
    }
}
