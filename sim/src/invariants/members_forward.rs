//! A replica that knows of a membership as committed never goes back to an earlier one, until it is started again.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::{Members, NodeSeen};

/// See the module.
#[derive(Default)]
pub struct MembersForward {
    /// By machine, process, group and start of its replica.
    known: BTreeMap<(usize, u64, u32, u64), Members>,
}

impl Watcher for MembersForward {
    fn name(&self) -> &'static str {
        "members only go forward"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for seen in &node.groups {
                let Some(members) = &seen.members else { continue };
                let replica = (node.number, node.boot, seen.group, seen.start);
                let before = self.known.insert(replica, members.clone());
                if let Some(before) = before.filter(|before| before.at.index > members.at.index) {
                    return Err(format!("group {}: node {} has {members:?} after {before:?}", seen.group, node.number));
                }
            }
        }
        Ok(())
    }
}
