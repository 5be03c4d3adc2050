//! Bytes from outside: rule files, templates, files of unit tests. An error or a value, never a panic, within the limits.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_alert::definition::{Behavior, Definition, metric_query};
use bellwether_alert::rules::RuleFile;
use bellwether_alert::template::alert::{AlertData, AlertTemplate};
use bellwether_alert::template::{Functions, Surroundings, Template, Value};
use bellwether_alert::{rules, unit};
use bellwether_model::Labels;
use bellwether_promql::{Point, VectorSample};

const RULES: &str = "groups:\n- name: g\n  interval: 30s\n  limit: 5\n  labels: {a: b}\n  rules:\n  - record: a:b\n    expr: |\n      sum(a) by (b)\n  - alert: A\n    expr: a == 0\n    for: 1m\n    keep_firing_for: 2m\n    labels: {x: '{{ $labels.x }}'}\n    annotations: {y: \"{{ query \\\"a\\\" | first | value | humanize }}\"}\n  - alert: B\n    expr: b\n    thresholds: {critical: 1, warning: 2, warning_recovery: 3, compare: '<'}\n    checks: {at_least: 2, of: 3}\n    no_data: {behavior: alert, after: 1m, forget_after: 2m}\n    mute: [{schedule: 'Saturday 00:00 - Monday 06:00', time_zone: Europe/Berlin}]\n  - alert: C\n    composite: 'A && !(B{x=\"y\"} || \"D e\")'\n";
const TEMPLATE: &str = "{{ define \"t\" }}{{ . }}{{ end }}{{ range $i, $s := query \"two\" }}{{ if gt .Value 1.0 }}{{ template \"t\" .Labels.x }}{{ else if eq $i 0 }}{{ continue }}{{ else }}{{ printf \"%-5.2f|%q\" $value \"x\" }}{{ end }}{{- end }}";
const UNIT: &str = "rule_files: [a.yml]\nevaluation_interval: 1m\ngroup_eval_order: [g]\nfuzzy_compare: true\ntests:\n- name: t\n  interval: 1m\n  external_labels: {a: b}\n  input_series:\n  - {series: 'a{b=\"c\"}', values: '1+1x5 _ stale'}\n  alert_rule_test:\n  - {eval_time: 2m, alertname: A, exp_alerts: [{exp_labels: {a: b}}]}\n  promql_expr_test:\n  - {expr: a, eval_time: 1m, exp_samples: [{labels: a, value: 2}]}\n";

struct World;

impl Surroundings for World {
    fn now_ms(&self) -> i64 {
        1_500
    }

    fn external_url(&self) -> &str {
        "http://host"
    }

    fn query(&self, _text: &str) -> Result<Vec<(Labels, f64)>, String> {
        Ok(vec![(Labels::of(&[("x", "b")]), 2.0), (Labels::of(&[("x", "a")]), 1.0)])
    }
}

/// A good text with some bytes replaced: reaches deeper than bytes alone.
fn damaged(good: &str, bytes: &[u8]) -> String {
    let mut text = good.as_bytes().to_vec();
    for change in bytes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % text.len();
        text[at] = change[2];
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn rule_files() {
    rules::read(RULES).unwrap();
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = rules::read(&String::from_utf8_lossy(bytes));
        if let Ok(file) = rules::read(&damaged(RULES, bytes)) {
            let written = rules::write_file(&file.groups);
            let read = rules::read(&written).unwrap_or_else(|problems| panic!("{problems:?} in {written}"));
            assert_eq!(rules::write_file(&read.groups), written);
        }
    });
}

#[test]
fn templates() {
    let expand = |text: &str| {
        if let Ok(template) = AlertTemplate::parse("A", text) {
            let point = Point { timestamp: 0, value: 3.0 };
            let sample = VectorSample { labels: Labels::of(&[("x", "1")]), point, histogram: None };
            let data = AlertData::new(&sample, &Labels::empty(), "");
            AlertTemplate::expand(&template, "A", &data, &World);
        }
        if let Ok(template) = Template::parse("t", text, &Functions::PROMETHEUS) {
            let _ = template.expand(&Value::Missing, &World);
        }
    };
    bolero::check!().for_each(|bytes: &[u8]| {
        expand(&String::from_utf8_lossy(bytes));
        expand(&damaged(TEMPLATE, bytes));
    });
}

#[test]
fn unit_tests() {
    let rules = rules::read(RULES).unwrap();
    unit::read(UNIT).unwrap();
    let run = |text: &str, rules: &[RuleFile]| {
        if let Ok(file) = unit::read(text) {
            // What takes long is bounded elsewhere; here are many.
            let is_short = |test: &unit::UnitTest| {
                let times = test.alerts.iter().map(|test| test.eval_time_ms);
                let last = times.chain(test.exprs.iter().map(|test| test.eval_time_ms)).max().unwrap_or(0);
                last / file.evaluation_interval_ms < 100
            };
            if file.tests.iter().all(is_short) {
                unit::run(&file, rules, unit::Options { diff: true }, &|_| true);
            }
        }
    };
    bolero::check!().for_each(|bytes: &[u8]| {
        run(&String::from_utf8_lossy(bytes), &[]);
        run(&damaged(UNIT, bytes), std::slice::from_ref(&rules));
    });
}

#[test]
fn definitions() {
    const QUERY: &str =
        "avg(last_5m):sum:http.errors{a:b-c,!d:e*,f IN (g, h)} by {i} / (abs(count:\"x\"{*} by {i}) - -2) >= 0.05";
    metric_query::read(QUERY).unwrap();
    let define = |query: String| {
        let definition = Definition {
            name: "n".to_owned(),
            query,
            composite: None,
            message: Some("{{ $value }}".to_owned()),
            notify: vec!["slack:#a".to_owned()],
            critical: None,
            warning: None,
            evaluation_window_ms: None,
            critical_recovery: None,
            warning_recovery: None,
            checks: None,
            no_data: Behavior::Alert,
            no_data_after_ms: None,
            is_critical: true,
            mute: Vec::new(),
        };
        if let Ok(group) = definition.rules("id") {
            let written = rules::write_group(&group);
            let read = rules::read_group(&written).unwrap_or_else(|problems| panic!("{problems:?} in {written}"));
            assert_eq!(rules::write_group(&read), written);
        }
    };
    define(QUERY.to_owned());
    bolero::check!().for_each(|bytes: &[u8]| {
        define(String::from_utf8_lossy(bytes).into_owned());
        define(format!("avg(last_5m):{}", String::from_utf8_lossy(bytes)));
        define(damaged(QUERY, bytes));
    });
}
