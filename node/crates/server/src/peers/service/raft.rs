//! Raft's stream from one other node: requests in, answers out. Lives on Raft's runtime.
//!
//! Requests are handed over in the order in which they come, and handled at once, beside each other. Whatever is answered
//! when the connection can take a batch leaves in it.

use std::sync::Arc;
use std::time::Duration;

use bellwether_proto::peer::v1::raft_answer::Result as Outcome;
use bellwether_proto::peer::v1::{RaftAnswer, RaftBatch, RaftRequest};
use bellwether_raft::{GroupId, RaftNode, ReplicaId};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Status, Streaming};

use super::PeerService;
use crate::alerting::is_common;
use crate::env::WallClock;
use crate::peers::limits::{
    BATCH_MESSAGES_MAX, HANDLE_DEADLINE, HANDLED_BYTES_MAX, HANDLED_MESSAGES_MAX, SMALL_MESSAGE_BYTES,
};
use crate::routing::DiskRoom;

impl PeerService {
    /// Serves a stream until either side ends it.
    pub(super) fn serve_raft(&self, requests: Request<Streaming<RaftBatch>>) -> Result<BoxStream<RaftBatch>, Status> {
        let caller = super::caller(&requests)?;
        let (answers, stream) = mpsc::channel(1);
        let mut serving = Serving {
            raft: self.raft.clone(),
            clock: self.env.clock.clone(),
            disk: self.router.as_ref().map(|router| router.disk_room().clone()),
            answers,
            ready: Vec::new(),
            heard: None,
            owes: false,
            sequence: 0,
        };
        let (requests, stopped) = (requests.into_inner(), self.stopped.clone());
        self.env.executors.raft.spawn(Box::pin(async move {
            let reason = serving.run(requests, stopped).await;
            tracing::debug!(peer = ?caller.node, reason, "a node's Raft stream ended");
        }));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

struct Serving {
    raft: RaftNode,
    clock: Arc<dyn WallClock>,
    /// None in a test that has no need of it.
    disk: Option<Arc<DiskRoom>>,
    answers: mpsc::Sender<Result<RaftBatch, Status>>,
    /// Answers that wait for the connection.
    ready: Vec<RaftAnswer>,
    /// The newest batch that came, and when.
    heard: Option<(u64, Instant)>,
    /// Whether that batch is to be echoed though nothing is to be answered.
    owes: bool,
    sequence: u64,
}

impl Serving {
    fn is_disk_full(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.is_full())
    }

    /// Serves until the stream ends; says why it did.
    async fn run(&mut self, mut requests: Streaming<RaftBatch>, mut stopped: watch::Receiver<bool>) -> String {
        let mut handling = FuturesUnordered::new();
        let mut handled_bytes = 0;
        let stopped = stopped.wait_for(|stopped| *stopped);
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let has_room = handled_bytes < HANDLED_BYTES_MAX && handling.len() < HANDLED_MESSAGES_MAX;
            tokio::select! {
                biased;
                _ = &mut stopped => return "this node stops".to_owned(),
                Some((bytes, answer)) = handling.next(), if self.ready.len() < BATCH_MESSAGES_MAX => {
                    handled_bytes -= bytes;
                    self.ready.extend(answer);
                }
                room = self.answers.reserve(), if self.owes || !self.ready.is_empty() => {
                    let Ok(room) = room else { return "the connection is gone".to_owned() };
                    let heard = self.heard.map(|(sequence, at)| (sequence, at.elapsed()));
                    let (echo_sequence, held) = heard.unwrap_or_default();
                    self.sequence += 1;
                    self.owes = false;
                    room.send(Ok(RaftBatch {
                        sequence: self.sequence,
                        sent_ms: self.clock.now_ms(),
                        echo_sequence,
                        echo_held_us: micros(held),
                        requests: Vec::new(),
                        answers: std::mem::take(&mut self.ready),
                        disk_full: self.is_disk_full(),
                    }));
                }
                batch = requests.message(), if has_room => match batch {
                    Ok(Some(batch)) => {
                        self.heard = Some((batch.sequence, Instant::now()));
                        self.owes |= batch.requests.is_empty();
                        for request in batch.requests {
                            let bytes = request.message.len();
                            handled_bytes += bytes;
                            let is_refused = is_refused_when_full(&request) && self.is_disk_full();
                            let handled = handle(self.raft.clone(), request, is_refused);
                            handling.push(async move { (bytes, handled.await) });
                        }
                    }
                    Ok(None) => return "it has ended the stream".to_owned(),
                    Err(status) => return crate::peers::error::described(&status),
                },
                () = self.answers.closed() => return "the connection is gone".to_owned(),
            }
        }
    }
}

/// What a node whose disk has no room does not take: entries of samples. Votes, heartbeats, commands that make room and what
/// concerns the whole cluster are small.
fn is_refused_when_full(request: &RaftRequest) -> bool {
    request.message.len() > SMALL_MESSAGE_BYTES && !is_common(GroupId(request.group))
}

/// Hands a message to its replica. No answer where there is none in time: whoever asked has given up.
async fn handle(raft: RaftNode, request: RaftRequest, is_refused: bool) -> Option<RaftAnswer> {
    let RaftRequest { id, group, replica, message } = request;
    if is_refused {
        let reason = "the disk of its node is nearly full".to_owned();
        return Some(RaftAnswer { id, result: Some(Outcome::Refused(reason)) });
    }
    // A group keeps parts of what it gets for a while: a small part must not keep a whole batch in memory.
    let message = Bytes::copy_from_slice(&message);
    let handled = raft.handle(GroupId(group), ReplicaId(replica), message);
    let result = match timeout(HANDLE_DEADLINE, handled).await.ok()? {
        Ok(answer) => Outcome::Answer(answer),
        Err(error) => Outcome::Refused(error.to_string()),
    };
    Some(RaftAnswer { id, result: Some(result) })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
