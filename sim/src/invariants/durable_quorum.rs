//! What is committed is on the disks of a quorum, so that it outlives the loss of all power.
//!
//! Looked at where the members are settled: while they change, there are two quorums. A disk that was lost counts as if it
//! still had what it had.

use std::collections::BTreeMap;

use bellwether_kv::{KvDisk, KvEngine, MemDisk};
use bellwether_raft::{GroupId, ReplicaId, StoredEntry, stored_entry};
use bellwether_server::replication::{LOG, LOG_PATH, LOG_SPACES};

use super::Watcher;
use crate::cluster::observe::{NodeSeen, Position};

/// See the module.
#[derive(Default)]
pub struct DurableQuorum {
    /// The disks of all nodes that ever served.
    disks: BTreeMap<u64, MemDisk>,
    /// By group: the index up to which this was looked at.
    looked: BTreeMap<u32, u64>,
}

impl Watcher for DurableQuorum {
    fn name(&self) -> &'static str {
        "committed is durable on a quorum"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            self.disks.entry(node.node).or_insert_with(|| node.disk.clone());
        }
        // By node: its log as a loss of power would leave it now.
        let mut logs = BTreeMap::new();
        for (node, leader) in nodes.iter().flat_map(|node| node.groups.iter().map(move |group| (node, group))) {
            let looked = self.looked.get(&leader.group);
            let news = leader.committed.filter(|at| looked.is_none_or(|looked| *looked < at.index));
            // What a child begins with is in no log.
            let Some(committed) = news.filter(|at| leader.is_leader && leader.is_settled && at.term > 0) else {
                continue;
            };
            self.looked.insert(leader.group, committed.index);
            let mut without = Vec::new();
            for (replica, voter) in &leader.voting {
                let is_flushed = nodes.iter().filter(|node| node.node == *voter).any(|node| {
                    let mut groups = node.groups.iter().filter(|seen| seen.replica == *replica);
                    groups.any(|seen| seen.group == leader.group && seen.flushed >= Some(committed.index))
                });
                let Some(disk) = self.disks.get(voter).filter(|_| !is_flushed) else { continue };
                let log = logs.entry(*voter).or_insert_with(|| open(disk));
                if !has(log.as_deref(), leader.group, *replica, committed)? {
                    without.push(*voter);
                }
            }
            if without.len() > (leader.voting.len() - 1) / 2 {
                return Err(format!(
                    "group {}: node {} knows {committed:?} as committed, which nodes {without:?} of {:?} have not synced",
                    leader.group, node.number, leader.voters
                ));
            }
        }
        Ok(())
    }
}

/// The log that a disk has; none where nothing of it is durable.
pub(super) fn open(disk: &MemDisk) -> Option<std::sync::Arc<dyn KvEngine>> {
    disk.durable(LOG_PATH).open(LOG_PATH, LOG_SPACES).ok()
}

/// Whether a log has an entry, or had it once. What was damaged there is there.
pub(super) fn has(log: Option<&dyn KvEngine>, group: u32, replica: u64, wanted: Position) -> Result<bool, String> {
    let Some(log) = log else { return Ok(false) };
    match stored_entry(log, LOG, (GroupId(group), ReplicaId(replica)), wanted.index) {
        Ok(StoredEntry::Entry(entry)) => Ok(Position::of(entry) == wanted),
        Ok(StoredEntry::Cut) => Ok(true),
        Ok(StoredEntry::Missing) => Ok(false),
        Err(error) if error.is_corrupt() => Ok(true),
        Err(error) => Err(error.to_string()),
    }
}
