//! What a loss of power, a failing disk and a crash leave in the files, and what an engine makes of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bellwether_kv::{Durability, Error, KeyRange, KvDisk, KvEngine, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};

const META: Space = Space(0);
const LOG: Space = Space(1);
const RUNS: Space = Space(2);
const SPACES: [SpaceConfig; 3] = [
    SpaceConfig { name: "meta", kind: SpaceKind::Records },
    SpaceConfig { name: "log", kind: SpaceKind::Log },
    SpaceConfig { name: "runs", kind: SpaceKind::Runs },
];
const ALL: KeyRange<'static> = KeyRange { first: b"", end: None };
const VALUE: [u8; 1000] = [b'v'; 1000];

struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn engine_path(&self) -> PathBuf {
        self.directory.path().join("engine")
    }

    fn open(&self) -> Result<Arc<dyn KvEngine>, Error> {
        RocksDisk::new(self.directory.path().to_owned(), RocksOptions::default())?.open("engine", &SPACES)
    }

    /// The files of the engine with this extension, oldest first.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.engine_path()).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        found.sort();
        found
    }

    fn only_file(&self, extension: &str) -> PathBuf {
        let mut files: Vec<_> =
            self.files(extension).into_iter().filter(|path| fs::metadata(path).unwrap().len() > 0).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

fn put(engine: &dyn KvEngine, space: Space, number: usize, durability: Durability) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    batch.put(space, format!("key {number:04}"), VALUE.to_vec());
    engine.write(&batch, durability)
}

fn count(engine: &dyn KvEngine, space: Space) -> Result<usize, Error> {
    let mut found = 0;
    engine.scan(space, ALL, &mut |key, value| {
        assert_eq!(key, format!("key {found:04}").as_bytes());
        assert_eq!(value, VALUE);
        found += 1;
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn flip(path: &Path, position: usize) {
    let mut content = fs::read(path).unwrap();
    content[position] ^= 1;
    fs::write(path, content).unwrap();
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_flipped_byte_in_a_sorted_file_is_reported_with_its_file() {
    for space in [META, LOG, RUNS] {
        let fixture = Fixture::new();
        let engine = fixture.open().unwrap();
        if space == RUNS {
            let mut run = engine.begin_run(RUNS).unwrap();
            for number in 0..100 {
                run.add(format!("key {number:04}").as_bytes(), &VALUE).unwrap();
            }
            run.finish().unwrap();
        } else {
            for number in 0..100 {
                put(&*engine, space, number, Durability::Buffered).unwrap();
            }
            engine.flush().unwrap();
        }
        assert_eq!(count(&*engine, space).unwrap(), 100);
        drop(engine);

        let file = fixture.only_file("sst");
        flip(&file, 10);
        let engine = fixture.open().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let Err(Error::Corrupt(place)) = engine.get(space, b"key 0000") else { panic!("{space:?}: not reported") };
        assert!(place.contains(name), "{place} does not name {name}");
        assert!(matches!(count(&*engine, space), Err(Error::Corrupt(_))));
        assert!(engine.get(space, b"key 0099").unwrap().is_some(), "the rest stays readable");
        put(&*engine, META, 1000, Durability::Synced).unwrap();
    }
}

#[test]
fn a_torn_end_of_the_log_opens_with_all_before_it() {
    const RECORDS: usize = 10;
    for (torn_bytes, zeros) in [(1, 0), (500, 0), (500, 500), (500, 5000), (0, 5000)] {
        let fixture = Fixture::new();
        let engine = fixture.open().unwrap();
        for number in 0..RECORDS {
            put(&*engine, LOG, number, Durability::Synced).unwrap();
        }
        drop(engine);
        let log = fixture.only_file("log");
        let mut content = fs::read(&log).unwrap();
        content.truncate(content.len() - torn_bytes);
        content.resize(content.len() + zeros, 0);
        fs::write(&log, content).unwrap();
        // What is torn once stays in an old log while there are newer ones.
        let whole = if torn_bytes == 0 { RECORDS } else { RECORDS - 1 };
        for round in 0..3 {
            let opened = fixture.open();
            if zeros > 0 && torn_bytes > 0 {
                // Zeros in place of a record's end: a file system that orders data before size leaves none, and it
                // cannot be told from damage.
                assert!(matches!(opened, Err(Error::Corrupt(_))), "{torn_bytes} torn, {zeros} zeros");
                break;
            }
            let engine = opened.unwrap_or_else(|error| panic!("{torn_bytes} torn, {zeros} zeros: {error}"));
            assert_eq!(count(&*engine, LOG).unwrap(), whole + round, "{torn_bytes} torn, {zeros} zeros");
            put(&*engine, LOG, whole + round, Durability::Synced).unwrap();
        }
    }
}

#[test]
fn a_flipped_byte_inside_the_log_is_an_error() {
    const RECORDS: usize = 60;
    let fixture = Fixture::new();
    let engine = fixture.open().unwrap();
    for number in 0..RECORDS {
        put(&*engine, LOG, number, Durability::Synced).unwrap();
    }
    drop(engine);
    let log = fixture.only_file("log");
    let intact = fs::read(&log).unwrap();
    let mut forgotten = 0;
    for position in (0..intact.len()).step_by(97) {
        flip(&log, position);
        match fixture.open() {
            Err(Error::Corrupt(_)) => {}
            Err(error) => panic!("byte {position}: {error}"),
            Ok(engine) => {
                forgotten += 1;
                assert!(count(&*engine, LOG).unwrap() < RECORDS, "byte {position} does not matter");
            }
        }
        // A failed or a shortened open leaves the log as it is.
        fs::write(&log, &intact).unwrap();
    }
    assert_eq!(forgotten, 0);
    assert_eq!(count(&*fixture.open().unwrap(), LOG).unwrap(), RECORDS);
}

#[test]
fn a_lost_file_is_an_error_and_no_silence() {
    let fixture = Fixture::new();
    let engine = fixture.open().unwrap();
    put(&*engine, META, 0, Durability::Synced).unwrap();
    engine.flush().unwrap();
    drop(engine);
    let file = fixture.only_file("sst");
    fs::remove_file(&file).unwrap();
    let Err(error) = fixture.open() else { panic!("opened without {}", file.display()) };
    assert!(error.to_string().contains(file.file_name().unwrap().to_str().unwrap()), "{error}");
}

#[test]
fn what_was_written_is_there_when_the_process_just_ends() {
    let fixture = Fixture::new();
    let engine = fixture.open().unwrap();
    for number in 0..50 {
        put(&*engine, META, number, Durability::Buffered).unwrap();
        put(&*engine, LOG, number, Durability::Buffered).unwrap();
    }
    engine.drop_range(LOG, KeyRange { first: b"key 0040", end: None }).unwrap();
    let mut unfinished = engine.begin_run(RUNS).unwrap();
    unfinished.add(b"key", &VALUE).unwrap();

    // The files as they are now are what a process that is killed leaves.
    let killed = Fixture::new();
    copy_directory(&fixture.engine_path(), &killed.engine_path());
    let staging = killed.directory.path().join(".staging");
    copy_directory(&fixture.directory.path().join(".staging"), &staging);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 1);

    let survivor = killed.open().unwrap();
    assert_eq!(count(&*survivor, META).unwrap(), 50);
    assert_eq!(count(&*survivor, LOG).unwrap(), 40);
    assert_eq!(count(&*survivor, RUNS).unwrap(), 0);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "an unfinished run goes at the next start");
}

#[test]
fn an_empty_engine_is_tiny_and_stays_so() {
    const EMPTY_BYTES_MAX: u64 = 64 << 10;
    let fixture = Fixture::new();
    for _ in 0..5 {
        let engine = fixture.open().unwrap();
        put(&*engine, META, 0, Durability::Synced).unwrap();
        let mut batch = WriteBatch::default();
        batch.delete(META, "key 0000");
        engine.write(&batch, Durability::Synced).unwrap();
        engine.flush().unwrap();
        let bytes = engine.disk_bytes().unwrap();
        assert!(bytes <= EMPTY_BYTES_MAX, "{bytes} bytes");
        let files =
            fs::read_dir(fixture.engine_path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks());
        assert_eq!(bytes, (files.sum::<u64>() + fs::metadata(fixture.engine_path()).unwrap().blocks()) * 512);
    }
}
