//! A leader that dies is replaced: soon when nobody is told, at once when somebody is.

use tokio::time::Instant;

use super::*;

/// How long a cluster takes to have a leader again that it can propose through.
async fn replaced(cluster: &mut Cluster, tell: bool) -> Duration {
    cluster.propose_many(3).await;
    cluster.converge().await;
    let old = cluster.leader().await;
    let host = cluster.hosts.remove(&old).unwrap();
    cluster.network.detach(old);
    host.group.shutdown().await;
    let began = Instant::now();
    if tell {
        for host in cluster.hosts.values() {
            host.node.peer_lost(old);
        }
    }
    cluster.propose().await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn followers_that_are_told_elect_at_once() {
    for seed in 60..70 {
        let mut cluster = Cluster::found(3, seed).await;
        let took = replaced(&mut cluster, true).await;
        assert!(took < Duration::from_millis(400), "seed {seed}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn followers_that_are_not_told_elect_after_the_timeout() {
    for seed in 60..70 {
        let mut cluster = Cluster::found(3, seed).await;
        let took = replaced(&mut cluster, false).await;
        assert!(took > Duration::from_millis(900) && took < Duration::from_millis(2500), "seed {seed}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_told_wrongly_changes_nothing() {
    let mut cluster = Cluster::found(3, 71).await;
    cluster.propose_many(3).await;
    let (leader, mistaken) = (cluster.leader().await, cluster.follower().await);
    let term = cluster.group(leader).state().term;
    cluster.hosts[&mistaken].node.peer_lost(leader);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.group(leader).state().term, term);
    // Nor does anybody who is told of a node that led nothing, or a leader who is told of itself.
    cluster.hosts[&mistaken].node.peer_lost(99);
    cluster.hosts[&leader].node.peer_lost(leader);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.group(leader).state().term, term);
}

#[tokio::test(start_paused = true)]
async fn many_groups_of_a_dead_leader_elect_without_a_stampede() {
    let mut cluster = Cluster::found(3, 72).await;
    let groups = found_many(&cluster, 60).await;
    sleep(Duration::from_secs(5)).await;
    let old = cluster.leader().await;
    let host = cluster.hosts.remove(&old).unwrap();
    cluster.network.detach(old);
    host.node.shutdown().await;
    for host in cluster.hosts.values() {
        host.node.peer_lost(old);
    }
    sleep(Duration::from_millis(300)).await;
    let mut terms = BTreeMap::<u64, usize>::new();
    for group in groups {
        let replicas = cluster.hosts.iter().map(|(id, host)| host.node.group(group, ReplicaId(*id)).unwrap());
        let led: Vec<_> = replicas.map(|replica| replica.state()).filter(|state| state.is_leader).collect();
        assert_eq!(led.len(), 1, "{group}");
        *terms.entry(led[0].term).or_default() += 1;
    }
    assert!(terms.keys().max().unwrap() <= &4, "elections were repeated: {terms:?}");
}
