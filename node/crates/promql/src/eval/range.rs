//! Functions of ranges, series by series.

use std::ops::Range;

use crate::ast::Extension;
use crate::column::Column;
use crate::eval::scalar::ScalarColumn;
use crate::eval::selector::RangeData;
use crate::eval::{Evaluator, Sink, execution_error};
use crate::functions::over_time::{Window, double_exponential_smoothing, quantile};
use crate::functions::rate::{Extrapolations, RateOp};
use crate::functions::regression::linear_regression;
use crate::literal::{fixed_text, general_text};
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
        let asked = op;
        match op {
            RangeOp::Rate(op) => self.rates(*op, range, grid, sink),
            RangeOp::OverTime(op) => {
                let mut scratch = Vec::new();
                let keeps_name = op.keeps_name();
                let cost = if op.is_constant_time() { Cost::Step } else { Cost::Sample };
                self.windows(asked, range, grid, keeps_name, cost, sink, |_, window| Ok(op.apply(window, &mut scratch)))
            }
            RangeOp::Quantile { q, q_span } => {
                let q = self.scalar(q, grid)?;
                let mut scratch = Vec::new();
                self.windows(asked, range, grid, false, Cost::Sample, sink, |step, window| {
                    self.check_quantile(q.at(step), *q_span);
                    Ok(Some(quantile(q.at(step), window.values, &mut scratch)))
                })
            }
            RangeOp::PredictLinear { seconds } => {
                let seconds = self.scalar(seconds, grid)?;
                self.windows(asked, range, grid, false, Cost::Sample, sink, |step, window| {
                    if window.values.len() < 2 {
                        return Ok(None);
                    }
                    let (slope, now) = linear_regression(window.timestamps, window.values, grid.time(step));
                    Ok(Some(slope * seconds.at(step) + now))
                })
            }
            RangeOp::DoubleExponentialSmoothing { smoothing, trend } => {
                let (smoothing, trend) = (self.scalar(smoothing, grid)?, self.scalar(trend, grid)?);
                self.windows(asked, range, grid, false, Cost::Sample, sink, |step, window| {
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
        for step in 0..q.distinct_steps(grid.steps) {
            self.check_quantile(q.at(step), span);
        }
        Ok(q)
    }

    fn check_quantile(&self, q: f64, span: Span) {
        if !(0.0..=1.0).contains(&q) {
            let text = format!("quantile value should be between 0 and 1, got {}", general_text(q, None));
            self.annotations.borrow_mut().warn(text, span);
        }
    }

    fn rates(&self, op: RateOp, range: &RangeNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut extrapolations = Extrapolations::new(op);
        let mut column = Column::absent(grid.steps);
        let asks_for_counters = matches!(op, RateOp::Rate | RateOp::Increase);
        self.ranges(range, grid, &mut |data: &RangeData<'_>| {
            column.reset(grid.steps);
            if range.extension == Extension::None {
                extrapolations.evaluate(data.windows, data.timestamps, data.values, &mut column);
            } else {
                changes_between_borders(op, range, grid, data, &mut column);
            }
            if data.histograms.is_some() {
                self.rates_of_histograms(op, range, grid, data, &mut column)?;
            }
            self.meter.work(grid.steps + data.values.len())?;
            if column.any() {
                if asks_for_counters && column.present.any() {
                    self.ask_for_counter(data, range.span);
                }
                sink(&self.drop_name(data.labels), &mut column)?;
            }
            Ok(())
        })
    }

    fn ask_for_counter(&self, data: &RangeData<'_>, span: Span) {
        let Some(name) = data.labels.get(bellwether_model::METRIC_NAME) else { return };
        if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            let text =
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}");
            self.annotations.borrow_mut().inform(text, span);
        }
    }

    /// Applies `f` to every window that is not empty.
    #[allow(clippy::too_many_arguments)] // each says another thing about the same loop
    fn windows(
        &self,
        op: &RangeOp,
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
                let mut bounds: Range<usize> = data.windows.bounds(step);
                if range.extension == Extension::Anchored {
                    let anchor = range.borders(grid, step).anchor(&data.timestamps[bounds.clone()]);
                    bounds.start = anchor.map_or(bounds.end, |anchor| bounds.start + anchor);
                }
                if bounds.is_empty() {
                    continue;
                }
                self.meter.work(if cost == Cost::Sample { bounds.len() } else { 1 })?;
                let window = Window { timestamps: &data.timestamps[bounds.clone()], values: &data.values[bounds] };
                if let Some(value) = f(step, window)? {
                    column.set(step, value);
                }
            }
            if data.histograms.is_some() {
                self.ranges_of_histograms(op, range, grid, data, &mut column)?;
            }
            self.meter.work(grid.steps)?;
            if !column.any() {
                return Ok(());
            }
            if keeps_name { sink(data.labels, &mut column) } else { sink(&self.drop_name(data.labels), &mut column) }
        })
    }
}

fn changes_between_borders(op: RateOp, range: &RangeNode, grid: &Grid, data: &RangeData<'_>, column: &mut Column) {
    let smoothed = range.extension == Extension::Smoothed;
    for step in 0..grid.steps {
        let seen = data.windows.bounds(step);
        let (timestamps, values) = (&data.timestamps[seen.clone()], &data.values[seen]);
        if let Some(change) = range.borders(grid, step).change(op, smoothed, timestamps, values) {
            column.set(step, change);
        }
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
