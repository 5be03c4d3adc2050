//! What a replay's rules read: answers, each at the times of one stretch, and what was recorded before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use bellwether_model::{Histogram, Labels, LabelsBuilder, Matcher, TimeRange, Timestamp};
use bellwether_promql::{
    EvalTimes, Expr, FetchedSeries, Limits, Plan, PlanOptions, Point, QueryAccount, Selection, Value, VectorSample,
    evaluate,
};

use super::questions::answer_of;
use super::recorded::Recorded;
use crate::evaluate::{Querier, QueryError};
use crate::limits::REPLAY_SAMPLES_MAX;
use crate::samples::Samples;
use crate::state::{RuleSample, RuleValue};

/// A series of an answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Its labels.
    pub labels: Labels,
    /// Its values, ascending in time.
    pub values: Vec<(Timestamp, f64)>,
    /// The times at which it has a histogram, ascending: answers do not tell how these are made.
    pub histograms: Vec<Timestamp>,
}

impl Answered {
    /// A series with these names and values of labels; none if it cannot have them.
    pub fn new<'l>(
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        values: Vec<(Timestamp, f64)>,
        histograms: Vec<Timestamp>,
    ) -> Option<Answered> {
        let mut builder = LabelsBuilder::default();
        for (name, value) in labels {
            builder.push(name, value);
        }
        Some(Answered { labels: builder.build().ok()?, values, histograms })
    }
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// There is too much of it.
    #[error(
        "the replay would hold more than {REPLAY_SAMPLES_MAX} samples: take a longer --step, less time, or fewer rules"
    )]
    TooMuch,
}

/// See the module.
pub struct Memory {
    recorded: Recorded,
    /// Answers that are what alerting rules ask as a whole: there a histogram is as good as a number.
    whole: BTreeSet<usize>,
    series: BTreeMap<Labels, Samples>,
    answers: BTreeMap<usize, Vec<Answered>>,
    /// Samples of `series`, and of `answers`.
    samples: (usize, usize),
}

impl Memory {
    /// Nothing yet, of a replay that makes these series.
    pub fn new(recorded: Recorded, whole: BTreeSet<usize>) -> Memory {
        Memory { recorded, whole, series: BTreeMap::new(), answers: BTreeMap::new(), samples: (0, 0) }
    }

    pub fn answer(&mut self, number: usize, series: Vec<Answered>) -> Result<(), AnswerError> {
        self.samples.1 += series.iter().map(|series| series.values.len() + series.histograms.len()).sum::<usize>();
        self.answers.insert(number, series);
        self.check()
    }

    pub fn check(&self) -> Result<(), AnswerError> {
        if self.samples.0 + self.samples.1 > REPLAY_SAMPLES_MAX { Err(AnswerError::TooMuch) } else { Ok(()) }
    }

    pub fn forget_answers(&mut self) {
        self.answers.clear();
        self.samples.1 = 0;
    }

    /// An answer at a time.
    fn at(&self, number: usize, time: Timestamp) -> Result<Vec<VectorSample>, String> {
        let series = self.answers.get(&number).into_iter().flatten();
        let mut found = Vec::new();
        for Answered { labels, values, histograms } in series {
            let value = match values.binary_search_by_key(&time, |(at, _)| *at) {
                Ok(at) => values[at].1,
                Err(_) if histograms.binary_search(&time).is_err() => continue,
                // What an alert of a histogram has for its value.
                Err(_) if self.whole.contains(&number) => 0.0,
                Err(_) => {
                    return Err("histograms are replayed only as what an alerting rule asks as a whole".to_owned());
                }
            };
            let point = Point { timestamp: time, value };
            found.push(VectorSample { labels: labels.clone(), point, histogram: None });
        }
        Ok(found)
    }

    /// What a selector of an expression that is evaluated here reads.
    fn fetch(&self, selection: &Selection) -> Result<Vec<FetchedSeries>, String> {
        if let Some(number) = answer_of(&selection.matchers) {
            // What was there at the time, and nothing of before: it has been looked back where it was asked.
            return Ok(self.at(number, selection.range.last)?.iter().map(fetched).collect());
        }
        if !self.recorded.is_read(&selection.matchers) {
            return Err("what templates ask is not asked in a replay".to_owned());
        }
        let matches = |labels: &Labels| {
            let matches = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
            selection.matchers.iter().all(matches)
        };
        let matching = self.series.iter().filter(|(labels, _)| matches(labels));
        Ok(matching.filter_map(|(labels, samples)| samples.within(labels, selection.range)).collect())
    }

    fn outcome(&self, expr: &Expr, time: Timestamp) -> Result<Value, String> {
        let plan = Plan::with_options(expr, EvalTimes::instant(time), PlanOptions::default())
            .map_err(|error| error.to_string())?;
        let account = QueryAccount::new(Limits::default());
        let mut fetched = Vec::with_capacity(plan.selections().len());
        for selection in plan.selections() {
            let series = self.fetch(selection)?;
            let samples: usize = series.iter().map(FetchedSeries::sample_count).sum();
            account.fetch(series.len() as u64, samples as u64).map_err(|error| error.to_string())?;
            account.hold(&series).map_err(|error| error.to_string())?;
            fetched.push(series);
        }
        let outcome = evaluate(&plan, fetched, &account, &AtomicBool::new(false)).map_err(|error| error.to_string())?;
        Ok(outcome.value)
    }
}

fn fetched(sample: &VectorSample) -> FetchedSeries {
    let mut samples = Samples::default();
    let time = sample.point.timestamp;
    samples.push(time, sample.point.value);
    samples.within(&sample.labels, TimeRange::new(time, time)).expect("there is one sample")
}

impl Querier for Memory {
    fn query(&self, expr: &Expr, time: Timestamp) -> Result<Vec<VectorSample>, QueryError> {
        if let Expr::Selector(selector) = expr
            && let Some(number) = answer_of(&selector.matchers)
        {
            return self.at(number, time).map_err(QueryError);
        }
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
            if !self.recorded.keeps(&labels) {
                continue;
            }
            let series = self.series.entry(labels).or_default();
            let before = series.len();
            match value {
                RuleValue::Float(value) => series.push(timestamp, value),
                RuleValue::Histogram(histogram) => series.push_histogram(timestamp, Histogram::from(&*histogram)),
            }
            self.samples.0 += series.len() - before;
        }
    }
}
