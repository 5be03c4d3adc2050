//! A leader has everything that was committed before its term.

use std::collections::BTreeMap;

use super::Watcher;
use crate::cluster::observe::{NodeSeen, Position};

/// See the module.
#[derive(Default)]
pub struct LeaderComplete {
    /// By group: the last entry that is known to be committed, and the term of whoever knew it first.
    committed: BTreeMap<u32, (Position, u64)>,
}

impl Watcher for LeaderComplete {
    fn name(&self) -> &'static str {
        "leaders have what is committed"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for group in &node.groups {
                let Some(committed) = group.committed else { continue };
                let known = self.committed.entry(group.group).or_insert((committed, group.term));
                if known.0.index < committed.index {
                    *known = (committed, group.term);
                }
            }
        }
        for node in nodes {
            for group in node.groups.iter().filter(|group| group.is_leader) {
                let Some((committed, term)) = self.committed.get(&group.group) else { continue };
                if group.term <= *term || group.log.first() > committed.index {
                    continue;
                }
                let has = group.log.at(committed.index).map(Position::of);
                if has != Some(*committed) {
                    return Err(format!(
                        "group {}: node {} leads in term {} with {has:?} where {committed:?} was committed by term {term}",
                        group.group, node.number, group.term
                    ));
                }
            }
        }
        Ok(())
    }
}
