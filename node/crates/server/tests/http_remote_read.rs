//! Remote read: both forms of answers, limits, and what makes no sense.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::body::Body;
use axum::http::{Request, header};
use bellwether_model::stale_marker;
use expect_test::expect;
use http_support::remote_read::{ChunkedReadResponse, Matcher, ReadResponse, TimeSeries, frames, request};
use http_support::{Answer, NOW_MS, Node, series, snappy};
use prost::Message;

const SAMPLES: i32 = 0;
const CHUNKS: i32 = 1;
const NAME: &str = "__name__";

async fn node() -> Node {
    let node = Node::start().await;
    let many: Vec<(i64, f64)> = (0..1_000).map(|at| (NOW_MS - at * 1_000, at as f64)).rev().collect();
    node.load(&[
        series("up{job=b}", &[(NOW_MS - 60_000, 1.0), (NOW_MS - 30_000, 0.0), (NOW_MS, stale_marker())]),
        series("up{job=a}", &[(NOW_MS - 45_000, -0.0)]),
        series("many{job=a}", &many),
    ])
    .await;
    node
}

async fn send(node: &Node, body: Vec<u8>) -> Answer {
    let request = Request::post("/api/v1/read")
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy")
        .header(header::ACCEPT_ENCODING, "gzip")
        .header("X-Prometheus-Remote-Read-Version", "0.1.0");
    node.send(request.body(Body::from(body)).unwrap()).await
}

async fn read(node: &Node, queries: &[(i64, i64, &[Matcher<'_>])], accepted: &[i32]) -> Answer {
    send(node, snappy(&request(queries, accepted))).await
}

fn samples(answer: &Answer) -> ReadResponse {
    assert_eq!(answer.status, 200, "{}", answer.shown());
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(answer.header("content-encoding"), Some("snappy"));
    ReadResponse::decode(&snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap()[..]).unwrap()
}

fn shown(series: &TimeSeries) -> String {
    let labels = series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect::<Vec<_>>();
    let samples = series.samples.iter().map(|sample| format!("{:+}@{}", sample.value, sample.timestamp - NOW_MS));
    format!("{} {}", labels.join(","), samples.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn samples_come_as_they_are_stored_series_sorted() {
    let node = node().await;
    let answer = read(&node, &[(NOW_MS - 60_000, NOW_MS, &[(0, NAME, "up")])], &[SAMPLES]).await;
    let read_back = samples(&answer);
    let [result] = &read_back.results[..] else { panic!("one result for one query") };
    assert_eq!(
        result.timeseries.iter().map(shown).collect::<Vec<_>>(),
        ["__name__=up,job=a -0@-45000", "__name__=up,job=b +1@-60000 +0@-30000 NaN@0"]
    );
    assert_eq!(result.timeseries[1].samples[2].value.to_bits(), stale_marker().to_bits());
}

#[tokio::test]
async fn matchers_and_times_choose() {
    let node = node().await;
    let all = (NOW_MS - 60_000, NOW_MS);
    let up: Matcher<'_> = (0, NAME, "up");
    for (start, end, matchers, want) in [
        (all.0, all.1, &[up, (1, "job", "a")][..], 1),
        (all.0, all.1, &[up, (2, "job", "a|b")], 2),
        (all.0, all.1, &[up, (3, "job", ".*")], 0),
        (all.0, all.1, &[(0, "job", "a")], 2),
        (all.0, all.1, &[], 3),
        (NOW_MS - 45_000, NOW_MS - 45_000, &[up], 1),
        (NOW_MS, NOW_MS - 1, &[up], 0),
        (i64::MIN, i64::MAX, &[up], 2),
    ] {
        let answer = read(&node, &[(start, end, matchers)], &[SAMPLES]).await;
        let series = &samples(&answer).results[0].timeseries;
        assert_eq!(series.len(), want, "{matchers:?} {series:?}");
    }
}

#[tokio::test]
async fn chunks_are_streamed_if_the_client_prefers_them() {
    let node = node().await;
    let queries: &[(i64, i64, &[Matcher<'_>])] =
        &[(NOW_MS, NOW_MS, &[(0, NAME, "up")]), (NOW_MS - 500_000, NOW_MS, &[(0, NAME, "many")])];
    let answer = read(&node, queries, &[CHUNKS, SAMPLES]).await;
    assert_eq!(answer.status, 200, "{}", answer.shown());
    let stream = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(answer.header("content-type"), Some(stream));
    assert_eq!(answer.header("content-encoding"), None);
    let frames: Vec<_> =
        frames(&answer.body).iter().map(|(_, frame)| ChunkedReadResponse::decode(&frame[..]).unwrap()).collect();
    assert_eq!(frames.iter().map(|frame| frame.query_index).collect::<Vec<_>>(), [0, 1]);
    let [many] = &frames[1].chunked_series[..] else { panic!("a frame has one series") };
    assert_eq!(many.labels[0].value, "many");
    let counts: Vec<u16> = many.chunks.iter().map(|chunk| u16::from_be_bytes([chunk.data[0], chunk.data[1]])).collect();
    assert_eq!(counts, [120, 120, 120, 120, 21]);
    assert_eq!(many.chunks[0].min_time_ms, NOW_MS - 500_000);
    assert_eq!(many.chunks[4].max_time_ms, NOW_MS);
}

#[tokio::test]
async fn a_tenant_reads_its_own() {
    let node = node().await;
    let body = snappy(&request(&[(0, i64::MAX, &[(0, NAME, "up")])], &[]));
    let request = Request::post("/api/v1/read").header("X-Scope-OrgID", "other");
    let answer = node.send(request.body(Body::from(body)).unwrap()).await;
    assert!(samples(&answer).results[0].timeseries.is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_told_in_plain_text() {
    let node = node().await;
    let all: Matcher<'_> = (2, "job", "(");
    expect![[r#"
        400 invalid regular expression "(": regex parse error:
            (
            ^
        error: unclosed group
    "#]]
    .assert_eq(&read(&node, &[(0, 1, &[all])], &[]).await.shown());
    expect![["
        400 server does not support any of the requested response types, of which the first is 7; supported: SAMPLES (0), STREAMED_XOR_CHUNKS (1)
    "]]
    .assert_eq(&read(&node, &[], &[7]).await.shown());
    expect![["
        400 malformed protobuf at byte 1: a length reaches beyond its message
    "]]
    .assert_eq(&send(&node, snappy(b"\x0a\x05")).await.shown());
    expect![["
        400 the snappy body is empty
    "]]
    .assert_eq(&send(&node, Vec::new()).await.shown());
    expect![["
        413 the request's body has 1048577 bytes or more, the limit is 1048576
    "]]
    .assert_eq(&send(&node, vec![0; (1 << 20) + 1]).await.shown());
    assert_eq!(node.get("/api/v1/read").await.status, 405);
}

#[tokio::test]
async fn a_read_is_bounded_like_a_query() {
    let executor = bellwether_server::env::ExecutorHandle::new(http_support::InlineExecutor, 1);
    let node = Node::with(|config| config.query.max_samples = 10, executor).await;
    let many: Vec<(i64, f64)> = (0..11).map(|at| (NOW_MS - at * 1_000, 0.0)).rev().collect();
    node.load(&[series("many", &many)]).await;
    expect![["
        422 the query touches more than 10 samples, which is the limit query.max_samples
    "]]
    .assert_eq(&read(&node, &[(0, NOW_MS, &[(0, NAME, "many")])], &[CHUNKS]).await.shown());
}
