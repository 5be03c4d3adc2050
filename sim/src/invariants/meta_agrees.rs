//! Nodes that have applied the same of the meta group know the same of the cluster, and no process goes back to what
//! it knew before.

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
    /// By node and process: index and epoch.
    reached: BTreeMap<(usize, u64), (u64, u64)>,
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
            let now = (index, node.meta.placement.epoch());
            let before = self.reached.insert((node.number, node.boot), now).unwrap_or_default();
            if now.0 < before.0 || now.1 < before.1 {
                return Err(format!("node {}: index and epoch {now:?} after {before:?}", node.number));
            }
        }
        Ok(())
    }
}
