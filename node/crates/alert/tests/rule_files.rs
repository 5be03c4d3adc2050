//! Rule files: what is read, and what is said of what is wrong.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_alert::rules::{Expansion, Rule, duplicates, read};
use expect_test::{Expect, expect};
use proptest::prelude::*;

#[track_caller]
fn check(file: &str, expected: Expect) {
    let said = match read(file) {
        Ok(file) => format!("{} groups, {} rules", file.groups.len(), file.rule_count()),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    };
    expected.assert_eq(&said);
}

/// One rule in a group; the rule begins at 4:7.
fn rule(lines: &[&str]) -> String {
    format!("groups:\n  - name: g\n    rules:\n    - {}\n", lines.join("\n      "))
}

#[test]
fn the_rules_that_are_shipped_are_right() {
    check(include_str!("../../../../deploy/rules/bellwether.yml"), expect!["3 groups, 10 rules"]);
}

#[test]
fn a_file_is_read() {
    let file = read(
        "groups:\n- name: g\n  interval: 30s\n  limit: 5\n  query_offset: 1m\n  labels: {team: a, zone: z}\n  rules:\n\
         \x20 - {record: 'job:up:sum', expr: sum by (job) (up), labels: {zone: own}}\n\
         \x20 - {alert: Down, expr: up == 0, for: 5m, keep_firing_for: 1m, annotations: {b: x, a: '{{ $value }}'}}\n",
    );
    let group = file.unwrap().groups.remove(0);
    assert_eq!((group.interval_ms, group.limit, group.query_offset_ms), (Some(30_000), Some(5), Some(60_000)));
    let [Rule::Recording(recording), Rule::Alerting(alerting)] = group.rules.as_slice() else { panic!("two rules") };
    assert_eq!(format!("{:?}", recording.labels), r#"[("team", "a"), ("zone", "own")]"#);
    assert_eq!((alerting.for_ms, alerting.keep_firing_for_ms), (300_000, 60_000));
    let names =
        |expansions: &[Expansion]| expansions.iter().map(|each| each.name.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!((names(&alerting.labels).as_str(), names(&alerting.annotations).as_str()), ("team zone", "a b"));
}

#[test]
fn what_is_wrong_with_thresholds_is_told_with_its_place() {
    check(
        &rule(&["alert: a", "expr: up", "thresholds: {critical: 1, warning: 2, warning_recovery: 1}"]),
        expect![[r#"
            6:45: group "g", rule 1, "a": thresholds: warning_recovery: it must not be below the warning threshold, 2
        "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "thresholds: {critical: 1}"]),
        expect![[r#"
        6:7: group "g", rule 1, "a": thresholds: compare: say whether what is above a threshold is bad ('>', '>=') or what is below ('<', '<=')
    "#]],
    );
    check(
        &rule(&[
            "alert: a",
            "expr: up > 3",
            "labels: {severity: page}",
            "thresholds: {critical: x, compare: '=>', wrning: 1}",
        ]),
        expect![[r#"
            5:13: group "g", rule 1, "a": with 'thresholds' the expression is a value, and this one compares by > itself
            7:7: group "g", rule 1, "a": the label "severity" is set by thresholds: leave out that of the rule
            7:30: group "g", rule 1, "a": critical must be a number
            7:42: group "g", rule 1, "a": compare: "=>" is none of '>', '>=', '<', '<=', '==', '!='
            7:48: group "g", rule 1, "a": unknown field "wrning" in thresholds; do you mean warning?
        "#]],
    );
    check(
        &rule(&[
            "alert: a",
            "expr: up[5m]",
            "thresholds: {critical: 1, compare: '>'}",
            "checks: {at_least: 5, of: 3}",
            "no_data: {behavior: tell, after: 5x, forget_after: 1m}",
        ]),
        expect![[r#"
            5:13: group "g", rule 1, "a": with 'thresholds' the expression must have one value for each series
            7:16: group "g", rule 1, "a": at_least: it cannot be more than the 3 that are looked at
            8:27: group "g", rule 1, "a": no_data: behavior must be 'alert', 'ok' or 'keep'
            8:40: group "g", rule 1, "a": after: not a valid duration string: "5x"
        "#]],
    );
    check(
        &rule(&[
            "alert: a",
            "expr: up",
            "thresholds: {critical: 1, compare: '>'}",
            "checks: {at_least: 0, of: 65}",
            "no_data: {behavior: keep, after: 5m, forget_after: 1m}",
        ]),
        expect![[r#"
            7:26: group "g", rule 1, "a": at_least: it must be from 1 to 64
            7:33: group "g", rule 1, "a": of: it must be from 1 to 64
            8:58: group "g", rule 1, "a": forget_after: it must be longer than 'after'
        "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "checks: {at_least: 2}", "no_data: {behavior: alert}"]),
        expect![[r#"
        6:7: group "g", rule 1, "a": 'checks' needs 'thresholds'
        7:7: group "g", rule 1, "a": 'no_data' needs 'thresholds'
    "#]],
    );
    check(
        &rule(&[
            "alert: a",
            "expr: up",
            "mute: [{schedule: Saturday, time_zone: Europe/Paris}, {schedule: 10:00 - 11:00, time_zone: Mars}, {time_zone: UTC}, x]",
        ]),
        expect![[r#"
            6:25: group "g", rule 1, "a": mute: schedule: "Saturday" is no schedule such as "Saturday 00:00 - Monday 06:00" or "22:00 - 06:00"
            6:98: group "g", rule 1, "a": mute: time_zone: there is no time zone "Mars"
            6:105: group "g", rule 1, "a": a span of 'mute' needs 'schedule'
            6:123: group "g", rule 1, "a": a span of 'mute' must be a mapping, this is a scalar
        "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "composite: 'b && | c'"]),
        expect![[r#"
        5:7: group "g", rule 1, "a": only one of 'expr' and 'composite' must be set
        6:24: group "g", rule 1, "a": composite: the name of an alerting rule should be here, not "|"
    "#]],
    );
    check(
        &rule(&["alert: a", "composite: 'b && a'"]),
        expect![[r#"
        5:24: group "g", rule 1, "a": composite: it depends on itself
    "#]],
    );
    check(
        &rule(&["record: a", "expr: up", "thresholds: {critical: 1}"]),
        expect![[r#"
        6:7: group "g", rule 1, "a": invalid field 'thresholds' in recording rule
    "#]],
    );
}

#[test]
fn nothing_is_no_groups() {
    check("", expect!["0 groups, 0 rules"]);
    check("groups:\n", expect!["0 groups, 0 rules"]);
    check("# only a comment\n", expect!["0 groups, 0 rules"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check(
        &rule(&["record: a", "alert: b", "expr: up"]),
        expect![[r#"
        5:14: group "g", rule 1, "b": only one of 'record' and 'alert' must be set
    "#]],
    );
    check(
        &rule(&["expr: up"]),
        expect![[r#"
        4:7: group "g", rule 1, "": one of 'record' or 'alert' must be set
    "#]],
    );
    check(
        &rule(&["alert: a"]),
        expect![[r#"
        4:7: group "g", rule 1, "a": field 'expr' must be set in rule
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "for: 5"]),
        expect![[r#"
        6:12: group "g", rule 1, "a": for: not a valid duration string: "5"
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "anotations: {}"]),
        expect![[r#"
        6:7: group "g", rule 1: unknown field "anotations" in a rule; do you mean annotations?
    "#]],
    );
    check(
        &rule(&["record: a", "expr: up", "for: 5m", "annotations: {a: b}"]),
        expect![[r#"
        6:7: group "g", rule 1, "a": invalid field 'for' in recording rule
        7:7: group "g", rule 1, "a": invalid field 'annotations' in recording rule
    "#]],
    );
    check(
        &rule(&["record: a", "expr: up", "critical: true"]),
        expect![[r#"
        6:7: group "g", rule 1, "a": invalid field 'critical' in recording rule
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "critical: very"]),
        expect![[r#"
        6:17: group "g", rule 1, "a": critical must be true or false
    "#]],
    );
    check(
        &rule(&["record: 'a{}'", "expr: up", "labels: {__name__: x, '': y}"]),
        expect![[r#"
        4:15: group "g", rule 1, "a{}": braces present in the recording rule name; should it be in expr?: a{}
        6:16: group "g", rule 1, "a{}": invalid label name: __name__
        6:29: group "g", rule 1, "a{}": invalid label name: 
    "#]],
    );
    check(
        "groups:\n- name: a\n- name: a\n- {}\n",
        expect![[r#"
        3:9: groupname: "a" is repeated in the same file; it is there already, at 2:9
        4:3: Groupname must not be empty
    "#]],
    );
    check(
        "groups:\n- name: a\n  interval: 1x\n  limit: many\n  labels: [a]\n",
        expect![[r#"
        3:13: group "a": interval: not a valid duration string: "1x"
        4:10: group "a": limit must be a whole number
        5:11: group "a": labels must be a mapping, this is a list
    "#]],
    );
    check(
        "groups: 5",
        expect![[r#"
        1:9: groups must be a list, this is a scalar
    "#]],
    );
    check(
        "- a",
        expect![[r#"
        1:1: a rule file must be a mapping, this is a list
    "#]],
    );
    check(
        "groups: [",
        expect![[r#"
        2:1: this is not YAML: while parsing a node, did not find expected node content
    "#]],
    );
}

#[test]
fn an_expression_is_wrong_where_it_is() {
    check(
        &rule(&["alert: a", "expr: sum(up"]),
        expect![[r#"
        5:19: group "g", rule 1, "a": could not parse expression: 1:7: parse error: unclosed left parenthesis
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: 'up{a=''x''} +'"]),
        expect![[r#"
        5:27: group "g", rule 1, "a": could not parse expression: 1:12: parse error: unexpected end of input
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: \"up{a=\\\"x\\\"} + )\""]),
        expect![[r#"
        5:29: group "g", rule 1, "a": could not parse expression: 1:14: parse error: unexpected right parenthesis ')'
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: |", "  sum(", "    rate(up)", "  )"]),
        expect![[r#"
        7:16: group "g", rule 1, "a": could not parse expression: 2:8: parse error: expected type range vector in call to function "rate", got instant vector
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: >-", "  sum(up)", "  + bad(x)"]),
        expect![[r#"
        7:11: group "g", rule 1, "a": could not parse expression: 1:11: parse error: unknown function with name "bad"
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: sum(up)", "  + bad(x)"]),
        expect![[r#"
        6:11: group "g", rule 1, "a": could not parse expression: 1:11: parse error: unknown function with name "bad"
    "#]],
    );
}

#[test]
fn a_template_is_wrong_where_it_is() {
    let annotation = |text: &str| rule(&["alert: a", "expr: up", &format!("annotations: {{x: {text}}}")]);
    check(
        &annotation("'{{ $labels.x }} {{ foo }}'"),
        expect![[r#"
        6:44: group "g", rule 1, "a": annotation "x": template: __alert_a:1: function "foo" not defined
    "#]],
    );
    check(
        &annotation("'{{ $nothing }}'"),
        expect![[r#"
        6:28: group "g", rule 1, "a": annotation "x": template: __alert_a:1: undefined variable "$nothing"
    "#]],
    );
    check(
        &annotation("'{{ if }}x{{ end }}'"),
        expect![[r#"
        6:31: group "g", rule 1, "a": annotation "x": template: __alert_a:1: missing value for if
    "#]],
    );
    check(
        &annotation("'{{ .x '"),
        expect![[r#"
        6:31: group "g", rule 1, "a": annotation "x": template: __alert_a:1: unclosed action
    "#]],
    );
    check(
        &annotation("'{{ 1.b }}'"),
        expect![[r#"
        6:28: group "g", rule 1, "a": annotation "x": template: __alert_a:1: bad number syntax: "1.b"
    "#]],
    );
    check(
        &rule(&["alert: a", "expr: up", "labels:", "  x: |", "    one", "    {{ $x }}"]),
        expect![[r#"
        9:14: group "g", rule 1, "a": label "x": template: __alert_a:2: undefined variable "$x"
    "#]],
    );
}

#[test]
fn many_problems_are_counted() {
    let rules: String = (0..150).map(|_| "  - {alert: a}\n").collect();
    let problems = read(&format!("groups:\n- name: g\n  rules:\n{rules}")).unwrap_err();
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].message, "50 more problems are not told");
}

#[test]
fn rules_that_cannot_be_told_apart_are_found() {
    let file = |rules: &str| read(&format!("groups:\n- name: g\n  rules:\n{rules}")).unwrap();
    let a = file("  - {record: a, expr: b}\n  - {record: a, expr: c, labels: {x: y}}\n  - {record: a, expr: d}\n");
    let b = file("  - {alert: a, expr: b, labels: {x: y}}\n  - {alert: b, expr: b}\n");
    let found = duplicates(&[&a, &b]);
    let text =
        |found: &bellwether_alert::rules::Duplicate| format!("{} {:?} {:?}", found.name, found.labels, found.places);
    expect![[r#"
        a [] [(0, Place { line: 4, column: 14 }), (0, Place { line: 6, column: 14 })]
        a [("x", "y")] [(0, Place { line: 5, column: 14 }), (1, Place { line: 4, column: 13 })]"#]]
    .assert_eq(&found.iter().map(text).collect::<Vec<_>>().join("\n"));
}

proptest! {
    #[test]
    fn any_file_is_rules_or_problems(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("groups:\n".to_owned()), Just("- name: x\n".to_owned()), Just("  rules:\n".to_owned()),
                Just("  - alert: a\n".to_owned()), Just("    expr: up\n".to_owned()), Just("    labels: {a: '{{ $value }}'}\n".to_owned()),
                Just("    expr: |\n      up +\n\n".to_owned()), Just("    for: 5m\n".to_owned()), "[ -~\n]{0,20}",
            ],
            0..12,
        ),
    ) {
        let _ = read(&parts.concat());
    }
}
