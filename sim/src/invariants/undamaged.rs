//! What a node stores can be read, unless somebody damaged it: what a fault explains is not shown here.

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
pub struct Undamaged;

impl Watcher for Undamaged {
    fn name(&self) -> &'static str {
        "what is stored can be read"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        match nodes.iter().find_map(|node| Some((node.number, node.damaged.first()?))) {
            Some((number, reason)) => Err(format!("node {number}: {reason}")),
            None => Ok(()),
        }
    }
}
