//! Who administers the cluster: tasks on the clients' host, over the public gRPC interface, through the client library.
//!
//! What an operator does is drawn beforehand, as faults are. A node may refuse, if it says so clearly; what it takes on must
//! come to its end: nobody is at rest while a task runs, a split is under way or a node is to be emptied. Which group or node
//! a task is about is a number, taken modulo of what there is when the task begins.

mod choices;
mod objects;
mod settings;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use bellwether_server::meta::MetaState;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use choices::{Choice, Choices};
pub use objects::SimObjects;
pub use work::run;

use super::coverage::{Mark, Marks};
use super::machine::Machine;
use super::net::{SharedTrace, now_ms};
use super::options::Options;
use crate::random::Random;
use crate::work::lock;

/// Tasks that wait to be begun: a schedule holds fewer.
const TASKS_MAX: usize = 10_000;
/// Groups that splits may lead to, beside those of the founding.
pub const GROUPS_MORE_MAX: u64 = 4;

/// Something that an operator does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Cuts a shard group in two: where half of its series lie, or at a part of its range, in per cent.
    Split(u64, Option<u8>),
    /// Gives a replica of a shard group to another node in place of one that has it.
    Move(u64, u64, u64),
    /// Hands the leadership of a shard group over.
    Transfer(u64, u64),
    /// Has a machine's node emptied.
    Drain(usize),
    /// Takes that back.
    Undrain(usize),
    /// Takes back whatever others may still be doing to empty a machine's node.
    Keep(usize),
    /// Has a machine's node emptied and removed for ever; the machine begins anew with an empty disk.
    Retire(usize),
    /// Removes the nodes that were lost with a machine's disk.
    Forget(usize),
    /// Begins shard groups anew that lost their majority for ever, and removes the nodes that are gone.
    Recover(Vec<u32>, Vec<u64>),
    /// Chooses a setting, or its default.
    Set(String, Option<String>),
    /// Goes back to the default of a setting that others may still be choosing.
    Reset(String),
    /// Looks at everything that can be looked at.
    Look,
    /// Makes a backup and compares every byte of it.
    Backup,
    /// Makes a new cluster of a backup.
    Restore(String),
    /// Ends an upgrade, if there is one.
    Finalize,
}

/// What operators share with the run.
pub struct Operators {
    /// What the seed says.
    pub options: Arc<Options>,
    /// What was reached.
    pub marks: Mutex<Marks>,
    /// Where everything goes down.
    pub trace: SharedTrace,
    tasks: mpsc::Sender<Task>,
    waiting: Mutex<Option<mpsc::Receiver<Task>>>,
    running: Mutex<Running>,
    violation: Mutex<Option<String>>,
    /// Machines whose node was removed, and which one: they begin anew.
    retired: Mutex<BTreeMap<usize, u64>>,
    /// Nodes that went with the disks of machines.
    lost: Mutex<BTreeMap<usize, BTreeSet<u64>>>,
    /// The last backup that was made, and is whole.
    backup: Mutex<Option<String>>,
    /// Settings that somebody chose.
    choices: Mutex<Choices>,
    machines: OnceLock<Vec<Arc<Machine>>>,
}

#[derive(Default)]
struct Running {
    given: u64,
    tasks: BTreeMap<u64, Task>,
}

impl Operators {
    /// Nobody has anything to do yet.
    pub fn new(options: Arc<Options>, trace: SharedTrace) -> Operators {
        let (tasks, waiting) = mpsc::channel(TASKS_MAX);
        Operators {
            options,
            marks: Mutex::default(),
            trace,
            tasks,
            waiting: Mutex::new(Some(waiting)),
            running: Mutex::default(),
            violation: Mutex::default(),
            retired: Mutex::default(),
            lost: Mutex::default(),
            backup: Mutex::default(),
            choices: Mutex::default(),
            machines: OnceLock::new(),
        }
    }

    /// Those whose processes answer.
    pub fn watch(&self, machines: &[Arc<Machine>]) {
        // There is one cluster to a run.
        let _ = self.machines.set(machines.to_vec());
    }

    /// Asks for a task.
    pub fn ask(&self, task: Task) {
        // A schedule is shorter than the queue.
        let _ = self.tasks.try_send(task);
    }

    /// The first thing that must not be, told once.
    pub fn violation(&self) -> Option<String> {
        lock(&self.violation).take()
    }

    /// Whether nothing is being done. Says what is.
    pub fn at_rest(&self) -> Result<(), String> {
        let running = lock(&self.running);
        match running.tasks.values().next() {
            Some(task) => Err(format!("an operator still does {task:?}")),
            None if self.tasks.capacity() < TASKS_MAX => Err("an operator is about to begin something".to_owned()),
            None => Ok(()),
        }
    }

    /// Machines whose node was removed since this was asked last, and which node.
    pub fn retired(&self) -> BTreeMap<usize, u64> {
        std::mem::take(&mut lock(&self.retired))
    }

    /// A machine's node was removed: it begins anew.
    pub fn retire(&self, machine: usize, node: u64) {
        lock(&self.retired).insert(machine, node);
    }

    /// Whether a machine's node is being removed, or was: no process of it is wanted any more.
    pub fn is_retiring(&self, machine: usize) -> bool {
        let running = lock(&self.running);
        running.tasks.values().any(|task| *task == Task::Retire(machine)) || lock(&self.retired).contains_key(&machine)
    }

    /// Whether somebody is emptying a machine's node.
    fn is_emptying(&self, machine: usize) -> bool {
        let running = lock(&self.running);
        running.tasks.values().any(|task| [Task::Drain(machine), Task::Retire(machine)].contains(task))
    }

    /// Whether somebody is choosing a setting.
    fn is_choosing(&self, setting: &str) -> bool {
        lock(&self.running).tasks.values().any(|task| matches!(task, Task::Set(name, _) if name == setting))
    }

    /// Whether settings are as they were chosen, where nothing is under way.
    pub fn settings_hold(&self, meta: &MetaState) -> Result<(), String> {
        lock(&self.choices).holds(|key| meta.settings.get(key))
    }

    /// The latest process of a machine.
    fn process(&self, machine: usize) -> Option<choices::Process> {
        self.machines.get()?.get(machine - 1).map(|here| (machine, here.boots()))
    }

    /// The last backup that was made since [`forget_backup`](Self::forget_backup), and is whole.
    pub fn backup(&self) -> Option<String> {
        lock(&self.backup).clone()
    }

    /// No backup counts that was made so far.
    pub fn forget_backup(&self) {
        *lock(&self.backup) = None;
    }

    /// A node went with the disk of a machine.
    pub fn lose(&self, machine: usize, node: u64) {
        lock(&self.lost).entry(machine).or_default().insert(node);
    }

    fn begin(&self, task: &Task) -> u64 {
        let mut running = lock(&self.running);
        running.given += 1;
        let number = running.given;
        running.tasks.insert(number, task.clone());
        number
    }

    fn end(&self, number: u64) {
        lock(&self.running).tasks.remove(&number);
    }

    fn violated(&self, what: String) {
        lock(&self.violation).get_or_insert(what);
    }

    fn reach(&self, mark: Mark) {
        lock(&self.marks).reach(mark);
    }

    fn event(&self, what: &str) {
        lock(&self.trace).add(format!("{} operator {what}", now_ms()));
    }
}

/// Settings that an operator may choose without harm, and what each may be.
const SETTINGS: &[(&str, &[&str])] = &[
    ("move.copies", &["1", "2", "16"]),
    ("move.copies_per_node", &["1", "4"]),
    ("move.transfers", &["1", "2", "32"]),
    ("move.load_tolerance", &["1%", "100%"]),
    ("nodes.settle", &["0s", "1s", "10s"]),
    ("split.samples_per_second", &["1", "20"]),
];

/// A setting, and a value for it.
pub fn draw_setting(random: &mut Random) -> Task {
    let (name, values) = SETTINGS[random.below(SETTINGS.len() as u64) as usize];
    let value = values[random.below(values.len() as u64) as usize];
    Task::Set(name.to_owned(), (!random.percent(20)).then(|| value.to_owned()))
}
