//! One node's machine: what outlives its processes, and what a process of it is given.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_kv::MemDisk;
use bellwether_server::cluster::ClusterError;
use bellwether_server::config::{ByteSize, Config, PeerList};
use bellwether_server::env::{DiskSpace, NoFiles, Program, SecretKey, Seed, Versions, Volume};
use bellwether_server::meta::settings::SettingKey;
use bellwether_server::meta::{MetaCommand, MetaStartError};
use bellwether_server::{DataError, Env, Server, StartError};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::clock::{Calendar, SkewedClock};
use super::net::{SharedTrace, SimNet, loopback, now_ms};
use super::operator::{GROUPS_MORE_MAX, SimObjects};
use super::options::Options;
use crate::work::{Burden, executors, lock};

/// Where every node listens.
pub const HTTP_PORT: u16 = 9480;
/// Where every node speaks gRPC.
pub const GRPC_PORT: u16 = 9481;

/// How long a node may be silent before its copies are made again elsewhere.
const REPAIR_GRACE: Duration = Duration::from_secs(10);
/// Size of a disk that nothing is said of.
const DISK_BYTES: u64 = 100 << 30;
/// The next program: it speaks one more version between nodes, and knows one more of what is replicated.
pub const NEXT_PROGRAM: Program = Program {
    version: "9.0.0-next",
    peers: Versions { lowest: 1, highest: 2 },
    formats: Versions { lowest: 1, highest: 3 },
};

/// See the module.
pub struct Machine {
    /// Its number, from 1.
    pub number: usize,
    /// What weighs on it.
    pub burden: Arc<Burden>,
    /// Its clock.
    pub clock: Arc<SkewedClock>,
    disk: Mutex<MemDisk>,
    process: Mutex<Process>,
    boots: AtomicU64,
    founds: bool,
    /// Set where the next boot begins with an empty disk in a cluster that exists.
    rejoins: Mutex<bool>,
    /// Its node, once it has one.
    node: Mutex<Option<u64>>,
    program: Mutex<Program>,
    objects: SimObjects,
    stop: watch::Sender<bool>,
    fatal: Mutex<Option<String>>,
    /// What its process runs on.
    runtime: Mutex<Option<tokio::runtime::Id>>,
    options: Arc<Options>,
    trace: SharedTrace,
}

/// What runs on a machine.
pub enum Process {
    /// Nothing.
    None,
    /// A process that has not said that it is ready.
    Starting,
    /// A process that answers requests.
    Serving(Box<Server>),
    /// One that was asked to stop.
    Stopping,
    /// One that stopped.
    Stopped,
    /// One that did not start, and why.
    Refused(String),
    /// One that ended because its node was removed from the cluster.
    Removed,
}

impl Machine {
    /// A machine with an empty disk.
    pub fn new(
        number: usize,
        options: Arc<Options>,
        calendar: Arc<Calendar>,
        objects: SimObjects,
        trace: SharedTrace,
    ) -> Machine {
        let (offset_ms, drift_ppm) = options.clocks[number - 1];
        Machine {
            number,
            burden: Arc::default(),
            clock: Arc::new(SkewedClock::new(calendar, offset_ms, drift_ppm)),
            disk: Mutex::default(),
            process: Mutex::new(Process::None),
            boots: AtomicU64::new(0),
            founds: number == 1,
            rejoins: Mutex::new(false),
            node: Mutex::default(),
            program: Mutex::new(Program::THIS),
            objects,
            stop: watch::Sender::new(false),
            fatal: Mutex::default(),
            runtime: Mutex::default(),
            options,
            trace,
        }
    }

    /// Its disk as it is now.
    pub fn disk(&self) -> MemDisk {
        lock(&self.disk).clone()
    }

    /// Puts in an empty disk: the next process begins as a new node of the cluster.
    pub fn lose_disk(&self) {
        *lock(&self.disk) = MemDisk::new();
        *lock(&self.rejoins) = true;
        *lock(&self.node) = None;
    }

    /// Puts in an empty disk: the next process begins as the first node of a cluster, if it is the machine that founds.
    pub fn found_anew(&self) {
        self.lose_disk();
        *lock(&self.rejoins) = false;
    }

    /// The node whose data its disk holds, as far as it has served.
    pub fn node(&self) -> Option<u64> {
        *lock(&self.node)
    }

    /// Which program the next process is.
    pub fn program(&self) -> Program {
        *lock(&self.program)
    }

    /// Chooses the program of the next process.
    pub fn install(&self, program: Program) {
        *lock(&self.program) = program;
    }

    /// Lets the next process be one that serves.
    pub fn switch_on(&self) {
        *lock(&self.process) = Process::Starting;
        self.stop.send_replace(false);
        *lock(&self.fatal) = None;
    }

    /// What runs here was ended from outside; gives what is left of it.
    pub fn take(&self) -> Process {
        std::mem::replace(&mut *lock(&self.process), Process::None)
    }

    /// Asks the process to stop.
    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Why the process ended itself, told once.
    pub fn ended_itself(&self) -> Option<String> {
        lock(&self.fatal).take()
    }

    /// Whether the process has ended itself, and nobody was told yet.
    pub fn has_ended_itself(&self) -> bool {
        lock(&self.fatal).is_some()
    }

    /// The node whose process ended because it was removed.
    pub fn removed(&self) -> Option<u64> {
        self.node().filter(|_| matches!(*lock(&self.process), Process::Removed))
    }

    /// Looks at what runs here.
    pub fn look<T>(&self, look: impl FnOnce(&Process) -> T) -> T {
        look(&lock(&self.process))
    }

    /// Whether it is its process that runs at this moment.
    pub fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| *lock(&self.runtime) == Some(here.id()))
    }

    /// How many processes there were.
    pub fn boots(&self) -> u64 {
        self.boots.load(Ordering::Relaxed)
    }

    /// Carries a process, if there is to be one. Ends only with its host.
    pub async fn carry(self: Arc<Self>) -> turmoil::Result {
        if matches!(*lock(&self.process), Process::Starting) {
            *lock(&self.runtime) = Some(Handle::current().id());
            self.run().await;
        }
        std::future::pending().await
    }

    async fn run(self: &Arc<Self>) {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        let mut stop = self.stop.subscribe();
        let started = Server::start(self.config(), self.env(boot)).await;
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                let reason = chain(&error);
                self.event(format!("does not start: {reason}"));
                let is_removed = matches!(
                    error,
                    StartError::Data { source: DataError::Cluster(ClusterError::Meta(MetaStartError::Removed(_))), .. }
                );
                *lock(&self.process) = if is_removed { Process::Removed } else { Process::Refused(reason) };
                return;
            }
        };
        let node = server.meta().node().0;
        self.event(format!("serves as node {node}"));
        *lock(&self.node) = Some(node);
        if self.founds && boot == 0 {
            // What is lost is made again within a run, not after a quarter of an hour.
            let meta = server.meta().clone();
            let groups_max = u64::from(self.options.shard_groups) + GROUPS_MORE_MAX;
            let chosen =
                [(SettingKey::RepairGrace, REPAIR_GRACE.as_millis() as u64), (SettingKey::GroupsMax, groups_max)];
            tokio::spawn(async move {
                for (key, value) in chosen {
                    // What is not chosen makes a run slower, not wrong.
                    let _ = meta.propose(MetaCommand::SetSetting { key, value }).await;
                }
            });
        }
        let removed = server.removed();
        *lock(&self.process) = Process::Serving(Box::new(server));
        let end = tokio::select! {
            biased;
            asked = stop.wait_for(|stop| *stop) => match asked {
                Ok(_) => Process::Stopped,
                Err(_) => return,
            },
            reason = removed => {
                self.event(format!("ends: {reason}"));
                Process::Removed
            }
        };
        let Process::Serving(server) = std::mem::replace(&mut *lock(&self.process), Process::Stopping) else {
            return;
        };
        let stopped = server.shutdown().await.map_or_else(|error| chain(&error), |()| "in order".to_owned());
        self.event(format!("stopped: {stopped}"));
        *lock(&self.process) = end;
    }

    fn event(&self, what: String) {
        lock(&self.trace).add(format!("{} n{} {what}", now_ms(), self.number));
    }

    fn env(self: &Arc<Self>, boot: u64) -> Env {
        let seed = Seed(self.options.seed).split(&format!("node {} boot {boot}", self.number));
        let disk = self.disk();
        let machine = Arc::downgrade(self);
        let disk_of_process = disk.clone();
        Env {
            disk: Arc::new(disk.clone()),
            volume: Arc::new(SimVolume(disk)),
            clock: self.clock.clone(),
            seed,
            key: SecretKey::of_seed(seed),
            program: self.program(),
            net: Arc::new(SimNet { number: self.number, trace: self.trace.clone() }),
            files: Arc::new(NoFiles),
            objects: Arc::new(self.objects.clone()),
            executors: executors(seed.0, &self.burden),
            host: None,
            fatal: Arc::new(move |reason| {
                // The process is gone from here on: nothing of it may reach the disk.
                disk_of_process.crash();
                if let Some(machine) = machine.upgrade() {
                    machine.event(format!("ends itself: {reason}"));
                    lock(&machine.fatal).get_or_insert_with(|| reason.to_owned());
                }
            }),
        }
    }

    fn config(&self) -> Config {
        let options = &self.options;
        let others = (1..=options.nodes).filter(|number| *number != self.number);
        let joins = !self.founds || *lock(&self.rejoins);
        let join =
            if joins { others.map(|number| loopback(number, GRPC_PORT).to_string()).collect() } else { Vec::new() };
        let mut config = Config {
            data_dir: PathBuf::from("simulated"),
            http: loopback(self.number, HTTP_PORT),
            grpc: loopback(self.number, GRPC_PORT),
            join: PeerList(join),
            shard_groups: options.shard_groups,
            retention: options.retention(),
            ..Config::default()
        };
        config.self_collect.enabled = false;
        config.ingest.cache_bytes = ByteSize(1 << 20);
        if options.memory_bytes > 0 {
            config.memory_limit = ByteSize(options.memory_bytes);
            // What is short is short for writes alone.
            config.query.max_total_bytes = Config::default().query.max_bytes;
            config.storage.cache_bytes = ByteSize(8 << 20);
        }
        config.storage.flush_log_bytes = ByteSize(options.flush_log_bytes);
        config.storage.flush_log_bytes_per_series = ByteSize(1);
        config.storage.flush_age = options.flush_age;
        config.storage.min_free_bytes = ByteSize(1 << 10);
        config.storage.min_free_percent = 0;
        config
    }
}

/// As much room as the disk's faults leave.
struct SimVolume(MemDisk);

impl Volume for SimVolume {
    fn space(&self) -> io::Result<DiskSpace> {
        let free = bellwether_kv::KvDisk::free_bytes(&self.0).map_err(io::Error::other)?;
        let used = self.0.used_bytes();
        let total_bytes = DISK_BYTES.max(used);
        Ok(DiskSpace { free_bytes: free.min(total_bytes - used), total_bytes })
    }

    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// An error and what caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
