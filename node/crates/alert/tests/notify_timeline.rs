//! Timelines of alerts, and who is told what of them when.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::collections::BTreeMap;

use bellwether_alert::notify::config::IntegrationAt;
use bellwether_alert::notify::dispatch::{Alert, Dispatch, Looking, Message};
use bellwether_alert::notify::throttle::Throttles;
use bellwether_alert::notify::timeline::Timeline;
use bellwether_alert::notify::{Config, Labels};
use expect_test::{Expect, expect};
use proptest::prelude::*;

const CONFIG: &str = "\
route:
  receiver: chat
  group_by: [alertname]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 1h
  routes:
  - {matchers: [severity=critical], receiver: pager, group_by: [alertname, zone], continue: true}
  - {matchers: [severity=night], receiver: pager, mute_time_intervals: [early]}
  - {matchers: [severity=silent], receiver: nobody}
receivers:
- {name: chat, webhook_configs: [{url: 'http://chat'}]}
- {name: pager, webhook_configs: [{url: 'http://pager'}, {url: 'http://log', send_resolved: false}]}
- name: nobody
inhibit_rules:
- {source_matchers: [alertname=Down], target_matchers: [alertname!=Down], equal: [host]}
time_intervals:
- {name: early, time_intervals: [{times: [{start_time: '08:00', end_time: '09:00'}]}]}
";

/// Each message: minutes and seconds after the begin, receiver and way, what for, hosts that fire and that do not.
fn check(events: &str, told: Expect) {
    let config = Config::read(CONFIG).unwrap();
    let timeline = format!("begin: 2026-11-20T08:00:00Z\nuntil: 3h\nevents:\n{events}");
    let timeline = Timeline::read(&timeline).unwrap_or_else(|problems| panic!("{timeline}\n{problems:?}"));
    let begin = 1_795_161_600_000;
    let mut text = String::new();
    for (at, message) in timeline.run(&config).unwrap() {
        let hosts = |alerts: &[Alert]| {
            let hosts: Vec<&str> = alerts.iter().map(|alert| alert.labels.get("host").unwrap_or("-")).collect();
            hosts.join(" ")
        };
        let second = (at - begin) / 1000;
        text.push_str(&format!(
            "{:03}:{:02} {}/{} {} [{}] [{}]\n",
            second / 60,
            second % 60,
            message.receiver,
            message.integration,
            message.why.as_str(),
            hosts(&message.firing),
            hosts(&message.resolved)
        ));
    }
    told.assert_eq(&text);
}

fn check_problems(timeline: &str, told: Expect) {
    let problems = Timeline::read(timeline).unwrap_err();
    told.assert_eq(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>());
}

#[test]
fn alerts_that_fire_together_are_told_together_and_repeated() {
    check(
        "- {at: 0s, firing: {alertname: X, host: a}}\n\
         - {at: 20s, firing: [{alertname: X, host: b}, {alertname: Y, host: c}]}\n",
        expect![[r#"
            000:30 chat/webhook[0] new [a b] []
            000:50 chat/webhook[0] new [c] []
            065:30 chat/webhook[0] repeated [a b] []
            065:50 chat/webhook[0] repeated [c] []
            130:30 chat/webhook[0] repeated [a b] []
            130:50 chat/webhook[0] repeated [c] []
        "#]],
    );
}

#[test]
fn what_changes_is_told_after_the_group_interval() {
    check(
        "- {at: 0s, firing: {alertname: X, host: a}}\n\
         - {at: 1m, firing: {alertname: X, host: b}}\n\
         - {at: 6m, resolved: {alertname: X, host: a}}\n\
         - {at: 7m, resolved: {alertname: X, host: b}}\n\
         - {at: 20m, firing: {alertname: X, host: a}}\n\
         - {at: 21m, resolved: {alertname: X, host: a}}\n",
        expect![[r#"
            000:30 chat/webhook[0] new [a] []
            005:30 chat/webhook[0] changed [a b] []
            010:30 chat/webhook[0] resolved [] [a b]
            020:30 chat/webhook[0] new [a] []
            025:30 chat/webhook[0] resolved [] [a]
        "#]],
    );
}

#[test]
fn a_way_that_is_not_told_of_the_end_is_told_of_the_next_begin() {
    check(
        "- {at: 0s, firing: {alertname: X, host: a, severity: critical, zone: z}}\n\
         - {at: 2m, resolved: {alertname: X, host: a, severity: critical, zone: z}}\n\
         - {at: 10m, firing: {alertname: X, host: a, severity: critical, zone: z}}\n\
         - {at: 11m, resolved: {alertname: X, host: a, severity: critical, zone: z}}\n",
        expect![[r#"
            000:30 pager/webhook[0] new [a] []
            000:30 pager/webhook[1] new [a] []
            005:30 pager/webhook[0] resolved [] [a]
            010:30 pager/webhook[0] new [a] []
            010:30 pager/webhook[1] new [a] []
            015:30 pager/webhook[0] resolved [] [a]
        "#]],
    );
}

#[test]
fn what_is_over_before_it_is_told_is_never_told() {
    check(
        "- {at: 0s, firing: {alertname: X, host: a}}\n\
         - {at: 10s, resolved: {alertname: X, host: a}}\n\
         - {at: 20s, resolved: {alertname: X, host: never}}\n",
        expect![[""]],
    );
}

#[test]
fn inhibited_and_silenced_alerts_wait_until_they_are_not() {
    check(
        "- {at: 0s, firing: [{alertname: X, host: a}, {alertname: X, host: b}, {alertname: Down, host: a}]}\n\
         - {at: 0s, silence: [host=b], for: 12m}\n\
         - {at: 7m, resolved: {alertname: Down, host: a}}\n\
         - {at: 50m, resolved: [{alertname: X, host: a}, {alertname: X, host: b}]}\n",
        expect![[r#"
            000:30 chat/webhook[0] new [a] []
            010:30 chat/webhook[0] resolved [] [a]
            010:30 chat/webhook[0] new [a] []
            015:30 chat/webhook[0] changed [a b] []
            050:30 chat/webhook[0] resolved [] [a b]
        "#]],
    );
}

#[test]
fn a_muted_route_tells_when_the_interval_is_over() {
    check(
        "- {at: 0s, firing: [{alertname: X, host: a, severity: night}, {alertname: X, host: b, severity: silent}]}\n\
         - {at: 80m, resolved: {alertname: X, host: a, severity: night}}\n",
        expect![[r#"
            060:30 pager/webhook[0] new [a] []
            060:30 pager/webhook[1] new [a] []
            080:30 pager/webhook[0] resolved [] [a]
        "#]],
    );
}

#[test]
fn a_storm_of_one_group_is_one_message() {
    let hosts: Vec<String> = (0..10_000).map(|host| format!("{{alertname: X, host: h{host}}}")).collect();
    let config = Config::read(CONFIG).unwrap();
    let text =
        format!("begin: 2026-11-20T08:00:00Z\nuntil: 10m\nevents:\n- {{at: 0s, firing: [{}]}}\n", hosts.join(", "));
    let told = Timeline::read(&text).unwrap().run(&config).unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1.firing.len(), 10_000);
}

#[test]
fn what_is_wrong_with_a_timeline_is_told_with_its_place() {
    check_problems(
        "",
        expect![[r#"
        1:1: the file is empty
    "#]],
    );
    check_problems(
        "begin: today\nevents:\n- {firing: {a: b}}\n- {at: 1m}\n- {at: 1m, silence: ['a=~\"(\"'], for: 1h}\n\
         - {at: 1m, silence: [a=b]}\n- {at: 1m, firing: [a]}\n- {at: 1m, fire: {a: b}}\n",
        expect![[r#"
            1:8: begin must be a time such as 2026-11-20T08:00:00Z
            3:3: an event needs at, how long after the begin it happens
            5:26: silence: "(" is no regular expression: unclosed group
            6:3: a silence needs for, how long it lasts
            7:21: an alert is a mapping of its labels
            8:12: unknown field "fire" in an event
        "#]],
    );
}

#[test]
fn what_is_held_back_waits_while_there_is_no_room_for_a_message() {
    let config = CONFIG.replace("{name: chat, ", "{name: chat, throttle: {messages: 1, per: 10m}, ");
    let config = Config::read(&config).unwrap();
    let (mut dispatch, mut throttles) = (Dispatch::default(), Throttles::default());
    for name in ["A", "B"] {
        let labels = Labels::of(&[("alertname", name)]);
        let alert =
            Alert { labels, annotations: Labels::empty(), begins_at: 0, ends_at: None, generator_url: "".into() };
        dispatch.receive(&config, alert, 0).unwrap();
    }
    let mut next = |now: i64, messages_max: usize| {
        let no = |_: &Labels| false;
        let looking = Looking {
            is_silenced: &no,
            is_acknowledged: &no,
            overrides: &Default::default(),
            pending: &|_| None,
            is_given_up: &|_| false,
            messages_max,
        };
        let made = dispatch.advance(&config, &looking, &mut throttles, now).messages.len();
        (made, throttles.next())
    };
    assert_eq!(next(30_000, 2), (2, Some(630_000)));
    assert_eq!(next(630_000, 0), (0, Some(690_000)));
    assert_eq!(next(690_000, 2), (1, Some(1_290_000)));
}

/// Looks at groups until a time, every message being sent, and checks what must hold of each.
struct Play {
    config: Config,
    dispatch: Dispatch,
    last: BTreeMap<(String, String, IntegrationAt), (i64, Message)>,
}

const HOUR_MS: i64 = 3_600_000;

impl Play {
    fn until(&mut self, end: i64) {
        while let Some(now) = self.dispatch.next().filter(|now| *now < end) {
            let no = |_: &Labels| false;
            let looking = Looking {
                is_silenced: &no,
                is_acknowledged: &no,
                overrides: &Default::default(),
                pending: &|_| None,
                is_given_up: &|_| false,
                messages_max: usize::MAX,
            };
            for message in self.dispatch.advance(&self.config, &looking, &mut Throttles::default(), now).messages {
                self.dispatch.sent(&self.config, &message, now);
                self.check(now, message);
            }
        }
    }

    fn check(&mut self, now: i64, message: Message) {
        assert!(message.firing.iter().all(|alert| alert.ends_at.is_none()));
        assert!(message.resolved.iter().all(|alert| alert.ends_at.is_some_and(|end| end <= now)));
        let key = (message.group_key.clone(), message.receiver.clone(), message.integration);
        let before = self.last.insert(key, (now, message.clone()));
        let Some((at, before)) = before else { return assert!(!message.firing.is_empty()) };
        let is_same = before.firing == message.firing && message.resolved.is_empty();
        assert!(!is_same || now - at >= HOUR_MS, "told again after {} ms: {message:?}", now - at);
        // A group whose alerts are all over is gone; the next one is new.
        assert!(
            before.firing.is_empty() || now - at >= 300_000,
            "told more often than every group_interval: {message:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_is_told_the_same_twice_and_in_the_end_nothing_is_left(
        events in prop::collection::vec((0..4usize, 0..2usize, any::<bool>(), 1..900_000i64), 1..60)
    ) {
        let mut play = Play { config: Config::read(CONFIG).unwrap(), dispatch: Dispatch::default(), last: BTreeMap::new() };
        let alert = |host: usize, severity: usize| {
            let (host, severity) = (["a", "b", "c", "d"][host], ["critical", "info"][severity]);
            Labels::of(&[("alertname", "X"), ("host", host), ("severity", severity), ("zone", "z")])
        };
        let mut now = 0;
        for (host, severity, is_firing, after) in events {
            let ends_at = (!is_firing).then_some(now);
            let alert = Alert { labels: alert(host, severity), annotations: Labels::empty(), begins_at: now, ends_at, generator_url: "".into() };
            play.dispatch.receive(&play.config, alert, now).unwrap();
            now += after;
            play.until(now);
        }
        for (host, severity) in (0..4).flat_map(|host| [(host, 0), (host, 1)]) {
            let alert = Alert { labels: alert(host, severity), annotations: Labels::empty(), begins_at: now, ends_at: Some(now), generator_url: "".into() };
            play.dispatch.receive(&play.config, alert, now).unwrap();
        }
        play.until(now + HOUR_MS);
        prop_assert_eq!(play.dispatch.next(), None);
        for (_, (_, message)) in play.last.iter().filter(|((_, _, way), _)| way.number == 0) {
            prop_assert!(message.firing.is_empty(), "whoever is told of ends was told of all: {:?}", message);
        }
    }
}
