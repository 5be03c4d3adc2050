//! A Raft group of which every node is a member: the meta group and the alert groups. All nodes have the whole state of such a
//! group in memory and on their disks, 1, 3 or 5 of them vote, and a node has the same replica id in each of them.
//!
//! Reading order: the handle here, [`propose`] (how a request finds the leader), [`members`] (who is in it, on its leader),
//! [`restart`] (of a replica that stopped), [`state_store`] (what a machine keeps on the disk). What a group is about is its machine's affair.

pub mod members;
mod pauses;
pub mod propose;
mod restart;
pub mod state_store;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bellwether_model::{NodeId, Timestamp};
use bellwether_raft::{GroupId, RaftGroup, RaftNode, ReplicaId, StartError, StateMachine, Transport};
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::env::{BoxFuture, Env, Executors, Seed, WallClock};
use crate::meta::MetaState;
use crate::meta::apply::FOUNDER;
use crate::replication::{Stopping, on_raft};
use crate::shards::identity::NodeIdentity;
pub use pauses::Pauses;
use propose::Remote;

/// How long a start waits for the log of a node that is alone.
const READY_WAIT: Duration = Duration::from_secs(5);
/// A leader that no quorum has answered for longer leads nobody.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);

/// What such a group is about.
pub trait CommonMachine: StateMachine {
    /// Goes back to what the disk holds, for the log to be applied from there again. Blocks.
    fn reload(&self) -> Result<(), String>;

    /// A request that this program understands, with the time of the leader's clock in it; an error says why it cannot be read.
    fn stamped(&self, request: &[u8], now: Timestamp) -> Result<Bytes, String>;

    /// What has been applied here, as an index of the log: one that rises whenever something changes.
    fn index(&self) -> u64;

    /// Ends once that much has been applied here.
    fn has_applied(&self, index: u64) -> BoxFuture<'_, ()>;
}

/// Such a group on this node. Clones are handles to the same.
#[derive(Clone)]
pub struct CommonGroup(Arc<Inner>);

struct Inner {
    /// For people: `the meta group`.
    name: String,
    id: GroupId,
    identity: NodeIdentity,
    machine: Arc<dyn CommonMachine>,
    voters: Voters,
    /// Another one after each [`restart`].
    replica: RwLock<RaftGroup>,
    world: World,
    executors: Executors,
    clock: Arc<dyn WallClock>,
    /// Held while the replica is started again.
    restarting: tokio::sync::Mutex<()>,
    seed: Seed,
    /// Requests proposed so far.
    drawn: AtomicU64,
    /// What runs beside, until the handle goes.
    tasks: parking_lot::Mutex<Vec<AbortHandle>>,
}

/// Who votes in a group.
#[derive(Clone)]
pub enum Voters {
    /// Nodes that are chosen for being there, in different zones.
    Chosen,
    /// The nodes that vote in another group: what loses its majority loses it together, and is recovered together.
    Like(CommonGroup),
}

/// What the groups of a node share.
#[derive(Clone)]
pub struct World {
    /// Raft on this node.
    pub raft: RaftNode,
    /// The way of Raft's messages.
    pub transport: Arc<dyn Transport>,
    /// The way of requests to other nodes.
    pub remote: Arc<dyn Remote>,
    /// The cluster: which nodes there are.
    pub state: watch::Receiver<Arc<MetaState>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(AbortHandle::abort);
    }
}

impl CommonGroup {
    /// Starts this node's replica; the founder's founds the group where it has no log. Where the node is one of several it waits for
    /// nobody: the leader finds it.
    pub async fn start(
        (name, id): (String, GroupId),
        identity: NodeIdentity,
        (machine, voters): (Arc<dyn CommonMachine>, Voters),
        world: World,
        env: &Env,
    ) -> Result<Result<CommonGroup, StartError>, Stopping> {
        let replica = ReplicaId(identity.meta_replica);
        let founds = identity.node == FOUNDER.0;
        let state_machine: Arc<dyn StateMachine> = machine.clone();
        let (raft, transport, name_of_task) = (world.raft.clone(), world.transport.clone(), name.clone());
        let started = on_raft(&env.executors, async move {
            let group = if founds {
                let members = BTreeMap::from([(replica, identity.node)]);
                raft.found_group(id, replica, members, state_machine, transport).await?
            } else {
                raft.start_group(id, replica, state_machine, transport).await?
            };
            if founds && group.votes_alone().await {
                // Nobody else is needed for its log to be applied; only a full disk can keep it.
                match timeout(READY_WAIT, group.ready()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(StartError::Stopped { group: id, reason: error.to_string() }),
                    Err(_) => {
                        let group = name_of_task;
                        tracing::warn!(group, "its log is not applied yet; the node goes by what it knew");
                    }
                }
            }
            Ok::<_, StartError>(group)
        });
        let replica = match started.await? {
            Ok(group) => RwLock::new(group),
            Err(error) => return Ok(Err(error)),
        };
        let seed = env.seed.split(&format!("{name} {} {}", identity.node, env.clock.now_ms()));
        let group = CommonGroup(Arc::new(Inner {
            name,
            id,
            identity,
            machine,
            voters,
            replica,
            world,
            executors: env.executors.clone(),
            clock: env.clock.clone(),
            restarting: tokio::sync::Mutex::default(),
            seed,
            drawn: AtomicU64::new(0),
            tasks: parking_lot::Mutex::default(),
        }));
        let tasks = [tokio::spawn(restart::keep_running(group.weak())), tokio::spawn(members::keep(group.weak()))];
        group.0.tasks.lock().extend(tasks.iter().map(tokio::task::JoinHandle::abort_handle));
        Ok(Ok(group))
    }

    /// For people: `the meta group`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        NodeId(self.0.identity.node)
    }

    /// Whether the founder's replica: the one that begins the group.
    pub fn is_founder(&self) -> bool {
        self.node() == FOUNDER
    }

    /// This node's replica as it runs now: not to be kept, for it is another one after it was started again.
    pub fn replica(&self) -> RaftGroup {
        self.0.replica.read().clone()
    }

    /// The node that leads the group, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.replica().state().leader.map(|leader| NodeId(leader.node))
    }

    /// Whether this node leads the group.
    pub fn is_leader(&self) -> bool {
        self.replica().state().is_leader
    }

    /// Whether this node leads the group and a quorum has answered it lately: one that is cut off goes on leading nobody.
    pub fn leads_a_quorum(&self) -> bool {
        self.is_leader() && self.replica().staleness().is_some_and(|age| age <= QUORUM_SILENCE_MAX)
    }

    /// The cluster: which nodes there are.
    pub fn cluster(&self) -> Arc<MetaState> {
        self.0.world.state.borrow().clone()
    }

    /// A seed that is this start's and the part's.
    pub fn seed(&self, part: &str) -> Seed {
        self.0.seed.split(part)
    }

    /// Stops what runs beside the group, and writes what this node knows. The group itself stops with its [`RaftNode`].
    pub async fn stop(&self) {
        // What has begun to start does so beside its task.
        let _restarting = self.0.restarting.lock().await;
        self.0.tasks.lock().drain(..).for_each(|task| task.abort());
        if let Err(error) = self.replica().flush().await {
            tracing::warn!(group = self.name(), %error, "its state was not written");
        }
    }

    /// A handle that does not keep the group: for what runs beside it.
    pub fn weak(&self) -> WeakGroup {
        WeakGroup(Arc::downgrade(&self.0))
    }
}

/// See [`CommonGroup::weak`].
#[derive(Clone)]
pub struct WeakGroup(Weak<Inner>);

impl WeakGroup {
    /// The group, while somebody keeps it.
    pub fn get(&self) -> Option<CommonGroup> {
        self.0.upgrade().map(CommonGroup)
    }
}
