//! Alerting in the cluster: rules, what becomes of them, and who is told.
//!
//! All of a tenant's alerting (rules, configuration, states of alerts, silences, what was told) is the state of one of a few
//! *alert groups*, Raft groups of which every node is a member ([`common_group`](crate::common_group)): every node has it at hand,
//! and one log orders all that concerns it. What commands there are and what they do is in the crate `alert`, pure.
//!
//! Reading order: the handles here, [`machine`] and [`state_file`] (what Raft replicates), [`scheduler`] (which nodes evaluate),
//! the [`evaluator`], [`on_write`] (what calls it between its ticks),
//! [`notifier`] (the leader tells receivers), [`send`] (how), and the [`desk`] (what people ask).

pub mod desk;
pub mod evaluator;
pub mod links;
pub mod machine;
pub mod notifier;
pub mod on_write;
mod scheduler;
pub mod send;
mod state_file;

use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{AlertGroupState, Command, Outcome, Refusal, Request, replies, requests};
use bellwether_model::{NodeId, Tenant};
use bellwether_probe::buggify;
use bellwether_raft::{GroupId, LogPosition, StartError};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_64;

use crate::common_group::propose::{HereError, Unanswered};
use crate::common_group::{CommonGroup, Voters, WeakGroup, World};
use crate::env::{Env, Seed, WallClock};
use crate::meta::{META_GROUP, Meta};
use crate::replication::Stopping;
use machine::{AlertMachine, Turned};
use on_write::Touches;
pub use state_file::StateFileError;

/// How many alert groups there are. Tenants are spread over them by this number: it stays the same for ever.
pub const ALERT_GROUPS: u32 = 4;
/// How long changes gather before they are written to a node's file; until then they are in the log.
const FLUSH_PAUSE: Duration = Duration::from_secs(30);

/// The Raft group of an alert group: below the meta group's, and above all shard groups'.
fn raft_group(number: u32) -> GroupId {
    GroupId(META_GROUP.0 - 1 - number)
}

/// Whether a Raft group is one of which all nodes are members: the meta group or an alert group.
pub fn is_common(group: GroupId) -> bool {
    group.0 >= META_GROUP.0 - ALERT_GROUPS
}

/// The alert groups of this node. Clones are handles to the same.
#[derive(Clone)]
pub struct Alerting(Arc<Inner>);

struct Inner {
    groups: Vec<AlertGroup>,
    touches: Touches,
    /// What runs beside, until the handle goes.
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// An alert group on this node. Clones are handles to the same.
#[derive(Clone)]
pub struct AlertGroup {
    number: u32,
    common: CommonGroup,
    machine: Arc<AlertMachine>,
    clock: Arc<dyn WallClock>,
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlertingError {
    /// The command is not possible; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody answered, or nobody will.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Why the alert groups do not run on this node.
#[derive(Debug, thiserror::Error)]
pub enum AlertingStartError {
    /// The node's copy of a state cannot be used.
    #[error("the state of alert group {number}")]
    State {
        /// Which group.
        number: u32,
        /// Why.
        #[source]
        source: StateFileError,
    },
    /// A log is damaged, or a replica cannot be started.
    #[error("alert group {number} cannot be started")]
    Group {
        /// Which group.
        number: u32,
        /// Why.
        #[source]
        source: StartError,
    },
    /// A runtime ended while it was needed.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// This node's copies of the alert groups' states, before the groups run.
pub struct AlertStore {
    machines: Vec<Arc<AlertMachine>>,
}

impl AlertStore {
    /// Reads them.
    pub async fn open(env: &Env) -> Result<AlertStore, AlertingStartError> {
        let (disk, fatal) = (env.disk.clone(), env.fatal.clone());
        let open = move || {
            let open = |number| {
                let machine = AlertMachine::open(disk.clone(), fatal.clone(), number);
                machine.map(Arc::new).map_err(|source| AlertingStartError::State { number, source })
            };
            (0..ALERT_GROUPS).map(open).collect::<Result<Vec<_>, _>>()
        };
        Ok(AlertStore { machines: env.executors.scan.run(open).await.map_err(|_| Stopping)?? })
    }

    /// The Raft groups, and what they replicate.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Arc<AlertMachine>)> {
        (0..).map(raft_group).zip(&self.machines)
    }
}

impl Alerting {
    /// Starts this node's replicas. Who votes in the meta group votes in them.
    pub async fn start(
        store: AlertStore,
        meta: &Meta,
        world: World,
        env: &Env,
    ) -> Result<Alerting, AlertingStartError> {
        let (identity, voters) = (meta.identity(), Voters::Like(meta.common().clone()));
        let mut groups = Vec::new();
        for (number, machine) in (0..).zip(store.machines) {
            let name = (format!("alert group {number}"), raft_group(number));
            let common =
                CommonGroup::start(name, identity, (machine.clone(), voters.clone()), world.clone(), env).await?;
            let common = common.map_err(|source| AlertingStartError::Group { number, source })?;
            groups.push(AlertGroup { number, common, machine, clock: env.clock.clone() });
        }
        let beside = groups.iter().flat_map(|group| {
            let (common, changes) = (group.common.weak(), group.changes());
            [tokio::spawn(flush_changes(changes, common)), tokio::spawn(scheduler::keep_ring(group.weak()))]
        });
        let tasks = beside.map(|task| task.abort_handle()).collect();
        Ok(Alerting(Arc::new(Inner { groups, touches: Touches::default(), tasks })))
    }

    /// All of them.
    pub fn groups(&self) -> &[AlertGroup] {
        &self.0.groups
    }

    /// What this node's evaluator is told of samples that were stored.
    pub fn touches(&self) -> &Touches {
        &self.0.touches
    }

    /// The one that has a tenant's alerting.
    pub fn group(&self, tenant: &Tenant) -> &AlertGroup {
        let number = xxh3_64(tenant.as_str().as_bytes()) % u64::from(ALERT_GROUPS);
        &self.0.groups[number as usize]
    }

    /// See [`AlertGroup::propose`].
    pub async fn propose(&self, tenant: &Tenant, command: Command) -> Result<Outcome, AlertingError> {
        self.group(tenant).propose(command).await
    }

    /// See [`AlertGroup::read`].
    pub fn read<T>(&self, tenant: &Tenant, look: impl FnOnce(&AlertGroupState) -> T) -> T {
        self.group(tenant).read(look)
    }

    /// Proposes an encoded request to a Raft group, which this node must lead; `None` if it is no alert group.
    pub async fn propose_here(&self, group: GroupId, request: &[u8]) -> Option<Result<(Bytes, u64), HereError>> {
        let group = self.0.groups.iter().find(|known| raft_group(known.number) == group)?;
        Some(group.common.propose_here(request).await)
    }

    /// Stops what runs beside the groups, and writes what this node knows. The groups themselves stop with Raft.
    pub async fn stop(&self) {
        self.0.tasks.iter().for_each(AbortHandle::abort);
        for group in &self.0.groups {
            group.common.stop().await;
        }
    }
}

impl AlertGroup {
    /// Its number, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its Raft group.
    pub fn id(&self) -> GroupId {
        raft_group(self.number)
    }

    /// Has a command applied, wherever the leader is. When it returns, what was changed is [seen](Self::read) here.
    pub async fn propose(&self, command: Command) -> Result<Outcome, AlertingError> {
        let request = Request { proposed_ms: self.clock.now_ms(), command };
        let reply = self.common.propose(&requests::encode(&request).into()).await?;
        match replies::decode(&reply) {
            Ok(reply) => Ok(reply?),
            Err(error) => Err(Unanswered::Rejected(format!("the reply of {}: {error}", self.common.name())).into()),
        }
    }

    /// Looks at the state as it is applied on this node. Nothing is applied meanwhile: to be short.
    pub fn read<T>(&self, look: impl FnOnce(&AlertGroupState) -> T) -> T {
        self.machine.read(look)
    }

    /// The last entry that is applied on this node, and its changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.machine.changes()
    }

    /// The last entry applied on this node by which something became of an alert of a rule, and its changes.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.machine.turns()
    }

    /// See [`AlertMachine::turned_since`].
    pub fn turned_since(&self, tenant: &Tenant, index: u64) -> Turned {
        self.machine.turned_since(tenant, index)
    }

    /// How far the log is applied on this node, and a hash of what that came to: the same on every node.
    pub fn applied(&self) -> (Option<LogPosition>, u64) {
        self.machine.fingerprint()
    }

    /// Whether this node leads the group and a quorum has answered it lately: who leads tells receivers.
    pub fn leads(&self) -> bool {
        self.common.leads_a_quorum()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.common.node()
    }

    /// The group's Raft replica, its members and how they are heard.
    pub fn common(&self) -> &CommonGroup {
        &self.common
    }

    /// A seed that is this start's and the part's.
    pub fn seed(&self, part: &str) -> Seed {
        self.common.seed(part)
    }

    /// A handle that does not keep the group: for what runs beside it.
    pub fn weak(&self) -> WeakAlertGroup {
        let AlertGroup { number, common, machine, clock } = self;
        WeakAlertGroup { number: *number, common: common.weak(), machine: machine.clone(), clock: clock.clone() }
    }
}

/// See [`AlertGroup::weak`].
#[derive(Clone)]
pub struct WeakAlertGroup {
    number: u32,
    common: WeakGroup,
    machine: Arc<AlertMachine>,
    clock: Arc<dyn WallClock>,
}

impl WeakAlertGroup {
    /// The group, while somebody keeps it.
    pub fn get(&self) -> Option<AlertGroup> {
        let WeakAlertGroup { number, common, machine, clock } = self;
        let common = common.get()?;
        Some(AlertGroup { number: *number, common, machine: machine.clone(), clock: clock.clone() })
    }
}

/// Writes a group's state to this node's file some time after it has changed, so that the log can be cut.
async fn flush_changes(mut changes: watch::Receiver<u64>, group: WeakGroup) {
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        let is_early = buggify("an early flush of an alert group");
        sleep(if is_early { FLUSH_PAUSE / 30 } else { FLUSH_PAUSE }).await;
        changes.mark_unchanged();
        let Some(group) = group.get() else { return };
        if let Err(error) = group.replica().flush().await {
            tracing::warn!(group = group.name(), %error, "its state was not written");
            changes.mark_changed();
        }
    }
}
