//! One run of a seed: its phases, and what it comes to.

mod begun;
mod losing;
mod restoring;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_placement::NodeState;
use bellwether_probe::Bug;
use bellwether_server::Server;
use bellwether_server::meta::MetaState;
use tokio::runtime::Builder;

use self::begun::Begun;
use super::case::Case;
use super::clients::{self, Counts, Phase, Shared};
use super::coverage::{Mark, Marks};
use super::machine::Process;
use super::nemesis::Nemesis;
use super::observe::{NodeSeen, is_common, metric, observe};
use super::operator::{self, Operators};
use super::options::Options;
use super::probing::SimProbe;
use super::schedule::{Event, Kind};
use super::world::World;
use crate::invariants::one_evaluator::OneEvaluator;
use crate::invariants::{Watcher, bounded, content_equal, told_at_last, watchers};
use crate::os_clock;
use crate::panics;
use crate::random::Random;
use crate::trace::Trace;
use crate::work::lock;

/// Pause between two looks at all nodes.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two looks at what nodes hold.
const GAUGE_PAUSE: Duration = Duration::from_secs(2);
/// How long groups may take to spread over nodes that join.
const SPREAD_MAX: Duration = Duration::from_secs(180);
/// How long clients go on once everything has healed.
const WORK_AFTER: Duration = Duration::from_secs(5);
/// How long the cluster may take to come to rest once everything has healed.
const REST_MAX: Duration = Duration::from_secs(240);
/// How long all nodes together may take to pass the examination.
const EXAMINATION_MAX: Duration = Duration::from_secs(120);
/// How much longer where alerts are to fire and to be over meanwhile: one clock may be a minute and a half behind, and rules are
/// evaluated by it.
const CHANGES_MAX: Duration = Duration::from_secs(300);
/// How long a message may wait once receivers take what they are sent: attempts are up to a minute apart.
const TOLD_MAX: Duration = Duration::from_secs(120);
/// How long what requests took may be held once nobody asks for anything.
const GIVEN_BACK_MAX: Duration = Duration::from_secs(30);
/// Nodes join within this after the first one began.
const JOIN_WITHIN_MS: u64 = 4_000;
/// Where clocks leap, nodes act on it now and then before they would: they trust a clock that leapt after an hour.
const SITES_OF_LEAP: &[&str] = &["a clock is trusted soon", "an early look at Windows"];
/// First events that are kept where two runs are compared.
const EVENTS_COMPARED: usize = 300_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Folded over everything that happened.
    pub trace_hash: u64,
    /// How many events that were.
    pub events: u64,
    /// The first of them, each with the hash after it, if they were wanted.
    pub first_events: Vec<(u64, String)>,
    /// Processes that ran.
    pub processes: u64,
    /// Requests by outcome.
    pub counts: Counts,
    /// Samples that were acknowledged, and are there.
    pub samples: usize,
    /// Simulated time.
    pub simulated: Duration,
    /// What was reached.
    pub marks: Marks,
}

/// What must not be, and what led to it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub reason: String,
    /// Options, schedule and the last events.
    pub details: String,
    /// The trace's hash when it was found.
    pub trace_hash: u64,
    /// The first events with the hash after each of them, where they were kept.
    pub first_events: Vec<(u64, String)>,
}

/// How a run is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Prints events as they happen.
    pub echo: bool,
    /// Keeps events to compare them.
    pub keep: bool,
    /// A bug that the code has for this run.
    pub planted: Option<Bug>,
}

/// A runtime that ends drops its tasks in an order that depends on their ids, and one counter of the process gives the ids:
/// there is one run at a time, and it begins at a number that fits.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Tokio keeps the tasks of a runtime with one thread in so many lists, by id.
const TASK_LISTS: u64 = 4;

/// Moves the counter of task ids on.
fn align_task_ids() -> Result<(), String> {
    let runtime = Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    loop {
        let id = runtime.spawn(async {}).id().to_string();
        let id: u64 = id.parse().map_err(|_| format!("the task id {id} is not a number"))?;
        if id.is_multiple_of(TASK_LISTS) {
            return Ok(());
        }
    }
}

/// Runs a seed: see [`replay`].
pub fn simulate(seed: u64, nodes: usize, manner: Manner) -> Result<Report, Box<Failure>> {
    replay(Case::of(seed, nodes), manner)
}

/// Runs a case on a thread of its own, since thread-local state of an earlier run must not show. Runs of one process wait for
/// each other.
pub fn replay(case: Case, manner: Manner) -> Result<Report, Box<Failure>> {
    let _alone = lock(&ONE_AT_A_TIME);
    let seed = case.options.seed;
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK_BYTES);
    let failed = |reason: String| {
        Box::new(Failure { seed, reason, details: String::new(), trace_hash: 0, first_events: Vec::new() })
    };
    align_task_ids().map_err(failed)?;
    panics::note();
    let trace = Trace::keeping(manner.echo, if manner.keep { EVENTS_COMPARED } else { 0 });
    let begun = Begun { trace: Arc::new(Mutex::new(trace)), steps: Arc::default() };
    let (end, ended) = mpsc::channel();
    let (case_of_run, begun_of_run) = (case.clone(), begun.clone());
    let run = move || {
        // Dropped at the end, also by a panic.
        let _end: mpsc::Sender<()> = end;
        guarded(case_of_run, manner, &begun_of_run)
    };
    let run = thread.spawn(run).map_err(|error| failed(error.to_string()))?;
    if !begun.ends(&ended) {
        return Err(begun.failure(&case.options, &case.schedule, "every step of a simulation ends".to_owned()));
    }
    run.join().unwrap_or_else(|_| Err(failed("the simulator panicked, see above".to_owned())))
}

/// Futures of development builds are large.
const STACK_BYTES: usize = 64 << 20;

fn guarded(case: Case, manner: Manner, begun: &Begun) -> Result<Report, Box<Failure>> {
    let _clocks = os_clock::begin();
    let Case { options, schedule, .. } = case;
    let (seed, options) = (options.seed, Arc::new(options));
    let wanted = if options.kinds.contains(&Kind::Leap) { SITES_OF_LEAP } else { &[] };
    let probe = Rc::new(SimProbe::new(seed, wanted, manner.planted));
    let _installed = bellwether_probe::install(probe.clone());
    let run = || Run::new(options.clone(), begun.clone(), probe.clone()).complete(schedule.clone());
    let run = catch_unwind(AssertUnwindSafe(run));
    let result = run.unwrap_or_else(|_| Err("nobody panics: see above".to_owned()));
    let result = panics::take().map_or(result, Err);
    result.map_err(|reason| begun.failure(&options, &schedule, reason))
}

struct Run {
    world: World,
    shared: Arc<Shared>,
    watchers: Vec<Box<dyn Watcher>>,
    evaluators: OneEvaluator,
    /// Groups that begin anew: until the replicas of before are gone they are two at a time.
    unwatched: BTreeSet<u32>,
    marks: Marks,
    looked: Duration,
    gauged: Duration,
    /// What was last seen of each replica: machine, process, group.
    seen: BTreeMap<(usize, u32), String>,
    leaders: BTreeMap<u32, u64>,
    retention_ms: i64,
    nemesis: Nemesis,
    operators: Arc<Operators>,
    probe: Rc<SimProbe>,
    steps: Arc<AtomicU64>,
}

impl Run {
    fn new(options: Arc<Options>, Begun { trace, steps }: Begun, probe: Rc<SimProbe>) -> Run {
        let shared = Arc::new(Shared::new(options.clone(), trace.clone()));
        let operators = Arc::new(Operators::new(options.clone(), trace.clone()));
        let (clients, administration) = (clients::run(shared.clone()), operator::run(operators.clone()));
        let retention_ms = options.retention().as_millis() as i64;
        let world =
            World::new(options, shared.calendar.clone(), trace, async { tokio::join!(clients, administration).0 });
        probe.watch(&world.machines);
        operators.watch(&world.machines);
        let nemesis = Nemesis::new(operators.clone(), probe.clone(), shared.flooded.clone());
        Run {
            world,
            shared,
            watchers: watchers(),
            evaluators: OneEvaluator::default(),
            unwatched: BTreeSet::new(),
            marks: Marks::default(),
            looked: Duration::ZERO,
            gauged: Duration::ZERO,
            seen: BTreeMap::new(),
            leaders: BTreeMap::new(),
            retention_ms,
            nemesis,
            operators,
            probe,
            steps,
        }
    }

    fn complete(mut self, schedule: Vec<Event>) -> Result<Report, String> {
        let options = self.world.options.clone();
        self.found_and_join()?;
        self.phase(Phase::Work);
        let loses_disk = schedule.iter().any(|event| event.fault.loses_copies());
        let rotten = schedule.iter().find_map(|event| event.fault.damages());
        let down: BTreeSet<usize> = options.joins_late.then_some(options.nodes).into_iter().collect();
        self.nemesis.begin_schedule(schedule, self.world.now(), down);
        self.go_on(options.chaos)?;

        let mut random = Random::of(options.seed, "healing");
        let dead = (options.dead_minority && !loses_disk).then(|| 1 + random.below(options.nodes as u64) as usize);
        self.nemesis.heal(&mut self.world, dead);
        self.probe.calm();
        self.go_on(WORK_AFTER)?;
        self.phase(Phase::Idle);
        let alive: Vec<usize> = (1..=options.nodes).filter(|number| Some(*number) != dead).collect();
        self.until("the cluster comes to rest", REST_MAX, |run, nodes| run.is_at_rest(nodes, &alive))?;
        content_equal::check(&self.world.machines, options.workload.tenants, rotten)?;
        observe(&self.world.machines)?.iter().try_for_each(|node| self.operators.settings_hold(&node.meta))?;
        self.reached_at_rest(loses_disk);
        self.phase(Phase::Examine(alive.clone()));
        let more = if options.workload.changes { CHANGES_MAX } else { Duration::ZERO };
        self.until("nodes take writes and answer", EXAMINATION_MAX + more, |run, _| {
            let passed = lock(&run.shared.passed).len();
            if passed == alive.len() { Ok(()) } else { Err(lock(&run.shared.stuck).clone()) }
        })?;
        self.phase(Phase::Idle);
        self.until("replicas are equal at the end", REST_MAX, |run, nodes| run.is_at_rest(nodes, &alive))?;
        content_equal::check(&self.world.machines, options.workload.tenants, rotten)?;
        self.until("receivers are told", TOLD_MAX, |run, _| run.each_server(told_at_last::check))?;
        self.until("what requests took is given back", GIVEN_BACK_MAX, |run, _| {
            run.each_server(bounded::is_given_back)
        })?;
        if dead.is_none() {
            self.lose_a_majority()?;
        }
        self.restore()?;
        Ok(self.report())
    }

    fn found_and_join(&mut self) -> Result<(), String> {
        let options = self.world.options.clone();
        let mut random = Random::of(options.seed, "joining");
        self.world.boot(1);
        let first = options.nodes - usize::from(options.joins_late);
        let mut joins: Vec<(Duration, usize)> =
            (2..=first).map(|node| (Duration::from_millis(random.below(JOIN_WITHIN_MS)), node)).collect();
        joins.sort_unstable();
        for (at, node) in joins {
            while self.world.now() < at {
                self.step()?;
            }
            self.world.boot(node);
        }
        let all: Vec<usize> = (1..=first).collect();
        self.until("groups spread over all nodes", SPREAD_MAX, |run, nodes| run.is_at_rest(nodes, &all))
    }

    fn phase(&mut self, phase: Phase) {
        self.world.event(format!("phase: {phase:?}"));
        self.shared.phase.send_replace(phase);
    }

    fn step(&mut self) -> Result<(), String> {
        self.nemesis.act(&mut self.world, &mut self.marks)?;
        let oldest = self.world.latest() - self.retention_ms;
        {
            let mut history = lock(&self.shared.history);
            history.passes(self.world.now());
            history.retain_from(oldest);
        }
        self.world.step()?;
        self.steps.fetch_add(1, Ordering::Relaxed);
        os_clock::set(self.world.now());
        self.nemesis.strike(&mut self.world, &mut self.marks);
        if self.probe.has_reached("the time of an alert group is set back") {
            lock(&self.shared.alerts).time_is_set_back();
        }
        if self.probe.has_reached("damage was found in a copy that served") && !self.marks.contains(Mark::Rot) {
            return Err("what is stored can be read: damage was found, and nobody had damaged anything".to_owned());
        }
        let is_set_back = lock(&self.shared.alerts).is_set_back();
        for seen in self.probe.seen() {
            self.evaluators.judge(&seen, is_set_back)?;
        }
        if let Some(panic) = panics::take() {
            return Err(panic);
        }
        if let Some(violation) = lock(&self.shared.violation).take() {
            return Err(violation);
        }
        if let Some(violation) = self.operators.violation() {
            return Err(violation);
        }
        if self.world.now() >= self.looked + LOOK_PAUSE {
            self.looked = self.world.now();
            self.look()?;
        }
        if self.world.now() >= self.gauged + GAUGE_PAUSE {
            self.gauged = self.world.now();
            self.each_server(|server| bounded::check(server, &self.world.options))?;
        }
        Ok(())
    }

    /// Asks all nodes that serve; an error says which.
    fn each_server(&self, check: impl Fn(&Server) -> Result<(), String>) -> Result<(), String> {
        for machine in &self.world.machines {
            machine.look(|process| match process {
                Process::Serving(server) => {
                    check(server).map_err(|wrong| format!("{wrong}, on node {}", machine.number))
                }
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    fn go_on(&mut self, lasting: Duration) -> Result<(), String> {
        let end = self.world.now() + lasting;
        while self.world.now() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Goes on until something holds, which it must within a bound of simulated time.
    fn until(
        &mut self,
        what: &str,
        most: Duration,
        holds: impl Fn(&Run, &[NodeSeen]) -> Result<(), String>,
    ) -> Result<(), String> {
        let began = self.world.now();
        loop {
            let looked = self.looked;
            while self.looked == looked {
                self.step()?;
            }
            let nodes = observe(&self.world.machines)?;
            let Err(reason) = holds(self, &nodes) else {
                self.world.event(format!("{what} after {:?}", self.world.now() - began));
                return Ok(());
            };
            if self.world.now() > began + most {
                return Err(format!("{what} within {most:?}: {reason}"));
            }
        }
    }

    fn look(&mut self) -> Result<(), String> {
        let mut nodes = observe(&self.world.machines)?;
        for node in &nodes {
            for group in &node.groups {
                let position = |at: Option<super::observe::Position>| at.map(|at| (at.term, at.index));
                let text = format!(
                    "term {} leads {} applied {:?} hash {:016x} voters {:?}+{:?}",
                    group.term,
                    group.is_leader,
                    position(group.applied),
                    group.state_hash.unwrap_or_default(),
                    group.voters,
                    group.learners
                );
                if group.is_leader
                    && self.leaders.insert(group.group, group.replica).is_some_and(|before| before != group.replica)
                {
                    self.marks.reach(Mark::LeaderChanged);
                }
                if group.is_joint {
                    self.marks.reach(Mark::JointMembership);
                }
                if group.purged.is_some() && !is_common(group.group) {
                    self.marks.reach(Mark::LogCut);
                }
                let known = self.seen.get(&(node.number, group.group));
                if known != Some(&text) {
                    self.world.event(format!("n{} group {}: {text}", node.number, group.group));
                    self.seen.insert((node.number, group.group), text);
                }
            }
        }
        for node in &mut nodes {
            node.groups.retain(|group| !self.unwatched.contains(&group.group));
            node.damaged.retain(|reason| !self.nemesis.explains(node.number, reason));
        }
        for watcher in &mut self.watchers {
            watcher.look(&nodes).map_err(|reason| format!("{}: {reason}", watcher.name()))?;
        }
        Ok(())
    }

    /// Whether every group is led, and has all its replicas on nodes that live, all equal. Says what is missing.
    fn is_at_rest(&self, nodes: &[NodeSeen], alive: &[usize]) -> Result<(), String> {
        if let Some(number) = alive.iter().find(|number| !nodes.iter().any(|node| node.number == **number)) {
            return Err(format!("node {number} does not serve"));
        }
        let meta = nodes.iter().max_by_key(|node| node.meta.index).ok_or("no node serves")?;
        if let Some(behind) = nodes.iter().find(|node| node.meta.index != meta.meta.index) {
            return Err(format!("node {} does not know what node {} knows", behind.number, meta.number));
        }
        if let Some(node) = nodes.iter().find(|node| !node.quarantined.is_empty()) {
            return Err(format!("node {}: {}", node.number, node.quarantined.join(", ")));
        }
        self.operators.at_rest()?;
        is_settled(&meta.meta, nodes)?;
        let living: BTreeSet<u64> = nodes.iter().map(|node| node.node).collect();
        let present = self.world.machines.iter().filter(|machine| machine.boots() > 0).count();
        let is_whole = alive.len() == present;
        // With two nodes one alone votes.
        let copies = if present < 3 { 1 } else { 3 };
        let groups = meta.meta.placement.groups().iter().map(|group| group.id.0);
        let common =
            nodes.iter().flat_map(|node| &node.groups).map(|seen| seen.group).filter(|group| is_common(*group));
        for group in groups.chain(common.collect::<BTreeSet<_>>()) {
            let replicas = nodes.iter().flat_map(|node| node.groups.iter().map(move |seen| (node, seen)));
            let replicas: Vec<_> = replicas.filter(|(_, seen)| seen.group == group).collect();
            let leader = replicas.iter().filter(|(_, seen)| seen.is_leader).max_by_key(|(_, seen)| seen.term);
            let (at, leader) = leader.ok_or_else(|| format!("nobody leads group {group}"))?;
            if leader.is_joint {
                return Err(format!("the voters of group {group} are being changed"));
            }
            let mut members = leader.voters.iter().chain(&leader.learners);
            // A lost node stays a member of the groups of all nodes until somebody removes it.
            let is_shard = !is_common(group);
            if is_whole && is_shard && (members.any(|node| !living.contains(node)) || leader.voters.len() < copies) {
                return Err(format!("group {group} has voters {:?}, learners {:?}", leader.voters, leader.learners));
            }
            for (node, seen) in &replicas {
                if leader.voters.contains(&node.node)
                    && (seen.applied != leader.applied
                        || seen.state_hash != leader.state_hash
                        || seen.applied.map(|at| at.index) != leader.last)
                {
                    return Err(format!(
                        "group {group}: node {} has applied {:?} of {:?}, its leader {} {:?}",
                        node.number, seen.applied, leader.last, at.number, leader.applied
                    ));
                }
            }
        }
        Ok(())
    }

    fn reached_at_rest(&mut self, lost_disk: bool) {
        if lost_disk && self.marks.contains(Mark::LostDisk) {
            self.marks.reach(Mark::LostNodeReplaced);
        }
        for machine in &self.world.machines {
            let received = machine.look(|process| match process {
                Process::Serving(server) => {
                    metric(server, "bellwether_peer_checkpoints_total", &[("direction", "received")])
                }
                _ => 0.0,
            });
            if received > 0.0 {
                self.marks.reach(Mark::CheckpointReceived);
            }
        }
    }

    fn report(mut self) -> Report {
        self.marks.add(&lock(&self.shared.marks));
        self.marks.add(&lock(&self.operators.marks));
        self.probe.reached_so_far().into_iter().for_each(|told| self.marks.hear(told));
        let mut trace = lock(&self.world.trace);
        Report {
            trace_hash: trace.hash(),
            events: trace.count(),
            first_events: std::mem::take(&mut trace.events),
            processes: self.world.machines.iter().map(|machine| machine.boots()).sum(),
            counts: lock(&self.shared.counts).clone(),
            samples: lock(&self.shared.history).acknowledged(),
            simulated: self.world.now(),
            marks: self.marks.clone(),
        }
    }
}

/// Whether no split is under way, groups own what the map says, no replica is to take another's place, and no node that
/// answers is still to be emptied.
fn is_settled(meta: &MetaState, nodes: &[NodeSeen]) -> Result<(), String> {
    for group in meta.placement.groups() {
        if let Some(split) = &group.split {
            return Err(format!("group {} is being split into {}", group.id, split.child));
        }
        let led = nodes.iter().flat_map(|node| &node.groups).filter(|seen| seen.group == group.id.0 && seen.is_leader);
        if let Some(owned) = led.filter_map(|seen| seen.owned).find(|owned| owned.range != group.range) {
            return Err(format!("group {} owns {}, not {}, as the map says", group.id, owned.range, group.range));
        }
        if let Some(replica) = group.replicas.iter().find(|replica| replica.replaces.is_some()) {
            let nodes: Vec<_> = meta.present_nodes().map(|(node, record)| (node.0, record.state)).collect();
            let replicas = &group.replicas;
            return Err(format!(
                "replica {} of group {} is to take another's place: {replicas:?}, nodes {nodes:?}",
                replica.id, group.id
            ));
        }
    }
    let is_there = |node: u64| nodes.iter().any(|seen| seen.node == node);
    let draining =
        meta.present_nodes().filter(|(node, record)| record.state == NodeState::Draining && is_there(node.0));
    for (node, _) in draining {
        let left = meta.replicas_on(node);
        if left > 0 {
            return Err(format!("node {node} is to be emptied and holds {left} replicas"));
        }
    }
    Ok(())
}
