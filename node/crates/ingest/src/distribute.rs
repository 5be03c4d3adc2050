//! One request's samples to batches for shard groups: known series by the cache, the others as misses.
//!
//! In the steady state nothing is allocated: batches and tables come from the scratch and go back to it with
//! [`DistributorScratch::recycle`].

use bellwether_model::{Labels, MetricMetadata, PlacementKey, RefEpoch, Sample, SeriesHash, Tenant};
use hashbrown::HashTable;

use crate::group_table::GroupTable;
use crate::key_hasher::{CacheKey, KeyHasher};
use crate::metadata_filter::MetadataFilter;
use crate::protobuf::WireError;
use crate::remote_write_v1::{self, ScratchV1};
use crate::remote_write_v2::{self, ScratchV2};
use crate::series_cache::{CacheReader, SeriesCache};
use crate::shard_batch::{RefScope, ShardBatch};
use crate::visitor::{BuildError, MetadataRef, RequestVisitor, WireLabels};

/// Distributes the requests of one tenant.
#[derive(Debug)]
pub struct Distributor<'a> {
    tenant: &'a Tenant,
    hasher: KeyHasher,
    cache: &'a SeriesCache,
    metadata: &'a MetadataFilter,
    groups: &'a GroupTable,
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
    /// Samples in batches and misses.
    pub samples: usize,
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
    /// Its samples, in order.
    pub samples: Vec<Sample>,
}

/// Why the gateway does not pass something on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// Samples of a series whose labels are not valid. Permanent.
    InvalidLabels,
    /// Exemplars, which cannot be stored yet. Permanent.
    Exemplars,
    /// Native histograms, which cannot be stored yet. Permanent.
    Histograms,
    /// Metadata that is not UTF-8. Permanent.
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
    /// What was wrong with the first of them.
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
}

impl DistributorScratch {
    /// Takes back the memory of a result that is done with.
    pub fn recycle(&mut self, mut distributed: Distributed) {
        self.spare_batches.extend(distributed.batches.drain(..).map(|(_, batch)| batch));
        self.spare_list = distributed.batches;
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
        Distributor { tenant, hasher: KeyHasher::new(cache.seed(), tenant), cache, metadata, groups }
    }

    /// What [`SeriesCache::insert`] wants to know of the tenant.
    pub fn tenant_key(&self) -> CacheKey {
        self.hasher.tenant_key()
    }

    /// Distributes a decompressed remote-write 1.0 body. After an error nothing of the body may be stored.
    pub fn distribute_v1(&self, body: &[u8], scratch: &mut DistributorScratch) -> Result<Distributed, WireError> {
        let mut buffers = std::mem::take(&mut scratch.v1);
        let done = self.distribute(scratch, |collector| remote_write_v1::walk(body, &mut buffers, collector));
        scratch.v1 = buffers;
        done
    }

    /// Distributes a decompressed remote-write 2.0 body. After an error nothing of the body may be stored.
    pub fn distribute_v2(&self, body: &[u8], scratch: &mut DistributorScratch) -> Result<Distributed, WireError> {
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
        walk: impl FnOnce(&mut Collector<'_>) -> Result<(), WireError>,
    ) -> Result<Distributed, WireError> {
        let reader = self.cache.read();
        scratch.begin(&reader);
        let mut distributed = {
            let (batches, miss_index) = (&mut scratch.batches, &mut scratch.miss_index);
            let distributed = Distributed::default();
            let mut collector = Collector { distributor: self, reader, batches, miss_index, distributed };
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
    batches: &'a mut [ShardBatch],
    miss_index: &'a mut HashTable<u32>,
    distributed: Distributed,
}

impl RequestVisitor for Collector<'_> {
    #[inline]
    fn series<L: WireLabels>(&mut self, labels: &L, samples: &[Sample]) -> Result<(), WireError> {
        let key = labels.key(&self.distributor.hasher);
        let Some(known) = key.and_then(|key| self.reader.find(key)) else {
            return self.miss(key, labels, samples);
        };
        let batch = &mut self.batches[usize::from(known.group)];
        for sample in samples {
            batch.push(known.series_ref, sample.timestamp, sample.value);
        }
        self.distributed.samples += samples.len();
        Ok(())
    }

    fn unsupported(&mut self, exemplars: usize, histograms: usize) {
        let refused = &mut self.distributed.refused;
        refused.add(RefusalReason::Exemplars, exemplars, || "exemplars are not stored yet".to_owned());
        refused.add(RefusalReason::Histograms, histograms, || "native histograms are not stored yet".to_owned());
    }

    fn metadata(&mut self, metadata: MetadataRef<'_>) {
        // What one tenant has told says nothing about another.
        if !self.distributor.metadata.is_news(metadata.fingerprint ^ self.distributor.hasher.tenant_key().low) {
            return;
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
        let (Ok(name), Ok(help), Ok(unit)) = (text(metadata.name), text(metadata.help), text(metadata.unit)) else {
            let name = String::from_utf8_lossy(metadata.name);
            let example = || format!("the metadata of metric {name:?} is not valid UTF-8");
            self.distributed.refused.add(RefusalReason::InvalidMetadata, 1, example);
            return;
        };
        self.distributed.metadata.push((name, MetricMetadata { kind: metadata.kind, help, unit }));
    }
}

impl Collector<'_> {
    #[inline(never)]
    fn miss<L: WireLabels>(&mut self, key: Option<CacheKey>, labels: &L, samples: &[Sample]) -> Result<(), WireError> {
        if let Some(key) = key
            && let Some(at) = self.miss_index.find(key.low, |at| self.distributed.misses[*at as usize].key == key)
        {
            self.distributed.misses[*at as usize].samples.extend_from_slice(samples);
            self.distributed.samples += samples.len();
            return Ok(());
        }
        // Building labels costs as much as finding twenty series: others may write meanwhile.
        let labels = match self.reader.unlocked(|| labels.build()) {
            Ok(labels) => labels,
            Err(BuildError::Wire(error)) => return Err(error),
            Err(refused) => {
                let reason = RefusalReason::InvalidLabels;
                self.distributed.refused.add(reason, samples.len(), || refused.to_string());
                return Ok(());
            }
        };
        let key = key.expect("labels that can be built have a key");
        let tenant = self.distributor.tenant;
        let hash = SeriesHash::of(tenant, &labels);
        let metric = labels.metric_name().expect("a series has a metric name");
        let placement = PlacementKey::of(tenant, metric, hash);
        let Some(group) = self.distributor.groups.group_of(placement) else {
            let example = || format!("no shard group owns series {labels} at the moment");
            self.distributed.refused.add(RefusalReason::NoGroup, samples.len(), example);
            return Ok(());
        };
        let misses = &mut self.distributed.misses;
        self.miss_index.insert_unique(key.low, misses.len() as u32, |at| misses[*at as usize].key.low);
        misses.push(Miss { key, labels, hash, placement, group, samples: samples.to_vec() });
        self.distributed.samples += samples.len();
        Ok(())
    }
}
