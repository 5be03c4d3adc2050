//! A file system without space, and with space again: needs root, to mount a small one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_kv::{Durability, Error, KeyRange, KvDisk, KvEngine, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const LOG: Space = Space(0);
const RUNS: Space = Space(1);
const SPACES: [SpaceConfig; 2] =
    [SpaceConfig { name: "log", kind: SpaceKind::Log }, SpaceConfig { name: "runs", kind: SpaceKind::Runs }];
const ALL: KeyRange<'static> = KeyRange { first: b"", end: None };
const VALUE_BYTES: usize = 64 << 10;
/// RocksDB looks every 5 s whether there is space for a full write buffer again.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

struct SmallFileSystem {
    directory: tempfile::TempDir,
}

impl SmallFileSystem {
    /// `None` without the right to mount.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), Some(c"size=64m")) {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                println!("not run: mounting a small file system needs root ({error})");
                None
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = unmount(self.directory.path(), UnmountFlags::DETACH);
    }
}

fn append(engine: &dyn KvEngine, number: u64) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    batch.put(LOG, number.to_be_bytes(), vec![number as u8; VALUE_BYTES]);
    engine.write(&batch, Durability::Synced)
}

/// The numbers of the log's entries, each checked.
fn numbers(engine: &dyn KvEngine) -> Vec<u64> {
    let mut found = Vec::new();
    engine
        .scan(LOG, ALL, &mut |key, value| {
            let number = u64::from_be_bytes(key.try_into().unwrap());
            assert!(value.len() == VALUE_BYTES && value.iter().all(|byte| *byte == number as u8), "entry {number}");
            found.push(number);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space_and_loses_nothing() {
    let Some(file_system) = SmallFileSystem::new() else { return };
    fs::write(file_system.ballast(), vec![1; 40 << 20]).unwrap();
    let open = || {
        let disk = RocksDisk::new(file_system.directory.path().to_owned(), RocksOptions::default()).unwrap();
        disk.open("engine", &SPACES).unwrap()
    };
    let engine = open();
    let mut acknowledged = Vec::new();
    let refusal = (0..).find_map(|number| match append(&*engine, number) {
        Ok(()) => {
            acknowledged.push(number);
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(refusal, Some(Error::DiskFull(_))), "{refusal:?}");
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());

    // Full: reads go on, writes and runs are refused as such.
    assert_eq!(numbers(&*engine), acknowledged);
    for _ in 0..3 {
        let refused = append(&*engine, u64::MAX);
        assert!(matches!(refused, Err(Error::DiskFull(_))), "{refused:?}");
    }
    let mut run = engine.begin_run(RUNS).unwrap();
    let written = (0..1000u32).try_for_each(|number| run.add(&number.to_be_bytes(), &[0; VALUE_BYTES]));
    let refused = written.and_then(|()| run.finish().map(|_| ()));
    assert!(matches!(refused, Err(Error::DiskFull(_))), "{refused:?}");

    // Space again: writes go on by themselves.
    fs::remove_file(file_system.ballast()).unwrap();
    let next = acknowledged.len() as u64;
    let mut waited = Duration::ZERO;
    while let Err(error) = append(&*engine, next) {
        assert!(matches!(error, Error::DiskFull(_)), "{error}");
        assert!(waited < PATIENCE, "no write was taken {PATIENCE:?} after there was space: {error}");
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
    println!("the first write was taken after {waited:?}");
    acknowledged.push(next);
    assert_eq!(numbers(&*engine), acknowledged);
    let mut run = engine.begin_run(RUNS).unwrap();
    run.add(b"a", &[0; VALUE_BYTES]).unwrap();
    run.finish().unwrap();
    drop(engine);
    let engine = open();
    assert_eq!(numbers(&*engine), acknowledged);
    assert!(engine.get(RUNS, b"a").unwrap().is_some());
}
