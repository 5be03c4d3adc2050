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

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{Labels, LabelsBuilder, METRIC_NAME, Timestamp};
use bellwether_promql::VectorSample;

use super::{RuleSample, StepError, mark_vanished};
use crate::limits::RESOLVED_RETENTION_MS;
use crate::rules::AlertingRule;
use crate::template::Surroundings;
use crate::template::alert::{AlertData, AlertTemplate};

/// The label that an alert has its rule's name in.
pub const ALERT_NAME: &str = "alertname";
/// The series that say which alerts there are.
const ALERTS: &str = "ALERTS";
/// The series that say since when.
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label of `ALERTS` that says in which state.
const ALERT_STATE: &str = "alertstate";

/// What an alerting rule remembers from one evaluation to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertingState {
    /// Alerts that are pending, firing, or resolved not long ago.
    pub alerts: BTreeMap<Labels, Alert>,
    /// Series of the last evaluation that did not fail.
    pub series: BTreeSet<Labels>,
}

/// An alert; its labels are the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Whether it fires.
    pub phase: Phase,
    /// When its series was first there.
    pub active_at: Timestamp,
    /// The value that its series had last; 0 for a histogram, as in Prometheus.
    pub value: f64,
    /// What is told with it, sorted by name.
    pub annotations: Vec<(String, String)>,
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
    let mut present: BTreeMap<Labels, Alert> = BTreeMap::new();
    for sample in vector {
        let (labels, alert) = expanded(rule, sample, evaluation, &mut template_errors);
        if present.insert(labels, alert).is_some() {
            return Err(StepError::SameAlerts);
        }
    }
    let mut alerts = BTreeMap::new();
    let mut events = Vec::new();
    let mut event = |labels: &Labels, change| events.push(AlertEvent { labels: labels.clone(), change });
    for (labels, known) in &state.alerts {
        let next = match present.remove(labels) {
            Some(seen) => Some(seen_again(known, seen)),
            None => gone(rule, known.clone(), evaluation.now),
        };
        if next.as_ref().is_none_or(|next| matches!(next.phase, Phase::Resolved { .. })) {
            match known.phase {
                Phase::Pending => event(labels, Change::Dropped),
                Phase::Firing { .. } => event(labels, Change::Resolved),
                Phase::Resolved { .. } => {}
            }
        }
        if let Some(next) = next {
            if next.phase == Phase::Pending && known.phase != Phase::Pending {
                event(labels, Change::Pending);
            }
            alerts.insert(labels.clone(), next);
        }
    }
    for (labels, alert) in present {
        event(&labels, Change::Pending);
        alerts.insert(labels, alert);
    }
    let mut active = 0;
    let mut samples = Vec::new();
    let timestamp = evaluation.now.saturating_sub(evaluation.query_offset_ms);
    for (labels, alert) in &mut alerts {
        if alert.phase == Phase::Pending && evaluation.now.saturating_sub(alert.active_at) >= rule.for_ms {
            alert.phase = Phase::Firing { since: evaluation.now, kept_since: None };
            event(labels, Change::Firing);
        }
        let state = match alert.phase {
            Phase::Pending => "pending",
            Phase::Firing { .. } => "firing",
            Phase::Resolved { .. } => continue,
        };
        active += 1;
        samples.push(RuleSample::float(series(labels, ALERTS, Some(state)), timestamp, 1.0));
        let since = alert.active_at.div_euclid(1000) as f64;
        samples.push(RuleSample::float(series(labels, ALERTS_FOR_STATE, None), timestamp, since));
    }
    if let Some(limit) = evaluation.limit.filter(|limit| active > *limit) {
        return Err(StepError::TooManyAlerts { limit, count: active });
    }
    let series = mark_vanished(&state.series, &mut samples, timestamp);
    events.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Stepped { state: AlertingState { alerts, series }, events, samples, template_errors })
}

/// An alert whose series is there as it was before: one that had been resolved begins anew.
fn seen_again(known: &Alert, seen: Alert) -> Alert {
    let phase = match known.phase {
        Phase::Resolved { .. } => return seen,
        Phase::Firing { since, .. } => Phase::Firing { since, kept_since: None },
        Phase::Pending => Phase::Pending,
    };
    Alert { phase, active_at: known.active_at, ..seen }
}

/// An alert whose series is gone; none if it is forgotten.
fn gone(rule: &AlertingRule, mut known: Alert, now: Timestamp) -> Option<Alert> {
    match known.phase {
        Phase::Pending => return None,
        Phase::Resolved { at } if now.saturating_sub(at) > RESOLVED_RETENTION_MS => return None,
        Phase::Resolved { .. } => {}
        Phase::Firing { since, kept_since } => {
            let first = kept_since.unwrap_or(now);
            known.phase = match now.saturating_sub(first) < rule.keep_firing_for_ms {
                true => Phase::Firing { since, kept_since: Some(first) },
                false => Phase::Resolved { at: now },
            };
        }
    }
    Some(known)
}

/// The alert of a series: labels and annotations are expanded for it.
fn expanded(
    rule: &AlertingRule,
    sample: &VectorSample,
    evaluation: &Evaluation<'_>,
    errors: &mut Vec<String>,
) -> (Labels, Alert) {
    let value = if sample.histogram.is_some() { 0.0 } else { sample.point.value };
    let surroundings = evaluation.surroundings;
    let data = AlertData::new(sample, evaluation.external_labels, surroundings.external_url());
    let mut expand = |template| {
        let (text, error) = AlertTemplate::expand(template, &rule.alert, &data, surroundings);
        errors.extend(error);
        text
    };
    let mut labels = LabelsBuilder::from_labels(&sample.labels);
    labels.remove(METRIC_NAME);
    for label in &rule.labels {
        labels.set(&label.name, &expand(&label.template));
    }
    labels.set(ALERT_NAME, &rule.alert);
    let annotations = rule.annotations.iter().map(|annotation| (annotation.name.clone(), expand(&annotation.template)));
    let alert = Alert { phase: Phase::Pending, active_at: evaluation.now, value, annotations: annotations.collect() };
    (labels.build().expect("names are set once and are not empty"), alert)
}

fn series(alert: &Labels, name: &str, state: Option<&str>) -> Labels {
    let mut labels = LabelsBuilder::from_labels(alert);
    labels.set(METRIC_NAME, name);
    if let Some(state) = state {
        labels.set(ALERT_STATE, state);
    }
    labels.build().expect("names are set once and are not empty")
}
