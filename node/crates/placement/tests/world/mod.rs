//! A cluster made of numbers: carries moves out, and stops when one would do harm.

use std::collections::BTreeSet;

use bellwether_model::{NodeId, RefEpoch, ReplicaId, ShardGroupId};
use bellwether_placement::{
    Inventory, Liveness, Move, NodeInfo, NodeState, PlacedGroup, Placement, Policy, ReplicaRole, Step, plan,
};

pub const GB: u64 = 1 << 30;

pub struct World {
    pub placement: Placement,
    pub inventory: Inventory,
    pub policy: Policy,
}

impl World {
    pub fn plan(&self) -> Vec<Move> {
        let moves = plan(&self.placement, &self.inventory, &self.policy).moves;
        let groups: BTreeSet<ShardGroupId> = moves.iter().map(|planned| planned.group).collect();
        assert_eq!(groups.len(), moves.len(), "moves of one plan concern different groups: {}", lines(&moves));
        moves
    }

    /// Carries a move out as a group's leader would: refuses nothing, but checks that nothing is put at risk.
    pub fn carry_out(&mut self, planned: &Move) {
        let before = self.placement.group(planned.group).unwrap().clone();
        assert!(self.has_quorum(&before), "{planned}: there is no quorum to decide it");
        let id = planned.group;
        match &planned.step {
            Step::AddLearner { node, replaces } => {
                assert_eq!(self.inventory.nodes[node].state, NodeState::Active, "{planned}");
                assert!(self.inventory.is_up(*node), "{planned}");
                self.placement.add_learner(id, *node, *replaces).unwrap();
                let info = self.inventory.nodes.get_mut(node).unwrap();
                info.disk_used_bytes += before.load.bytes;
                let free = info.disk_bytes.saturating_sub(info.disk_used_bytes);
                assert!(free >= self.policy.free_disk_bytes_min, "{planned}: {free} bytes are left");
            }
            Step::ChangeVoters { voters } => {
                assert_eq!(voters.len() % 2, 1, "{planned}");
                let members = self.inventory.nodes.values().filter(|info| info.state == NodeState::Active).count();
                let copies = members.min(self.policy.replication_factor as usize);
                // With an even number of copies one less votes.
                let wanted = copies.saturating_sub(1) | 1;
                assert!(voters.len() >= wanted.min(before.voters().count()), "{planned}");
                self.placement.change_voters(id, voters).unwrap();
                let after = self.placement.group(id).unwrap().clone();
                assert!(self.has_quorum(&after), "{planned}");
                assert!(self.copies(&after, true) >= self.copies(&before, true).min(voters.len()), "{planned}");
                if before.leader.is_some_and(|leader| !voters.contains(&leader)) {
                    self.elect(id);
                }
            }
            Step::RemoveReplica { node } => {
                self.placement.remove_replica(id, *node).unwrap();
                let after = self.placement.group(id).unwrap();
                let wanted = self.members().min(self.policy.replication_factor as usize);
                let kept = self.copies(after, false);
                assert!(kept >= self.copies(&before, false).min(wanted), "{planned}: leaves {kept} good copies");
                if let Some(info) = self.inventory.nodes.get_mut(node) {
                    info.disk_used_bytes -= before.load.bytes.min(info.disk_used_bytes);
                }
            }
            Step::TransferLeader { from, to } => {
                assert_eq!(before.leader, Some(*from), "{planned}");
                let target = before.on(*to).unwrap();
                assert!(
                    target.role == ReplicaRole::Voter && target.caught_up && self.inventory.is_up(*to),
                    "{planned}"
                );
                self.placement.observe_leader(id, Some(*to));
            }
            Step::Split { at } => {
                self.placement.begin_split(id, *at, RefEpoch(99)).unwrap();
                let child = self.placement.finish_split(id).unwrap();
                self.placement.observe_leader(child, before.leader);
            }
        }
        Placement::try_from(self.placement.parts().clone()).unwrap();
    }

    /// Lets learners on nodes that answer catch up where `chosen` says so.
    pub fn catch_up(&mut self, mut chosen: impl FnMut(ReplicaId) -> bool) {
        for group in self.placement.groups().to_vec() {
            for replica in &group.replicas {
                if !replica.caught_up && self.inventory.is_up(replica.node) && chosen(replica.id) {
                    self.placement.observe_caught_up(group.id, replica.id, true);
                }
            }
        }
    }

    /// Groups whose leader does not answer elect another one.
    pub fn elect_where_needed(&mut self) {
        for group in self.placement.groups().to_vec() {
            let leads = |leader: NodeId| {
                self.inventory.is_up(leader) && group.on(leader).is_some_and(|seat| seat.role == ReplicaRole::Voter)
            };
            if !group.leader.is_some_and(leads) {
                self.elect(group.id);
            }
        }
    }

    fn elect(&mut self, id: ShardGroupId) {
        let group = self.placement.group(id).unwrap();
        let able = group.voters().filter(|voter| voter.caught_up && self.inventory.is_up(voter.node));
        let leader = able.map(|voter| voter.node).next();
        self.placement.observe_leader(id, leader);
    }

    /// Plans and carries out until there is nothing left to do; the moves that it took.
    pub fn settle(&mut self) -> Vec<Move> {
        let mut done = Vec::new();
        for _ in 0..2000 {
            let moves = self.plan();
            if moves.is_empty() {
                return done;
            }
            moves.iter().for_each(|planned| self.carry_out(planned));
            self.catch_up(|_| true);
            done.extend(moves);
        }
        panic!("no end after {} moves, the last:\n{}", done.len(), lines(&done[done.len() - 20..]));
    }

    pub fn has_quorum(&self, group: &PlacedGroup) -> bool {
        let live = group.voters().filter(|voter| self.inventory.is_up(voter.node) && voter.caught_up).count();
        live * 2 > group.voters().count()
    }

    /// Good copies: on nodes that answer, and caught up.
    fn copies(&self, group: &PlacedGroup, voters_only: bool) -> usize {
        let good = group.replicas.iter().filter(|replica| replica.caught_up && self.inventory.is_up(replica.node));
        good.filter(|replica| !voters_only || replica.role == ReplicaRole::Voter).count()
    }

    pub fn members(&self) -> usize {
        self.inventory.nodes.values().filter(|info| info.state == NodeState::Active).count()
    }
}

pub fn node(zone: &str) -> NodeInfo {
    NodeInfo {
        zone: zone.to_owned(),
        state: NodeState::Active,
        liveness: Liveness::Up { for_ms: u64::MAX },
        disk_bytes: 1000 * GB,
        disk_used_bytes: 0,
        disk_full: false,
        clock_wrong: false,
    }
}

pub fn lines(moves: &[Move]) -> String {
    moves.iter().map(|planned| format!("  {planned}\n")).collect()
}
