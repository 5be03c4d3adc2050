//! What is committed at an index is committed there for ever, on every replica: one term, one leader that proposed it.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::{NodeSeen, Position};

/// See the module.
#[derive(Default)]
pub struct CommittedOnce {
    /// By group and index.
    committed: BTreeMap<(u32, u64), Position>,
}

impl Watcher for CommittedOnce {
    fn name(&self) -> &'static str {
        "what is committed stays"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for group in &node.groups {
                for position in [group.committed, group.applied].into_iter().flatten() {
                    let known = *self.committed.entry((group.group, position.index)).or_insert(position);
                    if known != position {
                        return Err(format!(
                            "group {}: node {} has {position:?} where {known:?} was committed",
                            group.group, node.number
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
