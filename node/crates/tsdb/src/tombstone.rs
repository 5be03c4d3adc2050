//! Deletions that wait for the next merge of the runs they concern.

use bellwether_chunk::DecodeError;
use bellwether_chunk::varint::{read_i64, read_u64, write_i64, write_u64};
use bellwether_model::{TimeRange, Timestamp};

/// Format of a stored tombstone.
pub const TOMBSTONE_VERSION: u8 = 1;

/// Samples of some series inside a range that were there when the deletion came through the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Its place in the log.
    pub log_index: u64,
    /// It concerns samples of layers below this one; what is written later stays.
    pub layer: u64,
    /// The times it concerns.
    pub range: TimeRange,
    /// The series it concerns, ascending.
    pub series: Vec<u32>,
}

impl Tombstone {
    /// Whether it hides a sample at `timestamp` of `series` in a layer.
    fn concerns(&self, layer: u64, series: u32) -> bool {
        layer < self.layer && self.series.binary_search(&series).is_ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.series.len() * 2);
        write_u64(&mut out, self.log_index);
        write_u64(&mut out, self.layer);
        write_i64(&mut out, self.range.first);
        write_i64(&mut out, self.range.last);
        write_u64(&mut out, self.series.len() as u64);
        let mut previous = 0;
        for series in &self.series {
            write_u64(&mut out, u64::from(series - previous));
            previous = *series;
        }
        out
    }

    pub fn decode(mut input: &[u8]) -> Result<Tombstone, DecodeError> {
        let input = &mut input;
        let (log_index, layer) = (read_u64(input)?, read_u64(input)?);
        let range = TimeRange::new(read_i64(input)?, read_i64(input)?);
        let count = read_u64(input)?;
        if count > input.len() as u64 {
            return Err(DecodeError::Invalid { what: "number of series", got: count });
        }
        let mut series = Vec::with_capacity(count as usize);
        let mut next = 0u64;
        for _ in 0..count {
            next = next.saturating_add(read_u64(input)?);
            series.push(u32::try_from(next).map_err(|_| DecodeError::Invalid { what: "series ref", got: next })?);
        }
        Ok(Tombstone { log_index, layer, range, series })
    }
}

/// Removes from two columns, from position `start` on, what tombstones hide in a layer.
pub fn bury(
    tombstones: &[Tombstone],
    layer: u64,
    series: u32,
    start: usize,
    timestamps: &mut Vec<Timestamp>,
    values: &mut Vec<f64>,
) {
    for tombstone in tombstones.iter().filter(|tombstone| tombstone.concerns(layer, series)) {
        let first = start + timestamps[start..].partition_point(|t| *t < tombstone.range.first);
        let end = start + timestamps[start..].partition_point(|t| *t <= tombstone.range.last);
        timestamps.drain(first..end.max(first));
        values.drain(first..end.max(first));
    }
}

/// Whether any tombstone hides something of a series in a layer.
pub fn hides(tombstones: &[Tombstone], layer: u64, series: u32) -> bool {
    tombstones.iter().any(|tombstone| tombstone.concerns(layer, series))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone() -> Tombstone {
        Tombstone { log_index: 9, layer: 3, range: TimeRange::new(10, 20), series: vec![1, 5] }
    }

    #[test]
    fn only_older_layers_are_buried() {
        let check = |layer, series| {
            let (mut timestamps, mut values) = (vec![5, 10, 15, 20, 21], vec![0.0; 5]);
            bury(&[tombstone()], layer, series, 0, &mut timestamps, &mut values);
            assert_eq!(timestamps.len(), values.len());
            timestamps
        };
        assert_eq!(check(2, 5), [5, 21]);
        assert_eq!(check(3, 5), [5, 10, 15, 20, 21]);
        assert_eq!(check(2, 4), [5, 10, 15, 20, 21]);
    }

    #[test]
    fn stored_form_is_golden_and_round_trips() {
        let bytes = tombstone().encode();
        assert_eq!(bytes, [9, 3, 20, 40, 2, 1, 4]);
        assert_eq!(Tombstone::decode(&bytes).unwrap(), tombstone());
        for at in 0..bytes.len() {
            assert!(Tombstone::decode(&bytes[..at]).is_err());
        }
    }
}
