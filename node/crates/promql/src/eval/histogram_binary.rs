//! Operators where a side is a histogram.

use std::sync::Arc;

use crate::ast::BinaryOp;
use crate::column::{Column, Presence};
use crate::eval::Evaluator;
use crate::eval::binary::Operation;
use crate::eval::histogram_notes::{Combination, Kind};
use crate::eval::histogram_range::Sample;
use crate::eval::scalar::ScalarColumn;
use crate::histogram::{FloatHistogram, Incompatible};
use crate::outcome::EvalError;
use crate::span::Span;

impl Sample {
    fn kind(&self) -> Kind {
        match self {
            Sample::Float(_) => Kind::Float,
            Sample::Histogram(_) => Kind::Histogram,
        }
    }

    /// What a column has at a step.
    pub(crate) fn of(column: &Column, step: usize) -> Option<Sample> {
        match column.histogram(step) {
            Some(histogram) => Some(Sample::Histogram(histogram.clone())),
            None => column.get(step).map(Sample::Float),
        }
    }
}

impl Evaluator<'_> {
    /// `left op right` where at least one is a histogram; `None` if nothing comes out.
    fn operation_on_histograms(
        &self,
        operation: Operation,
        left: &Sample,
        right: &Sample,
        span: Span,
    ) -> Option<Sample> {
        let changed = |histogram: &Arc<FloatHistogram>, change: &dyn Fn(&mut FloatHistogram)| {
            let mut result = FloatHistogram::clone(histogram);
            change(&mut result);
            Some(Sample::Histogram(Arc::new(result)))
        };
        let scaled = |histogram, scale: &dyn Fn(&mut FloatHistogram)| {
            changed(histogram, &|result| {
                scale(result);
                result.compact();
            })
        };
        match (operation.op, left, right) {
            (BinaryOp::Mul, Sample::Histogram(histogram), Sample::Float(factor))
            | (BinaryOp::Mul, Sample::Float(factor), Sample::Histogram(histogram)) => {
                scaled(histogram, &|result| result.multiply(*factor))
            }
            (BinaryOp::Div, Sample::Histogram(histogram), Sample::Float(divisor)) => {
                scaled(histogram, &|result| result.divide(*divisor))
            }
            (BinaryOp::TrimUpper | BinaryOp::TrimLower, Sample::Histogram(histogram), Sample::Float(value)) => {
                let keeps_below = operation.op == BinaryOp::TrimUpper;
                changed(histogram, &|result| *result = result.trimmed(*value, keeps_below))
            }
            (BinaryOp::Add | BinaryOp::Sub, Sample::Histogram(left), Sample::Histogram(right)) => {
                let adds = operation.op == BinaryOp::Add;
                let mut result = FloatHistogram::clone(left);
                match if adds { result.add(right) } else { result.subtract(right) } {
                    Ok(combined) => {
                        let how = if adds { Combination::Addition } else { Combination::Subtraction };
                        self.tell_of(combined, how, span);
                    }
                    Err(Incompatible) => {
                        self.warn_of_buckets(operation.op, span);
                        return None;
                    }
                }
                if !adds {
                    result.hint = bellwether_model::CounterResetHint::Gauge;
                }
                result.compact();
                Some(Sample::Histogram(Arc::new(result)))
            }
            (BinaryOp::Equal | BinaryOp::NotEqual, Sample::Histogram(histogram), Sample::Histogram(other)) => {
                let holds = histogram.same(other) == (operation.op == BinaryOp::Equal);
                if operation.return_bool {
                    return Some(Sample::Float(f64::from(holds)));
                }
                holds.then(|| left.clone())
            }
            _ => {
                self.inform_of_kinds(operation.op, (left.kind(), right.kind()), span);
                None
            }
        }
    }

    /// Puts `many op one` (or `one op many`) into `many` at steps where one of them is a histogram.
    pub(crate) fn operate_on_histograms(
        &self,
        operation: Operation,
        many: &mut Column,
        one: &Column,
        one_left: bool,
        (steps, span): (&Presence, Span),
    ) -> Result<(), EvalError> {
        for step in steps.iter() {
            let (Some(of_many), Some(of_one)) = (Sample::of(many, step), Sample::of(one, step)) else { continue };
            let kinds = [of_many.kind(), of_one.kind()];
            if !kinds.contains(&Kind::Histogram) {
                continue;
            }
            let work = [many, one].into_iter().filter_map(|column| column.histogram(step)).map(|one| one.work());
            self.meter.work(work.sum())?;
            let (left, right) = if one_left { (of_one, of_many) } else { (of_many, of_one) };
            many.replace(step, self.operation_on_histograms(operation, &left, &right, span));
        }
        Ok(())
    }

    /// Puts what comes of a scalar and the histograms of a column in their place.
    pub(crate) fn histograms_with_scalar(
        &self,
        operation: Operation,
        column: &mut Column,
        scalar: &ScalarColumn<'_>,
        scalar_left: bool,
        span: Span,
    ) -> Result<(), EvalError> {
        let Some(histograms) = column.histograms.take() else { return Ok(()) };
        for (step, histogram) in histograms.iter() {
            self.meter.work(histogram.work())?;
            let (own, other) = (Sample::Histogram(histogram.clone()), Sample::Float(scalar.at(step)));
            let (left, right) = if scalar_left { (other, own) } else { (own, other) };
            column.replace(step, self.operation_on_histograms(operation, &left, &right, span));
        }
        Ok(())
    }
}
