//! A node's HTTP interface over storage in memory: requests go straight into the router, without ports.

#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

pub mod alert_states;
mod executors;
pub mod remote_read;
mod remote_write;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bellwether_ingest::ControlCommand;
use bellwether_kv::MemDisk;
use bellwether_model::Timestamp;
use bellwether_raft::Inline;
use bellwether_server::alerting::desk::Desk;
use bellwether_server::config::{Config, HostList};
use bellwether_server::env::{
    BoxFuture, DiskSpace, Env, ExecutorHandle, Executors, Listener, Net, NoFiles, NoObjects, Program, SecretKey, Seed,
    Stream, Volume, WallClock,
};
use bellwether_server::far_end::{Administrators, FarEnd, Security};
use bellwether_server::gateway::{self, GatewayState};
use bellwether_server::grpc::{self, GrpcState};
use bellwether_server::meta::founding::initial_placement;
use bellwether_server::metrics::{StorageMetrics, WriteMetrics};
use bellwether_server::query::Coordinator;
use bellwether_server::routing::Router as ShardRouter;
use bellwether_server::routing::remote::Alone;
use bellwether_server::shards::{Replication, Ring, Shards};
use bellwether_server::write::WritePath;
use prometheus::Registry;
use tokio::sync::watch;
use tower::ServiceExt;

pub use alert_states::MemoryStates;
pub use executors::{InlineExecutor, ThreadExecutor};
pub use remote_write::{Series, V2, metadata, series, snappy, v1, v1_with_metadata};

/// The clock of every test begins here: 2026-11-20T08:00:00Z.
pub const NOW_MS: Timestamp = 1_795_161_600_000;

/// A node without sockets.
pub struct Node {
    router: Router,
    grpc: Router,
    pub registry: Registry,
    pub ready: watch::Sender<bool>,
    pub clock: Arc<TestClock>,
    pub write: Arc<WritePath>,
    pub queries: Arc<Coordinator>,
    pub alerting: Arc<MemoryStates>,
}

/// An answer, read whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and text in one line.
    pub fn shown(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.text())
    }
}

impl Node {
    pub async fn start() -> Node {
        Node::with(|_| {}, ExecutorHandle::new(InlineExecutor, 1)).await
    }

    pub async fn with(configure: impl FnOnce(&mut Config), scan: ExecutorHandle) -> Node {
        let mut config = Config { shard_groups: 3, ..Config::default() };
        configure(&mut config);
        let clock = Arc::new(TestClock(AtomicI64::new(NOW_MS)));
        let inline = ExecutorHandle::new(InlineExecutor, 1);
        let env = Env {
            disk: Arc::new(MemDisk::new()),
            volume: Arc::new(LargeVolume),
            clock: clock.clone(),
            seed: Seed(1),
            key: SecretKey::of_seed(Seed(1)),
            program: Program::THIS,
            net: Arc::new(NoNet),
            files: Arc::new(NoFiles),
            objects: Arc::new(NoObjects),
            executors: Executors {
                raft: Arc::new(executors::ThisRuntime),
                blocking: Arc::new(Inline),
                ingest: inline.clone(),
                scan: scan.clone(),
                background: inline,
            },
            host: None,
            fatal: Arc::new(|reason| panic!("{reason}")),
        };
        let registry = Registry::new();
        let placement = initial_placement(config.shard_groups, env.seed);
        let storage = Arc::new(StorageMetrics::new(&registry).unwrap());
        let raft = bellwether_server::replication::open(&env, &registry).await.unwrap();
        let (_, ring) = watch::channel(Arc::new(Ring::from(&placement)));
        let (node, replication) = (1, Replication::alone(raft));
        let shards = Shards::open(node, ring, replication, &config, &env, &registry, storage).await;
        let shards = Arc::new(shards.unwrap());
        let metrics = Arc::new(WriteMetrics::new(&registry).unwrap());
        let router = ShardRouter::new(shards.clone(), Arc::new(Alone), &config, &env, metrics.clone());
        // As the groups of a new cluster do a moment after it is founded.
        let version = ControlCommand::SetActiveVersion { version: Program::THIS.formats.highest };
        for group in shards.serving() {
            group.command(&version, &*clock).await.unwrap();
        }
        let write = WritePath::new(router.clone(), None, &config, &env, metrics);
        let queries = Arc::new(Coordinator::new(router.clone(), scan, &config, &registry));
        let (ready, is_ready) = watch::channel(true);
        let config = Arc::new(config);
        let alerting = Arc::new(MemoryStates::new(clock.clone()));
        let desk = Desk::new(alerting.clone(), clock.clone(), env.key.clone(), &config, config.http);
        let grpc = grpc::routes(
            GrpcState {
                router: router.clone(),
                write: write.clone(),
                queries: queries.clone(),
                config: config.clone(),
                clock: clock.clone(),
                started_ms: NOW_MS,
                http_address: config.http,
                meta: None,
                desk: desk.clone(),
                ready: is_ready.clone(),
            },
            None,
        );
        let router = gateway::router(GatewayState {
            router,
            write: write.clone(),
            queries: queries.clone(),
            config,
            registry: registry.clone(),
            clock: clock.clone(),
            started_ms: NOW_MS,
            backups: None,
            desk,
            administrators: Administrators::new(&HostList::default(), None, clock.clone()),
            ready: is_ready,
        });
        // As over a listener: from this machine.
        let far_end = FarEnd { address: SocketAddr::from(([127, 0, 0, 1], 1)), security: Security::Plain };
        let router = router.layer(axum::Extension(far_end));
        Node { router, grpc: grpc.unwrap(), registry, ready, clock, write, queries, alerting }
    }

    /// The gRPC services, for a client without sockets.
    pub fn grpc(&self) -> Router {
        self.grpc.clone()
    }

    /// The answer's head; its body waits to be read.
    pub async fn begin(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// GET; the characters of selectors may stand in the path as they are.
    pub async fn get(&self, path: &str) -> Answer {
        let path = path.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.send(Request::post(path).body(Body::empty()).unwrap()).await
    }

    /// A request with a body, from this machine.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// POST of a form.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn instant(&self, query: &str, time: &str) -> Answer {
        self.form("/api/v1/query", &[("query", query), ("time", time)]).await
    }

    pub async fn range(&self, query: &str, start: &str, end: &str, step: &str) -> Answer {
        let fields = [("query", query), ("start", start), ("end", end), ("step", step)];
        self.form("/api/v1/query_range", &fields).await
    }

    /// Remote write 1.0 of a body that is compressed already.
    pub async fn write_bytes(&self, body: impl Into<Body>) -> Answer {
        let request = Request::post("/api/v1/write")
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Remote write 1.0.
    pub async fn write(&self, series: &[Series]) -> Answer {
        self.write_bytes(snappy(&v1(series))).await
    }

    /// The same, which must succeed.
    pub async fn load(&self, series: &[Series]) {
        let answer = self.write(series).await;
        assert_eq!(answer.shown(), "204 ");
    }

    /// Remote write with any headers.
    pub async fn write_with(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri("/api/v1/write");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }
}

/// A wall clock that stands until it is set.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl WallClock for TestClock {
    fn now_ms(&self) -> Timestamp {
        self.0.load(Ordering::SeqCst)
    }
}

struct LargeVolume;

impl Volume for LargeVolume {
    fn space(&self) -> io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: 1 << 40, total_bytes: 1 << 41 })
    }

    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

struct NoNet;

impl Net for NoNet {
    fn bind(&self, _address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::Error::other("these tests have no sockets")) })
    }

    fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::Error::other("these tests have no sockets")) })
    }
}
