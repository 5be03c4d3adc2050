//! Plans carried out against a cluster made of numbers, under joins, drains, losses and failed moves: they come to an end,
//! put nothing at risk on the way (the world checks each move), and end where they should.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod world;

use std::collections::BTreeMap;

use bellwether_model::{NodeId, RefEpoch, ShardGroupId};
use bellwether_placement::{
    GroupLoad, Inventory, Liveness, NodeInfo, NodeState, PlacedGroup, Placement, Policy, ReplicaRole, Step, preview,
};
use proptest::prelude::*;
use world::{GB, World, lines, node};

#[derive(Debug, Clone)]
enum Event {
    Join {
        zone: u8,
    },
    Drain {
        node: usize,
    },
    Undrain {
        node: usize,
    },
    Die {
        node: usize,
    },
    Vanish {
        node: usize,
    },
    Return {
        node: usize,
    },
    Load {
        group: u32,
        bytes: u64,
        rate: u64,
    },
    /// Plan, carry out the moves whose bit is set, let replicas whose bit is set catch up.
    Work {
        done: u64,
        caught_up: u64,
    },
}

fn event(zones: u8) -> impl Strategy<Value = Event> {
    let node = || 0..12usize;
    prop_oneof![
        3 => (0..zones).prop_map(|zone| Event::Join { zone }),
        1 => node().prop_map(|node| Event::Drain { node }),
        1 => node().prop_map(|node| Event::Undrain { node }),
        1 => node().prop_map(|node| Event::Die { node }),
        1 => node().prop_map(|node| Event::Vanish { node }),
        1 => node().prop_map(|node| Event::Return { node }),
        1 => (0..20u32, 0..20 * GB, 0..400_000u64)
            .prop_map(|(group, bytes, rate)| Event::Load { group, bytes, rate }),
        12 => (any::<u64>(), any::<u64>()).prop_map(|(done, caught_up)| Event::Work { done, caught_up }),
    ]
}

impl World {
    /// One node with id 1 that holds everything.
    fn new(groups: u32) -> World {
        let placement = Placement::initial(groups, NodeId(1), |group| RefEpoch(u64::from(group.0)));
        let nodes = BTreeMap::from([(NodeId(1), node("a"))]);
        let inventory = Inventory { nodes, ..Inventory::default() };
        World { placement, inventory, policy: Policy::default() }
    }

    fn add_node(&mut self, id: u64, zone: &str) {
        self.inventory.nodes.insert(NodeId(id), node(zone));
    }

    fn node(&mut self, id: u64) -> &mut NodeInfo {
        self.inventory.nodes.get_mut(&NodeId(id)).unwrap()
    }

    fn live(&mut self, event: &Event) {
        let ids: Vec<u64> = self.inventory.nodes.keys().map(|node| node.0).collect();
        let pick = |at: usize| ids[at % ids.len()];
        match *event {
            Event::Join { .. } if ids.len() >= 12 => {}
            Event::Join { zone } => self.add_node(ids.len() as u64 + 1, &format!("zone-{zone}")),
            Event::Drain { .. } if self.members() <= 1 => {}
            Event::Drain { node } => self.node(pick(node)).state = NodeState::Draining,
            Event::Undrain { node } => self.node(pick(node)).state = NodeState::Active,
            Event::Die { node } => self.down(pick(node), u64::MAX),
            Event::Vanish { node } => self.down(pick(node), 1),
            Event::Return { node } => self.node(pick(node)).liveness = Liveness::Up { for_ms: u64::MAX },
            Event::Load { group, bytes, rate } => {
                let load = GroupLoad { bytes, series: bytes / 1000, samples_per_second: rate, middle: None };
                self.placement.observe_load(ShardGroupId(group), load);
            }
            Event::Work { done, caught_up } => {
                for (at, planned) in self.plan().iter().enumerate() {
                    if done >> (at % 64) & 1 == 1 {
                        self.carry_out(planned);
                    }
                }
                self.catch_up(|replica| caught_up >> (replica.0 % 64) & 1 == 1);
            }
        }
        self.elect_where_needed();
    }

    /// Only when every group keeps a quorum without it: what the planner cannot repair it is not asked to.
    fn down(&mut self, node: u64, for_ms: u64) {
        let before = self.node(node).liveness;
        self.node(node).liveness = Liveness::Down { for_ms };
        let groups = self.placement.groups().to_vec();
        if !groups.iter().all(|group| self.has_quorum(group)) {
            self.node(node).liveness = before;
        }
    }

    /// Where plans should end.
    fn check_end(&self) {
        let usable =
            |node: NodeId| self.inventory.nodes[&node].state == NodeState::Active && self.inventory.is_up(node);
        let usable_count = self.inventory.nodes.keys().filter(|node| usable(**node)).count();
        let wanted = self.members().min(self.policy.replication_factor as usize);
        for group in self.placement.groups() {
            let good = group.replicas.iter().filter(|replica| usable(replica.node)).count();
            assert_eq!(good, wanted.min(usable_count), "{group:?}");
            let answering = group.replicas.iter().filter(|replica| self.inventory.is_up(replica.node)).count();
            assert!(answering <= wanted, "{group:?}");
            // A lost voter may have to stay; a lost learner is never made one.
            let able =
                group.replicas.iter().filter(|seat| usable(seat.node) || seat.role == ReplicaRole::Voter).count();
            assert_eq!(group.voters().count(), able - usize::from(able % 2 == 0), "{group:?}");
            let can_lead = group.voters().any(|voter| usable(voter.node));
            assert!(!can_lead || group.leader.is_some_and(usable), "{group:?}");
            let mut crowds: BTreeMap<&str, i32> = BTreeMap::new();
            let zone = |node: NodeId| self.inventory.nodes[&node].zone.as_str();
            group.replicas.iter().for_each(|replica| *crowds.entry(zone(replica.node)).or_default() += 1);
            if good == wanted {
                let free = self.inventory.nodes.keys().filter(|node| usable(**node) && group.on(**node).is_none());
                let emptiest = free.map(|node| crowds.get(zone(*node)).copied().unwrap_or(0)).min().unwrap_or(i32::MAX);
                let fullest = crowds.values().max().unwrap();
                assert!(emptiest.saturating_add(1) >= *fullest, "a zone was left out: {group:?}");
            }
        }
    }

    /// Replicas of each active node that answers.
    fn replicas_per_node(&self) -> BTreeMap<NodeId, usize> {
        self.per_node(|group| group.replicas.iter().map(|replica| replica.node).collect())
    }

    /// Groups that each active node that answers leads.
    fn leaders_per_node(&self) -> BTreeMap<NodeId, usize> {
        self.per_node(|group| group.leader.into_iter().collect())
    }

    fn per_node(&self, of: impl Fn(&PlacedGroup) -> Vec<NodeId>) -> BTreeMap<NodeId, usize> {
        let live = self.inventory.nodes.iter().filter(|(_, info)| info.state == NodeState::Active && info.is_up());
        let mut counts: BTreeMap<NodeId, usize> = live.map(|(node, _)| (*node, 0)).collect();
        for node in self.placement.groups().iter().flat_map(of) {
            if let Some(count) = counts.get_mut(&node) {
                *count += 1;
            }
        }
        counts
    }

    fn one_zone(&self) -> bool {
        let mut zones = self.inventory.nodes.values().map(|info| &info.zone);
        let first = zones.next();
        zones.all(|zone| Some(zone) == first)
    }
}

fn within_one(counts: &BTreeMap<NodeId, usize>) -> bool {
    counts.values().max().unwrap() - counts.values().min().unwrap() <= 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_plans_end_well(
        groups in 1..20u32,
        zones in 1..4u8,
        events in proptest::collection::vec(event(3), 1..80),
    ) {
        let mut world = World::new(groups);
        world.node(1).zone = "zone-0".to_owned();
        for event in &events {
            match event {
                Event::Join { zone } => world.live(&Event::Join { zone: zone % zones }),
                event => world.live(event),
            }
        }
        // The missing return or are given up for lost; then everything succeeds.
        for info in world.inventory.nodes.values_mut() {
            if matches!(info.liveness, Liveness::Down { for_ms: 1 }) {
                info.liveness = Liveness::Up { for_ms: u64::MAX };
            }
        }
        world.elect_where_needed();
        world.catch_up(|_| true);
        world.settle();
        world.check_end();
        let all_up = world.inventory.nodes.values().all(|info| info.is_up());
        if world.one_zone() && all_up {
            prop_assert!(within_one(&world.replicas_per_node()), "{:?}", world.replicas_per_node());
            if world.members() > 2 {
                prop_assert!(within_one(&world.leaders_per_node()), "{:?}", world.leaders_per_node());
            }
        }
    }

    #[test]
    fn a_node_more_takes_its_share_and_nothing_else_moves(groups in 1..60u32, nodes in 3..12u64) {
        let mut world = World::new(groups);
        (2..=nodes).for_each(|id| world.add_node(id, "a"));
        world.settle();
        prop_assert_eq!(world.plan(), []);
        world.add_node(nodes + 1, "a");
        let moves = world.settle();
        let copies = moves.iter().filter_map(|planned| match planned.step {
            Step::AddLearner { node, .. } => Some(node.0),
            _ => None,
        });
        let share = (groups as usize * 3).div_ceil(nodes as usize + 1);
        let only_there = copies.clone().all(|node| node == nodes + 1);
        prop_assert!(only_there);
        prop_assert!(copies.count() <= share, "{}", lines(&moves));
        prop_assert!(within_one(&world.replicas_per_node()));
        prop_assert!(within_one(&world.leaders_per_node()));
    }

    #[test]
    fn zones_of_equal_size_end_within_one_of_even(groups in 1..40u32, zones in 1..5u64, size in 1..4u64) {
        let mut world = World::new(groups);
        world.node(1).zone = "1".to_owned();
        (2..=zones * size).for_each(|id| world.add_node(id, &(1 + id % zones).to_string()));
        world.node(1).zone = (1 + 1 % zones).to_string();
        world.settle();
        world.check_end();
        let counts = world.replicas_per_node();
        let sum: usize = counts.values().sum();
        let even = sum / counts.len()..=sum.div_ceil(counts.len());
        prop_assert!(
            counts.values().all(|count| even.contains(count) || even.contains(&(count + 1)) || even.contains(&(count - 1))),
            "{counts:?}"
        );
    }

    #[test]
    fn loads_end_close_to_the_mean(
        loads in proptest::collection::vec((1..10 * GB, 1..100_000u64), 24),
        nodes in 3..7u64,
    ) {
        let mut world = World::new(24);
        for (group, (bytes, rate)) in loads.iter().enumerate() {
            let load = GroupLoad { bytes: *bytes, series: *rate, samples_per_second: *rate, middle: None };
            world.placement.observe_load(ShardGroupId(group as u32), load);
        }
        (2..=nodes).for_each(|id| world.add_node(id, "a"));
        world.settle();
        let mut rates: BTreeMap<NodeId, u64> = BTreeMap::new();
        for group in world.placement.groups() {
            for replica in &group.replicas {
                *rates.entry(replica.node).or_default() += group.load.samples_per_second + group.load.bytes * 100_000 / (10 * GB);
            }
        }
        prop_assert!(within_one(&world.replicas_per_node()));
        let mean = rates.values().sum::<u64>() / nodes;
        prop_assert!(rates.values().all(|rate| *rate < mean * 3 / 2), "{rates:?}");
    }

    #[test]
    fn a_preview_shows_what_will_be_done(groups in 1..20u32, nodes in 1..7u64, drained in 1..7u64) {
        let mut world = World::new(groups);
        (2..=nodes).for_each(|id| world.add_node(id, if id % 2 == 0 { "a" } else { "b" }));
        world.settle();
        if drained <= nodes && nodes > 1 {
            world.node(drained).state = NodeState::Draining;
        }
        let before = world.placement.clone();
        let shown = preview(&world.placement, &world.inventory, &world.policy);
        prop_assert_eq!(&world.placement, &before);
        prop_assert_eq!(lines(&shown), lines(&world.settle()));
    }
}

#[test]
fn two_hundred_fifty_groups_are_planned_and_end_even() {
    let mut world = World::new(250);
    (2..=20).for_each(|id| world.add_node(id, ["a", "b", "c"][id as usize % 3]));
    world.settle();
    world.check_end();
    let counts = world.replicas_per_node();
    assert!(counts.values().all(|count| (34..=42).contains(count)), "{counts:?}");
    assert!(within_one(&world.leaders_per_node()), "{:?}", world.leaders_per_node());
    assert!(world.placement.groups().iter().all(|group| group.replicas.iter().all(|r| r.role == ReplicaRole::Voter)));
}

#[test]
fn a_group_that_cannot_be_changed_takes_no_turn_from_others() {
    let mut world = World::new(2);
    world.policy = Policy { copies_per_node_max: 1, small_copy_bytes: 0, ..Policy::default() };
    world.add_node(2, "b");
    world.add_node(3, "c");
    // Its first copy was given out, and its group does not take it in.
    let stuck = ShardGroupId(0);
    world.placement.add_learner(stuck, NodeId(2), None).unwrap();
    world.inventory.unsettled.insert(stuck);
    assert_eq!(lines(&world.plan()), "", "it may only take a moment");
    world.inventory.stuck.insert(stuck);
    let mut caught_up = 0;
    while !world.plan().is_empty() {
        for planned in world.plan() {
            assert_eq!(planned.group, ShardGroupId(1), "{planned}");
            world.carry_out(&planned);
        }
        let first = bellwether_model::ReplicaId(3);
        world.catch_up(|replica| replica != first);
        caught_up += 1;
        assert!(caught_up < 20);
    }
    assert_eq!(world.placement.group(ShardGroupId(1)).unwrap().voters().count(), 3);
}

#[test]
fn many_empty_groups_are_spread_in_few_rounds_and_a_large_one_gets_its_turn() {
    let mut world = World::new(250);
    world.add_node(2, "b");
    world.add_node(3, "c");
    // It is the last in order, and counts as much as 16 of the others.
    let large = ShardGroupId(249);
    let load = bellwether_placement::GroupLoad { bytes: world::GB, ..Default::default() };
    world.placement.observe_load(large, load);
    let (mut rounds, mut begun) = (0, 0);
    while !world.plan().is_empty() {
        rounds += 1;
        let planned = world.plan();
        let copies =
            planned.iter().filter(|it| matches!(it.step, bellwether_placement::Step::AddLearner { .. })).count();
        assert!(copies <= 32, "{copies} copies of groups that one node leads");
        if begun == 0 && planned.iter().any(|it| it.group == large) {
            begun = rounds;
        }
        planned.iter().for_each(|it| world.carry_out(it));
        world.catch_up(|_| true);
    }
    assert!(rounds <= 60, "{rounds} rounds");
    assert!(begun > 0 && begun <= 20, "the large one begins in round {begun}");
    world.check_end();
}
