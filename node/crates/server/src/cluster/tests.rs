//! Tests of whole nodes that become one cluster over a network in memory.

mod alert_groups;
mod clocks;
mod critical_rules;
mod damage;
mod disks;
mod meta_majority;
mod moves;
mod notifications;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::MemDisk;
use bellwether_model::{Labels, Sample, ShardGroupId, Tenant};
use bellwether_placement::NodeState;
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::PeerList;
use crate::env::{Program, Seed};
use crate::meta::settings::SettingKey;
use crate::meta::tokens::TokenText;
use crate::meta::{MetaCommand, Refusal};
use crate::peers::testing::TestNet;
use crate::testing::{TestClock, TestVolume, env};
use crate::tls::testing::TestFiles;
use crate::write::{WriteError, WriteOutcome};
use crate::{Server, StartError};

/// Everything here takes less, in the test's own time.
pub const LONG: Duration = Duration::from_secs(120);
/// Names that lie in both groups.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

pub struct Machine {
    disk: MemDisk,
    clock: Arc<TestClock>,
    volume: Arc<TestVolume>,
    pub config: Config,
    seed: u64,
    files: TestFiles,
    pub program: Program,
}

/// A machine with its own addresses.
pub fn machine(at: u16, join: &[u16]) -> Machine {
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut config = Config { shard_groups: 2, http: address(100 + at), grpc: address(200 + at), ..Config::default() };
    config.join = PeerList(join.iter().map(|at| address(200 + at).to_string()).collect());
    config.cluster.zone = format!("zone {at}");
    config.cluster.join_timeout = Duration::from_secs(30);
    config.self_collect.enabled = false;
    Machine::new(config, at.into(), TestFiles::default())
}

impl Machine {
    pub fn new(config: Config, seed: u64, files: TestFiles) -> Machine {
        Machine {
            disk: MemDisk::new(),
            clock: Arc::default(),
            volume: Arc::default(),
            config,
            seed,
            files,
            program: Program::THIS,
        }
    }

    pub async fn start(&mut self, net: &TestNet) -> Result<Server, StartError> {
        self.seed += 1000;
        let env = env(self.disk.clone(), self.clock.clone(), Arc::new(net.clone()));
        let files = Arc::new(self.files.clone());
        let env = Env { seed: Seed(self.seed), volume: self.volume.clone(), files, program: self.program, ..env };
        Server::start(self.config.clone(), env).await
    }
}

pub async fn settle(servers: &[&Server], voters: usize) {
    let settled = async {
        while !servers.iter().all(|server| {
            let group = server.meta().group().state();
            *server.meta().now() == *servers[0].meta().now() && group.voters.len() == voters && !group.is_joint
        }) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, settled).await.expect("the nodes agree");
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|source| format!(": {}", chain(source))).unwrap_or_default();
    format!("{error}{cause}")
}

#[tokio::test(start_paused = true)]
async fn three_nodes_join_forward_and_start_again() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[]), machine(2, &[1]), machine(3, &[2, 1])];
    let mut servers = Vec::new();
    for machine in &mut machines {
        servers.push(machine.start(&net).await.unwrap());
    }
    settle(&servers.iter().collect::<Vec<_>>(), 3).await;
    let state = servers[2].meta().now();
    let zones: Vec<&str> = state.active_nodes().map(|(_, node)| &*node.facts.zone).collect();
    assert_eq!(zones, ["zone 1", "zone 2", "zone 3"]);
    assert_eq!(state.nodes[&NodeId(3)].facts.grpc, "127.0.0.1:203");
    let set = |value| MetaCommand::SetSetting { key: SettingKey::Copies, value };
    servers[2].meta().propose(set(3)).await.unwrap();
    assert_eq!(servers[2].meta().now().settings.get(SettingKey::Copies), 3);

    let cluster = state.cluster;
    for server in servers.drain(..) {
        server.shutdown().await.unwrap();
    }
    for machine in machines.iter_mut().rev() {
        servers.push(machine.start(&net).await.unwrap());
    }
    assert_eq!(servers[0].meta().now().settings.get(SettingKey::Copies), 3, "known before there is a leader");
    servers[1].meta().propose(set(4)).await.unwrap();
    settle(&servers.iter().collect::<Vec<_>>(), 3).await;
    let identity = servers[0].meta().identity();
    assert_eq!((identity.cluster, identity.node), (cluster, 3));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_wants_a_token_takes_it_once() {
    let net = TestNet::default();
    let founder = machine(1, &[]).start(&net).await.unwrap();
    let token = TokenText::new(1, 2);
    founder.meta().propose(MetaCommand::SetSetting { key: SettingKey::JoinNeedsToken, value: 1 }).await.unwrap();
    let create = MetaCommand::CreateToken {
        id: 1,
        kind: crate::meta::state::TokenKind::Join,
        secret_hash: token.proof().secret_hash,
        expires_ms: i64::MAX,
        uses: 1,
    };
    founder.meta().propose(create).await.unwrap();
    let error = machine(2, &[1]).start(&net).await.err().unwrap();
    assert!(chain(&error).contains("takes new nodes with a token only"), "{}", chain(&error));
    let mut second = machine(2, &[1]);
    second.config.cluster.join_token = crate::config::Secret(token.print());
    let joined = second.start(&net).await.unwrap();
    assert_eq!(joined.meta().node(), NodeId(2));
    let mut third = machine(3, &[1]);
    third.config.cluster.join_token = crate::config::Secret(token.print());
    let error = third.start(&net).await.err().unwrap();
    assert!(chain(&error).contains("the token was used already, as often as it can be (1)"), "{}", chain(&error));
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_is_not_heard_and_does_not_start_again() {
    let net = TestNet::default();
    let (mut first, mut second) = (machine(1, &[]), machine(2, &[1]));
    let founder = first.start(&net).await.unwrap();
    let removed = second.start(&net).await.unwrap();
    settle(&[&founder, &removed], 1).await;
    let node = removed.meta().node();
    let remove = MetaCommand::SetNodeState { node, state: NodeState::Removed, force: false };
    founder.meta().propose(remove).await.unwrap();
    let mut state = removed.meta().state();
    timeout(LONG, state.wait_for(|state| state.is_removed(node))).await.unwrap().unwrap();
    let event = crate::meta::EventKind::Trouble;
    let said = removed.meta().propose(MetaCommand::RecordEvent { kind: event, text: "x".to_owned() }).await;
    assert!(said.is_err(), "{said:?}");
    assert_eq!(timeout(LONG, removed.removed()).await.unwrap(), Refusal::NodeRemoved(node));
    removed.shutdown().await.unwrap();
    let error = second.start(&net).await.err().unwrap();
    assert!(chain(&error).contains("node 2 was removed from the cluster"), "{}", chain(&error));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_when_it_was_removed_hears_of_it() {
    let net = TestNet::default();
    let (mut first, mut second) = (machine(1, &[]), machine(2, &[1]));
    let founder = first.start(&net).await.unwrap();
    let away = second.start(&net).await.unwrap();
    settle(&[&founder, &away], 1).await;
    let node = away.meta().node();
    away.shutdown().await.unwrap();
    let remove = MetaCommand::SetNodeState { node, state: NodeState::Removed, force: true };
    founder.meta().propose(remove).await.unwrap();
    let back = second.start(&net).await.unwrap();
    assert!(!back.meta().now().is_removed(node));
    assert_eq!(timeout(LONG, back.removed()).await.unwrap(), Refusal::NodeRemoved(node));
    back.shutdown().await.unwrap();
    founder.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_to_join_is_an_error_that_names_the_address() {
    let mut lonely = machine(2, &[1]);
    let error = lonely.start(&TestNet::default()).await.err().unwrap();
    assert!(matches!(error, StartError::Join(_)), "{error}");
    assert!(chain(&error).contains("the last one tried, 127.0.0.1:201"), "{}", chain(&error));
}

/// Waits until a group is on so many nodes of the map, and so many of them vote, and its members say the same.
async fn spread(server: &Server, group: u32, copies: usize, voters: usize) {
    let is_spread = |server: &Server| {
        let state = server.meta().now();
        let placed = state.placement.group(ShardGroupId(group)).unwrap();
        let is_there = placed.replicas.len() == copies && placed.voters().count() == voters;
        let raft = server.shards().local(ShardGroupId(group)).map(|local| local.raft.state());
        is_there && raft.is_ok_and(|raft| !raft.is_joint && raft.voters.len() == voters)
    };
    let spread = async {
        while !is_spread(server) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let state = || format!("{:?}", server.meta().now().placement.group(ShardGroupId(group)));
    timeout(LONG, spread).await.unwrap_or_else(|_| panic!("group {group} is not spread: {}", state()));
}

async fn try_write(server: &Server, timestamp: i64) -> Result<WriteOutcome, WriteError> {
    let sample = Sample { timestamp, value: 1.0 };
    let samples = NAMES.iter().map(|name| (Labels::of(&[("__name__", *name)]), sample)).collect();
    server.write_path().write_samples(&Tenant::default_tenant(), samples, Vec::new()).await
}

async fn write(server: &Server, timestamp: i64) {
    assert_eq!(try_write(server, timestamp).await.unwrap().samples, NAMES.len() as u64);
}

/// Three nodes, on each of which is a voter of both groups.
async fn three(net: &TestNet) -> ([Machine; 3], Vec<Server>) {
    let mut machines = [machine(1, &[]), machine(2, &[1]), machine(3, &[1])];
    let mut servers = Vec::new();
    for machine in &mut machines {
        servers.push(machine.start(net).await.unwrap());
    }
    for group in [0, 1] {
        for server in &servers {
            spread(server, group, 3, 3).await;
        }
    }
    settle(&servers.iter().collect::<Vec<_>>(), 3).await;
    (machines, servers)
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// The shard groups that a node leads.
fn groups_led(server: &Server) -> usize {
    server.shards().serving().iter().filter(|group| group.raft.state().is_leader).count()
}

/// The groups that a node leads, the meta group among them.
fn led(server: &Server) -> usize {
    groups_led(server) + usize::from(server.meta().is_leader())
}

/// Waits until a node leads nothing.
async fn leads_nothing(server: &Server) {
    until(&format!("node {} leads nothing", server.meta().node()), || led(server) == 0).await;
}
