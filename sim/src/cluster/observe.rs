//! What is looked at from outside: each node's view of its groups and of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_kv::MemDisk;
use bellwether_raft::{GroupId, GroupState, LogOutline, LogPosition};
use bellwether_server::Server;
use bellwether_server::meta::{META_GROUP, MetaState};
use bellwether_server::shards::split::Ownership;
use bellwether_server::shards::{Cause, shard_mark};

use super::machine::{Machine, Process};

/// Whether every node is a member of a group, which then is no shard group.
pub fn is_common(group: u32) -> bool {
    bellwether_server::alerting::is_common(GroupId(group))
}

/// A node that serves.
#[derive(Debug, Clone)]
pub struct NodeSeen {
    /// Its machine.
    pub number: usize,
    /// Which of the machine's processes it is.
    pub boot: u64,
    /// Its id in the cluster.
    pub node: u64,
    /// The cluster as it knows it.
    pub meta: Arc<MetaState>,
    /// Its replicas, those of the meta group and the alert groups last.
    pub groups: Vec<GroupSeen>,
    /// Groups that do not serve, and why.
    pub quarantined: Vec<String>,
    /// Why those of them do not whose data cannot be read.
    pub damaged: Vec<String>,
    /// What it stores everything on.
    pub disk: MemDisk,
}

/// A replica.
#[derive(Debug, Clone, Default)]
pub struct GroupSeen {
    /// The group.
    pub group: u32,
    /// The replica.
    pub replica: u64,
    /// Which of the starts of replicas in its process it is.
    pub start: u64,
    /// Its term.
    pub term: u64,
    /// Whether it leads.
    pub is_leader: bool,
    /// The last entry of its log.
    pub last: Option<u64>,
    /// What it knows to be committed.
    pub committed: Option<Position>,
    /// What its data contain.
    pub applied: Option<Position>,
    /// The hash of its data.
    pub state_hash: Option<u64>,
    /// The last entry that was cut from its log.
    pub purged: Option<u64>,
    /// The last entry that its data have on the disk.
    pub flushed: Option<u64>,
    /// Where it leads: the last entry that each other replica acknowledged.
    pub matched: BTreeMap<u64, u64>,
    /// Its log without payloads.
    pub log: LogOutline,
    /// The replicas that vote, and their nodes.
    pub voting: BTreeMap<u64, u64>,
    /// Whether a quorum has the members as they are here.
    pub is_settled: bool,
    /// The nodes that vote.
    pub voters: Vec<u64>,
    /// The nodes that learn.
    pub learners: Vec<u64>,
    /// Whether a change of voters is under way.
    pub is_joint: bool,
    /// Who is in the group, where it knows that as committed.
    pub members: Option<Members>,
    /// What it owns, if it is of a shard group.
    pub owned: Option<Ownership>,
}

/// Who is in a group, and where its log says so. Replicas, and their nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Where.
    pub at: Position,
    /// Who votes: before a change that is under way, and after it.
    pub voters: BTreeMap<u64, u64>,
    /// Who votes after it.
    pub next_voters: BTreeSet<u64>,
    /// Who learns.
    pub learners: BTreeMap<u64, u64>,
}

impl Members {
    fn committed(state: &GroupState) -> Option<Members> {
        let at = state.membership.filter(|_| state.membership_committed)?;
        Some(Members {
            at: Position::of(at),
            voters: state.voters.iter().map(|(replica, node)| (replica.0, *node)).collect(),
            next_voters: state.next_voters.iter().map(|replica| replica.0).collect(),
            learners: state.learners.iter().map(|(replica, node)| (replica.0, *node)).collect(),
        })
    }
}

/// Where an entry stands in a log, and who put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its number.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The replica that led.
    pub leader: u64,
}

impl Position {
    /// Of an entry.
    pub fn of(entry: LogPosition) -> Position {
        Position { index: entry.index, term: entry.term, leader: entry.leader.0 }
    }
}

/// The nodes that serve.
pub fn observe(machines: &[Arc<Machine>]) -> Result<Vec<NodeSeen>, String> {
    let mut nodes = Vec::new();
    for machine in machines {
        let seen = machine.look(|process| match process {
            Process::Serving(server) if !machine.has_ended_itself() => Some(node(machine, server)),
            _ => None,
        });
        nodes.extend(seen.transpose()?);
    }
    Ok(nodes)
}

/// A metric of a node, added up over its labels.
pub fn metric(server: &Server, name: &str, labels: &[(&str, &str)]) -> f64 {
    let families = server.registry().gather();
    let family = families.iter().find(|family| family.name() == name);
    let wanted = |pairs: &[prometheus::proto::LabelPair]| {
        labels.iter().all(|(name, value)| pairs.iter().any(|pair| pair.name() == *name && pair.value() == *value))
    };
    let metrics = family.into_iter().flat_map(|family| family.get_metric());
    metrics.filter(|metric| wanted(metric.get_label())).map(|metric| metric.get_counter().get_value()).sum()
}

/// A gauge of a node without labels.
pub fn gauge(server: &Server, name: &str) -> Option<f64> {
    let families = server.registry().gather();
    let family = families.iter().find(|family| family.name() == name)?;
    Some(family.get_metric().first()?.get_gauge().get_value())
}

fn node(machine: &Machine, server: &Server) -> Result<NodeSeen, String> {
    let mut groups = Vec::new();
    for local in server.shards().serving() {
        let shard = local.shard();
        let (applied, _) = shard_mark::decode(&shard.applied().0).map_err(|error| error.to_string())?;
        let mut seen = group(local.id().0, &local.raft);
        seen.applied = applied.log.map(Position::of);
        seen.state_hash = Some(shard.state_hash());
        seen.owned = Some(local.owned());
        groups.push(seen);
    }
    let meta = server.meta();
    groups.push(group(META_GROUP.0, &meta.group()));
    for alerts in server.alerting().groups() {
        let mut seen = group(alerts.id().0, &alerts.common().replica());
        let (applied, hash) = alerts.applied();
        (seen.applied, seen.state_hash) = (applied.map(Position::of), Some(hash));
        groups.push(seen);
    }
    let quarantined = server.shards().quarantined();
    let damaged = quarantined.iter().filter(|group| group.cause == Cause::Damaged);
    Ok(NodeSeen {
        number: machine.number,
        boot: machine.boots(),
        node: meta.node().0,
        meta: meta.now(),
        groups,
        damaged: damaged.map(ToString::to_string).collect(),
        quarantined: quarantined.iter().map(ToString::to_string).collect(),
        disk: machine.disk(),
    })
}

fn group(group: u32, raft: &bellwether_raft::RaftGroup) -> GroupSeen {
    let state = raft.state();
    GroupSeen {
        group,
        replica: raft.replica().0,
        start: raft.start(),
        term: state.term,
        is_leader: state.is_leader,
        last: state.last,
        committed: state.committed.map(Position::of),
        applied: state.applied.map(Position::of),
        state_hash: None,
        purged: state.purged.map(|at| at.index),
        flushed: state.flushed.map(|at| at.index),
        matched: state.progress.iter().filter_map(|(id, at)| Some((id.0, at.matched?))).collect(),
        log: raft.outline(),
        voting: state.voters.iter().map(|(replica, node)| (replica.0, *node)).collect(),
        is_settled: state.membership_committed && !state.is_joint,
        voters: state.voters.values().copied().collect(),
        learners: state.learners.values().copied().collect(),
        is_joint: state.is_joint,
        members: Members::committed(&state),
        owned: None,
    }
}
