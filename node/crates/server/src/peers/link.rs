//! The stream that carries Raft to one other node, and its answers back.
//!
//! Requests of all groups wait in one queue. Whenever the stream takes a batch, everything that waits leaves in it: while
//! one batch is under way the next one gathers, so that idle groups' heartbeats cost one message per node and tick, and
//! appends of many groups share theirs. Answers come in any order and find their requests by number.
//!
//! When the stream dies, everything that waits or is under way fails at once. Until there is a stream again, everything
//! new fails at once, too: Raft knows best when to try again.

mod queue;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bellwether_model::NodeId;
use bellwether_proto::peer::v1::RaftBatch;
use bellwether_raft::{Peer, RaftNode, TransportError};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use self::queue::{Queue, Tally};
use super::PeerClient;
use super::Removal;
use super::clock_filter::{ClockFilter, Exchange};
use super::dial::Dialer;
use super::error::{PeerError, chain, described, is_refused_connection};
use super::identity::Introduction;
use super::limits::{CLOCK_INTERVAL, CONNECT_DEADLINE, LINK_BYTES_MAX, RECONNECT_PAUSE_MAX, SMALL_MESSAGE_BYTES};
use super::metrics::LinkMetrics;
use super::pace::Pace;
use crate::env::{Spawner, WallClock};

/// See the module. Used by Raft's callers; [`run`] carries it.
pub struct Link {
    queue: Mutex<Queue>,
    /// Something was added to the queue.
    wake: Notify,
    /// Bytes that may wait or be under way.
    room: Arc<Semaphore>,
    clocks: Mutex<ClockFilter>,
    /// What the other node said last of its disk.
    disk_full: AtomicBool,
    metrics: LinkMetrics,
}

impl Link {
    /// A link that nothing carries yet.
    pub fn new(metrics: LinkMetrics) -> Link {
        Link {
            queue: Mutex::default(),
            wake: Notify::new(),
            room: Arc::new(Semaphore::new(LINK_BYTES_MAX)),
            clocks: Mutex::default(),
            disk_full: AtomicBool::new(false),
            metrics,
        }
    }

    /// Brings a message to a replica and its answer back.
    pub async fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> Result<Bytes, TransportError> {
        let exchange = async {
            let _room = self.room_for(message.len()).await?;
            let (ticket, answer) = self.queue.lock().push(to, message).map_err(TransportError::Unreachable)?;
            let _under_way = UnderWay { link: self, ticket };
            self.metrics.in_flight.inc();
            self.wake.notify_one();
            answer.await.unwrap_or_else(|_| Err(TransportError::Unreachable("the node is shutting down".to_owned())))
        };
        timeout(deadline, exchange).await.unwrap_or(Err(TransportError::Deadline))
    }

    async fn room_for(&self, bytes: usize) -> Result<Option<tokio::sync::SemaphorePermit<'_>>, TransportError> {
        if bytes <= SMALL_MESSAGE_BYTES {
            return Ok(None);
        }
        // Does not wait for what would be refused.
        self.queue.lock().check().map_err(TransportError::Unreachable)?;
        let room = u32::try_from(bytes.min(LINK_BYTES_MAX)).expect("LINK_BYTES_MAX fits");
        Ok(Some(self.room.acquire_many(room).await.expect("the semaphore is never closed")))
    }

    /// Whether the other node's disk has no room, as far as it has said.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// Compares the clocks anew.
    pub fn forget_clock(&self) {
        self.clocks.lock().clear();
    }

    /// The other node's clock, as far as it could be compared.
    pub fn clock(&self) -> Option<Exchange> {
        self.clocks.lock().best()
    }
}

/// A request that somebody waits for. Dropped, it is forgotten.
struct UnderWay<'a> {
    link: &'a Link,
    ticket: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.link.queue.lock().forget(self.ticket);
        self.link.metrics.in_flight.dec();
    }
}

/// What carries a link.
pub struct Carrier {
    /// The link.
    pub link: Arc<Link>,
    /// How to connect.
    pub dialer: Dialer,
    /// Who we are.
    pub introduction: Introduction,
    /// Told when the other side says that we were removed.
    pub removal: Removal,
    /// Where the connection's tasks run.
    pub spawner: Arc<dyn Spawner>,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// Pauses between attempts.
    pub pace: Pace,
    /// Told when the node is found, and when nobody listens where it should be.
    pub raft: Arc<OnceLock<RaftNode>>,
    /// The node.
    pub node: NodeId,
}

impl Carrier {
    /// Connects, and connects again, until `alive` closes.
    pub async fn run(mut self, mut alive: watch::Receiver<()>) {
        tokio::select! {
            biased;
            // Nothing is ever sent: it ends when the other half is dropped.
            _ = alive.changed() => {}
            () = self.carry() => {}
        }
        self.link.metrics.up.set(0);
        self.link.queue.lock().fail("this node has let go of the other");
    }

    async fn carry(&mut self) {
        loop {
            let ended = match self.connect().await {
                Ok(stream) => {
                    tracing::info!(peer = %self.dialer.callee(), address = self.dialer.address(), "connected");
                    self.link.metrics.connected.inc();
                    self.link.metrics.up.set(1);
                    self.link.queue.lock().open();
                    if let Some(raft) = self.raft.get() {
                        raft.peer_found(self.node.0);
                    }
                    let since = Instant::now();
                    let reason = self.exchange(stream).await;
                    self.link.metrics.up.set(0);
                    // The next attempt is made at once: it tells whether the process is dead.
                    if since.elapsed() >= RECONNECT_PAUSE_MAX {
                        self.pace.succeeded();
                    } else {
                        self.pace.failed(Instant::now());
                    }
                    Ended { reason, refused: false }
                }
                Err(ended) => {
                    self.link.metrics.failed.inc();
                    self.pace.failed(Instant::now());
                    ended
                }
            };
            self.link.clocks.lock().clear();
            self.link.disk_full.store(false, Ordering::Relaxed);
            let first = self.link.queue.lock().fail(&ended.reason);
            if first {
                tracing::warn!(peer = %self.dialer.callee(), reason = ended.reason, "cannot be reached");
            }
            if ended.refused
                && let Some(raft) = self.raft.get()
            {
                raft.peer_lost(self.node.0);
            }
            if let Some(wait) = self.pace.wait(Instant::now()) {
                sleep(wait).await;
            }
        }
    }

    async fn connect(&self) -> Result<Stream, Ended> {
        let ended = |reason: String, refused| Ended { reason, refused };
        let connecting = timeout(CONNECT_DEADLINE, self.dialer.connect(self.spawner.clone()));
        let channel = match connecting.await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(ended(chain(&error), is_refused_connection(&error))),
            Err(_) => return Err(ended(format!("no connection within {CONNECT_DEADLINE:?}"), false)),
        };
        let client = PeerClient::new(self.dialer.callee(), channel, self.introduction.clone(), self.removal.clone());
        // One batch waits for the connection to take it; what comes meanwhile gathers in the queue.
        let (batches, stream) = mpsc::channel(1);
        let answers = client.raft(ReceiverStream::new(stream), CONNECT_DEADLINE).await;
        let answers = answers.map_err(|error| match error {
            PeerError::Unreachable { reason, .. } => ended(reason, false),
            other => ended(other.to_string(), false),
        })?;
        Ok(Stream { batches, answers, _client: client })
    }

    /// Sends batches and takes answers until the stream ends; says why it did.
    async fn exchange(&self, stream: Stream) -> String {
        let Stream { batches, mut answers, _client } = stream;
        let link = &*self.link;
        let mut tally = Tally::default();
        // At once: the clocks are to be compared before anybody asks.
        let mut compare_at = Instant::now();
        loop {
            let has_work = link.queue.lock().has_work() || Instant::now() >= compare_at;
            tokio::select! {
                biased;
                answered = answers.message() => match answered {
                    Ok(Some(batch)) => self.answered(batch, &mut tally),
                    Ok(None) => return "it has ended the stream".to_owned(),
                    Err(status) => return described(&status),
                },
                room = batches.reserve(), if has_work => {
                    let Ok(room) = room else { return "the connection is gone".to_owned() };
                    let batch = link.queue.lock().take(&mut tally, self.clock.now_ms(), Instant::now());
                    let bytes: usize = batch.requests.iter().map(|request| request.message.len()).sum();
                    link.metrics.sent_bytes.inc_by(bytes as u64);
                    link.metrics.sent_messages.inc_by(batch.requests.len() as u64);
                    link.metrics.sent_batches.inc();
                    compare_at = Instant::now() + CLOCK_INTERVAL;
                    room.send(batch);
                }
                () = link.wake.notified() => {}
                () = sleep_until(compare_at), if !has_work => {}
            }
        }
    }

    fn answered(&self, batch: RaftBatch, tally: &mut Tally) {
        let (link, now) = (&*self.link, Instant::now());
        let held = Duration::from_micros(batch.echo_held_us);
        if let Some(round_trip) = tally.echoed(batch.echo_sequence, held, now) {
            let mut clocks = link.clocks.lock();
            clocks.add(round_trip, batch.sent_ms, self.clock.now_ms());
            if let Some(Exchange { round_trip, offset_ms }) = clocks.best() {
                link.metrics.set_clock(round_trip, offset_ms);
            }
        }
        link.disk_full.store(batch.disk_full, Ordering::Relaxed);
        link.metrics.received_batches.inc();
        link.metrics.received_messages.inc_by(batch.answers.len() as u64);
        let mut queue = link.queue.lock();
        for answer in batch.answers {
            link.metrics.received_bytes.inc_by(queue.answered(answer) as u64);
        }
    }
}

/// A stream that is open.
struct Stream {
    batches: mpsc::Sender<RaftBatch>,
    answers: Streaming<RaftBatch>,
    /// Keeps the connection.
    _client: PeerClient,
}

/// Why there is no stream.
struct Ended {
    reason: String,
    /// Whether the host said that nobody listens.
    refused: bool,
}
