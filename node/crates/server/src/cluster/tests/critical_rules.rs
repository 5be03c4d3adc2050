//! Critical rules are evaluated as soon as a sample of theirs is stored, wherever that is and whoever evaluates them.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{Command, GroupProgress};
use bellwether_alert::state::alerting::Phase;
use tokio::time::Instant;

use super::notifications::{Receiver, run_clocks};
use super::*;
use crate::env::WallClock;

/// Far longer than any of these tests: what happens before is not the ticks' doing.
const INTERVAL: &str = "1h";
/// What the goal allows.
const SOON: Duration = Duration::from_secs(1);

const CONFIG: &str = "
route: {receiver: a, group_by: [alertname, n], group_wait: 10m, group_interval: 20m}
receivers: [{name: a, webhook_configs: [{url: 'http://10.9.9.1/'}]}]
";

async fn propose(server: &Server, command: Command) {
    server.alerting().propose(&Tenant::default_tenant(), command).await.unwrap();
}

async fn set_rules(server: &Server, group: &str, rules: &str) {
    let text = format!("name: {group}\ninterval: {INTERVAL}\nrules:\n{rules}");
    propose(server, Command::set_rule_group(Tenant::default_tenant(), "n".to_owned(), &text).unwrap()).await;
}

async fn configure(server: &Server) {
    let (tenant, config) = (Tenant::default_tenant(), CONFIG.to_owned());
    propose(server, Command::SetNotifications { tenant, config, templates: BTreeMap::new() }).await;
}

async fn write(server: &Server, series: &[(&str, &str)], clock: &TestClock, value: f64) {
    let samples = vec![(Labels::of(series), Sample { timestamp: clock.now_ms(), value })];
    let outcome = server.write_path().write_samples(&Tenant::default_tenant(), samples, Vec::new()).await.unwrap();
    assert!(outcome.refused.is_empty(), "{}", outcome.refused);
}

fn progress(server: &Server, group: &str) -> GroupProgress {
    let tenant = Tenant::default_tenant();
    server.alerting().read(&tenant, |state| state.group(&tenant, "n", group).unwrap().progress.clone())
}

/// Names of alerts of a group's rule, and their phases.
fn phases(server: &Server, group: &str, rule: usize) -> Vec<String> {
    let shown = |(labels, alert): (&Labels, &bellwether_alert::state::alerting::Alert)| {
        let phase = match alert.phase {
            Phase::Pending => "pending",
            Phase::Firing { .. } => "firing",
            Phase::Resolved { .. } => "resolved",
        };
        format!("{} {phase}", labels.get("n").unwrap_or("-"))
    };
    progress(server, group).rules[rule].alerts.iter().map(shown).collect()
}

async fn soon(what: &str, is_true: impl Fn() -> bool) {
    let began = Instant::now();
    until(what, is_true).await;
    assert!(began.elapsed() < SOON, "{what}: after {:?}", began.elapsed());
}

async fn all_follow(servers: &[&Server], selectors: i64) {
    let follows = |server: &&Server| {
        let families = server.registry().gather();
        let family = families.iter().find(|family| family.name() == "bellwether_critical_rule_selectors").unwrap();
        family.get_metric()[0].get_gauge().get_value() as i64 == selectors
    };
    until("all look for what critical rules read", || servers.iter().all(&follows)).await;
}

#[tokio::test(start_paused = true)]
async fn from_the_sample_to_the_receiver_in_less_than_a_second() {
    let net = TestNet::default();
    let receiver = Receiver::listen(&net, 1).await;
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    configure(&server).await;
    let rules = "- {record: calm, expr: sum(a)}\n- {alert: High, expr: a > 10, critical: true}\n\
                 - {alert: Slow, expr: a > 10}\n- {alert: Held, expr: b > 10, for: 20s, critical: true}\n";
    set_rules(&server, "g", rules).await;
    all_follow(&[&server], 2).await;
    write(&server, &[("__name__", "a"), ("n", "1")], &clock, 5.0).await;
    let heard = || receiver.bodies().len();
    for round in 1..=3 {
        let began = Instant::now();
        let n = round.to_string();
        write(&server, &[("__name__", "a"), ("n", &n)], &clock, 12.0).await;
        until("the receiver is told", || heard() == round).await;
        assert!(began.elapsed() < SOON, "after {:?}", began.elapsed());
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(receiver.bodies()[0]["alerts"][0]["labels"]["n"], "1");
    assert_eq!(phases(&server, "g", 1), ["1 firing", "2 firing", "3 firing"]);
    let progress_now = progress(&server, "g");
    assert!(progress_now.rules[2].alerts.is_empty(), "the other rules wait for their tick");
    assert_eq!(progress_now.missed, 0);

    write(&server, &[("__name__", "a"), ("n", "2")], &clock, 3.0).await;
    soon("it is over", || phases(&server, "g", 1) == ["1 firing", "2 resolved", "3 firing"]).await;
    // Also what time alone does.
    write(&server, &[("__name__", "b"), ("n", "1")], &clock, 12.0).await;
    soon("it is pending", || phases(&server, "g", 3) == ["1 pending"]).await;
    sleep(Duration::from_secs(19)).await;
    assert_eq!(phases(&server, "g", 3), ["1 pending"]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(phases(&server, "g", 3), ["1 firing"]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_loaded_sees_at_once_what_is_there() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    write(&server, &[("__name__", "a"), ("n", "1")], &clock, 12.0).await;
    until("the node evaluates", || {
        server.alerting().groups().iter().all(|group| group.read(|state| !state.ring.nodes.is_empty()))
    })
    .await;
    set_rules(&server, "g", "- {alert: High, expr: a > 10, critical: true}\n").await;
    soon("it fires", || phases(&server, "g", 0) == ["1 firing"]).await;
    // A sample from a clock that is ahead is seen when its time has come.
    all_follow(&[&server], 1).await;
    let samples =
        vec![(Labels::of(&[("__name__", "a"), ("n", "2")]), Sample { timestamp: clock.now_ms() + 5_000, value: 12.0 })];
    server.write_path().write_samples(&Tenant::default_tenant(), samples, Vec::new()).await.unwrap();
    sleep(Duration::from_millis(4_500)).await;
    assert_eq!(phases(&server, "g", 0), ["1 firing"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(phases(&server, "g", 0), ["1 firing", "2 firing"]);
    // What is recorded is stored as well.
    set_rules(&server, "h", "- {alert: Low, expr: calm < 10, critical: true}\n").await;
    all_follow(&[&server], 2).await;
    write(&server, &[("__name__", "calm")], &clock, 1.0).await;
    soon("it fires", || phases(&server, "h", 0) == ["- firing"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_composite_rule_follows_the_alerts_that_it_asks_after() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    let rules = "- {alert: High, expr: a > 10, critical: true}\n- {alert: Low, expr: b < 10, critical: true}\n";
    set_rules(&server, "g", rules).await;
    let rules = "- {alert: Both, composite: 'High{n=\"1\"} && Low', critical: true}\n- {alert: Slow, composite: Low}\n\
                 - {alert: Next, composite: Both, critical: true}\n";
    set_rules(&server, "h", rules).await;
    all_follow(&[&server], 2).await;
    write(&server, &[("__name__", "a"), ("n", "1")], &clock, 12.0).await;
    soon("one fires", || phases(&server, "g", 0) == ["1 firing"]).await;
    write(&server, &[("__name__", "b")], &clock, 1.0).await;
    soon("both do", || phases(&server, "h", 0) == ["- firing"]).await;
    soon("and what asks after that", || phases(&server, "h", 2) == ["- firing"]).await;
    assert!(phases(&server, "h", 1).is_empty(), "the other rule waits for its tick");
    write(&server, &[("__name__", "a"), ("n", "1")], &clock, 3.0).await;
    soon("it is over", || phases(&server, "h", 0) == ["- resolved"]).await;
    soon("and that, too", || phases(&server, "h", 2) == ["- resolved"]).await;
}

#[tokio::test(start_paused = true)]
async fn it_does_not_matter_where_a_sample_is_stored_and_who_evaluates() {
    const GROUPS: usize = 12;
    let net = TestNet::default();
    let (machines, servers) = three(&net).await;
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    let [first, second, third] = <[Server; 3]>::try_from(servers).ok().unwrap();
    let all_evaluate = |servers: &[&Server]| {
        let tenant = Tenant::default_tenant();
        let is_on = |server: &&Server| server.alerting().read(&tenant, |state| state.ring.nodes.len()) == servers.len();
        servers.iter().all(is_on)
    };
    let all = [&first, &second, &third];
    until("all evaluate", || all_evaluate(&all)).await;
    for number in 0..GROUPS {
        set_rules(&first, &format!("g{number}"), &format!("- {{alert: A, expr: m{number} > 10, critical: true}}\n"))
            .await;
    }
    all_follow(&all, GROUPS as i64).await;
    // Each group's metric is in another place, and each rule with another evaluator.
    for (number, server) in (0..GROUPS).zip(all.iter().cycle()) {
        write(server, &[("__name__", &format!("m{number}")), ("n", "1")], &clock, 12.0).await;
    }
    soon("all fire", || (0..GROUPS).all(|number| phases(&second, &format!("g{number}"), 0) == ["1 firing"])).await;
    let evaluations = |server: &Server| {
        let families = server.registry().gather();
        let name = "bellwether_critical_rule_evaluations_total";
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric()[0].get_counter().get_value()
    };
    assert!(all.iter().all(|server| evaluations(server) > 0.0), "each has its share");

    first.shutdown().await.unwrap();
    let left = [&second, &third];
    until("the others evaluate", || all_evaluate(&left)).await;
    sleep(Duration::from_secs(5)).await;
    for number in 0..GROUPS {
        write(&third, &[("__name__", &format!("m{number}")), ("n", "2")], &clock, 12.0).await;
        let group = format!("g{number}");
        soon("it fires", || phases(&second, &group, 0) == ["1 firing", "2 firing"]).await;
    }
}
