//! Replays of small rule files, over answers that are written here.

use expect_test::{Expect, expect};

use super::*;
use crate::rules::read;

const MINUTE: i64 = 60_000;

fn replay(groups: &str, minutes: i64) -> Replay {
    let file = read(groups).unwrap_or_else(|problems| panic!("{problems:?}"));
    let span = Span { from: 0, to: minutes * MINUTE, step_ms: None, default_interval_ms: MINUTE };
    Replay::new(&file, span).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A series that has a value at each minute, or none.
fn series(pairs: &[(&str, &str)], values: &[Option<f64>]) -> Answered {
    let values = values.iter().zip(0..).filter_map(|(value, minute)| Some((minute * MINUTE, (*value)?)));
    Answered { labels: Labels::of(pairs), values: values.collect(), histograms: Vec::new() }
}

fn shown(replay: &Replay) -> String {
    let minutes = |time: i64| format!("{}m", time as f64 / MINUTE as f64);
    let mut text = String::new();
    for (group, step_ms, reports) in replay.reports() {
        text += &format!("{} every {}\n", group.name, minutes(step_ms));
        for (rule, report) in group.rules.iter().zip(reports) {
            let failed = report.first_error.as_ref().map_or(String::new(), |(at, error)| {
                format!(", {} failed, first at {}: {error}", report.failures, minutes(*at))
            });
            text += &format!("  {}: {} evaluations{failed}\n", rule.name(), report.evaluations);
            for Episode { labels, pending, firing, told, end } in &report.episodes {
                let of_muted = if told == firing { None } else { Some(told) };
                let [firing, end] = [firing, end].map(|time| time.map_or("-".to_owned(), minutes));
                text += &format!("    {labels} pending {} firing {firing} end {end}", minutes(*pending));
                text +=
                    &of_muted.map_or(String::new(), |told| format!(" told {}", told.map_or("-".to_owned(), minutes)));
                text += "\n";
            }
            text += &report.template_error.as_ref().map_or(String::new(), |error| format!("    {error}\n"));
        }
    }
    text
}

/// Runs a replay in stretches of two minutes.
fn check(mut replay: Replay, minutes: i64, answer: impl Fn(&str) -> Vec<Answered>, expected: &Expect) {
    for from in (0..=minutes).step_by(2) {
        let (from, to) = (from * MINUTE, (from + 2) * MINUTE - 1);
        for question in replay.questions(from, to) {
            assert!(question.start <= question.end && question.end <= to, "{question:?}");
            replay.answer(question.number, answer(&question.query)).unwrap();
        }
        replay.run(from, to).unwrap();
    }
    expected.assert_eq(&shown(&replay));
}

#[test]
fn alerts_go_through_what_they_would_have_gone_through() {
    let rules = "
groups:
- name: g
  rules:
  - {alert: A, expr: 'sum by (x) (rate(a[5m])) > 1', for: 2m}
  - {alert: B, expr: a > 1, labels: {severity: page}}
- name: slow
  interval: 3m
  rules:
  - {alert: C, expr: a > 1}
";
    let (there, gone) = (Some(2.0), None);
    let one = [gone, there, there, gone, there, there, there, there, gone, there];
    let answer = |query: &str| match query {
        "sum by (x) (rate(a[5m])) > 1" | "a > 1" => vec![series(&[("x", "1")], &one), series(&[("x", "2")], &[there])],
        other => panic!("{other}"),
    };
    check(
        replay(rules, 9),
        9,
        answer,
        &expect![[r#"
            g every 1m
              A: 10 evaluations
                {alertname="A", x="2"} pending 0m firing - end 1m
                {alertname="A", x="1"} pending 1m firing - end 3m
                {alertname="A", x="1"} pending 4m firing 6m end 8m
                {alertname="A", x="1"} pending 9m firing - end -
              B: 10 evaluations
                {alertname="B", severity="page", x="2"} pending 0m firing 0m end 1m
                {alertname="B", severity="page", x="1"} pending 1m firing 1m end 3m
                {alertname="B", severity="page", x="1"} pending 4m firing 4m end 8m
                {alertname="B", severity="page", x="1"} pending 9m firing 9m end -
            slow every 3m
              C: 4 evaluations
                {alertname="C", x="2"} pending 0m firing 0m end 3m
                {alertname="C", x="1"} pending 6m firing 6m end -
        "#]],
    );
}

#[test]
fn what_is_recorded_is_seen_by_later_rules_and_only_there() {
    let rules = "
groups:
- name: g
  rules:
  - {record: 'x:a:sum', expr: sum by (x) (a)}
  - {alert: High, expr: 'x:a:sum / on (x) (b + 1) > scalar(limit) and avg_over_time(x:a:sum[3m]) > 2'}
  - {alert: Gone, expr: absent(x:a:sum)}
  - {alert: Asks, expr: 'x:a:sum > 4', annotations: {text: '{{ query \"b\" }}'}}
";
    let (some, none) = (Some(2.0), None);
    let answer = |query: &str| match query {
        "sum by (x) (a)" => vec![series(&[("x", "1")], &[some, Some(4.0), Some(8.0), Some(8.0), none, none])],
        "b + 1" => vec![series(&[("x", "1")], &[Some(1.0); 6])],
        "limit" => vec![series(&[("__name__", "limit")], &[Some(3.0); 6])],
        other => panic!("{other}"),
    };
    check(
        replay(rules, 5),
        5,
        answer,
        &expect![[r#"
            g every 1m
              x:a:sum: 6 evaluations
              High: 6 evaluations
                {alertname="High", x="1"} pending 1m firing 1m end 4m
              Gone: 6 evaluations
                {alertname="Gone"} pending 4m firing 4m end -
              Asks: 6 evaluations
                {alertname="Asks", x="1"} pending 2m firing 2m end 4m
                error executing template __alert_Asks: template: __alert_Asks:1:115: executing "__alert_Asks" at <query "b">: error calling query: what templates ask is not asked in a replay
        "#]],
    );
}

#[test]
fn composite_rules_ask_after_the_alerts_of_the_replay() {
    let rules = "
groups:
- name: g
  rules:
  - {alert: Slow, expr: a > 1, for: 1m}
  - {alert: Both, composite: 'Slow{x=\"1\"} && !Deploying'}
";
    let (there, none) = (Some(2.0), None);
    let answer = |query: &str| match query {
        "a > 1" => vec![series(&[("x", "1")], &[none, there, there, there, there, there, none])],
        // No rule of the file: what was stored of it is asked.
        query if query.contains("alertname=\"Deploying\"") && !query.contains("Slow") => {
            vec![series(&[], &[Some(1.0), Some(1.0), Some(1.0), none, Some(1.0), Some(1.0), Some(1.0)])]
        }
        other => panic!("{other}"),
    };
    check(
        replay(rules, 6),
        6,
        answer,
        &expect![[r#"
        g every 1m
          Slow: 7 evaluations
            {alertname="Slow", x="1"} pending 1m firing 2m end 6m
          Both: 7 evaluations
            {alertname="Both"} pending 2m firing 2m end 3m
            {alertname="Both"} pending 4m firing 4m end 6m
    "#]],
    );
}

#[test]
fn who_is_told_when_a_mute_ends_is_said() {
    let rules = "
groups:
- name: g
  rules:
  - {alert: Long, expr: a, mute: [{schedule: '00:01 - 00:03'}]}
  - {alert: Short, expr: b, mute: [{schedule: '00:01 - 00:03'}]}
";
    let (there, none) = (Some(2.0), None);
    let answer = |query: &str| match query {
        "a" => vec![series(&[("x", "1")], &[there; 5]), series(&[("x", "2")], &[none, there, there, there, there])],
        "b" => vec![series(&[("x", "1")], &[none, there, none, none, none])],
        other => panic!("{other}"),
    };
    check(
        replay(rules, 4),
        4,
        answer,
        &expect![[r#"
        g every 1m
          Long: 5 evaluations
            {alertname="Long", x="1"} pending 0m firing 0m end -
            {alertname="Long", x="2"} pending 1m firing 1m end - told 3m
          Short: 5 evaluations
            {alertname="Short", x="1"} pending 1m firing 1m end 2m told -
    "#]],
    );
}

#[test]
fn an_exceeded_limit_is_an_error_and_its_alerts_begin_anew() {
    let rules = "groups: [{name: g, limit: 1, rules: [{alert: A, expr: a}]}]";
    let (some, none) = (Some(1.0), None);
    let answer = |_: &str| vec![series(&[("x", "1")], &[some; 4]), series(&[("x", "2")], &[none, some, none, none])];
    check(
        replay(rules, 3),
        3,
        answer,
        &expect![[r#"
            g every 1m
              A: 4 evaluations, 1 failed, first at 1m: exceeded limit of 1 with 2 alerts
                {alertname="A", x="1"} pending 0m firing 0m end 1m
                {alertname="A", x="1"} pending 2m firing 2m end -
        "#]],
    );
}

#[test]
fn an_exceeded_limit_forgets_the_checks_of_series() {
    let rules = "groups: [{name: g, limit: 1, rules: [{alert: A, expr: a, \
                 thresholds: {compare: '>', warning: 5}, checks: {at_least: 2, of: 2}}]}]";
    let (bad, none) = (Some(6.0), None);
    let answer =
        |_: &str| vec![series(&[("x", "1")], &[bad; 6]), series(&[("x", "2")], &[none, bad, bad, none, none, none])];
    check(
        replay(rules, 5),
        5,
        answer,
        &expect![[r#"
            g every 1m
              A: 6 evaluations, 1 failed, first at 2m: exceeded limit of 1 with 2 alerts
                {alertname="A", severity="warning", x="1"} pending 1m firing 1m end 2m
                {alertname="A", severity="warning", x="1"} pending 4m firing 4m end -
        "#]],
    );
}

#[test]
fn histograms_are_what_an_alert_has_and_nothing_to_compute_with() {
    let rules = "groups: [{name: g, rules: [{alert: A, expr: a}, {record: r, expr: a}, {alert: B, expr: 'r > 1'}]}]";
    let answer = |_: &str| vec![Answered::new([("x", "1")], vec![(0, 2.0)], vec![MINUTE]).unwrap()];
    check(
        replay(rules, 1),
        1,
        answer,
        &expect![[r#"
            g every 1m
              A: 2 evaluations
                {alertname="A", x="1"} pending 0m firing 0m end -
              r: 2 evaluations, 1 failed, first at 1m: histograms are replayed only as what an alerting rule asks as a whole
              B: 2 evaluations
                {alertname="B", x="1"} pending 0m firing 0m end -
        "#]],
    );
}

#[test]
fn what_cannot_be_replayed_is_told_with_its_place() {
    let rules = "
groups:
- name: g
  rules:
  - {record: r, expr: a}
  - {alert: A, expr: 'max_over_time((r / b)[5m:1m]) > 1'}
  - {alert: B, expr: 'quantile_over_time(scalar(r), b[5m]) > 1'}
  - {alert: C, expr: 'a @ end() > 1'}
";
    let span = Span { from: 0, to: 10, step_ms: None, default_interval_ms: 5 };
    let problems = Replay::new(&read(rules).unwrap(), span).err().unwrap();
    let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    expect![[r#"
        6:13: group "g", "A" cannot be replayed: a range beside series that the file records would have to read other series here
        7:13: group "g", "B" cannot be replayed: a range beside series that the file records would have to read other series here
        8:13: group "g", "C" cannot be replayed: @ start() and @ end() mean the whole replay where many times are asked at once
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_replay_is_bounded() {
    let rules = "groups: [{name: g, rules: [{alert: A, expr: a}, {alert: B, expr: b}]}]";
    let long = Span { from: 0, to: 3_000_000, step_ms: Some(1), default_interval_ms: 5 };
    let error = Replay::new(&read(rules).unwrap(), long).unwrap_or_else(|_| panic!()).check().unwrap_err();
    assert_eq!(error, ReplayError::TooLong { evaluations: 6_000_002 });
    let times = replay(rules, 10);
    assert_eq!(times.check(), Ok(11));
    let query_offset = "groups: [{name: g, query_offset: 30s, rules: [{alert: A, expr: a}]}]";
    let question = &replay(query_offset, 10).questions(0, 3 * MINUTE)[0];
    assert_eq!((question.start, question.end, question.step_ms), (-30_000, 150_000, MINUTE));
    // Times are multiples of the step.
    let span = Span { from: 61_000, to: 299_000, step_ms: None, default_interval_ms: MINUTE };
    let question = &Replay::new(&read(rules).unwrap(), span).unwrap_or_else(|_| panic!()).questions(0, i64::MAX)[0];
    assert_eq!((question.start, question.end), (2 * MINUTE, 4 * MINUTE));
}
