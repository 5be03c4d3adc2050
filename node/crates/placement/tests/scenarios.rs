//! Runs the scripts in `tests/scenarios`: describe a cluster, plan, compare.
//!
//! ```text
//! # comment
//! clear                                  forget everything
//! policy grace=10m copies=8 per_node=2   what differs from the default
//! node 1 zone=a disk=100G used=10G       a node, or what changes of it; also `up`, `down=20m`, `joining`, `active`,
//!                                        `draining`, `removed`, `full`, `clock` (it is wrong)
//! groups 0-7: 1v* 2l                     groups with equal parts of the ring: replicas by node, v votes, l learns;
//!                                        * leads, ~ has not caught up, >3 replaces the one on node 3
//! load 0-3 bytes=10G series=5 rate=100 middle=20
//! plan                                   the next moves, below it; lines that begin with `held:` what cannot be done
//! step                                   the same, and they are carried out
//! settle                                 all moves until nothing is left to do, carried out
//! show                                   the groups as they are
//! ```
//! `UPDATE_EXPECT=1` writes what was found into the scripts.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod world;

use std::collections::BTreeMap;
use std::path::Path;

use bellwether_model::{HashRange, NodeId, PlacementKey, RefEpoch, ReplicaId, ShardGroupId};
use bellwether_placement::{
    GroupLoad, Inventory, Liveness, NodeState, Origin, PlacedGroup, Placement, PlacementParts, Policy, Replica,
    ReplicaRole, plan,
};
use world::{GB, World, node};

#[test]
fn every_scenario_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        expect_test::expect_file![&path].assert_eq(&run(&text));
    }
}

/// What the cluster of a script consists of before it is a map.
#[derive(Default)]
struct Script {
    nodes: Inventory,
    policy: Policy,
    groups: Vec<PlacedGroup>,
    replica_count: u64,
    world: Option<World>,
}

/// The script with what was found below each question.
fn run(text: &str) -> String {
    let mut script = Script::new();
    let mut found = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        found.push_str(line);
        found.push('\n');
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" | "#" => {}
            "clear" => script = Script::new(),
            "policy" => script.set_policy(rest),
            "node" => script.set_node(rest),
            "groups" => script.add_groups(rest),
            "load" => script.set_load(rest),
            "plan" => found.push_str(&script.plan()),
            "step" => {
                found.push_str(&script.plan());
                let world = script.world();
                world.plan().iter().for_each(|planned| world.carry_out(planned));
                world.catch_up(|_| true);
            }
            "settle" => {
                let moves = script.world().settle();
                found.push_str(&world::lines(&moves));
            }
            "show" => found.push_str(&script.show()),
            _ => panic!("{line:?} is no command"),
        }
    }
    found
}

impl Script {
    /// All copies count alike, unless a scenario says from where on they are small.
    fn new() -> Script {
        Script { policy: Policy { small_copy_bytes: 0, ..Policy::default() }, ..Script::default() }
    }

    fn set_policy(&mut self, words: &str) {
        for (name, value) in words.split(' ').map(|word| word.split_once('=').unwrap()) {
            match name {
                "copies" => self.policy.copies_max = value.parse().unwrap(),
                "factor" => self.policy.replication_factor = value.parse().unwrap(),
                "grace" => self.policy.grace_ms = span_ms(value),
                "groups_max" => self.policy.groups_max = value.parse().unwrap(),
                "small" => self.policy.small_copy_bytes = value.parse().unwrap(),
                "per_node" => self.policy.copies_per_node_max = value.parse().unwrap(),
                "settle" => self.policy.settle_ms = span_ms(value),
                "split_bytes" => self.policy.split_bytes = bytes(value),
                "split_rate" => self.policy.split_samples_per_second = value.parse().unwrap(),
                "transfers" => self.policy.transfers_max = value.parse().unwrap(),
                _ => panic!("{name} is no part of a policy"),
            }
        }
        if let Some(world) = &mut self.world {
            world.policy = self.policy.clone();
        }
    }

    fn set_node(&mut self, words: &str) {
        let mut words = words.split(' ');
        let id = NodeId(words.next().unwrap().parse().unwrap());
        let nodes = self.world.as_mut().map_or(&mut self.nodes, |world| &mut world.inventory);
        let info = nodes.nodes.entry(id).or_insert_with(|| node(""));
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "zone" => value.clone_into(&mut info.zone),
                "disk" => info.disk_bytes = bytes(value),
                "used" => info.disk_used_bytes = bytes(value),
                "up" if value.is_empty() => info.liveness = Liveness::Up { for_ms: u64::MAX },
                "up" => info.liveness = Liveness::Up { for_ms: span_ms(value) },
                "down" => info.liveness = Liveness::Down { for_ms: span_ms(value) },
                "joining" => info.state = NodeState::Joining,
                "active" => info.state = NodeState::Active,
                "draining" => info.state = NodeState::Draining,
                "removed" => info.state = NodeState::Removed,
                "full" => info.disk_full = true,
                "clock" => info.clock_wrong = true,
                _ => panic!("{word} says nothing of a node"),
            }
        }
        if let Some(world) = &mut self.world {
            world.elect_where_needed();
        }
    }

    fn add_groups(&mut self, text: &str) {
        let (ids, replicas) = text.split_once(": ").unwrap();
        for id in span_of_ids(ids) {
            let mut leader = None;
            let mut placed = Vec::new();
            for word in replicas.split(' ') {
                self.replica_count += 1;
                let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let (digits, marks) = word.split_at(digits);
                let node = NodeId(digits.parse().unwrap());
                let (marks, replaces) = marks.split_once('>').map_or((marks, None), |(marks, old)| (marks, Some(old)));
                leader = leader.or(marks.contains('*').then_some(node));
                placed.push(Replica {
                    id: ReplicaId(self.replica_count),
                    node,
                    role: if marks.starts_with('v') { ReplicaRole::Voter } else { ReplicaRole::Learner },
                    replaces: replaces.map(|old| NodeId(old.parse().unwrap())),
                    caught_up: !marks.contains('~'),
                });
            }
            self.groups.push(PlacedGroup {
                id: ShardGroupId(id),
                range: HashRange::ALL,
                range_generation: 0,
                origin: Origin { parent: None, range: HashRange::ALL },
                ref_epoch: RefEpoch(0),
                replicas: placed,
                split: None,
                leader,
                load: GroupLoad::default(),
            });
        }
    }

    fn set_load(&mut self, text: &str) {
        let (ids, words) = text.split_once(' ').unwrap();
        for id in span_of_ids(ids).map(ShardGroupId) {
            let world = self.world();
            let mut load = world.placement.group(id).unwrap().load;
            for (name, value) in words.split(' ').map(|word| word.split_once('=').unwrap()) {
                match name {
                    "bytes" => load.bytes = bytes(value),
                    "series" => load.series = value.parse().unwrap(),
                    "rate" => load.samples_per_second = value.parse().unwrap(),
                    "middle" => load.middle = Some(PlacementKey(u64::from_str_radix(value, 16).unwrap())),
                    _ => panic!("{name} is no load"),
                }
            }
            world.placement.observe_load(id, load);
        }
    }

    /// The cluster as described so far: made when it is first needed.
    fn world(&mut self) -> &mut World {
        let Script { nodes, policy, groups, replica_count, world } = self;
        world.get_or_insert_with(|| {
            let ranges = HashRange::split_ring(groups.len() as u32);
            for (group, range) in groups.iter_mut().zip(ranges) {
                group.range = range;
            }
            let parts = PlacementParts {
                epoch: 1,
                point_rule: 1,
                next_group: ShardGroupId(groups.len() as u32),
                next_replica: ReplicaId(*replica_count + 1),
                groups: groups.clone(),
            };
            World { placement: Placement::try_from(parts).unwrap(), inventory: nodes.clone(), policy: policy.clone() }
        })
    }

    fn plan(&mut self) -> String {
        let world = self.world();
        let plan = plan(&world.placement, &world.inventory, &world.policy);
        let held = plan.held.iter().map(|line| format!("  held: {line}\n"));
        world::lines(&plan.moves) + &held.collect::<String>()
    }

    fn show(&mut self) -> String {
        let line = |group: &PlacedGroup| {
            let mut replicas: BTreeMap<NodeId, String> = BTreeMap::new();
            for replica in &group.replicas {
                let role = if replica.role == ReplicaRole::Voter { "v" } else { "l" };
                let leads = if group.leader == Some(replica.node) { "*" } else { "" };
                let behind = if replica.caught_up { "" } else { "~" };
                let replaces = replica.replaces.map(|old| format!(">{old}")).unwrap_or_default();
                replicas.insert(replica.node, format!(" {}{role}{leads}{behind}{replaces}", replica.node));
            }
            format!("  {}:{}\n", group.id, replicas.into_values().collect::<String>())
        };
        self.world().placement.groups().iter().map(line).collect()
    }
}

/// `3` or `0-7`.
fn span_of_ids(text: &str) -> std::ops::RangeInclusive<u32> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().unwrap()..=last.parse().unwrap()
}

/// `500` or `10G`.
fn bytes(text: &str) -> u64 {
    text.strip_suffix('G').map_or_else(|| text.parse().unwrap(), |text| text.parse::<u64>().unwrap() * GB)
}

/// `5s` or `10m`.
fn span_ms(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().unwrap() * if unit == "m" { 60_000 } else { 1000 }
}
