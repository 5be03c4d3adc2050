//! The log on the real engine: what was acknowledged is there after the process is gone, and a flush gives space back.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{KvDisk, KvEngine, Space, SpaceConfig, SpaceKind};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_raft::{
    Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, GroupId, Inline, Peer, RaftGroup, RaftNode,
    RaftOptions, ReplicaId, StateMachine, Transport, TransportError,
};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;

/// Counts the payloads it applied; its durable state is what it was made with.
#[derive(Default)]
struct Counter {
    state: Mutex<(Applied, u64)>,
}

impl StateMachine for Counter {
    fn applied(&self) -> Applied {
        self.state.lock().0.clone()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let (applied, count) = &mut *self.state.lock();
        let mut replies = Vec::new();
        for entry in entries {
            applied.log = Some(entry.position);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(bytes) => applied.membership = Some(bytes),
                EntryPayload::Normal(_) => {
                    *count += 1;
                    replies.push(Bytes::from(count.to_string()));
                }
            }
        }
        Ok(replies)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        Ok(self.applied())
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        Err(FatalError("a counter has no files".to_owned()))
    }

    fn discard(&self, _: Checkpoint) {}

    fn install(&self, _: Checkpoint) -> Result<(), FatalError> {
        Err(FatalError("a counter has no files".to_owned()))
    }
}

struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: Peer, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }

    fn send_checkpoint(&self, _: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }
}

async fn start(directory: &Path, counter: &Arc<Counter>) -> (Arc<dyn KvEngine>, RaftNode, RaftGroup) {
    let disk = RocksDisk::new(directory.to_owned(), RocksOptions::default()).unwrap();
    let engine = disk.open("log", &[SpaceConfig { name: "log", kind: SpaceKind::Log }]).unwrap();
    let options = RaftOptions::new(prometheus::Registry::new(), Arc::new(|reason| panic!("{reason}")));
    let node = RaftNode::open(engine.clone(), Space(0), options, Arc::new(Inline), 1).unwrap();
    let members = BTreeMap::from([(ReplicaId(1), 1)]);
    let group = node.found_group(GroupId(1), ReplicaId(1), members, counter.clone(), Arc::new(Nobody)).await.unwrap();
    group.ready().await.unwrap();
    (engine, node, group)
}

async fn propose(group: &RaftGroup, count: usize, bytes: usize) {
    // Does not compress: space given back can be told from space never taken.
    let mut state = 1u64;
    let payload: Bytes = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    for reply in join_all((0..count).map(|_| group.propose(payload.clone()))).await {
        reply.unwrap();
    }
}

#[tokio::test]
async fn a_restart_applies_the_log_again() {
    let directory = tempfile::tempdir().unwrap();
    let flushed = {
        let counter = Arc::new(Counter::default());
        let (_engine, node, group) = start(directory.path(), &counter).await;
        propose(&group, 100, 100).await;
        let applied = group.flush().await.unwrap();
        propose(&group, 150, 100).await;
        node.shutdown().await;
        applied
    };
    let counter = Arc::new(Counter { state: Mutex::new((flushed, 100)) });
    let (_engine, node, group) = start(directory.path(), &counter).await;
    assert_eq!(counter.state.lock().1, 250);
    assert_eq!(group.propose(Bytes::from_static(b"x")).await.unwrap(), "251");
    node.shutdown().await;
}

#[tokio::test]
async fn a_flush_gives_the_space_of_the_log_back() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, node, group) = start(directory.path(), &Arc::new(Counter::default())).await;
    for _ in 0..4 {
        propose(&group, 100, 100_000).await;
    }
    assert!(engine.disk_bytes().unwrap() > 30 << 20);
    group.flush().await.unwrap();
    node.reclaim().await.unwrap();
    assert!(engine.disk_bytes().unwrap() < 1 << 20, "{} bytes", engine.disk_bytes().unwrap());
    node.shutdown().await;
}

#[tokio::test]
async fn a_removed_replica_is_gone_with_its_space() {
    let directory = tempfile::tempdir().unwrap();
    {
        let (engine, node, group) = start(directory.path(), &Arc::new(Counter::default())).await;
        propose(&group, 100, 100_000).await;
        node.remove_replica(GroupId(1), ReplicaId(1)).await.unwrap();
        node.reclaim().await.unwrap();
        assert!(engine.disk_bytes().unwrap() < 1 << 20, "{} bytes", engine.disk_bytes().unwrap());
        node.shutdown().await;
    }
    let disk = RocksDisk::new(directory.path().to_owned(), RocksOptions::default()).unwrap();
    let engine = disk.open("log", &[SpaceConfig { name: "log", kind: SpaceKind::Log }]).unwrap();
    let options = RaftOptions::new(prometheus::Registry::new(), Arc::new(|reason| panic!("{reason}")));
    let node = RaftNode::open(engine, Space(0), options, Arc::new(Inline), 1).unwrap();
    assert!(node.stored_replicas().await.unwrap().is_empty());
}
