//! Tests of copies that go from one replica to another.

use bellwether_ingest::{Compression, EntryBuilder, ShardBatch};
use bellwether_kv::{KvDisk, MemDisk};
use bellwether_model::{CounterResetHint, Counts, Histogram, RefEpoch, Sample, ShardGroupId, Span};
use bellwether_raft::{LogPosition, ReplicaId};
use bellwether_tsdb::{PackCache, SelectLimits, SelectRequest, ShardMetrics};

use super::*;
use crate::testing::HookedDisk;

const NOW_MS: Timestamp = 1_795_161_600_000;
const RING: HashRange = HashRange { first: PlacementKey(0), last: PlacementKey(u64::MAX) };

fn store(disk: &MemDisk, replica: u64) -> ReplicaStore {
    ReplicaStore {
        disk: Arc::new(disk.clone()),
        cache: PackCache::new(1 << 20),
        metrics: Arc::new(ShardMetrics::new(&prometheus::Registry::new())),
        group: ShardGroupId(4),
        replica: ReplicaId(replica),
        ref_epoch: RefEpoch(9),
        scratches: Arc::default(),
        watches: Arc::default(),
        copies: Arc::default(),
        supported: 2,
        fatal: Arc::new(|reason| panic!("{reason}")),
    }
}

fn machine(store: &ReplicaStore) -> ShardStateMachine {
    let Ok(opened) = store.open() else { panic!("{} cannot be opened", store.directory()) };
    ShardStateMachine::new(opened, store.clone(), RING, store.fatal.clone()).unwrap()
}

/// Entry `index` registers one series of its own, with one sample.
fn apply(machine: &ShardStateMachine, index: u64) {
    let (tenant, labels) = (Tenant::default_tenant(), Labels::of(&[("__name__", &format!("m{index}"))]));
    let mut batch = ShardBatch::new(machine.scope());
    let sample = Sample { timestamp: NOW_MS, value: index as f64 };
    batch.register(SeriesHash::of(&tenant, &labels), labels, &[sample]);
    let mut entry = EntryBuilder::default();
    batch.encode(&tenant).iter().for_each(|frame| assert!(entry.push(&frame.bytes)));
    let limits = EntryLimits { version: 1, oldest: 0, newest: NOW_MS, tenant_series_max: 1000 };
    let payload = EntryPayload::Normal(entry.finish(NOW_MS, limits, Compression::Never).into());
    let position = LogPosition { term: 1, leader: ReplicaId(1), index };
    machine.apply(vec![CommittedEntry { position, payload }]).unwrap();
}

fn values(shard: &Shard) -> Vec<f64> {
    let limits = SelectLimits { series: 100, samples: 100 };
    let request =
        SelectRequest { tenant: &Tenant::default_tenant(), matchers: &[], range: TimeRange::new(0, NOW_MS), limits };
    let found = shard.select(&request, &std::sync::atomic::AtomicBool::new(false)).unwrap();
    found.into_iter().flat_map(|series| series.values).collect()
}

#[test]
fn a_copy_takes_the_place_of_a_replicas_data_at_once_and_for_good() {
    let disk = MemDisk::new();
    let (source, target) = (machine(&store(&disk, 1)), machine(&store(&disk, 2)));
    (1..=3).for_each(|index| apply(&source, index));
    apply(&target, 1);
    source.flush().unwrap();
    apply(&source, 4);
    let checkpoint = source.checkpoint().unwrap();
    assert_eq!(checkpoint.applied.log.map(|log| log.index), Some(3), "what is not flushed is in the log");

    let before = target.shard();
    target.install(checkpoint).unwrap();
    assert_eq!(target.applied().log.map(|log| log.index), Some(3));
    assert_eq!(values(&before), [1.0], "who reads goes on with what there was");
    assert_eq!(values(&target.shard()), [1.0, 2.0, 3.0]);
    assert!(disk.exists("shards/4-2/0").unwrap(), "somebody reads it");
    drop(before);
    apply(&target, 4);
    assert_eq!(target.shard().state_hash(), source.shard().state_hash());
    target.flush().unwrap();
    assert_eq!(disk.list("shards/4-2").unwrap(), ["1"], "nobody reads the old one any more");

    drop(target);
    let reopened = machine(&store(&disk, 2));
    assert_eq!(values(&reopened.shard()), [1.0, 2.0, 3.0, 4.0]);
    assert!(disk.list("copies").unwrap().is_empty());
}

#[test]
fn a_copy_that_is_not_what_was_announced_changes_nothing() {
    let disk = MemDisk::new();
    let (source, target) = (machine(&store(&disk, 1)), machine(&store(&disk, 2)));
    apply(&source, 1);
    source.flush().unwrap();
    apply(&target, 1);
    let checkpoint = source.checkpoint().unwrap();
    let announced = LogPosition { term: 1, leader: ReplicaId(1), index: 9 };
    let applied = Applied { log: Some(announced), membership: None };
    let error = target.install(Checkpoint { applied, directory: checkpoint.directory }).unwrap_err();
    assert!(error.to_string().contains("cannot be used: it is as of"), "{error}");
    assert!(target.install(Checkpoint { applied: Applied::default(), directory: "copies/none".into() }).is_err());
    assert_eq!(values(&target.shard()), [1.0]);
    apply(&target, 2);
    assert_eq!(values(&target.shard()), [1.0, 2.0]);
}

/// A copy as of entry 3 that a replica cannot take: it is of another incarnation.
fn foreign_copy(disk: &MemDisk) -> Checkpoint {
    let source = machine(&ReplicaStore { ref_epoch: RefEpoch(10), ..store(disk, 1) });
    (1..=3).for_each(|index| apply(&source, index));
    source.flush().unwrap();
    source.checkpoint().unwrap()
}

#[test]
fn a_copy_that_cannot_be_opened_leaves_what_there_was() {
    let disk = MemDisk::new();
    let target = machine(&store(&disk, 2));
    apply(&target, 1);
    target.flush().unwrap();
    let error = target.install(foreign_copy(&disk)).unwrap_err().to_string();
    assert!(error.contains("it is of incarnation a, the placement says 9"), "{error}");
    assert_eq!(values(&target.shard()), [1.0]);
    assert_eq!(disk.list("shards/4-2").unwrap(), ["0"]);
    drop(target);
    assert_eq!(values(&machine(&store(&disk, 2)).shard()), [1.0]);
}

#[test]
fn a_replica_whose_data_are_damaged_keeps_the_older_ones() {
    let disk = MemDisk::new();
    let target = machine(&store(&disk, 2));
    apply(&target, 1);
    target.flush().unwrap();
    drop(target);
    let copy = foreign_copy(&disk);
    disk.rename(copy.directory.to_str().unwrap(), "shards/4-2/1").unwrap();
    assert!(store(&disk, 2).open().is_err());
    assert_eq!(disk.list("shards/4-2").unwrap(), ["0", "1"]);
}

#[test]
fn a_sync_that_fails_while_a_copy_is_put_in_place_ends_the_process() {
    let disk = MemDisk::new();
    let source = machine(&store(&disk, 1));
    apply(&source, 1);
    source.flush().unwrap();
    let ended = Arc::new(Mutex::new(String::new()));
    let (hooked, noted) = (HookedDisk::new(&disk), ended.clone());
    let fatal: Fatal = Arc::new(move |reason| reason.clone_into(&mut noted.lock()));
    let target = machine(&ReplicaStore { disk: hooked.clone(), fatal, ..store(&disk, 2) });
    hooked.hook(|| Err(bellwether_kv::Error::SyncFailed("a directory".to_owned())));
    target.install(source.checkpoint().unwrap()).unwrap_err();
    assert!(ended.lock().contains("a directory"), "{}", ended.lock());
}

fn histogram(number: u64) -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 2,
        zero_threshold: 0.0,
        sum: number as f64,
        counts: Counts::Integer { count: number, zero_count: 0, positive: vec![number], negative: vec![] },
        positive_spans: vec![Span { offset: 4, length: 1 }],
        negative_spans: vec![],
        custom_values: vec![],
    }
}

/// Entry `index` of a version writes histograms, numbered by it: to a new series, or with its ref to a known one.
fn apply_histograms(machine: &ShardStateMachine, index: u64, version: u8, known: Option<SeriesRef>) -> FrameReply {
    let (tenant, labels) = (Tenant::default_tenant(), Labels::of(&[("__name__", "h")]));
    let mut chunk = Vec::new();
    let encoder = &mut bellwether_chunk::Scratch::default();
    bellwether_chunk::encode_histograms(&[histogram(index)], encoder, &mut chunk);
    let mut batch = ShardBatch::new(machine.scope());
    match known {
        Some(series) => batch.push_histogram(series, NOW_MS - index as i64, &chunk),
        None => {
            batch.register(SeriesHash::of(&tenant, &labels), labels, &[]);
            batch.push_registered_histogram(NOW_MS - index as i64, &chunk);
        }
    }
    let mut entry = EntryBuilder::default();
    batch.encode(&tenant).iter().for_each(|frame| assert!(entry.push(&frame.bytes)));
    let limits = EntryLimits { version, oldest: 0, newest: NOW_MS, tenant_series_max: 1000 };
    let payload = EntryPayload::Normal(entry.finish(NOW_MS, limits, Compression::Never).into());
    let position = LogPosition { term: 1, leader: ReplicaId(1), index };
    let replies = machine.apply(vec![CommittedEntry { position, payload }]).unwrap();
    let reply = replies.into_iter().next().unwrap();
    replies::decode_frames(&reply).next().unwrap().unwrap()
}

/// Times and numbers of the histograms of the one series.
fn histograms(shard: &Shard) -> Vec<(Timestamp, Histogram)> {
    let limits = SelectLimits { series: 100, samples: 100 };
    let request =
        SelectRequest { tenant: &Tenant::default_tenant(), matchers: &[], range: TimeRange::new(0, NOW_MS), limits };
    let found = shard.select(&request, &std::sync::atomic::AtomicBool::new(false)).unwrap();
    let found = found.into_iter().filter_map(|series| series.histograms);
    found.flat_map(|own| own.timestamps.iter().copied().zip(own.histograms).collect::<Vec<_>>()).collect()
}

#[test]
fn histograms_are_applied_and_come_back_from_runs_and_log() {
    let disk = MemDisk::new();
    let known = {
        let machine = machine(&store(&disk, 1));
        let reply = apply_histograms(&machine, 1, 2, None);
        assert_eq!((reply.accepted, reply.histograms, reply.refusals().count()), (0, 1, 0));
        let known = reply.refs[0];
        assert_eq!(apply_histograms(&machine, 2, 2, known).histograms, 1);
        machine.flush().unwrap();
        assert_eq!(apply_histograms(&machine, 3, 2, known).histograms, 1);
        let unknown = apply_histograms(&machine, 4, 2, Some(SeriesRef(77)));
        assert_eq!((unknown.histograms, unknown.refused(Refused::UnknownRef)), (0, 1));
        known
    };
    // After a crash the log has what was not flushed.
    let machine = machine(&store(&disk, 1));
    assert_eq!(machine.applied().log.map(|log| log.index), Some(2));
    apply_histograms(&machine, 3, 2, known);
    apply_histograms(&machine, 4, 2, Some(SeriesRef(77)));
    let expected: Vec<_> = [3, 2, 1].map(|number| (NOW_MS - number as i64, histogram(number))).into();
    assert_eq!(histograms(&machine.shard()), expected);
    // A copy has them too.
    machine.flush().unwrap();
    let target = self::machine(&store(&disk, 2));
    target.install(machine.checkpoint().unwrap()).unwrap();
    assert_eq!(histograms(&target.shard()), expected);
    assert_eq!(target.shard().state_hash(), machine.shard().state_hash());
}

#[test]
fn histograms_in_an_entry_of_the_first_version_are_what_older_programs_make_of_them() {
    let machine = machine(&store(&MemDisk::new(), 1));
    let reply = apply_histograms(&machine, 1, 1, None);
    assert_eq!((reply.histograms, reply.refused(Refused::Damaged), reply.refs.len()), (0, 1, 0));
    assert_eq!(machine.shard().stats().series, 0);
}
