//! A pack: the samples of neighbouring series inside one run, stored and compressed as one value.
//!
//! The body is a directory in columns, then the encoded values of all series end to end. Timestamps are not here: a series names a
//! timestamp column of its run and the rows that are its own. Byte diagram: `node/docs/format/shard.md`.

use bellwether_chunk::varint::{read_bytes, read_i64, read_u8, read_u64, write_i64, write_u64};
use bellwether_chunk::{
    DecodeError, Effort, SAMPLES_PER_CHUNK_MAX, Scratch, ValueCodec, decode_histograms, decode_values,
    encode_histograms, encode_values,
};
use bellwether_model::{Histogram, Timestamp};

use crate::histograms::Beside;
use crate::index::SortKey;
use crate::record::RECORD_BYTES_MAX;

/// Format of the body without histograms.
pub const PACK_VERSION_FIRST: u8 = 1;
/// With histograms of some series among their values.
pub const PACK_VERSION: u8 = 2;
/// Beside a value codec: the series has histograms.
const HAS_HISTOGRAMS: u8 = 0x80;
/// Before a series that goes on in the next pack is cut, its pack has so many bytes.
const PACK_BYTES_OF_ONE_SERIES: usize = 1 << 20;
/// A pack is closed once its body has this many bytes, before compression.
const PACK_BODY_BYTES: usize = 64 << 10;
/// What a series costs in the directory, about.
const DIRECTORY_BYTES_PER_SERIES: usize = 8;
/// Series in one pack, at most.
const PACK_SERIES_MAX: usize = 4096;
/// Rows of one column, at most; a series with more in one Window uses several.
pub const ROWS_MAX: u64 = SAMPLES_PER_CHUNK_MAX as u64;

// One sample each millisecond, in 8 bytes: the largest that one series can make of a pack.
const _: () =
    assert!(bellwether_model::limits::WINDOW_MS as usize * 8 + PACK_BODY_BYTES + (1 << 20) < RECORD_BYTES_MAX);

/// The rows of a timestamp column that are a series' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Column of the run.
    pub column: u32,
    /// First row.
    pub first: u32,
    /// How many rows.
    pub count: u32,
}

/// One series of a pack.
#[derive(Debug, Clone, Copy)]
pub struct PackSeries {
    /// First ref of its metric.
    pub metric: u32,
    /// Its ref.
    pub series: u32,
    /// Its timestamps.
    pub rows: Rows,
    codec: ValueCodec,
    has_histograms: bool,
    /// Where its values begin and end in the body.
    begin: u32,
    end: u32,
}

/// A pack being filled.
#[derive(Default)]
pub struct PackBuilder {
    first: Option<SortKey>,
    series: Vec<PackSeries>,
    values: Vec<u8>,
    scratch: Scratch,
}

impl PackBuilder {
    /// The first series' key; `None` while the pack is empty.
    pub fn first(&self) -> Option<SortKey> {
        self.first
    }

    /// Whether the pack should be written before `rows` rows of the series `next` are added.
    pub fn is_full(&self, next: SortKey, rows: usize) -> bool {
        self.values.len() + self.series.len() * DIRECTORY_BYTES_PER_SERIES >= PACK_BODY_BYTES
            || self.series.len() + rows.div_ceil(ROWS_MAX as usize) > PACK_SERIES_MAX
            || self.first.is_some_and(|first| first.tenant != next.tenant)
    }

    /// Adds a stretch of a series: above all series so far, or the next stretch of the last one.
    pub fn push(&mut self, key: SortKey, rows: Rows, values: &[f64]) {
        debug_assert_eq!(rows.count as usize, values.len());
        self.first.get_or_insert(key);
        let begin = self.values.len() as u32;
        let codec = encode_values(values, Effort::Best, &mut self.scratch, &mut self.values);
        let end = self.values.len() as u32;
        let (metric, series) = (key.metric, key.series);
        self.series.push(PackSeries { metric, series, rows, codec, has_histograms: false, begin, end });
    }

    /// The same of a stretch with histograms, which take the places of the values in the rows `own`, ascending.
    pub fn push_mixed(
        &mut self,
        key: SortKey,
        rows: Rows,
        values: &[f64],
        own: impl Iterator<Item = usize> + Clone,
        histograms: &[Histogram],
    ) {
        debug_assert_eq!(rows.count as usize, values.len());
        self.first.get_or_insert(key);
        let begin = self.values.len() as u32;
        let mut of_histograms = own.clone().peekable();
        let is_float = |(row, _): &(usize, &f64)| of_histograms.next_if_eq(row).is_none();
        let floats: Vec<f64> = values.iter().enumerate().filter(is_float).map(|(_, value)| *value).collect();
        let mut encoded = Vec::new();
        let codec = encode_values(&floats, Effort::Best, &mut self.scratch, &mut encoded);
        write_u64(&mut self.values, encoded.len() as u64);
        self.values.extend_from_slice(&encoded);
        write_u64(&mut self.values, histograms.len() as u64);
        let mut previous = 0;
        for row in own {
            write_u64(&mut self.values, (row - previous) as u64);
            previous = row;
        }
        encode_histograms(histograms, &mut self.scratch, &mut self.values);
        let end = self.values.len() as u32;
        let (metric, series) = (key.metric, key.series);
        self.series.push(PackSeries { metric, series, rows, codec, has_histograms: true, begin, end });
    }

    /// Whether a series that is in it already must go on in another one.
    pub fn is_full_of_one_series(&self) -> bool {
        self.values.len() >= PACK_BYTES_OF_ONE_SERIES || self.series.len() >= PACK_SERIES_MAX
    }

    /// Writes the body to `out` and empties the pack; returns the body's version.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> u8 {
        out.clear();
        write_u64(out, self.series.len() as u64);
        let mut delta = |of: &dyn Fn(&PackSeries) -> i64| {
            let mut previous = 0;
            for series in &self.series {
                let value = of(series);
                write_i64(out, value - previous);
                previous = value;
            }
        };
        delta(&|s| i64::from(s.metric));
        delta(&|s| i64::from(s.series));
        delta(&|s| i64::from(s.rows.column));
        delta(&|s| i64::from(s.rows.first));
        delta(&|s| i64::from(s.rows.count));
        out.extend(self.series.iter().map(|s| s.codec as u8 | if s.has_histograms { HAS_HISTOGRAMS } else { 0 }));
        for series in &self.series {
            write_u64(out, u64::from(series.end - series.begin));
        }
        out.extend_from_slice(&self.values);
        let version = if self.series.iter().any(|s| s.has_histograms) { PACK_VERSION } else { PACK_VERSION_FIRST };
        self.first = None;
        self.series.clear();
        self.values.clear();
        version
    }
}

/// A pack read back, its values still encoded.
pub struct Pack {
    series: Vec<PackSeries>,
    body: Vec<u8>,
}

impl Pack {
    /// Reads a body; checks everything but the values themselves.
    pub fn parse(body: Vec<u8>) -> Result<Pack, DecodeError> {
        let input = &mut body.as_slice();
        let count = read_u64(input)? as usize;
        if count > PACK_SERIES_MAX {
            return Err(DecodeError::Invalid { what: "number of series in a pack", got: count as u64 });
        }
        let rows = Rows { column: 0, first: 0, count: 0 };
        let empty =
            PackSeries { metric: 0, series: 0, rows, codec: ValueCodec::Raw, has_histograms: false, begin: 0, end: 0 };
        let mut series = vec![empty; count];
        let mut delta = |set: &dyn Fn(&mut PackSeries, u32), max: u64| -> Result<(), DecodeError> {
            let mut value = 0i64;
            for one in &mut series {
                value = value.wrapping_add(read_i64(input)?);
                if value as u64 > max {
                    return Err(DecodeError::Invalid { what: "entry of a pack's directory", got: value as u64 });
                }
                set(one, value as u32);
            }
            Ok(())
        };
        let any = u64::from(u32::MAX);
        delta(&|s, v| s.metric = v, any)?;
        delta(&|s, v| s.series = v, any)?;
        delta(&|s, v| s.rows.column = v, any)?;
        delta(&|s, v| s.rows.first = v, ROWS_MAX)?;
        delta(&|s, v| s.rows.count = v, ROWS_MAX)?;
        for one in &mut series {
            let codec = read_u8(input, "value codec")?;
            one.codec = ValueCodec::try_from(codec & !HAS_HISTOGRAMS)?;
            one.has_histograms = codec & HAS_HISTOGRAMS != 0;
        }
        let mut end = 0u64;
        for one in &mut series {
            one.begin = end as u32;
            end = end.saturating_add(read_u64(input)?).min(any);
            one.end = end as u32;
        }
        let values_at = body.len() - input.len();
        read_bytes(input, end as usize, "values")?;
        if !input.is_empty() {
            return Err(DecodeError::TrailingBytes { excess: input.len() });
        }
        for one in &mut series {
            one.begin += values_at as u32;
            one.end += values_at as u32;
        }
        Ok(Pack { series, body })
    }

    /// All stretches, ascending by (metric, series), then by time.
    pub fn series(&self) -> &[PackSeries] {
        &self.series
    }

    /// The stretches of the series with this key: none if the pack does not have it, rarely more than one.
    pub fn find(&self, key: SortKey) -> &[PackSeries] {
        let wanted = (key.metric, key.series);
        let first = self.series.partition_point(|s| (s.metric, s.series) < wanted);
        let count = self.series[first..].iter().take_while(|s| (s.metric, s.series) == wanted).count();
        &self.series[first..first + count]
    }

    /// Appends all values of one of this pack's series, marks in the places of its histograms, which go to `beside`. `times` are those of its rows.
    #[inline]
    pub fn values(
        &self,
        series: &PackSeries,
        times: &[Timestamp],
        out: &mut Vec<f64>,
        beside: &mut Beside,
    ) -> Result<(), DecodeError> {
        let bytes = &self.body[series.begin as usize..series.end as usize];
        if series.has_histograms {
            return mixed_values(series, bytes, times, out, beside);
        }
        decode_values(series.codec, bytes, series.rows.count as usize, out)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.body.capacity() + self.series.capacity() * size_of::<PackSeries>()
    }
}

fn mixed_values(
    series: &PackSeries,
    mut input: &[u8],
    times: &[Timestamp],
    out: &mut Vec<f64>,
    beside: &mut Beside,
) -> Result<(), DecodeError> {
    let count = series.rows.count as usize;
    let length = read_u64(&mut input)?;
    let floats = read_bytes(&mut input, usize::try_from(length).unwrap_or(usize::MAX), "values")?;
    let rows = read_rows(&mut input, count)?;
    let mut decoded = Vec::new();
    decode_histograms(input, rows.len(), &mut decoded)?;
    let mut values = Vec::new();
    decode_values(series.codec, floats, count - rows.len(), &mut values)?;
    if times.len() != count {
        return Err(DecodeError::Invalid { what: "number of rows", got: times.len() as u64 });
    }
    let mut of_histograms = rows.into_iter().zip(decoded).peekable();
    let mut values = values.into_iter();
    for (row, timestamp) in times.iter().enumerate() {
        let mark = of_histograms.next_if(|(of, _)| *of == row).map(|(_, histogram)| beside.add(*timestamp, histogram));
        // As many as there are other rows.
        out.extend(mark.or_else(|| values.next()));
    }
    Ok(())
}

/// Reads the rows of some histograms among `count`, ascending, from the front of `input`.
fn read_rows(input: &mut &[u8], count: usize) -> Result<Vec<usize>, DecodeError> {
    let rows = read_u64(input)?;
    if rows > count as u64 || rows > input.len() as u64 {
        return Err(DecodeError::Invalid { what: "number of histograms", got: rows });
    }
    let mut next = 0u64;
    (0..rows)
        .map(|at| {
            let above = read_u64(input)?;
            next = next.saturating_add(above);
            if next >= count as u64 || (at > 0 && above == 0) {
                return Err(DecodeError::Invalid { what: "row of a histogram", got: next });
            }
            Ok(next as usize)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_pack() -> Vec<u8> {
        let mut builder = PackBuilder::default();
        for series in 0..5u32 {
            let values: Vec<f64> = (0..4).map(|row| f64::from(series * 10 + row)).collect();
            let key = SortKey { tenant: 0, metric: series / 2, series };
            builder.push(key, Rows { column: series % 2, first: series, count: 4 }, &values);
        }
        let mut body = Vec::new();
        builder.finish(&mut body);
        body
    }

    #[test]
    fn series_are_found_by_key_with_their_values() {
        let pack = Pack::parse(sample_pack()).unwrap();
        let [found] = pack.find(SortKey { tenant: 0, metric: 1, series: 3 }) else { panic!("one stretch") };
        assert_eq!(found.rows, Rows { column: 1, first: 3, count: 4 });
        let mut values = Vec::new();
        pack.values(found, &[0; 4], &mut values, &mut Beside::default()).unwrap();
        assert_eq!(values, [30.0, 31.0, 32.0, 33.0]);
        assert!(pack.find(SortKey { tenant: 0, metric: 2, series: 3 }).is_empty());
    }

    fn histogram(number: u64) -> Histogram {
        Histogram {
            counter_reset_hint: bellwether_model::CounterResetHint::Gauge,
            schema: 0,
            zero_threshold: 0.0,
            sum: 1.5,
            counts: bellwether_model::Counts::Integer {
                count: number,
                zero_count: 0,
                positive: vec![number],
                negative: vec![],
            },
            positive_spans: vec![bellwether_model::Span { offset: 2, length: 1 }],
            negative_spans: vec![],
            custom_values: vec![],
        }
    }

    fn mixed_pack() -> Vec<u8> {
        let mut builder = PackBuilder::default();
        let key = |series| SortKey { tenant: 0, metric: 0, series };
        let rows = Rows { column: 0, first: 0, count: 4 };
        builder.push(key(1), rows, &[1.0; 4]);
        builder.push_mixed(key(2), rows, &[7.0, 0.0, 8.0, 0.0], [1, 3].into_iter(), &[histogram(3), histogram(5)]);
        let mut body = Vec::new();
        assert_eq!(builder.finish(&mut body), PACK_VERSION);
        body
    }

    #[test]
    fn histograms_are_among_the_values() {
        let body = mixed_pack();
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["020000020200000000080001820825000000000000f03f04000e4002020102021800010401000001000108000000000000f83f064004054000064004"].assert_eq(&hex);
        let pack = Pack::parse(body).unwrap();
        let [found] = pack.find(SortKey { tenant: 0, metric: 0, series: 2 }) else { panic!("one stretch") };
        let (mut values, mut beside) = (Vec::new(), Beside::default());
        let times = [10, 20, 30, 40];
        pack.values(found, &times, &mut values, &mut beside).unwrap();
        assert_eq!((values[0], values[2], values.len()), (7.0, 8.0, 4));
        assert_eq!(beside.take(&times, &values), [(1, histogram(3)), (3, histogram(5))]);
        assert_eq!(PackBuilder::default().finish(&mut Vec::new()), PACK_VERSION_FIRST);
    }

    #[test]
    fn damaged_bodies_are_errors() {
        [sample_pack(), mixed_pack()].into_iter().for_each(damage_is_an_error);
    }

    fn damage_is_an_error(body: Vec<u8>) {
        for at in 0..body.len() {
            assert!(Pack::parse(body[..at].to_vec()).is_err());
            for bit in 0..8 {
                let mut damaged = body.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(pack) = Pack::parse(damaged) {
                    for series in pack.series() {
                        let times = vec![0; series.rows.count.min(64) as usize];
                        let _ = pack.values(series, &times, &mut Vec::new(), &mut Beside::default());
                    }
                }
            }
        }
    }
}
