//! From a request's body to acknowledged samples.

use bellwether_model::{Labels, MetricMetadata, Sample, Tenant};
use bytes::Bytes;

pub use outcome::{RETRY_AFTER, Refusal, RefusalReason, Refusals, WriteError, WriteOutcome};

mod admission;
mod outcome;
mod series_budget;

/// Version of the remote-write protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteWriteVersion {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Block format.
    Snappy,
    /// Frames.
    Zstd,
    /// Not at all.
    Identity,
}

/// The way in. Shared by all connections.
pub struct WritePath {}

impl WritePath {
    /// Stores a remote-write body. When this returns, what it says was stored is durable on a quorum and readable.
    pub async fn remote_write(
        &self,
        _tenant: &Tenant,
        _version: RemoteWriteVersion,
        _encoding: ContentEncoding,
        _body: Bytes,
    ) -> Result<WriteOutcome, WriteError> {
        Ok(WriteOutcome::default())
    }

    /// Stores samples of our own making; the labels are already valid.
    pub async fn write_samples(
        &self,
        _tenant: &Tenant,
        _samples: Vec<(Labels, Sample)>,
        _metadata: Vec<(String, MetricMetadata)>,
    ) -> Result<WriteOutcome, WriteError> {
        Ok(WriteOutcome::default())
    }
}
