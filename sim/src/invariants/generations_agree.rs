//! What a group owns in a generation is the same on every replica, and for ever.

use std::collections::BTreeMap;

use bellwether_model::HashRange;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct GenerationsAgree {
    /// By group and generation: the range, and the node that had it first.
    known: BTreeMap<(u32, u32), (HashRange, usize)>,
}

impl Watcher for GenerationsAgree {
    fn name(&self) -> &'static str {
        "replicas agree on their range"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            for seen in &node.groups {
                let Some(owned) = seen.owned else { continue };
                let generation = (seen.group, owned.generation);
                let (known, first) = *self.known.entry(generation).or_insert((owned.range, node.number));
                if known != owned.range {
                    return Err(format!(
                        "group {} in generation {}: {} on node {}, {known} on node {first}",
                        seen.group, owned.generation, owned.range, node.number
                    ));
                }
            }
        }
        Ok(())
    }
}
