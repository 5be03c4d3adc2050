//! Tests of commands: what each changes, and what it refuses.

use bellwether_model::{PlacementKey, RefEpoch};
use expect_test::{Expect, expect};

use super::*;
use crate::meta::founding::initial_placement;
use crate::meta::state::{EVENT_TEXT_BYTES_MAX, EVENTS_MAX};

const RULES: u64 = 7;
const NOW: Timestamp = 1_000;

fn facts(port: u16) -> NodeFacts {
    NodeFacts {
        grpc: format!("127.0.0.1:{port}"),
        http: format!("127.0.0.1:{}", port + 1000),
        zone: String::new(),
        version: "0.1.0".to_owned(),
        lowest_format: 1,
        highest_format: 1,
        capacity_bytes: 1 << 40,
    }
}

/// A state, and requests with rising numbers.
struct Group {
    state: Option<MetaState>,
    requests: u128,
    index: u64,
    now: Timestamp,
}

impl Group {
    fn empty() -> Group {
        Group { state: None, requests: 0, index: 0, now: NOW }
    }

    /// A cluster of so many nodes with three shard groups on node 1.
    fn of_nodes(count: u16) -> Group {
        let mut group = Group::empty();
        group.ok(MetaCommand::Found(Box::new(founding())));
        (1..count).for_each(|at| drop(group.ok(join(at))));
        group
    }

    fn apply(&mut self, command: MetaCommand) -> MetaReply {
        self.requests += 1;
        self.index += 1;
        apply(&mut self.state, Request { id: self.requests, proposed_ms: self.now, command }, self.index)
    }

    #[track_caller]
    fn ok(&mut self, command: MetaCommand) -> Outcome {
        self.apply(command).unwrap()
    }

    /// Refused with this message, and nothing changed.
    #[track_caller]
    fn refused(&mut self, command: MetaCommand, message: Expect) {
        let before = self.state.clone();
        message.assert_eq(&self.apply(command).unwrap_err().to_string());
        assert_eq!(self.state, before);
    }

    fn state(&self) -> &MetaState {
        self.state.as_ref().unwrap()
    }

    fn epoch(&self) -> u64 {
        self.state().placement.epoch()
    }

    fn last_event(&self) -> &str {
        &self.state().events.back().unwrap().text
    }

    /// Gives node `node` a replica of group 1 that votes; returns its id.
    fn with_voter(&mut self, node: u64) -> ReplicaId {
        let expected_epoch = self.epoch();
        let node = NodeId(node);
        let Outcome::Replica { replica } =
            self.ok(MetaCommand::AllocateReplica { group: GROUP, node, replaces: None, expected_epoch })
        else {
            panic!("it allocates")
        };
        let expected_epoch = self.epoch();
        let placed = self.state().placement.group(GROUP).unwrap();
        let voters = placed.replicas.iter().map(|replica| replica.id).collect();
        self.ok(MetaCommand::SetReplicas { group: GROUP, voters, learners: BTreeSet::new(), expected_epoch });
        replica
    }
}

const GROUP: ShardGroupId = ShardGroupId(1);

fn founding() -> Founding {
    let placement = initial_placement(3, crate::env::Seed(5));
    Founding { cluster: 0xabc, facts: facts(1), nonce: 100, rules: RULES, placement }
}

fn join(at: u16) -> MetaCommand {
    MetaCommand::RegisterNode { nonce: 100 + u128::from(at), facts: facts(1 + at), rules: RULES, token: None }
}

fn state_of(node: u64, state: NodeState) -> MetaCommand {
    MetaCommand::SetNodeState { node: NodeId(node), state, force: false }
}

fn replicas(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

#[test]
fn a_cluster_is_founded_once() {
    let mut group = Group::empty();
    group.refused(join(1), expect!["no cluster has been founded here"]);
    group.ok(MetaCommand::Found(Box::new(founding())));
    let state = group.state();
    assert_eq!((state.cluster, state.nodes.len(), state.placement.groups().len()), (0xabc, 1, 3));
    assert_eq!(group.last_event(), "founded by node 1 at 127.0.0.1:1 with 3 shard groups");
    group.refused(
        MetaCommand::Found(Box::new(founding())),
        expect![
            "cluster 00000000000000000000000000000abc is founded already: to add a node start it with --join and an empty data directory"
        ],
    );
}

#[test]
fn a_node_that_asks_twice_is_one_node() {
    let mut group = Group::of_nodes(1);
    let first = Outcome::Node { node: NodeId(2), meta_replica: ReplicaId(2) };
    assert_eq!(group.ok(join(1)), first);
    assert_eq!(group.ok(join(1)), first);
    assert_eq!(group.ok(join(2)), Outcome::Node { node: NodeId(3), meta_replica: ReplicaId(3) });
    assert_eq!(group.state().active_nodes().count(), 3);
}

#[test]
fn a_request_that_comes_again_is_not_applied_again() {
    let mut group = Group::of_nodes(2);
    let command =
        MetaCommand::AllocateReplica { group: GROUP, node: NodeId(2), replaces: None, expected_epoch: group.epoch() };
    let request = Request { id: 77, proposed_ms: NOW, command };
    let first = apply(&mut group.state, request.clone(), 50);
    let after = group.state.clone();
    assert_eq!(first, Ok(Outcome::Replica { replica: ReplicaId(4) }));
    assert_eq!(apply(&mut group.state, request, 51), first);
    assert_eq!(group.state, after);
}

#[test]
fn only_the_latest_requests_are_remembered() {
    let mut group = Group::of_nodes(1);
    for number in 0..REQUESTS_MAX + EVENTS_MAX + 5 {
        group.ok(MetaCommand::RecordEvent { kind: EventKind::Trouble, text: format!("{number}") });
    }
    assert_eq!((group.state().requests.len(), group.state().events.len()), (REQUESTS_MAX, EVENTS_MAX));
    let text = "ä".repeat(EVENT_TEXT_BYTES_MAX);
    group.ok(MetaCommand::RecordEvent { kind: EventKind::Trouble, text });
    assert_eq!(group.last_event().len(), EVENT_TEXT_BYTES_MAX);
}

#[test]
fn who_does_not_fit_does_not_join() {
    let mut group = Group::of_nodes(2);
    let with = |facts: NodeFacts, rules| MetaCommand::RegisterNode { nonce: 9, facts, rules, token: None };
    group.refused(
        with(facts(9), 8),
        expect![
            "the node follows other rules for hashing, placing or cutting data than the cluster (fingerprint 0000000000000008 instead of 0000000000000007): start the same version of bellwether as the other nodes"
        ],
    );
    group.refused(
        with(NodeFacts { lowest_format: 2, highest_format: 3, ..facts(9) }, RULES),
        expect![
            "the cluster uses format version 1, the node's program knows 2 to 3: start a version of bellwether that knows it"
        ],
    );
    group.refused(
        with(NodeFacts { grpc: String::new(), ..facts(9) }, RULES),
        expect!["the gRPC address of a node must have 1 to 255 bytes"],
    );
    group.ok(MetaCommand::SetSetting { key: SettingKey::NodesMax, value: 2 });
    group.refused(
        join(5),
        expect!["the cluster has 2 nodes, its limit: raise the setting nodes.max, or remove a node first"],
    );
    assert!(group.apply(join(1)).is_ok(), "it is there already");
}

#[test]
fn a_node_says_where_it_is_now() {
    let mut group = Group::of_nodes(2);
    let update = |node| MetaCommand::UpdateNode { node: NodeId(node), facts: facts(50), rules: RULES };
    group.ok(update(2));
    assert_eq!(group.state().nodes[&NodeId(2)].facts, facts(50));
    let events = group.state().next_event;
    group.ok(update(2));
    assert_eq!(group.state().next_event, events, "nothing new");
    group.refused(update(3), expect!["there is no node 3"]);
}

#[test]
fn a_node_is_not_drained_below_the_replication_factor() {
    let mut group = Group::of_nodes(3);
    group.refused(
        state_of(2, NodeState::Draining),
        expect![
            "without node 2 there are 2 active nodes, for 3 copies: add a node first, or lower the setting replication.factor"
        ],
    );
    group.ok(join(3));
    group.ok(state_of(2, NodeState::Draining));
    let expected_epoch = group.epoch();
    let allocate = MetaCommand::AllocateReplica { group: GROUP, node: NodeId(2), replaces: None, expected_epoch };
    group.refused(allocate, expect!["node 2 is draining: only an active node can hold a new replica"]);
    group.ok(state_of(2, NodeState::Active));
}

#[test]
fn a_removed_node_never_comes_back() {
    let mut group = Group::of_nodes(3);
    group.refused(
        state_of(1, NodeState::Removed),
        expect![
            "node 1 holds the last voter of shard group 0: its data would be lost; wait until another node has a copy"
        ],
    );
    group.ok(state_of(3, NodeState::Removed));
    let gone = "node 3 was removed from the cluster: to use the machine again delete its data directory and start it with --join";
    for command in [state_of(3, NodeState::Active), join(2)] {
        assert_eq!(group.apply(command).unwrap_err().to_string(), gone);
    }
    assert_eq!(group.ok(join(7)), Outcome::Node { node: NodeId(4), meta_replica: ReplicaId(4) });
    assert!(group.state().is_removed(NodeId(3)) && !group.state().is_removed(NodeId(9)));
}

#[test]
fn a_node_with_replicas_goes_only_by_force_and_never_with_the_quorum() {
    let mut group = Group::of_nodes(4);
    group.with_voter(2);
    group.refused(
        state_of(2, NodeState::Removed),
        expect![
            "without node 2 too few voters of shard group 1 are left to agree: bring another of its nodes back first"
        ],
    );
    group.with_voter(3);
    group.refused(
        state_of(3, NodeState::Removed),
        expect!["node 3 still holds 1 replicas: drain it first, or force it if it is gone for ever"],
    );
    group.ok(MetaCommand::SetNodeState { node: NodeId(3), state: NodeState::Removed, force: true });
    assert_eq!(group.last_event(), "node 3 was active and is removed");
}

#[test]
fn the_last_active_node_stays() {
    let mut group = Group::of_nodes(1);
    group.refused(state_of(1, NodeState::Removed), expect!["node 1 is the last active node: add another one first"]);
}

#[test]
fn committed_members_are_recorded() {
    let mut group = Group::of_nodes(3);
    let replica = group.with_voter(2);
    assert_eq!(group.last_event(), "shard group 1 is on nodes 1, 2");
    let epoch = group.epoch();
    let set = |voters: &[u64], learners: &[u64], expected_epoch| MetaCommand::SetReplicas {
        group: GROUP,
        voters: replicas(voters),
        learners: replicas(learners),
        expected_epoch,
    };
    group.refused(
        set(&[replica.0], &[], epoch - 1),
        expect!["the placement has epoch 3, the change was made for 2: look again"],
    );
    group.refused(set(&[replica.0, 99], &[], epoch), expect!["shard group 1 has no replica 99"]);
    group.refused(set(&[], &[replica.0, 2], epoch), expect!["shard group 1 would have no voter"]);
    group.ok(set(&[replica.0], &[2], epoch));
    assert_eq!(group.last_event(), "shard group 1 is on nodes 1 (learns), 2");
    let epoch = group.epoch();
    group.ok(set(&[replica.0], &[], epoch));
    assert_eq!(group.last_event(), "shard group 1 is on nodes 2");
    let epoch = group.epoch();
    group.ok(set(&[replica.0], &[], epoch));
    assert_eq!(group.epoch(), epoch, "nothing new");
}

#[test]
fn a_split_is_begun_and_finished_or_given_up() {
    let mut group = Group::of_nodes(1);
    let begin = |group: &Group| MetaCommand::BeginSplit {
        group: GROUP,
        at: PlacementKey(0x8000_0000_0000_0000),
        ref_epoch: RefEpoch(9),
        expected_epoch: group.epoch(),
    };
    let Outcome::Split { child, replicas } = group.ok(begin(&group)) else { panic!("a split") };
    assert_eq!((child, replicas.len()), (ShardGroupId(3), 1));
    group.refused(begin(&group), expect!["shard group 1 is being split"]);
    let other = ShardGroupId(9);
    group.refused(
        MetaCommand::FinishSplit { group: GROUP, child: other },
        expect!["shard group 1 is not being split into 9"],
    );
    group.ok(MetaCommand::CancelSplit { group: GROUP, child });
    let Outcome::Split { child, .. } = group.ok(begin(&group)) else { panic!("a split") };
    group.ok(MetaCommand::FinishSplit { group: GROUP, child });
    assert_eq!((child, group.state().placement.groups().len()), (ShardGroupId(4), 4));
    group.ok(MetaCommand::SetSetting { key: SettingKey::GroupsMax, value: 4 });
    group.refused(
        begin(&group),
        expect!["the cluster has 4 shard groups, its limit: raise the setting split.groups_max"],
    );
}

#[test]
fn a_token_is_used_as_often_as_it_says_and_in_time() {
    let mut group = Group::of_nodes(1);
    let create = |id, expires_ms| MetaCommand::CreateToken {
        id,
        kind: TokenKind::Join,
        secret_hash: [1; 32],
        expires_ms,
        uses: 2,
    };
    let join = |at: u16, id, hash: u8| MetaCommand::RegisterNode {
        nonce: at.into(),
        facts: facts(at),
        rules: RULES,
        token: Some(TokenProof { id, secret_hash: [hash; 32] }),
    };
    group.ok(create(1, NOW + 10));
    group.refused(create(1, NOW + 10), expect!["there is a token 1 already"]);
    group.ok(MetaCommand::SetSetting { key: SettingKey::JoinNeedsToken, value: 1 });
    group.refused(
        super::tests::join(1),
        expect![
            "this cluster takes new nodes with a token only: make one with bwctl token create, and set it as the configuration key cluster.join_token"
        ],
    );
    group.refused(
        join(2, 1, 9),
        expect![
            "the secret of token 0000000000000001 is wrong: copy the token whole, or make another with bwctl token create"
        ],
    );
    group.refused(
        join(2, 5, 1),
        expect![
            "there is no token 0000000000000005 here: was it made by another cluster? Make one with bwctl token create"
        ],
    );
    let admin = MetaCommand::UseToken { kind: TokenKind::Admin, proof: TokenProof { id: 1, secret_hash: [1; 32] } };
    group.refused(
        admin,
        expect!["the token is to join as a node, not to administer: make another with bwctl token create"],
    );
    group.ok(join(2, 1, 1));
    group.ok(join(2, 1, 1));
    group.ok(join(3, 1, 1));
    group.refused(
        join(4, 1, 1),
        expect!["the token was used already, as often as it can be (2): make another with bwctl token create"],
    );
    group.ok(create(2, NOW + 10));
    group.now += 10;
    group.refused(join(4, 2, 1), expect!["the token expired: make another with bwctl token create"]);
    group.ok(MetaCommand::RevokeToken { id: 2 });
    group.refused(join(4, 2, 1), expect!["the token was revoked: make another with bwctl token create"]);
    let never = MetaCommand::CreateToken { id: 3, kind: TokenKind::Join, secret_hash: [1; 32], expires_ms: 0, uses: 0 };
    group.refused(never, expect!["a token can be used 1 to 64 times, not 0"]);
    for id in 3..TOKENS_MAX as u64 + 3 {
        group.ok(create(id, NOW + 100));
    }
    group.refused(
        create(1000, NOW + 100),
        expect!["there are 256 tokens that can still be used, no more are given out: revoke some"],
    );
    group.ok(MetaCommand::RevokeToken { id: 3 });
    group.ok(create(1000, NOW + 100));
}

#[test]
fn settings_have_bounds_and_defaults() {
    let mut group = Group::of_nodes(1);
    let key = SettingKey::ReplicationFactor;
    group.refused(MetaCommand::SetSetting { key, value: 0 }, expect!["setting replication.factor takes 1 to 7, not 0"]);
    group.ok(MetaCommand::SetSetting { key, value: 5 });
    assert_eq!((group.state().settings.get(key), group.last_event()), (5, "replication.factor was set to 5"));
    group.ok(MetaCommand::UnsetSetting { key });
    assert_eq!(
        (group.state().settings.get(key), group.last_event()),
        (3, "replication.factor is 3 again, its default")
    );
}

#[test]
fn a_version_becomes_active_when_every_node_knows_it() {
    let mut group = Group::of_nodes(2);
    let newer = NodeFacts { highest_format: 3, ..facts(1) };
    group.ok(MetaCommand::UpdateNode { node: NodeId(1), facts: newer, rules: RULES });
    group.refused(
        MetaCommand::RaiseActiveVersion { version: 2 },
        expect![
            "version 2 cannot become active: it is not above 1, or node 2 knows only up to 1; upgrade that node or remove it first"
        ],
    );
    let newer = NodeFacts { highest_format: 2, ..facts(2) };
    group.ok(MetaCommand::UpdateNode { node: NodeId(2), facts: newer, rules: RULES });
    group.ok(MetaCommand::RaiseActiveVersion { version: 2 });
    group.ok(MetaCommand::RaiseActiveVersion { version: 2 });
    assert_eq!(group.state().active_version, 2);
    assert!(group.apply(MetaCommand::RaiseActiveVersion { version: 1 }).is_err());
}

#[test]
fn removed_nodes_are_not_remembered_for_ever() {
    let mut group = Group::of_nodes(1);
    for at in 0..REMOVED_NODES_MAX as u64 + 3 {
        group.ok(join(1000 + at as u16));
        group.ok(state_of(at + 2, NodeState::Removed));
    }
    assert_eq!(group.state().nodes.len(), 1 + REMOVED_NODES_MAX);
    assert!(group.state().is_removed(NodeId(2)));
    assert!(group.apply(state_of(2, NodeState::Active)).unwrap_err().to_string().starts_with("node 2 was removed"));
}

#[test]
fn a_group_begins_anew_with_one_replica_that_nobody_else_has() {
    let mut group = Group::of_nodes(3);
    let recover = |replica, expected_epoch| MetaCommand::RecoverGroup {
        group: ShardGroupId(0),
        node: NodeId(1),
        replica: ReplicaId(replica),
        ref_epoch: RefEpoch(77),
        text: "shard group 0 begins anew".to_owned(),
        expected_epoch,
    };
    let next = group.state().placement.parts().next_replica.0;
    let epoch = group.state().placement.epoch();
    assert!(group.apply(recover(next, epoch + 1)).is_err(), "another map");
    assert!(group.apply(recover(next + 1, epoch)).is_err(), "not the next replica");
    group.ok(recover(next, epoch));
    let state = group.state();
    let placed = state.placement.group(ShardGroupId(0)).unwrap();
    assert_eq!((placed.replicas.len(), placed.replicas[0].id, placed.ref_epoch), (1, ReplicaId(next), RefEpoch(77)));
    assert_eq!(state.placement.parts().next_replica, ReplicaId(next + 1));
    assert_eq!(group.last_event(), "shard group 0 begins anew");
}

#[test]
fn a_new_node_at_the_address_of_another_takes_that_for_lost() {
    let mut group = Group::of_nodes(3);
    let at = group.state().nodes[&NodeId(3)].facts.grpc.clone();
    let facts = NodeFacts { grpc: at, ..facts(9) };
    group.ok(MetaCommand::RegisterNode { nonce: 99, facts: facts.clone(), rules: RULES, token: None });
    let state = |group: &Group, node| group.state().nodes[&NodeId(node)].state;
    assert_eq!((state(&group, 3), state(&group, 4)), (NodeState::Draining, NodeState::Active));
    assert!(group.last_event().starts_with("node 3 was at"), "{}", group.last_event());
    // The same node that asks twice displaces nobody.
    group.ok(MetaCommand::RegisterNode { nonce: 99, facts, rules: RULES, token: None });
    assert_eq!(state(&group, 4), NodeState::Active);
}
