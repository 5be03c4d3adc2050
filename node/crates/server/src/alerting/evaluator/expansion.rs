//! The alerts that a rule's result comes to: labels and annotations are expanded for each of its series.

use std::sync::Arc;

use bellwether_alert::alert_group::Found;
use bellwether_alert::evaluate::External;
use bellwether_alert::rules::{Rule, RuleGroup};
use bellwether_alert::state::StepError;
use bellwether_alert::state::alerting::{Evaluation, expand};
use bellwether_alert::state::threshold::reading;
use bellwether_alert::state::threshold::watch::Watchlist;
use bellwether_promql::VectorSample;

use super::answers::Answers;

/// What is expanded; owned, so that it can go to where long work is done.
pub struct Expansion {
    /// The rule's group.
    pub group: Arc<RuleGroup>,
    /// The rule's number in it.
    pub rule: usize,
    /// What templates know of the cluster.
    pub external: Arc<External>,
    /// The series that the rule watches.
    pub watched: Arc<Watchlist>,
    /// What the rule's query came to.
    pub vector: Vec<VectorSample>,
    /// What is known of what templates ask.
    pub answers: Answers,
}

/// What has come of it.
pub struct Expanded {
    /// The same as before, but for what was asked.
    pub of: Expansion,
    /// The alerts, or the series of a threshold rule.
    pub found: Result<Found, StepError>,
    /// Templates that could not be expanded.
    pub errors: Vec<String>,
}

impl Expansion {
    /// Expands everything once.
    pub fn expand(self) -> Expanded {
        let Rule::Alerting(rule) = &self.group.rules[self.rule] else {
            unreachable!("only alerting rules have alerts");
        };
        let evaluation = Evaluation {
            now: self.answers.now(),
            query_offset_ms: self.group.query_offset_ms.unwrap_or(0),
            limit: self.group.limit,
            external_labels: &self.external.labels,
            surroundings: &self.answers,
        };
        let mut errors = Vec::new();
        let found = match &rule.thresholds {
            None => expand(rule, &evaluation, &self.vector, &mut errors).map(Found::Alerts),
            Some(of) => {
                let reading = reading::expand(rule, of, &evaluation, &self.vector, &self.watched, &mut errors);
                reading.map(Found::Series)
            }
        };
        Expanded { of: self, found, errors }
    }
}
