//! The real `bwctl`, and a cluster for it to look at.

use std::process::{Command, Stdio};

use bellwether_client::v1::*;
use expect_test::Expect;

use super::{Script, node};

/// Runs `bwctl` and returns how it ended and what it said, errors behind the result.
pub fn bwctl(address: &str, arguments: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bwctl"));
    command.args(arguments.split_whitespace()).env_clear().env("BWCTL_ADDRESS", address).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
}

/// What it says and how it ends is this.
#[track_caller]
pub fn check(address: &str, arguments: &str, expected: Expect) {
    let (code, text) = bwctl(address, arguments);
    expected.assert_eq(&format!("{text}-> {code}\n"));
}

/// A copy that votes.
pub fn replica(id: u64, node: u64, lag: Option<u64>) -> ReplicaInfo {
    ReplicaInfo { id, node, role: ReplicaRole::Voter.into(), lag, replaces: None, trouble: String::new() }
}

/// A cluster in which something of each sort is wrong.
pub fn cluster() -> Script {
    let mut draining = node(2, "10.0.0.2:9481");
    draining.state = NodeState::Draining.into();
    let mut down = node(3, "10.0.0.3:9481");
    (down.up, down.bytes, down.series, down.free_bytes, down.clock_offset_ms) = (false, None, None, None, None);
    let mut removed = node(4, "10.0.0.4:9481");
    removed.state = NodeState::Removed.into();
    let learner = ReplicaInfo { role: ReplicaRole::Learner.into(), replaces: Some(2), ..replica(20, 3, None) };
    let troubled = ReplicaInfo { trouble: "its disk is full".to_owned(), ..replica(4, 2, Some(17)) };
    let setting = |name: &str, value: &str, chosen| Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        default_value: "3".to_owned(),
        min: "1".to_owned(),
        max: "7".to_owned(),
        chosen,
        help: "what it is for".to_owned(),
    };
    Script {
        nodes: vec![node(1, "10.0.0.1:9481"), draining, down, removed],
        shards: vec![
            ShardInfo {
                id: 0,
                first_key: 0,
                last_key: u64::MAX / 2,
                leader: 1,
                replicas: vec![replica(1, 1, Some(0)), replica(2, 2, Some(0)), learner],
                bytes: Some(1 << 20),
                series: Some(1000),
                split: None,
            },
            ShardInfo {
                id: 1,
                first_key: u64::MAX / 2 + 1,
                last_key: u64::MAX,
                leader: 0,
                replicas: vec![replica(3, 1, None), troubled],
                bytes: None,
                series: None,
                split: Some(SplitInfo { child: 2, at: 0xc000_0000_0000_0000 }),
            },
        ],
        status: ClusterStatusResponse {
            cluster: "00112233445566778899aabbccddeeff".to_owned(),
            founded_ms: 1_795_161_600_000,
            active_version: 1,
            finalize_version: 2,
            placement_epoch: 7,
            node: 1,
            meta_leader: 1,
            meta_voters: vec![1, 2, 3],
            nodes_joining: 0,
            nodes_active: 2,
            nodes_draining: 1,
            nodes_down: 1,
            shard_groups: 2,
            groups_without_leader: 1,
            groups_short_of_copies: 2,
            groups_in_motion: 1,
            copies_wanted: 3,
            bytes: 1 << 20,
            series: 1000,
            nodes_clock_wrong: vec![3],
            nodes_behind: Vec::new(),
        },
        events: vec![
            Event { number: 1, at_ms: 1_795_161_600_000, kind: EventKind::Cluster.into(), text: "founded".to_owned() },
            Event {
                number: 2,
                at_ms: 1_795_161_661_250,
                kind: EventKind::Node.into(),
                text: "node 2 drains".to_owned(),
            },
        ],
        settings: vec![setting("replication.factor", "5", true), setting("nodes.max", "3", false)],
        ..Script::default()
    }
}

/// A backup on its way.
pub fn operation(state: OperationState, done_bytes: u64, progress: &str, outcome: &str) -> Operation {
    Operation {
        id: "1-7".to_owned(),
        what: "backup create file:///b".to_owned(),
        state: state.into(),
        began_ms: 1_795_161_600_000,
        ended_ms: 0,
        done_bytes,
        total_bytes: 4 << 20,
        progress: progress.to_owned(),
        outcome: outcome.to_owned(),
        backup: "20261120T080000Z-00000001".to_owned(),
    }
}
