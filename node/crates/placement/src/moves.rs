//! What a plan consists of.

use std::collections::BTreeSet;
use std::fmt;

use bellwether_model::{NodeId, PlacementKey, ShardGroupId};

/// One thing to do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The group that it concerns.
    pub group: ShardGroupId,
    /// What to do.
    pub step: Step,
    /// Why, for people.
    pub reason: String,
}

/// A step that a group's leader carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To give a node a copy, which learns. The next step follows once the copy has caught up.
    AddLearner {
        /// The node that gets it.
        node: NodeId,
        /// The node whose copy goes in the end.
        replaces: Option<NodeId>,
    },
    /// To make the replicas on exactly these nodes voters, in one joint change. Other voters learn from then on.
    ChangeVoters {
        /// All that vote afterwards.
        voters: BTreeSet<NodeId>,
    },
    /// To take away a copy that does not vote.
    RemoveReplica {
        /// The node that holds it.
        node: NodeId,
    },
    /// To hand the leadership over.
    TransferLeader {
        /// The node that leads.
        from: NodeId,
        /// The node that is to lead.
        to: NodeId,
    },
    /// To cut the range in two.
    Split {
        /// The child's first key.
        at: PlacementKey,
    },
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}: {} ({})", self.group, self.step, self.reason)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::AddLearner { node, replaces: None } => write!(f, "add learner {node}"),
            Step::AddLearner { node, replaces: Some(old) } => write!(f, "add learner {node} for {old}"),
            Step::ChangeVoters { voters } => {
                f.write_str("make voters")?;
                voters.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Step::RemoveReplica { node } => write!(f, "remove replica {node}"),
            Step::TransferLeader { from, to } => write!(f, "transfer leader {from} to {to}"),
            Step::Split { at } => write!(f, "split at {at}"),
        }
    }
}
