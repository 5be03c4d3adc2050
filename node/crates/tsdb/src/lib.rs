//! One shard replica's storage: series index, head, Windows of immutable runs, flush, seal, retention.
//!
//! How a sample travels: [`ShardWriter::append`] puts it into the open [`head`]; [`Shard::flush`] freezes the head and writes it
//! as one [`run`] per Window; [`Shard::seal`] merges the runs of a closed Window into one. A query ([`Shard::select`]) reads
//! these layers, newest last, and a newer layer wins where two hold the same timestamp of a series.
//!
//! Everything logical (series, refs, samples, tombstones, retention floor) changes through [`ShardWriter`] alone, which reads no
//! clock and no randomness; flush and seal change only the layout. Nothing here knows the log's format, the wire, or Raft.

pub mod cache;
mod catalog;
mod changes;
mod checkpoint;
mod error;
mod exemplars;
mod expiry;
mod export;
mod flush;
mod head;
mod histograms;
mod index;
mod keys;
mod merge;
mod metadata;
mod metrics;
mod pack;
mod pieces;
mod record;
mod registry;
mod run;
mod seal;
mod select;
mod shard;
mod split;
mod tombstone;
mod window;
mod writer;

use bellwether_kv::{Space, SpaceConfig, SpaceKind};

pub use cache::PackCache;
pub use changes::ChangedSince;
pub use checkpoint::{CheckpointFiles, CheckpointReceiver, inspect, install};
pub use error::{OpenError, RegisterError, SelectError, StorageError};
pub use exemplars::{EXEMPLAR_BYTES_MAX, EXEMPLARS_PER_SERIES_MAX};
pub use expiry::SERIES_PER_COMMAND_MAX;
pub use export::WindowReader;
pub use metrics::ShardMetrics;
pub use seal::{SealReport, SealWhen};
pub use select::{LabelsRequest, SelectLimits, SelectRequest, SelectedHistograms, SelectedSeries, Wanted};
pub use shard::{AppliedMark, Shard, ShardOptions, ShardStats};
pub use split::metadata_key;
pub use writer::{Appended, ShardWriter};

/// The spaces of an engine that holds a shard, in order.
pub const SPACES: &[SpaceConfig] =
    &[SpaceConfig { name: "meta", kind: SpaceKind::Records }, SpaceConfig { name: "runs", kind: SpaceKind::Runs }];

/// State, windows, registry, metadata, exemplars and tombstones.
pub(crate) const META: Space = Space(0);
/// Packs, timestamp columns and run directories.
pub(crate) const RUNS: Space = Space(1);
