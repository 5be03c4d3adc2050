//! Reads from any replica see everything acknowledged before them.

use futures::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::ReadError;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_waited_has_everything_acknowledged_before() {
    let mut cluster = Cluster::found(3, 21).await;
    for _ in 0..20 {
        cluster.propose_many(3).await;
        let position = cluster.group(cluster.leader().await).read_index().await.unwrap();
        for host in cluster.hosts.values() {
            host.group.wait_applied(position, soon()).await.unwrap();
            assert_eq!(host.ledger.payloads(), cluster.acknowledged);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_learner_of_a_sole_voter_waits_for_what_was_acknowledged_just_now() {
    let mut cluster = Cluster::found(1, 22).await;
    cluster.start(2, MemDisk::new(), Arc::default()).await;
    cluster.change(members([1], [2])).await;
    for number in 0..50 {
        cluster.group(1).propose(payload(number, 100)).await.unwrap();
        let position = cluster.group(1).read_index().await.unwrap();
        cluster.group(2).wait_applied(position, soon()).await.unwrap();
        assert_eq!(cluster.hosts[&2].ledger.payloads().len() as u64, number + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_knows_what_to_wait_for() {
    let cluster = Cluster::found(3, 23).await;
    let leader = cluster.leader().await;
    let follower = cluster.group(cluster.follower().await);
    assert!(follower.wait_until(|state| state.leader.is_some()).await);
    let error = follower.read_index().await.unwrap_err();
    assert!(matches!(error, ReadError::NotLeader { hint: Some(hint) } if hint.node == leader), "{error}");
    // A leader that is cut off does not say what may be old.
    let stranded = cluster.group(leader);
    cluster.network.cut_off(leader);
    let error = timeout(Duration::from_secs(10), stranded.read_index()).await.unwrap().unwrap_err();
    assert!(matches!(error, ReadError::NoQuorum(GROUP) | ReadError::NotLeader { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_cut_off_gives_up_at_the_deadline() {
    let mut cluster = Cluster::found(3, 24).await;
    cluster.propose_many(1).await;
    cluster.converge().await;
    let behind = cluster.follower().await;
    cluster.network.cut_off(behind);
    cluster.propose_many(1).await;
    let position = cluster.group(cluster.leader().await).read_index().await.unwrap();
    let began = Instant::now();
    let waited = cluster.group(behind).wait_applied(position, began + Duration::from_millis(700)).await;
    assert_eq!(began.elapsed(), Duration::from_millis(700));
    let applied = Some(position.index - 1);
    assert_eq!(waited.unwrap_err(), ReadError::Behind { group: GROUP, wanted: position.index, applied });
    // It ends at once when the replica does.
    let (group, stopping) = (cluster.group(behind), cluster.group(behind));
    let waiting = tokio::spawn(async move { group.wait_applied(position, soon()).await });
    sleep(Duration::from_millis(10)).await;
    stopping.shutdown().await;
    assert!(matches!(waiting.await.unwrap(), Err(ReadError::Stopped { .. })));
}

#[tokio::test(start_paused = true)]
async fn reads_at_the_same_time_share_a_confirmation() {
    let cluster = Cluster::found(3, 25).await;
    let leader = cluster.group(cluster.leader().await);
    let (_, before) = cluster.network.trace();
    let reads = join_all((0..500).map(|_| leader.read_index())).await;
    assert!(reads.iter().all(Result::is_ok));
    let (_, after) = cluster.network.trace();
    assert!(after - before < 20, "{} messages", after - before);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hears_only_a_leader_that_is_cut_off_is_as_old_as_its_quorum() {
    let mut cluster = Cluster::found(3, 26).await;
    cluster.start(4, MemDisk::new(), Arc::default()).await;
    cluster.change(members([1, 2, 3], [4])).await;
    cluster.propose_many(1).await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let age = || cluster.group(4).staleness();
    sleep(Duration::from_secs(1)).await;
    assert!(age().is_some_and(|age| age < Duration::from_secs(1)), "{:?}", age());
    // It and the learner hear each other, and nobody else.
    (1..=3).filter(|voter| *voter != leader).for_each(|voter| cluster.network.cut_off(voter));
    sleep(Duration::from_secs(10)).await;
    assert!(cluster.group(leader).state().is_leader);
    assert!(age().is_none_or(|age| age >= Duration::from_secs(9)), "{:?}", age());
    cluster.network.heal();
    sleep(Duration::from_secs(10)).await;
    assert!(age().is_some_and(|age| age < Duration::from_secs(1)), "{:?}", age());
}
