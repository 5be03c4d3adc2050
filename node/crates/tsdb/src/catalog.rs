//! Which runs are alive: an immutable value, replaced as a whole, so that a query keeps what it began with.

use std::collections::BTreeMap;

use bellwether_chunk::DecodeError;
use bellwether_chunk::varint::{read_i64, read_u8, read_u64, write_i64, write_u64};
use bellwether_model::{TimeRange, Timestamp};

use crate::keys::RunId;
use crate::run::RunMeta;
use crate::window::WindowStart;

/// Format of a Window's record.
pub const WINDOW_VERSION: u8 = 1;

/// The runs of one Window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WindowRuns {
    /// Its one run is what a seal would write.
    pub sealed: bool,
    /// The group's time when a run was last added.
    pub changed_at: Timestamp,
    /// Oldest layer first; newer ones win.
    pub runs: Vec<RunMeta>,
}

/// All Windows that have a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// By start.
    pub windows: BTreeMap<WindowStart, WindowRuns>,
}

impl Catalog {
    /// Windows with a time inside `range`, ascending.
    pub fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = (WindowStart, &WindowRuns)> {
        let from = if range.is_empty() { WindowStart(Timestamp::MAX) } else { WindowStart::of(range.first) };
        self.windows
            .range(from..)
            .map(|(start, runs)| (*start, runs))
            .take_while(move |(start, _)| start.0 <= range.last)
            .filter(move |(start, _)| start.range().overlaps(range))
    }

    /// Every run with its Window.
    pub fn all(&self) -> impl Iterator<Item = (WindowStart, &RunMeta)> {
        self.windows.iter().flat_map(|(start, window)| window.runs.iter().map(|run| (*start, run)))
    }
}

impl WindowRuns {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(u8::from(self.sealed));
        write_i64(&mut out, self.changed_at);
        write_u64(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            write_u64(&mut out, run.id.0);
            write_u64(&mut out, run.layer);
            write_i64(&mut out, run.times.first);
            write_i64(&mut out, run.times.last);
            write_u64(&mut out, run.samples);
            write_u64(&mut out, run.series);
            write_u64(&mut out, run.bytes);
        }
        out
    }

    pub fn decode(mut input: &[u8]) -> Result<WindowRuns, DecodeError> {
        let input = &mut input;
        let sealed = read_u8(input, "seal flag")? != 0;
        let changed_at = read_i64(input)?;
        let count = read_u64(input)?;
        if count > input.len() as u64 {
            return Err(DecodeError::Invalid { what: "number of runs", got: count });
        }
        let mut runs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            runs.push(RunMeta {
                id: RunId(read_u64(input)?),
                layer: read_u64(input)?,
                times: TimeRange::new(read_i64(input)?, read_i64(input)?),
                samples: read_u64(input)?,
                series: read_u64(input)?,
                bytes: read_u64(input)?,
            });
        }
        Ok(WindowRuns { sealed, changed_at, runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_model::limits::WINDOW_MS;

    fn run(id: u64) -> RunMeta {
        RunMeta { id: RunId(id), layer: id, times: TimeRange::new(-1, 2), samples: 3, series: 4, bytes: 300 }
    }

    #[test]
    fn window_record_is_golden_and_round_trips() {
        let window = WindowRuns { sealed: true, changed_at: 100, runs: vec![run(7)] };
        let bytes = window.encode();
        assert_eq!(bytes, [1, 0xc8, 1, 1, 7, 7, 1, 4, 3, 4, 0xac, 2]);
        assert_eq!(WindowRuns::decode(&bytes).unwrap(), window);
        for at in 0..bytes.len() {
            assert!(WindowRuns::decode(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn a_range_finds_the_windows_that_it_touches() {
        let mut catalog = Catalog::default();
        for at in -1..3 {
            catalog.windows.insert(WindowStart(at * WINDOW_MS), WindowRuns::default());
        }
        let touched = |first, last| -> Vec<i64> {
            catalog.overlapping(TimeRange::new(first, last)).map(|(window, _)| window.0 / WINDOW_MS).collect()
        };
        assert_eq!(touched(-1, 0), [-1, 0]);
        assert_eq!(touched(WINDOW_MS - 1, WINDOW_MS - 1), [0]);
        assert_eq!(touched(i64::MIN, i64::MAX), [-1, 0, 1, 2]);
        assert!(touched(5, 4).is_empty());
    }
}
