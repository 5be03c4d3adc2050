//! The entries of a shard group's log: the commands that its state machine applies. Layout:
//! `node/docs/format/shard-batch.md`.
//!
//! An entry of samples carries the frames of many requests. Apply reads no clock and no configuration, so the proposing
//! leader stamps what it would need to know of them.

use std::collections::BTreeMap;

use bellwether_model::{
    MatchOp, MetricKind, MetricMetadata, PlacementKey, RefEpoch, ReplicaId, ShardGroupId, Tenant, TimeRange, Timestamp,
    limits,
};

use crate::cursor::{Cursor, FormatError, put_sized, put_varint};

/// The version of entries that every program writes and reads, while no later one is active in the group. Later ones are
/// alike so far.
pub const ENTRY_VERSION_FIRST: u8 = 1;
/// The version from which on frames may hold histograms.
pub const ENTRY_VERSION_HISTOGRAMS: u8 = 2;
const FORMAT: &str = "the log entry";

const KIND_SAMPLES: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_EXPIRE_SERIES: u8 = 3;
const KIND_SET_ACTIVE_VERSION: u8 = 4;
const KIND_DROP_WINDOW: u8 = 5;
const KIND_STORE_METADATA: u8 = 6;
const KIND_SPLIT: u8 = 7;

/// Version, kind and the proposing leader's clock: what every entry begins with.
const HEADER_BYTES: usize = 1 + 1 + 8;
/// Header, limits and the compression of an entry of samples.
const SAMPLES_HEADER_BYTES: usize = HEADER_BYTES + 8 + 8 + 4 + 1;
/// The length in front of each frame.
const FRAME_LENGTH_BYTES: usize = 4;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 1;
/// Frames that take fewer bytes together are not compressed even when asked to be. Measured: values are packed already, so
/// zstd saves nearly half of 5 bytes a sample. From here on that costs 20 to 40 ns a sample and 8 to 16 ns on each replica;
/// with 300 samples it costs 70 ns and saves a third. All with tables that are kept: making them costs as much again.
pub const COMPRESS_BYTES_MIN: usize = 4 << 10;

const _: () =
    assert!(SAMPLES_HEADER_BYTES + FRAME_LENGTH_BYTES + limits::FRAME_BYTES_MAX <= limits::RAFT_ENTRY_BYTES_MAX);

/// What the proposing leader knows and apply must not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryLimits {
    /// The version of the entry: what is active in the group.
    pub version: u8,
    /// The oldest timestamp that is accepted: the retention's floor.
    pub oldest: Timestamp,
    /// The newest timestamp that is accepted.
    pub newest: Timestamp,
    /// Series that one tenant may have in the group.
    pub tenant_series_max: u32,
}

/// Whether an entry of samples is compressed.
pub enum Compression<'a> {
    /// Frames stay as they are: right for a group with one replica, whose bytes cross no network.
    Never,
    /// With zstd from [`COMPRESS_BYTES_MIN`] on, if that makes it smaller.
    WhenItPays(&'a mut EntryCompressor),
}

/// What compresses entries, one after the other.
#[derive(Default)]
pub struct EntryCompressor(Option<zstd::bulk::Compressor<'static>>);

impl EntryCompressor {
    /// Without memory for its tables zstd fails: `None`, as the plain entry is as good.
    fn compress(&mut self, frames: &[u8]) -> Option<Vec<u8>> {
        if self.0.is_none() {
            self.0 = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        self.0.as_mut()?.compress(frames).ok()
    }
}

/// What the frames of compressed entries are unpacked with, and into, one entry after the other.
#[derive(Default)]
pub struct EntryBuffer {
    frames: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl EntryBuffer {
    /// Memory that it keeps for frames.
    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// Unpacks frames that take `length` bytes; `None` if they do not.
    fn unpack(&mut self, compressed: &[u8], length: usize) -> Option<&[u8]> {
        self.frames.clear();
        self.frames.reserve(length);
        if self.decompressor.is_none() {
            self.decompressor = zstd::bulk::Decompressor::new().ok();
        }
        let unpacked = self.decompressor.as_mut()?.decompress_to_buffer(compressed, &mut self.frames);
        (unpacked.ok() == Some(length)).then_some(&self.frames)
    }
}

/// A log entry.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The proposing leader's clock, in milliseconds since the Unix epoch.
    pub proposed_at: Timestamp,
    /// What to do.
    pub command: Command<'a>,
}

/// What an entry tells the state machine to do.
#[derive(Debug, Clone)]
pub enum Command<'a> {
    /// Store samples.
    Samples(SamplesEntry<'a>),
    /// Anything else.
    Control(ControlCommand),
}

/// A command that is rare and small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlCommand {
    /// Hide the samples of the series that all matchers accept.
    Delete {
        /// Whose.
        tenant: Tenant,
        /// At least one.
        matchers: Vec<MatcherText>,
        /// Which of their samples.
        range: TimeRange,
    },
    /// Forget series, some ten thousand at a time, whose last Window is gone.
    ExpireSeries {
        /// Only those are meant whose last Window is before the one that holds this time.
        idle_since: Timestamp,
    },
    /// Begin to write and understand what this version brought.
    SetActiveVersion {
        /// The version.
        version: u32,
    },
    /// Drop a Window whose retention is over.
    DropWindow {
        /// Its first and last millisecond.
        window: TimeRange,
        /// Of which tenant; `None` for all.
        tenant: Option<Tenant>,
    },
    /// Remember metrics' types and help texts.
    StoreMetadata {
        /// Whose.
        tenant: Tenant,
        /// By metric name.
        metadata: Vec<(String, MetricMetadata)>,
    },
    /// Cut the group in two: from here on another group owns the upper part of its range.
    Split(SplitCommand),
}

/// How a group is cut in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitCommand {
    /// The group that is split off.
    pub child: ShardGroupId,
    /// The child's first key.
    pub at: PlacementKey,
    /// The child's incarnation.
    pub ref_epoch: RefEpoch,
    /// The child's replica beside each of the group's own, all members included.
    pub replicas: BTreeMap<ReplicaId, ReplicaId>,
}

/// A matcher as it was written; regular expressions are compiled by whoever applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatcherText {
    /// The comparison.
    pub op: MatchOp,
    /// The label's name.
    pub name: String,
    /// The value or pattern.
    pub value: String,
}

/// An entry of samples, its frames decompressed.
#[derive(Debug, Clone)]
pub struct SamplesEntry<'a> {
    /// What the leader stamped.
    pub limits: EntryLimits,
    frames: &'a [u8],
}

/// Puts frames together until an entry is full.
#[derive(Debug)]
pub struct EntryBuilder {
    /// The header, to be filled in at the end, and the frames with their lengths.
    bytes: Vec<u8>,
    frames: usize,
}

impl Default for EntryBuilder {
    fn default() -> EntryBuilder {
        EntryBuilder { bytes: vec![0; SAMPLES_HEADER_BYTES], frames: 0 }
    }
}

impl EntryBuilder {
    /// Adds a frame, and says whether there was room for it. There always is in an empty entry.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        assert!(frame.len() <= limits::FRAME_BYTES_MAX, "frames are cut by ShardBatch::encode");
        if self.bytes.len() + FRAME_LENGTH_BYTES + frame.len() > limits::RAFT_ENTRY_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(frame);
        self.frames += 1;
        true
    }

    /// Frames inside.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes so far.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The entry's bytes.
    pub fn finish(mut self, proposed_at: Timestamp, stamped: EntryLimits, compression: Compression<'_>) -> Vec<u8> {
        let mut header = Vec::with_capacity(SAMPLES_HEADER_BYTES);
        put_header(&mut header, stamped.version, KIND_SAMPLES, proposed_at);
        header.extend_from_slice(&stamped.oldest.to_le_bytes());
        header.extend_from_slice(&stamped.newest.to_le_bytes());
        header.extend_from_slice(&stamped.tenant_series_max.to_le_bytes());
        header.push(PLAIN);
        self.bytes[..SAMPLES_HEADER_BYTES].copy_from_slice(&header);
        let frames = &self.bytes[SAMPLES_HEADER_BYTES..];
        let Compression::WhenItPays(compressor) = compression else { return self.bytes };
        if frames.len() < COMPRESS_BYTES_MIN {
            return self.bytes;
        }
        match compressor.compress(frames) {
            Some(compressed) if compressed.len() + 4 < frames.len() => {
                let plain_length = frames.len() as u32;
                header.pop();
                header.push(ZSTD);
                header.extend_from_slice(&plain_length.to_le_bytes());
                header.extend_from_slice(&compressed);
                header
            }
            _ => self.bytes,
        }
    }
}

impl ControlCommand {
    /// The bytes of an entry with this command, in a version that is active in the group.
    pub fn encode(&self, entry_version: u8, proposed_at: Timestamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            ControlCommand::Delete { tenant, matchers, range } => {
                put_header(&mut out, entry_version, KIND_DELETE, proposed_at);
                put_sized(&mut out, tenant.as_str().as_bytes());
                put_range(&mut out, *range);
                put_varint(&mut out, matchers.len() as u64);
                for matcher in matchers {
                    out.push(match_op_code(matcher.op));
                    put_sized(&mut out, matcher.name.as_bytes());
                    put_sized(&mut out, matcher.value.as_bytes());
                }
            }
            ControlCommand::ExpireSeries { idle_since } => {
                put_header(&mut out, entry_version, KIND_EXPIRE_SERIES, proposed_at);
                out.extend_from_slice(&idle_since.to_le_bytes());
            }
            ControlCommand::SetActiveVersion { version } => {
                put_header(&mut out, entry_version, KIND_SET_ACTIVE_VERSION, proposed_at);
                out.extend_from_slice(&version.to_le_bytes());
            }
            ControlCommand::DropWindow { window, tenant } => {
                put_header(&mut out, entry_version, KIND_DROP_WINDOW, proposed_at);
                put_range(&mut out, *window);
                put_sized(&mut out, tenant.as_ref().map_or("", Tenant::as_str).as_bytes());
            }
            ControlCommand::StoreMetadata { tenant, metadata } => {
                put_header(&mut out, entry_version, KIND_STORE_METADATA, proposed_at);
                put_sized(&mut out, tenant.as_str().as_bytes());
                put_varint(&mut out, metadata.len() as u64);
                for (name, metadata) in metadata {
                    out.push(metric_kind_code(metadata.kind));
                    put_sized(&mut out, name.as_bytes());
                    put_sized(&mut out, metadata.help.as_bytes());
                    put_sized(&mut out, metadata.unit.as_bytes());
                }
            }
            ControlCommand::Split(split) => {
                put_header(&mut out, entry_version, KIND_SPLIT, proposed_at);
                out.extend_from_slice(&split.child.0.to_le_bytes());
                out.extend_from_slice(&split.at.0.to_le_bytes());
                out.extend_from_slice(&split.ref_epoch.0.to_le_bytes());
                put_varint(&mut out, split.replicas.len() as u64);
                for (parents, childs) in &split.replicas {
                    put_varint(&mut out, parents.0);
                    put_varint(&mut out, childs.0);
                }
            }
        }
        out
    }
}

impl<'a> Entry<'a> {
    /// Reads an entry of a version up to `newest`. `buffer` takes the frames if they are compressed.
    pub fn read(bytes: &'a [u8], buffer: &'a mut EntryBuffer, newest: u8) -> Result<Entry<'a>, FormatError> {
        let mut cursor = Cursor::new(FORMAT, bytes);
        let version = cursor.version(newest)?;
        let kind = cursor.u8("the kind")?;
        let proposed_at = cursor.i64("the leader's clock")?;
        let command = match kind {
            KIND_SAMPLES => Command::Samples(SamplesEntry::read(&mut cursor, version, buffer)?),
            _ => {
                let command = read_control(kind, &mut cursor)?;
                cursor.expect_end()?;
                Command::Control(command)
            }
        };
        Ok(Entry { proposed_at, command })
    }
}

fn read_control(kind: u8, cursor: &mut Cursor<'_>) -> Result<ControlCommand, FormatError> {
    Ok(match kind {
        KIND_DELETE => {
            let tenant = read_tenant(cursor)?;
            let range = read_range(cursor)?;
            let count = cursor.length("matchers")?;
            if count == 0 {
                return Err(cursor.invalid("a delete without matchers"));
            }
            let matchers = (0..count).map(|_| read_matcher(cursor)).collect::<Result<_, _>>()?;
            ControlCommand::Delete { tenant, matchers, range }
        }
        KIND_EXPIRE_SERIES => ControlCommand::ExpireSeries { idle_since: cursor.i64("the idle time")? },
        KIND_SET_ACTIVE_VERSION => ControlCommand::SetActiveVersion { version: cursor.u32("the active version")? },
        KIND_DROP_WINDOW => {
            let window = read_range(cursor)?;
            let all_tenants = cursor.clone().sized("the tenant")?.is_empty();
            let tenant =
                if all_tenants { cursor.sized("the tenant").map(|_| None)? } else { Some(read_tenant(cursor)?) };
            ControlCommand::DropWindow { window, tenant }
        }
        KIND_STORE_METADATA => {
            let tenant = read_tenant(cursor)?;
            let count = cursor.length("metadata")?;
            let metadata = (0..count).map(|_| read_metadata(cursor)).collect::<Result<_, _>>()?;
            ControlCommand::StoreMetadata { tenant, metadata }
        }
        KIND_SPLIT => ControlCommand::Split(read_split(cursor)?),
        _ => return Err(cursor.invalid("an unknown kind of entry")),
    })
}

fn read_split(cursor: &mut Cursor<'_>) -> Result<SplitCommand, FormatError> {
    let (child, at) = (ShardGroupId(cursor.u32("the child")?), PlacementKey(cursor.u64("the child's first key")?));
    let ref_epoch = RefEpoch(cursor.u64("the child's ref epoch")?);
    let count = cursor.length("replicas")?;
    let mut replicas = BTreeMap::new();
    for _ in 0..count {
        let beside = ReplicaId(cursor.varint("a replica")?);
        if replicas.last_key_value().is_some_and(|(last, _)| *last >= beside) {
            return Err(cursor.invalid("the replicas are not in order"));
        }
        replicas.insert(beside, ReplicaId(cursor.varint("a child's replica")?));
    }
    if replicas.is_empty() {
        return Err(cursor.invalid("a split without replicas"));
    }
    Ok(SplitCommand { child, at, ref_epoch, replicas })
}

impl<'a> SamplesEntry<'a> {
    fn read(
        cursor: &mut Cursor<'a>,
        version: u8,
        buffer: &'a mut EntryBuffer,
    ) -> Result<SamplesEntry<'a>, FormatError> {
        let limits = EntryLimits {
            version,
            oldest: cursor.i64("the oldest timestamp")?,
            newest: cursor.i64("the newest timestamp")?,
            tenant_series_max: cursor.u32("the series limit")?,
        };
        let frames = match cursor.u8("the compression")? {
            PLAIN => cursor.take(cursor.remaining(), "frames")?,
            ZSTD => {
                let length = cursor.u32("the length of the frames")? as usize;
                if length > limits::RAFT_ENTRY_BYTES_MAX {
                    return Err(cursor.invalid("the frames are larger than an entry can be"));
                }
                let compressed = cursor.clone();
                let bytes = cursor.take(cursor.remaining(), "frames")?;
                buffer.unpack(bytes, length).ok_or_else(|| compressed.invalid("the compressed frames"))?
            }
            _ => return Err(cursor.invalid("an unknown compression")),
        };
        let entry = SamplesEntry { limits, frames };
        entry.frames().try_for_each(|frame| frame.map(drop))?;
        Ok(entry)
    }

    /// The frames' bytes in order, for [`crate::FrameReader`]. Reading the entry has checked their lengths.
    pub fn frames(&self) -> impl Iterator<Item = Result<&'a [u8], FormatError>> + use<'a> {
        let mut cursor = Cursor::new("the entry's frames", self.frames);
        std::iter::from_fn(move || {
            if cursor.remaining() == 0 {
                return None;
            }
            let frame = read_frame(&mut cursor);
            if frame.is_err() {
                cursor = Cursor::new("the entry's frames", &[]);
            }
            Some(frame)
        })
    }
}

fn read_frame<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], FormatError> {
    let length = cursor.u32("a frame's length")?;
    cursor.take(length as usize, "a frame")
}

fn put_header(out: &mut Vec<u8>, version: u8, kind: u8, proposed_at: Timestamp) {
    out.extend_from_slice(&[version, kind]);
    out.extend_from_slice(&proposed_at.to_le_bytes());
}

fn put_range(out: &mut Vec<u8>, range: TimeRange) {
    out.extend_from_slice(&range.first.to_le_bytes());
    out.extend_from_slice(&range.last.to_le_bytes());
}

fn read_range(cursor: &mut Cursor<'_>) -> Result<TimeRange, FormatError> {
    Ok(TimeRange { first: cursor.i64("the first time")?, last: cursor.i64("the last time")? })
}

fn read_tenant(cursor: &mut Cursor<'_>) -> Result<Tenant, FormatError> {
    let start = cursor.clone();
    Tenant::new(cursor.text("the tenant")?).map_err(|_| start.invalid("the tenant's name is not valid"))
}

fn read_matcher(cursor: &mut Cursor<'_>) -> Result<MatcherText, FormatError> {
    let op = match cursor.u8("a matcher")? {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(cursor.invalid("an unknown matcher")),
    };
    let name = cursor.text("a matcher's label")?.to_owned();
    Ok(MatcherText { op, name, value: cursor.text("a matcher's value")?.to_owned() })
}

fn match_op_code(op: MatchOp) -> u8 {
    match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

fn read_metadata(cursor: &mut Cursor<'_>) -> Result<(String, MetricMetadata), FormatError> {
    let code = cursor.u8("a metric's type")?;
    let kind = *MetricKind::ALL.get(usize::from(code)).ok_or_else(|| cursor.invalid("an unknown metric type"))?;
    let name = cursor.text("a metric's name")?.to_owned();
    let help = cursor.text("a help text")?.to_owned();
    Ok((name, MetricMetadata { kind, help, unit: cursor.text("a unit")?.to_owned() }))
}

/// The position in `MetricKind::ALL`, written out because it is stored.
fn metric_kind_code(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: EntryLimits =
        EntryLimits { version: 1, oldest: -5, newest: 1_790_000_600_000, tenant_series_max: 1_000_000 };
    const NOW: Timestamp = 1_790_000_000_000;

    fn plain(frames: &[&[u8]]) -> Vec<u8> {
        samples(frames, Compression::Never)
    }

    fn compressed(frames: &[&[u8]]) -> Vec<u8> {
        samples(frames, Compression::WhenItPays(&mut EntryCompressor::default()))
    }

    fn samples(frames: &[&[u8]], compression: Compression<'_>) -> Vec<u8> {
        let mut builder = EntryBuilder::default();
        assert!(frames.iter().all(|frame| builder.push(frame)));
        assert_eq!(builder.frames(), frames.len());
        builder.finish(NOW, LIMITS, compression)
    }

    fn controls() -> Vec<ControlCommand> {
        let tenant = Tenant::new("team-a").unwrap();
        let matcher = |op, name: &str, value: &str| MatcherText { op, name: name.to_owned(), value: value.to_owned() };
        let help =
            MetricMetadata { kind: MetricKind::Counter, help: "What it counts.".to_owned(), unit: "s".to_owned() };
        vec![
            ControlCommand::Delete {
                tenant: tenant.clone(),
                matchers: vec![matcher(MatchOp::Equal, "__name__", "up"), matcher(MatchOp::NotRegex, "job", "a|b")],
                range: TimeRange { first: -1, last: i64::MAX },
            },
            ControlCommand::ExpireSeries { idle_since: NOW },
            ControlCommand::SetActiveVersion { version: 2 },
            ControlCommand::DropWindow { window: TimeRange { first: 0, last: 7_199_999 }, tenant: None },
            ControlCommand::DropWindow {
                window: TimeRange { first: 0, last: 7_199_999 },
                tenant: Some(tenant.clone()),
            },
            ControlCommand::StoreMetadata { tenant, metadata: vec![("up".to_owned(), help)] },
            ControlCommand::Split(SplitCommand {
                child: ShardGroupId(9),
                at: PlacementKey(0x8000_0000_0000_0000),
                ref_epoch: RefEpoch(0x1122_3344_5566_7788),
                replicas: [(ReplicaId(3), ReplicaId(300)), (ReplicaId(7), ReplicaId(301))].into(),
            }),
        ]
    }

    /// Everything that reading an entry can touch.
    fn read(bytes: &[u8]) -> Result<(), FormatError> {
        match Entry::read(bytes, &mut EntryBuffer::default(), 1)?.command {
            Command::Samples(samples) => samples.frames().try_for_each(|frame| frame.map(drop)),
            Command::Control(_) => Ok(()),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn frames_come_back_in_order_plain_and_compressed() {
        let large = b"a frame that repeats itself ".repeat(1000);
        let frames: [&[u8]; 3] = [b"one", b"", &large];
        for (bytes, is_small) in [(plain(&frames), false), (compressed(&frames), true)] {
            assert_eq!(bytes.len() < large.len(), is_small);
            let mut buffer = EntryBuffer::default();
            let entry = Entry::read(&bytes, &mut buffer, 1).unwrap();
            let Command::Samples(samples) = entry.command else { panic!("an entry of samples") };
            assert_eq!((entry.proposed_at, samples.limits), (NOW, LIMITS));
            let frames: Vec<&[u8]> = samples.frames().map(Result::unwrap).collect();
            assert_eq!(frames, [b"one", &b""[..], &large]);
        }
    }

    #[test]
    fn an_entry_takes_frames_until_it_is_full() {
        let frame = vec![7; limits::FRAME_BYTES_MAX];
        let mut builder = EntryBuilder::default();
        assert!(builder.is_empty());
        while builder.push(&frame) {}
        assert_eq!(builder.frames(), limits::RAFT_ENTRY_BYTES_MAX / limits::FRAME_BYTES_MAX - 1);
        assert!(builder.push(b"a small one"));
        let bytes = builder.finish(NOW, LIMITS, Compression::Never);
        assert!(bytes.len() <= limits::RAFT_ENTRY_BYTES_MAX);
        read(&bytes).unwrap();
    }

    #[test]
    fn control_commands_round_trip() {
        for command in controls() {
            let bytes = command.encode(1, NOW);
            let mut buffer = EntryBuffer::default();
            let entry = Entry::read(&bytes, &mut buffer, 1).unwrap();
            let Command::Control(read) = entry.command else { panic!("a control command") };
            assert_eq!((entry.proposed_at, read), (NOW, command));
        }
    }

    #[test]
    fn bytes_are_golden() {
        let mut all = vec![hex(&compressed(&[b"frame", b"2"]))];
        all.extend(controls().iter().map(|command| hex(&command.encode(1, NOW))));
        expect_test::expect![[r#"
            0101006c50c4a0010000fbffffffffffffffc09359c4a001000040420f0000050000006672616d650100000032
            0102006c50c4a0010000067465616d2d61ffffffffffffffffffffffffffffff7f0200085f5f6e616d655f5f02757003036a6f6203617c62
            0103006c50c4a0010000006c50c4a0010000
            0104006c50c4a001000002000000
            0105006c50c4a00100000000000000000000ffdc6d000000000000
            0105006c50c4a00100000000000000000000ffdc6d0000000000067465616d2d61
            0106006c50c4a0010000067465616d2d6101010275700f5768617420697420636f756e74732e0173
            0107006c50c4a001000009000000000000000000008088776655443322110203ac0207ad02"#]].assert_eq(&all.join("\n"));
    }

    #[test]
    fn a_later_version_is_read_by_who_knows_it() {
        let bytes = ControlCommand::SetActiveVersion { version: 3 }.encode(2, NOW);
        let mut buffer = EntryBuffer::default();
        assert!(Entry::read(&bytes, &mut buffer, 2).is_ok());
        let error = Entry::read(&bytes, &mut buffer, 1).unwrap_err().to_string();
        assert_eq!(error, "the log entry has version 2, this release knows versions up to 1");
    }

    #[test]
    fn truncated_and_unknown_entries_are_errors() {
        for command in controls() {
            let bytes = command.encode(1, NOW);
            assert!((0..bytes.len()).all(|length| read(&bytes[..length]).is_err()));
            assert!(read(&[&bytes[..], &[0]].concat()).is_err());
        }
        let packed = compressed(&[&b"repeated ".repeat(3000)]);
        assert!((0..packed.len()).all(|length| read(&packed[..length]).is_err()));
        let unpacked = plain(&[b"frame"]);
        assert!((SAMPLES_HEADER_BYTES + 1..unpacked.len()).all(|length| read(&unpacked[..length]).is_err()));
        let mut newer = unpacked.clone();
        newer[0] = 9;
        let message = read(&newer).unwrap_err().to_string();
        assert_eq!(message, "the log entry has version 9, this release knows versions up to 1");
        let mut unknown = unpacked.clone();
        unknown[1] = 99;
        assert!(read(&unknown).unwrap_err().to_string().ends_with("an unknown kind of entry"));
    }

    #[test]
    fn a_declared_size_beyond_the_limit_is_refused_before_it_is_allocated() {
        let mut bytes = compressed(&[&b"repeated ".repeat(3000)]);
        bytes[SAMPLES_HEADER_BYTES..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read(&bytes).unwrap_err().to_string().ends_with("larger than an entry can be"));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_never_panics(which: prop::sample::Index, at: prop::sample::Index, bit in 0..8u32) {
            let mut all: Vec<Vec<u8>> = controls().iter().map(|command| command.encode(1, NOW)).collect();
            all.push(compressed(&[&b"repeated ".repeat(3000)]));
            all.push(plain(&[b"one", b"two"]));
            let bytes = which.get(&all);
            let mut bytes = bytes.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = read(&bytes);
        }
    }
}
