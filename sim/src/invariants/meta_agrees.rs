//! Nodes that have applied the same of the meta group know the same of the cluster, and its epoch never falls.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_server::meta::MetaState;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
#[derive(Default)]
pub struct MetaAgrees {
    /// By index.
    states: BTreeMap<u64, Arc<MetaState>>,
    /// By node and process.
    epochs: BTreeMap<(usize, u64), u64>,
}

impl Watcher for MetaAgrees {
    fn name(&self) -> &'static str {
        "nodes agree on the cluster"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        for node in nodes {
            let index = node.meta.index;
            let known = self.states.entry(index).or_insert_with(|| node.meta.clone());
            if !Arc::ptr_eq(known, &node.meta) && *known != node.meta {
                return Err(format!("at index {index}: {known:?}, and on node {}: {:?}", node.number, node.meta));
            }
            let epoch = node.meta.placement.epoch();
            let before = self.epochs.insert((node.number, node.boot), epoch);
            if before.is_some_and(|before| before > epoch) {
                return Err(format!("node {}: epoch {epoch} after {before:?}", node.number));
            }
        }
        Ok(())
    }
}
