//! What idle groups cost: three nodes in one process with a replica of every group each, messages handed over without a
//! network. Prints CPU, memory and messages per node.
//!
//! `idle_groups [GROUPS] [SECONDS]`

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bellwether_kv::{KvDisk, MemDisk, Space, SpaceConfig, SpaceKind};
use bellwether_raft::{
    Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, GroupId, Inline, Peer, RaftNode, RaftOptions,
    ReplicaId, StateMachine, Transport, TransportError, is_heartbeat,
};
use bytes::Bytes;
use futures::future::BoxFuture;

const GROUPS_DEFAULT: u32 = 250;
const SECONDS_DEFAULT: u64 = 20;
const NODES: u64 = 3;
/// Of a kernel's clock, as /proc counts.
const TICKS_PER_SECOND: f64 = 100.0;

/// Keeps nothing.
struct Nothing;

impl StateMachine for Nothing {
    fn applied(&self) -> Applied {
        Applied::default()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        Ok(entries
            .iter()
            .filter(|entry| matches!(entry.payload, EntryPayload::Normal(_)))
            .map(|_| Bytes::new())
            .collect())
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        Ok(Applied::default())
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        Err(FatalError("nothing to copy".to_owned()))
    }

    fn discard(&self, _: Checkpoint) {}

    fn install(&self, _: Checkpoint) -> Result<(), FatalError> {
        Err(FatalError("nothing to copy".to_owned()))
    }
}

/// Hands messages over at once, and counts them.
#[derive(Default)]
struct Links {
    nodes: OnceLock<BTreeMap<u64, RaftNode>>,
    messages: AtomicU64,
    heartbeats: AtomicU64,
    bytes: AtomicU64,
}

impl Transport for Links {
    fn call(&self, to: Peer, message: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.heartbeats.fetch_add(is_heartbeat(&message).into(), Ordering::Relaxed);
        self.bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        let handled = self.nodes.get().and_then(|nodes| nodes.get(&to.node)).map(|node| {
            // Queued now, answered later.
            node.handle(to.group, to.replica, message)
        });
        Box::pin(async move {
            let answer = handled.ok_or_else(|| TransportError::Unreachable("not started".to_owned()))?.await;
            answer.map_err(|error| TransportError::Unreachable(error.to_string()))
        })
    }

    fn send_checkpoint(&self, _: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }
}

/// Seconds of CPU that this process has used.
fn cpu_seconds() -> std::io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

fn resident_kib() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let groups: u32 = arguments.next().map_or(Ok(GROUPS_DEFAULT), |argument| argument.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(SECONDS_DEFAULT), |argument| argument.parse())?;
    let links = Arc::new(Links::default());
    let mut nodes = BTreeMap::new();
    for id in 1..=NODES {
        let engine = MemDisk::new().open("log", &[SpaceConfig { name: "log", kind: SpaceKind::Log }])?;
        let options = RaftOptions::new(prometheus::Registry::new(), Arc::new(|reason| panic!("{reason}")));
        nodes.insert(id, RaftNode::open(engine, Space(0), options, Arc::new(Inline), id)?);
    }
    links.nodes.set(nodes.clone()).map_err(|_| "set once")?;
    let before = resident_kib()?;
    let mut replicas = Vec::new();
    for group in 0..groups {
        for (id, node) in &nodes {
            let members = (1..=NODES).map(|id| (ReplicaId(id), id)).collect();
            let transport = links.clone();
            replicas
                .push(node.found_group(GroupId(group), ReplicaId(*id), members, Arc::new(Nothing), transport).await?);
        }
    }
    for replica in &replicas {
        replica.ready().await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let led = |id: &u64| nodes[id].groups().iter().filter(|group| group.state().is_leader).count();
    println!("{groups} groups on {NODES} nodes, led: {:?}", nodes.keys().map(led).collect::<Vec<_>>());
    println!("memory per replica: {} KiB", (resident_kib()? - before) / replicas.len().max(1) as u64);
    let counts = || [&links.messages, &links.heartbeats, &links.bytes].map(|count| count.load(Ordering::Relaxed));
    let (cpu, sent) = (cpu_seconds()?, counts());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let per_node = |amount: f64| amount / seconds as f64 / NODES as f64;
    println!("CPU per node: {:.3} cores", per_node(cpu_seconds()? - cpu));
    for (name, (now, before)) in ["messages", "of them heartbeats", "bytes"].iter().zip(counts().into_iter().zip(sent))
    {
        println!("{name} per node and second: {:.0}", per_node((now - before) as f64));
    }
    Ok(())
}
