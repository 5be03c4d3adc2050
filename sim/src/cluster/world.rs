//! All machines and the network between them.
//!
//! Traps of turmoil that this file knows: a connection that lost a message is dead for ever, so nodes need their keep-alive;
//! a crash closes connections as a dying process does, so a loss of power cuts the links first; nobody refuses connections
//! to a crashed host, so a killed process leaves a host behind on which nobody listens; a drawn loss on a link that is cut in one
//! direction ends the cut, so nothing is drawn there; and only both directions can be held, so what is cut is cut after that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bellwether_kv::{Faults, Unsynced};
use bellwether_model::{NodeId, Timestamp};
use bellwether_server::env::Program;
use turmoil::Sim;

use super::clock::Calendar;
use super::machine::{Machine, Process};
use super::net::{SharedTrace, host};
use super::operator::SimObjects;
use super::options::Options;
use crate::work::lock;
use crate::{EPOCH_MS, random::Random};

/// The clients' host.
pub const CLIENTS: usize = 0;
/// Its address: turmoil wants no zero.
pub const CLIENTS_ADDRESS: usize = 250;
/// Messages that a connection holds; turmoil panics when connections that wait to be accepted are more.
const CONNECTION_MESSAGES: usize = 65_536;
/// Clocks are compared and put right no better than this.
const CLOCK_MARGIN_MS: i64 = 5_000;
/// No run takes so long: phases have bounds of their own.
const DURATION: Duration = Duration::from_secs(1_000_000);

/// See the module.
pub struct World {
    sim: Sim<'static>,
    /// By number, from 1.
    pub machines: Vec<Arc<Machine>>,
    /// What the seed says.
    pub options: Arc<Options>,
    /// What time it is.
    pub calendar: Arc<Calendar>,
    /// Where everything goes down.
    pub trace: SharedTrace,
    /// How far a clock was ahead so far: one that is set back goes on as before for a while.
    ahead_ms: i64,
    off: BTreeSet<usize>,
    cuts: BTreeMap<u64, (Vec<usize>, Vec<usize>)>,
    holds: BTreeMap<u64, Vec<(usize, usize)>>,
    /// Of a thousand messages, by pairs of hosts in order.
    losses: BTreeMap<(usize, usize), u16>,
    links: BTreeMap<(usize, usize), Link>,
    drawn: u64,
}

/// What a link between two hosts does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Link {
    is_cut_there: bool,
    is_cut_back: bool,
    is_held: bool,
    loss_per_mille: u16,
}

impl Link {
    /// What it does but for losses now and then.
    fn ways(self) -> (bool, bool, bool) {
        (self.is_cut_there, self.is_cut_back, self.is_held)
    }
}

fn address(number: usize) -> std::net::IpAddr {
    host(if number == CLIENTS { CLIENTS_ADDRESS } else { number })
}

impl World {
    /// Machines on which nothing runs, and the clients' host.
    pub fn new<F>(options: Arc<Options>, calendar: Arc<Calendar>, trace: SharedTrace, clients: F) -> World
    where
        F: Future<Output = turmoil::Result> + 'static,
    {
        let mut random = Random::of(options.seed, "network");
        let mut sim = turmoil::Builder::new()
            .rng_seed(random.bits())
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH_MS as u64))
            .simulation_duration(DURATION)
            .tick_duration(options.tick)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(options.latency_max)
            .tcp_capacity(CONNECTION_MESSAGES)
            .ephemeral_ports(10_000..=65_535)
            .enable_random_order()
            .build();
        let objects = SimObjects::new(options.seed);
        let machine = |number| Machine::new(number, options.clone(), calendar.clone(), objects.clone(), trace.clone());
        let machines = (1..=options.nodes).map(machine);
        let machines: Vec<Arc<Machine>> = machines.map(Arc::new).collect();
        for machine in &machines {
            let carried = machine.clone();
            sim.host(address(machine.number), move || carried.clone().carry());
        }
        sim.client(address(CLIENTS), clients);
        World {
            sim,
            machines,
            options,
            calendar,
            trace,
            ahead_ms: 0,
            off: BTreeSet::new(),
            cuts: BTreeMap::new(),
            holds: BTreeMap::new(),
            losses: BTreeMap::new(),
            links: BTreeMap::new(),
            drawn: 0,
        }
    }

    /// Simulated time since the beginning.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// What no clock has shown yet, the fastest included.
    pub fn latest(&mut self) -> Timestamp {
        let elapsed_ms = self.now().as_millis() as i64;
        let ahead = self.machines.iter().map(|machine| machine.clock.ahead_ms(elapsed_ms));
        self.ahead_ms = ahead.fold(self.ahead_ms, i64::max);
        self.calendar.at(elapsed_ms) + self.ahead_ms + CLOCK_MARGIN_MS
    }

    /// One step of everybody.
    pub fn step(&mut self) -> Result<(), String> {
        self.sim.step().map(drop).map_err(|error| format!("a host failed: {error}"))
    }

    /// Notes what was done from outside.
    pub fn event(&self, what: String) {
        lock(&self.trace).add(format!("{} {what}", self.now().as_millis()));
    }

    /// A node's machine.
    pub fn machine(&self, number: usize) -> &Arc<Machine> {
        &self.machines[number - 1]
    }

    /// Kills the process on a node; connections to it are closed, new ones refused.
    pub fn kill(&mut self, number: usize) {
        let machine = self.machine(number).clone();
        // Before anything of the process is dropped: destructors must not reach the disk.
        machine.disk().crash();
        let left = machine.take();
        self.sim.crash(address(number));
        drop(left);
        if !self.off.contains(&number) {
            self.sim.bounce(address(number));
        }
    }

    /// Ends the power of a node; nobody hears anything of it.
    pub fn power_off(&mut self, number: usize, kept: Option<u64>) {
        self.off.insert(number);
        self.set_links();
        let machine = self.machine(number).clone();
        machine.disk().power_loss(Unsynced::of(kept));
        let left = machine.take();
        self.sim.crash(address(number));
        drop(left);
    }

    /// Starts a process on a node.
    pub fn boot(&mut self, number: usize) {
        if self.machine(number).look(|process| !matches!(process, Process::None)) {
            self.kill(number);
        }
        if self.off.remove(&number) {
            self.set_links();
        }
        if self.could_be_newer(number) {
            self.machine(number).install(self.newest_program());
        }
        self.machine(number).switch_on();
        self.sim.bounce(address(number));
    }

    /// A machine's disk is gone with its node; it comes back with an empty one.
    pub fn lose_disk(&mut self, number: usize) {
        self.power_off(number, None);
        self.machine(number).lose_disk();
    }

    /// Whether a machine that has no node yet has an older program than others: the cluster may use what it does not know.
    pub fn could_be_newer(&self, number: usize) -> bool {
        let machine = self.machine(number);
        machine.node().is_none() && machine.program().formats.highest < self.newest_program().formats.highest
    }

    /// Whether a node that serves knows that another was removed.
    pub fn is_removed(&self, node: u64) -> bool {
        let knows = |process: &Process| match process {
            Process::Serving(server) => server.meta().now().is_removed(NodeId(node)),
            _ => false,
        };
        self.machines.iter().any(|machine| machine.look(knows))
    }

    fn newest_program(&self) -> Program {
        let programs = self.machines.iter().map(|machine| machine.program());
        programs.max_by_key(|program| program.formats.highest).unwrap_or(Program::THIS)
    }

    /// All machines lose power for ever but one, which begins as a cluster of its own.
    pub fn found_anew(&mut self, number: usize) {
        (1..=self.machines.len()).for_each(|machine| self.power_off(machine, None));
        self.machine(number).found_anew();
        self.boot(number);
    }

    /// Messages from some hosts to others are lost, until [`uncut`](Self::uncut).
    pub fn cut(&mut self, from: Vec<usize>, to: Vec<usize>) -> u64 {
        self.drawn += 1;
        self.cuts.insert(self.drawn, (from, to));
        self.set_links();
        self.drawn
    }

    /// See [`cut`](Self::cut).
    pub fn uncut(&mut self, id: u64) {
        self.cuts.remove(&id);
        self.set_links();
    }

    /// Messages between pairs of hosts wait, until [`release`](Self::release).
    pub fn hold(&mut self, pairs: Vec<(usize, usize)>) -> u64 {
        self.drawn += 1;
        self.holds.insert(self.drawn, pairs);
        self.set_links();
        self.drawn
    }

    /// See [`hold`](Self::hold).
    pub fn release(&mut self, id: u64) {
        self.holds.remove(&id);
        self.set_links();
    }

    /// Messages between two hosts take this long at most.
    pub fn set_latency(&mut self, a: usize, b: usize, latency: Duration) {
        self.sim.set_link_max_message_latency(address(a), address(b), latency);
    }

    /// So many messages of a thousand between two hosts are lost, and their connections with them.
    pub fn set_loss(&mut self, a: usize, b: usize, per_mille: u16) {
        self.losses.insert((a.min(b), a.max(b)), per_mille);
        self.set_links();
    }

    /// Rights all that is wrong with network, disks and machines, processes excepted.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.holds.clear();
        self.losses.clear();
        self.set_links();
        let hosts: Vec<usize> = (0..=self.options.nodes).collect();
        for (at, a) in hosts.iter().enumerate() {
            for b in &hosts[at + 1..] {
                self.set_latency(*a, *b, self.options.latency_max);
            }
        }
        for machine in &self.machines {
            machine.disk().set_faults(Faults::default());
            machine.burden.halt(false);
            machine.burden.set_times(1);
            // Somebody sets right what jumped: of two that are left, nobody could tell who is wrong.
            machine.clock.set(self.options.clocks[machine.number - 1].0);
        }
    }

    /// All other hosts.
    pub fn others(&self, number: usize) -> Vec<usize> {
        (0..=self.options.nodes).filter(|host| *host != number).collect()
    }

    /// Brings turmoil's links to what the faults together make of them.
    fn set_links(&mut self) {
        let hosts: Vec<usize> = (0..=self.options.nodes).collect();
        for (at, a) in hosts.iter().enumerate() {
            for b in &hosts[at + 1..] {
                let (there, back) = (address(*a), address(*b));
                let wanted = self.wanted(*a, *b);
                let known = self.links.insert((*a, *b), wanted).unwrap_or_default();
                if known.loss_per_mille != wanted.loss_per_mille {
                    self.sim.set_link_fail_rate(there, back, f64::from(wanted.loss_per_mille) / 1000.0);
                }
                if known.ways() == wanted.ways() {
                    continue;
                }
                // What was held is delivered, held on, or lost in the cut that follows.
                self.sim.release(there, back);
                if wanted.is_held {
                    self.sim.hold(there, back);
                }
                match (wanted.is_cut_there, wanted.is_cut_back) {
                    (true, true) => self.sim.partition(there, back),
                    (true, false) => self.sim.partition_oneway(there, back),
                    (false, true) => self.sim.partition_oneway(back, there),
                    (false, false) => {}
                }
            }
        }
    }

    fn wanted(&self, a: usize, b: usize) -> Link {
        let is_off = self.off.contains(&a) || self.off.contains(&b);
        let is_cut = |from: usize, to: usize| {
            is_off || self.cuts.values().any(|(some, others)| some.contains(&from) && others.contains(&to))
        };
        let is_held = self.holds.values().flatten().any(|pair| *pair == (a, b) || *pair == (b, a));
        let (is_cut_there, is_cut_back) = (is_cut(a, b), is_cut(b, a));
        let drawn = self.losses.get(&(a, b)).copied().unwrap_or_default();
        let loss_per_mille = if is_cut_there || is_cut_back { 0 } else { drawn };
        Link { is_cut_there, is_cut_back, is_held, loss_per_mille }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use turmoil::net::UdpSocket;

    use super::*;
    use crate::trace::Trace;

    const PORT: u16 = 9;
    const MESSAGES: usize = 20;

    /// A world in which clients send some messages to node 1, as they come up.
    fn world() -> World {
        let trace = Arc::new(Mutex::new(Trace::new(false)));
        World::new(Arc::new(Options::of(1, 3)), Arc::default(), trace, async {
            let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
            for _ in 0..MESSAGES {
                socket.send_to(b"message", (address(1), PORT)).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            std::future::pending().await
        })
    }

    /// The most messages that were under way at a time within a second.
    fn under_way(world: &mut World) -> usize {
        let mut most = 0;
        while world.now() < Duration::from_secs(1) {
            world.step().unwrap();
            world.sim.links(|links| most = most.max(links.map(Iterator::count).sum()));
        }
        most
    }

    #[test]
    fn nothing_passes_a_cut_on_a_link_with_losses() {
        let mut world = world();
        world.cut(vec![CLIENTS], vec![1]);
        world.set_loss(CLIENTS, 1, 1000);
        assert_eq!(under_way(&mut world), 0);
    }

    #[test]
    fn a_link_that_is_cut_one_way_is_held_the_other_way() {
        let mut world = world();
        world.hold(vec![(CLIENTS, 1)]);
        world.cut(vec![1], vec![CLIENTS]);
        assert_eq!(under_way(&mut world), MESSAGES);
    }
}
