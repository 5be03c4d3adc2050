//! The real `bwctl notify`, on the files in `tests/notify`: what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};

#[track_caller]
fn check(arguments: &[&str], expected: Expect) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bwctl"));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notify");
    command.arg("notify").args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    expected.assert_eq(&format!("{}{}-> {code}\n", text(output.stdout), text(output.stderr)));
}

#[test]
fn a_file_that_is_right_is_summed_up() {
    check(
        &["check", "alertmanager.yml"],
        expect![[r#"
        Checking alertmanager.yml
          WARNING: alertmanager.yml:23:3: no route leads to receiver "unused"
          WARNING: alertmanager.yml:33:33: templates: no file matches "more/*.tmpl"
          SUCCESS: 4 receivers, 4 routes, 1 inhibition rule, 2 time intervals, 1 template file

        RECEIVER  ROUTES  TOLD BY
        chat           1  slack
        db             2  webhook
        pager          1  pagerduty
        unused         0  -

        -> 0
    "#]],
    );
    check(
        &["--json", "check", "alertmanager.yml"],
        expect![[r#"
            [
              {
                "file": "alertmanager.yml",
                "inhibit_rules": 1,
                "receivers": [
                  {
                    "integrations": [
                      "slack"
                    ],
                    "name": "chat",
                    "routes": 1
                  },
                  {
                    "integrations": [
                      "webhook"
                    ],
                    "name": "db",
                    "routes": 2
                  },
                  {
                    "integrations": [
                      "pagerduty"
                    ],
                    "name": "pager",
                    "routes": 1
                  },
                  {
                    "integrations": [],
                    "name": "unused",
                    "routes": 0
                  }
                ],
                "routes": 4,
                "templates": [
                  "templates/ops.tmpl"
                ],
                "time_intervals": [
                  "office",
                  "weekends"
                ],
                "warnings": [
                  "alertmanager.yml:23:3: no route leads to receiver \"unused\"",
                  "alertmanager.yml:33:33: templates: no file matches \"more/*.tmpl\""
                ]
              }
            ]
            -> 0
        "#]],
    );
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    check(
        &["check", "wrong.yml", "alertmanager.yml", "none.yml"],
        expect![[r#"
        Checking wrong.yml
          FAILED:
        wrong.yml:2:20: resolve_timeout: not a valid duration string: "5"
        wrong.yml:4:13: there is no receiver "chat"
        wrong.yml:5:25: group_by has "alertname" twice
        wrong.yml:7:22: matchers: these quotes have no end
        wrong.yml:8:5: unknown field "reciever" in a route; do you mean receiver?
        wrong.yml:12:5: receiver "chats": slack_configs needs api_url or api_url_file, or slack_api_url or slack_api_url_file in global

        Checking alertmanager.yml
          WARNING: alertmanager.yml:23:3: no route leads to receiver "unused"
          WARNING: alertmanager.yml:33:33: templates: no file matches "more/*.tmpl"
          SUCCESS: 4 receivers, 4 routes, 1 inhibition rule, 2 time intervals, 1 template file

        RECEIVER  ROUTES  TOLD BY
        chat           1  slack
        db             2  webhook
        pager          1  pagerduty
        unused         0  -

        Checking none.yml
          FAILED:
        none.yml:1:1: No such file or directory (os error 2)

        -> 1
    "#]],
    );
    check(
        &["--json", "check", "wrong.yml"],
        expect![[r#"
            [
              {
                "errors": [
                  "wrong.yml:2:20: resolve_timeout: not a valid duration string: \"5\"",
                  "wrong.yml:4:13: there is no receiver \"chat\"",
                  "wrong.yml:5:25: group_by has \"alertname\" twice",
                  "wrong.yml:7:22: matchers: these quotes have no end",
                  "wrong.yml:8:5: unknown field \"reciever\" in a route; do you mean receiver?",
                  "wrong.yml:12:5: receiver \"chats\": slack_configs needs api_url or api_url_file, or slack_api_url or slack_api_url_file in global"
                ],
                "file": "wrong.yml"
              }
            ]
            -> 1
        "#]],
    );
    check(
        &["route", "wrong.yml", "a=b"],
        expect![[r#"
        bwctl: wrong.yml:2:20: resolve_timeout: not a valid duration string: "5"
               wrong.yml:4:13: there is no receiver "chat"
               wrong.yml:5:25: group_by has "alertname" twice
               wrong.yml:7:22: matchers: these quotes have no end
               wrong.yml:8:5: unknown field "reciever" in a route; do you mean receiver?
               wrong.yml:12:5: receiver "chats": slack_configs needs api_url or api_url_file, or slack_api_url or slack_api_url_file in global
        -> 1
    "#]],
    );
}

#[test]
fn the_tree_of_routes_is_drawn() {
    check(
        &["route", "alertmanager.yml", "--tree"],
        expect![[r#"
        ROUTE                      RECEIVER  GROUPED BY            WAIT  INTERVAL  REPEAT  NOTES
        (all alerts)               chat      [alertname, cluster]   30s        5m      4h
        ├── {severity="critical"}  pager     [alertname, cluster]   30s        5m      4h  continues
        └── {team="db"}            db        [...]                  30s        5m      1d  muted within weekends
            └── {env=~"dev|test"}  db        [...]                  30s        5m      1d  muted outside office
        -> 0
    "#]],
    );
    check(
        &["route", "alertmanager.yml", "--tree", "team=db", "env=dev"],
        expect![[r#"
        ROUTE                      RECEIVER  GROUPED BY            WAIT  INTERVAL  REPEAT  NOTES
        (all alerts)               chat      [alertname, cluster]   30s        5m      4h
        ├── {severity="critical"}  pager     [alertname, cluster]   30s        5m      4h  continues
        └── {team="db"}            db        [...]                  30s        5m      1d  muted within weekends
            └── {env=~"dev|test"}  db        [...]                  30s        5m      1d  the alert ends here; muted outside office
        -> 0
    "#]],
    );
}

#[test]
fn an_alert_goes_where_the_routes_lead() {
    let alert = ["alertname=X", "severity=critical", "team=db", "cluster=eu"];
    let on = |more: &[&'static str]| [&["route", "alertmanager.yml"], &alert[..], more].concat();
    check(
        &on(&["--at", "2026-11-20T12:00:00Z"]),
        expect![[r#"
        RECEIVER  GROUP                                                                         WAIT  INTERVAL  REPEAT  TOLD
        pager     {}/{severity="critical"}:{alertname="X", cluster="eu"}                         30s        5m      4h  yes
        db        {}/{team="db"}:{alertname="X", cluster="eu", severity="critical", team="db"}   30s        5m      1d  yes
        -> 0
    "#]],
    );
    check(
        &on(&["--at", "2026-11-21T12:00:00Z"]),
        expect![[r#"
        RECEIVER  GROUP                                                                         WAIT  INTERVAL  REPEAT  TOLD
        pager     {}/{severity="critical"}:{alertname="X", cluster="eu"}                         30s        5m      4h  yes
        db        {}/{team="db"}:{alertname="X", cluster="eu", severity="critical", team="db"}   30s        5m      1d  no: muted within "weekends"
        -> 0
    "#]],
    );
    check(
        &on(&["--at", "2026-11-20", "--firing", "alertname=ClusterDown,cluster=eu"]),
        expect![[r#"
        RECEIVER  GROUP                                                                         WAIT  INTERVAL  REPEAT  TOLD
        pager     {}/{severity="critical"}:{alertname="X", cluster="eu"}                         30s        5m      4h  no: inhibited by {alertname="ClusterDown", cluster="eu"} (inhibition rule 1)
        db        {}/{team="db"}:{alertname="X", cluster="eu", severity="critical", team="db"}   30s        5m      1d  no: inhibited by {alertname="ClusterDown", cluster="eu"} (inhibition rule 1)
        -> 0
    "#]],
    );
    check(
        &["--json", "route", "alertmanager.yml", "team=db", "env=dev", "--at", "2026-11-20T20:00:00Z"],
        expect![[r#"
        [
          {
            "groupIntervalMs": 300000,
            "groupKey": "{}/{team=\"db\"}/{env=~\"dev|test\"}:{env=\"dev\", team=\"db\"}",
            "groupLabels": {
              "env": "dev",
              "team": "db"
            },
            "groupWaitMs": 30000,
            "quietBecause": "muted outside \"office\"",
            "receiver": "db",
            "repeatIntervalMs": 86400000,
            "told": false
          }
        ]
        -> 0
    "#]],
    );
}

#[test]
fn where_it_goes_can_be_demanded() {
    let on = |expected| ["route", "alertmanager.yml", "severity=critical", "--at", "0", "--expect", expected];
    check(
        &on("pager"),
        expect![[r#"
        RECEIVER  GROUP                        WAIT  INTERVAL  REPEAT  TOLD
        pager     {}/{severity="critical"}:{}   30s        5m      4h  yes
        -> 0
    "#]],
    );
    check(
        &on("db"),
        expect![[r#"
        RECEIVER  GROUP                        WAIT  INTERVAL  REPEAT  TOLD
        pager     {}/{severity="critical"}:{}   30s        5m      4h  yes
        bwctl: expected db, the alert goes to pager
        -> 1
    "#]],
    );
    check(
        &["route", "alertmanager.yml", "a!=b"],
        expect![[r#"
        bwctl: "a!=b" is no label: write name=value
        -> 2
    "#]],
    );
}

#[test]
fn a_timeline_says_who_would_be_told_what_and_when() {
    check(
        &["simulate", "alertmanager.yml", "timeline.yml"],
        expect![[r#"
        TIME                      RECEIVER  BY         WHY       FIRING  RESOLVED  GROUP
        2026-11-20T08:00:30.000Z  pager     pagerduty  new            1         0  {alertname="DiskFull", cluster="eu"}
        2026-11-20T08:05:30.000Z  pager     pagerduty  changed        2         0  {alertname="DiskFull", cluster="eu"}
        2026-11-20T08:07:30.000Z  chat      slack      new            1         0  {alertname="ClusterDown", cluster="eu"}
        2026-11-20T10:00:30.000Z  pager     pagerduty  resolved       0         2  {alertname="DiskFull", cluster="eu"}
        -> 0
    "#]],
    );
    check(
        &["simulate", "alertmanager.yml", "wrong.yml"],
        expect![[r#"
        bwctl: wrong.yml:1:1: unknown field "global" in the timeline
               wrong.yml:1:1: the timeline needs begin, a time such as 2026-11-20T08:00:00Z
               wrong.yml:3:1: unknown field "route" in the timeline
               wrong.yml:9:1: unknown field "receivers" in the timeline
        -> 1
    "#]],
    );
}

#[test]
fn templates_are_checked_and_expanded() {
    check(
        &["check", "wrong-templates.yml"],
        expect![[r#"
            Checking wrong-templates.yml
              FAILED:
            wrong-templates.yml:6:5: receiver "chat": title: template: title:1: function "shout" not defined
            wrong-templates.yml:7:25: receiver "chat": value: template: value:1: missing value for if
            wrong-templates.yml:9:5: receiver "chat": routing_key: this is no template
            wrong/broken.tmpl:3:1: template: broken.tmpl:3: unexpected "{" in operand
            wrong-templates.yml:10:29: templates: Pattern syntax error near position 0: invalid range pattern

            -> 1
        "#]],
    );
    let text = "{{ template \"ops.title\" . }}: {{ template \"ops.hosts\" . }}";
    check(
        &["render", "alertmanager.yml", "timeline.yml", text],
        expect![[r#"
        2026-11-20T08:00:30.000Z pager (pagerduty): [FIRING] DiskFull (1 of 1): a since 09:00 CET
        2026-11-20T08:05:30.000Z pager (pagerduty): [FIRING] DiskFull (2 of 2): a since 09:00 CET, b since 09:02 CET
        2026-11-20T08:07:30.000Z chat (slack): [FIRING] ClusterDown (1 of 1):  since 09:07 CET
        2026-11-20T10:00:30.000Z pager (pagerduty): [RESOLVED] DiskFull (0 of 2): a since 09:00 CET, b since 09:02 CET
        -> 0
    "#]],
    );
    check(
        &["render", "alertmanager.yml", "timeline.yml", "{{ template \"none\" . }}"],
        expect![[r#"
        2026-11-20T08:00:30.000Z pager (pagerduty): template: :1:12: executing "" at <{{template "none" .}}>: template "none" not defined
        2026-11-20T08:05:30.000Z pager (pagerduty): template: :1:12: executing "" at <{{template "none" .}}>: template "none" not defined
        2026-11-20T08:07:30.000Z chat (slack): template: :1:12: executing "" at <{{template "none" .}}>: template "none" not defined
        2026-11-20T10:00:30.000Z pager (pagerduty): template: :1:12: executing "" at <{{template "none" .}}>: template "none" not defined
        -> 1
    "#]],
    );
    check(
        &["render", "alertmanager.yml", "timeline.yml"],
        expect![[r#"
        2026-11-20T08:00:30.000Z pager (pagerduty):
          client: Bellwether
          client_url: http://localhost:9480/#/alerts?receiver=pager
          description: [FIRING:1] DiskFull eu (a critical)
          details.firing: Labels:
             - alertname = DiskFull
             - cluster = eu
             - host = a
             - severity = critical
            Annotations:
            Source:
          details.num_firing: 1
          details.num_resolved: 0
        2026-11-20T08:05:30.000Z pager (pagerduty):
          client: Bellwether
          client_url: http://localhost:9480/#/alerts?receiver=pager
          description: [FIRING:2] DiskFull eu (critical)
          details.firing: Labels:
             - alertname = DiskFull
             - cluster = eu
             - host = a
             - severity = critical
            Annotations:
            Source: 
            Labels:
             - alertname = DiskFull
             - cluster = eu
             - host = b
             - severity = critical
            Annotations:
            Source:
          details.num_firing: 2
          details.num_resolved: 0
        2026-11-20T08:07:30.000Z chat (slack):
          channel: #ops
          color: danger
          fallback: [FIRING:1] ClusterDown eu  | http://localhost:9480/#/alerts?receiver=chat
          title: [FIRING:1] ClusterDown eu
          title_link: http://localhost:9480/#/alerts?receiver=chat
          username: Bellwether
        2026-11-20T10:00:30.000Z pager (pagerduty):
          client: Bellwether
          client_url: http://localhost:9480/#/alerts?receiver=pager
          description: [RESOLVED] DiskFull eu (critical)
          details.num_firing: 0
          details.num_resolved: 2
          details.resolved: Labels:
             - alertname = DiskFull
             - cluster = eu
             - host = a
             - severity = critical
            Annotations:
            Source: 
            Labels:
             - alertname = DiskFull
             - cluster = eu
             - host = b
             - severity = critical
            Annotations:
            Source:
        -> 0
    "#]],
    );
    check(
        &["render", "alertmanager.yml", "timeline.yml", "{{"],
        expect![[r#"
        bwctl: 1:3: template: :1: unclosed action
        -> 2
    "#]],
    );
    check(
        &["render", "wrong-templates.yml", "timeline.yml", "x"],
        expect![[r#"
            bwctl: wrong/broken.tmpl:3:1: template: broken.tmpl:3: unexpected "{" in operand
                   wrong-templates.yml:10:29: templates: Pattern syntax error near position 0: invalid range pattern
            -> 1
        "#]],
    );
}
