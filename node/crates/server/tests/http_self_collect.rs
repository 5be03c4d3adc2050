//! The node's own metrics and its host's, read back over HTTP.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::{MetricKind, Tenant};
use bellwether_server::config::SelfCollectConfig;
use bellwether_server::env::{ExecutorHandle, HostMetrics, HostSample};
use bellwether_server::self_collect::{self, SelfCollect};
use expect_test::expect;
use http_support::{InlineExecutor, Node};
use parking_lot::Mutex;
use tokio::sync::watch;

/// A host whose readings a test sets.
#[derive(Default)]
struct Host(Mutex<Vec<HostSample>>);

impl HostMetrics for Host {
    fn collect(&self) -> Vec<HostSample> {
        self.0.lock().clone()
    }
}

fn reading(name: &str, labels: &[(&str, &str)], value: f64) -> HostSample {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HostSample { name: name.to_owned(), labels, value, kind: MetricKind::Gauge, help: "Help." }
}

const INTERVAL: Duration = Duration::from_secs(15);

/// Lets the collection that is due happen.
async fn next(node: &Node) {
    node.clock.advance(15_000);
    tokio::time::sleep(INTERVAL).await;
}

async fn value(node: &Node, query: &str) -> String {
    let result = node.get(&format!("/api/v1/query?query={query}")).await.json()["data"]["result"].clone();
    result.as_array().unwrap().iter().map(|one| format!("{}={} ", one["metric"]["instance"], one["value"][1])).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_query_of_a_new_node_finds_data_and_what_vanishes_ends() {
    let node = Node::start().await;
    let host = Arc::new(Host::default());
    *host.0.lock() = vec![
        reading("node_load1", &[], 0.5),
        reading("node_uname_info", &[("nodename", "sheep")], 1.0),
        reading("process_threads", &[], 7.0),
    ];
    let (stop, stopped) = watch::channel(false);
    let collect = SelfCollect {
        config: SelfCollectConfig { enabled: true, interval: INTERVAL, tenant: Tenant::default_tenant() },
        instance: "127.0.0.1:9480".to_owned(),
        registry: node.registry.clone(),
        host: Some(host.clone()),
        background: ExecutorHandle::new(InlineExecutor, 1),
        write: node.write.clone(),
        clock: node.clock.clone(),
    };
    let running = tokio::spawn(self_collect::run(collect, stopped));
    tokio::time::sleep(Duration::from_millis(100)).await;

    assert_eq!(value(&node, "up").await, r#""127.0.0.1:9480"="1" "sheep"="1" "#);
    assert_eq!(value(&node, "node_load1").await, r#""sheep"="0.5" "#);
    assert_eq!(value(&node, "process_threads").await, r#""127.0.0.1:9480"="7" "#);
    assert_eq!(value(&node, r#"scrape_samples_scraped{job="node"}"#).await, r#""sheep"="2" "#);
    expect![[r#"{"status":"success","data":{"node_load1":[{"type":"gauge","unit":"","help":"Help."}]}}"#]]
        .assert_eq(node.get("/api/v1/metadata?metric=node_load1").await.text());

    // The queries above are counted by now.
    next(&node).await;
    assert_eq!(value(&node, r#"bellwether_queries_total{result="success"}"#).await, r#""127.0.0.1:9480"="4" "#);
    assert!(!value(&node, r#"bellwether_query_seconds_bucket{le="%2BInf"}"#).await.is_empty());

    *host.0.lock() = vec![reading("node_uname_info", &[("nodename", "sheep")], 1.0)];
    next(&node).await;
    assert_eq!(value(&node, "node_load1").await, "");
    assert_eq!(value(&node, "node_load1%20offset%2010s").await, r#""sheep"="0.5" "#);

    stop.send(true).unwrap();
    running.await.unwrap();
}
