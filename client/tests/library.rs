//! The library against nodes that answer what a test says.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod support;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bellwether_client::{
    Client, Compression, Connect, Error, RefusalKind, Stream, Value, WriterError, WriterOptions, series,
};
use futures::future::BoxFuture;
use support::{FakeNode, Script, node};
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;

fn one(value: f64) -> bellwether_client::Series {
    series([("__name__", "up")], [(1000, value)])
}

/// A client of these nodes alone, with the same jitter in every run.
fn client(addresses: &[&str]) -> Client {
    let builder = Client::builder().addresses(addresses.iter().copied()).seed(1);
    builder.discovery_interval(None).timeout(Duration::from_secs(20)).build().unwrap()
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn script(failures: impl IntoIterator<Item = Status>) -> Script {
    Script { failures: failures.into_iter().collect(), ..Script::default() }
}

#[tokio::test]
async fn a_write_is_tried_again_until_it_is_stored() {
    let node = FakeNode::start(script([Status::unavailable("not ready"), Status::unavailable("no leader")])).await;
    let written = client(&[&node.address]).write(vec![one(1.0)]).await.unwrap();
    assert_eq!((written.samples, written.refused), (1, 0));
    assert_eq!(node.with(|script| script.written.len()), 1);
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    let node = FakeNode::start(script([Status::invalid_argument("series 0: no name")])).await;
    let error = client(&[&node.address]).write(vec![one(1.0)]).await.unwrap_err();
    assert_eq!(error.to_string(), "series 0: no name");
    assert!(matches!(error, Error::Refused { kind: RefusalKind::Invalid, .. }) && !error.is_transient());
    assert_eq!(node.with(|script| script.written.len()), 0);
}

#[tokio::test]
async fn a_node_that_is_gone_is_passed_over() {
    let (gone, node) = (nobody().await, FakeNode::start(Script::default()).await);
    let client = client(&[&gone, &node.address]);
    for _ in 0..3 {
        client.write(vec![one(1.0)]).await.unwrap();
    }
    assert_eq!(node.with(|script| script.written.len()), 3);
}

#[tokio::test]
async fn nobody_there_is_told_with_the_addresses() {
    let gone = nobody().await;
    let builder = Client::builder().addresses([gone.clone()]).seed(1).unreachable_rounds_max(Some(2));
    let error = builder.build().unwrap().instant("up", None).await.unwrap_err();
    let Error::Unreachable { tried } = &error else { panic!("{error}") };
    assert_eq!(tried[0].address, gone);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    let node = FakeNode::start(script([Status::unavailable("who knows")])).await;
    let client = client(&[&node.address]);
    let kind = bellwether_client::v1::TokenKind::Join;
    let error = client.cluster().create_token(kind, None, 1).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(client.cluster().create_token(kind, None, 1).await.is_ok());
}

#[tokio::test]
async fn the_cluster_tells_a_client_of_its_other_nodes() {
    let second = FakeNode::start(Script::default()).await;
    let first = FakeNode::start(Script::default()).await;
    let mut removed = node(3, "10.0.0.3:9481");
    removed.state = bellwether_client::v1::NodeState::Removed.into();
    let nodes = vec![node(1, &first.address), node(2, &second.address), removed];
    first.with(|script| script.nodes = nodes.clone());
    second.with(|script| script.nodes = nodes);
    let client = Client::builder().addresses([first.address.clone()]).seed(1).build().unwrap();
    let all = BTreeSet::from([first.address.clone(), second.address.clone()]);
    // The nodes are asked for beside the first calls; then calls are spread.
    while client.addresses().into_iter().collect::<BTreeSet<_>>() != all
        || second.with(|script| script.written.is_empty())
    {
        client.write(vec![one(1.0)]).await.unwrap();
    }
}

#[tokio::test]
async fn values_keep_every_bit_and_tenants_are_named() {
    let node = FakeNode::start(Script::default()).await;
    let client = client(&[&node.address]);
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    client.for_tenant("a").unwrap().write(vec![one(stale)]).await.unwrap();
    let answer = client.instant("up", Some(5)).await.unwrap();
    let Value::Vector(vector) = answer.value else { panic!() };
    assert_eq!((vector[0].labels[0].value.as_str(), vector[0].samples[0].timestamp_ms), ("up", 5));
    assert_eq!(answer.warnings, ["a warning"]);
    node.with(|script| {
        assert_eq!(script.written[0][0].samples[0].value.to_bits(), stale.to_bits());
        assert_eq!(script.tenants, [Some("a".to_owned()), None]);
    });
    assert!(client.for_tenant("a\nb").is_err());
}

#[tokio::test]
async fn writes_and_answers_may_be_compressed() {
    let node = FakeNode::start(Script::default()).await;
    for compression in [Compression::None, Compression::Zstd] {
        let builder = Client::builder().addresses([node.address.clone()]).seed(1).compression(compression);
        let client = builder.build().unwrap();
        client.write(vec![one(1.0)]).await.unwrap();
        let answer = client.range("up", 0, 10_000, 10).await.unwrap();
        let Value::Matrix(matrix) = answer.value else { panic!() };
        assert_eq!(matrix[0].samples.len(), 1001);
    }
    assert_eq!(node.with(|script| script.written.len()), 2);
}

/// Takes all connections to one address, whatever the client asks for.
struct Redirect {
    to: SocketAddr,
    connections: Arc<AtomicU32>,
}

impl Connect for Redirect {
    fn connect(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (to, connections) = (self.to, self.connections.clone());
        Box::pin(async move {
            connections.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(TcpStream::connect(to).await?) as Box<dyn Stream>)
        })
    }
}

#[tokio::test]
async fn a_connector_decides_where_connections_lead() {
    let node = FakeNode::start(Script::default()).await;
    let connections = Arc::<AtomicU32>::default();
    let redirect = Redirect { to: node.address.parse().unwrap(), connections: connections.clone() };
    let client = Client::builder().addresses(["nowhere:1"]).connector(redirect).seed(1).discovery_interval(None);
    let client = client.build().unwrap();
    client.write(vec![one(1.0)]).await.unwrap();
    client.write(vec![one(2.0)]).await.unwrap();
    assert_eq!((node.with(|script| script.written.len()), connections.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn a_client_needs_addresses() {
    assert_eq!(Client::builder().build().err(), Some(Error::NoAddress));
    assert_eq!(Client::builder().addresses(["node"]).build().err(), Some(Error::BadAddress("node".to_owned())));
}

#[tokio::test]
async fn a_writer_makes_batches_and_tells_what_was_refused() {
    let node = FakeNode::start(Script { refuses: 1, ..Script::default() }).await;
    let options = WriterOptions { batch_samples: 10, batch_age: Duration::from_secs(3600), ..WriterOptions::default() };
    let writer = client(&[&node.address]).writer(options);
    for value in 0..25 {
        writer.append(one(f64::from(value))).await.unwrap();
    }
    let stats = writer.close().await.unwrap();
    assert_eq!((stats.written, stats.refused, stats.lost, stats.batches), (22, 3, 0, 3));
    assert_eq!(stats.refused_because.as_deref(), Some("too old"));
    let mut sizes: Vec<usize> = node.with(|script| script.written.iter().map(Vec::len).collect());
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 10]);
}

#[tokio::test]
async fn a_small_batch_leaves_when_it_is_old() {
    let node = FakeNode::start(Script::default()).await;
    let options = WriterOptions { batch_age: Duration::from_millis(1), ..WriterOptions::default() };
    let writer = client(&[&node.address]).writer(options);
    writer.append(one(1.0)).await.unwrap();
    while node.with(|script| script.written.is_empty()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_writer_pushes_back_and_goes_on_when_there_is_room() {
    let node = FakeNode::start(script([Status::unavailable("busy")])).await;
    // Room for three series or four at a time.
    let options = WriterOptions { batch_samples: 1, buffer_bytes: 350, ..WriterOptions::default() };
    let writer = client(&[&node.address]).writer(options);
    for value in 0..20 {
        writer.append(one(f64::from(value))).await.unwrap();
    }
    assert_eq!(writer.close().await.unwrap().written, 20);
    let large = series([("__name__", "x".repeat(400).as_str())], [(0, 0.0)]);
    let options = WriterOptions { buffer_bytes: 350, ..WriterOptions::default() };
    let writer = client(&[&node.address]).writer(options);
    assert!(matches!(writer.append(large).await, Err(WriterError::TooLarge { buffer_bytes: 350, .. })));
}

#[tokio::test]
async fn a_writer_tells_what_it_gave_up() {
    let node = FakeNode::start(script([Status::invalid_argument("no")])).await;
    let writer = client(&[&node.address]).writer(WriterOptions::default());
    writer.append(one(1.0)).await.unwrap();
    let error = writer.flush().await.unwrap_err();
    assert!(matches!(&error, WriterError::Lost { samples: 1, source: Error::Refused { .. } }), "{error}");
    writer.append(one(2.0)).await.unwrap();
    let stats = writer.close().await.unwrap();
    assert_eq!((stats.written, stats.lost), (1, 1));
}
