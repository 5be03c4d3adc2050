//! Aggregations whose state for each group and step has a fixed size: series flow in and leave nothing else behind.
//!
//! Each state can be merged with another of its kind, so that shards may compute their part.

use crate::ast::AggregateOp;
use crate::column::{Column, Presence};
use crate::eval::group::Groups;
use crate::eval::{Evaluator, Sink};
use crate::functions::summation::{self, Deviation, Mean};
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::series::SeriesLabels;
use crate::windows::Grid;

/// The state of one group at all steps.
trait Accumulator {
    fn new(steps: usize) -> Self;
    fn add(&mut self, column: &Column);
    fn finish(self) -> Column;
    /// Bytes of state for each step.
    const STEP_BYTES: usize;
}

impl Evaluator<'_> {
    pub(crate) fn aggregate(&self, node: &AggregateNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        match node.op {
            AggregateOp::Sum => self.accumulate::<Sums>(node, grid, sink),
            AggregateOp::Avg => self.accumulate::<Means>(node, grid, sink),
            AggregateOp::Min => self.accumulate::<Extremes<false>>(node, grid, sink),
            AggregateOp::Max => self.accumulate::<Extremes<true>>(node, grid, sink),
            AggregateOp::Count => self.accumulate::<Counts>(node, grid, sink),
            AggregateOp::Group => self.accumulate::<Existence>(node, grid, sink),
            AggregateOp::Stddev => self.accumulate::<Deviations<true>>(node, grid, sink),
            AggregateOp::Stdvar => self.accumulate::<Deviations<false>>(node, grid, sink),
            AggregateOp::Topk => self.pick_extremes(node, true, grid, sink),
            AggregateOp::Bottomk => self.pick_extremes(node, false, grid, sink),
            AggregateOp::Limitk => self.pick_first(node, grid, sink),
            AggregateOp::LimitRatio => self.pick_share(node, grid, sink),
            AggregateOp::Quantile => self.quantiles(node, grid, sink),
            AggregateOp::CountValues => self.count_values(node, grid, sink),
        }
    }

    fn accumulate<A: Accumulator>(
        &self,
        node: &AggregateNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut groups = Groups::new(node.grouping.without, &node.grouping.labels, self.meter.account());
        let mut states: Vec<A> = Vec::new();
        let mut account = self.meter.account();
        self.vector(&node.arg, grid, &mut |labels, column| {
            let group = groups.number(labels)?;
            if group == states.len() {
                account.take(grid.steps * A::STEP_BYTES)?;
                states.push(A::new(grid.steps));
            }
            states[group].add(column);
            self.meter.work(grid.steps)
        })?;
        for (group, state) in states.into_iter().enumerate() {
            sink(&SeriesLabels::new(groups.labels(group).clone()), &mut state.finish())?;
        }
        Ok(())
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

struct Sums {
    sums: Vec<f64>,
    lost: Vec<f64>,
    present: Presence,
}

impl Accumulator for Sums {
    const STEP_BYTES: usize = 16;

    fn new(steps: usize) -> Sums {
        Sums { sums: vec![0.0; steps], lost: vec![0.0; steps], present: Presence::none(steps) }
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

    fn finish(mut self) -> Column {
        self.sums.iter_mut().zip(&self.lost).for_each(|(sum, lost)| *sum += lost);
        Column { values: self.sums, present: self.present }
    }
}

struct Means {
    means: Vec<Mean>,
    present: Presence,
}

impl Accumulator for Means {
    const STEP_BYTES: usize = size_of::<Mean>();

    fn new(steps: usize) -> Means {
        Means { means: vec![Mean::default(); steps], present: Presence::none(steps) }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Means, values: &[f64]| {
            values.iter().zip(&mut state.means).for_each(|(value, mean)| mean.add(*value));
        };
        each_present(self, column, dense, |state, step, value| state.means[step].add(value));
        self.present.union(&column.present);
    }

    fn finish(self) -> Column {
        Column { values: self.means.into_iter().map(Mean::value).collect(), present: self.present }
    }
}

struct Extremes<const MAX: bool> {
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

    fn finish(self) -> Column {
        Column { values: self.values, present: self.present }
    }
}

struct Counts {
    counts: Vec<f64>,
    present: Presence,
}

impl Accumulator for Counts {
    const STEP_BYTES: usize = 8;

    fn new(steps: usize) -> Counts {
        Counts { counts: vec![0.0; steps], present: Presence::none(steps) }
    }

    fn add(&mut self, column: &Column) {
        let dense = |state: &mut Counts, _: &[f64]| state.counts.iter_mut().for_each(|count| *count += 1.0);
        each_present(self, column, dense, |state, step, _| state.counts[step] += 1.0);
        self.present.union(&column.present);
    }

    fn finish(self) -> Column {
        Column { values: self.counts, present: self.present }
    }
}

struct Existence(Presence);

impl Accumulator for Existence {
    const STEP_BYTES: usize = 8;

    fn new(steps: usize) -> Existence {
        Existence(Presence::none(steps))
    }

    fn add(&mut self, column: &Column) {
        self.0.union(&column.present);
    }

    fn finish(self) -> Column {
        Column { values: vec![1.0; self.0.steps()], present: self.0 }
    }
}

struct Deviations<const ROOT: bool> {
    deviations: Vec<Deviation>,
    present: Presence,
}

impl<const ROOT: bool> Accumulator for Deviations<ROOT> {
    const STEP_BYTES: usize = size_of::<Deviation>();

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

    fn finish(self) -> Column {
        let value = |deviation: Deviation| {
            if ROOT { deviation.variance().sqrt() } else { deviation.variance() }
        };
        Column { values: self.deviations.into_iter().map(value).collect(), present: self.present }
    }
}
