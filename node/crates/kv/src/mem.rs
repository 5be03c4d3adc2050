//! A disk and engines in memory that do all that the real ones do, and fail when asked to.
//!
//! [`MemDisk`] is the disk of one node: it outlives the node's processes, so a simulated restart opens what the last
//! process left. What a process wrote is *live*; what a loss of power cannot take away is *durable*. A synced write,
//! [`KvEngine::flush`] and [`KvEngine::drop_range`] make all that their engine wrote so far durable; a finished run is
//! durable at once; a buffered write waits for one of these, or until the engine is opened again. No threads, no clock: the same calls give the same result.

mod faults;
mod files;
mod state;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::check_path;
use crate::{
    Durability, EngineExport, EngineImport, Error, KeyRange, KvDisk, KvEngine, Operation, RunWriter, Space,
    SpaceConfig, SpaceKind, WriteBatch,
};
use state::{EngineState, Records, SpaceState, bounds, put_bytes, record_bytes};

pub use faults::{Faults, Trigger};

/// Room without which no engine opens: the real one writes a new list of its files.
const OPEN_BYTES: u64 = 64;

/// What a loss of power leaves of the writes that were not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// Per engine the first few batches, each whole; how many is drawn from the seed.
    SomeKept {
        /// Decides how many.
        seed: u64,
    },
}

impl Unsynced {
    /// Some is kept where there is a seed.
    pub fn of(kept: Option<u64>) -> Unsynced {
        kept.map_or(Unsynced::Lost, |seed| Unsynced::SomeKept { seed })
    }
}

/// How a stored value goes bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The engine's checksum notices: reads of the key say [`Error::Corrupt`] with its place.
    Noticed,
    /// The engine notices nothing: reads give the value with this bit flipped, counted from the first byte's lowest.
    Silent {
        /// Which bit, modulo the value's length.
        bit: usize,
    },
}

/// One node's disk, see the module. Clones are handles to the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug, Default)]
struct DiskState {
    entries: BTreeMap<String, Entry>,
    faults: Faults,
    /// Counts the processes that had the disk: engines opened by an earlier one answer errors.
    process: u64,
}

#[derive(Debug, Clone)]
enum Entry {
    Engine(EngineState),
    File(Bytes),
}

impl MemDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the faults that are switched on; counting starts anew.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// The process ends without a farewell: what it wrote stays, its engines answer errors and may be opened anew.
    pub fn crash(&self) {
        self.state.lock().end_process(|_| {});
    }

    /// The power fails: as [`crash`](Self::crash), and what was not durable is lost as `unsynced` says.
    pub fn power_loss(&self, unsynced: Unsynced) {
        let mut random = match unsynced {
            Unsynced::Lost => None,
            Unsynced::SomeKept { seed } => Some(seed),
        };
        self.state.lock().end_process(|engine| {
            let choices = engine.unsynced_batches() as u64 + 1;
            let keep = random.as_mut().map_or(0, |state| faults::next_random(state) % choices);
            engine.lose_unsynced(keep as usize);
        });
    }

    /// A disk with the engine or file at `path` alone, as it would be if the power failed now and nothing were kept that is
    /// not durable.
    pub fn durable(&self, path: &str) -> MemDisk {
        let entry = self.state.lock().entries.get(path).cloned();
        let alone = MemDisk::new();
        alone.state.lock().entries.extend(entry.map(|entry| (path.to_owned(), entry)));
        alone.power_loss(Unsynced::Lost);
        alone
    }

    /// Damages the value of a key, as a failing disk does. [`Error::Misuse`] if there is no such key.
    pub fn damage(&self, path: &str, space: &str, key: &[u8], damage: Damage) -> Result<(), Error> {
        let mut disk = self.state.lock();
        let missing = || Error::Misuse(format!("{path}: no key {key:02x?} in the space {space:?}"));
        let Some(Entry::Engine(engine)) = disk.entries.get_mut(path) else { return Err(missing()) };
        let space = engine.spaces.iter_mut().find(|stored| *stored.name == *space).ok_or_else(missing)?;
        let records = Arc::make_mut(&mut space.records);
        let value = records.get_mut(key).ok_or_else(missing)?;
        match damage {
            Damage::Noticed => {
                Arc::make_mut(&mut space.damaged).insert(key.to_vec());
            }
            Damage::Silent { .. } if value.is_empty() => return Err(missing()),
            Damage::Silent { bit } => {
                let mut flipped = value.to_vec();
                let byte = (bit / 8) % flipped.len();
                flipped[byte] ^= 1 << (bit % 8);
                *value = flipped.into();
            }
        }
        Ok(())
    }

    /// The keys that a space of an engine holds.
    pub fn keys(&self, path: &str, space: &str) -> Vec<Vec<u8>> {
        match self.state.lock().entries.get(path) {
            Some(Entry::Engine(engine)) => {
                let spaces = engine.spaces.iter().filter(|stored| *stored.name == *space);
                spaces.flat_map(|stored| stored.records.keys().cloned()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Damages a record of an engine at or below `directory`, which `seed` picks, as [`damage`](Self::damage) does; says
    /// which. `None` if there is none.
    pub fn damage_some(&self, directory: &str, seed: u64) -> Option<String> {
        let mut state = seed;
        let records: Vec<(String, String, Vec<u8>)> = {
            let disk = self.state.lock();
            let below =
                |path: &str| path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let engines = disk.entries.iter().filter(|(path, _)| below(path)).filter_map(|(path, entry)| match entry {
                Entry::Engine(engine) => Some((path, engine)),
                Entry::File(_) => None,
            });
            let spaces = engines.flat_map(|(path, engine)| engine.spaces.iter().map(move |space| (path, space)));
            let named = spaces.flat_map(|(path, space)| {
                let keys = space.records.iter().filter(|(_, value)| !value.is_empty());
                keys.map(move |(key, _)| (path.clone(), space.name.to_string(), key.clone()))
            });
            named.collect()
        };
        let count = records.len() as u64;
        let at = faults::next_random(&mut state).checked_rem(count)?;
        let (path, space, key) = &records[at as usize];
        let damage = match faults::next_random(&mut state) {
            bits if bits.is_multiple_of(2) => Damage::Noticed,
            bits => Damage::Silent { bit: (bits >> 8) as usize },
        };
        self.damage(path, space, key, damage).ok()?;
        Some(format!("{path}, space {space:?}, key {key:02x?}: {damage:?}"))
    }

    /// Bytes taken by all engines and files; a checkpoint counts in full.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    fn open_engine(&self, path: &str, spaces: &[SpaceConfig]) -> Result<MemEngine, Error> {
        check_path(path)?;
        let mut disk = self.state.lock();
        disk.faults.check_read(path)?;
        disk.check_parents(path)?;
        if disk.is_directory(path) {
            return Err(Error::Io(format!("{path}: a directory, not an engine")));
        }
        let used_bytes = disk.used_bytes();
        disk.faults.check_room(path, used_bytes, OPEN_BYTES)?;
        let process = disk.process;
        let entry = disk.entries.entry(path.to_owned()).or_insert_with(|| Entry::Engine(EngineState::default()));
        let Entry::Engine(engine) = entry else { return Err(Error::Io(format!("{path}: a file, not an engine"))) };
        if engine.open {
            return Err(Error::Locked(path.to_owned()));
        }
        let positions = engine.bind(path, spaces)?;
        engine.open = true;
        engine.poisoned = false;
        engine.make_durable();
        drop(disk);
        Ok(MemEngine { disk: self.clone(), path: path.to_owned(), process, configs: spaces.to_vec(), positions })
    }
}

impl DiskState {
    fn end_process(&mut self, mut each: impl FnMut(&mut EngineState)) {
        self.process += 1;
        for entry in self.entries.values_mut() {
            if let Entry::Engine(engine) = entry {
                engine.open = false;
                each(engine);
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        let bytes = |entry: &Entry| match entry {
            Entry::Engine(engine) => engine.bytes,
            Entry::File(content) => content.len() as u64,
        };
        self.entries.values().map(bytes).sum()
    }

    /// The entry at `path` and those below it.
    fn paths_at(&self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        self.entries.keys().filter(|key| *key == path || key.starts_with(&below)).cloned().collect()
    }

    fn is_directory(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.entries.range(below.clone()..).next().is_some_and(|(key, _)| key.starts_with(&below))
    }

    fn check_parents(&self, path: &str) -> Result<(), Error> {
        let mut parents = path.match_indices('/').map(|(end, _)| &path[..end]);
        match parents.find(|parent| self.entries.contains_key(*parent)) {
            Some(parent) => Err(Error::Io(format!("{path}: {parent} is not a directory"))),
            None => Ok(()),
        }
    }

    fn check_closed(&self, paths: &[String]) -> Result<(), Error> {
        let open = |path: &&String| matches!(self.entries.get(*path), Some(Entry::Engine(engine)) if engine.open);
        match paths.iter().find(open) {
            Some(path) => Err(Error::Locked(path.clone())),
            None => Ok(()),
        }
    }

    /// Checks that nothing is at `path` and that something can be put there.
    fn check_free(&self, path: &str) -> Result<(), Error> {
        check_path(path)?;
        self.check_parents(path)?;
        if self.paths_at(path).is_empty() { Ok(()) } else { Err(Error::Misuse(format!("{path}: exists already"))) }
    }
}

impl KvDisk for MemDisk {
    fn open(&self, path: &str, spaces: &[SpaceConfig]) -> Result<Arc<dyn KvEngine>, Error> {
        Ok(Arc::new(self.open_engine(path, spaces)?))
    }

    fn remove(&self, path: &str) -> Result<(), Error> {
        check_path(path)?;
        let mut disk = self.state.lock();
        disk.faults.check_write(path)?;
        let paths = disk.paths_at(path);
        disk.check_closed(&paths)?;
        disk.entries.retain(|key, _| paths.binary_search(key).is_err());
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        check_path(from)?;
        let mut disk = self.state.lock();
        disk.faults.check_write(from)?;
        let paths = disk.paths_at(from);
        if paths.is_empty() {
            return Err(Error::Io(format!("{from}: not found")));
        }
        disk.check_closed(&paths)?;
        disk.check_free(to)?;
        for path in paths {
            if let Some(entry) = disk.entries.remove(&path) {
                disk.entries.insert(format!("{to}{}", &path[from.len()..]), entry);
            }
        }
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        if !path.is_empty() {
            check_path(path)?;
        }
        let mut disk = self.state.lock();
        disk.faults.check_read(path)?;
        let inside = disk.entries.keys().filter_map(|key| key.strip_prefix(&below));
        let mut names: Vec<String> =
            inside.map(|rest| rest.split_once('/').map_or(rest, |(name, _)| name).to_owned()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn exists(&self, path: &str) -> Result<bool, Error> {
        check_path(path)?;
        let mut disk = self.state.lock();
        disk.faults.check_read(path)?;
        Ok(!disk.paths_at(path).is_empty())
    }

    fn export(&self, path: &str) -> Result<Box<dyn EngineExport>, Error> {
        Ok(Box::new(files::MemExport::new(self, path)?))
    }

    fn import(&self, path: &str) -> Result<Box<dyn EngineImport>, Error> {
        Ok(Box::new(files::MemImport::new(self, path)?))
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        let disk = self.state.lock();
        Ok(disk.faults.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used_bytes())))
    }

    fn read_small_file(&self, path: &str) -> Result<Option<Bytes>, Error> {
        check_path(path)?;
        let mut disk = self.state.lock();
        disk.faults.check_read(path)?;
        match disk.entries.get(path) {
            Some(Entry::File(content)) => Ok(Some(content.clone())),
            None if !disk.is_directory(path) => Ok(None),
            _ => Err(Error::Io(format!("{path}: not a file"))),
        }
    }

    fn write_small_file(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        check_path(path)?;
        let mut disk = self.state.lock();
        disk.faults.check_write(path)?;
        disk.check_parents(path)?;
        let replaceable = match disk.entries.get(path) {
            Some(entry) => matches!(entry, Entry::File(_)),
            None => !disk.is_directory(path),
        };
        if !replaceable {
            return Err(Error::Io(format!("{path}: not a file")));
        }
        disk.faults.check_room(path, disk.used_bytes(), content.len() as u64)?;
        disk.faults.check_sync(path)?;
        disk.entries.insert(path.to_owned(), Entry::File(Bytes::copy_from_slice(content)));
        Ok(())
    }
}

/// An engine of a [`MemDisk`].
#[derive(Debug)]
pub struct MemEngine {
    disk: MemDisk,
    path: String,
    process: u64,
    configs: Vec<SpaceConfig>,
    /// Where the disk holds each space of `configs`.
    positions: Vec<usize>,
}

impl MemEngine {
    /// An empty engine on a disk of its own.
    pub fn new(spaces: &[SpaceConfig]) -> Result<Self, Error> {
        MemDisk::new().open_engine("engine", spaces)
    }

    /// Runs `action` on the engine's state and the disk's faults.
    fn with<T>(&self, action: impl FnOnce(&mut EngineState, &mut Faults, u64) -> Result<T, Error>) -> Result<T, Error> {
        let mut disk = self.disk.state.lock();
        if disk.process != self.process {
            return Err(Error::Io(format!("{}: was opened by a process that has ended", self.path)));
        }
        let used_bytes = if disk.faults.capacity_bytes.is_some() { disk.used_bytes() } else { 0 };
        let DiskState { entries, faults, .. } = &mut *disk;
        match entries.get_mut(&self.path) {
            Some(Entry::Engine(engine)) => action(engine, faults, used_bytes),
            _ => Err(Error::Io(format!("{}: not found", self.path))),
        }
    }

    fn position(&self, space: Space) -> Result<usize, Error> {
        self.positions.get(space.0).copied().ok_or_else(|| self.unknown(space))
    }

    fn kind(&self, space: Space) -> Result<SpaceKind, Error> {
        self.configs.get(space.0).map(|config| config.kind).ok_or_else(|| self.unknown(space))
    }

    fn unknown(&self, space: Space) -> Error {
        Error::Misuse(format!("{}: no space has the number {}", self.path, space.0))
    }

    /// One moment of a space, for reading.
    fn view(&self, space: Space) -> Result<SpaceState, Error> {
        let position = self.position(space)?;
        self.with(|engine, faults, _| {
            faults.check_read(&self.path)?;
            Ok(engine.spaces[position].clone())
        })
    }

    fn check_undamaged(&self, view: &SpaceState, key: &[u8]) -> Result<(), Error> {
        if view.damaged.contains(key) {
            return Err(Error::Corrupt(format!("{}: space {:?}, key {key:02x?}", self.path, view.name)));
        }
        Ok(())
    }

    fn visit<'a>(
        &self,
        view: &SpaceState,
        records: impl Iterator<Item = (&'a Vec<u8>, &'a Bytes)>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        for (key, value) in records {
            self.check_undamaged(view, key)?;
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn check_operation(&self, operation: &Operation) -> Result<(), Error> {
        let (Operation::Put(space, ..) | Operation::Delete(space, _) | Operation::DeleteRange(space, ..)) = operation;
        match self.kind(*space)? {
            SpaceKind::Runs => {
                Err(Error::Misuse(format!("{}: a batch names {:?}, a space of runs", self.path, self.name(*space))))
            }
            SpaceKind::Records | SpaceKind::Log => Ok(()),
        }
    }

    fn name(&self, space: Space) -> &'static str {
        self.configs.get(space.0).map_or("", |config| config.name)
    }
}

/// Makes durable what `engine` wrote, or poisons it.
fn sync(engine: &mut EngineState, faults: &mut Faults, path: &str) -> Result<(), Error> {
    let synced = faults.check_sync(path);
    match synced {
        Ok(()) => engine.make_durable(),
        Err(_) => engine.poisoned = true,
    }
    synced
}

fn check_healthy(engine: &EngineState, path: &str) -> Result<(), Error> {
    if engine.poisoned {
        return Err(Error::SyncFailed(format!("{path}: earlier, and it takes no write until it is opened anew")));
    }
    Ok(())
}

impl KvEngine for MemEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let view = self.view(space)?;
        self.check_undamaged(&view, key)?;
        Ok(view.records.get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let view = self.view(space)?;
        let Some(bounds) = bounds(range) else { return Ok(()) };
        self.visit(&view, view.records.range::<[u8], _>(bounds), visit)
    }

    fn scan_back(
        &self,
        space: Space,
        range: KeyRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let view = self.view(space)?;
        let Some(bounds) = bounds(range) else { return Ok(()) };
        self.visit(&view, view.records.range::<[u8], _>(bounds).rev(), visit)
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<(), Error> {
        batch.operations.iter().try_for_each(|operation| self.check_operation(operation))?;
        self.with(|engine, faults, used_bytes| {
            check_healthy(engine, &self.path)?;
            faults.check_write(&self.path)?;
            faults.check_room(&self.path, used_bytes, put_bytes(batch))?;
            engine.apply(&self.positions, batch);
            match durability {
                Durability::Synced => sync(engine, faults, &self.path),
                Durability::Buffered => Ok(()),
            }
        })
    }

    fn begin_run(&self, space: Space) -> Result<Box<dyn RunWriter + '_>, Error> {
        match self.kind(space)? {
            SpaceKind::Runs => {
                Ok(Box::new(MemRun { engine: self, position: self.position(space)?, records: Records::new() }))
            }
            SpaceKind::Records | SpaceKind::Log => {
                Err(Error::Misuse(format!("{}: a run for {:?}, no space of runs", self.path, self.name(space))))
            }
        }
    }

    fn drop_range(&self, space: Space, range: KeyRange<'_>) -> Result<(), Error> {
        let position = self.position(space)?;
        self.with(|engine, faults, _| {
            check_healthy(engine, &self.path)?;
            faults.check_write(&self.path)?;
            engine.drop_range(position, range);
            sync(engine, faults, &self.path)
        })
    }

    fn flush(&self) -> Result<(), Error> {
        self.with(|engine, faults, _| {
            check_healthy(engine, &self.path)?;
            faults.check_write(&self.path)?;
            sync(engine, faults, &self.path)
        })
    }

    fn checkpoint(&self, destination: &Path) -> Result<(), Error> {
        let Some(to) = destination.to_str() else {
            return Err(Error::Misuse(format!("{} is not UTF-8", destination.display())));
        };
        let copy = self.with(|engine, faults, used_bytes| {
            faults.check_write(to)?;
            faults.check_room(to, used_bytes, engine.bytes)?;
            Ok(engine.copied())
        })?;
        let mut disk = self.disk.state.lock();
        disk.check_free(to)?;
        disk.entries.insert(to.to_owned(), Entry::Engine(copy));
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, Error> {
        self.with(|engine, _, _| Ok(engine.bytes))
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.disk.free_bytes()
    }
}

impl Drop for MemEngine {
    fn drop(&mut self) {
        // Fails only when the process that opened it has ended: then it is not ours to close.
        let _ = self.with(|engine, _, _| {
            engine.open = false;
            Ok(())
        });
    }
}

struct MemRun<'a> {
    engine: &'a MemEngine,
    position: usize,
    records: Records,
}

impl RunWriter for MemRun<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some((last, _)) = self.records.last_key_value()
            && last.as_slice() >= key
        {
            let path = &self.engine.path;
            return Err(Error::Misuse(format!("{path}: key {key:02x?} of a run is not above {last:02x?}")));
        }
        self.records.insert(key.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64, Error> {
        let Self { engine: handle, position, records } = *self;
        let Some((first, last)) = records.keys().next().cloned().zip(records.keys().next_back().cloned()) else {
            return Ok(0);
        };
        let bytes = records.iter().map(|(key, value)| record_bytes(key, value)).sum();
        handle.with(|engine, faults, used_bytes| {
            check_healthy(engine, &handle.path)?;
            faults.check_write(&handle.path)?;
            faults.check_room(&handle.path, used_bytes, bytes)?;
            if engine.spaces[position].records.range(first.clone()..=last.clone()).next().is_some() {
                return Err(Error::Misuse(format!(
                    "{}: a run from {first:02x?} to {last:02x?} has a live key between",
                    handle.path
                )));
            }
            faults.check_sync(&handle.path).inspect_err(|_| engine.poisoned = true)?;
            engine.add_run(position, records);
            Ok(bytes)
        })
    }
}

#[cfg(test)]
mod tests;
