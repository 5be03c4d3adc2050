//! Scalars: one value at each step.

use crate::column::{Column, Presence};
use crate::eval::Evaluator;
use crate::eval::binary::scalar_operation;
use crate::outcome::EvalError;
use crate::plan::ScalarNode;
use crate::windows::Grid;

#[derive(Debug, Clone)]
pub(crate) enum ScalarColumn {
    Constant(f64),
    Steps(Vec<f64>),
}

impl ScalarColumn {
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            ScalarColumn::Constant(value) => *value,
            ScalarColumn::Steps(values) => values[step],
        }
    }

    /// Steps that must be looked at to have seen all of `steps` values.
    pub(crate) fn distinct_steps(&self, steps: usize) -> usize {
        match self {
            ScalarColumn::Constant(_) => steps.min(1),
            ScalarColumn::Steps(values) => values.len(),
        }
    }

    fn map(self, f: impl Fn(f64) -> f64) -> ScalarColumn {
        match self {
            ScalarColumn::Constant(value) => ScalarColumn::Constant(f(value)),
            ScalarColumn::Steps(mut values) => {
                values.iter_mut().for_each(|value| *value = f(*value));
                ScalarColumn::Steps(values)
            }
        }
    }
}

impl Evaluator<'_> {
    pub(crate) fn scalar(&self, node: &ScalarNode, grid: &Grid) -> Result<ScalarColumn, EvalError> {
        self.meter.work(grid.steps)?;
        Ok(match node {
            ScalarNode::Number(value) => ScalarColumn::Constant(*value),
            ScalarNode::EvaluationTime => {
                ScalarColumn::Steps((0..grid.steps).map(|step| grid.time(step) as f64 / 1000.0).collect())
            }
            ScalarNode::Negate(inner) => self.scalar(inner, grid)?.map(|value| -value),
            ScalarNode::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs, grid)?, self.scalar(rhs, grid)?);
                let f = scalar_operation(*op);
                match (lhs, rhs) {
                    (ScalarColumn::Constant(lhs), rhs) => rhs.map(|rhs| f(lhs, rhs)),
                    (lhs, ScalarColumn::Constant(rhs)) => lhs.map(|lhs| f(lhs, rhs)),
                    (ScalarColumn::Steps(mut lhs), ScalarColumn::Steps(rhs)) => {
                        lhs.iter_mut().zip(&rhs).for_each(|(lhs, rhs)| *lhs = f(*lhs, *rhs));
                        ScalarColumn::Steps(lhs)
                    }
                }
            }
            ScalarNode::OnlyValueOf(vector) => {
                let mut only = Column::constant(f64::NAN, grid.steps);
                let mut seen = Presence::none(grid.steps);
                self.vector(vector, grid, &mut |_, column| {
                    for step in column.present.iter() {
                        only.values[step] = if seen.get(step) { f64::NAN } else { column.values[step] };
                        seen.set(step);
                    }
                    Ok(())
                })?;
                ScalarColumn::Steps(only.values)
            }
        })
    }
}
