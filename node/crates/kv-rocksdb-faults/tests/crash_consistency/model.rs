//! What a disk may hold after a crash: everything acknowledged as durable, then the first few of the buffered batches, whole,
//! and what was being done done or not.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bellwether_kv::{Error, KeyRange, KvEngine, Operation, Space, SpaceConfig, SpaceKind, WriteBatch};
use bytes::Bytes;

pub const META: Space = Space(0);
pub const LOG: Space = Space(1);
pub const RUNS: Space = Space(2);
pub const SPACES: [SpaceConfig; 3] = [
    SpaceConfig { name: "meta", kind: SpaceKind::Records },
    SpaceConfig { name: "log", kind: SpaceKind::Log },
    SpaceConfig { name: "runs", kind: SpaceKind::Runs },
];

/// What an engine holds, by space and key.
pub type Content = BTreeMap<(Space, Vec<u8>), Bytes>;

/// What a disk holds: an engine, copies of it, small files.
#[derive(Clone, Default, PartialEq)]
pub struct World {
    pub engine: Content,
    pub copies: BTreeMap<String, Content>,
    pub files: BTreeMap<String, Bytes>,
}

/// What was being done when the process ended.
#[derive(Clone)]
pub enum Flight {
    Write(WriteBatch),
    Run(Content),
    Drop {
        space: Space,
        first: Vec<u8>,
        end: Vec<u8>,
    },
    /// Something beside the engine, or in its place.
    Disk {
        engine: Option<Content>,
        copies: BTreeMap<String, Content>,
        files: BTreeMap<String, Bytes>,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What it wrote stays.
    Killed,
    /// What was not synced may be lost.
    PowerLoss,
}

#[derive(Default)]
pub struct Model {
    /// What must survive.
    pub durable: World,
    /// What was written since, in order.
    buffered: Vec<WriteBatch>,
    /// The engine as its process sees it.
    pub live: Content,
    pub flight: Option<Flight>,
}

impl Model {
    pub fn wrote(&mut self, batch: WriteBatch) {
        apply(&mut self.live, &batch);
        self.buffered.push(batch);
    }

    pub fn added_run(&mut self, run: Content) {
        self.live.extend(run.clone());
        self.durable.engine.extend(run);
    }

    pub fn dropped(&mut self, space: Space, first: &[u8], end: &[u8]) {
        self.live.retain(|key, _| !is_inside(key, space, first, end));
    }

    /// All that was written is durable.
    pub fn synced(&mut self) {
        self.durable.engine = self.live.clone();
        self.buffered.clear();
    }

    /// The engine is another one.
    pub fn replaced(&mut self, engine: Content) {
        self.live = engine;
        self.synced();
    }

    /// Buffered batches.
    pub fn buffered(&self) -> usize {
        self.buffered.len()
    }

    /// Takes what a new process found as what is durable now, if it could be; says how many buffered batches survived.
    pub fn found(&mut self, found: World, end: End) -> Result<usize, String> {
        let survivors = self.explain(&found, end)?;
        self.live = found.engine.clone();
        self.durable = found;
        self.buffered.clear();
        self.flight = None;
        Ok(survivors)
    }

    fn explain(&self, found: &World, end: End) -> Result<usize, String> {
        let all = self.buffered.len();
        let mut before = self.durable.clone();
        for kept in 0..=all {
            if (end == End::PowerLoss || kept == all) && self.could_be(found, &before, kept == all) {
                return Ok(kept);
            }
            if let Some(batch) = self.buffered.get(kept) {
                apply(&mut before.engine, batch);
            }
        }
        Err(self.difference(found, end, &before))
    }

    fn could_be(&self, found: &World, before: &World, has_all: bool) -> bool {
        if found == before {
            return true;
        }
        match &self.flight {
            None => false,
            Some(Flight::Write(batch)) => {
                let mut after = before.clone();
                apply(&mut after.engine, batch);
                has_all && *found == after
            }
            Some(Flight::Run(run)) => {
                let mut after = before.clone();
                after.engine.extend(run.clone());
                *found == after
            }
            Some(Flight::Drop { space, first, end }) => {
                let outside = |content: &Content| -> Content {
                    let kept = content.iter().filter(|(key, _)| !is_inside(key, *space, first, end));
                    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
                };
                let same_outside = outside(&found.engine) == outside(&before.engine);
                let nothing_new = found.engine.iter().all(|(key, value)| before.engine.get(key) == Some(value));
                same_outside && nothing_new && found.copies == before.copies && found.files == before.files
            }
            Some(Flight::Disk { engine, copies, files }) => {
                let engine = engine.as_ref().unwrap_or(&before.engine);
                found.engine == *engine && found.copies == *copies && found.files == *files
            }
        }
    }

    fn difference(&self, found: &World, end: End, all: &World) -> String {
        let mut text = format!("after {end:?}, with {} buffered batches, ", self.buffered.len());
        let doing = match &self.flight {
            None => "nothing being done".to_owned(),
            Some(Flight::Write(batch)) => format!("a write of {} operations", batch.operations.len()),
            Some(Flight::Run(run)) => format!("a run of {} keys", run.len()),
            Some(Flight::Drop { space, first, end }) => format!("a drop in {space:?} from {first:?} to {end:?}"),
            Some(Flight::Disk { .. }) => "a change beside the engine".to_owned(),
        };
        text += &format!("{doing}:\n");
        let spell = |bytes: &Bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned();
        let mut compare = |place: &str, found: &Content, durable: &Content, all: &Content| {
            for key in found.keys().chain(all.keys()).chain(durable.keys()).collect::<std::collections::BTreeSet<_>>() {
                let [found, durable, all] = [found, durable, all].map(|content| content.get(key).map(spell));
                if found != durable || found != all {
                    let (space, key) = (key.0.0, String::from_utf8_lossy(&key.1));
                    text += &format!("{place} {space} {key:?}: found {found:?}, durable {durable:?}, last {all:?}\n");
                }
            }
        };
        compare("engine", &found.engine, &self.durable.engine, &all.engine);
        let none = Content::new();
        for name in found.copies.keys().chain(all.copies.keys()) {
            let [found, all] = [found, all].map(|world| world.copies.get(name).unwrap_or(&none));
            compare(name, found, all, all);
        }
        text + &format!("copies {:?}, files {:?}", found.copies.keys(), found.files.keys())
    }
}

fn is_inside(key: &(Space, Vec<u8>), space: Space, first: &[u8], end: &[u8]) -> bool {
    key.0 == space && key.1.as_slice() >= first && key.1.as_slice() < end
}

fn apply(content: &mut Content, batch: &WriteBatch) {
    for operation in &batch.operations {
        match operation {
            Operation::Put(space, key, value) => {
                content.insert((*space, key.clone()), value.clone());
            }
            Operation::Delete(space, key) => {
                content.remove(&(*space, key.clone()));
            }
            Operation::DeleteRange(space, first, end) => content.retain(|key, _| !is_inside(key, *space, first, end)),
        }
    }
}

/// All that an engine holds.
pub fn content(engine: &dyn KvEngine) -> Result<Content, Error> {
    let mut found = Content::new();
    for space in [META, LOG, RUNS] {
        engine.scan(space, KeyRange { first: b"", end: None }, &mut |key, value| {
            found.insert((space, key.to_vec()), Bytes::copy_from_slice(value));
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}
