//! Tests of requests that reach any node of several.

use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::KvDisk;
use bellwether_model::{Labels, Matcher, MetricMetadata, Sample, ShardGroupId, Tenant, TimeRange};
use bellwether_proto::peer::v1::membership_request::Change;
use bellwether_proto::peer::v1::{Member, Members, MembershipRequest};
use bellwether_raft::{Leadership, NodeId};

use super::Selectors;
use super::error::RouteError;
use super::remote::MEMBERSHIP_DEADLINE;
use super::testing::{TestCluster, TestNode, replica};
use crate::peers::error::wire_position;
use crate::shards::{LimitError, Limits, QueryAccount, ReadContext, SelectError, Wanted};
use crate::testing::NOW_MS;
use crate::write::WriteError;

/// Names that lie in both groups.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn sample(value: f64) -> Sample {
    Sample { timestamp: NOW_MS + value as i64, value }
}

/// Waits until the replicas of a group have applied the same, and compares their states.
async fn assert_equal(cluster: &TestCluster, nodes: &[NodeId]) {
    for group in 0..2 {
        let leader = cluster.leader(group).await.group(group);
        let position = leader.raft.read_index().await.unwrap();
        leader.raft.read_barrier().await.unwrap();
        for node in nodes {
            let local = cluster.nodes[node].group(group);
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            local.raft.wait_applied(position, deadline).await.unwrap();
            assert_eq!(local.shard().state_hash(), leader.shard().state_hash(), "group {group} on node {node}");
        }
    }
}

fn leaders(cluster: &TestCluster, group: u32) -> usize {
    let leads = |node: &&TestNode| {
        let local = node.shards().local(ShardGroupId(group));
        local.is_ok_and(|local| local.raft.leadership() == Leadership::Here)
    };
    cluster.nodes.values().filter(leads).count()
}

#[tokio::test(start_paused = true)]
async fn a_write_to_any_node_is_stored_by_the_leaders_and_reaches_all_replicas() {
    let cluster = TestCluster::of_three().await;
    for node in cluster.nodes.values() {
        assert_eq!(node.write(&NAMES, sample(node.id as f64)).await.unwrap().samples, 8, "node {}", node.id);
    }
    assert_equal(&cluster, &[1, 2, 3]).await;
    let registrations: u64 = cluster.nodes.values().map(|node| node.metrics.registrations.get()).sum();
    assert!(registrations >= 8, "{registrations}");
    assert_eq!(
        cluster.nodes[&3].group(0).shard().stats().series + cluster.nodes[&3].group(1).shard().stats().series,
        8
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_without_replicas_finds_out_and_writes_all_the_same() {
    let cluster = TestCluster::start(2).await;
    assert!(cluster.nodes[&2].shards().replicas().is_empty());
    cluster.nodes[&1].write(&NAMES[..4], sample(1.0)).await.unwrap();
    assert_eq!(cluster.nodes[&2].write(&NAMES, sample(2.0)).await.unwrap().samples, 8);
    assert_eq!(cluster.nodes[&2].metrics.registrations.get(), 4, "what the leader knows costs no log");
    let calls = *cluster.wires.writes.lock();
    assert_eq!(cluster.nodes[&2].write(&NAMES, sample(3.0)).await.unwrap().samples, 8);
    assert_eq!(cluster.nodes[&2].metrics.resends.get(), 0);
    assert_eq!(*cluster.wires.writes.lock() - calls, 1, "the frames of both groups travel together");
}

#[tokio::test(start_paused = true)]
async fn a_write_outlives_the_leader_that_it_was_meant_for() {
    let mut cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    let leader = cluster.leader(0).await.id;
    let other = if leader == 3 { 2 } else { 3 };
    cluster.nodes[&other].write(&NAMES, sample(2.0)).await.unwrap();
    let disk = cluster.crash(leader).await;
    assert_eq!(cluster.nodes[&other].write(&NAMES, sample(3.0)).await.unwrap().samples, 8);
    cluster.boot(leader, disk).await;
    assert_eq!(cluster.nodes[&leader].write(&NAMES, sample(4.0)).await.unwrap().samples, 8);
    assert_equal(&cluster, &[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_hears_gives_up_and_its_clients_are_told_to_come_again() {
    let cluster = TestCluster::of_three().await;
    let leader = cluster.leader(0).await.id;
    cluster.wires.cut(leader);
    let error = cluster.nodes[&leader].write(&NAMES, sample(1.0)).await.unwrap_err();
    assert!(matches!(&error, WriteError::Transient { .. }), "{error}");
    let other = if leader == 3 { 2 } else { 3 };
    assert_eq!(cluster.nodes[&other].write(&NAMES, sample(2.0)).await.unwrap().samples, 8);
    cluster.wires.mend(leader);
    assert_eq!(cluster.nodes[&leader].write(&NAMES, sample(3.0)).await.unwrap().samples, 8);
    assert_equal(&cluster, &[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn leadership_that_is_handed_over_is_no_error_for_writers() {
    let cluster = TestCluster::of_three().await;
    for round in 0..6 {
        let leader = cluster.leader(round % 2).await;
        let to = replica(round % 2, leader.id % 3 + 1);
        leader.group(round % 2).raft.transfer_leadership(to, Duration::from_secs(2)).await.unwrap();
        for node in cluster.nodes.values() {
            assert_eq!(node.write(&NAMES, sample(f64::from(round))).await.unwrap().samples, 8, "round {round}");
        }
    }
    assert_equal(&cluster, &[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_goes_only_when_its_group_goes_on_without_it() {
    let cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    cluster.place([&[1, 2], &[1, 2, 3]]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.nodes[&3].shards().replicas().len(), 2, "its group still has it");
    if cluster.leader(0).await.id == 3 {
        let leader = cluster.nodes[&3].group(0);
        leader.raft.transfer_leadership(replica(0, 1), Duration::from_secs(2)).await.unwrap();
    }
    cluster.vote(0, &[1, 2]).await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while cluster.nodes[&3].disk.exists("shards/0-3").unwrap() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(cluster.nodes[&3].shards().replicas(), [(ShardGroupId(1), replica(1, 3))]);
    assert!(cluster.nodes[&3].disk.exists("shards/1-13").unwrap());
    assert_eq!(leaders(&cluster, 0), 1);
    assert_eq!(cluster.nodes[&3].write(&NAMES, sample(2.0)).await.unwrap().samples, 8);
    assert_equal(&cluster, &[1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_replica_gets_a_copy_where_the_log_is_cut() {
    let cluster = TestCluster::start(2).await;
    for value in 1..20 {
        cluster.nodes[&1].write(&NAMES, sample(f64::from(value))).await.unwrap();
    }
    cluster.nodes[&1].shards().flush_all().await.unwrap();
    cluster.nodes[&1].write(&NAMES, sample(20.0)).await.unwrap();
    assert!(cluster.nodes[&1].group(0).raft.state().purged.is_some());
    cluster.place([&[1, 2], &[1, 2]]);
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 2).await;
    for group in 0..2 {
        cluster.vote(group, &[1, 2]).await;
    }
    assert_eq!(cluster.nodes[&2].write(&NAMES, sample(21.0)).await.unwrap().samples, 8);
    assert_equal(&cluster, &[1, 2]).await;
    assert_eq!(cluster.nodes[&2].group(0).shard().stats().runs, 1, "what was flushed came as it was");
}

#[tokio::test(start_paused = true)]
async fn a_rolling_restart_is_invisible_to_writers() {
    let mut cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(0.0)).await.unwrap();
    for id in 1..=3 {
        let other = id % 3 + 1;
        cluster.nodes[&id].shards().hand_over(Duration::from_secs(5)).await;
        assert_eq!(cluster.nodes[&id].write(&NAMES, sample(id as f64)).await.unwrap().samples, 8);
        let disk = cluster.crash(id).await;
        let began = tokio::time::Instant::now();
        assert_eq!(cluster.nodes[&other].write(&NAMES, sample(10.0 + id as f64)).await.unwrap().samples, 8);
        assert!(began.elapsed() < Duration::from_millis(500), "nobody waits for an election: {:?}", began.elapsed());
        cluster.boot(id, disk).await;
        let (ready, mut is_ready) = tokio::sync::watch::channel(false);
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        assert!(!cluster.nodes[&id].router.is_alone());
        cluster.nodes[&id].router.clone().become_ready(ready, stopped).await;
        assert!(*is_ready.borrow_and_update());
        let behind = cluster.nodes[&id].group(0).raft.state().applied.map(|applied| applied.index);
        assert!(behind >= cluster.nodes[&other].group(0).raft.state().committed.map(|committed| committed.index));
    }
    assert_equal(&cluster, &[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn every_node_reads_what_any_node_has_acknowledged() {
    let cluster = TestCluster::of_three().await;
    let mut expected = Vec::new();
    for round in 0..9 {
        let (writer, reader) = (round % 3 + 1, (round / 3 + round) % 3 + 1);
        cluster.nodes[&writer].write(&NAMES, sample(round as f64)).await.unwrap();
        expected.push(round as f64);
        assert_eq!(
            cluster.nodes[&reader].values("c").await.unwrap(),
            expected,
            "written on {writer}, read on {reader}"
        );
    }
    assert_eq!(*cluster.wires.scans.lock(), 0, "each node reads its own replicas");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_replicas_reads_elsewhere_and_everything_works_there() {
    let cluster = TestCluster::start(2).await;
    let about = MetricMetadata { kind: bellwether_model::MetricKind::Gauge, help: "h".to_owned(), unit: String::new() };
    let tenant = Tenant::default_tenant();
    let metadata = vec![("a".to_owned(), about.clone()), ("b".to_owned(), about)];
    cluster.nodes[&2].write.write_samples(&tenant, Vec::new(), metadata.clone()).await.unwrap();
    cluster.nodes[&2].write(&NAMES, sample(1.0)).await.unwrap();
    let node = &cluster.nodes[&2];
    assert_eq!(node.values("a").await.unwrap(), [1.0]);
    assert_eq!(*cluster.wires.scans.lock(), 1, "all groups of a node are scanned in one call");
    let read = ReadContext::new(QueryAccount::new(Limits::default()));
    let all: Selectors = Arc::from([Arc::from([])]);
    let series = node.router.series(&tenant, all.clone(), TimeRange::ALL, 3, &read).await.unwrap();
    assert_eq!(series, ["a", "b", "c"].map(|name| Labels::of(&[("__name__", name)])));
    let names = node.router.label_names(&tenant, all.clone(), TimeRange::ALL, 9, &read).await.unwrap();
    assert_eq!(names, ["__name__"]);
    let values = node.router.label_values(&tenant, "__name__", all, TimeRange::ALL, 99, &read).await.unwrap();
    assert_eq!(values, NAMES);
    assert_eq!(node.router.metadata(&tenant, &read).await.unwrap(), metadata.into_iter().collect());
    let selector: Arc<[Matcher]> = [Matcher::equal("__name__", "a")].into();
    assert_eq!(node.router.delete_series(&tenant, selector, TimeRange::ALL).await.unwrap(), 1);
    assert!(node.values("a").await.unwrap().is_empty());
    node.router.seal_all().await.unwrap();
    assert_eq!(cluster.nodes[&1].shards().stats().unflushed_samples, 0, "all nodes flush");
    let few = ReadContext::new(QueryAccount::new(Limits { series: 3, ..Limits::default() }));
    let any: Arc<[Matcher]> = [Matcher::equal("x", "")].into();
    let error = node.router.select(&tenant, any, TimeRange::ALL, Wanted::All, &few).await.unwrap_err();
    assert!(matches!(error, SelectError::Limit(LimitError::Series { limit: 3 })), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hears_nothing_reads_elsewhere_and_a_node_alone_says_why_it_cannot() {
    let mut cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    let leader = cluster.leader(0).await.id;
    let follower = leader % 3 + 1;
    let disk = cluster.crash(leader).await;
    assert_eq!(cluster.nodes[&follower].values("a").await.unwrap(), [1.0], "somebody leads again soon");
    cluster.boot(leader, disk).await;
    cluster.wires.cut(follower);
    let error = cluster.nodes[&follower].values("a").await.unwrap_err();
    assert!(matches!(error, SelectError::Unavailable { .. }), "{error}");
    cluster.wires.mend(follower);
    assert_eq!(cluster.nodes[&follower].values("a").await.unwrap(), [1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_needs_no_leader_but_one_that_was_heard_lately() {
    let mut cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    assert_equal(&cluster, &[1, 2, 3]).await;
    let stale = |ms| Some(Duration::from_millis(ms));
    for node in cluster.nodes.values() {
        assert_eq!(node.values_stale("a", stale(1000)).await.unwrap(), [1.0], "node {}", node.id);
    }
    // All have heard their leaders since a quorum answered those.
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.crash(1).await;
    cluster.crash(2).await;
    let node = &cluster.nodes[&3];
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.values_stale("a", stale(2000)).await.unwrap(), [1.0], "nobody leads any more");
    assert!(matches!(node.values("a").await, Err(SelectError::Unavailable { .. })));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(matches!(node.values_stale("a", stale(2000)).await, Err(SelectError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_hears_says_so_of_a_change_of_members() {
    let cluster = TestCluster::of_three().await;
    let leader = cluster.leader(0).await;
    let state = leader.group(0).raft.state();
    for node in cluster.nodes.keys().filter(|node| **node != leader.id) {
        cluster.wires.cut(*node);
    }
    let members = |learners: &[(u64, u64)]| Members {
        voters: state.voters.iter().map(|(replica, node)| Member { replica: replica.0, node: *node }).collect(),
        learners: learners.iter().map(|(replica, node)| Member { replica: *replica, node: *node }).collect(),
    };
    let request = MembershipRequest {
        group: 0,
        expected: state.membership.map(wire_position),
        mover_epoch: 1,
        change: Some(Change::Members(members(&[(4, 4)]))),
    };
    let asked = leader.router.membership(ShardGroupId(0), request);
    let error = tokio::time::timeout(MEMBERSHIP_DEADLINE, asked).await.expect("no wait for ever").unwrap_err();
    assert!(matches!(&error, RouteError::Remote(error) if !error.nothing_done()), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_members_does_not_end_at_a_node_that_is_gone() {
    let cluster = TestCluster::start(3).await;
    let router = &cluster.nodes[&2].router;
    router.hints.learn(ShardGroupId(0), 3);
    cluster.wires.cut(3);
    let to = Change::TransferTo(replica(0, 1).0);
    let request = MembershipRequest { group: 0, expected: None, mover_epoch: 1, change: Some(to) };
    router.membership(ShardGroupId(0), request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mover_that_another_has_followed_is_told_whom_to_ask() {
    let cluster = TestCluster::of_three().await;
    let leader = cluster.leader(0).await;
    let to = replica(0, leader.id);
    let request = |mover_epoch| MembershipRequest {
        group: 0,
        expected: None,
        mover_epoch,
        change: Some(Change::TransferTo(to.0)),
    };
    leader.router.serve_membership(request(7)).await.unwrap();
    let refused = leader.router.serve_membership(request(6)).await.unwrap_err();
    assert_eq!(
        refused.message,
        "a mover of epoch 7 has come after the one of epoch 6: ask the node that leads the meta group now"
    );
    leader.router.serve_membership(request(7)).await.unwrap();
}
