//! What the result of a threshold rule's query comes to: each series with what its value reaches.

use std::collections::BTreeMap;

use bellwether_model::{Labels, Timestamp};
use bellwether_promql::{Point, VectorSample};

use super::watch::{SEVERITY, Sighting, Watched, Watchlist};
use super::{Behavior, Grading, Presence, Severity};
use crate::rules::{AlertingRule, ThresholdRule};
use crate::state::StepError;
use crate::state::alerting::{ALERT_NAME, Evaluation, Expanding, Seen};

/// Series by the labels of their alerts, but for the severity: those that are there and are to be watched, and those of which it
/// is time to say that they are not.
pub type Reading = BTreeMap<Labels, Sighting>;

/// Reads a query's result. Of series that are good and nobody has heard of nothing is said, unless the rule watches all. What could
/// not be expanded is added to `errors`.
pub fn expand(
    rule: &AlertingRule,
    of: &ThresholdRule,
    evaluation: &Evaluation<'_>,
    vector: &[VectorSample],
    known: &Watchlist,
    errors: &mut Vec<String>,
) -> Result<Reading, StepError> {
    let mut reading = Reading::new();
    let watches_all = of.grading.watches_all();
    // As where PromQL compares, a histogram has no value.
    for sample in vector.iter().filter(|sample| sample.histogram.is_none()) {
        let value = sample.point.value;
        let zone = of.thresholds.zone(value);
        if zone.is_good() && !watches_all && known.is_empty() {
            continue;
        }
        let mut expanding = Expanding::new(rule, sample, evaluation, errors);
        let labels = series_labels(&mut expanding, &sample.labels);
        let before = known.get(&labels);
        if zone.is_good() && !watches_all && before.is_none() {
            continue;
        }
        let is_told = !zone.is_good() || before.is_some_and(|known| known.standing.grade.is_some());
        let annotations = if is_told { expanding.annotations() } else { [].into() };
        if reading.insert(labels, Sighting::There { zone, seen: Seen { value, annotations } }).is_some() {
            return Err(StepError::SameAlerts);
        }
    }
    if of.grading.no_data.behavior != Behavior::Alert {
        return Ok(reading);
    }
    let mut missing = Reading::new();
    if vector.is_empty() {
        let sample = valueless(Labels::empty());
        let mut expanding = Expanding::new(rule, &sample, evaluation, errors);
        let labels = series_labels(&mut expanding, &sample.labels);
        missing.insert(labels, Sighting::Nothing { seen: seen(&mut expanding) });
    }
    for (labels, watched) in known.iter().filter(|(labels, _)| !reading.contains_key(*labels)) {
        if is_due(watched, &of.grading, evaluation.now) {
            let sample = valueless(labels.filtered(|label| label.name != ALERT_NAME));
            let seen = seen(&mut Expanding::new(rule, &sample, evaluation, errors));
            missing.entry(labels.clone()).or_insert(Sighting::Gone { seen: Some(seen) });
        }
    }
    reading.append(&mut missing);
    Ok(reading)
}

/// Whether people are about to be told that a series is gone.
fn is_due(watched: &Watched, grading: &Grading, now: Timestamp) -> bool {
    let standing = watched.standing;
    let since = match standing.presence {
        Presence::Gone { since } => since,
        Presence::There(_) => now,
    };
    !standing.is_whole
        && standing.grade != Some(Severity::NoData)
        && now.saturating_sub(since) >= grading.no_data.after_ms
}

fn series_labels(expanding: &mut Expanding<'_>, of_series: &Labels) -> Labels {
    let mut labels = expanding.labels(of_series);
    // Where the alerts have what the machine says.
    labels.remove(SEVERITY);
    labels.build().expect("names are set once and are not empty")
}

fn valueless(labels: Labels) -> VectorSample {
    VectorSample { labels, point: Point { timestamp: 0, value: f64::NAN }, histogram: None }
}

fn seen(expanding: &mut Expanding<'_>) -> Seen {
    Seen { value: f64::NAN, annotations: expanding.annotations() }
}
