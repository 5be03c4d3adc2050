//! Tests of meta groups of several nodes in memory: what they join, forward, survive and refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_kv::{Faults, KvDisk, MemDisk, Trigger};
use bellwether_raft::{Checkpoint, Peer, TransportError};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::time::{Instant, timeout};

use super::admit::AdmitError;
use super::founding::{EnterError, enter};
use super::joining::{Doors, JoinAsk, JoinError, JoinGrant, JoinPlan};
use super::machine::write_told;
use super::propose::{HereError, Unanswered};
use super::settings::SettingKey;
use super::*;
use crate::common_group::propose::RemoteError;
use crate::replication;
use crate::testing::{NoNet, TestClock, env};

/// Everything here takes less, in the test's own time.
const LONG: Duration = Duration::from_secs(120);
/// Bytes of a copy's file that travel at a time.
const PIECE_BYTES: usize = 1 << 10;

/// Nodes that reach each other through memory. Clones are the same.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Nodes>>);

#[derive(Default)]
struct Nodes {
    running: BTreeMap<u64, Running>,
    cut_off: BTreeSet<u64>,
    starts: u64,
}

#[derive(Clone)]
struct Running {
    disk: MemDisk,
    raft: RaftNode,
    meta: Option<Meta>,
    address: String,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Enter(#[from] EnterError),
    #[error(transparent)]
    Start(#[from] MetaStartError),
}

fn facts(address: &str) -> NodeFacts {
    NodeFacts {
        grpc: address.to_owned(),
        http: format!("{address}0"),
        zone: String::new(),
        version: "test".to_owned(),
        lowest_format: 1,
        highest_format: 1,
        capacity_bytes: 1,
    }
}

impl World {
    async fn start(&self, disk: &MemDisk, address: &str, join: &[&str]) -> Result<Meta, Failed> {
        self.start_as(disk, facts(address), join).await
    }

    async fn start_as(&self, disk: &MemDisk, facts: NodeFacts, join: &[&str]) -> Result<Meta, Failed> {
        let seed = {
            let mut nodes = self.0.lock();
            nodes.starts += 1;
            Seed(nodes.starts)
        };
        let env = Env { seed, ..env(disk.clone(), Arc::new(TestClock::default()), Arc::new(NoNet)) };
        let addresses = join.iter().map(|address| (*address).to_owned()).collect();
        let plan = JoinPlan { addresses, token: None, patience: Some(Duration::from_secs(20)) };
        let identity = enter(&env, &facts, 3, &plan, self).await?;
        let store = MetaStore::open(identity, &env).await?;
        let raft = replication::open(&env, &Registry::new()).await.unwrap();
        let address = facts.grpc.clone();
        let running = Running { disk: disk.clone(), raft: raft.clone(), meta: None, address };
        self.0.lock().running.insert(identity.node, running);
        let way = Arc::new(Way { from: identity.node, world: self.clone() });
        let meta = Meta::start(store, facts, raft, way.clone(), way, &env).await?;
        self.0.lock().running.get_mut(&identity.node).unwrap().meta = Some(meta.clone());
        Ok(meta)
    }

    /// The founder at n1.localhost:1 and nodes at n2.localhost:1 and so on, all of which have the whole state, with three voters where there
    /// are three nodes.
    async fn cluster(&self, count: u64) -> (Vec<MemDisk>, Vec<Meta>) {
        let disks: Vec<MemDisk> = (0..count).map(|_| MemDisk::new()).collect();
        let mut metas = Vec::new();
        for (at, disk) in disks.iter().enumerate() {
            let join: &[&str] = if at == 0 { &[] } else { &["n1.localhost:1"] };
            metas.push(self.start(disk, &format!("n{}.localhost:1", at + 1), join).await.unwrap());
        }
        settle(&metas).await;
        (disks, metas)
    }

    /// Ends a node without a farewell.
    async fn kill(&self, meta: Meta) {
        let node = meta.identity().node;
        meta.0.tasks.lock().drain(..).for_each(|task| task.abort());
        drop(meta);
        let running = self.0.lock().running.remove(&node).unwrap();
        drop(running.meta);
        running.raft.shutdown().await;
        running.disk.crash();
    }

    fn node(&self, from: u64, to: u64) -> Option<Running> {
        let nodes = self.0.lock();
        let cut = nodes.cut_off.contains(&from) || nodes.cut_off.contains(&to);
        nodes.running.get(&to).filter(|_| !cut).cloned()
    }
}

/// Waits until all have the same state, and as many vote as should.
async fn settle(metas: &[Meta]) {
    let voters = if metas.len() < 3 { 1 } else { 3 };
    let settled = async {
        while !metas.iter().all(|meta| {
            let same = *meta.now() == *metas[0].now() && meta.0.machine.is_applied();
            let group = meta.group().state();
            same && group.voters.len() == voters && !group.is_joint && group.leader.is_some()
        }) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, settled).await.expect("the nodes agree");
}

/// A node's way to the others.
struct Way {
    from: u64,
    world: World,
}

impl Transport for Way {
    fn call(&self, to: Peer, message: Bytes, deadline: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let target = self.world.node(self.from, to.node);
        Box::pin(async move {
            let target = target.ok_or_else(|| TransportError::Unreachable("down".to_owned()))?;
            sleep(Duration::from_millis(1)).await;
            let answer = timeout(deadline, target.raft.handle(to.group, to.replica, message)).await;
            answer
                .map_err(|_| TransportError::Deadline)?
                .map_err(|error| TransportError::Unreachable(error.to_string()))
        })
    }

    fn send_checkpoint(
        &self,
        to: Peer,
        header: Bytes,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let source = self.world.0.lock().running.get(&self.from).cloned();
        let target = self.world.node(self.from, to.node);
        Box::pin(async move {
            let gone = || TransportError::Unreachable("down".to_owned());
            let (source, target) = (source.ok_or_else(gone)?, target.ok_or_else(gone)?);
            let path = checkpoint.directory.to_str().unwrap().to_owned();
            carry(&source.disk, &target.disk, &path);
            source.disk.remove(&path).unwrap();
            let arrived = Checkpoint { directory: "arrived".into(), ..checkpoint };
            let answer = target.raft.install(to.group, to.replica, header, arrived).await;
            answer.map_err(|error| TransportError::Unreachable(error.to_string()))
        })
    }
}

fn carry(source: &MemDisk, target: &MemDisk, path: &str) {
    target.remove("arrived").unwrap();
    let (export, mut import) = (source.export(path).unwrap(), target.import("arrived").unwrap());
    for file in export.files() {
        let mut offset = 0;
        loop {
            let piece = export.read(&file.name, offset, PIECE_BYTES).unwrap();
            import.append(&file.name, &piece).unwrap();
            offset += piece.len() as u64;
            if piece.is_empty() {
                break;
            }
        }
    }
    import.finish().unwrap();
}

impl Remote for Way {
    fn propose(
        &self,
        node: NodeId,
        _group: bellwether_raft::GroupId,
        request: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'_, Result<(Bytes, u64), RemoteError>> {
        Box::pin(async move {
            let meta = self.world.node(self.from, node.0).and_then(|running| running.meta);
            let meta = meta.ok_or_else(|| RemoteError::Transient("down".to_owned()))?;
            meta.propose_here(&request).await.map_err(|error| match error {
                HereError::Unreadable(error) => RemoteError::Refused(error.to_string()),
                HereError::Propose(bellwether_raft::ProposeError::NotLeader { hint }) => {
                    RemoteError::NotLeader { node: hint.map(|hint| NodeId(hint.node)), address: None }
                }
                other => RemoteError::Transient(other.to_string()),
            })
        })
    }
}

impl Doors for World {
    fn knock<'a>(
        &'a self,
        address: &'a str,
        ask: &'a JoinAsk,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<JoinGrant, RemoteError>> {
        Box::pin(async move {
            let found = self.0.lock().running.values().find(|node| node.address == address).cloned();
            let meta = found.and_then(|node| node.meta);
            let meta = meta.ok_or_else(|| RemoteError::Transient("connection refused".to_owned()))?;
            meta.admit(ask.clone()).await.map_err(|error| match error {
                AdmitError::NotLeader { node, address } => RemoteError::NotLeader { node, address },
                AdmitError::Unavailable(reason) => RemoteError::Transient(reason),
                AdmitError::Refused(reason) => RemoteError::Refused(reason),
            })
        })
    }
}

fn set_copies(value: u64) -> MetaCommand {
    MetaCommand::SetSetting { key: SettingKey::Copies, value }
}

fn copies(meta: &Meta) -> u64 {
    meta.now().settings.get(SettingKey::Copies)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_founded_by_one_and_joined_by_others() {
    let world = World::default();
    let (disks, metas) = world.cluster(3).await;
    let nodes: Vec<u64> = metas.iter().map(|meta| meta.node().0).collect();
    assert_eq!(nodes, [1, 2, 3]);
    for (meta, disk) in metas.iter().zip(&disks) {
        let state = meta.now();
        assert_eq!(state.active_nodes().count(), 3);
        assert_eq!(state.placement.groups().len(), 3);
        assert_eq!(meta.addresses().borrow()[&NodeId(2)], "n2.localhost:1");
        assert_eq!(disk.list(machine::META_PATH).unwrap(), ["state"], "copies do not stay");
        assert!(!disk.exists(joining::NONCE_FILE).unwrap());
    }
    let (_, leaders): (Vec<_>, BTreeSet<_>) = metas.iter().map(|meta| ((), meta.leader())).unzip();
    assert_eq!(leaders.len(), 1, "all know the leader");
}

#[tokio::test(start_paused = true)]
async fn two_nodes_have_one_voter_and_it_is_written_on_both() {
    let world = World::default();
    let (disks, metas) = world.cluster(2).await;
    assert_eq!(metas[1].group().state().learners.len(), 1);
    sleep(Duration::from_secs(1)).await;
    for meta in metas {
        world.kill(meta).await;
    }
    // Alone, the learner has nobody to ask and serves by what it knows.
    let meta = world.start(&disks[1], "n2.localhost:1", &[]).await.unwrap();
    assert_eq!(meta.now().active_nodes().count(), 2);
    assert!(meta.0.machine.is_applied());
}

#[tokio::test(start_paused = true)]
async fn any_node_takes_a_command_and_sees_it_done() {
    let world = World::default();
    let (_, metas) = world.cluster(3).await;
    for (at, meta) in metas.iter().enumerate() {
        assert_eq!(meta.propose(set_copies(at as u64)).await, Ok(Outcome::Done));
        assert_eq!(copies(meta), at as u64);
    }
    let refusal = metas[2].propose(set_copies(u64::MAX)).await.unwrap_err();
    assert_eq!(refusal.to_string(), "setting move.copies takes 0 to 1024, not 18446744073709551615");
}

#[tokio::test(start_paused = true)]
async fn a_follower_sends_a_joining_node_to_the_leader() {
    let world = World::default();
    let (_, metas) = world.cluster(2).await;
    assert!(!metas[1].is_leader());
    let third = world.start(&MemDisk::new(), "n3.localhost:1", &["nowhere:1", "n2.localhost:1"]).await.unwrap();
    assert_eq!(third.node(), NodeId(3));
}

#[tokio::test(start_paused = true)]
async fn commands_go_on_when_the_leader_dies_and_it_comes_back() {
    let world = World::default();
    let (disks, mut metas) = world.cluster(3).await;
    let at = metas.iter().position(Meta::is_leader).unwrap();
    let address = metas[at].now().nodes[&metas[at].node()].facts.grpc.clone();
    world.kill(metas.remove(at)).await;
    let started = Instant::now();
    for (value, meta) in metas.iter().enumerate() {
        meta.propose(set_copies(20 + value as u64)).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let back = world.start(&disks[at], &address, &["nowhere:1"]).await.unwrap();
    let mut state = back.state();
    timeout(LONG, state.wait_for(|state| state.settings.get(SettingKey::Copies) == 21)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_could_not_read_its_log_runs_again_once_it_can() {
    let world = World::default();
    let (disks, mut metas) = world.cluster(3).await;
    let at = metas.iter().position(|meta| !meta.is_leader()).unwrap();
    let address = metas[at].now().nodes[&metas[at].node()].facts.grpc.clone();
    metas[at].propose(set_copies(20)).await.unwrap();
    // Its state is not written yet: it applies the end of its log again, as soon as it hears how much of it counts.
    let node = metas[at].node().0;
    world.kill(metas.remove(at)).await;
    world.0.lock().cut_off.insert(node);
    let back = world.start(&disks[at], &address, &[]).await.unwrap();
    disks[at].set_faults(Faults { read: Trigger::Always, ..Faults::default() });
    world.0.lock().cut_off.clear();
    let stopped = async {
        while back.group().state().failure.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, stopped).await.expect("the replica stops");
    metas[0].propose(set_copies(21)).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_ne!(copies(&back), 21);
    disks[at].set_faults(Faults::default());
    let mut state = back.state();
    timeout(LONG, state.wait_for(|state| state.settings.get(SettingKey::Copies) == 21)).await.unwrap().unwrap();
    assert_eq!(back.group().state().failure, None);
    metas.push(back);
    settle(&metas).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_answers_that_it_cannot_and_recovers() {
    let world = World::default();
    let (_, metas) = world.cluster(3).await;
    let cut = metas.iter().find(|meta| meta.is_leader()).unwrap();
    world.0.lock().cut_off.insert(cut.node().0);
    let error = cut.propose(set_copies(40)).await.unwrap_err();
    assert!(matches!(error, MetaError::Unanswered(Unanswered::Unavailable { .. })), "{error}");
    let other = metas.iter().find(|meta| meta.node() != cut.node()).unwrap();
    other.propose(set_copies(41)).await.unwrap();
    world.0.lock().cut_off.clear();
    cut.propose(set_copies(42)).await.unwrap();
    settle(&metas).await;
    assert_eq!(copies(other), 42);
}

#[tokio::test(start_paused = true)]
async fn all_nodes_start_again_with_what_they_knew() {
    let world = World::default();
    let (disks, metas) = world.cluster(3).await;
    metas[0].propose(set_copies(5)).await.unwrap();
    settle(&metas).await;
    let before = metas[0].now();
    for meta in metas {
        world.kill(meta).await;
    }
    let mut metas = Vec::new();
    for (at, disk) in disks.iter().enumerate() {
        metas.push(world.start(disk, &format!("n{}.localhost:1", at + 1), &[]).await.unwrap());
    }
    metas[2].propose(set_copies(6)).await.unwrap();
    settle(&metas).await;
    let after = metas[0].now();
    assert_eq!((after.cluster, &after.nodes, &after.placement), (before.cluster, &before.nodes, &before.placement));
    assert_eq!(copies(&metas[0]), 6);
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_serves_at_once_after_a_crash_at_any_moment() {
    let world = World::default();
    let disk = MemDisk::new();
    let first = world.start(&disk, "n1.localhost:1", &[]).await.unwrap();
    let cluster = first.now().cluster;
    world.kill(first).await;
    let again = world.start(&disk, "n1.localhost:1", &[]).await.unwrap();
    assert_eq!((again.now().cluster, again.now().nodes.len()), (cluster, 1));
    again.propose(set_copies(1)).await.unwrap();
    world.kill(again).await;
    let again = world.start(&disk, "n1.localhost:1", &[]).await.unwrap();
    assert_eq!(copies(&again), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_moved_says_so_by_itself() {
    let world = World::default();
    let (disks, mut metas) = world.cluster(3).await;
    world.kill(metas.remove(1)).await;
    metas.push(world.start(&disks[1], "n2.localhost:999", &[]).await.unwrap());
    let mut addresses = metas[0].addresses();
    timeout(LONG, addresses.wait_for(|known| known[&NodeId(2)] == "n2.localhost:999")).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_join_that_is_repeated_gives_one_node_and_an_empty_directory_another() {
    let world = World::default();
    let (_, metas) = world.cluster(2).await;
    let ask = JoinAsk { nonce: 77, facts: facts("n3.localhost:1"), rules: rules::fingerprint(), token: None };
    let first = metas[0].admit(ask.clone()).await.unwrap();
    assert_eq!(metas[0].admit(ask.clone()).await.unwrap().node, first.node);
    let other = metas[0].admit(JoinAsk { nonce: 78, ..ask }).await.unwrap();
    assert_eq!((first.node, other.node), (NodeId(3), NodeId(4)));
}

#[tokio::test(start_paused = true)]
async fn a_join_cut_short_goes_on_as_the_same_node() {
    let world = World::default();
    let (_, metas) = world.cluster(1).await;
    let disk = MemDisk::new();
    let joined = world.start(&disk, "n2.localhost:1", &["n1.localhost:1"]).await.unwrap();
    assert_eq!(joined.node(), NodeId(2));
    let nonce = metas[0].now().nodes[&NodeId(2)].nonce;
    world.kill(joined).await;
    // As if it had ended before it wrote who it is.
    let disk = MemDisk::new();
    disk.write_small_file(joining::NONCE_FILE, format!("{nonce:032x}").as_bytes()).unwrap();
    let joined = world.start(&disk, "n2.localhost:1", &["n1.localhost:1"]).await.unwrap();
    assert_eq!(joined.node(), NodeId(2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_on_a_full_disk_waits_for_room() {
    let world = World::default();
    let (_, _metas) = world.cluster(1).await;
    // First for nothing at all, then for the nonce alone.
    for capacity in [0, 64] {
        let disk = MemDisk::new();
        disk.set_faults(Faults { capacity_bytes: Some(capacity), ..Faults::default() });
        let (full, address) = (disk.clone(), format!("n{capacity}.localhost:1"));
        let others = world.clone();
        let joining = tokio::spawn(async move { others.start(&full, &address, &["n1.localhost:1"]).await.map(drop) });
        sleep(Duration::from_secs(10)).await;
        assert!(!joining.is_finished());
        disk.set_faults(Faults::default());
        timeout(LONG, joining).await.expect("it goes on").unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_why() {
    let world = World::default();
    let (_, metas) = world.cluster(1).await;
    let newer = NodeFacts { lowest_format: 8, highest_format: 9, ..facts("n2.localhost:1") };
    let error = world.start_as(&MemDisk::new(), newer, &["n1.localhost:1"]).await.err().unwrap().to_string();
    assert!(
        error.starts_with("the cluster at n1.localhost:1 refuses this node: the cluster uses format version 1"),
        "{error}"
    );
    metas[0].propose(MetaCommand::SetSetting { key: SettingKey::NodesMax, value: 1 }).await.unwrap();
    let error = world.start(&MemDisk::new(), "n2.localhost:1", &["n1.localhost:1"]).await.err().unwrap().to_string();
    assert!(error.contains("its limit: raise the setting nodes.max"), "{error}");
    let error = world.start(&MemDisk::new(), "n2.localhost:1", &["nowhere:1"]).await.err().unwrap();
    assert!(
        matches!(&error, Failed::Enter(EnterError::Join(JoinError::Deadline { address, .. })) if address == "nowhere:1"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_leaves_the_group_and_does_not_start_again() {
    let world = World::default();
    let (disks, mut metas) = world.cluster(4).await;
    let gone = metas.remove(3);
    let node = gone.node();
    let remove = MetaCommand::SetNodeState { node, state: NodeState::Removed, force: false };
    metas[0].propose(remove).await.unwrap();
    let mut state = gone.state();
    timeout(LONG, state.wait_for(|state| state.is_removed(node))).await.unwrap().unwrap();
    let group = metas[0].group().clone();
    let left = timeout(LONG, group.wait_until(|group| group.voters.len() + group.learners.len() == 3)).await;
    assert_eq!(left, Ok(true));
    sleep(Duration::from_secs(1)).await;
    world.kill(gone).await;
    let error = world.start(&disks[3], "n4.localhost:1", &[]).await.err().unwrap().to_string();
    assert!(error.starts_with("node 4 was removed from the cluster: to use the machine again"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_directory_put_together_from_two_is_refused() {
    let world = World::default();
    let (disks, metas) = world.cluster(1).await;
    let other = World::default();
    let (_, others) = other.cluster(1).await;
    sleep(Duration::from_secs(1)).await;
    others[0].identity().write(&disks[0]).unwrap();
    for meta in metas {
        world.kill(meta).await;
    }
    // The seeds of both worlds are the same, and so are their clusters' ids: only the number differs.
    let mixed = NodeIdentity { cluster: 5, ..others[0].identity() };
    mixed.write(&disks[0]).unwrap();
    let error = world.start(&disks[0], "n1.localhost:1", &[]).await.err().unwrap();
    assert!(matches!(error, Failed::Start(MetaStartError::Mixed { cluster: 5, node: 1 })), "{error}");
}

/// A joining node gets a copy that is older than what it was told: after a loss of power that is what it has.
#[tokio::test(start_paused = true)]
async fn a_state_of_before_a_node_joined_is_no_damage() {
    let world = World::default();
    let (mut disks, mut metas) = world.cluster(1).await;
    let older = metas[0].now();
    disks.push(MemDisk::new());
    let joined = world.start(&disks[1], "n2.localhost:1", &["n1.localhost:1"]).await.unwrap();
    world.kill(joined).await;
    write_told(&disks[1], &older).unwrap();
    let joined = world.start(&disks[1], "n2.localhost:1", &[]).await.unwrap();
    assert!(!joined.now().nodes.contains_key(&joined.node()));
    metas.push(joined);
    settle(&metas).await;
    assert!(metas[1].now().nodes.contains_key(&metas[1].node()));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_in_one_term_is_not_told_in_another() {
    let (_, metas) = World::default().cluster(3).await;
    let (leaders, others): (Vec<&Meta>, Vec<&Meta>) = metas.iter().partition(|meta| meta.is_leader());
    let term = leaders[0].group().state().term;
    let event = |text: &str| MetaCommand::RecordEvent { kind: EventKind::Trouble, text: text.to_owned() };
    leaders[0].propose_in_term(term, event("now")).await.unwrap();
    for (meta, term) in [(leaders[0], term - 1), (leaders[0], term + 1), (others[0], term)] {
        let error = meta.propose_in_term(term, event("late")).await.unwrap_err();
        assert!(error.to_string().contains(&format!("does not lead it in term {term} any more")), "{error}");
    }
    let told = |text: &str| leaders[0].now().events.iter().any(|event| event.text == text);
    assert!(told("now") && !told("late"));
}
