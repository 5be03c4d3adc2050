//! What `bwctl` does with the alerting of a cluster: rules, notifications, alerts, silences.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod support;

use bellwether_client::v1::{
    Alert, IntegrationStatus, Label, OnCall, Override, ReceiverStatus, RuleGroup, RuleStatus, Silence, Transition,
};
use expect_test::expect;
use support::command::{bwctl, check};
use support::{FakeNode, Script};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

#[tokio::test(flavor = "multi_thread")]
async fn rule_files_are_loaded_once_all_are_right() {
    let node = FakeNode::start(Script::default()).await;
    let good = format!("{DIRECTORY}/rules/good.rules.yml");
    let (code, text) = bwctl(&node.address, &format!("rules load {good} {DIRECTORY}/rules/broken.rules.yml"));
    assert!(code == 1 && text.contains("broken.rules.yml:"), "{text}");
    assert!(node.with(|script| script.asked.is_empty()));
    check(
        &node.address,
        &format!("rules load {good} --dry-run"),
        expect![[r#"
        NAMESPACE   GROUP             RULES  WHAT
        good.rules  broken_templates      1  new
        good.rules  nodes                 2  new
        good.rules  templates             1  new
        -> 0
    "#]],
    );
    assert!(node.with(|script| script.asked.is_empty()));
    check(
        &node.address,
        &format!("rules load {good} --namespace n --tenant t"),
        expect![[r#"
        NAMESPACE  GROUP             RULES  WHAT
        n          broken_templates      1  new
        n          nodes                 2  new
        n          templates             1  new
        -> 0
    "#]],
    );
    assert_eq!(node.with(|script| script.tenants.pop().unwrap().unwrap()), "t");
    let text = "name: old\nrules: []\n".to_owned();
    let old = RuleGroup { namespace: "n".to_owned(), name: "old".to_owned(), text, ..RuleGroup::default() };
    node.with(|script| {
        script.alerting.groups.push(old);
        script.asked.clear();
    });
    check(
        &node.address,
        &format!("--json rules load {good} --namespace n --prune"),
        expect![[r#"
        [
          {
            "group": "broken_templates",
            "namespace": "n",
            "rules": 1,
            "what": "unchanged"
          },
          {
            "group": "nodes",
            "namespace": "n",
            "rules": 2,
            "what": "unchanged"
          },
          {
            "group": "templates",
            "namespace": "n",
            "rules": 1,
            "what": "unchanged"
          },
          {
            "group": "old",
            "namespace": "n",
            "rules": 0,
            "what": "deleted"
          }
        ]
        -> 0
    "#]],
    );
    assert_eq!(node.with(|script| std::mem::take(&mut script.asked)), ["delete n/old"]);
    // The last group of a file was taken out of it.
    let empty = format!("{DIRECTORY}/rules/empty.rules.yml");
    let (code, text) = bwctl(&node.address, &format!("rules load {empty} --namespace n --prune"));
    assert!(code == 0 && text.contains("nodes"), "{text}");
    let deleted = node.with(|script| std::mem::take(&mut script.asked));
    assert_eq!(deleted, ["delete n/broken_templates", "delete n/nodes", "delete n/old", "delete n/templates"]);
    bwctl(&node.address, &format!("rules load {good} --namespace n"));
    // What is shown is a rule file that can be loaded again.
    let (code, text) = bwctl(&node.address, "rules show n");
    let first = text.lines().take(3).collect::<Vec<_>>().join("\n");
    assert!(code == 0 && first.starts_with("groups:\n  - name: "), "{text}");
    check(
        &node.address,
        "rules show x",
        expect![[r#"
        bwctl: there is no namespace "x"
        -> 1
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_listed_with_how_they_fare() {
    let rule = |name: &str, health: &str, error: &str| RuleStatus {
        name: name.to_owned(),
        alerting: name == "HostDown",
        health: health.to_owned(),
        last_error: error.to_owned(),
        duration_us: 1_234,
        pending: 1,
        firing: 2,
        ..RuleStatus::default()
    };
    let group = RuleGroup {
        namespace: "infra".to_owned(),
        name: "hosts".to_owned(),
        revision: 5,
        interval_ms: 15_000,
        last_evaluation_ms: 1_795_161_600_000,
        duration_us: 2_500,
        missed: 3,
        evaluator: 2,
        rules: vec![rule("HostDown", "ok", ""), rule("job:up", "err", "query timed out")],
        ..RuleGroup::default()
    };
    let new =
        RuleGroup { namespace: "z".to_owned(), name: "new".to_owned(), interval_ms: 30_000, ..RuleGroup::default() };
    let mut script = Script::default();
    script.alerting.groups = vec![group, new];
    let node = FakeNode::start(script).await;
    check(
        &node.address,
        "rules list",
        expect![[r#"
        NAMESPACE  GROUP  RULES  FIRING  EVERY  EVALUATED                  TOOK  MISSED  BY
        infra      hosts      2       4    15s  2026-11-20T08:00:00.000Z  2.5ms       3  node 2
        z          new        0       0    30s  never                     0.0ms       0  nobody
        -> 0
    "#]],
    );
    check(
        &node.address,
        "rules status",
        expect![[r#"
        GROUP        RULE      KIND    HEALTH  PENDING  FIRING   TOOK  ERROR
        infra/hosts  HostDown  alert   ok            1       2  1.2ms
        infra/hosts  job:up    record  err                      1.2ms  query timed out
        -> 1
    "#]],
    );
    check(
        &node.address,
        "rules delete infra",
        expect![[r#"
        bwctl: this deletes all rule groups of "infra": say --yes if that is wanted, there is nobody to ask
        -> 2
    "#]],
    );
    check(
        &node.address,
        "rules delete infra hosts",
        expect![[r#"
        infra/hosts is deleted
        -> 0
    "#]],
    );
    check(
        &node.address,
        "--yes rules delete infra",
        expect![[r#"
        infra is deleted
        -> 0
    "#]],
    );
    assert_eq!(node.with(|script| std::mem::take(&mut script.asked)), ["delete infra/hosts", "delete infra/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_loaded_with_its_templates() {
    let node = FakeNode::start(Script::default()).await;
    check(
        &node.address,
        "notify show",
        expect![[r#"
        bwctl: there is no notification configuration: nobody is told
        -> 1
    "#]],
    );
    let (code, text) = bwctl(&node.address, &format!("notify load {DIRECTORY}/notify/alertmanager.yml"));
    let text = text.replace(DIRECTORY, "");
    expect![[r#"
        revision 9: 4 receivers, 1 template files
        bwctl: /notify/alertmanager.yml:33:33: templates: no file matches "more/*.tmpl"
        bwctl: /notify/alertmanager.yml:3:1: careful
        -> 0
    "#]]
    .assert_eq(&format!("{text}-> {code}\n"));
    let templates = node.with(|script| script.alerting.notifications.templates.keys().cloned().collect::<Vec<_>>());
    assert_eq!(templates, ["ops.tmpl"]);
    let (code, text) = bwctl(&node.address, "notify show");
    assert_eq!((code, text), (0, std::fs::read_to_string(format!("{DIRECTORY}/notify/alertmanager.yml")).unwrap()));
    let (code, _) = bwctl(&node.address, &format!("notify load {DIRECTORY}/notify/wrong.yml"));
    assert_eq!(code, 1);
    check(
        &node.address,
        "--yes notify delete",
        expect![[r#"
        the notification configuration is deleted
        -> 0
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_silences_are_listed() {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let alert = Alert {
        labels: vec![label("alertname", "HostDown"), label("host", "a")],
        state: "firing".to_owned(),
        active_since_ms: 1_795_161_600_000,
        value: Some(0.5),
        receivers: vec!["chat".to_owned(), "pager".to_owned()],
        ..Alert::default()
    };
    let quiet =
        Alert { state: "suppressed".to_owned(), value: None, silenced_by: vec!["an-id".to_owned()], ..alert.clone() };
    let silence = Silence {
        while_firing: String::new(),
        id: "an-id".to_owned(),
        matchers: "{host=\"a\"}".to_owned(),
        begins_ms: 1_795_161_600_000,
        ends_ms: 1_795_165_200_000,
        created_by: "me".to_owned(),
        comment: "new disks".to_owned(),
        state: "active".to_owned(),
        updated_ms: 1_795_161_600_000,
    };
    let mut script = Script::default();
    script.alerting.alerts = vec![alert, quiet];
    script.alerting.silences = vec![silence];
    script.alerting.transitions = [(1_795_165_200_000, "resolved"), (1_795_161_600_000, "firing")]
        .map(|(at_ms, state)| Transition {
            at_ms,
            labels: vec![label("alertname", "HostDown"), label("host", "a")],
            state: state.to_owned(),
            value: 0.5,
        })
        .into();
    let node = FakeNode::start(script).await;
    check(
        &node.address,
        "alerts list severity=critical",
        expect![[r#"
        ALERT     STATE       SINCE                     VALUE  TOLD TO                LABELS
        HostDown  firing      2026-11-20T08:00:00.000Z  0.5    chat, pager            host="a"
        HostDown  suppressed  2026-11-20T08:00:00.000Z         nobody: silence an-id  host="a"
        -> 0
    "#]],
    );
    check(
        &node.address,
        "alerts history severity=critical --begin 2026-11-20T08:00:00Z --limit 5",
        expect![[r#"
        AT                        ALERT     STATE     VALUE  LABELS
        2026-11-20T08:00:00.000Z  HostDown  firing    0.5    host="a"
        2026-11-20T09:00:00.000Z  HostDown  resolved  0.5    host="a"
        There are older ones: --limit shows more, --end those before a time.
        -> 0
    "#]],
    );
    check(
        &node.address,
        "silence list",
        expect![[r#"
        ID     STATE   MATCHERS    BEGINS                    ENDS                      BY  COMMENT
        an-id  active  {host="a"}  2026-11-20T08:00:00.000Z  2026-11-20T09:00:00.000Z  me  new disks
        -> 0
    "#]],
    );
    check(
        &node.address,
        "silence add host=a x=~b --comment why --duration 2h",
        expect![[r#"
        an-id
        -> 0
    "#]],
    );
    check(
        &node.address,
        "silence expire an-id",
        expect![[r#"
        an-id is expired
        -> 0
    "#]],
    );
    let asked = node.with(|script| std::mem::take(&mut script.asked));
    let expected = [
        "alerts [\"severity=critical\"]",
        "history [\"severity=critical\"] 1795161600000 0 5",
        "silence host=a,x=~b from 0 by bwctl: why",
        "expire an-id",
    ];
    assert_eq!(asked, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_file_is_replayed_over_what_is_stored() {
    let node = FakeNode::start(Script::default()).await;
    let file = format!("{DIRECTORY}/rules/replay.rules.yml");
    let (from, to) = ("2026-11-20T08:00:00Z", "2026-11-20T08:05:30Z");
    check(
        &node.address,
        &format!("rules replay {file} --from {from} --to {to} --tenant t"),
        expect![[r#"
        GROUP  RULE    KIND    EVALUATED  FAILED  FIRED  ALERTS  FIRING FOR  ERROR
        g      x:sum   record          6       0
        g      High    alert           6       0      1       1         90s
        g      Always  alert           6       0      1       1        330s

        ALERT   PENDING SINCE             FIRING SINCE              TOLD FROM                 OVER  LABELS
        High    2026-11-20T08:03:00.000Z  2026-11-20T08:04:00.000Z  2026-11-20T08:04:00.000Z  -     severity="page"
        Always  2026-11-20T08:00:00.000Z  2026-11-20T08:00:00.000Z  2026-11-20T08:00:00.000Z  -
        -> 0
    "#]],
    );
    assert!(node.with(|script| script.tenants.iter().all(|tenant| tenant.as_deref() == Some("t"))));
    check(
        &node.address,
        &format!("--json rules replay {file} --from {from} --to {to} --step 150s"),
        expect![[r#"
        {
          "from_ms": 1795161600000,
          "groups": [
            {
              "group": "g",
              "rules": [
                {
                  "evaluations": 3,
                  "failures": 0,
                  "first_error": null,
                  "kind": "record",
                  "name": "x:sum",
                  "template_error": null
                },
                {
                  "alerts": 1,
                  "episodes": [
                    {
                      "firing_ms": 1795161900000,
                      "labels": {
                        "alertname": "High",
                        "severity": "page"
                      },
                      "over_ms": null,
                      "pending_ms": 1795161750000,
                      "told_ms": 1795161900000
                    }
                  ],
                  "evaluations": 3,
                  "failures": 0,
                  "fired": 1,
                  "firing_for_ms": 30000,
                  "first_error": null,
                  "kind": "alert",
                  "name": "High",
                  "template_error": null
                },
                {
                  "alerts": 1,
                  "episodes": [
                    {
                      "firing_ms": 1795161600000,
                      "labels": {
                        "alertname": "Always"
                      },
                      "over_ms": null,
                      "pending_ms": 1795161600000,
                      "told_ms": 1795161600000
                    }
                  ],
                  "evaluations": 3,
                  "failures": 0,
                  "fired": 1,
                  "firing_for_ms": 330000,
                  "first_error": null,
                  "kind": "alert",
                  "name": "Always",
                  "template_error": null
                }
              ],
              "step_ms": 150000
            }
          ],
          "to_ms": 1795161930000
        }
        -> 0
    "#]],
    );
    check(
        &node.address,
        &format!("rules replay {file} --from {to} --to {from}"),
        expect![[r#"
        bwctl: --from is after --to
        -> 2
    "#]],
    );
    check(
        &node.address,
        &format!("rules replay {file} --from -10y --to now --step 1ms"),
        expect![[r#"
        bwctl: the replay would evaluate rules 946080000003 times, the limit is 5000000: take a longer --step, or less time
        -> 1
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_listed_with_how_they_fare_and_alerts_acknowledged() {
    let integration = |kind: &str, health: &str| IntegrationStatus {
        kind: kind.to_owned(),
        health: health.to_owned(),
        sent_ms: 1_795_161_600_000,
        ..IntegrationStatus::default()
    };
    let failing = IntegrationStatus {
        failed_ms: 1_795_161_700_000,
        last_error: "no such host".to_owned(),
        given_up: 3,
        waiting: 1,
        ..integration("sms", "failing")
    };
    let receiver = |name: &str, integrations| ReceiverStatus {
        name: name.to_owned(),
        integrations,
        held_back_groups: 7,
        ..ReceiverStatus::default()
    };
    let receivers = vec![
        receiver("chat", vec![integration("slack", "ok")]),
        receiver("phone", vec![failing]),
        receiver("none", vec![]),
    ];
    let node = FakeNode::start(Script::default()).await;
    node.with(|script| script.alerting.receivers = receivers);
    check(
        &node.address,
        "notify status",
        expect![[r#"
        RECEIVER  BY      HEALTH   TOLD LAST                 FAILED LAST               GIVEN UP  WAITING  HELD BACK  WHY
        chat      slack   ok       2026-11-20T08:00:00.000Z  -                                0        0          7
        phone     sms     failing  2026-11-20T08:00:00.000Z  2026-11-20T08:01:40.000Z         3        1          7  no such host
        none      nobody  -        -                         -                                -        -          -
        -> 0
    "#]],
    );
    check(
        &node.address,
        "notify status --failing",
        expect![[r#"
        RECEIVER  BY   HEALTH   TOLD LAST                 FAILED LAST               GIVEN UP  WAITING  HELD BACK  WHY
        phone     sms  failing  2026-11-20T08:00:00.000Z  2026-11-20T08:01:40.000Z         3        1          7  no such host
        -> 1
    "#]],
    );
    check(
        &node.address,
        "alerts acknowledge alertname=A --author me",
        expect![[r#"
        2 alerts are acknowledged now
        -> 0
    "#]],
    );
    assert_eq!(node.with(|script| script.asked.pop().unwrap()), "acknowledge [\"alertname=A\"] by me");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_call_is_listed_and_overridden() {
    let one = Override {
        id: "an-id".to_owned(),
        user: "bob".to_owned(),
        begins_ms: 1_795_161_600_000,
        ends_ms: 1_795_165_200_000,
        created_by: "ann".to_owned(),
        ..Override::default()
    };
    let schedule =
        |name: &str, user: &str, overrides| OnCall { schedule: name.to_owned(), user: user.to_owned(), overrides };
    let node = FakeNode::start(Script::default()).await;
    let schedules = vec![schedule("days", "bob", vec![one]), schedule("nights", "", vec![])];
    node.with(|script| script.alerting.on_call = schedules);
    check(
        &node.address,
        "oncall show",
        expect![[r#"
        SCHEDULE  ON CALL  OVERRIDE  WHO  BEGINS                    ENDS                      BY
        days      bob      an-id     bob  2026-11-20T08:00:00.000Z  2026-11-20T09:00:00.000Z  ann
        nights    nobody
        -> 0
    "#]],
    );
    check(
        &node.address,
        "oncall override days ann --duration 2h --author me",
        expect![[r#"
        an-id
        -> 0
    "#]],
    );
    check(
        &node.address,
        "oncall delete an-id",
        expect![[r#"
        an-id is deleted
        -> 0
    "#]],
    );
    let asked = node.with(|script| script.asked.split_off(script.asked.len() - 2));
    assert_eq!(asked, ["ann for days from 0 by me", "delete override an-id"]);
}
