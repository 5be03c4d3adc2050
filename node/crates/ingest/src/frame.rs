//! Reading frames: one request's part for one shard group. Layout: `node/docs/format/shard-batch.md`.

use bellwether_model::{RefEpoch, SeriesHash, Tenant};

use crate::chunk_rows::{ChunkBlock, ChunkRowRef};
use crate::cursor::{Cursor, FormatError};
use crate::entry::{ENTRY_VERSION_FIRST, ENTRY_VERSION_HISTOGRAMS};
use crate::row_columns::{RowBlock, RowColumns};
use crate::shard_batch::RefScope;

pub(crate) const FRAME_VERSION: u8 = 1;
/// Flag: registrations and their rows follow the rows.
pub(crate) const HAS_REGISTRATIONS: u8 = 1;
/// Flag: histograms follow after that. Only in entries of a version that knows them.
pub(crate) const HAS_HISTOGRAMS: u8 = 2;
/// Flag: exemplars follow at the end, likewise.
pub(crate) const HAS_EXEMPLARS: u8 = 4;

const FORMAT: &str = "the frame";
/// Bytes of the shortest registration.
const REGISTRATION_BYTES_MIN: usize = 17;

/// A frame. Making one checks its structure and allocates nothing; contents are checked as they are read.
#[derive(Debug, Clone)]
pub struct FrameReader<'a> {
    scope: RefScope,
    rows: RowBlock<'a>,
    registrations: Option<Registrations<'a>>,
    histograms: Option<Blocks<'a>>,
    exemplars: Option<Blocks<'a>>,
}

/// Rows with bytes of their own.
#[derive(Debug, Clone)]
struct Blocks<'a> {
    known: ChunkBlock<'a>,
    registered: ChunkBlock<'a>,
}

#[derive(Debug, Clone)]
struct Registrations<'a> {
    tenant: &'a str,
    count: usize,
    list: Cursor<'a>,
    rows: RowBlock<'a>,
}

/// A series that the group may not know yet. The labels are checked by `Labels::from_canonical`, once they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrationRef<'a> {
    /// Its hash, as the gateway made it.
    pub hash: SeriesHash,
    /// Canonical label bytes.
    pub labels: &'a [u8],
}

/// The first version of entries that may hold a frame, by its flags; nothing else of it is looked at.
pub fn entry_version(frame: &[u8]) -> u8 {
    version_of(frame.get(1).copied().unwrap_or_default())
}

fn version_of(flags: u8) -> u8 {
    if flags & (HAS_HISTOGRAMS | HAS_EXEMPLARS) == 0 { ENTRY_VERSION_FIRST } else { ENTRY_VERSION_HISTOGRAMS }
}

impl<'a> FrameReader<'a> {
    /// Reads the structure.
    pub fn new(bytes: &'a [u8]) -> Result<FrameReader<'a>, FormatError> {
        let mut cursor = Cursor::new(FORMAT, bytes);
        cursor.version(FRAME_VERSION)?;
        let flags = cursor.u8("the flags")?;
        if flags & !(HAS_REGISTRATIONS | HAS_HISTOGRAMS | HAS_EXEMPLARS) != 0 {
            return Err(cursor.invalid("an unknown flag is set"));
        }
        let epoch = RefEpoch(cursor.u64("the ref epoch")?);
        let range_generation = cursor.varint_u32("the range generation")?;
        let rows = RowBlock::read(&mut cursor)?;
        let registrations = match flags & HAS_REGISTRATIONS {
            0 => None,
            _ => Some(Registrations::read(&mut cursor)?),
        };
        let registered = registrations.as_ref().map_or(0, |some| some.count);
        let mut blocks = |flag: u8| match flags & flag {
            0 => Ok(None),
            _ => Blocks::read(&mut cursor, registered).map(Some),
        };
        let (histograms, exemplars) = (blocks(HAS_HISTOGRAMS)?, blocks(HAS_EXEMPLARS)?);
        cursor.expect_end()?;
        Ok(FrameReader { scope: RefScope { epoch, range_generation }, rows, registrations, histograms, exemplars })
    }

    /// The incarnation that the refs belong to. Registrations hold in any.
    pub fn scope(&self) -> RefScope {
        self.scope
    }

    /// Samples of known series.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Samples of series to be registered.
    pub fn registered_row_count(&self) -> usize {
        self.registrations.as_ref().map_or(0, |registrations| registrations.rows.len())
    }

    /// The first version of entries that may hold it: what is later, older programs do not know.
    pub fn entry_version(&self) -> u8 {
        let is_first = self.histograms.is_none() && self.exemplars.is_none();
        if is_first { ENTRY_VERSION_FIRST } else { ENTRY_VERSION_HISTOGRAMS }
    }

    /// Histograms of known series, by series and then in order of arrival. They count as later than the frame's other samples.
    pub fn histograms(&self) -> impl Iterator<Item = Result<ChunkRowRef<'a>, FormatError>> + use<'a> {
        self.histograms.as_ref().map(|blocks| blocks.known.iter()).into_iter().flatten()
    }

    /// The same of series to be registered.
    pub fn registered_histograms(&self) -> impl Iterator<Item = Result<ChunkRowRef<'a>, FormatError>> + use<'a> {
        self.histograms.as_ref().map(|blocks| blocks.registered.iter()).into_iter().flatten()
    }

    /// Exemplars of known series, by series and then in order of arrival; [`exemplars::decode`](crate::exemplars::decode)
    /// reads them.
    pub fn exemplars(&self) -> impl Iterator<Item = Result<ChunkRowRef<'a>, FormatError>> + use<'a> {
        self.exemplars.as_ref().map(|blocks| blocks.known.iter()).into_iter().flatten()
    }

    /// The same of series to be registered.
    pub fn registered_exemplars(&self) -> impl Iterator<Item = Result<ChunkRowRef<'a>, FormatError>> + use<'a> {
        self.exemplars.as_ref().map(|blocks| blocks.registered.iter()).into_iter().flatten()
    }

    /// Series to be registered.
    pub fn registration_count(&self) -> usize {
        self.registrations.as_ref().map_or(0, |registrations| registrations.count)
    }

    /// Whose series are to be registered; `None` if there are none.
    pub fn tenant(&self) -> Result<Option<Tenant>, FormatError> {
        let Some(registrations) = &self.registrations else {
            return Ok(None);
        };
        let tenant = Tenant::new(registrations.tenant);
        tenant.map(Some).map_err(|_| registrations.list.invalid("the tenant's name is not valid"))
    }

    /// The series to be registered.
    pub fn registrations(&self) -> impl Iterator<Item = Result<RegistrationRef<'a>, FormatError>> + use<'a> {
        let (count, mut list) = match &self.registrations {
            Some(registrations) => (registrations.count, registrations.list.clone()),
            None => (0, Cursor::new(FORMAT, &[])),
        };
        (0..count).map(move |_| read_registration(&mut list))
    }

    /// Replaces the contents of `out` by the samples of known series.
    pub fn read_rows(&self, out: &mut RowColumns) -> Result<(), FormatError> {
        self.rows.decode(out)
    }

    /// Replaces the contents of `out` by the samples of series to be registered: `refs` are indexes into
    /// [`registrations`](Self::registrations), all below their number.
    pub fn read_registered_rows(&self, out: &mut RowColumns) -> Result<(), FormatError> {
        let Some(registrations) = &self.registrations else {
            out.clear();
            return Ok(());
        };
        registrations.rows.decode(out)?;
        if out.refs.last().is_some_and(|last| last.0 as usize >= registrations.count) {
            return Err(registrations.list.invalid("a sample belongs to a registration that is not there"));
        }
        Ok(())
    }
}

impl<'a> Blocks<'a> {
    fn read(cursor: &mut Cursor<'a>, registrations: usize) -> Result<Blocks<'a>, FormatError> {
        let (known, registered) = (ChunkBlock::read(cursor)?, ChunkBlock::read(cursor)?);
        if known.len() + registered.len() == 0 {
            return Err(cursor.invalid("a section without rows"));
        }
        if registered.last().is_some_and(|last| last.0 as usize >= registrations) {
            return Err(cursor.invalid("a row belongs to a registration that is not there"));
        }
        Ok(Blocks { known, registered })
    }
}

impl<'a> Registrations<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Registrations<'a>, FormatError> {
        let tenant = cursor.text("the tenant")?;
        let count = cursor.length("registrations")?;
        if count.saturating_mul(REGISTRATION_BYTES_MIN) > cursor.remaining() {
            return Err(cursor.truncated("registrations"));
        }
        let list = cursor.clone();
        for _ in 0..count {
            read_registration(cursor)?;
        }
        let rows = RowBlock::read(cursor)?;
        Ok(Registrations { tenant, count, list, rows })
    }
}

fn read_registration<'a>(cursor: &mut Cursor<'a>) -> Result<RegistrationRef<'a>, FormatError> {
    let hash = SeriesHash(cursor.u128("a series hash")?);
    Ok(RegistrationRef { hash, labels: cursor.sized("labels")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard_batch::ShardBatch;
    use bellwether_model::{Labels, Sample, SeriesRef, limits};
    use proptest::prelude::*;

    const SCOPE: RefScope = RefScope { epoch: RefEpoch(0x1122_3344_5566_7788), range_generation: 300 };

    fn tenant() -> Tenant {
        Tenant::new("team-a").unwrap()
    }

    fn labels(at: usize) -> Labels {
        Labels::of(&[("__name__", "up"), ("instance", &at.to_string())])
    }

    fn sample(timestamp: i64, value: f64) -> Sample {
        Sample { timestamp, value }
    }

    fn example() -> ShardBatch {
        let mut batch = ShardBatch::new(SCOPE);
        batch.push(SeriesRef(5), 1000, 1.0);
        batch.push(SeriesRef(3), 1000, -0.5);
        batch.push(SeriesRef(300), 1000, 0.0);
        batch.register(SeriesHash(7), labels(0), &[sample(1000, 2.0), sample(2000, f64::NAN)]);
        batch.register(SeriesHash(8), labels(1), &[]);
        batch
    }

    fn only_frame(batch: &mut ShardBatch) -> Vec<u8> {
        let mut frames = batch.encode(&tenant());
        assert_eq!(frames.len(), 1);
        frames.remove(0).bytes
    }

    fn read_all(bytes: &[u8]) -> Result<(RowColumns, RowColumns), FormatError> {
        let frame = FrameReader::new(bytes)?;
        let (mut rows, mut registered) = (RowColumns::default(), RowColumns::default());
        frame.read_rows(&mut rows)?;
        frame.read_registered_rows(&mut registered)?;
        frame.registrations().try_for_each(|registration| registration.map(drop))?;
        frame.tenant()?;
        frame.histograms().try_for_each(|row| row.map(drop))?;
        frame.registered_histograms().try_for_each(|row| row.map(drop))?;
        frame.exemplars().try_for_each(|row| row.map(drop))?;
        frame.registered_exemplars().try_for_each(|row| row.map(drop))?;
        Ok((rows, registered))
    }

    #[test]
    fn a_frame_gives_back_what_its_batch_held() {
        let bytes = only_frame(&mut example());
        let frame = FrameReader::new(&bytes).unwrap();
        assert_eq!((frame.scope(), frame.tenant().unwrap()), (SCOPE, Some(tenant())));
        assert_eq!((frame.row_count(), frame.registration_count(), frame.registered_row_count()), (3, 2, 2));
        let (rows, registered) = read_all(&bytes).unwrap();
        assert_eq!(rows.refs, [3, 5, 300].map(SeriesRef));
        assert_eq!((rows.values, rows.one_timestamp), (vec![-0.5, 1.0, 0.0], Some(1000)));
        assert_eq!((registered.refs, registered.timestamps), (vec![SeriesRef(0); 2], vec![1000, 2000]));
        let registrations: Vec<RegistrationRef<'_>> = frame.registrations().map(Result::unwrap).collect();
        assert_eq!(registrations[0].hash, SeriesHash(7));
        assert_eq!(Labels::from_canonical(registrations[1].labels).unwrap(), labels(1));
    }

    #[test]
    fn bytes_are_golden() {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        expect_test::expect!["01018877665544332211ac020300040000000302a702d00f2200e0bff03f067465616d2d61020700000000000000000000000000000023080000005f5f6e616d655f5f02000000757008000000696e7374616e636501000000300800000000000000000000000000000023080000005f5f6e616d655f5f02000000757008000000696e7374616e63650100000031020102000000000004000000d00fd00f2140f87f"].assert_eq(&hex(&only_frame(&mut example())));
        let mut own_timestamps = ShardBatch::new(SCOPE);
        own_timestamps.push(SeriesRef(1), 1000, 1.0);
        own_timestamps.push(SeriesRef(2), 990, f64::from_bits(0x7ff0_0000_0000_0002));
        expect_test::expect!["01008877665544332211ac02020102000000010103000000d00f1382f03f020000000000f07f"]
            .assert_eq(&hex(&only_frame(&mut own_timestamps)));
    }

    fn with_histograms() -> ShardBatch {
        let mut batch = example();
        batch.push_histogram(SeriesRef(300), 1000, b"second");
        batch.push_histogram(SeriesRef(2), 1001, b"first");
        batch.push_histogram(SeriesRef(300), 999, b"");
        batch.push_registered_histogram(5, b"new");
        batch
    }

    #[test]
    fn histograms_come_back_by_series_and_in_order_of_arrival() {
        let bytes = only_frame(&mut with_histograms());
        let frame = FrameReader::new(&bytes).unwrap();
        let rows: Vec<_> = frame.histograms().map(Result::unwrap).map(|r| (r.series.0, r.timestamp, r.chunk)).collect();
        assert_eq!(rows, [(2, 1001, &b"first"[..]), (300, 1000, b"second"), (300, 999, b"")]);
        let new: Vec<_> = frame.registered_histograms().map(Result::unwrap).map(|r| (r.series.0, r.chunk)).collect();
        assert_eq!(new, [(1, &b"new"[..])]);
        assert_eq!((frame.row_count(), frame.entry_version(), entry_version(&bytes)), (3, 2, 2));
        let end: String = bytes[bytes.len() - 34..].iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["2140f87f0302d20f056669727374aa0201067365636f6e6400010001010a036e6577"].assert_eq(&end);
    }

    fn with_exemplars() -> ShardBatch {
        let mut batch = with_histograms();
        batch.push_exemplar(SeriesRef(300), 1000, b"second");
        batch.push_exemplar(SeriesRef(2), 1001, b"first");
        batch.push_registered_exemplar(5, b"new");
        batch
    }

    #[test]
    fn exemplars_come_after_histograms_and_alone() {
        let bytes = only_frame(&mut with_exemplars());
        let frame = FrameReader::new(&bytes).unwrap();
        let rows: Vec<_> = frame.exemplars().map(Result::unwrap).map(|r| (r.series.0, r.timestamp, r.chunk)).collect();
        assert_eq!(rows, [(2, 1001, &b"first"[..]), (300, 1000, b"second")]);
        let new: Vec<_> = frame.registered_exemplars().map(Result::unwrap).map(|r| (r.series.0, r.chunk)).collect();
        assert_eq!(new, [(1, &b"new"[..])]);
        assert_eq!(frame.histograms().count(), 3);
        let end: String = bytes[bytes.len() - 27..].iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["0202d20f056669727374aa0201067365636f6e6401010a036e6577"].assert_eq(&end);
        let mut alone = ShardBatch::new(SCOPE);
        alone.push_exemplar(SeriesRef(7), -5, b"x");
        assert!(!alone.is_empty());
        let bytes = only_frame(&mut alone);
        assert_eq!((bytes[1], entry_version(&bytes), entry_version(&only_frame(&mut example()))), (4, 2, 1));
        assert_eq!(FrameReader::new(&bytes).unwrap().exemplars().count(), 1);
    }

    #[test]
    fn many_exemplars_are_cut_and_those_of_new_series_come_with_them() {
        let mut batch = ShardBatch::new(SCOPE);
        let text = |at: i64| format!("{at:2000}").into_bytes();
        (0..1000).for_each(|at| batch.push_exemplar(SeriesRef(at), 1000, &text(at.into())));
        batch.register(SeriesHash(1), labels(1), &[sample(7, 1.0)]);
        (0..1000).for_each(|row| batch.push_registered_exemplar(row, &text(row)));
        let (mut known, mut new) = (Vec::new(), Vec::new());
        let frames = batch.encode(&tenant());
        for encoded in &frames {
            assert!(encoded.bytes.len() <= limits::FRAME_BYTES_MAX);
            let frame = FrameReader::new(&encoded.bytes).unwrap();
            known.extend(frame.exemplars().map(Result::unwrap).map(|row| (row.series.0, row.chunk.to_vec())));
            new.extend(frame.registered_exemplars().map(Result::unwrap).map(|row| (row.timestamp, row.chunk.to_vec())));
        }
        assert!(frames.len() > 3);
        assert_eq!(known, (0..1000).map(|at| (at, text(at.into()))).collect::<Vec<_>>());
        assert_eq!(new, (0..1000).map(|at| (at, text(at))).collect::<Vec<_>>());
        assert_eq!(frames.iter().map(|frame| frame.samples).sum::<usize>(), 1);
    }

    #[test]
    fn many_histograms_are_cut_and_those_of_new_series_come_with_them() {
        let mut batch = ShardBatch::new(SCOPE);
        let chunk = |at: u32| vec![at as u8; 5000];
        (0..400).for_each(|at| batch.push_histogram(SeriesRef(at), 1000, &chunk(at)));
        for at in 0..3 {
            batch.register(SeriesHash(at), labels(at as usize), &[sample(7, 1.0)]);
            (0..300).for_each(|row| batch.push_registered_histogram(row, &chunk(row as u32)));
        }
        let (mut known, mut new) = (Vec::new(), vec![Vec::new(); 3]);
        let frames = batch.encode(&tenant());
        for encoded in &frames {
            assert!(encoded.bytes.len() <= limits::FRAME_BYTES_MAX);
            let frame = FrameReader::new(&encoded.bytes).unwrap();
            assert_eq!(frame.registration_count(), encoded.registrations.len());
            known.extend(frame.histograms().map(Result::unwrap).map(|row| (row.series.0, row.chunk.to_vec())));
            for row in frame.registered_histograms().map(Result::unwrap) {
                new[encoded.registrations.start + row.series.0 as usize].push((row.timestamp, row.chunk.to_vec()));
            }
        }
        assert!(frames.len() > 5);
        assert_eq!(known, (0..400).map(|at| (at, chunk(at))).collect::<Vec<_>>());
        let of_one: Vec<_> = (0..300).map(|row| (row, chunk(row as u32))).collect();
        assert_eq!(new, vec![of_one; 3]);
        assert_eq!(frames.iter().map(|frame| frame.samples).sum::<usize>(), batch.samples());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for bytes in [example(), with_histograms(), with_exemplars()].map(|mut batch| only_frame(&mut batch)) {
            every_truncation_of_a_frame_is_an_error(&bytes);
        }
    }

    fn every_truncation_of_a_frame_is_an_error(bytes: &[u8]) {
        assert!((0..bytes.len()).all(|length| read_all(&bytes[..length]).is_err()));
        let longer = [bytes, &[0]].concat();
        assert!(read_all(&longer).unwrap_err().to_string().contains("bytes follow the end"));
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = only_frame(&mut example());
        bytes[0] = 2;
        let error = FrameReader::new(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "the frame has version 2, this release knows versions up to 1");
    }

    proptest! {
        #[test]
        fn a_flipped_bit_never_panics(at: prop::sample::Index, bit in 0..8u32) {
            for mut bytes in [example(), with_histograms(), with_exemplars()].map(|mut batch| only_frame(&mut batch)) {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                let _ = read_all(&bytes);
            }
        }
    }

    #[test]
    fn large_batches_are_cut_and_lose_nothing() {
        let mut batch = ShardBatch::new(SCOPE);
        let long = "v".repeat(limits::LABEL_VALUE_BYTES_MAX);
        for at in 0..100_000 {
            batch.push(SeriesRef(at / 2), i64::from(at) << 40, f64::from(at).sqrt());
        }
        let many: Vec<Sample> = (0..90_000).map(|at| sample(at << 40, (at as f64).sqrt())).collect();
        for at in 0..300 {
            let labels = Labels::of(&[("__name__", "up"), ("at", &at.to_string()), ("long", &long)]);
            batch.register(SeriesHash(at), labels, if at == 200 { &many } else { &many[..2] });
        }
        let (mut rows, mut registered) = (Vec::new(), vec![Vec::new(); 300]);
        let mut next = 0;
        let frames = batch.encode(&tenant());
        assert!(frames.len() > 3);
        for encoded in &frames {
            assert!(encoded.bytes.len() <= limits::FRAME_BYTES_MAX);
            let (known, new) = read_all(&encoded.bytes).unwrap();
            assert_eq!(encoded.samples, known.len() + new.len());
            rows.extend(known.refs.iter().zip(known.values).map(|(series_ref, value)| (series_ref.0, value)));
            for (at, timestamp) in new.refs.iter().zip(new.timestamps) {
                registered[encoded.registrations.start + at.0 as usize].push(timestamp);
            }
            let carried = FrameReader::new(&encoded.bytes).unwrap().registration_count();
            assert_eq!(carried, encoded.registrations.len());
            assert!(carried == 0 || encoded.registrations.start == next || encoded.registrations.start + 1 == next);
            next = next.max(encoded.registrations.end);
        }
        assert_eq!(next, 300);
        assert_eq!(rows, (0..100_000).map(|at| (at / 2, f64::from(at).sqrt())).collect::<Vec<_>>());
        for (at, timestamps) in registered.iter().enumerate() {
            let expected: Vec<i64> = (0..if at == 200 { 90_000 } else { 2 }).map(|at| at << 40).collect();
            assert_eq!(timestamps, &expected, "registration {at}");
        }
        assert_eq!(frames.iter().map(|frame| frame.samples).sum::<usize>(), batch.samples());
    }

    #[test]
    fn samples_of_one_series_stay_in_order_of_arrival() {
        let mut batch = ShardBatch::new(SCOPE);
        for value in 0..1000 {
            batch.push(SeriesRef(value % 3), 1000, f64::from(value));
        }
        let (rows, _) = read_all(&only_frame(&mut batch)).unwrap();
        let of_one: Vec<f64> = (0..1000).filter(|at| rows.refs[*at].0 == 1).map(|at| rows.values[at]).collect();
        assert!(of_one.is_sorted() && of_one.len() == 333);
    }
}
