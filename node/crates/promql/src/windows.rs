//! Which samples of a timestamp column each step sees.
//!
//! Ranges and lookback are open on the left and closed on the right. The bounds depend on the timestamps alone, so
//! they are computed once for a column and serve all series that share it.

use std::sync::Arc;

use bellwether_model::Timestamp;

use crate::plan::ResolvedShift;

/// The times of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: Timestamp,
    pub(crate) step_ms: i64,
    pub(crate) steps: usize,
}

impl Grid {
    pub(crate) fn at(time: Timestamp) -> Grid {
        Grid { start: time, step_ms: 1, steps: 1 }
    }

    /// From `start` to `end`, both inside if a step falls on `end`.
    pub(crate) fn span(start: Timestamp, end: Timestamp, step_ms: i64) -> Grid {
        let steps = if end < start { 0 } else { (i128::from(end) - i128::from(start)) / i128::from(step_ms) + 1 };
        Grid { start, step_ms, steps: steps.try_into().unwrap_or(usize::MAX) }
    }

    #[inline]
    pub(crate) fn time(&self, step: usize) -> Timestamp {
        self.start.saturating_add(self.step_ms.saturating_mul(step as i64))
    }

    pub(crate) fn end(&self) -> Timestamp {
        self.time(self.steps.saturating_sub(1))
    }
}

/// The samples `from[step]..to[step]` that each step sees.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(crate) from: Vec<u32>,
    pub(crate) to: Vec<u32>,
    /// Where each step's range ends.
    pub(crate) ends: Vec<Timestamp>,
    pub(crate) range_ms: i64,
    /// Changes whenever the bounds change: what was derived from them is then out of date.
    pub(crate) generation: u64,
    column: Option<Arc<[i64]>>,
}

impl Windows {
    pub(crate) fn new(grid: &Grid, shift: ResolvedShift, range_ms: i64) -> Windows {
        let ends = (0..grid.steps).map(|step| shift.apply(grid.time(step))).collect();
        Windows { from: vec![0; grid.steps], to: vec![0; grid.steps], ends, range_ms, generation: 0, column: None }
    }

    /// Bounds in a column that may be shared with the series before.
    pub(crate) fn of_shared(&mut self, timestamps: &Arc<[i64]>) {
        if self.column.as_ref().is_some_and(|column| Arc::ptr_eq(column, timestamps)) {
            return;
        }
        self.compute(timestamps);
        self.column = Some(timestamps.clone());
    }

    /// Bounds in a column of one series alone.
    pub(crate) fn of_own(&mut self, timestamps: &[i64]) {
        self.column = None;
        self.compute(timestamps);
    }

    // Ends ascend with the steps (or are all the same), so both bounds only move forward.
    fn compute(&mut self, timestamps: &[i64]) {
        self.generation += 1;
        let first_end = self.ends.first().copied().unwrap_or_default();
        let mut from = timestamps.partition_point(|t| *t <= first_end.saturating_sub(self.range_ms));
        let mut to = from;
        for (step, end) in self.ends.iter().enumerate() {
            let begin = end.saturating_sub(self.range_ms);
            while from < timestamps.len() && timestamps[from] <= begin {
                from += 1;
            }
            to = to.max(from);
            while to < timestamps.len() && timestamps[to] <= *end {
                to += 1;
            }
            self.from[step] = from as u32;
            self.to[step] = to as u32;
        }
    }

    #[inline]
    pub(crate) fn bounds(&self, step: usize) -> std::ops::Range<usize> {
        self.from[step] as usize..self.to[step] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(times: &[i64], grid: Grid, range_ms: i64) -> Vec<(u32, u32)> {
        let mut windows = Windows::new(&grid, ResolvedShift::default(), range_ms);
        windows.of_own(times);
        windows.from.iter().copied().zip(windows.to.iter().copied()).collect()
    }

    #[test]
    fn ranges_are_open_on_the_left() {
        let grid = Grid::span(20, 40, 10);
        assert_eq!(bounds(&[0, 10, 20, 30], grid, 10), [(2, 3), (3, 4), (4, 4)]);
        assert_eq!(bounds(&[0, 10, 20, 30], grid, 11), [(1, 3), (2, 4), (3, 4)]);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let grid = Grid::span(i64::MAX - 1, i64::MAX, 1);
        assert_eq!(bounds(&[0, i64::MAX], grid, i64::MAX), [(0, 1), (1, 2)]);
        assert_eq!(bounds(&[0], Grid::at(i64::MIN), i64::MAX), [(0, 0)]);
    }

    #[test]
    fn a_shared_column_is_computed_once() {
        let column: Arc<[i64]> = Arc::from([1, 2, 3]);
        let mut windows = Windows::new(&Grid::at(3), ResolvedShift::default(), 2);
        windows.of_shared(&column);
        let generation = windows.generation;
        windows.of_shared(&column.clone());
        assert_eq!(windows.generation, generation);
    }
}
