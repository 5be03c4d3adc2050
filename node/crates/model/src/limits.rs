//! Every bound that more than one crate must agree on, and the relations between them.
//! A bound that concerns one crate alone lives in that crate, next to what it bounds.

/// Labels that one series may have.
pub const LABELS_PER_SERIES_MAX: usize = 128;
/// Bytes of a label's name.
pub const LABEL_NAME_BYTES_MAX: usize = 1024;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 4096;
/// Bytes of a tenant's name.
pub const TENANT_BYTES_MAX: usize = 150;

/// Bytes of one request's body as received.
pub const REQUEST_BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of one request's body once decompressed.
pub const REQUEST_DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// Bytes of a metric's name in metadata: as in a series' label.
pub const METADATA_NAME_BYTES_MAX: usize = LABEL_VALUE_BYTES_MAX;
/// Bytes of a metric's help text.
pub const METADATA_HELP_BYTES_MAX: usize = 8192;
/// Bytes of a metric's unit.
pub const METADATA_UNIT_BYTES_MAX: usize = 1024;

/// Buckets, spans and custom bounds of one histogram, together.
pub const HISTOGRAM_BUCKETS_MAX: usize = 16_384;

/// Characters that the labels of one exemplar may have, names and values together; what OpenMetrics says.
pub const EXEMPLAR_LABEL_CHARS_MAX: usize = 128;

/// Bytes of one proposed log entry: requests are combined up to this.
pub const RAFT_ENTRY_BYTES_MAX: usize = 4 << 20;
/// Bytes of one frame (one request's part for one shard group) inside an entry; larger parts are cut.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The largest number that a shard group may have: tables by which samples are distributed keep it in two bytes, and one
/// value means none. Numbers are not used again.
pub const SHARD_GROUP_NUMBER_MAX: u32 = u16::MAX as u32 - 1;

/// How far ahead of the group's clock a sample may lie, in milliseconds.
pub const FUTURE_SAMPLE_MS_MAX: i64 = 10 * 60 * 1000;

/// Length of a hot Window, in milliseconds.
pub const WINDOW_MS: i64 = 2 * 60 * 60 * 1000;

/// Default retention of raw samples, in milliseconds (13 months).
pub const RETENTION_MS_DEFAULT: i64 = 395 * 24 * 60 * 60 * 1000;

const _: () = assert!(FRAME_BYTES_MAX <= RAFT_ENTRY_BYTES_MAX);
const _: () = assert!(REQUEST_BODY_BYTES_MAX <= REQUEST_DECOMPRESSED_BYTES_MAX);
const _: () = assert!(LABELS_PER_SERIES_MAX * (LABEL_NAME_BYTES_MAX + LABEL_VALUE_BYTES_MAX) < FRAME_BYTES_MAX);
const _: () = assert!(FUTURE_SAMPLE_MS_MAX < WINDOW_MS);
const _: () = assert!(WINDOW_MS < RETENTION_MS_DEFAULT);
// A histogram in its longest form (ten bytes a part and some for the rest) is less than a frame.
const _: () = assert!(HISTOGRAM_BUCKETS_MAX * 10 * 2 < FRAME_BYTES_MAX);
