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

/// Evaluates a threshold rule every ten seconds, each time with these series, `x=value`; what happened, and which alerts there are.
#[track_caller]
fn check_thresholds(text: &str, evaluations: &[&str], expected: Expect) {
    let Rule::Alerting(rule) = rule(text) else { panic!("an alert") };
    let mut state = AlertingState::default();
    let mut said = String::new();
    for (at, present) in evaluations.iter().enumerate() {
        let now = at as Timestamp * 10_000;
        let of = |series: &str| series.split_once('=').map(|(x, value)| sample(x, value.parse().unwrap()));
        let vector: Vec<VectorSample> = present.split_whitespace().filter_map(of).collect();
        let evaluation = Evaluation {
            now,
            query_offset_ms: 0,
            limit: None,
            external_labels: &Labels::empty(),
            surroundings: &Nowhere,
        };
        let stepped = alerting::step(&rule, &state, &evaluation, &vector).unwrap();
        let name =
            |labels: &Labels| format!("{} {}", labels.get("x").unwrap_or("-"), labels.get("severity").unwrap_or("-"));
        let events: Vec<String> =
            stepped.events.iter().map(|event| format!("{} {:?}", name(&event.labels), event.change)).collect();
        let active = stepped.state.alerts.iter().filter(|(_, alert)| alert.phase.is_active());
        let active: Vec<String> = active
            .map(|(labels, alert)| {
                let phase = match alert.phase {
                    Phase::Pending => "pending",
                    Phase::Firing { kept_since: None, .. } => "firing",
                    _ => "kept",
                };
                let said = alert.annotations.first().map_or("", |(_, text)| text.as_str());
                format!("{} {phase} {said}", name(labels))
            })
            .collect();
        said.push_str(&format!("{:02}s: {} | {}\n", now / 1000, events.join(", "), active.join(", ")));
        state = stepped.state;
    }
    expected.assert_eq(&said);
}

const THRESHOLDS: &str = "alert: A, expr: m, annotations: {v: '{{ $labels.x }} {{ $value }}'}, thresholds: {critical: 10, warning: 5, critical_recovery: 8, warning_recovery: 3}";

#[test]
fn of_the_severities_one_fires() {
    check_thresholds(
        THRESHOLDS,
        &["1=1 2=11", "1=6 2=11", "1=11 2=9", "1=7 2=4", "1=4", "1=3", ""],
        expect![[r#"
            00s: 2 critical Pending, 2 critical Firing | 2 critical firing 2 11
            10s: 1 warning Pending, 1 warning Firing | 2 critical firing 2 11, 1 warning firing 1 6
            20s: 1 critical Pending, 1 critical Firing, 1 warning Resolved | 1 critical firing 1 11, 2 critical firing 2 9
            30s: 1 critical Resolved, 2 critical Resolved, 1 warning Pending, 1 warning Firing, 2 warning Pending, 2 warning Firing | 1 warning firing 1 7, 2 warning firing 2 4
            40s: 2 warning Resolved | 1 warning firing 1 4
            50s: 1 warning Resolved | 
            60s:  | 
        "#]],
    );
}

#[test]
fn each_severity_waits_for_its_own_for() {
    let text = format!("{THRESHOLDS}, for: 20s");
    check_thresholds(
        &text,
        &["1=6", "1=6", "1=11", "1=11", "1=11", "1=7", "1=1", "1=11", "1=11", "1=11", "1=1"],
        expect![[r#"
            00s: 1 warning Pending | 1 warning pending 1 6
            10s:  | 1 warning pending 1 6
            20s: 1 critical Pending, 1 warning Firing | 1 critical pending 1 11, 1 warning firing 1 11
            30s:  | 1 critical pending 1 11, 1 warning firing 1 11
            40s: 1 critical Firing, 1 warning Resolved | 1 critical firing 1 11
            50s: 1 critical Resolved, 1 warning Pending, 1 warning Firing | 1 warning firing 1 7
            60s: 1 warning Resolved | 
            70s: 1 critical Pending, 1 warning Pending | 1 critical pending 1 11, 1 warning pending 1 11
            80s:  | 1 critical pending 1 11, 1 warning pending 1 11
            90s: 1 critical Firing, 1 warning Dropped | 1 critical firing 1 11
            100s: 1 critical Resolved | 
        "#]],
    );
}

#[test]
fn a_severity_is_kept_firing_but_gives_way_to_a_worse_one() {
    let text = format!("{THRESHOLDS}, keep_firing_for: 20s");
    check_thresholds(
        &text,
        &["1=11", "1=6", "1=6", "1=6", "1=1", "1=11", "1=1", "1=1", "1=1"],
        expect![[r#"
            00s: 1 critical Pending, 1 critical Firing | 1 critical firing 1 11
            10s:  | 1 critical kept 1 6
            20s:  | 1 critical kept 1 6
            30s: 1 critical Resolved, 1 warning Pending, 1 warning Firing | 1 warning firing 1 6
            40s:  | 1 warning kept 1 6
            50s: 1 critical Pending, 1 critical Firing, 1 warning Resolved | 1 critical firing 1 11
            60s:  | 1 critical kept 1 11
            70s:  | 1 critical kept 1 11
            80s: 1 critical Resolved | 
        "#]],
    );
}

#[test]
fn enough_checks_make_an_alert_and_too_few_end_it() {
    let text = format!("{THRESHOLDS}, checks: {{at_least: 2, of: 3}}");
    check_thresholds(
        &text,
        &["1=6", "1=1", "1=6", "1=6", "1=1", "1=1", "2=11", "2=11", "", "", ""],
        expect![[r#"
            00s:  | 
            10s:  | 
            20s: 1 warning Pending, 1 warning Firing | 1 warning firing 1 6
            30s:  | 1 warning firing 1 6
            40s:  | 1 warning firing 1 1
            50s: 1 warning Resolved | 
            60s:  | 
            70s: 2 critical Pending, 2 critical Firing | 2 critical firing 2 11
            80s:  | 2 critical firing 2 11
            90s: 2 critical Resolved | 
            100s:  | 
        "#]],
    );
}

#[test]
fn series_that_are_gone_are_told_of_each_by_itself_and_then_the_query() {
    let text = format!("{THRESHOLDS}, no_data: {{behavior: alert, after: 20s, forget_after: 50s}}");
    check_thresholds(
        &text,
        &["", "", "", "1=1 2=11", "2=11", "2=11", "2=11", "", "1=6", "", "", "", "", "", "", ""],
        expect![[r#"
            00s:  | 
            10s:  | 
            20s: - no_data Pending, - no_data Firing | - no_data firing  NaN
            30s: 2 critical Pending, 2 critical Firing, - no_data Resolved | 2 critical firing 2 11
            40s:  | 2 critical firing 2 11
            50s:  | 2 critical firing 2 11
            60s: 1 no_data Pending, 1 no_data Firing | 2 critical firing 2 11, 1 no_data firing 1 NaN
            70s:  | 2 critical firing 2 11, 1 no_data firing 1 NaN
            80s: 1 no_data Resolved, 1 warning Pending, 1 warning Firing | 2 critical firing 2 11, 1 warning firing 1 6
            90s: 2 critical Resolved, 2 no_data Pending, 2 no_data Firing | 2 no_data firing 2 NaN, 1 warning firing 1 6
            100s:  | 2 no_data firing 2 NaN, 1 warning firing 1 6
            110s: 1 no_data Pending, 1 no_data Firing, 1 warning Resolved | 1 no_data firing 1 NaN, 2 no_data firing 2 NaN
            120s: 2 no_data Resolved | 1 no_data firing 1 NaN
            130s:  | 1 no_data firing 1 NaN
            140s: 1 no_data Resolved | 
            150s: - no_data Pending, - no_data Firing | - no_data firing  NaN
        "#]],
    );
    let text = format!("{THRESHOLDS}, no_data: {{behavior: keep, forget_after: 40s}}");
    check_thresholds(
        &text,
        &["1=11 2=1", "", "1=9", "", "", "", "", "", ""],
        expect![[r#"
        00s: 1 critical Pending, 1 critical Firing | 1 critical firing 1 11
        10s:  | 1 critical firing 1 11
        20s:  | 1 critical firing 1 9
        30s:  | 1 critical firing 1 9
        40s:  | 1 critical firing 1 9
        50s:  | 1 critical firing 1 9
        60s:  | 1 critical firing 1 9
        70s: 1 critical Resolved | 
        80s:  | 
    "#]],
    );
}

#[test]
fn series_that_differ_by_a_severity_of_their_own_cannot_be_told_apart() {
    let Rule::Alerting(rule) = rule(THRESHOLDS) else { panic!("an alert") };
    let evaluation = Evaluation {
        now: 0,
        query_offset_ms: 0,
        limit: None,
        external_labels: &Labels::empty(),
        surroundings: &Nowhere,
    };
    let mut both = [sample("1", 11.0), sample("1", 12.0)];
    both[0].labels = Labels::of(&[("severity", "a"), ("x", "1")]);
    let stepped = alerting::step(&rule, &AlertingState::default(), &evaluation, &both);
    assert_eq!(stepped, Err(StepError::SameAlerts));
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
