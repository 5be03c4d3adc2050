//! A shard replica's storage as a whole: what it holds, how it opens, what it tells about itself.
//!
//! Two locks. `state` guards everything that apply changes; it is held for microseconds. `maintenance` keeps flush, seal and clean-up
//! apart from each other; they do their work on immutable layers and take `state` only to swap them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_chunk::DecodeError;
use bellwether_chunk::varint::{read_bytes, read_i64, read_u8, read_u64, write_i64, write_u64};
use bellwether_kv::{Durability, KeyRange, KvEngine, WriteBatch};
use bellwether_model::{
    Labels, Matcher, MetricKind, MetricMetadata, RefEpoch, SeriesHash, SeriesRef, Tenant, TimeRange, Timestamp,
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::cache::PackCache;
use crate::catalog::{Catalog, WINDOW_VERSION, WindowRuns};
use crate::changes::{ChangedSince, Changes};
use crate::error::{OpenError, StorageError};
use crate::exemplars::{self, EXEMPLAR_VERSION, ExemplarStore};
use crate::expiry;
use crate::head::Head;
use crate::index::Index;
use crate::index::remembered::Remembered;
use crate::keys::{self, RunId};
use crate::metadata::{MetadataStore, MetricKey};
use crate::metrics::ShardMetrics;
use crate::record::{self, Compression, Sealer};
use crate::registry::{self, REGISTRY_VERSION};
use crate::run::RunReader;
use crate::tombstone::{TOMBSTONE_VERSION, Tombstone};
use crate::window::WindowStart;
use crate::writer::ShardWriter;
use crate::{META, RUNS};

/// Format of the state record: version 1 knew no runs with foreign samples.
const STATE_VERSION: u8 = 2;
/// Format of a metadata record.
const METADATA_VERSION: u8 = 1;

/// What the state machine above remembers together with the data: the log position, and whatever else it wants. Opaque here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedMark(pub Bytes);

/// How a shard is opened.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// The epoch of refs if the directory is empty; an existing one keeps its own.
    pub new_ref_epoch: RefEpoch,
}

/// Everything that apply changes.
pub(crate) struct State {
    pub index: Index,
    pub head: Head,
    /// Heads that a flush or a deletion took away, oldest first; not in runs yet.
    pub frozen: Vec<Arc<Head>>,
    pub catalog: Arc<Catalog>,
    pub tombstones: Arc<Vec<Tombstone>>,
    pub metadata: MetadataStore,
    pub exemplars: ExemplarStore,
    pub logical: Logical,
    /// Series that expired since the last flush: until the next one they keep their rows.
    pub expired: BTreeSet<u32>,
    pub changes: Changes,
    /// Whether anything was applied since the last flush.
    pub is_dirty: bool,
}

/// What is stored in the state record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logical {
    pub ref_epoch: RefEpoch,
    pub mark: AppliedMark,
    /// Chain over accepted commands and registrations.
    pub state_hash: u64,
    /// Samples before it are gone and refused.
    pub floor: Timestamp,
    /// The latest time that a command carried.
    pub group_time: Timestamp,
    /// The layer of the open head.
    pub layer: u64,
    pub next_run: u64,
    pub series: u32,
    /// Runs with lower ids may hold samples of series that were given up in a split. Not the same on every replica.
    pub foreign_below: u64,
}

impl Logical {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.ref_epoch.0.to_le_bytes().to_vec();
        out.extend_from_slice(&self.state_hash.to_le_bytes());
        write_i64(&mut out, self.floor);
        write_i64(&mut out, self.group_time);
        write_u64(&mut out, self.layer);
        write_u64(&mut out, self.next_run);
        write_u64(&mut out, u64::from(self.series));
        write_u64(&mut out, self.mark.0.len() as u64);
        out.extend_from_slice(&self.mark.0);
        write_u64(&mut out, self.foreign_below);
        out
    }

    fn decode(mut input: &[u8]) -> Result<Logical, DecodeError> {
        let input = &mut input;
        let mut fixed =
            || Ok::<u64, DecodeError>(u64::from_le_bytes(read_bytes(input, 8, "state")?.try_into().expect("eight")));
        let (ref_epoch, state_hash) = (RefEpoch(fixed()?), fixed()?);
        let (floor, group_time) = (read_i64(input)?, read_i64(input)?);
        let (layer, next_run, series) = (read_u64(input)?, read_u64(input)?, read_u64(input)?);
        let series =
            u32::try_from(series).map_err(|_| DecodeError::Invalid { what: "number of series", got: series })?;
        let length = read_u64(input)? as usize;
        let mark = AppliedMark(Bytes::copy_from_slice(read_bytes(input, length, "applied mark")?));
        let foreign_below = if input.is_empty() { 0 } else { read_u64(input)? };
        Ok(Logical { ref_epoch, mark, state_hash, floor, group_time, layer, next_run, series, foreign_below })
    }
}

/// A catalog that has a successor, and the runs that the successor no longer names.
pub(crate) type Retired = (Arc<Catalog>, Vec<(WindowStart, RunId)>);

/// What flush, seal and clean-up share.
pub(crate) struct Maintenance {
    /// Refs that the stored registry knows.
    pub stored_series: u32,
    /// The stored registry's blocks: the first ref of each, and the first after it.
    pub registry_blocks: BTreeMap<u32, u32>,
    /// First refs of the blocks whose last Windows changed since they were stored.
    pub unstored_windows: BTreeSet<u32>,
    /// The state record as stored.
    pub flushed: Logical,
    /// Tombstones that have a record.
    pub stored_tombstones: Vec<u64>,
    /// Catalogs that queries may still read from, oldest first.
    pub retired: VecDeque<Retired>,
    pub sealer: Sealer,
}

/// One shard replica's storage. All methods block.
pub struct Shard {
    pub(crate) reader: RunReader,
    pub(crate) state: RwLock<State>,
    pub(crate) maintenance: Mutex<Maintenance>,
    /// What lookups found out about the index.
    pub(crate) remembered: Remembered,
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// Figures about a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Series registered.
    pub series: u64,
    /// Series with a sample in the open head.
    pub active_series: u64,
    /// Samples that no run holds yet.
    pub unflushed_samples: u64,
    /// Bytes of all heads.
    pub head_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Windows with a run.
    pub windows: u64,
    /// Runs alive.
    pub runs: u64,
    /// Samples in runs; a sample that a newer run changes counts twice until they merge.
    pub run_samples: u64,
    /// Bytes of runs.
    pub run_bytes: u64,
    /// Of these, bytes of runs that may hold samples of series that were given up: merges make them fewer.
    pub foreign_bytes: u64,
    /// Tombstones that wait for a merge.
    pub tombstones: u64,
    /// The earliest and latest sample that is stored, as far as is known without reading; `first > last` if there is none.
    pub earliest: Timestamp,
    /// See `earliest`.
    pub latest: Timestamp,
}

impl Shard {
    /// Opens the shard that `engine` holds, or founds one in an empty engine (opened with [`crate::SPACES`]).
    pub fn open(
        engine: Arc<dyn KvEngine>,
        options: ShardOptions,
        cache: Arc<PackCache>,
        metrics: Arc<ShardMetrics>,
    ) -> Result<Shard, OpenError> {
        let owner = cache.new_owner();
        let reader = RunReader { engine, cache, owner, keeps: true };
        let mut sealer = Sealer::default();
        let logical = match reader.engine.get(META, keys::STATE).map_err(StorageError::engine("the state record"))? {
            Some(stored) => load_state(&stored)?,
            None => {
                let logical = Logical {
                    ref_epoch: options.new_ref_epoch,
                    mark: AppliedMark::default(),
                    state_hash: 0,
                    floor: Timestamp::MIN,
                    group_time: Timestamp::MIN,
                    layer: 1,
                    next_run: 1,
                    series: 0,
                    foreign_below: 0,
                };
                let mut batch = WriteBatch::default();
                put_state(&mut batch, &mut sealer, &logical);
                // The epoch is in log entries from the first one on.
                let written = reader.engine.write(&batch, Durability::Synced);
                written.map_err(StorageError::engine("the state record"))?;
                logical
            }
        };
        let (mut index, registry_blocks) = load_index(&reader, logical.series)?;
        let unstored_windows = load_last_windows(&reader, &mut index, WindowStart::of(logical.group_time))?;
        let catalog = Arc::new(load_catalog(&reader)?);
        remove_orphans(&reader, &catalog)?;
        let tombstones = load_tombstones(&reader)?;
        // A merge may have raised a run's layer above that of the last flush.
        let newest_run = catalog.all().map(|(_, run)| run.layer).max().unwrap_or_default();
        let newest_tombstone = tombstones.iter().map(|tombstone| tombstone.layer).max().unwrap_or_default();
        let logical = Logical { layer: logical.layer.max(newest_run + 1).max(newest_tombstone), ..logical };
        let metadata = load_metadata(&reader)?;
        let exemplars = load_exemplars(&reader, logical.series)?;
        let maintenance = Maintenance {
            stored_series: index.len(),
            registry_blocks,
            unstored_windows,
            flushed: logical.clone(),
            stored_tombstones: tombstones.iter().map(|tombstone| tombstone.log_index).collect(),
            retired: VecDeque::new(),
            sealer,
        };
        let state = State {
            index,
            head: Head::new(logical.layer),
            frozen: Vec::new(),
            catalog,
            tombstones: Arc::new(tombstones),
            metadata,
            exemplars,
            expired: BTreeSet::new(),
            changes: Changes::default(),
            logical,
            is_dirty: false,
        };
        Ok(Shard {
            reader,
            state: RwLock::new(state),
            maintenance: Mutex::new(maintenance),
            remembered: Remembered::default(),
            metrics,
        })
    }

    /// Exclusive access for apply.
    pub fn writer(&self) -> ShardWriter<'_> {
        ShardWriter::new(self.state.write())
    }

    /// The mark of the last flush: what survives a restart without the log.
    pub fn flushed(&self) -> AppliedMark {
        self.maintenance.lock().flushed.mark.clone()
    }

    /// The mark of the last command applied.
    pub fn applied(&self) -> AppliedMark {
        self.state.read().logical.mark.clone()
    }

    /// Says which command of the log was the last one when the shard was opened.
    pub fn opened_as_of(&self, log_index: u64) {
        self.state.write().changes.known_after(log_index);
    }

    /// The times inside `range` in which something may have changed after a command; `u64::MAX` asks only for the last
    /// command applied.
    pub fn changed_since(&self, log_index: u64, range: TimeRange) -> ChangedSince {
        self.state.read().changes.since(log_index, range)
    }

    /// The incarnation that refs belong to.
    pub fn ref_epoch(&self) -> RefEpoch {
        self.state.read().logical.ref_epoch
    }

    /// The ref of a series that is registered.
    pub fn lookup(&self, hash: SeriesHash) -> Option<SeriesRef> {
        self.state.read().index.find(hash)
    }

    /// As [`lookup`](Self::lookup) for many series under one lock.
    pub fn lookup_many(&self, hashes: impl Iterator<Item = SeriesHash>) -> Vec<Option<SeriesRef>> {
        let state = self.state.read();
        hashes.map(|hash| state.index.find(hash)).collect()
    }

    /// The labels of a series, if the ref is in use.
    pub fn labels(&self, series: SeriesRef) -> Option<Labels> {
        let state = self.state.read();
        state.index.is_living(series.0).then(|| state.index.labels(series))
    }

    /// The latest time that a command carried; `Timestamp::MIN` before the first.
    pub fn group_time(&self) -> Timestamp {
        self.state.read().logical.group_time
    }

    /// Samples before this are gone and refused.
    pub fn floor(&self) -> Timestamp {
        self.state.read().logical.floor
    }

    /// Chain over accepted commands and registrations: equal on replicas at equal applied positions.
    pub fn state_hash(&self) -> u64 {
        self.state.read().logical.state_hash
    }

    /// What senders said about a tenant's metrics.
    pub fn metadata(&self, tenant: &Tenant) -> Vec<(String, MetricMetadata)> {
        let state = self.state.read();
        state.metadata.of_tenant(tenant).map(|(metric, metadata)| (metric.clone(), metadata.clone())).collect()
    }

    /// Bytes of all heads; cheaper than [`stats`](Self::stats).
    pub fn head_bytes(&self) -> u64 {
        let state = self.state.read();
        state.frozen.iter().map(Arc::as_ref).chain([&state.head]).map(|head| head.bytes() as u64).sum()
    }

    /// Samples before `end` that no run holds yet would be in these many bytes of head.
    pub fn stats(&self) -> ShardStats {
        let state = self.state.read();
        let heads = || state.frozen.iter().map(Arc::as_ref).chain([&state.head]);
        let mut times = TimeRange::new(Timestamp::MAX, Timestamp::MIN);
        for range in heads().map(Head::times).chain(state.catalog.all().map(|(_, run)| run.times)) {
            times = TimeRange::new(times.first.min(range.first), times.last.max(range.last));
        }
        ShardStats {
            series: u64::from(state.index.living()),
            active_series: u64::from(state.head.series()),
            unflushed_samples: heads().map(Head::samples).sum(),
            head_bytes: heads().map(|head| head.bytes() as u64).sum(),
            index_bytes: (state.index.bytes() + self.remembered.bytes()) as u64,
            windows: state.catalog.windows.len() as u64,
            runs: state.catalog.all().count() as u64,
            run_samples: state.catalog.all().map(|(_, run)| run.samples).sum(),
            run_bytes: state.catalog.all().map(|(_, run)| run.bytes).sum(),
            foreign_bytes: state.foreign_runs().map(|run| run.bytes).sum(),
            tombstones: state.tombstones.len() as u64,
            earliest: times.first,
            latest: times.last,
        }
    }

    /// How many series pass all matchers.
    pub fn series_matching(&self, tenant: &Tenant, matchers: &[Matcher]) -> usize {
        self.matching(tenant, matchers, &AtomicBool::new(false)).map_or(0, |series| series.len())
    }

    /// Deletes retired runs that no query reads any more.
    pub(crate) fn drop_retired(&self, maintenance: &mut Maintenance) -> Result<(), StorageError> {
        while let Some((catalog, _)) = maintenance.retired.front() {
            if Arc::strong_count(catalog) > 1 {
                break;
            }
            if let Some((_, runs)) = maintenance.retired.front() {
                for (window, run) in runs {
                    drop_run(&self.reader, *window, *run)?;
                }
            }
            maintenance.retired.pop_front();
        }
        Ok(())
    }
}

pub(crate) fn drop_run(reader: &RunReader, window: WindowStart, run: RunId) -> Result<(), StorageError> {
    let (first, end) = keys::whole_run(window, run);
    let dropped = reader.engine.drop_range(RUNS, KeyRange { first: &first, end: Some(&end) });
    dropped.map_err(StorageError::engine(format!("dropping run {}", run.0)))
}

pub(crate) fn load_state(stored: &[u8]) -> Result<Logical, OpenError> {
    let place = || "the state record".to_owned();
    let (_, body) = record::open(&place, keys::STATE, stored, STATE_VERSION)?;
    Ok(Logical::decode(&body).map_err(|error| StorageError::corrupt(place(), error.to_string()))?)
}

pub(crate) fn put_state(batch: &mut WriteBatch, sealer: &mut Sealer, logical: &Logical) {
    put_record(batch, sealer, keys::STATE, STATE_VERSION, &logical.encode(), Compression::None);
}

pub(crate) fn put_window(batch: &mut WriteBatch, sealer: &mut Sealer, window: WindowStart, runs: Option<&WindowRuns>) {
    let key = keys::window(window);
    match runs {
        Some(runs) => put_record(batch, sealer, &key, WINDOW_VERSION, &runs.encode(), Compression::None),
        None => batch.delete(META, key),
    }
}

pub(crate) fn put_metadata(
    batch: &mut WriteBatch,
    sealer: &mut Sealer,
    (tenant, metric): &MetricKey,
    metadata: Option<&MetricMetadata>,
) {
    let key = keys::metadata(tenant.as_str(), metric);
    let Some(metadata) = metadata else { return batch.delete(META, key) };
    let mut body =
        vec![MetricKind::ALL.iter().position(|kind| *kind == metadata.kind).expect("ALL has every kind") as u8];
    for text in [&metadata.help, &metadata.unit] {
        write_u64(&mut body, text.len() as u64);
        body.extend_from_slice(text.as_bytes());
    }
    put_record(batch, sealer, &key, METADATA_VERSION, &body, Compression::None);
}

pub(crate) fn put_exemplar(batch: &mut WriteBatch, sealer: &mut Sealer, (number, record): &exemplars::Change) {
    let key = keys::exemplar(*number);
    let Some(record) = record else { return batch.delete(META, key) };
    put_record(batch, sealer, &key, EXEMPLAR_VERSION, &exemplars::encode(record), Compression::None);
}

pub(crate) fn put_tombstone(batch: &mut WriteBatch, sealer: &mut Sealer, tombstone: &Tombstone) {
    let key = keys::tombstone(tombstone.log_index);
    put_record(batch, sealer, &key, TOMBSTONE_VERSION, &tombstone.encode(), Compression::Zstd(1));
}

pub(crate) fn put_record(
    batch: &mut WriteBatch,
    sealer: &mut Sealer,
    key: &[u8],
    version: u8,
    body: &[u8],
    compression: Compression,
) {
    let mut stored = Vec::new();
    sealer.seal(key, version, body, compression, &mut stored);
    batch.put(META, key, stored);
}

/// Reads every record of a key range, in order.
fn load<T>(
    reader: &RunReader,
    (first, end): (&[u8], &[u8]),
    what: &str,
    version: u8,
    mut take: impl FnMut(&[u8], Vec<u8>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, OpenError> {
    let mut loaded = Vec::new();
    let mut failed = None;
    let scanned = reader.engine.scan(META, KeyRange { first, end: Some(end) }, &mut |key, stored| {
        let place = || format!("{what} {:02x?}", &key[1..]);
        let taken = record::open(&place, key, stored, version).and_then(|(_, body)| {
            take(key, body).map_err(|error| OpenError::Storage(StorageError::corrupt(place(), error.to_string())))
        });
        match taken {
            Ok(taken) => {
                loaded.push(taken);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    scanned.map_err(StorageError::engine(what))?;
    failed.map_or(Ok(loaded), Err)
}

fn load_index(reader: &RunReader, series: u32) -> Result<(Index, BTreeMap<u32, u32>), OpenError> {
    let mut index = Index::default();
    let mut blocks = BTreeMap::new();
    load(reader, keys::REGISTRY, "registry block", REGISTRY_VERSION, |key, body| {
        if key != keys::registry(SeriesRef(index.len())) {
            return Err(DecodeError::Invalid { what: "first ref of a block; expected", got: u64::from(index.len()) });
        }
        let first = index.len();
        registry::decode_into(&body, &mut index)?;
        blocks.insert(first, index.len());
        Ok(())
    })?;
    if index.len() != series {
        let reason = format!("{} series where the state record says {series}", index.len());
        return Err(StorageError::corrupt("the registry", reason).into());
    }
    Ok((index, blocks))
}

/// Reads the series' last Windows. Blocks that are not there were written before there were any: their series count as written to in
/// `otherwise`. Returns these blocks.
fn load_last_windows(
    reader: &RunReader,
    index: &mut Index,
    otherwise: WindowStart,
) -> Result<BTreeSet<u32>, OpenError> {
    let mut missing: BTreeSet<u32> = (0..index.len()).step_by(expiry::SERIES_PER_BLOCK as usize).collect();
    load(reader, keys::LAST_WINDOWS, "last windows of series from", expiry::LAST_WINDOWS_VERSION, |key, body| {
        let first = key.get(1..5).and_then(|first| first.try_into().ok()).map(u32::from_be_bytes);
        let first = first.ok_or(DecodeError::Truncated { what: "key" })?;
        missing.remove(&first);
        expiry::decode_into(first, &body, index)
    })?;
    for first in &missing {
        for series in *first..index.len().min(first + expiry::SERIES_PER_BLOCK) {
            index.rows_mut().raise_last_window(series, otherwise.number());
        }
    }
    Ok(missing)
}

fn load_catalog(reader: &RunReader) -> Result<Catalog, OpenError> {
    let windows = load(reader, keys::WINDOWS, "window record", WINDOW_VERSION, |key, body| {
        let time: [u8; 8] =
            key.get(2..10).and_then(|time| time.try_into().ok()).ok_or(DecodeError::Truncated { what: "key" })?;
        let start = WindowStart((u64::from_be_bytes(time) ^ (1 << 63)) as i64);
        Ok((start, WindowRuns::decode(&body)?))
    })?;
    Ok(Catalog { windows: windows.into_iter().collect() })
}

fn load_tombstones(reader: &RunReader) -> Result<Vec<Tombstone>, OpenError> {
    load(reader, keys::TOMBSTONES, "tombstone", TOMBSTONE_VERSION, |_, body| Tombstone::decode(&body))
}

fn load_metadata(reader: &RunReader) -> Result<MetadataStore, OpenError> {
    let loaded = load(reader, keys::METADATA, "metadata record", METADATA_VERSION, |key, body| {
        let invalid = DecodeError::Invalid { what: "metadata key", got: key.len() as u64 };
        let key = std::str::from_utf8(&key[1..]).map_err(|_| invalid)?;
        let (tenant, metric) = key.split_once('\0').ok_or(invalid)?;
        let tenant = Tenant::new(tenant).map_err(|_| invalid)?;
        let input = &mut body.as_slice();
        let kind = read_u8(input, "metric kind")?;
        let kind = *MetricKind::ALL
            .get(kind as usize)
            .ok_or(DecodeError::Invalid { what: "metric kind", got: u64::from(kind) })?;
        let mut text = || {
            let length = read_u64(input)? as usize;
            Ok(String::from_utf8_lossy(read_bytes(input, length, "text")?).into_owned())
        };
        let (help, unit) = (text()?, text()?);
        Ok(((tenant, metric.to_owned()), MetricMetadata { kind, help, unit }))
    })?;
    Ok(MetadataStore::loaded(loaded))
}

fn load_exemplars(reader: &RunReader, series: u32) -> Result<ExemplarStore, OpenError> {
    let loaded = load(reader, keys::EXEMPLARS, "exemplar", EXEMPLAR_VERSION, |key, body| {
        let number = key.get(1..9).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
        let number = number.ok_or(DecodeError::Truncated { what: "key" })?;
        Ok((number, exemplars::decode(&body, series)?))
    })?;
    Ok(ExemplarStore::loaded(loaded))
}

/// Removes runs that no Window names: a crash came between their ingest and the record that would have named them.
fn remove_orphans(reader: &RunReader, catalog: &Catalog) -> Result<(), OpenError> {
    let mut from = Vec::new();
    loop {
        let mut found = None;
        let scanned = reader.engine.scan(RUNS, KeyRange { first: &from, end: None }, &mut |key, _| {
            found = Some(key.to_vec());
            ControlFlow::Break(())
        });
        scanned.map_err(StorageError::engine("the list of runs"))?;
        let Some(key) = found else { return Ok(()) };
        let Some((window, run)) = keys::parse_run(&key) else {
            return Err(StorageError::corrupt("the list of runs", format!("unknown key {key:02x?}")).into());
        };
        let is_named = catalog.windows.get(&window).is_some_and(|runs| runs.runs.iter().any(|meta| meta.id == run));
        if !is_named {
            tracing::info!(run = run.0, window = window.0, "removing a run that no window names");
            drop_run(reader, window, run)?;
        }
        from = keys::whole_run(window, run).1.to_vec();
    }
}
