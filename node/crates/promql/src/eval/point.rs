//! Functions that change each value alone.

use crate::column::Column;
use crate::eval::{Evaluator, Sink};
use crate::functions::math::{go_max, go_min, round_to};
use crate::outcome::EvalError;
use crate::plan::{PointOp, VectorNode};
use crate::windows::Grid;

impl Evaluator<'_> {
    /// Pushes the changed series without their names.
    pub(crate) fn point(
        &self,
        op: &PointOp,
        arg: &VectorNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match op {
            PointOp::Negate => self.vector(arg, grid, &mut |labels, column| {
                self.meter.work(grid.steps)?;
                column.map(|value| -value);
                column.map_histograms(|histogram| histogram.multiply(-1.0));
                sink(&self.drop_name(labels), column)
            }),
            PointOp::OfHistogram(measure) => self.vector(arg, grid, &mut |labels, column| {
                let Some(histograms) = column.histograms.take() else { return Ok(()) };
                column.present.clear();
                for (step, histogram) in histograms.iter() {
                    self.meter.work(histogram.work())?;
                    column.set(step, measure.of(histogram));
                }
                if column.present.any() { sink(&self.drop_name(labels), column) } else { Ok(()) }
            }),
            PointOp::Math(op) => self.each(arg, grid, sink, |column| op.apply(&mut column.values)),
            PointOp::Time(op) => self.each(arg, grid, sink, |column| column.map(|value| op.apply(value))),
            PointOp::EvaluationTime => self.vector(arg, grid, &mut |labels, column| {
                self.meter.work(grid.steps)?;
                column.present = column.presence().into_owned();
                column.histograms = None;
                for (step, value) in column.values.iter_mut().enumerate() {
                    *value = grid.time(step) as f64 / 1000.0;
                }
                sink(&self.drop_name(labels), column)
            }),
            PointOp::Clamp { min, max } => {
                let (min, max) = (self.scalar(min, grid)?, self.scalar(max, grid)?);
                self.each(arg, grid, sink, |column| {
                    for step in 0..grid.steps {
                        let (min, max) = (min.at(step), max.at(step));
                        if max < min {
                            column.present.unset(step);
                        }
                        column.values[step] = go_max(min, go_min(max, column.values[step]));
                    }
                })
            }
            PointOp::ClampMin(min) => {
                let min = self.scalar(min, grid)?;
                self.each(arg, grid, sink, |column| each_step(column, |step, value| go_max(min.at(step), value)))
            }
            PointOp::ClampMax(max) => {
                let max = self.scalar(max, grid)?;
                self.each(arg, grid, sink, |column| each_step(column, |step, value| go_min(max.at(step), value)))
            }
            PointOp::Round(to) => {
                let to = self.scalar(to, grid)?;
                self.each(arg, grid, sink, |column| each_step(column, |step, value| round_to(value, to.at(step))))
            }
        }
    }

    /// Changes the values; these functions know no histograms.
    fn each(
        &self,
        arg: &VectorNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
        mut change: impl FnMut(&mut Column),
    ) -> Result<(), EvalError> {
        self.vector(arg, grid, &mut |labels, column| {
            self.meter.work(grid.steps)?;
            column.histograms = None;
            change(column);
            if !column.present.any() {
                return Ok(());
            }
            sink(&self.drop_name(labels), column)
        })
    }
}

fn each_step(column: &mut Column, f: impl Fn(usize, f64) -> f64) {
    for (step, value) in column.values.iter_mut().enumerate() {
        *value = f(step, *value);
    }
}
