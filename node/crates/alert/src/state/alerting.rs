//! Alerting rules: one alert for each series of a query's result.
//!
//! ```text
//!              series there            for `for`
//!   (inactive) ------------> pending ------------> firing
//!        ^                      |                    | series gone, `keep_firing_for` over
//!        |   series gone        |                    v
//!        +----------------------+                 resolved --- 15 minutes later ---> (inactive)
//! ```
//! A resolved alert whose series is back begins anew. Prometheus keeps resolved alerts so that whoever notifies has heard of it.
//!
//! An evaluation has four parts, so that the first two can happen where the query is evaluated, and the third wherever the alerts
//! are kept:
//!
//! 1. [`expand`]: the query's result becomes the alerts that are there, with labels and annotations.
//! 2. [`Observation::difference`]: what is new in that against the alerts that are known.
//! 3. [`advance`]: the alerts after it, from what is new and the time alone.
//! 4. [`samples`]: what is to be stored of them.
//!
//! [`step`] is all four.

mod observation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_model::{Labels, LabelsBuilder, METRIC_NAME, Timestamp};
use bellwether_promql::VectorSample;

use super::threshold::reading;
use super::threshold::watch::{self, Sightings, Watchlist};
use super::{RuleSample, StepError, mark_vanished};
use crate::rules::AlertingRule;
use crate::template::alert::{AlertData, AlertTemplate};
use crate::template::{Surroundings, Template};
pub use observation::{Observation, Timing, advance, is_still, is_unmoved};

/// The label that an alert has its rule's name in.
pub const ALERT_NAME: &str = "alertname";
/// The series that say which alerts there are.
pub(crate) const ALERTS: &str = "ALERTS";
/// The series that say since when.
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label of `ALERTS` that says in which state.
const ALERT_STATE: &str = "alertstate";

/// Whether a metric is one of those that evaluations store of alerts.
pub fn is_alert_series(metric: &str) -> bool {
    [ALERTS, ALERTS_FOR_STATE].contains(&metric)
}

/// Alerts by their labels: pending, firing, or resolved not long ago.
pub type Alerts = BTreeMap<Labels, Alert>;

/// Alerts that a query's result has, by their labels.
pub type Present = BTreeMap<Labels, Seen>;

/// What an alerting rule remembers from one evaluation to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertingState {
    /// Alerts that are pending, firing, or resolved not long ago.
    pub alerts: Alerts,
    /// Series of the last evaluation that did not fail.
    pub series: BTreeSet<Labels>,
    /// Series that a threshold rule watches.
    pub watched: Watchlist,
}

/// An alert; its labels are the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Whether it fires.
    pub phase: Phase,
    /// When its series was first there.
    pub active_at: Timestamp,
    /// The value that its series had when it was told last; 0 for a histogram, as in Prometheus.
    pub value: f64,
    /// What is told with it, sorted by name.
    pub annotations: Annotations,
    /// When value and annotations were told last.
    pub refreshed_at: Timestamp,
}

/// Names and texts, sorted by name.
pub type Annotations = Arc<[(String, String)]>;

/// What is there of an alert in a query's result; its labels are the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The value of its series; 0 for a histogram, as in Prometheus.
    pub value: f64,
    /// What is told with it.
    pub annotations: Annotations,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its series is there, but not for long enough.
    Pending,
    /// It fires.
    Firing {
        /// Since when.
        since: Timestamp,
        /// When its series was first gone, if it is kept firing without.
        kept_since: Option<Timestamp>,
    },
    /// It fired.
    Resolved {
        /// Until when.
        at: Timestamp,
    },
}

impl Phase {
    /// Whether its series is there, or was not long ago: pending or firing.
    pub fn is_active(self) -> bool {
        !matches!(self, Phase::Resolved { .. })
    }
}

/// What has become of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its series is there.
    Pending,
    /// It fires from now on.
    Firing,
    /// It fired, and does no longer.
    Resolved,
    /// It never fired, and will not.
    Dropped,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertEvent {
    /// To which alert.
    pub labels: Labels,
    /// What.
    pub change: Change,
}

/// What an evaluation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// What is remembered.
    pub state: AlertingState,
    /// What happened, by the alerts' labels.
    pub events: Vec<AlertEvent>,
    /// What is to be stored.
    pub samples: Vec<RuleSample>,
    /// Templates that could not be expanded.
    pub template_errors: Vec<String>,
}

/// What an evaluation is given beside the result of its query.
pub struct Evaluation<'e> {
    /// The time of evaluation.
    pub now: Timestamp,
    /// How far in the past the query looked.
    pub query_offset_ms: i64,
    /// How many alerts there may be.
    pub limit: Option<usize>,
    /// Labels of the server, for templates.
    pub external_labels: &'e Labels,
    /// What templates may ask.
    pub surroundings: &'e dyn Surroundings,
}

/// One evaluation.
pub fn step(
    rule: &AlertingRule,
    state: &AlertingState,
    evaluation: &Evaluation<'_>,
    vector: &[VectorSample],
) -> Result<Stepped, StepError> {
    let mut template_errors = Vec::new();
    let (now, timing) = (evaluation.now, Timing::of(rule));
    let AlertingState { mut alerts, mut watched, .. } = state.clone();
    let events = match &rule.thresholds {
        None => {
            let present = expand(rule, evaluation, vector, &mut template_errors)?;
            let observation = Observation::difference(&alerts, &present, now, 0);
            advance(timing, &mut alerts, now, &observation)
        }
        Some(of) => {
            let reading = reading::expand(rule, of, evaluation, vector, &watched, &mut template_errors)?;
            let sightings = Sightings::difference(&watched, &reading, now, 0);
            watch::advance((timing, &of.grading), &mut watched, &mut alerts, now, &sightings).events
        }
    };
    check_limit(evaluation.limit, &alerts)?;
    let timestamp = now.saturating_sub(evaluation.query_offset_ms);
    let mut samples = samples(&alerts, timestamp);
    let series = mark_vanished(&state.series, &mut samples, timestamp);
    Ok(Stepped { state: AlertingState { alerts, series, watched }, events, samples, template_errors })
}

/// The alerts that the result of a rule's query comes to. What could not be expanded is added to `errors`.
pub fn expand(
    rule: &AlertingRule,
    evaluation: &Evaluation<'_>,
    vector: &[VectorSample],
    errors: &mut Vec<String>,
) -> Result<Present, StepError> {
    let mut present = Present::new();
    for sample in vector {
        let (labels, seen) = expanded(rule, sample, evaluation, errors);
        if present.insert(labels, seen).is_some() {
            return Err(StepError::SameAlerts);
        }
    }
    Ok(present)
}

/// Whether no more alerts are pending or firing than may be.
pub fn check_limit(limit: Option<usize>, alerts: &Alerts) -> Result<(), StepError> {
    let Some(limit) = limit else { return Ok(()) };
    let count = alerts.values().filter(|alert| alert.phase.is_active()).count();
    if count > limit { Err(StepError::TooManyAlerts { limit, count }) } else { Ok(()) }
}

/// The series that say which alerts are pending or firing, and since when.
pub fn samples(alerts: &Alerts, timestamp: Timestamp) -> Vec<RuleSample> {
    let mut samples = Vec::new();
    for (labels, alert) in alerts {
        let state = match alert.phase {
            Phase::Pending => "pending",
            Phase::Firing { .. } => "firing",
            Phase::Resolved { .. } => continue,
        };
        samples.push(RuleSample::float(series(labels, ALERTS, Some(state)), timestamp, 1.0));
        let since = alert.active_at.div_euclid(1000) as f64;
        samples.push(RuleSample::float(series(labels, ALERTS_FOR_STATE, None), timestamp, since));
    }
    samples
}

/// The same, with a stale marker for each series that the alerts before had and those now have not.
pub fn samples_after(before: &Alerts, now: &Alerts, timestamp: Timestamp) -> Vec<RuleSample> {
    let before: BTreeSet<Labels> = samples(before, timestamp).into_iter().map(|sample| sample.labels).collect();
    let mut samples = samples(now, timestamp);
    mark_vanished(&before, &mut samples, timestamp);
    samples
}

/// The alert of a series: labels and annotations are expanded for it.
fn expanded(
    rule: &AlertingRule,
    sample: &VectorSample,
    evaluation: &Evaluation<'_>,
    errors: &mut Vec<String>,
) -> (Labels, Seen) {
    let value = if sample.histogram.is_some() { 0.0 } else { sample.point.value };
    let mut expanding = Expanding::new(rule, sample, evaluation, errors);
    let labels = expanding.labels(&sample.labels).build().expect("names are set once and are not empty");
    (labels, Seen { value, annotations: expanding.annotations() })
}

/// Expands a rule's templates for a series.
pub(super) struct Expanding<'e> {
    rule: &'e AlertingRule,
    data: AlertData,
    surroundings: &'e dyn Surroundings,
    errors: &'e mut Vec<String>,
}

impl<'e> Expanding<'e> {
    /// What cannot be expanded is added to `errors`.
    pub(super) fn new(
        rule: &'e AlertingRule,
        sample: &VectorSample,
        evaluation: &Evaluation<'e>,
        errors: &'e mut Vec<String>,
    ) -> Expanding<'e> {
        let surroundings = evaluation.surroundings;
        let data = AlertData::new(sample, evaluation.external_labels, surroundings.external_url());
        Expanding { rule, data, surroundings, errors }
    }

    fn expand(&mut self, template: &Template) -> String {
        let (text, error) = AlertTemplate::expand(template, &self.rule.alert, &self.data, self.surroundings);
        self.errors.extend(error);
        text
    }

    /// The labels of the alert of a series that has these.
    pub(super) fn labels(&mut self, of_series: &Labels) -> LabelsBuilder {
        let mut labels = LabelsBuilder::from_labels(of_series);
        labels.remove(METRIC_NAME);
        let rule = self.rule;
        for label in &rule.labels {
            labels.set(&label.name, &self.expand(&label.template));
        }
        labels.set(ALERT_NAME, &rule.alert);
        labels
    }

    /// What is told with it.
    pub(super) fn annotations(&mut self) -> Annotations {
        let rule = self.rule;
        let annotations = rule.annotations.iter();
        annotations.map(|annotation| (annotation.name.clone(), self.expand(&annotation.template))).collect()
    }
}

fn series(alert: &Labels, name: &str, state: Option<&str>) -> Labels {
    let mut labels = LabelsBuilder::from_labels(alert);
    labels.set(METRIC_NAME, name);
    if let Some(state) = state {
        labels.set(ALERT_STATE, state);
    }
    labels.build().expect("names are set once and are not empty")
}
