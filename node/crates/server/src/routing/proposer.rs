//! Proposes what waits for a group that is led here, one entry at a time: while one is in flight, all frames that arrive
//! for the group queue up and leave together as the next, after a short pause where replicas make entries slow. So frames
//! are stored in the order in which they were queued, and entries are large when there is much to do, which is what
//! replication pays for: their number.

use std::sync::Arc;
use std::time::Duration;

use bellwether_ingest::{Compression, EntryBuilder, EntryCompressor, entry_version};
use bellwether_model::ShardGroupId;
use bellwether_probe::buggify;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::disk_room::DiskRoom;
use super::error::RouteError;
use super::frames::{FrameQueue, Taken, Waiting};
use super::head_room::HeadRoom;
use crate::env::{ExecutorHandle, WallClock};
use crate::metrics::WriteMetrics;
use crate::shards::group::Stamp;
use crate::shards::{ShardGroup, Shards, replies};

/// Entries up to this size are compressed where they are made, in about a millisecond; larger ones on the ingest executor.
const INLINE_COMPRESS_BYTES_MAX: usize = 256 << 10;

/// Longest pause for the sake of a larger entry: what replication costs is their number.
const GATHERING_MAX: Duration = Duration::from_millis(5);

/// Frames of so many bytes do not wait for more.
const GATHERED_BYTES: usize = 64 << 10;

/// How late the simulation has some answers come.
const LATE: Duration = Duration::from_millis(700);

/// Compressors kept; whoever needs one more makes it.
const COMPRESSORS_MAX: usize = 8;

/// What proposals are stamped with, and what making them takes.
#[derive(Clone)]
pub struct Stamping {
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// How long samples are kept.
    pub retention_ms: i64,
    /// Series that one tenant may have in one group.
    pub tenant_series_max: u32,
    /// Refuses while heads take too much memory.
    pub head_room: Arc<HeadRoom>,
    /// Refuses while not enough disks have room.
    pub disk_room: Arc<DiskRoom>,
    /// What entries are compressed with.
    pub compressors: Arc<Compressors>,
    /// Where large entries are compressed.
    pub ingest: ExecutorHandle,
    /// Counts entries.
    pub metrics: Arc<WriteMetrics>,
}

/// Proposes what is queued for the group until the queue is closed and empty.
pub async fn propose_queued(queue: Arc<FrameQueue>, group: ShardGroupId, shards: Arc<Shards>, stamping: Stamping) {
    loop {
        let mut entry = EntryBuilder::default();
        let is_enough = |entry: &EntryBuilder| !entry.is_empty() && buggify("a small entry");
        match queue.take(|waiting| !is_enough(&entry) && entry.push(waiting.frame.as_ref())) {
            Taken::Frames(frames) => {
                stamping.metrics.proposals.inc();
                stamping.metrics.frames.inc_by(frames.len() as u64);
                stamping.metrics.proposed_bytes.inc_by(entry.byte_len() as u64);
                let began = Instant::now();
                let needed = frames.iter().map(|waiting| entry_version(waiting.frame.as_ref())).max();
                let (proposed, is_replicated) = match shards.local(group) {
                    Ok(group) if needed.is_some_and(|needed| needed > group.owned().entry_version()) => {
                        (Err(RouteError::TooNew(group.id())), false)
                    }
                    Ok(group) => (propose(&group, &stamping, entry).await, group.raft.has_others()),
                    Err(not_served) => (Err(not_served.into()), false),
                };
                settle(frames, proposed);
                if is_replicated && (1..GATHERED_BYTES).contains(&queue.bytes()) {
                    gather(began.elapsed()).await;
                }
            }
            Taken::Nothing => queue.woken().await,
            Taken::Closed => return,
        }
    }
}

/// Lets frames join those that wait, after an entry that took so long. Whoever comes to an idle group never waits for this,
/// and where entries are fast nobody does.
async fn gather(last_entry: Duration) {
    let pause = (last_entry / 2).min(GATHERING_MAX);
    // Less is no more than the clock of timers can tell.
    if pause >= Duration::from_millis(1) {
        sleep(pause).await;
    }
}

async fn propose(group: &ShardGroup, stamping: &Stamping, entry: EntryBuilder) -> Result<Bytes, RouteError> {
    // What other nodes send has passed no gate here.
    stamping.head_room.check()?;
    stamping.disk_room.check(&group.raft)?;
    let stamp = group.stamp(&*stamping.clock, stamping.retention_ms, stamping.tenant_series_max);
    // With one replica the bytes cross no network, and compressing costs more than syncing them.
    let entry = match group.raft.has_others() {
        true => stamping.compressors.finish(entry, stamp, &stamping.ingest).await?,
        false => entry.finish(stamp.now, stamp.limits, Compression::Never).into(),
    };
    let proposed = group.propose(entry).await;
    stamping.head_room.grown(group.id(), group.shard().head_bytes());
    if buggify("a late answer to a proposal") {
        sleep(LATE).await;
    }
    Ok(proposed?)
}

/// Compressors that nobody uses at the moment. Their tables are worth keeping.
#[derive(Default)]
pub struct Compressors(Mutex<Vec<EntryCompressor>>);

impl Compressors {
    /// The entry's bytes, compressed.
    async fn finish(
        self: &Arc<Self>,
        entry: EntryBuilder,
        stamp: Stamp,
        ingest: &ExecutorHandle,
    ) -> Result<Bytes, RouteError> {
        if entry.byte_len() <= INLINE_COMPRESS_BYTES_MAX {
            return Ok(self.finish_here(entry, stamp));
        }
        let this = self.clone();
        ingest.run(move || this.finish_here(entry, stamp)).await.map_err(|_| RouteError::Stopping)
    }

    fn finish_here(&self, entry: EntryBuilder, stamp: Stamp) -> Bytes {
        let mut compressor = self.0.lock().pop().unwrap_or_default();
        let bytes = entry.finish(stamp.now, stamp.limits, Compression::WhenItPays(&mut compressor));
        let mut idle = self.0.lock();
        if idle.len() < COMPRESSORS_MAX {
            idle.push(compressor);
        }
        bytes.into()
    }
}

fn settle(frames: Vec<Waiting>, proposed: Result<Bytes, RouteError>) {
    let reply = match proposed {
        Ok(reply) => reply,
        Err(error) => return frames.into_iter().for_each(|waiting| waiting.fail(error.clone())),
    };
    let mut replies = replies::decode_frames(&reply);
    for waiting in frames {
        waiting.settle(match replies.next() {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(error)) => Err(RouteError::Reply(error.to_string())),
            None => Err(RouteError::Reply("it ends early".to_owned())),
        });
    }
}
