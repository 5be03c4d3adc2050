//! The gRPC services, by generated clients without sockets.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use axum::body::Body;
use bellwether_proto::v1::alerting_client::AlertingClient;
use bellwether_proto::v1::node_client::NodeClient;
use bellwether_proto::v1::query_client::QueryClient;
use bellwether_proto::v1::query_response::Result as Shape;
use bellwether_proto::v1::write_client::WriteClient;
use bellwether_proto::v1::{self, InstantRequest, QueryResponse, RangeRequest, StatusRequest, WriteRequest};
use bellwether_server::config::ByteSize;
use bellwether_server::env::ExecutorHandle;
use bellwether_server::far_end::{FarEnd, Security};
use futures::StreamExt;
use http_support::{InlineExecutor, NOW_MS, Node};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt;

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::Series {
    let labels = labels.iter().map(|(name, value)| v1::Label { name: (*name).into(), value: (*value).into() });
    let samples = samples.iter().map(|(timestamp_ms, value)| v1::Sample { timestamp_ms: *timestamp_ms, value: *value });
    v1::Series { labels: labels.collect(), samples: samples.collect(), ..v1::Series::default() }
}

/// The only part of a short result.
async fn only(mut parts: Streaming<QueryResponse>) -> QueryResponse {
    let part = parts.message().await.unwrap().unwrap();
    assert_eq!(parts.message().await.unwrap(), None);
    part
}

#[tokio::test]
async fn what_is_written_is_queried() {
    let node = Node::start().await;
    let mut writes = WriteClient::new(node.grpc());
    let good = series(&[("__name__", "m"), ("a", "1")], &[(NOW_MS - 15_000, 1.0), (NOW_MS, 2.0)]);
    let future = series(&[("__name__", "m"), ("a", "2")], &[(NOW_MS + 3_600_000, 1.0)]);
    let answer = writes.write(WriteRequest { series: vec![good, future] }).await.unwrap().into_inner();
    assert_eq!((answer.samples, answer.refused), (2, 1));
    assert!(answer.refused_because.contains("too far in the future"), "{}", answer.refused_because);

    let mut queries = QueryClient::new(node.grpc());
    let instant = InstantRequest { query: "m".into(), ..InstantRequest::default() };
    let answer = only(queries.instant(instant).await.unwrap().into_inner()).await;
    let Some(Shape::Vector(vector)) = answer.result else { panic!("{answer:?}") };
    assert_eq!(vector.series, [series(&[("__name__", "m"), ("a", "1")], &[(NOW_MS, 2.0)]).into()]);

    let range = RangeRequest {
        query: "sum(m)".into(),
        start_ms: NOW_MS - 15_000,
        end_ms: NOW_MS,
        step_ms: 15_000,
        ..RangeRequest::default()
    };
    let answer = only(queries.range(range).await.unwrap().into_inner()).await;
    let Some(Shape::Matrix(matrix)) = answer.result else { panic!("{answer:?}") };
    assert_eq!(matrix.series, [series(&[], &[(NOW_MS - 15_000, 1.0), (NOW_MS, 2.0)]).into()]);
}

#[tokio::test]
async fn histograms_and_exemplars_are_written_and_histograms_queried() {
    let node = Node::start().await;
    let at = |timestamp_ms: i64, scale: u64| v1::Histogram {
        count: Some(v1::histogram::Count::CountInt(6 * scale)),
        sum: 7.5 * scale as f64,
        schema: 0,
        zero_threshold: 0.001,
        zero_count: Some(v1::histogram::ZeroCount::ZeroCountInt(scale)),
        positive_spans: vec![v1::BucketSpan { offset: 1, length: 2 }],
        positive_deltas: vec![2 * scale as i64, scale as i64],
        timestamp_ms,
        ..v1::Histogram::default()
    };
    let exemplar = v1::Exemplar { labels: Vec::new(), value: 0.5, timestamp_ms: NOW_MS };
    let (histograms, exemplars) = (vec![at(NOW_MS - 60_000, 1), at(NOW_MS, 2)], vec![exemplar]);
    let written = v1::Series { histograms, exemplars, ..series(&[("__name__", "h")], &[]) };
    let answer = WriteClient::new(node.grpc()).write(WriteRequest { series: vec![written] }).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.samples, answer.histograms, answer.exemplars, answer.refused), (0, 2, 1, 0));

    let mut queries = QueryClient::new(node.grpc());
    let instant = InstantRequest { query: "h".into(), ..InstantRequest::default() };
    let answer = only(queries.instant(instant).await.unwrap().into_inner()).await;
    let Some(Shape::Vector(vector)) = answer.result else { panic!("{answer:?}") };
    let bucket = |lower, upper, count, lower_inclusive| v1::Bucket {
        lower,
        upper,
        count,
        lower_inclusive,
        upper_inclusive: true,
    };
    let buckets = vec![bucket(-0.001, 0.001, 2.0, true), bucket(1.0, 2.0, 4.0, false), bucket(2.0, 4.0, 6.0, false)];
    let value = v1::HistogramValue { count: 12.0, sum: 15.0, buckets };
    assert_eq!(vector.series[0].histograms, [v1::HistogramSample { timestamp_ms: NOW_MS, histogram: Some(value) }]);
    assert!(vector.series[0].samples.is_empty());

    let range = RangeRequest {
        query: "increase(h[1m1s])".into(),
        start_ms: NOW_MS,
        end_ms: NOW_MS + 500,
        step_ms: 500,
        ..RangeRequest::default()
    };
    let answer = only(queries.range(range).await.unwrap().into_inner()).await;
    let Some(Shape::Matrix(matrix)) = answer.result else { panic!("{answer:?}") };
    assert_eq!((matrix.series[0].samples.len(), matrix.series[0].histograms.len()), (0, 2));
}

#[tokio::test]
async fn a_query_says_how_it_was_evaluated_and_may_be_computed_anew() {
    let node = Node::start().await;
    let samples: Vec<(i64, f64)> = (0..40).map(|at| (NOW_MS - at * 15_000, at as f64)).collect();
    let series = vec![series(&[("__name__", "m"), ("a", "1")], &samples)];
    WriteClient::new(node.grpc()).write(WriteRequest { series }).await.unwrap();
    let range = RangeRequest {
        query: "sum by (a) (max_over_time(m[1m]))".to_owned(),
        start_ms: NOW_MS - 300_000,
        end_ms: NOW_MS,
        step_ms: 60_000,
        ..RangeRequest::default()
    };
    let ask = async |request: RangeRequest| {
        only(QueryClient::new(node.grpc()).range(request).await.unwrap().into_inner()).await
    };
    let first = ask(range.clone()).await;
    assert_eq!((ask(range.clone()).await, first.explanation.clone()), (first.clone(), None));
    assert_eq!(ask(RangeRequest { no_cache: true, ..range.clone() }).await, first);
    let explained = ask(RangeRequest { explain: true, ..range }).await;
    assert_eq!(explained.result, first.result);
    let explanation = explained.explanation.unwrap();
    let steps: Vec<_> =
        explanation.plan.iter().map(|step| (&*step.what, step.depth, step.aggregated, step.values)).collect();
    let expected = [("sum by (a)", 0, true, 6), ("max_over_time", 1, false, 0), ("{__name__=\"m\"}[60s]", 2, false, 0)];
    assert_eq!(steps, expected);
    assert_eq!((explanation.plan[2].read, explanation.reads[0].samples), (Some(0), 24));
    assert!(explanation.reads[0].bytes > 0);
}

#[tokio::test]
async fn messages_may_be_compressed_with_zstd() {
    let node = Node::start().await;
    let zstd = CompressionEncoding::Zstd;
    let mut writes = WriteClient::new(node.grpc()).send_compressed(zstd);
    let request = WriteRequest { series: vec![series(&[("__name__", "m")], &[(NOW_MS, 1.0)])] };
    assert_eq!(writes.write(request).await.unwrap().into_inner().samples, 1);
    let mut queries = QueryClient::new(node.grpc()).accept_compressed(zstd);
    let answer = queries.instant(InstantRequest { query: "m".into(), ..InstantRequest::default() }).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "zstd");
    let answer = only(answer.into_inner()).await;
    assert!(matches!(answer.result, Some(Shape::Vector(found)) if found.series.len() == 1));
}

#[tokio::test]
async fn errors_have_the_code_of_their_sort() {
    let node = Node::start().await;
    let mut queries = QueryClient::new(node.grpc());
    let mut ask = async |query: &str| {
        let request = InstantRequest { query: query.into(), time_ms: Some(0), ..InstantRequest::default() };
        queries.instant(request).await.unwrap_err()
    };
    let error = ask("sum(").await;
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("1:5: parse error"), "{}", error.message());
    assert_eq!(ask("label_replace(vector(1), \"a\", \"\", \"b\", \"(\")").await.code(), Code::FailedPrecondition);
    let extreme = RangeRequest {
        query: "m".into(),
        start_ms: i64::MIN,
        end_ms: i64::MAX,
        step_ms: i64::MAX,
        ..RangeRequest::default()
    };
    QueryClient::new(node.grpc()).range(extreme).await.unwrap();

    let mut writes = WriteClient::new(node.grpc());
    let nameless = WriteRequest { series: vec![series(&[("a", "1")], &[(NOW_MS, 1.0)])] };
    let answer = writes.write(nameless).await.unwrap().into_inner();
    assert_eq!((answer.samples, answer.refused), (0, 1));
    assert!(answer.refused_because.contains("no metric name"), "{}", answer.refused_because);
    let mut request = Request::new(WriteRequest::default());
    request.metadata_mut().insert("x-scope-orgid", "a/b".parse().unwrap());
    assert_eq!(writes.write(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_tenant_that_a_listener_does_not_serve_is_refused() {
    let open = |config: &mut bellwether_server::config::Config| config.grpc = "0.0.0.0:9481".parse().unwrap();
    let node = Node::with(open, bellwether_server::env::ExecutorHandle::new(InlineExecutor, 1)).await;
    let write = async |tenant: &str| {
        let mut request = Request::new(WriteRequest::default());
        request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        WriteClient::new(node.grpc()).write(request).await
    };
    assert_eq!(write("team-a").await.unwrap_err().code(), Code::PermissionDenied);
    assert!(write("default").await.is_ok());
}

#[tokio::test]
async fn labels_count_once_however_many_samples_they_have() {
    let node = Node::start().await;
    let long = "x".repeat(4000);
    let samples: Vec<(i64, f64)> = (0..50_000).map(|at| (NOW_MS - at, 1.0)).collect();
    let series = series(&[("__name__", "m"), ("long", &long)], &samples);
    let answer = WriteClient::new(node.grpc()).write(WriteRequest { series: vec![series] }).await.unwrap();
    assert_eq!(answer.into_inner().samples, 50_000);
}

#[tokio::test]
async fn a_message_is_let_in_by_its_announced_length_before_it_comes() {
    let configure = |config: &mut bellwether_server::Config| {
        config.ingest.max_decompressed_bytes = ByteSize(50_000);
        config.ingest.max_inflight_bytes = ByteSize(20_000);
    };
    let node = Node::with(configure, ExecutorHandle::new(InlineExecutor, 1)).await;
    // Headers of messages that never come: nothing but these decides.
    for (length, code, message) in [
        (30_000_u32, Code::Unavailable, "no room for 30000 more"),
        (60_000, Code::ResourceExhausted, "the message has 60000 bytes, the limit is 50000"),
    ] {
        let header = [&[0][..], &length.to_be_bytes()].concat();
        let pieces =
            futures::stream::iter([Ok::<_, std::convert::Infallible>(header)]).chain(futures::stream::pending());
        let status = raw(&node, Body::from_stream(pieces)).await;
        assert_eq!(status.code(), code);
        assert!(status.message().contains(message), "{}", status.message());
    }
    for (body, message) in [
        (b"\0\0\0".to_vec(), "the message ends after 3 of 5 bytes"),
        (b"\0\0\0\0\x02x".to_vec(), "the message ends after 6 of 7 bytes"),
        (b"\0\0\0\0\0\0\0\0\0\0".to_vec(), "the request has more than one message"),
        (b"\0\0\0\0\x02\x0a\x05".to_vec(), "malformed protobuf at byte 1"),
    ] {
        let status = raw(&node, Body::from(body)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{message}");
        assert!(status.message().contains(message), "{}", status.message());
    }
    assert_eq!(raw(&node, Body::from(&b"\x01\0\0\0\0"[..])).await.code(), Code::Unimplemented);
}

/// What a call with these bytes fails with.
async fn raw(node: &Node, body: Body) -> tonic::Status {
    let request = axum::http::Request::post("/bellwether.v1.Write/Write").header("content-type", "application/grpc");
    let answer = node.grpc().oneshot(request.body(body).unwrap()).await.unwrap();
    tonic::Status::from_header_map(answer.headers()).unwrap()
}

#[tokio::test]
async fn calls_for_another_host_are_refused() {
    let node = Node::start().await;
    for (host, path) in
        [("evil.example", "/bellwether.v1.Write/Write"), ("evil.example:1", "/bellwether.v1.Node/Status")]
    {
        let request = axum::http::Request::post(format!("http://{host}{path}")).body(Body::empty()).unwrap();
        let answer = node.grpc().oneshot(request).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("is not one that this node is called by"), "{}", status.message());
    }
}

#[tokio::test]
async fn a_node_tells_its_status_and_whether_it_serves() {
    let node = Node::start().await;
    let status = NodeClient::new(node.grpc()).status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.started_ms, status.ready, status.http_address.as_str()), (NOW_MS, true, "127.0.0.1:9480"));
    let mut health = HealthClient::new(node.grpc());
    assert_eq!(health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status, 1);
    node.ready.send_replace(false);
    assert_eq!(health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status, 2);
    let refused = WriteClient::new(node.grpc()).write(WriteRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn rules_silences_and_notifications_are_set_listed_and_deleted() {
    let node = Node::start().await;
    let mut client = AlertingClient::new(node.grpc());
    let refused = client.set_rule_group(v1::SetRuleGroupRequest::default()).await.unwrap_err();
    // Nobody knows where this call comes from.
    assert_eq!(refused.code(), Code::PermissionDenied);
    let far_end = FarEnd { address: ([127, 0, 0, 1], 1).into(), security: Security::Plain };
    let mut client = AlertingClient::new(node.grpc().layer(axum::Extension(far_end)));
    let text = "name: g\nrules: [{alert: A, expr: up == 0}, {record: b, expr: up}]\n".to_owned();
    let set = v1::SetRuleGroupRequest { namespace: "n".to_owned(), text };
    let answer = client.set_rule_group(set.clone()).await.unwrap().into_inner();
    assert_eq!(answer.group, "g");
    let again = client.set_rule_group(set).await.unwrap().into_inner();
    assert_eq!(again.revision, answer.revision);
    let wrong = v1::SetRuleGroupRequest { namespace: "n".to_owned(), text: "name: g\nrules: [{alert: A}]".to_owned() };
    let refused = client.set_rule_group(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("2:9: group \"g\", rule 1, \"A\": "), "{}", refused.message());
    let alert = bellwether_model::Labels::of(&[("alertname", "A"), ("host", "a")]);
    node.alerting.evaluate("n", "g", &[Ok(vec![(alert, 2.0)]), Err("it failed")]);
    let groups = client.list_rule_groups(v1::ListRuleGroupsRequest::default()).await.unwrap().into_inner().groups;
    let [group] = groups.as_slice() else { panic!("{groups:?}") };
    let states: Vec<_> =
        group.rules.iter().map(|rule| (rule.name.as_str(), rule.health.as_str(), rule.firing)).collect();
    assert_eq!(states, [("A", "ok", 1), ("b", "err", 0)]);
    let silence = v1::Silence {
        matchers: "host=~\"a|b\"".to_owned(),
        ends_ms: NOW_MS + 60_000,
        created_by: "me".to_owned(),
        ..v1::Silence::default()
    };
    let set = client.set_silence(v1::SetSilenceRequest { silence: Some(silence) }).await.unwrap().into_inner();
    let filter = vec!["alertname=A".to_owned()];
    let alerts = client.list_alerts(v1::ListAlertsRequest { filter }).await.unwrap().into_inner().alerts;
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!((alert.state.as_str(), alert.value), ("suppressed", Some(2.0)));
    assert_eq!(alert.silenced_by, std::slice::from_ref(&set.id));
    client.expire_silence(v1::ExpireSilenceRequest { id: set.id }).await.unwrap();
    let silences = client.list_silences(v1::ListSilencesRequest { expired: true }).await.unwrap().into_inner().silences;
    assert_eq!((silences.len(), silences[0].state.as_str()), (1, "expired"));
    let config = "route: {receiver: a}\nreceivers: [{name: a}]\n".to_owned();
    let set = v1::SetNotificationsRequest { config: config.clone(), templates: [].into() };
    client.set_notifications(set).await.unwrap();
    let stored = client.get_notifications(v1::GetNotificationsRequest {}).await.unwrap().into_inner();
    assert_eq!(stored.config, config);
    client.delete_notifications(v1::DeleteNotificationsRequest {}).await.unwrap();
    let delete = v1::DeleteRuleGroupRequest { namespace: "n".to_owned(), group: String::new() };
    client.delete_rule_group(delete.clone()).await.unwrap();
    assert_eq!(client.delete_rule_group(delete).await.unwrap_err().code(), Code::NotFound);
}
