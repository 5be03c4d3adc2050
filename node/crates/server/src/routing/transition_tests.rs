//! Tests of requests while replicas come and go, leaders are mistaken about, and nobody answers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_ingest::ShardBatch;
use bellwether_model::{Labels, Matcher, Sample, SeriesHash, ShardGroupId, Tenant, TimeRange, limits};
use bellwether_proto::peer::v1::failure::Reason;
use bellwether_proto::peer::v1::frame_outcome::Outcome;
use bellwether_proto::peer::v1::{GroupFrames, WriteRequest};
use bellwether_raft::{Leadership, Members};
use tokio::time::Instant;

use super::leaders::Leader;
use super::remote::COMMAND_DEADLINE;
use super::testing::{TestCluster, TestNode, replica};
use super::{Frame, collect};
use crate::testing::NOW_MS;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn sample(value: f64) -> Sample {
    Sample { timestamp: NOW_MS, value }
}

/// Two nodes; the second was given replicas that their groups do not have yet.
async fn with_replicas_that_wait() -> TestCluster {
    let cluster = TestCluster::start(2).await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    cluster.place([&[1, 2], &[1, 2]]);
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 2).await;
    assert!(!cluster.nodes[&2].group(0).raft.is_member());
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_replicas_wait_to_be_added_answers_from_elsewhere() {
    let cluster = with_replicas_that_wait().await;
    let node = &cluster.nodes[&2];
    let began = Instant::now();
    for name in NAMES {
        assert_eq!(node.values(name).await.unwrap(), [1.0], "{name}");
        assert_eq!(node.values_stale(name, Some(Duration::from_secs(60))).await.unwrap(), [1.0], "{name}");
    }
    assert_eq!(node.write(&NAMES, Sample { timestamp: NOW_MS + 1, value: 2.0 }).await.unwrap().samples, 8);
    assert_eq!(node.metrics.registrations.get(), 0, "others know the series");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(node.shards().members().is_empty() && node.router.is_alone());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hears_its_leader_and_lacks_its_copy_does_not_answer_stale_reads() {
    let cluster = with_replicas_that_wait().await;
    cluster.nodes[&1].shards().flush_all().await.unwrap();
    cluster.wires.no_copies.store(true, Ordering::Relaxed);
    for group in 0..2 {
        let leader = cluster.nodes[&1].group(group);
        let state = leader.raft.state();
        let members = Members { voters: state.voters.clone(), learners: [(replica(group, 2), 2)].into() };
        leader.raft.change_members(state.membership.unwrap(), members).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (node, stale) = (&cluster.nodes[&2], Some(Duration::from_secs(2)));
    assert_eq!(node.group(0).raft.staleness(), None);
    for name in NAMES {
        assert_eq!(node.values_stale(name, stale).await.unwrap(), [1.0], "{name}");
    }
    cluster.wires.no_copies.store(false, Ordering::Relaxed);
    let scans = *cluster.wires.scans.lock();
    let is_fresh = |node: &TestNode| {
        (0..2).all(|group| node.group(group).raft.staleness().is_some_and(|age| age < Duration::from_secs(2)))
    };
    cluster.eventually("the copies come", is_fresh).await;
    assert_eq!(node.values_stale("a", stale).await.unwrap(), [1.0]);
    assert_eq!(*cluster.wires.scans.lock(), scans, "its own replica answers");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_behind_is_as_old_as_what_it_has() {
    let cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    let follower = cluster.leader(0).await.id % 3 + 1;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let age = || cluster.nodes[&follower].group(0).raft.staleness();
    assert!(age().is_some_and(|age| age < Duration::from_secs(1)), "{:?}", age());
    cluster.wires.cut(follower);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(age().is_some_and(|age| age >= Duration::from_secs(30)), "{:?}", age());
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_beats_what_a_replica_believes() {
    let cluster = TestCluster::of_three().await;
    let group = ShardGroupId(0);
    let leader = cluster.leader(0).await.id;
    let (follower, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let router = &cluster.nodes[&follower].router;
    cluster.eventually("all know the leader", |node| node.group(0).raft.leadership() != Leadership::Unknown).await;
    let said = |attempt| match router.leader_of(group, attempt) {
        Leader::There(node) => node,
        _ => panic!("another node leads"),
    };
    assert_eq!((said(0), said(1)), (leader, leader));
    assert_eq!(BTreeSet::from([said(2), said(3)]), BTreeSet::from([leader, third]), "then nobody is believed");
    router.hints.learn(group, third);
    assert_eq!(said(0), leader, "a new request asks the replica here first");
    assert_eq!(said(1), third, "one whose first attempt failed goes where it was sent");
    // The replica is to go: who knows since when it has heard nothing.
    let without: Vec<u64> = [leader, third].into();
    cluster.place([&without, &[1, 2, 3]]);
    assert!(matches!(cluster.nodes[&follower].group(0).raft.leadership(), Leadership::There(_)));
    assert_eq!(said(0), third);
}

/// A name whose series lie in a group.
fn name_in(node: &TestNode, group: ShardGroupId) -> String {
    let (tenant, ring) = (Tenant::default_tenant(), node.shards().ring());
    let names = (0..).map(|at| format!("m{at}"));
    let mut inside = names.filter(|name| {
        let range = ring.group(group).unwrap().range;
        bellwether_model::PlacementKey::of_metric(&tenant, name).iter().all(|point| range.overlaps(*point))
    });
    inside.next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_large_entry_is_not_overtaken_by_a_small_one_of_the_same_request() {
    let cluster = TestCluster::of_three().await;
    let (tenant, group) = (Tenant::default_tenant(), ShardGroupId(0));
    let node = cluster.leader(0).await;
    let name = name_in(node, group);
    let frames = |series: u32, value: f64| -> Vec<Frame> {
        let mut batch = ShardBatch::new(node.group(0).scope());
        for at in 0..series {
            let labels = Labels::of(&[("__name__", &name), ("id", &at.to_string()), ("pad", &"x".repeat(30))]);
            batch.register(SeriesHash::of(&tenant, &labels), labels, &[sample(value)]);
        }
        batch.encode(&tenant).into_iter().map(|frame| Frame::Made(frame.bytes)).collect()
    };
    let large = frames(6000, 1.0);
    let bytes: usize = large.iter().map(|frame| frame.as_ref().len()).sum();
    assert!(bytes > 300 << 10 && bytes < limits::RAFT_ENTRY_BYTES_MAX, "{bytes}");
    let first = node.router.queue_frames(group, large).unwrap();
    // The large entry is being made.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = node.router.queue_frames(group, frames(1, 2.0)).unwrap();
    let done = collect(group, first.into_iter().chain(second).collect()).await;
    assert!(done.failed.is_none(), "{:?}", done.failed.map(|(error, _)| error));
    let values = node.values(&name).await.unwrap();
    assert_eq!(values.iter().filter(|value| **value == 2.0).count(), 1, "the later value of the first series holds");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_large_is_refused_and_the_group_goes_on() {
    let cluster = TestCluster::start(1).await;
    let router = &cluster.nodes[&1].router;
    let frames = vec![vec![0; limits::FRAME_BYTES_MAX + 1].into(), vec![0; 3].into()];
    let answer = router.serve_write(WriteRequest { groups: vec![GroupFrames { group: 0, frames }] }).await;
    assert_eq!(answer.outcomes.len(), 2);
    for outcome in answer.outcomes {
        let Some(Outcome::Failure(failure)) = outcome.outcome else { panic!("{outcome:?}") };
        assert!(matches!(failure.reason, Some(Reason::Rejected(_))), "{failure:?}");
    }
    assert_eq!(cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap().samples, 8);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_no_quorum_takes_ends_and_may_be_asked_for_again() {
    let cluster = TestCluster::of_three().await;
    cluster.nodes[&1].write(&NAMES, sample(1.0)).await.unwrap();
    let leader = cluster.leader(0).await.id;
    let name = name_in(&cluster.nodes[&leader], ShardGroupId(0));
    cluster.wires.cut(leader);
    let began = Instant::now();
    let delete = async || {
        let matchers = [Matcher::equal("__name__", &name)].into();
        let tenant = Tenant::default_tenant();
        cluster.nodes[&leader].router.delete_series(&tenant, matchers, TimeRange::ALL).await
    };
    let limit = COMMAND_DEADLINE + Duration::from_secs(10);
    let error = tokio::time::timeout(limit, delete()).await.expect("it ends").unwrap_err();
    assert!(error.error.is_transient(), "{error}, {:?}", began.elapsed());
    cluster.wires.mend(leader);
    assert_eq!(delete().await.unwrap(), 0);
}
