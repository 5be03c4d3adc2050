//! Rules as Prometheus's files have them: what was written, checked.

pub mod composite;
mod lint;
pub mod mute;
mod read;
pub mod thresholds;
mod write;

use bellwether_model::Timestamp;
use bellwether_promql::Expr;

pub use composite::Composite;
pub use lint::{Duplicate, duplicates};
pub use mute::Mute;
pub use read::{read, read_group};
pub use thresholds::{ThresholdRule, Thresholds};
pub use write::{write_file, write_group, write_namespaces};

use crate::template::Template;
use crate::yaml::Place;

/// A rule file.
#[derive(Debug, Clone, Default)]
pub struct RuleFile {
    /// Groups, in the order of the file; their names differ.
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated together, one after the other.
#[derive(Debug, Clone)]
pub struct RuleGroup {
    /// Its name.
    pub name: String,
    /// How often it is evaluated, if it says so.
    pub interval_ms: Option<i64>,
    /// How many alerts, or series, each of its rules may give.
    pub limit: Option<usize>,
    /// How far in the past its queries look, if it says so.
    pub query_offset_ms: Option<i64>,
    /// Rules, in the order of evaluation.
    pub rules: Vec<Rule>,
    /// Where it stands.
    pub place: Place,
}

/// A rule.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Stores the result of a query under a name.
    Recording(RecordingRule),
    /// Alerts for each series of a query's result.
    Alerting(AlertingRule),
}

/// What a rule asks.
#[derive(Debug, Clone)]
pub struct Query {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub expr: Expr,
}

/// See [`Rule::Recording`].
#[derive(Debug, Clone)]
pub struct RecordingRule {
    /// The name of the series that it stores.
    pub record: String,
    /// What it asks.
    pub query: Query,
    /// Labels of its series, those of the group below them; sorted by name. An empty one takes the label away.
    pub labels: Vec<(String, String)>,
    /// Where it stands.
    pub place: Place,
}

/// See [`Rule::Alerting`].
#[derive(Debug, Clone)]
pub struct AlertingRule {
    /// Its name.
    pub alert: String,
    /// What it asks.
    pub query: Query,
    /// How long an alert is pending before it fires.
    pub for_ms: i64,
    /// How long an alert fires on when its series are gone.
    pub keep_firing_for_ms: i64,
    /// Whether it is evaluated as soon as a sample that it may see is stored, not at the group's times alone. Prometheus has no such
    /// thing.
    pub critical: bool,
    /// Labels that its alerts get, those of the group below them; sorted by name.
    pub labels: Vec<Expansion>,
    /// What is told with its alerts; sorted by name.
    pub annotations: Vec<Expansion>,
    /// Of a composite rule, the condition over other rules that decides in place of the query, which says the same of `ALERTS`.
    pub composite: Option<Box<Composite>>,
    /// What its query's value is compared with; none if its query is a condition, as Prometheus's are.
    pub thresholds: Option<Box<ThresholdRule>>,
    /// When people are not told of its alerts.
    pub mute: Vec<Mute>,
    /// Where it stands.
    pub place: Place,
}

/// A label or an annotation that is expanded for each alert.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// Its name.
    pub name: String,
    /// Its value as it was written.
    pub text: String,
    /// What it means.
    pub template: Template,
}

impl Rule {
    /// Its name: of the alert, or of the series that it stores.
    pub fn name(&self) -> &str {
        match self {
            Rule::Recording(rule) => &rule.record,
            Rule::Alerting(rule) => &rule.alert,
        }
    }

    /// What it asks.
    pub fn query(&self) -> &Query {
        match self {
            Rule::Recording(rule) => &rule.query,
            Rule::Alerting(rule) => &rule.query,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        match self {
            Rule::Recording(rule) => rule.place,
            Rule::Alerting(rule) => rule.place,
        }
    }
}

impl AlertingRule {
    /// Whether people are not told of its alerts at a time.
    pub fn is_muted(&self, now: Timestamp) -> bool {
        self.mute.iter().any(|mute| mute.holds(now))
    }
}

impl Rule {
    /// See [`AlertingRule::is_muted`].
    pub fn is_muted(&self, now: Timestamp) -> bool {
        matches!(self, Rule::Alerting(rule) if rule.is_muted(now))
    }
}

impl RuleFile {
    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
}
