//! A node that was away for ten minutes of full load: it catches up from the log or one checkpoint, never in a loop of
//! them, and nobody stops writing for it.

use super::*;

const AWAY: Duration = Duration::from_secs(600);
/// Between two proposals: in ten minutes fifteen times what the log keeps for somebody who is behind.
const PAUSE: Duration = Duration::from_millis(500);
/// Proposals between two flushes.
const FLUSH_EACH: usize = 8;
/// What a proposal may take, an election apart.
const LATENCY_MAX: Duration = Duration::from_millis(100);

/// Proposes and flushes for as long as `goes_on`; says how long the slowest proposal took.
async fn load(cluster: &mut Cluster, mut goes_on: impl FnMut(&Cluster) -> bool) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut count = 0;
    while goes_on(cluster) {
        let began = tokio::time::Instant::now();
        cluster.propose().await;
        slowest = slowest.max(began.elapsed());
        count += 1;
        if count % FLUSH_EACH == 0 {
            for host in cluster.hosts.values() {
                host.group.flush().await.unwrap();
            }
        }
        sleep(PAUSE).await;
    }
    slowest
}

/// Until `id` lacks no more than what is on its way.
async fn catch_up(cluster: &mut Cluster, id: NodeId) -> (Duration, Duration) {
    let began = tokio::time::Instant::now();
    let behind = |cluster: &Cluster| {
        let last = |id: &NodeId| cluster.hosts[id].group.state().last.unwrap_or(0);
        let newest = cluster.hosts.keys().map(last).max().unwrap();
        assert!(began.elapsed() < Duration::from_secs(120), "it does not catch up");
        last(&id) + 1 < newest
    };
    let slowest = load(cluster, behind).await;
    (slowest, began.elapsed())
}

fn for_a_while(time: Duration) -> impl FnMut(&Cluster) -> bool {
    let until = tokio::time::Instant::now() + time;
    move |_| tokio::time::Instant::now() < until
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_cut_off_needs_one_checkpoint() {
    let mut cluster = Cluster::found(3, 111).await;
    cluster.propose_many(5).await;
    let away = cluster.follower().await;
    cluster.network.cut_off(away);
    let slowest = load(&mut cluster, for_a_while(AWAY)).await;
    assert!(slowest < LATENCY_MAX, "{slowest:?}");
    // Longer than several flushes: what follows it must be there when it has come.
    cluster.network.slow_checkpoints(Duration::from_millis(4500));
    cluster.network.heal();
    let (slowest, took) = catch_up(&mut cluster, away).await;
    assert!(slowest < LATENCY_MAX, "{slowest:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_died_needs_one_checkpoint() {
    let mut cluster = Cluster::found(3, 112).await;
    cluster.propose_many(5).await;
    let away = cluster.leader().await;
    let (disk, ledger) = cluster.kill(away).await;
    cluster.propose_many(1).await;
    let slowest = load(&mut cluster, for_a_while(AWAY)).await;
    assert!(slowest < LATENCY_MAX, "{slowest:?}");
    cluster.network.slow_checkpoints(Duration::from_millis(4500));
    cluster.start(away, disk, ledger).await;
    let (slowest, took) = catch_up(&mut cluster, away).await;
    assert!(slowest < LATENCY_MAX, "{slowest:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_away_for_less_than_the_log_keeps_needs_none() {
    let mut cluster = Cluster::found(3, 113).await;
    cluster.propose_many(5).await;
    let away = cluster.leader().await;
    let (disk, ledger) = cluster.kill(away).await;
    cluster.propose_many(1).await;
    load(&mut cluster, for_a_while(AWAY / 20)).await;
    cluster.start(away, disk, ledger).await;
    catch_up(&mut cluster, away).await;
    cluster.converge().await;
    assert_eq!(cluster.network.checkpoints(), 0);
}
