//! The part of a write that waits: the groups' replies, and what they mean for the request.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_ingest::{CacheEntry, ControlCommand, FrameReply, RefScope, Refused};
use bellwether_model::{MetricMetadata, RefEpoch, ShardGroupId, Tenant, limits};
use bellwether_probe::{Bug, planted};
use bellwether_raft::ProposeError;
use futures::future::join_all;

use super::WritePath;
use super::outcome::{RETRY_AFTER, RefusalReason, WriteError, WriteOutcome};
use super::sending::{PartState, Registered, Sent, SentPart, Unresolved};
use crate::config::duration_text;
use crate::routing::{Collected, RouteError, collect};
use crate::shards::ring::id_of;

/// Metadata of one log entry, in bytes of text: far below what an entry may have.
const METADATA_ENTRY_BYTES_MAX: usize = 256 << 10;

/// Once the reasons of the groups that failed have so many bytes, further groups are not named.
const REASONS_BYTES_MAX: usize = 1000;

/// What one attempt to store a request came to.
#[derive(Default)]
pub struct Attempt {
    outcome: WriteOutcome,
    /// Some refs were unknown: they are forgotten now, and the request is to be sent once more.
    pub must_resend: bool,
    /// A group was split, which is not known here everywhere yet: the request is to be sent once more when it is.
    pub moved: bool,
    /// Why the request must come again later.
    transient: Option<String>,
    internal: Option<String>,
}

impl Attempt {
    /// A group did not store its part, or may not have.
    fn fail(&mut self, group: u16, error: &RouteError) {
        let reason = match error {
            RouteError::Reply(_) | RouteError::Propose(ProposeError::TooLarge { .. }) => {
                self.internal = Some(error.to_string());
                return;
            }
            RouteError::NotServed(_) | RouteError::NoLeader(_) => error.to_string(),
            _ => format!("shard group {group}: {error}"),
        };
        self.transient = Some(match self.transient.take() {
            Some(before) if before.len() < REASONS_BYTES_MAX => format!("{before}; {reason}"),
            Some(before) => before,
            None => reason,
        });
    }

    /// What the sender is told. A part that may succeed later outweighs one that was refused for good: the sender comes
    /// again, and what is stored already stays the same.
    pub fn settled(self) -> Result<WriteOutcome, WriteError> {
        if let Some(reason) = self.internal {
            return Err(WriteError::Internal(reason));
        }
        let unresolved = || "series were forgotten by their shard group while they were written".to_owned();
        let moved = || "series belong to a shard group that was split off, which is not known here yet".to_owned();
        let transient = self.transient.or_else(|| self.moved.then(moved)).or_else(|| self.must_resend.then(unresolved));
        match transient {
            Some(reason) => Err(WriteError::Transient { reason, retry_after: RETRY_AFTER }),
            None => Ok(self.outcome),
        }
    }
}

impl WritePath {
    /// Waits for the replies to everything that was sent.
    pub(super) async fn answers(&self, tenant: &Tenant, mut sent: Sent) -> Attempt {
        if !sent.unresolved.is_empty() {
            self.resolve_elsewhere(tenant, &mut sent).await;
        }
        let Sent { parts, refused, transient, moved, metadata, telling, mut known, tenant_key, room: _room, .. } = sent;
        let mut attempt = Attempt { transient, moved, ..Attempt::default() };
        attempt.outcome.refused = refused;
        let mut failed = Vec::new();
        for SentPart { group, state, mut registered } in parts {
            let (error, frames) = match state {
                PartState::Failed(error, frames) => (error, frames),
                PartState::Queued(pending) => {
                    let Collected { replies, failed } = collect(id_of(group), pending).await;
                    let left = registered.split_off(replies.len());
                    self.read_replies(tenant, group, replies, registered, &mut attempt, &mut known);
                    registered = left;
                    let Some(failed) = failed else { continue };
                    failed
                }
            };
            failed.push((group, error, frames, registered));
        }
        if !failed.is_empty() {
            let again = failed.into_iter().map(|(group, error, frames, registered)| async move {
                (group, self.router.write_frames_again(id_of(group), error, frames).await, registered)
            });
            for (group, written, registered) in join_all(again).await {
                match written {
                    Ok(replies) => self.read_replies(tenant, group, replies, registered, &mut attempt, &mut known),
                    Err(_) if planted(Bug::AcknowledgePart) && attempt.outcome.samples > 0 => {}
                    Err(error) => attempt.fail(group, &error),
                }
            }
        }
        known.sort_unstable_by_key(|(order, _)| *order);
        let known: Vec<CacheEntry> = known.into_iter().map(|(_, entry)| entry).collect();
        self.cache.insert(tenant_key, &known);
        if self.store_metadata(tenant, metadata).await {
            telling.told();
        }
        attempt
    }

    /// Has series looked up by nodes that have a replica of their group, and sends them on.
    async fn resolve_elsewhere(&self, tenant: &Tenant, sent: &mut Sent) {
        let unresolved = std::mem::take(&mut sent.unresolved);
        let resolved = join_all(unresolved.into_iter().map(|Unresolved { group, misses }| async move {
            let series: Vec<_> = misses.iter().map(|(_, miss)| (miss.hash, &miss.labels)).collect();
            let resolved = self.router.resolve(id_of(group), tenant, &series).await;
            (group, misses, resolved)
        }));
        let mut batches = Vec::new();
        for (group, misses, resolved) in resolved.await {
            match resolved {
                Ok(resolved) => self.settle_misses(tenant, group, misses, &resolved, &mut batches, sent),
                Err(error) => sent.transient = Some(format!("shard group {group}: {error}")),
            }
        }
        batches.iter_mut().for_each(|batch| self.queue(tenant, batch, sent));
    }

    fn read_replies(
        &self,
        tenant: &Tenant,
        group: u16,
        replies: Vec<FrameReply>,
        registered: Vec<Vec<Registered>>,
        attempt: &mut Attempt,
        known: &mut Vec<(u32, CacheEntry)>,
    ) {
        for (reply, registered) in replies.iter().zip(registered) {
            self.read_reply(tenant, group, reply, registered, attempt, known);
        }
    }

    fn read_reply(
        &self,
        tenant: &Tenant,
        group: u16,
        reply: &FrameReply,
        registered: Vec<Registered>,
        attempt: &mut Attempt,
        known: &mut Vec<(u32, CacheEntry)>,
    ) {
        attempt.outcome.samples += reply.accepted;
        attempt.outcome.histograms += reply.histograms;
        attempt.outcome.exemplars += reply.exemplars;
        let mut first_refused = None;
        for (registered, series_ref) in registered.into_iter().zip(&reply.refs) {
            match series_ref {
                Some(series_ref) => {
                    let Registered { order, key, .. } = registered;
                    known.push((order, CacheEntry { key, group, scope: reply.scope, series_ref: *series_ref }));
                }
                None => first_refused = first_refused.or(Some(registered.labels)),
            }
        }
        for (reason, count) in reply.refusals() {
            let of_series = || first_refused.as_ref().map(ToString::to_string).unwrap_or_default();
            let refused = &mut attempt.outcome.refused;
            match reason {
                Refused::UnknownRef => {
                    self.forget_group(group, reply.scope);
                    // A replica here that has not come to a split yet would say the same refs again.
                    attempt.moved |= self.shards.local(id_of(group)).is_ok_and(|local| local.scope() != reply.scope);
                    attempt.must_resend = true;
                }
                Refused::Moved => attempt.moved = true,
                Refused::TooOld => refused
                    .add(RefusalReason::TooOld, count, || format!("retention is {}", duration_text(self.retention))),
                Refused::TooFarAhead => refused.add(RefusalReason::TooFarAhead, count, || {
                    let ahead = duration_text(Duration::from_millis(limits::FUTURE_SAMPLE_MS_MAX.unsigned_abs()));
                    format!("more than {ahead} ahead of the clock, which says {} ms", self.clock.now_ms())
                }),
                Refused::SeriesLimit => refused.add(RefusalReason::SeriesLimit, count, || {
                    let limit = self.series_max;
                    format!("tenant {tenant} may have {limit} series, ingest.max_series; the first is {}", of_series())
                }),
                Refused::HashConflict => refused.add(RefusalReason::HashConflict, count, of_series),
                Refused::ExemplarTime => refused.add(RefusalReason::InvalidExemplar, count, || {
                    "their times are before the retention or too far ahead".to_owned()
                }),
                Refused::Damaged => {
                    attempt.internal = Some(format!("shard group {group} could not read a frame: {}", of_series()));
                }
            }
        }
    }

    /// Forgets all refs of a group, even those that belong to the scope it still has.
    pub(super) fn forget_group(&self, group: u16, scope: RefScope) {
        let nothing = RefScope { epoch: RefEpoch(!scope.epoch.0), range_generation: scope.range_generation };
        self.cache.set_scope(group, nothing);
        self.cache.set_scope(group, scope);
    }

    /// Stores metadata; says whether all of it is. Nobody is promised that it is kept: what is lost is told again.
    async fn store_metadata(&self, tenant: &Tenant, metadata: Vec<(String, MetricMetadata)>) -> bool {
        let ring = self.shards.ring();
        let mut by_group: BTreeMap<ShardGroupId, Vec<(String, MetricMetadata)>> = BTreeMap::new();
        for (metric, about) in metadata {
            let Some(group) = ring.metadata_owner(tenant, &metric) else { continue };
            by_group.entry(group).or_default().push((metric, about));
        }
        let stored = by_group.into_iter().map(|(group, metadata)| self.store_in_group(tenant, group, metadata));
        join_all(stored).await.into_iter().all(|stored| stored)
    }

    async fn store_in_group(
        &self,
        tenant: &Tenant,
        group: ShardGroupId,
        metadata: Vec<(String, MetricMetadata)>,
    ) -> bool {
        let mut rest = metadata.into_iter().peekable();
        while rest.peek().is_some() {
            let mut bytes = 0;
            let mut part = Vec::new();
            while let Some((metric, about)) = rest.next_if(|_| bytes < METADATA_ENTRY_BYTES_MAX) {
                bytes += metric.len() + about.help.len() + about.unit.len();
                part.push((metric, about));
            }
            let count = part.len() as u64;
            let command = ControlCommand::StoreMetadata { tenant: tenant.clone(), metadata: part };
            match self.router.command(group, &command).await {
                Ok(stored) if stored == count => {}
                // The group was split.
                Ok(_) => return false,
                Err(error) => {
                    tracing::debug!(%error, "metadata was not stored");
                    return false;
                }
            }
        }
        true
    }
}
