//! One request's rows for one shard group, on their way to becoming frames.

use bellwether_model::{Labels, RefEpoch, Sample, SeriesHash, SeriesRef, Tenant, Timestamp, limits};

use crate::chunk_rows::{ChunkRow, ChunkRows, HISTOGRAM_BYTES_MAX};
use crate::cursor::{put_sized, put_varint};
use crate::frame::{FRAME_VERSION, HAS_EXEMPLARS, HAS_HISTOGRAMS, HAS_REGISTRATIONS};
use crate::row_columns::{self, ROW_BYTES_MAX, ROWS_OVERHEAD_BYTES_MAX, Row};

/// Bytes of a frame beside its registrations and rows.
const HEADER_BYTES_MAX: usize = 2 + 8 + 5 + 2 + limits::TENANT_BYTES_MAX + 10 + 4 * 10;
/// Bytes of a registration beside its labels.
const REGISTRATION_OVERHEAD_BYTES: usize = 16 + 5;
/// What registrations and rows of one frame may take.
const CONTENT_BYTES_MAX: usize = limits::FRAME_BYTES_MAX - HEADER_BYTES_MAX - 2 * ROWS_OVERHEAD_BYTES_MAX;

/// Canonical bytes of a valid series' labels.
const LABELS_BYTES_MAX: usize =
    limits::LABELS_PER_SERIES_MAX * (8 + limits::LABEL_NAME_BYTES_MAX + limits::LABEL_VALUE_BYTES_MAX);

// Any one valid series fits into a frame with a sample of its own, so cutting always gets on.
const _: () = assert!(LABELS_BYTES_MAX + REGISTRATION_OVERHEAD_BYTES + ROW_BYTES_MAX < CONTENT_BYTES_MAX);
const _: () = assert!(LABELS_BYTES_MAX + REGISTRATION_OVERHEAD_BYTES + HISTOGRAM_BYTES_MAX < CONTENT_BYTES_MAX);

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
    histograms: ChunkRows,
    /// As `registered_rows`.
    registered_histograms: ChunkRows,
    exemplars: ChunkRows,
    /// As `registered_rows`.
    registered_exemplars: ChunkRows,
}

/// A frame and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// To be put into an entry.
    pub bytes: Vec<u8>,
    /// Samples inside, histograms too.
    pub samples: usize,
    /// Which of the batch's registrations it carries; the reply gives their refs in the same order. A registration with
    /// very many samples is carried by several frames.
    pub registrations: std::ops::Range<usize>,
}

/// The histograms and exemplars of a frame: of known series, and of those that it registers.
struct Beside<'a> {
    histograms: (&'a [ChunkRow], &'a [ChunkRow]),
    exemplars: (&'a [ChunkRow], &'a [ChunkRow]),
}

impl ShardBatch {
    /// An empty batch whose refs are those of `scope`.
    pub fn new(scope: RefScope) -> ShardBatch {
        ShardBatch {
            scope,
            rows: Vec::new(),
            registrations: Vec::new(),
            registered_rows: Vec::new(),
            histograms: ChunkRows::default(),
            registered_histograms: ChunkRows::default(),
            exemplars: ChunkRows::default(),
            registered_exemplars: ChunkRows::default(),
        }
    }

    /// Empties the batch, keeping its memory, for refs of `scope`.
    pub fn reset(&mut self, scope: RefScope) {
        self.scope = scope;
        self.rows.clear();
        self.registrations.clear();
        self.registered_rows.clear();
        self.histograms.clear();
        self.registered_histograms.clear();
        self.exemplars.clear();
        self.registered_exemplars.clear();
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

    /// Adds a histogram, as a chunk of its own, of a known series. It counts as later than all floats of the batch.
    pub fn push_histogram(&mut self, series_ref: SeriesRef, timestamp: Timestamp, chunk: &[u8]) {
        self.histograms.push(series_ref.0, timestamp, chunk);
    }

    /// The same of the series that was registered last.
    ///
    /// # Panics
    /// If none was.
    pub fn push_registered_histogram(&mut self, timestamp: Timestamp, chunk: &[u8]) {
        let number = self.registrations.len().checked_sub(1).expect("a series was registered");
        self.registered_histograms.push(number as u32, timestamp, chunk);
    }

    /// Adds an exemplar, as [`exemplars::encode`](crate::exemplars::encode) writes it, of a known series.
    pub fn push_exemplar(&mut self, series_ref: SeriesRef, timestamp: Timestamp, exemplar: &[u8]) {
        self.exemplars.push(series_ref.0, timestamp, exemplar);
    }

    /// The same of the series that was registered last.
    ///
    /// # Panics
    /// If none was.
    pub fn push_registered_exemplar(&mut self, timestamp: Timestamp, exemplar: &[u8]) {
        let number = self.registrations.len().checked_sub(1).expect("a series was registered");
        self.registered_exemplars.push(number as u32, timestamp, exemplar);
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

    /// Samples inside, histograms too.
    pub fn samples(&self) -> usize {
        self.rows.len() + self.registered_rows.len() + self.histogram_count()
    }

    /// Histograms inside.
    pub fn histogram_count(&self) -> usize {
        self.histograms.rows.len() + self.registered_histograms.rows.len()
    }

    /// Bytes held, without those of labels.
    pub fn bytes(&self) -> usize {
        (self.rows.capacity() + self.registered_rows.capacity()) * size_of::<Row>()
            + self.registrations.capacity() * size_of::<Registration>()
            + self.histograms.capacity_bytes()
            + self.registered_histograms.capacity_bytes()
            + self.exemplars.capacity_bytes()
            + self.registered_exemplars.capacity_bytes()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.registrations.is_empty()
            && self.histograms.rows.is_empty()
            && self.exemplars.rows.is_empty()
    }

    /// Sorts the rows and writes them as frames of at most [`limits::FRAME_BYTES_MAX`] bytes, nearly always one. Frames
    /// must be proposed in this order, so that the last of two samples with one timestamp stays the last.
    pub fn encode(&mut self, tenant: &Tenant) -> Vec<EncodedFrame> {
        row_columns::sort(&mut self.rows);
        self.histograms.sort();
        self.exemplars.sort();
        let mut frames = Vec::with_capacity(1);
        let (mut rows, mut registered_rows) = (&self.rows[..], &self.registered_rows[..]);
        let (mut histograms, mut registered_histograms) =
            (&self.histograms.rows[..], &self.registered_histograms.rows[..]);
        let (mut exemplars, mut registered_exemplars) = (&self.exemplars.rows[..], &self.registered_exemplars.rows[..]);
        let mut next = 0;
        while !rows.is_empty() || !histograms.is_empty() || !exemplars.is_empty() || next < self.registrations.len() {
            let mut room = CONTENT_BYTES_MAX;
            let rows_here;
            (rows_here, rows) = rows.split_at(rows.len().min(room / ROW_BYTES_MAX));
            room -= rows_here.len() * ROW_BYTES_MAX;
            let histograms_here;
            // Once there is room beside all floats: of equal times the histogram is the later one.
            (histograms_here, histograms) =
                histograms.split_at(if rows.is_empty() { fitting(histograms, &mut room) } else { 0 });
            let exemplars_here;
            (exemplars_here, exemplars) = exemplars.split_at(fitting(exemplars, &mut room));
            let first = next;
            let (mut registered_here, mut registered_histograms_here, mut registered_exemplars_here) = (0, 0, 0);
            let mut end = first;
            while let Some(registration) = self.registrations.get(end) {
                let bytes = REGISTRATION_OVERHEAD_BYTES + registration.labels.byte_len();
                let waiting = registered_rows[registered_here..].iter().take_while(|row| row.number as usize == end);
                let waiting = waiting.count();
                let fits = room.saturating_sub(bytes) / ROW_BYTES_MAX;
                let own = &registered_histograms[registered_histograms_here..];
                let own = &own[..own.iter().take_while(|row| row.number as usize == end).count()];
                let has_room_for_one = own.first().is_none_or(|row| bytes + row.byte_len() <= room);
                if room < bytes || (waiting > 0 && fits == 0) || (waiting == 0 && !has_room_for_one) {
                    break;
                }
                let taken = waiting.min(fits);
                registered_here += taken;
                room -= bytes + taken * ROW_BYTES_MAX;
                end += 1;
                if taken < waiting {
                    break;
                }
                let own_here = fitting(own, &mut room);
                registered_histograms_here += own_here;
                if own_here < own.len() {
                    break;
                }
                let own = &registered_exemplars[registered_exemplars_here..];
                let own = &own[..own.iter().take_while(|row| row.number as usize + 1 == end).count()];
                let own_here = fitting(own, &mut room);
                registered_exemplars_here += own_here;
                if own_here < own.len() {
                    break;
                }
                next = end;
            }
            let registered;
            (registered, registered_rows) = registered_rows.split_at(registered_here);
            let own;
            (own, registered_histograms) = registered_histograms.split_at(registered_histograms_here);
            let own_exemplars;
            (own_exemplars, registered_exemplars) = registered_exemplars.split_at(registered_exemplars_here);
            let beside = Beside { histograms: (histograms_here, own), exemplars: (exemplars_here, own_exemplars) };
            frames.push(self.frame(tenant, rows_here, first..end, registered, beside));
        }
        frames
    }

    fn frame(
        &self,
        tenant: &Tenant,
        rows: &[Row],
        registrations: std::ops::Range<usize>,
        registered_rows: &[Row],
        beside: Beside<'_>,
    ) -> EncodedFrame {
        let labels_bytes: usize = self.registrations[registrations.clone()].iter().map(|r| r.labels.byte_len()).sum();
        let capacity = HEADER_BYTES_MAX + labels_bytes + registrations.len() * REGISTRATION_OVERHEAD_BYTES;
        let Beside { histograms: (histograms, registered_histograms), exemplars: (exemplars, registered_exemplars) } =
            beside;
        let rows_beside = [histograms, registered_histograms, exemplars, registered_exemplars];
        let of_beside: usize = rows_beside.into_iter().flatten().map(ChunkRow::byte_len).sum();
        let mut bytes = Vec::with_capacity(capacity + (rows.len() + registered_rows.len()) * 12 + of_beside);
        bytes.push(FRAME_VERSION);
        let histogram_count = histograms.len() + registered_histograms.len();
        let has_registrations = if registrations.is_empty() { 0 } else { HAS_REGISTRATIONS };
        let has_histograms = if histogram_count == 0 { 0 } else { HAS_HISTOGRAMS };
        let has_exemplars = if exemplars.is_empty() && registered_exemplars.is_empty() { 0 } else { HAS_EXEMPLARS };
        bytes.push(has_registrations | has_histograms | has_exemplars);
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
        if histogram_count > 0 {
            self.histograms.encode(histograms, 0, &mut bytes);
            self.registered_histograms.encode(registered_histograms, registrations.start as u32, &mut bytes);
        }
        if has_exemplars != 0 {
            self.exemplars.encode(exemplars, 0, &mut bytes);
            self.registered_exemplars.encode(registered_exemplars, registrations.start as u32, &mut bytes);
        }
        debug_assert!(bytes.len() <= limits::FRAME_BYTES_MAX);
        EncodedFrame { bytes, samples: rows.len() + registered_rows.len() + histogram_count, registrations }
    }
}

/// How many of the first rows there is room for, which is taken.
fn fitting(rows: &[ChunkRow], room: &mut usize) -> usize {
    let fits = |row: &&ChunkRow| match room.checked_sub(row.byte_len()) {
        Some(rest) => {
            *room = rest;
            true
        }
        None => false,
    };
    rows.iter().take_while(fits).count()
}
