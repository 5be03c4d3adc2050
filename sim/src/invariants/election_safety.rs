//! What leaders commit goes along the log from lower votes to higher ones, never back.
//!
//! A vote is a term and a replica. A replica may learn that it was elected when a higher vote has been given already, and it
//! leads for a moment beside the other; but it commits nothing any more.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct ElectionSafety {
    /// By group and index: term and leader of what is committed there.
    votes: BTreeMap<u32, BTreeMap<u64, (u64, u64)>>,
}

impl Watcher for ElectionSafety {
    fn name(&self) -> &'static str {
        "leaders follow each other"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for group in &node.groups {
                let known = self.votes.entry(group.group).or_default();
                for at in [group.committed, group.applied].into_iter().flatten() {
                    let vote = (at.term, at.leader);
                    let before = known.range(..=at.index).next_back().filter(|(_, before)| **before > vote);
                    let after = known.range(at.index..).next().filter(|(_, after)| **after < vote);
                    if let Some((index, other)) = before.or(after) {
                        return Err(format!(
                            "group {}: node {} has {at:?}, but the vote of index {index} is {other:?}",
                            group.group, node.number
                        ));
                    }
                    known.insert(at.index, vote);
                }
            }
        }
        Ok(())
    }
}
