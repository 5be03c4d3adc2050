//! One leader per group and term.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct ElectionSafety {
    /// By group and term.
    leaders: BTreeMap<(u32, u64), u64>,
}

impl Watcher for ElectionSafety {
    fn name(&self) -> &'static str {
        "one leader per group and term"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for group in node.groups.iter().filter(|group| group.is_leader) {
                let leader = *self.leaders.entry((group.group, group.term)).or_insert(group.replica);
                if leader != group.replica {
                    return Err(format!(
                        "group {}: both replicas {leader} and {} led in term {}",
                        group.group, group.replica, group.term
                    ));
                }
            }
        }
        Ok(())
    }
}
