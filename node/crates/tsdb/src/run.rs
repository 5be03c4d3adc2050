//! A run: an immutable, sorted set of packs of one Window, with the timestamp columns that its series share.
//!
//! Columns are found by content: series that were scraped together have equal timestamps, so their column is stored once, whatever
//! path they took to get here. A series that misses the first or last rows of a column uses a part of it.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bellwether_chunk::varint::{read_bytes, read_i64, read_u64, write_i64, write_u64};
use bellwether_chunk::{DecodeError, decode_timestamps, encode_timestamps, histograms_that_fit};
use bellwether_kv::{KvEngine, RunWriter};
use bellwether_model::{Histogram, TimeRange, Timestamp};
use hashbrown::HashMap;
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_128};

use crate::RUNS;
use crate::cache::{PackCache, Part, PartId};
use crate::error::StorageError;
use crate::histograms::Beside;
use crate::index::SortKey;
use crate::keys::{self, RunId, RunPart};
use crate::pack::{PACK_VERSION, Pack, PackBuilder, ROWS_MAX, Rows};
use crate::record::{Compression, Sealer, open_part};
use crate::window::WindowStart;

const COLUMNS_VERSION: u8 = 1;
const SERIES_VERSION: u8 = 1;
const DIRECTORY_VERSION: u8 = 1;
/// Level 3 over 64 KiB: 1 % larger than level 6 at a third of its time.
const ZSTD_LEVEL: i32 = 3;
/// A block of columns is closed once it has this many encoded bytes.
const COLUMN_BLOCK_BYTES: usize = 32 << 10;
/// Columns that a new series is compared with row by row, newest first.
const RECENT_COLUMNS: usize = 8;
/// Entries of a run's directory, at most; a larger count is damage.
const DIRECTORY_ENTRIES_MAX: u64 = 1 << 24;

/// A run as the catalog names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMeta {
    /// Its name.
    pub id: RunId,
    /// The newest layer that it holds; newer layers win.
    pub layer: u64,
    /// Its earliest and latest sample.
    pub times: TimeRange,
    /// Its samples.
    pub samples: u64,
    /// Its series.
    pub series: u64,
    /// Its bytes on disk.
    pub bytes: u64,
}

/// Writes one run, series by series in the order of their keys.
pub struct RunBuilder<'a> {
    writer: Box<dyn RunWriter + 'a>,
    window: WindowStart,
    meta: RunMeta,
    pack: PackBuilder,
    packs: Vec<SortKey>,
    columns: ColumnSet,
    series: Vec<u32>,
    sealer: &'a mut Sealer,
    body: Vec<u8>,
    stored: Vec<u8>,
}

impl<'a> RunBuilder<'a> {
    /// Begins a run of `window` that holds samples up to `layer`.
    pub fn new(
        engine: &'a dyn KvEngine,
        window: WindowStart,
        id: RunId,
        layer: u64,
        sealer: &'a mut Sealer,
    ) -> Result<RunBuilder<'a>, StorageError> {
        let writer = engine.begin_run(RUNS).map_err(StorageError::engine(place(window, id, "")))?;
        let times = TimeRange::new(Timestamp::MAX, Timestamp::MIN);
        Ok(RunBuilder {
            writer,
            window,
            meta: RunMeta { id, layer, times, samples: 0, series: 0, bytes: 0 },
            pack: PackBuilder::default(),
            packs: Vec::new(),
            columns: ColumnSet::default(),
            series: Vec::new(),
            sealer,
            body: Vec::new(),
            stored: Vec::new(),
        })
    }

    /// Adds a series' samples, ascending in time and not empty; `key` is above all keys so far.
    ///
    /// Marks among the values stand for the histograms that are `beside`, of which nothing is left after that.
    pub fn push(
        &mut self,
        key: SortKey,
        timestamps: &[Timestamp],
        values: &[f64],
        beside: &mut Beside,
    ) -> Result<(), StorageError> {
        let (Some(first), Some(last)) = (timestamps.first(), timestamps.last()) else { return Ok(()) };
        if self.pack.is_full(key, timestamps.len()) {
            self.write_pack()?;
        }
        let histograms = if beside.is_empty() { Vec::new() } else { beside.take(timestamps, values) };
        if histograms.is_empty() {
            let rows_max = ROWS_MAX as usize;
            for (timestamps, values) in timestamps.chunks(rows_max).zip(values.chunks(rows_max)) {
                let rows = self.columns.rows(timestamps);
                self.pack.push(key, rows, values);
            }
        } else {
            self.push_mixed(key, timestamps, values, histograms)?;
        }
        self.series.push(key.series);
        self.meta.samples += timestamps.len() as u64;
        self.meta.series += 1;
        self.meta.times.first = self.meta.times.first.min(*first);
        self.meta.times.last = self.meta.times.last.max(*last);
        Ok(())
    }

    /// Adds a series with histograms. One with very many is in several packs, and nothing else is in these.
    fn push_mixed(
        &mut self,
        key: SortKey,
        timestamps: &[Timestamp],
        values: &[f64],
        histograms: Vec<(usize, Histogram)>,
    ) -> Result<(), StorageError> {
        let (rows, histograms): (Vec<usize>, Vec<Histogram>) = histograms.into_iter().unzip();
        let (mut from, mut taken) = (0, 0);
        while from < timestamps.len() {
            let fits = histograms_that_fit(&histograms[taken..]);
            // Up to the first histogram that does not fit.
            let end = rows.get(taken + fits).copied().unwrap_or(timestamps.len()).min(from + ROWS_MAX as usize);
            let own = rows[taken..].partition_point(|row| *row < end);
            let is_whole = from == 0 && end == timestamps.len();
            if !is_whole && (from == 0 || self.pack.is_full_of_one_series()) {
                self.write_pack()?;
            }
            let column = self.columns.rows(&timestamps[from..end]);
            let own_rows = rows[taken..taken + own].iter().map(|row| row - from);
            self.pack.push_mixed(key, column, &values[from..end], own_rows, &histograms[taken..taken + own]);
            (from, taken) = (end, taken + own);
        }
        Ok(())
    }

    fn write_pack(&mut self) -> Result<(), StorageError> {
        let Some(first) = self.pack.first() else { return Ok(()) };
        let version = self.pack.finish(&mut self.body);
        let number = self.packs.len() as u32;
        self.packs.push(first);
        self.write(RunPart::Pack, number, version)
    }

    fn write(&mut self, part: RunPart, number: u32, version: u8) -> Result<(), StorageError> {
        let key = keys::run(self.window, self.meta.id, part, number);
        self.sealer.seal(&key, version, &self.body, Compression::Zstd(ZSTD_LEVEL), &mut self.stored);
        self.writer.add(&key, &self.stored).map_err(StorageError::engine(place(self.window, self.meta.id, "")))
    }

    /// Makes the run durable. `None`: nothing was pushed, so there is no run.
    pub fn finish(mut self) -> Result<Option<RunMeta>, StorageError> {
        if self.meta.series == 0 {
            return Ok(None);
        }
        self.write_pack()?;
        let blocks = std::mem::take(&mut self.columns).finish();
        for (number, block) in blocks.iter().enumerate() {
            block.encode(&mut self.body);
            self.write(RunPart::Columns, number as u32, COLUMNS_VERSION)?;
        }
        self.series.sort_unstable();
        self.body.clear();
        write_refs(&mut self.body, &self.series);
        self.write(RunPart::Series, 0, SERIES_VERSION)?;
        RunDirectory::encode(&self.packs, &blocks, &mut self.body);
        self.write(RunPart::Directory, 0, DIRECTORY_VERSION)?;
        self.meta.bytes = self.writer.finish().map_err(StorageError::engine(place(self.window, self.meta.id, "")))?;
        Ok(Some(self.meta))
    }
}

fn write_refs(out: &mut Vec<u8>, refs: &[u32]) {
    write_u64(out, refs.len() as u64);
    let mut previous = 0;
    for series in refs {
        write_u64(out, u64::from(series - previous));
        previous = *series;
    }
}

fn read_refs(mut body: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let count = read_u64(&mut body)?;
    if count > body.len() as u64 {
        return Err(DecodeError::Invalid { what: "number of refs", got: count });
    }
    let mut refs = Vec::with_capacity(count as usize);
    let mut series = 0u64;
    for _ in 0..count {
        series = series.saturating_add(read_u64(&mut body)?);
        refs.push(u32::try_from(series).map_err(|_| DecodeError::Invalid { what: "series ref", got: series })?);
    }
    Ok(refs)
}

/// The distinct timestamp columns of a run being written.
#[derive(Default)]
struct ColumnSet {
    by_content: HashMap<u128, u32, Xxh3Builder>,
    recent: Vec<(u32, Vec<Timestamp>)>,
    count: u32,
    blocks: Vec<EncodedBlock>,
    open: EncodedBlock,
}

/// Columns that are stored together.
#[derive(Default)]
struct EncodedBlock {
    first_column: u32,
    /// Rows and encoded bytes of each column.
    sizes: Vec<(u32, u32)>,
    bytes: Vec<u8>,
}

impl ColumnSet {
    /// The column rows with exactly these timestamps; stores a new column if there are none.
    fn rows(&mut self, timestamps: &[Timestamp]) -> Rows {
        let count = timestamps.len() as u32;
        if let Some(at) = self.recent.iter().rposition(|(_, column)| column == timestamps) {
            let found = self.recent.remove(at);
            let rows = Rows { column: found.0, first: 0, count };
            self.recent.push(found);
            return rows;
        }
        let content = content_hash(timestamps);
        if let Some(column) = self.by_content.get(&content) {
            let rows = Rows { column: *column, first: 0, count };
            self.remember(*column, timestamps);
            return rows;
        }
        if let Some(rows) = self.part_of_recent(timestamps) {
            return rows;
        }
        let column = self.count;
        self.count += 1;
        self.by_content.insert(content, column);
        if self.open.bytes.len() >= COLUMN_BLOCK_BYTES {
            let next = EncodedBlock { first_column: column, ..EncodedBlock::default() };
            self.blocks.push(std::mem::replace(&mut self.open, next));
        }
        let begin = self.open.bytes.len();
        encode_timestamps(timestamps, &mut self.open.bytes);
        self.open.sizes.push((count, (self.open.bytes.len() - begin) as u32));
        self.remember(column, timestamps);
        Rows { column, first: 0, count }
    }

    fn remember(&mut self, column: u32, timestamps: &[Timestamp]) {
        let mut buffer = if self.recent.len() == RECENT_COLUMNS { self.recent.remove(0).1 } else { Vec::new() };
        buffer.clear();
        buffer.extend_from_slice(timestamps);
        self.recent.push((column, buffer));
    }

    fn part_of_recent(&self, timestamps: &[Timestamp]) -> Option<Rows> {
        self.recent.iter().rev().find_map(|(column, all)| {
            let first = all.binary_search(timestamps.first()?).ok()?;
            let part = all.get(first..first + timestamps.len())?;
            (part == timestamps).then_some(Rows {
                column: *column,
                first: first as u32,
                count: timestamps.len() as u32,
            })
        })
    }

    fn finish(mut self) -> Vec<EncodedBlock> {
        self.blocks.push(self.open);
        self.blocks
    }
}

fn content_hash(timestamps: &[Timestamp]) -> u128 {
    // SAFETY: the bytes of initialised integers; the length in bytes is that of the slice.
    let bytes = unsafe { std::slice::from_raw_parts(timestamps.as_ptr().cast::<u8>(), size_of_val(timestamps)) };
    xxh3_128(bytes)
}

impl EncodedBlock {
    fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        write_u64(out, self.sizes.len() as u64);
        for (rows, bytes) in &self.sizes {
            write_u64(out, u64::from(*rows));
            write_u64(out, u64::from(*bytes));
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// A block of timestamp columns, each decoded when it is first asked for.
pub struct ColumnBlock {
    body: Vec<u8>,
    columns: Vec<Column>,
}

struct Column {
    rows: u32,
    begin: u32,
    end: u32,
    decoded: OnceLock<Arc<[Timestamp]>>,
}

impl ColumnBlock {
    fn parse(body: Vec<u8>) -> Result<ColumnBlock, DecodeError> {
        let input = &mut body.as_slice();
        let count = read_u64(input)?;
        if count > input.len() as u64 {
            return Err(DecodeError::Invalid { what: "number of columns", got: count });
        }
        let mut columns = Vec::with_capacity(count as usize);
        let mut end = 0u64;
        for _ in 0..count {
            let rows = read_u64(input)?;
            let begin = end;
            end = end.saturating_add(read_u64(input)?);
            if rows > ROWS_MAX || end > u64::from(u32::MAX) {
                return Err(DecodeError::Invalid { what: "size of a column", got: rows.max(end) });
            }
            columns.push(Column { rows: rows as u32, begin: begin as u32, end: end as u32, decoded: OnceLock::new() });
        }
        let at = body.len() - input.len();
        read_bytes(input, end as usize, "columns")?;
        for column in &mut columns {
            column.begin += at as u32;
            column.end += at as u32;
        }
        Ok(ColumnBlock { body, columns })
    }

    /// The timestamps of the block's column `at`.
    fn column(&self, at: usize) -> Result<Arc<[Timestamp]>, DecodeError> {
        let column = self.columns.get(at).ok_or(DecodeError::Invalid { what: "column", got: at as u64 })?;
        if let Some(decoded) = column.decoded.get() {
            return Ok(decoded.clone());
        }
        let mut timestamps = Vec::with_capacity(column.rows as usize);
        let bytes = &self.body[column.begin as usize..column.end as usize];
        decode_timestamps(bytes, column.rows as usize, &mut timestamps)?;
        Ok(column.decoded.get_or_init(|| timestamps.into()).clone())
    }

    /// Bytes held once every column is decoded.
    fn bytes(&self) -> usize {
        self.body.capacity()
            + self.columns.iter().map(|column| size_of::<Column>() + column.rows as usize * 8).sum::<usize>()
    }
}

/// Where packs and column blocks of a run begin.
#[derive(Default)]
pub struct RunDirectory {
    packs: Vec<SortKey>,
    /// First column of each block.
    blocks: Vec<u32>,
}

impl RunDirectory {
    fn encode(packs: &[SortKey], blocks: &[EncodedBlock], out: &mut Vec<u8>) {
        out.clear();
        write_u64(out, packs.len() as u64);
        let mut previous = [0i64; 3];
        for key in packs {
            let next = [key.tenant, key.metric, key.series].map(i64::from);
            for (next, previous) in next.iter().zip(&previous) {
                write_i64(out, next - previous);
            }
            previous = next;
        }
        let first_columns: Vec<u32> = blocks.iter().map(|block| block.first_column).collect();
        write_refs(out, &first_columns);
    }

    fn parse(mut body: &[u8]) -> Result<RunDirectory, DecodeError> {
        let count = read_u64(&mut body)?;
        if count > DIRECTORY_ENTRIES_MAX || count > body.len() as u64 {
            return Err(DecodeError::Invalid { what: "number of packs", got: count });
        }
        let mut packs = Vec::with_capacity(count as usize);
        let mut key = [0i64; 3];
        for _ in 0..count {
            for part in &mut key {
                *part = part.wrapping_add(read_i64(&mut body)?);
            }
            let part = |at: usize| {
                u32::try_from(key[at]).map_err(|_| DecodeError::Invalid { what: "sort key", got: key[at] as u64 })
            };
            packs.push(SortKey { tenant: part(0)?, metric: part(1)?, series: part(2)? });
        }
        Ok(RunDirectory { packs, blocks: read_refs(body)? })
    }

    /// How many packs there are.
    pub fn pack_count(&self) -> u32 {
        self.packs.len() as u32
    }

    /// The packs that can hold `key`: one at most, unless the series has very many histograms.
    pub fn packs_of(&self, key: SortKey) -> Range<u32> {
        let after = self.packs.partition_point(|first| *first <= key);
        let Some(last) = after.checked_sub(1).filter(|last| self.packs[*last].tenant == key.tenant) else {
            return 0..0;
        };
        let mut first = last;
        while first > 0 && self.packs[first - 1] == key {
            first -= 1;
        }
        first as u32..after as u32
    }

    /// The first key of a pack.
    pub fn first_key(&self, pack: u32) -> SortKey {
        self.packs[pack as usize]
    }
}

/// Reads parts of runs through the cache.
#[derive(Clone)]
pub struct RunReader {
    pub engine: Arc<dyn KvEngine>,
    pub cache: Arc<PackCache>,
    /// This opened shard's number in the cache.
    pub owner: u32,
    /// Whether what is read goes into the cache; a merge reads everything once and would only push out what queries use.
    pub keeps: bool,
}

/// A run's name in messages.
fn place(window: WindowStart, id: RunId, part: &str) -> String {
    format!("run {} of the window at {} ms{part}", id.0, window.0)
}

impl RunReader {
    fn stored(
        &self,
        window: WindowStart,
        id: RunId,
        part: RunPart,
        number: u32,
        version: u8,
    ) -> Result<Vec<u8>, StorageError> {
        let place = || place(window, id, &format!(", {part:?} {number}"));
        let key = keys::run(window, id, part, number);
        let stored = self.engine.get(RUNS, &key).map_err(|source| StorageError::Engine { place: place(), source })?;
        let stored = stored.ok_or_else(|| StorageError::corrupt(place(), "it is missing"))?;
        open_part(&place, &key, &stored, version)
    }

    fn part<T>(
        &self,
        window: WindowStart,
        id: RunId,
        (part, number, version): (RunPart, u32, u8),
        parse: impl FnOnce(Vec<u8>) -> Result<T, DecodeError>,
        wrap: impl FnOnce(Arc<T>) -> (Part, usize),
    ) -> Result<Arc<T>, StorageError> {
        let body = self.stored(window, id, part, number, version)?;
        let parsed = parse(body).map_err(|error| {
            StorageError::corrupt(place(window, id, &format!(", {part:?} {number}")), error.to_string())
        })?;
        let parsed = Arc::new(parsed);
        if self.keeps {
            let (cached, bytes) = wrap(parsed.clone());
            self.cache.put(PartId { owner: self.owner, run: id, part, number }, cached, bytes);
        }
        Ok(parsed)
    }

    /// A run's directory.
    pub fn directory(&self, window: WindowStart, id: RunId) -> Result<Arc<RunDirectory>, StorageError> {
        let part = PartId { owner: self.owner, run: id, part: RunPart::Directory, number: 0 };
        if let Some(Part::Directory(found)) = self.cache.get(&part) {
            return Ok(found);
        }
        let wrap = |directory: Arc<RunDirectory>| {
            let bytes = directory.packs.len() * size_of::<SortKey>() + directory.blocks.len() * 4;
            (Part::Directory(directory), bytes)
        };
        self.part(window, id, (RunPart::Directory, 0, DIRECTORY_VERSION), |body| RunDirectory::parse(&body), wrap)
    }

    /// One pack of a run.
    pub fn pack(&self, window: WindowStart, id: RunId, number: u32) -> Result<Arc<Pack>, StorageError> {
        let part = PartId { owner: self.owner, run: id, part: RunPart::Pack, number };
        if let Some(Part::Pack(found)) = self.cache.get(&part) {
            return Ok(found);
        }
        let wrap = |pack: Arc<Pack>| {
            let bytes = pack.bytes();
            (Part::Pack(pack), bytes)
        };
        self.part(window, id, (RunPart::Pack, number, PACK_VERSION), Pack::parse, wrap)
    }

    /// One timestamp column of a run.
    pub fn column(
        &self,
        window: WindowStart,
        id: RunId,
        directory: &RunDirectory,
        column: u32,
    ) -> Result<Arc<[Timestamp]>, StorageError> {
        let block = directory.blocks.partition_point(|first| *first <= column).saturating_sub(1);
        let part = PartId { owner: self.owner, run: id, part: RunPart::Columns, number: block as u32 };
        let found = match self.cache.get(&part) {
            Some(Part::Columns(found)) => found,
            _ => {
                let wrap = |block: Arc<ColumnBlock>| {
                    let bytes = block.bytes();
                    (Part::Columns(block), bytes)
                };
                self.part(window, id, (RunPart::Columns, block as u32, COLUMNS_VERSION), ColumnBlock::parse, wrap)?
            }
        };
        let first = directory.blocks.get(block).copied().unwrap_or_default();
        found
            .column((column - first) as usize)
            .map_err(|error| StorageError::corrupt(place(window, id, &format!(", column {column}")), error.to_string()))
    }

    /// The refs of all series of a run, ascending.
    pub fn series(&self, window: WindowStart, id: RunId) -> Result<Vec<u32>, StorageError> {
        let body = self.stored(window, id, RunPart::Series, 0, SERIES_VERSION)?;
        read_refs(&body).map_err(|error| StorageError::corrupt(place(window, id, ", series"), error.to_string()))
    }

    /// The timestamps of a series of a pack.
    pub fn timestamps(
        &self,
        window: WindowStart,
        id: RunId,
        directory: &RunDirectory,
        rows: Rows,
    ) -> Result<Arc<[Timestamp]>, StorageError> {
        let column = self.column(window, id, directory, rows.column)?;
        if (rows.first as usize + rows.count as usize) > column.len() {
            return Err(StorageError::corrupt(place(window, id, ""), "rows beyond the end of their column"));
        }
        Ok(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_partial_columns_are_stored_once() {
        let mut set = ColumnSet::default();
        let all: Vec<Timestamp> = (0..100).map(|i| i * 15_000 + (i * 7) % 13).collect();
        assert_eq!(set.rows(&all), Rows { column: 0, first: 0, count: 100 });
        assert_eq!(set.rows(&all), Rows { column: 0, first: 0, count: 100 });
        assert_eq!(set.rows(&all[10..]), Rows { column: 0, first: 10, count: 90 });
        assert_eq!(set.rows(&all[..40]), Rows { column: 0, first: 0, count: 40 });
        let mut gap = all.clone();
        gap.remove(50);
        assert_eq!(set.rows(&gap).column, 1);
        assert_eq!(set.finish().iter().map(|block| block.sizes.len()).sum::<usize>(), 2);
    }

    #[test]
    fn a_key_is_in_the_last_pack_that_begins_at_or_before_it() {
        let key = |metric, series| SortKey { tenant: 0, metric, series };
        let directory =
            RunDirectory { packs: vec![key(0, 5), key(3, 1), key(3, 9), key(3, 9), key(4, 0)], blocks: vec![0] };
        assert_eq!(directory.packs_of(key(0, 4)), 0..0);
        assert_eq!(directory.packs_of(key(2, 7)), 0..1);
        assert_eq!(directory.packs_of(key(3, 8)), 1..2);
        assert_eq!(directory.packs_of(key(3, 9)), 2..4, "a series with very many histograms");
        assert_eq!(directory.packs_of(key(4, 0)), 4..5);
        assert_eq!(directory.packs_of(SortKey { tenant: 1, metric: 3, series: 9 }), 0..0);
    }
}
