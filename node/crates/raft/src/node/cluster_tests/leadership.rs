//! Leadership is handed over, and the outcome is known.

use tokio::time::Instant;

use super::*;
use crate::{BlockingClass, GroupState, Standing, TransferError};

const PATIENCE: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over() {
    let mut cluster = Cluster::found(3, 8).await;
    cluster.propose_many(5).await;
    let (old, next) = (cluster.leader().await, cluster.follower().await);
    let began = Instant::now();
    cluster.group(old).transfer_leadership(ReplicaId(next), PATIENCE).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(cluster.leader().await, next);
    assert!(!cluster.group(old).state().is_leader);
    cluster.propose_many(5).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_lead_is_not_asked_to() {
    let mut cluster = Cluster::found(3, 41).await;
    cluster.start(4, MemDisk::new(), Arc::default()).await;
    cluster.propose_many(5).await;
    cluster.change(members([1, 2, 3], [4])).await;
    let (leader, dead) = (cluster.leader().await, cluster.follower().await);
    let group = cluster.group(leader);
    group.transfer_leadership(ReplicaId(leader), PATIENCE).await.unwrap();
    let error = group.transfer_leadership(ReplicaId(4), PATIENCE).await.unwrap_err();
    assert_eq!(error, TransferError::NotAVoter { group: GROUP, replica: ReplicaId(4) });
    let error = cluster.group(dead).transfer_leadership(ReplicaId(leader), PATIENCE).await.unwrap_err();
    assert!(matches!(error, TransferError::NotLeader { hint: Some(hint) } if hint.node == leader), "{error}");
    // One that lacks much: nothing is stopped for it.
    cluster.network.cut_off(dead);
    for number in 0..30 {
        group.propose(payload(number, 200_000)).await.unwrap();
    }
    let error = group.transfer_leadership(ReplicaId(dead), PATIENCE).await.unwrap_err();
    assert!(matches!(error, TransferError::Behind { bytes_behind: 6_000_000.., .. }), "{error}");
    assert!(group.state().is_leader);
    group.propose(payload(99, 10)).await.unwrap();
}

/// Applies nothing until the gate is open.
struct Gate(tokio::sync::watch::Receiver<bool>);

impl Blocking for Gate {
    fn run(&self, class: BlockingClass, job: Box<dyn FnOnce() + Send>) {
        let mut open = self.0.clone();
        tokio::spawn(async move {
            if class == BlockingClass::Apply {
                let _ = open.wait_for(|open| *open).await;
            }
            job();
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_much_to_apply_does_not_lead_yet() {
    let mut cluster = Cluster::found(3, 46).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let (leader, slow) = (cluster.leader().await, cluster.follower().await);
    let (disk, ledger) = cluster.kill(slow).await;
    let (gate, open) = tokio::sync::watch::channel(true);
    cluster.start_on(Arc::new(Gate(open)), slow, disk, ledger).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let group = cluster.group(leader);
    gate.send_replace(false);
    for number in 0..30 {
        group.propose(payload(number, 200_000)).await.unwrap();
    }
    let holds_all = |state: &GroupState| state.progress[&ReplicaId(slow)].matched == state.last;
    assert!(timeout(PATIENCE, group.wait_until(holds_all)).await.unwrap());
    let error = group.transfer_leadership(ReplicaId(slow), PATIENCE).await.unwrap_err();
    assert!(matches!(error, TransferError::Behind { bytes_behind: 6_000_000..7_000_000, .. }), "{error}");
    assert!(group.state().is_leader);
    group.propose(payload(99, 10)).await.unwrap();
    // Somebody else is nearer.
    assert_eq!(cluster.hosts[&leader].node.hand_over_all(PATIENCE).await.moved, 1);
    let leader = cluster.leader().await;
    assert_ne!(leader, slow);
    gate.send_replace(true);
    cluster.group(leader).transfer_leadership(ReplicaId(slow), PATIENCE).await.unwrap();
    assert_eq!(cluster.leader().await, slow);
    cluster.propose_many(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_that_fails_leaves_a_group_that_elects() {
    let mut cluster = Cluster::found(3, 42).await;
    cluster.propose_many(5).await;
    let (leader, dead) = (cluster.leader().await, cluster.follower().await);
    cluster.network.cut_off(dead);
    let error = cluster.group(leader).transfer_leadership(ReplicaId(dead), Duration::from_millis(500)).await;
    assert_eq!(error, Err(TransferError::Deadline(GROUP)));
    cluster.propose_many(5).await;
    cluster.network.heal();
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_can_succeed_leads_again() {
    let mut cluster = Cluster::found(3, 47).await;
    cluster.propose_many(5).await;
    let leader = cluster.leader().await;
    let others: Vec<NodeId> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    cluster.hosts[&others[1]].node.set_standing(Standing { abstains: true, unfit: BTreeSet::new() });
    cluster.network.cut_off(others[0]);
    let group = cluster.group(leader);
    let error = group.transfer_leadership(ReplicaId(others[0]), Duration::from_millis(500)).await;
    assert_eq!(error, Err(TransferError::Deadline(GROUP)));
    group.propose(payload(90, 10)).await.unwrap_err();
    sleep(Duration::from_secs(6)).await;
    assert_eq!(cluster.leader().await, leader);
    cluster.propose_many(5).await;
    // One that has not answered for long is not handed anything any more.
    let error = group.transfer_leadership(ReplicaId(others[0]), PATIENCE).await;
    assert!(matches!(error, Err(TransferError::Behind { .. })), "{error:?}");
    cluster.propose_many(5).await;
    cluster.network.heal();
    cluster.converge().await;
}

/// Says on all nodes that one is not to lead.
fn disqualify(cluster: &Cluster, unfit: NodeId) {
    for (id, host) in &cluster.hosts {
        let others = Standing { abstains: false, unfit: [unfit].into() };
        let own = Standing { abstains: true, unfit: BTreeSet::new() };
        host.node.set_standing(if *id == unfit { own } else { others });
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_abstains_hands_over_and_is_never_elected() {
    let mut cluster = Cluster::found(3, 44).await;
    cluster.propose_many(5).await;
    let unfit = cluster.leader().await;
    disqualify(&cluster, unfit);
    assert_eq!(cluster.hosts[&unfit].node.led_with_others(), 1);
    assert_eq!(cluster.hosts[&unfit].node.hand_over_all(PATIENCE).await.moved, 1);
    assert_eq!(cluster.hosts[&unfit].node.led_with_others(), 0);
    for _ in 0..3 {
        // Whoever leads is lost: the third node takes over, with the vote of the one that abstains.
        let leader = cluster.leader().await;
        assert_ne!(leader, unfit);
        cluster.crash(leader, Duration::from_secs(20)).await;
        disqualify(&cluster, unfit);
        cluster.propose_many(3).await;
    }
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_over_to_a_node_that_must_not_lead() {
    let mut cluster = Cluster::found(3, 45).await;
    cluster.propose_many(5).await;
    let (leader, unfit) = (cluster.leader().await, cluster.follower().await);
    disqualify(&cluster, unfit);
    let error = cluster.group(leader).transfer_leadership(ReplicaId(unfit), PATIENCE).await.unwrap_err();
    assert_eq!(error, TransferError::Unfit { group: GROUP, node: unfit });
    // One that does not know it yet: the other node does not take over, and one of the two fit ones leads.
    cluster.hosts[&leader].node.set_standing(Standing::default());
    cluster.group(leader).transfer_leadership(ReplicaId(unfit), PATIENCE).await.unwrap_err();
    cluster.propose_many(5).await;
    assert_ne!(cluster.leader().await, unfit);
    let others = Standing { abstains: false, unfit: [unfit].into() };
    let leader = cluster.leader().await;
    cluster.hosts[&leader].node.set_standing(others);
    assert_eq!(cluster.hosts[&leader].node.hand_over_all(PATIENCE).await.moved, 1);
    assert_ne!(cluster.leader().await, unfit);
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_abstains_leads_until_another_has_what_only_it_has() {
    let mut cluster = Cluster::found(3, 48).await;
    cluster.propose_many(5).await;
    let leader = cluster.leader().await;
    let others: Vec<NodeId> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    let (unfit, behind) = (others[0], others[1]);
    disqualify(&cluster, unfit);
    cluster.network.cut_off(behind);
    cluster.propose_many(5).await;
    cluster.network.heal();
    cluster.network.cut_off(leader);
    let mut led_by_unfit = false;
    for _ in 0..90 {
        sleep(Duration::from_secs(1)).await;
        disqualify(&cluster, unfit);
        led_by_unfit |= cluster.hosts[&unfit].node.led_with_others() > 0;
        drop(cluster.hosts[&unfit].node.hand_over_all(PATIENCE).await);
        if cluster.group(behind).state().is_leader {
            break;
        }
    }
    assert!(led_by_unfit, "nobody else could be elected");
    assert_eq!(cluster.leader().await, behind);
    cluster.propose_many(3).await;
    cluster.network.heal();
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_abstains_leads_where_nobody_else_votes() {
    let mut cluster = Cluster::found(1, 46).await;
    cluster.hosts[&1].node.set_standing(Standing { abstains: true, unfit: BTreeSet::new() });
    cluster.propose_many(3).await;
    assert_eq!(cluster.hosts[&1].node.hand_over_all(PATIENCE).await.alone, 1);
    cluster.propose_many(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_hands_every_group_over_first() {
    let cluster = Cluster::found(3, 43).await;
    let groups = found_many(&cluster, 40).await;
    sleep(Duration::from_secs(10)).await;
    let led_by = |id: NodeId| -> Vec<GroupId> {
        let node = &cluster.hosts[&id].node;
        groups.iter().copied().filter(|group| node.group(*group, ReplicaId(id)).unwrap().state().is_leader).collect()
    };
    let stopping = [1, 2, 3].into_iter().max_by_key(|id| led_by(*id).len()).unwrap();
    let led = led_by(stopping);
    let began = Instant::now();
    let done = cluster.hosts[&stopping].node.hand_over_all(PATIENCE).await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!((done.moved, done.alone, done.kept), (led.len(), 0, Vec::new()));
    let others: Vec<Vec<GroupId>> = [1, 2, 3].into_iter().filter(|id| *id != stopping).map(led_by).collect();
    assert!(led_by(stopping).is_empty());
    assert_eq!(others.iter().map(Vec::len).sum::<usize>(), groups.len());
    assert!(others.iter().all(|taken| taken.len() >= led.len() / 4), "all went to one node: {others:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_skips_the_dead_and_gives_up_in_time() {
    let mut cluster = Cluster::found(3, 44).await;
    cluster.propose_many(3).await;
    let leader = cluster.leader().await;
    let others: Vec<NodeId> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    cluster.network.cut_off(others[0]);
    sleep(Duration::from_secs(2)).await;
    let done = cluster.hosts[&leader].node.hand_over_all(PATIENCE).await;
    assert_eq!((done.moved, done.kept), (1, Vec::new()));
    assert_eq!(cluster.leader().await, others[1]);
    cluster.network.cut_off(leader);
    sleep(Duration::from_millis(400)).await;
    let began = Instant::now();
    let done = cluster.hosts[&others[1]].node.hand_over_all(PATIENCE).await;
    assert!(began.elapsed() <= PATIENCE);
    assert_eq!((done.moved, done.kept.len()), (0, 1));
    // Nobody else votes there: nothing to hand over.
    let alone = Cluster::found(1, 45).await;
    alone.leader().await;
    assert_eq!(alone.hosts[&1].node.hand_over_all(PATIENCE).await.alone, 1);
}
