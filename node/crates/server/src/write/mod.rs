//! From a request's body to acknowledged samples.
//!
//! 1. [`admission`] lets the request in, or refuses it at once.
//! 2. The body is decompressed and walked in place; known series become batches for their groups, unknown ones misses.
//! 3. A miss is looked up in its group's applied state, so that a restarted node costs no log. What the group lacks is
//!    registered, within the tenant's [`series_budget`].
//! 4. Batches become frames, which the [router](crate::routing) brings to their groups' leaders.
//! 5. Each request is acknowledged by the replies to its own frames.

mod admission;
mod exchange;
mod outcome;
mod own_body;
mod scratch;
mod sending;
mod series_budget;

use std::sync::Arc;
use std::time::Duration;

use bellwether_ingest::{BodyError, Encoding, MetadataFilter, SeriesCache};
use bellwether_model::{Labels, MetricMetadata, Sample, Tenant};
use bytes::Bytes;
use tokio::time::Instant;

pub use bellwether_ingest::Encoding as ContentEncoding;
pub use outcome::{RETRY_AFTER, Refusal, RefusalReason, Refusals, WriteError, WriteOutcome};

use crate::config::Config;
use crate::env::{Env, ExecutorHandle, WallClock};
use crate::metrics::WriteMetrics;
use crate::routing::Router;
use crate::shards::Shards;
use crate::shards::ring::index_of;
use admission::Admission;
use exchange::Attempt;
use scratch::ScratchPool;
use sending::DecodeError;
use series_budget::SeriesBudget;

/// Bodies up to this size are decoded where they arrive, on the runtime that serves connections: about half a
/// millisecond. Larger ones go to the ingest executor, so that they do not hold up other connections.
const INLINE_BODY_BYTES_MAX: usize = 96 << 10;

/// How often a request whose refs turned out unknown is resolved and sent again.
const RESENDS_MAX: usize = 1;

/// What a zstd body that does not declare its size is taken to expand by.
const ZSTD_RATIO_ASSUMED: u64 = 16;

/// Version of the remote-write protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteWriteVersion {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// The way in. Shared by all connections.
pub struct WritePath {
    router: Arc<Router>,
    shards: Arc<Shards>,
    cache: SeriesCache,
    metadata: MetadataFilter,
    budget: SeriesBudget,
    admission: Arc<Admission>,
    scratch: ScratchPool,
    ingest: ExecutorHandle,
    clock: Arc<dyn WallClock>,
    retention: Duration,
    decompressed_bytes_max: usize,
    timeout: Duration,
    metrics: Arc<WriteMetrics>,
}

/// What a request carries before it is looked at.
struct Body {
    version: RemoteWriteVersion,
    encoding: Encoding,
    bytes: Bytes,
}

impl WritePath {
    /// A way in through `router`.
    pub fn new(router: Arc<Router>, config: &Config, env: &Env, metrics: Arc<WriteMetrics>) -> Arc<WritePath> {
        let shards = router.shards().clone();
        let cache = SeriesCache::new(env.seed.split("series cache").0, config.ingest.cache_bytes.as_usize());
        for group in shards.serving() {
            cache.set_scope(index_of(group.id()), group.scope());
        }
        Arc::new(WritePath {
            router,
            cache,
            metadata: MetadataFilter::default(),
            budget: SeriesBudget::new(config.ingest.max_new_series_per_second),
            admission: Admission::new(
                config.ingest.max_inflight_bytes.0,
                config.ingest.max_tenant_inflight_bytes.0,
                metrics.in_flight_bytes.clone(),
            ),
            scratch: ScratchPool::default(),
            ingest: env.executors.ingest.clone(),
            clock: env.clock.clone(),
            retention: config.retention,
            decompressed_bytes_max: config.ingest.max_decompressed_bytes.as_usize(),
            timeout: config.ingest.timeout,
            metrics,
            shards,
        })
    }

    /// Stores a remote-write body. When this returns, what it says was stored is durable on a quorum and readable.
    pub async fn remote_write(
        self: &Arc<Self>,
        tenant: &Tenant,
        version: RemoteWriteVersion,
        encoding: ContentEncoding,
        body: Bytes,
    ) -> Result<WriteOutcome, WriteError> {
        let body = Body { version, encoding, bytes: body };
        self.measured(self.acknowledged(tenant, body)).await
    }

    /// Stores samples of our own making; the labels are already valid.
    pub async fn write_samples(
        self: &Arc<Self>,
        tenant: &Tenant,
        samples: Vec<(Labels, Sample)>,
        metadata: Vec<(String, MetricMetadata)>,
    ) -> Result<WriteOutcome, WriteError> {
        let bytes = own_body::encode(&samples, &metadata).into();
        let body = Body { version: RemoteWriteVersion::V1, encoding: Encoding::Identity, bytes };
        self.measured(self.acknowledged(tenant, body)).await
    }

    /// Refuses all writes with this reason, or takes them again. Returns whether that is a change.
    pub fn set_refusing(&self, reason: Option<String>) -> bool {
        self.admission.set_closed(reason)
    }

    /// Sends on what waits and takes nothing in any more.
    pub fn close(&self) {
        self.router.close();
    }

    /// Lets senders' metadata through once more: what was passed on may have been lost by a limit.
    pub fn forget_metadata(&self) {
        self.metadata.clear();
    }

    /// Brings the gauges up to date.
    pub fn observe(&self) {
        let stats = self.cache.stats();
        self.metrics.cache_entries.set(stats.entries as i64);
        self.metrics.cache_bytes.set(stats.bytes as i64);
    }

    /// Counts a request and its time, and bounds the time.
    async fn measured(
        &self,
        work: impl Future<Output = Result<WriteOutcome, WriteError>>,
    ) -> Result<WriteOutcome, WriteError> {
        let started = Instant::now();
        let result = match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(WriteError::Transient {
                reason: format!("not acknowledged within {:?}: whether it is stored is unknown", self.timeout),
                retry_after: RETRY_AFTER,
            }),
        };
        let outcome = match &result {
            Ok(outcome) => {
                self.metrics.ack_seconds.observe(started.elapsed().as_secs_f64());
                self.metrics.samples.inc_by(outcome.samples);
                for (reason, refusal) in &outcome.refused.by_reason {
                    self.metrics.count_refused(*reason, refusal.count);
                }
                if outcome.refused.is_empty() { "ok" } else { "partial" }
            }
            Err(WriteError::Malformed(_)) => "malformed",
            Err(WriteError::TooLarge { .. }) => "too_large",
            Err(WriteError::Transient { .. }) => "transient",
            Err(WriteError::Internal(_)) => "internal",
        };
        self.metrics.requests.with_label_values(&[outcome]).inc();
        result
    }

    async fn acknowledged(self: &Arc<Self>, tenant: &Tenant, body: Body) -> Result<WriteOutcome, WriteError> {
        let bytes = self.claimed_bytes(&body)?;
        let _admitted = self.admission.admit(tenant, bytes)?;
        let mut attempt = self.attempt(tenant, &body).await?;
        for _ in 0..RESENDS_MAX {
            if !attempt.must_resend {
                break;
            }
            // Everything again: what was stored already is stored once more as the same.
            self.metrics.resends.inc();
            attempt = self.attempt(tenant, &body).await?;
        }
        attempt.settled()
    }

    /// Bytes that the body says it has once decompressed, or about as many as it will.
    fn claimed_bytes(&self, body: &Body) -> Result<u64, WriteError> {
        let limit = self.decompressed_bytes_max as u64;
        let received = body.bytes.len() as u64;
        let claimed = match body.encoding {
            Encoding::Identity => received,
            Encoding::Snappy => snappy_length(&body.bytes).unwrap_or(received),
            Encoding::Zstd => match zstd::zstd_safe::get_frame_content_size(&body.bytes) {
                Ok(Some(declared)) => declared,
                _ => received.saturating_mul(ZSTD_RATIO_ASSUMED).min(limit),
            },
        };
        if claimed > limit {
            return Err(WriteError::TooLarge { what: "decompressed body", got_bytes: claimed, limit_bytes: limit });
        }
        Ok(claimed)
    }

    async fn attempt(self: &Arc<Self>, tenant: &Tenant, body: &Body) -> Result<Attempt, WriteError> {
        let sent = if body.bytes.len() <= INLINE_BODY_BYTES_MAX {
            self.send(tenant, body)
        } else {
            let (path, tenant) = (self.clone(), tenant.clone());
            let body = Body { bytes: body.bytes.clone(), ..*body };
            let sent = self.ingest.run(move || path.send(&tenant, &body)).await;
            sent.map_err(|error| WriteError::Internal(error.to_string()))?
        };
        match sent {
            Ok(sent) => Ok(self.answers(tenant, sent).await),
            Err(DecodeError::Wire(error)) => Err(WriteError::Malformed(error.to_string())),
            Err(DecodeError::Body(BodyError::TooLarge { size, limit, .. })) => Err(WriteError::TooLarge {
                what: "decompressed body",
                got_bytes: size.unwrap_or(limit as u64 + 1),
                limit_bytes: limit as u64,
            }),
            Err(DecodeError::Body(error)) => Err(WriteError::Malformed(error.to_string())),
        }
    }
}

/// The length that a snappy block begins with.
fn snappy_length(body: &[u8]) -> Option<u64> {
    const VARINT_BYTES_MAX: usize = 5;
    let mut length = 0;
    for (at, byte) in body.iter().take(VARINT_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests;
