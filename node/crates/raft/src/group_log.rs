//! One replica's log: its index and its newest entries in memory, everything in the log store. Implements what openraft
//! asks of a log storage.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_kv::Operation;
use bellwether_probe::{Bug, buggify, planted, reached};
use futures::{Stream, StreamExt, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::blocking::{self, Blocking, BlockingClass};
use crate::errors::LogError;
use crate::inspect::{self, LogOutline};
use crate::limits;
use crate::log_index::LogIndex;
use crate::log_tail::{LogTail, TailLimits};
use crate::metrics::RaftMetrics;
use crate::pins::Pins;
use crate::record::{self, EntryRange, RecordKind};
use crate::recovery::{self, Recovered};
use crate::types::{self, Entry, LogId, LogPosition, Payload, ReplicaKey, Types, Vote};
use crate::writer::{Request, Then, Writer, operation_bytes};

/// See the module.
pub(crate) struct GroupLog {
    id: ReplicaKey,
    writer: Arc<Writer>,
    executor: Arc<dyn Blocking>,
    metrics: Arc<RaftMetrics>,
    state: Mutex<State>,
    /// Index of the last entry, durable or not.
    appended: watch::Sender<u64>,
    /// Index up to which the cut is durable.
    purged: watch::Sender<Option<u64>>,
    /// The last entry that the state machine has applied. Changes before whoever proposed the entry is answered.
    applied: watch::Sender<Option<LogPosition>>,
    pins: Arc<Pins>,
    /// While openraft starts it looks only at positions and memberships: those come from the index, so that the log is
    /// not read a second time.
    starting: AtomicBool,
}

struct State {
    index: LogIndex,
    vote: Option<Vote>,
    /// The newest entries. Invariant: what is not here is in the engine.
    tail: LogTail,
    /// Entries below this index are in the engine.
    written: u64,
    /// Where the log ended before its end was cut off, until something that came in its place is in the engine.
    cut_off: Option<u64>,
    /// Entries below this index are applied.
    applied: u64,
    /// Entries below this index are in the state machine's durable state.
    flushed: u64,
    /// Why this log takes no writes any more.
    failure: Option<String>,
}

impl State {
    fn unflushed_bytes(&self) -> u64 {
        self.index.bytes_from(self.flushed)
    }

    /// Bytes of flushed entries that are still here.
    fn kept_bytes(&self) -> u64 {
        self.index.bytes() - self.unflushed_bytes()
    }

    fn tail_start(&self) -> u64 {
        self.index.next() - self.tail.len() as u64
    }

    /// Drops what the tail need not hold.
    fn trim(&mut self) {
        let start = self.tail_start();
        let places_below = |index: u64| index.saturating_sub(start).min(self.tail.len() as u64) as usize;
        let (written, applied) = (places_below(self.written), places_below(self.applied));
        self.tail.trim(written, applied);
    }
}

impl GroupLog {
    pub fn new(
        id: ReplicaKey,
        recovered: Recovered,
        writer: Arc<Writer>,
        executor: Arc<dyn Blocking>,
        metrics: Arc<RaftMetrics>,
        tail: TailLimits,
    ) -> Self {
        let next = recovered.index.next();
        let purged = recovered.index.purged().map(|purged| purged.index);
        let state = State {
            vote: recovered.vote,
            tail: LogTail::new(tail, metrics.tail_bytes.clone()),
            written: next,
            cut_off: None,
            applied: 0,
            flushed: 0,
            failure: None,
            index: recovered.index,
        };
        metrics.unflushed_bytes.add(state.index.bytes() as i64);
        Self {
            id,
            writer,
            executor,
            metrics,
            state: Mutex::new(state),
            appended: watch::Sender::new(next.saturating_sub(1)),
            purged: watch::Sender::new(purged),
            applied: watch::Sender::new(None),
            pins: Arc::default(),
            starting: AtomicBool::new(true),
        }
    }

    pub fn id(&self) -> ReplicaKey {
        self.id
    }

    /// From now on entries are read, not only their positions.
    pub fn started(&self) {
        self.starting.store(false, Ordering::Release);
    }

    pub fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }

    /// Whether nothing was ever written: no vote, no entry.
    pub fn is_pristine(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_none() && state.index.last().is_none()
    }

    /// The last entry.
    pub fn end(&self) -> Option<LogPosition> {
        self.state.lock().index.last().as_ref().map(types::position)
    }

    /// Everything but the payloads.
    pub fn outline(&self) -> LogOutline {
        let state = self.state.lock();
        LogOutline {
            vote: state.vote.as_ref().map(inspect::stored_vote),
            cut: state.index.purged().as_ref().map(types::position),
            runs: state.index.runs().map(|run| types::position(&run)).collect(),
            last: state.index.last().as_ref().map(types::position),
        }
    }

    pub fn first(&self) -> u64 {
        self.state.lock().index.first()
    }

    /// Index of the last entry, durable or not.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// Index up to which the cut is durable.
    pub fn purged(&self) -> watch::Receiver<Option<u64>> {
        self.purged.subscribe()
    }

    /// Bytes of the entries that would be applied again after a restart.
    pub fn unflushed_bytes(&self) -> u64 {
        self.state.lock().unflushed_bytes()
    }

    /// The lowest index such that the entries from it on, up to and with `flushed`, have at most `bytes` together.
    pub fn start_of_kept(&self, bytes: u64, flushed: u64) -> u64 {
        let state = self.state.lock();
        let unflushed = state.index.bytes_from(flushed + 1);
        state.index.start_of_last(unflushed.saturating_add(bytes))
    }

    /// Bytes of flushed entries that are still here.
    pub fn kept_bytes(&self) -> u64 {
        self.state.lock().kept_bytes()
    }

    /// Bytes of flushed entries that the other logs of this node keep.
    pub fn bytes_kept_by_others(&self) -> u64 {
        let own = self.kept_bytes();
        u64::try_from(self.metrics.kept_bytes.get()).unwrap_or(0).saturating_sub(own)
    }

    /// What checkpoints on their way need of this log.
    pub fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    /// Bytes of the entries from index `from` on; [`u64::MAX`] if some of them are cut.
    pub fn bytes_lacking(&self, from: u64) -> u64 {
        let index = &self.state.lock().index;
        if from < index.first() { u64::MAX } else { index.bytes_from(from) }
    }

    /// Index of the entry that the state machine gets next.
    pub fn next_to_apply(&self) -> u64 {
        self.state.lock().applied
    }

    /// The last entry that the state machine has applied.
    pub fn applied(&self) -> watch::Receiver<Option<LogPosition>> {
        self.applied.subscribe()
    }

    /// Entries up to and with this one are applied.
    pub fn on_applied(&self, position: LogPosition) {
        let mut state = self.state.lock();
        state.applied = state.applied.max(position.index + 1);
        state.trim();
        drop(state);
        self.applied.send_if_modified(|applied| {
            let is_news = applied.is_none_or(|applied| applied.index < position.index);
            if is_news {
                *applied = Some(position);
            }
            is_news
        });
    }

    /// Entries up to and with `index` are in the state machine's durable state.
    pub fn on_flushed(&self, index: u64) {
        self.change(|state| state.flushed = state.flushed.max(index + 1));
    }

    /// Entries below `next` are in the engine.
    pub fn on_written(&self, next: u64) {
        let mut state = self.state.lock();
        state.written = state.written.max(next);
        if state.cut_off.take().is_some_and(|end| next < end) {
            reached("a shorter end of a log is durable");
        }
        state.trim();
    }

    pub fn on_purged(&self, index: u64) {
        self.purged.send_replace(Some(index));
    }

    pub fn fail(&self, reason: &str) {
        self.state.lock().failure.get_or_insert_with(|| reason.to_owned());
    }

    /// Why this log takes no writes any more.
    pub fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// Changes the state and keeps the metrics of its bytes right.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let (unflushed, kept) = (state.unflushed_bytes(), state.kept_bytes());
        let result = change(&mut state);
        self.metrics.unflushed_bytes.add(state.unflushed_bytes() as i64 - unflushed as i64);
        self.metrics.kept_bytes.add(state.kept_bytes() as i64 - kept as i64);
        result
    }

    /// Queues `operations` and waits until they are durable.
    async fn write(self: &Arc<Self>, operations: Vec<Operation>) -> io::Result<()> {
        self.writer.write(Some(self.clone()), operations).await.map_err(io::Error::other)
    }

    fn push(self: &Arc<Self>, operations: Vec<Operation>, entries: usize, then: Then) {
        self.writer.push(Request::new(Some(self.clone()), operations, entries, then));
    }

    fn delete_entries(&self, first: u64, end: u64) -> Operation {
        let (first, end) = EntryRange::new(self.id, first, end).into_bounds();
        Operation::DeleteRange(self.writer.space(), first.to_vec(), end.to_vec())
    }

    /// Gives the space of the entries below `end` back.
    pub fn drop_below(&self, end: u64) -> Result<(), bellwether_kv::Error> {
        self.writer.engine().drop_range(self.writer.space(), EntryRange::new(self.id, 0, end).keys())
    }

    /// Reads entries from `start`, included, to `end`, excluded, about `bytes` of them. Fewer if the log does not have
    /// all of them, none only if it has none.
    pub async fn read(self: &Arc<Self>, start: u64, end: u64, bytes: u64) -> io::Result<Vec<Entry>> {
        loop {
            let (start, stored_end, mut tail) = {
                let state = self.state.lock();
                let start = start.max(state.index.first());
                let end = state.index.end_within(start, end, bytes);
                if start >= end {
                    return Ok(Vec::new());
                }
                if self.is_starting() {
                    return Ok((start..end).map(|index| skeleton(&state.index, index)).collect());
                }
                let tail_start = state.tail_start();
                let stored_end = tail_start.clamp(start, end);
                let tail: Vec<Entry> = match end.checked_sub(tail_start) {
                    Some(tail_end) => state.tail.range((stored_end - tail_start) as usize..tail_end as usize),
                    None => Vec::new(),
                };
                (start, stored_end, tail)
            };
            if start == stored_end {
                return Ok(tail);
            }
            let log = self.clone();
            let read = blocking::call(&self.executor, BlockingClass::Apply, move || {
                recovery::read(&**log.writer.engine(), log.writer.space(), log.id, start, stored_end)
            })
            .await
            .unwrap_or_else(|_| Err(LogError::executor(self.id)));
            let error = match read {
                Ok(mut entries) if entries.len() as u64 == stored_end - start => {
                    entries.append(&mut tail);
                    return Ok(entries);
                }
                Ok(entries) => LogError::hole(self.id, start + entries.len() as u64, stored_end),
                Err(error) => error,
            };
            // The front of the range may have been cut meanwhile: then the rest is read again.
            if self.first() <= start {
                return Err(io::Error::other(error));
            }
        }
    }
}

impl Drop for GroupLog {
    fn drop(&mut self) {
        let state = self.state.lock();
        self.metrics.unflushed_bytes.sub(state.unflushed_bytes() as i64);
        self.metrics.kept_bytes.sub(state.kept_bytes() as i64);
    }
}

/// An entry as openraft sees it while it starts: the right position, the right membership, no payload.
fn skeleton(index: &LogIndex, at: u64) -> Entry {
    let log_id = index.log_id(at).expect("the range was clamped to the index");
    let payload = match index.membership(at) {
        Some(membership) => Payload::Membership(membership.clone()),
        None => Payload::Blank,
    };
    Entry { log_id, payload }
}

/// openraft's handle to a [`GroupLog`].
#[derive(Clone)]
pub(crate) struct LogHandle {
    pub log: Arc<GroupLog>,
    /// Tells, by being dropped, that openraft's last task has ended.
    pub _running: watch::Receiver<()>,
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogHandle {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.log.read(start, end, u64::MAX >> 1).await
    }

    async fn entries_stream<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + Send {
        let (start, end) = bounds(&range);
        let log = self.log.clone();
        let entries = stream::unfold((start, Vec::new().into_iter()), move |(mut next, mut ready)| {
            let log = log.clone();
            async move {
                if ready.as_slice().is_empty() && next < end {
                    match log.read(next, end, limits::READ_BYTES_MAX).await {
                        Ok(entries) => ready = entries.into_iter(),
                        // A stream that ends early is an error to openraft; the next poll would repeat this one.
                        Err(error) => return Some((Err(error), (end, Vec::new().into_iter()))),
                    }
                }
                let entry: Entry = ready.next()?;
                next = entry.log_id.index + 1;
                Some((Ok(entry), (next, ready)))
            }
        });
        entries.fuse()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let bytes_max = if buggify("few entries in a message") { 1 } else { limits::READ_BYTES_MAX };
        self.log.read(start, end, bytes_max).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogHandle {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.log.state.lock();
        Ok(LogState { last_purged_log_id: state.index.purged(), last_log_id: state.index.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let key = record::key(self.log.id, RecordKind::Vote, 0);
        let value = record::encode_vote(&key, vote);
        if !planted(Bug::ForgetVote) {
            self.log.write(vec![Operation::Put(self.log.writer.space(), key.to_vec(), value)]).await?;
        }
        self.log.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let log = &self.log;
        let space = log.writer.space();
        let (mut operations, entries): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|entry| {
                let key = record::key(log.id, RecordKind::Entry, entry.log_id.index);
                let value = record::encode_entry(&key, &entry);
                (Operation::Put(space, key.to_vec(), value), entry)
            })
            .unzip();
        let count = entries.len();
        let next = log.change(|state| {
            for (operation, entry) in operations.iter_mut().zip(entries) {
                let membership = match &entry.payload {
                    Payload::Membership(membership) => Some(membership.clone()),
                    Payload::Blank | Payload::Normal(_) => None,
                };
                state.index.push(entry.log_id, operation_bytes(operation) as u64, membership);
                state.tail.push(entry);
            }
            state.index.next()
        });
        log.appended.send_replace(next.saturating_sub(1));
        if planted(Bug::AnswerBeforeWrite) {
            flushed.io_completed(Ok(()));
            log.push(operations, count, Then::Answer(oneshot::channel().0));
            return Ok(());
        }
        log.push(operations, count, Then::Appended { next, flushed });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        let end = self.log.state.lock().index.next();
        // Durable before the entries leave memory: whatever is appended next comes behind it in the queue.
        if !planted(Bug::TruncateInMemory) {
            self.log.write(vec![self.log.delete_entries(from, end.max(from))]).await?;
        }
        self.log.change(|state| {
            let kept = from.saturating_sub(state.tail_start()) as usize;
            state.tail.keep_oldest(kept);
            state.index.truncate(from);
            state.written = state.written.min(state.index.next());
            state.cut_off = Some(end);
        });
        self.log.appended.send_replace(from.saturating_sub(1));
        reached("the end of a log was cut off");
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let key = record::key(self.log.id, RecordKind::Purged, 0);
        let value = record::encode_purged(&key, &upto);
        // The cut is written before, or together with, the loss of the entries: recovery starts behind it. What lies
        // before the index goes too: entries that were flushed before this replica started.
        let operations = vec![
            Operation::Put(self.log.writer.space(), key.to_vec(), value),
            self.log.delete_entries(0, upto.index + 1),
        ];
        self.log.change(|state| {
            let start = state.tail_start();
            state.tail.drop_oldest((upto.index + 1).saturating_sub(start) as usize);
            state.index.purge(upto);
            state.written = state.written.max(upto.index + 1);
        });
        self.log.push(operations, 0, Then::Purged(upto.index));
        Ok(())
    }
}
