//! What becomes of alerts and series, evaluation by evaluation.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_alert::rules::{Rule, read};
use bellwether_alert::state::alerting::{self, AlertingState, Evaluation, Phase};
use bellwether_alert::state::recording::{self, RecordingState};
use bellwether_alert::state::{RuleSample, RuleValue, StepError};
use bellwether_alert::template::Surroundings;
use bellwether_model::{Labels, Timestamp, is_stale_marker};
use bellwether_promql::{Point, VectorSample};
use expect_test::{Expect, expect};

struct Nowhere;

impl Surroundings for Nowhere {
    fn now_ms(&self) -> i64 {
        0
    }

    fn external_url(&self) -> &str {
        ""
    }

    fn query(&self, _text: &str) -> Result<Vec<(Labels, f64)>, String> {
        Ok(Vec::new())
    }
}

fn rule(text: &str) -> Rule {
    let file = read(&format!("groups:\n- name: g\n  rules:\n  - {{{text}}}\n")).unwrap();
    file.groups[0].rules[0].clone()
}

fn sample(x: &str, value: f64) -> VectorSample {
    VectorSample {
        labels: Labels::of(&[("__name__", "m"), ("x", x)]),
        point: Point { timestamp: 0, value },
        histogram: None,
    }
}

fn samples_text(samples: &[RuleSample]) -> String {
    let text = |sample: &RuleSample| {
        let value = match &sample.value {
            RuleValue::Float(value) if is_stale_marker(*value) => "stale".to_owned(),
            RuleValue::Float(value) => value.to_string(),
            RuleValue::Histogram(histogram) => histogram.notation().unwrap(),
        };
        format!("{} {value}@{}", sample.labels, sample.timestamp)
    };
    samples.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Evaluates every ten seconds, each time with these values of `x`; what happened each time.
#[track_caller]
fn check(text: &str, evaluations: &[&[&str]], expected: Expect) {
    let Rule::Alerting(rule) = rule(text) else { panic!("an alert") };
    let mut state = AlertingState::default();
    let mut said = String::new();
    for (at, present) in evaluations.iter().enumerate() {
        let now = at as Timestamp * 10_000;
        let vector: Vec<VectorSample> = present.iter().map(|x| sample(x, at as f64)).collect();
        let evaluation = Evaluation {
            now,
            query_offset_ms: 0,
            limit: None,
            external_labels: &Labels::empty(),
            surroundings: &Nowhere,
        };
        let stepped = alerting::step(&rule, &state, &evaluation, &vector).unwrap();
        let events: Vec<String> = stepped
            .events
            .iter()
            .map(|event| format!("{} {:?}", event.labels.get("x").unwrap_or("-"), event.change))
            .collect();
        let series: Vec<String> = stepped
            .samples
            .iter()
            .filter(|sample| sample.labels.metric_name() == Some("ALERTS"))
            .map(|sample| {
                let is_gone = matches!(sample.value, RuleValue::Float(value) if is_stale_marker(value));
                let sign = if is_gone { "-" } else { "+" };
                let get = |name| sample.labels.get(name).unwrap_or("-").to_owned();
                format!("{sign}{}:{}", get("x"), get("alertstate"))
            })
            .collect();
        said.push_str(&format!("{:02}s: {} | {}\n", now / 1000, events.join(", "), series.join(" ")));
        state = stepped.state;
    }
    expected.assert_eq(&said);
}

#[test]
fn an_alert_is_pending_for_as_long_as_the_rule_says() {
    check(
        "alert: A, expr: m, for: 20s",
        &[&["1"], &["1"], &["1"], &["1"], &[], &["1"]],
        expect![[r#"
            00s: 1 Pending | +1:pending
            10s:  | +1:pending
            20s: 1 Firing | +1:firing -1:pending
            30s:  | +1:firing
            40s: 1 Resolved | -1:firing
            50s: 1 Pending | +1:pending
        "#]],
    );
}

#[test]
fn an_alert_without_for_fires_at_once() {
    check(
        "alert: A, expr: m",
        &[&["1"], &["1", "2"], &["2"], &[]],
        expect![[r#"
            00s: 1 Pending, 1 Firing | +1:firing
            10s: 2 Pending, 2 Firing | +1:firing +2:firing
            20s: 1 Resolved | +2:firing -1:firing
            30s: 2 Resolved | -2:firing
        "#]],
    );
}

#[test]
fn an_alert_that_was_pending_is_forgotten() {
    check(
        "alert: A, expr: m, for: 20s",
        &[&["1"], &[], &["1"], &["1"], &["1"]],
        expect![[r#"
            00s: 1 Pending | +1:pending
            10s: 1 Dropped | -1:pending
            20s: 1 Pending | +1:pending
            30s:  | +1:pending
            40s: 1 Firing | +1:firing -1:pending
        "#]],
    );
}

#[test]
fn an_alert_fires_on_without_its_series() {
    check(
        "alert: A, expr: m, keep_firing_for: 20s",
        &[&["1"], &[], &[], &[], &[]],
        expect![[r#"
            00s: 1 Pending, 1 Firing | +1:firing
            10s:  | +1:firing
            20s:  | +1:firing
            30s: 1 Resolved | -1:firing
            40s:  | 
        "#]],
    );
    check(
        "alert: A, expr: m, keep_firing_for: 20s",
        &[&["1"], &[], &["1"], &[], &[], &[]],
        expect![[r#"
            00s: 1 Pending, 1 Firing | +1:firing
            10s:  | +1:firing
            20s:  | +1:firing
            30s:  | +1:firing
            40s:  | +1:firing
            50s: 1 Resolved | -1:firing
        "#]],
    );
}

#[test]
fn a_resolved_alert_is_remembered_for_a_while() {
    let Rule::Alerting(rule) = rule("alert: A, expr: m") else { panic!("an alert") };
    let step = |state: &AlertingState, now, vector: &[VectorSample]| {
        let evaluation = Evaluation {
            now,
            query_offset_ms: 0,
            limit: None,
            external_labels: &Labels::empty(),
            surroundings: &Nowhere,
        };
        alerting::step(&rule, state, &evaluation, vector).unwrap().state
    };
    let fired = step(&AlertingState::default(), 0, &[sample("1", 1.0)]);
    let resolved = step(&fired, 1000, &[]);
    assert_eq!(resolved.alerts.values().next().unwrap().phase, Phase::Resolved { at: 1000 });
    assert_eq!(step(&resolved, 901_000, &[]).alerts.len(), 1);
    assert_eq!(step(&resolved, 901_001, &[]).alerts.len(), 0);
    let again = step(&resolved, 2000, &[sample("1", 1.0)]);
    assert_eq!(again.alerts.values().next().unwrap().active_at, 2000);
}

#[test]
fn labels_and_annotations_are_those_of_the_series() {
    let text = "alert: A, expr: m, labels: {x: 'l{{ $labels.x }}', gone: '{{ $labels.nothing }}', own: o}, \
                annotations: {v: '{{ $value }}', bad: '{{ $value.x }}'}";
    let Rule::Alerting(rule) = rule(text) else { panic!("an alert") };
    let evaluation = Evaluation {
        now: 61_500,
        query_offset_ms: 1500,
        limit: Some(1),
        external_labels: &Labels::empty(),
        surroundings: &Nowhere,
    };
    let state = AlertingState::default();
    let stepped = alerting::step(&rule, &state, &evaluation, &[sample("1", 7.0)]).unwrap();
    let (labels, alert) = stepped.state.alerts.iter().next().unwrap();
    assert_eq!(labels.to_string(), r#"{alertname="A", own="o", x="l1"}"#);
    assert_eq!(alert.annotations[1], ("v".to_owned(), "7".to_owned()));
    assert!(alert.annotations[0].1.starts_with("<error expanding template: error executing template __alert_A: "));
    assert_eq!(stepped.template_errors.len(), 1);
    expect![[r#"ALERTS{alertname="A", alertstate="firing", own="o", x="l1"} 1@60000, ALERTS_FOR_STATE{alertname="A", own="o", x="l1"} 61@60000"#]].assert_eq(&samples_text(&stepped.samples));
    let two = [sample("1", 1.0), sample("2", 1.0)];
    let failed = alerting::step(&rule, &state, &evaluation, &two);
    assert_eq!(failed, Err(StepError::TooManyAlerts { limit: 1, count: 2 }));
}

#[test]
fn alerts_that_cannot_be_told_apart_are_an_error() {
    let Rule::Alerting(rule) = rule("alert: A, expr: m, labels: {x: same}") else { panic!("an alert") };
    let evaluation = Evaluation {
        now: 0,
        query_offset_ms: 0,
        limit: None,
        external_labels: &Labels::empty(),
        surroundings: &Nowhere,
    };
    let two = [sample("1", 1.0), sample("2", 1.0)];
    let failed = alerting::step(&rule, &AlertingState::default(), &evaluation, &two);
    assert_eq!(failed, Err(StepError::SameAlerts));
}

#[test]
fn recorded_series_have_the_rules_name_and_labels() {
    let Rule::Recording(rule) = rule("record: 'a:b', expr: m, labels: {own: o, x: ''}") else { panic!("a record") };
    let (state, samples) = recording::step(&rule, &RecordingState::default(), 5, vec![sample("1", 2.0)], None).unwrap();
    expect![[r#"a:b{own="o"} 2@5"#]].assert_eq(&samples_text(&samples));
    let (_, samples) = recording::step(&rule, &state, 6, Vec::new(), None).unwrap();
    expect![[r#"a:b{own="o"} stale@6"#]].assert_eq(&samples_text(&samples));
    let two = || vec![sample("1", 1.0), sample("2", 1.0)];
    let failed = recording::step(&rule, &state, 6, two(), None);
    assert_eq!(failed, Err(StepError::SameSeries));
    let Rule::Recording(rule) = self::rule("record: r, expr: m") else { panic!("a record") };
    let failed = recording::step(&rule, &state, 6, two(), Some(1));
    assert_eq!(failed, Err(StepError::TooManySeries { limit: 1, count: 2 }));
}
