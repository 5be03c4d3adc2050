//! Makes a schedule happen, ends what it began, and starts processes that ended themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::{Faults, Trigger};

use tokio::sync::watch;

use super::coverage::{Mark, Marks};
use super::machine::{NEXT_PROGRAM, Process};
use super::operator::{Operators, Task};
use super::probing::{SimProbe, Sprung};
use super::schedule::{Event, Fault, Kind, Strike};
use super::world::World;

/// A process that ended itself is started again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// What a disk has room for at least: a node that is new must be able to begin.
const DISK_BYTES_MIN: u64 = 16 << 10;
/// What failed on a disk comes out within this once the disk is right again: nothing that it was asked for takes longer to
/// come back to whoever asked.
const EXCUSED_AFTER: Duration = Duration::from_secs(5);
/// What errors say that are about damage.
const DAMAGE: [&str; 2] = ["corrupt", "damaged"];
/// A machine whose node was removed begins anew after this.
const RENEW_PAUSE: Duration = Duration::from_secs(3);

/// See the module.
pub struct Nemesis {
    events: VecDeque<Event>,
    ends: BTreeMap<(Duration, u64), End>,
    drawn: u64,
    /// Nodes without a process, to be started by an end.
    down: BTreeSet<usize>,
    /// Nodes on which a sync, a read or a write was asked to fail: their processes may end themselves, or not start, until then.
    may_end: BTreeMap<usize, Duration>,
    /// Nodes of whose disks something is damaged: where that is nothing of one shard group, their processes may end, and they
    /// come back as new ones.
    rotten: BTreeSet<usize>,
    /// Nodes on which a read or a write was asked to fail: what could not be read may look as if it were damaged.
    unreadable: BTreeSet<usize>,
    /// Machines whose nodes somebody was asked to empty.
    emptied: BTreeSet<usize>,
    /// Settings that somebody chose.
    chosen: BTreeSet<String>,
    operators: Arc<Operators>,
    probe: Rc<SimProbe>,
    /// Which node clients flood.
    flooded: watch::Sender<Option<usize>>,
}

/// How something that is wrong becomes right again.
#[derive(Debug)]
enum End {
    Boot(usize),
    Uncut(u64),
    Release(u64),
    Latency(usize, usize),
    Loss(usize, usize),
    Disk(usize),
    Fast(usize),
    Resume(usize, u64),
    Undrain(usize),
    Strike(usize, Strike, Duration),
    Flood,
}

impl Nemesis {
    /// One with nothing to do yet.
    pub fn new(operators: Arc<Operators>, probe: Rc<SimProbe>, flooded: watch::Sender<Option<usize>>) -> Nemesis {
        Nemesis {
            events: VecDeque::new(),
            ends: BTreeMap::new(),
            drawn: 0,
            down: BTreeSet::new(),
            may_end: BTreeMap::new(),
            rotten: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            emptied: BTreeSet::new(),
            chosen: BTreeSet::new(),
            operators,
            probe,
            flooded,
        }
    }

    /// Begins a schedule at `began`. On the machines of `down` nothing runs yet.
    pub fn begin_schedule(&mut self, schedule: Vec<Event>, began: Duration, down: BTreeSet<usize>) {
        self.events = schedule.into_iter().map(|event| Event { at: began + event.at, ..event }).collect();
        self.down = down;
    }

    /// Does what is due. An error is something that a node must not do.
    pub fn act(&mut self, world: &mut World, marks: &mut Marks) -> Result<(), String> {
        let now = world.now();
        self.renew(world);
        self.restart(world, marks)?;
        while let Some(entry) = self.ends.first_entry().filter(|entry| entry.key().0 <= now) {
            let end = entry.remove();
            self.end(end, world);
        }
        while let Some(event) = self.events.pop_front_if(|event| event.at <= now) {
            self.begin(event, world, marks);
        }
        Ok(())
    }

    /// Strikes whoever walked into an ambush in the last step, before anybody looks at what is left of it.
    pub fn strike(&mut self, world: &mut World, marks: &mut Marks) {
        for Sprung { number, ambush, lasts } in self.probe.sprung() {
            world.event(format!("n{number} walks into an ambush: {ambush:?}"));
            marks.reach(Mark::Ambushed);
            if ambush.later.is_zero() {
                self.end(End::Strike(number, ambush.strike, lasts), world);
            } else {
                self.later(world.now() + ambush.later, End::Strike(number, ambush.strike, lasts));
            }
        }
    }

    /// Everything is right again; only `dead` stays without a process.
    pub fn heal(&mut self, world: &mut World, dead: Option<usize>) {
        world.event(format!("everything heals, dead for ever: {dead:?}"));
        self.events.clear();
        self.ends.clear();
        self.flooded.send_replace(None);
        world.heal();
        (1..=world.options.nodes).for_each(|number| self.disk_is_right(number, world.now()));
        if let Some(dead) = dead {
            self.down.insert(dead);
            world.power_off(dead, None);
        }
        let waiting: Vec<usize> = self.down.iter().copied().filter(|node| Some(*node) != dead).collect();
        for node in waiting {
            self.end(End::Boot(node), world);
        }
        for node in std::mem::take(&mut self.emptied) {
            self.operators.ask(Task::Keep(node));
        }
        for name in std::mem::take(&mut self.chosen) {
            self.operators.ask(Task::Reset(name));
        }
        if world.options.kinds.contains(&Kind::Backup) {
            self.operators.ask(Task::Backup);
        }
    }

    /// Has machines begin anew whose node was removed for ever.
    fn renew(&mut self, world: &mut World) {
        for (number, node) in self.operators.retired() {
            // One that lost its disk meanwhile has another node by now.
            if world.machine(number).node() == Some(node) {
                world.event(format!("n{number} begins anew: node {node} is no more"));
                world.lose_disk(number);
                self.rotten.remove(&number);
                if self.down.insert(number) {
                    self.later(world.now() + RENEW_PAUSE, End::Boot(number));
                }
            }
        }
    }

    /// Starts processes that ended themselves, which only a disk that fails excuses, or that they were to join a cluster that
    /// was upgraded meanwhile.
    fn restart(&mut self, world: &mut World, marks: &mut Marks) -> Result<(), String> {
        self.may_end.retain(|_, until| *until > world.now());
        let running = (1..=world.options.nodes).filter(|number| !self.down.contains(number));
        for number in running.collect::<Vec<_>>() {
            // If nobody else says so in the end, a node is missing then.
            if let Some(node) = world.machine(number).removed() {
                if world.is_removed(node) {
                    self.operators.retire(number, node);
                }
                continue;
            }
            let refused = world.machine(number).look(|process| match process {
                Process::Refused(reason) => Some(reason.clone()),
                _ => None,
            });
            // Who has an excuse when it ends keeps it, however late somebody asks.
            if (refused.is_some() || world.machine(number).has_ended_itself())
                && let Some(until) = self.may_end.get_mut(&number)
            {
                *until = Duration::MAX;
            }
            let may_end = self.may_end.contains_key(&number);
            let has_excuse = may_end || self.rotten.contains(&number);
            // A node that is removed may end for that; one whose disk failed goes on until it is removed. If it is not removed
            // in the end, what ended it is seen then.
            if self.operators.is_retiring(number) && (refused.is_some() || !has_excuse) {
                continue;
            }
            let Some(reason) = world.machine(number).ended_itself().or(refused) else { continue };
            world.event(format!("n{number} is to be started again: {reason}"));
            if self.rotten.remove(&number) {
                marks.reach(Mark::RottenNodeReplaced);
                self.lose_disk(number, world);
                self.later(world.now() + RESTART_PAUSE, End::Boot(number));
                continue;
            }
            if !may_end && !world.could_be_newer(number) {
                return Err(format!("the process on node {number} ended itself: {reason}"));
            }
            marks.reach(Mark::ProcessEndedItself);
            world.kill(number);
            world.machine(number).disk().set_faults(Faults::default());
            self.may_end.remove(&number);
            self.down.insert(number);
            self.later(world.now() + RESTART_PAUSE, End::Boot(number));
        }
        Ok(())
    }

    /// Whether something on a disk is damaged still, found or not.
    pub fn has_rot(&self) -> bool {
        !self.rotten.is_empty()
    }

    /// Whether a fault that happened explains why a group of a node does not serve. Reads and writes that fail damage nothing.
    pub fn explains(&self, number: usize, reason: &str) -> bool {
        let is_damage = DAMAGE.iter().any(|said| reason.contains(said));
        self.rotten.contains(&number) || self.unreadable.contains(&number) && !is_damage
    }

    /// A machine dies, and never comes back.
    pub fn lose_for_ever(&mut self, number: usize, world: &mut World) {
        self.down.insert(number);
        world.power_off(number, None);
    }

    fn lose_disk(&mut self, number: usize, world: &mut World) {
        world.machine(number).node().into_iter().for_each(|lost| self.operators.lose(number, lost));
        world.lose_disk(number);
        self.rotten.remove(&number);
        self.down.insert(number);
    }

    /// Nothing fails any more on a node's disk.
    fn disk_is_right(&mut self, number: usize, now: Duration) {
        if let Some(until) = self.may_end.get_mut(&number) {
            *until = now + EXCUSED_AFTER;
        }
    }

    fn later(&mut self, at: Duration, end: End) {
        self.drawn += 1;
        self.ends.insert((at, self.drawn), end);
    }

    fn begin(&mut self, event: Event, world: &mut World, marks: &mut Marks) {
        let end_at = world.now() + event.lasts;
        let runs = |nemesis: &Nemesis, node: &usize| !nemesis.down.contains(node);
        world.event(format!("fault: {:?} for {:?}", event.fault, event.lasts));
        match event.fault {
            Fault::Crash(node) if runs(self, &node) => {
                marks.reach(Mark::Crash);
                world.kill(node);
                self.down.insert(node);
                self.later(end_at, End::Boot(node));
            }
            Fault::Stop(node) if runs(self, &node) => {
                marks.reach(Mark::Stop);
                world.machine(node).ask_to_stop();
                self.down.insert(node);
                self.later(end_at, End::Boot(node));
            }
            Fault::PowerLoss(nodes, kept) => {
                for node in nodes {
                    if runs(self, &node) {
                        marks.reach(Mark::PowerLoss);
                        world.power_off(node, kept.map(|seed| seed ^ node as u64));
                        self.down.insert(node);
                        self.later(end_at, End::Boot(node));
                    }
                }
            }
            Fault::LostDisk(node) if runs(self, &node) => {
                marks.reach(Mark::LostDisk);
                self.lose_disk(node, world);
                self.later(end_at, End::Boot(node));
            }
            Fault::Cut(from, to) => {
                marks.reach(Mark::Partition);
                let id = world.cut(from, to);
                self.later(end_at, End::Uncut(id));
            }
            Fault::Hold(a, b) => {
                let id = world.hold(vec![(a, b)]);
                self.later(end_at, End::Release(id));
            }
            Fault::SlowLink(a, b, latency) => {
                world.set_latency(a, b, latency);
                self.later(end_at, End::Latency(a, b));
            }
            Fault::Loss(a, b, per_mille) => {
                marks.reach(Mark::Loss);
                world.set_loss(a, b, per_mille);
                self.later(end_at, End::Loss(a, b));
            }
            Fault::Rot(node, pick) => {
                let directory = if pick % 4 == 0 { "log" } else { "shards" };
                if let Some(what) = world.machine(node).disk().damage_some(directory, pick) {
                    marks.reach(Mark::Rot);
                    world.event(format!("n{node} has rot: {what}"));
                    self.rotten.insert(node);
                }
            }
            Fault::DiskFull(node, room_bytes) => {
                marks.reach(Mark::DiskFull);
                let disk = world.machine(node).disk();
                let capacity_bytes = Some(disk.used_bytes().max(DISK_BYTES_MIN) + room_bytes);
                disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
                self.later(end_at, End::Disk(node));
            }
            Fault::SyncFails(node, nth) => {
                self.may_end.insert(node, Duration::MAX);
                world.machine(node).disk().set_faults(Faults { sync: Trigger::Nth(nth), ..Faults::default() });
                self.later(end_at, End::Disk(node));
            }
            Fault::DiskErrors(node, reads, writes, seed) => {
                marks.reach(Mark::DiskErrors);
                self.unreadable.insert(node);
                self.may_end.insert(node, Duration::MAX);
                let fails = |calls: u64, salt: u64| Trigger::OneIn { calls, seed: seed ^ salt };
                let faults = Faults { read: fails(reads, 0), write: fails(writes, 1), ..Faults::default() };
                world.machine(node).disk().set_faults(faults);
                self.later(end_at, End::Disk(node));
            }
            Fault::SlowDisk(node, times) => {
                world.machine(node).burden.set_times(times);
                self.later(end_at, End::Fast(node));
            }
            Fault::Pause(node) => {
                marks.reach(Mark::Pause);
                world.machine(node).burden.halt(true);
                let id = world.hold(world.others(node).into_iter().map(|other| (node, other)).collect());
                self.later(end_at, End::Resume(node, id));
            }
            Fault::ClockJump(node, by_ms) => {
                // Together with its offset a clock stays within what writes may lie ahead.
                if (world.machine(node).clock.offset_ms() + by_ms).abs() <= 200_000 {
                    marks.reach(Mark::ClockJump);
                    world.machine(node).clock.jump(by_ms);
                }
            }
            Fault::Leap(to_ms) => {
                marks.reach(Mark::Leapt);
                world.calendar.leap_to(to_ms, world.now().as_millis() as i64);
            }
            Fault::Join(node) if !runs(self, &node) && world.machine(node).boots() == 0 => {
                marks.reach(Mark::NodeJoinedLate);
                self.end(End::Boot(node), world);
            }
            Fault::Upgrade(node) if runs(self, &node) => {
                marks.reach(Mark::Upgraded);
                let machine = world.machine(node);
                machine.install(NEXT_PROGRAM);
                machine.ask_to_stop();
                self.down.insert(node);
                self.later(end_at, End::Boot(node));
            }
            Fault::Ask(task) => {
                match &task {
                    Task::Drain(node) => {
                        self.emptied.insert(*node);
                        self.later(end_at, End::Undrain(*node));
                    }
                    Task::Retire(node) => {
                        self.emptied.insert(*node);
                    }
                    Task::Set(name, _) => {
                        self.chosen.insert(name.clone());
                    }
                    _ => {}
                }
                self.operators.ask(task);
            }
            Fault::Flood(node) => {
                self.flooded.send_replace(Some(node));
                self.later(end_at, End::Flood);
            }
            Fault::Ambush(ambush) => self.probe.lie_in_wait(ambush, event.lasts),
            Fault::Crash(_) | Fault::Stop(_) | Fault::LostDisk(_) | Fault::Join(_) | Fault::Upgrade(_) => {}
        }
    }

    fn end(&mut self, end: End, world: &mut World) {
        world.event(format!("end: {end:?}"));
        match end {
            End::Boot(node) => {
                self.down.remove(&node);
                world.boot(node);
            }
            End::Uncut(id) => world.uncut(id),
            End::Release(id) => world.release(id),
            End::Latency(a, b) => world.set_latency(a, b, world.options.latency_max),
            End::Loss(a, b) => world.set_loss(a, b, 0),
            End::Disk(node) => {
                world.machine(node).disk().set_faults(Faults::default());
                self.disk_is_right(node, world.now());
            }
            End::Fast(node) => world.machine(node).burden.set_times(1),
            End::Undrain(node) => self.operators.ask(Task::Undrain(node)),
            End::Flood => {
                self.flooded.send_replace(None);
            }
            End::Strike(node, strike, lasts) => {
                match strike {
                    Strike::Crash => world.kill(node),
                    Strike::PowerLoss(kept) => world.power_off(node, kept),
                }
                if self.down.insert(node) {
                    self.later(world.now() + lasts, End::Boot(node));
                }
            }
            End::Resume(node, id) => {
                world.machine(node).burden.halt(false);
                world.release(id);
            }
        }
    }
}
