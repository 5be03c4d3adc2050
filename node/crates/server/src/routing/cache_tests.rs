//! Tests of results that are kept: whatever happens to the data, the answer is the one that is computed anew.

use std::time::Duration;

use bellwether_model::{Labels, Matcher, PlacementKey, Sample, ShardGroupId, Tenant, TimeRange};
use bellwether_promql::{Outcome, Value};
use bellwether_tsdb::SealWhen;
use prometheus::Registry;

use super::testing::{TestCluster, TestNode, replica};
use crate::config::{ByteSize, Config};
use crate::query::{Answer, Coordinator, QueryCost, QueryRequest, QueryTimes};
use crate::testing::NOW_MS;

const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 60_000;
/// The last step of every query, or less.
const END: i64 = NOW_MS - NOW_MS.rem_euclid(STEP_MS);
const SERIES: u64 = 9;

/// Series with names apart, and queries of every kind: some of which nothing can be kept.
const QUERIES: [&str; 22] = [
    "m_total",
    "rate(m_total[5m])",
    "sum by (a) (rate(m_total[5m]))",
    "sum by (a) (g) / count by (a) (m_total)",
    "max_over_time(sum(m_total)[30m:7m])",
    "topk(2, m_total)",
    "m_total offset 1h",
    "g offset -20m",
    "sum(m_total @ 1795155000)",
    "g - on (a, n) rate(m_total[10m] @ 1795155000)",
    "rate(g[5m])",
    "quantile(2, g)",
    "quantile_over_time(0.5, g[11m]) > bool 3",
    "absent(g{n=\"77\"})",
    "g or m_total",
    "{n=\"1\"}",
    "count_values(\"v\", g)",
    "increase(m_total[20m] anchored)",
    "sort(g)",
    "rate(m_total[5m] @ end())",
    "sum_over_time(g[range()])",
    "label_replace(g, \"b\", \"$1\", \"n\", \"(.)\")",
];

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn labels(name: &str, n: u64) -> Labels {
    Labels::of(&[("__name__", name), ("a", &(n % 3).to_string()), ("n", &n.to_string())])
}

fn coordinator(node: &TestNode, registry: &Registry, cache_bytes: u64) -> Coordinator {
    let mut config = Config::default();
    config.query.cache_bytes = ByteSize(cache_bytes);
    Coordinator::new(node.router.clone(), node.shards().executor().clone(), &config, registry)
}

fn request(text: &str, times: QueryTimes, cached: bool) -> QueryRequest {
    QueryRequest {
        tenant: Tenant::default_tenant(),
        text: text.to_owned(),
        times,
        timeout: None,
        lookback: None,
        stale: None,
        partial: false,
        samples_per_step: false,
        cached,
        traced: false,
    }
}

fn range(start: i64, end: i64) -> QueryTimes {
    QueryTimes::Range { start, end, step_ms: STEP_MS }
}

async fn ask(coordinator: &Coordinator, text: &str, times: QueryTimes, cached: bool) -> (Outcome, QueryCost) {
    let answer = coordinator.run(request(text, times, cached)).await;
    let Answer { outcome, cost, .. } = answer.unwrap_or_else(|error| panic!("{text}: {error}"));
    (outcome, cost)
}

/// Everything of a result, to the bit.
fn exact(outcome: &Outcome) -> String {
    let Value::Matrix(series) = &outcome.value else { panic!("a range has a matrix") };
    let mut text = format!("{:?} {:?}\n", outcome.warnings, outcome.infos);
    for series in series {
        let points: Vec<_> = series.points.iter().map(|point| (point.timestamp, point.value.to_bits())).collect();
        text.push_str(&format!("{} {points:x?}\n", series.labels));
    }
    text
}

async fn write(node: &TestNode, samples: Vec<(Labels, Sample)>) {
    node.write.write_samples(&Tenant::default_tenant(), samples, Vec::new()).await.unwrap();
}

/// A sample of each series at a time.
fn scrape(timestamp: i64, random: &mut Random) -> Vec<(Labels, Sample)> {
    let mut samples = Vec::new();
    for n in 0..SERIES {
        let total = (timestamp / 1000 % 10_000) as f64 * (n + 1) as f64;
        samples.push((labels("m_total", n), Sample { timestamp, value: total }));
        let value = random.below(1000) as f64 / 7.0;
        samples.push((labels("g", n), Sample { timestamp, value }));
    }
    samples
}

async fn fill(cluster: &TestCluster, random: &mut Random) {
    let times = (0..).map(|at| END - 5 * HOUR_MS + at * 2 * STEP_MS).take_while(|time| *time < END - HOUR_MS / 2);
    for time in times {
        write(&cluster.nodes[&(1 + random.below(3))], scrape(time, random)).await;
    }
}

async fn happens(cluster: &TestCluster, random: &mut Random, at: &mut i64) {
    let node = &cluster.nodes[&(1 + random.below(3))];
    let some = END - random.below(5 * HOUR_MS as u64) as i64;
    match random.below(12) {
        0..=3 => {
            *at += STEP_MS;
            write(node, scrape(*at, random)).await;
        }
        4 | 5 => {
            let name = ["g", "m_total"][random.below(2) as usize];
            let sample = Sample { timestamp: some, value: random.below(100) as f64 };
            write(node, vec![(labels(name, random.below(SERIES + 1)), sample)]).await;
        }
        6 => {
            let range = TimeRange::new(some, some + random.below(HOUR_MS as u64) as i64);
            let one = Matcher::equal("n", &random.below(SERIES).to_string());
            let tenant = Tenant::default_tenant();
            node.router.delete_series(&tenant, vec![one].into(), range).await.unwrap();
        }
        7 => {
            node.group(random.below(2) as u32).raft.flush().await.unwrap();
        }
        8 => {
            let shard = node.group(random.below(2) as u32).shard();
            shard.flush().unwrap();
            shard.seal(NOW_MS + 10 * HOUR_MS, SealWhen::AllClosed).unwrap();
        }
        9 => {
            let group = random.below(2) as u32;
            let leader = cluster.leader(group).await.group(group);
            let next = replica(group, 1 + random.below(3));
            // Whoever leads already refuses.
            let _ = leader.raft.transfer_leadership(next, Duration::from_secs(2)).await;
        }
        _ => {}
    }
}

async fn compare(coordinator: &Coordinator, text: &str, times: QueryTimes, what: &str) -> u64 {
    let (kept, cost) = ask(coordinator, text, times, true).await;
    let (fresh, _) = ask(coordinator, text, times, false).await;
    assert_eq!(exact(&kept), exact(&fresh), "{what}: {text} at {times:?}");
    cost.cached_steps
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_what_would_be_computed_whatever_happens() {
    for seed in 0..3u64 {
        let random = &mut Random(seed + 1);
        let mut cluster = TestCluster::of_three().await;
        fill(&cluster, random).await;
        let of = |node: &TestNode| coordinator(node, &Registry::new(), 2 << 20);
        let mut coordinators: Vec<Coordinator> = cluster.nodes.values().map(of).collect();
        let (mut at, mut taken) = (END - HOUR_MS / 2, 0);
        let mut children = false;
        for round in 0..150 {
            if round == 90 {
                let (command, groups) = cluster.cut(0, PlacementKey(1 << 62), 2);
                let command = bellwether_ingest::ControlCommand::Split(command);
                cluster.nodes[&1].router.command(ShardGroupId(0), &command).await.unwrap();
                cluster.show(groups);
                children = true;
            }
            if random.below(25) == 0 {
                let id = 1 + random.below(3);
                let disk = cluster.crash(id).await;
                cluster.boot(id, disk).await;
                coordinators[id as usize - 1] = of(&cluster.nodes[&id]);
            }
            happens(&cluster, random, &mut at).await;
            for _ in 0..4 {
                let text = QUERIES[random.below(QUERIES.len() as u64) as usize];
                let end = at - random.below(3) as i64 * STEP_MS;
                let length = [HOUR_MS, HOUR_MS, 3 * HOUR_MS][random.below(3) as usize];
                let coordinator = &coordinators[random.below(3) as usize];
                let what = format!("seed {seed}, round {round}, split {children}");
                taken += compare(coordinator, text, range(end - length, end), &what).await;
            }
        }
        assert!(taken > 3_000, "{taken} steps were taken from what was kept");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_computes_only_what_is_new_or_has_changed() {
    let random = &mut Random(7);
    let cluster = TestCluster::of_three().await;
    fill(&cluster, random).await;
    let node = &cluster.nodes[&3];
    let coordinator = coordinator(node, &Registry::new(), 1 << 20);
    let taken =
        async |end: i64| compare(&coordinator, "sum by (a) (rate(m_total[5m]))", range(end - HOUR_MS, end), "").await;
    let end = END - 2 * HOUR_MS;
    assert_eq!(taken(end).await, 0);
    assert_eq!(taken(end).await, 61);
    assert_eq!(taken(end + 2 * STEP_MS).await, 59);
    assert_eq!(taken(end - 5 * STEP_MS).await, 54);
    // A sample that comes late is seen by the steps of the five minutes after the span that it lies in.
    write(&cluster.nodes[&1], vec![(labels("m_total", 0), Sample { timestamp: end - HOUR_MS / 2, value: 1.0 })]).await;
    let after = taken(end).await;
    assert!((45..=52).contains(&after), "{after}");
    assert_eq!(taken(end).await, 61);
    // What nobody asks for changes nothing here, and neither does what is stored already.
    let tenant = Tenant::new("other").unwrap();
    let other = (labels("m_total", 0), Sample { timestamp: END - 20 * HOUR_MS, value: 1.0 });
    node.write.write_samples(&tenant, vec![other], Vec::new()).await.unwrap();
    assert_eq!(taken(end).await, 61);
    // All of a restart is the same as before.
    for group in 0..2 {
        node.group(group).raft.flush().await.unwrap();
    }
    assert_eq!(taken(end).await, 61);
    let all: Vec<Matcher> = vec![Matcher::equal("__name__", "m_total")];
    node.router.delete_series(&Tenant::default_tenant(), all.into(), TimeRange::ALL).await.unwrap();
    assert_eq!(taken(end).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_starts_again_has_changed_only_since_it_was_read() {
    let random = &mut Random(8);
    let mut cluster = TestCluster::of_three().await;
    fill(&cluster, random).await;
    let coordinator = coordinator(&cluster.nodes[&1], &Registry::new(), 1 << 20);
    let times = range(END - 2 * HOUR_MS, END - HOUR_MS);
    for id in 1..=3 {
        for group in 0..2 {
            cluster.nodes[&id].group(group).raft.flush().await.unwrap();
        }
    }
    let texts = ["m_total", "sum(g)"];
    for text in texts {
        compare(&coordinator, text, times, "first").await;
    }
    for id in [2, 3] {
        let disk = cluster.crash(id).await;
        cluster.boot(id, disk).await;
        for group in 0..2 {
            cluster.leader(group).await;
        }
        for text in texts {
            assert_eq!(compare(&coordinator, text, times, "after a start").await, 61, "{text} after node {id} started");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_answers_that_may_lack_something() {
    let random = &mut Random(9);
    let cluster = TestCluster::of_three().await;
    fill(&cluster, random).await;
    let coordinator = coordinator(&cluster.nodes[&1], &Registry::new(), 1 << 20);
    let times = range(END - 2 * HOUR_MS, END - HOUR_MS);
    let whole = request("sum(m_total)", times, true);
    let partial = QueryRequest { partial: true, ..whole.clone() };
    let stale = QueryRequest { stale: Some(Duration::from_secs(10)), ..whole.clone() };
    let counted = QueryRequest { samples_per_step: true, ..whole.clone() };
    let odd = QueryRequest { times: range(END - 2 * HOUR_MS + 1, END - HOUR_MS), ..whole.clone() };
    for request in [partial, stale, counted, odd, whole.clone()] {
        for _ in 0..2 {
            let first = request == whole;
            let answer = coordinator.run(request.clone()).await.unwrap();
            assert!(first || answer.cost.cached_steps == 0, "{request:?}");
        }
    }
    assert_eq!(coordinator.run(whole).await.unwrap().cost.cached_steps, 61);
}
