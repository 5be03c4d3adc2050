//! The part of a write that takes CPU and never waits: decode the body, resolve what the cache does not know, and queue
//! frames for the groups.

use std::collections::BTreeMap;

use bellwether_ingest::{
    BodyError, CacheEntry, CacheKey, Distributed, Distributor, ENTRY_VERSION_HISTOGRAMS, Miss, ShardBatch, Telling,
    TenantKey, WalkError, decompress,
};
use bellwether_model::{Labels, MetricMetadata, PlacementKey, Tenant};
use tokio::time::Instant;

use super::outcome::{RefusalReason, Refusals};
use super::{Admitted, Body, RemoteWriteVersion, WriteError, WritePath};
use crate::routing::{Frame, PendingReply, Resolved, RouteError, resolve_here};
use crate::shards::ring::id_of;

/// Why a body could not be decoded.
pub enum DecodeError {
    /// It cannot be decompressed.
    Body(BodyError),
    /// It is not the protocol's message, or too much of it is new.
    Walk(WalkError),
    /// There is no room for its new series at the moment.
    NoRoom(WriteError),
    /// Nobody waits for the answer any more.
    GivenUp,
}

/// A request whose frames are queued.
pub struct Sent {
    /// What is on its way.
    pub parts: Vec<SentPart>,
    /// Series that only other nodes can look up: still to be resolved and sent.
    pub unresolved: Vec<Unresolved>,
    /// What was refused before anything was sent.
    pub refused: Refusals,
    /// Why the request must come again, if it must, whatever the groups answer.
    pub transient: Option<String>,
    /// Some series are another group's by now, which the ring does not say here yet: they were not sent.
    pub moved: bool,
    /// Metadata to be stored.
    pub metadata: Vec<(String, MetricMetadata)>,
    /// Holds the same metadata of other requests back until this is stored.
    pub telling: Telling,
    /// What the cache may remember once the request is done, with the place of each in the request.
    pub known: Vec<(u32, CacheEntry)>,
    /// What the cache calls the tenant.
    pub tenant_key: TenantKey,
    /// Room for the new series.
    pub room: Option<Admitted>,
}

/// What of a request goes to one group.
pub struct SentPart {
    /// The group's index.
    pub group: u16,
    /// What becomes of its frames, in their order; or why they could not be queued.
    pub state: PartState,
    /// For each frame the series that it registers, in the order in which the reply gives their refs.
    pub registered: Vec<Vec<Registered>>,
}

/// See [`SentPart::state`].
pub enum PartState {
    /// The frames wait for their leader.
    Queued(Vec<PendingReply>),
    /// They do not: another attempt may succeed.
    Failed(RouteError, Vec<Frame>),
}

/// Series of one group without a replica here.
pub struct Unresolved {
    /// The group's index.
    pub group: u16,
    /// The series, each with its place in the request.
    pub misses: Vec<(u32, Miss)>,
}

/// A series that the log is told about.
#[derive(Clone)]
pub struct Registered {
    /// Its place in the request.
    pub order: u32,
    /// What the cache will know it by.
    pub key: CacheKey,
    /// Its labels.
    pub labels: Labels,
}

/// A batch and what its registrations are to be remembered by.
pub(super) struct GroupBatch {
    group: u16,
    batch: ShardBatch,
    registered: Vec<Registered>,
}

impl WritePath {
    /// Decodes a body and queues what it holds. Does not wait for anything.
    pub(super) fn send(&self, tenant: &Tenant, body: &Body) -> Result<Sent, DecodeError> {
        let mut scratch = self.scratch.take();
        let decompressed = decompress(body.encoding, &body.bytes, self.decompressed_bytes_max, &mut scratch.body);
        decompressed.map_err(DecodeError::Body)?;
        let ring = self.shards.ring();
        let distributor = Distributor::new(tenant, &self.cache, &self.metadata, ring.table());
        let is_second_version = self.active_version() >= u32::from(ENTRY_VERSION_HISTOGRAMS);
        let distributor = if is_second_version { distributor } else { distributor.of_first_version() };
        let distributed = match body.version {
            RemoteWriteVersion::V1 => distributor.distribute_v1(&scratch.body, &mut scratch.distributor),
            RemoteWriteVersion::V2 => distributor.distribute_v2(&scratch.body, &mut scratch.distributor),
        };
        let mut distributed = distributed.map_err(DecodeError::Walk)?;
        let room = match distributed.new_series_bytes {
            0 => None,
            bytes => Some(self.admission.admit(tenant, bytes as u64).map_err(DecodeError::NoRoom)?),
        };
        let missed: usize = distributed.misses.iter().map(|miss| miss.sample_count()).sum();
        self.metrics.cache_misses.inc_by(missed as u64);
        self.metrics.cache_hits.inc_by((distributed.samples - missed) as u64);
        let mut sent = Sent {
            parts: Vec::new(),
            unresolved: Vec::new(),
            refused: Refusals::default(),
            transient: None,
            moved: false,
            metadata: std::mem::take(&mut distributed.metadata),
            telling: std::mem::take(&mut distributed.telling),
            known: Vec::new(),
            tenant_key: distributor.tenant_key(),
            room,
        };
        refuse_early(&distributed, &mut sent);
        let mut batches: Vec<GroupBatch> = distributed
            .batches
            .drain(..)
            .map(|(group, batch)| GroupBatch { group, batch, registered: Vec::new() })
            .collect();
        self.resolve(tenant, std::mem::take(&mut distributed.misses), &mut batches, &mut sent);
        for batch in &mut batches {
            self.queue(tenant, batch, &mut sent);
        }
        distributed.batches.extend(batches.into_iter().map(|batch| (batch.group, batch.batch)));
        scratch.distributor.recycle(distributed);
        self.scratch.give_back(scratch);
        Ok(sent)
    }

    /// Finds the series that the cache does not know in their groups, and has registered what the groups do not know.
    fn resolve(&self, tenant: &Tenant, misses: Vec<Miss>, batches: &mut Vec<GroupBatch>, sent: &mut Sent) {
        let mut by_group: BTreeMap<u16, Vec<(u32, Miss)>> = BTreeMap::new();
        for (order, miss) in misses.into_iter().enumerate() {
            by_group.entry(miss.group).or_default().push((order as u32, miss));
        }
        for (index, misses) in by_group {
            let group = match self.shards.member(id_of(index)) {
                Ok(group) => group,
                // Others may have a replica that can tell.
                Err(_) => {
                    sent.unresolved.push(Unresolved { group: index, misses });
                    continue;
                }
            };
            let hashes = misses.iter().map(|(_, miss)| miss.hash);
            let resolved = resolve_here(&group, hashes, misses.iter().map(|(_, miss)| &miss.labels));
            self.settle_misses(tenant, index, misses, &resolved, batches, sent);
        }
    }

    /// Puts series that were looked up into the batches of their group; those that are not known, to be registered.
    pub(super) fn settle_misses(
        &self,
        tenant: &Tenant,
        index: u16,
        misses: Vec<(u32, Miss)>,
        resolved: &Resolved,
        batches: &mut Vec<GroupBatch>,
        sent: &mut Sent,
    ) {
        // A group that is met for the first time.
        if self.cache.scope(index).is_none() {
            self.cache.set_scope(index, resolved.scope);
        }
        let of_group = |batch: &GroupBatch| batch.group == index && batch.batch.scope() == resolved.scope;
        let at = batches.iter().position(of_group).unwrap_or_else(|| {
            let batch = ShardBatch::new(resolved.scope);
            batches.push(GroupBatch { group: index, batch, registered: Vec::new() });
            batches.len() - 1
        });
        let GroupBatch { batch, registered, .. } = &mut batches[at];
        let ring = self.shards.ring();
        let owns_as_known = ring.group(id_of(index)).is_some_and(|group| group.range == resolved.owned);
        let mut unknown = Vec::new();
        for ((order, miss), found) in misses.into_iter().zip(&resolved.refs) {
            let Some(series_ref) = *found else {
                // A group that was split would refuse it, and it would be counted as new.
                if !owns_as_known && !resolved.owned.contains(key_of(tenant, &miss)) {
                    sent.moved = true;
                } else if miss.sample_count() == 0 {
                    let reason = RefusalReason::InvalidExemplar;
                    let of = || format!("series {} has no samples", miss.labels);
                    sent.refused.add(reason, miss.exemplars.len() as u64, of);
                } else {
                    unknown.push((order, miss));
                }
                continue;
            };
            for sample in &miss.samples {
                batch.push(series_ref, sample.timestamp, sample.value);
            }
            for (timestamp, chunk) in &miss.histograms {
                batch.push_histogram(series_ref, *timestamp, chunk);
            }
            for (timestamp, exemplar) in &miss.exemplars {
                batch.push_exemplar(series_ref, *timestamp, exemplar);
            }
            let entry = CacheEntry { key: miss.key, group: index, scope: batch.scope(), series_ref };
            sent.known.push((order, entry));
        }
        let granted = self.budget.take(tenant, unknown.len(), Instant::now());
        if granted < unknown.len() {
            let refused = unknown.len() - granted;
            sent.transient = Some(format!(
                "tenant {tenant} creates new series too fast: {refused} of this request must wait \
                 (ingest.max_new_series_per_second)"
            ));
        }
        self.metrics.registrations.inc_by(granted as u64);
        for (order, miss) in unknown.into_iter().take(granted) {
            registered.push(Registered { order, key: miss.key, labels: miss.labels.clone() });
            batch.register(miss.hash, miss.labels, &miss.samples);
            for (timestamp, chunk) in &miss.histograms {
                batch.push_registered_histogram(*timestamp, chunk);
            }
            for (timestamp, exemplar) in &miss.exemplars {
                batch.push_registered_exemplar(*timestamp, exemplar);
            }
        }
    }

    /// Queues a batch's frames for its group.
    pub(super) fn queue(&self, tenant: &Tenant, from: &mut GroupBatch, sent: &mut Sent) {
        if from.batch.is_empty() {
            return;
        }
        let encoded = from.batch.encode(tenant);
        let registered = encoded.iter().map(|frame| from.registered[frame.registrations.clone()].to_vec()).collect();
        let frames = encoded.into_iter().map(|frame| Frame::Made(frame.bytes)).collect();
        let state = match self.router.queue_frames(id_of(from.group), frames) {
            Ok(replies) => PartState::Queued(replies),
            Err((error, frames)) => PartState::Failed(error, frames),
        };
        sent.parts.push(SentPart { group: from.group, state, registered });
    }
}

fn key_of(tenant: &Tenant, miss: &Miss) -> PlacementKey {
    PlacementKey::of(tenant, miss.labels.metric_name().unwrap_or_default(), miss.hash)
}

/// What the walk over the body refused.
fn refuse_early(distributed: &Distributed, sent: &mut Sent) {
    use bellwether_ingest::RefusalReason as Early;
    for refusal in distributed.refused.iter() {
        let reason = match refusal.reason {
            Early::InvalidLabels => RefusalReason::InvalidLabels,
            Early::Exemplars => RefusalReason::Exemplar,
            Early::InvalidExemplars => RefusalReason::InvalidExemplar,
            Early::Histograms => RefusalReason::Histogram,
            Early::InvalidHistograms => RefusalReason::InvalidHistogram,
            Early::InvalidMetadata => RefusalReason::Malformed,
            Early::NoGroup => {
                sent.transient = Some(refusal.example.clone());
                continue;
            }
        };
        sent.refused.add(reason, refusal.count as u64, || refusal.example.clone());
    }
}
