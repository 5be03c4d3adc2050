//! From rules to a file's text: what [`read`](super::read) and Prometheus read as the same rules again. Comments are gone, and
//! labels of a group stand at its rules.

use std::fmt::Write;

use bellwether_promql::duration_text;

use super::{Expansion, Rule, RuleGroup};

/// One group as a document of its own: what the ruler's API takes and gives.
pub fn write_group(group: &RuleGroup) -> String {
    let mut out = String::new();
    push_group(&mut out, group, 0, true);
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
        push_group(out, group, indent + 2 * INDENT, false);
    }
}

const INDENT: usize = 2;

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn push_dash(out: &mut String, indent: usize) {
    push_indent(out, indent);
    out.push_str("- ");
}

/// The first of a mapping's fields stands behind what is already on its line.
struct Mapping<'o> {
    out: &'o mut String,
    indent: usize,
    is_first: bool,
}

impl Mapping<'_> {
    fn key(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            push_indent(self.out, self.indent);
        }
        push_scalar(self.out, name, self.indent);
        self.out.push(':');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.out.push(' ');
        push_scalar(self.out, value, self.indent);
        self.out.push('\n');
    }

    fn duration(&mut self, name: &str, ms: Option<i64>) {
        if let Some(ms) = ms {
            self.text(name, &duration_text(ms));
        }
    }

    fn pairs<'p>(&mut self, name: &str, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) {
        let mut pairs = pairs.into_iter().peekable();
        if pairs.peek().is_none() {
            return;
        }
        self.key(name);
        self.out.push('\n');
        let mut below = Mapping { out: &mut *self.out, indent: self.indent + INDENT, is_first: false };
        for (name, value) in pairs {
            below.text(name, value);
        }
    }
}

fn push_group(out: &mut String, group: &RuleGroup, indent: usize, is_document: bool) {
    debug_assert!(!is_document || indent == 0, "a document begins at the margin");
    let mut fields = Mapping { out, indent, is_first: true };
    fields.text("name", &group.name);
    fields.duration("interval", group.interval_ms);
    fields.duration("query_offset", group.query_offset_ms);
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
            fields.text("expr", &rule.query.text);
            fields.duration("for", positive(rule.for_ms));
            fields.duration("keep_firing_for", positive(rule.keep_firing_for_ms));
            fields.pairs("labels", rule.labels.iter().map(written));
            fields.pairs("annotations", rule.annotations.iter().map(written));
        }
    }
}

fn written(expansion: &Expansion) -> (&str, &str) {
    (&expansion.name, &expansion.text)
}

/// A scalar in the plainest style that is read as this very text everywhere.
fn push_scalar(out: &mut String, text: &str, indent: usize) {
    if is_plain(text) {
        out.push_str(text);
    } else if fits_block(text) {
        out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
        for line in text.trim_end_matches('\n').split('\n') {
            out.push('\n');
            if !line.is_empty() {
                push_indent(out, indent + INDENT);
                out.push_str(line);
            }
        }
    } else if !text.chars().any(is_special) {
        let _ = write!(out, "'{}'", text.replace('\'', "''"));
    } else {
        push_escaped(out, text);
    }
}

/// Whether no reader takes it for anything but text, whatever version of YAML it knows.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    // A duration looks like nothing else either.
    let is_duration =
        text.starts_with(|c: char| c.is_ascii_digit()) && bellwether_promql::parse_duration_ms(text).is_ok();
    (begins || is_duration)
        && text.bytes().all(|byte| byte == b' ' || (byte.is_ascii_graphic() && byte != b'#'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a literal block holds it: several lines, the first of which shows the indentation.
fn fits_block(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    lines.contains('\n')
        && !lines.ends_with('\n')
        && !lines.starts_with([' ', '\n'])
        && !lines.chars().any(|c| c != '\n' && is_special(c))
}

/// What stands in double quotes alone: breaks, control characters, and what some readers take for those.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn push_escaped(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_special(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::rules::{read, read_group};
    use crate::yaml::{self, Kind};

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
             keep_firing_for: 1h30m\n    labels: {severity: '{{ if true }}page{{ end }}', env: prod}\n    annotations: {text: \"two\\nlines \
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

    proptest! {
        #[test]
        fn every_text_is_read_back(
            text in prop_oneof![
                any::<String>(),
                "[-a1 :#'\"\\\\{}\\[\\],&*!|>%@`~?\n\t=.+]{0,12}",
                "(yes|no|null|~|1e3|0x1|12:30|5m|=|<<|\\.inf|\u{2028}|\r|\u{85})",
            ],
            indent in 0..6_usize,
        ) {
            let mut out = "k:".to_owned();
            let mut root = Mapping { out: &mut out, indent, is_first: false };
            root.out.clear();
            root.pairs("k", [("first", text.as_str()), ("second", "end")]);
            let read = yaml::read(&out);
            let node = read.unwrap_or_else(|problem| panic!("{problem} in {out}")).unwrap();
            let Kind::Mapping(entries) = &node.kind else { panic!("{out}") };
            let Kind::Mapping(entries) = &entries[0].1.kind else { panic!("{out}") };
            let Kind::Scalar(first) = &entries[0].1.kind else { panic!("{out}") };
            prop_assert_eq!(&first.value, &text, "{}", out);
            prop_assert!(!entries[0].1.is_null(), "{}", out);
            prop_assert_eq!(entries.len(), 2);
        }
    }
}
