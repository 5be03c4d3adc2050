//! Functions of ranges, series by series.

use std::ops::Range;

use crate::column::Column;
use crate::eval::scalar::ScalarColumn;
use crate::eval::selector::RangeData;
use crate::eval::{Evaluator, Sink, execution_error};
use crate::functions::over_time::{Window, double_exponential_smoothing, quantile};
use crate::functions::rate::{Extrapolations, RateOp};
use crate::functions::regression::linear_regression;
use crate::limits::ANNOTATIONS_MAX;
use crate::literal::{fixed_text, number_text};
use crate::outcome::EvalError;
use crate::plan::{RangeNode, RangeOp, ScalarNode};
use crate::span::Span;
use crate::windows::Grid;

/// Endings of counters' names.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

impl Evaluator<'_> {
    pub(crate) fn range_call(
        &self,
        op: &RangeOp,
        range: &RangeNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match op {
            RangeOp::Rate(op) => self.rates(*op, range, grid, sink),
            RangeOp::OverTime(op) => {
                let mut scratch = Vec::new();
                let keeps_name = op.keeps_name();
                if op.is_constant_time() {
                    return self.windows(range, grid, keeps_name, Cost::Step, sink, |_, window| {
                        Ok(op.apply(window, &mut scratch))
                    });
                }
                self.windows(
                    range,
                    grid,
                    keeps_name,
                    Cost::Sample,
                    sink,
                    |_, window| Ok(op.apply(window, &mut scratch)),
                )
            }
            RangeOp::Quantile { q, q_span } => {
                let q = self.quantile_parameter(q, *q_span, grid)?;
                let mut scratch = Vec::new();
                self.windows(range, grid, false, Cost::Sample, sink, |step, window| {
                    Ok(Some(quantile(q.at(step), window.values, &mut scratch)))
                })
            }
            RangeOp::PredictLinear { seconds } => {
                let seconds = self.scalar(seconds, grid)?;
                self.windows(range, grid, false, Cost::Sample, sink, |step, window| {
                    if window.values.len() < 2 {
                        return Ok(None);
                    }
                    let (slope, now) = linear_regression(window.timestamps, window.values, grid.time(step));
                    Ok(Some(slope * seconds.at(step) + now))
                })
            }
            RangeOp::DoubleExponentialSmoothing { smoothing, trend } => {
                let (smoothing, trend) = (self.scalar(smoothing, grid)?, self.scalar(trend, grid)?);
                self.windows(range, grid, false, Cost::Sample, sink, |step, window| {
                    let smoothing = proper_factor(smoothing.at(step), "smoothing factor", "sf")?;
                    let trend = proper_factor(trend.at(step), "trend factor", "tf")?;
                    Ok(double_exponential_smoothing(window.values, smoothing, trend))
                })
            }
        }
    }

    /// A quantile for each step; warns of those outside [0, 1].
    pub(crate) fn quantile_parameter(
        &self,
        q: &ScalarNode,
        span: Span,
        grid: &Grid,
    ) -> Result<ScalarColumn<'_>, EvalError> {
        let q = self.scalar(q, grid)?;
        let mut warned = Vec::new();
        for step in 0..q.distinct_steps(grid.steps) {
            let value = q.at(step);
            if !(0.0..=1.0).contains(&value) && warned.len() < ANNOTATIONS_MAX {
                warned.push(number_text(value));
            }
        }
        for value in warned {
            let text = format!("quantile value should be between 0 and 1, got {value} ({span})");
            self.annotations.borrow_mut().warn(text);
        }
        Ok(q)
    }

    fn rates(&self, op: RateOp, range: &RangeNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut extrapolations = Extrapolations::new(op);
        let mut column = Column::absent(grid.steps);
        let asks_for_counters = matches!(op, RateOp::Rate | RateOp::Increase);
        self.ranges(range, grid, &mut |data: &RangeData<'_>| {
            column.reset(grid.steps);
            extrapolations.evaluate(data.windows, data.timestamps, data.values, &mut column);
            self.meter.work(grid.steps + data.values.len())?;
            if asks_for_counters && !data.values.is_empty() {
                self.ask_for_counter(data, range.span);
            }
            if column.present.any() {
                sink(&data.labels.without_name(), &mut column)?;
            }
            Ok(())
        })
    }

    fn ask_for_counter(&self, data: &RangeData<'_>, span: Span) {
        let Some(name) = data.labels.get(bellwether_model::METRIC_NAME) else { return };
        if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            let text = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?} ({span})"
            );
            self.annotations.borrow_mut().inform(text);
        }
    }

    /// Applies `f` to every window that is not empty.
    fn windows(
        &self,
        range: &RangeNode,
        grid: &Grid,
        keeps_name: bool,
        cost: Cost,
        sink: &mut Sink<'_>,
        mut f: impl FnMut(usize, Window<'_>) -> Result<Option<f64>, EvalError>,
    ) -> Result<(), EvalError> {
        let mut column = Column::absent(grid.steps);
        self.ranges(range, grid, &mut |data: &RangeData<'_>| {
            column.reset(grid.steps);
            for step in 0..grid.steps {
                let bounds: Range<usize> = data.windows.bounds(step);
                if bounds.is_empty() {
                    continue;
                }
                self.meter.work(if cost == Cost::Sample { bounds.len() } else { 1 })?;
                let window = Window { timestamps: &data.timestamps[bounds.clone()], values: &data.values[bounds] };
                if let Some(value) = f(step, window)? {
                    column.set(step, value);
                }
            }
            self.meter.work(grid.steps)?;
            if !column.present.any() {
                return Ok(());
            }
            if keeps_name { sink(data.labels, &mut column) } else { sink(&data.labels.without_name(), &mut column) }
        })
    }
}

/// What the time of a function grows with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    Step,
    Sample,
}

fn proper_factor(value: f64, name: &str, short: &str) -> Result<f64, EvalError> {
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    execution_error(format!("invalid {name}. Expected: 0 < {short} < 1, got: {}", fixed_text(value)))
}
