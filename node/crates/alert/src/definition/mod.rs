//! Alerts as `POST /v1/alerts` takes them: one query, thresholds, what to do without data. Each becomes a rule group of one rule, so that
//! whatever evaluates rules evaluates these: a threshold rule where the query is a value, or compares one with a number; otherwise a rule
//! that is critical where the query has a result.
//!
//! Its alerts carry `alertname`, `alert_id` and `notify`, by which routes can tell them, and `severity`. What rules cannot do is refused.

mod condition;
pub mod metric_query;

use bellwether_model::Labels;
use bellwether_promql::ast::BinaryOp;
use bellwether_promql::{number_text, parse};

use crate::cursor::TextError;
use crate::limits::MUTES_PER_RULE_MAX;
use crate::notify::fingerprint::Fingerprint;
use crate::rules::thresholds::{ThresholdRule, Thresholds, WrittenThresholds};
use crate::rules::{AlertingRule, Composite, Expansion, Mute, Query, Rule, RuleGroup};
use crate::state::alerting::ALERT_NAME;
pub use crate::state::threshold::watch::SEVERITY;
pub use crate::state::threshold::{Behavior, Severity};
use crate::state::threshold::{CHECKS_MAX, Checks, FORGET_AFTER_MS, Grading, NoData};
use crate::template::alert::AlertTemplate;
use crate::yaml::Place;
use condition::Condition;

/// Bytes of an alert's name.
pub const NAME_BYTES_MAX: usize = 512;
/// Bytes of its message.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Whom it may name.
pub const NOTIFY_MAX: usize = 64;
/// Bytes of one of them.
pub const TARGET_BYTES_MAX: usize = 512;
/// The longest time that a condition must hold.
const EVALUATION_WINDOW_MS_MAX: i64 = 31 * 24 * 3_600_000;

/// The label by which an alert's rules are found.
pub const ALERT_ID: &str = "alert_id";
/// The label that says whom to tell: the targets with commas between.
pub const NOTIFY: &str = "notify";
/// The annotation that is told.
const MESSAGE: &str = "message";

/// An alert as people define it.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name; of a tenant's definitions no two share one.
    pub name: String,
    /// PromQL, or a [`metric_query`]; not looked at in a composite one.
    pub query: String,
    /// A condition over other alerts, in place of the query.
    pub composite: Option<String>,
    /// What is told, a template as in annotations of rules.
    pub message: Option<String>,
    /// Whom to tell: `slack:#alerts-prod`.
    pub notify: Vec<String>,
    /// From where on it is critical.
    pub critical: Option<f64>,
    /// From where on it is a warning.
    pub warning: Option<f64>,
    /// From where on it is not critical any more.
    pub critical_recovery: Option<f64>,
    /// From where on it is no warning any more.
    pub warning_recovery: Option<f64>,
    /// How many checks must be bad; each counts if it is not said.
    pub checks: Option<Checks>,
    /// Of PromQL, how long the condition must hold; of a metric query, the window that it has already.
    pub evaluation_window_ms: Option<i64>,
    /// What no data means.
    pub no_data: Behavior,
    /// How long no data means nothing.
    pub no_data_after_ms: Option<i64>,
    /// Whether it is evaluated as soon as a sample is stored, whatever its thresholds.
    pub is_critical: bool,
    /// When nobody is told.
    pub mute: Vec<Mute>,
}

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// Which of its fields.
    pub field: &'static str,
    /// What, and at which character of its text.
    pub message: String,
}

fn wrong<T>(field: &'static str, message: impl Into<String>) -> Result<T, FieldError> {
    Err(FieldError { field, message: message.into() })
}

impl Definition {
    /// The id that a definition of this name gets: the same each time, so that one that is sent twice is known.
    pub fn id(name: &str) -> String {
        Fingerprint::of(&Labels::of(&[(ALERT_NAME, name)])).to_string()
    }

    /// The rules that it comes to; the group is named by its id.
    pub fn rules(&self, id: &str) -> Result<RuleGroup, FieldError> {
        self.check_texts()?;
        let composite = self.composite.as_ref().map(|text| self.read_composite(text)).transpose()?;
        let condition = match &composite {
            None => Condition::of(&self.query)?,
            Some(_) => Condition { value: None, comparison: None, window_ms: None },
        };
        let for_ms = self.hold_ms(&condition)?;
        let rules = vec![Rule::Alerting(match self.thresholds(&condition)? {
            Some((value, of)) => self.rule(id, value, Some(of), for_ms)?,
            None => {
                let text = composite.as_ref().map_or_else(|| self.query.clone(), Composite::to_promql);
                AlertingRule { composite: composite.map(Box::new), ..self.rule(id, text, None, for_ms)? }
            }
        })];
        Ok(RuleGroup {
            name: id.to_owned(),
            interval_ms: None,
            limit: None,
            query_offset_ms: None,
            rules,
            place: Place::START,
        })
    }

    fn read_composite(&self, text: &str) -> Result<Composite, FieldError> {
        let composite = Composite::parse(text)
            .or_else(|error| wrong("composite", format!("character {}: {error}", error.character(text))))?;
        match composite.references.iter().find(|reference| reference.name == self.name) {
            None => Ok(composite),
            Some(reference) => {
                let at = TextError::new(reference.offset, "").character(text);
                wrong("composite", format!("character {at}: it depends on itself"))
            }
        }
    }

    fn check_texts(&self) -> Result<(), FieldError> {
        if self.name.trim().is_empty() {
            return wrong("name", "an alert needs a name");
        }
        if self.name.len() > NAME_BYTES_MAX {
            return wrong("name", format!("it has more than {NAME_BYTES_MAX} bytes"));
        }
        if self.message.as_ref().is_some_and(|message| message.len() > MESSAGE_BYTES_MAX) {
            return wrong("message", format!("it has more than {MESSAGE_BYTES_MAX} bytes"));
        }
        if self.notify.len() > NOTIFY_MAX {
            return wrong("notify", format!("it names more than {NOTIFY_MAX} targets"));
        }
        if self.mute.len() > MUTES_PER_RULE_MAX {
            return wrong("mute", format!("it has more than {MUTES_PER_RULE_MAX} spans"));
        }
        for target in &self.notify {
            if target.trim() != target || target.is_empty() || target.contains(',') || target.len() > TARGET_BYTES_MAX {
                return wrong("notify", format!("{target:?} is no target such as slack:#alerts-prod"));
            }
        }
        Ok(())
    }

    /// How long the condition must hold before an alert fires.
    fn hold_ms(&self, condition: &Condition) -> Result<i64, FieldError> {
        let Some(wanted) = self.evaluation_window_ms else { return Ok(0) };
        if !(0..=EVALUATION_WINDOW_MS_MAX).contains(&wanted) {
            return wrong("evaluation_window", "the longest is 31d");
        }
        match condition.window_ms {
            Some(window) if window != wanted => {
                let text = bellwether_promql::duration_text(window);
                wrong(
                    "evaluation_window",
                    format!("the query says last_{text}: leave one of them out, or make them the same"),
                )
            }
            Some(_) => Ok(0),
            None => Ok(wanted),
        }
    }

    /// The value that is compared, and with what; none if the query has none.
    fn thresholds(&self, condition: &Condition) -> Result<Option<(String, ThresholdRule)>, FieldError> {
        let Some(value) = &condition.value else {
            let thresholds = [self.critical, self.warning, self.critical_recovery, self.warning_recovery];
            if thresholds.iter().any(Option::is_some) {
                return wrong("thresholds", "the query is no value that could be compared with them");
            }
            if self.checks.is_some() {
                return wrong(
                    "checks",
                    "they need a query that is a value with thresholds, or compares one with a number",
                );
            }
            if self.no_data != Behavior::Ok || self.no_data_after_ms.is_some() {
                let field = if self.no_data == Behavior::Ok { "no_data_after" } else { "no_data_behavior" };
                let message = format!(
                    "{:?} needs a query that is a value with thresholds, or compares one with a number: of this one no result may \
                     mean that all is well",
                    self.no_data.as_str()
                );
                return wrong(field, message);
            }
            return Ok(None);
        };
        if condition.comparison.is_none() && self.critical.is_none() && self.warning.is_none() {
            return wrong("thresholds", "the query compares with nothing, so there must be a threshold");
        }
        if let (Some((_, number)), Some(critical)) = (condition.comparison, self.critical)
            && number != critical
        {
            let [number, critical] = [number, critical].map(number_text);
            return wrong("thresholds.critical", format!("it is {critical}, and the query compares with {number}"));
        }
        let written = WrittenThresholds {
            compare: condition.comparison.map(|(op, _)| op),
            critical: self.critical.or(condition.comparison.map(|(_, number)| number)),
            warning: self.warning,
            critical_recovery: self.critical_recovery,
            warning_recovery: self.warning_recovery,
        };
        let thresholds = checked(written)?;
        let grading = Grading { checks: self.checked_checks()?, no_data: self.checked_no_data()? };
        Ok(Some((value.clone(), ThresholdRule { thresholds, grading })))
    }

    fn checked_checks(&self) -> Result<Checks, FieldError> {
        let checks = self.checks.unwrap_or_default();
        if !(1..=CHECKS_MAX).contains(&checks.of) {
            return wrong("checks.of", format!("it must be from 1 to {CHECKS_MAX}"));
        }
        if !(1..=checks.of).contains(&checks.at_least) {
            return wrong("checks.at_least", format!("it must be from 1 to the {} that are looked at", checks.of));
        }
        Ok(checks)
    }

    fn checked_no_data(&self) -> Result<NoData, FieldError> {
        let after_ms = self.no_data_after_ms.unwrap_or(0);
        if !(0..=EVALUATION_WINDOW_MS_MAX).contains(&after_ms) {
            return wrong("no_data_after", "the longest is 31d");
        }
        Ok(NoData { behavior: self.no_data, after_ms, forget_after_ms: after_ms + FORGET_AFTER_MS })
    }

    fn rule(
        &self,
        id: &str,
        text: String,
        thresholds: Option<ThresholdRule>,
        for_ms: i64,
    ) -> Result<AlertingRule, FieldError> {
        let expr = parse(&text).or_else(|error| wrong("query", error.to_string()))?;
        let expansion = |name: &str, text: &str, field| match AlertTemplate::parse(&self.name, text) {
            Ok(template) => Ok(Expansion { name: name.to_owned(), text: text.to_owned(), template }),
            Err(error) => {
                let offset = AlertTemplate::offset(error.offset);
                let at = TextError::new(offset, "").character(text);
                wrong(field, format!("character {at}: {error}"))
            }
        };
        let mut labels = vec![expansion(ALERT_ID, id, "name")?];
        if !self.notify.is_empty() {
            labels.push(expansion(NOTIFY, &verbatim(&self.notify.join(",")), "notify")?);
        }
        if thresholds.is_none() {
            labels.push(expansion(SEVERITY, Severity::Critical.as_str(), "thresholds")?);
        }
        let message = self.message.iter().map(|message| expansion(MESSAGE, message, "message"));
        let annotations = message.collect::<Result<_, _>>()?;
        Ok(AlertingRule {
            alert: self.name.clone(),
            query: Query { text, expr },
            for_ms,
            keep_firing_for_ms: 0,
            critical: self.is_critical,
            labels,
            annotations,
            composite: None,
            thresholds: thresholds.map(Box::new),
            mute: self.mute.clone(),
            place: Place::START,
        })
    }
}

/// Thresholds that go together. Where nothing says what is worse, more is.
fn checked(written: WrittenThresholds) -> Result<Thresholds, FieldError> {
    let checked = match written.check() {
        Err(("compare", _)) => WrittenThresholds { compare: Some(BinaryOp::Greater), ..written }.check(),
        checked => checked,
    };
    checked.or_else(|(field, message)| {
        let field = match field {
            "critical" => "thresholds.critical",
            "warning" => "thresholds.warning",
            "critical_recovery" => "thresholds.critical_recovery",
            "warning_recovery" => "thresholds.warning_recovery",
            _ => "thresholds",
        };
        wrong(field, message)
    })
}

/// A text that a template leaves as it is.
fn verbatim(text: &str) -> String {
    text.replace("{{", "{{\"{{\"}}")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::rules::{read_group, write_group};

    fn definition(query: &str) -> Definition {
        Definition {
            name: "High errors".to_owned(),
            query: query.to_owned(),
            composite: None,
            message: None,
            notify: Vec::new(),
            critical: None,
            warning: None,
            evaluation_window_ms: None,
            critical_recovery: None,
            warning_recovery: None,
            checks: None,
            no_data: Behavior::Ok,
            no_data_after_ms: None,
            is_critical: false,
            mute: Vec::new(),
        }
    }

    fn check(definition: &Definition, expected: &Expect) {
        let group = definition.rules("1d").unwrap_or_else(|error| panic!("{error}"));
        let written = write_group(&group);
        expected.assert_eq(&written);
        let read = read_group(&written).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(write_group(&read), written);
    }

    fn check_error(change: impl FnOnce(&mut Definition), expected: &str) {
        let mut definition = definition("avg(last_5m):sum:a{*} > 0.05");
        change(&mut definition);
        assert_eq!(definition.rules("1d").unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_value_with_thresholds_is_a_threshold_rule() {
        let definition = Definition {
            message: Some("{{ $labels.host }} has {{ $value | humanizePercentage }}".to_owned()),
            notify: vec!["slack:#alerts-prod".to_owned(), "pagerduty:{{api}}".to_owned()],
            critical: Some(0.05),
            warning: Some(0.02),
            evaluation_window_ms: Some(300_000),
            warning_recovery: Some(0.015),
            checks: Some(Checks { at_least: 3, of: 5 }),
            no_data: Behavior::Alert,
            no_data_after_ms: Some(600_000),
            ..definition("avg(last_5m):sum:http.errors{service:api} / sum:http.requests{service:api} > 0.05")
        };
        check(
            &definition,
            &expect![[r#"
                name: 1d
                rules:
                  - alert: High errors
                    expr: avg_over_time((sum(http_errors{service="api"}) / sum(http_requests{service="api"}))[5m:15s])
                    labels:
                      alert_id: 1d
                      notify: 'slack:#alerts-prod,pagerduty:{{"{{"}}api}}'
                    annotations:
                      message: '{{ $labels.host }} has {{ $value | humanizePercentage }}'
                    thresholds:
                      critical: 0.05
                      warning: 0.02
                      warning_recovery: 0.015
                    checks:
                      at_least: 3
                      of: 5
                    no_data:
                      behavior: alert
                      after: 10m
            "#]],
        );
    }

    #[test]
    fn promql_is_compared_as_it_says_or_with_the_thresholds() {
        let one = |definition: Definition| {
            let group = definition.rules("1d").unwrap_or_else(|error| panic!("{error}"));
            let [Rule::Alerting(rule)] = &group.rules[..] else { panic!("one alert") };
            let compared = rule.thresholds.as_ref().map_or(String::new(), |of| {
                let Thresholds { compare, critical, warning } = of.thresholds;
                let [critical, warning] =
                    [critical, warning].map(|of| of.map_or("-".to_owned(), |of| format!("{}/{}", of.reach, of.hold)));
                format!(" {} {critical} {warning}", compare.as_str())
            });
            format!("{} for {}{compared}", rule.query.text, rule.for_ms)
        };
        assert_eq!(one(definition("up == 0")), "up for 0 == 0/0 -");
        let held = Definition { evaluation_window_ms: Some(60_000), ..definition("(1 < rate(a[5m]) + 1)") };
        assert_eq!(one(held), "(rate(a[5m]) + 1) for 60000 > 1/1 -");
        let low =
            Definition { critical: Some(-2.0), warning: Some(3.0), warning_recovery: Some(4.0), ..definition("-a") };
        assert_eq!(one(low), "(-a) for 0 < -2/-2 3/4");
        let only = Definition { warning: Some(3.0), no_data: Behavior::Alert, ..definition("sum(a)") };
        assert_eq!(one(only), "sum(a) for 0 > - 3/3");
        let recovery = Definition { critical: Some(3.0), critical_recovery: Some(4.0), ..definition("sum(a)") };
        assert_eq!(one(recovery), "sum(a) for 0 < 3/4 -");
        assert_eq!(one(definition("a and b")), "a and b for 0");
        assert_eq!(one(definition("a > b")), "a > b for 0");
        assert_eq!(one(definition("(a > 1) < 2")), "(a > 1) < 2 for 0");
        let composite = Definition { composite: Some("A".to_owned()), ..definition("") };
        assert_eq!(one(composite), "max(ALERTS{alertname=\"A\",alertstate=\"firing\"}) for 0");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        check_error(|d| d.name = " ".to_owned(), "name: an alert needs a name");
        check_error(|d| d.query = "sum(".to_owned(), "query: 1:5: parse error: unclosed left parenthesis");
        check_error(
            |d| d.query = "avg(last_5m):sum:a".to_owned(),
            "query: character 19: \"{\" should be here, not the end",
        );
        check_error(
            |d| d.query = "a[5m]".to_owned(),
            "query: it is nothing that could be compared with a number: binary expression must contain only scalar and instant vector types",
        );
        check_error(
            |d| d.query = "a".to_owned(),
            "thresholds: the query compares with nothing, so there must be a threshold",
        );
        check_error(
            |d| (d.query, d.warning) = ("a or b".to_owned(), Some(1.0)),
            "thresholds: the query is no value that could be compared with them",
        );
        check_error(
            |d| d.composite = Some("A &&".to_owned()),
            "composite: character 5: the name of an alerting rule should be here, not the end",
        );
        check_error(
            |d| d.composite = Some("A && \"High errors\"".to_owned()),
            "composite: character 6: it depends on itself",
        );
        check_error(|d| d.critical = Some(0.5), "thresholds.critical: it is 0.5, and the query compares with 0.05");
        check_error(|d| d.warning = Some(0.5), "thresholds.warning: it must be reached before the critical one, 0.05");
        check_error(
            |d| (d.query, d.warning) = ("a == 1".to_owned(), Some(0.5)),
            "thresholds.warning: a comparison by == has one threshold",
        );
        check_error(
            |d| d.evaluation_window_ms = Some(60_000),
            "evaluation_window: the query says last_5m: leave one of them out, or make them the same",
        );
        check_error(
            |d| d.critical_recovery = Some(0.06),
            "thresholds.critical_recovery: it must not be above the critical threshold, 0.05",
        );
        check_error(
            |d| d.checks = Some(Checks { at_least: 4, of: 3 }),
            "checks.at_least: it must be from 1 to the 3 that are looked at",
        );
        check_error(|d| d.no_data_after_ms = Some(-1), "no_data_after: the longest is 31d");
        check_error(
            |d| (d.query, d.no_data) = ("a and b".to_owned(), Behavior::Keep),
            "no_data_behavior: \"keep\" needs a query that is a value with thresholds, or compares one with a number: of this one no result may mean that all is well",
        );
        check_error(|d| d.notify = vec!["a,b".to_owned()], "notify: \"a,b\" is no target such as slack:#alerts-prod");
        let mut template = definition("up == 0");
        template.message = Some("a {{ $x }}".to_owned());
        assert!(template.rules("1d").unwrap_err().to_string().starts_with("message: character 6: "));
        let mut no_data = definition("a and b");
        no_data.no_data = Behavior::Alert;
        assert_eq!(no_data.rules("1d").unwrap_err().field, "no_data_behavior");
    }

    #[test]
    fn an_id_is_that_of_the_name() {
        assert_eq!(Definition::id("C"), "d2beefc389d73779");
    }
}
