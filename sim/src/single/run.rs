//! Making a plan happen, life after life, and comparing what the node says with the oracle.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_kv::{Faults, Trigger};
use bellwether_model::{Labels, Matcher, Sample, Tenant, TimeRange, Timestamp};
use bellwether_server::Server;
use bellwether_server::config::{ByteSize, Config};
use bellwether_server::shards::{Limits, QueryAccount, ReadContext, Wanted};
use bellwether_server::write::{ContentEncoding, RemoteWriteVersion, WriteError, WriteOutcome};
use tokio::runtime::{Builder, RngSeed};
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

use super::oracle::{Oracle, SeriesKey};
use super::plan::{End, Fault, Plan, Request, Selection, Step, TOO_FAR_AHEAD_MS, labels, tenant};
use super::world::{Life, Machine};
use crate::random::Random;
use crate::trace::Trace;
use crate::{EPOCH_MS, body};

/// Retention of simulated nodes.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// A time that is refused as too old, before the wall clock.
const FAR_PAST_MS: i64 = 2 * 30 * 24 * 3_600_000;
/// Free bytes of a volume that is nearly full.
const NO_ROOM_BYTES: u64 = 1 << 20;
const ROOM_BYTES: u64 = 100 << 30;
/// The watermark is looked at every second.
const ROOM_NOTICED: Duration = Duration::from_secs(3);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Folded over everything that happened.
    pub trace_hash: u64,
    /// The first events, each with the hash after it.
    pub events: Vec<(u64, String)>,
    /// Processes that ran.
    pub lives: u64,
    /// Samples that were acknowledged and are there.
    pub samples: usize,
    /// Simulated time.
    pub simulated_ms: i64,
}

/// Runs a seed's plan on a thread of its own, since thread-local state of an earlier run must not show. An error says
/// what was found, and after which events.
pub fn simulate(seed: u64, echo: bool) -> Result<Report, String> {
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    let run = thread.spawn(move || Run::new(Plan::of(seed), echo).complete());
    match run.map_err(|error| error.to_string())?.join() {
        Ok(result) => result,
        Err(_) => Err(format!("seed {seed}: the node or the simulator panicked, see above")),
    }
}

struct Run {
    plan: Plan,
    machine: Machine,
    oracle: Oracle,
    trace: Trace,
    random: Random,
    serial: u64,
    lives: u64,
    /// A sync was asked to fail.
    sync_may_fail: bool,
}

/// A write and what each of its samples should come to.
struct Prepared {
    tenant: Tenant,
    body: Vec<u8>,
    accepted: Vec<(SeriesKey, Sample)>,
    refused: u64,
}

impl Run {
    fn new(plan: Plan, echo: bool) -> Run {
        let random = Random::of(plan.seed, "run");
        Run {
            plan,
            machine: Machine::new(),
            oracle: Oracle::default(),
            trace: Trace::new(echo),
            random,
            serial: 0,
            lives: 0,
            sync_may_fail: false,
        }
    }

    fn complete(mut self) -> Result<Report, String> {
        let mut steps: VecDeque<Step> = self.plan.steps.clone().into();
        loop {
            self.lives += 1;
            let seed = self.random.bits();
            let runtime = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
                .build()
                .map_err(|error| error.to_string())?;
            let machine = self.machine.clone();
            let ended = runtime.block_on(async {
                let life = machine.boot(seed);
                let ended = tokio::select! {
                    biased;
                    reason = machine.process_ended() => self.ended_itself(&life, reason),
                    ended = self.live(&life, &mut steps) => ended,
                };
                // The process is gone before anything of it is dropped: destructors must not reach the disk.
                match ended {
                    Ok(Some((End::Crash, _))) => machine.disk.crash(),
                    Ok(Some((End::PowerLoss(unsynced), _))) => machine.disk.power_loss(unsynced),
                    Ok(Some((End::Graceful, _)) | None) | Err(_) => {}
                }
                ended
            });
            drop(runtime);
            // A process that stopped by itself holds nothing any more; the next may open everything.
            self.machine.disk.crash();
            let failed = |reason: String| {
                let events = self.trace.events.iter().rev().take(12).rev();
                let events: Vec<&str> = events.map(|(_, event)| event.as_str()).collect();
                format!("seed {}: {reason}\nafter:\n  {}", self.plan.seed, events.join("\n  "))
            };
            match ended {
                Err(reason) => return Err(failed(reason)),
                Ok(Some((_, pause))) => self.machine.pause(pause),
                Ok(None) => break,
            }
        }
        let life_over = self.machine.boot_time_ms();
        Ok(Report {
            trace_hash: self.trace.hash(),
            lives: self.lives,
            samples: self.oracle.acknowledged_samples(),
            simulated_ms: life_over - EPOCH_MS,
            events: self.trace.events,
        })
    }

    /// One process, until a step ends it or no step is left.
    async fn live(&mut self, life: &Life, steps: &mut VecDeque<Step>) -> Result<Option<(End, Duration)>, String> {
        let server = Server::start(self.config(), life.env.clone()).await.map_err(|error| chain(&error))?;
        self.event(life, format!("life {} began: {}", self.lives, state_of(&server)));
        self.check_everything(life, &server).await?;
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Write(requests) => self.write(life, &server, requests).await?,
                Step::Query(selection) => self.query(life, &server, &selection).await?,
                Step::Flush => {
                    let flushed = server.router().flush_all().await;
                    self.event(life, format!("flush: {}", said(flushed)));
                }
                Step::Seal => {
                    let sealed = server.router().seal_all().await;
                    self.event(life, format!("seal: {}", said(sealed)));
                }
                Step::Delete(selection) => self.delete(life, &server, &selection).await?,
                Step::Sleep(pause) => tokio::time::sleep(pause).await,
                Step::Room(has_room) => {
                    self.machine.set_free_bytes(if has_room { ROOM_BYTES } else { NO_ROOM_BYTES });
                    tokio::time::sleep(ROOM_NOTICED).await;
                }
                Step::Fault(fault) => self.disturb(life, fault),
                Step::End { how, during, after, pause } => {
                    self.end(life, server, how, during, after).await?;
                    return Ok(Some((how, pause)));
                }
            }
        }
        self.disturb(life, Fault::None);
        self.check_everything(life, &server).await?;
        self.event(life, format!("the end: {}", state_of(&server)));
        server.shutdown().await.map_err(|error| chain(&error))?;
        Ok(None)
    }

    /// The process ended itself: right after a sync that failed, and never otherwise. What was under way is unknown,
    /// and the oracle took it for that when it began.
    fn ended_itself(&mut self, life: &Life, reason: String) -> Result<Option<(End, Duration)>, String> {
        if !std::mem::take(&mut self.sync_may_fail) {
            return Err(format!("the process ended itself: {reason}"));
        }
        self.event(life, format!("the process ended itself: {reason}"));
        Ok(Some((End::Crash, Duration::from_secs(1))))
    }

    fn disturb(&mut self, life: &Life, fault: Fault) {
        self.event(life, format!("fault: {fault:?}"));
        let capacity = |room_bytes| Some(self.machine.disk.used_bytes() + room_bytes);
        self.machine.disk.set_faults(match fault {
            Fault::None => Faults::default(),
            Fault::Full { room_bytes } => Faults { capacity_bytes: capacity(room_bytes), ..Faults::default() },
            Fault::SyncFails { nth } => Faults { sync: Trigger::Nth(nth), ..Faults::default() },
        });
        // Once asked for, the failure may come late: nothing counts how many syncs a step makes.
        self.sync_may_fail |= matches!(fault, Fault::SyncFails { .. });
    }

    fn config(&self) -> Config {
        let mut config = Config {
            data_dir: PathBuf::from("simulated"),
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 0)),
            shard_groups: self.plan.shard_groups,
            retention: RETENTION,
            ..Config::default()
        };
        config.self_collect.enabled = false;
        config.ingest.cache_bytes = ByteSize(1 << 20);
        config.storage.flush_log_bytes = ByteSize(self.plan.flush_log_bytes);
        config.storage.flush_log_bytes_per_series = ByteSize(1);
        config.storage.flush_age = self.plan.flush_age;
        config
    }

    fn prepare(&mut self, now: Timestamp, request: &Request) -> Prepared {
        let tenant = tenant(request.tenant);
        let mut series = Vec::new();
        let mut accepted = Vec::new();
        let mut refused = 0;
        for (index, times) in &request.series {
            let labels = labels(*index);
            let mut samples = Vec::new();
            for time in times {
                let timestamp = now + time.unwrap_or(-FAR_PAST_MS);
                let sample = Sample { timestamp, value: self.value() };
                samples.push(sample);
                match time {
                    Some(time) if *time < TOO_FAR_AHEAD_MS => {
                        accepted.push(((tenant.clone(), labels.clone()), sample));
                    }
                    _ => refused += 1,
                }
            }
            series.push((labels, samples));
        }
        // Until it is acknowledged.
        accepted.iter().for_each(|(series, sample)| self.oracle.unknown(series, *sample));
        Prepared { tenant, body: body::remote_write(&series), accepted, refused }
    }

    /// A value that tells which sample it belongs to; sometimes one that a float codec could stumble over.
    fn value(&mut self) -> f64 {
        self.serial += 1;
        match self.random.below(20) {
            0 => f64::from_bits(0x7ff8_0000_0000_0000 | self.serial),
            1 => bellwether_model::stale_marker(),
            2 => f64::INFINITY,
            3 => -0.0,
            4 => self.serial as f64 / 7.0,
            _ => self.serial as f64,
        }
    }

    async fn write(&mut self, life: &Life, server: &Server, requests: Vec<Request>) -> Result<(), String> {
        let prepared: Vec<Prepared> = requests.iter().map(|request| self.prepare(life.now_ms(), request)).collect();
        let results = futures_of(server, &prepared).await;
        for (prepared, result) in prepared.iter().zip(results) {
            self.learn(life, prepared, Some(result))?;
        }
        Ok(())
    }

    /// Tells the oracle what became of a write; `None`: nobody will know.
    fn learn(
        &mut self,
        life: &Life,
        prepared: &Prepared,
        result: Option<Result<WriteOutcome, WriteError>>,
    ) -> Result<(), String> {
        let outcome = match result {
            Some(Ok(outcome)) => outcome,
            Some(Err(WriteError::Transient { reason, .. })) => {
                self.event(life, format!("write of {} unknown: {reason}", prepared.accepted.len()));
                return Ok(());
            }
            Some(Err(error)) => return Err(format!("a legal write was refused: {error}")),
            None => {
                self.event(life, format!("write of {} cut off", prepared.accepted.len()));
                return Ok(());
            }
        };
        self.event(life, format!("write: {} stored, {} refused", outcome.samples, outcome.refused.count()));
        if (outcome.samples, outcome.refused.count()) != (prepared.accepted.len() as u64, prepared.refused) {
            return Err(format!(
                "{} samples should be stored and {} refused: {outcome:?}",
                prepared.accepted.len(),
                prepared.refused
            ));
        }
        prepared.accepted.iter().for_each(|(series, sample)| self.oracle.acknowledged(series, *sample));
        Ok(())
    }

    async fn query(&mut self, life: &Life, server: &Server, selection: &Selection) -> Result<(), String> {
        let range = TimeRange::new(life.now_ms() + selection.range.0, life.now_ms() + selection.range.1);
        let found = self.compare(server, &tenant(selection.tenant), &selection.matchers, range).await?;
        self.event(life, format!("query: {found}"));
        Ok(())
    }

    async fn check_everything(&mut self, life: &Life, server: &Server) -> Result<(), String> {
        for index in 0..2 {
            let found = self.compare(server, &tenant(index), &[], TimeRange::ALL).await?;
            self.event(life, format!("all of tenant {index}: {found}"));
        }
        Ok(())
    }

    /// Selects and compares with the oracle; returns a digest of what was found.
    async fn compare(
        &self,
        server: &Server,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<String, String> {
        let limits = Limits { series: u64::MAX, samples: u64::MAX, memory_bytes: u64::MAX };
        let read = ReadContext::new(QueryAccount::new(limits));
        let selected = server.router().select(tenant, matchers.into(), range, Wanted::All, &read).await;
        let selected = selected.map_err(|error| format!("a selection failed: {}", chain(&error)))?;
        let mut found: Vec<(Labels, Vec<Sample>)> = Vec::new();
        let mut digest = Vec::new();
        for series in selected {
            let samples = series.timestamps.iter().zip(&series.values);
            let samples = samples.map(|(timestamp, value)| Sample { timestamp: *timestamp, value: *value });
            let samples: Vec<Sample> = samples.filter(|sample| range.contains(sample.timestamp)).collect();
            digest.extend_from_slice(series.labels.canonical_bytes());
            for sample in &samples {
                digest.extend_from_slice(&sample.timestamp.to_le_bytes());
                digest.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            }
            if !samples.is_empty() {
                found.push((series.labels, samples));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        self.oracle.check(tenant, matchers, range, &found)?;
        Ok(format!("{} series, {:016x}", found.len(), xxh3_64(&digest)))
    }

    async fn delete(&mut self, life: &Life, server: &Server, selection: &Selection) -> Result<(), String> {
        let range = TimeRange::new(life.now_ms() + selection.range.0, life.now_ms() + selection.range.1);
        let tenant = tenant(selection.tenant);
        self.oracle.deleted(&tenant, &selection.matchers, range, false);
        let deleted = server.router().delete_series(&tenant, selection.matchers.as_slice().into(), range).await;
        if deleted.is_ok() {
            self.oracle.deleted(&tenant, &selection.matchers, range, true);
        }
        self.event(life, format!("delete: {}", said(deleted.map(|series| format!("{series} series")))));
        Ok(())
    }

    async fn end(
        &mut self,
        life: &Life,
        server: Server,
        how: End,
        during: Vec<Request>,
        after: Duration,
    ) -> Result<(), String> {
        let prepared: Vec<Prepared> = during.iter().map(|request| self.prepare(life.now_ms(), request)).collect();
        let mut writes = JoinSet::new();
        for (at, request) in prepared.iter().enumerate() {
            let (write, tenant, body) = (server.write_path().clone(), request.tenant.clone(), request.body.clone());
            writes.spawn(async move {
                let (version, encoding) = (RemoteWriteVersion::V1, ContentEncoding::Snappy);
                (at, write.remote_write(&tenant, version, encoding, body.into()).await)
            });
        }
        tokio::time::sleep(after).await;
        let mut results: Vec<Option<Result<WriteOutcome, WriteError>>> = prepared.iter().map(|_| None).collect();
        if matches!(how, End::Graceful) {
            self.disturb(life, Fault::None);
            server.shutdown().await.map_err(|error| chain(&error))?;
            while let Some(Ok((at, result))) = writes.join_next().await {
                results[at] = Some(result);
            }
        } else {
            while let Some(Ok((at, result))) = writes.try_join_next() {
                results[at] = Some(result);
            }
        }
        for (prepared, result) in prepared.iter().zip(results) {
            self.learn(life, prepared, result)?;
        }
        self.event(life, format!("end: {how:?}"));
        Ok(())
    }

    fn event(&mut self, life: &Life, event: String) {
        self.trace.add(format!("{} {event}", life.now_ms() - EPOCH_MS));
    }
}

async fn futures_of(server: &Server, prepared: &[Prepared]) -> Vec<Result<WriteOutcome, WriteError>> {
    let mut writes = JoinSet::new();
    for (at, request) in prepared.iter().enumerate() {
        let (write, tenant, body) = (server.write_path().clone(), request.tenant.clone(), request.body.clone());
        writes.spawn(async move {
            let (version, encoding) = (RemoteWriteVersion::V1, ContentEncoding::Snappy);
            (at, write.remote_write(&tenant, version, encoding, body.into()).await)
        });
    }
    let mut results = writes.join_all().await;
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The logical state of every group.
fn state_of(server: &Server) -> String {
    let groups = server.shards().serving();
    let hashes: Vec<String> = groups.iter().map(|group| format!("{:016x}", group.shard().state_hash())).collect();
    hashes.join(" ")
}

fn said<T: std::fmt::Debug, E: std::error::Error>(result: Result<T, E>) -> String {
    match result {
        Ok(done) => format!("{done:?}"),
        Err(error) => chain(&error),
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
