//! Which series a replay makes itself, so that its rules do not read what was stored under these names.

use std::collections::BTreeSet;

use bellwether_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::rules::{Rule, RuleFile};
use crate::state::alerting::{ALERT_NAME, is_alert_series};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// What recording rules record.
    metrics: BTreeSet<String>,
    /// The names of alerting rules that rules of the file ask after, as composite rules do.
    alerts: BTreeSet<String>,
}

impl Recorded {
    /// What the rules of a file record, and which of its alerts they ask after.
    pub fn of(file: &RuleFile) -> Recorded {
        let rules = || file.groups.iter().flat_map(|group| &group.rules);
        let selectors = || rules().flat_map(|rule| rule.query().expr.selectors());
        let asked: BTreeSet<&str> = selectors().filter_map(|selector| asked_alert(&selector.matchers)).collect();
        let mut recorded = Recorded::default();
        for rule in rules() {
            match rule {
                Rule::Recording(rule) => _ = recorded.metrics.insert(rule.record.clone()),
                Rule::Alerting(rule) if asked.contains(&*rule.alert) => _ = recorded.alerts.insert(rule.alert.clone()),
                Rule::Alerting(_) => {}
            }
        }
        recorded
    }

    /// Whether all that a selector selects is made by the replay.
    pub fn is_read(&self, matchers: &[Matcher]) -> bool {
        value_of(METRIC_NAME, matchers).is_some_and(|metric| self.metrics.contains(metric))
            || asked_alert(matchers).is_some_and(|alert| self.alerts.contains(alert))
    }

    /// Whether a series that a rule makes may be read by another.
    pub fn keeps(&self, labels: &Labels) -> bool {
        let of_alert = |labels: &Labels| labels.get(ALERT_NAME).is_some_and(|alert| self.alerts.contains(alert));
        labels
            .metric_name()
            .is_some_and(|metric| self.metrics.contains(metric) || (is_alert_series(metric) && of_alert(labels)))
    }
}

/// The one name of alerts that a selector asks after.
fn asked_alert(matchers: &[Matcher]) -> Option<&str> {
    value_of(METRIC_NAME, matchers).filter(|metric| is_alert_series(metric))?;
    value_of(ALERT_NAME, matchers)
}

fn value_of<'m>(label: &str, matchers: &'m [Matcher]) -> Option<&'m str> {
    let is_it = |matcher: &&Matcher| matcher.name() == label && matcher.op() == MatchOp::Equal;
    matchers.iter().find(is_it).map(Matcher::value)
}
