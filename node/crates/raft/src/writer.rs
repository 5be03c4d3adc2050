//! The one writer of a node's log store: takes what all groups have queued into one batch, syncs once, and tells each
//! of them. Everything that a group writes goes through the queue, in order.
//!
//! While the disk is full the batch at hand is kept and tried again, so that nothing that was accepted is lost and
//! writes go on by themselves; [`Writer::trouble`] makes the groups refuse new proposals meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use bellwether_kv::{Durability, Error, KvEngine, Operation, Space, WriteBatch};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::blocking::{self, Blocking, BlockingClass};
use crate::errors::StorageTrouble;
use crate::group_log::GroupLog;
use crate::limits;
use crate::metrics::RaftMetrics;
use crate::types::Types;

/// Called when the log store cannot be trusted any more: the process must end. Whatever it returns to, no write is
/// acknowledged afterwards.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// One group's write, and what to do when it is durable.
pub(crate) struct Request {
    pub log: Arc<GroupLog>,
    pub operations: Vec<Operation>,
    pub bytes: usize,
    pub entries: usize,
    pub then: Then,
}

/// Whom to tell that a write is durable.
pub(crate) enum Then {
    /// Entries below `next` are in the engine.
    Appended { next: u64, flushed: IOFlushed<Types> },
    /// The log was cut up to this index.
    Purged(u64),
    /// Somebody waits.
    Answer(oneshot::Sender<Result<(), String>>),
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// A batch that met a full disk: written before everything else.
    stalled: Option<(WriteBatch, Vec<(Arc<GroupLog>, Then)>)>,
    closed: bool,
}

struct Shared {
    engine: Arc<dyn KvEngine>,
    space: Space,
    queue: Mutex<Queue>,
    wake: Notify,
    trouble: watch::Sender<Option<StorageTrouble>>,
    on_fatal: OnFatal,
    metrics: Arc<RaftMetrics>,
}

/// A handle to the writer, which runs until it is closed.
pub(crate) struct Writer(Arc<Shared>);

/// How a turn of the writer ended.
enum Turn {
    /// Nothing is queued.
    Idle,
    /// The disk is full: the batch is kept.
    DiskFull,
}

impl Writer {
    /// Starts the writer's task on the current runtime.
    pub fn start(
        engine: Arc<dyn KvEngine>,
        space: Space,
        executor: Arc<dyn Blocking>,
        on_fatal: OnFatal,
        metrics: Arc<RaftMetrics>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            engine,
            space,
            queue: Mutex::default(),
            wake: Notify::new(),
            trouble: watch::Sender::new(None),
            on_fatal,
            metrics,
        });
        tokio::spawn(Shared::run(shared.clone(), executor));
        Arc::new(Self(shared))
    }

    pub fn space(&self) -> Space {
        self.0.space
    }

    pub fn engine(&self) -> &Arc<dyn KvEngine> {
        &self.0.engine
    }

    /// Queues a write.
    pub fn push(&self, request: Request) {
        let mut queue = self.0.queue.lock();
        if queue.closed {
            drop(queue);
            finish(&request.log, request.then, Err("the node was closed"));
            return;
        }
        queue.requests.push_back(request);
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Why the store takes no writes, while it takes none.
    pub fn trouble(&self) -> watch::Receiver<Option<StorageTrouble>> {
        self.0.trouble.subscribe()
    }
}

impl Writer {
    /// Lets the writer end when nothing is queued, or when what is queued meets a full disk.
    pub fn close(&self) {
        self.0.queue.lock().closed = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    async fn run(self: Arc<Self>, executor: Arc<dyn Blocking>) {
        loop {
            self.wake.notified().await;
            loop {
                let shared = self.clone();
                match blocking::call(&executor, BlockingClass::Log, move || shared.drain()).await {
                    Ok(Turn::Idle) => break,
                    Ok(Turn::DiskFull) if self.queue.lock().closed => break,
                    Ok(Turn::DiskFull) => tokio::time::sleep(limits::DISK_FULL_RETRY).await,
                    Err(lost) => {
                        self.fail(&lost.to_string());
                        // Nothing is written any more: this only answers.
                        self.drain();
                        break;
                    }
                }
            }
            let mut queue = self.queue.lock();
            if queue.closed {
                // Requests hold their logs, and logs hold the writer.
                queue.requests.clear();
                queue.stalled = None;
                return;
            }
        }
    }

    /// Writes until nothing is queued.
    fn drain(&self) -> Turn {
        loop {
            let stalled = self.queue.lock().stalled.take();
            let (batch, finished) = match stalled {
                Some(stalled) => stalled,
                None => match self.collect() {
                    Some(collected) => collected,
                    None => return Turn::Idle,
                },
            };
            if let Some(turn) = self.write(batch, finished) {
                return turn;
            }
        }
    }

    /// Moves queued requests into a batch; `None` if none are queued.
    fn collect(&self) -> Option<(WriteBatch, Vec<(Arc<GroupLog>, Then)>)> {
        let mut batch = WriteBatch::default();
        let mut finished = Vec::new();
        let mut refused = Vec::new();
        let (mut bytes, mut entries) = (0, 0);
        let mut queue = self.queue.lock();
        while bytes < limits::WRITE_BATCH_BYTES_MAX {
            let Some(mut request) = queue.requests.pop_front() else { break };
            // A group whose earlier write failed must not write later entries: there would be a hole.
            if let Some(reason) = request.log.failure() {
                refused.push((request.log, request.then, reason));
                continue;
            }
            bytes += request.bytes;
            entries += request.entries;
            if batch.operations.is_empty() {
                batch.operations = request.operations;
            } else {
                batch.operations.append(&mut request.operations);
            }
            finished.push((request.log, request.then));
        }
        drop(queue);
        for (log, then, reason) in refused {
            finish(&log, then, Err(&reason));
        }
        if finished.is_empty() {
            return None;
        }
        self.metrics.entries_per_write.observe(entries as f64);
        self.metrics.bytes_appended.inc_by(bytes as u64);
        Some((batch, finished))
    }

    fn write(&self, batch: WriteBatch, finished: Vec<(Arc<GroupLog>, Then)>) -> Option<Turn> {
        if let Some(StorageTrouble::Failed(reason)) = &*self.trouble.borrow() {
            finish_all(finished, Err(reason));
            return None;
        }
        let began = Instant::now();
        let written = self.engine.write(&batch, Durability::Synced);
        self.metrics.write_seconds.observe(began.elapsed().as_secs_f64());
        match written {
            Ok(()) => {
                self.trouble.send_if_modified(|trouble| trouble.take().is_some());
                finish_all(finished, Ok(()));
                None
            }
            Err(Error::DiskFull(reason)) => {
                self.trouble.send_if_modified(|trouble| {
                    let full = Some(StorageTrouble::DiskFull(reason));
                    let changed = *trouble != full;
                    if changed {
                        tracing::warn!("the log store takes no writes: the disk is full");
                    }
                    *trouble = full;
                    changed
                });
                self.queue.lock().stalled = Some((batch, finished));
                Some(Turn::DiskFull)
            }
            Err(error @ Error::SyncFailed(_)) => {
                self.fail(&error.to_string());
                finish_all(finished, Err(&error.to_string()));
                None
            }
            Err(error) => {
                // Nothing of the batch was written. The groups in it stop; the others go on.
                finish_all(finished, Err(&error.to_string()));
                None
            }
        }
    }
}

impl Shared {
    /// The store takes no writes from now on.
    fn fail(&self, reason: &str) {
        self.trouble.send_replace(Some(StorageTrouble::Failed(reason.to_owned())));
        (self.on_fatal)(reason);
    }
}

fn finish_all(finished: Vec<(Arc<GroupLog>, Then)>, result: Result<(), &str>) {
    for (log, then) in finished {
        finish(&log, then, result);
    }
}

fn finish(log: &GroupLog, then: Then, result: Result<(), &str>) {
    if let Err(reason) = result {
        log.fail(reason);
    }
    match then {
        Then::Appended { next, flushed } => {
            if result.is_ok() {
                log.on_written(next);
            }
            flushed.io_completed(result.map_err(std::io::Error::other));
        }
        Then::Purged(upto) => {
            if result.is_ok() {
                log.on_purged(upto);
            }
        }
        // Whoever waited may have been cancelled.
        Then::Answer(sender) => drop(sender.send(result.map_err(str::to_owned))),
    }
}
