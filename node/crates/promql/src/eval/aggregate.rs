//! Aggregations: of series that flow in, or of what parts of them have become elsewhere.

use crate::ast::AggregateOp;
use crate::eval::accumulator::{Accumulator, Counts, Deviations, Existence, Extremes, Means, Sums};
use crate::eval::marks::Marks;
use crate::eval::partial::grouped::Grouped;
use crate::eval::partial::value_counts::ValueCounts;
use crate::eval::pick::Produce;
use crate::eval::{Evaluator, Sink};
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::windows::Grid;

impl Evaluator<'_> {
    pub(crate) fn aggregate(&self, node: &AggregateNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        if let Some(state) = node.reduction.and_then(|reduction| self.reduced(reduction)) {
            let _paid = self.meter.paid(state.byte_len() as u64);
            return state.finish(self, node, grid, sink);
        }
        match node.op {
            AggregateOp::Sum => self.accumulate::<Sums>(node, grid, sink),
            AggregateOp::Avg => self.accumulate::<Means>(node, grid, sink),
            AggregateOp::Min => self.accumulate::<Extremes<false>>(node, grid, sink),
            AggregateOp::Max => self.accumulate::<Extremes<true>>(node, grid, sink),
            AggregateOp::Count => self.accumulate::<Counts>(node, grid, sink),
            AggregateOp::Group => self.accumulate::<Existence>(node, grid, sink),
            AggregateOp::Stddev => self.accumulate::<Deviations<true>>(node, grid, sink),
            AggregateOp::Stdvar => self.accumulate::<Deviations<false>>(node, grid, sink),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                self.pick(node, &mut |sink| self.vector(&node.arg, grid, sink), grid, sink)
            }
            AggregateOp::LimitRatio => self.pick_share(node, grid, sink),
            AggregateOp::Quantile => self.quantiles(node, grid, sink),
            AggregateOp::CountValues => self.count_values(node, grid, sink),
        }
    }

    /// Picks among the series that `produce` pushes, which come in the order of their labels.
    pub(crate) fn pick(
        &self,
        node: &AggregateNode,
        produce: Produce<'_>,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if node.op == AggregateOp::Limitk {
            return self.pick_first(node, produce, grid, sink);
        }
        self.pick_extremes(node, produce, grid, sink)
    }

    fn accumulate<A: Accumulator>(
        &self,
        node: &AggregateNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        // Series come in the order that the plan needs, and so do their groups.
        let mut groups = Grouped::<A>::new(&node.grouping, grid.steps, false, Marks::new(self.delays_names));
        let mut account = self.meter.account();
        self.vector(&node.arg, grid, &mut |labels, column| {
            groups.add(labels, column, &mut account)?;
            self.meter.work(column.work())
        })?;
        groups.tell_of_ignored(self, node.arg_span);
        groups.finish(self, node.arg_span, sink)
    }

    fn count_values(&self, node: &AggregateNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut counts = ValueCounts::new(node, grid.steps, false);
        let mut account = self.meter.account();
        self.vector(&node.arg, grid, &mut |labels, column| {
            counts.add(labels, column, &mut account)?;
            self.meter.work(grid.steps)
        })?;
        counts.finish(sink)
    }
}
