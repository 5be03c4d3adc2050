//! The cluster as a plan is to leave it: who sits where, and what that makes of each node.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::NodeId;

use crate::placement::PlacedGroup;
use crate::{Inventory, Liveness, NodeState, Placement, Policy};

/// Free disk that a copy needs even when the group is empty.
const REPLICA_BYTES_MIN: u64 = 1 << 20;
/// A share of the cluster's load is counted in this many parts, so that choices never depend on rounding of floats.
const LOAD_PARTS: u128 = 1_000_000_000;

pub(super) struct Draft<'a> {
    pub inventory: &'a Inventory,
    pub policy: &'a Policy,
    pub groups: Vec<Wish<'a>>,
    pub nodes: BTreeMap<NodeId, Tally>,
    /// Copies that each group should have.
    pub copies: usize,
    pub held: Vec<String>,
}

/// A group and where its copies belong.
pub(super) struct Wish<'a> {
    pub group: &'a PlacedGroup,
    /// Its part of the cluster's load: bytes, series and write rate, each counting the same.
    pub weight: u64,
    /// The nodes that are to hold it.
    pub seats: BTreeSet<NodeId>,
    /// Those of them that do not hold it yet.
    pub new: BTreeMap<NodeId, NewSeat>,
    /// Its copies are where they belong and nothing of it is under way, so that it may move.
    pub movable: bool,
    /// Seats in each zone, by the zone's number.
    crowds: Vec<usize>,
}

pub(super) struct NewSeat {
    pub replaces: Option<NodeId>,
    pub urgency: Urgency,
    pub reason: String,
}

/// Why a copy is made, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    Lost,
    Missing,
    Drain,
    Zone,
    Count,
    Load,
}

/// What a node is, and what it will hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// The number of its zone; zero is the zone without a name, where unknown nodes are.
    zone: usize,
    /// It may be given something.
    takes: bool,
    pub groups: usize,
    pub load: u64,
    /// Groups that it leads now.
    pub leads: usize,
    /// Bytes that may still be moved to it.
    pub room: u64,
}

impl<'a> Draft<'a> {
    /// Nobody sits anywhere yet.
    pub fn new(placement: &'a Placement, inventory: &'a Inventory, policy: &'a Policy) -> Draft<'a> {
        let mut zones: BTreeMap<&str, usize> = BTreeMap::from([("", 0)]);
        let tallies = inventory.nodes.iter().map(|(id, info)| {
            let zone_count = zones.len();
            let zone = *zones.entry(&info.zone).or_insert(zone_count);
            let (takes, room) = (inventory.takes(*id, policy), info.room_bytes(policy));
            (*id, Tally { zone, takes, room, ..Tally::default() })
        });
        let mut nodes: BTreeMap<NodeId, Tally> = tallies.collect();
        let groups = placement.groups();
        for group in groups {
            if let Some(leader) = group.leader {
                nodes.entry(leader).or_default().leads += 1;
            }
            for replica in group.replicas.iter().filter(|replica| !replica.caught_up) {
                let tally = nodes.entry(replica.node).or_default();
                tally.room = tally.room.saturating_sub(group.load.bytes);
            }
        }
        let sum = |part: fn(&PlacedGroup) -> u64| groups.iter().map(|group| u128::from(part(group))).sum::<u128>();
        let parts: [fn(&PlacedGroup) -> u64; 3] =
            [|group| group.load.bytes, |group| group.load.series, |group| group.load.samples_per_second];
        let sums = parts.map(|part| (part, sum(part).max(1)));
        let weight = |group: &PlacedGroup| -> u64 {
            // At most LOAD_PARTS for each part.
            sums.iter().map(|(part, sum)| (u128::from(part(group)) * LOAD_PARTS / sum) as u64).sum()
        };
        let wish = |group| Wish {
            group,
            weight: weight(group),
            seats: BTreeSet::new(),
            new: BTreeMap::new(),
            movable: false,
            crowds: vec![0; zones.len()],
        };
        let groups = groups.iter().map(wish).collect();
        let copies = policy.copies(inventory.member_count());
        Draft { inventory, policy, groups, nodes, copies, held: Vec::new() }
    }

    /// Lets `node` hold the group at `at`. A node that does not hold it yet needs room.
    pub fn sit(&mut self, at: usize, node: NodeId) {
        let bytes = self.bytes_to_copy(at, node);
        let wish = &mut self.groups[at];
        if wish.seats.insert(node) {
            let tally = self.nodes.entry(node).or_default();
            wish.crowds[tally.zone] += 1;
            tally.groups += 1;
            tally.load += wish.weight;
            tally.room = tally.room.saturating_sub(bytes);
        }
    }

    /// Lets `node` no longer hold the group at `at`. The disk is not counted as free before it is.
    pub fn leave(&mut self, at: usize, node: NodeId) {
        let wish = &mut self.groups[at];
        wish.new.remove(&node);
        if wish.seats.remove(&node) {
            let tally = self.nodes.entry(node).or_default();
            wish.crowds[tally.zone] -= 1;
            tally.groups -= 1;
            tally.load -= wish.weight;
        }
    }

    /// Lets `to` hold the group at `at` in the place of `from`.
    pub fn shift(&mut self, at: usize, from: NodeId, to: NodeId, urgency: Urgency, reason: String) {
        self.leave(at, from);
        self.sit(at, to);
        self.groups[at].movable = false;
        self.groups[at].new.insert(to, NewSeat { replaces: Some(from), urgency, reason });
    }

    /// Seats of the group at `at` in the zone of `node`.
    pub fn crowd(&self, at: usize, node: NodeId) -> usize {
        self.groups[at].crowds[self.tally(node).zone]
    }

    /// Whether the group at `at` may go from one node to another without crowding a zone.
    pub fn can_go(&self, at: usize, from: NodeId, to: NodeId) -> bool {
        let (old, new) = (self.tally(from).zone, self.tally(to).zone);
        let crowds = &self.groups[at].crowds;
        (old == new || crowds[new] < crowds[old]) && self.can_take(at, to)
    }

    /// The nodes that may be given something.
    pub fn takers(&self) -> impl Iterator<Item = (NodeId, Tally)> {
        self.nodes.iter().filter(|(_, tally)| tally.takes).map(|(node, tally)| (*node, *tally))
    }

    /// Whether the group at `at` may be put on `node`, which has no seat of it.
    pub fn can_take(&self, at: usize, node: NodeId) -> bool {
        self.is_free(at, node) && self.has_room(at, node)
    }

    /// Whether only the lack of room could keep the group at `at` from being put on `node`.
    pub fn is_free(&self, at: usize, node: NodeId) -> bool {
        self.tally(node).takes && !self.groups[at].seats.contains(&node)
    }

    fn has_room(&self, at: usize, node: NodeId) -> bool {
        self.tally(node).room >= self.bytes_to_copy(at, node)
    }

    fn bytes_to_copy(&self, at: usize, node: NodeId) -> u64 {
        let group = self.groups[at].group;
        if group.on(node).is_some() { 0 } else { group.load.bytes.max(REPLICA_BYTES_MIN) }
    }

    pub fn tally(&self, node: NodeId) -> Tally {
        self.nodes.get(&node).copied().unwrap_or_default()
    }

    /// Finds out which groups may move, once all have their seats.
    pub fn mark_movable(&mut self) {
        for wish in &mut self.groups {
            let Wish { group, seats, new, .. } = &*wish;
            wish.movable = new.is_empty()
                && !self.inventory.unsettled.contains(&group.id)
                && group.split.is_none()
                && group.replicas.len() == seats.len()
                && group.replicas.iter().all(|replica| {
                    replica.caught_up && seats.contains(&replica.node) && self.inventory.is_up(replica.node)
                });
        }
    }

    /// Copies that are to be made.
    pub fn new_count(&self) -> usize {
        self.groups.iter().map(|wish| wish.new.len()).sum()
    }

    /// What is wrong with a node that should hold nothing.
    pub fn trouble(&self, node: NodeId) -> String {
        match self.inventory.nodes.get(&node).map(|info| (info.state, info.liveness)) {
            None => format!("node {node} is not known"),
            Some((NodeState::Joining, _)) => format!("node {node} has not joined yet"),
            Some((NodeState::Removed, _)) => format!("node {node} was removed"),
            Some((NodeState::Draining, _)) => format!("node {node} drains"),
            Some((NodeState::Active, Liveness::Down { for_ms })) => {
                format!("node {node} has been silent for {}", span(for_ms))
            }
            Some((NodeState::Active, Liveness::Up { .. })) => format!("node {node} is wanted elsewhere"),
        }
    }
}

/// A span of time for people.
fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
