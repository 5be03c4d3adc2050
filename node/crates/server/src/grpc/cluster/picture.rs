//! The cluster as one node sees it: what the meta group says should be, and what the nodes report that is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_model::{NodeId, ShardGroupId};
use bellwether_placement::{
    self as placement, Inventory, Liveness, PlacedGroup, Placement, Plan, Policy, plan, preview,
};
use bellwether_proto::peer::v1::{ReplicaReport, ReportAnswer};
use bellwether_proto::v1::{
    ClusterStatusResponse, NodeInfo, NodeState, PlanResponse, PlannedMove, ReplicaInfo, ReplicaRole, ShardInfo,
    SplitInfo,
};

use crate::balance::survey::{Seen, Survey, leader_of};
use crate::meta::{MetaState, NodeRecord};

/// See the module.
pub struct Picture {
    /// The node that looks.
    pub own: NodeId,
    /// What the meta group says.
    pub state: Arc<MetaState>,
    /// What plans keep to.
    pub policy: Policy,
    /// The node that leads the meta group, if known.
    pub meta_leader: Option<NodeId>,
    /// The nodes that vote in it.
    pub meta_voters: BTreeSet<NodeId>,
    /// The same of each group of all nodes, by its name.
    pub common_voters: Vec<(String, BTreeSet<NodeId>)>,
    /// The alert groups of which this node knows no leader.
    pub alert_groups_without_leader: Vec<u32>,
    /// What the nodes say that answer.
    pub reports: BTreeMap<NodeId, ReportAnswer>,
    /// The other nodes' clocks minus this one's, in milliseconds.
    pub clock_offsets: BTreeMap<NodeId, i64>,
}

impl Picture {
    /// Whether a node answers.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.reports.contains_key(&node)
    }

    /// Nodes that should answer and do not.
    pub fn down_nodes(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        self.state.present_nodes().filter(|(node, _)| !self.is_up(*node))
    }

    /// A node's clock minus this one's.
    pub fn clock_offset_ms(&self, node: NodeId) -> Option<i64> {
        if node == self.own { Some(0) } else { self.clock_offsets.get(&node).copied() }
    }

    /// The nodes that lead nothing because of their clocks, and by how much those are ahead.
    pub fn wrong_clocks(&self) -> impl Iterator<Item = (NodeId, i64)> {
        self.reports.iter().filter_map(|(node, report)| Some((*node, report.clock_off_ms?)))
    }

    /// Who leads a group, and what it says of it.
    pub fn leader(&self, group: ShardGroupId) -> Option<(NodeId, &ReplicaReport)> {
        leader_of(group, &self.reports)
    }

    /// What a node says of its replica of a group.
    pub fn replica(&self, group: ShardGroupId, node: NodeId) -> Option<&ReplicaReport> {
        self.reports.get(&node)?.replicas.iter().find(|replica| replica.group == group.0)
    }

    /// Entries that a replica has to apply yet to be where its leader is.
    pub fn lag(&self, group: ShardGroupId, node: NodeId) -> Option<u64> {
        let applied = |report: &ReplicaReport| report.applied.map(|position| position.index);
        let (_, leader) = self.leader(group)?;
        let behind = applied(leader)?.saturating_sub(applied(self.replica(group, node)?).unwrap_or(0));
        Some(behind)
    }

    /// Copies of each group that there should be, with the members that there are.
    pub fn copies_wanted(&self) -> usize {
        let members = self.state.active_nodes().count();
        members.min(self.policy.replication_factor as usize).max(1)
    }

    /// The groups with several voters that could not agree any more if a node went away for good: too few of the others
    /// serve.
    pub fn groups_lost_without(&self, node: NodeId) -> Vec<ShardGroupId> {
        let serves = |group: ShardGroupId, node| self.replica(group, node).is_some_and(|it| it.trouble.is_empty());
        let groups = self.state.placement.groups().iter().filter(|group| {
            let live = group.voters().filter(|voter| voter.node != node && serves(group.id, voter.node)).count();
            let all = group.voters().count();
            group.voters().any(|voter| voter.node == node) && all > 1 && live * 2 <= all
        });
        groups.map(|group| group.id).collect()
    }

    /// A group of all nodes of whose voters too few answer to go on without `node`, which is one of them.
    pub fn common_group_lost_without(&self, node: NodeId) -> Option<&str> {
        let is_lost = |voters: &BTreeSet<NodeId>| {
            let live = voters.iter().filter(|voter| **voter != node && self.is_up(**voter)).count();
            voters.contains(&node) && voters.len() > 1 && live * 2 <= voters.len()
        };
        self.common_voters.iter().find(|(_, voters)| is_lost(voters)).map(|(group, _)| group.as_str())
    }

    /// Copies of a group that serve.
    pub fn copies_serving(&self, group: &PlacedGroup) -> usize {
        let serves = |node| self.replica(group.id, node).is_some_and(|report| report.trouble.is_empty());
        group.replicas.iter().filter(|replica| serves(replica.node)).count()
    }

    /// The newest version of what is replicated that every node knows.
    pub fn finalize_version(&self) -> u32 {
        let known = self.state.present_nodes().map(|(_, node)| node.facts.highest_format).min();
        known.unwrap_or(0).max(self.state.active_version)
    }

    /// Nodes that do not know the newest version of what is replicated that any node knows.
    pub fn nodes_behind(&self) -> Vec<NodeId> {
        let newest = self.newest_version();
        let behind = self.state.present_nodes().filter(|(_, node)| node.facts.highest_format < newest);
        behind.map(|(id, _)| id).collect()
    }

    /// The newest version of what is replicated that any node knows.
    pub fn newest_version(&self) -> u32 {
        let known = self.state.present_nodes().map(|(_, node)| node.facts.highest_format).max();
        known.unwrap_or(0).max(self.state.active_version)
    }

    /// The cluster in a few numbers.
    pub fn status(&self) -> ClusterStatusResponse {
        let count_nodes = |state| self.state.nodes.values().filter(|node| node.state == state).count() as u32;
        let groups = self.state.placement.groups();
        let count_groups = |is: &dyn Fn(&PlacedGroup) -> bool| groups.iter().filter(|group| is(group)).count() as u32;
        let wanted = self.copies_wanted();
        let loads = groups.iter().filter_map(|group| self.leader(group.id)).map(|(_, report)| report);
        let (bytes, series) =
            loads.fold((0, 0), |(bytes, series), report| (bytes + report.disk_bytes, series + report.series));
        let in_motion = |group: &PlacedGroup| {
            let replaced = group.replicas.iter().any(|replica| replica.replaces.is_some());
            replaced || group.split.is_some() || group.replicas.len() > wanted
        };
        ClusterStatusResponse {
            cluster: format!("{:032x}", self.state.cluster),
            founded_ms: self.state.founded_ms,
            active_version: self.state.active_version,
            finalize_version: self.finalize_version(),
            nodes_behind: self.nodes_behind().into_iter().map(|node| node.0).collect(),
            placement_epoch: self.state.placement.epoch(),
            node: self.own.0,
            meta_leader: self.meta_leader.map_or(0, |node| node.0),
            meta_voters: self.meta_voters.iter().map(|node| node.0).collect(),
            nodes_joining: count_nodes(placement::NodeState::Joining),
            nodes_active: count_nodes(placement::NodeState::Active),
            nodes_draining: count_nodes(placement::NodeState::Draining),
            nodes_down: self.down_nodes().count() as u32,
            shard_groups: groups.len() as u32,
            groups_without_leader: count_groups(&|group| self.leader(group.id).is_none()),
            groups_short_of_copies: count_groups(&|group| self.copies_serving(group) < wanted),
            groups_in_motion: count_groups(&in_motion),
            copies_wanted: wanted as u32,
            bytes,
            series,
            nodes_clock_wrong: self.wrong_clocks().map(|(node, _)| node.0).collect(),
        }
    }

    /// The nodes, by id.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let mut leaders: BTreeMap<NodeId, u32> = BTreeMap::new();
        for group in self.state.placement.groups() {
            if let Some((node, _)) = self.leader(group.id) {
                *leaders.entry(node).or_default() += 1;
            }
        }
        let node = |(id, record): (&NodeId, &NodeRecord)| {
            let report = self.reports.get(id);
            let sum = |of: fn(&ReplicaReport) -> u64| report.map(|report| report.replicas.iter().map(of).sum());
            NodeInfo {
                id: id.0,
                address: record.facts.grpc.clone(),
                http_address: record.facts.http.clone(),
                state: node_state(record.state).into(),
                up: report.is_some(),
                zone: record.facts.zone.clone(),
                version: record.facts.version.clone(),
                joined_ms: record.joined_ms,
                leaders: leaders.get(id).copied().unwrap_or(0),
                replicas: self.state.replicas_on(*id) as u32,
                meta_voter: self.meta_voters.contains(id),
                capacity_bytes: record.facts.capacity_bytes,
                bytes: sum(|replica| replica.disk_bytes),
                series: sum(|replica| replica.series),
                free_bytes: report.filter(|report| report.total_bytes > 0).map(|report| report.free_bytes),
                clock_offset_ms: report.and_then(|_| self.clock_offset_ms(*id)),
                clock_off_ms: report.and_then(|report| report.clock_off_ms),
            }
        };
        self.state.nodes.iter().map(node).collect()
    }

    /// The shard groups, in the order of their ranges.
    pub fn shards(&self) -> Vec<ShardInfo> {
        self.state.placement.groups().iter().map(|group| self.shard(group)).collect()
    }

    fn shard(&self, group: &PlacedGroup) -> ShardInfo {
        let leader = self.leader(group.id);
        let replica = |replica: &placement::Replica| ReplicaInfo {
            id: replica.id.0,
            node: replica.node.0,
            role: role(replica.role).into(),
            lag: self.lag(group.id, replica.node),
            replaces: replica.replaces.map(|node| node.0),
            trouble: self.replica(group.id, replica.node).map_or_else(String::new, |report| report.trouble.clone()),
        };
        ShardInfo {
            id: group.id.0,
            first_key: group.range.first.0,
            last_key: group.range.last.0,
            leader: leader.map_or(0, |(node, _)| node.0),
            replicas: group.replicas.iter().map(replica).collect(),
            bytes: leader.map(|(_, report)| report.disk_bytes),
            series: leader.map(|(_, report)| report.series),
            split: group.split.as_ref().map(|split| SplitInfo { child: split.child.0, at: split.at.0 }),
        }
    }

    /// All that will be moved, and what cannot be. Takes long where there is much to do.
    pub fn plan(&self) -> PlanResponse {
        let (placement, inventory) = self.as_planned_by();
        let Plan { held, .. } = plan(&placement, &inventory, &self.policy);
        let moves = preview(&placement, &inventory, &self.policy).into_iter();
        let moves = moves.map(|it| PlannedMove { group: it.group.0, step: it.step.to_string(), reason: it.reason });
        PlanResponse { moves: moves.collect(), held }
    }

    /// What should be done now and cannot be.
    pub fn held(&self) -> Vec<String> {
        let (placement, inventory) = self.as_planned_by();
        plan(&placement, &inventory, &self.policy).held
    }

    /// What a plan is made of.
    fn as_planned_by(&self) -> (Placement, Inventory) {
        let reports = self.reports.iter().map(|(node, report)| (*node, report.clone())).collect();
        let Survey { placement, mut inventory, .. } = Seen::default().survey(0, &self.state, reports);
        for node in inventory.nodes.values_mut() {
            // One look does not tell for how long a node has answered. A plan ahead counts on those that do.
            if let Liveness::Up { for_ms } = &mut node.liveness {
                *for_ms = self.policy.settle_ms;
            }
        }
        (placement, inventory)
    }
}

fn node_state(state: placement::NodeState) -> NodeState {
    match state {
        placement::NodeState::Joining => NodeState::Joining,
        placement::NodeState::Active => NodeState::Active,
        placement::NodeState::Draining => NodeState::Draining,
        placement::NodeState::Removed => NodeState::Removed,
    }
}

fn role(role: placement::ReplicaRole) -> ReplicaRole {
    match role {
        placement::ReplicaRole::Voter => ReplicaRole::Voter,
        placement::ReplicaRole::Learner => ReplicaRole::Learner,
    }
}
