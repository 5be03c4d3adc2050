//! The samples of heads in the order in which runs take them: by Window, and inside one by series.
//!
//! A flush may touch thousands of Windows, and a run is written from its first series to its last. So one pass over the heads notes where
//! the samples of each series in each Window are, 20 bytes each; sorted by Window, the notes are read again run by run, one run at a time.

use bellwether_model::{Sample, TimeRange, Timestamp};
use bellwether_probe::{Bug, planted};

use crate::head::{ChunkAt, Head};
use crate::histograms::Beside;
use crate::index::SortKey;
use crate::merge::merge;
use crate::tombstone::{Tombstone, bury};
use crate::window::WindowStart;

use std::ops::Range;
use std::sync::Arc;

/// Some samples of a series that lie in one Window.
struct Piece {
    /// Its Window's position among all Windows.
    window: u32,
    /// Its series' position in the order of runs.
    series: u32,
    head: u32,
    source: Source,
}

enum Source {
    Chunk(ChunkAt),
    /// A range of the late samples, by its number.
    Late(u32),
}

/// See the module.
pub struct Pieces<'a> {
    heads: &'a [Arc<Head>],
    series: &'a [SortKey],
    windows: &'a [WindowStart],
    pieces: Vec<Piece>,
    late: Vec<Sample>,
    late_ranges: Vec<Range<u32>>,
}

impl<'a> Pieces<'a> {
    /// Notes where the samples of `series` in `windows` are; both are ascending.
    pub fn new(heads: &'a [Arc<Head>], series: &'a [SortKey], windows: &'a [WindowStart]) -> Pieces<'a> {
        let mut noted =
            Pieces { heads, series, windows, pieces: Vec::new(), late: Vec::new(), late_ranges: Vec::new() };
        let mut latest = (TimeRange::new(1, 0), None);
        let mut position = |timestamp: Timestamp| {
            if !latest.0.contains(timestamp) {
                let window = WindowStart::of(timestamp);
                latest = (window.range(), windows.binary_search(&window).ok().map(|at| at as u32));
            }
            latest.1
        };
        for (at, key) in series.iter().enumerate() {
            for (head_at, head) in heads.iter().enumerate() {
                let (series, head_at) = (at as u32, head_at as u32);
                head.chunks(key.series, |at, chunk| {
                    if let Some(window) = position(chunk.first_timestamp()) {
                        noted.pieces.push(Piece { window, series, head: head_at, source: Source::Chunk(at) });
                    }
                });
                if planted(Bug::DropLateAtFlush) {
                    continue;
                }
                let late = head.late_samples(key.series, TimeRange::ALL);
                for some in late.chunk_by(|a, b| WindowStart::of(a.timestamp) == WindowStart::of(b.timestamp)) {
                    if let Some(window) = position(some[0].timestamp) {
                        let first = noted.late.len() as u32;
                        noted.late.extend_from_slice(some);
                        let source = Source::Late(noted.late_ranges.len() as u32);
                        noted.late_ranges.push(first..noted.late.len() as u32);
                        noted.pieces.push(Piece { window, series, head: head_at, source });
                    }
                }
            }
        }
        // Stable: inside a Window they stay by series, then by head, a chunk before what came late.
        noted.pieces.sort_by_key(|piece| piece.window);
        noted
    }

    /// The pieces of each Window, with its position.
    pub fn by_window(&self) -> impl Iterator<Item = (usize, WindowPieces<'_>)> {
        let windows = self.pieces.chunk_by(|a, b| a.window == b.window);
        windows.map(|pieces| {
            let at = pieces[0].window as usize;
            (at, WindowPieces { all: self, pieces, window: self.windows[at].range() })
        })
    }
}

/// The samples of one Window.
pub struct WindowPieces<'a> {
    all: &'a Pieces<'a>,
    pieces: &'a [Piece],
    window: TimeRange,
}

impl WindowPieces<'_> {
    /// Calls `visit` with each series and its samples from `floor` on, in the order of runs. Newer heads win; what tombstones hide is left out.
    pub fn visit<E>(
        &self,
        tombstones: &[Tombstone],
        floor: Timestamp,
        scratch: &mut Scratch,
        mut visit: impl FnMut(SortKey, &[Timestamp], &[f64], &mut Beside) -> Result<(), E>,
    ) -> Result<(), E> {
        for of_series in self.pieces.chunk_by(|a, b| a.series == b.series) {
            let key = self.all.series[of_series[0].series as usize];
            scratch.samples.clear();
            scratch.beside.clear();
            for of_head in of_series.chunk_by(|a, b| a.head == b.head) {
                let head = &self.all.heads[of_head[0].head as usize];
                scratch.of_head.clear();
                scratch.beside.add_chunks(head.histograms(key.series), self.window);
                for piece in of_head {
                    match &piece.source {
                        Source::Chunk(at) => {
                            head.read_chunk(*at, &mut scratch.of_head.timestamps, &mut scratch.of_head.values);
                        }
                        Source::Late(at) => {
                            let range = &self.all.late_ranges[*at as usize];
                            scratch.late.set(&self.all.late[range.start as usize..range.end as usize]);
                            scratch.of_head.overlay(&scratch.late, &mut scratch.merged);
                        }
                    }
                }
                let Columns { timestamps, values } = &mut scratch.of_head;
                bury(tombstones, head.layer, key.series, 0, timestamps, values);
                scratch.samples.overlay(&scratch.of_head, &mut scratch.merged);
            }
            let Columns { timestamps, values } = &scratch.samples;
            let from = timestamps.partition_point(|timestamp| *timestamp < floor);
            visit(key, &timestamps[from..], &values[from..], &mut scratch.beside)?;
        }
        Ok(())
    }
}

/// Buffers that series are read into.
#[derive(Default)]
pub struct Scratch {
    samples: Columns,
    of_head: Columns,
    late: Columns,
    merged: Columns,
    beside: Beside,
}

#[derive(Default)]
struct Columns {
    timestamps: Vec<Timestamp>,
    values: Vec<f64>,
}

impl Columns {
    fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    fn set(&mut self, samples: &[Sample]) {
        self.clear();
        self.timestamps.extend(samples.iter().map(|sample| sample.timestamp));
        self.values.extend(samples.iter().map(|sample| sample.value));
    }

    /// Puts a newer layer over this one.
    fn overlay(&mut self, newer: &Columns, merged: &mut Columns) {
        if newer.timestamps.is_empty() {
            return;
        }
        merged.clear();
        let Columns { timestamps, values } = merged;
        merge(&self.timestamps, &self.values, &newer.timestamps, &newer.values, timestamps, values);
        std::mem::swap(self, merged);
    }
}
