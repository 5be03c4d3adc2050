//! Three nodes in one process over a network that loses, delays and cuts off: one log, whatever happens.

mod away;
mod chaos;
mod elections;
mod lagging;
mod leadership;
mod membership;
mod quorum;
mod reads;
mod removal;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{MemDisk, Unsynced};
use bytes::Bytes;
use tokio::runtime::{Builder, RngSeed};
use tokio::time::{sleep, timeout};

use super::*;
use crate::testing::{Ledger, MemoryNetwork, open_with, options, payload};
use crate::{Blocking, Inline, Members};

const GROUP: GroupId = GroupId(1);

/// Members that live on the node of their own number.
fn members<const V: usize, const L: usize>(voters: [u64; V], learners: [u64; L]) -> Members {
    let map = |replicas: &[u64]| replicas.iter().map(|replica| (ReplicaId(*replica), *replica)).collect();
    Members { voters: map(&voters), learners: map(&learners) }
}

struct Host {
    disk: MemDisk,
    ledger: Arc<Ledger>,
    node: RaftNode,
    group: RaftGroup,
}

/// Nodes 1, 2, .., each with the replica of its own number.
struct Cluster {
    network: MemoryNetwork,
    hosts: BTreeMap<NodeId, Host>,
    founders: BTreeMap<ReplicaId, NodeId>,
    seed: u64,
    /// Payloads acknowledged so far.
    acknowledged: Vec<Bytes>,
    next: u64,
}

impl Cluster {
    async fn found(size: u64, seed: u64) -> Self {
        let founders = (1..=size).map(|id| (ReplicaId(id), id)).collect();
        let network = MemoryNetwork::new(seed);
        let mut cluster = Self { network, hosts: BTreeMap::new(), founders, seed, acknowledged: Vec::new(), next: 0 };
        for id in 1..=size {
            cluster.start(id, MemDisk::new(), Arc::default()).await;
        }
        cluster
    }

    async fn start(&mut self, id: NodeId, disk: MemDisk, ledger: Arc<Ledger>) {
        self.start_on(Arc::new(Inline), id, disk, ledger).await;
    }

    async fn start_on(&mut self, executor: Arc<dyn Blocking>, id: NodeId, disk: MemDisk, ledger: Arc<Ledger>) {
        let mut options = options();
        options.lagging_log_bytes = 20_000;
        options.node_lagging_log_bytes = 40_000;
        let node = open_with(&disk, options, executor, self.seed ^ id);
        self.network.attach(id, &node);
        let transport = self.network.of(id);
        let group = if self.founders.contains_key(&ReplicaId(id)) {
            node.found_group(GROUP, ReplicaId(id), self.founders.clone(), ledger.clone(), transport).await
        } else {
            node.start_group(GROUP, ReplicaId(id), ledger.clone(), transport).await
        };
        let group = group.unwrap();
        self.hosts.insert(id, Host { disk, ledger, node, group });
    }

    /// Takes a node's power away and gives it back after `pause`.
    async fn crash(&mut self, id: NodeId, pause: Duration) {
        let (disk, ledger) = self.kill(id).await;
        sleep(pause).await;
        self.start(id, disk, ledger).await;
    }

    /// Takes a node's power away, and returns what it can be started with again.
    async fn kill(&mut self, id: NodeId) -> (MemDisk, Arc<Ledger>) {
        let Host { disk, ledger, node, group } = self.hosts.remove(&id).unwrap();
        self.network.detach(id);
        disk.power_loss(Unsynced::Lost);
        // Ends its tasks; nothing that they do reaches the disk or the others.
        group.shutdown().await;
        drop((group, node));
        (disk, ledger.reopen())
    }

    /// A node that leads and that a quorum follows.
    async fn leader(&self) -> NodeId {
        let found = timeout(Duration::from_secs(60), async {
            loop {
                for (&id, host) in &self.hosts {
                    if host.group.state().is_leader && host.group.read_barrier().await.is_ok() {
                        return id;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        found.await.expect("a quorum elects a leader")
    }

    /// Proposes through whoever leads until it is acknowledged.
    async fn propose(&mut self) {
        let payload = payload(self.next, 200);
        self.next += 1;
        let proposed = timeout(Duration::from_secs(120), async {
            loop {
                let leader = self.leader().await;
                let proposing = self.hosts[&leader].group.propose(payload.clone());
                if let Ok(Ok(_)) = timeout(Duration::from_secs(3), proposing).await {
                    return;
                }
            }
        });
        proposed.await.expect("a quorum takes proposals");
        self.acknowledged.push(payload);
    }

    fn group(&self, id: NodeId) -> RaftGroup {
        self.hosts[&id].group.clone()
    }

    /// Some node that does not lead.
    async fn follower(&self) -> NodeId {
        let leader = self.leader().await;
        *self.hosts.keys().find(|id| **id != leader).unwrap()
    }

    /// Changes the members from what the leader knows, until it is done.
    async fn change(&self, wanted: Members) {
        let mut last = String::new();
        let changed = timeout(Duration::from_secs(60), async {
            loop {
                let leader = self.group(self.leader().await);
                let expected = leader.state().membership.unwrap();
                match leader.change_members(expected, wanted.clone()).await {
                    Ok(_) => return,
                    Err(error) => last = error.to_string(),
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        if changed.await.is_err() {
            let states: Vec<_> = self.hosts.values().map(|host| host.group.state()).collect();
            panic!("a quorum takes changes: {last}\n{states:#?}");
        }
    }

    async fn propose_many(&mut self, count: usize) {
        for _ in 0..count {
            self.propose().await;
        }
    }

    /// Waits until all have the same entries, and checks that these are all that were acknowledged.
    async fn converge(&self) {
        let converged = timeout(Duration::from_secs(120), async {
            loop {
                let applied: BTreeSet<_> = self.hosts.values().map(|host| host.group.state().applied).collect();
                let last: BTreeSet<_> = self.hosts.values().map(|host| host.group.state().last).collect();
                if applied.len() == 1
                    && last.len() == 1
                    && applied.first().unwrap().map(|at| at.index) == *last.first().unwrap()
                {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        if converged.await.is_err() {
            panic!("{:#?}", self.hosts.values().map(|host| host.group.state()).collect::<Vec<_>>());
        }
        let mut ledgers = self.hosts.values().map(|host| host.ledger.payloads());
        let first = ledgers.next().unwrap();
        assert!(ledgers.all(|other| other == first), "replicas differ");
        // A proposal that was tried again may be there twice; what was acknowledged is there.
        let present: BTreeSet<_> = first.iter().collect();
        let missing = self.acknowledged.iter().filter(|payload| !present.contains(payload)).count();
        assert_eq!(missing, 0, "acknowledged and lost");
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_elect_and_replicate() {
    let mut cluster = Cluster::found(3, 1).await;
    cluster.propose_many(50).await;
    cluster.converge().await;
    assert_eq!(cluster.hosts[&1].ledger.payloads(), cluster.acknowledged);
    let leader = cluster.leader().await;
    for (&id, host) in &cluster.hosts {
        let state = host.group.state();
        assert_eq!(state.leader.unwrap().node, leader);
        assert_eq!(state.voters.len(), 3);
        if id != leader {
            let error = host.group.propose(payload(0, 10)).await.unwrap_err();
            assert!(
                matches!(error, crate::ProposeError::NotLeader { hint: Some(hint) } if hint.node == leader),
                "{error}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_is_replaced_and_follows_when_it_is_back() {
    let mut cluster = Cluster::found(3, 2).await;
    cluster.propose_many(10).await;
    let old = cluster.leader().await;
    cluster.network.cut_off(old);
    // It takes this one, and can never commit it.
    let stranded = cluster.hosts[&old].group.clone();
    let stranded = tokio::spawn(async move { stranded.propose(payload(999, 200)).await });
    let old_host = cluster.hosts.remove(&old).unwrap();
    cluster.propose_many(20).await;
    assert_ne!(cluster.leader().await, old);
    cluster.hosts.insert(old, old_host);
    cluster.network.heal();
    let fate = stranded.await.unwrap().unwrap_err();
    assert!(
        matches!(
            fate,
            crate::ProposeError::Unknown { .. }
                | crate::ProposeError::NotLeader { .. }
                | crate::ProposeError::NoQuorum { in_flight: true, .. }
        ),
        "{fate}"
    );
    cluster.propose_many(5).await;
    cluster.converge().await;
    assert!(!cluster.hosts[&old].ledger.payloads().contains(&payload(999, 200)), "the conflicting entry is gone");
}

#[tokio::test(start_paused = true)]
async fn crashes_of_leaders_lose_nothing_acknowledged() {
    let mut cluster = Cluster::found(3, 3).await;
    for round in 0..6 {
        cluster.propose_many(10).await;
        let leader = cluster.leader().await;
        if round % 2 == 0 {
            cluster.hosts[&leader].group.flush().await.unwrap();
        }
        cluster.crash(leader, Duration::from_secs(2)).await;
    }
    cluster.propose_many(10).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn lost_messages_cost_time_only() {
    let mut cluster = Cluster::found(3, 4).await;
    cluster.network.lose(100);
    cluster.propose_many(40).await;
    cluster.network.heal();
    cluster.converge().await;
}

/// Groups 1 to `groups`, each with a replica on each node.
async fn found_many(cluster: &Cluster, groups: u32) -> Vec<GroupId> {
    for group in 2..=groups {
        for (&id, host) in &cluster.hosts {
            let (founders, transport) = (cluster.founders.clone(), cluster.network.of(id));
            let machine = Arc::<Ledger>::default();
            host.node.found_group(GroupId(group), ReplicaId(id), founders, machine, transport).await.unwrap();
        }
    }
    (1..=groups).map(GroupId).collect()
}

/// Proposes many at once through the leader, and returns how many messages that took.
async fn propose_at_once(cluster: &mut Cluster, count: u64, bytes: usize) -> u64 {
    let leader = cluster.group(cluster.leader().await);
    let (_, before) = cluster.network.trace();
    let payloads: Vec<Bytes> = (cluster.next..cluster.next + count).map(|number| payload(number, bytes)).collect();
    cluster.next += count;
    // One after the other, so that each is an append of its own, but none waits for the one before.
    let mut proposals = Vec::new();
    for payload in &payloads {
        let (leader, payload) = (leader.clone(), payload.clone());
        proposals.push(tokio::spawn(async move { leader.propose(payload).await.map(drop) }));
        sleep(Duration::from_millis(1)).await;
    }
    for proposal in proposals {
        proposal.await.unwrap().unwrap();
    }
    cluster.acknowledged.extend(payloads);
    cluster.network.trace().1 - before
}

#[tokio::test(start_paused = true)]
async fn appends_do_not_wait_for_each_other() {
    let mut cluster = Cluster::found(3, 15).await;
    cluster.propose_many(3).await;
    let began = tokio::time::Instant::now();
    propose_at_once(&mut cluster, 300, 200).await;
    // A message takes up to three milliseconds either way; one exchange after the other would take 1.5 s.
    assert!(began.elapsed() < Duration::from_millis(330), "{:?}", began.elapsed());
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_on_the_way_to_a_replica_is_bounded() {
    // By count, and where entries are large by bytes.
    for (bytes, expected) in [(300_000, 1_200_000..1_300_000), (3_000_000, 6_000_000..6_100_000)] {
        let mut cluster = Cluster::found(3, 16).await;
        cluster.propose_many(3).await;
        let leader = cluster.leader().await;
        let taken = cluster.network.hold(leader);
        let group = cluster.group(leader);
        for number in 0..10 {
            let group = group.clone();
            tokio::spawn(async move { group.propose(payload(number, bytes)).await });
            sleep(Duration::from_millis(2)).await;
        }
        sleep(Duration::from_millis(100)).await;
        let taken = taken.lock().clone();
        assert_eq!(taken.len(), 2);
        assert!(taken.values().all(|bytes| expected.contains(bytes)), "{taken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_overtake_each_other_cost_time_only() {
    let mut cluster = Cluster::found(3, 17).await;
    cluster.network.shuffle();
    propose_at_once(&mut cluster, 200, 200).await;
    cluster.network.lose(20);
    cluster.propose_many(20).await;
    cluster.network.heal();
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_replica_that_is_not_here_says_so() {
    let cluster = Cluster::found(1, 9).await;
    let node = &cluster.hosts[&1].node;
    let error = node.handle(GROUP, ReplicaId(2), Bytes::new()).await.unwrap_err();
    assert_eq!(error, crate::AddressError::NotHere(GROUP, ReplicaId(2)));
    let error = node.handle(GROUP, ReplicaId(1), Bytes::from_static(&[9, 1])).await.unwrap_err();
    assert!(error.to_string().contains("format version 9"), "{error}");
}

/// Ten seconds of three nodes with losses, a cut-off leader and a crash; returns the hash of every message and when it
/// was sent.
fn run(seed: u64) -> (u64, u64) {
    let rng_seed = RngSeed::from_bytes(&seed.to_be_bytes());
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).rng_seed(rng_seed).build().unwrap();
    let run = async move {
        let mut cluster = Cluster::found(3, seed).await;
        cluster.network.lose(20);
        cluster.propose_many(20).await;
        let leader = cluster.leader().await;
        cluster.network.cut_off(leader);
        sleep(Duration::from_secs(3)).await;
        cluster.network.heal();
        cluster.propose_many(10).await;
        let leader = cluster.leader().await;
        cluster.crash(leader, Duration::from_secs(1)).await;
        cluster.propose_many(10).await;
        cluster.converge().await;
        cluster.network.trace()
    };
    runtime.block_on(run)
}

/// Each run has a thread of its own: nothing of one is left for the next.
#[allow(clippy::disallowed_methods, reason = "a fresh thread per run")]
fn run_alone(seed: u64) -> (u64, u64) {
    std::thread::spawn(move || run(seed)).join().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_messages_at_the_same_times() {
    for seed in [11, 12, 13] {
        let (trace, messages) = run_alone(seed);
        assert!(messages > 100);
        assert_eq!((trace, messages), run_alone(seed), "seed {seed}");
    }
    assert_ne!(run_alone(11), run_alone(12));
}
