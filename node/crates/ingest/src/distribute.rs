//! One request's samples to batches for shard groups: known series by the cache, the others as misses.
//!
//! In the steady state nothing is allocated: batches and tables come from the scratch and go back to it with
//! [`DistributorScratch::recycle`].

use bellwether_model::{
    Labels, MetricMetadata, PlacementKey, RefEpoch, Sample, SeriesHash, SeriesRef, Tenant, Timestamp, limits,
};
use hashbrown::HashTable;

use crate::exemplars::{self, WireExemplar};
use crate::group_table::GroupTable;
use crate::histogram_chunks::{ALLOCATION_BYTES, HistogramChunks};
use crate::key_hasher::{CacheKey, KeyHasher, TenantKey};
use crate::metadata_filter::{MetadataFilter, Telling};
use crate::remote_write_v1::{self, ScratchV1};
use crate::remote_write_v2::{self, ScratchV2};
use crate::series_cache::{CacheReader, Known, SeriesCache};
use crate::shard_batch::{RefScope, ShardBatch};
use crate::visitor::{BuildError, MetadataRef, RequestVisitor, WalkError, WireLabels};
use crate::wire_histograms::WireHistograms;

/// Memory of the new series of one request. The smallest series takes ten times its bytes in the body.
pub const NEW_SERIES_BYTES_MAX: usize = 64 << 20;
/// What a new series takes beside its labels and samples: itself, its place in the table, what allocations cost.
const MISS_BYTES: usize = size_of::<Miss>() + 64;
/// Memory of the metadata that one request may tell.
const METADATA_BYTES_MAX: usize = 16 << 20;

/// Distributes the requests of one tenant.
#[derive(Debug)]
pub struct Distributor<'a> {
    tenant: &'a Tenant,
    hasher: KeyHasher,
    cache: &'a SeriesCache,
    metadata: &'a MetadataFilter,
    groups: &'a GroupTable,
    of_first_version: bool,
}

/// What became of one request.
#[derive(Debug, Default)]
pub struct Distributed {
    /// Samples of known series, by the index of their group.
    pub batches: Vec<(u16, ShardBatch)>,
    /// Series that the cache does not know, each once, in order.
    pub misses: Vec<Miss>,
    /// What cannot be stored, and why.
    pub refused: Refusals,
    /// Metadata that was not told lately, by metric name.
    pub metadata: Vec<(String, MetricMetadata)>,
    /// To be told once that is passed on.
    pub telling: Telling,
    /// Samples in batches and misses, histograms too.
    pub samples: usize,
    /// Memory of the misses, about.
    pub new_series_bytes: usize,
}

/// A series to be resolved: by asking its group, or by registering it.
#[derive(Debug, Clone)]
pub struct Miss {
    /// What to remember it by once it is resolved.
    pub key: CacheKey,
    /// Its labels, validated.
    pub labels: Labels,
    /// Its hash.
    pub hash: SeriesHash,
    /// Its point on the ring.
    pub placement: PlacementKey,
    /// The index of the group that owns the point.
    pub group: u16,
    /// Its samples that are floats, in order.
    pub samples: Vec<Sample>,
    /// Its histograms, in order, each as a chunk of its own.
    pub histograms: Vec<(Timestamp, Box<[u8]>)>,
    /// Its exemplars, in order, as a frame has them.
    pub exemplars: Vec<(Timestamp, Box<[u8]>)>,
}

impl Miss {
    /// Samples, histograms too.
    pub fn sample_count(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }
}

/// Why the gateway does not pass something on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// Samples of a series whose labels are not valid. Permanent.
    InvalidLabels,
    /// Exemplars, which not all programs of the cluster know yet. Permanent.
    Exemplars,
    /// Exemplars with labels that are not valid or too long, or of a series that has no samples. Permanent.
    InvalidExemplars,
    /// Native histograms that say nothing which could be computed with. Permanent.
    InvalidHistograms,
    /// Native histograms, which not all programs of the cluster know yet. Permanent.
    Histograms,
    /// Metadata that is not UTF-8, too long, too much, or refers to what is not there. Permanent.
    InvalidMetadata,
    /// Samples of a series whose point on the ring nobody owns at the moment. Transient.
    NoGroup,
}

impl RefusalReason {
    /// Whether sending the same again cannot help.
    pub fn is_permanent(self) -> bool {
        self != RefusalReason::NoGroup
    }
}

/// One reason and how often it applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// How many samples, exemplars, histograms or metadata.
    pub count: usize,
    /// What was wrong with the first of them; empty where the reason says it all.
    pub example: String,
}

/// All refusals of a request, one for each reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    refusals: Vec<Refusal>,
}

impl Refusals {
    /// Counts `count` things; `example` is asked for the first of a reason only.
    pub fn add(&mut self, reason: RefusalReason, count: usize, example: impl FnOnce() -> String) {
        match self.refusals.iter_mut().find(|refusal| refusal.reason == reason) {
            Some(refusal) => refusal.count += count,
            None if count > 0 => self.refusals.push(Refusal { reason, count, example: example() }),
            None => {}
        }
    }

    /// All of them, in order of their first appearance.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter()
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.refusals.is_empty()
    }

    /// How often a reason applied.
    pub fn count(&self, reason: RefusalReason) -> usize {
        self.iter().find(|refusal| refusal.reason == reason).map_or(0, |refusal| refusal.count)
    }
}

/// Buffers of a distribution, for the next one. One for each thread or request in flight.
#[derive(Debug, Default)]
pub struct DistributorScratch {
    v1: ScratchV1,
    v2: ScratchV2,
    /// By group index.
    batches: Vec<ShardBatch>,
    /// Empty ones.
    spare_batches: Vec<ShardBatch>,
    spare_list: Vec<(u16, ShardBatch)>,
    /// Indexes into the misses, by key.
    miss_index: HashTable<u32>,
    histograms: HistogramChunks,
}

impl DistributorScratch {
    /// Takes back the memory of a result that is done with.
    pub fn recycle(&mut self, mut distributed: Distributed) {
        for (_, mut batch) in distributed.batches.drain(..) {
            // The caller may have added batches of its own: no more are kept than there are groups.
            if self.spare_batches.len() < self.batches.len() {
                batch.reset(batch.scope());
                self.spare_batches.push(batch);
            }
        }
        self.spare_list = distributed.batches;
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let batches: usize = self.batches.iter().chain(&self.spare_batches).map(ShardBatch::bytes).sum();
        self.v1.bytes()
            + self.v2.bytes()
            + self.histograms.bytes()
            + batches
            + self.miss_index.capacity() * (size_of::<u32>() + 1)
    }

    fn begin(&mut self, reader: &CacheReader<'_>) {
        let unknown = RefScope { epoch: RefEpoch(0), range_generation: 0 };
        self.batches.resize_with(reader.group_count(), || ShardBatch::new(unknown));
        for (group, batch) in self.batches.iter_mut().enumerate() {
            // A group without an incarnation has no entries in the cache, so its batch stays empty.
            batch.reset(reader.scope(group as u16).unwrap_or(unknown));
        }
        self.miss_index.clear();
    }

    fn take_batches(&mut self) -> Vec<(u16, ShardBatch)> {
        let mut taken = std::mem::take(&mut self.spare_list);
        for (group, batch) in self.batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            let empty = self.spare_batches.pop().unwrap_or_else(|| ShardBatch::new(batch.scope()));
            taken.push((group as u16, std::mem::replace(batch, empty)));
        }
        taken
    }
}

impl<'a> Distributor<'a> {
    /// A distributor of `tenant`'s requests.
    pub fn new(
        tenant: &'a Tenant,
        cache: &'a SeriesCache,
        metadata: &'a MetadataFilter,
        groups: &'a GroupTable,
    ) -> Distributor<'a> {
        let hasher = KeyHasher::new(cache.seed(), tenant);
        Distributor { tenant, hasher, cache, metadata, groups, of_first_version: false }
    }

    /// The same where some program of the cluster knows no histograms and no exemplars: they are refused.
    pub fn of_first_version(self) -> Distributor<'a> {
        Distributor { of_first_version: true, ..self }
    }

    /// What [`SeriesCache::insert`] wants to know of the tenant.
    pub fn tenant_key(&self) -> TenantKey {
        self.hasher.tenant_key()
    }

    /// Distributes a decompressed remote-write 1.0 body. After an error nothing of the body may be stored.
    pub fn distribute_v1(&self, body: &[u8], scratch: &mut DistributorScratch) -> Result<Distributed, WalkError> {
        let mut buffers = std::mem::take(&mut scratch.v1);
        let done = self.distribute(scratch, |collector| remote_write_v1::walk(body, &mut buffers, collector));
        scratch.v1 = buffers;
        done
    }

    /// Distributes a decompressed remote-write 2.0 body. After an error nothing of the body may be stored.
    pub fn distribute_v2(&self, body: &[u8], scratch: &mut DistributorScratch) -> Result<Distributed, WalkError> {
        let mut buffers = std::mem::take(&mut scratch.v2);
        let walk = |collector: &mut Collector<'_>| remote_write_v2::walk(body, &self.hasher, &mut buffers, collector);
        let done = self.distribute(scratch, walk);
        scratch.v2 = buffers;
        done
    }

    #[inline]
    fn distribute(
        &self,
        scratch: &mut DistributorScratch,
        walk: impl FnOnce(&mut Collector<'_>) -> Result<(), WalkError>,
    ) -> Result<Distributed, WalkError> {
        let reader = self.cache.read();
        scratch.begin(&reader);
        let mut distributed = {
            let DistributorScratch { batches, miss_index, histograms, .. } = scratch;
            let predicted = Known { group: 0, series_ref: SeriesRef(0) };
            let distributed = Distributed { telling: self.metadata.tell(), ..Distributed::default() };
            let mut collector = Collector {
                distributor: self,
                reader,
                predicted,
                batches,
                miss_index,
                histograms,
                distributed,
                metadata_bytes: 0,
            };
            walk(&mut collector)?;
            collector.distributed
        };
        distributed.batches = scratch.take_batches();
        Ok(distributed)
    }
}

/// Listens to the walk over a body.
struct Collector<'a> {
    distributor: &'a Distributor<'a>,
    reader: CacheReader<'a>,
    /// What was predicted last.
    predicted: Known,
    batches: &'a mut [ShardBatch],
    miss_index: &'a mut HashTable<u32>,
    histograms: &'a mut HistogramChunks,
    distributed: Distributed,
    /// Memory of the metadata told.
    metadata_bytes: usize,
}

impl RequestVisitor for Collector<'_> {
    #[inline]
    fn series<L: WireLabels>(&mut self, labels: &L, samples: &[Sample]) -> Result<(), WalkError> {
        let key = labels.key(&self.distributor.hasher);
        let Some(known) = key.and_then(|key| self.reader.find(key)) else {
            return self.miss(key, labels, samples);
        };
        self.known(known, samples);
        Ok(())
    }

    #[inline]
    fn predict(&mut self, series: &[u8], next: u8) -> Option<usize> {
        let (length, known) = self.reader.find_predicted(&self.distributor.hasher, series, next)?;
        self.predicted = known;
        Some(length)
    }

    #[inline]
    fn predicted_series(&mut self, samples: &[Sample]) {
        self.known(self.predicted, samples);
    }

    fn histograms<L: WireLabels>(&mut self, labels: &L, histograms: WireHistograms<'_>) -> Result<(), WalkError> {
        if self.distributor.of_first_version {
            self.distributed.refused.add(RefusalReason::Histograms, histograms.len(), String::new);
            return Ok(());
        }
        self.histograms.clear();
        for read in histograms.iter() {
            match read? {
                (timestamp, Ok(histogram)) => self.histograms.push(timestamp, &histogram),
                (timestamp, Err(why)) => {
                    let of = || labels.build().map(|labels| labels.to_string()).unwrap_or_default();
                    let example = || format!("{} at {timestamp} ms: {why}", of());
                    self.distributed.refused.add(RefusalReason::InvalidHistograms, 1, example);
                }
            }
        }
        let count = self.histograms.len();
        if count == 0 {
            return Ok(());
        }
        let key = labels.key(&self.distributor.hasher);
        if let Some(known) = key.and_then(|key| self.reader.find(key)) {
            let batch = &mut self.batches[usize::from(known.group)];
            for (timestamp, chunk) in self.histograms.iter() {
                batch.push_histogram(known.series_ref, timestamp, chunk);
            }
            self.distributed.samples += count;
            return Ok(());
        }
        let Some(at) = self.missed(key, labels, count)? else { return Ok(()) };
        self.hold(self.histograms.held_bytes())?;
        let chunks = self.histograms.iter().map(|(timestamp, chunk)| (timestamp, chunk.into()));
        self.distributed.misses[at].histograms.extend(chunks);
        self.distributed.samples += count;
        Ok(())
    }

    fn exemplars<L: WireLabels>(
        &mut self,
        labels: &L,
        exemplars: impl Iterator<Item = WireExemplar>,
    ) -> Result<(), WalkError> {
        let key = labels.key(&self.distributor.hasher);
        let known = key.and_then(|key| self.reader.find(key));
        for read in exemplars {
            let read = read?;
            if self.distributor.of_first_version {
                self.distributed.refused.add(RefusalReason::Exemplars, 1, String::new);
                continue;
            }
            let exemplar = match read {
                Ok(exemplar) => exemplar,
                Err(why) => {
                    let of = || labels.build().map(|labels| labels.to_string()).unwrap_or_default();
                    self.distributed.refused.add(RefusalReason::InvalidExemplars, 1, || format!("{}: {why}", of()));
                    continue;
                }
            };
            let bytes = exemplars::encode(&exemplar);
            if let Some(known) = known {
                let batch = &mut self.batches[usize::from(known.group)];
                batch.push_exemplar(known.series_ref, exemplar.timestamp, &bytes);
                continue;
            }
            let Some(at) = self.missed(key, labels, 1)? else { continue };
            self.hold(size_of::<(Timestamp, Box<[u8]>)>() + ALLOCATION_BYTES + bytes.len())?;
            self.distributed.misses[at].exemplars.push((exemplar.timestamp, bytes.into()));
        }
        Ok(())
    }

    fn metadata(&mut self, metadata: MetadataRef<'_>) {
        if self.metadata_bytes > METADATA_BYTES_MAX {
            return self.invalid_metadata(format!("a request may tell {METADATA_BYTES_MAX} bytes of metadata"));
        }
        // What one tenant has told says nothing about another.
        if !self.distributed.telling.is_news(metadata.fingerprint ^ self.distributor.hasher.tenant_key().0.low) {
            return;
        }
        match owned(metadata) {
            Ok((name, metadata)) => {
                let texts = name.len() + metadata.help.len() + metadata.unit.len();
                self.metadata_bytes += size_of::<(String, MetricMetadata)>() + texts;
                self.distributed.metadata.push((name, metadata));
            }
            Err(why) => self.invalid_metadata(why),
        }
    }

    fn invalid_metadata(&mut self, why: String) {
        self.distributed.refused.add(RefusalReason::InvalidMetadata, 1, || why);
    }
}

/// Metadata with texts of its own, if they are valid.
fn owned(metadata: MetadataRef<'_>) -> Result<(String, MetricMetadata), String> {
    let name = || {
        let shown = &metadata.name[..metadata.name.len().min(NAME_BYTES_SHOWN)];
        format!("the metadata of metric {:?}", String::from_utf8_lossy(shown))
    };
    let text = |what: &str, bytes: &[u8], limit: usize| {
        if bytes.len() > limit {
            return Err(format!("{}: the {what} has {} bytes, the limit is {limit}", name(), bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{}: the {what} is not valid UTF-8", name()))?;
        Ok(text.to_owned())
    };
    let metric = text("name", metadata.name, limits::METADATA_NAME_BYTES_MAX)?;
    let help = text("help", metadata.help, limits::METADATA_HELP_BYTES_MAX)?;
    let unit = text("unit", metadata.unit, limits::METADATA_UNIT_BYTES_MAX)?;
    Ok((metric, MetricMetadata { kind: metadata.kind, help, unit }))
}

/// Bytes of a metric's name that a message shows.
const NAME_BYTES_SHOWN: usize = 64;

impl Collector<'_> {
    #[inline]
    fn known(&mut self, known: Known, samples: &[Sample]) {
        let batch = &mut self.batches[usize::from(known.group)];
        for sample in samples {
            batch.push(known.series_ref, sample.timestamp, sample.value);
        }
        self.distributed.samples += samples.len();
    }

    #[inline(never)]
    fn miss<L: WireLabels>(&mut self, key: Option<CacheKey>, labels: &L, samples: &[Sample]) -> Result<(), WalkError> {
        let Some(at) = self.missed(key, labels, samples.len())? else { return Ok(()) };
        self.hold(size_of_val(samples))?;
        let held = &mut self.distributed.misses[at].samples;
        // No more room than for these: most series come with one sample.
        if held.is_empty() {
            *held = samples.to_vec()
        } else {
            held.extend_from_slice(samples)
        }
        self.distributed.samples += samples.len();
        Ok(())
    }

    /// The place among the misses of a series that the cache does not know; none if its `samples` samples are refused.
    fn missed<L: WireLabels>(
        &mut self,
        key: Option<CacheKey>,
        labels: &L,
        samples: usize,
    ) -> Result<Option<usize>, WalkError> {
        if let Some(key) = key
            && let Some(at) = self.miss_index.find(key.hash.low, |at| self.distributed.misses[*at as usize].key == key)
        {
            return Ok(Some(*at as usize));
        }
        // Building labels costs as much as finding twenty series: others may write meanwhile.
        let labels = match self.reader.unlocked(|| labels.build()) {
            Ok(labels) => labels,
            Err(BuildError::Wire(error)) => return Err(error.into()),
            Err(refused) => {
                let reason = RefusalReason::InvalidLabels;
                self.distributed.refused.add(reason, samples, || refused.to_string());
                return Ok(None);
            }
        };
        self.hold(MISS_BYTES + labels.byte_len())?;
        let key = key.expect("labels that can be built have a key");
        let tenant = self.distributor.tenant;
        let hash = SeriesHash::of(tenant, &labels);
        let metric = labels.metric_name().expect("a series has a metric name");
        let placement = PlacementKey::of(tenant, metric, hash);
        let Some(group) = self.distributor.groups.group_of(placement) else {
            let example = || format!("no shard group owns series {labels} at the moment");
            self.distributed.refused.add(RefusalReason::NoGroup, samples, example);
            return Ok(None);
        };
        let misses = &mut self.distributed.misses;
        let at = misses.len();
        self.miss_index.insert_unique(key.hash.low, at as u32, |at| misses[*at as usize].key.hash.low);
        misses.push(Miss {
            key,
            labels,
            hash,
            placement,
            group,
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
        });
        Ok(Some(at))
    }

    /// Counts memory of new series.
    fn hold(&mut self, bytes: usize) -> Result<(), WalkError> {
        let held = &mut self.distributed.new_series_bytes;
        *held += bytes;
        if *held > NEW_SERIES_BYTES_MAX { Err(WalkError::NewSeries { limit: NEW_SERIES_BYTES_MAX }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameReader;
    use crate::protobuf_writer::*;
    use crate::series_cache::CacheEntry;
    use bellwether_model::{CounterResetHint, Counts, HashRange, Histogram, MetricKind, Span};

    const SCOPE: RefScope = RefScope { epoch: RefEpoch(3), range_generation: 1 };

    /// A gateway in front of two groups, and who has been given which ref.
    struct Fixture {
        tenant: Tenant,
        cache: SeriesCache,
        metadata: MetadataFilter,
        groups: GroupTable,
        scratch: DistributorScratch,
    }

    impl Fixture {
        fn new() -> Fixture {
            let cache = SeriesCache::new(5, 1 << 20);
            (0..2).for_each(|group| cache.set_scope(group, SCOPE));
            let ranges = HashRange::split_ring(2).into_iter().zip(0..).collect();
            Fixture {
                tenant: Tenant::default_tenant(),
                cache,
                metadata: MetadataFilter::default(),
                groups: GroupTable::new(ranges).unwrap(),
                scratch: DistributorScratch::default(),
            }
        }

        fn distribute(&mut self, version: u32, body: &[u8]) -> Result<Distributed, WalkError> {
            let distributor = Distributor::new(&self.tenant, &self.cache, &self.metadata, &self.groups);
            match version {
                1 => distributor.distribute_v1(body, &mut self.scratch),
                _ => distributor.distribute_v2(body, &mut self.scratch),
            }
        }

        /// Gives missed series refs from 100 on.
        fn resolve(&mut self, distributed: &Distributed) {
            let distributor = Distributor::new(&self.tenant, &self.cache, &self.metadata, &self.groups);
            let entries: Vec<CacheEntry> = (100..)
                .zip(&distributed.misses)
                .map(|(number, miss)| CacheEntry {
                    key: miss.key,
                    group: miss.group,
                    scope: SCOPE,
                    series_ref: SeriesRef(number),
                })
                .collect();
            self.cache.insert(distributor.tenant_key(), &entries);
        }
    }

    fn series(at: usize) -> Vec<(&'static str, String)> {
        vec![("__name__", format!("metric_{}", at % 7)), ("at", at.to_string())]
    }

    fn body(version: u32, series_count: usize, value: f64) -> Vec<u8> {
        let mut v1 = Vec::new();
        let mut v2 = RequestV2::default();
        for at in 0..series_count {
            let labels = series(at);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            v1.push(series_v1(&labels_v1(&labels), &[(1000, value), (2000, value)]));
            v2.push(&labels, &[(1000, value), (2000, value)]);
        }
        if version == 1 { request_v1(&v1) } else { v2.body() }
    }

    #[test]
    fn unknown_series_are_misses_once_and_known_ones_are_rows() {
        for version in [1, 2] {
            let mut fixture = Fixture::new();
            let first = fixture.distribute(version, &body(version, 100, 1.0)).unwrap();
            assert!(first.batches.is_empty() && first.refused.is_empty());
            assert_eq!((first.misses.len(), first.samples), (100, 200));
            for (at, miss) in first.misses.iter().enumerate() {
                let labels = series(at);
                assert_eq!(miss.labels.get("at"), Some(labels[1].1.as_str()));
                assert_eq!(miss.hash, SeriesHash::of(&fixture.tenant, &miss.labels));
                assert_eq!(fixture.groups.group_of(miss.placement), Some(miss.group));
                assert_eq!(miss.samples.len(), 2);
            }
            fixture.resolve(&first);
            let group_of_first = first.misses[0].group;
            fixture.scratch.recycle(first);
            for _ in 0..3 {
                let second = fixture.distribute(version, &body(version, 101, 2.0)).unwrap();
                assert_eq!((second.misses.len(), second.samples), (1, 202));
                let samples: usize = second.batches.iter().map(|(_, batch)| batch.samples()).sum();
                assert_eq!((second.batches.len(), samples), (2, 200));
                assert!(second.batches.iter().all(|(_, batch)| batch.scope() == SCOPE));
                assert!(second.batches.iter().any(|(group, _)| *group == group_of_first));
                fixture.scratch.recycle(second);
            }
        }
    }

    #[test]
    fn both_versions_of_a_series_lead_to_one_hash() {
        let mut fixture = Fixture::new();
        let v1 = fixture.distribute(1, &body(1, 5, 1.0)).unwrap();
        let v2 = fixture.distribute(2, &body(2, 5, 1.0)).unwrap();
        let hashes = |distributed: &Distributed| distributed.misses.iter().map(|miss| miss.hash).collect::<Vec<_>>();
        assert_eq!(hashes(&v1), hashes(&v2));
        assert_ne!(v1.misses[0].key, v2.misses[0].key);
    }

    #[test]
    fn a_series_that_is_sent_twice_in_a_body_is_one_miss() {
        let mut fixture = Fixture::new();
        let twice = [body(1, 3, 1.0), body(1, 3, 2.0)].concat();
        let distributed = fixture.distribute(1, &twice).unwrap();
        assert_eq!((distributed.misses.len(), distributed.samples), (3, 12));
        let values: Vec<f64> = distributed.misses[0].samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn bad_series_are_refused_with_reason_and_count_and_the_rest_goes_on() {
        let mut fixture = Fixture::new();
        let mut histogram = series_v1(&labels_v1(&[("__name__", "h")]), &[]);
        // Schema 9.
        put_bytes(&mut histogram, 4, &[4 << 3, 18]);
        let nameless = series_v1(&labels_v1(&[("job", "a")]), &[(1, 1.0), (2, 1.0)]);
        let duplicate = series_v1(&labels_v1(&[("__name__", "a"), ("x", "1"), ("x", "2")]), &[(1, 1.0)]);
        let good = series_v1(&labels_v1(&[("__name__", "up")]), &[(1, 1.0)]);
        for _ in 0..2 {
            let body = request_v1(&[histogram.clone(), nameless.clone(), good.clone(), duplicate.clone()]);
            let distributed = fixture.distribute(1, &body).unwrap();
            let refused: Vec<Refusal> = distributed.refused.iter().cloned().collect();
            assert_eq!(refused.len(), 2);
            assert_eq!((refused[0].reason, refused[0].count), (RefusalReason::InvalidHistograms, 1));
            assert!(refused[0].example.starts_with("h at 0 ms: histogram has schema 9"), "{}", refused[0].example);
            assert_eq!((refused[1].reason, refused[1].count), (RefusalReason::InvalidLabels, 3));
            assert!(refused[1].example.contains("no metric name") && refused[1].reason.is_permanent());
            assert_eq!(distributed.samples, 1);
            fixture.resolve(&distributed);
        }
    }

    #[test]
    fn histograms_go_the_way_of_their_series() {
        let histogram = |sum| Histogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: 0,
            zero_threshold: 0.0,
            sum,
            counts: Counts::Integer { count: 3, zero_count: 0, positive: vec![1, 2], negative: vec![] },
            positive_spans: vec![Span { offset: 0, length: 2 }],
            negative_spans: vec![],
            custom_values: vec![],
        };
        let mut v1 = series_v1(&labels_v1(&[("__name__", "h")]), &[(1, 1.0)]);
        put_bytes(&mut v1, 4, &wire_histogram(5, &histogram(1.5)));
        put_bytes(&mut v1, 4, &wire_histogram(6, &histogram(2.5)));
        let mut v2 = RequestV2::default();
        let series = v2.push(&[("__name__", "h")], &[(1, 1.0)]);
        put_bytes(series, 3, &wire_histogram(5, &histogram(1.5)));
        put_bytes(series, 3, &wire_histogram(6, &histogram(2.5)));
        let decoded = |chunk: &[u8]| {
            let mut out = Vec::new();
            bellwether_chunk::decode_histograms(chunk, 1, &mut out).unwrap();
            out.remove(0)
        };
        for (version, body) in [(1, request_v1(&[v1])), (2, v2.body())] {
            let mut fixture = Fixture::new();
            let first = fixture.distribute(version, &body).unwrap();
            let [miss] = &first.misses[..] else { panic!("one new series") };
            let found: Vec<_> = miss.histograms.iter().map(|(at, chunk)| (*at, decoded(chunk))).collect();
            assert_eq!(found, [(5, histogram(1.5)), (6, histogram(2.5))]);
            assert_eq!((first.samples, miss.sample_count()), (3, 3));
            fixture.resolve(&first);
            let mut second = fixture.distribute(version, &body).unwrap();
            let [(_, batch)] = &mut second.batches[..] else { panic!("one group") };
            assert_eq!((second.samples, batch.samples(), batch.histogram_count()), (3, 3, 2));
            let frames = batch.encode(&fixture.tenant);
            let frame = FrameReader::new(&frames[0].bytes).unwrap();
            let rows: Vec<_> = frame.histograms().map(Result::unwrap).collect();
            let found: Vec<_> = rows.iter().map(|row| (row.series.0, row.timestamp, decoded(row.chunk))).collect();
            assert_eq!(found, [(100, 5, histogram(1.5)), (100, 6, histogram(2.5))]);
            let distributor = Distributor::new(&fixture.tenant, &fixture.cache, &fixture.metadata, &fixture.groups);
            let distributor = distributor.of_first_version();
            let refused = match version {
                1 => distributor.distribute_v1(&body, &mut fixture.scratch).unwrap(),
                _ => distributor.distribute_v2(&body, &mut fixture.scratch).unwrap(),
            };
            assert_eq!((refused.refused.count(RefusalReason::Histograms), refused.samples), (2, 1));
        }
    }

    #[test]
    fn exemplars_go_the_way_of_their_series_and_long_ones_are_refused_alone() {
        let (short, long) = ([("trace_id", "a7")], [("trace_id", "x".repeat(121))]);
        let long = [("trace_id", long[0].1.as_str())];
        let mut v1 = series_v1(&labels_v1(&[("__name__", "c")]), &[(1, 1.0)]);
        for labels in [&short[..], &long[..], &[]] {
            put_bytes(&mut v1, 3, &wire_exemplar_v1(labels, 0.5, 5));
        }
        let mut v2 = RequestV2::default();
        let refs = [&short[..], &long[..], &[]].map(|labels| v2.label_refs(labels));
        let series = v2.push(&[("__name__", "c")], &[(1, 1.0)]);
        refs.iter().for_each(|refs| put_bytes(series, 4, &wire_exemplar_v2(refs, 0.5, 5)));
        let stored = [Labels::of(&short), Labels::empty()];
        let labels = |at: i64, bytes: &[u8]| exemplars::decode(at, bytes).unwrap().labels;
        for (version, body) in [(1, request_v1(&[v1])), (2, v2.body())] {
            let mut fixture = Fixture::new();
            let first = fixture.distribute(version, &body).unwrap();
            let [miss] = &first.misses[..] else { panic!("one new series") };
            let found: Vec<Labels> = miss.exemplars.iter().map(|(at, bytes)| labels(*at, bytes)).collect();
            assert_eq!((found, first.samples), (stored.to_vec(), 1));
            let refused: Vec<Refusal> = first.refused.iter().cloned().collect();
            assert_eq!((refused[0].reason, refused[0].count), (RefusalReason::InvalidExemplars, 1));
            assert!(refused[0].example.starts_with("c: label length for exemplar"), "{}", refused[0].example);
            fixture.resolve(&first);
            let mut second = fixture.distribute(version, &body).unwrap();
            let [(_, batch)] = &mut second.batches[..] else { panic!("one group") };
            let frames = batch.encode(&fixture.tenant);
            let frame = FrameReader::new(&frames[0].bytes).unwrap();
            let rows: Vec<_> = frame.exemplars().map(Result::unwrap).collect();
            let found: Vec<Labels> = rows.iter().map(|row| labels(row.timestamp, row.chunk)).collect();
            assert_eq!((rows[0].series, rows[0].timestamp, found), (SeriesRef(100), 5, stored.to_vec()));
            let distributor = Distributor::new(&fixture.tenant, &fixture.cache, &fixture.metadata, &fixture.groups);
            let distributor = distributor.of_first_version();
            let refused = match version {
                1 => distributor.distribute_v1(&body, &mut fixture.scratch).unwrap(),
                _ => distributor.distribute_v2(&body, &mut fixture.scratch).unwrap(),
            };
            assert_eq!((refused.refused.count(RefusalReason::Exemplars), refused.samples), (3, 1));
        }
    }

    #[test]
    fn a_point_that_nobody_owns_is_a_transient_refusal() {
        let mut fixture = Fixture::new();
        fixture.groups = GroupTable::default();
        let distributed = fixture.distribute(1, &body(1, 2, 1.0)).unwrap();
        assert_eq!(distributed.refused.count(RefusalReason::NoGroup), 4);
        assert!(!RefusalReason::NoGroup.is_permanent() && distributed.samples == 0);
    }

    #[test]
    fn metadata_is_told_once() {
        let mut fixture = Fixture::new();
        let mut v1 = Vec::new();
        put_metadata_v1(&mut v1, 2, "up", "Is it up?", "");
        let mut v2 = RequestV2::default();
        let metadata = v2.metadata(2, "Is it up?", "");
        for job in ["a", "b"] {
            put_bytes(v2.push(&[("__name__", "up"), ("job", job)], &[(1, 1.0)]), 5, &metadata);
        }
        let expected = MetricMetadata { kind: MetricKind::Gauge, help: "Is it up?".to_owned(), unit: String::new() };
        for (version, body) in [(1, v1), (2, v2.body())] {
            let first = fixture.distribute(version, &body).unwrap();
            assert_eq!(first.metadata, [("up".to_owned(), expected.clone())]);
            assert!(fixture.distribute(version, &body).unwrap().metadata.is_empty());
            fixture.tenant = Tenant::new("other").unwrap();
            assert_eq!(fixture.distribute(version, &body).unwrap().metadata.len(), 1);
            fixture.tenant = Tenant::default_tenant();
        }
    }

    #[test]
    fn metadata_beyond_a_limit_is_refused_and_named() {
        let mut fixture = Fixture::new();
        let mut body = Vec::new();
        put_metadata_v1(&mut body, 2, "up", "Is it up?", "");
        put_metadata_v1(&mut body, 2, &"n".repeat(limits::METADATA_NAME_BYTES_MAX + 1), "", "");
        put_metadata_v1(&mut body, 2, "h", &"h".repeat(limits::METADATA_HELP_BYTES_MAX + 1), "");
        put_metadata_v1(&mut body, 2, "u", "", &"u".repeat(limits::METADATA_UNIT_BYTES_MAX + 1));
        let distributed = fixture.distribute(1, &body).unwrap();
        assert_eq!(distributed.metadata.len(), 1);
        let [refusal] = &distributed.refused.refusals[..] else { panic!("{:?}", distributed.refused) };
        assert_eq!((refusal.reason, refusal.count), (RefusalReason::InvalidMetadata, 3));
        let name = "n".repeat(NAME_BYTES_SHOWN);
        let example = format!("the metadata of metric \"{name}\": the name has 4097 bytes, the limit is 4096");
        assert_eq!(refusal.example, example);
    }

    #[test]
    fn a_request_tells_so_much_metadata_and_no_more() {
        let mut fixture = Fixture::new();
        let (mut body, help) = (Vec::new(), "h".repeat(limits::METADATA_HELP_BYTES_MAX));
        for metric in 0..METADATA_BYTES_MAX / help.len() + 100 {
            put_metadata_v1(&mut body, 2, &format!("metric_{metric}"), &help, "");
        }
        let distributed = fixture.distribute(1, &body).unwrap();
        let held: usize = distributed.metadata.iter().map(|(name, about)| name.len() + about.help.len()).sum();
        assert!(held <= METADATA_BYTES_MAX + 2 * help.len(), "{held}");
        assert!(distributed.refused.count(RefusalReason::InvalidMetadata) >= 100);
    }

    #[test]
    fn a_body_of_tiny_new_series_ends_at_the_memory_they_take() {
        let mut fixture = Fixture::new();
        let mut body = Vec::new();
        for number in 0..NEW_SERIES_BYTES_MAX / MISS_BYTES {
            put_bytes(&mut body, 1, &series_v1(&labels_v1(&[("__name__", &number.to_string())]), &[(1, 1.0)]));
        }
        let error = fixture.distribute(1, &body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the new series of one request take more than 67108864 bytes of memory: send them in several requests"
        );
    }

    #[test]
    fn an_error_leaves_nothing_behind() {
        for version in [1, 2] {
            let mut fixture = Fixture::new();
            let good = body(version, 10, 1.0);
            let first = fixture.distribute(version, &good).unwrap();
            fixture.resolve(&first);
            fixture.distribute(version, &good[..good.len() - 1]).unwrap_err();
            let again = fixture.distribute(version, &good).unwrap();
            assert_eq!((again.samples, again.misses.len()), (20, 0));
            assert_eq!(again.batches.iter().map(|(_, batch)| batch.samples()).sum::<usize>(), 20);
        }
    }

    #[test]
    fn labels_that_go_on_behind_the_samples_are_another_series() {
        let mut fixture = Fixture::new();
        let short = labels_v1(&[("__name__", "up")]);
        let other = labels_v1(&[("__name__", "other")]);
        let plain = request_v1(&[series_v1(&other, &[(1, 1.0)]), series_v1(&short, &[(1, 1.0)])]);
        let first = fixture.distribute(1, &plain).unwrap();
        fixture.resolve(&first);
        assert!(fixture.distribute(1, &plain).unwrap().misses.is_empty());
        let longer = [series_v1(&short, &[(1, 1.0)]), labels_v1(&[("job", "a")])].concat();
        let scattered = request_v1(&[series_v1(&other, &[(1, 1.0)]), longer]);
        let distributed = fixture.distribute(1, &scattered).unwrap();
        assert_eq!(distributed.misses.len(), 1);
        assert_eq!(distributed.misses[0].labels.to_string(), r#"up{job="a"}"#);
    }
}
