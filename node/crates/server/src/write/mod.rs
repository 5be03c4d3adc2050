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
pub mod own_body;
mod scratch;
mod sending;
mod series_budget;
pub mod wire_histogram;

use std::sync::Arc;
use std::time::Duration;

use bellwether_ingest::{BodyError, Encoding, MetadataFilter, SeriesCache, WalkError, decompressed_bound};
use bellwether_model::{Labels, MetricMetadata, Sample, Tenant};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

pub use admission::Admitted;
pub use bellwether_ingest::Encoding as ContentEncoding;
pub use outcome::{RETRY_AFTER, Refusal, RefusalReason, Refusals, WriteError, WriteOutcome};

use crate::config::Config;
use crate::env::{Env, ExecutorHandle, Program, WallClock};
use crate::meta::MetaState;
use crate::metrics::WriteMetrics;
use crate::routing::{HeadRoom, Router};
use crate::shards::Shards;
use crate::shards::ring::index_of;
use admission::Admission;
use exchange::Attempt;
use scratch::ScratchPool;
use sending::{DecodeError, Sent};
use series_budget::SeriesBudget;

/// Bodies that decompress to no more than this are decoded where they arrive, on the runtime that serves connections:
/// about half a millisecond. Larger ones go to the ingest executor, so that they do not hold up other connections.
const INLINE_DECOMPRESSED_BYTES_MAX: usize = 256 << 10;

/// How often a request whose refs turned out unknown is resolved and sent again.
const RESENDS_MAX: usize = 1;

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
    series_max: u64,
    decompressed_bytes_max: usize,
    timeout: Duration,
    metrics: Arc<WriteMetrics>,
    /// The cluster's state; without it there is this program alone.
    meta: Option<watch::Receiver<Arc<MetaState>>>,
}

/// What a request carries before it is looked at.
struct Body {
    version: RemoteWriteVersion,
    encoding: Encoding,
    bytes: Bytes,
    /// What decompressing it costs at most.
    decompressed_bytes_max: usize,
}

impl WritePath {
    /// A way in through `router`.
    pub fn new(
        router: Arc<Router>,
        meta: Option<watch::Receiver<Arc<MetaState>>>,
        config: &Config,
        env: &Env,
        metrics: Arc<WriteMetrics>,
    ) -> Arc<WritePath> {
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
            series_max: config.ingest.max_series,
            decompressed_bytes_max: config.ingest.max_decompressed_bytes.as_usize(),
            timeout: config.ingest.timeout,
            metrics,
            meta,
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
        let stored = async {
            let body = self.body(version, encoding, body)?;
            let admitted = self.let_in(tenant, body.decompressed_bytes_max as u64)?;
            self.acknowledged(Arc::new(admitted), body).await
        };
        self.measured(stored).await
    }

    /// Room for a body of `bytes` that is not compressed and has not been received yet.
    pub fn admit(&self, tenant: &Tenant, bytes: u64) -> Result<Admitted, WriteError> {
        let admitted = self.let_in(tenant, bytes);
        if admitted.is_err() {
            self.metrics.requests.with_label_values(&["transient"]).inc();
        }
        admitted
    }

    /// Stores a body that has been let in: a remote-write 1.0 body that is not compressed.
    pub async fn write_admitted(
        self: &Arc<Self>,
        admitted: Admitted,
        bytes: Bytes,
    ) -> Result<WriteOutcome, WriteError> {
        let stored = async {
            let body = self.body(RemoteWriteVersion::V1, Encoding::Identity, bytes)?;
            self.acknowledged(Arc::new(admitted), body).await
        };
        self.measured(stored).await
    }

    /// Stores samples of our own making; the labels are already valid.
    pub async fn write_samples(
        self: &Arc<Self>,
        tenant: &Tenant,
        samples: Vec<(Labels, Sample)>,
        metadata: Vec<(String, MetricMetadata)>,
    ) -> Result<WriteOutcome, WriteError> {
        let bytes = own_body::encode(&samples, &metadata).into();
        self.remote_write(tenant, RemoteWriteVersion::V1, Encoding::Identity, bytes).await
    }

    /// Follows the memory of heads, and refuses writes while it is too much.
    pub fn head_room(&self) -> &HeadRoom {
        self.router.head_room()
    }

    /// Stores no samples on this node's disk for this reason, or does again. Returns whether that is a change. What other
    /// nodes can store is passed on to them; where there are none, requests are refused before they are looked at.
    pub fn set_refusing(&self, reason: Option<String>) -> bool {
        let changed = self.router.disk_room().set(reason.as_deref());
        self.admission.set_closed(reason.filter(|_| self.router.keeps_everything()));
        changed
    }

    /// Sends on what waits and takes nothing in any more.
    pub fn close(&self) {
        self.router.close();
    }

    /// Lets senders' metadata through once more: what was passed on may have been lost by a limit.
    pub fn forget_metadata(&self) {
        self.metadata.clear();
    }

    /// The version of what is replicated that all nodes use.
    fn active_version(&self) -> u32 {
        self.meta.as_ref().map_or(Program::THIS.formats.highest, |meta| meta.borrow().active_version)
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
                self.metrics.samples.inc_by(outcome.samples + outcome.histograms);
                for (reason, refusal) in &outcome.refused.by_reason {
                    self.metrics.count_refused(*reason, refusal.count);
                }
                if outcome.refused.is_empty() { "ok" } else { "partial" }
            }
            Err(WriteError::Malformed(_)) => "malformed",
            Err(WriteError::TooLarge { .. } | WriteError::TooManyNewSeries(_)) => "too_large",
            Err(WriteError::Transient { .. }) => "transient",
            Err(WriteError::Internal(_)) => "internal",
        };
        self.metrics.requests.with_label_values(&[outcome]).inc();
        result
    }

    fn body(&self, version: RemoteWriteVersion, encoding: Encoding, bytes: Bytes) -> Result<Body, WriteError> {
        let decompressed_bytes_max = decompressed_bound(encoding, &bytes, self.decompressed_bytes_max);
        let decompressed_bytes_max = decompressed_bytes_max.map_err(refused_body)?;
        Ok(Body { version, encoding, bytes, decompressed_bytes_max })
    }

    fn let_in(&self, tenant: &Tenant, bytes: u64) -> Result<Admitted, WriteError> {
        let full = |reason: String| WriteError::Transient { reason, retry_after: RETRY_AFTER };
        self.router.head_room().check().map_err(|error| full(error.to_string()))?;
        self.admission.admit(tenant, bytes)
    }

    async fn acknowledged(self: &Arc<Self>, admitted: Arc<Admitted>, body: Body) -> Result<WriteOutcome, WriteError> {
        let mut resends = 0;
        let mut pace = self.router.pace();
        loop {
            let attempt = self.attempt(&admitted, &body).await?;
            let again = if attempt.moved {
                // The ring tells of a split a moment after the split group's log.
                resends = 0;
                pace.pause().await
            } else {
                resends += 1;
                attempt.must_resend && resends <= RESENDS_MAX
            };
            if !again {
                return attempt.settled();
            }
            // Everything again: what was stored already is stored once more as the same.
            self.metrics.resends.inc();
        }
    }

    async fn attempt(self: &Arc<Self>, admitted: &Arc<Admitted>, body: &Body) -> Result<Attempt, WriteError> {
        let sent = if body.decompressed_bytes_max <= INLINE_DECOMPRESSED_BYTES_MAX {
            self.send(admitted.tenant(), body)
        } else {
            // The job keeps the room that the body was given, also when the request is given up before the job's turn has come.
            let (path, admitted) = (self.clone(), admitted.clone());
            let body = Body { bytes: body.bytes.clone(), ..*body };
            let sent = self.ingest.run(move || path.send_if_wanted(&admitted, &body)).await;
            sent.map_err(|error| WriteError::Internal(error.to_string()))?
        };
        match sent {
            Ok(sent) => Ok(self.answers(admitted.tenant(), sent).await),
            Err(DecodeError::Walk(WalkError::Wire(error))) => Err(WriteError::Malformed(error.to_string())),
            Err(DecodeError::Walk(error @ WalkError::NewSeries { .. })) => {
                Err(WriteError::TooManyNewSeries(error.to_string()))
            }
            Err(DecodeError::Body(error)) => Err(refused_body(error)),
            Err(DecodeError::NoRoom(error)) => Err(error),
            Err(DecodeError::GivenUp) => {
                Err(WriteError::Transient { reason: "the request was given up".to_owned(), retry_after: RETRY_AFTER })
            }
        }
    }

    fn send_if_wanted(&self, admitted: &Arc<Admitted>, body: &Body) -> Result<Sent, DecodeError> {
        // Whoever waits for the answer holds the other one.
        if Arc::strong_count(admitted) == 1 {
            return Err(DecodeError::GivenUp);
        }
        self.send(admitted.tenant(), body)
    }
}

fn refused_body(error: BodyError) -> WriteError {
    match error {
        BodyError::TooLarge { size, limit, .. } => WriteError::TooLarge {
            what: "decompressed body",
            got_bytes: size.unwrap_or(limit as u64 + 1),
            limit_bytes: limit as u64,
        },
        error => WriteError::Malformed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
