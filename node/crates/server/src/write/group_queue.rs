//! What waits to be proposed to one shard group. A proposal costs about 20 us of CPU, so while one is in flight all
//! frames that arrive for the group queue up and leave together as one entry.

use std::collections::VecDeque;
use std::sync::Arc;

use bellwether_ingest::{Compression, EntryBuilder, FrameReply};
use bellwether_model::{ShardGroupId, limits};
use bellwether_raft::ProposeError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::env::WallClock;
use crate::metrics::WriteMetrics;
use crate::shards::{NotServed, ShardGroup, Shards, replies};

/// Entries of one group under way at a time: while one is applied the next is synced.
const PROPOSALS_IN_FLIGHT: usize = 2;

/// Bytes of frames that may wait for one group; beyond them a write is refused.
const WAITING_BYTES_MAX: usize = 16 * limits::RAFT_ENTRY_BYTES_MAX;

/// Why a frame was not, or may not have been, stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Raft says no, or does not know.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The group does not serve now.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// Too much waits for the group.
    #[error("{bytes} bytes wait for the group, the limit is {WAITING_BYTES_MAX}")]
    QueueFull {
        /// Bytes that wait.
        bytes: usize,
    },
    /// The server is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The state machine's reply is not one: our own broken promise.
    #[error("the state machine's reply cannot be read: {0}")]
    Reply(String),
}

/// The reply to one frame, when it comes.
pub type PendingReply = oneshot::Receiver<Result<FrameReply, FrameError>>;

/// The queue of one group.
#[derive(Default)]
pub struct GroupQueue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

struct Waiting {
    frame: Vec<u8>,
    reply: oneshot::Sender<Result<FrameReply, FrameError>>,
}

impl GroupQueue {
    /// Queues frames that belong together, in order: all of them or none.
    pub fn push(&self, frames: impl ExactSizeIterator<Item = Vec<u8>>) -> Result<Vec<PendingReply>, FrameError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(FrameError::Stopping);
        }
        if state.bytes > WAITING_BYTES_MAX {
            return Err(FrameError::QueueFull { bytes: state.bytes });
        }
        let mut pending = Vec::with_capacity(frames.len());
        for frame in frames {
            let (reply, receiver) = oneshot::channel();
            state.bytes += frame.len();
            state.waiting.push_back(Waiting { frame, reply });
            pending.push(receiver);
        }
        drop(state);
        self.wake.notify_one();
        Ok(pending)
    }

    /// Takes nothing in any more. What waits is still proposed.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// As many waiting frames as fit into one entry.
    fn take(&self) -> Taken {
        let mut state = self.state.lock();
        let mut entry = EntryBuilder::default();
        let mut repliers = Vec::with_capacity(state.waiting.len());
        while let Some(first) = state.waiting.front() {
            if !entry.push(&first.frame) {
                break;
            }
            let Waiting { frame, reply } = state.waiting.pop_front().expect("it was just looked at");
            state.bytes -= frame.len();
            repliers.push(reply);
        }
        if repliers.is_empty() {
            return if state.closed { Taken::Closed } else { Taken::Nothing };
        }
        Taken::Entry(entry, repliers)
    }
}

enum Taken {
    Entry(EntryBuilder, Vec<oneshot::Sender<Result<FrameReply, FrameError>>>),
    Nothing,
    Closed,
}

/// What proposals are stamped with.
#[derive(Clone)]
pub struct Stamping {
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// How long samples are kept.
    pub retention_ms: i64,
    /// Series that one group may have.
    pub series_max: u32,
}

/// Proposes what is queued for the group until the queue is closed and empty.
pub async fn propose_queued(
    queue: Arc<GroupQueue>,
    group: ShardGroupId,
    shards: Arc<Shards>,
    stamping: Stamping,
    metrics: Arc<WriteMetrics>,
) {
    let mut in_flight = FuturesUnordered::new();
    let mut closed = false;
    loop {
        while in_flight.len() < PROPOSALS_IN_FLIGHT && !closed {
            match queue.take() {
                Taken::Entry(entry, repliers) => {
                    metrics.proposals.inc();
                    metrics.frames.inc_by(repliers.len() as u64);
                    metrics.proposed_bytes.inc_by(entry.byte_len() as u64);
                    in_flight.push(propose(shards.local(group), &stamping, entry, repliers));
                }
                Taken::Nothing => break,
                Taken::Closed => closed = true,
            }
        }
        if closed && in_flight.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            Some(()) = in_flight.next() => {}
            () = queue.wake.notified(), if in_flight.len() < PROPOSALS_IN_FLIGHT && !closed => {}
        }
    }
}

async fn propose(
    group: Result<Arc<ShardGroup>, NotServed>,
    stamping: &Stamping,
    entry: EntryBuilder,
    repliers: Vec<oneshot::Sender<Result<FrameReply, FrameError>>>,
) {
    let proposed = match group {
        Ok(group) => {
            let stamp = group.stamp(&*stamping.clock, stamping.retention_ms, stamping.series_max);
            // One voter: the bytes cross no network, and compressing costs more than syncing them.
            let entry = entry.finish(stamp.now, stamp.limits, Compression::Never);
            group.propose(entry.into()).await.map_err(FrameError::from)
        }
        Err(not_served) => Err(not_served.into()),
    };
    let reply = match proposed {
        Ok(reply) => reply,
        Err(error) => {
            for replier in repliers {
                // Whoever asked may have gone away.
                let _ = replier.send(Err(error.clone()));
            }
            return;
        }
    };
    let mut frames = replies::decode_frames(&reply);
    for replier in repliers {
        let reply = match frames.next() {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(error)) => Err(FrameError::Reply(error.to_string())),
            None => Err(FrameError::Reply("it ends early".to_owned())),
        };
        let _ = replier.send(reply);
    }
}
