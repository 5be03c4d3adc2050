//! Who may lead. Raft elects whoever has the log; what else speaks against a node is told from outside, and is no part of
//! the protocol. Where only such a node has what a group has acknowledged, it leads until another one has it, too.

use std::collections::BTreeSet;

use crate::node::RaftNode;
use crate::types::NodeId;

/// Who may lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// This node stands for no election, unless nobody else votes or can be elected, and takes nothing that is handed over
    /// to it.
    pub abstains: bool,
    /// Nodes to which nothing is handed over.
    pub unfit: BTreeSet<NodeId>,
}

impl RaftNode {
    /// From now on this holds. What is led here stays here until it is handed over. Returns at once; to be called again
    /// now and then while this node abstains, since groups may come to have one voter only, or to need this one.
    pub fn set_standing(&self, standing: Standing) {
        *self.0.shared.standing.write() = standing;
        for group in self.groups() {
            group.apply_standing();
        }
    }

    /// How many groups are led here that another voter could lead.
    pub fn led_with_others(&self) -> usize {
        let groups = self.groups();
        groups.iter().map(|group| group.state()).filter(|state| state.is_leader && state.voters.len() > 1).count()
    }
}
