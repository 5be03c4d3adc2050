//! A shard and a replicated log on one machine through losses of power at any step: a shard reopens as its last flush left it,
//! or the one that was cut; a log has every proposal that was answered, in order, and none that was never made.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

#[path = "crash_consistency/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bellwether_kv::{KvDisk, Space, SpaceConfig, SpaceKind};
use bellwether_kv_rocksdb::{RocksDisk, RocksOptions};
use bellwether_kv_rocksdb_faults::{Faults, Loss, Machine};
use bellwether_model::{Labels, RefEpoch, SeriesHash, Tenant, TimeRange, limits::WINDOW_MS};
use bellwether_raft::{
    Applied, Checkpoint, CommittedEntry, EntryPayload, FatalError, GroupId, Inline, Peer, RaftGroup, RaftNode,
    RaftOptions, ReplicaId, StateMachine, Transport, TransportError,
};
use bellwether_tsdb::{
    AppliedMark, PackCache, SealWhen, SelectLimits, SelectRequest, Shard, ShardMetrics, ShardOptions,
};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use random::Random;

const SEEDS: u64 = 3;
const CYCLES: u64 = 100;
const SERIES: u64 = 8;
const WINDOWS: u64 = 4;
/// Simulated: nothing real takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn disk(machine: &Machine) -> Result<RocksDisk, bellwether_kv::Error> {
    let options = RocksOptions { background_merges: false, ..RocksOptions::default() };
    RocksDisk::on(Arc::new(machine.start()), PathBuf::from("/data"), options)
}

/// Sets when the power fails: soon and so while engines open, or late.
fn draw_fault(machine: &Machine, random: &mut Random, files_lie: bool) {
    let soon = [30, 150, 600][random.below(3) as usize];
    machine.set_faults(Faults { power_fails_at: Some(random.below(soon) + 1), files_lie, ..Faults::default() });
}

/// What a shard shows at a mark.
#[derive(Debug, Clone, Default, PartialEq)]
struct Shown {
    hash: u64,
    samples: BTreeMap<(String, i64), u64>,
}

#[derive(Default)]
struct ShardModel {
    /// Marks that may be found, the durable one first, then those of a flush that was cut.
    possible: Vec<(String, Shown)>,
    live: Shown,
    next_mark: u64,
}

fn open_shard(disk: &RocksDisk) -> Option<Shard> {
    let engine = disk.open("shard", bellwether_tsdb::SPACES).ok()?;
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
    Shard::open(engine, ShardOptions { new_ref_epoch: RefEpoch(1) }, PackCache::new(1 << 20), metrics).ok()
}

fn show(shard: &Shard) -> Option<Shown> {
    let tenant = Tenant::default_tenant();
    let limits = SelectLimits { series: 1000, samples: 1_000_000 };
    let request = SelectRequest { tenant: &tenant, matchers: &[], range: TimeRange::ALL, limits };
    let mut samples = BTreeMap::new();
    for series in shard.select(&request, &AtomicBool::new(false)).ok()? {
        let name = series.labels.to_string();
        for (timestamp, value) in series.timestamps.iter().zip(&series.values) {
            samples.insert((name.clone(), *timestamp), value.to_bits());
        }
    }
    Some(Shown { hash: shard.state_hash(), samples })
}

impl ShardModel {
    fn apply(&mut self, shard: &Shard, random: &mut Random) {
        let tenant = Tenant::default_tenant();
        let mut writer = shard.writer();
        if random.one_in(12) {
            let floor = random.below(WINDOWS) as i64 * WINDOW_MS;
            writer.raise_floor(floor);
            self.live.samples.retain(|(_, timestamp), _| *timestamp >= floor);
        }
        for _ in 0..random.below(30) + 1 {
            let labels = Labels::of(&[("__name__", "m"), ("series", &random.below(SERIES).to_string())]);
            let series = writer.register(SeriesHash::of(&tenant, &labels), &tenant, &labels).unwrap();
            let timestamp = random.below(WINDOWS * WINDOW_MS as u64 / 1000) as i64 * 1000;
            let value = random.below(1 << 20) as f64 / 8.0;
            let appended = writer.append(&[series.0], &[timestamp], &[value], TimeRange::ALL);
            if appended.accepted > 0 {
                self.live.samples.insert((labels.to_string(), timestamp), value.to_bits());
            }
        }
        self.next_mark += 1;
        writer.mark_applied(AppliedMark(self.next_mark.to_string().into()), 0, self.next_mark);
        drop(writer);
        self.live.hash = shard.state_hash();
    }

    fn mark(&self) -> String {
        self.next_mark.to_string()
    }
}

/// Runs a shard through cycles; gives a hash of what was found.
fn shard_cycles(seed: u64, files_lie: bool) -> u64 {
    let (machine, mut random, mut model) = (Machine::new(), Random::of(seed), ShardModel::default());
    model.possible.push((String::new(), Shown::default()));
    let mut history = 0u64;
    for cycle in 0..CYCLES {
        draw_fault(&machine, &mut random, files_lie);
        let disk = disk(&machine);
        let shard = disk.as_ref().ok().and_then(open_shard);
        let found = shard.as_ref().and_then(show);
        if let (Some(shard), Some(found)) = (&shard, found) {
            let mark = String::from_utf8(shard.flushed().0.to_vec()).unwrap();
            let allowed = model.possible.iter().find(|(possible, _)| *possible == mark);
            let Some((_, expected)) = allowed else {
                let marks: Vec<_> = model.possible.iter().map(|(mark, _)| mark).collect();
                panic!("seed {seed}, cycle {cycle}: found the mark {mark:?}, none of {marks:?}");
            };
            assert_eq!(found, *expected, "seed {seed}, cycle {cycle}, mark {mark:?}");
            history = history.wrapping_mul(31).wrapping_add(found.hash ^ found.samples.len() as u64);
            model.possible = vec![(mark, found.clone())];
            model.live = found;
            for _ in 0..random.below(30) {
                if !random.one_in(3) {
                    model.apply(shard, &mut random);
                    continue;
                }
                let now = random.below(3 * WINDOWS) as i64 * WINDOW_MS;
                let done =
                    if random.one_in(3) { shard.seal(now, SealWhen::AllClosed).is_ok() } else { shard.flush().is_ok() };
                let flushed = (String::from_utf8(shard.flushed().0.to_vec()).unwrap(), model.live.clone());
                if done {
                    // A flush covers all that was applied, since nobody writes meanwhile.
                    assert!(flushed.0 == model.mark() || flushed.0 == model.possible[0].0);
                    if flushed.0 == model.mark() {
                        model.possible = vec![flushed];
                    }
                } else {
                    assert!(!machine.is_powered(), "seed {seed}, cycle {cycle}: failed without a fault");
                    model.possible.push((model.mark(), model.live.clone()));
                    break;
                }
            }
        } else {
            assert!(!machine.is_powered(), "seed {seed}, cycle {cycle}: not opened, without a fault");
        }
        machine.lose_power(Loss::of(random.next()));
    }
    history
}

#[test]
fn a_shard_reopens_as_a_flush_left_it() {
    for seed in 0..SEEDS {
        assert_ne!(shard_cycles(seed, false), 0, "nothing was ever found");
    }
}

#[test]
fn a_shard_finds_the_same_with_the_same_seed() {
    assert_eq!(shard_cycles(50, false), shard_cycles(50, false));
}

/// Remembers the payloads that it applied; what it flushed is kept for the next process.
struct Journal {
    state: Mutex<(Applied, Vec<u64>)>,
    flushed: Arc<Mutex<(Applied, Vec<u64>)>>,
}

impl StateMachine for Journal {
    fn applied(&self) -> Applied {
        self.state.lock().0.clone()
    }

    fn apply(&self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, FatalError> {
        let (applied, journal) = &mut *self.state.lock();
        let mut replies = Vec::new();
        for entry in entries {
            applied.log = Some(entry.position);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(bytes) => applied.membership = Some(bytes),
                EntryPayload::Normal(payload) => {
                    journal.push(u64::from_be_bytes(payload[..8].try_into().unwrap()));
                    replies.push(Bytes::new());
                }
            }
        }
        Ok(replies)
    }

    fn flush(&self) -> Result<Applied, FatalError> {
        *self.flushed.lock() = self.state.lock().clone();
        Ok(self.applied())
    }

    fn checkpoint(&self) -> Result<Checkpoint, FatalError> {
        Err(FatalError("a journal has no files".to_owned()))
    }

    fn discard(&self, _: Checkpoint) {}

    fn install(&self, _: Checkpoint) -> Result<(), FatalError> {
        Err(FatalError("a journal has no files".to_owned()))
    }
}

struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: Peer, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }

    fn send_checkpoint(&self, _: Peer, _: Bytes, _: Checkpoint) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Deadline) })
    }
}

async fn start_log(disk: &RocksDisk, journal: Arc<Journal>) -> Option<(RaftNode, RaftGroup)> {
    let engine = disk.open("log", &[SpaceConfig { name: "log", kind: SpaceKind::Log }]).ok()?;
    let options = RaftOptions::new(prometheus::Registry::new(), Arc::new(|_| {}));
    let node = RaftNode::open(engine, Space(0), options, Arc::new(Inline), 1).ok()?;
    let members = BTreeMap::from([(ReplicaId(1), 1)]);
    let started = tokio::time::timeout(PATIENCE, async {
        let group = node.found_group(GroupId(1), ReplicaId(1), members, journal, Arc::new(Nobody)).await.ok()?;
        group.ready().await.ok()?;
        Some(group)
    });
    match started.await {
        Ok(Some(group)) => Some((node, group)),
        _ => {
            let _ = tokio::time::timeout(PATIENCE, node.shutdown()).await;
            None
        }
    }
}

async fn log_cycles(seed: u64, files_lie: bool) -> u64 {
    let (machine, mut random) = (Machine::new(), Random::of(seed));
    let flushed = Arc::new(Mutex::new((Applied::default(), Vec::new())));
    let (mut answered, mut proposed) = (Vec::<u64>::new(), 0u64);
    for cycle in 0..CYCLES {
        draw_fault(&machine, &mut random, files_lie);
        let journal = Arc::new(Journal { state: Mutex::new(flushed.lock().clone()), flushed: flushed.clone() });
        let disk = disk(&machine);
        let started = match &disk {
            Ok(disk) => start_log(disk, journal.clone()).await,
            Err(_) => None,
        };
        if let Some((node, group)) = started {
            let found = journal.state.lock().1.clone();
            assert!(found.is_sorted_by(|one, next| one < next), "seed {seed}, cycle {cycle}: {found:?}");
            assert!(found.iter().all(|payload| *payload < proposed), "seed {seed}, cycle {cycle}: {found:?}");
            let lost: Vec<_> = answered.iter().filter(|payload| found.binary_search(payload).is_err()).collect();
            assert!(lost.is_empty(), "seed {seed}, cycle {cycle}: {lost:?} were answered and are lost");
            answered = found;
            for _ in 0..random.below(20) {
                let count = random.below(8) + 1;
                let bytes = random.below(2000) as usize;
                let proposals = join_all((proposed..proposed + count).map(|payload| {
                    let mut content = payload.to_be_bytes().to_vec();
                    content.resize(8 + bytes, payload as u8);
                    tokio::time::timeout(PATIENCE, group.propose(content.into()))
                }));
                for (payload, answer) in (proposed..).zip(proposals.await) {
                    if let Ok(Ok(_)) = answer {
                        answered.push(payload);
                    }
                }
                proposed += count;
                if random.one_in(5) {
                    let _ = tokio::time::timeout(PATIENCE, group.flush()).await;
                    let _ = tokio::time::timeout(PATIENCE, node.reclaim()).await;
                }
                if !machine.is_powered() {
                    break;
                }
            }
            let _ = tokio::time::timeout(PATIENCE, node.shutdown()).await;
        } else {
            assert!(!machine.is_powered(), "seed {seed}, cycle {cycle}: not started, without a fault");
        }
        machine.lose_power(Loss::of(random.next()));
    }
    answered.iter().fold(0, |hash: u64, payload| hash.wrapping_mul(31).wrapping_add(*payload))
}

#[tokio::test(start_paused = true)]
async fn a_log_keeps_what_it_answered() {
    for seed in 0..SEEDS {
        assert_ne!(log_cycles(seed, false).await, 0, "nothing was ever answered");
    }
}

#[test]
fn files_that_are_not_synced_are_noticed() {
    let is_noticed = |cycles: &dyn Fn(u64) -> u64| {
        (0..SEEDS).any(|seed| std::panic::catch_unwind(AssertUnwindSafe(|| cycles(seed))).is_err())
    };
    assert!(is_noticed(&|seed| shard_cycles(seed, true)));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    assert!(is_noticed(&|seed| runtime().block_on(log_cycles(seed, true))));
}
