//! A node's storage in memory, for the tests of this crate: no sockets, no threads, a clock that is set by hand.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bellwether_kv::{EngineExport, EngineImport, Error, KvDisk, KvEngine, MemDisk, SpaceConfig};
use bellwether_model::{Labels, Matcher, Sample, Tenant, TimeRange, Timestamp};
use bellwether_raft::Inline;
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;

use crate::config::Config;
use crate::env::{
    BoxFuture, DiskSpace, Env, Executor, ExecutorHandle, Executors, Job, Listener, Net, NoFiles, NoObjects, Program,
    SecretKey, Seed, Spawner, Stream, Volume, WallClock,
};
use crate::maintenance::Maintenance;
use crate::meta::founding::initial_placement;
use crate::metrics::{StorageMetrics, WriteMetrics};
use crate::peers::testing::TestNet;
use crate::replication;
use crate::routing::Router;
use crate::routing::remote::Alone;
use crate::shards::{Limits, QueryAccount, ReadContext, Replication, Ring, SelectError, Shards, Wanted};
use crate::write::{WriteError, WriteOutcome, WritePath};

/// The clock of every test begins here.
pub const NOW_MS: Timestamp = 1_795_161_600_000;

/// Shards and the way into them.
pub struct Storage {
    pub disk: MemDisk,
    pub clock: Arc<TestClock>,
    pub router: Arc<Router>,
    pub shards: Arc<Shards>,
    pub write: Arc<WritePath>,
    pub metrics: Arc<WriteMetrics>,
    config: Config,
    env: Env,
    storage_metrics: Arc<StorageMetrics>,
}

pub struct TestClock(AtomicI64);

impl Storage {
    /// Opens what a disk holds, with two groups if it is empty.
    pub async fn open(disk: MemDisk, configure: impl FnOnce(&mut Config)) -> Storage {
        let mut config = Config { shard_groups: 2, ..Config::default() };
        configure(&mut config);
        let clock = Arc::new(TestClock::default());
        let env = env(disk.clone(), clock.clone(), Arc::new(NoNet));
        let registry = Registry::new();
        let placement = initial_placement(config.shard_groups, env.seed);
        let storage_metrics = Arc::new(StorageMetrics::new(&registry).unwrap());
        let raft = replication::open(&env, &registry).await.unwrap();
        let (_, ring) = watch::channel(Arc::new(Ring::from(&placement)));
        let (node, replication) = (1, Replication::alone(raft));
        let shards = Shards::open(node, ring, replication, &config, &env, &registry, storage_metrics.clone()).await;
        let shards = Arc::new(shards.unwrap());
        let metrics = Arc::new(WriteMetrics::new(&registry).unwrap());
        let router = Router::new(shards.clone(), Arc::new(Alone), &config, &env, metrics.clone());
        let write = WritePath::new(router.clone(), None, &config, &env, metrics.clone());
        Storage { disk, clock, router, shards, write, metrics, config, env, storage_metrics }
    }

    /// What looks after it, not yet running.
    pub fn maintenance(&self) -> Maintenance {
        let (shards, write) = (self.shards.clone(), self.write.clone());
        Maintenance::new(shards, write, &self.config, &self.env, self.storage_metrics.clone())
    }

    /// Ends without a farewell; the disk stays.
    pub async fn crash(self) -> MemDisk {
        self.write.close();
        self.shards.shutdown().await;
        self.disk.crash();
        self.disk
    }

    /// Writes one sample of each series for the default tenant.
    pub async fn write(&self, names: &[&str], sample: Sample) -> Result<WriteOutcome, WriteError> {
        let samples = names.iter().map(|name| (Labels::of(&[("__name__", *name)]), sample)).collect();
        self.write.write_samples(&Tenant::default_tenant(), samples, Vec::new()).await
    }

    /// The values of a metric, oldest first.
    pub async fn values(&self, name: &str) -> Result<Vec<f64>, SelectError> {
        let limits = Limits { series: 10, samples: 1000, memory_bytes: 1 << 20 };
        let matchers: Arc<[Matcher]> = [Matcher::equal("__name__", name)].into();
        let read = ReadContext::new(QueryAccount::new(limits));
        let tenant = Tenant::default_tenant();
        let found = self.router.select(&tenant, matchers, TimeRange::ALL, Wanted::All, &read).await?;
        Ok(found.into_iter().flat_map(|series| series.values).collect())
    }
}

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

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock(AtomicI64::new(NOW_MS))
    }
}

/// A world in which all work is done where it is asked for.
pub fn env(disk: MemDisk, clock: Arc<dyn WallClock>, net: Arc<dyn Net>) -> Env {
    let inline = inline();
    Env {
        disk: Arc::new(disk),
        volume: Arc::<TestVolume>::default(),
        clock,
        seed: Seed(1),
        key: SecretKey::of_seed(Seed(1)),
        program: Program::THIS,
        net,
        files: Arc::new(NoFiles),
        objects: Arc::new(NoObjects),
        executors: Executors {
            raft: Arc::new(ThisRuntime),
            blocking: Arc::new(Inline),
            ingest: inline.clone(),
            scan: inline.clone(),
            background: inline,
        },
        host: None,
        fatal: Arc::new(|reason| panic!("{reason}")),
    }
}

/// Does what it is given at once.
pub fn inline() -> ExecutorHandle {
    ExecutorHandle::new(InlineExecutor, 1)
}

struct InlineExecutor;

impl Executor for InlineExecutor {
    fn submit(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async { job() })
    }
}

struct ThisRuntime;

impl Spawner for ThisRuntime {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task);
    }
}

/// A large file system, half free until somebody says otherwise.
pub struct TestVolume(AtomicU64);

impl TestVolume {
    pub fn set_free(&self, bytes: u64) {
        self.0.store(bytes, Ordering::SeqCst);
    }
}

impl Default for TestVolume {
    fn default() -> TestVolume {
        TestVolume(AtomicU64::new(1 << 40))
    }
}

impl Volume for TestVolume {
    fn space(&self) -> io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: self.0.load(Ordering::SeqCst), total_bytes: 1 << 41 })
    }

    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Connects clients over a network in memory.
pub struct Connector(pub TestNet);

impl bellwether_client::Connect for Connector {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn bellwether_client::Stream>>> {
        let net = self.0.clone();
        Box::pin(async move { Ok(Box::new(net.connect(&address).await?) as Box<dyn bellwether_client::Stream>) })
    }
}

pub struct NoNet;

impl Net for NoNet {
    fn bind(&self, _address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::Error::other("these tests have no sockets")) })
    }

    fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::Error::other("these tests have no sockets")) })
    }
}

/// A disk on which something happens before the next small file is written or the next thing is moved.
pub struct HookedDisk {
    disk: MemDisk,
    hook: Mutex<Option<DiskHook>>,
}

type DiskHook = Box<dyn FnOnce() -> Result<(), Error> + Send>;

impl HookedDisk {
    pub fn new(disk: &MemDisk) -> Arc<HookedDisk> {
        Arc::new(HookedDisk { disk: disk.clone(), hook: Mutex::default() })
    }

    /// What the hook says is what the disk says.
    pub fn hook(&self, hook: impl FnOnce() -> Result<(), Error> + Send + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    fn happens(&self) -> Result<(), Error> {
        let hook = self.hook.lock().take();
        hook.map_or(Ok(()), |hook| hook())
    }
}

impl KvDisk for HookedDisk {
    fn open(&self, path: &str, spaces: &[SpaceConfig]) -> Result<Arc<dyn KvEngine>, Error> {
        self.disk.open(path, spaces)
    }

    fn remove(&self, path: &str) -> Result<(), Error> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.happens()?;
        self.disk.rename(from, to)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        self.disk.list(path)
    }

    fn exists(&self, path: &str) -> Result<bool, Error> {
        self.disk.exists(path)
    }

    fn export(&self, path: &str) -> Result<Box<dyn EngineExport>, Error> {
        self.disk.export(path)
    }

    fn import(&self, path: &str) -> Result<Box<dyn EngineImport>, Error> {
        self.disk.import(path)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.disk.free_bytes()
    }

    fn read_small_file(&self, path: &str) -> Result<Option<Bytes>, Error> {
        self.disk.read_small_file(path)
    }

    fn write_small_file(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        self.happens()?;
        self.disk.write_small_file(path, content)
    }
}
