//! Random operations do the same to RocksDB and to the engine in memory: both answer alike after each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bellwether_kv::{
    Durability, Error, KeyRange, KvDisk, KvEngine, MemDisk, Space, SpaceConfig, SpaceKind, WriteBatch,
};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use proptest::prelude::*;

const SPACES: [SpaceConfig; 3] = [
    SpaceConfig { name: "meta", kind: SpaceKind::Records },
    SpaceConfig { name: "log", kind: SpaceKind::Log },
    SpaceConfig { name: "runs", kind: SpaceKind::Runs },
];
const RUNS: Space = Space(2);

#[derive(Debug, Clone)]
enum Step {
    Write { space: usize, changes: Vec<Change>, synced: bool },
    Run { keys: Vec<Vec<u8>>, value: Vec<u8> },
    AbandonedRun { keys: Vec<Vec<u8>> },
    Drop { space: usize, first: Vec<u8>, end: Option<Vec<u8>> },
    Get { space: usize, key: Vec<u8> },
    Scan { space: usize, first: Vec<u8>, end: Option<Vec<u8>>, limit: usize },
    Flush,
    Reopen,
    RestoreCheckpoint,
}

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Few and short, so that operations meet: up to three of four bytes, the lowest and the highest among them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(vec![0u8, 1, b'a', 0xff]), 0..4)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    (0..3000usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Change::Put(key, value)),
        1 => key().prop_map(Change::Delete),
        1 => (key(), key()).prop_map(|(first, end)| Change::DeleteRange(first, end)),
    ]
}

fn run_keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::btree_set(key(), 0..4).prop_map(|keys| keys.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let end = || proptest::option::weighted(0.8, key());
    prop_oneof![
        6 => (0..3usize, proptest::collection::vec(change(), 0..8), any::<bool>())
            .prop_map(|(space, changes, synced)| Step::Write { space, changes, synced }),
        6 => (run_keys(), value()).prop_map(|(keys, value)| Step::Run { keys, value }),
        1 => run_keys().prop_map(|keys| Step::AbandonedRun { keys }),
        3 => (0..3usize, key(), end()).prop_map(|(space, first, end)| Step::Drop { space, first, end }),
        2 => (0..4usize, key()).prop_map(|(space, key)| Step::Get { space, key }),
        2 => (0..4usize, key(), end(), 0..10usize)
            .prop_map(|(space, first, end, limit)| Step::Scan { space, first, end, limit }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::RestoreCheckpoint),
    ]
}

struct Subject {
    disk: Arc<dyn KvDisk>,
    engine: Option<Arc<dyn KvEngine>>,
}

type Found = Vec<(Vec<u8>, Vec<u8>)>;

impl Subject {
    fn new(disk: Arc<dyn KvDisk>) -> Self {
        let engine = Some(disk.open("engine", &SPACES).unwrap());
        Self { disk, engine }
    }

    fn engine(&self) -> &dyn KvEngine {
        self.engine.as_deref().unwrap()
    }

    /// What came of a step; an error is only told by its kind.
    fn perform(&mut self, step: &Step) -> String {
        match self.try_perform(step) {
            Ok(answer) => answer,
            Err(Error::Misuse(_)) => "misuse".to_owned(),
            Err(error) => panic!("{step:?}: {error}"),
        }
    }

    fn try_perform(&mut self, step: &Step) -> Result<String, Error> {
        match step {
            Step::Write { space, changes, synced } => {
                let mut batch = WriteBatch::default();
                for change in changes.iter().cloned() {
                    match change {
                        Change::Put(key, value) => batch.put(Space(*space), key, value),
                        Change::Delete(key) => batch.delete(Space(*space), key),
                        Change::DeleteRange(first, end) => batch.delete_range(Space(*space), first, end),
                    }
                }
                let durability = if *synced { Durability::Synced } else { Durability::Buffered };
                self.engine().write(&batch, durability)?;
            }
            Step::Run { keys, value } => {
                let mut run = self.engine().begin_run(RUNS)?;
                for key in keys {
                    run.add(key, value)?;
                }
                run.finish()?;
            }
            Step::AbandonedRun { keys } => {
                let mut run = self.engine().begin_run(RUNS)?;
                for key in keys {
                    run.add(key, b"abandoned")?;
                }
            }
            Step::Drop { space, first, end } => {
                self.engine().drop_range(Space(*space), KeyRange { first, end: end.as_deref() })?;
            }
            Step::Get { space, key } => return Ok(format!("{:?}", self.engine().get(Space(*space), key)?)),
            Step::Scan { space, first, end, limit } => {
                let range = KeyRange { first, end: end.as_deref() };
                return Ok(format!("{:?}", scan(self.engine(), Space(*space), range, *limit)?));
            }
            Step::Flush => self.engine().flush()?,
            Step::Reopen => {
                self.engine = None;
                self.engine = Some(self.disk.open("engine", &SPACES)?);
            }
            Step::RestoreCheckpoint => {
                self.engine().checkpoint(Path::new("copy"))?;
                self.engine = None;
                self.disk.remove("engine")?;
                self.disk.rename("copy", "engine")?;
                self.engine = Some(self.disk.open("engine", &SPACES)?);
            }
        }
        Ok("done".to_owned())
    }

    fn everything(&self) -> Vec<[Found; 2]> {
        let all = KeyRange { first: b"", end: None };
        (0..SPACES.len()).map(|space| scan(self.engine(), Space(space), all, usize::MAX).unwrap()).collect()
    }
}

/// Up to `limit` records and one, forward and back.
fn scan(engine: &dyn KvEngine, space: Space, range: KeyRange<'_>, limit: usize) -> Result<[Found; 2], Error> {
    let mut found = [Found::new(), Found::new()];
    let [forward, back] = &mut found;
    let visit = |found: &mut Found, key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    engine.scan(space, range, &mut |key, value| visit(forward, key, value))?;
    engine.scan_back(space, range, &mut |key, value| visit(back, key, value))?;
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rocksdb_and_memory_answer_alike(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let rocks = RocksDisk::new(directory.path().to_owned(), RocksOptions::default()).unwrap();
        let mut rocks = Subject::new(Arc::new(rocks));
        let mut memory = Subject::new(Arc::new(MemDisk::new()));
        for (number, step) in steps.iter().enumerate() {
            prop_assert_eq!(rocks.perform(step), memory.perform(step), "step {}: {:?}", number, step);
            prop_assert_eq!(rocks.everything(), memory.everything(), "after step {}: {:?}", number, step);
        }
    }
}
