//! A shard on a failing disk: nothing that was flushed is lost, nothing damaged is returned, and what failed can be tried again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use std::ops::ControlFlow;
use std::path::Path;

use bellwether_kv::{
    Damage, Durability, Error, Faults, KeyRange, KvDisk, KvEngine, MemDisk, RunWriter, Space, Trigger, Unsynced,
    WriteBatch,
};
use bellwether_model::{Labels, RefEpoch, SeriesHash, Tenant, TimeRange, limits::WINDOW_MS};
use bellwether_tsdb::{
    AppliedMark, LabelsRequest, PackCache, SPACES, SealWhen, SelectError, SelectLimits, SelectRequest, Shard,
    ShardMetrics, ShardOptions,
};
use parking_lot::Mutex;

#[path = "support/histograms.rs"]
mod histograms;

use histograms::{chunk, code_of, histogram};

const SERIES: u32 = 20;

fn open(disk: &MemDisk) -> Result<Shard, bellwether_tsdb::OpenError> {
    let engine = disk.open("shard", SPACES).unwrap();
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
    Shard::open(engine, ShardOptions { new_ref_epoch: RefEpoch(1) }, PackCache::new(1 << 20), metrics)
}

fn write(shard: &Shard, window: i64, rows: i64) {
    let tenant = Tenant::default_tenant();
    let mut writer = shard.writer();
    for series in 0..SERIES {
        let labels = Labels::of(&[("__name__", "m"), ("series", &series.to_string())]);
        let series = writer.register(SeriesHash::of(&tenant, &labels), &tenant, &labels).unwrap();
        for row in 0..rows {
            let at = window * WINDOW_MS + row * 1000;
            // Some series are of histograms, some change from floats to histograms.
            if series.0.is_multiple_of(5) || series.0 % 5 == 1 && row > 20 {
                let chunk = chunk(&histogram(row as u8));
                writer.append_histograms([(series.0, at, &chunk[..])].into_iter(), TimeRange::ALL);
            } else {
                writer.append(&[series.0], &[at], &[row as f64 * 1.5], TimeRange::ALL);
            }
        }
    }
    writer.mark_applied(AppliedMark(window.to_string().into()), 0, 0);
}

fn count(shard: &Shard) -> Result<usize, SelectError> {
    let tenant = Tenant::default_tenant();
    let limits = SelectLimits { series: 1000, samples: 1_000_000 };
    let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits };
    let selected = shard.select(&request, &AtomicBool::new(false))?;
    selected.iter().for_each(|series| {
        let found = series.histograms.iter().flat_map(|found| &found.histograms);
        found.for_each(|found| assert!(code_of(found) > 0));
    });
    Ok(selected.iter().map(|series| series.sample_count()).sum())
}

fn keys(disk: &MemDisk, space: Space) -> Vec<Vec<u8>> {
    let engine = disk.open("shard", SPACES).unwrap();
    let mut keys = Vec::new();
    engine
        .scan(space, KeyRange { first: &[], end: None }, &mut |key, _| {
            keys.push(key.to_vec());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

#[test]
fn a_flush_that_fails_at_any_write_loses_nothing_and_can_be_repeated() {
    for nth in 1.. {
        let disk = MemDisk::new();
        let shard = open(&disk).unwrap();
        write(&shard, 0, 50);
        shard.flush().unwrap();
        write(&shard, 1, 50);
        write(&shard, 2, 50);
        disk.set_faults(Faults { write: Trigger::Nth(nth), ..Faults::default() });
        let failed = shard.flush().is_err();
        disk.set_faults(Faults::default());
        assert_eq!(count(&shard).unwrap(), 3 * 50 * SERIES as usize, "after failure {nth}");
        shard.flush().unwrap();
        shard.seal(9 * WINDOW_MS, SealWhen::AllClosed).unwrap();
        assert_eq!(count(&shard).unwrap(), 3 * 50 * SERIES as usize, "after failure {nth} and a repeat");
        drop(shard);
        disk.power_loss(Unsynced::Lost);
        assert_eq!(count(&open(&disk).unwrap()).unwrap(), 3 * 50 * SERIES as usize);
        if !failed {
            assert!(nth > 3, "a flush writes several times");
            return;
        }
    }
}

#[test]
fn a_crash_at_any_write_of_flush_and_seal_keeps_what_was_flushed() {
    for nth in 1.. {
        let disk = MemDisk::new();
        let shard = open(&disk).unwrap();
        write(&shard, 0, 50);
        shard.flush().unwrap();
        write(&shard, 0, 60);
        disk.set_faults(Faults { write: Trigger::Nth(nth), ..Faults::default() });
        let failed = shard.seal(9 * WINDOW_MS, SealWhen::AllClosed).is_err();
        drop(shard);
        disk.set_faults(Faults::default());
        disk.power_loss(Unsynced::SomeKept { seed: nth });
        let shard = open(&disk).unwrap();
        let counted = count(&shard).unwrap();
        assert!(counted == 50 * SERIES as usize || counted == 60 * SERIES as usize, "{counted} samples");
        assert!(failed || counted == 60 * SERIES as usize);
        if !failed {
            return;
        }
    }
}

#[test]
fn a_full_disk_is_named_and_a_flush_works_once_there_is_room() {
    let disk = MemDisk::new();
    let shard = open(&disk).unwrap();
    write(&shard, 0, 50);
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes() + 100), ..Faults::default() });
    assert!(shard.flush().unwrap_err().is_disk_full());
    assert_eq!(count(&shard).unwrap(), 50 * SERIES as usize);
    disk.set_faults(Faults::default());
    shard.flush().unwrap();
    drop(shard);
    assert_eq!(count(&open(&disk).unwrap()).unwrap(), 50 * SERIES as usize);
}

#[test]
fn a_flipped_bit_in_any_stored_value_is_reported_with_its_place() {
    let written = || {
        let disk = MemDisk::new();
        let shard = open(&disk).unwrap();
        write(&shard, 0, 50);
        shard.flush().unwrap();
        disk
    };
    for (name, space) in [("meta", Space(0)), ("runs", Space(1))] {
        for key in keys(&written(), space) {
            for damage in [Damage::Noticed, Damage::Silent { bit: 3 }, Damage::Silent { bit: 200 }] {
                let disk = written();
                let shard = open(&disk).unwrap();
                shard.verify().unwrap();
                disk.damage("shard", name, &key, damage).unwrap();
                assert!(shard.verify().unwrap_err().is_corrupt(), "{key:?}, {damage:?}");
                drop(shard);
                let opened = open(&disk);
                let message = match &opened {
                    Err(error) => error.to_string(),
                    Ok(shard) => match count(shard) {
                        Err(error) => error.to_string(),
                        // The list of series is read by listings alone.
                        Ok(_) => {
                            let tenant = Tenant::default_tenant();
                            let selectors = [Arc::from([])];
                            let request = LabelsRequest {
                                tenant: &tenant,
                                selectors: &selectors,
                                range: TimeRange::ALL,
                                limit: 10,
                            };
                            shard.series(&request, &AtomicBool::new(false)).unwrap_err().to_string()
                        }
                    },
                };
                assert!(message.contains("orrupt") || message.contains("format version"), "{message}");
                assert!(
                    ["run", "record", "registry", "state", "window"].iter().any(|place| message.contains(place)),
                    "{message}"
                );
            }
        }
    }
}

#[test]
fn runs_of_an_unfinished_flush_are_removed_at_open() {
    let disk = MemDisk::new();
    let shard = open(&disk).unwrap();
    write(&shard, 0, 50);
    shard.flush().unwrap();
    let before = keys_after(&disk, shard);
    let shard = open(&disk).unwrap();
    write(&shard, 1, 50);
    // The run is there, the record that names it is not, and neither is the attempt to remove the run.
    disk.set_faults(Faults { sync: Trigger::Nth(2), ..Faults::default() });
    assert!(shard.flush().is_err());
    drop(shard);
    disk.set_faults(Faults::default());
    disk.power_loss(Unsynced::Lost);
    drop(open(&disk).unwrap());
    assert_eq!(keys(&disk, Space(1)), before);
}

fn keys_after(disk: &MemDisk, shard: Shard) -> Vec<Vec<u8>> {
    drop(shard);
    keys(disk, Space(1))
}

/// Series 0 to 9 are last written in Window 0, the others in Window 3; then Window 0 goes.
fn write_and_drop(shard: &Shard) {
    write(shard, 0, 50);
    shard.flush().unwrap();
    let kept: Vec<u32> = (SERIES / 2..SERIES).collect();
    let mut writer = shard.writer();
    writer.append(&kept, &[3 * WINDOW_MS], &vec![1.0; kept.len()], TimeRange::ALL);
    writer.raise_floor(WINDOW_MS);
    writer.mark_applied(AppliedMark("dropped".into()), 0, 1);
}

fn expire(shard: &Shard) {
    let mut writer = shard.writer();
    assert_eq!(writer.expire_series(WINDOW_MS), u64::from(SERIES / 2));
    writer.mark_applied(AppliedMark("expired".into()), 0, 2);
}

#[test]
fn an_expiry_survives_a_flush_that_fails_at_any_write() {
    for nth in 1.. {
        let disk = MemDisk::new();
        let shard = open(&disk).unwrap();
        write_and_drop(&shard);
        let dropped = shard.state_hash();
        expire(&shard);
        let expired = shard.state_hash();
        disk.set_faults(Faults { write: Trigger::Nth(nth), ..Faults::default() });
        let failed = shard.flush().is_err();
        disk.set_faults(Faults::default());
        assert_eq!(shard.stats().series, u64::from(SERIES / 2));
        if nth % 2 == 0 {
            shard.flush().unwrap();
        }
        drop(shard);
        disk.power_loss(Unsynced::SomeKept { seed: nth });
        let shard = open(&disk).unwrap();
        if shard.flushed() == AppliedMark("0".into()) {
            assert_eq!(shard.stats().series, u64::from(SERIES));
        } else {
            assert_eq!((shard.flushed(), shard.state_hash()), (AppliedMark("expired".into()), expired));
            assert_eq!(shard.stats().series, u64::from(SERIES / 2));
            assert_eq!(count(&shard).unwrap(), SERIES as usize / 2);
        }
        assert_ne!(dropped, expired);
        if !failed {
            assert!(nth > 1, "a flush writes several times");
            return;
        }
    }
}

/// An engine that does something right before its next run.
struct Interrupted {
    engine: Arc<dyn KvEngine>,
    before_run: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl KvEngine for Interrupted {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<bytes::Bytes>, Error> {
        self.engine.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.engine.scan(space, range, visit)
    }

    fn scan_back(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.engine.scan_back(space, range, visit)
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<(), Error> {
        self.engine.write(batch, durability)
    }

    fn begin_run(&self, space: Space) -> Result<Box<dyn RunWriter + '_>, Error> {
        if let Some(interrupt) = self.before_run.lock().take() {
            interrupt();
        }
        self.engine.begin_run(space)
    }

    fn drop_range(&self, space: Space, range: KeyRange<'_>) -> Result<(), Error> {
        self.engine.drop_range(space, range)
    }

    fn flush(&self) -> Result<(), Error> {
        self.engine.flush()
    }

    fn checkpoint(&self, destination: &Path) -> Result<(), Error> {
        self.engine.checkpoint(destination)
    }

    fn disk_bytes(&self) -> Result<u64, Error> {
        self.engine.disk_bytes()
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.engine.free_bytes()
    }
}

#[test]
fn a_flush_that_an_expiry_meets_stores_the_moment_before_it() {
    let disk = MemDisk::new();
    let engine = Arc::new(Interrupted { engine: disk.open("shard", SPACES).unwrap(), before_run: Mutex::new(None) });
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
    let options = ShardOptions { new_ref_epoch: RefEpoch(1) };
    let shard = Arc::new(Shard::open(engine.clone(), options, PackCache::new(1 << 20), metrics).unwrap());
    write_and_drop(&shard);
    let dropped = shard.state_hash();
    let expiring = shard.clone();
    *engine.before_run.lock() = Some(Box::new(move || expire(&expiring)));
    assert_eq!(shard.flush().unwrap(), AppliedMark("dropped".into()));
    let expired = shard.state_hash();
    assert_eq!(shard.stats().series, u64::from(SERIES / 2));
    drop((shard, engine));
    disk.crash();
    let shard = open(&disk).unwrap();
    assert_eq!((shard.stats().series, shard.state_hash()), (u64::from(SERIES), dropped));
    expire(&shard);
    assert_eq!(shard.state_hash(), expired);
    shard.flush().unwrap();
    drop(shard);
    assert_eq!(open(&disk).unwrap().stats().series, u64::from(SERIES / 2));
}
