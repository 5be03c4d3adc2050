//! What is looked at from outside: each node's view of its groups and of the cluster.

use std::sync::Arc;

use bellwether_server::Server;
use bellwether_server::meta::MetaState;
use bellwether_server::shards::shard_mark;

use super::machine::{Machine, Process};

/// The meta group's number.
pub const META: u32 = u32::MAX;

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
    /// Its replicas, the meta group's last.
    pub groups: Vec<GroupSeen>,
    /// Groups that do not serve, and why.
    pub quarantined: Vec<String>,
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSeen {
    /// The group.
    pub group: u32,
    /// The replica.
    pub replica: u64,
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
    /// The nodes that vote.
    pub voters: Vec<u64>,
    /// The nodes that learn.
    pub learners: Vec<u64>,
    /// Whether a change of voters is under way.
    pub is_joint: bool,
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

/// The nodes that serve.
pub fn observe(machines: &[Arc<Machine>]) -> Result<Vec<NodeSeen>, String> {
    let mut nodes = Vec::new();
    for machine in machines {
        let seen = machine.look(|process| match process {
            Process::Serving(server) => Some(node(machine, server)),
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
        let applied = applied.log.map(|at| Position { index: at.index, term: at.term, leader: at.leader.0 });
        let mut seen = group(local.id().0, &local.raft.state(), local.replica().0);
        seen.applied = applied;
        seen.state_hash = Some(shard.state_hash());
        groups.push(seen);
    }
    let meta = server.meta();
    groups.push(group(META, &meta.group().state(), meta.group().replica().0));
    Ok(NodeSeen {
        number: machine.number,
        boot: machine.boots(),
        node: meta.node().0,
        meta: meta.now(),
        groups,
        quarantined: server.shards().quarantined().iter().map(ToString::to_string).collect(),
    })
}

fn group(group: u32, state: &bellwether_raft::GroupState, replica: u64) -> GroupSeen {
    let position = |at: bellwether_raft::LogPosition| Position { index: at.index, term: at.term, leader: at.leader.0 };
    GroupSeen {
        group,
        replica,
        term: state.term,
        is_leader: state.is_leader,
        last: state.last,
        committed: state.committed.map(position),
        applied: state.applied.map(position),
        state_hash: None,
        purged: state.purged.map(|at| at.index),
        voters: state.voters.values().copied().collect(),
        learners: state.learners.values().copied().collect(),
        is_joint: state.is_joint,
    }
}
