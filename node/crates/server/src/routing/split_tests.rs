//! Tests of groups that are cut in two while they are written, read and lose their leaders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_ingest::ControlCommand;
use bellwether_kv::KvDisk;
use bellwether_model::{Matcher, MetricKind, MetricMetadata, PlacementKey, Sample, ShardGroupId, Tenant, TimeRange};
use bellwether_raft::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::testing::{TestCluster, TestNode, replica};
use crate::shards::split::SplitOutcome;
use crate::shards::{Limits, QueryAccount, ReadContext, Wanted};
use crate::testing::NOW_MS;

/// Where the lower one of two groups is cut.
const AT: PlacementKey = PlacementKey(1 << 62);
const LONG: Duration = Duration::from_secs(120);

/// Names that lie in all three groups.
fn names() -> Vec<String> {
    (0..24).map(|number| format!("m{number}")).collect()
}

fn sample(value: u32) -> Sample {
    Sample { timestamp: NOW_MS + i64::from(value), value: f64::from(value) }
}

async fn write(node: &TestNode, value: u32) {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let written = node.write(&names, sample(value)).await.unwrap();
    assert_eq!((written.samples, written.refused.count()), (24, 0), "{}", written.refused);
}

/// Every series has exactly these values.
async fn assert_values(node: &TestNode, values: u32) {
    let expected: Vec<f64> = (1..=values).map(f64::from).collect();
    for name in names() {
        assert_eq!(node.values(&name).await.unwrap(), expected, "{name} on node {}", node.id);
    }
}

/// The replicas of a group on these nodes have applied the same.
async fn assert_equal(cluster: &TestCluster, group: u32, nodes: &[NodeId]) {
    let leader = cluster.leader(group).await.group(group);
    let position = leader.raft.read_index().await.unwrap();
    leader.raft.read_barrier().await.unwrap();
    for node in nodes {
        let local = cluster.nodes[node].group(group);
        local.raft.wait_applied(position, Instant::now() + LONG).await.unwrap();
        assert_eq!(local.shard().state_hash(), leader.shard().state_hash(), "group {group} on node {node}");
        assert_eq!(local.owned(), leader.owned());
    }
}

async fn split(node: &TestNode, command: &bellwether_ingest::SplitCommand) -> Option<SplitOutcome> {
    let answer = node.router.command(ShardGroupId(0), &ControlCommand::Split(command.clone())).await;
    answer.ok().and_then(SplitOutcome::numbered)
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_cut_in_two_keeps_everything_and_takes_writes() {
    let cluster = TestCluster::of_three().await;
    write(&cluster.nodes[&1], 1).await;
    write(&cluster.nodes[&2], 2).await;
    let (command, groups) = cluster.cut(0, AT, 2);
    assert_eq!(split(&cluster.nodes[&2], &command).await, Some(SplitOutcome::Done));
    cluster.show(groups);
    let began = Instant::now();
    write(&cluster.nodes[&3], 3).await;
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for an election: {:?}", began.elapsed());
    for node in cluster.nodes.values() {
        assert_values(node, 3).await;
    }
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 3).await;
    for group in 0..3 {
        assert_equal(&cluster, group, &[1, 2, 3]).await;
    }
    let series = |group| cluster.nodes[&1].group(group).shard().stats().series;
    assert!(series(0) > 0 && series(2) > 0 && series(0) + series(1) + series(2) == 24);
    assert_eq!(split(&cluster.nodes[&1], &command).await, Some(SplitOutcome::Done), "settled once and for all");
    let late = bellwether_ingest::SplitCommand { child: ShardGroupId(1), ..command };
    assert_eq!(split(&cluster.nodes[&1], &late).await, Some(SplitOutcome::Outdated));
    let above = bellwether_ingest::SplitCommand { child: ShardGroupId(3), ..late };
    assert_eq!(split(&cluster.nodes[&1], &above).await, Some(SplitOutcome::OutsideRange));
}

#[tokio::test(start_paused = true)]
async fn a_split_that_does_not_fit_the_members_is_refused_for_good() {
    let cluster = TestCluster::of_three().await;
    let (mut command, _) = cluster.cut(0, AT, 2);
    let third = command.replicas.pop_last().unwrap();
    assert_eq!(split(&cluster.nodes[&1], &command).await, Some(SplitOutcome::OtherMembers));
    command.replicas.insert(third.0, third.1);
    assert_eq!(split(&cluster.nodes[&1], &command).await, Some(SplitOutcome::OtherMembers), "whatever comes later");
    write(&cluster.nodes[&1], 1).await;
    assert_eq!(cluster.leader(0).await.group(0).owned().generation, 0);
}

/// What writers were told is stored: by name, the values.
type Acknowledged = Arc<Mutex<BTreeMap<String, Vec<u32>>>>;

/// Writes one series after the other until `stop`; what fails is sent again.
async fn keep_writing(
    path: Arc<crate::write::WritePath>,
    first: u32,
    told: Acknowledged,
    stop: watch::Receiver<bool>,
) -> usize {
    let (mut failures, mut value) = (0, first);
    while !*stop.borrow() {
        for name in names() {
            let labels = bellwether_model::Labels::of(&[("__name__", &name)]);
            let samples = vec![(labels, sample(value))];
            match path.write_samples(&Tenant::default_tenant(), samples, Vec::new()).await {
                Ok(written) => {
                    assert_eq!((written.samples, written.refused.count()), (1, 0), "{}", written.refused);
                    told.lock().entry(name).or_default().push(value);
                }
                Err(_) => failures += 1,
            }
        }
        value += 2;
        sleep(Duration::from_millis(5)).await;
    }
    failures
}

/// Reads until `stop`: what was acknowledged before is there, and nothing is there twice. Returns how often it was read.
async fn keep_reading(router: Arc<super::Router>, told: Acknowledged, stop: watch::Receiver<bool>) -> usize {
    let mut reads = 0;
    while !*stop.borrow() {
        let before = told.lock().clone();
        let read = ReadContext::new(QueryAccount::new(Limits::default()));
        let all: Arc<[Matcher]> = Arc::from([]);
        let selected = router.select(&Tenant::default_tenant(), all, TimeRange::ALL, Wanted::All, &read).await;
        sleep(Duration::from_millis(3)).await;
        let Ok(selected) = selected else { continue };
        reads += 1;
        let mut found = BTreeMap::new();
        for series in selected {
            let name = series.labels.metric_name().unwrap().to_owned();
            let values: Vec<u32> = series.values.iter().map(|value| *value as u32).collect();
            assert!(found.insert(name.clone(), values).is_none(), "{name} is there twice");
        }
        for (name, values) in before {
            let found = found.get(&name).cloned().unwrap_or_default();
            assert!(values.iter().all(|value| found.contains(value)), "{name}: {found:?} lacks some of {values:?}");
        }
    }
    reads
}

async fn leader_dies(after: Duration) {
    let mut cluster = TestCluster::of_three().await;
    let leader = cluster.leader(0).await.id;
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
    let (told, (stop, stopped)) = (Acknowledged::default(), watch::channel(false));
    let writers = others.iter().zip(0..).map(|(id, first)| {
        tokio::spawn(keep_writing(cluster.nodes[id].write.clone(), first, told.clone(), stopped.clone()))
    });
    let writers: Vec<_> = writers.collect();
    let readers = others
        .iter()
        .map(|id| tokio::spawn(keep_reading(cluster.nodes[id].router.clone(), told.clone(), stopped.clone())));
    let readers: Vec<_> = readers.collect();
    sleep(Duration::from_millis(100)).await;

    let (command, groups) = cluster.cut(0, AT, 2);
    let router = cluster.nodes[&others[0]].router.clone();
    let proposed = ControlCommand::Split(command.clone());
    let first_mover = tokio::spawn(async move { router.command(ShardGroupId(0), &proposed).await });
    sleep(after).await;
    let disk = cluster.crash(leader).await;
    // The next mover asks again, until somebody leads and says what the log says.
    let outcome = timeout(LONG, async {
        loop {
            if let Some(outcome) = split(&cluster.nodes[&others[1]], &command).await {
                return outcome;
            }
        }
    });
    assert_eq!(outcome.await.unwrap(), SplitOutcome::Done);
    first_mover.abort();
    cluster.show(groups);
    sleep(Duration::from_secs(3)).await;
    cluster.boot(leader, disk).await;
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 3).await;
    sleep(Duration::from_secs(1)).await;

    stop.send_replace(true);
    for writer in writers {
        timeout(LONG, writer).await.unwrap().unwrap();
    }
    for reader in readers {
        assert!(timeout(LONG, reader).await.unwrap().unwrap() > 10);
    }
    for group in 0..3 {
        assert_equal(&cluster, group, &[1, 2, 3]).await;
    }
    let told = told.lock().clone();
    assert_eq!(told.len(), 24);
    for (name, mut values) in told {
        values.sort_unstable();
        for node in cluster.nodes.values() {
            let found: Vec<u32> = node.values(&name).await.unwrap().iter().map(|value| *value as u32).collect();
            assert!(found.is_sorted_by(|a, b| a < b), "{name}: a value is there twice");
            assert!(values.iter().all(|value| found.binary_search(value).is_ok()), "{name} on node {}", node.id);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_when_the_leader_dies_before_the_split_is_committed() {
    leader_dies(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_when_the_leader_dies_after_the_split_is_committed() {
    leader_dies(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_map_shows_the_child_keeps_what_was_made_for_it() {
    let mut cluster = TestCluster::start(1).await;
    write(&cluster.nodes[&1], 1).await;
    let (command, groups) = cluster.cut(0, AT, 2);
    assert_eq!(split(&cluster.nodes[&1], &command).await, Some(SplitOutcome::Done));
    assert!(cluster.nodes[&1].disk.exists("shards/2-21/0").unwrap());
    for _ in 0..2 {
        // Once with the split in the log, once with the parent flushed behind it.
        let disk = cluster.crash(1).await;
        cluster.boot(1, disk).await;
        assert_eq!(cluster.nodes[&1].group(0).owned().generation, 1);
        assert!(cluster.nodes[&1].disk.exists("shards/2-21/0").unwrap());
        cluster.nodes[&1].shards().flush_all().await.unwrap();
    }
    cluster.show(groups);
    write(&cluster.nodes[&1], 2).await;
    assert_values(&cluster.nodes[&1], 2).await;
    let disk = cluster.crash(1).await;
    cluster.boot(1, disk).await;
    assert_values(&cluster.nodes[&1], 2).await;
    assert!(cluster.nodes[&1].disk.list("copies").unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_makes_its_child_when_it_comes_to_the_split() {
    let cluster = TestCluster::of_three().await;
    write(&cluster.nodes[&1], 1).await;
    let leader = cluster.leader(0).await.id;
    let away = leader % 3 + 1;
    let here = 6 - leader - away;
    cluster.wires.cut(away);
    let (command, groups) = cluster.cut(0, AT, 2);
    assert_eq!(split(&cluster.nodes[&here], &command).await, Some(SplitOutcome::Done));
    cluster.show(groups);
    write(&cluster.nodes[&here], 2).await;
    sleep(Duration::from_secs(3)).await;
    let lagging = cluster.nodes[&away].shards();
    assert!(!lagging.replicas().contains(&(ShardGroupId(2), replica(2, away))), "it must not begin empty");
    cluster.wires.mend(away);
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 3).await;
    write(&cluster.nodes[&away], 3).await;
    for group in 0..3 {
        assert_equal(&cluster, group, &[1, 2, 3]).await;
    }
    assert_values(&cluster.nodes[&away], 3).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_gets_both_parts() {
    let mut cluster = TestCluster::start(2).await;
    write(&cluster.nodes[&1], 1).await;
    let (command, mut groups) = cluster.cut(0, AT, 2);
    assert_eq!(split(&cluster.nodes[&1], &command).await, Some(SplitOutcome::Done));
    cluster.show(groups.clone());
    write(&cluster.nodes[&2], 2).await;
    for group in &mut groups {
        group.replicas.insert(replica(group.id.0, 2), 2);
    }
    cluster.show(groups);
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() >= 2).await;
    // The logs of the first two are whole: they come as they are, the split with them.
    for group in [0, 1, 2] {
        cluster.vote(group, &[1, 2]).await;
        assert_equal(&cluster, group, &[1, 2]).await;
        // The child's replica waits for the parent's.
        cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 3).await;
    }
    let disk = cluster.crash(2).await;
    cluster.boot(2, disk).await;
    write(&cluster.nodes[&2], 3).await;
    for group in 0..3 {
        assert_equal(&cluster, group, &[1, 2]).await;
    }
    assert_values(&cluster.nodes[&2], 3).await;
}

#[tokio::test(start_paused = true)]
async fn deletions_and_metadata_reach_both_parts_though_the_map_is_late() {
    let cluster = TestCluster::of_three().await;
    let node = &cluster.nodes[&1];
    write(node, 1).await;
    let about =
        |name: String| (name, MetricMetadata { kind: MetricKind::Gauge, help: "h".to_owned(), unit: String::new() });
    let metadata: Vec<_> = names().into_iter().map(about).collect();
    let tenant = Tenant::default_tenant();
    node.write.write_samples(&tenant, Vec::new(), metadata.clone()).await.unwrap();
    let (command, groups) = cluster.cut(0, AT, 2);
    assert_eq!(split(node, &command).await, Some(SplitOutcome::Done));
    let selector: Arc<[Matcher]> = [Matcher::new(bellwether_model::MatchOp::Regex, "__name__", "m.*").unwrap()].into();
    let deleted = node.router.delete_series(&tenant, selector, TimeRange::ALL);
    let told = async {
        sleep(Duration::from_millis(700)).await;
        cluster.show(groups);
    };
    let (deleted, ()) = tokio::join!(deleted, told);
    assert_eq!(deleted.unwrap(), 24);
    for name in names() {
        assert_eq!(node.values(&name).await.unwrap(), [0.0; 0]);
    }
    let expected: BTreeMap<String, MetricMetadata> = metadata.into_iter().collect();
    let read = ReadContext::new(QueryAccount::new(Limits::default()));
    assert_eq!(node.router.metadata(&tenant, &read).await.unwrap(), expected);
    cluster.eventually("the replicas start", |node| node.shards().replicas().len() == 3).await;
    for group in 0..3 {
        assert_equal(&cluster, group, &[1, 2, 3]).await;
    }
    let kept = |group: u32| cluster.nodes[&1].group(group).shard().metadata(&tenant).len();
    assert_eq!(kept(0) + kept(1) + kept(2), 24, "each is kept by one group");
}
