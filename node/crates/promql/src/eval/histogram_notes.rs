//! What is said where histograms meet floats, or each other, in a way that has no good answer. Messages are Prometheus's.

use crate::ast::BinaryOp;
use crate::eval::Evaluator;
use crate::histogram::{Combined, NanObservations};
use crate::span::Span;

/// How histograms were being combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combination {
    Addition,
    Subtraction,
    Aggregation,
}

impl Combination {
    fn as_str(self) -> &'static str {
        match self {
            Combination::Addition => "addition",
            Combination::Subtraction => "subtraction",
            Combination::Aggregation => "aggregation",
        }
    }
}

/// The kind of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Float => "float",
            Kind::Histogram => "histogram",
        }
    }
}

impl Evaluator<'_> {
    fn warn(&self, text: String, span: Span) {
        self.annotations.borrow_mut().warn(text, span);
    }

    fn inform(&self, text: String, span: Span) {
        self.annotations.borrow_mut().inform(text, span);
    }

    pub(crate) fn warn_of_mixed_range(&self, name: &str, span: Span) {
        self.warn(format!("encountered a mix of histograms and floats for metric name {name:?}"), span);
    }

    pub(crate) fn warn_of_mixed_group(&self, span: Span) {
        self.warn("encountered a mix of histograms and floats for aggregation".to_owned(), span);
    }

    pub(crate) fn warn_of_mixed_schemas(&self, name: &str, span: Span) {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(format!("{text} {name:?}"), span);
    }

    /// Two histograms of different kinds of buckets, in an operator.
    pub(crate) fn warn_of_buckets(&self, op: BinaryOp, span: Span) {
        self.warn(format!("incompatible bucket layout encountered for binary operator {}", op.as_str()), span);
    }

    pub(crate) fn warn_of_mixed_histograms(&self, name: &str, span: Span) {
        self.warn(of_metric("vector contains a mix of classic and native histograms", name), span);
    }

    pub(crate) fn warn_of_no_counter(&self, name: &str, span: Span) {
        self.warn(format!("this native histogram metric is not a counter: {name:?}"), span);
    }

    pub(crate) fn warn_of_no_gauge(&self, name: &str, span: Span) {
        self.warn(format!("this native histogram metric is not a gauge: {name:?}"), span);
    }

    pub(crate) fn warn_of_collision(&self, combination: Combination, span: Span) {
        self.warn(format!("conflicting counter resets during histogram {}", combination.as_str()), span);
    }

    pub(crate) fn inform_of_bounds(&self, combination: Combination, span: Span) {
        let text = "mismatched custom buckets were reconciled during";
        self.inform(format!("{text} {}", combination.as_str()), span);
    }

    /// Says what there is to say of two histograms that have become one.
    pub(crate) fn tell_of(&self, combined: Combined, combination: Combination, span: Span) {
        if combined.hints_collide {
            self.warn_of_collision(combination, span);
        }
        if combined.bounds_differ {
            self.inform_of_bounds(combination, span);
        }
    }

    pub(crate) fn inform_of_ignored_range(&self, name: &str, span: Span) {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        self.inform(format!("{text} {name:?}"), span);
    }

    pub(crate) fn inform_of_ignored_in(&self, aggregation: &str, span: Span) {
        self.inform(format!("ignored histogram in {aggregation} aggregation"), span);
    }

    /// An operator met two samples that it does not know what to do with.
    pub(crate) fn inform_of_kinds(&self, op: BinaryOp, (left, right): (Kind, Kind), span: Span) {
        let (op, left, right) = (op.as_str(), left.as_str(), right.as_str());
        let text = format!("incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}");
        self.inform(text, span);
    }

    pub(crate) fn inform_of_nan(&self, nan: NanObservations, name: &str, span: Span) {
        let text = match nan {
            NanObservations::Reached => "input to histogram_quantile has NaN observations, result is NaN",
            NanObservations::Skew => "input to histogram_quantile has NaN observations, result is skewed higher",
            NanObservations::Excluded => {
                "input to histogram_fraction has NaN observations, which are excluded from all fractions"
            }
        };
        self.inform(of_metric(text, name), span);
    }
}

fn of_metric(text: &str, name: &str) -> String {
    if name.is_empty() { text.to_owned() } else { format!("{text} for metric name {name:?}") }
}
