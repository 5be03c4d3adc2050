//! What is kept of range queries, and where their time goes, as a client of the HTTP API sees it.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use http_support::{Answer, NOW_MS, Node, series};
use serde_json::{Value, json};

const NOW_S: i64 = NOW_MS / 1000;
const RATE: &str = "sum by (job) (rate(requests_total[5m]))";

async fn node() -> Node {
    let node = Node::start().await;
    let samples: Vec<(i64, f64)> = (0..=400).map(|at| (NOW_MS - (400 - at) * 15_000, at as f64)).collect();
    node.load(&[series("requests_total{host=a,job=web}", &samples), series("load{host=a}", &samples)]).await;
    node
}

async fn ask(node: &Node, query: &str, more: &[(&str, &str)]) -> Answer {
    let (start, end) = ((NOW_S - 3600).to_string(), NOW_S.to_string());
    let fields = [&[("query", query), ("start", &start), ("end", &end), ("step", "60")], more].concat();
    node.form("/api/v1/query_range", &fields).await
}

/// Queries that were answered with all, some and none of their steps kept, and the steps.
async fn counted(node: &Node) -> [u64; 4] {
    let text = String::from_utf8(node.get("/metrics").await.body.to_vec()).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} is there"));
        line.trim().parse().unwrap()
    };
    let of = |result: &str| value(&format!("bellwether_query_cache_requests_total{{result=\"{result}\"}}"));
    [of("hit"), of("partial"), of("miss"), value("bellwether_query_cache_steps_total ")]
}

#[tokio::test]
async fn a_query_that_comes_again_is_answered_from_what_is_kept_unless_it_says_no() {
    let node = node().await;
    let first = ask(&node, RATE, &[]).await;
    assert_eq!(counted(&node).await, [0, 0, 1, 0]);
    assert_eq!(ask(&node, RATE, &[]).await.shown(), first.shown());
    assert_eq!(counted(&node).await, [1, 0, 1, 61]);
    for not_kept in [("nocache", "1"), ("trace", "1"), ("stats", "all"), ("stale", "10s"), ("partial_response", "1")] {
        assert!(ask(&node, RATE, &[not_kept]).await.shown().starts_with("200"), "{not_kept:?}");
        assert_eq!(counted(&node).await, [1, 0, 1, 61], "{not_kept:?}");
    }
    assert_eq!(ask(&node, RATE, &[("lookback_delta", "1m")]).await.shown(), first.shown());
    assert_eq!(counted(&node).await, [1, 0, 2, 61]);
    // Of another tenant there is nothing, and nothing of this one shows.
    let cut = ask(&node, "requests_total", &[("limit", "1")]).await.json();
    assert_eq!(cut["warnings"], Value::Null);
    let broken = ask(&node, RATE, &[("nocache", "perhaps")]).await;
    assert!(broken.shown().starts_with("400"), "{}", broken.shown());
}

#[tokio::test]
async fn a_late_sample_and_a_deletion_show_at_once() {
    let node = node().await;
    let query = "count_over_time(load[5m])";
    let before = ask(&node, query, &[]).await;
    node.load(&[series("load{host=a}", &[(NOW_MS - 1_800_000 - 7_500, 1.0)])]).await;
    let (kept, fresh) = (ask(&node, query, &[]).await, ask(&node, query, &[("nocache", "1")]).await);
    assert_eq!(kept.shown(), fresh.shown());
    assert_ne!(kept.shown(), before.shown());
    assert_eq!(counted(&node).await[..3], [0, 1, 1]);
    let path = format!("/api/v1/admin/tsdb/delete_series?match[]=load&start={}&end={}", NOW_S - 1000, NOW_S - 900);
    assert_eq!(node.post(&path).await.shown(), "204 ");
    let (kept, fresh) = (ask(&node, query, &[]).await, ask(&node, query, &[("nocache", "1")]).await);
    assert_eq!(kept.shown(), fresh.shown());
    assert_eq!(counted(&node).await[..3], [0, 2, 1]);
}

#[tokio::test]
async fn warnings_and_infos_are_kept_with_what_they_are_about() {
    let node = node().await;
    for query in ["rate(load[5m])", "quantile(2, load)", "histogram_quantile(0.5, load)"] {
        let first = ask(&node, query, &[]).await;
        let json = first.json();
        assert!(json["warnings"].is_array() || json["infos"].is_array(), "{query}: {json}");
        assert_eq!(ask(&node, query, &[]).await.shown(), first.shown(), "{query}");
        let (start, end) = ((NOW_S - 1800).to_string(), NOW_S.to_string());
        let fields = [("query", query), ("start", &start), ("end", &end), ("step", "60")];
        let part = node.form("/api/v1/query_range", &fields).await;
        let fresh = node.form("/api/v1/query_range", &[&fields[..], &[("nocache", "1")]].concat()).await;
        assert_eq!(part.shown(), fresh.shown(), "{query}");
    }
}

#[tokio::test]
async fn a_trace_says_where_the_time_goes() {
    let node = node().await;
    let answer = ask(&node, "sum by (job) (rate(requests_total[5m])) > 2 * max(load)", &[("trace", "1")]).await.json();
    let trace = &answer["data"]["trace"];
    let root = &trace["plan"][0];
    assert_eq!((&root["step"], root["steps"].as_array().unwrap().len()), (&json!(">"), 2));
    let sum = &root["steps"][0];
    assert_eq!((&sum["step"], &sum["aggregated"], &sum["series"]), (&json!("sum by (job)"), &json!(true), &json!(1)));
    let read = &sum["steps"][0]["steps"][0];
    assert_eq!(read["step"], "{__name__=\"requests_total\"}[300s]");
    let reads = trace["reads"].as_array().unwrap();
    assert_eq!((reads.len(), &reads[0]["aggregated"], &reads[0]["samples"]), (2, &json!(true), &json!(260)));
    assert!(reads[0]["bytes"].as_u64().unwrap() > 0 && reads[0]["seconds"].as_f64().unwrap() > 0.0);
    let instant = node.form("/api/v1/query", &[("query", "load"), ("trace", "true")]).await.json();
    assert_eq!(instant["data"]["trace"]["plan"][0]["step"], "{__name__=\"load\"}");
    assert_eq!(node.instant("load", "0").await.json()["data"]["trace"], Value::Null);
}
