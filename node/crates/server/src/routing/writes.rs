//! Frames on their way to the leader of their group, wherever it is.

use std::collections::VecDeque;

use bellwether_ingest::FrameReply;
use bellwether_model::ShardGroupId;
use bellwether_raft::{NodeId, ProposeError, ReadError};

use super::Router;
use super::error::{Again, RouteError};
use super::frames::{Frame, PendingReply};
use super::leaders::Leader;
use super::outbox::PART_BYTES_MAX;
use super::pace::Pace;

/// What became of frames that belong together.
#[derive(Debug)]
pub struct Collected {
    /// The replies to the frames before the first that failed.
    pub replies: Vec<FrameReply>,
    /// That frame and those after it, and why it failed.
    pub failed: Option<(RouteError, Vec<Frame>)>,
}

/// Waits for what becomes of frames that were queued together, of one group.
pub async fn collect(group: ShardGroupId, pending: Vec<PendingReply>) -> Collected {
    let mut replies = Vec::with_capacity(pending.len());
    let mut failed: Option<(RouteError, Vec<Frame>)> = None;
    for reply in pending {
        match (reply.await, &mut failed) {
            (Ok(Ok(reply)), None) => replies.push(reply),
            // The last of two samples with one timestamp must stay the last: frames are not stored out of order.
            (Ok(Ok(_)), Some((error, _))) => *error = RouteError::Torn(group),
            (Ok(Err(undelivered)), None) => failed = Some((undelivered.error, vec![undelivered.frame])),
            (Ok(Err(undelivered)), Some((_, frames))) => frames.push(undelivered.frame),
            (Err(_), None) => failed = Some((RouteError::Stopping, Vec::new())),
            (Err(_), Some((error, _))) => *error = RouteError::Stopping,
        }
    }
    Collected { replies, failed }
}

impl Router {
    /// Queues frames of one group for its leader, in order; what becomes of them is told later. `Err` gives them back: they
    /// are too large to be queued as a whole, or cannot be queued now. [`write_frames_again`](Self::write_frames_again) takes them.
    pub fn queue_frames(
        &self,
        group: ShardGroupId,
        frames: Vec<Frame>,
    ) -> Result<Vec<PendingReply>, (RouteError, Vec<Frame>)> {
        let bytes: usize = frames.iter().map(|frame| frame.as_ref().len()).sum();
        let queue = match self.leader_of(group, 0) {
            Leader::Here(_) => self.group_queue(group),
            Leader::There(_) if bytes > PART_BYTES_MAX => Err(RouteError::TooLargeAtOnce),
            Leader::There(node) => self.node_queue(node),
            Leader::Nowhere(error) => Err(error),
        };
        match queue {
            Ok(queue) => self.push(&queue, group, frames),
            Err(error) => Err((error, frames)),
        }
    }

    /// Stores frames of one group, in order, with its leader wherever it is. An error says why not all of them are stored,
    /// or may not be; storing them again is harmless.
    async fn write_from(
        &self,
        group: ShardGroupId,
        frames: Vec<Frame>,
        mut attempt: usize,
        mut pace: Pace<'_>,
    ) -> Result<Vec<FrameReply>, RouteError> {
        let mut replies = Vec::with_capacity(frames.len());
        let mut left = VecDeque::from(frames);
        while !left.is_empty() {
            let (asked, queue) = match self.leader_of(group, attempt) {
                Leader::Here(_) => (self.shards.node(), self.group_queue(group)),
                Leader::There(node) => (node, self.node_queue(node)),
                Leader::Nowhere(error) => (self.shards.node(), Err(error)),
            };
            let error = match queue {
                Ok(queue) => {
                    let pushed = self.push(&queue, group, take_part(&mut left)).map_err(|(error, _)| error)?;
                    let collected = collect(group, pushed).await;
                    replies.extend(collected.replies);
                    let Some((error, frames)) = collected.failed else { continue };
                    frames.into_iter().rev().for_each(|frame| left.push_front(frame));
                    error
                }
                Err(error) => error,
            };
            if !self.try_again(group, &error, asked, &mut pace).await {
                return Err(error);
            }
            attempt += 1;
        }
        Ok(replies)
    }

    /// Stores frames that [`collect`] says have failed once.
    pub async fn write_frames_again(
        &self,
        group: ShardGroupId,
        error: RouteError,
        frames: Vec<Frame>,
    ) -> Result<Vec<FrameReply>, RouteError> {
        let mut pace = Pace::begin(&self.jitter);
        let is_first_attempt = error == RouteError::TooLargeAtOnce;
        if !is_first_attempt && !self.try_again(group, &error, self.shards.node(), &mut pace).await {
            return Err(error);
        }
        self.write_from(group, frames, usize::from(!is_first_attempt), pace).await
    }

    /// Learns from a failure, and waits as long as that asks for. `false`: another attempt would not help.
    pub(super) async fn try_again(
        &self,
        group: ShardGroupId,
        error: &RouteError,
        asked: NodeId,
        pace: &mut Pace<'_>,
    ) -> bool {
        // A replica that stopped is started again in seconds; meanwhile another leads, if there is one.
        let is_alone = || self.shards.ring().group(group).is_none_or(|group| group.replicas.len() < 2);
        let again = match error {
            RouteError::Propose(ProposeError::Stopped { .. }) | RouteError::Read(ReadError::Stopped { .. })
                if !is_alone() =>
            {
                Again::Later
            }
            RouteError::NotServed(reason) if !reason.is_starting() && is_alone() => Again::No,
            other => other.again(),
        };
        self.learn(group, error, asked);
        match again {
            Again::No => false,
            Again::Later => pace.pause().await,
            Again::At(node) if node == asked => pace.pause().await,
            Again::At(_) => pace.hop().await,
        }
    }

    /// Remembers what a failure says about who leads.
    pub(super) fn learn(&self, group: ShardGroupId, error: &RouteError, asked: NodeId) {
        match error.again() {
            Again::No => {}
            Again::Later => self.hints.forget(group, asked),
            Again::At(node) => self.hints.learn(group, node),
        }
    }
}

/// The next frames that go together.
fn take_part(left: &mut VecDeque<Frame>) -> Vec<Frame> {
    let mut part = Vec::new();
    let mut bytes = 0;
    while let Some(frame) = left.pop_front_if(|frame| bytes == 0 || bytes + frame.as_ref().len() <= PART_BYTES_MAX) {
        bytes += frame.as_ref().len();
        part.push(frame);
    }
    part
}
