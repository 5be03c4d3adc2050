//! Who writes, deletes and reads: tasks on a host of their own, over HTTP, to any node.
//!
//! [`writer`] (now and then as a [`gatherer`]), [`eraser`], [`reader`], [`alerter`], [`changer`] and now and then [`flooder`] work while
//! things go wrong; the [`examiner`] looks at the end. A [`query`] is what
//! is asked, an [`answer`] what came.

mod alerter;
mod answer;
mod changer;
mod eraser;
mod examiner;
mod flooder;
mod gatherer;
mod query;
mod reader;
mod writer;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_client::Writer;
use bellwether_model::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;

use super::alerts::Alerts;
use super::clock::Calendar;
use super::coverage::{Mark, Marks};
use super::history::{History, Write};
use super::net::{SharedTrace, now_ms};
use super::options::Options;
use super::receiver::receive;
use super::schedule::Kind;
use crate::random::Random;
use crate::work::lock;

/// Longest time that a client waits for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The number of the first client that deletes: its series are its own.
const FIRST_ERASER: usize = 50;
/// The number of the first client that floods nodes, and how many there are.
const FIRST_FLOODER: usize = 60;
const FLOODERS: usize = 24;
/// The number of the client that looks at the end.
const EXAMINER: usize = 99;

/// What clients do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet, or nothing any more.
    Idle,
    /// They write and read.
    Work,
    /// Each of these nodes must take a write and answer with everything.
    Examine(Vec<usize>),
}

/// What clients share with the run.
pub struct Shared {
    /// What the seed says.
    pub options: Arc<Options>,
    /// What time it is.
    pub calendar: Arc<Calendar>,
    /// What was written.
    pub history: Mutex<History>,
    /// Rules, and what was told of their alerts.
    pub alerts: Mutex<Alerts>,
    /// What was reached.
    pub marks: Mutex<Marks>,
    /// What clients do now.
    pub phase: watch::Sender<Phase>,
    /// The node that clients are to flood.
    pub flooded: watch::Sender<Option<usize>>,
    /// The first thing that must not be.
    pub violation: Mutex<Option<String>>,
    /// Nodes that passed the examination.
    pub passed: Mutex<BTreeSet<usize>>,
    /// Why the examination does not go on.
    pub stuck: Mutex<String>,
    /// Requests by outcome.
    pub counts: Mutex<Counts>,
    /// Where everything goes down.
    pub trace: SharedTrace,
}

/// Requests by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Attempts to write whose outcome is not known.
    pub unknown: u64,
    /// Deletions that were acknowledged.
    pub deletions: u64,
    /// Queries that were answered.
    pub queries: u64,
    /// Queries that failed.
    pub failed: u64,
    /// Rows of computed queries that were compared with the model's.
    pub compared: u64,
}

impl Shared {
    /// Nobody has done anything yet.
    pub fn new(options: Arc<Options>, trace: SharedTrace) -> Shared {
        Shared {
            options,
            calendar: Arc::default(),
            history: Mutex::default(),
            alerts: Mutex::default(),
            marks: Mutex::default(),
            phase: watch::Sender::new(Phase::Idle),
            flooded: watch::Sender::new(None),
            violation: Mutex::default(),
            passed: Mutex::default(),
            stuck: Mutex::default(),
            counts: Mutex::default(),
            trace,
        }
    }

    pub(super) fn violated(&self, what: String) {
        lock(&self.violation).get_or_insert(what);
    }

    fn acknowledged(&self, writes: &[Write], may_come_again: bool) {
        let mut history = lock(&self.history);
        writes.iter().for_each(|write| history.acknowledge(*write, may_come_again));
    }

    pub(super) fn event(&self, client: &str, what: &str) {
        lock(&self.trace).add(format!("{} {client} {what}", now_ms()));
    }

    pub(super) fn reach(&self, mark: Mark) {
        lock(&self.marks).reach(mark);
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut lock(&self.counts));
    }
}

/// All clients. Ends with its host alone.
pub async fn run(shared: Arc<Shared>) -> turmoil::Result {
    for number in 0..shared.options.writers {
        tokio::spawn(Client::new(&shared, "writer", number).write_on());
    }
    for number in 0..shared.options.workload.erasers {
        tokio::spawn(Client::new(&shared, "eraser", FIRST_ERASER + number).erase_on());
    }
    for number in 0..shared.options.readers {
        tokio::spawn(Client::new(&shared, "reader", number).read_on());
    }
    for number in 0..shared.options.workload.alerters {
        tokio::spawn(Client::new(&shared, "alerter", number).alert_on());
    }
    if shared.options.workload.alerters > 0 && shared.options.workload.changes {
        tokio::spawn(Client::new(&shared, "changer", 0).change_on());
    }
    let flooders = if shared.options.kinds.contains(&Kind::Flood) { FLOODERS } else { 0 };
    for number in 0..flooders {
        tokio::spawn(Client::new(&shared, "flooder", FIRST_FLOODER + number).flood_on());
    }
    tokio::spawn(Client::new(&shared, "examiner", EXAMINER).examine());
    receive(shared).await
}

struct Client {
    shared: Arc<Shared>,
    name: String,
    number: usize,
    random: Random,
    /// For queries of rare shapes.
    rare: Random,
    phase: watch::Receiver<Phase>,
    /// Series that it has made beside those of every client.
    made: usize,
    /// For each tenant a writer of the client library, where it writes through that.
    gatherers: Vec<Writer>,
}

impl Client {
    fn new(shared: &Arc<Shared>, what: &str, number: usize) -> Client {
        let name = format!("{what} {number}");
        let random = Random::of(shared.options.seed, &name);
        let rare = Random::of(shared.options.seed, &format!("rare queries of {name}"));
        Client {
            shared: shared.clone(),
            random,
            rare,
            name,
            number,
            phase: shared.phase.subscribe(),
            made: 0,
            gatherers: Vec::new(),
        }
    }

    fn event(&self, what: &str) {
        self.shared.event(&self.name, what);
    }

    /// What time it is where clocks are right.
    fn now(&self) -> Timestamp {
        self.shared.calendar.at(now_ms() as i64)
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end as u64) as usize
    }

    fn node(&mut self) -> usize {
        1 + self.below(self.shared.options.nodes)
    }

    fn tenant(&mut self) -> usize {
        self.below(self.shared.options.workload.tenants)
    }

    async fn pause(&mut self) {
        let mean = self.shared.options.client_pause.as_millis() as u64;
        sleep(Duration::from_millis(self.random.below(2 * mean))).await;
    }

    async fn work(&mut self) {
        // An error means that the run is over.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Work).await;
    }
}
