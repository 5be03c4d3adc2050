//! `/federate`: the newest samples as text.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::body::Body;
use axum::http::{Request, header};
use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Span, stale_marker};
use bellwether_server::write::own_body::put_histograms;
use expect_test::expect;
use http_support::{NOW_MS, Node, series, snappy};

async fn node() -> Node {
    let node = Node::start().await;
    let mut odd = series("service.up", &[(NOW_MS, 1.0)]);
    odd.labels.insert(0, ("ключ.1".into(), "va\"l\\ue\n".into()));
    odd.labels.sort();
    node.load(&[
        series("up{instance=x,job=b}", &[(NOW_MS - 15_000, 1.0), (NOW_MS, 1e9)]),
        series("up{job=a}", &[(NOW_MS - 30_000, 0.25)]),
        series("up{job=old}", &[(NOW_MS - 300_001, 1.0)]),
        series("ended", &[(NOW_MS - 15_000, 1.0), (NOW_MS, stale_marker())]),
        odd,
    ])
    .await;
    node
}

#[tokio::test]
async fn the_newest_samples_are_exposed_with_their_times() {
    let node = node().await;
    let answer = node.get("/federate?match[]=up&match[]={job=\"b\"}&match[]=ended").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"));
    expect![[r#"
        200 # TYPE up untyped
        up{instance="x",job="b"} 1e+09 1795161600000
        up{job="a",instance=""} 0.25 1795161570000
    "#]]
    .assert_eq(&answer.shown());
    let posted = node.form("/federate", &[("match[]", "up"), ("match[]", "ended")]).await;
    assert_eq!(posted.shown(), answer.shown());
}

#[tokio::test]
async fn a_client_that_knows_any_name_gets_them_as_they_are() {
    let node = node().await;
    let path = "/federate?match[]=%7B%22service.up%22%7D";
    let request = Request::get(path).header(header::ACCEPT, "text/plain;version=0.0.4;escaping=allow-utf-8");
    let answer = node.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"));
    expect![[r#"
        200 # TYPE "service.up" untyped
        {"service.up","ключ.1"="va\"l\\ue\n",instance=""} 1 1795161600000
    "#]]
    .assert_eq(&answer.shown());
    expect![[r#"
        200 # TYPE service_up untyped
        service_up{_____1="va\"l\\ue\n",instance=""} 1 1795161600000
    "#]]
    .assert_eq(&node.get(path).await.shown());
}

#[tokio::test]
async fn histograms_are_exposed_in_messages_alone() {
    let node = node().await;
    let histogram = Histogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 0.0,
        sum: 18.5,
        counts: Counts::Integer { count: 7, zero_count: 0, positive: vec![7], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: vec![],
        custom_values: vec![],
    };
    let mut body = Vec::new();
    put_histograms(&mut body, &Labels::of(&[("__name__", "h")]), &[NOW_MS], &[histogram]);
    assert_eq!(node.write_bytes(snappy(&body)).await.status, 204);
    let path = "/federate?match[]=h";
    assert_eq!(node.get(path).await.shown(), "200 ");
    let accept =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain;q=0.5";
    let request = Request::get(path).header(header::ACCEPT, accept);
    let answer = node.send(request.body(Body::empty()).unwrap()).await;
    let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores";
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(kind));
    // A name, and the field of a histogram's sum.
    assert_eq!(answer.body[1..5], *b"\x0a\x01h\x18");
    assert!(answer.body.windows(9).any(|bytes| bytes == [&[0x11][..], &18.5f64.to_le_bytes()].concat()));
}

#[tokio::test]
async fn nothing_is_exposed_without_a_selector_and_nonsense_is_told() {
    let node = node().await;
    assert_eq!(node.get("/federate").await.shown(), "200 ");
    let answer = node.get("/federate?match[]=sum(up)").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("invalid parameter \"match[]\": 1:"), "{}", answer.text());
}
