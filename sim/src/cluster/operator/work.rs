//! How the tasks are done.

use std::sync::Arc;
use std::time::Duration;

use bellwether_client::v1::{NodeInfo, NodeState, Operation, OperationState, ReplicaInfo, Restore, ShardInfo};
use bellwether_client::{Client, Error, RefusalKind};
use tokio::time::{Instant, sleep};

use super::{Operators, Task};
use crate::cluster::coverage::Mark;
use crate::cluster::library::{self, machine_of};
use crate::random::Random;

/// Pause between two looks at what takes long.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// How long is waited for the end of a split.
const SPLIT_MAX: Duration = Duration::from_secs(60);
/// How long a node may take to be emptied before that is given up.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// How long something must be tried that has to be done, such as taking back what was given up.
pub(super) const INSIST_MAX: Duration = Duration::from_secs(200);
/// Where backups are kept.
const PLACE: &str = "sim://backups";
/// How often a backup is begun.
const BACKUPS_MAX: u32 = 3;

/// All operators. Ends with its host alone.
pub async fn run(operators: Arc<Operators>) {
    let Some(mut tasks) = crate::work::lock(&operators.waiting).take() else { return };
    let mut random = Random::of(operators.options.seed, "operators");
    let mut drawn = Random::of(operators.options.seed, "whom operators ask");
    let client = library::builder(operators.options.nodes, random.bits(), &operators.trace).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return operators.violated(format!("no client for operators: {error}")),
    };
    while let Some(task) = tasks.recv().await {
        let number = operators.begin(&task);
        let operator = Operator { operators: operators.clone(), client: client.clone(), drawn: drawn.bits() };
        tokio::spawn(async move {
            let done = operator.work(&task).await;
            operator.judge(&task, done);
            operator.operators.end(number);
        });
    }
}

pub(super) struct Operator {
    pub(super) operators: Arc<Operators>,
    pub(super) client: Client,
    /// Decides which node is asked, where that matters.
    pub(super) drawn: u64,
}

/// Why a task was not done.
pub(super) enum NotDone {
    /// A call failed.
    Call(Error),
    /// It cannot be, for a reason that an operator sees for himself.
    Otherwise(String),
}

impl From<Error> for NotDone {
    fn from(error: Error) -> NotDone {
        NotDone::Call(error)
    }
}

pub(super) type Done = Result<String, NotDone>;

pub(super) fn otherwise<T>(reason: impl Into<String>) -> Result<T, NotDone> {
    Err(NotDone::Otherwise(reason.into()))
}

fn pick<T>(all: &[T], number: u64) -> Option<&T> {
    all.get((number % all.len().max(1) as u64) as usize)
}

impl Operator {
    async fn work(&self, task: &Task) -> Done {
        match task {
            Task::Split(group, part) => self.split(*group, *part).await,
            Task::Move(group, from, to) => self.give_copy(*group, *from, *to).await,
            Task::Transfer(group, to) => self.transfer(*group, *to).await,
            Task::Drain(machine) => self.drain(*machine).await.map(|node| format!("node {} is to be emptied", node.id)),
            Task::Undrain(machine) => self.undrain(*machine).await,
            Task::Recover(groups, lost) => self.recover(groups, lost).await,
            Task::Keep(machine) => self.keep(*machine).await,
            Task::Retire(machine) => self.retire(*machine).await,
            Task::Forget(machine) => self.forget(*machine).await,
            Task::Set(name, value) => self.choose(name, value.as_deref()).await,
            Task::Reset(name) => self.reset(name).await,
            Task::Look => self.look().await,
            Task::Backup => self.back_up().await,
            Task::Restore(backup) => self.restore(backup).await,
            Task::Finalize => {
                let versions = self.client.cluster().finalize().await?;
                if versions.active_version > versions.previous_version {
                    self.operators.reach(Mark::UpgradeFinalized);
                }
                Ok(format!("version {}", versions.active_version))
            }
        }
    }

    /// Writes down what came of a task. A refusal must be one that an operator can do something about.
    fn judge(&self, task: &Task, done: Done) {
        let said = match done {
            Ok(said) => said,
            Err(NotDone::Otherwise(reason)) => format!("not done: {reason}"),
            Err(NotDone::Call(error)) => {
                let is_mistake = matches!(
                    &error,
                    Error::Refused {
                        kind: RefusalKind::Internal | RefusalKind::Unsupported | RefusalKind::Forbidden,
                        ..
                    } | Error::Malformed { .. }
                );
                if is_mistake {
                    self.operators.violated(format!("operators are answered clearly: {task:?} is answered {error}"));
                }
                format!("not done: {error}")
            }
        };
        self.operators.event(&format!("{task:?}: {said}"));
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, NotDone> {
        Ok(self.client.cluster().nodes().await?)
    }

    /// The node that a machine has now: of several at one address, the one that joined last.
    async fn node_of(&self, machine: usize) -> Result<NodeInfo, NotDone> {
        let nodes = self.nodes().await?.into_iter();
        let there = nodes.filter(|node| machine_of(&node.address) == Some(machine));
        let newest = there.max_by_key(|node| node.id).filter(|node| node.state() != NodeState::Removed);
        newest.map_or_else(|| otherwise("the machine has no node"), Ok)
    }

    async fn group(&self, number: u64) -> Result<ShardInfo, NotDone> {
        let shards = self.client.cluster().shards().await?.shards;
        pick(&shards, number).cloned().map_or_else(|| otherwise("there are no groups"), Ok)
    }

    async fn split(&self, group: u64, part: Option<u8>) -> Done {
        let group = self.group(group).await?;
        let width = (group.last_key - group.first_key) / 100;
        let at = part.map(|part| group.first_key + width * u64::from(part));
        let begun = self.client.cluster().split_shard(group.id, at).await?;
        let deadline = Instant::now() + SPLIT_MAX;
        while Instant::now() < deadline {
            sleep(PAUSE).await;
            let Ok(answer) = self.client.cluster().shards().await else { continue };
            if answer.shards.iter().any(|shard| shard.id == begun.child) {
                self.operators.reach(Mark::GroupSplit);
                return Ok(format!("group {} was split into {}", group.id, begun.child));
            }
            if answer.shards.iter().all(|shard| shard.split.as_ref().is_none_or(|split| split.child != begun.child)) {
                return Ok(format!("the split of group {} into {} was given up", group.id, begun.child));
            }
        }
        Ok(format!("the split of group {} into {} goes on", group.id, begun.child))
    }

    async fn give_copy(&self, group: u64, from: u64, to: u64) -> Done {
        let group = self.group(group).await?;
        let nodes = self.nodes().await?;
        let active: Vec<&NodeInfo> = nodes.iter().filter(|node| node.state() == NodeState::Active).collect();
        let is_there = |node: &NodeInfo| group.replicas.iter().any(|replica| replica.node == node.id);
        let free: Vec<&NodeInfo> = active.iter().copied().filter(|node| !is_there(node)).collect();
        let from: Option<&ReplicaInfo> = pick(&group.replicas, from);
        let to = pick(&free, to).or_else(|| pick(&active, to));
        let (Some(from), Some(to)) = (from, to) else { return otherwise("there is nothing to move") };
        let moved = self.client.cluster().move_shard(group.id, from.node, to.id).await?;
        self.operators.reach(Mark::CopyGiven);
        Ok(format!("replica {} of group {} goes to node {} for {}", moved.replica, group.id, to.id, from.node))
    }

    async fn transfer(&self, group: u64, to: u64) -> Done {
        let group = self.group(group).await?;
        let Some(to) = pick(&group.replicas, to) else { return otherwise("the group has no replica") };
        self.client.cluster().transfer_leader(group.id, to.node).await?;
        self.operators.reach(Mark::LeaderTransferred);
        Ok(format!("node {} leads group {}", to.node, group.id))
    }

    async fn set_state(&self, node: u64, state: NodeState, force: bool) -> Result<u32, NotDone> {
        Ok(self.client.cluster().set_node_state(node, state, force).await?.replicas)
    }

    async fn drain(&self, machine: usize) -> Result<NodeInfo, NotDone> {
        let node = self.node_of(machine).await?;
        self.set_state(node.id, NodeState::Draining, false).await?;
        self.operators.reach(Mark::DrainBegun);
        Ok(node)
    }

    /// Insists: a node that stays to be emptied for want of others would never be.
    async fn undrain(&self, machine: usize) -> Done {
        let deadline = Instant::now() + INSIST_MAX;
        loop {
            match self.take_back(machine).await {
                Ok(node) => return Ok(format!("node {node} stays")),
                Err(NotDone::Call(error)) if error.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn take_back(&self, machine: usize) -> Result<u64, NotDone> {
        let node = self.node_of(machine).await?;
        if node.state() == NodeState::Draining {
            self.set_state(node.id, NodeState::Active, false).await?;
        }
        Ok(node.id)
    }

    /// Insists, and looks again once whoever wanted it empty has been answered or never will be.
    async fn keep(&self, machine: usize) -> Done {
        let deadline = Instant::now() + INSIST_MAX;
        loop {
            let kept = async {
                self.take_back(machine).await?;
                sleep(library::CALL_MAX).await;
                Ok::<bool, NotDone>(self.node_of(machine).await?.state() == NodeState::Active)
            };
            match kept.await {
                Ok(true) if !self.operators.is_emptying(machine) => return Ok("nobody empties it".to_owned()),
                Ok(_) => {}
                Err(NotDone::Call(error)) if error.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn retire(&self, machine: usize) -> Done {
        let node = self.drain(machine).await?;
        let deadline = Instant::now() + DRAIN_MAX;
        loop {
            sleep(PAUSE).await;
            let now = self.nodes().await.ok().and_then(|nodes| nodes.into_iter().find(|found| found.id == node.id));
            let state = now.as_ref().map(|node| (node.state(), node.replicas));
            match state {
                Some((NodeState::Draining, 0)) => {
                    // A copy may have been on its way to it; whoever asks hears that it still holds one.
                    let _ = self.set_state(node.id, NodeState::Removed, false).await;
                }
                Some((NodeState::Removed, _)) => {
                    self.operators.reach(Mark::NodeRetired);
                    self.operators.retire(machine, node.id);
                    return Ok(format!("node {} is removed", node.id));
                }
                Some((NodeState::Active, _)) => return Ok("somebody took it back".to_owned()),
                _ => {}
            }
            if Instant::now() > deadline && state.is_some_and(|(state, _)| state == NodeState::Draining) {
                self.undrain(machine).await?;
                return Ok("it was not emptied in time, and stays".to_owned());
            }
        }
    }

    async fn forget(&self, machine: usize) -> Done {
        let lost = crate::work::lock(&self.operators.lost).get(&machine).cloned().unwrap_or_default();
        let deadline = Instant::now() + DRAIN_MAX;
        for node in &lost {
            while let Err(error) = self.set_state(*node, NodeState::Removed, true).await {
                // Until there are copies elsewhere it is refused.
                let is_done = matches!(&error, NotDone::Call(Error::Refused { kind: RefusalKind::NotFound, .. }));
                if is_done || Instant::now() > deadline {
                    return Err(error);
                }
                sleep(PAUSE * 4).await;
            }
            self.operators.reach(Mark::LostNodeForgotten);
        }
        Ok(format!("forgot {lost:?}"))
    }

    async fn recover(&self, groups: &[u32], lost: &[u64]) -> Done {
        let deadline = Instant::now() + INSIST_MAX;
        for group in groups {
            loop {
                match self.client.cluster().recover_group(*group, None, false).await {
                    Ok(_) => break,
                    // An attempt without an answer had been successful.
                    Err(Error::Refused { message, .. }) if message.contains("it goes on by itself") => break,
                    Err(error) if Instant::now() > deadline => {
                        self.operators.violated(format!("a lost group begins anew: group {group} does not: {error}"));
                        return Err(error.into());
                    }
                    Err(_) => sleep(PAUSE).await,
                }
            }
        }
        for node in lost {
            while let Err(error) = self.set_state(*node, NodeState::Removed, true).await {
                if Instant::now() > deadline {
                    self.operators.violated(format!("a dead node is removed: node {node} is not"));
                    return Err(error);
                }
                sleep(PAUSE).await;
            }
        }
        Ok(format!("groups {groups:?} begin anew"))
    }

    async fn look(&self) -> Done {
        let cluster = self.client.cluster();
        let status = cluster.status().await?;
        let shards = cluster.shards().await?.shards;
        let held = cluster.plan().await?.held;
        let settings = self.read_anywhere(&[]).await?;
        let findings = cluster.doctor().await?;
        let owned: u128 = shards.iter().map(|shard| u128::from(shard.last_key - shard.first_key) + 1).sum();
        if owned != 1 << 64 {
            self.operators.violated(format!("the ring is whole: what an operator sees owns {owned} keys"));
        }
        let (groups, settings) = (status.shard_groups, settings.len());
        Ok(format!("{groups} groups, {settings} settings, {} held, {} findings", held.len(), findings.len()))
    }

    async fn back_up(&self) -> Done {
        let operations = self.client.operations();
        let mut said = String::new();
        for _ in 0..BACKUPS_MAX {
            let made = match operations.create_backup(PLACE).await {
                Ok(begun) => self.end_of(begun).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(made) if made.state() == OperationState::Done => {
                    self.operators.reach(Mark::BackupMade);
                    return self.verify(&made.backup).await;
                }
                Ok(made) => said = made.outcome,
                Err(error) => said = error.to_string(),
            }
            sleep(PAUSE).await;
        }
        otherwise(said)
    }

    /// What a backup that is complete says of itself can be relied on.
    async fn verify(&self, backup: &str) -> Done {
        let begun = self.client.operations().verify_backup(PLACE, Some(backup)).await?;
        let verified = self.end_of(begun).await?;
        match verified.state() {
            OperationState::Done => {
                self.operators.reach(Mark::BackupVerified);
                *crate::work::lock(&self.operators.backup) = Some(backup.to_owned());
            }
            OperationState::Failed => {
                self.operators.violated(format!("a backup is whole: {backup} is not: {}", verified.outcome));
            }
            _ => {}
        }
        Ok(verified.outcome)
    }

    /// The cluster is new and nothing disturbs it: that a node ends is no excuse.
    async fn restore(&self, backup: &str) -> Done {
        let restore = Restore { url: PLACE.to_owned(), id: backup.to_owned(), merge: true, ..Restore::default() };
        let deadline = Instant::now() + INSIST_MAX;
        let begun = loop {
            match self.client.operations().restore(restore.clone()).await {
                Ok(begun) => break begun,
                // Connections to the cluster that is no more are found out one by one.
                Err(error) if error.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => {
                    self.operators.violated(format!("a backup can be restored: {backup} is not: {error}"));
                    return Err(error.into());
                }
            }
        };
        let restored = self.end_of(begun).await?;
        match restored.state() {
            OperationState::Done => self.operators.reach(Mark::BackupRestored),
            _ => self.operators.violated(format!("a backup can be restored: {backup} is not: {}", restored.outcome)),
        }
        Ok(restored.outcome)
    }

    /// Watches an operation. An error means that its node ended, perhaps.
    async fn end_of(&self, begun: Operation) -> Result<Operation, Error> {
        let mut watched = self.client.operations().watch(&begun.id).await?;
        let mut last = begun;
        while let Some(now) = watched.next().await? {
            last = now;
        }
        Ok(last)
    }
}
