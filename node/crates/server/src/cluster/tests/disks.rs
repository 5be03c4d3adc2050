//! Disks that are nearly full: what others can store they store, and what nobody can is refused with a reason.

use super::*;
use crate::testing::NOW_MS;

/// Far below what writes need.
const NEARLY_NOTHING: u64 = 1 << 20;
const PLENTY: u64 = 1 << 40;

/// Waits until all nodes have applied the same.
async fn converge(servers: &[Server]) {
    for group in [0, 1] {
        let hash = |server: &Server| {
            let local = server.shards().local(ShardGroupId(group)).unwrap();
            (local.raft.state().applied.map(|applied| applied.index), local.shard().state_hash())
        };
        until("the replicas are equal", || servers.iter().all(|server| hash(server) == hash(&servers[0]))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_no_writes_until_a_quorum_needs_it_and_then_says_so() {
    let net = TestNet::default();
    let (machines, servers) = three(&net).await;
    write(&servers[0], NOW_MS).await;
    machines[0].volume.set_free(NEARLY_NOTHING);
    until("others lead", || groups_led(&servers[0]) == 0).await;
    for (at, server) in servers.iter().enumerate() {
        write(server, NOW_MS + 1000 * (at as i64 + 1)).await;
    }
    machines[1].volume.set_free(NEARLY_NOTHING);
    until("others lead", || groups_led(&servers[1]) == 0).await;
    for server in &servers {
        let error = try_write(server, NOW_MS + 10_000).await.unwrap_err();
        assert!(matches!(error, WriteError::Transient { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("the disks of nodes 1, 2 are nearly full, and without them there is no quorum"),
            "{text}"
        );
    }
    // One of them has room again: it catches up with what it did not take.
    machines[0].volume.set_free(PLENTY);
    let last = || try_write(&servers[2], NOW_MS + 20_000);
    let stored = async {
        while last().await.is_err() {
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(LONG, stored).await.expect("writes go on");
    machines[1].volume.set_free(PLENTY);
    converge(&servers).await;
}

#[tokio::test(start_paused = true)]
async fn a_sole_node_with_a_full_disk_refuses_at_the_door() {
    let net = TestNet::default();
    let mut machine = machine(1, &[]);
    let server = machine.start(&net).await.unwrap();
    write(&server, NOW_MS).await;
    machine.volume.set_free(NEARLY_NOTHING);
    until("it is seen", || server.router().disk_room().is_full()).await;
    let error = try_write(&server, NOW_MS + 1000).await.unwrap_err().to_string();
    assert!(error.starts_with("the disk is nearly full: 1.0 MB free"), "{error}");
    machine.volume.set_free(PLENTY);
    until("it is seen", || !server.router().disk_room().is_full()).await;
    write(&server, NOW_MS + 2000).await;
}
