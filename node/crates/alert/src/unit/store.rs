//! Samples in memory: those of a test's series, as its time goes on, and those that its rules store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{Labels, Matcher, Timestamp};
use bellwether_promql::series_notation::{NotedSeries, NotedValue};
use bellwether_promql::{
    EvalTimes, Expr, FetchedSeries, Limits, Plan, PlanOptions, QueryAccount, Selection, Value, VectorSample, evaluate,
};

use crate::evaluate::{Querier, QueryError};
use crate::state::RuleSample;

/// See the module's documentation.
pub(super) struct Store<'t> {
    series: BTreeMap<Labels, Samples>,
    inputs: &'t [NotedSeries],
    /// How far the values of the inputs are apart.
    interval_ms: i64,
    /// Values of each input that are stored already.
    loaded: usize,
    /// The step of subqueries that name none.
    subquery_step_ms: i64,
}

#[derive(Default)]
struct Samples {
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl Samples {
    /// Samples come in order; one that does not is left out, as Prometheus does.
    fn push(&mut self, timestamp: Timestamp, value: f64) {
        if self.timestamps.last().is_none_or(|last| *last < timestamp) {
            self.timestamps.push(timestamp);
            self.values.push(value);
        }
    }
}

impl<'t> Store<'t> {
    pub(super) fn new(inputs: &'t [NotedSeries], interval_ms: i64, subquery_step_ms: i64) -> Store<'t> {
        Store { series: BTreeMap::new(), inputs, interval_ms, loaded: 0, subquery_step_ms }
    }

    /// Stores the values of the inputs up to a time.
    pub(super) fn load_until(&mut self, time: Timestamp) {
        let until = usize::try_from(time / self.interval_ms).unwrap_or(0) + 1;
        for input in self.inputs {
            let values = input.values.iter().enumerate().take(until).skip(self.loaded);
            let mut present = values.filter_map(|(at, value)| Some((at, value.as_ref()?))).peekable();
            if present.peek().is_none() {
                continue;
            }
            let samples = self.series.entry(input.labels.clone()).or_default();
            for (at, value) in present {
                let NotedValue::Float(value) = value;
                samples.push(at as i64 * self.interval_ms, *value);
            }
        }
        self.loaded = until;
    }

    fn fetch(&self, selection: &Selection) -> Vec<FetchedSeries> {
        let matches = |labels: &Labels| {
            let matches = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
            selection.matchers.iter().all(matches)
        };
        let range = selection.range;
        let mut fetched = Vec::new();
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matches(labels)) {
            let from = samples.timestamps.partition_point(|time| *time < range.first);
            let to = samples.timestamps.partition_point(|time| *time <= range.last);
            if from < to {
                fetched.push(FetchedSeries {
                    labels: labels.clone(),
                    timestamps: Arc::from(&samples.timestamps[from..to]),
                    values: samples.values[from..to].to_vec(),
                    histograms: None,
                });
            }
        }
        fetched
    }

    fn outcome(&self, expr: &Expr, time: Timestamp) -> Result<Value, String> {
        let options = PlanOptions { subquery_step_ms: self.subquery_step_ms, ..PlanOptions::default() };
        let plan = Plan::with_options(expr, EvalTimes::instant(time), options).map_err(|error| error.to_string())?;
        let account = QueryAccount::new(Limits::default());
        let mut fetched = Vec::with_capacity(plan.selections().len());
        for selection in plan.selections() {
            let series = self.fetch(selection);
            let samples: usize = series.iter().map(FetchedSeries::sample_count).sum();
            account.fetch(series.len() as u64, samples as u64).map_err(|error| error.to_string())?;
            account.hold(&series).map_err(|error| error.to_string())?;
            fetched.push(series);
        }
        let outcome = evaluate(&plan, fetched, &account, &AtomicBool::new(false)).map_err(|error| error.to_string())?;
        Ok(outcome.value)
    }
}

impl Querier for Store<'_> {
    fn query(&self, expr: &Expr, time: Timestamp) -> Result<Vec<VectorSample>, QueryError> {
        match self.outcome(expr, time).map_err(QueryError)? {
            Value::Vector(vector) => Ok(vector),
            Value::Scalar(point) => Ok(vec![VectorSample { labels: Labels::empty(), point }]),
            Value::Matrix(_) | Value::String { .. } => {
                Err(QueryError("rule result is not a vector or scalar".to_owned()))
            }
        }
    }

    fn store(&mut self, samples: Vec<RuleSample>) {
        for RuleSample { labels, timestamp, value } in samples {
            self.series.entry(labels).or_default().push(timestamp, value);
        }
    }
}
