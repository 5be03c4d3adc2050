//! The one writer of a node's log store: takes what all groups have queued into one batch, syncs once, and tells each
//! of them. Everything that a group writes goes through the queue, in order.
//!
//! While the disk is full the batch at hand is kept and tried again, so that nothing that was accepted is lost and
//! writes go on by themselves; [`Writer::trouble`] makes the groups refuse new proposals meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use bellwether_kv::{Durability, Error, KvEngine, Operation, Space, WriteBatch};
use bellwether_probe::{Bug, planted};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
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
    /// Refuses what is queued behind a failed write.
    pub log: Option<Arc<GroupLog>>,
    pub operations: Vec<Operation>,
    pub bytes: usize,
    pub entries: usize,
    pub then: Then,
}

impl Request {
    pub fn new(log: Option<Arc<GroupLog>>, operations: Vec<Operation>, entries: usize, then: Then) -> Self {
        let bytes = operations.iter().map(operation_bytes).sum();
        Self { log, operations, bytes, entries, then }
    }
}

/// Bytes of keys and values.
pub(crate) fn operation_bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Put(_, key, value) => key.len() + value.len(),
        Operation::Delete(_, key) => key.len(),
        Operation::DeleteRange(_, first, end) => first.len() + end.len(),
    }
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
    /// Met a full disk: written before everything else.
    stalled: Option<Collected>,
    closed: bool,
}

/// What is written together.
struct Collected {
    batch: WriteBatch,
    waiting: Vec<Waiting>,
}

/// Whose write it is, and whom to tell.
struct Waiting {
    log: Option<Arc<GroupLog>>,
    then: Then,
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
pub(crate) struct Writer {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How a turn of the writer ended.
enum Turn {
    /// What was to be written is written, or refused.
    Done,
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
        let task = tokio::spawn(Shared::run(shared.clone(), executor));
        Arc::new(Self { shared, task: Mutex::new(Some(task)) })
    }

    pub fn space(&self) -> Space {
        self.shared.space
    }

    pub fn engine(&self) -> &Arc<dyn KvEngine> {
        &self.shared.engine
    }

    /// Queues a write.
    pub fn push(&self, request: Request) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            drop(queue);
            Waiting { log: request.log, then: request.then }.finish(Err("the node was closed"));
            return;
        }
        queue.requests.push_back(request);
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Queues `operations` and waits until they are durable.
    pub async fn write(&self, log: Option<Arc<GroupLog>>, operations: Vec<Operation>) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        self.push(Request::new(log, operations, 0, Then::Answer(sender)));
        receiver.await.unwrap_or_else(|_| Err("the log writer ended".to_owned()))
    }

    /// Waits until everything queued so far is durable, or was refused.
    pub async fn settle(&self) {
        // Its place in the queue is what counts, not the answer.
        drop(self.write(None, Vec::new()).await);
    }

    /// Why the store takes no writes, while it takes none.
    pub fn trouble(&self) -> watch::Receiver<Option<StorageTrouble>> {
        self.shared.trouble.subscribe()
    }
}

impl Writer {
    /// Lets the writer end when nothing is queued, or when what is queued meets a full disk.
    pub fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
    }

    /// Closes, and waits until the writer has let go of the engine.
    pub async fn closed(&self) {
        self.close();
        let task = self.task.lock().take();
        if let Some(task) = task {
            // It panicked, or its runtime is going away: it holds nothing in either case.
            drop(task.await);
        }
    }
}

impl Shared {
    async fn run(self: Arc<Self>, executor: Arc<dyn Blocking>) {
        loop {
            self.wake.notified().await;
            loop {
                let shared = self.clone();
                match blocking::call(&executor, BlockingClass::Log, move || shared.drain()).await {
                    Ok(Turn::Done) => break,
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
            let Some(collected) = stalled.or_else(|| self.collect()) else { return Turn::Done };
            if let Turn::DiskFull = self.write(collected) {
                return Turn::DiskFull;
            }
        }
    }

    /// Moves queued requests into a batch; `None` if none are queued.
    fn collect(&self) -> Option<Collected> {
        let mut batch = WriteBatch::default();
        let (mut waiting, mut refused) = (Vec::new(), Vec::new());
        let (mut bytes, mut entries) = (0, 0);
        let mut queue = self.queue.lock();
        while bytes < limits::WRITE_BATCH_BYTES_MAX {
            let Some(Request { log, mut operations, bytes: more, entries: count, then }) = queue.requests.pop_front()
            else {
                break;
            };
            // A group whose earlier write failed must not write later entries: there would be a hole.
            if let Some(reason) = log.as_ref().and_then(|log| log.failure()) {
                refused.push((Waiting { log, then }, reason));
                continue;
            }
            bytes += more;
            entries += count;
            if batch.operations.is_empty() {
                batch.operations = operations;
            } else {
                batch.operations.append(&mut operations);
            }
            waiting.push(Waiting { log, then });
        }
        drop(queue);
        let nothing = waiting.is_empty() && refused.is_empty();
        for (waiting, reason) in refused {
            waiting.finish(Err(&reason));
        }
        self.metrics.bytes_appended.inc_by(bytes as u64);
        if entries > 0 {
            self.metrics.entries_per_write.observe(entries as f64);
        }
        (!nothing).then_some(Collected { batch, waiting })
    }

    fn write(&self, collected: Collected) -> Turn {
        if let Some(StorageTrouble::Failed(reason)) = &*self.trouble.borrow() {
            collected.finish(Err(reason));
            return Turn::Done;
        }
        let written = if collected.batch.is_empty() {
            Ok(())
        } else {
            let began = Instant::now();
            let is_unsynced = planted(Bug::AnswerBeforeSync);
            let durability = if is_unsynced { Durability::Buffered } else { Durability::Synced };
            let written = self.engine.write(&collected.batch, durability);
            self.metrics.write_seconds.observe(began.elapsed().as_secs_f64());
            written
        };
        match written {
            Ok(()) => {
                if self.trouble.send_if_modified(|trouble| trouble.take().is_some()) {
                    tracing::info!("the log store takes writes again");
                }
                collected.finish(Ok(()));
            }
            Err(Error::DiskFull(_)) if planted(Bug::IgnoreFullDisk) => collected.finish(Ok(())),
            Err(Error::DiskFull(reason)) => {
                let began = self
                    .trouble
                    .send_if_modified(|trouble| trouble.replace(StorageTrouble::DiskFull(reason)).is_none());
                if began {
                    tracing::warn!("the log store takes no writes: the disk is full");
                }
                self.queue.lock().stalled = Some(collected);
                return Turn::DiskFull;
            }
            // An engine that failed to write takes nothing more: only a new process can go on.
            Err(error) => {
                self.fail(&error.to_string());
                collected.finish(Err(&error.to_string()));
            }
        }
        Turn::Done
    }

    /// The store takes no writes from now on.
    fn fail(&self, reason: &str) {
        self.trouble.send_replace(Some(StorageTrouble::Failed(reason.to_owned())));
        (self.on_fatal)(reason);
    }
}

impl Collected {
    fn finish(self, result: Result<(), &str>) {
        for waiting in self.waiting {
            waiting.finish(result);
        }
    }
}

impl Waiting {
    fn finish(self, result: Result<(), &str>) {
        let Self { log, then } = self;
        if let (Some(log), Err(reason)) = (&log, result) {
            log.fail(reason);
        }
        match then {
            Then::Appended { next, flushed } => {
                if let (Some(log), Ok(())) = (&log, result) {
                    log.on_written(next);
                }
                flushed.io_completed(result.map_err(std::io::Error::other));
            }
            Then::Purged(upto) => {
                if let (Some(log), Ok(())) = (&log, result) {
                    log.on_purged(upto);
                }
            }
            // Whoever waited may have been cancelled.
            Then::Answer(sender) => drop(sender.send(result.map_err(str::to_owned))),
        }
    }
}
