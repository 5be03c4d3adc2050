//! Any node takes any request: here it finds its way to the replicas that can answer it.
//!
//! Writes go to the leaders of the groups that own the series ([`writes`]): into the group's queue where this node leads
//! ([`proposer`]), else with whatever else waits for the leader's node ([`outbox`]). What fails because a leader has
//! changed is tried again with the better knowledge ([`leaders`]), within a budget ([`pace`]).
//!
//! Reads ([`reads`], and [`reductions`] for what is aggregated where it is) go to replicas here once they have come far enough ([`sources`], [`freshness`]), else to other nodes.
//! What these ask of this one is in [`serve`].

mod changes;
mod commands;
mod concerned;
mod disk_room;
mod error;
mod frames;
mod freshness;
mod head_room;
mod leaders;
mod outbox;
mod pace;
mod proposer;
mod readiness;
mod reads;
pub mod reconcile;
mod reductions;
pub mod remote;
mod resolve;
mod scan_parts;
mod serve;
mod sources;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bellwether_model::ShardGroupId;
use bellwether_promql::MemoryPool;
use bellwether_raft::NodeId;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

pub use changes::{GroupChanges, ReadAt, ReadPlaces};
pub use commands::{MaintainError, NotReplicated};
pub use disk_room::{DiskRoom, NoDisk};
pub use error::{Again, RouteError};
pub use frames::{Frame, PendingReply};
pub use head_room::{HeadRoom, HeadsFull};
pub use reads::Selectors;
pub use reductions::Reduction;
pub use resolve::{Resolved, resolve_here};
pub use writes::{Collected, collect};

use crate::config::Config;
use crate::env::Env;
use crate::metrics::WriteMetrics;
use crate::shards::Shards;
use frames::FrameQueue;
use leaders::{Hints, Leader};
use pace::{Jitter, Pace};
use proposer::Stamping;
use remote::Remote;

/// A group may have this many times its even share of the series that a tenant may have: groups are not filled evenly.
const SERIES_SHARE_SLACK: u64 = 4;

/// Part of the node's memory limit that scans for other nodes may hold together.
const SCAN_MEMORY_SHARE: u64 = 8;
/// The same where the node has no memory limit.
const SCAN_MEMORY_WITHOUT_LIMIT: u64 = 512 << 20;

/// See the module.
pub struct Router {
    shards: Arc<Shards>,
    remote: Arc<dyn Remote>,
    hints: Hints,
    jitter: Jitter,
    stamping: Stamping,
    queues: RwLock<Queues>,
    /// Bytes that wait in all queues.
    waiting_bytes: Arc<AtomicUsize>,
    /// Where queues are emptied: they are made by whoever decodes a body, which may be a thread without a runtime.
    runtime: Handle,
    /// What scans for other nodes hold together.
    scan_memory: Arc<MemoryPool>,
    /// The newest mover that asked something of a group.
    mover_epochs: Mutex<BTreeMap<ShardGroupId, u64>>,
}

/// The queues of frames that wait. Each is made when it is first needed, together with the task that empties it.
#[derive(Default)]
struct Queues {
    groups: BTreeMap<ShardGroupId, Arc<FrameQueue>>,
    nodes: BTreeMap<NodeId, Arc<FrameQueue>>,
    closed: bool,
}

impl Router {
    /// A router over a node's replicas and the way to other nodes.
    pub fn new(
        shards: Arc<Shards>,
        remote: Arc<dyn Remote>,
        config: &Config,
        env: &Env,
        metrics: Arc<WriteMetrics>,
    ) -> Arc<Router> {
        let groups = shards.ring().groups().len().max(1) as u64;
        let series_max = config.ingest.max_series;
        let share = (series_max.saturating_mul(SERIES_SHARE_SLACK) / groups).min(series_max);
        let stamping = Stamping {
            clock: env.clock.clone(),
            retention_ms: config.retention.as_millis() as i64,
            tenant_series_max: share.clamp(1, u64::from(u32::MAX)) as u32,
            head_room: Arc::new(HeadRoom::new(config)),
            disk_room: Arc::new(DiskRoom::new(remote.clone())),
            compressors: Arc::default(),
            ingest: env.executors.ingest.clone(),
            metrics,
        };
        let jitter = Jitter::new(env.seed.split("routing"));
        Arc::new(Router {
            shards,
            remote,
            hints: Hints::default(),
            jitter,
            stamping,
            queues: RwLock::default(),
            waiting_bytes: Arc::default(),
            runtime: Handle::current(),
            scan_memory: MemoryPool::new(scan_memory_bytes(config)),
            mover_epochs: Mutex::default(),
        })
    }

    /// This node's replicas.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// Follows the memory of this node's heads.
    pub fn head_room(&self) -> &HeadRoom {
        &self.stamping.head_room
    }

    /// Follows the room on this node's disk.
    pub fn disk_room(&self) -> &Arc<DiskRoom> {
        &self.stamping.disk_room
    }

    /// The pauses between attempts of one thing.
    pub fn pace(&self) -> Pace<'_> {
        Pace::begin(&self.jitter)
    }

    /// Sends on what waits, and takes nothing in any more.
    pub fn close(&self) {
        let mut queues = self.queues.write();
        queues.closed = true;
        queues.groups.values().chain(queues.nodes.values()).for_each(|queue| queue.close());
    }

    /// Who leads a group; each attempt may give another answer.
    fn leader_of(&self, group: ShardGroupId, attempt: usize) -> Leader {
        self.hints.leader_of(&self.shards, group, attempt)
    }

    /// Queues frames that belong together. Where there is no room, what was given up makes some.
    fn push(
        &self,
        queue: &FrameQueue,
        group: ShardGroupId,
        frames: Vec<Frame>,
    ) -> Result<Vec<PendingReply>, (RouteError, Vec<Frame>)> {
        let pushed = queue.push(group, frames);
        let Err((RouteError::QueueFull { .. }, _)) = &pushed else { return pushed };
        let queues = self.queues.read();
        let dropped = queues.groups.values().chain(queues.nodes.values()).filter(|queue| queue.drop_given_up()).count();
        match pushed {
            Err((_, frames)) if dropped > 0 => queue.push(group, frames),
            pushed => pushed,
        }
    }

    /// The queue of a group that is led here.
    fn group_queue(&self, group: ShardGroupId) -> Result<Arc<FrameQueue>, RouteError> {
        if let Some(queue) = self.queues.read().groups.get(&group) {
            return Ok(queue.clone());
        }
        let mut queues = self.queues.write();
        if queues.closed {
            return Err(RouteError::Stopping);
        }
        let queue = queues.groups.entry(group).or_insert_with(|| {
            let queue = Arc::new(FrameQueue::new(self.waiting_bytes.clone()));
            let (shards, stamping) = (self.shards.clone(), self.stamping.clone());
            self.runtime.spawn(proposer::propose_queued(queue.clone(), group, shards, stamping));
            queue
        });
        Ok(queue.clone())
    }

    /// The queue of another node.
    fn node_queue(&self, node: NodeId) -> Result<Arc<FrameQueue>, RouteError> {
        if let Some(queue) = self.queues.read().nodes.get(&node) {
            return Ok(queue.clone());
        }
        let mut queues = self.queues.write();
        if queues.closed {
            return Err(RouteError::Stopping);
        }
        let queue = queues.nodes.entry(node).or_insert_with(|| {
            let queue = Arc::new(FrameQueue::new(self.waiting_bytes.clone()));
            self.runtime.spawn(outbox::send_queued(queue.clone(), node, self.remote.clone()));
            queue
        });
        Ok(queue.clone())
    }
}

fn scan_memory_bytes(config: &Config) -> u64 {
    match config.memory_limit.0 {
        0 => SCAN_MEMORY_WITHOUT_LIMIT,
        limit => limit / SCAN_MEMORY_SHARE,
    }
}

#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod reduction_tests;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transition_tests;
