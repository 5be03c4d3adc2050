//! The meta group on this node: what concerns the whole cluster, replicated to every node.
//!
//! Reading order: [`state`] (what there is), [`command`] (how it can change) and [`apply`] (how it does), [`settings`],
//! [`codec`] (bytes), [`machine`] (the state machine), [`founding`] and [`joining`] (how a node comes by its identity),
//! [`take_over`] (how a node goes on without a majority), then the handle here, [`propose`] and [`admit`] (the leader's side of
//! a join).
//!
//! Every node is a member of the group and has the whole state in memory and on its disk, so that it serves by what it
//! knows before there is a leader, and while there is none. What it has in common with other such groups is in
//! [`common_group`](crate::common_group).

pub mod admit;
pub mod apply;
pub mod codec;
pub mod command;
pub mod founding;
pub mod joining;
pub mod machine;
pub mod propose;
pub mod remote;
pub mod rules;
pub mod settings;
pub mod state;
pub mod take_over;
pub mod tokens;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId};
use bellwether_placement::NodeState;
use bellwether_raft::{GroupId, RaftGroup, RaftNode, StartError, Transport};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::common_group::propose::Remote;
use crate::common_group::{CommonGroup, Pauses, Voters, World};
use crate::env::{Env, Seed, WallClock};
use crate::replication::Stopping;
use crate::shards::identity::NodeIdentity;

pub use command::{MetaCommand, MetaReply, Outcome, Refusal};
use machine::{Addresses, MetaStateMachine, StateFileError};
pub use propose::MetaError;
use state::NodeFacts;
pub use state::{Event, EventKind, MetaState, NodeRecord};

/// The group's number. No shard group ever gets it.
pub const META_GROUP: GroupId = GroupId(u32::MAX);

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
    group: CommonGroup,
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
        let world = World { raft, transport, remote, state: machine.state() };
        let name = ("the meta group".to_owned(), META_GROUP);
        let group = CommonGroup::start(name, identity, (machine.clone(), Voters::Chosen), world, env).await??;
        let seed = env.seed.split(&format!("meta {} {}", identity.node, env.clock.now_ms()));
        let meta = Meta(Arc::new(Inner {
            identity,
            machine,
            group,
            clock: env.clock.clone(),
            seed,
            drawn: AtomicU64::new(0),
            tasks: parking_lot::Mutex::default(),
        }));
        if meta.0.group.is_founder() {
            meta.found().await.map_err(MetaStartError::Founding)?;
        }
        let tasks =
            [tokio::spawn(flush_changes(meta.state(), meta.weak())), tokio::spawn(announce(meta.weak(), facts))];
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
        self.0.group.replica()
    }

    /// What it has in common with other groups of all nodes.
    pub fn common(&self) -> &CommonGroup {
        &self.0.group
    }

    /// The node that leads the group, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.0.group.leader()
    }

    /// Whether this node leads the group.
    pub fn is_leader(&self) -> bool {
        self.0.group.is_leader()
    }

    /// Whether this node leads the group and a quorum has answered it lately: one that is cut off goes on leading nobody.
    pub fn leads_a_quorum(&self) -> bool {
        self.0.group.leads_a_quorum()
    }

    /// Stops what runs beside the group, and writes what this node knows. The group itself stops with its [`RaftNode`].
    pub async fn stop(&self) {
        self.0.tasks.lock().drain(..).for_each(|task| task.abort());
        self.0.group.stop().await;
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
