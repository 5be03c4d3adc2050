//! The arithmetic of binary operators, and vectors with scalars.

use crate::ast::BinaryOp;
use crate::column::Column;
use crate::eval::histogram_notes::Kind;
use crate::eval::scalar::ScalarColumn;
use crate::eval::{Evaluator, Sink};
use crate::outcome::EvalError;
use crate::plan::VectorNode;
use crate::span::Span;
use crate::windows::Grid;

/// The operator between two numbers; comparisons give 0 or 1.
pub(crate) fn scalar_operation(op: BinaryOp) -> fn(f64, f64) -> f64 {
    match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => |a, b| a % b,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        BinaryOp::Equal => |a, b| f64::from(a == b),
        BinaryOp::NotEqual => |a, b| f64::from(a != b),
        BinaryOp::Less => |a, b| f64::from(a < b),
        BinaryOp::LessEqual => |a, b| f64::from(a <= b),
        BinaryOp::Greater => |a, b| f64::from(a > b),
        BinaryOp::GreaterEqual => |a, b| f64::from(a >= b),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::TrimUpper | BinaryOp::TrimLower => {
            unreachable!("such operators have no arithmetic")
        }
    }
}

/// What an operator does with two columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) op: BinaryOp,
    /// Comparisons give 0 or 1 instead of filtering.
    pub(crate) return_bool: bool,
}

impl Operation {
    pub(crate) fn filters(self) -> bool {
        self.op.is_comparison() && !self.return_bool
    }

    /// Whether what comes out is of another metric.
    pub(crate) fn drops_name(self) -> bool {
        self.op.is_arithmetic() || self.return_bool
    }

    /// Puts the results for `lhs(step)` and `rhs(step)` into `column`, whose steps say where there are any; a filter
    /// puts `kept(step)` and takes away the steps that fail.
    #[inline]
    fn apply(
        self,
        column: &mut Column,
        lhs: impl Fn(&Column, usize) -> f64,
        rhs: impl Fn(&Column, usize) -> f64,
        kept: impl Fn(&Column, usize) -> f64,
    ) {
        let steps = column.values.len();
        let f = scalar_operation(self.op);
        if self.filters() {
            for step in 0..steps {
                if f(lhs(column, step), rhs(column, step)) == 0.0 {
                    column.present.unset(step);
                } else {
                    column.values[step] = kept(column, step);
                }
            }
            return;
        }
        macro_rules! each {
            ($f:expr) => {
                for step in 0..steps {
                    column.values[step] = $f(lhs(column, step), rhs(column, step));
                }
            };
        }
        // The common operators without a call for each value.
        match self.op {
            BinaryOp::Add => each!(|a: f64, b: f64| a + b),
            BinaryOp::Sub => each!(|a: f64, b: f64| a - b),
            BinaryOp::Mul => each!(|a: f64, b: f64| a * b),
            BinaryOp::Div => each!(|a: f64, b: f64| a / b),
            _ => each!(f),
        }
    }

    /// `many op one` (or `one op many` if `one_left`) into `many`; a filter keeps the left value.
    pub(crate) fn columns(self, many: &mut Column, one: &Column, one_left: bool) {
        many.present.intersect(&one.present);
        if one_left {
            self.apply(many, |_, at| one.values[at], |many, at| many.values[at], |_, at| one.values[at]);
        } else {
            self.apply(many, |many, at| many.values[at], |_, at| one.values[at], |many, at| many.values[at]);
        }
    }

    /// The column with a scalar on one side; a filter keeps the column's value.
    fn with_scalar(self, column: &mut Column, scalar: &ScalarColumn<'_>, scalar_left: bool) {
        match (scalar, scalar_left) {
            (ScalarColumn::Constant(scalar), false) => {
                self.apply(column, |column, at| column.values[at], |_, _| *scalar, |column, at| column.values[at]);
            }
            (ScalarColumn::Constant(scalar), true) => {
                self.apply(column, |_, _| *scalar, |column, at| column.values[at], |column, at| column.values[at]);
            }
            (ScalarColumn::Steps(scalar), false) => {
                self.apply(column, |column, at| column.values[at], |_, at| scalar[at], |column, at| column.values[at]);
            }
            (ScalarColumn::Steps(scalar), true) => {
                self.apply(column, |_, at| scalar[at], |column, at| column.values[at], |column, at| column.values[at]);
            }
        }
    }
}

impl Evaluator<'_> {
    #[allow(clippy::too_many_arguments)] // what an operator is made of, and where it goes
    pub(crate) fn with_scalar(
        &self,
        operation: Operation,
        span: Span,
        scalar_left: bool,
        vector: &VectorNode,
        scalar: &ScalarColumn<'_>,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        self.vector(vector, grid, &mut |labels, column| {
            self.meter.work(grid.steps)?;
            let histograms = column.histograms.take();
            if operation.op.is_trim() {
                if column.present.any() {
                    self.inform_of_kinds(operation.op, (Kind::Float, Kind::Float), span);
                }
                column.present.clear();
            } else {
                operation.with_scalar(column, scalar, scalar_left);
            }
            if histograms.is_some() {
                column.histograms = histograms;
                self.histograms_with_scalar(operation, column, scalar, scalar_left, span)?;
            }
            if !column.any() {
                return Ok(());
            }
            if operation.drops_name() { sink(&self.drop_name(labels), column) } else { sink(labels, column) }
        })
    }
}
