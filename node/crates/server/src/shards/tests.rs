//! Tests of groups that start, stop, fail and start again.

use bellwether_kv::{Damage, Faults, KvDisk, MemDisk};
use bellwether_model::{Sample, ShardGroupId, TimeRange};
use bellwether_tsdb::SealWhen;

use super::{Cause, NotServed, SelectError};
use crate::replication::{LOG, LOG_PATH, LOG_SPACES};
use crate::testing::{NOW_MS, Storage};
use crate::write::WriteError;

/// Names that lie in both groups of a test's ring.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn sample(value: f64) -> Sample {
    Sample { timestamp: NOW_MS, value }
}

#[tokio::test]
async fn what_was_written_is_read_after_a_crash_and_costs_no_log() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    assert_eq!(storage.metrics.registrations.get(), NAMES.len() as u64);
    let storage = Storage::open(storage.crash().await, |_| {}).await;
    for name in NAMES {
        assert_eq!(storage.values(name).await.unwrap(), [1.0]);
    }
    storage.write(&NAMES, Sample { timestamp: NOW_MS + 1, value: 2.0 }).await.unwrap();
    assert_eq!(storage.metrics.registrations.get(), 0, "known series are looked up, not registered");
    assert_eq!(storage.values("a").await.unwrap(), [1.0, 2.0]);
}

#[tokio::test]
async fn a_group_that_stopped_is_started_again() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    assert!(storage.shards.troubled().is_empty());
    storage.shards.local(ShardGroupId(1)).unwrap().raft.shutdown().await;
    assert_eq!(storage.shards.troubled(), [ShardGroupId(1)]);
    assert!(matches!(storage.write(&NAMES, sample(2.0)).await, Err(WriteError::Transient { .. })));
    storage.shards.restart(ShardGroupId(1)).await.unwrap();
    assert!(storage.shards.troubled().is_empty());
    storage.write(&NAMES, sample(3.0)).await.unwrap();
    for name in NAMES {
        assert_eq!(storage.values(name).await.unwrap(), [3.0]);
    }
}

#[tokio::test]
async fn a_group_in_use_is_not_opened_twice() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    let group = storage.shards.local(ShardGroupId(0)).unwrap();
    group.raft.shutdown().await;
    let error = storage.shards.restart(ShardGroupId(0)).await.unwrap_err();
    let NotServed::Quarantined(error) = error else { panic!("{error}") };
    assert!(error.cause == Cause::Stopped && error.reason.contains("shards/0-1/0"), "{error}");
    let failed: Vec<_> = futures::future::join_all(NAMES.map(|name| storage.values(name))).await;
    let unavailable = |error: &SelectError| matches!(error, SelectError::Unavailable { .. });
    assert!(failed.iter().any(|found| found.as_ref().is_err_and(unavailable)));
    drop(group);
    storage.shards.restart(ShardGroupId(0)).await.unwrap();
    for name in NAMES {
        assert_eq!(storage.values(name).await.unwrap(), [1.0]);
    }
}

#[tokio::test]
async fn damage_that_nobody_has_read_is_found_before_it_is_copied() {
    let disk = MemDisk::new();
    let storage = Storage::open(disk.clone(), |_| ()).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    storage.shards.flush_all().await.unwrap();
    let group = storage.shards.serving().into_iter().find(|group| group.shard().stats().series > 0).unwrap();
    let copy = group.checkpoint().unwrap();
    disk.remove(copy.directory.to_str().unwrap()).unwrap();
    let path = format!("shards/{}-{}/0", group.id(), group.replica());
    let key = disk.keys(&path, "runs").pop().unwrap();
    disk.damage(&path, "runs", &key, Damage::Silent { bit: 300 }).unwrap();
    assert_eq!(group.damage(), None);
    assert!(group.checkpoint().unwrap_err().to_string().contains("corrupt"));
    assert!(group.damage().unwrap().contains("runs"));
    // What is left of a group that nobody else has is better than nothing.
    let copy = group.copy_as_it_is().unwrap();
    disk.remove(copy.directory.to_str().unwrap()).unwrap();
}

#[tokio::test]
async fn a_group_that_served_counts_as_damaged_once_its_log_is_found_so() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    storage.shards.local(ShardGroupId(0)).unwrap().raft.shutdown().await;
    let keys = storage.disk.keys(LOG_PATH, LOG_SPACES[LOG.0].name);
    let of_group = keys.into_iter().rfind(|key| key.starts_with(&0u32.to_be_bytes())).unwrap();
    storage.disk.damage(LOG_PATH, LOG_SPACES[LOG.0].name, &of_group, Damage::Silent { bit: 9 }).unwrap();
    let error = storage.shards.restart(ShardGroupId(0)).await.unwrap_err();
    let NotServed::Quarantined(error) = error else { panic!("{error}") };
    assert!(error.cause == Cause::Damaged && error.reason.contains("corrupt"), "{error}");
}

#[tokio::test]
async fn a_damaged_group_is_quarantined_alone_and_says_where() {
    // A metric lies on eight points of the ring: among this many groups most metrics do without any given one.
    let many_groups = |config: &mut crate::Config| config.shard_groups = 40;
    let storage = Storage::open(MemDisk::new(), many_groups).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    storage.shards.flush_all().await.unwrap();
    let with_data = storage.shards.serving().into_iter().find(|group| group.shard().stats().series > 0);
    let path = with_data.map(|group| format!("shards/{}-{}/0", group.id(), group.replica())).unwrap();
    let disk = storage.crash().await;
    disk.damage(&path, "meta", b"S", Damage::Silent { bit: 100 }).unwrap();
    let storage = Storage::open(disk, many_groups).await;
    let [quarantined] = &storage.shards.quarantined()[..] else { panic!("one group is damaged") };
    let reason = format!("{path}: corrupt data in the state record");
    assert!(quarantined.reason.starts_with(&reason), "{quarantined}");
    let (mut read, mut refused) = (0, 0);
    for name in NAMES {
        match storage.values(name).await {
            Ok(values) => {
                assert_eq!(values, [1.0]);
                read += 1;
            }
            Err(SelectError::Corrupt { place, .. }) => {
                assert!(place.contains("the state record"), "{place}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    let error = storage.write(&NAMES, sample(2.0)).await.unwrap_err();
    assert!(matches!(&error, WriteError::Transient { reason, .. } if reason.contains("the state record")), "{error}");
}

#[tokio::test]
async fn retention_and_seal_go_through_the_group() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    storage.clock.advance(5 * 3_600_000);
    for group in storage.shards.serving() {
        let report = storage.shards.seal(&group, SealWhen::AllClosed).await.unwrap();
        assert!(report.sealed_windows <= 1);
    }
    let window = TimeRange::new(i64::MIN, NOW_MS);
    let command = bellwether_ingest::ControlCommand::DropWindow { window, tenant: None };
    for group in storage.shards.serving() {
        group.command(&command, &*storage.clock).await.unwrap();
    }
    assert_eq!(storage.values("a").await.unwrap(), [0.0; 0]);
    let refused = storage.write(&["a"], sample(2.0)).await.unwrap().refused;
    assert_eq!(refused.count(), 1, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_start_on_a_full_disk_waits_for_room_and_then_serves_everything() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    storage.shards.flush_all().await.unwrap();
    storage.write(&NAMES, Sample { timestamp: NOW_MS + 1, value: 2.0 }).await.unwrap();
    let disk = storage.crash().await;
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
    let filled = disk.clone();
    let (storage, ()) = tokio::join!(Storage::open(disk, |_| {}), async move {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        filled.set_faults(Faults::default());
    });
    for name in NAMES {
        assert_eq!(storage.values(name).await.unwrap(), [1.0, 2.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_without_room_to_start_is_unavailable_until_there_is_room() {
    const TRIES: usize = 60;
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    let disk = storage.crash().await;
    // Room to open the engines, and none for a vote.
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes() + 64), ..Faults::default() });
    let storage = Storage::open(disk, |_| {}).await;
    assert!(storage.shards.quarantined().iter().all(|quarantined| quarantined.cause == Cause::DiskFull));
    assert_eq!(storage.shards.troubled(), [ShardGroupId(0), ShardGroupId(1)]);
    for name in NAMES {
        assert!(matches!(storage.values(name).await, Err(SelectError::Unavailable { .. })));
    }
    assert!(matches!(storage.write(&NAMES, sample(2.0)).await, Err(WriteError::Transient { .. })));
    assert!(storage.shards.restart(ShardGroupId(0)).await.unwrap_err().is_disk_full());
    storage.disk.set_faults(Faults::default());
    for group in [ShardGroupId(0), ShardGroupId(1)] {
        let mut left = TRIES;
        while storage.shards.restart(group).await.is_err() {
            left = left.checked_sub(1).expect("a disk with room lets a group start");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
    for name in NAMES {
        assert_eq!(storage.values(name).await.unwrap(), [1.0]);
    }
    storage.write(&NAMES, sample(3.0)).await.unwrap();
}

#[tokio::test]
async fn an_expired_series_comes_back_with_its_labels_though_caches_hold_its_old_ref() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&NAMES, sample(1.0)).await.unwrap();
    storage.clock.advance(5 * 3_600_000);
    let now = NOW_MS + 5 * 3_600_000;
    let dropped = TimeRange::new(i64::MIN, now - 1);
    let drop = bellwether_ingest::ControlCommand::DropWindow { window: dropped, tenant: None };
    let expire = bellwether_ingest::ControlCommand::ExpireSeries { idle_since: now };
    let mut expired = 0;
    for group in storage.shards.serving() {
        group.command(&drop, &*storage.clock).await.unwrap();
        expired += group.command(&expire, &*storage.clock).await.unwrap();
    }
    assert_eq!((expired, storage.shards.stats().series), (NAMES.len() as u64, 0));
    let refused = storage.write(&NAMES, Sample { timestamp: now, value: 2.0 }).await.unwrap().refused;
    assert_eq!(refused.count(), 0, "{refused}");
    for name in NAMES {
        assert_eq!(storage.values(name).await.unwrap(), [2.0]);
    }
    let storage = Storage::open(storage.crash().await, |_| {}).await;
    assert_eq!(storage.shards.stats().series, NAMES.len() as u64);
}
