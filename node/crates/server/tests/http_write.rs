//! Remote write over HTTP: what is acknowledged is readable at once, and what is refused is counted and explained.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use expect_test::expect;
use http_support::{InlineExecutor, NOW_MS, Node, V2, metadata, series, snappy, v1, v1_with_metadata};
use prost::Message;

const V1_HEADERS: [(&str, &str); 2] = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
const V2_HEADERS: [(&str, &str); 2] =
    [("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), ("Content-Encoding", "snappy")];

async fn value(node: &Node, query: &str) -> String {
    let answer = node.instant(query, "1795161600").await;
    answer.json()["data"]["result"].to_string()
}

#[tokio::test]
async fn an_acknowledged_sample_is_readable_at_once() {
    let node = Node::start().await;
    node.load(&[series("up{job=a}", &[(NOW_MS - 1000, 1.0), (NOW_MS, 2.5)])]).await;
    assert_eq!(value(&node, "up").await, r#"[{"metric":{"__name__":"up","job":"a"},"value":[1795161600,"2.5"]}]"#);
}

#[tokio::test]
async fn every_encoding_and_both_paths_are_taken() {
    let node = Node::start().await;
    let body = |name: &str| v1(&[series(name, &[(NOW_MS, 1.0)])]);
    let zstd = zstd::bulk::compress(&body("zstd_metric"), 1).unwrap();
    let protobuf = ("Content-Type", "application/x-protobuf");
    assert_eq!(node.write_with(&[protobuf, ("Content-Encoding", "zstd")], zstd).await.shown(), "204 ");
    let plain = body("plain_metric");
    assert_eq!(node.write_with(&[protobuf, ("Content-Encoding", "identity")], plain).await.shown(), "204 ");
    assert_eq!(node.write_with(&[], snappy(&body("bare_metric"))).await.shown(), "204 ");
    let push = axum::http::Request::post("/api/v1/push").body(snappy(&body("pushed_metric")).into()).unwrap();
    assert_eq!(node.send(push).await.shown(), "204 ");
    let names = node.get("/api/v1/label/__name__/values").await;
    assert_eq!(names.json()["data"].to_string(), r#"["bare_metric","plain_metric","pushed_metric","zstd_metric"]"#);
}

#[tokio::test]
async fn version_2_is_stored_and_counted() {
    let node = Node::start().await;
    let mut body = V2::new();
    body.add(&series("a{x=1}", &[(NOW_MS, 1.0), (NOW_MS - 1, 0.5)]), "What a is.", 0, 0);
    body.add(&series("b", &[(NOW_MS, 2.0)]), "", 0, 0);
    let answer = node.write_with(&V2_HEADERS, snappy(&body.encode_to_vec())).await;
    assert_eq!(answer.shown(), "204 ");
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("3"));
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("0"));
    assert_eq!(answer.header("x-prometheus-remote-write-exemplars-written"), Some("0"));
    assert_eq!(value(&node, "a + on () b").await, r#"[{"metric":{},"value":[1795161600,"3"]}]"#);
    let answer = node.get("/api/v1/metadata").await;
    assert_eq!(answer.json()["data"]["a"].to_string(), r#"[{"help":"What a is.","type":"counter","unit":""}]"#);
}

#[tokio::test]
async fn metadata_of_version_1_is_kept_for_each_metric() {
    let node = Node::start().await;
    let all = vec![metadata("a_total", 1, "Counts \"a\"."), metadata("b", 2, "Gauges b.")];
    let answer = node.write_bytes(snappy(&v1_with_metadata(&[], all))).await;
    assert_eq!(answer.shown(), "204 ");
    expect![[r#"{"status":"success","data":{"a_total":[{"type":"counter","unit":"","help":"Counts \"a\"."}],"b":[{"type":"gauge","unit":"","help":"Gauges b."}]}}"#]].assert_eq(node.get("/api/v1/metadata").await.text());
    expect![[r#"{"status":"success","data":{"b":[{"type":"gauge","unit":"","help":"Gauges b."}]}}"#]]
        .assert_eq(node.get("/api/v1/metadata?metric=b").await.text());
    assert_eq!(node.get("/api/v1/metadata?limit=1").await.json()["data"].as_object().unwrap().len(), 1);
    expect![[r#"400 {"status":"error","errorType":"bad_data","error":"limit must be a number"}"#]]
        .assert_eq(&node.get("/api/v1/metadata?limit=x").await.shown());
}

#[tokio::test]
async fn writes_of_another_type_or_compression_are_415() {
    let node = Node::start().await;
    let body = snappy(&v1(&[series("a", &[(NOW_MS, 1.0)])]));
    let json = node.write_with(&[("Content-Type", "application/json")], body.clone()).await;
    expect![[r#"
        415 Content-Type "application/json" is not supported, expected application/x-protobuf
    "#]]
    .assert_eq(&json.shown());
    let gzip = node.write_with(&[V1_HEADERS[0], ("Content-Encoding", "gzip")], body.clone()).await;
    expect![[r#"
        415 Content-Encoding "gzip" is not supported, expected snappy, zstd or identity
    "#]]
    .assert_eq(&gzip.shown());
    let other = node.write_with(&[("Content-Type", "application/x-protobuf;proto=a.B")], body).await;
    expect![[r#"
        415 message "a.B" in Content-Type is not supported, expected prometheus.WriteRequest or io.prometheus.write.v2.Request
    "#]].assert_eq(&other.shown());
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let node = Node::start().await;
    let body = snappy(&v1(&[series("a", &[(NOW_MS, 1.0)])]));
    let headers = [V1_HEADERS[0], V1_HEADERS[1], ("X-Scope-OrgID", "team-a")];
    assert_eq!(node.write_with(&headers, body).await.shown(), "204 ");
    assert_eq!(value(&node, "a").await, "[]");
    let ask = |tenant: &str| {
        let request = axum::http::Request::get("/api/v1/query?query=a&time=1795161600").header("X-Scope-OrgID", tenant);
        node.send(request.body(axum::body::Body::empty()).unwrap())
    };
    assert_eq!(ask("team-a").await.json()["data"]["result"].as_array().unwrap().len(), 1);
    expect![[r#"400 {"status":"error","errorType":"bad_data","error":"header X-Scope-OrgID: the tenant's name contains '/'; letters, digits and !-_.*'() are allowed"}"#]].assert_eq(&ask("a/b").await.shown());
    let headers = [V1_HEADERS[0], V1_HEADERS[1], ("X-Scope-OrgID", "a b")];
    expect![[r#"
        400 header X-Scope-OrgID: the tenant's name contains ' '; letters, digits and !-_.*'() are allowed
    "#]]
    .assert_eq(&node.write_with(&headers, Vec::new()).await.shown());
}

#[tokio::test]
async fn a_tenant_that_a_listener_does_not_serve_is_refused_and_not_taken_for_another() {
    let open = |config: &mut bellwether_server::config::Config| config.http = "0.0.0.0:9480".parse().unwrap();
    let node = Node::with(open, bellwether_server::env::ExecutorHandle::new(InlineExecutor, 1)).await;
    let body = snappy(&v1(&[series("a", &[(NOW_MS, 1.0)])]));
    let of = |tenant: &'static str| [V1_HEADERS[0], V1_HEADERS[1], ("X-Scope-OrgID", tenant)];
    let refused = node.write_with(&of("team-a"), body.clone()).await;
    expect![[r#"
        403 header X-Scope-OrgID: only a listener on a loopback address serves other tenants than `default`
    "#]]
    .assert_eq(&refused.shown());
    let query = axum::http::Request::get("/api/v1/query?query=a&time=1795161600").header("X-Scope-OrgID", "team-a");
    assert_eq!(node.send(query.body(axum::body::Body::empty()).unwrap()).await.status, 403);
    assert_eq!(value(&node, "a").await, "[]");
    assert_eq!(node.write_with(&of("default"), body).await.shown(), "204 ");
    assert_ne!(value(&node, "a").await, "[]");
}

#[tokio::test]
async fn a_node_that_starts_answers_503() {
    let node = Node::start().await;
    node.ready.send_replace(false);
    let answer = node.write(&[series("a", &[(NOW_MS, 1.0)])]).await;
    assert_eq!(answer.shown(), "503 the node is not ready yet\n");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = node.instant("up", "0").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["errorType"], "unavailable");
    assert_eq!(node.get("/-/ready").await.status, 503);
    assert_eq!(node.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn an_empty_request_is_fine() {
    let node = Node::start().await;
    assert_eq!(node.write(&[]).await.shown(), "204 ");
}
