//! Tests of administration with the client library, against whole nodes over a network in memory.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bellwether_client::v1::{Event, NodeState, ReplicaRole, Severity, TokenKind};
use bellwether_client::{Client, Compression, Connect, Error, Stream, Value, series};
use bellwether_kv::MemDisk;
use tokio::time::{sleep, timeout};

use crate::Server;
use crate::config::{Config, PeerList};
use crate::env::{BoxFuture, Env, Net, Seed};
use crate::peers::testing::TestNet;
use crate::testing::{NOW_MS, TestClock, env};

/// Everything here takes less, in the test's own time.
const LONG: Duration = Duration::from_secs(300);

fn grpc(at: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 200 + at))
}

/// Starts node `at` with two shard groups; all but the first join that one.
pub(super) async fn start(net: &TestNet, at: u16) -> Server {
    let mut config = Config { shard_groups: 2, grpc: grpc(at), ..Config::default() };
    config.http.set_port(100 + at);
    if at > 1 {
        config.join = PeerList(vec![grpc(1).to_string()]);
    }
    config.self_collect.enabled = false;
    let env = env(MemDisk::new(), Arc::new(TestClock::default()), Arc::new(net.clone()));
    Server::start(config, Env { seed: Seed(at.into()), ..env }).await.unwrap()
}

struct Connector(TestNet);

impl Connect for Connector {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let net = self.0.clone();
        Box::pin(async move { Ok(Box::new(net.connect(&address).await?) as Box<dyn Stream>) })
    }
}

pub(super) fn client(net: &TestNet, at: u16) -> Client {
    // Compressed, so that both ways are.
    let builder = Client::builder().addresses([grpc(at).to_string()]).connector(Connector(net.clone())).seed(1);
    builder.discovery_interval(None).attempts_max(3).compression(Compression::Zstd).build().unwrap()
}

/// Waits until something can be seen.
pub(super) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(LONG, seen).await.expect("it happens in time")
}

pub(super) fn refusal(result: Result<impl Sized, Error>) -> String {
    match result.err() {
        Some(Error::Refused { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_node_is_administered() {
    let net = TestNet::default();
    let _server = start(&net, 1).await;
    let client = client(&net, 1);
    client.write(vec![series([("__name__", "up")], [(NOW_MS, 1.0)])]).await.unwrap();
    assert!(matches!(client.instant("up", None).await.unwrap().value, Value::Vector(found) if found.len() == 1));

    let cluster = client.cluster();
    let status = cluster.status().await.unwrap();
    assert_eq!((status.node, status.meta_leader, status.meta_voters.as_slice()), (1, 1, [1].as_slice()));
    assert_eq!((status.nodes_active, status.nodes_down, status.shard_groups, status.series), (1, 0, 2, 1));
    assert_eq!((status.groups_without_leader, status.groups_short_of_copies, status.copies_wanted), (0, 0, 1));
    let nodes = cluster.nodes().await.unwrap();
    let node = &nodes[0];
    assert_eq!((node.id, node.address.as_str(), node.state(), node.up), (1, "127.0.0.1:201", NodeState::Active, true));
    assert_eq!((node.leaders, node.replicas, node.series, node.clock_offset_ms), (2, 2, Some(1), Some(0)));
    let shards = cluster.shards().await.unwrap().shards;
    assert_eq!((shards[0].first_key, shards[1].last_key, shards.len()), (0, u64::MAX, 2));
    assert_eq!(
        (shards[0].leader, shards[0].replicas[0].lag, shards[0].replicas[0].role()),
        (1, Some(0), ReplicaRole::Voter)
    );
    let findings = cluster.doctor().await.unwrap();
    assert_eq!((findings.len(), findings[0].severity()), (1, Severity::Warning));
    assert_eq!(findings[0].problem, "3 copies are wanted, 1 nodes are there to hold them");
    assert_eq!(cluster.plan().await.unwrap().moves, []);
    let version = cluster.finalize().await.unwrap();
    assert_eq!(version.previous_version, version.active_version);
}

#[tokio::test(start_paused = true)]
async fn settings_and_tokens_are_made_and_refused() {
    let net = TestNet::default();
    let _server = start(&net, 1).await;
    let client = client(&net, 1);
    let cluster = client.cluster();
    let set = cluster.set_setting("repair.grace", Some("5m")).await.unwrap();
    assert_eq!((set.value.as_str(), set.default_value.as_str(), set.chosen), ("5m", "15m", true));
    assert!(!cluster.set_setting("repair.grace", None).await.unwrap().chosen);
    assert!(cluster.settings(&[]).await.unwrap().len() > 10);
    let wrong = refusal(cluster.set_setting("repair.grace", Some("soon")).await);
    assert!(wrong.starts_with("setting repair.grace: \"soon\" "), "{wrong}");
    let wrong = refusal(cluster.set_setting("replication.factor", Some("99")).await);
    assert_eq!(wrong, "setting replication.factor takes 1 to 7, not 99");
    let wrong = refusal(cluster.settings(&["nonsense".to_owned()]).await);
    assert_eq!(wrong, "there is no setting \"nonsense\": bwctl config get lists them");

    let made = cluster.create_token(TokenKind::Join, Some(Duration::from_secs(60)), 1).await.unwrap();
    assert_eq!((made.token.len(), made.expires_ms), (49, NOW_MS + 60_000));
    let other = cluster.create_token(TokenKind::Join, None, 1).await.unwrap();
    assert_eq!((other.token == made.token, other.expires_ms), (false, NOW_MS + 3_600_000));

    let mut events = cluster.events(0, 2, false).await.unwrap();
    let mut texts = Vec::new();
    while let Some(Event { text, .. }) = events.next().await.unwrap() {
        texts.push(text);
    }
    assert_eq!(texts.len(), 2, "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn events_are_followed_until_the_node_stops() {
    let net = TestNet::default();
    let server = start(&net, 1).await;
    let client = client(&net, 1);
    let mut events = client.cluster().events(0, 1, true).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    client.cluster().set_setting("move.copies", Some("3")).await.unwrap();
    let second = events.next().await.unwrap().unwrap();
    assert_eq!(second.number, first.number + 1);
    assert!(second.text.contains("move.copies"), "{}", second.text);
    server.shutdown().await.unwrap();
    assert_eq!(events.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_refused_with_what_to_do() {
    let net = TestNet::default();
    let _server = start(&net, 1).await;
    let client = client(&net, 1);
    let cluster = client.cluster();
    let text = refusal(cluster.transfer_leader(9, 1).await);
    assert_eq!(text, "there is no shard group 9: see bwctl cluster shards");
    let text = refusal(cluster.transfer_leader(0, 7).await);
    assert_eq!(text, "node 7 holds no copy of shard group 0; these nodes do: 1");
    let text = refusal(cluster.set_node_state(7, NodeState::Draining, false).await);
    assert_eq!(text, "there is no node 7");
    let text = refusal(cluster.set_node_state(1, NodeState::Joining, false).await);
    assert_eq!(text, "a node can be made active, draining or removed");
    let text = refusal(cluster.set_node_state(1, NodeState::Removed, true).await);
    assert!(text.contains("node 1"), "{text}");
    assert!(!refusal(cluster.move_shard(0, 1, 7).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn three_nodes_are_seen_from_any_of_them_and_a_leadership_is_handed_over() {
    let net = TestNet::default();
    let mut servers = Vec::new();
    for at in 1..=3 {
        servers.push(start(&net, at).await);
    }
    let second = client(&net, 2);
    let cluster = second.cluster();
    // The cluster makes the copies by itself.
    until(async || {
        let status = cluster.status().await.ok()?;
        let voting = cluster.shards().await.ok()?.shards.iter().all(|shard| {
            let voters = shard.replicas.iter().filter(|replica| replica.role() == ReplicaRole::Voter);
            voters.count() == 3 && shard.replicas.iter().all(|replica| replica.lag == Some(0))
        });
        let is_still = status.groups_short_of_copies + status.groups_in_motion + status.groups_without_leader == 0;
        (voting && is_still && status.meta_voters.len() == 3).then_some(())
    })
    .await;
    let nodes = cluster.nodes().await.unwrap();
    assert!(nodes.iter().all(|node| node.up && node.replicas == 2 && node.meta_voter), "{nodes:?}");
    assert_eq!(nodes.iter().map(|node| node.leaders).sum::<u32>(), 2);
    assert_eq!(cluster.doctor().await.unwrap(), []);

    let leader = cluster.shards().await.unwrap().shards[0].leader;
    let other = if leader == 3 { 1 } else { 3 };
    cluster.transfer_leader(0, other).await.unwrap();
    let leads = async || cluster.shards().await.ok().filter(|answer| answer.shards[0].leader == other);
    until(leads).await;

    let text = refusal(cluster.set_node_state(3, NodeState::Draining, false).await);
    assert!(text.starts_with("without node 3 there are 2 active nodes, for 3 copies"), "{text}");
    servers.pop().unwrap().shutdown().await.unwrap();
    let findings = until(async || {
        let findings = cluster.doctor().await.ok()?;
        findings.iter().any(|found| found.subject == "node 3").then_some(findings)
    })
    .await;
    let down = findings.iter().find(|found| found.subject == "node 3").unwrap();
    assert_eq!(down.problem, "does not answer at 127.0.0.1:203");
    let nodes = cluster.nodes().await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.up).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(nodes[2].bytes, None);

    let text = refusal(cluster.set_node_state(2, NodeState::Removed, true).await);
    assert!(
        text.starts_with("without node 2 no majority of the voters of shard groups 0, 1 is there: bring"),
        "{text}"
    );
    cluster.set_node_state(3, NodeState::Removed, true).await.unwrap();
}

/// Writes one sample of each of many series, until that is done.
async fn write_all(client: &Client, value: f64) {
    let at = NOW_MS - 200_000 + value as i64 * 100;
    let samples = (0..200).map(|number: u32| {
        let name = format!("m{}", number % 20);
        series([("__name__", name.as_str()), ("number", &number.to_string())], [(at, value)])
    });
    let samples: Vec<_> = samples.collect();
    until(async || client.write(samples.clone()).await.ok()).await;
}

async fn count(client: &Client) -> f64 {
    match client.instant("count({__name__=~\"m.*\"})", None).await.unwrap().value {
        Value::Vector(found) => found[0].samples[0].value,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_group_of_one_node_is_split_on_demand() {
    let net = TestNet::default();
    let server = start(&net, 1).await;
    let client = client(&net, 1);
    let cluster = client.cluster();
    let text = refusal(cluster.split_shard(0, None).await);
    assert_eq!(text, "shard group 0 has too few series to tell its middle: say where to cut it");
    write_all(&client, 1.0).await;
    let text = refusal(cluster.split_shard(7, None).await);
    assert_eq!(text, "there is no shard group 7: see bwctl cluster shards");
    let text = refusal(cluster.split_shard(0, Some(u64::MAX)).await);
    assert!(text.contains("ffffffffffffffff"), "{text}");
    let before = cluster.shards().await.unwrap().shards;
    let split = cluster.split_shard(0, None).await.unwrap();
    let text = refusal(cluster.split_shard(0, None).await);
    assert_eq!(text, "shard group 0 is being split");
    let after = until(async || {
        let shards = cluster.shards().await.ok()?.shards;
        (shards.len() == 3 && shards.iter().all(|shard| shard.leader == 1)).then_some(shards)
    })
    .await;
    assert_eq!((after[0].id, after[1].id, split.child), (0, 2, 2));
    assert_eq!(
        (after[0].last_key + 1, after[1].first_key, after[1].last_key),
        (split.at, split.at, before[0].last_key)
    );
    let (low, high) = (after[0].series.unwrap(), after[1].series.unwrap());
    assert!(low.abs_diff(high) <= 1, "{low} and {high}");
    write_all(&client, 2.0).await;
    assert_eq!(count(&client).await, 200.0);
    cluster.set_setting("split.groups_max", Some("3")).await.unwrap();
    let text = refusal(cluster.split_shard(2, None).await);
    assert_eq!(text, "the cluster has 3 shard groups, its limit: raise the setting split.groups_max");
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn groups_that_take_too_much_are_split_by_themselves_up_to_the_limit() {
    let net = TestNet::default();
    let mut servers = Vec::new();
    for at in 1..=3 {
        servers.push(start(&net, at).await);
    }
    let client = client(&net, 2);
    let cluster = client.cluster();
    let settled = async |groups: usize| {
        let status = cluster.status().await.ok()?;
        let is_still = status.groups_short_of_copies + status.groups_in_motion + status.groups_without_leader == 0;
        (is_still && status.shard_groups as usize == groups).then_some(())
    };
    until(async || settled(2).await).await;
    cluster.set_setting("split.groups_max", Some("4")).await.unwrap();
    cluster.set_setting("split.samples_per_second", Some("1")).await.unwrap();
    let mut value = 0.0;
    // A rate is known after five minutes.
    while settled(4).await.is_none() {
        value += 1.0;
        assert!(value < 1000.0, "nothing is split");
        write_all(&client, value).await;
        assert_eq!(count(&client).await, 200.0);
        sleep(Duration::from_secs(5)).await;
    }
    sleep(Duration::from_secs(30)).await;
    let shards = cluster.shards().await.unwrap().shards;
    assert_eq!(shards.len(), 4, "no more than may be");
    assert!(shards.iter().all(|shard| shard.replicas.len() == 3 && shard.split.is_none()));
    let text = until(async || {
        let mut events = cluster.events(0, 0, false).await.ok()?;
        while let Some(Event { text, .. }) = events.next().await.ok()? {
            if text.contains("was split") {
                return Some(text);
            }
        }
        None
    })
    .await;
    assert!(text.starts_with("shard group "), "{text}");
}
