//! Evaluates a plan over fetched series.
//!
//! Series flow one at a time, each over all steps: a node pushes its series into a sink, which takes what it needs of
//! the column and leaves it to be filled again. So a chain of functions below an aggregation holds one column, however
//! many series there are. Only nodes that must see all series at once (matching, quantiles, sorting, checks for
//! duplicates) collect them, and pay for that at the [`meter`].

mod absent;
mod accumulator;
mod aggregate;
mod binary;
mod collect;
mod finish;
mod group;
mod histogram;
mod histogram_binary;
mod histogram_notes;
mod histogram_range;
mod histogram_rate;
mod histogram_totals;
mod info;
mod input;
mod marks;
mod matching;
mod meter;
pub(crate) mod partial;
mod pick;
mod point;
mod range;
mod scalar;
mod selector;
mod tally;

use std::cell::RefCell;
use std::collections::BTreeMap;

use bellwether_model::HistogramError;
pub use meter::Cancel;

use crate::account::QueryAccount;
use crate::column::Column;
use crate::functions::sort::sort;
use crate::outcome::{Annotations, EvalError, Outcome};
use crate::plan::{Plan, RangeOp, SortKey, VectorNode};
use crate::series::{FetchedSeries, SeriesLabels};
use crate::trace::{Clock, PlanStep, Trace};
use crate::windows::Grid;
use binary::Operation;
use collect::{Duplicates, SeriesSet};
use input::Input;
use meter::Meter;
use partial::Partial;
use partial::state::State;
use tally::Tally;

/// What a node holds for each step beside the series that it collects: bounds of ranges and a column in the making.
const SCRATCH_BYTES_PER_STEP: usize = 40;

/// Label bytes that cost as much time as one point.
const BYTES_PER_POINT_OF_WORK: usize = 16;

/// Takes the series of a vector one by one. It may change or keep the column's content.
type Sink<'s> = dyn FnMut(&SeriesLabels, &mut Column) -> Result<(), EvalError> + 's;

/// Evaluates `plan` over one list of series for each of its selections, whose [`FetchedSeries::byte_len`] the account has
/// been charged; each series goes, and is given back, once the last node that reads it has. What the result holds stays
/// charged.
///
/// Stops with [`EvalError::Cancelled`] soon after `cancel` says so. Never panics, whatever the data.
pub fn evaluate(
    plan: &Plan,
    fetched: Vec<Vec<FetchedSeries>>,
    account: &QueryAccount,
    cancel: &dyn Cancel,
) -> Result<Outcome, EvalError> {
    evaluate_with(plan, fetched.into_iter().map(Fetched::Series).collect(), account, cancel)
}

/// What has become of a selection.
#[derive(Debug)]
pub enum Fetched {
    /// Its series.
    Series(Vec<FetchedSeries>),
    /// What all that reads them has made of them already.
    Reduced(Partial),
}

/// The same where some selections are reduced.
pub fn evaluate_with(
    plan: &Plan,
    fetched: Vec<Fetched>,
    account: &QueryAccount,
    cancel: &dyn Cancel,
) -> Result<Outcome, EvalError> {
    evaluate_by(plan, fetched, account, cancel, None).map(|(outcome, _)| outcome)
}

/// The same, with what each step of the plan took.
pub fn evaluate_traced(
    plan: &Plan,
    fetched: Vec<Fetched>,
    account: &QueryAccount,
    cancel: &dyn Cancel,
    clock: &Clock<'_>,
) -> Result<(Outcome, Vec<PlanStep>), EvalError> {
    evaluate_by(plan, fetched, account, cancel, Some(Trace::new(plan, clock)))
}

fn evaluate_by(
    plan: &Plan,
    fetched: Vec<Fetched>,
    account: &QueryAccount,
    cancel: &dyn Cancel,
    trace: Option<Trace<'_>>,
) -> Result<(Outcome, Vec<PlanStep>), EvalError> {
    if fetched.len() != plan.selections().len() {
        return Err(EvalError::Selections { wanted: plan.selections().len(), given: fetched.len() });
    }
    let mut annotations = Annotations::default();
    let mut reduced = BTreeMap::new();
    let mut inputs = Vec::with_capacity(fetched.len());
    let mut samples: u64 = 0;
    let tally = Tally::new(plan);
    for (fetched, readers) in fetched.into_iter().zip(&plan.readers) {
        let series = match fetched {
            Fetched::Series(series) => series,
            Fetched::Reduced(partial) => {
                reduced.extend(partial.states);
                samples = samples.saturating_add(partial.samples);
                tally.join(&partial.samples_per_step);
                annotations.extend(partial.annotations);
                Vec::new()
            }
        };
        check_columns(&series)?;
        inputs.push(Input::new(series, *readers, plan));
    }
    let evaluator = Evaluator {
        inputs,
        reduced: RefCell::new(reduced),
        lookback_ms: plan.lookback_ms,
        delays_names: plan.delays_names,
        meter: Meter::new(account, cancel).after_samples(samples),
        annotations: RefCell::new(annotations),
        tally,
        trace,
    };
    let value = evaluator.finish(plan)?;
    let (warnings, infos) = evaluator.annotations.into_inner().into_shown();
    let outcome = Outcome { value, warnings, infos, samples_per_step: evaluator.tally.into_steps() };
    Ok((outcome, evaluator.trace.map(Trace::into_steps).unwrap_or_default()))
}

fn check_columns(series: &[FetchedSeries]) -> Result<(), EvalError> {
    for series in series {
        let labels = || series.labels.to_string();
        let (timestamps, values) = (series.timestamps.len(), series.values.len());
        if timestamps != values {
            return Err(EvalError::Columns { labels: labels(), timestamps, values });
        }
        let Some(of_series) = &series.histograms else { continue };
        let (timestamps, values) = (of_series.timestamps.len(), of_series.histograms.len());
        if timestamps != values {
            return Err(EvalError::Columns { labels: labels(), timestamps, values });
        }
        for histogram in of_series.histograms.iter().filter(|histogram| !histogram.is_stale()) {
            let damage = |error: HistogramError| EvalError::Histogram { labels: labels(), what: error.to_string() };
            histogram.validate().map_err(damage)?;
        }
    }
    Ok(())
}

pub(crate) struct Evaluator<'a> {
    inputs: Vec<Input>,
    /// What reductions have come to, until somebody reads it.
    reduced: RefCell<BTreeMap<usize, State>>,
    lookback_ms: i64,
    /// Names that are dropped stay until the query ends.
    delays_names: bool,
    meter: Meter<'a>,
    annotations: RefCell<Annotations>,
    tally: Tally,
    /// Where the time of each step goes, if somebody wants to know.
    trace: Option<Trace<'a>>,
}

fn execution_error<T>(message: String) -> Result<T, EvalError> {
    Err(EvalError::Execution(message))
}

fn same_labelset<T>() -> Result<T, EvalError> {
    execution_error("vector cannot contain metrics with the same labelset".to_owned())
}

impl Evaluator<'_> {
    /// What a reduction has come to elsewhere, if it was computed there.
    fn reduced(&self, reduction: usize) -> Option<State> {
        self.reduced.borrow_mut().remove(&reduction)
    }

    /// Visits the series of a selection, in order if the plan needs one.
    fn selected(
        &self,
        selection: usize,
        visit: &mut dyn FnMut(&FetchedSeries) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        self.inputs[selection].read(&self.meter, visit)
    }

    /// Pushes every series of `node` that has a value at some step of `grid`.
    fn vector(&self, node: &VectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        match &self.trace {
            Some(trace) => trace.of_node(node, sink, |sink| self.node(node, grid, sink)),
            None => self.node(node, grid, sink),
        }
    }

    fn node(&self, node: &VectorNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut scratch = self.meter.account();
        scratch.take(grid.steps.saturating_mul(SCRATCH_BYTES_PER_STEP))?;
        match node {
            VectorNode::Selector(selector) => self.selector(selector, grid, sink),
            VectorNode::SampleTimes(selector) => self.sample_times(selector, grid, sink),
            VectorNode::Range { op, range } => {
                let drops_name = !matches!(op, RangeOp::OverTime(op) if op.keeps_name());
                if drops_name && !self.stay_distinct(range.distinct_without_name()) {
                    let mut set = self.new_set(Duplicates::Refuse);
                    self.range_call(op, range, grid, &mut |labels, column| set.push(labels, column))?;
                    return set.push_into(sink);
                }
                self.range_call(op, range, grid, sink)
            }
            VectorNode::Absent { labels, arg } => self.absent(labels, arg, grid, sink),
            VectorNode::AbsentOverTime { labels, range } => self.absent_over_time(labels, range, grid, sink),
            VectorNode::Point { op, arg } => {
                // Prometheus merges series whose names were all that differed, if they share no step.
                if self.stay_distinct(arg.distinct_without_name()) {
                    return self.point(op, arg, grid, sink);
                }
                let mut set = self.new_set(Duplicates::Merge);
                self.point(op, arg, grid, &mut |labels, column| set.push(labels, column))?;
                set.push_into(sink)
            }
            VectorNode::Histogram { op, arg, arg_span } => self.histogram(op, arg, *arg_span, grid, sink),
            VectorNode::Nothing => Ok(()),
            VectorNode::Label { op, arg } => {
                let mut set = self.new_set(Duplicates::Merge);
                self.vector(arg, grid, &mut |labels, column| {
                    self.meter.work(1 + labels.byte_len() / BYTES_PER_POINT_OF_WORK)?;
                    set.push(&op.apply(labels)?, column)
                })?;
                set.push_into(sink)
            }
            VectorNode::Info { arg, info } => self.info(arg, info, grid, sink),
            VectorNode::Sort { key, arg, span } => {
                let by_value = matches!(key, SortKey::Value { .. });
                let floats = |labels: &SeriesLabels, column: &mut Column, sink: &mut Sink<'_>| {
                    // Histograms have no order.
                    column.histograms = column.histograms.take().filter(|_| !by_value);
                    if column.any() { sink(labels, column) } else { Ok(()) }
                };
                // Order means nothing in a range query.
                if grid.steps != 1 {
                    if grid.steps > 1 {
                        let text = "sort is ineffective for range queries since results are always ordered by labels";
                        self.annotations.borrow_mut().warn(text.to_owned(), *span);
                    }
                    return self.vector(arg, grid, &mut |labels, column| floats(labels, column, sink));
                }
                let mut set = self.new_set(Duplicates::Impossible);
                self.vector(arg, grid, &mut |labels, column| {
                    floats(labels, column, &mut |labels, column| set.push(labels, column))
                })?;
                sort(key, &mut set.series);
                set.push_into(sink)
            }
            VectorNode::OfScalar(scalar) => {
                let scalar = self.scalar(scalar, grid)?;
                let mut column = Column::absent(grid.steps);
                (0..grid.steps).for_each(|step| column.set(step, scalar.at(step)));
                sink(&SeriesLabels::empty(), &mut column)
            }
            VectorNode::Aggregate(aggregate) => self.aggregate(aggregate, grid, sink),
            VectorNode::WithScalar { op, return_bool, scalar_left, vector, scalar, span } => {
                let operation = Operation { op: *op, return_bool: *return_bool };
                let drops_name = *return_bool || op.is_arithmetic();
                let scalar = self.scalar(scalar, grid)?;
                if drops_name && !self.stay_distinct(vector.distinct_without_name()) {
                    let mut set = self.new_set(Duplicates::Merge);
                    let mut merge = |labels: &SeriesLabels, column: &mut Column| set.push(labels, column);
                    self.with_scalar(operation, *span, *scalar_left, vector, &scalar, grid, &mut merge)?;
                    return set.push_into(sink);
                }
                self.with_scalar(operation, *span, *scalar_left, vector, &scalar, grid, sink)
            }
            VectorNode::Match { op, return_bool, matching, lhs, rhs, span } => {
                let (lhs, rhs) = (self.collect(lhs, grid)?, self.collect(rhs, grid)?);
                self.match_vectors(Operation { op: *op, return_bool: *return_bool }, matching, lhs, rhs, (grid, *span))?
                    .push_into(sink)
            }
            VectorNode::Set { op, matching, lhs, rhs } => {
                let (lhs, rhs) = (self.collect(lhs, grid)?, self.collect(rhs, grid)?);
                self.combine_sets(*op, matching, lhs, rhs, grid)?.push_into(sink)
            }
            VectorNode::StepInvariant(inner) => {
                if grid.steps == 0 {
                    return Ok(());
                }
                let mut wide = Column::default();
                let mut widen = |labels: &SeriesLabels, column: &mut Column| {
                    wide.reset(grid.steps);
                    if let Some(value) = column.get(0) {
                        wide.values.fill(value);
                        wide.present.fill();
                    }
                    if let Some(histogram) = column.histogram(0) {
                        (0..grid.steps).for_each(|step| wide.set_histogram(step, histogram.clone()));
                    }
                    sink(labels, &mut wide)
                };
                self.tally.once(|| self.vector(inner, &Grid::at(grid.start), &mut widen))
            }
        }
    }

    /// Whether series that the plan says are distinct without their names are so once these are dropped: types and units
    /// go with the names.
    fn stay_distinct(&self, without_name: bool) -> bool {
        self.delays_names || (without_name && !self.inputs.iter().any(|input| input.typed))
    }

    /// The labels behind something that drops names.
    #[inline]
    fn drop_name(&self, labels: &SeriesLabels) -> SeriesLabels {
        if self.delays_names { labels.with_name_marked() } else { labels.without_name() }
    }

    fn new_set(&self, duplicates: Duplicates) -> SeriesSet<'_> {
        SeriesSet::new(duplicates, self.meter.account())
    }

    /// All series of a node whose labels are known to be distinct.
    fn collect(&self, node: &VectorNode, grid: &Grid) -> Result<SeriesSet<'_>, EvalError> {
        let mut set = self.new_set(Duplicates::Impossible);
        self.vector(node, grid, &mut |labels, column| set.push(labels, column))?;
        Ok(set)
    }
}
