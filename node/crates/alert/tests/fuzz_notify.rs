//! Any text as a configuration, as matchers, as labels, as a template: an answer, never a panic; matchers print and read back.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_alert::notify::Config;
use bellwether_alert::notify::matchers::{parse_labels, parse_matchers};
use bellwether_alert::notify::route::Routes;
use bellwether_alert::notify::templates::{Library, Text};
use bellwether_alert::notify::timeline::Timeline;
use bellwether_model::PatternBudget;

/// What matchers are made of.
const WORDS: [&str; 24] = [
    "a", "b.c", "ä", "=", "!=", "=~", "!~", "{", "}", ",", "\"", "\\", "\\n", "\\x41", "\\u00e4", "'", "`", " ", "\n",
    "(", ".*", "|", "[", "0",
];

/// What configurations are made of.
const LINES: [&str; 32] = [
    "route:\n",
    "  receiver: a\n",
    "  group_by: ['...']\n",
    "  routes:\n",
    "  - matchers: [a=b]\n",
    "    continue: true\n",
    "    match_re: {a: 'b|c'}\n",
    "    group_wait: 0s\n",
    "    active_time_intervals: [t]\n",
    "    routes: [{receiver: b}]\n",
    "receivers:\n",
    "- name: a\n",
    "- name: b\n",
    "  slack_configs: [{}]\n",
    "  webhook_configs: [{url: 'http://x', http_config: {bearer_token: t}}]\n",
    "  email_configs: [{to: x, headers: {a: b}}]\n",
    "inhibit_rules:\n",
    "- source_match: {a: b}\n",
    "  target_matchers: [c=d]\n",
    "  equal: [e]\n",
    "time_intervals:\n",
    "- name: t\n",
    "  time_intervals: [{weekdays: ['monday:friday'], location: Asia/Tokyo}]\n",
    "  time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]\n",
    "mute_time_intervals: []\n",
    "templates: ['*']\n",
    "global: {resolve_timeout: 1m}\n",
    "x: &x [*x]\n",
    "<<: {a: b}\n",
    "- \n",
    "  a: \n",
    "null\n",
];

#[test]
fn any_text_is_a_configuration_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| configuration(&String::from_utf8_lossy(bytes)));
}

#[test]
fn any_lines_are_a_configuration_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| LINES[*byte as usize % LINES.len()]).collect();
        configuration(&text);
    });
}

#[test]
fn any_words_are_matchers_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| WORDS[*byte as usize % WORDS.len()]).collect();
        matchers(&text);
    });
}

#[test]
fn any_template_is_expanded_or_refused() {
    const PARTS: [&str; 32] = [
        "{{",
        "}}",
        "{{ ",
        " }}",
        ".",
        ".Alerts",
        ".Firing",
        ".CommonLabels",
        ".SortedPairs",
        ".Values",
        ".Remove",
        " . ",
        "range ",
        "with ",
        "if ",
        "end",
        "else",
        "define \"a\" ",
        "template \"a\" ",
        "| ",
        "join \",\"",
        "date \"15:04 MST\" ",
        "tz \"Asia/Tokyo\" ",
        "since ",
        "(index .Alerts 0)",
        ".StartsAt",
        "stringSlice ",
        "urlUnescape ",
        "\"%4\" ",
        "5 ",
        "$x := ",
        "x",
    ];
    let config =
        Config::read("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]\n").unwrap();
    let timeline = "begin: 2026-11-20T08:00:00Z\nuntil: 1m\nevents: [{at: 0s, firing: {a: b}}]\n";
    let messages = Timeline::read(timeline).unwrap().run(&config).unwrap();
    let mut library = Library::default();
    library.add("a", "{{ define \"a\" }}{{ template \"b\" . }}{{ end }}{{ define \"b\" }}{{ . }}{{ end }}").unwrap();
    bolero::check!().for_each(|bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| PARTS[*byte as usize % PARTS.len()]).collect();
        if let Ok(text) = Text::parse(&text) {
            let _ = library.expand(&text, (&messages[0].1, &Default::default()), "http://me", i64::MAX);
        }
    });
}

fn configuration(text: &str) {
    let Ok(config) = Config::read(text) else { return };
    let alert = parse_labels(&["a=b,c=d".to_owned()]).unwrap();
    for at in config.routes.take(&alert) {
        let group = config.routes.group_labels(at, &alert);
        assert!(config.routes.group_key(at, &group).starts_with("{}"));
        let _ = config.routes.muted(at, &config.intervals, 0);
    }
    assert!(config.receivers.contains_key(&config.routes.get(Routes::ROOT).receiver));
    let _ = format!("{config:?}");
}

fn matchers(text: &str) {
    let _ = parse_labels(&[text.to_owned()]);
    match parse_matchers(text, &mut PatternBudget::default()) {
        Ok(read) => {
            let printed = read.to_string();
            assert_eq!(
                parse_matchers(&printed, &mut PatternBudget::default()).as_ref(),
                Ok(&read),
                "{text:?} as {printed}"
            );
        }
        Err(error) => assert!(error.column(text) <= text.chars().count() + 1, "{text:?}"),
    }
}
