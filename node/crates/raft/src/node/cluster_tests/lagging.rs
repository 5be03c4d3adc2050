//! Replicas that are behind: the log that is kept for them, and the checkpoint that they get else.

use super::*;

/// Bytes of log that a flush leaves in these tests, per group.
const BUDGET: u64 = 20_000;

async fn flush(cluster: &Cluster, id: NodeId) {
    cluster.group(id).flush().await.unwrap();
}

fn kept(cluster: &Cluster, id: NodeId) -> u64 {
    let state = cluster.group(id).state();
    state.last.unwrap() - state.purged.map_or(0, |purged| purged.index)
}

#[tokio::test(start_paused = true)]
async fn a_replica_far_behind_gets_a_checkpoint() {
    let mut cluster = Cluster::found(3, 5).await;
    cluster.propose_many(10).await;
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    cluster.propose_many(300).await;
    // The log kept for the one behind is longer than the budget: it is cut.
    for id in cluster.hosts.keys().copied().filter(|id| *id != behind) {
        flush(&cluster, id).await;
    }
    let leader = cluster.leader().await;
    assert!(cluster.group(leader).state().purged.unwrap().index > 100);
    cluster.network.heal();
    cluster.propose_many(5).await;
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 1);
    // It is durable there: a loss of power does not take it away.
    cluster.crash(behind, Duration::from_secs(1)).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_flush_keeps_the_log_that_a_follower_still_needs() {
    let mut cluster = Cluster::found(3, 6).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let behind = cluster.follower().await;
    let matched = cluster.group(behind).state().last.unwrap();
    cluster.network.cut_off(behind);
    cluster.propose_many(20).await;
    let leader = cluster.leader().await;
    flush(&cluster, leader).await;
    let purged = cluster.group(leader).state().purged;
    assert!(purged.is_none_or(|purged| purged.index <= matched), "{purged:?} of {matched}");
    cluster.network.heal();
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_needs_a_checkpoint_anyway_holds_no_log() {
    let mut cluster = Cluster::found(3, 81).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    cluster.propose_many(200).await;
    let leader = cluster.leader().await;
    flush(&cluster, leader).await;
    assert!((50..150).contains(&kept(&cluster, leader)), "{}", kept(&cluster, leader));
    cluster.propose_many(1).await;
    sleep(Duration::from_secs(60)).await;
    flush(&cluster, leader).await;
    // What would go with the checkpoint whose turn it is.
    assert!(kept(&cluster, leader) <= 1, "{}", kept(&cluster, leader));
    assert_eq!(cluster.hosts[&leader].ledger.checkpoints.load(std::sync::atomic::Ordering::Relaxed), 0);
    cluster.network.heal();
    cluster.converge().await;
    assert_eq!(cluster.hosts[&leader].ledger.checkpoints.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_crashed_catches_up_from_the_log_of_the_next_one() {
    let mut cluster = Cluster::found(3, 88).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    // Each log is cut, so that none goes back to its beginning.
    for id in 1..=3 {
        let leader = cluster.leader().await;
        cluster.group(leader).transfer_leadership(ReplicaId(id), Duration::from_secs(5)).await.unwrap();
        cluster.propose_many(1).await;
        cluster.converge().await;
        sleep(Duration::from_secs(1)).await;
        flush(&cluster, id).await;
        assert!(cluster.group(id).state().purged.is_some());
    }
    let crashed = cluster.leader().await;
    let (disk, ledger) = cluster.kill(crashed).await;
    for _ in 0..6 {
        cluster.propose_many(5).await;
        let leader = cluster.leader().await;
        flush(&cluster, leader).await;
        sleep(Duration::from_secs(5)).await;
    }
    cluster.start(crashed, disk, ledger).await;
    cluster.propose_many(1).await;
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_needs_a_checkpoint_has_not_nearly_caught_up() {
    let mut cluster = Cluster::found(3, 89).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let (leader, behind) = (cluster.leader().await, cluster.follower().await);
    cluster.network.cut_off(behind);
    cluster.propose_many(200).await;
    flush(&cluster, leader).await;
    let group = cluster.group(leader);
    assert_eq!(group.state().progress[&ReplicaId(behind)].bytes_behind, u64::MAX);
    let handed = group.transfer_leadership(ReplicaId(behind), Duration::from_secs(1)).await.unwrap_err();
    assert!(handed.to_string().contains("it needs a checkpoint"), "{handed}");
    cluster.network.heal();
    cluster.converge().await;
    assert_eq!(group.state().progress[&ReplicaId(behind)].bytes_behind, 0);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_answer_is_lost_is_not_sent_again() {
    let mut cluster = Cluster::found(3, 86).await;
    cluster.propose_many(5).await;
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    cluster.propose_many(200).await;
    let leader = cluster.leader().await;
    flush(&cluster, leader).await;
    cluster.network.slow_checkpoints(Duration::from_secs(1));
    cluster.network.heal();
    sleep(Duration::from_millis(2600)).await;
    assert_eq!(cluster.network.checkpoints(), 1);
    // It is on its way: it arrives, and the way back is gone.
    cluster.network.lose_answers_of_checkpoints();
    cluster.propose_many(3).await;
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_checkpoint_is_enough_though_flushes_go_on_while_it_is_sent() {
    let mut cluster = Cluster::found(3, 82).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    cluster.propose_many(200).await;
    let leader = cluster.leader().await;
    flush(&cluster, leader).await;
    cluster.propose_many(1).await;
    sleep(Duration::from_secs(1)).await;
    flush(&cluster, leader).await;
    cluster.network.slow_checkpoints(Duration::from_secs(4));
    cluster.network.heal();
    for _ in 0..8 {
        cluster.propose_many(6).await;
        assert_eq!(cluster.leader().await, leader);
        flush(&cluster, leader).await;
        sleep(Duration::from_millis(700)).await;
    }
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 1);
    // Nothing is held once it has caught up.
    sleep(crate::limits::CHECKPOINT_GRACE).await;
    flush(&cluster, leader).await;
    assert_eq!(kept(&cluster, leader), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_keeps_a_little_for_when_it_leads() {
    let mut cluster = Cluster::found(3, 83).await;
    cluster.propose_many(20).await;
    cluster.converge().await;
    let (leader, behind) = (cluster.leader().await, cluster.follower().await);
    let next = [1, 2, 3].into_iter().find(|id| *id != leader && *id != behind).unwrap();
    cluster.network.cut_off(behind);
    cluster.propose_many(20).await;
    flush(&cluster, next).await;
    assert!(kept(&cluster, next) >= 20);
    cluster.group(leader).transfer_leadership(ReplicaId(next), Duration::from_secs(5)).await.unwrap();
    cluster.network.heal();
    cluster.propose_many(1).await;
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_keeps_for_all_groups_is_bounded() {
    let mut cluster = Cluster::found(3, 84).await;
    let groups = found_many(&cluster, 6).await;
    cluster.propose_many(1).await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let node = cluster.hosts[&leader].node.clone();
    sleep(Duration::from_secs(3)).await;
    let led: Vec<RaftGroup> = groups.iter().filter_map(|group| node.group(*group, ReplicaId(leader))).collect();
    let led: Vec<RaftGroup> = led.into_iter().filter(|group| group.state().is_leader).collect();
    assert!(led.len() >= 4, "{}", led.len());
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    for group in &led {
        for number in 0..60 {
            group.propose(payload(number, 200)).await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        group.flush().await.unwrap();
    }
    let kept: u64 = led.iter().map(RaftGroup::kept_log_bytes).sum();
    assert!(kept <= 2 * BUDGET && kept > BUDGET, "{kept} bytes kept by {} groups", led.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_others_is_not_applied_again() {
    let mut cluster = Cluster::found(3, 85).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    cluster.propose_many(40).await;
    let leader = cluster.leader().await;
    flush(&cluster, leader).await;
    assert!(kept(&cluster, leader) >= 40);
    cluster.crash(leader, Duration::from_millis(100)).await;
    let group = cluster.group(leader);
    assert_eq!(group.unflushed_log_bytes(), 0);
    cluster.network.heal();
    cluster.propose_many(5).await;
    cluster.converge().await;
    // Nor are they read: only what came after.
    let again: usize = cluster.hosts[&leader].ledger.batches.lock().iter().sum();
    assert!(again < 20, "{again} entries applied after the restart");
    flush(&cluster, leader).await;
    cluster.crash(leader, Duration::from_millis(100)).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_back_catches_up_at_once_when_somebody_says_so() {
    let mut cluster = Cluster::found(3, 87).await;
    cluster.propose_many(5).await;
    cluster.converge().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    // Its node refuses connections, so every attempt fails at once and the pauses grow.
    cluster.network.refuse(away);
    cluster.propose_many(20).await;
    sleep(Duration::from_secs(60)).await;
    cluster.network.heal();
    let back = tokio::time::Instant::now();
    cluster.hosts[&leader].node.peer_found(away);
    let wanted = cluster.group(leader).state().committed;
    assert!(cluster.group(away).wait_until(|state| state.applied == wanted).await);
    assert!(back.elapsed() < Duration::from_millis(50), "{:?}", back.elapsed());
}
