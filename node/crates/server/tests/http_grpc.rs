//! The gRPC services, by generated clients without sockets.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod http_support;

use bellwether_proto::v1::node_client::NodeClient;
use bellwether_proto::v1::query_client::QueryClient;
use bellwether_proto::v1::query_response::Result as Shape;
use bellwether_proto::v1::write_client::WriteClient;
use bellwether_proto::v1::{self, InstantRequest, RangeRequest, StatusRequest, WriteRequest};
use http_support::{NOW_MS, Node};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::Series {
    let labels = labels.iter().map(|(name, value)| v1::Label { name: (*name).into(), value: (*value).into() });
    let samples = samples.iter().map(|(timestamp_ms, value)| v1::Sample { timestamp_ms: *timestamp_ms, value: *value });
    v1::Series { labels: labels.collect(), samples: samples.collect() }
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
    let instant = InstantRequest { query: "m".into(), time_ms: None, timeout_ms: None };
    let answer = queries.instant(instant).await.unwrap().into_inner();
    let Some(Shape::Vector(vector)) = answer.result else { panic!("{answer:?}") };
    assert_eq!(vector.series, [series(&[("__name__", "m"), ("a", "1")], &[(NOW_MS, 2.0)])]);

    let range = RangeRequest {
        query: "sum(m)".into(),
        start_ms: NOW_MS - 15_000,
        end_ms: NOW_MS,
        step_ms: 15_000,
        timeout_ms: None,
    };
    let answer = queries.range(range).await.unwrap().into_inner();
    let Some(Shape::Matrix(matrix)) = answer.result else { panic!("{answer:?}") };
    assert_eq!(matrix.series, [series(&[], &[(NOW_MS - 15_000, 1.0), (NOW_MS, 2.0)])]);
}

#[tokio::test]
async fn errors_have_the_code_of_their_sort() {
    let node = Node::start().await;
    let mut queries = QueryClient::new(node.grpc());
    let mut ask = async |query: &str| {
        let request = InstantRequest { query: query.into(), time_ms: Some(0), timeout_ms: None };
        queries.instant(request).await.unwrap_err()
    };
    let error = ask("sum(").await;
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("1:5: parse error"), "{}", error.message());
    assert_eq!(ask("label_replace(vector(1), \"a\", \"\", \"b\", \"(\")").await.code(), Code::FailedPrecondition);
    let extreme =
        RangeRequest { query: "m".into(), start_ms: i64::MIN, end_ms: i64::MAX, step_ms: i64::MAX, timeout_ms: None };
    QueryClient::new(node.grpc()).range(extreme).await.unwrap();

    let mut writes = WriteClient::new(node.grpc());
    let nameless = WriteRequest { series: vec![series(&[("a", "1")], &[(NOW_MS, 1.0)])] };
    assert_eq!(writes.write(nameless).await.unwrap_err().code(), Code::InvalidArgument);
    let mut request = Request::new(WriteRequest::default());
    request.metadata_mut().insert("x-scope-orgid", "a/b".parse().unwrap());
    assert_eq!(writes.write(request).await.unwrap_err().code(), Code::InvalidArgument);
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
