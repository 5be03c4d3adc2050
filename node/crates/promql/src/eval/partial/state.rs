//! What one aggregation has made of the series that it has seen.

use crate::ast::AggregateOp;
use crate::column::Column;
use crate::eval::accumulator::{Counts, Deviations, Existence, Extremes, Means, Sums};
use crate::eval::marks::Marks;
use crate::eval::meter::{Account, Meter};
use crate::eval::partial::candidates::Candidates;
use crate::eval::partial::grouped::Grouped;
use crate::eval::partial::value_counts::ValueCounts;
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::eval::{Evaluator, Sink};
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::series::SeriesLabels;
use crate::span::Span;
use crate::windows::Grid;

pub(crate) enum State {
    Sum(Grouped<Sums>),
    Avg(Grouped<Means>),
    Min(Grouped<Extremes<false>>),
    Max(Grouped<Extremes<true>>),
    Count(Grouped<Counts>),
    Group(Grouped<Existence>),
    Stddev(Grouped<Deviations<true>>),
    Stdvar(Grouped<Deviations<false>>),
    Values(ValueCounts),
    Candidates(Candidates),
}

/// The same for whatever state it is.
macro_rules! whatever {
    ($self:expr, $state:ident => $does:expr) => {
        match $self {
            State::Sum($state) => $does,
            State::Avg($state) => $does,
            State::Min($state) => $does,
            State::Max($state) => $does,
            State::Count($state) => $does,
            State::Group($state) => $does,
            State::Stddev($state) => $does,
            State::Stdvar($state) => $does,
            State::Values($state) => $does,
            State::Candidates($state) => $does,
        }
    };
}

impl State {
    /// `None` for aggregations whose states do not merge.
    pub(crate) fn new(
        evaluator: &Evaluator<'_>,
        node: &AggregateNode,
        grid: &Grid,
        is_ordered: bool,
    ) -> Result<Option<State>, EvalError> {
        let (grouping, steps) = (&node.grouping, grid.steps);
        let marks = Marks::new(evaluator.delays_names);
        Ok(Some(match node.op {
            AggregateOp::Sum => State::Sum(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Avg => State::Avg(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Min => State::Min(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Max => State::Max(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Count => State::Count(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Group => State::Group(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Stddev => State::Stddev(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::Stdvar => State::Stdvar(Grouped::new(grouping, steps, is_ordered, marks)),
            AggregateOp::CountValues => State::Values(ValueCounts::new(node, steps, is_ordered)),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                State::Candidates(Candidates::new(node, evaluator.counts(node, grid)?))
            }
            AggregateOp::Quantile | AggregateOp::LimitRatio => return Ok(None),
        }))
    }

    /// Takes a series in. Those of a batch come in the order of their labels where the plan needs one.
    #[inline]
    pub(crate) fn add(
        &mut self,
        labels: &SeriesLabels,
        column: &Column,
        account: &mut Account<'_>,
    ) -> Result<(), EvalError> {
        whatever!(self, state => state.add(labels, column, account))
    }

    /// Ends a batch of an aggregation over what `arg_span` is.
    pub(crate) fn settle(
        &mut self,
        evaluator: &Evaluator<'_>,
        arg_span: Span,
        account: &mut Account<'_>,
    ) -> Result<(), EvalError> {
        let meter = &evaluator.meter;
        match self {
            State::Min(state) => state.tell_of_ignored(evaluator, arg_span),
            State::Max(state) => state.tell_of_ignored(evaluator, arg_span),
            State::Stddev(state) => state.tell_of_ignored(evaluator, arg_span),
            State::Stdvar(state) => state.tell_of_ignored(evaluator, arg_span),
            State::Candidates(state) => state.tell_of_ignored(evaluator, arg_span),
            State::Sum(_) | State::Avg(_) | State::Count(_) | State::Group(_) | State::Values(_) => {}
        }
        if let State::Candidates(candidates) = self {
            candidates.settle(meter)?;
            account.set(candidates.byte_len())?;
        }
        Ok(())
    }

    /// Takes in what another state of the same aggregation has seen.
    pub(crate) fn merge(&mut self, other: State, meter: &Meter<'_>) -> Result<(), EvalError> {
        match (self, other) {
            (State::Sum(ours), State::Sum(theirs)) => ours.merge(theirs),
            (State::Avg(ours), State::Avg(theirs)) => ours.merge(theirs),
            (State::Min(ours), State::Min(theirs)) => ours.merge(theirs),
            (State::Max(ours), State::Max(theirs)) => ours.merge(theirs),
            (State::Count(ours), State::Count(theirs)) => ours.merge(theirs),
            (State::Group(ours), State::Group(theirs)) => ours.merge(theirs),
            (State::Stddev(ours), State::Stddev(theirs)) => ours.merge(theirs),
            (State::Stdvar(ours), State::Stdvar(theirs)) => ours.merge(theirs),
            (State::Values(ours), State::Values(theirs)) => ours.merge(theirs),
            (State::Candidates(ours), State::Candidates(theirs)) => return ours.merge(theirs, meter),
            _ => unreachable!("both are of one aggregation"),
        }
        Ok(())
    }

    /// Pushes the result.
    pub(crate) fn finish(
        self,
        evaluator: &Evaluator<'_>,
        node: &AggregateNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match self {
            State::Sum(state) => state.finish(evaluator, node.arg_span, sink),
            State::Avg(state) => state.finish(evaluator, node.arg_span, sink),
            State::Min(state) => state.finish(evaluator, node.arg_span, sink),
            State::Max(state) => state.finish(evaluator, node.arg_span, sink),
            State::Count(state) => state.finish(evaluator, node.arg_span, sink),
            State::Group(state) => state.finish(evaluator, node.arg_span, sink),
            State::Stddev(state) => state.finish(evaluator, node.arg_span, sink),
            State::Stdvar(state) => state.finish(evaluator, node.arg_span, sink),
            State::Values(state) => state.finish(sink),
            State::Candidates(state) => {
                let mut candidates = Some(state);
                let mut produce =
                    |sink: &mut Sink<'_>| candidates.take().map_or(Ok(()), |candidates| candidates.push_into(sink));
                evaluator.pick(node, &mut produce, grid, sink)
            }
        }
    }

    pub(crate) fn byte_len(&self) -> usize {
        whatever!(self, state => state.byte_len())
    }

    /// Things that are written one by one.
    pub(crate) fn items(&self) -> usize {
        whatever!(self, state => state.items())
    }

    pub(crate) fn write(&self, item: usize, out: &mut Output) {
        whatever!(self, state => state.write(item, out));
    }

    pub(crate) fn read(&mut self, input: &mut Input<'_>, account: &mut Account<'_>) -> Result<(), Damage> {
        whatever!(self, state => state.read(input, account))
    }
}
