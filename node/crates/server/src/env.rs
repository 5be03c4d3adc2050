//! The only door to the world: everything that a node reads or does outside its own memory comes in through [`Env`].
//!
//! The real one is made in `node/src`; the simulation makes its own. Nothing else in this crate reads a clock, entropy,
//! files, environment variables or sockets, or starts a thread.

mod objects;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bellwether_kv::KvDisk;
use bellwether_model::{MetricKind, Timestamp};
pub use bellwether_raft::{Blocking, BlockingClass};
pub use futures::future::BoxFuture;
pub use objects::{NoObjects, ObjectError, ObjectStore, ObjectStores, ObjectUpload};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use crate::program::{Program, Versions};

/// What a node needs of the world.
#[derive(Clone)]
pub struct Env {
    /// The data directory: engines and small files.
    pub disk: Arc<dyn KvDisk>,
    /// The file system that it lies on.
    pub volume: Arc<dyn Volume>,
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// The root of all randomness that is no secret.
    pub seed: Seed,
    /// What secrets are drawn from.
    pub key: SecretKey,
    /// Which program runs in it.
    pub program: Program,
    /// The network.
    pub net: Arc<dyn Net>,
    /// Files that an operator gives, wherever they are.
    pub files: Arc<dyn Files>,
    /// Where backups are kept.
    pub objects: Arc<dyn ObjectStores>,
    /// Where tasks run and where blocking work goes.
    pub executors: Executors,
    /// Readings of the machine, if there is a machine.
    pub host: Option<Arc<dyn HostMetrics>>,
    /// Ends the process with a reason: after a failed fsync nothing in memory can be trusted to match the disk.
    pub fatal: Fatal,
}

/// Ends the process with a reason; in the simulation it may return.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// A wall clock; may jump.
pub trait WallClock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> Timestamp;
}

/// One u64 that all randomness of a node comes from, split by name so that subsystems do not shift each other's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of a part; the same name gives the same seed.
    pub fn split(self, part: &str) -> Seed {
        Seed(xxh3_64_with_seed(part.as_bytes(), self.0))
    }
}

/// 256 bits of entropy that nobody else knows, drawn for one start: what secrets are made of. A [`Seed`] could be guessed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Of the system's entropy.
    pub fn new(entropy: [u8; 32]) -> SecretKey {
        SecretKey(entropy)
    }

    /// No secret: for a world in which everything follows from a seed.
    pub fn of_seed(seed: Seed) -> SecretKey {
        let mut bytes = [0; 32];
        for (part, at) in bytes.chunks_exact_mut(8).zip(0..) {
            part.copy_from_slice(&seed.split(&format!("key {at}")).0.to_le_bytes());
        }
        SecretKey(bytes)
    }

    /// The secret of this number. Who knows one knows nothing of another.
    pub fn draw(&self, number: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(number.to_le_bytes());
        hash.finalize().into()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

/// Listening sockets, and connections to those of others.
pub trait Net: Send + Sync + 'static {
    /// Listens on an address; port 0 takes a free one.
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
    /// Connects to `host:port`; the host may be a name. Has no deadline of its own. An error of the kind
    /// `ConnectionRefused` means that the host is there and nobody listens.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// A listening socket.
pub trait Listener: Send + 'static {
    /// The address that it really has.
    fn local_address(&self) -> SocketAddr;
    /// The next connection and its peer's address.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;
}

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// The file system under the data directory. All methods block.
pub trait Volume: Send + Sync + 'static {
    /// How much room there is.
    fn space(&self) -> io::Result<DiskSpace>;
    /// Makes the file [`BALLAST_FILE`] occupy `bytes` on disk; zero removes it.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
}

/// Files that an operator gives: certificates and keys.
pub trait Files: Send + Sync + 'static {
    /// Reads one whole. Blocks.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// A world without such files.
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Name of the file that keeps room on the disk.
pub const BALLAST_FILE: &str = "ballast";

/// See [`Volume::space`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process can still write.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// Readings of the machine that the node runs on.
pub trait HostMetrics: Send + Sync + 'static {
    /// Reads everything once. Blocks.
    fn collect(&self) -> Vec<HostSample>;
}

/// One reading of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    /// The metric's name, as node_exporter calls it.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// What was read.
    pub value: f64,
    /// The metric's type.
    pub kind: MetricKind,
    /// Its help text.
    pub help: &'static str,
}

/// A piece of blocking or long work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs blocking work, a bounded number of jobs at a time.
pub trait Executor: Send + Sync + 'static {
    /// Queues a job; waits while the queue is full.
    fn submit(&self, job: Job) -> BoxFuture<'_, ()>;
}

/// Starts tasks on a runtime other than the caller's.
pub trait Spawner: Send + Sync + 'static {
    /// Starts a task; its end is its own affair.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// Where work of each sort runs, so that none can starve another.
#[derive(Clone)]
pub struct Executors {
    /// Raft, transport and log writer: a runtime that runs nothing else.
    pub raft: Arc<dyn Spawner>,
    /// Raft's blocking work: log writes, applying entries, flushes.
    pub blocking: Arc<dyn Blocking>,
    /// Decoding of large bodies.
    pub ingest: ExecutorHandle,
    /// Scans of shards and evaluation of queries.
    pub scan: ExecutorHandle,
    /// Flush, seal, opening of engines.
    pub background: ExecutorHandle,
}

/// A shared executor.
#[derive(Clone)]
pub struct ExecutorHandle {
    executor: Arc<dyn Executor>,
    threads: usize,
}

/// A job panicked; the panic itself has been logged where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a background job failed; the log says why")]
pub struct JobFailed;

impl ExecutorHandle {
    /// Shares an executor that runs so many jobs at a time.
    pub fn new(executor: impl Executor, threads: usize) -> ExecutorHandle {
        ExecutorHandle { executor: Arc::new(executor), threads: threads.max(1) }
    }

    /// Jobs that run at a time: to cut work into more pieces than this gains nothing.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` there and returns what it returns.
    pub async fn run<T, F>(&self, work: F) -> Result<T, JobFailed>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let job = Box::new(move || {
            // The asker may have gone away; then nobody needs the result.
            let _ = reply.send(work());
        });
        self.executor.submit(job).await;
        result.await.map_err(|_| JobFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_key_counts_and_none_is_shown() {
        let key = SecretKey::new([7; 32]);
        let mut others: Vec<[u8; 32]> = (0..256)
            .map(|bit| {
                let mut bytes = [7; 32];
                bytes[bit / 8] ^= 1 << (bit % 8);
                SecretKey::new(bytes).draw(0)
            })
            .collect();
        others.extend([key.draw(0), key.draw(1)]);
        assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), 258);
        assert_eq!(format!("{key:?}"), "SecretKey");
    }

    #[test]
    fn a_part_has_one_seed_and_parts_have_different_ones() {
        let seed = Seed(7);
        assert_eq!(seed.split("raft"), seed.split("raft"));
        assert_ne!(seed.split("raft"), seed.split("cache"));
        assert_ne!(seed.split("raft"), Seed(8).split("raft"));
    }
}
