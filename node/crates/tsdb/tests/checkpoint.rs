//! Copies of a shard: made while it works, carried as files, installed whole or not at all.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_kv::{Damage, Faults, KvDisk, MemDisk, Trigger, Unsynced};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_model::{HashRange, Labels, RefEpoch, SeriesHash, Tenant, TimeRange, limits::WINDOW_MS};
use bellwether_tsdb::{
    AppliedMark, CheckpointFiles, CheckpointReceiver, LabelsRequest, OpenError, PackCache, SPACES, SealWhen,
    SelectLimits, SelectRequest, Shard, ShardMetrics, ShardOptions, StorageError, inspect, install,
};

#[path = "support/histograms.rs"]
mod histograms;

use histograms::{chunk, histogram};

/// Bytes carried at a time.
const PIECE_BYTES: usize = 700;

fn open(disk: &dyn KvDisk, path: &str) -> Result<Shard, OpenError> {
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
    let engine = disk.open(path, SPACES).map_err(|source| StorageError::Engine { place: path.to_owned(), source })?;
    Shard::open(engine, ShardOptions { new_ref_epoch: RefEpoch(1) }, PackCache::new(1 << 20), metrics)
}

/// Writes `rows` samples to each of 20 series in a Window.
fn write(shard: &Shard, window: i64, rows: i64) {
    let tenant = Tenant::default_tenant();
    let mut writer = shard.writer();
    for series in 0..20 {
        let labels = Labels::of(&[("__name__", "m"), ("series", &series.to_string())]);
        let series = writer.register(SeriesHash::of(&tenant, &labels), &tenant, &labels).unwrap();
        for row in 0..rows {
            let value = (row * 7919 % 1000) as f64 / 8.0;
            let at = window * WINDOW_MS + row * 1000;
            if series.0.is_multiple_of(5) {
                let chunk = chunk(&histogram(row as u8));
                writer.append_histograms([(series.0, at, &chunk[..])].into_iter(), TimeRange::ALL);
            } else {
                writer.append(&[series.0], &[at], &[value], TimeRange::ALL);
            }
        }
    }
    writer.mark_applied(AppliedMark(format!("{window}, {rows} rows").into()), 0, window as u64);
}

/// Everything that a reader can see, and the state that replicas compare.
fn contents(shard: &Shard) -> (Vec<String>, u64, AppliedMark) {
    let tenant = Tenant::default_tenant();
    let limits = SelectLimits { series: 1000, samples: 1_000_000 };
    let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits };
    let selected = shard.select(&request, &AtomicBool::new(false)).unwrap();
    let text = |series: &bellwether_tsdb::SelectedSeries| {
        format!("{} {:?} {:?} {:?}", series.labels, series.timestamps, series.values, series.histograms)
    };
    (selected.iter().map(text).collect(), shard.state_hash(), shard.applied())
}

/// Carries a copy's files to another disk.
fn carry(from: &dyn KvDisk, path: &str, to: &dyn KvDisk, target: &str) -> Result<(), StorageError> {
    let export = from.export(path).unwrap();
    let mut receiver = CheckpointReceiver::new(to, target, export.files().to_vec())?;
    for file in export.files() {
        for at in (0..file.bytes).step_by(PIECE_BYTES) {
            receiver.append(&file.name, &export.read(&file.name, at, PIECE_BYTES).unwrap())?;
        }
    }
    receiver.finish()
}

/// A shard with runs, a sealed Window, a tombstone and unflushed samples; its copy and what that must contain.
fn shard_with_copy(disk: &dyn KvDisk) -> (Shard, CheckpointFiles, (Vec<String>, u64, AppliedMark)) {
    let tenant = Tenant::default_tenant();
    let shard = open(disk, "shards/1").unwrap();
    write(&shard, 0, 50);
    shard.flush().unwrap();
    write(&shard, 0, 60);
    shard.seal(9 * WINDOW_MS, SealWhen::AllClosed).unwrap();
    write(&shard, 1, 50);
    shard.writer().delete(&tenant, &[], TimeRange::new(0, 5000), 7);
    shard.flush().unwrap();
    let flushed = contents(&shard);
    write(&shard, 2, 10);
    let copy = shard.checkpoint(disk, "checkpoints/1").unwrap();
    (shard, copy, flushed)
}

fn a_copy_travels(from: &dyn KvDisk, to: &dyn KvDisk) {
    let (shard, copy, flushed) = shard_with_copy(from);
    assert_eq!(copy.applied, flushed.2);
    assert_eq!(copy.ref_epoch, RefEpoch(1));
    assert_eq!(copy.bytes, copy.files.iter().map(|file| file.bytes).sum::<u64>());
    // The shard goes on, and its copy stays what it was.
    shard.flush().unwrap();
    shard.seal(9 * WINDOW_MS, SealWhen::AllClosed).unwrap();

    carry(from, "checkpoints/1", to, "received/1").unwrap();
    assert_eq!(inspect(to, "received/1").unwrap(), (copy.applied.clone(), RefEpoch(1)));
    assert_eq!(install(to, "received/1", &copy.applied, "shards/1-2").unwrap(), RefEpoch(1));
    assert!(!to.exists("received/1").unwrap());
    let replica = open(to, "shards/1-2").unwrap();
    assert_eq!(contents(&replica), flushed);
    // With the log behind the copy it becomes what the first has become.
    write(&replica, 2, 10);
    assert_eq!(contents(&replica), contents(&shard));
    replica.flush().unwrap();
    drop(replica);
    assert_eq!(contents(&open(to, "shards/1-2").unwrap()), contents(&shard));
}

#[test]
fn a_copy_travels_between_disks_in_memory() {
    a_copy_travels(&MemDisk::new(), &MemDisk::new());
}

#[test]
fn a_copy_travels_between_real_disks() {
    let directory = tempfile::tempdir().unwrap();
    let disk = |name: &str| RocksDisk::new(directory.path().join(name), RocksOptions::default()).unwrap();
    a_copy_travels(&disk("a"), &disk("b"));
}

#[test]
fn a_crash_at_any_write_leaves_the_old_replica_and_no_half_of_a_new_one() {
    let source = MemDisk::new();
    let (_shard, copy, flushed) = shard_with_copy(&source);
    for nth in 1.. {
        let disk = MemDisk::new();
        let old = open(&disk, "shards/1-1").unwrap();
        write(&old, 0, 5);
        old.flush().unwrap();
        let before = contents(&old);
        disk.set_faults(Faults { write: Trigger::Nth(nth), ..Faults::default() });
        let carried = carry(&source, "checkpoints/1", &disk, "received/1").map_err(OpenError::from);
        let installed = carried.and_then(|()| install(&disk, "received/1", &copy.applied, "shards/1-2"));
        drop(old);
        disk.set_faults(Faults::default());
        disk.power_loss(Unsynced::SomeKept { seed: nth });
        assert_eq!(contents(&open(&disk, "shards/1-1").unwrap()), before);
        assert_eq!(disk.exists("shards/1-2").unwrap(), installed.is_ok());
        if installed.is_ok() {
            assert_eq!(contents(&open(&disk, "shards/1-2").unwrap()), flushed);
            assert!(nth > 5, "an import writes several times");
            return;
        }
    }
}

#[test]
fn a_copy_that_cannot_be_made_leaves_nothing() {
    let disk = MemDisk::new();
    let (shard, _, _) = shard_with_copy(&disk);
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes() + 10), ..Faults::default() });
    assert!(shard.checkpoint(&disk, "checkpoints/2").unwrap_err().is_disk_full());
    assert!(!disk.exists("checkpoints/2").unwrap());
    disk.set_faults(Faults::default());
    shard.checkpoint(&disk, "checkpoints/2").unwrap();
}

#[test]
fn a_copy_that_does_not_fit_is_refused_before_it_comes() {
    let (source, disk) = (MemDisk::new(), MemDisk::new());
    shard_with_copy(&source);
    disk.set_faults(Faults { capacity_bytes: Some(100), ..Faults::default() });
    assert!(carry(&source, "checkpoints/1", &disk, "received/1").unwrap_err().is_disk_full());
}

#[test]
fn a_copy_that_is_short_long_or_out_of_order_is_refused() {
    let disk = MemDisk::new();
    let (_, copy, _) = shard_with_copy(&disk);
    let receiver = || CheckpointReceiver::new(&disk, "received/1", copy.files.clone()).unwrap();
    let first = &copy.files[0];
    assert!(receiver().finish().unwrap_err().is_corrupt());
    assert!(receiver().append(&first.name, &vec![0; first.bytes as usize + 1]).unwrap_err().is_corrupt());
    assert!(receiver().append(&copy.files[1].name, &[0]).unwrap_err().is_corrupt());
    assert!(receiver().append("unknown", &[]).unwrap_err().is_corrupt());
    let bad_name = bellwether_kv::EngineFile { name: "../outside".to_owned(), bytes: 0 };
    assert!(CheckpointReceiver::new(&disk, "received/1", vec![bad_name]).is_err());
    assert!(!disk.exists("received/1").unwrap());
}

#[test]
fn what_is_no_copy_or_another_one_is_not_installed() {
    let disk = MemDisk::new();
    let (_shard, copy, _) = shard_with_copy(&disk);
    let other = AppliedMark("other".into());
    assert!(install(&disk, "checkpoints/1", &other, "shards/2").unwrap_err().to_string().contains("not of"));
    assert!(install(&disk, "checkpoints/9", &copy.applied, "shards/2").is_err());
    assert!(!disk.exists("checkpoints/9").unwrap(), "a look makes nothing");
    drop(disk.open("empty", SPACES).unwrap());
    assert!(inspect(&disk, "empty").unwrap_err().to_string().contains("no state record"));
    assert!(install(&disk, "checkpoints/1", &copy.applied, "shards/1").is_err(), "a shard is there");
    disk.damage("checkpoints/1", "meta", b"S", Damage::Silent { bit: 99 }).unwrap();
    assert!(install(&disk, "checkpoints/1", &copy.applied, "shards/2").is_err());
    assert!(!disk.exists("shards/2").unwrap());
}

fn split(disk: &dyn KvDisk) {
    let parent = open(disk, "shards/1").unwrap();
    write(&parent, 0, 50);
    parent.flush().unwrap();
    write(&parent, 0, 60);
    write(&parent, 1, 60);
    let (before, samples) = (contents(&parent), 20 * 120);
    let [low, high] = HashRange::split_ring(2)[..] else { panic!("two halves") };

    parent.flush().unwrap();
    let copy = parent.checkpoint(disk, "checkpoints/1").unwrap();
    install(disk, "checkpoints/1", &copy.applied, "shards/2").unwrap();
    let child = open(disk, "shards/2").unwrap();
    assert_eq!(contents(&child), before);
    child.become_child(RefEpoch(2), high, AppliedMark("first".into())).unwrap();
    assert_eq!((child.flushed(), child.ref_epoch()), (AppliedMark("first".into()), RefEpoch(2)));
    let given_up = parent.writer().disown(low);
    assert!(given_up > 0 && given_up < 20, "{given_up} of 20 series lie in the upper half");
    assert_eq!(parent.stats().series + child.stats().series, 20);

    let tenant = Tenant::default_tenant();
    let check = |parent: &Shard, child: &Shard| {
        let mut both = contents(parent).0;
        both.extend(contents(child).0);
        both.sort();
        let mut expected = before.0.clone();
        expected.sort();
        assert_eq!(both, expected, "each series is in one of them, with all its samples");
        let all = [Arc::from([])];
        let request = LabelsRequest { tenant: &tenant, selectors: &all, range: TimeRange::ALL, limit: 100 };
        let never = AtomicBool::new(false);
        let labels = |shard: &Shard| shard.label_values("series", &request, &never).unwrap();
        assert!(labels(parent).iter().all(|value| !labels(child).contains(value)));
        assert_eq!(parent.series(&request, &never).unwrap().len() as u64, 20 - given_up);
    };
    check(&parent, &child);
    drop(child);
    parent.flush().unwrap();
    drop(parent);
    let (parent, child) = (open(disk, "shards/1").unwrap(), open(disk, "shards/2").unwrap());
    assert_eq!(child.ref_epoch(), RefEpoch(2));
    check(&parent, &child);
    for shard in [&parent, &child] {
        shard.seal(9 * WINDOW_MS, SealWhen::AllClosed).unwrap();
    }
    check(&parent, &child);
    for shard in [&parent, &child] {
        assert_eq!(shard.stats().foreign_bytes, 0);
    }
    assert_eq!(
        parent.stats().run_samples + child.stats().run_samples,
        samples,
        "what is foreign is gone from all runs"
    );
    // What the child does not own may come to it no more by an old ref, and what it owns may.
    let shards = [(&parent, 20 - given_up), (&child, given_up)];
    for (shard, living) in shards {
        let refs: Vec<u32> = (0..20).collect();
        let appended = shard.writer().append(&refs, &[WINDOW_MS * 2], &[1.0; 20], TimeRange::ALL);
        assert_eq!((appended.accepted, appended.unknown_ref), (living, 20 - living));
    }
}

#[test]
fn a_split_gives_each_series_to_one_of_two_on_disks_in_memory() {
    split(&MemDisk::new());
}

#[test]
fn a_split_gives_each_series_to_one_of_two_on_real_disks() {
    let directory = tempfile::tempdir().unwrap();
    split(&RocksDisk::new(directory.path().join("data"), RocksOptions::default()).unwrap());
}

#[test]
fn a_crash_before_a_child_is_durable_leaves_the_copy_as_it_was() {
    for nth in 1.. {
        let disk = MemDisk::new();
        let (shard, copy, flushed) = shard_with_copy(&disk);
        drop(shard);
        install(&disk, "checkpoints/1", &copy.applied, "shards/2").unwrap();
        let child = open(&disk, "shards/2").unwrap();
        disk.set_faults(Faults { write: Trigger::Nth(nth), ..Faults::default() });
        let high = HashRange::split_ring(2)[1];
        let became = child.become_child(RefEpoch(2), high, AppliedMark("first".into()));
        drop(child);
        disk.set_faults(Faults::default());
        disk.power_loss(Unsynced::Lost);
        let child = open(&disk, "shards/2").unwrap();
        if became.is_ok() {
            assert_eq!((child.ref_epoch(), child.flushed()), (RefEpoch(2), AppliedMark("first".into())));
            assert!(child.stats().series < 20);
            return;
        }
        assert_eq!((contents(&child), child.ref_epoch()), (flushed, RefEpoch(1)));
    }
}
