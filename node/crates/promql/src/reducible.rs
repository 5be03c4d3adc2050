//! Which aggregations can be computed part by part: those whose states merge, over series of one selection that go through
//! functions one by one.

use crate::ast::AggregateOp;
use crate::plan::{AggregateNode, PointOp, RangeNode, RangeOp, RangeSource, ScalarNode, VectorNode};

/// The selection whose series an aggregation takes one by one, if that is so.
pub(crate) fn reduced_selection(node: &AggregateNode) -> Option<usize> {
    let merges = !matches!(node.op, AggregateOp::Quantile | AggregateOp::LimitRatio);
    let selection = || of_vector(&node.arg);
    (merges && node.param.as_ref().is_none_or(needs_no_series)).then(selection).flatten()
}

// A node that must see all series for duplicates, or that makes labels, is not passed.
fn of_vector(node: &VectorNode) -> Option<usize> {
    match node {
        VectorNode::Selector(selector) => Some(selector.selection),
        VectorNode::SampleTimes(selector) => selector.one_name.then_some(selector.selection),
        VectorNode::Range { op, range } => {
            let keeps_name = matches!(op, RangeOp::OverTime(op) if op.keeps_name());
            let passes = parameters_of_range(op).into_iter().all(needs_no_series);
            (passes && (keeps_name || range.distinct_without_name())).then(|| of_range(range)).flatten()
        }
        VectorNode::Point { op, arg } => {
            let passes = parameters_of_point(op).into_iter().all(needs_no_series);
            (passes && arg.distinct_without_name()).then(|| of_vector(arg)).flatten()
        }
        VectorNode::WithScalar { op, return_bool, vector, scalar, .. } => {
            let keeps_name = op.is_comparison() && !return_bool;
            let passes = needs_no_series(scalar) && (keeps_name || vector.distinct_without_name());
            passes.then(|| of_vector(vector)).flatten()
        }
        VectorNode::StepInvariant(inner) => of_vector(inner),
        VectorNode::Absent { .. }
        | VectorNode::AbsentOverTime { .. }
        | VectorNode::Histogram { .. }
        | VectorNode::Nothing
        | VectorNode::Info { .. }
        | VectorNode::Label { .. }
        | VectorNode::Sort { .. }
        | VectorNode::OfScalar(_)
        | VectorNode::Aggregate(_)
        | VectorNode::Match { .. }
        | VectorNode::Set { .. } => None,
    }
}

fn of_range(range: &RangeNode) -> Option<usize> {
    match &range.source {
        RangeSource::Selection { selection, .. } => Some(*selection),
        RangeSource::Subquery { expr, .. } => of_vector(expr),
    }
}

fn parameters_of_range(op: &RangeOp) -> Vec<&ScalarNode> {
    match op {
        RangeOp::Rate(_) | RangeOp::OverTime(_) => Vec::new(),
        RangeOp::Quantile { q, .. } => vec![q],
        RangeOp::PredictLinear { seconds } => vec![seconds],
        RangeOp::DoubleExponentialSmoothing { smoothing, trend } => vec![smoothing, trend],
    }
}

fn parameters_of_point(op: &PointOp) -> Vec<&ScalarNode> {
    match op {
        PointOp::Negate | PointOp::Math(_) | PointOp::Time(_) | PointOp::EvaluationTime => Vec::new(),
        PointOp::Clamp { min, max } => vec![min, max],
        PointOp::ClampMin(bound) | PointOp::ClampMax(bound) | PointOp::Round(bound) => vec![bound],
    }
}

fn needs_no_series(scalar: &ScalarNode) -> bool {
    match scalar {
        ScalarNode::Number(_) | ScalarNode::EvaluationTime => true,
        ScalarNode::OnlyValueOf(_) => false,
        ScalarNode::Negate(inner) => needs_no_series(inner),
        ScalarNode::Binary { lhs, rhs, .. } | ScalarNode::Bound { lhs, rhs, .. } => {
            needs_no_series(lhs) && needs_no_series(rhs)
        }
    }
}
