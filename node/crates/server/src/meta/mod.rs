//! The meta group on this node: what concerns the whole cluster, replicated to every node.
//!
//! Reading order: [`state`] (what there is), [`command`] (how it can change) and [`apply`] (how it does), [`settings`],
//! [`codec`] (bytes), [`machine`] (the state machine), [`founding`] and [`joining`] (how a node comes by its identity),
//! [`take_over`] (how a node goes on without a majority), then the handle here, [`restart`] (of a replica that stopped),
//! [`propose`] (how a command finds the leader), [`admit`] (the leader's side of a join) and [`members`] (who votes in the
//! meta group, on its leader).
//!
//! Every node is a member of the group and has the whole state in memory and on its disk, so that it serves by what it
//! knows before there is a leader, and while there is none.

pub mod admit;
pub mod apply;
pub mod codec;
pub mod command;
pub mod founding;
pub mod joining;
pub mod machine;
mod members;
pub mod propose;
pub mod remote;
mod restart;
pub mod rules;
pub mod settings;
pub mod state;
pub mod take_over;
pub mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId};
use bellwether_placement::NodeState;
use bellwether_raft::{GroupId, RaftGroup, RaftNode, StartError, Transport};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::env::{Env, Executors, Seed, WallClock};
use crate::replication::{Stopping, on_raft};
use crate::shards::identity::NodeIdentity;

pub use command::{MetaCommand, MetaReply, Outcome, Refusal};
use joining::{Pauses, Remote};
use machine::{Addresses, MetaStateMachine, StateFileError};
pub use propose::MetaError;
use state::NodeFacts;
pub use state::{Event, EventKind, MetaState, NodeRecord};

/// The group's number. No shard group ever gets it.
pub const META_GROUP: GroupId = GroupId(u32::MAX);

/// How long a start waits for the log of a node that is alone.
const READY_WAIT: Duration = Duration::from_secs(5);
/// A leader that no quorum has answered for longer leads nobody.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long changes gather before they are written to this node's file.
const FLUSH_PAUSE: Duration = Duration::from_millis(100);
/// Pauses between attempts of what must succeed some time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The meta group on this node. Clones are handles to the same.
#[derive(Clone)]
pub struct Meta(Arc<Inner>);

struct Inner {
    identity: NodeIdentity,
    machine: Arc<MetaStateMachine>,
    /// Another one after each [`restart`].
    group: RwLock<RaftGroup>,
    raft: RaftNode,
    transport: Arc<dyn Transport>,
    executors: Executors,
    /// Held while the replica is started again.
    restarting: tokio::sync::Mutex<()>,
    remote: Arc<dyn Remote>,
    clock: Arc<dyn WallClock>,
    seed: Seed,
    /// Requests drawn so far.
    drawn: AtomicU64,
    /// What runs beside, until the handle goes.
    tasks: parking_lot::Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(AbortHandle::abort);
    }
}

/// Why the meta group does not run on this node.
#[derive(Debug, thiserror::Error)]
pub enum MetaStartError {
    /// The node's copy of the state cannot be used.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The identity and the state are not of the same node.
    #[error("the data directory is damaged: it is of node {node} of cluster {cluster:032x}, its meta state is not")]
    Mixed {
        /// The identity's cluster.
        cluster: u128,
        /// The identity's node.
        node: u64,
    },
    /// The cluster goes on without this node.
    #[error(transparent)]
    Removed(Refusal),
    /// Its log is damaged, or its replica cannot be started.
    #[error("the meta group cannot be started")]
    Group(#[from] StartError),
    /// The founding could not be committed.
    #[error("the founding of the cluster failed")]
    Founding(#[source] MetaError),
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// The node's copy of the cluster's state, before the group runs.
pub struct MetaStore {
    identity: NodeIdentity,
    machine: Arc<MetaStateMachine>,
}

impl MetaStore {
    /// Reads it, and makes sure that this node is still wanted.
    pub async fn open(identity: NodeIdentity, env: &Env) -> Result<MetaStore, MetaStartError> {
        let (disk, fatal, supported) = (env.disk.clone(), env.fatal.clone(), env.program.formats.highest);
        let machine = env.executors.scan.run(move || MetaStateMachine::open(disk, fatal, supported)).await;
        let machine = Arc::new(machine.map_err(|_| Stopping)??);
        let state = machine.state().borrow().clone();
        let node = NodeId(identity.node);
        if state.is_removed(node) {
            return Err(MetaStartError::Removed(Refusal::NodeRemoved(node)));
        }
        let replica = state.nodes.get(&node).map(|record| record.meta_replica);
        // What came of the log since it joined may have been lost with the power; it comes again.
        let is_of_before_it_joined = replica.is_none() && node >= state.next_node;
        let is_its_own = replica == Some(ReplicaId(identity.meta_replica)) || is_of_before_it_joined;
        if state.cluster != identity.cluster || !is_its_own {
            return Err(MetaStartError::Mixed { cluster: identity.cluster, node: identity.node });
        }
        Ok(MetaStore { identity, machine })
    }

    /// The cluster's state as this node knows it.
    pub fn state(&self) -> watch::Receiver<Arc<MetaState>> {
        self.machine.state()
    }

    /// Where the nodes are reached.
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.machine.addresses()
    }
}

impl Meta {
    /// Starts the group's replica. Where the node is one of several it waits for nobody: the leader finds it.
    pub async fn start(
        store: MetaStore,
        facts: NodeFacts,
        raft: RaftNode,
        transport: Arc<dyn Transport>,
        remote: Arc<dyn Remote>,
        env: &Env,
    ) -> Result<Meta, MetaStartError> {
        let MetaStore { identity, machine } = store;
        let own = bellwether_raft::ReplicaId(identity.meta_replica);
        let founds = identity.node == apply::FOUNDER.0;
        let machine_of_group = machine.clone();
        let (raft_of_group, transport_of_group) = (raft.clone(), transport.clone());
        let group = on_raft(&env.executors, async move {
            let group = if founds {
                let members = BTreeMap::from([(own, identity.node)]);
                raft_of_group.found_group(META_GROUP, own, members, machine_of_group, transport_of_group).await?
            } else {
                raft_of_group.start_group(META_GROUP, own, machine_of_group, transport_of_group).await?
            };
            if founds && group.votes_alone().await {
                // Nobody else is needed for its log to be applied; only a full disk can keep it.
                match timeout(READY_WAIT, group.ready()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        return Err(StartError::Stopped { group: META_GROUP, reason: error.to_string() });
                    }
                    Err(_) => tracing::warn!("the meta group's log is not applied yet; the node goes by what it knew"),
                }
            }
            Ok::<_, StartError>(group)
        });
        let seed = env.seed.split(&format!("meta {} {}", identity.node, env.clock.now_ms()));
        let meta = Meta(Arc::new(Inner {
            identity,
            machine,
            group: RwLock::new(group.await??),
            raft,
            transport,
            executors: env.executors.clone(),
            restarting: tokio::sync::Mutex::default(),
            remote,
            clock: env.clock.clone(),
            seed,
            drawn: AtomicU64::new(0),
            tasks: parking_lot::Mutex::default(),
        }));
        if founds {
            meta.found().await.map_err(MetaStartError::Founding)?;
        }
        let tasks = [
            tokio::spawn(flush_changes(meta.state(), meta.weak())),
            tokio::spawn(restart::keep_running(meta.weak())),
            tokio::spawn(members::keep(meta.weak())),
            tokio::spawn(announce(meta.weak(), facts)),
        ];
        meta.0.tasks.lock().extend(tasks.iter().map(tokio::task::JoinHandle::abort_handle));
        Ok(meta)
    }

    /// The founder's first command, unless it was committed before.
    async fn found(&self) -> Result<(), MetaError> {
        let state = self.now();
        match founding::founding_of(&state) {
            // Where others vote, it was committed for them to be there.
            Some(founding) if self.group().votes_alone().await && !self.0.machine.is_applied() => {
                self.propose(MetaCommand::Found(Box::new(founding))).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Who this node is.
    pub fn identity(&self) -> NodeIdentity {
        self.0.identity
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        NodeId(self.0.identity.node)
    }

    /// The cluster's state as this node knows it, and its changes.
    pub fn state(&self) -> watch::Receiver<Arc<MetaState>> {
        self.0.machine.state()
    }

    /// The cluster's state as this node knows it now.
    pub fn now(&self) -> Arc<MetaState> {
        self.state().borrow().clone()
    }

    /// Where the nodes are reached, and its changes.
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.0.machine.addresses()
    }

    /// This node's replica of the group as it runs now: not to be kept, for it is another one after it was started again.
    pub fn group(&self) -> RaftGroup {
        self.0.group.read().clone()
    }

    /// The node that leads the group, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.group().state().leader.map(|leader| NodeId(leader.node))
    }

    /// Whether this node leads the group.
    pub fn is_leader(&self) -> bool {
        self.group().state().is_leader
    }

    /// Whether this node leads the group and a quorum has answered it lately: one that is cut off goes on leading nobody.
    pub fn leads_a_quorum(&self) -> bool {
        self.is_leader() && self.group().staleness().is_some_and(|age| age <= QUORUM_SILENCE_MAX)
    }

    /// Stops what runs beside the group, and writes what this node knows. The group itself stops with its [`RaftNode`].
    pub async fn stop(&self) {
        // What has begun to start does so beside its task.
        let _restarting = self.0.restarting.lock().await;
        self.0.tasks.lock().drain(..).for_each(|task| task.abort());
        if let Err(error) = self.group().flush().await {
            tracing::warn!(%error, "the state of the meta group was not written");
        }
    }

    fn weak(&self) -> WeakMeta {
        WeakMeta(Arc::downgrade(&self.0))
    }
}

/// Does not keep the group: for what runs beside it.
#[derive(Clone)]
struct WeakMeta(std::sync::Weak<Inner>);

impl WeakMeta {
    fn get(&self) -> Option<Meta> {
        self.0.upgrade().map(Meta)
    }
}

/// Writes the state to this node's file soon after it has changed: a restart goes by it before there is a leader.
async fn flush_changes(mut state: watch::Receiver<Arc<MetaState>>, meta: WeakMeta) {
    state.mark_changed();
    while state.changed().await.is_ok() {
        sleep(FLUSH_PAUSE).await;
        state.mark_unchanged();
        let Some(group) = meta.get().map(|meta| meta.group()) else { return };
        if let Err(error) = group.flush().await {
            tracing::warn!(%error, "the state of the meta group was not written");
            sleep(RETRY_PAUSE_MIN).await;
            state.mark_changed();
        }
    }
}

/// Tells the cluster what this node says of itself, where that is not what the cluster knows. Ends when it does.
async fn announce(meta: WeakMeta, facts: NodeFacts) {
    let Some(seed) = meta.get().map(|meta| meta.0.seed.split("announce")) else { return };
    let mut pauses = Pauses::new(seed, RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
    loop {
        let Some(meta) = meta.get() else { return };
        let known = meta.now().nodes.get(&meta.node()).map(|record| (record.facts.clone(), record.state));
        match known {
            Some((known, state)) if known == facts || state == NodeState::Removed => return,
            _ => {}
        }
        let command = MetaCommand::UpdateNode { node: meta.node(), facts: facts.clone(), rules: rules::fingerprint() };
        match meta.propose(command).await {
            Ok(_) => return,
            Err(MetaError::Refused(refusal)) => {
                tracing::error!(%refusal, "the cluster does not take what this node says of itself");
                return;
            }
            Err(error) => tracing::warn!(%error, "the cluster does not know yet where this node is now"),
        }
        drop(meta);
        sleep(pauses.next()).await;
    }
}

#[cfg(test)]
mod tests;
