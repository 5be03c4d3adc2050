//! Who leads which group, as far as this node knows: its own replica's word first, then what others answered lately, then
//! where the placement says that replicas are. A replica that the placement does not mention may have heard nothing for long; and once an
//! attempt has failed, what was answered to it counts more than the replica's word. Where a second one fails nobody believes that any more: the
//! group may have gone on without the replica, and have another leader, before the placement says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::ShardGroupId;
use bellwether_probe::buggify;
use bellwether_raft::{Leadership, NodeId};
use parking_lot::RwLock;

use super::error::RouteError;
use crate::shards::{NotServed, ShardGroup, Shards};

/// What others answered.
#[derive(Default)]
pub struct Hints(RwLock<BTreeMap<ShardGroupId, NodeId>>);

/// Where a group's leader is thought to be.
pub enum Leader {
    /// This node.
    Here(Arc<ShardGroup>),
    /// Another node.
    There(NodeId),
    /// Nobody knows, and why.
    Nowhere(RouteError),
}

impl Hints {
    /// Remembers who is said to lead a group.
    pub fn learn(&self, group: ShardGroupId, node: NodeId) {
        self.0.write().insert(group, node);
    }

    /// Forgets `node`, which does not lead the group after all.
    pub fn forget(&self, group: ShardGroupId, node: NodeId) {
        let mut hints = self.0.write();
        if hints.get(&group) == Some(&node) {
            hints.remove(&group);
        }
    }

    /// Who leads `group`. Where nobody has said so, each `attempt` asks another of the nodes that have a replica.
    pub fn leader_of(&self, shards: &Shards, group: ShardGroupId, attempt: usize) -> Leader {
        let (own, ring) = (shards.node(), shards.ring());
        let local = shards.local(group);
        let mut word = None;
        if let Ok(local) = &local {
            let is_listed = || ring.group(group).is_some_and(|group| group.replica_on(own) == Some(local.replica()));
            match local.raft.leadership() {
                Leadership::Here => return Leader::Here(local.clone()),
                Leadership::There(hint) => word = Some(hint.node).filter(|_| is_listed()),
                Leadership::Unknown => {}
            }
        }
        let answered = self.0.read().get(&group).copied().filter(|node| *node != own);
        let known = match attempt {
            0 => word.or(answered),
            1 => answered.or(word),
            _ => answered,
        };
        if let Some(node) = known
            && !buggify("nobody knows who leads")
        {
            return Leader::There(node);
        }
        let others: Vec<NodeId> =
            ring.group(group).into_iter().flat_map(|group| group.nodes()).filter(|node| *node != own).collect();
        match (others.get(attempt % others.len().max(1)), local) {
            (Some(node), _) => Leader::There(*node),
            // Alone, and between two terms: the proposal itself finds out.
            (None, Ok(local)) => Leader::Here(local),
            (None, Err(NotServed::NotHere(_))) => Leader::Nowhere(RouteError::NoLeader(group)),
            (None, Err(not_served)) => Leader::Nowhere(not_served.into()),
        }
    }
}
