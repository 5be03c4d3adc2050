//! States of aggregations that have a fixed size for each group and step: values flow in and leave nothing else behind.
//!
//! Two states of a kind merge into what one would be that had seen the values of both, but for the last bits that
//! rounding takes in another order.

use crate::column::{Column, HistogramColumn, Presence};
use crate::eval::histogram_totals::{GroupNotes, HistogramTotals};
use crate::functions::summation::{self, Deviation, Mean, Sum};

/// The state of one group at all steps.
pub(crate) trait Accumulator: Send + Sized {
    /// Bytes of state for each step.
    const STEP_BYTES: usize;
    /// Numbers that say what a step's state is.
    const FIELDS: usize;

    fn new(steps: usize) -> Self;
    fn add(&mut self, column: &Column);
    /// Takes in the values that `other` has seen.
    fn merge(&mut self, other: Self);
    fn finish(self, notes: &mut GroupNotes) -> Column;
    /// Steps that have seen a value.
    fn present(&self) -> &Presence;
    /// Appends the numbers of a step.
    fn write(&self, step: usize, out: &mut Vec<f64>);
    /// Sets a step's state from [`Accumulator::FIELDS`] numbers.
    fn read(&mut self, step: usize, fields: &[f64]);

    /// Whether [`Accumulator::totals`] can be there.
    const KEEPS_HISTOGRAMS: bool = false;

    /// The aggregation, if it knows numbers alone.
    const IGNORES_HISTOGRAMS: Option<&'static str> = None;

    /// Takes in what a series of that name has beside its values; gives the bytes by which the state has grown.
    fn add_histograms(&mut self, _: &HistogramColumn, _name: &str) -> usize {
        0
    }

    /// Where sums of histograms are kept, and whether means are wanted of them; none for states that have none.
    fn histograms(&mut self) -> Option<(&mut Option<Box<HistogramTotals>>, bool)> {
        None
    }

    /// The same to look at.
    fn totals(&self) -> Option<&HistogramTotals> {
        None
    }

    /// Steps that have seen anything.
    fn seen(&self) -> Presence {
        let mut seen = self.present().clone();
        self.totals().into_iter().for_each(|totals| seen.union(&totals.present()));
        seen
    }
}

/// Adds histograms to those of a group.
fn add_to(
    totals: &mut Option<Box<HistogramTotals>>,
    (histograms, name): (&HistogramColumn, &str),
    averages: bool,
) -> usize {
    let steps = histograms.present().steps();
    let fresh = if totals.is_none() { HistogramTotals::slot_bytes(steps) } else { 0 };
    fresh + totals.get_or_insert_with(|| Box::new(HistogramTotals::new(name, steps, averages))).add(histograms)
}

fn merge_totals(ours: &mut Option<Box<HistogramTotals>>, theirs: Option<Box<HistogramTotals>>) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.merge(*theirs),
        (ours @ None, theirs) => *ours = theirs,
        (Some(_), None) => {}
    }
}

/// Runs `dense` over the whole column if every step is present, `sparse` for each present step otherwise.
#[inline]
fn each_present<S>(
    state: &mut S,
    column: &Column,
    dense: impl Fn(&mut S, &[f64]),
    sparse: impl Fn(&mut S, usize, f64),
) {
    if column.present.is_full() {
        dense(state, &column.values);
    } else {
        column.present.iter().for_each(|step| sparse(state, step, column.values[step]));
    }
}

/// The first numbers, as many as an array holds; the caller gives as many as [`Accumulator::FIELDS`] says.
fn array<const N: usize>(fields: &[f64]) -> [f64; N] {
    std::array::from_fn(|at| fields[at])
}

pub(crate) struct Sums {
    sums: Vec<f64>,
    lost: Vec<f64>,
    present: Presence,
    histograms: Option<Box<HistogramTotals>>,
}

impl Accumulator for Sums {
    const STEP_BYTES: usize = 16;
    const FIELDS: usize = 2;

    fn new(steps: usize) -> Sums {
        Sums { sums: vec![0.0; steps], lost: vec![0.0; steps], present: Presence::none(steps), histograms: None }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Sums, values: &[f64]| {
            for ((value, sum), lost) in values.iter().zip(&mut state.sums).zip(&mut state.lost) {
                (*sum, *lost) = summation::add(*value, *sum, *lost);
            }
        };
        each_present(self, column, dense, |state, step, value| {
            (state.sums[step], state.lost[step]) = summation::add(value, state.sums[step], state.lost[step]);
        });
        self.present.union(&column.present);
    }

    fn merge(&mut self, other: Sums) {
        for step in other.present.iter() {
            let mut sum = Sum { sum: self.sums[step], lost: self.lost[step] };
            sum.merge(Sum { sum: other.sums[step], lost: other.lost[step] });
            (self.sums[step], self.lost[step]) = (sum.sum, sum.lost);
        }
        self.present.union(&other.present);
        merge_totals(&mut self.histograms, other.histograms);
    }

    fn finish(mut self, notes: &mut GroupNotes) -> Column {
        self.sums.iter_mut().zip(&self.lost).for_each(|(sum, lost)| *sum += lost);
        let mut column = Column::of_floats(self.sums, self.present);
        self.histograms.into_iter().for_each(|totals| totals.finish(&mut column, notes));
        column
    }

    fn present(&self) -> &Presence {
        &self.present
    }

    fn write(&self, step: usize, out: &mut Vec<f64>) {
        out.extend([self.sums[step], self.lost[step]]);
    }

    fn read(&mut self, step: usize, fields: &[f64]) {
        [self.sums[step], self.lost[step]] = array(fields);
        self.present.set(step);
    }

    const KEEPS_HISTOGRAMS: bool = true;

    fn add_histograms(&mut self, histograms: &HistogramColumn, name: &str) -> usize {
        add_to(&mut self.histograms, (histograms, name), false)
    }

    fn histograms(&mut self) -> Option<(&mut Option<Box<HistogramTotals>>, bool)> {
        Some((&mut self.histograms, false))
    }

    fn totals(&self) -> Option<&HistogramTotals> {
        self.histograms.as_deref()
    }
}

pub(crate) struct Means {
    means: Vec<Mean>,
    present: Presence,
    histograms: Option<Box<HistogramTotals>>,
}

impl Accumulator for Means {
    const STEP_BYTES: usize = size_of::<Mean>();
    const FIELDS: usize = 4;

    fn new(steps: usize) -> Means {
        Means { means: vec![Mean::default(); steps], present: Presence::none(steps), histograms: None }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Means, values: &[f64]| {
            values.iter().zip(&mut state.means).for_each(|(value, mean)| mean.add(*value));
        };
        each_present(self, column, dense, |state, step, value| state.means[step].add(value));
        self.present.union(&column.present);
    }

    fn merge(&mut self, other: Means) {
        other.present.iter().for_each(|step| self.means[step].merge(other.means[step]));
        self.present.union(&other.present);
        merge_totals(&mut self.histograms, other.histograms);
    }

    fn finish(self, notes: &mut GroupNotes) -> Column {
        let mut column = Column::of_floats(self.means.into_iter().map(Mean::value).collect(), self.present);
        self.histograms.into_iter().for_each(|totals| totals.finish(&mut column, notes));
        column
    }

    fn present(&self) -> &Presence {
        &self.present
    }

    fn write(&self, step: usize, out: &mut Vec<f64>) {
        out.extend(self.means[step].fields());
    }

    fn read(&mut self, step: usize, fields: &[f64]) {
        self.means[step] = Mean::of_fields(array(fields));
        self.present.set(step);
    }

    const KEEPS_HISTOGRAMS: bool = true;

    fn add_histograms(&mut self, histograms: &HistogramColumn, name: &str) -> usize {
        add_to(&mut self.histograms, (histograms, name), true)
    }

    fn histograms(&mut self) -> Option<(&mut Option<Box<HistogramTotals>>, bool)> {
        Some((&mut self.histograms, true))
    }

    fn totals(&self) -> Option<&HistogramTotals> {
        self.histograms.as_deref()
    }
}

pub(crate) struct Extremes<const MAX: bool> {
    values: Vec<f64>,
    present: Presence,
}

/// Any value beats NaN, and NaN is where a group begins.
#[inline]
fn extreme<const MAX: bool>(best: f64, value: f64) -> f64 {
    let beats = if MAX { value > best } else { value < best };
    if beats || best.is_nan() { value } else { best }
}

impl<const MAX: bool> Accumulator for Extremes<MAX> {
    const STEP_BYTES: usize = 8;
    const FIELDS: usize = 1;

    fn new(steps: usize) -> Self {
        Extremes { values: vec![f64::NAN; steps], present: Presence::none(steps) }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Self, values: &[f64]| {
            values.iter().zip(&mut state.values).for_each(|(value, best)| *best = extreme::<MAX>(*best, *value));
        };
        each_present(self, column, dense, |state, step, value| {
            state.values[step] = extreme::<MAX>(state.values[step], value);
        });
        self.present.union(&column.present);
    }

    fn merge(&mut self, other: Self) {
        for step in other.present.iter() {
            self.values[step] = extreme::<MAX>(self.values[step], other.values[step]);
        }
        self.present.union(&other.present);
    }

    fn finish(self, _: &mut GroupNotes) -> Column {
        Column::of_floats(self.values, self.present)
    }

    fn present(&self) -> &Presence {
        &self.present
    }

    fn write(&self, step: usize, out: &mut Vec<f64>) {
        out.push(self.values[step]);
    }

    fn read(&mut self, step: usize, fields: &[f64]) {
        [self.values[step]] = array(fields);
        self.present.set(step);
    }

    const IGNORES_HISTOGRAMS: Option<&'static str> = Some(if MAX { "max" } else { "min" });
}

pub(crate) struct Counts {
    counts: Vec<f64>,
    present: Presence,
}

impl Accumulator for Counts {
    const STEP_BYTES: usize = 8;
    const FIELDS: usize = 1;

    fn new(steps: usize) -> Counts {
        Counts { counts: vec![0.0; steps], present: Presence::none(steps) }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Counts, _: &[f64]| state.counts.iter_mut().for_each(|count| *count += 1.0);
        each_present(self, column, dense, |state, step, _| state.counts[step] += 1.0);
        self.present.union(&column.present);
    }

    fn merge(&mut self, other: Counts) {
        other.present.iter().for_each(|step| self.counts[step] += other.counts[step]);
        self.present.union(&other.present);
    }

    fn finish(self, _: &mut GroupNotes) -> Column {
        Column::of_floats(self.counts, self.present)
    }

    fn present(&self) -> &Presence {
        &self.present
    }

    fn write(&self, step: usize, out: &mut Vec<f64>) {
        out.push(self.counts[step]);
    }

    fn read(&mut self, step: usize, fields: &[f64]) {
        [self.counts[step]] = array(fields);
        self.present.set(step);
    }

    fn add_histograms(&mut self, histograms: &HistogramColumn, _: &str) -> usize {
        histograms.iter().for_each(|(step, _)| self.counts[step] += 1.0);
        self.present.union(histograms.present());
        0
    }
}

pub(crate) struct Existence(Presence);

impl Accumulator for Existence {
    const STEP_BYTES: usize = 8;
    const FIELDS: usize = 0;

    fn new(steps: usize) -> Existence {
        Existence(Presence::none(steps))
    }

    fn add(&mut self, column: &Column) {
        self.0.union(&column.present);
    }

    fn merge(&mut self, other: Existence) {
        self.0.union(&other.0);
    }

    fn finish(self, _: &mut GroupNotes) -> Column {
        Column::of_floats(vec![1.0; self.0.steps()], self.0)
    }

    fn present(&self) -> &Presence {
        &self.0
    }

    fn write(&self, _: usize, _: &mut Vec<f64>) {}

    fn read(&mut self, step: usize, _: &[f64]) {
        self.0.set(step);
    }

    fn add_histograms(&mut self, histograms: &HistogramColumn, _: &str) -> usize {
        self.0.union(histograms.present());
        0
    }
}

pub(crate) struct Deviations<const ROOT: bool> {
    deviations: Vec<Deviation>,
    present: Presence,
}

impl<const ROOT: bool> Accumulator for Deviations<ROOT> {
    const STEP_BYTES: usize = size_of::<Deviation>();
    const FIELDS: usize = 5;

    fn new(steps: usize) -> Self {
        Deviations { deviations: vec![Deviation::default(); steps], present: Presence::none(steps) }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Self, values: &[f64]| {
            values.iter().zip(&mut state.deviations).for_each(|(value, deviation)| deviation.add(*value));
        };
        each_present(self, column, dense, |state, step, value| state.deviations[step].add(value));
        self.present.union(&column.present);
    }

    fn merge(&mut self, other: Self) {
        other.present.iter().for_each(|step| self.deviations[step].merge(other.deviations[step]));
        self.present.union(&other.present);
    }

    fn finish(self, _: &mut GroupNotes) -> Column {
        let value = |deviation: Deviation| {
            if ROOT { deviation.variance().sqrt() } else { deviation.variance() }
        };
        Column::of_floats(self.deviations.into_iter().map(value).collect(), self.present)
    }

    fn present(&self) -> &Presence {
        &self.present
    }

    fn write(&self, step: usize, out: &mut Vec<f64>) {
        out.extend(self.deviations[step].fields());
    }

    fn read(&mut self, step: usize, fields: &[f64]) {
        self.deviations[step] = Deviation::of_fields(array(fields));
        self.present.set(step);
    }

    const IGNORES_HISTOGRAMS: Option<&'static str> = Some(if ROOT { "stddev" } else { "stdvar" });
}
