//! A machine that lives through cycles: a process starts, checks what it finds, works at random and ends at random.

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bellwether_kv::{Durability, Error, KeyRange, KvDisk, KvEngine, Space, WriteBatch};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_kv_rocksdb_faults::{Faults, Loss, Machine};
use bytes::Bytes;

use crate::model::{Content, End, Flight, LOG, META, Model, RUNS, SPACES, World, content};
use crate::random::Random;

/// Keys of META; few, so that they are overwritten.
const META_KEYS: u64 = 20;
/// Keys of RUNS that one run may have: its slot.
const SLOT_KEYS: u64 = 10;
const SLOTS: u64 = 6;
const VALUE_BYTES_MAX: u64 = 1500;
const COPIES: u64 = 2;
/// Bytes carried at a time between engines.
const PIECE_BYTES: usize = 4 << 10;

/// A mistake that the simulation must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// Synced writes are only buffered.
    UnsyncedWrites,
    /// Files are not synced.
    LyingFiles,
    /// Directories are not synced.
    LyingDirectories,
    /// A batch is written in two halves.
    TornBatches,
}

pub struct Options {
    pub seed: u64,
    pub cycles: u64,
    pub background_merges: bool,
    pub mistake: Mistake,
}

/// What a simulation went through.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Over all that was found after each start.
    pub hash: u64,
    pub power_losses: u64,
    pub kills: u64,
    /// Power losses in the middle of a call.
    pub cut_calls: u64,
    /// Calls that failed with the power on.
    pub failed_calls: u64,
    /// Buffered batches that were lost, and that survived a loss of power.
    pub lost_batches: u64,
    pub kept_batches: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.hash = self.hash.rotate_left(1).wrapping_add(other.hash);
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.cut_calls += other.cut_calls;
        self.failed_calls += other.failed_calls;
        self.lost_batches += other.lost_batches;
        self.kept_batches += other.kept_batches;
    }
}

struct Simulation {
    machine: Machine,
    random: Random,
    model: Model,
    options: Options,
    summary: Summary,
    /// How the process before ended.
    end: End,
    serial: u64,
    next_entry: u64,
    /// A step fails, or the disk fills up, in this process.
    is_faulty: bool,
    /// What this process and the one before it were asked to do.
    trail: Vec<String>,
}

/// What a process has open.
struct Open {
    disk: RocksDisk,
    engine: Option<Arc<dyn KvEngine>>,
}

impl Open {
    fn engine(&self) -> &dyn KvEngine {
        self.engine.as_deref().expect("open but while it is replaced")
    }
}

/// Whether a process goes on.
#[derive(PartialEq, Eq)]
enum Next {
    GoesOn,
    Ends,
}

/// Runs one machine; an error says what was lost or made up, and in which cycle.
pub fn run(options: Options) -> Result<Summary, String> {
    let mut simulation = Simulation {
        machine: Machine::new(),
        random: Random::of(options.seed),
        model: Model::default(),
        options,
        summary: Summary::default(),
        end: End::PowerLoss,
        serial: 0,
        next_entry: 0,
        is_faulty: false,
        trail: Vec::new(),
    };
    for cycle in 0..simulation.options.cycles {
        simulation.cycle().map_err(|error| {
            format!("seed {}, cycle {cycle}: {error}\n{}", simulation.options.seed, simulation.trail.join("\n"))
        })?;
    }
    Ok(simulation.summary)
}

impl Simulation {
    fn cycle(&mut self) -> Result<(), String> {
        let process = Arc::new(self.machine.start());
        self.is_faulty = false;
        self.trail.push(format!("start after {:?}", self.end));
        let (files_lie, directories_lie) =
            (self.options.mistake == Mistake::LyingFiles, self.options.mistake == Mistake::LyingDirectories);
        let mut faults = Faults { files_lie, directories_lie, ..Faults::default() };
        // Soon, and so while it opens; in the middle; hardly ever.
        let soon = [15, 100, 400][self.random.below(3) as usize];
        let strikes_at = self.random.below(soon) + 1;
        let strikes_early = self.random.one_in(3);
        if strikes_early {
            faults.power_fails_at = Some(strikes_at);
        }
        self.machine.set_faults(faults);
        let options = RocksOptions { background_merges: self.options.background_merges, ..RocksOptions::default() };
        let mut open = None;
        match RocksDisk::on(process, PathBuf::from("/data"), options).and_then(|disk| self.look(disk)) {
            Ok((found, opened)) => {
                self.take(found)?;
                self.trail.clear();
                if !strikes_early {
                    match self.random.below(4) {
                        0 => {
                            faults.step_fails_at = Some(strikes_at);
                            self.is_faulty = true;
                        }
                        1 => {
                            faults.full_from = Some(strikes_at);
                            self.is_faulty = true;
                        }
                        _ => faults.power_fails_at = Some(strikes_at),
                    }
                    self.machine.set_faults(faults);
                }
                let open = open.insert(opened);
                for _ in 0..self.random.below(60) {
                    if self.act(open)? == Next::Ends {
                        break;
                    }
                }
            }
            Err(error) if self.machine.is_powered() => return Err(format!("after {:?}: open: {error}", self.end)),
            Err(_) => {}
        }
        if !self.machine.is_powered() {
            self.summary.cut_calls += 1;
        }
        let is_seen = open.is_some();
        // After a failed sync the system shows bytes that are not on the disk, to the next process, too, until power is lost.
        let shows_what_is_stored = faults.step_fails_at.is_none_or(|step| self.machine.steps() < step);
        if self.random.one_in(4) && shows_what_is_stored {
            self.summary.kills += 1;
            // What nobody saw after a loss of power is no more certain now.
            if is_seen {
                self.end = End::Killed;
            }
            // A process that is killed says no farewell: its files are taken before it closes them.
            drop(self.machine.start());
        } else {
            self.summary.power_losses += 1;
            self.end = End::PowerLoss;
            self.machine.lose_power(Loss::of(self.random.next()));
        }
        drop(open);
        Ok(())
    }

    /// All that is on a disk, and its engine open.
    fn look(&self, disk: RocksDisk) -> Result<(World, Open), Error> {
        let mut found = World::default();
        for name in disk.list("copies")? {
            found.copies.insert(name.clone(), content(&*disk.open(&format!("copies/{name}"), &SPACES)?)?);
        }
        for name in disk.list("files")? {
            let file = disk.read_small_file(&format!("files/{name}"))?;
            found.files.insert(name, file.expect("it was listed"));
        }
        let engine = disk.open("engine", &SPACES)?;
        found.engine = content(&*engine)?;
        Ok((found, Open { disk, engine: Some(engine) }))
    }

    fn take(&mut self, found: World) -> Result<(), String> {
        let mut hasher = Fnv(self.summary.hash);
        for content in std::iter::once(&found.engine).chain(found.copies.values()) {
            for ((space, key), value) in content {
                hasher.write_usize(space.0);
                hasher.write(key);
                hasher.write(value);
            }
        }
        for (name, file) in &found.files {
            hasher.write(name.as_bytes());
            hasher.write(file);
        }
        self.summary.hash = hasher.finish();
        let buffered = self.model.buffered();
        let last_entry = found.engine.keys().filter(|key| key.0 == LOG).map(|key| number(&key.1)).max();
        self.next_entry = last_entry.map_or(self.next_entry, |last| last + 1);
        let kept = self.model.found(found, self.end)?;
        if self.end == End::PowerLoss {
            self.summary.kept_batches += kept as u64;
            self.summary.lost_batches += (buffered - kept) as u64;
        }
        Ok(())
    }

    fn act(&mut self, open: &mut Open) -> Result<Next, String> {
        let action = self.random.below(40);
        self.trail.push(format!("{action} at step {}, {} buffered", self.machine.steps(), self.model.buffered()));
        match action {
            0..14 => self.write(open),
            14..19 => self.add_run(open),
            19 => self.abandon_run(open),
            20..22 => self.drop_range(open, META),
            22..25 => self.drop_range(open, LOG),
            25..29 => self.drop_range(open, RUNS),
            29..32 => self.flush(open),
            32 => self.copy(open),
            33 => self.remove_copy(open),
            34 => self.carry_copy(open),
            35 => self.restore_copy(open),
            36 => self.write_file(open),
            37 => self.reopen(open),
            _ => self.read(open),
        }
    }

    fn value(&mut self) -> Bytes {
        self.serial += 1;
        let bytes = self.random.below(VALUE_BYTES_MAX) as usize;
        let mut value = format!("{:07} ", self.serial).into_bytes();
        value.resize(value.len() + bytes, self.serial as u8);
        value.into()
    }

    fn write(&mut self, open: &Open) -> Result<Next, String> {
        let mut batch = WriteBatch::default();
        for _ in 0..self.random.below(5) + 1 {
            let key = self.random.below(META_KEYS);
            match self.random.below(8) {
                0 => batch.delete(META, meta_key(key)),
                1 => batch.delete_range(META, meta_key(key), meta_key(key + 3)),
                2..5 => batch.put(META, meta_key(key), self.value()),
                _ => {
                    batch.put(LOG, entry_key(self.next_entry), self.value());
                    self.next_entry += 1;
                }
            }
        }
        let is_synced = self.random.one_in(3);
        let durability = match self.options.mistake {
            Mistake::UnsyncedWrites => Durability::Buffered,
            _ if is_synced => Durability::Synced,
            _ => Durability::Buffered,
        };
        let written = if self.options.mistake == Mistake::TornBatches {
            let half = batch.operations.len() / 2;
            let [first, second] = [&batch.operations[..half], &batch.operations[half..]];
            let write =
                |operations: &[_]| open.engine().write(&WriteBatch { operations: operations.to_vec() }, durability);
            write(first).and_then(|()| write(second))
        } else {
            open.engine().write(&batch, durability)
        };
        if let Err(error) = written {
            self.model.flight = Some(Flight::Write(batch));
            return self.failed(open, &error);
        }
        self.model.wrote(batch);
        if is_synced {
            self.model.synced();
        }
        Ok(Next::GoesOn)
    }

    /// Some keys of a slot that has none yet.
    fn run_keys(&mut self) -> Option<Content> {
        let slot = self.random.below(SLOTS) * SLOT_KEYS;
        let (first, end) = (run_key(slot), run_key(slot + SLOT_KEYS));
        if self.model.live.range((RUNS, first)..(RUNS, end)).next().is_some() {
            return None;
        }
        let count = self.random.below(SLOT_KEYS) + 1;
        let keys: Vec<u64> = (0..count).map(|_| slot + self.random.below(SLOT_KEYS)).collect();
        Some(keys.into_iter().map(|key| ((RUNS, run_key(key)), self.value())).collect())
    }

    fn add_run(&mut self, open: &Open) -> Result<Next, String> {
        let Some(run) = self.run_keys() else { return Ok(Next::GoesOn) };
        let added = open.engine().begin_run(RUNS).and_then(|mut writer| {
            run.iter().try_for_each(|((_, key), value)| writer.add(key, value))?;
            writer.finish()
        });
        if let Err(error) = added {
            self.model.flight = Some(Flight::Run(run));
            return self.failed(open, &error);
        }
        self.model.added_run(run);
        Ok(Next::GoesOn)
    }

    fn abandon_run(&mut self, open: &Open) -> Result<Next, String> {
        let Some(run) = self.run_keys() else { return Ok(Next::GoesOn) };
        let begun = open
            .engine()
            .begin_run(RUNS)
            .and_then(|mut writer| run.iter().try_for_each(|((_, key), value)| writer.add(key, value)));
        begun.map_or_else(|error| self.failed(open, &error), |()| Ok(Next::GoesOn))
    }

    fn drop_range(&mut self, open: &Open, space: Space) -> Result<Next, String> {
        let (first, end) = match space {
            // A log goes from the front.
            LOG => (entry_key(0), entry_key(self.random.below(self.next_entry + 1))),
            RUNS => {
                let first = self.random.below(SLOTS * SLOT_KEYS);
                (run_key(first), run_key(first + self.random.below(3 * SLOT_KEYS)))
            }
            _ => {
                let first = self.random.below(META_KEYS);
                (meta_key(first), meta_key(first + self.random.below(META_KEYS / 2)))
            }
        };
        if let Err(error) = open.engine().drop_range(space, KeyRange { first: &first, end: Some(&end) }) {
            self.model.flight = Some(Flight::Drop { space, first, end });
            return self.failed(open, &error);
        }
        self.model.dropped(space, &first, &end);
        self.model.synced();
        Ok(Next::GoesOn)
    }

    fn flush(&mut self, open: &Open) -> Result<Next, String> {
        if let Err(error) = open.engine().flush() {
            return self.failed(open, &error);
        }
        self.model.synced();
        Ok(Next::GoesOn)
    }

    /// A copy's name, whether there is one or not.
    fn copy_name(&mut self) -> String {
        self.random.below(COPIES).to_string()
    }

    fn copy(&mut self, open: &Open) -> Result<Next, String> {
        let name = self.copy_name();
        if self.model.durable.copies.contains_key(&name) {
            return Ok(Next::GoesOn);
        }
        let mut copies = self.model.durable.copies.clone();
        copies.insert(name.clone(), self.model.live.clone());
        let copied = open.engine().checkpoint(Path::new(&format!("copies/{name}")));
        self.changed_disk(open, copied, None, copies)
    }

    fn remove_copy(&mut self, open: &Open) -> Result<Next, String> {
        let name = self.copy_name();
        let mut copies = self.model.durable.copies.clone();
        copies.remove(&name);
        let removed = open.disk.remove(&format!("copies/{name}"));
        self.changed_disk(open, removed, None, copies)
    }

    /// Carries a copy's files to a new engine.
    fn carry_copy(&mut self, open: &Open) -> Result<Next, String> {
        let (from, to) = (self.copy_name(), self.copy_name());
        let mut copies = self.model.durable.copies.clone();
        let Some(carried) = copies.get(&from).cloned().filter(|_| !copies.contains_key(&to)) else {
            return Ok(Next::GoesOn);
        };
        copies.insert(to.clone(), carried);
        let done = carry(&open.disk, &format!("copies/{from}"), &format!("copies/{to}"));
        self.changed_disk(open, done, None, copies)
    }

    /// Puts a copy in the engine's place.
    fn restore_copy(&mut self, open: &mut Open) -> Result<Next, String> {
        let name = self.copy_name();
        let mut copies = self.model.durable.copies.clone();
        let Some(restored) = copies.remove(&name) else { return Ok(Next::GoesOn) };
        open.engine = None;
        let removed = open.disk.remove("engine");
        if self.changed_disk(open, removed, Some(Content::new()), self.model.durable.copies.clone())? == Next::Ends {
            return Ok(Next::Ends);
        }
        let renamed = open.disk.rename(&format!("copies/{name}"), "engine");
        if self.changed_disk(open, renamed, Some(restored), copies)? == Next::Ends {
            return Ok(Next::Ends);
        }
        self.open_engine(open)
    }

    fn write_file(&mut self, open: &Open) -> Result<Next, String> {
        let (name, value) = (self.copy_name(), self.value());
        let mut files = self.model.durable.files.clone();
        files.insert(name.clone(), value.clone());
        if let Err(error) = open.disk.write_small_file(&format!("files/{name}"), &value) {
            let copies = self.model.durable.copies.clone();
            self.model.flight = Some(Flight::Disk { engine: None, copies, files });
            return self.failed(open, &error);
        }
        self.model.durable.files = files;
        Ok(Next::GoesOn)
    }

    fn reopen(&mut self, open: &mut Open) -> Result<Next, String> {
        open.engine = None;
        let next = self.open_engine(open)?;
        if next == Next::GoesOn {
            // What an engine holds when it opens is durable.
            self.model.synced();
        }
        Ok(next)
    }

    fn open_engine(&mut self, open: &mut Open) -> Result<Next, String> {
        match open.disk.open("engine", &SPACES) {
            Ok(engine) => open.engine = Some(engine),
            Err(error) => return self.failed(open, &error),
        }
        self.read(open)
    }

    fn read(&mut self, open: &Open) -> Result<Next, String> {
        match content(open.engine()) {
            Ok(found) if found == self.model.live => Ok(Next::GoesOn),
            Ok(_) => Err("an open engine does not hold what was written".to_owned()),
            Err(error) => self.failed(open, &error),
        }
    }

    fn changed_disk(
        &mut self,
        open: &Open,
        done: Result<(), Error>,
        engine: Option<Content>,
        copies: std::collections::BTreeMap<String, Content>,
    ) -> Result<Next, String> {
        if let Err(error) = done {
            let files = self.model.durable.files.clone();
            self.model.flight = Some(Flight::Disk { engine, copies, files });
            return self.failed(open, &error);
        }
        self.model.durable.copies = copies;
        if let Some(engine) = engine {
            self.model.replaced(engine);
        }
        Ok(Next::GoesOn)
    }

    /// A call failed: that ends the process, if there was a reason.
    fn failed(&mut self, open: &Open, error: &Error) -> Result<Next, String> {
        if !self.machine.is_powered() {
            return Ok(Next::Ends);
        }
        if !self.is_faulty {
            return Err(format!("failed without a fault: {error}"));
        }
        self.summary.failed_calls += 1;
        // Nobody may trust an engine after a failed sync: what it covered may be gone.
        if let (
            Error::SyncFailed(_),
            Some(engine),
            None | Some(Flight::Write(_) | Flight::Run(_) | Flight::Drop { .. }),
        ) = (error, &open.engine, &self.model.flight)
        {
            let mut batch = WriteBatch::default();
            batch.put(META, meta_key(0), "after a failed sync");
            if engine.write(&batch, Durability::Synced).is_ok() {
                return Err(format!("a write was taken after: {error}"));
            }
        }
        Ok(Next::Ends)
    }
}

fn carry(disk: &RocksDisk, from: &str, to: &str) -> Result<(), Error> {
    let export = disk.export(from)?;
    let mut import = disk.import(to)?;
    for file in export.files() {
        let mut at = 0;
        loop {
            let piece = export.read(&file.name, at, PIECE_BYTES)?;
            at += piece.len() as u64;
            import.append(&file.name, &piece)?;
            if piece.is_empty() {
                break;
            }
        }
    }
    import.finish()
}

fn meta_key(number: u64) -> Vec<u8> {
    format!("m{number:03}").into_bytes()
}

fn run_key(number: u64) -> Vec<u8> {
    format!("r{number:03}").into_bytes()
}

fn entry_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("an entry's key"))
}

/// The hash named so, with a start of one's choice.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
