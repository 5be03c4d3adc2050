//! Who is told if nobody takes care, and who is on call.

use bellwether_alert::alert_group::{Command, Delivery, ReceivedAlert, states};
use bellwether_alert::notify::on_call::Shift;
use bellwether_model::Labels;

use crate::play::{MINUTE, Play, SECOND, outside, tenant};

/// 1970-01-01 is the begin; a play begins at 00:16:40.
const CONFIG: &str = "\
global: {resolve_timeout: 2d}
route:
  receiver: team
  group_by: [alertname]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1d
  escalation: page
receivers:
- {name: team, on_call: days}
- {name: ann, webhook_configs: [{url: 'http://ann'}]}
- {name: bob, webhook_configs: [{url: 'http://bob'}]}
- {name: boss, webhook_configs: [{url: 'http://boss'}]}
on_call:
- {name: days, time_zone: UTC, rotations: [{users: [ann, bob], begins: 1970-01-01, length: 1h}]}
escalation_policies:
- {name: page, steps: [{on_call: days, after: 5m}, {notify: boss, after: 10m}], repeat: 1}
";

fn play() -> Play {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    play
}

/// What is sent, and to whom.
fn sent(play: &mut Play) -> Vec<String> {
    let intents: Vec<(u64, String)> =
        play.tenant().intents.iter().map(|(number, intent)| (*number, intent.message.receiver.clone())).collect();
    intents.into_iter().map(|(number, whom)| format!("{whom}: {}", play.tell(number, Delivery::Sent))).collect()
}

/// What is sent until then, with the minutes that have passed.
fn sent_within(play: &mut Play, minutes: i64) -> Vec<String> {
    let begin = play.now;
    let mut all = Vec::new();
    while let Some(next) = play.state.next().map(|(at, _)| at).filter(|at| *at <= begin + minutes * MINUTE) {
        play.look_until(next);
        all.extend(sent(play).into_iter().map(|sent| format!("{} {sent}", (play.now - begin) / MINUTE)));
        // As after a failover.
        play.state = states::decode(&states::encode(&play.state)).unwrap();
    }
    play.now = begin + minutes * MINUTE;
    all
}

fn acknowledge(play: &mut Play) {
    let alerts = [outside("1").labels].into();
    play.apply(Command::Acknowledge { tenant: tenant(), alerts, by: "me".into() }).unwrap();
}

fn end(play: &mut Play, x: &str) {
    play.receive(ReceivedAlert { begins_at: Some(0), ends_at: Some(play.now), ..outside(x) }).unwrap();
}

#[test]
fn while_nobody_takes_care_step_follows_step() {
    let mut play = play();
    assert_eq!(sent(&mut play), ["ann: new [1] []"]);
    // Twice all of them: who has heard hears again.
    let all = sent_within(&mut play, 40);
    assert_eq!(
        all,
        ["5 ann: repeated [1] []", "15 boss: new [1] []", "20 ann: repeated [1] []", "30 boss: repeated [1] []"]
    );
    end(&mut play, "1");
    assert_eq!(sent_within(&mut play, 2), ["1 boss: resolved [] [1]", "1 ann: resolved [] [1]"]);
    assert!(play.tenant().dispatch.alerts().len() == 0 && play.state.next().is_none());
}

#[test]
fn with_the_acknowledgement_the_steps_end_and_with_what_fires_anew_they_begin_again() {
    let mut play = play();
    sent(&mut play);
    assert_eq!(sent_within(&mut play, 16), ["5 ann: repeated [1] []", "15 boss: new [1] []"]);
    acknowledge(&mut play);
    assert_eq!(sent_within(&mut play, 20), [] as [&str; 0]);
    // Whoever was told of the group is told what changes.
    play.receive(outside("2")).unwrap();
    let all = sent_within(&mut play, 6);
    assert_eq!(all[..2], ["1 boss: changed [1 2] []", "1 ann: changed [1 2] []"]);
    // Five minutes later a step; by then somebody else may be on call.
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn what_waits_for_who_is_on_call_is_sent_after_another_configuration_too() {
    let mut play = play();
    let waiting = play.tenant().intents.clone();
    assert_eq!(waiting.len(), 1);
    play.set_config(&CONFIG.replace("1d", "2d")).unwrap();
    assert_eq!(play.tenant().intents, waiting);
    assert_eq!(sent(&mut play), ["ann: new [1] []"]);
    end(&mut play, "1");
    assert_eq!(sent_within(&mut play, 2), ["0 ann: resolved [] [1]"]);
    assert!(play.tenant().dispatch.alerts().len() == 0 && play.state.next().is_none());
}

#[test]
fn who_is_on_call_is_told_and_his_successor_too() {
    let mut play = Play::new();
    play.set_config(&CONFIG.replace("  escalation: page\n", "")).unwrap();
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(sent(&mut play), ["ann: new [1] []"]);
    // At one o'clock.
    assert_eq!(sent_within(&mut play, 60), ["44 bob: new [1] []"]);
    let shift = Shift { user: "boss".into(), begins_at: play.now, ends_at: play.now + 10 * MINUTE };
    let (id, schedule, by) = ("o".to_owned(), "days".to_owned(), "me".to_owned());
    play.apply(Command::SetOverride { tenant: tenant(), id: id.clone(), schedule, shift, by }).unwrap();
    assert_eq!(sent_within(&mut play, 2), ["1 boss: new [1] []"]);
    play.apply(Command::DeleteOverride { tenant: tenant(), id }).unwrap();
    end(&mut play, "1");
    assert_eq!(sent_within(&mut play, 2), ["1 bob: resolved [] [1]"]);
}

#[test]
fn an_override_of_a_receiver_that_is_gone_leaves_the_schedule_as_it_is() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    // Bob is on call instead of Ann, and then there is no Bob any more.
    for (id, user) in [("before", "boss"), ("last", "bob")] {
        let shift = Shift { user: user.into(), begins_at: play.now, ends_at: play.now + 10 * MINUTE };
        let (id, schedule, by) = (id.to_owned(), "days".to_owned(), "me".to_owned());
        play.apply(Command::SetOverride { tenant: tenant(), id, schedule, shift, by }).unwrap();
    }
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(sent(&mut play), ["bob: new [1] []"]);
    let without =
        CONFIG.replace("- {name: bob, webhook_configs: [{url: 'http://bob'}]}\n", "").replace("[ann, bob]", "[ann]");
    play.set_config(&without).unwrap();
    assert_eq!(sent_within(&mut play, 2), ["0 boss: new [1] []"]);
    play.apply(Command::DeleteOverride { tenant: tenant(), id: "before".into() }).unwrap();
    assert_eq!(sent_within(&mut play, 2), ["0 ann: new [1] []"]);
}

#[test]
fn another_configuration_goes_on_with_the_steps() {
    let mut play = play();
    sent(&mut play);
    assert_eq!(sent_within(&mut play, 6), ["5 ann: repeated [1] []"]);
    play.set_config(&CONFIG.replace("1d", "2d")).unwrap();
    play.look_until(play.now + 10 * MINUTE);
    assert_eq!(play.state.tenants[&tenant()].intents.len(), 1);
    // What waits then is sent, under the name that it has.
    let waiting = play.tenant().intents.clone();
    play.set_config(&CONFIG.replace("1d", "3d")).unwrap();
    assert_eq!(play.tenant().intents, waiting);
    assert_eq!(sent(&mut play), ["boss: new [1] []"]);
    play.set_config(&CONFIG.replace("  escalation: page\n", "")).unwrap();
    assert_eq!(sent_within(&mut play, 60), ["28 bob: new [1] []"]);
}

#[test]
fn groups_of_routes_with_the_same_matchers_have_steps_of_their_own() {
    let routes = "  routes:\n  - {matchers: [x=1], receiver: team, escalation: page, continue: true}\n  - {matchers: [x=1], receiver: bob}\n";
    let siblings = CONFIG.replace("  escalation: page\n", routes);
    let first = "  routes:\n  - {matchers: [x=1], receiver: log, continue: true}\n";
    let three = siblings.replace("  routes:\n", first).replace("receivers:\n", "receivers:\n- name: log\n");
    for config in [siblings.replace("1d", "2d"), three] {
        let mut play = Play::new();
        play.set_config(&siblings).unwrap();
        play.receive(outside("1")).unwrap();
        play.look_until(play.now + 10 * SECOND);
        assert_eq!(sent(&mut play), ["ann: new [1] []", "bob: new [1] []"]);
        assert_eq!(sent_within(&mut play, 7), ["5 ann: repeated [1] []"]);
        // Where the group's route has another number, the steps go on too.
        play.set_config(&config).unwrap();
        assert_eq!(sent_within(&mut play, 9), ["8 boss: new [1] []"]);
        acknowledge(&mut play);
        assert_eq!(sent_within(&mut play, 20), [] as [&str; 0]);
        end(&mut play, "1");
        let all = sent_within(&mut play, 2);
        assert_eq!(all, ["1 boss: resolved [] [1]", "1 ann: resolved [] [1]", "1 bob: resolved [] [1]"]);
        assert!(play.tenant().dispatch.alerts().len() == 0 && play.state.next().is_none());
    }
}

#[test]
fn groups_that_tell_one_receiver_the_same_tell_him_once() {
    let routes =
        "  routes:\n  - {matchers: [x=1], receiver: bob, continue: true}\n  - {matchers: [x=1], receiver: bob}\n";
    let mut play = Play::new();
    play.set_config(&CONFIG.replace("receivers:\n", &format!("{routes}receivers:\n"))).unwrap();
    let check = |play: &Play| {
        assert_eq!(play.tenant().ways.len(), play.tenant().intents.len(), "a way has one intent");
        let bytes = states::encode(&play.state);
        assert_eq!(states::encode(&states::decode(&bytes).unwrap()), bytes);
    };
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    check(&play);
    assert_eq!(sent(&mut play), ["bob: new [1] []"]);
    for _ in 0..20 {
        play.look_until(play.now + MINUTE);
        check(&play);
        play.send_all();
    }
    end(&mut play, "1");
    assert_eq!(
        sent_within(&mut play, 2),
        ["1 ann: resolved [] [1]", "1 boss: resolved [] [1]", "1 bob: resolved [] [1]"]
    );
    check(&play);
    assert!(play.tenant().dispatch.alerts().len() == 0 && play.state.next().is_none());
}

#[test]
fn an_end_is_told_to_whom_there_was_no_room_to_tell_again() {
    let mut play = Play::new();
    let throttled = CONFIG.replace("{name: ann, ", "{name: ann, throttle: {messages: 1, per: 2h}, ");
    play.set_config(&throttled).unwrap();
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(sent(&mut play), ["ann: new [1] []"]);
    assert_eq!(sent_within(&mut play, 6), ["5 ann: held back [1] []"]);
    end(&mut play, "1");
    assert_eq!(sent_within(&mut play, 2), ["1 ann: resolved [] [1]", "1 ann: held back [] []"]);
}

#[test]
fn a_policy_that_is_shortened_is_over_and_goes_on_when_it_is_longer() {
    let mut play = play();
    sent(&mut play);
    assert_eq!(sent_within(&mut play, 16), ["5 ann: repeated [1] []", "15 boss: new [1] []"]);
    play.set_config(&CONFIG.replace(", {notify: boss, after: 10m}], repeat: 1", "]")).unwrap();
    play.now += 10 * MINUTE;
    play.apply(Command::Advance { tenant: tenant() }).unwrap();
    assert_eq!(play.state.next().map(|(at, _)| at), Some(play.now + MINUTE));
    assert_eq!(sent_within(&mut play, 5), [] as [&str; 0]);
    play.set_config(CONFIG).unwrap();
    assert_eq!(sent_within(&mut play, 6), ["5 ann: repeated [1] []"]);
}

#[test]
fn who_is_off_duty_is_not_told_of_what_was_held_back_from_him() {
    let mut play = Play::new();
    let throttled = CONFIG.replace("{name: ann, ", "{name: ann, throttle: {messages: 1, per: 1h}, ");
    play.set_config(&throttled.replace("  escalation: page\n", "")).unwrap();
    play.receive(outside("1")).unwrap();
    let labels = Labels::of(&[("alertname", "Other"), ("x", "2")]);
    play.receive(ReceivedAlert { labels, ..outside("2") }).unwrap();
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(sent(&mut play), ["ann: new [2] []", "ann: held back [1] []"]);
    // At one o'clock.
    let all = sent_within(&mut play, 90);
    assert_eq!(all, ["44 bob: new [2] []", "44 bob: new [1] []", "44 ann: held back [] []"]);
}
