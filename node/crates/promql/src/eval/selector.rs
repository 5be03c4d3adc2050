//! Series from fetched data: the newest sample at each step, or all samples of each step's range.

use std::borrow::Cow;
use std::sync::Arc;

use bellwether_model::is_stale_marker;

use crate::column::Column;
use crate::eval::collect::Duplicates;
use crate::eval::{Evaluator, Sink};
use crate::functions::extended::interpolate;
use crate::outcome::EvalError;
use crate::plan::{CountedBy, RangeNode, RangeSource, SelectorNode};
use crate::series::{FetchedSeries, SeriesLabels};
use crate::windows::{Grid, Windows};

/// The samples of one series, without stale markers, and what each step sees of them.
pub(crate) struct RangeData<'d> {
    pub(crate) labels: &'d SeriesLabels,
    pub(crate) timestamps: &'d [i64],
    pub(crate) values: &'d [f64],
    pub(crate) windows: &'d Windows,
}

/// Where the newest sample of each step is in one timestamp column.
#[derive(Default)]
struct Newest {
    at: Vec<u32>,
    /// No step is without a sample.
    everywhere: bool,
    generation: u64,
}

impl Newest {
    /// Derives the places from the windows, if those have changed.
    fn follow(&mut self, windows: &Windows) {
        if self.generation == windows.generation {
            return;
        }
        self.generation = windows.generation;
        self.at.clear();
        self.at.extend(windows.from.iter().zip(&windows.to).map(|(from, to)| if from < to { to - 1 } else { NOWHERE }));
        self.everywhere = !self.at.contains(&NOWHERE);
    }

    /// Fills an empty column; gives the number of samples found.
    fn read(&self, series: &FetchedSeries, column: &mut Column, what: &impl Fn(&[i64], &[f64], usize) -> f64) -> usize {
        let (timestamps, values) = (&series.timestamps[..], &series.values[..]);
        if self.everywhere {
            let mut any_stale = false;
            for (slot, at) in column.values.iter_mut().zip(&self.at) {
                any_stale |= is_stale_marker(values[*at as usize]);
                *slot = what(timestamps, values, *at as usize);
            }
            if !any_stale {
                column.present.fill();
                return self.at.len();
            }
        }
        let mut found = 0;
        for (step, at) in self.at.iter().enumerate().filter(|(_, at)| **at != NOWHERE) {
            if !is_stale_marker(values[*at as usize]) {
                column.set(step, what(timestamps, values, *at as usize));
                found += 1;
            }
        }
        found
    }
}

/// A step without a sample.
const NOWHERE: u32 = u32::MAX;

impl Evaluator<'_> {
    /// The newest sample of each series within the lookback; a stale marker hides the series.
    pub(crate) fn selector(&self, node: &SelectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        if node.smoothed {
            return self.smoothed(node, grid, sink);
        }
        self.newest(node, grid, sink, |_, values, at| values[at])
    }

    /// The value of each series at each step, on the line from its newest sample to its next, both within the lookback.
    fn smoothed(&self, node: &SelectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let reach_ms = self.lookback_ms.saturating_mul(2);
        let mut windows = Windows::new(grid, node.shift.later(self.lookback_ms), reach_ms);
        let mut column = Column::absent(grid.steps);
        self.selected_ranges(node.selection, &mut windows, &mut |data: &RangeData<'_>| {
            column.reset(grid.steps);
            for step in 0..grid.steps {
                let (time, seen) = (node.shift.apply(grid.time(step)), data.windows.bounds(step));
                let (times, values) = (&data.timestamps[seen.clone()], &data.values[seen]);
                let next = times.partition_point(|t| *t <= time);
                let Some(newest) = next.checked_sub(1) else { continue };
                let value = if next == times.len() || times[newest] == time {
                    values[newest]
                } else {
                    interpolate((times[newest], values[newest]), (times[next], values[next]), time)
                };
                column.set(step, value);
            }
            self.meter.work(grid.steps)?;
            if column.present.any() { sink(data.labels, &mut column) } else { Ok(()) }
        })
    }

    /// The times of those samples, in seconds.
    pub(crate) fn sample_times(&self, node: &SelectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut push = |labels: &SeriesLabels, column: &mut Column| sink(&self.drop_name(labels), column);
        let time = |timestamps: &[i64], _: &[f64], at: usize| timestamps[at] as f64 / 1000.0;
        if self.stay_distinct(node.one_name) {
            return self.newest(node, grid, &mut push, time);
        }
        let mut set = self.new_set(Duplicates::Merge);
        self.newest(node, grid, &mut |labels, column| set.push(&self.drop_name(labels), column), time)?;
        set.push_into(&mut push)
    }

    pub(crate) fn newest(
        &self,
        node: &SelectorNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
        what: impl Fn(&[i64], &[f64], usize) -> f64,
    ) -> Result<(), EvalError> {
        let mut windows = Windows::new(grid, node.shift, self.lookback_ms);
        let mut newest = Newest::default();
        let mut column = Column::absent(grid.steps);
        let counted = self.tally.counted();
        self.selected(node.selection, &mut |series| {
            windows.of_shared(&series.timestamps);
            newest.follow(&windows);
            column.reset(grid.steps);
            let found = newest.read(series, &mut column, &what);
            self.meter.work(grid.steps)?;
            self.meter.samples(found)?;
            if found > 0 {
                self.tally.add(counted, column.present.iter().map(|step| (step, 1)));
                sink(&SeriesLabels::new(series.labels.clone()), &mut column)?;
            }
            Ok(())
        })
    }

    /// Visits every series of a range, and the bounds of each step's window.
    pub(crate) fn ranges(
        &self,
        node: &RangeNode,
        grid: &Grid,
        visit: &mut dyn FnMut(&RangeData<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let (before_ms, behind_ms) = node.reach(self.lookback_ms);
        let mut windows = Windows::new(grid, node.shift.later(behind_ms), before_ms.saturating_add(behind_ms));
        let counted = self.tally.counted();
        let visit = &mut |data: &RangeData<'_>| {
            // What is asked for a subquery's own sake has been counted below it.
            if !matches!(node.source, RangeSource::Subquery { counted: CountedBy::Every, .. }) {
                self.tally.add(counted, (0..grid.steps).map(|step| (step, data.windows.bounds(step).len() as u64)));
            }
            visit(data)
        };
        match &node.source {
            RangeSource::Selection { selection, .. } => self.selected_ranges(*selection, &mut windows, visit),
            RangeSource::Subquery { expr, step_ms, counted } => {
                if grid.steps == 0 {
                    return Ok(());
                }
                let inner = node.inner_grid(grid, *step_ms);
                let mut account = self.meter.account();
                // The shared times, bounds inside, one column in the making, and its compacted copy.
                account.take(inner.steps.saturating_mul(6 * size_of::<f64>()))?;
                let times: Arc<[i64]> = (0..inner.steps).map(|step| inner.time(step)).collect();
                let mut take = |labels: &SeriesLabels, column: &mut Column| {
                    let count = column.present.count();
                    self.meter.samples(count)?;
                    let (timestamps, values) = if count == inner.steps {
                        windows.of_shared(&times);
                        (Cow::Borrowed(&times[..]), Cow::Borrowed(&column.values[..]))
                    } else {
                        let timestamps: Vec<i64> = column.present.iter().map(|step| times[step]).collect();
                        windows.of_own(&timestamps);
                        (Cow::Owned(timestamps), column.present.iter().map(|step| column.values[step]).collect())
                    };
                    visit(&RangeData { labels, timestamps: &timestamps, values: &values, windows: &windows })
                };
                self.tally.within(*counted, || self.vector(expr, &inner, &mut take))
            }
        }
    }

    fn selected_ranges(
        &self,
        selection: usize,
        windows: &mut Windows,
        visit: &mut dyn FnMut(&RangeData<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let (mut fresh_times, mut fresh_values) = (Vec::new(), Vec::new());
        self.selected(selection, &mut |series| {
            let labels = SeriesLabels::new(series.labels.clone());
            self.meter.samples(series.values.len())?;
            // Few series have stale markers: the others keep the shared column.
            let any_stale = series.values.iter().fold(false, |any, value| any | is_stale_marker(*value));
            let (mut timestamps, mut values) = (&series.timestamps[..], &series.values[..]);
            if any_stale {
                fresh_times.clear();
                fresh_values.clear();
                for (time, value) in timestamps.iter().zip(values).filter(|(_, value)| !is_stale_marker(**value)) {
                    fresh_times.push(*time);
                    fresh_values.push(*value);
                }
                (timestamps, values) = (&fresh_times, &fresh_values);
                windows.of_own(timestamps);
            } else {
                windows.of_shared(&series.timestamps);
            }
            visit(&RangeData { labels: &labels, timestamps, values, windows })
        })
    }
}
