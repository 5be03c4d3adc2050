//! Somebody takes care of alerts.

use std::collections::BTreeSet;

use bellwether_alert::alert_group::limits::{ACKNOWLEDGED_AT_ONCE_MAX, RECEIVED_MAX};
use bellwether_alert::alert_group::{Command, Delivery, Outcome, ReceivedAlert, states};
use bellwether_model::Labels;

use crate::play::{CONFIG, MINUTE, Play, SECOND, outside, tenant};

fn play() -> Play {
    let mut play = Play::new();
    let config = CONFIG.replace(
        "webhook_configs: [{url: 'http://chat'}]",
        "webhook_configs: [{url: 'http://chat'}], pagerduty_configs: [{routing_key: k}]",
    );
    play.set_config(&config.replace("3m", "2d")).unwrap();
    ["1", "2"].into_iter().for_each(|x| drop(play.receive(outside(x)).unwrap()));
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(play.send_all(), ["new [1 2] []", "new [1 2] []"]);
    play
}

/// How many alerts were acknowledged that were not yet.
fn acknowledge(play: &mut Play, xs: &[&str]) -> u64 {
    let alerts = xs.iter().map(|x| outside(x).labels).collect();
    match play.apply(Command::Acknowledge { tenant: tenant(), alerts, by: "me".into() }) {
        Ok(Outcome::Acknowledged { alerts }) => alerts,
        other => panic!("{other:?}"),
    }
}

fn is_acknowledged(play: &Play, x: &str) -> bool {
    play.tenant().acknowledgement(&outside(x).labels, play.now).is_some()
}

fn end(play: &mut Play, x: &str) {
    play.receive(ReceivedAlert { begins_at: Some(0), ends_at: Some(play.now), ..outside(x) }).unwrap();
}

#[test]
fn a_pager_is_told_once_all_that_fires_is_acknowledged_and_nobody_is_reminded() {
    let mut play = play();
    assert_eq!(acknowledge(&mut play, &["1", "9"]), 1);
    assert_eq!(play.send_all(), [] as [&str; 0]);
    assert_eq!(acknowledge(&mut play, &["1", "2"]), 1);
    let kinds: Vec<&str> =
        play.tenant().intents.values().map(|intent| intent.message.integration.kind.name()).collect();
    assert_eq!(kinds, ["pagerduty"]);
    assert_eq!(play.send_all(), ["acknowledged [1 2] []"]);
    assert_eq!(acknowledge(&mut play, &["1", "2"]), 0);
    play.look_until(play.now + 180 * MINUTE);
    assert_eq!(play.send_all(), [] as [&str; 0]);
    // What fires beside is nobody's yet, and told; then all are reminded of.
    play.receive(outside("3")).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["changed [1 2 3] []"; 2]);
    play.look_until(play.now + 62 * MINUTE);
    assert_eq!(play.send_all(), ["repeated [1 2 3] []"; 2]);
}

#[test]
fn a_pager_that_hears_of_alerts_after_they_were_acknowledged_is_told_so() {
    let mut play = Play::new();
    let pager = CONFIG.replace("webhook_configs: [{url: 'http://chat'}]", "pagerduty_configs: [{routing_key: k}]");
    play.set_config(&pager.replace("3m", "2d")).unwrap();
    ["1", "2"].into_iter().for_each(|x| drop(play.receive(outside(x)).unwrap()));
    play.look_until(play.now + 10 * SECOND);
    // The first attempts fail, and somebody takes care meanwhile.
    assert_eq!(acknowledge(&mut play, &["1", "2"]), 2);
    assert_eq!(play.tenant().intents.keys().collect::<Vec<_>>(), [&0]);
    assert_eq!(play.tell(0, Delivery::Failed("no answer".into())), "new [1 2] []");
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [1 2] []"]);
    assert_eq!(play.send_all(), ["acknowledged [1 2] []"]);
    assert_eq!(play.send_all(), [] as [&str; 0], "once");
    // What fires beside by the time is nobody's yet.
    play.receive(outside("3")).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(acknowledge(&mut play, &["3"]), 1);
    play.receive(outside("4")).unwrap();
    assert_eq!(play.send_all(), ["changed [1 2 3] []", "acknowledged [1 2 3] []"]);
    assert_eq!(play.send_all(), [] as [&str; 0]);
}

#[test]
fn an_acknowledgement_ends_with_its_alert() {
    let mut play = play();
    acknowledge(&mut play, &["1", "2"]);
    play.send_all();
    end(&mut play, "1");
    play.now += SECOND;
    assert!(!is_acknowledged(&play, "1") && is_acknowledged(&play, "2"));
    // It fires again before anybody has looked.
    play.receive(outside("1")).unwrap();
    assert!(!is_acknowledged(&play, "1"));
    play.look_until(play.now + MINUTE);
    assert_eq!(play.tenant().acknowledged.len(), 1);
}

#[test]
fn an_alert_can_be_acknowledged_that_began_by_a_clock_that_is_ahead() {
    let mut play = play();
    play.set_rules("name: g\ninterval: 10s\nrules:\n- {alert: A, expr: a, critical: true}\n").unwrap();
    let evaluated = play.evaluation("g", play.now + 2 * SECOND, &[Ok(&["7"])]);
    play.apply(Command::Evaluated(evaluated.into())).unwrap();
    let alerts: BTreeSet<Labels> = play.tenant().dispatch.alerts().map(|known| known.alert.labels.clone()).collect();
    let labels = alerts.iter().find(|labels| labels.get("x") == Some("7")).unwrap().clone();
    let acknowledge = Command::Acknowledge { tenant: tenant(), alerts: [labels.clone()].into(), by: "me".into() };
    assert_eq!(play.apply(acknowledge), Ok(Outcome::Acknowledged { alerts: 1 }));
    assert!(play.tenant().acknowledgement(&labels, play.now).is_some());
    play.look_until(play.now + MINUTE);
    assert!(play.tenant().acknowledgement(&labels, play.now).is_some());
}

#[test]
fn the_message_of_an_acknowledgement_goes_its_own_way_and_stays_in_another_configuration() {
    let mut play = play();
    play.receive(outside("3")).unwrap();
    play.look_until(play.now + MINUTE);
    acknowledge(&mut play, &["1", "2", "3"]);
    assert_eq!(play.tenant().intents.len(), 3);
    let config = play.tenant().notifications.as_ref().unwrap().config.to_string();
    play.set_config(&(config + "templates: []\n")).unwrap();
    assert_eq!(play.send_all(), ["changed [1 2 3] []", "changed [1 2 3] []", "acknowledged [1 2 3] []"]);
    let config = play.tenant().config();
    let key = "{}:{alertname=\"Out\"}";
    assert_eq!(play.tenant().dispatch.firing_in(config, key, play.now).len(), 3);
    for other in ["", "{}:{}", "{}", "{}:{alertname=\"Out\"", "x{}:{alertname=\"Out\"}"] {
        assert!(play.tenant().dispatch.firing_in(config, other, play.now).is_empty(), "{other}");
    }
}

#[test]
fn all_alerts_of_a_group_can_be_acknowledged_however_many() {
    const ALERTS: usize = ACKNOWLEDGED_AT_ONCE_MAX + 1;
    let mut play = Play::new();
    let pager = CONFIG.replace("webhook_configs: [{url: 'http://chat'}]", "pagerduty_configs: [{routing_key: k}]");
    play.set_config(&pager.replace("3m", "2d")).unwrap();
    let all: Vec<ReceivedAlert> = (0..ALERTS).map(|x| outside(&x.to_string())).collect();
    for alerts in all.chunks(RECEIVED_MAX) {
        play.apply(Command::Receive { tenant: tenant(), alerts: alerts.to_vec() }).unwrap();
    }
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(play.send_all().len(), 1);
    let key = "{}:{alertname=\"Out\"}";
    let firing = play.tenant().dispatch.firing_in(play.tenant().config(), key, play.now);
    // What is acknowledged already takes no room again.
    for new in [ALERTS as u64, 0] {
        let commands = Command::acknowledge(&tenant(), firing.clone(), "me");
        assert_eq!(commands.len(), 2);
        let counts = commands.into_iter().map(|command| match play.apply(command) {
            Ok(Outcome::Acknowledged { alerts }) => alerts,
            other => panic!("{other:?}"),
        });
        assert_eq!(counts.sum::<u64>(), new);
    }
    assert_eq!(play.tenant().acknowledged.len(), ALERTS);
    let why: Vec<&str> = play.tenant().intents.values().map(|intent| intent.message.why.as_str()).collect();
    assert_eq!(why, ["acknowledged"]);
    let bytes = states::encode(&play.state);
    assert!(states::encode(&states::decode(&bytes).unwrap()) == bytes);
}

#[test]
fn a_command_acknowledges_as_many_bytes_as_fit() {
    let long = |number: usize| Labels::of(&[("x", &format!("{number:060000}"))]);
    let commands = Command::acknowledge(&tenant(), (0..69).map(long).collect(), "me");
    let counts: Vec<usize> = commands
        .iter()
        .map(|command| match command {
            Command::Acknowledge { alerts, .. } => alerts.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [34, 34, 1]);
}

#[test]
fn the_first_key_of_links_stays() {
    let mut play = play();
    for key in [[1; 32], [2; 32]] {
        play.apply(Command::SetLinkKey { tenant: tenant(), key }).unwrap();
    }
    assert_eq!(play.tenant().link_key.unwrap().0, [1; 32]);
    assert_eq!(format!("{:?}", play.tenant().link_key), "Some(LinkKey)");
    assert!(play.tenant().dispatch.alert(&Labels::empty()).is_none());
}
