//! What only a disk in memory can be told: lose power, fail, fill up, rot. The rest is the conformance suite.

use proptest::prelude::*;

use super::*;
use crate::conformance;

const META: Space = Space(0);
const RUNS: Space = Space(1);
const SPACES: [SpaceConfig; 2] =
    [SpaceConfig { name: "meta", kind: SpaceKind::Records }, SpaceConfig { name: "runs", kind: SpaceKind::Runs }];
const ALL: KeyRange<'static> = KeyRange { first: b"", end: None };

fn open(disk: &MemDisk) -> Arc<dyn KvEngine> {
    disk.open("engine", &SPACES).unwrap()
}

fn put(engine: &dyn KvEngine, key: &str, durability: Durability) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    batch.put(META, key, "value");
    engine.write(&batch, durability)
}

fn keys(engine: &dyn KvEngine) -> Vec<String> {
    let mut found = Vec::new();
    engine
        .scan(META, ALL, &mut |key, _| {
            found.push(String::from_utf8(key.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn the_memory_disk_passes_the_conformance_suite() {
    conformance::run(|| Arc::new(MemDisk::new()));
}

struct Machine(MemDisk);

impl conformance::Crashing for Machine {
    fn start(&self) -> Arc<dyn KvDisk> {
        self.0.crash();
        Arc::new(self.0.clone())
    }

    fn lose_power(&self) {
        self.0.power_loss(Unsynced::Lost);
    }
}

#[test]
fn the_memory_disk_passes_the_crash_cases() {
    conformance::run_crashes(|| Box::new(Machine(MemDisk::new())));
}

#[test]
fn a_durable_copy_shows_what_a_loss_of_power_would_leave() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Synced).unwrap();
    put(&*engine, "b", Durability::Buffered).unwrap();
    let durable = disk.durable("engine");
    assert_eq!(keys(&*open(&durable)), ["a"]);
    assert_eq!(keys(&*engine), ["a", "b"], "the disk itself stays as it is");
    put(&*engine, "c", Durability::Synced).unwrap();
    assert_eq!(keys(&*open(&disk.durable("engine"))), ["a", "b", "c"]);
    assert!(!disk.durable("elsewhere").exists("engine").unwrap());
}

#[test]
fn a_crash_keeps_what_was_written_and_closes_the_old_handles() {
    let disk = MemDisk::new();
    let old = open(&disk);
    put(&*old, "a", Durability::Buffered).unwrap();
    disk.crash();
    assert!(old.get(META, b"a").is_err());
    assert!(put(&*old, "b", Durability::Synced).is_err());
    let new = open(&disk);
    drop(old);
    assert!(matches!(disk.open("engine", &SPACES), Err(Error::Locked(_))), "the old handle must not close the new one");
    assert_eq!(keys(&*new), ["a"]);
}

#[test]
fn a_power_loss_takes_what_was_not_synced() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Buffered).unwrap();
    put(&*engine, "b", Durability::Synced).unwrap();
    let mut batch = WriteBatch::default();
    batch.delete(META, "a");
    batch.put(META, "b", "overwritten");
    batch.put(META, "c", "");
    batch.delete_range(META, "a", "z");
    batch.put(META, "d", "");
    engine.write(&batch, Durability::Buffered).unwrap();
    assert_eq!(keys(&*engine), ["d"]);
    disk.power_loss(Unsynced::Lost);
    let engine = open(&disk);
    assert_eq!(keys(&*engine), ["a", "b"]);
    assert_eq!(engine.get(META, b"b").unwrap(), Some(Bytes::from("value")));
}

#[test]
fn flush_and_drop_range_make_earlier_writes_durable_and_a_run_is_durable_alone() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Buffered).unwrap();
    engine.flush().unwrap();
    put(&*engine, "b", Durability::Buffered).unwrap();
    engine.drop_range(META, KeyRange { first: b"x", end: None }).unwrap();
    put(&*engine, "c", Durability::Buffered).unwrap();
    let mut run = engine.begin_run(RUNS).unwrap();
    run.add(b"r", b"pack").unwrap();
    run.finish().unwrap();
    disk.power_loss(Unsynced::Lost);
    let engine = open(&disk);
    assert_eq!(keys(&*engine), ["a", "b"]);
    assert_eq!(engine.get(RUNS, b"r").unwrap(), Some(Bytes::from("pack")));
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Synced).unwrap();
    let capacity_bytes = Some(disk.used_bytes() + 10);
    disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
    assert_eq!(engine.free_bytes().unwrap(), 10);
    assert!(matches!(put(&*engine, "b", Durability::Synced), Err(Error::DiskFull(_))));
    let mut run = engine.begin_run(RUNS).unwrap();
    run.add(b"r", b"pack").unwrap();
    assert!(matches!(run.finish(), Err(Error::DiskFull(_))));
    assert!(matches!(engine.checkpoint(Path::new("copy")), Err(Error::DiskFull(_))));
    assert!(matches!(disk.write_small_file("file", b"eleven byte"), Err(Error::DiskFull(_))));
    assert_eq!(keys(&*engine), ["a"]);
    engine.drop_range(META, ALL).unwrap();
    put(&*engine, "b", Durability::Synced).unwrap();
    assert_eq!(keys(&*engine), ["b"]);
}

#[test]
fn a_failed_read_or_write_changes_nothing_and_passes() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    disk.set_faults(Faults { read: Trigger::Nth(2), write: Trigger::Nth(2), ..Faults::default() });
    put(&*engine, "a", Durability::Buffered).unwrap();
    assert!(matches!(put(&*engine, "b", Durability::Buffered), Err(Error::Io(_))));
    put(&*engine, "c", Durability::Buffered).unwrap();
    assert!(engine.get(META, b"a").unwrap().is_some());
    assert!(matches!(engine.get(META, b"a"), Err(Error::Io(_))));
    assert_eq!(keys(&*engine), ["a", "c"]);
}

#[test]
fn after_a_failed_sync_no_write_is_taken_until_reopened() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    disk.set_faults(Faults { sync: Trigger::Nth(1), ..Faults::default() });
    assert!(matches!(put(&*engine, "a", Durability::Synced), Err(Error::SyncFailed(_))));
    assert!(matches!(put(&*engine, "b", Durability::Buffered), Err(Error::SyncFailed(_))));
    assert!(matches!(engine.flush(), Err(Error::SyncFailed(_))));
    assert_eq!(keys(&*engine), ["a"]);
    disk.power_loss(Unsynced::Lost);
    let engine = open(&disk);
    assert!(keys(&*engine).is_empty());
    put(&*engine, "b", Durability::Synced).unwrap();
}

#[test]
fn noticed_damage_is_reported_with_its_place_until_overwritten() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Synced).unwrap();
    put(&*engine, "b", Durability::Synced).unwrap();
    disk.damage("engine", "meta", b"a", Damage::Noticed).unwrap();
    let Err(Error::Corrupt(place)) = engine.get(META, b"a") else { panic!("damage must be noticed") };
    assert!(place.contains("engine") && place.contains("meta"), "{place}");
    assert!(matches!(engine.scan(META, ALL, &mut |_, _| ControlFlow::Continue(())), Err(Error::Corrupt(_))));
    assert!(engine.get(META, b"b").unwrap().is_some());
    put(&*engine, "a", Durability::Synced).unwrap();
    assert!(engine.get(META, b"a").unwrap().is_some());
}

#[test]
fn silent_damage_flips_one_bit() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Synced).unwrap();
    disk.damage("engine", "meta", b"a", Damage::Silent { bit: 8 }).unwrap();
    assert_eq!(engine.get(META, b"a").unwrap(), Some(Bytes::from("v`lue")));
    assert!(disk.damage("engine", "meta", b"b", Damage::Noticed).is_err());
    assert!(disk.damage("other", "meta", b"a", Damage::Noticed).is_err());
}

#[test]
fn an_engine_of_its_own_works() {
    let engine = MemEngine::new(&SPACES).unwrap();
    put(&engine, "a", Durability::Synced).unwrap();
    assert_eq!(keys(&engine), ["a"]);
}

proptest! {
    /// Batch number `n` writes the key of its number, deletes that of the one before and overwrites a shared one.
    #[test]
    fn a_power_loss_keeps_a_prefix_of_whole_batches_from_the_last_sync_on(
        synced in proptest::collection::vec(any::<bool>(), 1..30),
        seed in any::<u64>(),
    ) {
        let survivors = |seed| {
            let disk = MemDisk::new();
            let engine = open(&disk);
            for (number, synced) in synced.iter().enumerate() {
                let mut batch = WriteBatch::default();
                batch.put(META, format!("n{number:03}"), "");
                batch.put(META, "shared", format!("{number}"));
                if number > 0 {
                    batch.delete(META, format!("n{:03}", number - 1));
                }
                engine.write(&batch, if *synced { Durability::Synced } else { Durability::Buffered }).unwrap();
            }
            disk.power_loss(Unsynced::SomeKept { seed });
            let engine = open(&disk);
            (keys(&*engine), engine.get(META, b"shared").unwrap())
        };
        let (found, shared) = survivors(seed);
        prop_assert_eq!(survivors(seed), (found.clone(), shared.clone()), "a seed must repeat its outcome");
        let first_kept = synced.iter().rposition(|synced| *synced);
        match shared {
            None => {
                prop_assert!(found.is_empty());
                prop_assert_eq!(first_kept, None);
            }
            Some(last) => {
                let last: usize = std::str::from_utf8(&last).unwrap().parse().unwrap();
                prop_assert!(first_kept.is_none_or(|first| last >= first));
                prop_assert_eq!(found, vec![format!("n{last:03}"), "shared".to_owned()]);
            }
        }
    }
}

#[test]
fn rot_hits_a_record_below_the_directory_that_is_named() {
    let disk = MemDisk::new();
    let engine = open(&disk);
    put(&*engine, "a", Durability::Synced).unwrap();
    assert_eq!(disk.damage_some("elsewhere", 1), None);
    assert_eq!(disk.damage_some("eng", 1), None);
    let seeds = 0..20;
    let damaged = seeds.filter(|seed| {
        put(&*engine, "a", Durability::Synced).unwrap();
        assert!(disk.damage_some("engine", *seed).is_some_and(|what| what.starts_with("engine, space")));
        match engine.get(META, b"a") {
            Ok(value) => value.is_none_or(|value| value != b"value"[..]),
            Err(error) => matches!(error, Error::Corrupt(_)),
        }
    });
    assert_eq!(damaged.count(), 20);
}
