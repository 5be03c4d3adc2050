//! Backups and restores of whole clusters over a network, disks and a store of objects in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bellwether_client::v1::{Operation, OperationState, Restore};
use bellwether_client::{Client, Error};
use bellwether_kv::{KvDisk, MemDisk};
use bellwether_model::{
    CounterResetHint, Counts, Exemplar, Histogram, Labels, Matcher, MetricKind, MetricMetadata, Sample, Span, Tenant,
    TimeRange,
};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::*;
use crate::Server;
use crate::config::{Config, PeerList};
use crate::env::{BoxFuture, ObjectError, ObjectStore, ObjectStores, ObjectUpload, Seed};
use crate::peers::testing::TestNet;
use crate::routing::MaintainError;
use crate::shards::{Limits, QueryAccount, ReadContext, SeriesExemplars, Wanted};
use crate::testing::{Connector, NOW_MS, TestClock, env};
use crate::write::own_body::{put_exemplars, put_histograms};
use crate::write::{ContentEncoding, RemoteWriteVersion};

const LONG: Duration = Duration::from_secs(600);
const URL: &str = "mem://backups";

/// A store of objects in memory; what is written can be held up.
#[derive(Clone)]
struct MemObjects {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    opened: Arc<watch::Sender<bool>>,
}

impl Default for MemObjects {
    fn default() -> MemObjects {
        MemObjects { objects: Arc::default(), opened: Arc::new(watch::channel(true).0) }
    }
}

impl MemObjects {
    fn keys(&self, prefix: &str) -> Vec<String> {
        self.objects.lock().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// The largest object, which is a file of samples.
    fn largest(&self) -> String {
        let objects = self.objects.lock();
        objects
            .iter()
            .filter(|(key, _)| key.starts_with("objects/"))
            .max_by_key(|(_, content)| content.len())
            .unwrap()
            .0
            .clone()
    }

    fn flip(&self, key: &str) {
        let mut objects = self.objects.lock();
        let mut content = objects[key].to_vec();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        objects.insert(key.to_owned(), content.into());
    }
}

impl ObjectStores for MemObjects {
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        assert_eq!(url, URL);
        Ok(Arc::new(self.clone()))
    }
}

impl ObjectStore for MemObjects {
    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            if key.starts_with("objects/") {
                let _ = self.opened.subscribe().wait_for(|opened| *opened).await;
            }
            self.objects.lock().insert(key.to_owned(), content);
            Ok(())
        })
    }

    fn create<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool, ObjectError>> {
        Box::pin(async move {
            let mut objects = self.objects.lock();
            let is_new = !objects.contains_key(key);
            if is_new {
                objects.insert(key.to_owned(), content);
            }
            Ok(is_new)
        })
    }

    fn begin<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectUpload>, ObjectError>> {
        let upload = MemUpload { store: self.clone(), key: key.to_owned(), content: Vec::new() };
        Box::pin(async move { Ok(Box::new(upload) as Box<dyn ObjectUpload>) })
    }

    fn read<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> BoxFuture<'a, Result<Bytes, ObjectError>> {
        Box::pin(async move {
            let objects = self.objects.lock();
            let content = objects.get(key).ok_or_else(|| ObjectError::Missing(key.to_owned()))?;
            Ok(content.slice(offset as usize..(offset + length) as usize))
        })
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, ObjectError>> {
        Box::pin(async move { Ok(self.objects.lock().get(key).map(|content| content.len() as u64)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ObjectError>> {
        Box::pin(async move { Ok(self.keys(&format!("{prefix}/"))) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            self.objects.lock().remove(key);
            Ok(())
        })
    }
}

struct MemUpload {
    store: MemObjects,
    key: String,
    content: Vec<u8>,
}

impl ObjectUpload for MemUpload {
    fn append(&mut self, content: Bytes) -> BoxFuture<'_, Result<(), ObjectError>> {
        self.content.extend_from_slice(&content);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), ObjectError>> {
        Box::pin(async move { self.store.put(&self.key, self.content.into()).await })
    }

    fn abandon(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn grpc(at: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 200 + at))
}

/// Nodes of one cluster.
struct Nodes {
    net: TestNet,
    servers: Vec<Server>,
    disks: Vec<MemDisk>,
}

impl Nodes {
    async fn start(count: u16, shard_groups: u32, objects: &MemObjects) -> Nodes {
        let net = TestNet::default();
        let mut nodes = Nodes { net: net.clone(), servers: Vec::new(), disks: Vec::new() };
        for at in 1..=count {
            let mut config = Config { shard_groups, grpc: grpc(at), ..Config::default() };
            config.http.set_port(100 + at);
            if at > 1 {
                config.join = PeerList(vec![grpc(1).to_string()]);
            }
            config.self_collect.enabled = false;
            let disk = MemDisk::new();
            let env = env(disk.clone(), Arc::new(TestClock::default()), Arc::new(net.clone()));
            // Two clusters do not draw the same ids.
            let seed = Seed(u64::from(shard_groups) * 100 + u64::from(at));
            let env = Env { seed, objects: Arc::new(objects.clone()), ..env };
            nodes.servers.push(Server::start(config, env).await.unwrap());
            nodes.disks.push(disk);
        }
        let client = nodes.client(1);
        until(async || {
            let shards = client.cluster().shards().await.ok()?.shards;
            let whole = shards.iter().all(|shard| {
                shard.replicas.len() == usize::from(count)
                    && shard.replicas.iter().all(|replica| replica.lag == Some(0))
            });
            (whole && shards.len() == shard_groups as usize).then_some(())
        })
        .await;
        nodes
    }

    fn client(&self, at: u16) -> Client {
        let builder = Client::builder().addresses([grpc(at).to_string()]).connector(Connector(self.net.clone()));
        builder.seed(1).discovery_interval(None).attempts_max(3).build().unwrap()
    }

    async fn write(&self, tenant: &str, samples: Vec<(Labels, Sample)>, metadata: Vec<(String, MetricMetadata)>) {
        let tenant = Tenant::new(tenant).unwrap();
        let written = self.servers[0].write_path().write_samples(&tenant, samples, metadata).await.unwrap();
        assert!(written.refused.is_empty(), "{written:?}");
    }

    /// Writes histograms, once the groups take them.
    async fn write_histograms(&self, labels: &Labels, rows: std::ops::Range<i64>) {
        let (times, histograms): (Vec<i64>, Vec<Histogram>) = rows.map(|row| (NOW_MS - row, histogram(row))).unzip();
        let mut body = Vec::new();
        put_histograms(&mut body, labels, &times, &histograms);
        let (tenant, write) = (Tenant::default_tenant(), self.servers[0].write_path());
        let encoding = ContentEncoding::Identity;
        let written = write.remote_write(&tenant, RemoteWriteVersion::V1, encoding, body.into()).await.unwrap();
        assert_eq!((written.histograms, written.refused.is_empty()), (times.len() as u64, true));
    }

    /// Writes exemplars of series that have samples.
    async fn write_exemplars(&self, metric: &str, series: std::ops::Range<usize>) {
        let mut body = Vec::new();
        for number in series.clone() {
            let own = Labels::of(&[("trace_id", &format!("trace {number}"))]);
            let exemplar = Exemplar { labels: own, value: number as f64, timestamp: NOW_MS - number as i64 };
            put_exemplars(&mut body, &labels(metric, number), &[exemplar]);
        }
        let (tenant, write) = (Tenant::default_tenant(), self.servers[0].write_path());
        let encoding = ContentEncoding::Identity;
        let written = write.remote_write(&tenant, RemoteWriteVersion::V1, encoding, body.into()).await.unwrap();
        assert_eq!((written.exemplars, written.refused.is_empty()), (series.len() as u64, true));
    }

    /// All exemplars, as the last node gives them.
    async fn exemplars(&self) -> Vec<SeriesExemplars> {
        let read = ReadContext::new(QueryAccount::new(Limits::default()));
        let router = self.servers.last().unwrap().router();
        let everything: Arc<[Matcher]> = [].into();
        router.exemplars(&Tenant::default_tenant(), [everything].into(), TimeRange::ALL, &read).await.unwrap()
    }

    /// All samples of a tenant, by labels; values by their bits, histograms by their numbers.
    async fn samples(&self, tenant: &str) -> BTreeMap<String, Vec<(i64, u64)>> {
        let limits = Limits { series: 10_000, samples: 1_000_000, memory_bytes: 1 << 30 };
        let matchers: Arc<[Matcher]> = [].into();
        let read = ReadContext::new(QueryAccount::new(limits));
        let router = self.servers.last().unwrap().router();
        let tenant = Tenant::new(tenant).unwrap();
        let found = router.select(&tenant, matchers, TimeRange::ALL, Wanted::All, &read).await.unwrap();
        let rows = found.into_iter().map(|series| {
            let rows = series.timestamps.iter().copied().zip(series.values.iter().map(|value| value.to_bits()));
            let mut rows: Vec<(i64, u64)> = rows.collect();
            for (time, found) in series.histograms.iter().flat_map(|own| own.timestamps.iter().zip(&own.histograms)) {
                assert_eq!(*found, histogram(found.sum as i64));
                rows.push((*time, found.sum as u64));
            }
            (series.labels.to_string(), rows)
        });
        rows.collect()
    }
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(LONG, seen).await.expect("it happens in time")
}

/// Watches an operation to its end, through `client`.
async fn ended(client: &Client, begun: Result<Operation, Error>) -> Operation {
    let id = begun.unwrap().id;
    let watched = async {
        let mut watched = client.operations().watch(&id).await.unwrap();
        let mut last = None;
        while let Some(operation) = watched.next().await.unwrap() {
            last = Some(operation);
        }
        last.expect("it ends with its end")
    };
    timeout(LONG, watched).await.expect("it ends in time")
}

async fn done(client: &Client, begun: Result<Operation, Error>) -> Operation {
    let operation = ended(client, begun).await;
    assert_eq!(operation.state(), OperationState::Done, "{operation:?}");
    operation
}

async fn failed(client: &Client, begun: Result<Operation, Error>) -> String {
    let operation = ended(client, begun).await;
    assert_eq!(operation.state(), OperationState::Failed, "{operation:?}");
    operation.outcome
}

fn restore() -> Restore {
    Restore { url: URL.to_owned(), ..Restore::default() }
}

fn histogram(number: i64) -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::NotCounterReset,
        schema: 1,
        zero_threshold: 0.0,
        sum: number as f64,
        counts: Counts::Float { count: 2.0, zero_count: 0.5, positive: vec![1.0], negative: vec![0.5] },
        positive_spans: vec![Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: -3, length: 1 }],
        custom_values: vec![],
    }
}

fn labels(metric: &str, series: usize) -> Labels {
    Labels::of(&[("__name__", metric), ("series", &series.to_string())])
}

/// Two tenants, three Windows, a stale marker, a deletion, metadata.
async fn fill(nodes: &Nodes) {
    const STALE: u64 = 0x7ff0_0000_0000_0002;
    let at = |series: usize, row: i64| Sample {
        timestamp: NOW_MS - 4 * 3_600_000 + row * 600_000,
        value: if row == 7 && series == 3 { f64::from_bits(STALE) } else { series as f64 + row as f64 / 3.0 },
    };
    for row in 0..24 {
        let samples = (0..40).map(|series| (labels("kept", series), at(series, row)));
        let gone = (0..3).map(|series| (labels("deleted", series), at(series, row)));
        let about = MetricMetadata { kind: MetricKind::Gauge, help: "what it is".to_owned(), unit: "s".to_owned() };
        nodes.write("default", samples.chain(gone).collect(), vec![("kept".to_owned(), about)]).await;
        let other = (0..5).map(|series| (labels("other", series), at(series, row))).collect();
        nodes.write("second", other, Vec::new()).await;
    }
    let router = nodes.servers[0].router();
    let matchers: Arc<[Matcher]> = [Matcher::equal("__name__", "deleted")].into();
    router.delete_series(&Tenant::default_tenant(), matchers, TimeRange::ALL).await.unwrap();
}

async fn metadata(nodes: &Nodes) -> Option<String> {
    let router = nodes.servers[0].router();
    let read = ReadContext::new(QueryAccount::new(Limits::default()));
    let found = router.metadata(&Tenant::default_tenant(), &read).await.unwrap();
    found.into_iter().find(|(metric, _)| metric == "kept").map(|(_, about)| about.help)
}

async fn flushed(nodes: &Nodes) -> Result<(), MaintainError> {
    nodes.servers[0].router().flush_all().await
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_three_is_restored_on_one_node_with_other_shard_groups() {
    let objects = MemObjects::default();
    let old = Nodes::start(3, 2, &objects).await;
    fill(&old).await;
    let client = old.client(2);
    client.cluster().set_setting("repair.grace", Some("7m")).await.unwrap();
    let (first, second) = (old.samples("default").await, old.samples("second").await);
    assert_eq!((first.len(), second.len()), (40, 5));
    let made = done(&client, client.operations().create_backup(URL).await).await;
    // Watched from another node as well, which remembers nothing of it.
    let third = old.client(3);
    assert_eq!(third.operations().list().await.unwrap().operations, std::slice::from_ref(&made));
    assert_eq!(ended(&third, Ok(made.clone())).await, made);

    // What is there already is not sent again.
    let again = done(&client, client.operations().create_backup(URL).await).await;
    let backups = client.operations().backups(URL).await.unwrap();
    assert_eq!(backups.iter().map(|backup| &*backup.id).collect::<Vec<_>>(), {
        let mut ids = [made.backup.as_str(), again.backup.as_str()];
        ids.sort_unstable();
        ids
    });
    assert!(backups[1].own_bytes < backups[0].own_bytes / 2, "{backups:?}");
    assert_eq!(backups[1].series, backups[0].series);
    let verified = done(&client, client.operations().verify_backup(URL, None).await).await;
    assert!(verified.outcome.contains("is whole"), "{}", verified.outcome);
    assert_eq!(objects.keys("locks/"), Vec::<String>::new());
    for disk in &old.disks {
        assert_eq!(disk.list("copies").unwrap(), Vec::<String>::new(), "copies are removed");
    }

    let new = Nodes::start(1, 5, &objects).await;
    let client = new.client(1);
    let restored = done(&client, client.operations().restore(restore()).await).await;
    assert!(restored.outcome.ends_with("1080 samples"), "{}", restored.outcome);
    assert_eq!((new.samples("default").await, new.samples("second").await), (first, second));
    assert_eq!(metadata(&new).await.as_deref(), Some("what it is"));
    let grace = client.cluster().settings(&["repair.grace".to_owned()]).await.unwrap();
    assert_eq!(grace[0].value, "7m");
    assert_eq!(new.disks[0].list("restore").unwrap(), Vec::<String>::new());

    // Deleting one backup leaves the other whole.
    let client = old.client(1);
    done(&client, client.operations().delete_backup(URL, &made.backup).await).await;
    done(&client, client.operations().verify_backup(URL, None).await).await;
    done(&client, client.operations().delete_backup(URL, &again.backup).await).await;
    assert_eq!(objects.keys(""), Vec::<String>::new(), "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn one_node_is_restored_on_three_and_everything_acknowledged_before_is_in_it() {
    let objects = MemObjects::default();
    let old = Nodes::start(1, 3, &objects).await;
    fill(&old).await;
    old.write_histograms(&labels("histograms", 0), 0..300).await;
    old.write_exemplars("kept", 0..30).await;
    flushed(&old).await.unwrap();
    // In no run yet.
    old.write_histograms(&labels("histograms", 1), 0..3).await;
    old.write_exemplars("kept", 30..40).await;
    old.write("default", vec![(labels("late", 0), Sample { timestamp: NOW_MS, value: 5.0 })], Vec::new()).await;
    let client = old.client(1);
    done(&client, client.operations().create_backup(URL).await).await;
    let new = Nodes::start(3, 2, &objects).await;
    let client = new.client(3);
    done(&client, client.operations().restore(restore()).await).await;
    assert_eq!(new.samples("default").await, old.samples("default").await);
    assert_eq!(new.samples("default").await.len(), 43);
    let exemplars = new.exemplars().await;
    assert_eq!((exemplars.len(), &exemplars), (40, &old.exemplars().await));
    // All replicas have it.
    let hashes = |server: &Server| {
        let groups = server.shards().serving();
        groups.iter().map(|group| (group.id(), group.shard().state_hash())).collect::<Vec<_>>()
    };
    until(async || new.servers.iter().all(|server| hashes(server) == hashes(&new.servers[0])).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_backup_is_refused_with_the_name_of_the_object() {
    let objects = MemObjects::default();
    let old = Nodes::start(1, 2, &objects).await;
    fill(&old).await;
    let client = old.client(1);
    assert_eq!(
        failed(&client, client.operations().verify_backup(URL, None).await).await,
        format!("there is no backup at {URL}")
    );
    let made = done(&client, client.operations().create_backup(URL).await).await.backup;
    let wrong = failed(&client, client.operations().restore(restore()).await).await;
    assert!(wrong.contains("is of this very cluster: say --merge"), "{wrong}");

    let new = Nodes::start(1, 3, &objects).await;
    let client = new.client(1);
    let key = objects.largest();
    objects.flip(&key);
    let damaged = failed(&client, client.operations().restore(restore()).await).await;
    assert_eq!(damaged, format!("object {key} has another content than it should: the backup is damaged"));
    assert_eq!(new.samples("default").await, BTreeMap::new(), "nothing was written");
    // Group by group: what is whole is written, and what is not is named.
    let careless = Restore { skip_verify: true, ..restore() };
    let damaged = failed(&client, client.operations().restore(careless.clone()).await).await;
    assert!(damaged.contains(&key), "{damaged}");

    let whole = objects.objects.lock().get(&key).cloned().unwrap();
    objects.objects.lock().insert(key.clone(), whole.slice(1..));
    let short = failed(&client, client.operations().restore(careless.clone()).await).await;
    assert!(short.starts_with(&format!("object {key} has {} bytes instead of", whole.len() - 1)), "{short}");
    objects.objects.lock().remove(&key);
    let missing = failed(&client, client.operations().restore(careless).await).await;
    assert_eq!(missing, format!("object {key} is not there"));

    // Mended, it goes on where it was.
    objects.objects.lock().insert(key.clone(), whole);
    objects.flip(&key);
    done(&client, client.operations().restore(restore()).await).await;
    assert_eq!(new.samples("default").await, old.samples("default").await);

    objects.flip(&format!("manifests/{made}"));
    let damaged = failed(&client, client.operations().verify_backup(URL, Some(&made)).await).await;
    assert!(damaged.starts_with(&format!("object manifests/{made}: it is damaged")), "{damaged}");
    assert!(client.operations().backups(URL).await.unwrap()[0].trouble.contains("damaged"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_backup_leaves_nothing_that_is_in_the_way_and_goes_on_when_begun_again() {
    let objects = MemObjects::default();
    let old = Nodes::start(3, 2, &objects).await;
    fill(&old).await;
    objects.opened.send_replace(false);
    let client = old.client(1);
    let begun = client.operations().create_backup(URL).await.unwrap();
    let same = client.operations().create_backup(URL).await.unwrap();
    assert_eq!(same.id, begun.id, "the same again is the same");
    sleep(Duration::from_secs(20)).await;
    // From another node, while copies wait for the store.
    let other = old.client(2);
    let cancelled = other.operations().cancel(&begun.id).await.unwrap();
    assert_eq!(cancelled.state(), OperationState::Cancelled);
    assert_eq!(objects.keys("locks/"), Vec::<String>::new());
    assert_eq!(objects.keys("manifests/"), Vec::<String>::new());
    until(async || old.disks.iter().all(|disk| disk.list("copies").unwrap().is_empty()).then_some(())).await;
    objects.opened.send_replace(true);
    done(&other, other.operations().create_backup(URL).await).await;
    done(&other, other.operations().verify_backup(URL, None).await).await;
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_works_at_a_place_and_a_lock_without_a_holder_is_free_in_a_while() {
    let objects = MemObjects::default();
    let old = Nodes::start(1, 2, &objects).await;
    let place = Place::open(&objects, URL).unwrap();
    let held = lock::Lock::take(&place, "somebody else").await.unwrap();
    let client = old.client(1);
    let refused = failed(&client, client.operations().create_backup(URL).await).await;
    assert_eq!(
        refused,
        format!("{URL} is in use by somebody else: wait for that, or end it with bwctl operation cancel")
    );
    held.check().await.unwrap();
    drop(held);
    done(&client, client.operations().create_backup(URL).await).await;
    assert_eq!(objects.keys("locks/"), Vec::<String>::new());
    // Whoever loses it learns so.
    let held = lock::Lock::take(&place, "one").await.unwrap();
    objects.objects.lock().insert("locks/0000000000000099".to_owned(), Bytes::from_static(b"x two"));
    assert!(matches!(held.check().await, Err(BackupError::LockLost { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_place_or_no_backup_is_refused_at_once() {
    let objects = MemObjects::default();
    let old = Nodes::start(1, 1, &objects).await;
    let client = old.client(1);
    for result in [
        client.operations().create_backup("").await.err(),
        client.operations().verify_backup(URL, Some("../x")).await.err(),
        client.operations().delete_backup(URL, "").await.err(),
        client.operations().watch("1-99").await.err(),
        client.operations().cancel("nonsense").await.err(),
    ] {
        assert!(matches!(result, Some(Error::Refused { .. })), "{result:?}");
    }
}
