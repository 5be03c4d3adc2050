//! A pack: the samples of neighbouring series inside one run, stored and compressed as one value.
//!
//! The body is a directory in columns, then the encoded values of all series end to end. Timestamps are not here: a series names a
//! timestamp column of its run and the rows that are its own. Byte diagram: `node/docs/format/shard.md`.

use bellwether_chunk::varint::{read_bytes, read_i64, read_u8, read_u64, write_i64, write_u64};
use bellwether_chunk::{DecodeError, Effort, SAMPLES_PER_CHUNK_MAX, Scratch, ValueCodec, decode_values, encode_values};

use crate::index::SortKey;
use crate::record::RECORD_BYTES_MAX;

/// Format of the body.
pub const PACK_VERSION: u8 = 1;
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
        self.series.push(PackSeries { metric: key.metric, series: key.series, rows, codec, begin, end });
    }

    /// Writes the body to `out` and empties the pack.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
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
        out.extend(self.series.iter().map(|s| s.codec as u8));
        for series in &self.series {
            write_u64(out, u64::from(series.end - series.begin));
        }
        out.extend_from_slice(&self.values);
        self.first = None;
        self.series.clear();
        self.values.clear();
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
        let empty = PackSeries { metric: 0, series: 0, rows, codec: ValueCodec::Raw, begin: 0, end: 0 };
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
            one.codec = ValueCodec::try_from(read_u8(input, "value codec")?)?;
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

    /// Appends all values of one of this pack's series.
    pub fn values(&self, series: &PackSeries, out: &mut Vec<f64>) -> Result<(), DecodeError> {
        let bytes = &self.body[series.begin as usize..series.end as usize];
        decode_values(series.codec, bytes, series.rows.count as usize, out)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.body.capacity() + self.series.capacity() * size_of::<PackSeries>()
    }
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
        pack.values(found, &mut values).unwrap();
        assert_eq!(values, [30.0, 31.0, 32.0, 33.0]);
        assert!(pack.find(SortKey { tenant: 0, metric: 2, series: 3 }).is_empty());
    }

    #[test]
    fn damaged_bodies_are_errors() {
        let body = sample_pack();
        for at in 0..body.len() {
            assert!(Pack::parse(body[..at].to_vec()).is_err());
            for bit in 0..8 {
                let mut damaged = body.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(pack) = Pack::parse(damaged) {
                    for series in pack.series() {
                        let _ = pack.values(series, &mut Vec::new());
                    }
                }
            }
        }
    }
}
