//! What is stored of replicas is damaged: the cluster makes them again, a sole node says so.

use bellwether_client::{Client, Value};
use bellwether_kv::{Damage, KvDisk};

use super::*;
use crate::cluster::upgrade_tests::Connector;
use crate::testing::NOW_MS;

/// Damages all that a disk holds of shard groups.
fn damage_shards(disk: &MemDisk) {
    for replica in disk.list("shards").unwrap() {
        for generation in disk.list(&format!("shards/{replica}")).unwrap() {
            let path = format!("shards/{replica}/{generation}");
            disk.damage(&path, "meta", b"S", Damage::Silent { bit: 100 }).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_all_of_whose_replicas_are_damaged_gets_new_ones() {
    let net = TestNet::default();
    let (mut machines, mut servers) = three(&net).await;
    write(&servers[0], NOW_MS).await;
    let ids = |server: &Server| server.shards().replicas();
    let before = ids(&servers[2]);
    servers.pop().unwrap().shutdown().await.unwrap();
    damage_shards(&machines[2].disk);
    write(&servers[0], NOW_MS + 1000).await;
    servers.push(machines[2].start(&net).await.unwrap());
    assert_eq!(servers[2].shards().quarantined().len(), 2);
    write(&servers[2], NOW_MS + 2000).await;
    replaced(&servers, 2, &before).await;
    write(&servers[2], NOW_MS + 3000).await;
}

/// Waits until a node has new replicas of both groups in place of these.
async fn replaced(servers: &[Server], at: usize, before: &[(ShardGroupId, bellwether_raft::ReplicaId)]) {
    for group in [0, 1] {
        let is_new = || {
            let local = servers[at].shards().local(ShardGroupId(group));
            local.is_ok_and(|local| !before.contains(&(ShardGroupId(group), local.replica())))
        };
        until("a new replica serves", is_new).await;
        for server in servers {
            spread(server, group, 3, 3).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damage_that_a_read_finds_is_never_answered_and_repaired() {
    let net = TestNet::default();
    let (mut machines, mut servers) = three(&net).await;
    write(&servers[0], NOW_MS).await;
    // Until all have applied it.
    sleep(Duration::from_secs(1)).await;
    for server in &servers {
        server.shards().flush_all().await.unwrap();
    }
    // Nothing is in memory any more.
    servers.pop().unwrap().shutdown().await.unwrap();
    let disk = &machines[2].disk;
    for replica in disk.list("shards").unwrap() {
        for generation in disk.list(&format!("shards/{replica}")).unwrap() {
            let path = format!("shards/{replica}/{generation}");
            for key in disk.keys(&path, "runs") {
                for bit in (0..40_000).step_by(97) {
                    disk.damage(&path, "runs", &key, Damage::Silent { bit }).unwrap();
                }
            }
        }
    }
    servers.push(machines[2].start(&net).await.unwrap());
    let before = servers[2].shards().replicas();
    assert_eq!(servers[2].shards().quarantined().len(), 0, "nobody has looked yet");
    let client = Client::builder().addresses(["127.0.0.1:203"]).connector(Connector(net.clone())).seed(1);
    let client = client.timeout(LONG).discovery_interval(None).build().unwrap();
    for name in NAMES {
        let answer = client.instant(&format!("count_over_time({name}[1h])"), Some(NOW_MS)).await.unwrap();
        let Value::Vector(found) = answer.value else { panic!() };
        assert_eq!(found[0].samples[0].value, 1.0, "{name}");
    }
    replaced(&servers, 2, &before).await;
}

#[tokio::test(start_paused = true)]
async fn a_sole_node_all_of_whose_replicas_are_damaged_says_so() {
    let net = TestNet::default();
    let mut machine = machine(1, &[]);
    machine.start(&net).await.unwrap().shutdown().await.unwrap();
    damage_shards(&machine.disk);
    let error = chain(&machine.start(&net).await.err().unwrap());
    assert!(error.contains("no shard group can be opened, and no other node has a copy"), "{error}");
}
