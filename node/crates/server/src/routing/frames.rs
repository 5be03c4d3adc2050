//! Frames that wait to be stored, and what becomes of them. One queue for each group that is led here, and one for each
//! other node: whoever empties it takes what waits together.

use std::collections::VecDeque;

use bellwether_ingest::FrameReply;
use bellwether_model::{ShardGroupId, limits};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::error::RouteError;

/// Bytes of frames that may wait in one queue; beyond them a write is refused.
pub const WAITING_BYTES_MAX: usize = 16 * limits::RAFT_ENTRY_BYTES_MAX;

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

/// A frame that comes back.
#[derive(Debug)]
pub struct Undelivered {
    /// Why.
    pub error: RouteError,
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
    pub fn fail(self, error: RouteError) {
        self.settle(Err(error));
    }

    /// Tells what became of the frame.
    pub fn settle(self, result: Result<FrameReply, RouteError>) {
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
    pub fn push(&self, group: ShardGroupId, frames: Vec<Frame>) -> Result<Vec<PendingReply>, (RouteError, Vec<Frame>)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((RouteError::Stopping, frames));
        }
        if state.bytes > WAITING_BYTES_MAX {
            return Err((RouteError::QueueFull { bytes: state.bytes }, frames));
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
