//! Samples in memory: those of a test's series, as its time goes on, and those that its rules store.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bellwether_model::{Histogram, Labels, Matcher, Timestamp};
use bellwether_promql::series_notation::{NotedSeries, NotedValue};
use bellwether_promql::{
    EvalTimes, Expr, FetchedSeries, Limits, Plan, PlanOptions, QueryAccount, Selection, Value, VectorSample, evaluate,
};

use super::UnitTest;
use crate::evaluate::{Querier, QueryError};
use crate::samples::Samples;
use crate::state::{RuleSample, RuleValue};

/// See the module's documentation.
pub(super) struct Store<'t> {
    series: BTreeMap<Labels, Samples>,
    inputs: &'t [NotedSeries],
    /// When the first values of the inputs are, and how far they are apart.
    start_ms: Timestamp,
    interval_ms: i64,
    /// Values of each input that are stored already.
    loaded: usize,
    /// The step of subqueries that name none.
    subquery_step_ms: i64,
}

impl<'t> Store<'t> {
    pub(super) fn new(test: &'t UnitTest, subquery_step_ms: i64) -> Store<'t> {
        let UnitTest { input_series, start_ms, interval_ms, .. } = test;
        Store {
            series: BTreeMap::new(),
            inputs: input_series,
            start_ms: *start_ms,
            interval_ms: *interval_ms,
            loaded: 0,
            subquery_step_ms,
        }
    }

    /// Stores the values of the inputs up to a time.
    pub(super) fn load_until(&mut self, time: Timestamp) {
        let until = usize::try_from((time - self.start_ms) / self.interval_ms).unwrap_or(0) + 1;
        for input in self.inputs {
            let values = input.values.iter().enumerate().take(until).skip(self.loaded);
            let mut present = values.filter_map(|(at, value)| Some((at, value.as_ref()?))).peekable();
            if present.peek().is_none() {
                continue;
            }
            let samples = self.series.entry(input.labels.clone()).or_default();
            for (at, value) in present {
                let time = self.start_ms + at as i64 * self.interval_ms;
                match value {
                    NotedValue::Float(value) => samples.push(time, *value),
                    NotedValue::Histogram(value) => samples.push_histogram(time, Histogram::clone(value)),
                }
            }
        }
        self.loaded = until;
    }

    fn fetch(&self, selection: &Selection) -> Vec<FetchedSeries> {
        let matches = |labels: &Labels| {
            let matches = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
            selection.matchers.iter().all(matches)
        };
        let matching = self.series.iter().filter(|(labels, _)| matches(labels));
        matching.filter_map(|(labels, samples)| samples.within(labels, selection.range)).collect()
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
            Value::Scalar(point) => Ok(vec![VectorSample { labels: Labels::empty(), point, histogram: None }]),
            Value::Matrix(_) | Value::String { .. } => {
                Err(QueryError("rule result is not a vector or scalar".to_owned()))
            }
        }
    }

    fn store(&mut self, samples: Vec<RuleSample>) {
        for RuleSample { labels, timestamp, value } in samples {
            let series = self.series.entry(labels).or_default();
            match value {
                RuleValue::Float(value) => series.push(timestamp, value),
                RuleValue::Histogram(histogram) => series.push_histogram(timestamp, Histogram::from(&*histogram)),
            }
        }
    }
}
