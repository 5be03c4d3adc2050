//! What is known of the nodes. Time comes in as spans that somebody with a clock has measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bellwether_model::{NodeId, ShardGroupId};

use crate::Policy;

/// The nodes of the cluster, the removed ones that replicas still name included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// By id.
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    /// Groups whose members are changing: nothing is planned for them.
    pub unsettled: BTreeSet<ShardGroupId>,
    /// Those of them that could not be changed: copies that wait for that keep no other group waiting.
    pub stuck: BTreeSet<ShardGroupId>,
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Nodes of one zone fail together. The empty name is a zone like any other.
    pub zone: String,
    /// What is wanted of it.
    pub state: NodeState,
    /// Whether it answers.
    pub liveness: Liveness,
    /// Bytes of the disk that holds the data; the highest number where that is not known.
    pub disk_bytes: u64,
    /// Bytes of it that are in use, by whomever.
    pub disk_used_bytes: u64,
    /// The node's own guard found too little free disk: it takes no writes.
    pub disk_full: bool,
    /// Most other nodes contradict its clock: it may hold copies and leads nothing.
    pub clock_wrong: bool,
}

/// What is wanted of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Known and not yet checked: holds nothing.
    Joining,
    /// A full member.
    Active,
    /// To be emptied; serves what it still holds.
    Draining,
    /// Gone for ever; what it held is made again at once.
    Removed,
}

/// Whether a node answers, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Up {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// It does not.
    Down {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
}

impl Inventory {
    /// How many nodes are wanted as members, whether they answer or not: what the number of copies depends on.
    pub(crate) fn member_count(&self) -> usize {
        self.nodes.values().filter(|node| node.state == NodeState::Active).count()
    }

    /// Whether the node answers now.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(NodeInfo::is_up)
    }

    /// Whether copies on the node count: it is a member that answers, or has not been silent for longer than the grace
    /// period.
    pub(crate) fn holds(&self, node: NodeId, policy: &Policy) -> bool {
        self.nodes.get(&node).is_some_and(|info| info.state == NodeState::Active && !info.is_lost(policy))
    }

    /// Whether the node may be given something now.
    pub(crate) fn takes(&self, node: NodeId, policy: &Policy) -> bool {
        self.nodes.get(&node).is_some_and(|info| info.state == NodeState::Active && info.is_settled(policy))
    }

    /// The node's zone; an unknown node is in the zone without a name.
    pub(crate) fn zone(&self, node: NodeId) -> &str {
        self.nodes.get(&node).map_or("", |info| &info.zone)
    }
}

impl NodeInfo {
    /// Whether it answers now.
    pub fn is_up(&self) -> bool {
        matches!(self.liveness, Liveness::Up { .. })
    }

    /// Whether it has been silent for longer than the grace period.
    pub fn is_lost(&self, policy: &Policy) -> bool {
        matches!(self.liveness, Liveness::Down { for_ms } if for_ms >= policy.grace_ms)
    }

    /// Whether it has answered for long enough to be given something.
    pub fn is_settled(&self, policy: &Policy) -> bool {
        matches!(self.liveness, Liveness::Up { for_ms } if for_ms >= policy.settle_ms)
    }

    /// Bytes that moves may still fill, so that the free space that the policy demands stays.
    pub fn room_bytes(&self, policy: &Policy) -> u64 {
        if self.disk_full {
            return 0;
        }
        let percent = u128::from(self.disk_bytes) * u128::from(policy.free_disk_percent_min) / 100;
        let kept_free = policy.free_disk_bytes_min.max(u64::try_from(percent).unwrap_or(u64::MAX));
        self.disk_bytes.saturating_sub(self.disk_used_bytes).saturating_sub(kept_free)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeState::Joining => "joining",
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Removed => "removed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_larger_guard_leaves() {
        let policy = Policy { free_disk_bytes_min: 100, free_disk_percent_min: 10, ..Policy::default() };
        let node = |disk_bytes, disk_used_bytes, disk_full| NodeInfo {
            zone: String::new(),
            state: NodeState::Active,
            liveness: Liveness::Up { for_ms: 0 },
            disk_bytes,
            disk_used_bytes,
            disk_full,
            clock_wrong: false,
        };
        assert_eq!(node(500, 200, false).room_bytes(&policy), 200);
        assert_eq!(node(5000, 200, false).room_bytes(&policy), 4300);
        assert_eq!(node(5000, 200, true).room_bytes(&policy), 0);
        assert_eq!(node(100, 200, false).room_bytes(&policy), 0);
        assert_eq!(node(u64::MAX, 0, false).room_bytes(&policy), u64::MAX - u64::MAX / 10);
    }
}
