//! What every [`KvDisk`] and its engines must do, as named cases. Each case gets a disk of its own.
//!
//! A case fails by panicking or by an error; [`run`] and [`run_crashes`] say which. What only a simulated disk can be told to
//! do wrong is tested beside it.

mod crashes;
mod disks;
mod files;
mod records;
mod runs;

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Durability, Error, KeyRange, KvDisk, KvEngine, Space, SpaceConfig, SpaceKind, WriteBatch};

pub use crashes::Crashing;

const META: Space = Space(0);
const LOG: Space = Space(1);
const RUNS: Space = Space(2);

const SPACES: [SpaceConfig; 3] = [
    SpaceConfig { name: "meta", kind: SpaceKind::Records },
    SpaceConfig { name: "log", kind: SpaceKind::Log },
    SpaceConfig { name: "runs", kind: SpaceKind::Runs },
];

const ALL: KeyRange<'static> = KeyRange { first: b"", end: None };

type Case = fn(&dyn KvDisk) -> Result<(), Error>;

/// Runs every case on a disk from `new_disk`, which must be empty; panics at the first that fails.
pub fn run(mut new_disk: impl FnMut() -> Arc<dyn KvDisk>) {
    for (name, case) in records::CASES.iter().chain(runs::CASES).chain(disks::CASES).chain(files::CASES) {
        println!("conformance: {name}");
        if let Err(error) = case(new_disk().as_ref()) {
            panic!("conformance: {name}: {error}");
        }
    }
}

/// Runs every case that loses power or kills on a machine from `new_machine`, which must be empty; panics at the first that fails.
pub fn run_crashes(mut new_machine: impl FnMut() -> Box<dyn Crashing>) {
    for (name, case) in crashes::CASES {
        println!("conformance: {name}");
        if let Err(error) = case(&*new_machine()) {
            panic!("conformance: {name}: {error}");
        }
    }
}

fn open(disk: &dyn KvDisk) -> Result<Arc<dyn KvEngine>, Error> {
    disk.open("engine", &SPACES)
}

fn put(engine: &dyn KvEngine, space: Space, keys: &[&[u8]], value: &[u8]) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    for key in keys {
        batch.put(space, *key, Bytes::copy_from_slice(value));
    }
    engine.write(&batch, Durability::Buffered)
}

fn add_run(engine: &dyn KvEngine, keys: &[&[u8]], value: &[u8]) -> Result<u64, Error> {
    let mut run = engine.begin_run(RUNS)?;
    for key in keys {
        run.add(key, value)?;
    }
    run.finish()
}

fn range<'a>(first: &'a [u8], end: &'a [u8]) -> KeyRange<'a> {
    KeyRange { first, end: Some(end) }
}

fn keys(engine: &dyn KvEngine, space: Space, range: KeyRange<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    engine.scan(space, range, &mut |key, _| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    let mut found_back = Vec::new();
    engine.scan_back(space, range, &mut |key, _| {
        found_back.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    found_back.reverse();
    assert_eq!(found, found_back, "a scan and a scan back differ");
    Ok(found)
}

/// Space, key and value of each record, ascending.
type Content = Vec<(usize, Vec<u8>, Vec<u8>)>;

fn contents(engine: &dyn KvEngine) -> Result<Content, Error> {
    let mut found = Vec::new();
    for space in [META, LOG, RUNS] {
        engine.scan(space, ALL, &mut |key, value| {
            found.push((space.0, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

fn assert_misuse<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Misuse(_)) => {}
        Err(error) => panic!("not refused as misuse: {error}"),
        Ok(_) => panic!("not refused as misuse"),
    }
}

fn assert_locked<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Locked(_)) => {}
        Err(error) => panic!("not refused as locked: {error}"),
        Ok(_) => panic!("not refused as locked"),
    }
}
