//! Who writes and reads: tasks on a host of their own, over HTTP, to any node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_model::{Labels, Sample, Timestamp};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::coverage::{Mark, Marks};
use super::history::{Cells, Found, History, METRICS, Moment, Series, Write, tenant};
use super::http::{Answer, ask};
use super::net::{SharedTrace, now_ms};
use super::options::Options;
use crate::EPOCH_MS;
use crate::body::remote_write;
use crate::invariants::{check_answer, counted};
use crate::random::Random;
use crate::work::lock;

/// Longest time that a client waits for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Series of one writer.
const SERIES: usize = 14;
/// Series of one write.
const SERIES_OF_WRITE_MAX: u64 = 6;
/// Samples of one series of a write.
const SAMPLES_OF_WRITE_MAX: u64 = 4;
/// Writes go back by at most this.
const BACK_MS: u64 = 600_000;
/// How often a write is sent before its client gives it up.
const ATTEMPTS_MAX: u32 = 6;
/// A query asks for this much back from [`QUERY_AT_SECONDS`]: everything.
const QUERY_RANGE: &str = "2d";
const QUERY_AT_MS: Timestamp = EPOCH_MS + 86_400_000;
/// The number of the client that looks at the end.
const EXAMINER: usize = 99;
/// Pause between attempts at the end.
const EXAMINER_PAUSE: Duration = Duration::from_millis(500);

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
    /// What was written.
    pub history: Mutex<History>,
    /// What was reached.
    pub marks: Mutex<Marks>,
    /// What clients do now.
    pub phase: watch::Sender<Phase>,
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
    /// Queries that were answered.
    pub queries: u64,
    /// Queries that failed.
    pub failed: u64,
}

impl Shared {
    /// Nobody has done anything yet.
    pub fn new(options: Arc<Options>, trace: SharedTrace) -> Shared {
        Shared {
            options,
            history: Mutex::default(),
            marks: Mutex::default(),
            phase: watch::Sender::new(Phase::Idle),
            violation: Mutex::default(),
            passed: Mutex::default(),
            stuck: Mutex::default(),
            counts: Mutex::default(),
            trace,
        }
    }

    fn violated(&self, what: String) {
        lock(&self.violation).get_or_insert(what);
    }

    fn acknowledged(&self, writes: &[Write], may_come_again: bool) {
        let mut history = lock(&self.history);
        writes.iter().for_each(|write| history.acknowledge(*write, may_come_again));
    }

    fn event(&self, client: &str, what: &str) {
        lock(&self.trace).add(format!("{} {client} {what}", now_ms()));
    }

    fn reach(&self, mark: Mark) {
        lock(&self.marks).reach(mark);
    }
}

/// All clients. Ends with its host alone.
pub async fn run(shared: Arc<Shared>) -> turmoil::Result {
    for number in 0..shared.options.writers {
        tokio::spawn(Client::new(&shared, "writer", number).write_on());
    }
    for number in 0..shared.options.readers {
        tokio::spawn(Client::new(&shared, "reader", number).read_on());
    }
    tokio::spawn(Client::new(&shared, "examiner", EXAMINER).examine());
    std::future::pending().await
}

struct Client {
    shared: Arc<Shared>,
    name: String,
    number: usize,
    random: Random,
    phase: watch::Receiver<Phase>,
}

impl Client {
    fn new(shared: &Arc<Shared>, what: &str, number: usize) -> Client {
        let name = format!("{what} {number}");
        let random = Random::of(shared.options.seed, &name);
        Client { shared: shared.clone(), random, name, number, phase: shared.phase.subscribe() }
    }

    fn event(&self, what: &str) {
        self.shared.event(&self.name, what);
    }

    fn node(&mut self) -> usize {
        1 + self.random.below(self.shared.options.nodes as u64) as usize
    }

    async fn pause(&mut self) {
        let mean = self.shared.options.client_pause.as_millis() as u64;
        sleep(Duration::from_millis(self.random.below(2 * mean))).await;
    }

    async fn work(&mut self) {
        // An error means that the run is over.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Work).await;
    }

    async fn write_on(mut self) {
        loop {
            self.work().await;
            self.pause().await;
            let writes = self.draw();
            self.write(&writes).await;
        }
    }

    /// Samples of one tenant, each time of a series once.
    fn draw(&mut self) -> Vec<Write> {
        let tenant = self.random.below(2) as usize;
        let now = EPOCH_MS + now_ms() as i64;
        let mut writes = Vec::new();
        let first = self.random.below(SERIES as u64) as usize;
        for at in 0..=self.random.below(SERIES_OF_WRITE_MAX) as usize {
            let series = Series { tenant, writer: self.number, number: (first + at) % SERIES };
            let mut times = BTreeSet::new();
            for _ in 0..=self.random.below(SAMPLES_OF_WRITE_MAX) {
                times.insert(now - self.random.below(BACK_MS) as i64);
            }
            let mut history = lock(&self.shared.history);
            let known = history.times(series);
            if !known.is_empty() && self.random.percent(self.shared.options.overwrite_percent) {
                self.shared.reach(Mark::Overwritten);
                times.insert(known[self.random.below(known.len() as u64) as usize]);
            }
            writes.extend(times.into_iter().map(|timestamp| history.begin(series, timestamp)));
        }
        writes
    }

    /// Sends samples until they are acknowledged or given up, and sometimes once more.
    async fn write(&mut self, writes: &[Write]) {
        let repeats = self.random.percent(self.shared.options.repeat_percent);
        let mut is_unknown = false;
        for attempt in 0..ATTEMPTS_MAX {
            let node = self.node();
            if self.send(node, writes).await {
                if is_unknown {
                    self.shared.reach(Mark::WriteRepeated);
                }
                self.shared.acknowledged(writes, is_unknown);
                lock(&self.shared.counts).writes += 1;
                break;
            }
            is_unknown = true;
            self.shared.reach(Mark::WriteUnknown);
            lock(&self.shared.counts).unknown += 1;
            if attempt + 1 == ATTEMPTS_MAX || self.random.percent(15) || *self.phase.borrow() != Phase::Work {
                return;
            }
            sleep(Duration::from_millis(100 + self.random.below(1000))).await;
        }
        if repeats {
            writes.iter().for_each(|write| lock(&self.shared.history).repeat(*write));
            let node = self.node();
            if self.send(node, writes).await && !is_unknown {
                self.shared.acknowledged(writes, false);
            }
        }
    }

    /// Whether a node acknowledged the samples.
    async fn send(&mut self, node: usize, writes: &[Write]) -> bool {
        let Some(first) = writes.first() else { return true };
        let mut series: BTreeMap<Series, (Labels, Vec<Sample>)> = BTreeMap::new();
        for write in writes {
            let sample = Sample { timestamp: write.timestamp, value: write.serial as f64 };
            series.entry(write.series).or_insert_with(|| (write.series.labels(), Vec::new())).1.push(sample);
        }
        let body = remote_write(&series.into_values().collect::<Vec<_>>());
        let tenant = tenant(first.series.tenant);
        let answer = ask(node, "POST", "/api/v1/write", &tenant, &body, DEADLINE).await;
        let said = match &answer {
            Ok(answer) => answer.status.to_string(),
            Err(reason) => reason.clone(),
        };
        let last = writes.last().map_or(0, |write| write.serial);
        self.event(&format!("writes {} to {last} to n{node}: {said}", first.serial));
        match answer {
            Ok(Answer { status: 204, .. }) => true,
            Ok(Answer { status: 503, .. }) | Err(_) => false,
            Ok(Answer { status, body }) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                self.shared.violated(format!("a legal write was answered {status} by node {node}: {body}"));
                false
            }
        }
    }

    async fn read_on(mut self) {
        loop {
            self.work().await;
            self.pause().await;
            let query = self.query();
            let node = self.node();
            match self.read(node, &query).await {
                Ok(()) => lock(&self.shared.counts).queries += 1,
                Err(_) => {
                    self.shared.reach(Mark::QueryFailed);
                    lock(&self.shared.counts).failed += 1;
                }
            }
        }
    }

    fn query(&mut self) -> Query {
        let writer = self.random.below(self.shared.options.writers as u64) as usize;
        let metric = self.random.below(METRICS as u64) as usize;
        let what = match self.random.below(6) {
            0 => What::Everything,
            1 => What::Writer(writer),
            _ => What::Metric(metric),
        };
        let form = match self.random.below(4) {
            0 => Form::Counts,
            1 => Form::Sums,
            _ => Form::Samples,
        };
        Query { tenant: self.random.below(2) as usize, what, form }
    }

    /// Asks a node and judges its answer. An error says why there is none.
    async fn read(&mut self, node: usize, query: &Query) -> Result<(), String> {
        let (before, sent) = {
            let history = lock(&self.shared.history);
            (history.cells(|series| query.means(series)), history.moment())
        };
        let text: String = form_urlencoded(&query.text());
        let path = format!("/api/v1/query?time={}&query={text}", QUERY_AT_MS / 1000);
        let answer = ask(node, "GET", &path, &tenant(query.tenant), &[], DEADLINE).await;
        let judged = match answer {
            Ok(Answer { status: 200, body }) => self.judge(query, &before, sent, &body),
            Ok(Answer { status: 503, body }) => Err(String::from_utf8_lossy(&body).into_owned()),
            Ok(Answer { status, body }) => {
                let reason = format!("{status}: {}", String::from_utf8_lossy(&body));
                self.shared.violated(format!("node {node} answers {query:?} with {reason}"));
                Err(reason)
            }
            Err(reason) => Err(reason),
        };
        let said = judged.as_ref().map_or_else(Clone::clone, Clone::clone);
        self.event(&format!("asks n{node} {query:?}: {said}"));
        judged.map(drop)
    }

    fn judge(&self, query: &Query, before: &Cells, sent: Moment, body: &[u8]) -> Result<String, String> {
        // A close without an end is a failure of the connection, not of the answer.
        let json: Value = serde_json::from_slice(body).map_err(|error| format!("no whole answer: {error}"))?;
        let rows = json["data"]["result"].as_array().ok_or("no result")?;
        let history = lock(&self.shared.history);
        let checked = match query.form {
            Form::Samples => found(query.tenant, rows).and_then(|found| check_answer(before, sent, &history, &found)),
            Form::Counts => {
                let after = history.cells(|series| query.means(series));
                counts(rows, |labels| series(query.tenant, labels))
                    .and_then(|counts| counted::check(before, &after, &counts, |series| series))
            }
            Form::Sums => {
                let after = history.cells(|series| query.means(series));
                counts(rows, |labels| labels["writer"].as_str().and_then(|writer| writer.parse::<usize>().ok()))
                    .and_then(|counts| counted::check(before, &after, &counts, |series| series.writer))
            }
        };
        if let Err(what) = checked {
            self.shared.violated(format!("{what}; query {query:?}"));
        }
        Ok(format!("{} rows, {:016x}", rows.len(), xxhash_rust::xxh3::xxh3_64(body)))
    }

    /// At the end: each node takes a write, and gives everything.
    async fn examine(mut self) {
        loop {
            let nodes = match self.phase.wait_for(|phase| matches!(phase, Phase::Examine(_))).await.as_deref() {
                Ok(Phase::Examine(nodes)) => nodes.clone(),
                _ => return,
            };
            for node in nodes {
                while !lock(&self.shared.passed).contains(&node) {
                    let began = Instant::now();
                    match self.examine_node(node).await {
                        Ok(()) => {
                            self.event(&format!("n{node} passes within {:?}", began.elapsed()));
                            lock(&self.shared.passed).insert(node);
                        }
                        Err(reason) => {
                            *lock(&self.shared.stuck) = format!("node {node}: {reason}");
                            sleep(EXAMINER_PAUSE).await;
                        }
                    }
                }
            }
            let _ = self.phase.wait_for(|phase| !matches!(phase, Phase::Examine(_))).await;
        }
    }

    async fn examine_node(&mut self, node: usize) -> Result<(), String> {
        let now = EPOCH_MS + now_ms() as i64;
        for tenant in 0..2 {
            let series = (0..METRICS).map(|number| Series { tenant, writer: EXAMINER, number });
            let writes: Vec<Write> = series.map(|series| lock(&self.shared.history).begin(series, now)).collect();
            if !self.send(node, &writes).await {
                return Err("it does not take a write".to_owned());
            }
            self.shared.acknowledged(&writes, false);
            for form in [Form::Samples, Form::Sums] {
                self.read(node, &Query { tenant, what: What::Everything, form }).await?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Query {
    tenant: usize,
    what: What,
    form: Form,
}

/// Which series.
#[derive(Debug, Clone, Copy)]
enum What {
    Everything,
    Writer(usize),
    Metric(usize),
}

/// What of them.
#[derive(Debug, Clone, Copy)]
enum Form {
    Samples,
    Counts,
    Sums,
}

impl Query {
    fn means(&self, series: Series) -> bool {
        series.tenant == self.tenant
            && match self.what {
                What::Everything => true,
                What::Writer(writer) => series.writer == writer,
                What::Metric(metric) => series.number % METRICS == metric,
            }
    }

    fn text(&self) -> String {
        let selector = match self.what {
            What::Everything => "{__name__=~\"m.*\"}".to_owned(),
            What::Writer(writer) => format!("{{writer=\"{writer}\"}}"),
            What::Metric(metric) => format!("m{metric}"),
        };
        match self.form {
            Form::Samples => format!("{selector}[{QUERY_RANGE}]"),
            // Without a name series of several metrics would be one: their numbers tell them apart.
            Form::Counts => format!("count_over_time({selector}[{QUERY_RANGE}])"),
            Form::Sums => format!("sum by (writer) (count_over_time({selector}[{QUERY_RANGE}]))"),
        }
    }
}

/// As part of a URL.
fn form_urlencoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn series(tenant: usize, labels: &Value) -> Option<Series> {
    let number = |name: &str| labels[name].as_str()?.parse().ok();
    Some(Series { tenant, writer: number("writer")?, number: number("n")? })
}

fn found(tenant: usize, rows: &[Value]) -> Result<Found, String> {
    let mut found = Found::new();
    for row in rows {
        let wrong = || format!("no phantoms: {row} is nothing that was written");
        let series = series(tenant, &row["metric"]).ok_or_else(wrong)?;
        let named = row["metric"].as_object().map_or(0, serde_json::Map::len);
        if named != 3 || row["metric"]["__name__"] != series.metric() {
            return Err(wrong());
        }
        let mut samples = Vec::new();
        for pair in row["values"].as_array().ok_or_else(wrong)? {
            let timestamp = pair[0].as_f64().ok_or_else(wrong)?;
            let value: f64 = pair[1].as_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
            samples.push(((timestamp * 1000.0).round() as Timestamp, value as u64));
        }
        if found.insert(series, samples).is_some() {
            return Err(format!("retries are idempotent: {series:?} is there twice"));
        }
    }
    Ok(found)
}

fn counts<K: Ord>(rows: &[Value], key: impl Fn(&Value) -> Option<K>) -> Result<BTreeMap<K, u64>, String> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let count = row["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        let (Some(key), Some(count)) = (key(&row["metric"]), count) else {
            return Err(format!("counts are right: {row} counts nothing that was written"));
        };
        if counts.insert(key, count as u64).is_some() {
            return Err(format!("counts are right: {} is there twice", row["metric"]));
        }
    }
    Ok(counts)
}
