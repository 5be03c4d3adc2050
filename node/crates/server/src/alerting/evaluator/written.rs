//! What a node has written for a rule group, so that series that vanish can be ended. The node that takes a group over knows
//! which alerts there were, but not what was recorded: such a series ends by the lookback of whoever asks, as after a restart
//! of Prometheus.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_alert::alert_group::RuleProgress;
use bellwether_alert::state::alerting::{Alerts, samples};
use bellwether_alert::state::recording::RecordingState;
use bellwether_alert::state::{RuleSample, RuleValue};
use bellwether_model::{Labels, Timestamp, stale_marker};

/// What there is of a group's rules.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// The time of the evaluation that wrote it.
    at: Option<Timestamp>,
    rules: Vec<WrittenRule>,
}

/// What there is of a rule.
#[derive(Debug, Clone)]
pub struct WrittenRule {
    /// What the rule is known by.
    pub identity: u128,
    /// Its series.
    pub series: WrittenSeries,
}

/// Series of a rule that have not ended.
#[derive(Debug, Clone)]
pub enum WrittenSeries {
    /// Of a recording rule.
    Recorded(RecordingState),
    /// Those that say which of these alerts there are.
    Alerts(Arc<Alerts>),
}

impl Written {
    /// What an evaluation at `at` has left.
    pub fn new(at: Timestamp, rules: Vec<WrittenRule>) -> Written {
        Written { at: Some(at), rules }
    }

    /// For the evaluation after the one at `last`: nothing if that was not made here.
    pub fn since(self, last: Option<Timestamp>) -> Written {
        if self.at >= last { self } else { Written::default() }
    }

    /// What was recorded for a rule, once.
    pub fn take_recorded(&mut self, rule: &RuleProgress) -> RecordingState {
        let is_it = |written: &WrittenRule| {
            written.identity == rule.shape.identity && matches!(written.series, WrittenSeries::Recorded(_))
        };
        match self.rules.iter().position(is_it).map(|at| self.rules.swap_remove(at).series) {
            Some(WrittenSeries::Recorded(state)) => state,
            _ => RecordingState::default(),
        }
    }

    /// Forgets the alerts of rules that there still are: the alert group knows what becomes of them.
    pub fn forget_alerts_of(&mut self, rules: &[RuleProgress]) {
        let is_there = |written: &WrittenRule| rules.iter().any(|rule| rule.shape.identity == written.identity);
        self.rules.retain(|written| matches!(written.series, WrittenSeries::Recorded(_)) || !is_there(written));
    }

    /// The ends of all series that are left, but of those that are among `others`.
    pub fn ended(&self, timestamp: Timestamp, others: &[RuleSample]) -> Vec<RuleSample> {
        let mut ended: BTreeSet<Labels> = BTreeSet::new();
        for rule in &self.rules {
            match &rule.series {
                WrittenSeries::Recorded(state) => ended.extend(state.series.iter().cloned()),
                WrittenSeries::Alerts(alerts) => {
                    ended.extend(samples(alerts, timestamp).into_iter().map(|sample| sample.labels));
                }
            }
        }
        others.iter().for_each(|sample| drop(ended.remove(&sample.labels)));
        let stale = |labels| RuleSample { labels, timestamp, value: RuleValue::Float(stale_marker()) };
        ended.into_iter().map(stale).collect()
    }
}
