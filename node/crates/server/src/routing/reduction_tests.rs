//! Tests of aggregations that several nodes compute together.

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{Labels, PlacementKey, Sample, ShardGroupId, Tenant, TimeRange, stale_marker};
use bellwether_promql::{Outcome, Value};
use prometheus::Registry;

use super::testing::{TestCluster, TestNode, replica};
use crate::config::Config;
use crate::query::{Answer, Coordinator, LabelsQuery, QueryError, QueryRequest, QueryTimes};
use crate::shards::SelectError;
use crate::testing::NOW_MS;

const SERIES: usize = 60;

/// The first group on the first node, the second on the second, none on the third.
async fn spread() -> TestCluster {
    let cluster = TestCluster::start(3).await;
    cluster.place([&[1], &[1, 2]]);
    cluster.eventually("the replica starts", |node| node.id != 2 || node.shards().replicas().len() == 1).await;
    cluster.vote(1, &[1, 2]).await;
    let leader = cluster.leader(1).await.group(1);
    leader.raft.transfer_leadership(replica(1, 2), Duration::from_secs(2)).await.unwrap();
    while cluster.leader(1).await.id != 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.place([&[1], &[2]]);
    cluster.vote(1, &[2]).await;
    cluster.eventually("the replica goes", |node| node.shards().replicas().len() == usize::from(node.id < 3)).await;
    cluster
}

fn labels(number: usize) -> Labels {
    Labels::of(&[("__name__", "m_total"), ("a", &(number % 3).to_string()), ("n", &number.to_string())])
}

/// Counters, one of which ends, and one that is no number now and then.
async fn fill(cluster: &TestCluster) {
    for round in 0..20 {
        let value = |number: usize| match (number, round) {
            (7, 15..) => stale_marker(),
            (8, 4..6) => f64::NAN,
            _ => (round * number) as f64 + 0.1,
        };
        let sample = |number| Sample { timestamp: NOW_MS - 300_000 + round as i64 * 15_000, value: value(number) };
        let samples =
            (0..SERIES).filter(|number| (*number, round) != (7, 16)).map(|number| (labels(number), sample(number)));
        let node = &cluster.nodes[&(round as u64 % 3 + 1)];
        node.write.write_samples(&Tenant::default_tenant(), samples.collect(), Vec::new()).await.unwrap();
    }
}

fn request(text: &str, range: bool) -> QueryRequest {
    let times = match range {
        true => QueryTimes::Range { start: NOW_MS - 240_000, end: NOW_MS, step_ms: 20_000 },
        false => QueryTimes::Instant(NOW_MS - 60_000),
    };
    let tenant = Tenant::default_tenant();
    QueryRequest {
        tenant,
        text: text.to_owned(),
        times,
        timeout: None,
        lookback: None,
        stale: None,
        partial: false,
        samples_per_step: true,
        cached: true,
        traced: false,
    }
}

fn coordinator(node: &TestNode, change: impl Fn(&mut Config)) -> Coordinator {
    let mut config = Config::default();
    change(&mut config);
    Coordinator::new(node.router.clone(), node.shards().executor().clone(), &config, &Registry::new())
}

async fn run(node: &TestNode, request: QueryRequest) -> Result<Outcome, QueryError> {
    coordinator(node, |_| ()).run(request).await.map(|Answer { outcome, .. }| outcome)
}

/// Every digit of a result.
fn digits(outcome: &Outcome) -> Vec<String> {
    match &outcome.value {
        Value::Vector(samples) => {
            samples.iter().map(|one| format!("{} {:?}", one.labels, one.point.value.to_bits())).collect()
        }
        Value::Matrix(matrix) => {
            let points = |one: &bellwether_promql::MatrixSeries| -> Vec<(i64, u64)> {
                one.points.iter().map(|point| (point.timestamp, point.value.to_bits())).collect()
            };
            matrix.iter().map(|one| format!("{} {:?}", one.labels, points(one))).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn aggregations_are_computed_where_the_series_are_and_are_the_same_on_every_node() {
    let cluster = spread().await;
    fill(&cluster).await;
    for (query, is_one_scan) in [
        ("sum by (a) (rate(m_total[1m]))", true),
        ("avg(m_total) / on () max(m_total)", true),
        ("stddev by (a) (m_total)", true),
        ("topk(3, m_total)", true),
        ("bottomk by (a) (2, m_total % 5)", true),
        ("count_values(\"v\", floor(m_total / 50))", true),
        ("count(m_total) - count(m_total offset 2m)", true),
        ("sum(rate(m_total[1m])) + count(n_total) or sum(m_total)", false),
    ] {
        for range in [false, true] {
            let before = *cluster.wires.scans.lock();
            let far = run(&cluster.nodes[&3], request(query, range)).await.unwrap();
            if is_one_scan {
                assert_eq!(*cluster.wires.scans.lock() - before, 2, "{query}: one call to each node");
            }
            for id in [1, 2] {
                let near = run(&cluster.nodes[&id], request(query, range)).await.unwrap();
                assert_eq!(digits(&near), digits(&far), "{query} on node {id}");
            }
            assert!(!digits(&far).is_empty(), "{query}");
        }
    }
    assert_eq!(*cluster.wires.columns.lock(), 0, "no samples travel");
    let count = run(&cluster.nodes[&3], request("count(m_total)", false)).await.unwrap();
    assert_eq!(digits(&count), [format!("{{}} {}", 59f64.to_bits())], "one has ended");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_plans_otherwise_is_asked_for_samples() {
    let cluster = spread().await;
    fill(&cluster).await;
    let query = "sum by (a) (m_total * 100) - topk(1, m_total)";
    for (text, range) in [("max by (a) (rate(m_total[1m]))", true), ("topk(4, m_total)", false), (query, false)] {
        let reduced = run(&cluster.nodes[&3], request(text, range)).await.unwrap();
        assert_eq!(*cluster.wires.columns.lock(), 0);
        cluster.wires.old.lock().insert(2);
        let fetched = run(&cluster.nodes[&3], request(text, range)).await.unwrap();
        assert_eq!(digits(&reduced), digits(&fetched), "{text}");
        assert!(std::mem::take(&mut *cluster.wires.columns.lock()) > 0);
        cluster.wires.old.lock().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn limits_hold_for_what_other_nodes_read() {
    let cluster = spread().await;
    fill(&cluster).await;
    let text = "sum(rate(m_total[5m]))";
    let cost = coordinator(&cluster.nodes[&3], |_| ()).run(request(text, false)).await.unwrap().cost;
    assert_eq!(cost.series, SERIES as u64);
    assert!(cost.samples > 10 * SERIES as u64, "{}", cost.samples);
    let fails = async |change: &dyn Fn(&mut Config)| -> String {
        let ran = coordinator(&cluster.nodes[&3], change).run(request(text, false)).await;
        ran.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let series = fails(&|config| config.query.max_series = 50).await;
    assert_eq!(series, "the query touches more than 50 series, which is the limit query.max_series");
    let samples = fails(&|config| config.query.max_samples = 300).await;
    assert_eq!(samples, "the query touches more than 300 samples, which is the limit query.max_samples");
    assert_eq!(fails(&|config| config.query.max_samples = 1_000_000).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_query_asks_only_the_groups_that_can_hold_its_metric() {
    let cluster = spread().await;
    let ring = cluster.nodes[&3].shards().ring();
    let tenant = Tenant::default_tenant();
    let lies_in = |name: &str, group: u32| {
        let points = PlacementKey::of_metric(&tenant, name);
        points.iter().all(|point| ring.owner(point.first) == Some(ShardGroupId(group)))
    };
    for group in 0..2 {
        let name = (0..100_000).map(|number| format!("m{number}")).find(|name| lies_in(name, group)).unwrap();
        let node = &cluster.nodes[&(u64::from(group) + 1)];
        let sample = Sample { timestamp: NOW_MS - 90_000, value: 1.0 };
        node.write(&[&name], sample).await.unwrap();
        let (own, other) = (u64::from(group) + 1, 2 - u64::from(group));
        let anything = "count({a=\"\",__name__=~\".+\"})".to_owned();
        for (query, calls) in [
            (format!("sum({name})"), [(3, 1), (own, 0), (other, 1)]),
            (name.clone(), [(3, 1), (own, 0), (other, 1)]),
            (anything, [(3, 2), (own, 1), (other, 1)]),
        ] {
            for (id, calls) in calls {
                let before = *cluster.wires.scans.lock();
                assert_eq!(digits(&run(&cluster.nodes[&id], request(&query, false)).await.unwrap()).len(), 1);
                assert_eq!(*cluster.wires.scans.lock() - before, calls, "{query} on node {id}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_partial_only_where_that_is_asked_for_and_says_what_is_missing() {
    let cluster = spread().await;
    fill(&cluster).await;
    let all = run(&cluster.nodes[&3], request("count(m_total)", false)).await.unwrap();
    cluster.wires.cut(2);
    for (text, range) in [("count(m_total)", false), ("m_total", false), ("topk(2, m_total)", true)] {
        let error = run(&cluster.nodes[&3], request(text, range)).await.unwrap_err();
        assert!(error.to_string().contains("shard group 1"), "{error}");
        let partial = QueryRequest { partial: true, ..request(text, range) };
        let outcome = run(&cluster.nodes[&3], partial).await.unwrap();
        let [warning] = &outcome.warnings[..] else { panic!("{:?}", outcome.warnings) };
        assert!(warning.starts_with("the result is partial: shard group 1 "), "{warning}");
        assert!(!digits(&outcome).is_empty() && digits(&outcome) != digits(&all), "{text}");
    }
    let names = LabelsQuery {
        tenant: Tenant::default_tenant(),
        selectors: vec!["m_total".to_owned()],
        selective: true,
        range: TimeRange::ALL,
        limit: 1_000,
        timeout: None,
        partial: false,
    };
    let queries = coordinator(&cluster.nodes[&3], |_| ());
    assert!(matches!(queries.series(&names).await, Err(QueryError::Select(SelectError::Unavailable { .. }))));
    let found = queries.series(&LabelsQuery { partial: true, ..names.clone() }).await.unwrap();
    assert!((1..SERIES).contains(&found.items.len()) && found.warnings.len() == 1, "{}", found.items.len());
    cluster.wires.mend(2);
    let found = queries.series(&LabelsQuery { partial: true, ..names }).await.unwrap();
    assert_eq!((found.items.len(), found.warnings.len()), (SERIES, 0));
}

#[tokio::test(start_paused = true)]
async fn metadata_waits_for_a_place_and_can_be_killed() {
    let cluster = TestCluster::start(1).await;
    let queries = Arc::new(coordinator(&cluster.nodes[&1], |config| config.query.max_concurrent = 1));
    let tenant = Tenant::default_tenant();
    let (_, place) = queries.metadata(&tenant, None).await.unwrap();
    let waiting = tokio::spawn({
        let queries = queries.clone();
        async move { queries.metadata(&Tenant::default_tenant(), None).await.map(|_| ()) }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let active = queries.active();
    assert_eq!(active.iter().map(|query| &*query.text).collect::<Vec<_>>(), ["metadata", "metadata"]);
    assert!(queries.kill(&tenant, active[1].id));
    assert!(matches!(waiting.await.unwrap(), Err(QueryError::Killed)));
    let late = queries.metadata(&tenant, Some(Duration::from_millis(5))).await;
    assert!(matches!(late.map(|_| ()), Err(QueryError::QueueTimeout { .. })));
    drop(place);
    queries.metadata(&tenant, None).await.unwrap();
}
