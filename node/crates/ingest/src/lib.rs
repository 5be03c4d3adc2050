//! From the body of a write request to the bytes that a shard group replicates.
//!
//! ```text
//! body --decompress--> protobuf --walk in place--> Distributor --known series--> ShardBatch per group --> frames --> entry
//!                                     |                 `--unknown series--> Miss (validated labels, for the caller to resolve)
//!                                 SeriesCache
//! ```
//!
//! Pure and synchronous: no I/O, no clock, no randomness (the cache's seed comes in). Nothing here knows storage, Raft or
//! HTTP. The bytes of frames, entries and replies are frozen: `node/docs/format/shard-batch.md`.

pub mod body;
mod chunk_rows;
mod cursor;
pub mod distribute;
pub mod entry;
pub mod exemplars;
pub mod frame;
pub mod group_table;
mod histogram_chunks;
mod key_hasher;
pub mod metadata_filter;
mod places;
pub mod protobuf;
pub mod remote_write_v1;
pub mod remote_write_v2;
pub mod reply;
mod row_columns;
pub mod series_cache;
pub mod shard_batch;
mod visitor;
mod wire_histograms;

pub use body::{BodyError, Encoding, decompress, decompressed_bound};
pub use chunk_rows::ChunkRowRef;
pub use cursor::FormatError;
pub use distribute::{Distributed, Distributor, DistributorScratch, Miss, Refusal, RefusalReason, Refusals};
pub use entry::{
    Command, Compression, ControlCommand, ENTRY_VERSION_FIRST, ENTRY_VERSION_HISTOGRAMS, Entry, EntryBuffer,
    EntryBuilder, EntryCompressor, EntryLimits, MatcherText, SamplesEntry, SplitCommand,
};
pub use exemplars::WireExemplar;
pub use frame::{FrameReader, RegistrationRef, entry_version};
pub use group_table::{GroupTable, GroupTableError};
pub use key_hasher::{CacheKey, KeyHasher, TenantKey};
pub use metadata_filter::{MetadataFilter, Telling};
pub use protobuf::WireError;
pub use reply::{FrameReply, Refused};
pub use row_columns::RowColumns;
pub use series_cache::{CacheEntry, CacheReader, CacheStats, Known, SeriesCache};
pub use shard_batch::{EncodedFrame, RefScope, Registration, ShardBatch};
pub use visitor::{BuildError, MetadataRef, RequestVisitor, WalkError, WireLabels};
pub use wire_histograms::WireHistograms;

#[cfg(test)]
#[path = "../tests/support/protobuf_writer.rs"]
mod protobuf_writer;
