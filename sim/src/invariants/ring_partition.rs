//! The groups' ranges are the whole ring, and no two share a key, at every epoch of every node.

use std::collections::BTreeSet;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct RingPartition {
    /// Epochs that were looked at.
    seen: BTreeSet<u64>,
}

impl Watcher for RingPartition {
    fn name(&self) -> &'static str {
        "ranges are the ring"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            let placement = &node.meta.placement;
            if !self.seen.insert(placement.epoch()) {
                continue;
            }
            let mut due = Some(0);
            for group in placement.groups() {
                if Some(group.range.first.0) != due {
                    return Err(format!(
                        "epoch {}: group {} begins at {}, not {due:?}",
                        placement.epoch(),
                        group.id,
                        group.range.first.0
                    ));
                }
                due = group.range.last.0.checked_add(1);
            }
            if let Some(due) = due {
                return Err(format!("epoch {}: nobody owns {due} and above", placement.epoch()));
            }
        }
        Ok(())
    }
}
