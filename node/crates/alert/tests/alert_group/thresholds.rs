//! Threshold rules in an alert group: what is proposed, what comes of it, what is told.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{Command, Health};
use bellwether_alert::rules::{Composite, Rule};
use bellwether_alert::state::alerting::{AlertingState, Alerts, Evaluation, Phase, step};
use bellwether_model::Labels;
use bellwether_promql::{Point, VectorSample};
use proptest::prelude::*;

use crate::play::{CONFIG, MINUTE, Nowhere, Play, SECOND, long, texts};

const RULES: &str = "name: g\nrules:\n- {alert: A, expr: a, annotations: {v: '{{ $value }}'}, thresholds: {critical: 4, warning: 2, critical_recovery: 3}";

fn rules(more: &str) -> String {
    format!("{RULES}{more}}}\n")
}

#[test]
fn what_is_as_it_was_is_not_told_again() {
    let mut play = Play::new();
    play.set_rules(&rules(", checks: {at_least: 2, of: 3}, no_data: {behavior: alert, after: 1m}")).unwrap();
    let mut told = Vec::new();
    let evaluations: [&[&str]; 6] =
        [&["1=5", "2=1"], &["1=5", "2=1"], &["1=5", "2=1.5"], &["1=5"], &["1=5"], &["1=5", "2=9"]];
    for present in evaluations {
        let evaluated = play.evaluation("g", play.now, &[Ok(present)]);
        let sightings = evaluated.differences.iter().flat_map(|difference| &difference.sightings.changed);
        told.push(sightings.map(|(labels, _)| labels.get("x").unwrap()).collect::<Vec<_>>().concat());
        play.apply(Command::Evaluated(evaluated.into())).unwrap();
        play.now += 15 * SECOND;
    }
    assert_eq!(told, ["12", "", "", "2", "", "2"]);
    // That it fires follows from its checks.
    assert_eq!(play.alerts("g", 0), "1 critical firing");
    assert_eq!(play.history(), "1 pending, 1 firing");
}

#[test]
fn another_severity_is_told_with_the_end_of_the_one_before() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    play.set_rules(&rules("")).unwrap();
    let mut said = Vec::new();
    for value in ["1=3", "1=5", "1=1"] {
        play.evaluate("g", &[Ok(&[value])]);
        play.look_until(play.now + MINUTE + SECOND);
        let severities = |alerts: &[bellwether_alert::notify::dispatch::Alert]| {
            alerts.iter().map(|alert| alert.labels.get("severity").unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let numbers: Vec<u64> = play.tenant().intents.keys().copied().collect();
        for number in numbers {
            let message = &play.tenant().intents[&number].message;
            said.push(format!("[{}] [{}]", severities(&message.firing), severities(&message.resolved)));
            play.tell(number, bellwether_alert::alert_group::Delivery::Sent);
        }
    }
    assert_eq!(said, ["[warning] []", "[critical] [warning]", "[] [critical]"]);
}

#[test]
fn a_rule_that_gets_thresholds_begins_anew_and_one_whose_thresholds_change_goes_on() {
    let mut play = Play::new();
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a}\n").unwrap();
    play.evaluate("g", &[Ok(&["1"])]);
    play.set_rules(&rules("")).unwrap();
    assert_eq!(play.alerts("g", 0), "");
    play.now += MINUTE;
    play.evaluate("g", &[Ok(&["1=5"])]);
    play.set_rules(
        &rules("").replace("critical: 4", "critical: 6").replace("critical_recovery: 3", "critical_recovery: 5.5"),
    )
    .unwrap();
    assert_eq!(play.alerts("g", 0), "1 critical firing");
    play.now += MINUTE;
    play.evaluate("g", &[Ok(&["1=5"])]);
    assert_eq!(play.alerts("g", 0), "1 critical resolved, 1 warning firing");
    play.apply(Command::DeleteNamespace { tenant: play.tenant.clone(), namespace: "n".into() }).unwrap();
    assert_eq!((play.tenant().totals.alerts, play.tenant().totals.watched), (0, 0));
}

#[test]
fn a_limit_and_a_failure_are_as_for_other_rules() {
    let mut play = Play::new();
    play.set_rules(&rules("").replace("name: g", "name: g\nlimit: 1")).unwrap();
    play.evaluate("g", &[Ok(&["1=5"])]);
    play.now += MINUTE;
    play.evaluate("g", &[Err("no")]);
    assert_eq!(play.alerts("g", 0), "1 critical firing");
    play.now += MINUTE;
    play.evaluate("g", &[Ok(&["1=5", "2=3"])]);
    let rule = &play.group("g").progress.rules[0];
    assert_eq!(rule.health, Health::Failed("exceeded limit of 1 with 2 alerts".into()));
    assert!(rule.alerts.is_empty() && rule.watched.is_empty());
}

/// How many alerts of this severity fire.
fn firing(play: &Play, severity: &str) -> usize {
    let alerts = play.group("g").progress.rules[0].alerts.iter();
    let firing = alerts.filter(|(_, alert)| matches!(alert.phase, Phase::Firing { .. }));
    firing.filter(|(labels, _)| labels.get("severity") == Some(severity)).count()
}

#[test]
fn values_that_change_keep_no_series_from_its_grade() {
    let mut play = Play::new();
    play.set_rules(&rules("").replace("{{ $value }}", "{{ $labels.x }}")).unwrap();
    let mut counts = Vec::new();
    for tick in 0..6 {
        // In the third one series gets better, in the fourth all do.
        let value = |at| if tick > 2 || (tick == 2 && at == 59) { 2.5 } else { 5.0 };
        let all = long(60, |at| format!("{}", value(at) + f64::from(tick) / 100.0));
        play.evaluate("g", &[Ok(&texts(&all))]);
        counts.push((firing(&play, "critical"), firing(&play, "warning")));
        play.now += MINUTE;
    }
    // Where there is no room for all that got better, the evaluation counts as no check.
    assert_eq!(counts, [(52, 0), (60, 0), (59, 1), (59, 1), (0, 60), (0, 60)]);
}

#[test]
fn of_however_many_series_are_gone_people_are_told() {
    let mut play = Play::new();
    let no_data = ", no_data: {behavior: alert, after: 1m}";
    play.set_rules(&rules(no_data).replace("{{ $value }}", "{{ $labels.x }}")).unwrap();
    let all = long(60, |_| "1".to_owned());
    let mut counts = Vec::new();
    for present in [&texts(&all)[..], &["z=1"], &["z=1"], &["z=1"], &["z=1"]] {
        play.evaluate("g", &[Ok(present)]);
        counts.push((play.group("g").progress.rules[0].watched.len(), firing(&play, "no_data")));
        play.now += MINUTE;
    }
    assert_eq!(counts, [(60, 0), (61, 0), (61, 0), (61, 60), (61, 60)]);
}

#[test]
fn at_the_limit_of_a_tenant_series_that_are_gone_are_forgotten() {
    let mut play = Play::new();
    play.set_rules(&rules(", no_data: {behavior: alert, after: 1m, forget_after: 5m}")).unwrap();
    play.evaluate("g", &[Ok(&["1=1"])]);
    play.leave_room(0);
    let mut said = Vec::new();
    for after in [1, 1, 5, 16, 1] {
        play.now += after * MINUTE;
        play.evaluate("g", &[Ok(&["2=1"])]);
        let rule = &play.group("g").progress.rules[0];
        let watched: Vec<&str> = rule.watched.keys().filter_map(|labels| labels.get("x")).collect();
        said.push((watched.concat(), play.alerts("g", 0), rule.health.clone()));
    }
    let left_out = || Health::Failed("there are 200000 alerts and watched series already: 1 left out".to_owned());
    let expected = [
        ("1", "", left_out()),
        ("1", "1 no_data firing", left_out()),
        ("", "1 no_data resolved", left_out()),
        ("", "", left_out()),
        ("2", "", Health::Ok),
    ];
    assert_eq!(said, expected.map(|(watched, alerts, health)| (watched.to_owned(), alerts.to_owned(), health)));
}

fn phases(alerts: &Alerts) -> BTreeMap<String, Phase> {
    alerts.iter().map(|(labels, alert)| (labels.to_string(), alert.phase)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_alert_group_comes_to_what_a_whole_evaluation_comes_to(
        more in prop::sample::select(vec![
            "",
            ", for: 20s, keep_firing_for: 15s",
            ", checks: {at_least: 2, of: 4}, for: 10s",
            ", no_data: {behavior: alert, after: 20s, forget_after: 90s}, keep_firing_for: 30s",
            ", no_data: {behavior: keep, after: 10s, forget_after: 60s}, checks: {at_least: 3, of: 3}",
            ", no_data: {behavior: ok, after: 30s}",
        ]),
        evaluations in prop::collection::vec(
            (prop::collection::btree_map(0..3u8, 0..6u8, 0..3), prop::sample::select(vec![10, 10, 20, 1000])), 1..40
        ),
    ) {
        let mut play = Play::new();
        play.set_rules(&rules(more)).unwrap();
        let parsed = play.group("g").parsed.clone().unwrap();
        let Rule::Alerting(rule) = &parsed.rules[0] else { panic!("an alert") };
        let mut whole = AlertingState::default();
        for (present, after) in evaluations {
            let texts: Vec<String> = present.iter().map(|(x, value)| format!("{x}={value}")).collect();
            play.evaluate("g", &[Ok(&texts.iter().map(String::as_str).collect::<Vec<_>>())]);
            let vector: Vec<VectorSample> = present.iter().map(|(x, value)| VectorSample {
                labels: Labels::of(&[("x", x.to_string().as_str())]),
                point: Point { timestamp: play.now, value: f64::from(*value) },
                histogram: None,
            }).collect();
            let evaluation = Evaluation {
                now: play.now, query_offset_ms: 0, limit: None, external_labels: &Labels::empty(), surroundings: &Nowhere,
            };
            whole = step(rule, &whole, &evaluation, &vector).unwrap().state;
            let known = &play.group("g").progress.rules[0];
            // Values are throttled there, phases and standings are not.
            prop_assert_eq!(phases(&known.alerts), phases(&whole.alerts));
            let standings = |watched: &bellwether_alert::state::threshold::watch::Watchlist| {
                watched.iter().map(|(labels, watched)| (labels.to_string(), watched.standing)).collect::<Vec<_>>()
            };
            prop_assert_eq!(standings(&known.watched), standings(&whole.watched));
            // Of a series one severity fires.
            for x in 0..3 {
                let of_series = whole.alerts.iter().filter(|(labels, alert)| {
                    labels.get("x") == Some(&x.to_string()) && matches!(alert.phase, Phase::Firing { .. })
                });
                prop_assert!(of_series.count() <= 1);
            }
            play.now += after * SECOND;
        }
    }
}

/// What each message says, told as it is made.
fn told(play: &mut Play) -> String {
    play.look_until(play.now + 2 * MINUTE);
    play.send_all().join(", ")
}

#[test]
fn while_a_rule_is_muted_nobody_is_told_but_of_ends() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    // The play begins 16 minutes 40 seconds after midnight.
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a, mute: [{schedule: '00:20 - 00:40'}]}\n").unwrap();
    let mut said = Vec::new();
    for (minute, present) in [
        (17, &["1", "2"][..]),
        (21, &["1", "2", "3"]),
        (25, &["2", "3"]),
        (30, &["2", "3", "4"]),
        (35, &["2", "3"]),
        (40, &["2", "3"]),
    ] {
        play.now = play.now.max(minute * MINUTE);
        play.evaluate("g", &[Ok(present)]);
        said.push(format!("{minute}: {}", told(&mut play)));
    }
    assert_eq!(said, ["17: new [1 2] []", "21: ", "25: resolved [] [1]", "30: ", "35: ", "40: new [2 3] []"]);
}

#[test]
fn composite_rules_follow_the_states_of_others() {
    let mut play = Play::new();
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a, for: 1m}\n- {alert: B, expr: b}\n").unwrap();
    let hold = |play: &Play, text: &str| play.tenant().composites([&Composite::parse(text).unwrap()]).remove(0);
    assert_eq!(hold(&play, "!A && !B"), Ok(true));
    play.evaluate("g", &[Ok(&["1"]), Ok(&["2", "3"])]);
    // What is pending does not fire.
    assert_eq!(hold(&play, "A"), Ok(false));
    assert_eq!(hold(&play, "B{x=\"3\"} && !B{x=\"4\"} && !A"), Ok(true));
    play.now += MINUTE;
    play.evaluate("g", &[Ok(&["1"]), Ok(&[])]);
    assert_eq!(hold(&play, "A && !B"), Ok(true));
    assert_eq!(hold(&play, "A || C"), Err("there is no alerting rule \"C\"".to_owned()));
}
