//! Rules are evaluated by whoever is there, and go on where another node left off.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{Command, GroupProgress, Health, StoredGroup};
use bellwether_alert::state::alerting::{Alert, Phase};
use bellwether_model::{Matcher, TimeRange, is_stale_marker};
use bellwether_promql::{Limits, QueryAccount};
use tokio::task::AbortHandle;

use super::*;
use crate::env::WallClock;
use crate::shards::{ReadContext, Wanted};

/// Clocks that go on with the test's time, until this goes.
struct Clocks(AbortHandle);

impl Drop for Clocks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn run_clocks(machines: &[Machine]) -> Clocks {
    const STEP_MS: u64 = 50;
    let clocks: Vec<Arc<TestClock>> = machines.iter().map(|machine| machine.clock.clone()).collect();
    let run = async move {
        loop {
            sleep(Duration::from_millis(STEP_MS)).await;
            clocks.iter().for_each(|clock| clock.advance(STEP_MS as i64));
        }
    };
    Clocks(tokio::spawn(run).abort_handle())
}

async fn set_rules(server: &Server, namespace: &str, group: &str) {
    let tenant = Tenant::default_tenant();
    let command = Command::set_rule_group(tenant.clone(), namespace.to_owned(), group).unwrap();
    server.alerting().propose(&tenant, command).await.unwrap();
}

async fn write_value(server: &Server, series: &[(&str, &str)], timestamp: i64, value: f64) {
    let samples = vec![(Labels::of(series), Sample { timestamp, value })];
    let outcome = server.write_path().write_samples(&Tenant::default_tenant(), samples, Vec::new()).await.unwrap();
    assert!(outcome.refused.is_empty(), "{}", outcome.refused);
}

/// Times and values of a metric's series, by their labels.
async fn stored(server: &Server, metric: &str) -> BTreeMap<String, Vec<(i64, f64)>> {
    let limits = Limits { series: 1000, samples: 100_000, memory_bytes: 1 << 24 };
    let read = ReadContext::new(QueryAccount::new(limits));
    let (tenant, matchers) = (Tenant::default_tenant(), [Matcher::equal("__name__", metric)].into());
    let found = server.router().select(&tenant, matchers, TimeRange::ALL, Wanted::All, &read).await.unwrap();
    let of = |series: bellwether_promql::FetchedSeries| {
        (series.labels.to_string(), series.timestamps.iter().copied().zip(series.values).collect())
    };
    found.into_iter().map(of).collect()
}

fn group(server: &Server, namespace: &str, group: &str) -> Arc<StoredGroup> {
    let tenant = Tenant::default_tenant();
    server.alerting().read(&tenant, |state| state.group(&tenant, namespace, group).unwrap().clone())
}

/// Waits until a group is evaluated for a later time.
async fn evaluated_after(server: &Server, namespace: &str, name: &str, time: i64) {
    until("it is evaluated", || progress(server, namespace, name).last_evaluation > Some(time)).await;
}

fn progress(server: &Server, namespace: &str, name: &str) -> GroupProgress {
    group(server, namespace, name).progress.clone()
}

/// The only alert of the first rule.
fn alert(server: &Server, namespace: &str, name: &str) -> Option<(Labels, Alert)> {
    let rules = progress(server, namespace, name).rules;
    let mut alerts = rules[0].alerts.iter();
    let alert = alerts.next().map(|(labels, alert)| (labels.clone(), alert.clone()));
    assert!(alerts.next().is_none(), "there is one at most");
    alert
}

fn counter(server: &Server, name: &str) -> f64 {
    let families = server.registry().gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    family.get_metric()[0].get_counter().get_value()
}

#[tokio::test(start_paused = true)]
async fn an_alert_fires_after_its_time_and_its_series_end_with_it() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    let rules = r#"
name: g
interval: 5s
rules:
- alert: TooMany
  expr: a > 10
  for: 20s
  labels: {severity: page}
  annotations:
    summary: '{{ $labels.job }} has {{ $value }} of {{ query "limit" | first | value }}'
"#;
    set_rules(&server, "n", rules).await;
    write_value(&server, &[("__name__", "limit")], clock.now_ms(), 10.0).await;
    until("it is evaluated", || progress(&server, "n", "g").last_evaluation.is_some()).await;
    assert_eq!(progress(&server, "n", "g").rules[0].health, Health::Ok);
    write_value(&server, &[("__name__", "a"), ("job", "x")], clock.now_ms(), 12.0).await;
    until("it is pending", || alert(&server, "n", "g").is_some()).await;
    let (labels, first) = alert(&server, "n", "g").unwrap();
    assert_eq!(labels.to_string(), r#"{alertname="TooMany", job="x", severity="page"}"#);
    assert_eq!((first.phase, first.value), (Phase::Pending, 12.0));
    assert_eq!(first.annotations[0].1, "x has 12 of 10");
    let fires =
        |server: &Server| matches!(alert(server, "n", "g"), Some((_, Alert { phase: Phase::Firing { .. }, .. })));
    until("it fires", || fires(&server)).await;
    let (_, alert_now) = alert(&server, "n", "g").unwrap();
    assert_eq!(alert_now.phase, Phase::Firing { since: first.active_at + 20_000, kept_since: None });
    write_value(&server, &[("__name__", "a"), ("job", "x")], clock.now_ms(), 3.0).await;
    let is_over = || matches!(alert(&server, "n", "g"), Some((_, Alert { phase: Phase::Resolved { .. }, .. })));
    until("it is over", is_over).await;
    let Phase::Resolved { at } = alert(&server, "n", "g").unwrap().1.phase else { panic!("{alert_now:?}") };
    sleep(Duration::from_secs(1)).await;

    let alerts = stored(&server, "ALERTS").await;
    let shown: Vec<(&str, Vec<i64>)> = alerts
        .iter()
        .map(|(labels, samples)| {
            (labels.as_str(), samples.iter().map(|(time, _)| (time - first.active_at) / 1000).collect())
        })
        .collect();
    let steps = |from: i64, until: i64| (from..=until).step_by(5).collect::<Vec<_>>();
    let end = (at - first.active_at) / 1000;
    assert_eq!(
        shown,
        [
            (r#"ALERTS{alertname="TooMany", alertstate="firing", job="x", severity="page"}"#, steps(20, end)),
            (r#"ALERTS{alertname="TooMany", alertstate="pending", job="x", severity="page"}"#, steps(0, 20)),
        ]
    );
    for samples in alerts.values() {
        let (last, before) = samples.split_last().unwrap();
        assert!(is_stale_marker(last.1) && before.iter().all(|(_, value)| *value == 1.0), "{samples:?}");
    }
    let since = stored(&server, "ALERTS_FOR_STATE").await;
    let (last, before) = since.values().next().unwrap().split_last().unwrap();
    assert!(is_stale_marker(last.1) && before.iter().all(|(_, value)| *value == (first.active_at / 1000) as f64));
}

#[tokio::test(start_paused = true)]
async fn a_rule_sees_what_the_one_before_it_has_just_recorded() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    let rules = r"
name: chain
interval: 1s
rules:
- record: total
  expr: sum(a)
- record: double
  expr: total * 2
- record: difference
  expr: double - total
";
    set_rules(&server, "n", rules).await;
    let began = clock.now_ms();
    for value in 1..=20 {
        write_value(&server, &[("__name__", "a")], clock.now_ms(), f64::from(value)).await;
        sleep(Duration::from_millis(700)).await;
    }
    let total = stored(&server, "total").await.remove(r"total").unwrap();
    assert!(total.len() >= 12 && total.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1000), "{total:?}");
    assert!(total.iter().all(|(time, _)| *time >= began - 1000));
    assert_eq!(stored(&server, "difference").await["difference"], total);
    let doubled: Vec<(i64, f64)> = total.iter().map(|(time, value)| (*time, value * 2.0)).collect();
    assert_eq!(stored(&server, "double").await["double"], doubled);
    assert_eq!(counter(&server, "bellwether_rule_group_missed_ticks_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_fails_shows_why_and_harms_no_other() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[])];
    machines[0].config.query.max_series = 3;
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    for number in ["1", "2"] {
        write_value(&server, &[("__name__", "a"), ("n", number)], clock.now_ms(), 1.0).await;
    }
    for number in ["1", "2", "3", "4"] {
        write_value(&server, &[("__name__", "many"), ("n", number)], clock.now_ms(), 1.0).await;
    }
    let rules = r#"
name: g
interval: 5s
limit: 1
rules:
- record: ambiguous
  expr: a + on () a
- record: fine
  expr: sum(a)
- alert: TooManyAlerts
  expr: a
- alert: TooMuch
  expr: many
- record: twice
  expr: label_replace(a, "n", "", "", "")
- alert: Fine
  expr: fine
"#;
    set_rules(&server, "n", rules).await;
    evaluated_after(&server, "n", "g", clock.now_ms()).await;
    let rules = progress(&server, "n", "g").rules;
    let said: Vec<&str> = rules
        .iter()
        .map(|rule| match &rule.health {
            Health::Failed(why) => why.as_str(),
            Health::Ok => "ok",
            Health::Unknown => "unknown",
        })
        .collect();
    assert!(said[0].contains("matching labels"), "{}", said[0]);
    assert_eq!(said[1], "ok");
    assert_eq!(said[2], "exceeded limit of 1 with 2 alerts");
    assert_eq!(said[3], "the query touches more than 3 series, which is the limit query.max_series");
    assert!(said[4].contains("same labelset"), "{}", said[4]);
    assert_eq!((said[5], rules[5].alerts.len()), ("ok", 1), "it sees what was recorded in the same evaluation");
    assert!(counter(&server, "bellwether_rule_evaluation_failures_total") >= 4.0);
}

#[tokio::test(start_paused = true)]
async fn series_of_rules_that_are_no_more_end() {
    let net = TestNet::default();
    let mut machines = [machine(1, &[])];
    let server = machines[0].start(&net).await.unwrap();
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    write_value(&server, &[("__name__", "a")], clock.now_ms(), 1.0).await;
    let rules = |which: &str| format!("name: g\ninterval: 5s\nrules:\n{which}");
    let (x, y, z) = ("- {record: x, expr: a}\n", "- {record: y, expr: a}\n", "- {alert: Z, expr: a}\n");
    set_rules(&server, "n", &rules(&[x, y, z].concat())).await;
    evaluated_after(&server, "n", "g", clock.now_ms()).await;
    set_rules(&server, "n", &rules(&[x, z].concat())).await;
    evaluated_after(&server, "n", "g", clock.now_ms()).await;
    let has_ended = |samples: &[(i64, f64)]| is_stale_marker(samples.last().unwrap().1);
    assert!(has_ended(&stored(&server, "y").await["y"]));
    assert!(!has_ended(&stored(&server, "x").await["x"]));

    let tenant = Tenant::default_tenant();
    let delete = Command::DeleteNamespace { tenant: tenant.clone(), namespace: "n".to_owned() };
    server.alerting().propose(&tenant, delete).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(has_ended(&stored(&server, "x").await["x"]));
    for metric in ["ALERTS", "ALERTS_FOR_STATE"] {
        assert!(stored(&server, metric).await.values().all(|samples| has_ended(samples)), "{metric}");
    }
}

const GROUPS: usize = 12;

fn name(number: usize) -> String {
    format!("g{number}")
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_a_node_that_goes_are_evaluated_elsewhere_with_their_timers() {
    let net = TestNet::default();
    let (machines, servers) = three(&net).await;
    let _clocks = run_clocks(&machines);
    let clock = machines[0].clock.clone();
    let [first, second, third] = <[Server; 3]>::try_from(servers).ok().unwrap();
    let all_evaluate = |servers: &[&Server], nodes: usize| {
        let tenant = Tenant::default_tenant();
        servers.iter().all(|server| server.alerting().read(&tenant, |state| state.ring.nodes.len()) == nodes)
    };
    until("all evaluate", || all_evaluate(&[&first, &second, &third], 3)).await;
    write_value(&first, &[("__name__", "a")], clock.now_ms(), 1.0).await;
    for number in 0..GROUPS {
        let rules = format!("name: {}\ninterval: 2s\nrules:\n- {{alert: A, expr: a == 1, for: 40s}}\n", name(number));
        set_rules(&first, "n", &rules).await;
    }
    let all_pending = || (0..GROUPS).all(|number| alert(&second, "n", &name(number)).is_some());
    until("all are pending", all_pending).await;
    let begun: Vec<i64> = (0..GROUPS).map(|number| alert(&second, "n", &name(number)).unwrap().1.active_at).collect();
    let evaluations = |server: &Server| counter(server, "bellwether_rule_evaluations_total");
    assert!([&first, &second, &third].iter().all(|server| evaluations(server) > 0.0), "each has its share");

    let died_at = clock.now_ms();
    first.shutdown().await.unwrap();
    until("the others evaluate", || all_evaluate(&[&second, &third], 2)).await;
    let all_evaluated =
        |after: i64| (0..GROUPS).all(|number| progress(&second, "n", &name(number)).last_evaluation > Some(after));
    until("all are evaluated by others", || all_evaluated(clock.now_ms() - 2500)).await;
    assert!(clock.now_ms() - died_at < 10_000, "{} ms", clock.now_ms() - died_at);
    let fires =
        |number| matches!(alert(&second, "n", &name(number)), Some((_, Alert { phase: Phase::Firing { .. }, .. })));
    until("all fire", || (0..GROUPS).all(fires)).await;
    for (number, begun) in begun.iter().enumerate() {
        let (_, alert) = alert(&third, "n", &name(number)).unwrap();
        let since = begun + 40_000;
        assert_eq!((alert.active_at, alert.phase), (*begun, Phase::Firing { since, kept_since: None }));
        assert_eq!(progress(&third, "n", &name(number)).missed, 0, "what was late was caught up with");
    }
}
