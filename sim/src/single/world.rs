//! What a simulated node is given instead of the real world: time that stands still until everybody waits, a disk in
//! memory, a network in memory, and work that takes as long as a seed says.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_kv::{Faults, MemDisk};
use bellwether_model::Timestamp;
use bellwether_server::Env;
use bellwether_server::env::{
    BoxFuture, DiskSpace, Listener, Net, NoFiles, NoObjects, Program, SecretKey, Seed, Stream, Volume, WallClock,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::EPOCH_MS;
use crate::work::{executors, lock};

/// Bytes that a simulated connection holds in each direction.
const CONNECTION_BYTES: usize = 64 << 10;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;
/// The first port that is given out for port 0.
const FIRST_PORT: u16 = 20_000;

/// What outlives a node's processes.
#[derive(Clone)]
pub struct Machine {
    /// Everything stored.
    pub disk: MemDisk,
    /// What the next processes find on the wall, in milliseconds; moved on by [`Machine::pause`].
    stopped_at_ms: Arc<Mutex<Timestamp>>,
    /// Free and total bytes of the volume.
    space: Arc<Mutex<DiskSpace>>,
    /// Why the process ended itself, if it did.
    fatal: watch::Sender<Option<String>>,
}

/// One process's life on a machine.
pub struct Life {
    /// What the server gets.
    pub env: Env,
    /// The way to its listeners.
    pub net: MemNet,
    clock: Arc<SimClock>,
    machine: Machine,
}

impl Machine {
    /// A machine with an empty disk.
    pub fn new() -> Machine {
        let space = DiskSpace { free_bytes: 100 << 30, total_bytes: 200 << 30 };
        Machine {
            disk: MemDisk::new(),
            stopped_at_ms: Arc::new(Mutex::new(EPOCH_MS)),
            space: Arc::new(Mutex::new(space)),
            fatal: watch::Sender::new(None),
        }
    }

    /// Begins a process. Call inside the runtime that will carry it.
    pub fn boot(&self, seed: u64) -> Life {
        self.fatal.send_replace(None);
        self.disk.set_faults(Faults::default());
        let clock = Arc::new(SimClock { started: Instant::now(), wall_ms: *lock(&self.stopped_at_ms) });
        let net = MemNet::default();
        let fatal = self.fatal.clone();
        let env = Env {
            disk: Arc::new(self.disk.clone()),
            volume: Arc::new(SimVolume(self.space.clone())),
            clock: clock.clone(),
            seed: Seed(seed),
            key: SecretKey::of_seed(Seed(seed)),
            program: Program::THIS,
            net: Arc::new(net.clone()),
            files: Arc::new(NoFiles),
            objects: Arc::new(NoObjects),
            executors: executors(seed, &Arc::default()),
            host: None,
            fatal: Arc::new(move |reason| {
                fatal.send_replace(Some(reason.to_owned()));
            }),
        };
        Life { env, net, clock, machine: self.clone() }
    }

    /// Lets wall time pass while no process runs.
    pub fn pause(&self, pause: Duration) {
        *lock(&self.stopped_at_ms) += pause.as_millis() as Timestamp;
    }

    /// What the wall clock said when the last process ended.
    pub fn boot_time_ms(&self) -> Timestamp {
        *lock(&self.stopped_at_ms)
    }

    /// How much room the volume says it has.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        lock(&self.space).free_bytes = free_bytes;
    }

    /// Returns when the process ends itself, and says why.
    pub async fn process_ended(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(Some(reason)) => reason,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new()
    }
}

impl Life {
    /// Wall time now.
    pub fn now_ms(&self) -> Timestamp {
        self.clock.now_ms()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        *lock(&self.machine.stopped_at_ms) = self.clock.now_ms();
    }
}

/// Wall time that moves with tokio's.
struct SimClock {
    started: Instant,
    wall_ms: Timestamp,
}

impl WallClock for SimClock {
    fn now_ms(&self) -> Timestamp {
        self.wall_ms + self.started.elapsed().as_millis() as Timestamp
    }
}

struct SimVolume(Arc<Mutex<DiskSpace>>);

impl Volume for SimVolume {
    fn space(&self) -> io::Result<DiskSpace> {
        Ok(*lock(&self.0))
    }

    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Listeners by address. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemNet {
    listeners: Arc<Mutex<BTreeMap<SocketAddr, mpsc::Sender<DuplexStream>>>>,
}

struct MemListener {
    address: SocketAddr,
    incoming: mpsc::Receiver<DuplexStream>,
}

impl Net for MemNet {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let mut listeners = lock(&self.listeners);
        let mut address = address;
        if address.port() == 0 {
            address.set_port(FIRST_PORT + listeners.len() as u16);
        }
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let bound = match listeners.insert(address, sender) {
            None => Ok(Box::new(MemListener { address, incoming }) as Box<dyn Listener>),
            Some(_) => Err(io::ErrorKind::AddrInUse.into()),
        };
        Box::pin(std::future::ready(bound))
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let to: SocketAddr =
                address.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such host"))?;
            let listener = lock(&self.listeners).get(&to).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = duplex(CONNECTION_BYTES);
            listener.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

impl Listener for MemListener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            match self.incoming.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Stream>, self.address)),
                None => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        })
    }
}
