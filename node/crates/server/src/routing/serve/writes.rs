//! Frames and questions of other nodes' gateways.

use bellwether_model::{Labels, SeriesHash, ShardGroupId, limits};
use bellwether_proto::peer::v1::frame_outcome::Outcome;
use bellwether_proto::peer::v1::{
    Failure, FrameOutcome, GroupFrames, ResolveAnswer, ResolveRequest, WriteAnswer, WriteRequest,
};
use futures::future::join_all;

use super::rejected;
use crate::routing::Router;
use crate::routing::frames::{Frame, PendingReply};
use crate::routing::resolve::resolve_here;

/// Series that one question may ask for: about what the labels of one request's new series may take.
const RESOLVED_MAX: usize = 1 << 20;

impl Router {
    /// Stores frames in groups that are led here; each frame has an outcome of its own.
    pub async fn serve_write(&self, request: WriteRequest) -> WriteAnswer {
        let queued: Vec<_> = request.groups.into_iter().map(|frames| self.queue_received(frames)).collect();
        let mut outcomes = Vec::new();
        for of_group in queued {
            match of_group {
                Ok((group, pending)) => {
                    let settled = join_all(pending.into_iter().map(|reply| self.outcome(group, reply))).await;
                    outcomes.extend(settled);
                }
                Err((failure, frames)) => {
                    let failed = || FrameOutcome { outcome: Some(Outcome::Failure(failure.clone())) };
                    outcomes.extend(std::iter::repeat_with(failed).take(frames));
                }
            }
        }
        WriteAnswer { outcomes }
    }

    fn queue_received(
        &self,
        GroupFrames { group, frames }: GroupFrames,
    ) -> Result<(ShardGroupId, Vec<PendingReply>), (Failure, usize)> {
        let count = frames.len();
        if let Some(frame) = frames.iter().find(|frame| frame.len() > limits::FRAME_BYTES_MAX) {
            let limit = limits::FRAME_BYTES_MAX;
            return Err((rejected(format!("a frame of {} bytes, the limit is {limit}", frame.len())), count));
        }
        let frames = frames.into_iter().map(Frame::Received).collect();
        let led = self.led_here(group).map_err(|failure| (failure, count))?.id();
        let refused = |error| (self.failure(led, &error), count);
        let queue = self.group_queue(led).map_err(refused)?;
        let pending = self.push(&queue, led, frames).map_err(|(error, _)| refused(error))?;
        Ok((led, pending))
    }

    async fn outcome(&self, group: ShardGroupId, reply: PendingReply) -> FrameOutcome {
        use crate::routing::RouteError::Stopping;
        let outcome = match reply.await {
            Ok(Ok(reply)) => {
                let mut bytes = Vec::new();
                reply.encode(&mut bytes);
                Outcome::Reply(bytes.into())
            }
            Ok(Err(undelivered)) => Outcome::Failure(self.failure(group, &undelivered.error)),
            Err(_) => Outcome::Failure(self.failure(group, &Stopping)),
        };
        FrameOutcome { outcome: Some(outcome) }
    }

    /// The refs of series that the replica here has applied.
    pub fn serve_resolve(&self, request: &ResolveRequest) -> Result<ResolveAnswer, Failure> {
        let local = self.replica_here(request.group)?;
        let (hashes, rest) = request.hashes.as_chunks::<16>();
        if !rest.is_empty() || hashes.len() != request.labels.len() || hashes.len() > RESOLVED_MAX {
            let (hashes, labels) = (request.hashes.len(), request.labels.len());
            return Err(rejected(format!("{hashes} bytes of hashes and {labels} labels")));
        }
        let labels: Result<Vec<Labels>, _> = request.labels.iter().map(|bytes| Labels::from_canonical(bytes)).collect();
        let labels = labels.map_err(|error| rejected(format!("labels are damaged: {error}")))?;
        let hashes = hashes.iter().map(|hash| SeriesHash(u128::from_be_bytes(*hash)));
        let resolved = resolve_here(&local, hashes, labels.iter());
        Ok(ResolveAnswer {
            ref_epoch: resolved.scope.epoch.0,
            range_generation: resolved.scope.range_generation,
            first_key: resolved.owned.first.0,
            last_key: resolved.owned.last.0,
            refs: resolved.refs.iter().map(|found| found.map_or(0, |series| u64::from(series.0) + 1)).collect(),
        })
    }
}
