//! Sends what waits for another node: the frames of all groups that it leads leave together, as many as are there.

use std::sync::Arc;

use bellwether_ingest::FrameReply;
use bellwether_model::limits;
use bellwether_probe::buggify;
use bellwether_proto::peer::v1::frame_outcome::Outcome;
use bellwether_proto::peer::v1::{FrameOutcome, GroupFrames, WriteRequest};
use bellwether_raft::NodeId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::error::RouteError;
use super::frames::{Frame, FrameQueue, Taken, Waiting};
use super::remote::{Remote, callee, unreadable};
use crate::peers::PeerError;

/// Calls to one node under way at a time: while one is committed there the next travels.
const CALLS_IN_FLIGHT: usize = 4;

/// A call carries about this many bytes of frames; a part of a request that is queued as a whole travels as a whole.
const CALL_BYTES: usize = limits::RAFT_ENTRY_BYTES_MAX;

/// Frames of one group and request are queued as a whole up to this many bytes; more go one part after the other.
pub const PART_BYTES_MAX: usize = limits::RAFT_ENTRY_BYTES_MAX;

const _: () = assert!(limits::FRAME_BYTES_MAX <= PART_BYTES_MAX);

/// Sends what is queued for a node until the queue is closed and empty.
pub async fn send_queued(queue: Arc<FrameQueue>, node: NodeId, remote: Arc<dyn Remote>) {
    let mut in_flight = FuturesUnordered::new();
    let mut closed = false;
    loop {
        while in_flight.len() < CALLS_IN_FLIGHT && !closed {
            let (mut bytes, mut continues) = (0, false);
            let taken = queue.take(|waiting| {
                let is_enough = bytes >= CALL_BYTES || bytes > 0 && buggify("few frames in a call");
                let fits = !is_enough || continues;
                bytes += waiting.frame.as_ref().len();
                continues = waiting.continues;
                fits
            });
            match taken {
                Taken::Frames(frames) => in_flight.push(send(&*remote, node, frames)),
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
            () = queue.woken(), if in_flight.len() < CALLS_IN_FLIGHT && !closed => {}
        }
    }
}

async fn send(remote: &dyn Remote, node: NodeId, frames: Vec<Waiting>) {
    let mut groups: Vec<GroupFrames> = Vec::new();
    let mut waiting = Vec::with_capacity(frames.len());
    for mut frame in frames {
        let bytes: bytes::Bytes = std::mem::replace(&mut frame.frame, Frame::Made(Vec::new())).into();
        frame.frame = Frame::Received(bytes.clone());
        match groups.last_mut().filter(|last| last.group == frame.group.0) {
            Some(last) => last.frames.push(bytes),
            None => groups.push(GroupFrames { group: frame.group.0, frames: vec![bytes] }),
        }
        waiting.push(frame);
    }
    match remote.write(node, WriteRequest { groups }).await {
        Ok(answer) if answer.outcomes.len() == waiting.len() => {
            let outcomes = answer.outcomes.into_iter();
            waiting.into_iter().zip(outcomes).for_each(|(waiting, outcome)| waiting.settle(read(node, outcome)));
        }
        Ok(answer) => {
            let reason = format!("{} outcomes for {} frames", answer.outcomes.len(), waiting.len());
            fail(waiting, &unreadable(node, reason));
        }
        Err(error) => fail(waiting, &error),
    }
}

fn fail(waiting: Vec<Waiting>, error: &PeerError) {
    waiting.into_iter().for_each(|waiting| waiting.fail(error.clone().into()));
}

fn read(node: NodeId, outcome: FrameOutcome) -> Result<FrameReply, RouteError> {
    match outcome.outcome {
        Some(Outcome::Reply(reply)) => {
            FrameReply::decode(&reply).map_err(|error| unreadable(node, error.to_string()).into())
        }
        Some(Outcome::Failure(failure)) => Err(PeerError::of_failure(callee(node), failure).into()),
        None => Err(unreadable(node, "an outcome of a frame says nothing".to_owned()).into()),
    }
}
