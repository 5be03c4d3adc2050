//! A machine: files that outlive processes, the faults that are switched on, and the count of steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::process::Process;
use crate::tree::{Loss, NodeId, Tree};

/// What goes wrong. Steps are counted from when the faults were set: each one that makes, adds to, syncs, links or renames
/// is one. Removals are none, since RocksDB makes them when it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The power fails at this step: nothing is answered until the next process starts. What the step did is not durable.
    pub power_fails_at: Option<u64>,
    /// This step fails with an I/O error; if it was a sync, what it covered is never durable.
    pub step_fails_at: Option<u64>,
    /// This read fails with an I/O error.
    pub read_fails_at: Option<u64>,
    /// From this step on the disk is full: it takes half of what is added to a file, and no new one.
    pub full_from: Option<u64>,
    /// Files are not synced though the answer says so.
    pub files_lie: bool,
    /// Directories are not synced though the answer says so.
    pub directories_lie: bool,
}

/// See the crate. Clones are handles to the same machine.
#[derive(Debug, Clone)]
pub struct Machine {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub tree: Tree,
    /// Counts processes; those before the last get errors.
    process: u64,
    is_powered: bool,
    faults: Faults,
    steps: u64,
    reads: u64,
    pub locks: BTreeSet<String>,
}

/// A step to the disk.
pub(crate) enum Step {
    /// A change of names that needs no room.
    Change,
    /// A change that needs some.
    Growth,
    SyncFile(NodeId),
    SyncDirectory,
}

impl Machine {
    /// One with an empty file system.
    pub fn new() -> Self {
        let state = State {
            tree: Tree::new(),
            process: 0,
            is_powered: true,
            faults: Faults::default(),
            steps: 0,
            reads: 0,
            locks: BTreeSet::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Begins a process, and ends the one before it: what that wrote stays.
    pub fn start(&self) -> Process {
        let mut state = self.state.lock();
        state.process += 1;
        state.is_powered = true;
        state.locks.clear();
        Process::new(self.state.clone(), state.process)
    }

    /// The power fails, if it did not yet, and what was not durable is lost but for what `loss` keeps. Faults end.
    pub fn lose_power(&self, loss: Loss) {
        let mut state = self.state.lock();
        state.is_powered = false;
        state.faults = Faults::default();
        state.tree.lose_power(&loss);
    }

    /// Whether the power is on.
    pub fn is_powered(&self) -> bool {
        self.state.lock().is_powered
    }

    /// Replaces the faults that are switched on; counting starts anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        (state.faults, state.steps, state.reads) = (faults, 0, 0);
    }

    /// Steps since the faults were set.
    pub fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    /// Every file's path and length.
    pub fn files(&self) -> Vec<(String, usize)> {
        self.state.lock().tree.files()
    }

    /// Flips a bit of a file, counted from the first byte's lowest; says whether there is one.
    pub fn flip_bit(&self, path: &str, bit: usize) -> bool {
        self.state.lock().tree.flip_bit(path, bit).is_ok()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    pub(crate) fn check_alive(&self, process: u64) -> Result<(), Errno> {
        if self.process == process && self.is_powered { Ok(()) } else { Err(Errno::IO) }
    }

    /// Does a step unless a fault is due.
    pub(crate) fn step<T>(
        &mut self,
        process: u64,
        step: Step,
        action: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<Option<T>, Errno> {
        self.check_alive(process)?;
        self.steps += 1;
        if self.faults.power_fails_at == Some(self.steps) {
            self.is_powered = false;
            if let Step::Change | Step::Growth = step {
                // It had begun: what is left of it is drawn like all that is not durable.
                let _ = action(&mut self.tree);
            }
            return Err(Errno::IO);
        }
        if self.faults.step_fails_at == Some(self.steps) {
            if let Step::SyncFile(node) = step {
                self.tree.fail_sync(node)?;
            }
            return Err(Errno::IO);
        }
        if matches!(step, Step::Growth) && self.is_full() {
            return Err(Errno::NOSPC);
        }
        let is_done = match step {
            Step::Change | Step::Growth => true,
            Step::SyncFile(_) => !self.faults.files_lie,
            Step::SyncDirectory => !self.faults.directories_lie,
        };
        is_done.then(|| action(&mut self.tree)).transpose()
    }

    pub(crate) fn read<T>(&mut self, process: u64, action: impl FnOnce(&Tree) -> Result<T, Errno>) -> Result<T, Errno> {
        self.check_alive(process)?;
        self.reads += 1;
        if self.faults.read_fails_at == Some(self.reads) {
            return Err(Errno::IO);
        }
        action(&self.tree)
    }

    /// Whether the disk is full at the current step.
    pub(crate) fn is_full(&self) -> bool {
        self.faults.full_from.is_some_and(|full_from| full_from <= self.steps)
    }
}
