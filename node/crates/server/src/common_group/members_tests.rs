//! Tests of who is to be in such a group.

use bellwether_placement::NodeState;
use bellwether_raft::ReplicaId as RaftReplica;
use expect_test::{Expect, expect};

use super::*;
use crate::meta::apply::apply;
use crate::meta::command::{Founding, MetaCommand, Request};
use crate::meta::founding::initial_placement;
use crate::meta::state::NodeFacts;

/// Nodes 1 to `count`, whose replicas have the same numbers.
fn state(count: u64) -> MetaState {
    let facts = |node: u64| NodeFacts {
        grpc: format!("n{node}:1"),
        http: format!("n{node}:2"),
        version: "1".to_owned(),
        lowest_format: 1,
        highest_format: 1,
        ..NodeFacts::default()
    };
    let placement = initial_placement(1, crate::env::Seed(1));
    let founding = Founding { cluster: 1, facts: facts(1), nonce: 1, rules: 1, placement };
    let mut state = None;
    let joins = (2..=count).map(|node| MetaCommand::RegisterNode {
        nonce: node.into(),
        facts: facts(node),
        rules: 1,
        token: None,
    });
    let commands = std::iter::once(MetaCommand::Found(Box::new(founding))).chain(joins);
    for (at, command) in commands.enumerate() {
        apply(&mut state, Request { id: at as u128, proposed_ms: 0, command }, at as u64).unwrap();
    }
    state.unwrap()
}

fn step(state: &MetaState, group: &GroupState, inventory: &Inventory, own: NodeId) -> Step {
    next(state, group, chosen(state, group, inventory), own)
}

fn members(ids: &[u64]) -> BTreeMap<RaftReplica, u64> {
    ids.iter().map(|id| (RaftReplica(*id), *id)).collect()
}

fn group(leader: u64, voters: &[u64], learners: &[u64]) -> GroupState {
    GroupState {
        leader: Some(bellwether_raft::LeaderHint { replica: RaftReplica(leader), node: leader }),
        is_leader: true,
        term: 1,
        last: None,
        committed: None,
        applied: None,
        flushed: None,
        purged: None,
        membership: None,
        membership_committed: true,
        is_joint: false,
        voters: members(voters),
        next_voters: members(voters).into_keys().collect(),
        learners: members(learners),
        progress: BTreeMap::new(),
        failure: None,
    }
}

/// An inventory in which all nodes have long answered.
fn settled(count: u64) -> Inventory {
    let group = group(1, &[1], &[]);
    let mut inventory = Seen::default().inventory(&state(count), &group, NodeId(1));
    inventory.nodes.values_mut().for_each(|info| info.liveness = Liveness::Up { for_ms: u64::MAX });
    inventory
}

/// What comes next where the nodes `down` have been silent for ever and all others have long answered.
fn check(state: &MetaState, group: &GroupState, down: &[u64], expected: Expect) {
    let own = NodeId(group.leader.unwrap().node);
    let mut inventory = Seen::default().inventory(state, group, own);
    for (id, info) in &mut inventory.nodes {
        let for_ms = u64::MAX;
        info.liveness = if down.contains(&id.0) { Liveness::Down { for_ms } } else { Liveness::Up { for_ms } };
    }
    let text = match step(state, group, &inventory, own) {
        Step::Nothing => "nothing".to_owned(),
        Step::Change(Members { voters, learners }) => {
            format!(
                "vote {:?}, learn {:?}",
                voters.into_values().collect::<Vec<_>>(),
                learners.into_values().collect::<Vec<_>>()
            )
        }
        Step::HandOver(to) => format!("hand over to {:?}", to.into_iter().map(|id| id.0).collect::<Vec<_>>()),
    };
    expected.assert_eq(&text);
}

#[test]
fn where_those_that_come_do_not_fit_beside_those_that_go_these_go_first() {
    // Replica 100 is of a node that is gone, node 64 has just been registered.
    let learners: Vec<u64> = (4..64).chain([100]).collect();
    let Step::Change(change) = step(&state(64), &group(1, &[1, 2, 3], &learners), &settled(64), NodeId(1)) else {
        panic!("somebody has to go");
    };
    assert_eq!(change.voters.into_values().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(change.learners.into_values().collect::<Vec<_>>(), (6..64).collect::<Vec<_>>());
    let learners: Vec<u64> = (4..64).collect();
    let Step::Change(change) = step(&state(64), &group(1, &[1, 2, 3], &learners), &settled(64), NodeId(1)) else {
        panic!("somebody has to come");
    };
    assert_eq!(change.learners.into_values().collect::<Vec<_>>(), (6..=64).collect::<Vec<_>>());
}

#[test]
fn who_votes_elsewhere_learns_before_voting_here() {
    // Node 4 has taken the place of node 1, and votes in the other group already.
    let mut state = state(4);
    state.nodes.get_mut(&NodeId(1)).unwrap().state = NodeState::Removed;
    let wanted = || [2, 3, 4].map(NodeId).into();
    let change = |group: &GroupState| match next(&state, group, wanted(), NodeId(2)) {
        Step::Change(Members { voters, learners }) => (voters, learners),
        other => panic!("{other:?}"),
    };
    assert_eq!(change(&group(2, &[1, 2, 3], &[])), (members(&[1, 2, 3]), members(&[4])));
    assert_eq!(change(&group(2, &[1, 2, 3], &[4])), (members(&[2, 3, 4]), members(&[])));
    // A change that is half done is ended first, with who is a member.
    let half_done = GroupState { is_joint: true, ..group(2, &[1, 2, 3], &[]) };
    assert_eq!(change(&half_done), (members(&[2, 3]), members(&[4])));
}

#[test]
fn the_third_node_makes_three_voters() {
    check(&state(1), &group(1, &[1], &[]), &[], expect!["nothing"]);
    check(&state(2), &group(1, &[1], &[]), &[], expect!["vote [1], learn [2]"]);
    check(&state(2), &group(1, &[1], &[2]), &[], expect!["nothing"]);
    check(&state(3), &group(1, &[1], &[2, 3]), &[], expect!["vote [1, 2, 3], learn []"]);
    check(&state(3), &group(1, &[1], &[2, 3]), &[3], expect!["nothing"]);
    check(&state(6), &group(1, &[1, 2, 3], &[4, 5, 6]), &[], expect!["vote [1, 2, 3, 4, 5], learn [6]"]);
}

#[test]
fn a_removed_node_leaves_and_another_votes_for_it() {
    let mut state = state(4);
    state.nodes.get_mut(&NodeId(3)).unwrap().state = NodeState::Removed;
    check(&state, &group(1, &[1, 2, 3], &[4]), &[], expect!["vote [1, 2, 4], learn []"]);
}

#[test]
fn a_leader_that_is_to_leave_hands_over_first() {
    let mut state = state(4);
    state.nodes.get_mut(&NodeId(1)).unwrap().state = NodeState::Removed;
    check(&state, &group(1, &[1, 2, 3], &[4]), &[], expect!["vote [1, 2, 3, 4], learn []"]);
    check(&state, &group(1, &[1, 2, 3, 4], &[]), &[], expect!["hand over to [2, 3, 4]"]);
    check(&state, &group(2, &[1, 2, 3, 4], &[]), &[], expect!["vote [2, 3, 4], learn []"]);
}

#[test]
fn a_change_left_half_done_is_ended() {
    let mut group = group(1, &[1, 2, 3], &[]);
    group.is_joint = true;
    check(&state(3), &group, &[], expect!["vote [1, 2, 3], learn []"]);
}
