//! Which aggregations can be computed part by part: those whose states merge, over series of one selection that go through
//! functions one by one.

use crate::ast::AggregateOp;
use crate::plan::{AggregateNode, PointOp, RangeNode, RangeOp, RangeSource, ScalarNode, VectorNode};

/// The selection whose series an aggregation takes one by one, if that is so.
pub(crate) fn reduced_selection(node: &AggregateNode, delays_names: bool) -> Option<usize> {
    let merges = !matches!(node.op, AggregateOp::Quantile | AggregateOp::LimitRatio);
    let selection = || of_vector(&node.arg, delays_names);
    (merges && node.param.as_ref().is_none_or(needs_no_series)).then(selection).flatten()
}

// A node that must see all series for duplicates, or that makes labels, is not passed. Dropping names makes none as long
// as they are there until the query ends.
fn of_vector(node: &VectorNode, delays_names: bool) -> Option<usize> {
    match node {
        VectorNode::Selector(selector) => Some(selector.selection),
        VectorNode::SampleTimes(selector) => (delays_names || selector.one_name).then_some(selector.selection),
        VectorNode::Range { op, range } => {
            let keeps_name = matches!(op, RangeOp::OverTime(op) if op.keeps_name());
            let passes = parameters_of_range(op).into_iter().all(needs_no_series);
            let distinct = delays_names || keeps_name || range.distinct_without_name();
            (passes && distinct).then(|| of_range(range, delays_names)).flatten()
        }
        VectorNode::Point { op, arg } => {
            let passes = parameters_of_point(op).into_iter().all(needs_no_series);
            let distinct = delays_names || arg.distinct_without_name();
            (passes && distinct).then(|| of_vector(arg, delays_names)).flatten()
        }
        VectorNode::WithScalar { op, return_bool, vector, scalar, .. } => {
            let keeps_name = !op.is_arithmetic() && !return_bool;
            let distinct = delays_names || keeps_name || vector.distinct_without_name();
            (needs_no_series(scalar) && distinct).then(|| of_vector(vector, delays_names)).flatten()
        }
        VectorNode::StepInvariant(inner) => of_vector(inner, delays_names),
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

fn of_range(range: &RangeNode, delays_names: bool) -> Option<usize> {
    match &range.source {
        RangeSource::Selection { selection, .. } => Some(*selection),
        RangeSource::Subquery { expr, .. } => of_vector(expr, delays_names),
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
        PointOp::Negate | PointOp::Math(_) | PointOp::Time(_) | PointOp::EvaluationTime | PointOp::OfHistogram(_) => {
            Vec::new()
        }
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
