//! Frames that wait to be stored, and what becomes of them. One queue for each group that is led here, and one for each
//! other node: whoever empties it takes what waits together.

use std::collections::VecDeque;

use bellwether_ingest::FrameReply;
use bellwether_model::{ShardGroupId, limits};
use bellwether_raft::ProposeError;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::remote::{Again, RemoteError};
use crate::shards::NotServed;

/// Bytes of frames that may wait in one queue; beyond them a write is refused.
const WAITING_BYTES_MAX: usize = 16 * limits::RAFT_ENTRY_BYTES_MAX;

/// The bytes of a frame.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Made here.
    Made(Vec<u8>),
    /// Part of another node's request.
    Received(Bytes),
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        match self {
            Frame::Made(bytes) => bytes,
            Frame::Received(bytes) => bytes,
        }
    }
}

impl From<Frame> for Bytes {
    fn from(frame: Frame) -> Bytes {
        match frame {
            Frame::Made(bytes) => bytes.into(),
            Frame::Received(bytes) => bytes,
        }
    }
}

/// Why a frame was not, or may not have been, stored. Storing it again is harmless.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Raft says no, or does not know.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The group does not serve here now.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// Another node says no, or does not answer.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Nobody is known to lead the group.
    #[error("shard group {0} has no leader that is known here")]
    NoLeader(ShardGroupId),
    /// Too much waits for the group.
    #[error("{bytes} bytes wait for the group, the limit is {WAITING_BYTES_MAX}")]
    QueueFull {
        /// Bytes that wait.
        bytes: usize,
    },
    /// They have more bytes than are queued for another node as a whole: they go one part after the other.
    #[error("the frames are sent in parts")]
    TooLargeAtOnce,
    /// Some of a request's frames were stored and frames before them were not: all must come again, in order.
    #[error("shard group {0} stored a part of the request while its leader changed")]
    Torn(ShardGroupId),
    /// The server is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The state machine's reply is not one: our own broken promise.
    #[error("the state machine's reply cannot be read: {0}")]
    Reply(String),
}

impl FrameError {
    /// Whether a repeat can help, soon.
    pub fn again(&self) -> Again {
        let at = |hint: &Option<bellwether_raft::LeaderHint>| hint.map_or(Again::Later, |hint| Again::At(hint.node));
        match self {
            FrameError::Propose(ProposeError::NotLeader { hint } | ProposeError::Unknown { hint }) => at(hint),
            FrameError::Propose(_) | FrameError::QueueFull { .. } | FrameError::Torn(_) => Again::No,
            FrameError::NotServed(_) | FrameError::NoLeader(_) | FrameError::TooLargeAtOnce => Again::Later,
            FrameError::Remote(error) => error.again(),
            FrameError::Stopping | FrameError::Reply(_) => Again::No,
        }
    }
}

/// A frame that comes back.
#[derive(Debug)]
pub struct Undelivered {
    /// Why.
    pub error: FrameError,
    /// The frame, to be sent again.
    pub frame: Frame,
}

/// What becomes of a frame.
pub type Delivery = Result<FrameReply, Box<Undelivered>>;

/// What becomes of a frame, when it is known.
pub type PendingReply = oneshot::Receiver<Delivery>;

/// A frame that waits.
pub struct Waiting {
    /// Its group.
    pub group: ShardGroupId,
    /// The frame.
    pub frame: Frame,
    /// Who waits for what becomes of it.
    pub reply: oneshot::Sender<Delivery>,
    /// Whether the next frame belongs to the same part of a request.
    pub continues: bool,
}

impl Waiting {
    /// Sends the frame back.
    pub fn fail(self, error: FrameError) {
        self.settle(Err(error));
    }

    /// Tells what became of the frame.
    pub fn settle(self, result: Result<FrameReply, FrameError>) {
        let Waiting { frame, reply, .. } = self;
        // Whoever asked may have gone away.
        let _ = reply.send(result.map_err(|error| Box::new(Undelivered { error, frame })));
    }
}

/// See the module.
#[derive(Default)]
pub struct FrameQueue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

impl FrameQueue {
    /// Queues frames that belong together, in order: all of them, or none, which gives them back.
    pub fn push(&self, group: ShardGroupId, frames: Vec<Frame>) -> Result<Vec<PendingReply>, (FrameError, Vec<Frame>)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((FrameError::Stopping, frames));
        }
        if state.bytes > WAITING_BYTES_MAX {
            return Err((FrameError::QueueFull { bytes: state.bytes }, frames));
        }
        let mut left = frames.len();
        let mut pending = Vec::with_capacity(left);
        for frame in frames {
            left -= 1;
            let (reply, receiver) = oneshot::channel();
            state.bytes += frame.as_ref().len();
            state.waiting.push_back(Waiting { group, frame, reply, continues: left > 0 });
            pending.push(receiver);
        }
        drop(state);
        self.wake.notify_one();
        Ok(pending)
    }

    /// Takes nothing in any more. What waits is still taken out.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Takes frames out as long as they fit.
    pub fn take(&self, mut fits: impl FnMut(&Waiting) -> bool) -> Taken {
        let mut state = self.state.lock();
        let mut taken = Vec::with_capacity(state.waiting.len());
        while let Some(first) = state.waiting.pop_front_if(|first| fits(first)) {
            state.bytes -= first.frame.as_ref().len();
            taken.push(first);
        }
        match taken.is_empty() {
            false => Taken::Frames(taken),
            true if state.closed => Taken::Closed,
            true => Taken::Nothing,
        }
    }

    /// Returns when there may be something to take.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// What was in a queue.
pub enum Taken {
    /// At least one frame.
    Frames(Vec<Waiting>),
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    Closed,
}
