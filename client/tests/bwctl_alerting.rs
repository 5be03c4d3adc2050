//! What `bwctl` does with the alerting of a cluster: rules, notifications, alerts, silences.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod support;

use bellwether_client::v1::{Alert, Label, RuleGroup, RuleStatus, Silence};
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
    check(&node.address, &format!("rules load {good} --dry-run"), expect![[""]]);
    assert!(node.with(|script| script.asked.is_empty()));
    check(&node.address, &format!("rules load {good} --namespace n --tenant t"), expect![[""]]);
    assert_eq!(node.with(|script| script.tenants.pop().unwrap().unwrap()), "t");
    let old = RuleGroup { namespace: "n".to_owned(), name: "old".to_owned(), ..RuleGroup::default() };
    node.with(|script| {
        script.alerting.groups.push(old);
        script.asked.clear();
    });
    check(&node.address, &format!("--json rules load {good} --namespace n --prune"), expect![[""]]);
    assert_eq!(node.with(|script| std::mem::take(&mut script.asked)), ["delete n/old"]);
    // What is shown is a rule file that can be loaded again.
    let (code, text) = bwctl(&node.address, "rules show n");
    let first = text.lines().take(3).collect::<Vec<_>>().join("\n");
    assert!(code == 0 && first.starts_with("groups:\n  - name: "), "{text}");
    check(&node.address, "rules show x", expect![[""]]);
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
    check(&node.address, "rules list", expect![[""]]);
    check(&node.address, "rules status", expect![[""]]);
    check(&node.address, "rules delete infra", expect![[""]]);
    check(&node.address, "rules delete infra hosts", expect![[""]]);
    check(&node.address, "--yes rules delete infra", expect![[""]]);
    assert_eq!(node.with(|script| std::mem::take(&mut script.asked)), ["delete infra/hosts", "delete infra/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_loaded_with_its_templates() {
    let node = FakeNode::start(Script::default()).await;
    check(&node.address, "notify show", expect![[""]]);
    let (code, text) = bwctl(&node.address, &format!("notify load {DIRECTORY}/notify/alertmanager.yml"));
    let text = text.replace(DIRECTORY, "");
    expect![[""]].assert_eq(&format!("{text}-> {code}\n"));
    let templates = node.with(|script| script.alerting.notifications.templates.keys().cloned().collect::<Vec<_>>());
    assert_eq!(templates, ["ops.tmpl"]);
    let (code, text) = bwctl(&node.address, "notify show");
    assert_eq!((code, text), (0, std::fs::read_to_string(format!("{DIRECTORY}/notify/alertmanager.yml")).unwrap()));
    let (code, _) = bwctl(&node.address, &format!("notify load {DIRECTORY}/notify/wrong.yml"));
    assert_eq!(code, 1);
    check(&node.address, "--yes notify delete", expect![[""]]);
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
    let node = FakeNode::start(script).await;
    check(&node.address, "alerts list severity=critical", expect![[""]]);
    check(&node.address, "silence list", expect![[""]]);
    check(&node.address, "silence add host=a x=~b --comment why --duration 2h", expect![[""]]);
    check(&node.address, "silence expire an-id", expect![[""]]);
    let asked = node.with(|script| std::mem::take(&mut script.asked));
    let expected = ["alerts [\"severity=critical\"]", "silence host=a,x=~b from 0 by bwctl: why", "expire an-id"];
    assert_eq!(asked, expected);
}
