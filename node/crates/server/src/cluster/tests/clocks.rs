//! A node whose clock is wrong leads nothing, and nothing is refused because of it.

use super::*;
use crate::testing::NOW_MS;

/// What a gauge of a node says.
fn gauge(server: &Server, name: &str) -> f64 {
    let families = server.registry().gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    family.get_metric()[0].get_gauge().get_value()
}

async fn a_clock_goes_wrong_by(off_ms: i64) {
    let net = TestNet::default();
    let (mut machines, mut servers) = three(&net).await;
    let wrong = servers.iter().position(|server| server.meta().is_leader()).unwrap();
    machines[wrong].clock.advance(off_ms);
    leads_nothing(&servers[wrong]).await;
    assert_eq!(gauge(&servers[wrong], "bellwether_clock_off_milliseconds"), off_ms as f64);
    assert_eq!(gauge(&servers[wrong], "bellwether_clock_wrong"), 1.0);
    // Whichever node is asked, nothing is refused.
    for (at, server) in servers.iter().enumerate() {
        write(server, NOW_MS + 1000 * at as i64).await;
    }
    // A restart with the wrong clock: it does not lead even for a moment.
    let server = servers.remove(wrong);
    server.shutdown().await.unwrap();
    let server = machines[wrong].start(&net).await.unwrap();
    for _ in 0..200 {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(led(&server), 0);
    }
    write(&server, NOW_MS + 10_000).await;
    // Of the two that could lead, one goes away: the other leads everything, with the vote of the wrong one.
    let other = servers.pop().unwrap();
    let other_at = machines.iter().position(|machine| machine.config.http == other.http_address()).unwrap();
    other.shutdown().await.unwrap();
    write(&server, NOW_MS + 20_000).await;
    leads_nothing(&server).await;
    servers.push(machines[other_at].start(&net).await.unwrap());
    // Set right, it leads again.
    machines[wrong].clock.advance(-off_ms);
    let leads_again = async {
        while !server.shards().serving().iter().any(|group| group.raft.state().is_leader) {
            if let Some(group) =
                servers.iter().flat_map(|server| server.shards().serving()).find(|group| group.raft.state().is_leader)
            {
                let own = server.shards().local(group.id()).unwrap().replica();
                let to = bellwether_raft::ReplicaId(own.0);
                group.raft.transfer_leadership(to, Duration::from_secs(2)).await.ok();
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(LONG, leads_again).await.expect("it may lead again");
    assert_eq!(gauge(&server, "bellwether_clock_wrong"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_an_hour_ahead_leads_nothing_and_refuses_nothing() {
    a_clock_goes_wrong_by(3_600_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_an_hour_behind_leads_nothing_and_refuses_nothing() {
    a_clock_goes_wrong_by(-3_600_000).await;
}
