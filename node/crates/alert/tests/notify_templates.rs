//! Templates of notifications: their data, their functions, templates that call those of other files.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_alert::notify::templates::{Library, Text, check_settings};
use bellwether_alert::notify::timeline::Timeline;
use bellwether_alert::notify::{Config, Extras};
use bellwether_alert::template::TextKind;
use expect_test::{Expect, expect};

const CONFIG: &str = "route: {receiver: pager, group_by: [alertname, cluster]}\n\
                      receivers: [{name: pager, webhook_configs: [{url: 'http://pager'}]}]\n";

/// Two alerts fire at the begin, one of them until ten minutes later.
const TIMELINE: &str = "\
begin: 2026-11-20T08:00:00Z
until: 20m
events:
- at: 0s
  firing: [{alertname: DiskFull, cluster: eu, host: a}, {alertname: DiskFull, cluster: eu, host: b}]
  annotations: {summary: 'disk <full>'}
- at: 6m
  resolved: {alertname: DiskFull, cluster: eu, host: b}
";

/// What a text makes of both messages.
#[track_caller]
fn check_with(library: &Library, text: &str, expanded: Expect) {
    let config = Config::read(CONFIG).unwrap();
    let messages = Timeline::read(TIMELINE).unwrap().run(&config).unwrap();
    let told = match Text::parse(text) {
        Err(problem) => format!("{problem}\n"),
        Ok(text) => {
            let expand =
                |(at, message): &(i64, _)| library.expand(&text, (message, &Default::default()), "http://me", *at);
            messages.iter().map(|message| expand(message).unwrap_or_else(|error| error.to_string()) + "\n").collect()
        }
    };
    expanded.assert_eq(&told);
}

#[track_caller]
fn check(text: &str, expanded: Expect) {
    check_with(&Library::default(), text, expanded);
}

#[test]
fn a_message_is_data() {
    check(
        "{{ .Status }} {{ .Receiver }} {{ .ExternalURL }}",
        expect![[r#"
        firing pager http://me
        firing pager http://me
    "#]],
    );
    check(
        "{{ len .Alerts }} {{ .Alerts.Firing | len }} {{ .Alerts.Resolved | len }}",
        expect![[r#"
        2 2 0
        2 1 1
    "#]],
    );
    check(
        "{{ range .Alerts }}{{ .Status }}/{{ .Labels.host }}/{{ .Annotations.summary }} {{ end }}",
        expect![[r#"
            firing/a/disk <full> firing/b/disk <full> 
            firing/a/disk <full> resolved/b/disk <full> 
        "#]],
    );
    check(
        "{{ range .Alerts }}{{ .StartsAt }}/{{ .EndsAt }} {{ end }}",
        expect![[r#"
        2026-11-20 08:00:00 +0000 UTC/0001-01-01 00:00:00 +0000 UTC 2026-11-20 08:00:00 +0000 UTC/0001-01-01 00:00:00 +0000 UTC 
        2026-11-20 08:00:00 +0000 UTC/0001-01-01 00:00:00 +0000 UTC 2026-11-20 08:00:00 +0000 UTC/2026-11-20 08:06:00 +0000 UTC 
    "#]],
    );
    check(
        "{{ .GroupLabels }} {{ .CommonLabels }} {{ .CommonAnnotations }}",
        expect![[r#"
            map[alertname:DiskFull cluster:eu] map[alertname:DiskFull cluster:eu] map[summary:disk <full>]
            map[alertname:DiskFull cluster:eu] map[alertname:DiskFull cluster:eu] map[summary:disk <full>]
        "#]],
    );
}

#[test]
fn labels_have_methods() {
    check(
        "{{ .CommonLabels.SortedPairs.Values | join \" \" }} {{ .GroupLabels.Names | join \",\" }}",
        expect![[r#"
        DiskFull eu alertname,cluster
        DiskFull eu alertname,cluster
    "#]],
    );
    check(
        "{{ range .GroupLabels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}",
        expect![[r#"
        alertname=DiskFull;cluster=eu;
        alertname=DiskFull;cluster=eu;
    "#]],
    );
    check(
        "{{ (index .Alerts 0).Labels.Remove .GroupLabels.Names }}",
        expect![[r#"
        map[host:a]
        map[host:a]
    "#]],
    );
    check(
        "{{ .CommonLabels.nothing }}|{{ index .CommonLabels \"cluster\" }}",
        expect![[r#"
        |eu
        |eu
    "#]],
    );
    check(
        "{{ .CommonLabels.Remove 5 }}",
        expect![[r#"
        template: :1:16: executing "" at <.CommonLabels.Remove>: error calling Remove: Remove takes a list of names
        template: :1:16: executing "" at <.CommonLabels.Remove>: error calling Remove: Remove takes a list of names
    "#]],
    );
}

#[test]
fn functions_do_as_they_do_in_alertmanager() {
    check(
        "{{ \" x \" | trimSpace }}{{ stringSlice \"a\" \"b\" | join \"-\" }}",
        expect![[r#"
        xa-b
        xa-b
    "#]],
    );
    check(
        "{{ urlUnescape \"a%20b+c\" }} {{ safeUrl \"x\" }}",
        expect![[r#"
        a b c x
        a b c x
    "#]],
    );
    check(
        "{{ urlUnescape \"%\" }}",
        expect![[r#"
        template: :1:3: executing "" at <urlUnescape "%">: error calling urlUnescape: invalid URL escape in "%"
        template: :1:3: executing "" at <urlUnescape "%">: error calling urlUnescape: invalid URL escape in "%"
    "#]],
    );
    check(
        "{{ (index .Alerts 0).StartsAt | tz \"Asia/Kolkata\" | date \"Jan 2 15:04:05 -0700 MST\" }}",
        expect![[r#"
        Nov 20 13:30:00 +0530 IST
        Nov 20 13:30:00 +0530 IST
    "#]],
    );
    check(
        "{{ ((index .Alerts 0).StartsAt | tz \"America/New_York\").Format \"2006-01-02T15:04:05Z07:00\" }}",
        expect![[r#"
            2026-11-20T03:00:00-05:00
            2026-11-20T03:00:00-05:00
        "#]],
    );
    check(
        "{{ since (index .Alerts 0).StartsAt }}",
        expect![[r#"
        30s
        10m30s
    "#]],
    );
    check(
        "{{ tz \"Mars\" (index .Alerts 0).StartsAt }}",
        expect![[r#"
        template: :1:3: executing "" at <tz "Mars" (index .Alerts 0).StartsAt>: error calling tz: there is no time zone "Mars"
        template: :1:3: executing "" at <tz "Mars" (index .Alerts 0).StartsAt>: error calling tz: there is no time zone "Mars"
    "#]],
    );
    check(
        "{{ join \",\" \"x\" }}",
        expect![[r#"
        template: :1:3: executing "" at <join "," "x">: error calling join: wrong type for value; expected []string; got string
        template: :1:3: executing "" at <join "," "x">: error calling join: wrong type for value; expected []string; got string
    "#]],
    );
    check(
        "{{ query \"up\" }}",
        expect![[r#"
        1:4: template: :1: function "query" not defined
    "#]],
    );
}

#[test]
fn templates_call_those_of_other_files() {
    let mut library = Library::default();
    library
        .add("one.tmpl", "{{ define \"a\" }}one{{ template \"b\" . }}{{ end }}{{ define \"b\" }}?{{ end }}")
        .unwrap();
    library
        .add("two.tmpl", "{{ define \"b\" }}-two-{{ .Status }}{{ end }}\n{{ define \"c\" }}{{ .No }}{{ end }}")
        .unwrap();
    check_with(
        &library,
        "{{ template \"a\" . }}",
        expect![[r#"
        one-two-firing
        one-two-firing
    "#]],
    );
    check_with(
        &library,
        "{{ define \"b\" }}!{{ end }}{{ template \"a\" . }}",
        expect![[r#"
        one!
        one!
    "#]],
    );
    check_with(
        &library,
        "{{ template \"c\" . }}",
        expect![[r#"
        template: two.tmpl:2:19: executing "c" at <.No>: can't evaluate field No in type *template.Data
        template: two.tmpl:2:19: executing "c" at <.No>: can't evaluate field No in type *template.Data
    "#]],
    );
    check_with(
        &library,
        "{{ template \"d\" . }}",
        expect![[r#"
        template: :1:12: executing "" at <{{template "d" .}}>: template "d" not defined
        template: :1:12: executing "" at <{{template "d" .}}>: template "d" not defined
    "#]],
    );
    check_with(
        &library,
        "{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}",
        expect![[r#"
        template: :1:28: executing "r" at <{{template "r" .}}>: exceeded maximum template depth (100)
        template: :1:28: executing "r" at <{{template "r" .}}>: exceeded maximum template depth (100)
    "#]],
    );
    let error = library.add("three.tmpl", "{{ define \"x\" }}\n  {{ if }}{{ end }}").unwrap_err();
    expect!["2:9: template: three.tmpl:2: missing value for if"].assert_eq(&error.to_string());
}

#[test]
fn templates_in_settings_are_checked_and_secrets_not_told() {
    let config = Config::read(
        "route: {receiver: a}\nreceivers:\n- name: a\n  \
         pagerduty_configs: [{routing_key: '{{ hidden }}', description: '{{ shout }}', details: {x: '{{'}}]\n",
    );
    let problems = check_settings(&config.unwrap());
    expect![[r#"
        4:24: receiver "a": routing_key: this is no template
        4:53: receiver "a": description: template: description:1: function "shout" not defined
        4:81: receiver "a": details: template: details:1: unclosed action
    "#]]
    .assert_eq(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>());
}

#[test]
fn settings_that_say_nothing_have_texts_of_their_own() {
    let config = Config::read(
        "global: {smtp_smarthost: 'mail:25', smtp_from: me@x}\n\
         route: {receiver: all, group_by: [alertname, cluster]}\n\
         receivers:\n- name: all\n  \
         email_configs: [{to: you@x}]\n  \
         msteams_configs: [{webhook_url: 'https://x'}]\n  \
         msteamsv2_configs: [{webhook_url: 'https://x'}]\n  \
         opsgenie_configs: [{api_key: k}]\n  \
         pagerduty_configs: [{routing_key: k}]\n  \
         slack_configs: [{api_url: 'https://x'}]\n  \
         telegram_configs: [{bot_token: t, chat_id: 1}]\n",
    )
    .unwrap();
    let library = Library::default();
    let mut told = String::new();
    for (at, message) in Timeline::read(TIMELINE).unwrap().run(&config).unwrap() {
        let settings = &config.receivers["all"].integration(message.integration).unwrap().settings;
        told.push_str(&format!("{} {}\n", message.integration.kind.name(), message.why.as_str()));
        for (name, text) in library.expand_settings(settings, (&message, &Default::default()), "http://me", at) {
            let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(name != "html" || text.contains("summary = disk &lt;full&gt;<br>"), "{text}");
            // The second message shows what the first has not.
            if message.why.as_str() != "new" || text.lines().count() < 2 {
                told.push_str(&format!("  {name}: {}\n", text.trim().replace('\n', "|")));
            }
        }
    }
    expect![[r#"
        email new
          to: you@x
        msteams new
          summary: [FIRING:2] DiskFull eu
          title: [FIRING:2] DiskFull eu
        msteamsv2 new
          title: [FIRING:2] DiskFull eu
        opsgenie new
          message: [FIRING:2] DiskFull eu
          source: http://me/#/alerts?receiver=all
        pagerduty new
          client: Bellwether
          client_url: http://me/#/alerts?receiver=all
          description: [FIRING:2] DiskFull eu
          details.num_firing: 2
          details.num_resolved: 0
        slack new
          color: danger
          fallback: [FIRING:2] DiskFull eu  | http://me/#/alerts?receiver=all
          title: [FIRING:2] DiskFull eu
          title_link: http://me/#/alerts?receiver=all
          username: Bellwether
        telegram new
        msteams resolved
          summary: [FIRING:1] DiskFull eu
          text: # Alerts Firing:||Labels:|  - alertname = DiskFull|  - cluster = eu|  - host = a||Annotations:|  - summary = disk <full>||Source: |# Alerts Resolved:||Labels:|  - alertname = DiskFull|  - cluster = eu|  - host = b||Annotations:|  - summary = disk <full>||Source:
          title: [FIRING:1] DiskFull eu
        msteamsv2 resolved
          text: # Alerts Firing:||Labels:|  - alertname = DiskFull|  - cluster = eu|  - host = a||Annotations:|  - summary = disk <full>||Source: |# Alerts Resolved:||Labels:|  - alertname = DiskFull|  - cluster = eu|  - host = b||Annotations:|  - summary = disk <full>||Source:
          title: [FIRING:1] DiskFull eu
        opsgenie resolved
          description: disk <full>|Alerts Firing:|Labels:| - alertname = DiskFull| - cluster = eu| - host = a|Annotations:| - summary = disk <full>|Source: |Alerts Resolved:|Labels:| - alertname = DiskFull| - cluster = eu| - host = b|Annotations:| - summary = disk <full>|Source:
          message: [FIRING:1] DiskFull eu
          source: http://me/#/alerts?receiver=all
        pagerduty resolved
          client: Bellwether
          client_url: http://me/#/alerts?receiver=all
          description: [FIRING:1] DiskFull eu
          details.firing: Labels:| - alertname = DiskFull| - cluster = eu| - host = a|Annotations:| - summary = disk <full>|Source:
          details.num_firing: 1
          details.num_resolved: 1
          details.resolved: Labels:| - alertname = DiskFull| - cluster = eu| - host = b|Annotations:| - summary = disk <full>|Source:
        telegram resolved
          message: Alerts Firing:|Labels:| - alertname = DiskFull| - cluster = eu| - host = a|Annotations:| - summary = disk &lt;full&gt;|Source: |Alerts Resolved:|Labels:| - alertname = DiskFull| - cluster = eu| - host = b|Annotations:| - summary = disk &lt;full&gt;|Source:
    "#]]
    .assert_eq(&told);
}

#[test]
fn values_are_escaped_where_a_text_is_html() {
    let config = Config::read(CONFIG).unwrap();
    let messages = Timeline::read(TIMELINE).unwrap().run(&config).unwrap();
    let (at, message) = &messages[0];
    let mut library = Library::default();
    library.add("own.tmpl", r#"{{ define "own" }}<i>{{ .CommonAnnotations.summary }}</i>{{ end }}"#).unwrap();
    let expansion = library.over((message, &Extras::default()), "http://me", *at);
    for (text, html) in [
        ("<b>{{ .CommonAnnotations.summary }}</b>", "<b>disk &lt;full&gt;</b>"),
        ("{{ .CommonAnnotations.summary | safeHtml }}", "disk <full>"),
        ("{{ html .CommonAnnotations.summary }}", "disk &lt;full&gt;"),
        ("{{ template \"own\" . }}", "<i>disk &lt;full&gt;</i>"),
        ("{{ $x := .CommonAnnotations.summary }}{{ $x }}{{ with \"<\" }}{{ . }}{{ end }}", "disk &lt;full&gt;&lt;"),
    ] {
        assert_eq!(expansion.expand("x", text, TextKind::Html).unwrap(), html);
        assert!(!expansion.expand("x", text, TextKind::Plain).unwrap().contains("&lt;") || text.contains("html "));
    }
}

#[test]
fn an_alert_is_known_by_where_it_comes_from_and_by_a_number() {
    let config = Config::read(CONFIG).unwrap();
    let mut message = Timeline::read(TIMELINE).unwrap().run(&config).unwrap()[0].1.clone();
    let library = Library::default();
    let text = Text::parse("{{ range .Alerts }}{{ .GeneratorURL }} {{ .Fingerprint }}\n{{ end }}").unwrap();
    message.firing[0].generator_url = "/graph?x".into();
    message.firing[1].generator_url = "http://prometheus/graph".into();
    let expanded = library.expand(&text, (&message, &Extras::default()), "http://me/", 0).unwrap();
    // The numbers are Alertmanager's of the same alerts.
    assert_eq!(expanded, "http://me/graph?x 108844e9302a38f5\nhttp://prometheus/graph 109244e930328d7a\n");
}

#[test]
fn a_message_of_many_says_how_many_and_which_are_the_worst() {
    let config = "route: {receiver: r, summary: {of: host, noun: hosts, worst: 2}}\n\
                  receivers: [{name: r, opsgenie_configs: [{api_key: k}], email_configs: [{to: a@b, from: c@d, smarthost: 'm:25'}]}]\n";
    let config = Config::read(config).unwrap();
    let timeline = "begin: 2026-11-20T08:00:00Z\nuntil: 1m\nevents:\n\
                    - {at: 0s, firing: {alertname: DiskFull, host: a, disk: x}, annotations: {value: '91.5'}}\n\
                    - {at: 0s, firing: {alertname: DiskFull, host: a, disk: y}, annotations: {value: '93'}}\n\
                    - {at: 0s, firing: {alertname: DiskFull, host: b}, annotations: {value: '99'}}\n\
                    - {at: 0s, firing: {alertname: DiskFull, host: c}}\n";
    let (at, message) = Timeline::read(timeline).unwrap().run(&config).unwrap().remove(0);
    let summary = config.routes.get(0).summary.as_ref().unwrap();
    let summed = |total| summary.of(&message, total, &|labels| (labels.get("host") == Some("c")).then_some(95.0));
    assert_eq!(summed(Some(120.0)).text, "3 of 120 hosts affected");
    assert_eq!(summed(Some(2.0)).text, "3 hosts affected", "fewer than are affected cannot be all");
    let extras = Extras { summary: Some(summed(Some(120.0))), ..Extras::default() };
    let mut told = String::new();
    for integration in &config.receivers["r"].integrations {
        for (name, text) in
            Library::default().expand_settings(&integration.settings, (&message, &extras), "http://me", at)
        {
            let text = text.unwrap();
            if ["subject", "message", "description", "html"].contains(&name.as_str()) {
                told.push_str(&format!("{name}: {}\n", text.chars().take(400).collect::<String>()));
            }
        }
    }
    expect![[r#"
        html: <!DOCTYPE html>
        <html>
        <head><meta charset="utf-8"><title>Alerts</title></head>
        <body style="font-family: sans-serif">
        <h2>4 alerts for </h2>
        <p><a href="http://me/#/alerts?receiver=r">View in Bellwether</a></p>
        <p><b>3 of 120 hosts affected</b></p>
        <ul><li>b: 99</li><li>c: 95</li><li>and 1 more</li></ul>
        <h3>[4] Firing</h3>
        <p><b>Labels</b><br>
        alertname = DiskFull<br>
        disk = x<br>
        host = a<br>
        <
        description: 
        3 of 120 hosts affected
         - b: 99
         - c: 95
         - and 1 more
        Alerts Firing:
        Labels:
         - alertname = DiskFull
         - disk = x
         - host = a
        Annotations:
         - value = 91.5
        Source: 
        Labels:
         - alertname = DiskFull
         - disk = y
         - host = a
        Annotations:
         - value = 93
        Source: 
        Labels:
         - alertname = DiskFull
         - host = b
        Annotations:
         - value = 99
        Source: 
        Labels:
         - alertname = DiskFull
         - host = c
        Annotations:
        Sourc
        message: [FIRING:4]  (DiskFull) 3 of 120 hosts affected
    "#]]
    .assert_eq(&told);
    // By its own: the values of annotations.
    let text = Text::parse(
        "{{ .Summary.Text }}, {{ range .Summary.Worst }}{{ .Name }}={{ .Value }} {{ end }}{{ .Summary.Others }}",
    )
    .unwrap();
    let expanded = Library::default().expand(&text, (&message, &Extras::of(&config, &message)), "http://me", at);
    assert_eq!(expanded.unwrap(), "3 hosts affected, b=99 a=93 1");
}
