//! `rate`, `increase`, `delta`, `irate`, `idelta` and `smoothed` over ranges that have histograms in them.

use std::sync::Arc;

use crate::ast::Extension;
use crate::column::Column;
use crate::eval::Evaluator;
use crate::eval::histogram_notes::Combination;
use crate::eval::histogram_range::{Sample, Seen};
use crate::eval::selector::RangeData;
use crate::functions::extended::{Borders, interpolate};
use crate::functions::rate::{RateOp, extrapolated_by};
use crate::histogram::{Combined, FloatHistogram, Incompatible};
use crate::outcome::EvalError;
use crate::plan::{RangeNode, SelectorNode};
use crate::span::Span;
use crate::windows::Grid;
use bellwether_model::CounterResetHint;

/// Where something is computed, for what is said of it.
#[derive(Clone, Copy)]
struct Place<'p> {
    name: &'p str,
    span: Span,
}

impl Evaluator<'_> {
    /// For a series with histograms, behind what its values have given.
    pub(crate) fn rates_of_histograms(
        &self,
        op: RateOp,
        range: &RangeNode,
        grid: &Grid,
        data: &RangeData<'_>,
        column: &mut Column,
    ) -> Result<(), EvalError> {
        let place = Place { name: data.name(), span: range.span };
        let mut account = self.meter.account();
        for step in 0..grid.steps {
            let Some(seen) = Seen::at(data, step) else { continue };
            self.meter.work(2 * seen.work())?;
            let change = if matches!(op, RateOp::Irate | RateOp::Idelta) {
                self.newest_change(op, seen, place)
            } else if seen.is_mixed() {
                self.warn_of_mixed_range(place.name, place.span);
                None
            } else if range.extension == Extension::None {
                self.extrapolated(op, data, step, seen, place)
            } else {
                let smoothed = range.extension == Extension::Smoothed;
                self.between_borders(op, range.borders(grid, step), smoothed, seen, place)
            };
            let change = change.map(|change| match change {
                Sample::Histogram(mut change) => {
                    let histogram = Arc::make_mut(&mut change);
                    histogram.compact();
                    histogram.hint = CounterResetHint::Gauge;
                    Sample::Histogram(change)
                }
                float => float,
            });
            change.iter().try_for_each(|change| account.take(change.byte_len()))?;
            column.replace(step, change);
        }
        Ok(())
    }

    fn newest_change(&self, op: RateOp, seen: Seen<'_>, place: Place<'_>) -> Option<Sample> {
        let merged = seen.merged();
        let [.., (older_time, older), (newer_time, newer)] = &merged[..] else { return None };
        let is_rate = op == RateOp::Irate;
        let seconds = (newer_time - older_time) as f64 / 1000.0;
        match (older, newer) {
            (Sample::Float(older), Sample::Float(newer)) => {
                let difference = if is_rate && newer < older { *newer } else { newer - older };
                Some(Sample::Float(if is_rate { difference / seconds } else { difference }))
            }
            (Sample::Histogram(older), Sample::Histogram(newer)) => {
                self.ask_for_kind(is_rate, &[older, newer], place);
                let mut change = FloatHistogram::clone(newer);
                if !is_rate || !newer.is_reset_after(older) {
                    self.subtract(&mut change, older, place)?;
                }
                if is_rate {
                    change.divide(seconds);
                }
                Some(Sample::Histogram(Arc::new(change)))
            }
            _ => {
                self.warn_of_mixed_range(place.name, place.span);
                None
            }
        }
    }

    fn ask_for_kind(&self, is_counter: bool, histograms: &[&Arc<FloatHistogram>], place: Place<'_>) {
        if is_counter && histograms.iter().any(|histogram| histogram.is_gauge()) {
            self.warn_of_no_counter(place.name, place.span);
        }
        if !is_counter && histograms.iter().any(|histogram| !histogram.is_gauge()) {
            self.warn_of_no_gauge(place.name, place.span);
        }
    }

    /// The difference over a range, extrapolated to its ends.
    fn extrapolated(
        &self,
        op: RateOp,
        data: &RangeData<'_>,
        step: usize,
        seen: Seen<'_>,
        place: Place<'_>,
    ) -> Option<Sample> {
        let histograms = seen.histograms;
        let [first, .., last] = histograms else { return None };
        let is_counter = op != RateOp::Delta;
        let empty;
        let mut previous = &**first;
        if is_counter {
            let gauges = histograms.iter().any(|histogram| histogram.is_gauge());
            if gauges {
                self.warn_of_no_counter(place.name, place.span);
            }
            // What the first one counted is over then: its buckets need not fit.
            if histograms[1].is_reset_after(first) {
                empty = FloatHistogram::empty_like(&histograms[1]);
                previous = &empty;
            }
        }
        let between = if is_counter { &histograms[1..histograms.len() - 1] } else { &[] };
        let mut change = FloatHistogram::clone(last);
        if between.iter().chain([last]).any(|histogram| histogram.is_custom() != previous.is_custom()) {
            self.warn_of_mixed_schemas(place.name, place.span);
            return None;
        }
        between.iter().for_each(|histogram| change.reduce_to(histogram.schema));
        self.subtract(&mut change, previous, place)?;
        if is_counter {
            for histogram in &histograms[1..] {
                if histogram.is_reset_after(previous) {
                    self.add(&mut change, previous, place)?;
                }
                previous = histogram;
            }
        } else {
            self.ask_for_kind(false, &[first, last], place);
        }
        let windows = &data.histograms?.windows;
        let timestamps = &data.histograms?.timestamps;
        change.multiply(extrapolated_by(op, windows, step, timestamps, (first.count, change.count))?);
        Some(Sample::Histogram(Arc::new(change)))
    }

    /// The difference from border to border of a range whose samples reach beyond it.
    fn between_borders(
        &self,
        op: RateOp,
        borders: Borders,
        smoothed: bool,
        seen: Seen<'_>,
        place: Place<'_>,
    ) -> Option<Sample> {
        let Borders { start, end } = borders;
        let (times, histograms) = (seen.histogram_times, seen.histograms);
        let newest = times.len().checked_sub(1)?;
        let first = times[..newest].partition_point(|time| *time <= start).saturating_sub(1);
        let last = if smoothed { times[..newest].partition_point(|time| *time < end) } else { newest };
        if times[last] <= start || (smoothed && times[first] > end) {
            return None;
        }
        let is_counter = op != RateOp::Delta;
        let counted = histograms.get(first..=last)?;
        if counted.iter().any(|histogram| histogram.is_custom() != counted[0].is_custom()) {
            self.warn_of_mixed_schemas(place.name, place.span);
            return None;
        }
        if is_counter && counted.iter().any(|histogram| histogram.is_gauge()) {
            self.warn_of_no_counter(place.name, place.span);
        }
        let between = |at: usize, time| {
            let (before, after) = ((times[at], &histograms[at]), (times[at + 1], &histograms[at + 1]));
            self.interpolated(before, after, time, is_counter, place)
        };
        let left_is_between = smoothed && times[first] < start;
        let left = if left_is_between { between(first, start)? } else { histograms[first].clone() };
        let right_is_between = smoothed && last > 0 && times[last] > end;
        let right = if right_is_between { between(last - 1, end)? } else { histograms[last].clone() };
        if !is_counter {
            self.ask_for_kind(false, &[&left, &right], place);
        }
        let mut change = FloatHistogram::clone(&right);
        self.subtract(&mut change, &left, place)?;
        if is_counter {
            let mut previous = &left;
            let mut inside = first + 1;
            if left_is_between && histograms[first + 1].is_reset_after(&histograms[first]) {
                // The value at the border has begun anew already.
                previous = &histograms[first + 1];
                inside += 1;
            }
            // Nothing lies between two ends on one line behind a reset.
            if inside <= last {
                for histogram in histograms[inside..last].iter().chain([&right]) {
                    if histogram.is_reset_after(previous) {
                        self.add(&mut change, previous, place)?;
                    }
                    previous = histogram;
                }
            }
        }
        if op == RateOp::Rate {
            change.divide(end.saturating_sub(start) as f64 / 1000.0);
        }
        Some(Sample::Histogram(Arc::new(change)))
    }

    /// The histogram at `time` on the line between two; a counter that begins anew in between does so at zero, at the first one.
    fn interpolated(
        &self,
        before: (i64, &Arc<FloatHistogram>),
        after: (i64, &Arc<FloatHistogram>),
        time: i64,
        is_counter: bool,
        place: Place<'_>,
    ) -> Option<Arc<FloatHistogram>> {
        if time == before.0 {
            return Some(before.1.clone());
        }
        if time == after.0 {
            return Some(after.1.clone());
        }
        let share = interpolate((before.0, 0.0), (after.0, 1.0), time);
        let mut histogram = FloatHistogram::clone(after.1);
        if is_counter && after.1.is_reset_after(before.1) {
            histogram.multiply(share);
        } else {
            self.subtract(&mut histogram, before.1, place)?;
            histogram.multiply(share);
            self.add(&mut histogram, before.1, place)?;
        }
        Some(Arc::new(histogram))
    }

    /// What `smoothed` makes of a series with histograms, behind what it has made of the values: neighbours of one kind are
    /// joined by a line, else the newest sample counts.
    pub(crate) fn smoothed_histograms(
        &self,
        node: &SelectorNode,
        grid: &Grid,
        data: &RangeData<'_>,
        column: &mut Column,
    ) {
        let place = Place { name: data.name(), span: node.span };
        for step in 0..grid.steps {
            let Some(seen) = Seen::at(data, step) else { continue };
            let time = node.shift.apply(grid.time(step));
            let merged = seen.merged();
            let next = merged.partition_point(|(t, _)| *t <= time);
            let newest = next.checked_sub(1).map(|newest| &merged[newest]);
            let sample = match (newest, merged.get(next)) {
                (None, _) => None,
                (Some((at, Sample::Histogram(before))), Some((then, Sample::Histogram(after)))) => {
                    self.interpolated((*at, before), (*then, after), time, false, place).map(Sample::Histogram)
                }
                (Some((at, Sample::Float(before))), Some((then, Sample::Float(after)))) if *at != time => {
                    Some(Sample::Float(interpolate((*at, *before), (*then, *after), time)))
                }
                (Some((_, sample)), _) => Some(sample.clone()),
            };
            column.replace(step, sample);
        }
    }

    // Hints contradict each other where a counter begins anew, which is seen to here: nothing is said of them.
    fn subtract(&self, histogram: &mut FloatHistogram, other: &FloatHistogram, place: Place<'_>) -> Option<()> {
        let combined = histogram.subtract(other);
        self.note(combined, Combination::Subtraction, place)
    }

    fn add(&self, histogram: &mut FloatHistogram, other: &FloatHistogram, place: Place<'_>) -> Option<()> {
        let combined = histogram.add(other);
        self.note(combined, Combination::Addition, place)
    }

    fn note(&self, combined: Result<Combined, Incompatible>, how: Combination, place: Place<'_>) -> Option<()> {
        match combined {
            Ok(combined) => {
                if combined.bounds_differ {
                    self.inform_of_bounds(how, place.span);
                }
                Some(())
            }
            Err(Incompatible) => {
                self.warn_of_mixed_schemas(place.name, place.span);
                None
            }
        }
    }
}
