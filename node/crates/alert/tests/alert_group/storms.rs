//! What is held back from a receiver that is told too much, and how often it is reminded.

use bellwether_alert::alert_group::{Command, Delivery, ReceivedAlert, SilenceDraft, states};
use bellwether_alert::notify::dispatch::Why;
use bellwether_model::Labels;

use crate::play::{CONFIG, MINUTE, Play, SECOND, outside, tenant};

/// Each alert is a group; two messages in ten minutes.
fn play() -> Play {
    let mut play = Play::new();
    let config = CONFIG.replace("[alertname]", "[x]").replace("3m", "2d");
    let throttled = "{name: chat, throttle: {messages: 2, per: 10m}, ";
    play.set_config(&config.replace("{name: chat, ", throttled)).unwrap();
    play
}

fn fire(play: &mut Play, xs: &[&str]) {
    xs.iter().for_each(|x| drop(play.receive(outside(x)).unwrap()));
}

fn end(play: &mut Play, x: &str) {
    play.receive(ReceivedAlert { begins_at: Some(0), ends_at: Some(play.now), ..outside(x) }).unwrap();
}

/// What the tenant's messages of storms say: how often groups were held back, and of how many groups.
fn storms(play: &Play) -> Vec<(u64, u64)> {
    let messages = play.tenant().intents.values().map(|intent| &intent.message);
    let storms = messages.filter_map(|message| match message.why {
        Why::HeldBack { messages, groups } => Some((messages, groups)),
        _ => None,
    });
    storms.collect()
}

#[test]
fn what_a_receiver_has_no_room_for_is_told_in_one_message_and_later_by_itself() {
    let mut play = play();
    fire(&mut play, &["1", "2", "3", "4", "5"]);
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(storms(&play), [(3, 3)]);
    assert_eq!(play.send_all(), ["new [1] []", "new [2] []", "held back [3 4 5] []"]);
    // The next message of what is held back comes when the throttle's time is over, and with it there is room again.
    play.look_until(play.now + 9 * MINUTE + 59 * SECOND);
    assert_eq!(play.send_all(), [] as [&str; 0]);
    play.look_until(play.now + 2 * MINUTE);
    assert_eq!(play.send_all(), ["new [3] []", "new [4] []", "held back [5] []"]);
    assert_eq!(play.tenant().throttles.held_back("chat").0, 1);
    play.look_until(play.now + 11 * MINUTE);
    assert_eq!(play.send_all(), ["new [5] []", "held back [] []"]);
    assert_eq!(play.tenant().throttles.held_back("chat"), (0, 0));
}

#[test]
fn an_end_is_told_whatever_the_throttle_says_and_what_ended_untold_is_held_back_no_longer() {
    let mut play = play();
    fire(&mut play, &["1", "2", "3"]);
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(play.send_all(), ["new [1] []", "new [2] []", "held back [3] []"]);
    end(&mut play, "1");
    end(&mut play, "3");
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [1]", "held back [] []"]);
    assert_eq!(play.tenant().dispatch.alerts().len(), 1);
}

#[test]
fn a_message_of_a_storm_that_did_not_arrive_is_made_again_for_its_way_alone_and_not_at_once() {
    let mut play = Play::new();
    let config = CONFIG.replace("[alertname]", "[x]").replace("3m", "2d");
    let two_ways = "throttle: {messages: 2, per: 10m}, webhook_configs: [{url: 'http://other'}, ";
    play.set_config(&config.replace("webhook_configs: [", two_ways)).unwrap();
    fire(&mut play, &["1", "2", "3"]);
    play.look_until(play.now + 10 * SECOND);
    let begin = play.now;
    let ways = |play: &Play| -> Vec<(u64, usize)> {
        play.tenant().intents.iter().map(|(number, intent)| (*number, intent.message.integration.number)).collect()
    };
    assert_eq!(ways(&play), [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (5, 1)]);
    play.tell(4, Delivery::Failed("no such host".into()));
    assert_eq!(play.send_all().last().unwrap(), "held back [3] []");
    for number in 6..14 {
        play.look_until(play.now + 59 * SECOND);
        assert_eq!(ways(&play), []);
        play.look_until(play.now + SECOND);
        assert_eq!(ways(&play), [(number, 0)]);
        assert_eq!(play.tell(number, Delivery::Failed("no such host".into())), "held back [3] []");
        play.state = states::decode(&states::encode(&play.state)).unwrap();
    }
    play.look_until(begin + 9 * MINUTE);
    assert_eq!(play.send_all(), ["held back [3] []"]);
    // All ways, as always; and once it is over nobody is told again.
    play.look_until(begin + 10 * MINUTE);
    assert_eq!(play.send_all(), ["new [3] []", "new [3] []", "held back [] []", "held back [] []"]);
    assert_eq!(play.look_until(begin + 20 * MINUTE), [] as [u64; 0]);
}

#[test]
fn with_another_configuration_what_is_held_back_is_counted_anew() {
    let mut play = play();
    fire(&mut play, &["1", "2", "3"]);
    play.look_until(play.now + 10 * SECOND);
    play.tell(2, Delivery::Failed("no".into()));
    play.look_until(play.now + MINUTE);
    assert_eq!(storms(&play), [(2, 1)]);
    play.set_config(CONFIG).unwrap();
    assert_eq!(storms(&play), [] as [(u64, u64); 0]);
    play.apply(Command::Advance { tenant: tenant() }).unwrap();
    assert_eq!(play.tenant().throttles.held_back("chat"), (0, 0));
}

#[test]
fn what_is_quiet_is_not_told_as_held_back() {
    let mut play = Play::new();
    let config =
        CONFIG.replace("{name: chat, ", "{name: chat, throttle: {messages: 1, per: 10m}, ").replace("3m", "2d");
    play.set_config(&(config + "inhibit_rules: [{source_matchers: [x=1], target_matchers: [x=4]}]\n")).unwrap();
    let silence = SilenceDraft {
        replaces: None,
        new_id: "a".into(),
        matchers: "x=3".into(),
        during: None,
        begins_at: play.now,
        ends_at: play.now + 60 * MINUTE,
        created_by: String::new(),
        comment: String::new(),
    };
    play.apply(Command::SetSilence { tenant: tenant(), silence }).unwrap();
    for (name, x) in [("A", "1"), ("B", "2"), ("B", "3"), ("B", "4")] {
        let labels = Labels::of(&[("alertname", name), ("x", x)]);
        play.receive(ReceivedAlert { labels, ..outside(x) }).unwrap();
    }
    play.look_until(play.now + 10 * SECOND);
    assert_eq!(play.send_all(), ["new [1] []", "held back [2] []"]);
}

#[test]
fn an_alert_says_how_often_it_is_told_again() {
    for (every, minutes) in [("20m", 20), ("3h", 180), ("x", 60), ("0s", 60)] {
        let mut play = Play::new();
        play.set_config(&CONFIG.replace("3m", "2d")).unwrap();
        let annotations = Labels::of(&[("remind_every", every)]);
        play.receive(ReceivedAlert { annotations, ..outside("1") }).unwrap();
        play.look_until(play.now + 10 * SECOND);
        assert_eq!(play.send_all(), ["new [1] []"]);
        let told = play.now;
        while play.tenant().intents.is_empty() {
            play.look_until(play.now + MINUTE);
        }
        // A look after the time where the route says it, the nearest one where an alert does.
        let after = (play.now - told) / MINUTE;
        assert!((minutes..=minutes + 1).contains(&after), "{every}: after {after} min");
    }
    let mut play = Play::new();
    play.set_config(&CONFIG.replace("3m", "20d")).unwrap();
    let annotations = Labels::of(&[("remind_every", "never")]);
    play.receive(ReceivedAlert { annotations, ..outside("1") }).unwrap();
    play.look_until(play.now + 10 * SECOND);
    play.send_all();
    assert_eq!(play.look_until(play.now + 300 * MINUTE), [] as [u64; 0]);
}
