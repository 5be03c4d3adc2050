//! One request's rows for one shard group, on their way to becoming frames.

use bellwether_model::{Labels, RefEpoch, Sample, SeriesHash, SeriesRef, Tenant, Timestamp, limits};

use crate::cursor::{put_sized, put_varint};
use crate::frame::{FRAME_VERSION, HAS_REGISTRATIONS};
use crate::row_columns::{self, ROW_BYTES_MAX, ROWS_OVERHEAD_BYTES_MAX, Row};

/// Bytes of a frame beside its registrations and rows.
const HEADER_BYTES_MAX: usize = 2 + 8 + 5 + 2 + limits::TENANT_BYTES_MAX + 10;
/// Bytes of a registration beside its labels.
const REGISTRATION_OVERHEAD_BYTES: usize = 16 + 5;
/// What registrations and rows of one frame may take.
const CONTENT_BYTES_MAX: usize = limits::FRAME_BYTES_MAX - HEADER_BYTES_MAX - 2 * ROWS_OVERHEAD_BYTES_MAX;

/// Canonical bytes of a valid series' labels.
const LABELS_BYTES_MAX: usize =
    limits::LABELS_PER_SERIES_MAX * (8 + limits::LABEL_NAME_BYTES_MAX + limits::LABEL_VALUE_BYTES_MAX);

// Any one valid series fits into a frame with a sample of its own, so cutting always gets on.
const _: () = assert!(LABELS_BYTES_MAX + REGISTRATION_OVERHEAD_BYTES + ROW_BYTES_MAX < CONTENT_BYTES_MAX);

/// The incarnation of a group that SeriesRefs belong to: under another one they mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefScope {
    /// The group's ref epoch.
    pub epoch: RefEpoch,
    /// How often the group's range has changed: a series may have moved away since.
    pub range_generation: u32,
}

/// A series that its group may not know yet.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its hash.
    pub hash: SeriesHash,
    /// Its labels.
    pub labels: Labels,
}

/// Rows in order of arrival, for one group and of one tenant.
#[derive(Debug)]
pub struct ShardBatch {
    scope: RefScope,
    rows: Vec<Row>,
    registrations: Vec<Registration>,
    /// Rows whose number is an index into `registrations`.
    // Invariant: ascending, since a registration comes with its samples.
    registered_rows: Vec<Row>,
}

/// A frame and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// To be put into an entry.
    pub bytes: Vec<u8>,
    /// Samples inside.
    pub samples: usize,
    /// Which of the batch's registrations it carries; the reply gives their refs in the same order. A registration with
    /// very many samples is carried by several frames.
    pub registrations: std::ops::Range<usize>,
}

impl ShardBatch {
    /// An empty batch whose refs are those of `scope`.
    pub fn new(scope: RefScope) -> ShardBatch {
        ShardBatch { scope, rows: Vec::new(), registrations: Vec::new(), registered_rows: Vec::new() }
    }

    /// Empties the batch, keeping its memory, for refs of `scope`.
    pub fn reset(&mut self, scope: RefScope) {
        self.scope = scope;
        self.rows.clear();
        self.registrations.clear();
        self.registered_rows.clear();
    }

    /// The incarnation that the refs belong to.
    pub fn scope(&self) -> RefScope {
        self.scope
    }

    /// Adds a sample of a known series.
    #[inline]
    pub fn push(&mut self, series_ref: SeriesRef, timestamp: Timestamp, value: f64) {
        self.rows.push(Row { number: series_ref.0, timestamp, value });
    }

    /// Adds a series that may be unknown, with its samples.
    ///
    /// # Panics
    /// If the labels are larger than a valid series' can be.
    pub fn register(&mut self, hash: SeriesHash, labels: Labels, samples: &[Sample]) {
        assert!(labels.byte_len() <= LABELS_BYTES_MAX, "labels were validated as a series");
        let number = self.registrations.len() as u32;
        self.registrations.push(Registration { hash, labels });
        let rows = samples.iter().map(|sample| Row { number, timestamp: sample.timestamp, value: sample.value });
        self.registered_rows.extend(rows);
    }

    /// The series to be registered, in the order that replies answer in.
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// Samples inside.
    pub fn samples(&self) -> usize {
        self.rows.len() + self.registered_rows.len()
    }

    /// Bytes held, without those of labels.
    pub fn bytes(&self) -> usize {
        (self.rows.capacity() + self.registered_rows.capacity()) * size_of::<Row>()
            + self.registrations.capacity() * size_of::<Registration>()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.registrations.is_empty()
    }

    /// Sorts the rows and writes them as frames of at most [`limits::FRAME_BYTES_MAX`] bytes, nearly always one. Frames
    /// must be proposed in this order, so that the last of two samples with one timestamp stays the last.
    pub fn encode(&mut self, tenant: &Tenant) -> Vec<EncodedFrame> {
        row_columns::sort(&mut self.rows);
        let mut frames = Vec::with_capacity(1);
        let (mut rows, mut registered_rows) = (&self.rows[..], &self.registered_rows[..]);
        let mut next = 0;
        while !rows.is_empty() || next < self.registrations.len() {
            let mut room = CONTENT_BYTES_MAX;
            let rows_here;
            (rows_here, rows) = rows.split_at(rows.len().min(room / ROW_BYTES_MAX));
            room -= rows_here.len() * ROW_BYTES_MAX;
            let first = next;
            let mut registered_here = 0;
            let mut end = first;
            while let Some(registration) = self.registrations.get(end) {
                let bytes = REGISTRATION_OVERHEAD_BYTES + registration.labels.byte_len();
                let waiting = registered_rows[registered_here..].iter().take_while(|row| row.number as usize == end);
                let waiting = waiting.count();
                let fits = room.saturating_sub(bytes) / ROW_BYTES_MAX;
                if room < bytes || (fits == 0 && waiting > 0) {
                    break;
                }
                let taken = waiting.min(fits);
                registered_here += taken;
                room -= bytes + taken * ROW_BYTES_MAX;
                end += 1;
                if taken < waiting {
                    break;
                }
                next = end;
            }
            let registered;
            (registered, registered_rows) = registered_rows.split_at(registered_here);
            frames.push(self.frame(tenant, rows_here, first..end, registered));
        }
        frames
    }

    fn frame(
        &self,
        tenant: &Tenant,
        rows: &[Row],
        registrations: std::ops::Range<usize>,
        registered_rows: &[Row],
    ) -> EncodedFrame {
        let labels_bytes: usize = self.registrations[registrations.clone()].iter().map(|r| r.labels.byte_len()).sum();
        let capacity = HEADER_BYTES_MAX + labels_bytes + registrations.len() * REGISTRATION_OVERHEAD_BYTES;
        let mut bytes = Vec::with_capacity(capacity + (rows.len() + registered_rows.len()) * 12);
        bytes.push(FRAME_VERSION);
        bytes.push(if registrations.is_empty() { 0 } else { HAS_REGISTRATIONS });
        bytes.extend_from_slice(&self.scope.epoch.0.to_le_bytes());
        put_varint(&mut bytes, u64::from(self.scope.range_generation));
        row_columns::encode(rows, &mut bytes);
        if !registrations.is_empty() {
            put_sized(&mut bytes, tenant.as_str().as_bytes());
            put_varint(&mut bytes, registrations.len() as u64);
            for registration in &self.registrations[registrations.clone()] {
                bytes.extend_from_slice(&registration.hash.0.to_le_bytes());
                put_sized(&mut bytes, registration.labels.canonical_bytes());
            }
            let first = registrations.start as u32;
            let renumbered: Vec<Row> =
                registered_rows.iter().map(|row| Row { number: row.number - first, ..*row }).collect();
            row_columns::encode(&renumbered, &mut bytes);
        }
        debug_assert!(bytes.len() <= limits::FRAME_BYTES_MAX);
        EncodedFrame { bytes, samples: rows.len() + registered_rows.len(), registrations }
    }
}
