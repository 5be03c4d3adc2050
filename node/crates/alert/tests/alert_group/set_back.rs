//! A clock that was far ahead is set right, and everything goes on.

use bellwether_alert::alert_group::{Command, Refusal, states};
use bellwether_alert::notify::silence::SilenceState;
use bellwether_alert::set_back::TIME_SET_BACK_MS_MIN;

use crate::play::{CONFIG, MINUTE, Play, SECOND, outside, tenant};
use crate::silences::set;

const HOUR: i64 = 60 * MINUTE;
const RULES: &str = "\
name: g
rules:
- {alert: A, expr: a, for: 30s}
- alert: B
  expr: b
  keep_firing_for: 1m
  thresholds: {compare: '>', critical: 3}
";

/// Rules and a configuration, and a clock that is an hour ahead.
fn play() -> Play {
    let mut play = Play::new();
    play.set_rules(RULES).unwrap();
    play.set_config(CONFIG).unwrap();
    play.evaluate("g", &[Ok(&[]), Ok(&["b=1"])]);
    play.now += HOUR;
    play
}

#[test]
fn what_began_while_the_clock_was_ahead_goes_on_and_ends() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"]), Ok(&["b=4"])]);
    play.look_until(play.now + 20 * SECOND);
    assert_eq!(play.send_all(), ["new [b] []"]);
    play.now -= HOUR;
    play.apply(Command::Advance { tenant: tenant() }).unwrap();
    assert_eq!(play.state.time, play.now);
    assert_eq!(play.group("g").progress.last_evaluation, Some(play.now));

    play.now += 29 * SECOND;
    play.evaluate("g", &[Ok(&["1"]), Ok(&["b=4"])]);
    assert_eq!((play.alerts("g", 0), play.alerts("g", 1)), ("1 pending".into(), "b critical firing".into()));
    play.now += SECOND;
    play.evaluate("g", &[Ok(&["1"]), Ok(&["b=1"])]);
    assert_eq!((play.alerts("g", 0), play.alerts("g", 1)), ("1 firing".into(), "b critical kept".into()));
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(play.send_all(), ["new [1] []"]);
    play.now += 50 * SECOND;
    play.evaluate("g", &[Ok(&[]), Ok(&["b=1"])]);
    assert_eq!((play.alerts("g", 0), play.alerts("g", 1)), ("1 resolved".into(), "b critical resolved".into()));
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [b]", "resolved [] [1]"]);
    assert_eq!((play.tenant().dispatch.alerts().len(), play.state.next()), (0, None));
}

#[test]
fn who_was_told_is_reminded_after_as_long_as_ever() {
    let mut play = play();
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(play.send_all(), ["new [1] []"]);
    play.now -= HOUR;
    for minute in 1..=61 {
        // Its sender tells of it again and again, so that it goes on.
        play.receive(outside("1")).unwrap();
        play.look_until(play.now + MINUTE);
        let expected: &[&str] = if minute == 61 { &["repeated [1] []"] } else { &[] };
        assert_eq!(play.send_all(), expected, "minute {minute}");
    }
    // What nobody tells of any more ends when that is due, not an hour later.
    play.look_until(play.now + 5 * MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [1]"]);
}

#[test]
fn what_is_silenced_stays_so_and_what_was_expired_is_over() {
    let mut play = play();
    let (created, now) = (play.now - 10 * HOUR, play.now - HOUR);
    for (id, of, times) in [
        ("active", "x=\"1\"", (created, now + 2 * HOUR)),
        ("expired", "x=\"2\"", (created, now + 2 * HOUR)),
        ("later", "x=\"3\"", (play.now + MINUTE, now + 2 * HOUR)),
    ] {
        set(&mut play, None, id, of, times).unwrap();
    }
    play.now += SECOND;
    play.apply(Command::ExpireSilence { tenant: tenant(), id: "expired".into() }).unwrap();
    play.now -= HOUR;
    play.apply(Command::Advance { tenant: tenant() }).unwrap();
    let state = |id: &str, at| play.tenant().silences.get(id).unwrap().state(at);
    let states = |at| ["active", "expired", "later"].map(|id| state(id, at));
    assert_eq!(states(play.now), [SilenceState::Active, SilenceState::Expired, SilenceState::Pending]);
    assert_eq!(states(now + HOUR + MINUTE), [SilenceState::Active, SilenceState::Expired, SilenceState::Active]);
    assert_eq!(state("active", now + 2 * HOUR), SilenceState::Expired, "as it was said");
}

#[test]
fn what_is_stored_of_it_is_the_same() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"]), Ok(&["b=4"])]);
    play.receive(outside("2")).unwrap();
    play.look_until(play.now + 20 * SECOND);
    play.now -= HOUR;
    play.apply(Command::Advance { tenant: tenant() }).unwrap();
    let parts = states::encode(&play.state);
    let read = states::decode(&parts).unwrap();
    assert_eq!(states::encode(&read), parts);
    assert_eq!(read.next(), play.state.next());
}

#[test]
fn two_leaders_whose_clocks_differ_a_little_have_one_time() {
    let mut play = play();
    let results: [Result<&[&str], &str>; 2] = [Ok(&[]), Ok(&["b=1"])];
    play.evaluate("g", &results);
    let time = play.now;
    play.now -= TIME_SET_BACK_MS_MIN;
    let refused = play.apply(Command::Evaluated(play.evaluation("g", play.now, &results).into()));
    assert_eq!(refused, Err(Refusal::AlreadyEvaluated { last: Some(time), before: Some(time), at: play.now }));
    assert_eq!(play.state.time, time);
}
