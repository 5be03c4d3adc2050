//! Unit tests of rules that Prometheus does not know: thresholds, checks, no data, conditions over other rules.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_alert::{rules, unit};

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: Errors
    expr: errors
    thresholds: {critical: 10, warning: 5, critical_recovery: 8}
    checks: {at_least: 2, of: 3}
    no_data: {behavior: alert, after: 3m}
    annotations: {value: '{{ $value }}'}
  - alert: Deploying
    expr: deploying == 1
  - alert: Page
    composite: 'Errors{severity="critical"} && !Deploying'
    labels: {severity: page}
"#;

fn check(tests: &str) -> Vec<String> {
    let rules = rules::read(RULES).unwrap_or_else(|problems| panic!("{problems:?}"));
    let file = format!("rule_files: [a]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n{tests}");
    let file = unit::read(&file).unwrap_or_else(|problems| panic!("{problems:?} in {file}"));
    let outcomes = unit::run(&file, &[rules], unit::Options { diff: false }, &|_| true);
    outcomes.into_iter().flat_map(|outcome| outcome.failures).collect()
}

#[test]
fn what_fires_has_its_severity() {
    let failures = check(
        "  input_series:
  - {series: 'errors{service=\"a\"}', values: '11 1 11 9 7 7 stale'}
  - {series: deploying, values: '0 0 0 1 0 0 0 0 0 0 0 0'}
  alert_rule_test:
  - {eval_time: 1m, alertname: Errors}
  - eval_time: 3m
    alertname: Errors
    exp_alerts: [{exp_labels: {service: a, severity: critical}, exp_annotations: {value: '9'}}]
  - {eval_time: 3m, alertname: Page, exp_alerts: []}
  - {eval_time: 4m, alertname: Page, exp_alerts: [{exp_labels: {severity: page}}]}
  - eval_time: 5m
    alertname: Errors
    exp_alerts: [{exp_labels: {service: a, severity: warning}, exp_annotations: {value: '7'}}]
  - eval_time: 8m
    alertname: Errors
    exp_alerts: [{exp_labels: {service: a, severity: warning}, exp_annotations: {value: '7'}}]
  - eval_time: 9m
    alertname: Errors
    exp_alerts: [{exp_labels: {service: a, severity: no_data}, exp_annotations: {value: NaN}}]
",
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_does_not_fire_is_told() {
    let failures = check(
        "  input_series: [{series: errors, values: '11 11'}]
  alert_rule_test: [{eval_time: 1m, alertname: Errors, exp_alerts: [{exp_labels: {severity: warning}}]}]
",
    );
    assert_eq!(failures.len(), 1);
    assert!(failures[0].contains("severity=\"critical\""), "{}", failures[0]);
}
