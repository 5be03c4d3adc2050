//! Shows a [`StateMachine`] to openraft: gathers what is committed into batches, and reports a flush as the snapshot.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{EntryResponder, RaftStateMachine};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::blocking::{self, Blocking, BlockingClass};
use crate::codec::{self, DecodeError};
use crate::group_log::LogHandle;
use crate::limits;
use crate::metrics::RaftMetrics;
use crate::state_machine::{Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, StateMachine};
use crate::types::{self, Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};

/// How far the durable state of a state machine has come: what openraft takes for its snapshot.
#[derive(Clone)]
pub(crate) struct Durable(Arc<Mutex<SnapshotMeta>>);

impl Durable {
    pub fn new(applied: &Applied) -> Result<Self, DecodeError> {
        Ok(Self(Arc::new(Mutex::new(meta(applied)?))))
    }

    /// It has come so far. Nothing changes where it is further already: a flush may end behind a checkpoint that was
    /// installed meanwhile.
    pub fn raise(&self, applied: &Applied) -> Result<(), DecodeError> {
        self.raise_to(meta(applied)?);
        Ok(())
    }

    fn raise_to(&self, meta: SnapshotMeta) {
        let mut durable = self.0.lock();
        if durable.last_log_id < meta.last_log_id {
            *durable = meta;
        }
    }

    fn meta(&self) -> SnapshotMeta {
        self.0.lock().clone()
    }
}

fn meta(applied: &Applied) -> Result<SnapshotMeta, DecodeError> {
    let last_membership = match &applied.membership {
        Some(bytes) => codec::decode_stored_membership(bytes.clone())?,
        None => StoredMembership::default(),
    };
    Ok(SnapshotMeta { last_log_id: applied.log.map(types::log_id), last_membership })
}

fn applied(meta: &SnapshotMeta) -> Applied {
    let membership = &meta.last_membership;
    Applied {
        log: meta.last_log_id.as_ref().map(types::position),
        membership: membership.log_id().is_some().then(|| codec::encode_stored_membership(membership)),
    }
}

/// What openraft takes for the data of a snapshot.
pub(crate) enum SnapshotData {
    /// A flush says that it is done; there is nothing to carry.
    Reported,
    /// Another replica needs a checkpoint, which is made when that replica is there to take it.
    Wanted(CheckpointMaker),
    /// Another replica sent one.
    Received(Checkpoint),
}

/// Makes a checkpoint when it is needed.
pub(crate) struct CheckpointMaker {
    machine: Arc<dyn StateMachine>,
    executor: Arc<dyn Blocking>,
}

impl CheckpointMaker {
    /// A checkpoint and what openraft is told of it. Whoever stops waiting for it leaves nothing behind.
    pub async fn make(self) -> Result<(Checkpoint, SnapshotMeta), FatalError> {
        let Self { machine, executor } = self;
        let pool = executor.clone();
        let make = move || machine.checkpoint().map(|checkpoint| Made { checkpoint: Some(checkpoint), machine, pool });
        let made = blocking::call(&executor, BlockingClass::Flush, make).await;
        let mut made = made.map_err(FatalError::from).flatten()?;
        let checkpoint = made.checkpoint.take().expect("it is taken once");
        match meta(&checkpoint.applied) {
            Ok(meta) => Ok((checkpoint, meta)),
            Err(error) => {
                made.checkpoint = Some(checkpoint);
                Err(FatalError(error.to_string()))
            }
        }
    }
}

/// A checkpoint until somebody takes it; dropped before, it is discarded.
struct Made {
    checkpoint: Option<Checkpoint>,
    machine: Arc<dyn StateMachine>,
    pool: Arc<dyn Blocking>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take() {
            let machine = self.machine.clone();
            self.pool.run(BlockingClass::Flush, Box::new(move || machine.discard(checkpoint)));
        }
    }
}

/// openraft's view of a state machine.
pub(crate) struct Adapter {
    machine: Arc<dyn StateMachine>,
    executor: Arc<dyn Blocking>,
    handle: LogHandle,
    metrics: Arc<RaftMetrics>,
    durable: Durable,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// Entries of one call to the state machine, and who waits for their replies.
#[derive(Default)]
struct Batch {
    entries: Vec<CommittedEntry>,
    waiting: Vec<Waiting>,
    bytes: usize,
    last: Option<LogId>,
    membership: Option<StoredMembership>,
}

type Responder = openraft::storage::ApplyResponder<Types>;

struct Waiting {
    responder: Option<Responder>,
    /// Whether the state machine gives a reply.
    replied: bool,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.bytes >= limits::APPLY_BATCH_BYTES_MAX || self.entries.len() >= limits::APPLY_BATCH_ENTRIES_MAX
    }

    fn push(&mut self, entry: Entry, responder: Option<Responder>) {
        let Entry { log_id, payload } = entry;
        let replied = matches!(payload, Payload::Normal(_));
        let payload = match payload {
            Payload::Blank => EntryPayload::Blank,
            Payload::Normal(command) => {
                self.bytes += command.0.len();
                EntryPayload::Normal(command.0)
            }
            Payload::Membership(membership) => {
                let stored = StoredMembership::new(Some(log_id), membership);
                let bytes = codec::encode_stored_membership(&stored);
                self.membership = Some(stored);
                EntryPayload::Membership(bytes)
            }
        };
        self.entries.push(CommittedEntry { position: types::position(&log_id), payload });
        if replied || responder.is_some() {
            self.waiting.push(Waiting { responder, replied });
        }
        self.last = Some(log_id);
    }
}

impl Adapter {
    pub fn new(
        machine: Arc<dyn StateMachine>,
        executor: Arc<dyn Blocking>,
        handle: LogHandle,
        metrics: Arc<RaftMetrics>,
        durable: Durable,
    ) -> Self {
        let SnapshotMeta { last_log_id, last_membership } = durable.meta();
        Self { machine, executor, handle, metrics, durable, applied: last_log_id, membership: last_membership }
    }

    async fn call<T: Send + 'static>(
        &self,
        class: BlockingClass,
        job: impl FnOnce(&dyn StateMachine) -> Result<T, FatalError> + Send + 'static,
    ) -> io::Result<T> {
        let machine = self.machine.clone();
        let result = blocking::call(&self.executor, class, move || job(&*machine)).await;
        result.map_err(FatalError::from).flatten().map_err(io::Error::other)
    }

    async fn apply_batch(&mut self, batch: Batch) -> io::Result<()> {
        let Batch { entries, waiting, last, membership, .. } = batch;
        let Some(last) = last else { return Ok(()) };
        let count = entries.len();
        let metrics = self.metrics.clone();
        let replies = self
            .call(BlockingClass::Apply, move |machine| {
                let began = Instant::now();
                let replies = machine.apply(entries);
                metrics.apply_seconds.observe(began.elapsed().as_secs_f64());
                replies
            })
            .await?;
        self.metrics.entries_applied.inc_by(count as u64);
        let expected = waiting.iter().filter(|waiting| waiting.replied).count();
        if replies.len() != expected {
            let reason = format!("the state machine replied {} times to {expected} payloads", replies.len());
            return Err(io::Error::other(FatalError(reason)));
        }
        self.applied = Some(last);
        if let Some(membership) = membership {
            self.membership = membership;
        }
        self.handle.log.on_applied(types::position(&last));
        let mut replies = replies.into_iter();
        for Waiting { responder, replied } in waiting {
            let reply = if replied { replies.next().unwrap_or_default() } else { Bytes::new() };
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }
}

impl RaftStateMachine<Types> for Adapter {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = FlushReport;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut committed: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        if self.handle.log.is_starting() {
            // Nothing is known to be committed before openraft runs, and payloads are not read before.
            return Err(io::Error::other("openraft applied entries while it started"));
        }
        while let Some(first) = committed.next().await {
            let mut batch = Batch::default();
            let mut item = Some(first);
            while let Some(next) = item {
                let (entry, responder) = next?;
                batch.push(entry, responder);
                if batch.is_full() {
                    break;
                }
                // What is at hand goes along; what must be read first does not hold this batch up.
                item = committed.next().now_or_never().flatten();
            }
            self.apply_batch(batch).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> FlushReport {
        FlushReport(self.durable.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData::Received(mut checkpoint) = snapshot else {
            return Err(io::Error::other("a checkpoint without files cannot be installed"));
        };
        checkpoint.applied = applied(meta);
        self.call(BlockingClass::Flush, move |machine| machine.install(checkpoint)).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.durable.raise_to(meta.clone());
        if let Some(last) = meta.last_log_id {
            self.handle.log.on_applied(types::position(&last));
            self.handle.log.on_flushed(last.index);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let durable = self.durable.meta();
        if durable.last_log_id.is_none() {
            return Ok(None);
        }
        if self.handle.log.is_starting() {
            return Ok(Some(Snapshot { meta: durable, snapshot: SnapshotData::Reported }));
        }
        if let Some(last) = durable.last_log_id {
            // Flushes go on until it is made and sent.
            self.handle.log.pins().made(last.index + 1);
        }
        let (machine, executor) = (self.machine.clone(), self.executor.clone());
        let wanted = SnapshotData::Wanted(CheckpointMaker { machine, executor });
        Ok(Some(Snapshot { meta: durable, snapshot: wanted }))
    }
}

/// Tells openraft about a flush that is done already: building a snapshot takes no time and cannot fail.
pub(crate) struct FlushReport(Durable);

impl RaftSnapshotBuilder<Types> for FlushReport {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(Snapshot { meta: self.0.meta(), snapshot: SnapshotData::Reported })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::testing::Ledger;
    use crate::types::{LogPosition, ReplicaId};

    /// Runs what it is given when it is told to.
    #[derive(Default)]
    struct Later(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

    impl Blocking for Later {
        fn run(&self, _: BlockingClass, job: Box<dyn FnOnce() + Send>) {
            self.0.lock().push(job);
        }
    }

    impl Later {
        fn work(&self) {
            while let Some(job) = { self.0.lock().pop() } {
                job();
            }
        }
    }

    #[tokio::test]
    async fn a_checkpoint_that_nobody_waits_for_any_more_is_discarded() {
        for is_made in [false, true] {
            let (ledger, later) = (Arc::<Ledger>::default(), Arc::<Later>::default());
            let maker = CheckpointMaker { machine: ledger.clone(), executor: later.clone() };
            let mut making = Box::pin(maker.make());
            assert!((&mut making).now_or_never().is_none());
            if is_made {
                later.work();
            }
            drop(making);
            later.work();
            assert_eq!((ledger.checkpoints.load(Ordering::Relaxed), ledger.copies()), (1, 0));
        }
        let (ledger, later) = (Arc::<Ledger>::default(), Arc::<Later>::default());
        let maker = CheckpointMaker { machine: ledger.clone(), executor: later.clone() };
        let mut making = Box::pin(maker.make());
        assert!((&mut making).now_or_never().is_none());
        later.work();
        drop(making.await.unwrap());
        later.work();
        assert_eq!(ledger.copies(), 1, "what is taken is the taker's");
    }

    #[test]
    fn a_flush_that_ends_behind_an_installed_checkpoint_takes_nothing_back() {
        let at = |index| {
            let log = Some(LogPosition { term: 1, leader: ReplicaId(1), index });
            Applied { log, membership: None }
        };
        let durable = Durable::new(&at(3)).unwrap();
        durable.raise(&at(9)).unwrap();
        durable.raise(&at(5)).unwrap();
        assert_eq!(durable.meta().last_log_id.unwrap().index, 9);
    }
}
