//! Evaluations: which are taken, and what becomes of alerts.

use bellwether_alert::alert_group::{Command, Health, Limited, Refusal, limits};
use bellwether_alert::state::alerting::{Phase, Seen};
use bellwether_model::Labels;

use crate::play::{MINUTE, Play, SECOND, long, texts};

const RULES: &str = "\
name: g
limit: 3
rules:
- {alert: A, expr: a, for: 15s, keep_firing_for: 15s}
- {record: r, expr: a}
- {alert: B, expr: b}
";

fn play() -> Play {
    let mut play = Play::new();
    play.set_rules(RULES).unwrap();
    play
}

#[test]
fn alerts_go_from_pending_to_firing_to_resolved_by_the_time_of_evaluations() {
    let mut play = play();
    let mut said = Vec::new();
    for present in [&["1", "2"] as &[&str], &["1"], &["1"], &[], &["1"], &[], &[], &[]] {
        play.evaluate("g", &[Ok(present), Ok(&[]), Ok(&[])]);
        said.push(play.alerts("g", 0));
        play.now += 10 * SECOND;
    }
    let expected =
        ["1 pending, 2 pending", "1 pending", "1 firing", "1 kept", "1 firing", "1 kept", "1 kept", "1 resolved"];
    assert_eq!(said, expected);
    assert_eq!(play.history(), "1 pending, 2 pending, 2 dropped, 1 firing, 1 resolved");
    play.now += 20 * MINUTE;
    play.evaluate("g", &[Ok(&[]), Ok(&[]), Ok(&[])]);
    assert_eq!((play.alerts("g", 0).as_str(), play.tenant().totals.alerts), ("", 0));
}

#[test]
fn what_is_as_it_was_is_not_told() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&["2"])]);
    let progress = &play.group("g").progress;
    assert!(progress.rules.iter().all(|rule| rule.health == Health::Ok && rule.duration_us == 5));
    assert_eq!((progress.last_evaluation, progress.duration_us), (Some(play.now), 9));
    play.now += 20 * SECOND;
    let evaluated = play.evaluation("g", play.now, &[Ok(&["1"]), Ok(&[]), Ok(&["2"])]);
    assert_eq!(evaluated.differences, []);
    // And yet time goes on.
    play.apply(Command::Evaluated(evaluated.into())).unwrap();
    assert_eq!(play.alerts("g", 0), "1 firing");
    let shared = play.group("g").progress.rules[2].alerts.clone();
    play.now += 20 * SECOND;
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&["2"])]);
    assert!(std::sync::Arc::ptr_eq(&shared, &play.group("g").progress.rules[2].alerts), "nothing is copied");
}

#[test]
fn of_rules_that_were_not_evaluated_nothing_becomes() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&["2"])]);
    play.now += 20 * SECOND;
    let still = play.evaluation_of_some("g", play.now, &[None, None, Some(Ok(&["2"]))]);
    assert!(still.changes_nothing(play.group("g")));
    let by_time = play.evaluation_of_some("g", play.now, &[Some(Ok(&["1"])), None, None]);
    assert!(!by_time.changes_nothing(play.group("g")), "it fires");
    let gone = play.evaluation_of_some("g", play.now, &[None, None, Some(Ok(&[]))]);
    assert!(!gone.changes_nothing(play.group("g")));
    assert!(!play.evaluation_of_some("g", play.now, &[None, None, Some(Err("no"))]).changes_nothing(play.group("g")));
    play.apply(Command::Evaluated(gone.into())).unwrap();
    assert_eq!((play.alerts("g", 0).as_str(), play.alerts("g", 2).as_str()), ("1 pending", "2 resolved"));
    let progress = &play.group("g").progress;
    assert!(progress.rules.iter().all(|rule| rule.health == Health::Ok && rule.duration_us == 5));
    // The others are evaluated after it, as if nothing had been.
    play.now += SECOND;
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&[])]);
    assert_eq!(play.alerts("g", 0), "1 firing");
}

#[test]
fn values_are_told_again_after_a_minute() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&[])]);
    let changed = |play: &Play, after: i64| {
        let mut known = play.group("g").clone();
        let rule = &mut known.progress.rules[0];
        std::sync::Arc::make_mut(&mut rule.alerts).values_mut().for_each(|alert| alert.value = 77.0);
        let alerts = rule.alerts.clone();
        let present = [(Labels::of(&[("alertname", "A"), ("x", "1")]), Seen { value: 1.0, annotations: [].into() })];
        bellwether_alert::state::alerting::Observation::difference(
            &alerts,
            &present.into(),
            play.now + after,
            limits::REFRESH_MS,
        )
    };
    assert!(changed(&play, MINUTE - 1).is_empty());
    assert_eq!(changed(&play, MINUTE).refreshed.len(), 1);
}

#[test]
fn an_evaluation_is_taken_once_and_by_who_knows_what_was_before() {
    let mut play = play();
    let results: [Result<&[&str], &str>; 3] = [Ok(&["1"]), Ok(&[]), Ok(&[])];
    let first = play.evaluation("g", play.now, &results);
    play.apply(Command::Evaluated(first.clone().into())).unwrap();
    let last = Some(play.now);
    let again = play.apply(Command::Evaluated(first.clone().into()));
    assert_eq!(again, Err(Refusal::AlreadyEvaluated { last, before: None, at: play.now }));

    let second = play.evaluation("g", play.now + 1, &results);
    let mut older = second.clone();
    older.at = play.now;
    let refused = play.apply(Command::Evaluated(older.into()));
    assert_eq!(refused, Err(Refusal::AlreadyEvaluated { last, before: last, at: play.now }));

    let mut short = second.clone();
    short.rule_durations_us.pop();
    assert_eq!(play.apply(Command::Evaluated(short.into())), Err(Refusal::OtherRules { rules: 3 }));

    let epoch = play.ring(&[1, 2]);
    let refused = play.apply(Command::Evaluated(second.clone().into()));
    assert_eq!(refused, Err(Refusal::OldRing { current: epoch, got: 1 }));

    let mut third = second;
    third.epoch = epoch;
    play.set_rules(&RULES.replace("15s", "20s")).unwrap();
    let refused = play.apply(Command::Evaluated(third.into()));
    assert!(matches!(refused, Err(Refusal::OldRevision { got: 2, .. })), "{refused:?}");
    assert_eq!(play.group("g").progress.last_evaluation, last);
}

#[test]
fn an_evaluation_by_a_clock_that_is_far_ahead_is_refused() {
    let mut play = play();
    let results: [Result<&[&str], &str>; 3] = [Ok(&["1"]), Ok(&[]), Ok(&[])];
    let refused = play.apply(Command::Evaluated(play.evaluation("g", play.now + MINUTE + 1, &results).into()));
    let what = Limited::EvaluationAheadMs;
    assert_eq!(refused, Err(Refusal::Limit { what, got: 60_001, limit: 60_000 }));
    play.apply(Command::Evaluated(play.evaluation("g", play.now + MINUTE, &results).into())).unwrap();
}

#[test]
fn a_rule_that_fails_keeps_its_alerts_and_says_why() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&["2"])]);
    for error in ["no", "never"] {
        play.now += MINUTE;
        play.evaluate("g", &[Err(error), Err(error), Ok(&[])]);
        let progress = &play.group("g").progress;
        assert_eq!(progress.rules[0].health, Health::Failed(error.into()));
        assert_eq!(play.alerts("g", 0), "1 pending");
        assert_eq!(play.alerts("g", 2), "2 resolved");
    }
    play.now += MINUTE;
    play.evaluate("g", &[Ok(&["1"]), Ok(&[]), Ok(&[])]);
    assert_eq!(play.group("g").progress.rules[0].health, Health::Ok);
    assert_eq!(play.alerts("g", 0), "1 firing");
}

#[test]
fn a_limit_that_is_exceeded_forgets_alerts() {
    let mut play = play();
    play.evaluate("g", &[Ok(&[]), Ok(&[]), Ok(&["1", "2", "3"])]);
    play.now += MINUTE;
    for _ in 0..2 {
        play.evaluate("g", &[Ok(&[]), Ok(&[]), Ok(&["1", "2", "3", "4"])]);
        let rule = &play.group("g").progress.rules[2];
        assert_eq!(rule.health, Health::Failed("exceeded limit of 3 with 4 alerts".into()));
        assert_eq!((play.alerts("g", 2).as_str(), play.tenant().totals.alerts), ("", 0));
        play.now += MINUTE;
    }
    assert!(play.history().ends_with("1 resolved, 2 resolved, 3 resolved"), "{}", play.history());
    play.evaluate("g", &[Ok(&[]), Ok(&[]), Ok(&["1"])]);
    assert_eq!(play.alerts("g", 2), "1 firing");
}

/// How many alerts of a rule fire, of which the series is there.
fn firing(play: &Play, rule: usize) -> usize {
    let alerts = play.group("g").progress.rules[rule].alerts.values();
    alerts.filter(|alert| matches!(alert.phase, Phase::Firing { kept_since: None, .. })).count()
}

/// Evaluates now; whether one of the observations was cut.
fn is_cut(play: &mut Play, rules: &[Result<&[&str], &str>]) -> bool {
    let evaluated = play.evaluation("g", play.now, rules);
    let is_cut = evaluated.differences.iter().any(|difference| difference.observation.is_cut);
    play.apply(Command::Evaluated(evaluated.into())).unwrap();
    is_cut
}

#[test]
fn what_has_no_room_in_one_evaluation_is_told_by_the_next() {
    let mut play = Play::new();
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a, keep_firing_for: 1m}\n").unwrap();
    let all = long(60, |_| "1".to_owned());
    let all = texts(&all);
    let mut counts = Vec::new();
    for present in [&all[..], &all, &[], &all, &all, &all[..1], &all[..1]] {
        let is_cut = is_cut(&mut play, &[Ok(present)]);
        counts.push((play.group("g").progress.rules[0].alerts.len(), firing(&play, 0), is_cut));
        play.now += MINUTE;
    }
    // Those that are back are not ended by time before all were told: what was not told may be back as well.
    let expected = [
        (52, 52, false),
        (60, 60, false),
        (60, 0, false),
        (60, 52, true),
        (60, 60, false),
        (60, 1, false),
        (60, 1, false),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn values_that_change_keep_nothing_from_firing_and_are_told_in_turn() {
    let mut play = Play::new();
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a}\n- {alert: B, expr: b}\n").unwrap();
    let mut counts = Vec::new();
    for tick in 0..6 {
        let all = long(60, |_| tick.to_string());
        // The other rule has an alert once there is no room for all values of the first.
        let other: &[&str] = if tick > 2 { &["1"] } else { &[] };
        let is_cut = is_cut(&mut play, &[Ok(&texts(&all)), Ok(other)]);
        let told = play.group("g").progress.rules[0].alerts.values().map(|alert| alert.refreshed_at);
        counts.push((firing(&play, 0), firing(&play, 1), (play.now - told.min().unwrap()) / MINUTE, is_cut));
        play.now += MINUTE;
    }
    let expected = [
        (52, 0, 0, false),
        (60, 0, 1, false),
        (60, 0, 1, false),
        (60, 1, 1, false),
        (60, 1, 1, false),
        (60, 1, 1, false),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn at_the_limit_of_a_tenant_what_is_new_is_left_out_and_what_is_known_goes_on() {
    let mut play = Play::new();
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a}\n").unwrap();
    play.evaluate("g", &[Ok(&["1", "2"])]);
    play.now += MINUTE;
    play.evaluate("g", &[Ok(&[])]);
    play.leave_room(1);
    let mut said = Vec::new();
    let all = ["1", "2", "3", "4", "5"];
    for (after, present) in [(1, &all[..]), (1, &all[1..]), (16, &all[1..]), (1, &all[1..]), (1, &all[1..4])] {
        play.now += after * MINUTE;
        play.evaluate("g", &[Ok(present)]);
        said.push((play.alerts("g", 0), play.group("g").progress.rules[0].health.clone()));
    }
    let left_out =
        |count| Health::Failed(format!("there are 200000 alerts and watched series already: {count} left out"));
    let expected = [
        // Those that were resolved are counted already.
        ("1 firing, 2 firing, 3 firing", left_out(2)),
        ("1 resolved, 2 firing, 3 firing", left_out(2)),
        ("2 firing, 3 firing", left_out(2)),
        ("2 firing, 3 firing, 4 firing", left_out(1)),
        ("2 firing, 3 firing, 4 firing", Health::Ok),
    ];
    assert_eq!(said, expected.map(|(alerts, health)| (alerts.to_owned(), health)));
}
