//! A leader that loses its quorum.

use super::*;
use crate::ProposeError;
use crate::limits::QUORUM_SILENCE_MAX;

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_quorum_refuses_until_it_has_one_again() {
    let mut cluster = Cluster::found(3, 101).await;
    cluster.propose_many(5).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    for id in cluster.hosts.keys().copied().filter(|id| *id != leader) {
        cluster.network.cut_off(id);
    }
    let began = tokio::time::Instant::now();
    let error = group.propose(payload(900, 200)).await.unwrap_err();
    assert_eq!(error, ProposeError::NoQuorum { group: GROUP, in_flight: true });
    assert!((QUORUM_SILENCE_MAX..QUORUM_SILENCE_MAX * 2).contains(&(began.elapsed() + Duration::from_secs(1))));
    let began = tokio::time::Instant::now();
    let error = group.propose(payload(901, 200)).await.unwrap_err();
    assert_eq!(error, ProposeError::NoQuorum { group: GROUP, in_flight: false });
    assert_eq!(began.elapsed(), Duration::ZERO);
    cluster.network.heal();
    cluster.propose_many(5).await;
    cluster.converge().await;
    assert!(!cluster.hosts[&leader].ledger.payloads().contains(&payload(901, 200)), "what is refused is not stored");
}
