//! Replicas that leave, with their log, and new ones in their place.

use bellwether_kv::{Faults, Trigger};

use super::*;
use crate::{GroupState, RemoveError, StartError};

#[tokio::test(start_paused = true)]
async fn a_replica_that_left_leaves_nothing_behind() {
    let mut cluster = Cluster::found(3, 51).await;
    cluster.propose_many(20).await;
    cluster.converge().await;
    let leaving = cluster.follower().await;
    cluster.start(4, MemDisk::new(), Arc::default()).await;
    cluster.change(members([1, 2, 3], [4])).await;
    let stay: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leaving).collect();
    cluster.change(members([stay[0], stay[1], 4], [])).await;
    let host = cluster.hosts.remove(&leaving).unwrap();
    let replica = ReplicaId(leaving);
    assert_eq!(host.node.stored_replicas().await.unwrap(), [(GROUP, replica)]);
    host.node.remove_replica(GROUP, replica).await.unwrap();
    assert!(host.node.stored_replicas().await.unwrap().is_empty());
    assert!(host.node.group(GROUP, replica).is_none());
    let error = host.node.handle(GROUP, replica, Bytes::new()).await.unwrap_err();
    assert_eq!(error, AddressError::NotHere(GROUP, replica));
    host.node.remove_replica(GROUP, replica).await.unwrap();
    host.node.reclaim().await.unwrap();
    assert!(host.disk.used_bytes() < 1000, "{} bytes", host.disk.used_bytes());
    // Another replica of the group may come to the same node, and is told apart from the one that was there.
    let transport = cluster.network.of(leaving);
    let ledger = Arc::<Ledger>::default();
    let group = host.node.start_group(GROUP, ReplicaId(50), ledger.clone(), transport).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!((group.state().term, group.state().last), (0, None), "it waits to be added");
    let with_it =
        Members { learners: BTreeMap::from([(ReplicaId(50), leaving)]), ..members([stay[0], stay[1], 4], []) };
    cluster.change(with_it).await;
    cluster.propose_many(1).await;
    let has_all = |state: &GroupState| state.last > Some(20) && state.applied.map(|at| at.index) == state.last;
    assert!(group.wait_until(has_all).await);
    assert_eq!(ledger.payloads(), cluster.acknowledged);
}

#[tokio::test(start_paused = true)]
async fn a_removal_cut_short_leaves_the_whole_log_or_nothing() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..20 {
        let cluster = Cluster::found(1, 52).await;
        let host = &cluster.hosts[&1];
        for number in 0..10 {
            host.group.propose(payload(number, 50)).await.unwrap();
        }
        let id = ReplicaKey { group: GROUP, replica: ReplicaId(1) };
        host.group.shutdown().await;
        let (first, end) = crate::record::replica_bounds(id);
        let engine = host.node.0.shared.writer.engine().clone();
        let mut batch = bellwether_kv::WriteBatch::default();
        batch.delete_range(crate::testing::SPACE, first, end);
        // Written as the removal does, but not synced: the power goes before that.
        engine.write(&batch, bellwether_kv::Durability::Buffered).unwrap();
        host.disk.power_loss(Unsynced::SomeKept { seed });
        drop(engine);
        let node = open_with(&host.disk, options(), Arc::new(Inline), 1);
        let stored = node.stored_replicas().await.unwrap().len();
        outcomes.insert(stored);
        if stored == 1 {
            let ledger = Arc::<Ledger>::default();
            let transport = cluster.network.of(1);
            let group = node.start_group(GROUP, ReplicaId(1), ledger.clone(), transport).await.unwrap();
            group.ready().await.unwrap();
            assert_eq!(ledger.payloads().len(), 10);
        }
    }
    assert_eq!(outcomes, BTreeSet::from([0, 1]), "both were met");
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_returned_is_durable() {
    let mut cluster = Cluster::found(1, 53).await;
    cluster.propose_many(10).await;
    let host = &cluster.hosts[&1];
    host.node.remove_replica(GROUP, ReplicaId(1)).await.unwrap();
    host.disk.power_loss(Unsynced::Lost);
    let node = open_with(&host.disk, options(), Arc::new(Inline), 1);
    assert!(node.stored_replicas().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_says_so_and_one_that_waits_keeps_the_replica_from_starting() {
    let mut cluster = Cluster::found(1, 54).await;
    cluster.propose_many(10).await;
    let host = &cluster.hosts[&1];
    host.disk.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let node = host.node.clone();
    let waiting = tokio::spawn(async move { node.remove_replica(GROUP, ReplicaId(1)).await });
    sleep(Duration::from_secs(3)).await;
    if !waiting.is_finished() {
        let transport = cluster.network.of(1);
        let early = host.node.start_group(GROUP, ReplicaId(1), host.ledger.reopen(), transport).await;
        assert!(matches!(early.map(drop), Err(StartError::Running(..))));
        let twice = host.node.remove_replica(GROUP, ReplicaId(1)).await;
        assert_eq!(twice, Err(RemoveError::Busy(GROUP, ReplicaId(1))));
    }
    host.disk.set_faults(Faults::default());
    waiting.await.unwrap().unwrap();
    assert!(host.node.stored_replicas().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_on_a_broken_disk_fails() {
    let disk = MemDisk::new();
    let mut broken = options();
    broken.on_fatal = Arc::new(|_| {});
    let node = open_with(&disk, broken, Arc::new(Inline), 1);
    let transport = MemoryNetwork::new(1).of(1);
    let founders = BTreeMap::from([(ReplicaId(1), 1)]);
    let group = node.found_group(GROUP, ReplicaId(1), founders, Arc::<Ledger>::default(), transport).await.unwrap();
    group.ready().await.unwrap();
    disk.set_faults(Faults { sync: Trigger::Nth(1), ..Faults::default() });
    let error = node.remove_replica(GROUP, ReplicaId(1)).await.unwrap_err();
    assert!(matches!(error, RemoveError::Storage { .. }), "{error}");
}
