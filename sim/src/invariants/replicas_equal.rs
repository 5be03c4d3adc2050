//! Replicas that have applied the same entries hold the same data, by the hash of their logical state.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct ReplicasEqual {
    /// By group and applied index: the hash, and the node that had it first.
    hashes: BTreeMap<(u32, u64), (u64, usize)>,
}

impl Watcher for ReplicasEqual {
    fn name(&self) -> &'static str {
        "replicas are equal"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for group in &node.groups {
                let (Some(applied), Some(hash)) = (group.applied, group.state_hash) else { continue };
                let known = *self.hashes.entry((group.group, applied.index)).or_insert((hash, node.number));
                if known.0 != hash {
                    return Err(format!(
                        "group {} at index {}: {:016x} on node {}, {hash:016x} on node {}",
                        group.group, applied.index, known.0, known.1, node.number
                    ));
                }
            }
        }
        Ok(())
    }
}
