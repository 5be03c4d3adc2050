//! Frames that wait to be stored, and what becomes of them. One queue for each group that is led here, and one for each
//! other node: whoever empties it takes what waits together. Frames of requests that have been given up go unsent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether_ingest::FrameReply;
use bellwether_model::{ShardGroupId, limits};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::error::RouteError;

/// Bytes of frames that may wait in one queue; beyond them a write is refused.
pub const QUEUE_BYTES_MAX: usize = 16 * limits::RAFT_ENTRY_BYTES_MAX;

/// Bytes of frames that may wait in all queues of a node: a few groups that store nothing must not take all memory.
pub const WAITING_BYTES_MAX: usize = 4 * QUEUE_BYTES_MAX;

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
pub struct FrameQueue {
    state: Mutex<State>,
    wake: Notify,
    /// Bytes that wait in all queues of the node.
    all: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

impl State {
    /// Takes out the first frame if it `fits`.
    fn take_first(&mut self, all: &AtomicUsize, fits: impl FnMut(&mut Waiting) -> bool) -> Option<Waiting> {
        let first = self.waiting.pop_front_if(fits)?;
        let bytes = first.frame.as_ref().len();
        self.bytes -= bytes;
        all.fetch_sub(bytes, Ordering::Relaxed);
        Some(first)
    }

    /// Drops what nobody waits for any more, from the front on: requests have the same time, so those that came first are given up first.
    fn drop_given_up(&mut self, all: &AtomicUsize) -> bool {
        let mut dropped = false;
        while self.take_first(all, |first| first.reply.is_closed()).is_some() {
            dropped = true;
        }
        dropped
    }
}

impl FrameQueue {
    /// An empty queue. `all` counts the bytes that wait in all queues of the node.
    pub fn new(all: Arc<AtomicUsize>) -> FrameQueue {
        FrameQueue { state: Mutex::default(), wake: Notify::new(), all }
    }

    /// Queues frames that belong together, in order: all of them, or none, which gives them back.
    pub fn push(&self, group: ShardGroupId, frames: Vec<Frame>) -> Result<Vec<PendingReply>, (RouteError, Vec<Frame>)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((RouteError::Stopping, frames));
        }
        let waiting = [(state.bytes, QUEUE_BYTES_MAX), (self.all.load(Ordering::Relaxed), WAITING_BYTES_MAX)];
        if let Some((bytes, limit)) = waiting.into_iter().find(|(bytes, limit)| bytes > limit) {
            return Err((RouteError::QueueFull { bytes, limit }, frames));
        }
        let mut left = frames.len();
        let mut pending = Vec::with_capacity(left);
        for frame in frames {
            left -= 1;
            let (reply, receiver) = oneshot::channel();
            let bytes = frame.as_ref().len();
            state.bytes += bytes;
            self.all.fetch_add(bytes, Ordering::Relaxed);
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
        loop {
            state.drop_given_up(&self.all);
            match state.take_first(&self.all, |first| fits(first)) {
                Some(first) => taken.push(first),
                None => break,
            }
        }
        match taken.is_empty() {
            false => Taken::Frames(taken),
            true if state.closed => Taken::Closed,
            true => Taken::Nothing,
        }
    }

    /// Drops the oldest frames as long as nobody waits for them any more. Says whether there were any.
    pub fn drop_given_up(&self) -> bool {
        self.state.lock().drop_given_up(&self.all)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: ShardGroupId = ShardGroupId(1);

    fn frames(count: usize, bytes: usize) -> Vec<Frame> {
        vec![Frame::Made(vec![0; bytes]); count]
    }

    #[test]
    fn what_was_given_up_is_not_sent_and_takes_no_room() {
        let all = Arc::new(AtomicUsize::new(0));
        let queue = FrameQueue::new(all.clone());
        let given_up = queue.push(GROUP, frames(2, 100)).unwrap();
        let wanted = queue.push(GROUP, frames(2, 10)).unwrap();
        let later = queue.push(GROUP, frames(1, 1000)).unwrap();
        drop((given_up, later));
        assert_eq!(all.load(Ordering::Relaxed), 1220);
        assert!(queue.drop_given_up() && !queue.drop_given_up());
        assert_eq!(all.load(Ordering::Relaxed), 1020, "the oldest only");
        let Taken::Frames(taken) = queue.take(|_| true) else { panic!("two are wanted") };
        assert_eq!(taken.iter().map(|waiting| waiting.frame.as_ref().len()).collect::<Vec<_>>(), [10, 10]);
        assert_eq!(all.load(Ordering::Relaxed), 0);
        drop(wanted);
    }

    #[test]
    fn the_queues_of_a_node_are_bounded_together() {
        let all = Arc::new(AtomicUsize::new(0));
        let queues: Vec<FrameQueue> = (0..9).map(|_| FrameQueue::new(all.clone())).collect();
        let mut waiting = Vec::new();
        let mut full = 0;
        for queue in &queues {
            loop {
                match queue.push(GROUP, frames(1, limits::RAFT_ENTRY_BYTES_MAX)) {
                    Ok(pending) => waiting.push(pending),
                    Err((RouteError::QueueFull { limit: QUEUE_BYTES_MAX, .. }, _)) => break,
                    Err((RouteError::QueueFull { limit: WAITING_BYTES_MAX, .. }, _)) => {
                        full += 1;
                        break;
                    }
                    Err((error, _)) => panic!("{error}"),
                }
            }
        }
        assert!(full > 0, "{} bytes wait", all.load(Ordering::Relaxed));
        assert!(all.load(Ordering::Relaxed) <= WAITING_BYTES_MAX + limits::RAFT_ENTRY_BYTES_MAX);
        waiting.clear();
        assert!(queues.iter().filter(|queue| queue.drop_given_up()).count() > 0);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
