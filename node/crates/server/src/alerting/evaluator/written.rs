//! What a node has written for a rule group, so that series that vanish can be ended. The node that takes a group over knows
//! which alerts there were, but not what was recorded: such a series ends by the lookback of whoever asks, as after a restart
//! of Prometheus.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bellwether_alert::alert_group::RuleProgress;
use bellwether_alert::state::alerting::{Alerts, samples};
use bellwether_alert::state::recording::RecordingState;
use bellwether_alert::state::{RuleSample, RuleValue};
use bellwether_model::{Labels, Timestamp, stale_marker};

/// Series of a group that have not ended, by what their rules are known by. Rules that are known by the same come in the
/// order of the group.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// The time of the evaluation that wrote them.
    at: Option<Timestamp>,
    recorded: BTreeMap<u128, VecDeque<RecordingState>>,
    alerts: AlertsByRule,
}

/// Alerts by what their rules are known by.
pub type AlertsByRule = BTreeMap<u128, Arc<Alerts>>;

impl Written {
    /// What the evaluation at `at` writes: nothing yet.
    pub fn at(at: Timestamp) -> Written {
        Written { at: Some(at), ..Written::default() }
    }

    /// For the evaluation after the one at `last`: nothing if others have evaluated since.
    pub fn since(self, last: Option<Timestamp>) -> Written {
        if self.at >= last { self } else { Written::default() }
    }

    /// Takes note of a recording rule's series.
    pub fn add_recorded(&mut self, identity: u128, series: RecordingState) {
        self.recorded.entry(identity).or_default().push_back(series);
    }

    /// Takes note of the alerts that there are after an evaluation.
    pub fn set_alerts(&mut self, rules: &[RuleProgress]) {
        let with_alerts = rules.iter().filter(|rule| !rule.alerts.is_empty());
        self.alerts = with_alerts.map(|rule| (rule.shape.identity, rule.alerts.clone())).collect();
    }

    /// Takes note of an evaluation of alerting rules alone, after the one at `last`. The series of rules that are gone end with the
    /// next tick.
    pub fn evaluated_between(&mut self, last: Option<Timestamp>, at: Timestamp, rules: &[RuleProgress]) {
        let mut before = std::mem::take(self).since(last);
        for rule in rules {
            before.forget_alerts(rule.shape.identity);
        }
        self.recorded = std::mem::take(&mut before.recorded);
        self.at = Some(at);
        self.set_alerts(rules);
        self.alerts.append(&mut before.alerts);
    }

    /// The alerts that there are, by what their rules are known by.
    pub fn alerts(&self) -> &AlertsByRule {
        &self.alerts
    }

    /// Nothing came of an evaluation: there are the alerts of before.
    pub fn keep_alerts(&mut self, before: AlertsByRule) {
        self.alerts = before;
    }

    /// Hands the series of a recording rule over to its next evaluation.
    pub fn take_recorded(&mut self, identity: u128) -> RecordingState {
        self.recorded.get_mut(&identity).and_then(VecDeque::pop_front).unwrap_or_default()
    }

    /// Forgets the alerts of a rule that is still there: what becomes of them, the alert group says.
    pub fn forget_alerts(&mut self, identity: u128) {
        self.alerts.remove(&identity);
    }

    /// The ends of all series that are left, but of those that are recorded now.
    pub fn ended(&self, timestamp: Timestamp, now: &Written) -> Vec<RuleSample> {
        let of_alerts = self.alerts.values().flat_map(|alerts| samples(alerts, timestamp));
        let mut ended: BTreeSet<Labels> = self.series().cloned().collect();
        ended.extend(of_alerts.map(|sample| sample.labels));
        if !ended.is_empty() {
            now.series().for_each(|labels| {
                ended.remove(labels);
            });
        }
        let stale = |labels| RuleSample { labels, timestamp, value: RuleValue::Float(stale_marker()) };
        ended.into_iter().map(stale).collect()
    }

    /// All that is recorded.
    pub fn series(&self) -> impl Iterator<Item = &Labels> {
        self.recorded.values().flatten().flat_map(|state| &state.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(names: &[&str]) -> RecordingState {
        RecordingState { series: names.iter().map(|name| Labels::of(&[("__name__", *name)])).collect() }
    }

    fn names(samples: &[RuleSample]) -> Vec<&str> {
        samples.iter().filter_map(|sample| sample.labels.metric_name()).collect()
    }

    #[test]
    fn what_no_rule_takes_over_ends_unless_another_writes_it() {
        let mut written = Written::at(5);
        for (identity, of_rule) in [(1, series(&["a"])), (1, series(&["b"])), (2, series(&["c", "d"]))] {
            written.add_recorded(identity, of_rule);
        }
        assert_eq!(written.take_recorded(1), series(&["a"]));
        let mut now = Written::at(9);
        now.add_recorded(3, series(&["d"]));
        assert_eq!(names(&written.ended(9, &now)), ["b", "c"]);
        assert_eq!(written.take_recorded(1), series(&["b"]));
        assert_eq!(written.take_recorded(1), series(&[]));
    }

    #[test]
    fn alerts_of_a_rule_that_is_gone_end_with_the_next_tick() {
        let mut written = Written::at(5);
        written.alerts.insert(7, Arc::default());
        written.evaluated_between(Some(5), 6, &[]);
        assert!(written.alerts().contains_key(&7), "only a tick ends series");
        written.evaluated_between(Some(7), 8, &[]);
        assert!(written.alerts().is_empty(), "others have evaluated since");
    }

    #[test]
    fn what_others_have_evaluated_since_is_theirs() {
        let mut written = Written::at(5);
        written.add_recorded(1, series(&["a"]));
        assert_eq!(names(&written.clone().since(Some(5)).ended(9, &Written::default())), ["a"]);
        let mut between = written.clone();
        between.evaluated_between(Some(5), 6, &[]);
        assert_eq!(names(&between.clone().since(Some(6)).ended(9, &Written::default())), ["a"]);
        between.evaluated_between(Some(7), 8, &[]);
        assert!(between.since(Some(8)).ended(9, &Written::default()).is_empty());
        assert!(written.since(Some(6)).ended(9, &Written::default()).is_empty());
    }
}
