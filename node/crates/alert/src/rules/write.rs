//! From rules to a file's text: what [`read`](super::read) and Prometheus read as the same rules again. Comments are gone, and
//! labels of a group stand at its rules.

use std::fmt::Write;

use bellwether_promql::duration_text;

use super::{Expansion, Mute, Rule, RuleGroup, ThresholdRule};
use crate::state::threshold::{Checks, FORGET_AFTER_MS, NoData};
use crate::yaml::write::{INDENT, Mapping, push_dash, push_scalar};

/// One group as a document of its own: what the ruler's API takes and gives.
pub fn write_group(group: &RuleGroup) -> String {
    let mut out = String::new();
    push_group(&mut out, group, 0);
    out
}

/// Groups as a rule file.
pub fn write_file<'g>(groups: impl IntoIterator<Item = &'g RuleGroup>) -> String {
    let mut out = "groups:".to_owned();
    push_groups(&mut out, groups, 0);
    out
}

/// Groups by their namespace, as the ruler's API lists them.
pub fn write_namespaces<'g, G: IntoIterator<Item = &'g RuleGroup>>(
    namespaces: impl IntoIterator<Item = (&'g str, G)>,
) -> String {
    let mut out = String::new();
    for (namespace, groups) in namespaces {
        push_scalar(&mut out, namespace, 0);
        out.push(':');
        push_groups(&mut out, groups, 0);
    }
    if out.is_empty() { "{}\n".to_owned() } else { out }
}

/// The list behind a key.
fn push_groups<'g>(out: &mut String, groups: impl IntoIterator<Item = &'g RuleGroup>, indent: usize) {
    let mut groups = groups.into_iter().peekable();
    if groups.peek().is_none() {
        return out.push_str(" []\n");
    }
    out.push('\n');
    for group in groups {
        push_dash(out, indent + INDENT);
        push_group(out, group, indent + 2 * INDENT);
    }
}

fn push_duration(fields: &mut Mapping<'_>, name: &str, ms: Option<i64>) {
    if let Some(ms) = ms {
        fields.text(name, &duration_text(ms));
    }
}

fn push_group(out: &mut String, group: &RuleGroup, indent: usize) {
    let mut fields = Mapping { out, indent, is_first: true };
    fields.text("name", &group.name);
    push_duration(&mut fields, "interval", group.interval_ms);
    push_duration(&mut fields, "query_offset", group.query_offset_ms);
    if let Some(limit) = group.limit {
        fields.key("limit");
        let _ = writeln!(fields.out, " {limit}");
    }
    fields.key("rules");
    if group.rules.is_empty() {
        return fields.out.push_str(" []\n");
    }
    fields.out.push('\n');
    for rule in &group.rules {
        push_dash(fields.out, indent + INDENT);
        push_rule(fields.out, rule, indent + 2 * INDENT);
    }
}

fn push_rule(out: &mut String, rule: &Rule, indent: usize) {
    let mut fields = Mapping { out, indent, is_first: true };
    match rule {
        Rule::Recording(rule) => {
            fields.text("record", &rule.record);
            fields.text("expr", &rule.query.text);
            fields.pairs("labels", rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
        Rule::Alerting(rule) => {
            let positive = |ms: i64| (ms > 0).then_some(ms);
            fields.text("alert", &rule.alert);
            match &rule.composite {
                None => fields.text("expr", &rule.query.text),
                Some(composite) => fields.text("composite", &composite.text),
            }
            push_duration(&mut fields, "for", positive(rule.for_ms));
            push_duration(&mut fields, "keep_firing_for", positive(rule.keep_firing_for_ms));
            if rule.critical {
                fields.key("critical");
                fields.out.push_str(" true\n");
            }
            fields.pairs("labels", rule.labels.iter().map(written));
            fields.pairs("annotations", rule.annotations.iter().map(written));
            if let Some(of) = &rule.thresholds {
                push_thresholds(&mut fields, of);
            }
            push_mutes(&mut fields, &rule.mute);
        }
    }
}

fn push_mutes(fields: &mut Mapping<'_>, mutes: &[Mute]) {
    if mutes.is_empty() {
        return;
    }
    fields.key("mute");
    fields.out.push('\n');
    let indent = fields.indent + INDENT;
    for mute in mutes {
        push_dash(fields.out, indent);
        let mut below = Mapping { out: &mut *fields.out, indent: indent + INDENT, is_first: true };
        below.text("schedule", &mute.schedule);
        if let Some(time_zone) = &mute.time_zone {
            below.text("time_zone", time_zone);
        }
    }
}

fn push_thresholds(fields: &mut Mapping<'_>, of: &ThresholdRule) {
    let written = of.thresholds.written();
    let mut below = fields.mapping("thresholds");
    for (name, number) in [
        ("critical", written.critical),
        ("warning", written.warning),
        ("critical_recovery", written.critical_recovery),
        ("warning_recovery", written.warning_recovery),
    ] {
        if let Some(number) = number {
            below.number(name, number);
        }
    }
    if let Some(compare) = written.compare {
        below.text("compare", compare.as_str());
    }
    let Checks { at_least, of: of_all } = of.grading.checks;
    if of.grading.checks != Checks::default() {
        let mut below = fields.mapping("checks");
        below.number("at_least", at_least.into());
        below.number("of", of_all.into());
    }
    let NoData { behavior, after_ms, forget_after_ms } = of.grading.no_data;
    if of.grading.no_data != NoData::default() {
        let mut below = fields.mapping("no_data");
        below.text("behavior", behavior.as_str());
        push_duration(&mut below, "after", (after_ms > 0).then_some(after_ms));
        let is_said = forget_after_ms != after_ms.saturating_add(FORGET_AFTER_MS);
        push_duration(&mut below, "forget_after", is_said.then_some(forget_after_ms));
    }
}

fn written(expansion: &Expansion) -> (&str, &str) {
    (&expansion.name, &expansion.text)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::rules::{read, read_group};

    fn check(text: &str, expected: &Expect) {
        let file = read(text).unwrap();
        let written = write_file(&file.groups);
        expected.assert_eq(&written);
        assert_eq!(write_file(&read(&written).unwrap().groups), written, "what is written is read as the same");
    }

    #[test]
    fn a_file_is_written_as_it_is_read() {
        check(
            "groups:\n- name: 'a b'\n  interval: 90s\n  query_offset: 0s\n  limit: 3\n  labels: {team: x, env: '1'}\n  rules:\n  - record: \
             job:up:sum\n    expr: |\n      sum(\n        up\n      )\n  - alert: Down\n    expr: 'up{job=\"a\"} == 0'\n    for: 5m\n    \
             keep_firing_for: 1h30m\n    critical: true\n    labels: {severity: '{{ if true }}page{{ end }}', env: prod}\n    annotations: {text: \"two\\nlines \
             \\t\", none: ''}\n- name: empty\n",
            &expect![[r#"
                groups:
                  - name: a b
                    interval: 1m30s
                    query_offset: 0s
                    limit: 3
                    rules:
                      - record: job:up:sum
                        expr: |
                          sum(
                            up
                          )
                        labels:
                          env: '1'
                          team: x
                      - alert: Down
                        expr: up{job="a"} == 0
                        for: 5m
                        keep_firing_for: 1h30m
                        critical: true
                        labels:
                          env: prod
                          severity: '{{ if true }}page{{ end }}'
                          team: x
                        annotations:
                          none: ''
                          text: "two\nlines \t"
                  - name: empty
                    rules: []
            "#]],
        );
        check("groups: []", &expect![["groups: []\n"]]);
    }

    #[test]
    fn a_threshold_rule_is_written_as_it_is_read() {
        check(
            "groups:\n- name: g\n  rules:\n  - {alert: A, expr: a, thresholds: {critical: 0.05, warning: 0.02, critical_recovery: 0.04, compare: '>'}}\n  \
             - {alert: B, expr: b, thresholds: {warning: -1e-7, compare: '<='}, checks: {at_least: 3, of: 5}, no_data: {behavior: alert, after: 10m}}\n  \
             - {alert: C, expr: c, thresholds: {critical: 1, warning: 2}, no_data: {behavior: keep, forget_after: 1h}}\n  \
             - {alert: D, expr: d, mute: [{schedule: Saturday - Sunday, time_zone: Europe/Berlin}, {schedule: '22:00 - 06:00'}]}\n  \
             - {alert: E, composite: 'A && !B', for: 1m}\n",
            &expect![[r#"
                groups:
                  - name: g
                    rules:
                      - alert: A
                        expr: a
                        thresholds:
                          critical: 0.05
                          warning: 0.02
                          critical_recovery: 0.04
                      - alert: B
                        expr: b
                        thresholds:
                          warning: -0.0000001
                          compare: '<='
                        checks:
                          at_least: 3
                          of: 5
                        no_data:
                          behavior: alert
                          after: 10m
                      - alert: C
                        expr: c
                        thresholds:
                          critical: 1
                          warning: 2
                        no_data:
                          behavior: keep
                          forget_after: 1h
                      - alert: D
                        expr: d
                        mute:
                          - schedule: Saturday - Sunday
                            time_zone: Europe/Berlin
                          - schedule: '22:00 - 06:00'
                      - alert: E
                        composite: A && !B
                        for: 1m
            "#]],
        );
    }

    #[test]
    fn groups_are_listed_by_namespace() {
        let group = read_group("name: g\nrules: [{record: a, expr: b}]").unwrap();
        let written = write_namespaces([("apps/x", vec![&group]), ("12", vec![])]);
        let expected = expect![[r#"
            apps/x:
              - name: g
                rules:
                  - record: a
                    expr: b
            '12': []
        "#]];
        expected.assert_eq(&written);
        assert_eq!(write_namespaces::<Vec<&RuleGroup>>([]), "{}\n");
    }
}
