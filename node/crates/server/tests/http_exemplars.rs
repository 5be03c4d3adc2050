//! Exemplars: written by both versions of remote write, and queried in Prometheus's form.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use bellwether_model::{Exemplar, Labels, Sample};
use bellwether_server::write::own_body::{encode, put_exemplars};
use bellwether_server::write::wire_histogram::put_bytes;
use expect_test::{Expect, expect};
use http_support::{Answer, NOW_MS, Node, snappy};

const V2_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];

fn counter(job: &str) -> Labels {
    Labels::of(&[("__name__", "requests_total"), ("job", job)])
}

fn exemplar(trace: &str, value: f64, timestamp: i64) -> Exemplar {
    let labels = Labels::of(&[("trace_id", trace)]);
    Exemplar { labels, value, timestamp }
}

async fn write(node: &Node, labels: &Labels, samples: usize, exemplars: &[Exemplar]) -> Answer {
    let samples: Vec<(Labels, Sample)> =
        (0..samples).map(|at| (labels.clone(), Sample { timestamp: NOW_MS + at as i64, value: 1.0 })).collect();
    let mut body = Vec::new();
    // In front of its samples, and in a message of its own: senders may do either.
    put_exemplars(&mut body, labels, exemplars);
    body.extend(encode(&samples, &[]));
    node.write_bytes(snappy(&body)).await
}

async fn check(node: &Node, parameters: &str, expected: Expect) {
    expected.assert_eq(&node.get(&format!("/api/v1/query_exemplars?{parameters}")).await.shown());
}

#[tokio::test]
async fn exemplars_come_back_in_order_of_time_and_by_series() {
    let node = Node::start().await;
    let of_a =
        [exemplar("a2", 0.25, NOW_MS + 2), exemplar("a1", f64::INFINITY, NOW_MS + 1), exemplar("a2", 0.25, NOW_MS + 2)];
    assert_eq!(write(&node, &counter("b"), 1, &[exemplar("b\"", 3.0, NOW_MS)]).await.shown(), "204 ");
    assert_eq!(write(&node, &counter("a"), 1, &of_a).await.shown(), "204 ");
    // A known series, without samples beside.
    assert_eq!(write(&node, &counter("a"), 0, &of_a[..1]).await.shown(), "204 ");
    for step in ["/api/v1/admin/flush", "/api/v1/admin/seal"] {
        check(&node, "query=rate(requests_total[5m])", expect![[r#"200 {"status":"success","data":[{"seriesLabels":{"__name__":"requests_total","job":"a"},"exemplars":[{"labels":{"trace_id":"a1"},"value":"+Inf","timestamp":1795161600.001},{"labels":{"trace_id":"a2"},"value":"0.25","timestamp":1795161600.002}]},{"seriesLabels":{"__name__":"requests_total","job":"b"},"exemplars":[{"labels":{"trace_id":"b\""},"value":"3","timestamp":1795161600}]}]}"#]]).await;
        check(
            &node,
            r#"query=requests_total{job="a"}%20/%20nothing&start=1795161600.002&end=1795161700"#,
            expect![[r#"200 {"status":"success","data":[{"seriesLabels":{"__name__":"requests_total","job":"a"},"exemplars":[{"labels":{"trace_id":"a2"},"value":"0.25","timestamp":1795161600.002}]}]}"#]],
        )
        .await;
        assert_eq!(node.post(step).await.status, 200);
    }
    let delete = "/api/v1/admin/tsdb/delete_series?match[]=requests_total{job=%22a%22}&end=1795161600.001";
    assert_eq!(node.post(delete).await.status, 204);
    check(&node, r#"query=requests_total{job="a"}"#, expect![[r#"200 {"status":"success","data":[{"seriesLabels":{"__name__":"requests_total","job":"a"},"exemplars":[{"labels":{"trace_id":"a2"},"value":"0.25","timestamp":1795161600.002}]}]}"#]]).await;
}

#[tokio::test]
async fn version_2_refers_to_symbols_and_counts_what_it_has_written() {
    let node = Node::start().await;
    let text = |value: &str| value.as_bytes().to_vec();
    let long = "x".repeat(121);
    let symbols = ["", "__name__", "requests_total", "trace_id", "a7", &long].map(text);
    let exemplar = |value_ref: u8| {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, &[3, value_ref]);
        out.extend([2 << 3 | 1]);
        out.extend(0.5f64.to_le_bytes());
        out.extend([3 << 3]);
        prost::encoding::encode_varint(NOW_MS as u64, &mut out);
        out
    };
    let mut sample = vec![1 << 3 | 1];
    sample.extend(1f64.to_le_bytes());
    sample.extend([2 << 3]);
    prost::encoding::encode_varint(NOW_MS as u64, &mut sample);
    let mut series = Vec::new();
    put_bytes(&mut series, 1, &[1, 2]);
    put_bytes(&mut series, 2, &sample);
    for value_ref in [4, 5, 99] {
        put_bytes(&mut series, 4, &exemplar(value_ref));
    }
    let mut body = Vec::new();
    symbols.iter().for_each(|symbol| put_bytes(&mut body, 4, symbol));
    put_bytes(&mut body, 5, &series);
    let answer = node.write_with(&V2_HEADERS, snappy(&body)).await;
    // Those that cannot be stored fail nothing.
    assert_eq!(answer.shown(), "204 ");
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert_eq!(answer.header("x-prometheus-remote-write-exemplars-written"), Some("1"));
    check(&node, "query=requests_total", expect![[r#"200 {"status":"success","data":[{"seriesLabels":{"__name__":"requests_total"},"exemplars":[{"labels":{"trace_id":"a7"},"value":"0.5","timestamp":1795161600}]}]}"#]]).await;
    let metrics = node.get("/metrics").await;
    let counted = r#"bellwether_write_refused_total{reason="invalid_exemplar"} 2"#;
    assert!(metrics.text().lines().any(|line| line == counted), "{}", metrics.text());
}

#[tokio::test]
async fn exemplars_without_a_series_or_of_other_times_are_refused_alone() {
    let node = Node::start().await;
    let unknown = write(&node, &counter("none"), 0, &[exemplar("a", 1.0, NOW_MS)]).await;
    assert_eq!(unknown.shown(), "204 ");
    let times = [exemplar("old", 1.0, 1), exemplar("now", 1.0, NOW_MS), exemplar("ahead", 1.0, NOW_MS + 86_400_000)];
    assert_eq!(write(&node, &counter("a"), 1, &times).await.shown(), "204 ");
    check(&node, "query=requests_total", expect![[r#"200 {"status":"success","data":[{"seriesLabels":{"__name__":"requests_total","job":"a"},"exemplars":[{"labels":{"trace_id":"now"},"value":"1","timestamp":1795161600}]}]}"#]]).await;
    assert_eq!(node.get("/api/v1/series?match[]=requests_total").await.json()["data"].as_array().unwrap().len(), 1);
    let counted = r#"bellwether_write_refused_total{reason="invalid_exemplar"} 3"#;
    assert!(node.get("/metrics").await.text().lines().any(|line| line == counted));
}

#[tokio::test]
async fn only_the_latest_of_a_series_are_kept() {
    let node = Node::start().await;
    let many: Vec<Exemplar> = (0..300).map(|at| exemplar(&at.to_string(), 1.0, NOW_MS + at)).collect();
    assert_eq!(write(&node, &counter("a"), 1, &many).await.shown(), "204 ");
    let answer = node.get("/api/v1/query_exemplars?query=requests_total").await.json();
    let kept = answer["data"][0]["exemplars"].as_array().unwrap();
    assert_eq!((kept.len(), kept[0]["labels"]["trace_id"].as_str()), (256, Some("44")));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_answered_as_prometheus_answers_them() {
    let node = Node::start().await;
    check(&node, "query=up", expect![[r#"200 {"status":"success","data":[]}"#]]).await;
    check(&node, "query=up&start=x", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": Invalid time value for 'start': cannot parse \"x\" to a valid timestamp"}"#]]).await;
    check(&node, "query=up&start=3&end=2", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"end timestamp must not be before start timestamp"}"#]]).await;
    check(&node, "query=up%7B", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"1:4: parse error: unexpected end of input inside braces"}"#]]).await;
    check(&node, "", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"unknown position: parse error: no expression found in input"}"#]]).await;
    check(&node, "query=1", expect!["204 "]).await;
    check(&node, "query=%7B%7D", expect![[r#"400 {"status":"error","errorType":"bad_data","error":"1:1: parse error: vector selector must contain at least one non-empty matcher"}"#]]).await;
}
