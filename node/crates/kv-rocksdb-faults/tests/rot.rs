//! A disk that returns other bytes than were written, or none: the engine says so, or shows what was written; never anything else.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bellwether_kv::{Durability, Error, KeyRange, KvDisk, KvEngine, Space, SpaceConfig, SpaceKind, WriteBatch};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_kv_rocksdb_faults::{Faults, Machine};

const META: Space = Space(0);
const RUNS: Space = Space(1);
const SPACES: [SpaceConfig; 2] =
    [SpaceConfig { name: "meta", kind: SpaceKind::Records }, SpaceConfig { name: "runs", kind: SpaceKind::Runs }];
const FLIPS_PER_FILE: usize = 12;

type Content = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

fn open(machine: &Machine) -> Result<Arc<dyn KvEngine>, Error> {
    let options = RocksOptions { background_merges: false, ..RocksOptions::default() };
    RocksDisk::on(Arc::new(machine.start()), PathBuf::from("/data"), options)?.open("engine", &SPACES)
}

fn content(engine: &dyn KvEngine) -> Result<Content, Error> {
    let mut found = Content::new();
    for space in [META, RUNS] {
        engine.scan(space, KeyRange { first: b"", end: None }, &mut |key, value| {
            found.insert((space, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// A machine with an engine that was closed, all in sorted files, and what it holds.
fn filled() -> (Machine, Content) {
    let machine = Machine::new();
    let engine = open(&machine).unwrap();
    for flush in 0..2 {
        let mut batch = WriteBatch::default();
        for number in 0..20 {
            batch.put(META, format!("{flush} {number}"), vec![number; 300]);
        }
        engine.write(&batch, Durability::Synced).unwrap();
        let mut run = engine.begin_run(RUNS).unwrap();
        for number in 0..20 {
            run.add(format!("{flush} {number:02}").as_bytes(), &[number; 300]).unwrap();
        }
        run.finish().unwrap();
        engine.flush().unwrap();
    }
    let written = content(&*engine).unwrap();
    (machine, written)
}

#[test]
fn a_flipped_bit_in_a_sorted_file_or_the_manifests_name_is_noticed_or_harmless() {
    let files: Vec<(String, usize)> = filled().0.files();
    let (mut noticed, mut harmless) = (BTreeSet::new(), 0);
    for (path, bytes) in files.iter().filter(|(path, _)| path.ends_with(".sst") || path.ends_with("CURRENT")) {
        for flip in 0..FLIPS_PER_FILE {
            let (machine, written) = filled();
            assert!(machine.flip_bit(path, (flip * bytes * 8 / FLIPS_PER_FILE) + flip % 8), "{path}");
            match open(&machine).and_then(|engine| content(&*engine)) {
                Ok(found) => {
                    assert_eq!(found, written, "{path}, flip {flip}");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt(_) | Error::Io(_)), "{path}, flip {flip}: {error}");
                    noticed.insert(path);
                }
            }
        }
    }
    assert!(noticed.len() >= 4, "noticed in {noticed:?}, {harmless} harmless");
}

#[test]
fn a_read_that_fails_is_an_error_and_the_next_one_goes_on() {
    let mut failed = 0;
    for read in 1..40 {
        let (machine, written) = filled();
        let engine = open(&machine).unwrap();
        machine.set_faults(Faults { read_fails_at: Some(read), ..Faults::default() });
        match content(&*engine) {
            Ok(found) => assert_eq!(found, written, "read {read}"),
            Err(error) => {
                failed += 1;
                assert!(matches!(error, Error::Io(_)), "read {read}: {error}");
                assert_eq!(content(&*engine).unwrap(), written, "after read {read}");
            }
        }
    }
    assert!(failed > 5, "{failed} reads failed");
}
