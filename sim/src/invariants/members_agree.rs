//! A membership that is committed at a place of a group's log is the same one on every replica, and stays it.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::{Members, NodeSeen};

/// See the module.
#[derive(Default)]
pub struct MembersAgree {
    /// By group and index: the members, and the node that had them first.
    known: BTreeMap<(u32, u64), (Members, usize)>,
}

impl Watcher for MembersAgree {
    fn name(&self) -> &'static str {
        "replicas agree on their members"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for seen in &node.groups {
                let Some(members) = &seen.members else { continue };
                let place = (seen.group, members.at.index);
                let (known, first) = self.known.entry(place).or_insert_with(|| (members.clone(), node.number));
                if known != members {
                    return Err(format!(
                        "group {}: {members:?} on node {}, {known:?} on node {first}",
                        seen.group, node.number
                    ));
                }
            }
        }
        Ok(())
    }
}
