//! What a replica acknowledged to its leader is synced on its own disk.

use std::collections::BTreeMap;

use super::Watcher;
use super::durable_quorum::{has, open};
use crate::cluster::observe::{GroupSeen, NodeSeen, Position};

/// See the module.
#[derive(Default)]
pub struct SyncedFirst {
    /// By group and replica: the index up to which this was looked at, and in which term.
    looked: BTreeMap<(u32, u64), (u64, u64)>,
}

impl Watcher for SyncedFirst {
    fn name(&self) -> &'static str {
        "acknowledged entries are synced"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        let mut replicas: BTreeMap<(u32, u64), (&NodeSeen, &GroupSeen)> = BTreeMap::new();
        for node in nodes {
            replicas.extend(node.groups.iter().map(|seen| ((seen.group, seen.replica), (node, seen))));
        }
        let mut logs = BTreeMap::new();
        for leader in nodes.iter().flat_map(|node| &node.groups).filter(|group| group.is_leader) {
            for (replica, matched) in &leader.matched {
                let id = (leader.group, *replica);
                let Some((node, seen)) = replicas.get(&id) else { continue };
                // A later leader may have had it cut off what this one was told of.
                let is_overruled = seen.log.vote.is_none_or(|vote| vote.term > leader.term);
                let is_known = self.looked.get(&id).is_some_and(|looked| *looked >= (leader.term, *matched));
                let Some(entry) = leader.log.at(*matched).filter(|_| !is_overruled && !is_known) else { continue };
                self.looked.insert(id, (leader.term, *matched));
                if seen.flushed >= Some(*matched) {
                    continue;
                }
                let log = logs.entry(node.number).or_insert_with(|| open(&node.disk));
                if !has(log.as_deref(), leader.group, *replica, Position::of(entry))? {
                    return Err(format!("group {}: node {} has not synced {entry}", leader.group, node.number));
                }
            }
        }
        Ok(())
    }
}
