//! Leaders come one after the other.
//!
//! A vote is a term and a replica, and the higher one wins: leadership may pass from one replica to another within a term,
//! but to a higher one alone. That what they commit is one history is `committed_once`.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct ElectionSafety {
    /// By group and term: who led, in order.
    leaders: BTreeMap<(u32, u64), Vec<u64>>,
}

impl Watcher for ElectionSafety {
    fn name(&self) -> &'static str {
        "leaders follow each other"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        let mut new: Vec<(u32, u64, u64)> = Vec::new();
        for node in nodes {
            let led = node.groups.iter().filter(|group| group.is_leader);
            new.extend(led.map(|group| (group.group, group.term, group.replica)));
        }
        // Two may have begun between two looks.
        new.sort_unstable();
        for (group, term, replica) in new {
            let known = self.leaders.entry((group, term)).or_default();
            if known.contains(&replica) {
                continue;
            }
            if let Some(higher) = known.iter().find(|known| **known > replica) {
                return Err(format!("group {group}: replica {replica} leads in term {term} after replica {higher}"));
            }
            known.push(replica);
        }
        Ok(())
    }
}
