//! Alertmanager's configuration: what is read, and what is told of what is wrong.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use bellwether_alert::notify::Config;
use bellwether_alert::notify::route::PrintedLabels;
use bellwether_model::{Labels, LabelsBuilder};
use expect_test::{Expect, expect};

const RECEIVERS: &str = "receivers: [{name: a}, {name: b}, {name: c}, {name: d}]\n";

fn read(text: &str) -> Config {
    match Config::read(text) {
        Ok(config) => config,
        Err(problems) => panic!("{text}\n{problems:#?}"),
    }
}

/// All problems of a file.
fn check(text: &str, problems: Expect) {
    let told = match Config::read(text) {
        Ok(config) => config.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect::<String>(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    };
    problems.assert_eq(&told);
}

/// Problems below a receiver, in a file that is right otherwise.
fn check_receiver(receiver: &str, problems: Expect) {
    check(&format!("route: {{receiver: a}}\nreceivers:\n- name: a\n{receiver}"), problems);
}

fn labels(pairs: &str) -> Labels {
    let mut labels = LabelsBuilder::default();
    for pair in pairs.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        labels.push(name, value);
    }
    labels.build().unwrap()
}

/// Where an alert goes: the receivers with the keys of its groups.
fn check_route(route: &str, alert: &str, taken: Expect) {
    let config = read(&format!("{route}{RECEIVERS}"));
    let alert = labels(alert);
    let mut told = String::new();
    for at in config.routes.take(&alert) {
        let group = config.routes.group_labels(at, &alert);
        let key = config.routes.group_key(at, &group);
        told.push_str(&format!("{} {key}\n", config.routes.get(at).receiver));
    }
    taken.assert_eq(&told);
}

#[test]
fn the_smallest_configuration_is_a_route_and_its_receiver() {
    check("route: {receiver: a}\nreceivers: [{name: a}]\n", expect![""]);
    check(
        "",
        expect![[r#"
        1:1: the file has no route
    "#]],
    );
    check(
        "receivers: [{name: a}]\n",
        expect![[r#"
        1:1: the configuration needs a route
    "#]],
    );
}

#[test]
fn problems_are_told_together_in_the_order_of_the_file() {
    check(
        "globl: {}\n\
         global: {resolve_timeout: 5, smtp_require_tls: maybe}\n\
         route:\n  \
           receiver: b\n  \
           group_by: [x, x]\n  \
           continue: true\n  \
           mute_time_intervals: [never]\n  \
           routes:\n  \
           - matchers: ['a=b', 'x=~(']\n    \
             group_interval: 0s\n    \
             recever: a\n  \
           - match_re: {x: , 1a: b}\n    \
             active_time_intervals: [nights]\n\
         receivers: [{name: a}, {name: a}, {}]\n",
        expect![[r#"
            1:1: unknown field "globl" in the configuration; do you mean global?
            2:27: resolve_timeout: not a valid duration string: "5"
            2:48: smtp_require_tls must be true or false
            4:13: there is no receiver "b"
            5:17: group_by has "x" twice
            6:3: the topmost route takes every alert, so it has no continue
            7:25: mute_time_intervals: there is no time interval "never"
            9:27: matchers: "(" is no regular expression: unclosed group
            10:21: group_interval cannot be zero
            11:5: unknown field "recever" in a route; do you mean receiver?
            12:16: match_re: "x" has no regular expression
            12:21: match_re: "1a" is no label name; use matchers
            13:29: active_time_intervals: there is no time interval "nights"
            14:31: there is a receiver "a" already, at 14:13
            14:35: a receiver needs a name
        "#]],
    );
}

#[test]
fn an_alert_goes_to_the_deepest_routes_that_match() {
    let route = "route:\n  receiver: a\n  group_by: [alertname]\n  routes:\n  \
                 - matchers: [team=db]\n    receiver: b\n    routes:\n    \
                   - match: {severity: critical}\n      receiver: c\n      group_by: ['...']\n  \
                 - match_re: {severity: warning|critical}\n    receiver: d\n    continue: true\n  \
                 - matchers: ['severity=~\".+\"', team!=\"\"]\n";
    check_route(
        route,
        "alertname=x",
        expect![[r#"
        a {}:{alertname="x"}
    "#]],
    );
    check_route(
        route,
        "alertname=x team=db",
        expect![[r#"
        b {}/{team="db"}:{alertname="x"}
    "#]],
    );
    check_route(
        route,
        "alertname=x team=db severity=critical",
        expect![[r#"
        c {}/{team="db"}/{severity="critical"}:{alertname="x", severity="critical", team="db"}
    "#]],
    );
    check_route(
        route,
        "team=web severity=warning",
        expect![[r#"
        d {}/{severity=~"warning|critical"}:{}
        a {}/{severity=~".+",team!=""}:{}
    "#]],
    );
    check_route(
        route,
        "severity=warning",
        expect![[r#"
        d {}/{severity=~"warning|critical"}:{}
    "#]],
    );
}

#[test]
fn what_a_route_does_not_say_it_has_from_the_one_above() {
    let config = read(&format!(
        "route:\n  receiver: a\n  group_by: [x]\n  group_wait: 1s\n  repeat_interval: 1h\n  routes:\n  \
         - group_by: []\n    group_interval: 2m\n    mute_time_intervals: [t]\n    routes:\n    \
           - group_by: ['...']\n      routes:\n      - {{group_by: [y], receiver: b}}\n{RECEIVERS}\
         time_intervals: [{{name: t, time_intervals: [{{weekdays: [sunday]}}]}}]\n"
    ));
    let told: String = config
        .routes
        .iter()
        .map(|(_, route)| {
            format!(
                "{} {} {} {} {} {:?}\n",
                route.receiver,
                route.group_by,
                route.group_wait_ms,
                route.group_interval_ms,
                route.repeat_interval_ms,
                route.mute
            )
        })
        .collect();
    expect![[r#"
        a [x] 1000 300000 3600000 []
        a [x] 1000 120000 3600000 ["t"]
        a [...] 1000 120000 3600000 []
        b [y] 1000 120000 3600000 []
    "#]]
    .assert_eq(&told);
}

#[test]
fn receivers_take_what_they_lack_from_global() {
    let config = read(
        "global:\n  smtp_smarthost: mail:25\n  smtp_from: me@x\n  smtp_auth_password: hidden\n  \
         slack_api_url: https://hooks.slack.com/hidden\n  http_config: {proxy_url: 'http://p'}\n\
         route: {receiver: a}\n\
         receivers:\n- name: a\n  email_configs: [{to: you@x, headers: {Subject: '{{ .Status }}'}}]\n  \
         slack_configs: [{channel: '#c', http_config: {follow_redirects: no}}]\n  \
         pagerduty_configs: [{routing_key: hidden, details: {firing: x}}]\n",
    );
    let integrations = &config.receivers["a"].integrations;
    let email = &integrations[0].settings;
    assert_eq!(email.text("from"), Some("me@x"));
    assert!(email.flag("require_tls"));
    assert!(!email.flag("send_resolved"));
    assert_eq!(email.templates().iter().map(|written| written.text).collect::<Vec<_>>(), ["{{ .Status }}", "you@x"]);
    let pagerduty = &integrations[1].settings;
    assert_eq!(pagerduty.text("url"), Some("https://events.pagerduty.com/v2/enqueue"));
    assert_eq!(pagerduty.one("http_config").unwrap().text("proxy_url"), Some("http://p"));
    let slack = &integrations[2].settings;
    let http = slack.one("http_config").unwrap();
    assert_eq!((http.flag("follow_redirects"), http.flag("enable_http2"), http.text("proxy_url")), (false, true, None));
    assert!(slack.text("title").unwrap().contains("slack.default.title"));

    let printed = format!("{config:?}");
    assert!(!printed.contains("hidden") && printed.contains("<secret>"));
}

#[test]
fn a_receiver_must_have_what_it_needs() {
    check_receiver(
        "  slack_configs: [{channel: x}]\n",
        expect![[r#"
        4:19: receiver "a": slack_configs needs api_url or api_url_file, or slack_api_url or slack_api_url_file in global
    "#]],
    );
    check_receiver(
        "  webhook_configs: [{}, {url: 'http://x', url_file: y}, {url: x}, {urls: 'http://x'}]\n",
        expect![[r#"
        4:21: receiver "a": webhook_configs needs url or url_file
        4:43: receiver "a": webhook_configs has both url and url_file, which exclude each other
        4:63: receiver "a": url: an address begins with http:// or https://
        4:67: receiver "a": webhook_configs needs url or url_file
        4:68: receiver "a": unknown field "urls" in webhook_configs; do you mean url?
    "#]],
    );
    check_receiver(
        "  email_configs: [{headers: {To: x, to: y}}]\n",
        expect![[r#"
        4:19: receiver "a": email_configs needs to
        4:19: receiver "a": email_configs: the header "to" is there twice; their names have no case
        4:19: receiver "a": email_configs needs smarthost, or smtp_smarthost in global
        4:19: receiver "a": email_configs needs from, or smtp_from in global
    "#]],
    );
    check_receiver(
        "  telegram_configs: [{bot_token: t, chat_id: x, parse_mode: html}]\n",
        expect![[r#"
        4:46: receiver "a": chat_id: it must be a whole number
        4:61: receiver "a": parse_mode: "html" is none of Markdown, MarkdownV2, HTML
    "#]],
    );
    check_receiver(
        "  opsgenie_configs: [{api_key: k, responders: [{type: team}, {name: x, type: squad}]}]\n",
        expect![[r#"
        4:48: receiver "a": responders needs id or name or username
        4:62: receiver "a": responders: the type "squad" is none of team, teams, user, escalation, schedule
    "#]],
    );
}

#[test]
fn how_receivers_are_reached_is_checked() {
    let webhook = |http: &str| format!("  webhook_configs: [{{url: 'http://x', http_config: {{{http}}}}}]\n");
    check_receiver(
        &webhook("basic_auth: {username: u, password: p, password_file: f}, bearer_token: t"),
        expect![[r#"
        4:53: receiver "a": http_config has both bearer_token and basic_auth, which exclude each other
        4:92: receiver "a": basic_auth has both password and password_file, which exclude each other
    "#]],
    );
    check_receiver(
        &webhook("tls_config: {cert: c, min_version: TLS13, max_version: TLS12}, no_proxy: x"),
        expect![[r#"
        4:52: receiver "a": http_config: no_proxy goes with proxy_url only
        4:65: receiver "a": tls_config: min_version is above max_version
        4:66: receiver "a": tls_config with cert needs key or key_file or key_ref
    "#]],
    );
    check_receiver(
        &webhook("oauth2: {client_id: x}, authorization: {type: Basic}"),
        expect![[r#"
        4:53: receiver "a": http_config has both authorization and oauth2, which exclude each other
        4:61: receiver "a": oauth2 needs token_url
        4:92: receiver "a": authorization: the type cannot be basic: write basic_auth instead of authorization
    "#]],
    );
}

#[test]
fn kinds_that_nothing_is_sent_by_are_named() {
    check_receiver(
        "  pushover_configs: [{user_key: u, token: t}]\n  sns_configs: [{topic_arn: t}]\n",
        expect![[r#"
        warning: 5:17: receiver "a": nothing is sent by sns
    "#]],
    );
}

#[test]
fn every_kind_is_accepted_with_what_it_needs() {
    let config = read(
        "global:\n  slack_api_url_file: s\n  smtp_smarthost: '[::1]:25'\n  smtp_from: x@x\n  wechat_api_secret: s\n  \
         wechat_api_corp_id: c\n  jira_api_url: https://j\n  rocketchat_token: t\n  rocketchat_token_id: i\n\
         route: {receiver: all}\n\
         receivers:\n- name: all\n  \
         discord_configs: [{webhook_url: 'https://d'}]\n  \
         email_configs: [{to: x@x, require_tls: off, tls_config: {insecure_skip_verify: true}}]\n  \
         incidentio_configs: [{url: 'https://i', alert_source_token: t}]\n  \
         jira_configs: [{project: p, issue_type: Bug, labels: [a], fields: {x: [1, {y: 2}]}, reopen_duration: 1d}]\n  \
         mattermost_configs: [{webhook_url: 'https://m'}]\n  \
         msteams_configs: [{webhook_url_file: m}]\n  \
         msteamsv2_configs: [{webhook_url: <secret>}]\n  \
         opsgenie_configs: [{api_key: k, responders: [{name: n, type: Team}, {id: i, type: '{{ .x }}'}]}]\n  \
         pagerduty_configs: [{service_key_file: f, images: [{src: s}], links: [{href: h}]}]\n  \
         pushover_configs: [{user_key: u, token: t, retry: 1m30s, ttl: 1.5h}]\n  \
         rocketchat_configs: [{channel: c, fields: [{title: t, short: yes}], actions: [{type: b, imageurl: i}]}]\n  \
         slack_configs: [{fields: [{title: t, value: v}], actions: [{type: button, text: t, url: u}]}]\n  \
         sns_configs: [{phone_number: '1', sigv4: {region: r}, attributes: {a: b}}]\n  \
         telegram_configs: [{bot_token: t, chat_id: -100, parse_mode: ''}]\n  \
         victorops_configs: [{api_key: k, routing_key: r, custom_fields: {x: y}}]\n  \
         webex_configs: [{room_id: r, http_config: {authorization: {credentials: c}}}]\n  \
         webhook_configs: [{url: 'http://{{ .x }}', max_alerts: 5, timeout: 10s}]\n  \
         wechat_configs: [{}]\n",
    );
    let integrations = &config.receivers["all"].integrations;
    let kinds: Vec<&str> = integrations.iter().map(|integration| integration.kind.name()).collect();
    assert_eq!(kinds.len(), 18, "{kinds:?}");
}

#[test]
fn intervals_are_read_under_both_names() {
    let config = read(
        "route: {receiver: a, routes: [{mute_time_intervals: [nights], active_time_intervals: [work]}]}\n\
         receivers: [{name: a}]\n\
         mute_time_intervals:\n\
         - {name: nights, time_intervals: [{times: [{start_time: 22:00, end_time: '24:00'}], location: Europe/Berlin}]}\n\
         time_intervals:\n\
         - name: work\n  time_intervals:\n  \
           - {weekdays: ['monday:friday'], months: ['january:november'], days_of_month: ['1:-2'], years: ['2026']}\n",
    );
    let muted = |now| config.routes.muted(1, &config.intervals, now).map(|muted| format!("{muted:?}"));
    // Friday 2026-11-20: noon, 22:30 in Berlin; Saturday noon.
    assert_eq!(muted(1_795_176_000_000), None);
    assert_eq!(muted(1_795_210_200_000).as_deref(), Some("Within(\"nights\")"));
    assert_eq!(muted(1_795_262_400_000).as_deref(), Some("Outside([\"work\"])"));
    check(
        "route: {receiver: a}\nreceivers: [{name: a}]\ntime_intervals:\n- name: x\n  time_intervals:\n  \
         - {times: [{start_time: 9:00}, {start_time: '10:00', end_time: '10:00'}], location: Local}\n  \
         - {weekdays: [someday], months: [may:april], days_of_month: [0], years: ['x']}\n- name: x\n",
        expect![[r#"
            6:14: times needs end_time
            6:27: start_time: "9:00" is no time of day; write it as 09:30, the end of the day as 24:00
            6:34: start_time must be before end_time
            6:87: location: the nodes' local time zone may differ; name one, such as Europe/Berlin
            7:17: weekdays: "someday" is no day of the week
            7:36: months: "may:april": the last is before the first
            7:64: days_of_month: "0" is no day of a month: they go from 1 to 31, or from -1, the last, to -31
            7:76: years: "x" is no year
            8:9: there is a time interval "x" already
        "#]],
    );
}

#[test]
fn inhibition_in_a_circle_is_refused() {
    check(
        "route: {receiver: a}\nreceivers: [{name: a}]\ninhibit_rules:\n\
         - source_matchers: [severity=critical]\n  target_matchers: [severity=warning]\n\
         - source_match: {severity: info}\n  target_match_re: {severity: a|b}\n  equal: [x]\n\
         - {source_matchers: [severity=~warning|info], target_matchers: [severity=critical]}\n",
        expect![[r#"
            4:3: this rule and the one at 9:3 inhibit each other's sources in a circle: such alerts silence themselves
        "#]],
    );
    check(
        "route: {receiver: a}\nreceivers: [{name: a}]\ninhibit_rules:\n- target_matchers: [x=y]\n  equal: ['', ü]\n",
        expect![[r#"
            5:11: equal: a label name cannot be empty
        "#]],
    );
}

#[test]
fn a_deep_or_wide_tree_is_bounded() {
    let deep = format!("route: {{receiver: a{}", ", routes: [{continue: true".repeat(100));
    let problems = Config::read(&format!("receivers: [{{name: a}}]\n{deep}")).unwrap_err();
    assert!(problems[0].message.contains("nested more than"), "{problems:?}");
    let wide = format!("route: {{receiver: a, routes: [{}]}}\n{RECEIVERS}", "{continue: true}, ".repeat(5000));
    let config = read(&wide);
    assert_eq!(config.routes.take(&labels("x=y")).len(), 5000);
    assert_eq!(PrintedLabels(&labels("x=y a=b")).to_string(), "{a=\"b\", x=\"y\"}");
}

#[test]
fn what_alertmanager_does_not_have_is_read_with_places_too() {
    check_receiver(
        "  throttle: {messages: 0}\n  sms_configs: [{to: '+1', url: 'http://x', account_sid: a}]\n  alertmanager_configs: [{}]\n",
        expect![[r#"
            4:13: receiver "a": throttle needs per
            4:24: receiver "a": messages: it must be at least 1
            5:28: receiver "a": sms_configs has both account_sid and url, which exclude each other
            5:45: receiver "a": sms_configs with account_sid needs auth_token or auth_token_file
            6:26: receiver "a": alertmanager_configs needs url
        "#]],
    );
    check_receiver(
        "  throttle: {messages: 5000, per: 1h}\n",
        expect![[r#"
        4:13: receiver "a": throttle: messages is 1000 at most
    "#]],
    );
    let route = |summary: &str| format!("route:\n  receiver: a\n  summary: {summary}\nreceivers: [{{name: a}}]\n");
    check(
        &route("{of: host, worst: 90}"),
        expect![[r#"
        3:12: summary: worst is 50 at most
    "#]],
    );
    check(
        &route("{total: 'sum(', order: up}"),
        expect![[r#"
        3:12: summary needs of
        3:12: summary: total: 1:5: parse error: unclosed left parenthesis
        3:35: order: "up" is none of highest, lowest
    "#]],
    );
    check(&route("{of: host, total: 'count(up{job=\"{{ .GroupLabels.job }}\"})'}"), expect![""]);
    let config = read(
        &route("{of: host, noun: hosts, total: 'count(up)', worst: 3, order: lowest}")
            .replace("receivers", "  routes: [{matchers: [a=b]}]\nreceivers"),
    );
    let summary = config.routes.get(1).summary.as_ref().unwrap();
    assert_eq!((summary.noun.as_str(), summary.worst, summary.lowest), ("hosts", 3, true));
}
