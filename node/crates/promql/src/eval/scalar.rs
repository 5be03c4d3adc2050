//! Scalars: one value at each step.

use crate::column::Presence;
use crate::eval::Evaluator;
use crate::eval::binary::scalar_operation;
use crate::eval::meter::Account;
use crate::functions::math::{go_max, go_min};
use crate::outcome::EvalError;
use crate::plan::ScalarNode;
use crate::windows::Grid;

/// A scalar at every step.
#[derive(Debug)]
pub(crate) enum ScalarColumn<'m> {
    Constant(f64),
    Steps(Steps<'m>),
}

/// Values that differ between steps, and the account of their memory.
#[derive(Debug)]
pub(crate) struct Steps<'m> {
    values: Vec<f64>,
    _account: Account<'m>,
}

impl std::ops::Deref for Steps<'_> {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.values
    }
}

impl ScalarColumn<'_> {
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

    fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        match &mut self {
            ScalarColumn::Constant(value) => *value = f(*value),
            ScalarColumn::Steps(steps) => steps.values.iter_mut().for_each(|value| *value = f(*value)),
        }
        self
    }
}

impl<'a> Evaluator<'a> {
    pub(crate) fn scalar(&self, node: &ScalarNode, grid: &Grid) -> Result<ScalarColumn<'a>, EvalError> {
        self.meter.work(grid.steps)?;
        let steps = |values: &mut dyn FnMut() -> Result<Vec<f64>, EvalError>| {
            let mut account = self.meter.account();
            account.take(grid.steps.saturating_mul(size_of::<f64>()))?;
            Ok::<_, EvalError>(ScalarColumn::Steps(Steps { values: values()?, _account: account }))
        };
        Ok(match node {
            ScalarNode::Number(value) => ScalarColumn::Constant(*value),
            ScalarNode::EvaluationTime => {
                steps(&mut || Ok((0..grid.steps).map(|step| grid.time(step) as f64 / 1000.0).collect()))?
            }
            ScalarNode::Negate(inner) => self.scalar(inner, grid)?.map(|value| -value),
            ScalarNode::Bound { greater, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs, grid)?, self.scalar(rhs, grid)?);
                combine(lhs, rhs, if *greater { go_max } else { go_min })
            }
            ScalarNode::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs, grid)?, self.scalar(rhs, grid)?);
                combine(lhs, rhs, scalar_operation(*op))
            }
            ScalarNode::OnlyValueOf(vector) => steps(&mut || {
                let mut only = vec![f64::NAN; grid.steps];
                let mut seen = Presence::none(grid.steps);
                self.vector(vector, grid, &mut |_, column| {
                    for step in column.present.iter() {
                        only[step] = if seen.get(step) { f64::NAN } else { column.values[step] };
                        seen.set(step);
                    }
                    Ok(())
                })?;
                Ok(only)
            })?,
        })
    }
}

fn combine<'m>(lhs: ScalarColumn<'m>, rhs: ScalarColumn<'m>, f: fn(f64, f64) -> f64) -> ScalarColumn<'m> {
    match (lhs, rhs) {
        (ScalarColumn::Constant(lhs), rhs) => rhs.map(|rhs| f(lhs, rhs)),
        (lhs, ScalarColumn::Constant(rhs)) => lhs.map(|lhs| f(lhs, rhs)),
        (ScalarColumn::Steps(mut lhs), ScalarColumn::Steps(rhs)) => {
            lhs.values.iter_mut().zip(&rhs.values).for_each(|(lhs, rhs)| *lhs = f(*lhs, *rhs));
            ScalarColumn::Steps(lhs)
        }
    }
}
