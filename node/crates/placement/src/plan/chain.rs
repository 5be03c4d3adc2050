//! Chains of nodes along which things can be handed on, where the direct way is barred.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use bellwether_model::NodeId;

/// The shortest chain from `source` to a node that is an end; of equal ones the one that `next` names first.
pub(super) fn shortest(
    source: NodeId,
    is_end: impl Fn(NodeId) -> bool,
    next: impl Fn(NodeId) -> Vec<NodeId>,
) -> Option<Vec<NodeId>> {
    let mut came_from = BTreeMap::from([(source, None)]);
    let mut queue = VecDeque::from([source]);
    while let Some(node) = queue.pop_front() {
        if is_end(node) {
            let back = std::iter::successors(Some(node), |node| came_from[node]);
            let mut chain: Vec<NodeId> = back.collect();
            chain.reverse();
            return Some(chain);
        }
        for next in next(node) {
            if let Entry::Vacant(entry) = came_from.entry(next) {
                entry.insert(Some(node));
                queue.push_back(next);
            }
        }
    }
    None
}
