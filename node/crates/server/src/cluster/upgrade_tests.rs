//! Tests of an upgrade: nodes of two programs in one cluster, one after the other restarted with the newer one while
//! samples come in, and then there is no way back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bellwether_client::{Client, Connect, Error, Stream, Value, series};
use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Matcher, Span, Tenant, TimeRange};
use tokio::sync::watch as channel;
use tokio::time::{sleep, timeout};

use super::tests::{LONG, Machine, chain, machine, settle};
use crate::Server;
use crate::env::{BoxFuture, Net, Program, Versions};
use crate::peers::testing::TestNet;
use crate::shards::{Limits, QueryAccount, ReadContext, Wanted};
use crate::testing::NOW_MS;
use crate::write::own_body::put_histograms;
use crate::write::{ContentEncoding, RefusalReason, RemoteWriteVersion};

/// The program before this one: it does not know histograms.
const OLD: Program = Program { version: "0.0.9-test", formats: Versions { lowest: 1, highest: 1 }, ..Program::THIS };
/// This one, as if it spoke one more version between nodes.
const NEXT: Program =
    Program { version: "0.2.0-test", peers: Versions { lowest: 1, highest: 2 }, formats: Program::THIS.formats };
/// One that has forgotten how this one speaks.
const FAR: Program = Program {
    version: "9.0.0-test",
    peers: Versions { lowest: 3, highest: 4 },
    formats: Versions { lowest: 1, highest: 2 },
};

pub struct Connector(pub TestNet);

impl Connect for Connector {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let net = self.0.clone();
        Box::pin(async move { Ok(Box::new(net.connect(&address).await?) as Box<dyn Stream>) })
    }
}

fn client(net: &TestNet) -> Client {
    let addresses = (1..=3).map(|at| format!("127.0.0.1:{}", 200 + at));
    let builder = Client::builder().addresses(addresses).connector(Connector(net.clone())).seed(1);
    builder.timeout(LONG).discovery_interval(None).build().unwrap()
}

/// Writes one sample after the other until told to stop; returns how many were acknowledged.
async fn load(client: Client, stop: channel::Receiver<bool>) -> Result<i64, Error> {
    let mut acknowledged = 0;
    while !*stop.borrow() {
        let sample = (NOW_MS + acknowledged, acknowledged as f64);
        client.write(vec![series([("__name__", "load")], [sample])]).await?;
        acknowledged += 1;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(acknowledged)
}

async fn restart(machines: &mut [Machine], servers: &mut [Option<Server>], net: &TestNet, at: usize, program: Program) {
    servers[at].take().unwrap().shutdown().await.unwrap();
    machines[at].program = program;
    servers[at] = Some(machines[at].start(net).await.unwrap());
    let all: Vec<&Server> = servers.iter().flatten().collect();
    let node = servers[at].as_ref().unwrap().meta().node();
    let said = async {
        while all.iter().any(|server| server.meta().now().nodes[&node].facts.version != program.version) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, said).await.expect("the node says what it runs");
    settle(&all, 3).await;
}

fn formats(server: &Server) -> Vec<u32> {
    server.meta().now().nodes.values().map(|node| node.facts.highest_format).collect()
}

/// Whether all replicas of shard groups write and read this version and no later one.
fn groups_use(servers: &[Option<Server>], version: u32) -> bool {
    let groups = servers.iter().flatten().flat_map(|server| server.shards().serving());
    let versions: Vec<u32> = groups.map(|group| group.owned().version).collect();
    !versions.is_empty() && versions.iter().all(|found| *found == version)
}

#[tokio::test(start_paused = true)]
async fn three_nodes_are_upgraded_one_by_one_under_load_and_finalized() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[]), machine(2, &[1]), machine(3, &[1])];
    machines.iter_mut().for_each(|machine| machine.program = OLD);
    let mut servers = Vec::new();
    for machine in &mut machines {
        servers.push(Some(machine.start(&net).await.unwrap()));
    }
    settle(&servers.iter().flatten().collect::<Vec<_>>(), 3).await;
    let (stop, stopped) = channel::channel(false);
    let loading = tokio::spawn(load(client(&net), stopped));
    let client = client(&net);
    let version = client.cluster().finalize().await.unwrap();
    assert_eq!((version.previous_version, version.active_version), (1, 1), "there is nothing to do");
    for (at, behind) in [(2, "nodes 1 and 2"), (0, "node 2"), (1, "")] {
        restart(&mut machines, &mut servers, &net, at, NEXT).await;
        let status = client.cluster().status().await.unwrap();
        if behind.is_empty() {
            assert_eq!((status.active_version, status.finalize_version, status.nodes_behind), (1, 2, vec![]));
            continue;
        }
        // Until all nodes know it, it says who does not.
        let text = client.cluster().finalize().await.unwrap_err().to_string();
        let expected = format!("format version 2 cannot be used yet, {behind} would not understand it: upgrade ");
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!((status.finalize_version, status.nodes_behind.is_empty()), (1, false));
        assert!(groups_use(&servers, 1), "entries and copies are such as the old program reads");
    }
    // There is a way back until then.
    restart(&mut machines, &mut servers, &net, 1, OLD).await;
    assert_eq!(formats(servers[0].as_ref().unwrap()), [2, 1, 2]);
    restart(&mut machines, &mut servers, &net, 1, NEXT).await;

    assert!(groups_use(&servers, 1));
    let version = client.cluster().finalize().await.unwrap();
    assert_eq!((version.previous_version, version.active_version), (1, 2));
    let followed = async {
        while !groups_use(&servers, 2) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, followed).await.expect("the shard groups follow");
    client.cluster().set_setting("move.copies", Some("3")).await.unwrap();
    settle(&servers.iter().flatten().collect::<Vec<_>>(), 3).await;
    restart(&mut machines, &mut servers, &net, 0, NEXT).await;
    assert!(groups_use(&servers, 2), "it is kept with the data");
    assert!(servers.iter().flatten().all(|server| server.meta().now().active_version == 2));
    sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    let acknowledged = loading.await.unwrap().unwrap();
    let at = Some(NOW_MS + acknowledged);
    let answer = client.instant("count_over_time(load[1h])", at).await.unwrap();
    let Value::Vector(found) = answer.value else { panic!() };
    assert_eq!(found[0].samples[0].value, acknowledged as f64);

    // The old program cannot come back, neither on its directory nor as a new node.
    servers[2].take().unwrap().shutdown().await.unwrap();
    machines[2].program = OLD;
    let text = chain(&machines[2].start(&net).await.err().unwrap());
    assert!(text.contains("has format version 2, this program reads up to 1: start a newer bellwether"), "{text}");
    let mut fourth = machine(4, &[1, 2]);
    fourth.program = OLD;
    let text = chain(&fourth.start(&net).await.err().unwrap());
    assert!(text.contains("the cluster uses format version 2, the node's program knows 1 to 1"), "{text}");
}

fn a_histogram() -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: 0,
        zero_threshold: 0.0,
        sum: 1.5,
        counts: Counts::Integer { count: 3, zero_count: 0, positive: vec![1, 2], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        custom_values: vec![],
    }
}

/// Writes a histogram; says how many were stored and how many refused.
async fn write_histogram(server: &Server, timestamp: i64) -> (u64, u64) {
    let mut body = Vec::new();
    put_histograms(&mut body, &Labels::of(&[("__name__", "h")]), &[timestamp], &[a_histogram()]);
    let tenant = Tenant::default_tenant();
    let written = server.write.remote_write(&tenant, RemoteWriteVersion::V1, ContentEncoding::Identity, body.into());
    let outcome = written.await.unwrap();
    let refused = outcome.refused.by_reason.get(&RefusalReason::Histogram).map_or(0, |refusal| refusal.count);
    assert_eq!(refused, outcome.refused.count());
    (outcome.histograms, refused)
}

/// The times of the histograms that are stored.
async fn histograms(server: &Server) -> Vec<i64> {
    let read = ReadContext::new(QueryAccount::new(Limits::default()));
    let matchers = Arc::from([Matcher::equal("__name__", "h")]);
    let (groups, tenant) = (server.shards().serving(), Tenant::default_tenant());
    let found = server.shards().select(groups, &tenant, matchers, TimeRange::ALL, Wanted::All, &read).await;
    let found = found.unwrap().into_iter().filter_map(|series| series.histograms);
    found
        .flat_map(|own| {
            assert!(own.histograms.iter().all(|histogram| *histogram == a_histogram()));
            own.timestamps.to_vec()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn histograms_are_stored_once_the_upgrade_is_finalized_and_survive_restarts() {
    let net = TestNet::default();
    let mut machine = machine(1, &[]);
    machine.program = OLD;
    let server = machine.start(&net).await.unwrap();
    settle(&[&server], 1).await;
    assert_eq!(write_histogram(&server, NOW_MS).await, (0, 1));
    server.shutdown().await.unwrap();
    machine.program = Program::THIS;
    let server = machine.start(&net).await.unwrap();
    settle(&[&server], 1).await;
    assert_eq!(write_histogram(&server, NOW_MS).await, (0, 1), "the old program might come back");
    let version = client(&net).cluster().finalize().await.unwrap();
    assert_eq!((version.previous_version, version.active_version), (1, 2));
    // Waits, if need be, until its group has followed.
    assert_eq!(write_histogram(&server, NOW_MS + 1).await, (1, 0));
    assert_eq!(histograms(&server).await, [NOW_MS + 1]);
    server.shutdown().await.unwrap();
    let server = machine.start(&net).await.unwrap();
    settle(&[&server], 1).await;
    assert_eq!(histograms(&server).await, [NOW_MS + 1]);
    assert_eq!(write_histogram(&server, NOW_MS + 2).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_speaks_no_common_version_is_refused_with_both() {
    let net = TestNet::default();
    let _founder = machine(1, &[]).start(&net).await.unwrap();
    let mut far = machine(2, &[1]);
    far.program = FAR;
    let text = chain(&far.start(&net).await.err().unwrap());
    assert!(text.contains("node 1 speaks versions 1-1 between nodes, the caller 3-4"), "{text}");
}
