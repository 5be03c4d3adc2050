//! Series from fetched data: the newest sample at each step, or all samples of each step's range.

use std::borrow::Cow;
use std::sync::Arc;

use bellwether_model::is_stale_marker;

use crate::column::Column;
use crate::eval::collect::Duplicates;
use crate::eval::histogram_range::HistogramSamples;
use crate::eval::{Evaluator, Sink};
use crate::functions::extended::interpolate;
use crate::histogram::FloatHistogram;
use crate::outcome::EvalError;
use crate::plan::{CountedBy, RangeNode, RangeSource, ResolvedShift, SelectorNode};
use crate::series::{FetchedHistograms, FetchedSeries, SeriesLabels};
use crate::windows::{Grid, Windows};

/// The samples of one series, without stale markers, and what each step sees of them.
pub(crate) struct RangeData<'d> {
    pub(crate) labels: &'d SeriesLabels,
    pub(crate) timestamps: &'d [i64],
    pub(crate) values: &'d [f64],
    pub(crate) windows: &'d Windows,
    /// Those that are histograms.
    pub(crate) histograms: Option<&'d HistogramSamples>,
}

impl RangeData<'_> {
    /// How many samples a step sees.
    pub(crate) fn sample_count(&self, step: usize) -> usize {
        let histograms = self.histograms.map_or(0, |histograms| histograms.windows.bounds(step).len());
        self.windows.bounds(step).len() + histograms
    }

    pub(crate) fn name(&self) -> &str {
        self.labels.value(bellwether_model::METRIC_NAME)
    }
}

/// What is wanted of the newest sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Its value.
    Values,
    /// Its time.
    Times,
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
        self.newest(node, grid, sink, Sight::Values, |_, values, at| values[at])
    }

    /// The value of each series at each step, on the line from its newest sample to its next, both within the lookback.
    fn smoothed(&self, node: &SelectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let reach = (node.shift.later(self.lookback_ms), self.lookback_ms.saturating_mul(2));
        let mut column = Column::absent(grid.steps);
        self.selected_ranges(node.selection, grid, reach, &mut |data: &RangeData<'_>| {
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
            if data.histograms.is_some() {
                self.smoothed_histograms(node, grid, data, &mut column);
            }
            self.meter.work(grid.steps)?;
            if column.any() { sink(data.labels, &mut column) } else { Ok(()) }
        })
    }

    /// The times of those samples, in seconds.
    pub(crate) fn sample_times(&self, node: &SelectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut push = |labels: &SeriesLabels, column: &mut Column| sink(&self.drop_name(labels), column);
        let time = |timestamps: &[i64], _: &[f64], at: usize| timestamps[at] as f64 / 1000.0;
        if self.stay_distinct(node.one_name) {
            return self.newest(node, grid, &mut push, Sight::Times, time);
        }
        let mut set = self.new_set(Duplicates::Merge);
        let mut collect = |labels: &SeriesLabels, column: &mut Column| set.push(&self.drop_name(labels), column);
        self.newest(node, grid, &mut collect, Sight::Times, time)?;
        set.push_into(&mut push)
    }

    pub(crate) fn newest(
        &self,
        node: &SelectorNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
        sight: Sight,
        what: impl Fn(&[i64], &[f64], usize) -> f64,
    ) -> Result<(), EvalError> {
        let mut windows = Windows::new(grid, node.shift, self.lookback_ms);
        let mut histogram_windows = None;
        let mut newest = Newest::default();
        let mut column = Column::absent(grid.steps);
        let counted = self.tally.counted();
        self.selected(node.selection, &mut |series| {
            windows.of_shared(&series.timestamps);
            newest.follow(&windows);
            column.reset(grid.steps);
            let mut found = newest.read(series, &mut column, &what);
            // An account costs something even where nothing is taken: most series have no histograms.
            let mut account = series.histograms.as_ref().map(|_| self.meter.account());
            if let (Some(histograms), Some(account)) = (&series.histograms, &mut account) {
                let windows = histogram_windows.get_or_insert_with(|| Windows::new(grid, node.shift, self.lookback_ms));
                windows.of_shared(&histograms.timestamps);
                // Steps that see one sample share it.
                let mut newest_one: Option<(usize, Arc<FloatHistogram>)> = None;
                let show = |column: &mut Column, step: usize, at: usize| {
                    if sight == Sight::Times {
                        column.set(step, what(&histograms.timestamps, &[], at));
                        return Ok(());
                    }
                    let histogram = match &newest_one {
                        Some((known, histogram)) if *known == at => histogram.clone(),
                        _ => {
                            let histogram = Arc::new(FloatHistogram::from(&histograms.histograms[at]));
                            account.take(histogram.byte_len())?;
                            newest_one.insert((at, histogram)).1.clone()
                        }
                    };
                    column.set_histogram(step, histogram);
                    Ok(())
                };
                newer_histograms(series, histograms, (&newest.at, windows), &mut column, show)?;
                found = column.presence().count();
            }
            self.meter.work(grid.steps)?;
            self.meter.samples(found)?;
            if found > 0 {
                self.tally.add(counted, column.presence().iter().map(|step| (step, 1)));
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
        let counted = self.tally.counted();
        let visit = &mut |data: &RangeData<'_>| {
            // What is asked for a subquery's own sake has been counted below it.
            if !matches!(node.source, RangeSource::Subquery { counted: CountedBy::Every, .. }) {
                self.tally.add(counted, (0..grid.steps).map(|step| (step, data.sample_count(step) as u64)));
            }
            visit(data)
        };
        match &node.source {
            RangeSource::Selection { selection, .. } => {
                let reach = (node.shift.later(behind_ms), before_ms.saturating_add(behind_ms));
                self.selected_ranges(*selection, grid, reach, visit)
            }
            RangeSource::Subquery { expr, step_ms, counted } => {
                if grid.steps == 0 {
                    return Ok(());
                }
                let mut windows = Windows::new(grid, node.shift, before_ms);
                let inner = node.inner_grid(grid, *step_ms);
                let mut account = self.meter.account();
                // The shared times, bounds inside, one column in the making, and its compacted copy.
                account.take(inner.steps.saturating_mul(6 * size_of::<f64>()))?;
                let times: Arc<[i64]> = (0..inner.steps).map(|step| inner.time(step)).collect();
                let histogram_windows = || Windows::new(grid, node.shift, before_ms);
                let mut take = |labels: &SeriesLabels, column: &mut Column| {
                    let count = column.present.count();
                    self.meter.samples(column.presence().count())?;
                    let histograms = column.histograms.as_ref().map(|histograms| {
                        let samples = histograms.iter().map(|(step, histogram)| (times[step], histogram.clone()));
                        HistogramSamples::new(samples.collect(), histogram_windows())
                    });
                    let (timestamps, values) = if count == inner.steps {
                        windows.of_shared(&times);
                        (Cow::Borrowed(&times[..]), Cow::Borrowed(&column.values[..]))
                    } else {
                        let timestamps: Vec<i64> = column.present.iter().map(|step| times[step]).collect();
                        windows.of_own(&timestamps);
                        (Cow::Owned(timestamps), column.present.iter().map(|step| column.values[step]).collect())
                    };
                    let (timestamps, values, windows) = (&timestamps[..], &values[..], &windows);
                    visit(&RangeData { labels, timestamps, values, windows, histograms: histograms.as_ref() })
                };
                self.tally.within(*counted, || self.vector(expr, &inner, &mut take))
            }
        }
    }

    /// `reach` is how the windows lie to the steps: their shift, and how long they are.
    fn selected_ranges(
        &self,
        selection: usize,
        grid: &Grid,
        (shift, reach_ms): (ResolvedShift, i64),
        visit: &mut dyn FnMut(&RangeData<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let mut windows = Windows::new(grid, shift, reach_ms);
        let (mut fresh_times, mut fresh_values) = (Vec::new(), Vec::new());
        self.selected(selection, &mut |series| {
            let labels = SeriesLabels::new(series.labels.clone());
            self.meter.samples(series.sample_count())?;
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
            let mut account = series.histograms.as_ref().map(|_| self.meter.account());
            let histograms = match (&series.histograms, &mut account) {
                (None, _) | (_, None) => None,
                (Some(fetched), Some(account)) => {
                    // What evaluation makes of them is about as large as they are.
                    account.take(fetched.byte_len())?;
                    let windows = Windows::new(grid, shift, reach_ms);
                    Some(HistogramSamples::new(fetched.samples().collect(), windows))
                }
            };
            visit(&RangeData {
                labels: &labels,
                timestamps,
                values,
                windows: &windows,
                histograms: histograms.as_ref(),
            })
        })
    }
}

/// Shows the newest histogram of each step, if it is newer than the newest value; a stale one takes that away too.
fn newer_histograms(
    series: &FetchedSeries,
    histograms: &FetchedHistograms,
    (newest, windows): (&[u32], &Windows),
    column: &mut Column,
    mut show: impl FnMut(&mut Column, usize, usize) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    for (step, at) in newest.iter().enumerate() {
        let Some(newest) = windows.bounds(step).last() else { continue };
        if *at != NOWHERE && series.timestamps[*at as usize] > histograms.timestamps[newest] {
            continue;
        }
        column.unset(step);
        if !histograms.histograms[newest].is_stale() {
            show(column, step, newest)?;
        }
    }
    Ok(())
}
