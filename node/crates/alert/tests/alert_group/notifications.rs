//! Who is told of what, and what becomes of messages.

use bellwether_alert::alert_group::{Command, Delivery, Outcome, states};
use bellwether_alert::notify::config::IntegrationAt;
use bellwether_alert::notify::config::kinds::Kind;
use bellwether_model::Labels;

use crate::play::{CONFIG, MINUTE, Play, SECOND, outside, tenant};

const WEBHOOK: IntegrationAt = IntegrationAt { kind: Kind::Webhook, number: 0 };
const RULES: &str = "name: g\nrules:\n- {alert: A, expr: a}\n";

fn play() -> Play {
    let mut play = Play::new();
    play.set_rules(RULES).unwrap();
    play.set_config(CONFIG).unwrap();
    play
}

#[test]
fn alerts_of_rules_are_told_and_told_as_resolved() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1", "2"])]);
    assert_eq!(play.look_until(play.now + 9 * SECOND), [] as [u64; 0]);
    assert_eq!(play.look_until(play.now + SECOND), [0]);
    let intent = &play.tenant().intents[&0];
    assert_eq!(intent.dedup_key, "t-f6950-0");
    assert_eq!(&*intent.message.firing[0].generator_url, "/graph?A");
    assert_eq!(intent.message.firing[0].annotations, Labels::of(&[("x", "1")]));
    assert_eq!(play.send_all(), ["new [1 2] []"]);
    play.now += 30 * SECOND;
    play.evaluate("g", &[Ok(&["2"])]);
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [2] [1]"]);
    play.evaluate("g", &[Ok(&[])]);
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [2]"]);
    assert_eq!((play.tenant().dispatch.alerts().len(), play.state.next()), (0, None));
}

#[test]
fn an_end_that_comes_to_be_known_while_the_begin_is_sent_is_told() {
    // The alert ended before the group was looked at, in the same moment, and after it.
    for (ended_at, known_at) in [(9, 12), (10, 10), (11, 12)] {
        let mut play = play();
        let begin = play.now;
        play.evaluate("g", &[Ok(&["1"])]);
        play.look_until(begin + 10 * SECOND);
        let evaluated = play.evaluation("g", begin + ended_at * SECOND, &[Ok(&[])]);
        play.now = begin + known_at * SECOND;
        assert_eq!(play.apply(Command::Evaluated(evaluated.into())), Ok(Outcome::Done));
        assert_eq!(play.send_all(), ["new [1] []"]);
        play.look_until(play.now + 2 * MINUTE);
        assert_eq!(play.send_all(), ["resolved [] [1]"], "ended after {ended_at} s, known after {known_at} s");
        play.look_until(play.now + 2 * MINUTE);
        assert_eq!(play.tenant().dispatch.groups().count(), 0);
    }
}

#[test]
fn the_first_alert_of_a_critical_rule_waits_for_no_group() {
    let mut play = play();
    play.set_rules("name: g\nrules:\n- {alert: A, expr: a}\n- {alert: B, expr: b, critical: true}\n").unwrap();
    play.evaluate("g", &[Ok(&["1"]), Ok(&["2"])]);
    assert_eq!(play.look_until(play.now), [0], "that of the other rule waits");
    assert_eq!(play.send_all(), ["new [2] []"]);
    play.now += SECOND;
    play.evaluate("g", &[Ok(&["1"]), Ok(&["2", "3"])]);
    assert_eq!(play.look_until(play.now), [] as [u64; 0], "what comes later is told with the interval");
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [1] []", "changed [2 3] []"]);
}

#[test]
fn a_message_that_says_what_is_to_be_said_stays_the_same_until_somebody_says_what_became_of_it() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    assert_eq!(play.look_until(play.now + 5 * MINUTE), [0]);
    // More to say: another message in its place.
    play.evaluate("g", &[Ok(&["1", "2"])]);
    assert_eq!(play.look_until(play.now + 5 * MINUTE), [1]);
    assert_eq!(play.tenant().intents.keys().copied().collect::<Vec<_>>(), [1]);
    let gone = play.apply(Command::Told { tenant: tenant(), intent: 0, result: Delivery::Sent });
    assert_eq!(gone, Ok(Outcome::Done));
    // It may have been sent, so that the end is told though nobody knows of the begin.
    play.evaluate("g", &[Ok(&[])]);
    assert_eq!(play.look_until(play.now + 5 * MINUTE), [2]);
    assert_eq!(play.send_all(), ["resolved [] [1 2]"]);
    assert_eq!(play.tenant().dispatch.alerts().len(), 0);
}

#[test]
fn what_was_given_up_is_tried_by_the_next_look() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + MINUTE);
    play.tell(0, Delivery::Failed("no such host".into()));
    let health = &play.tenant().integrations[&("chat".to_owned(), WEBHOOK)];
    assert_eq!((health.failures, health.last_error.as_deref()), (1, Some("no such host")));
    assert_eq!(play.look_until(play.now + MINUTE), [1]);
    assert_eq!(play.send_all(), ["new [1] []"]);
    let health = &play.tenant().integrations[&("chat".to_owned(), WEBHOOK)];
    assert_eq!((health.failures, health.last_error.as_deref(), health.sent_at), (0, None, Some(play.now)));
}

#[test]
fn an_end_is_told_although_nobody_knows_whether_the_begin_came() {
    // The end comes, or does not either.
    for comes in [true, false] {
        let mut play = play();
        play.evaluate("g", &[Ok(&["1"])]);
        play.look_until(play.now + MINUTE);
        play.evaluate("g", &[Ok(&[])]);
        assert_eq!(play.tell(0, Delivery::Failed("no answer".into())), "new [1] []");
        assert_eq!(play.look_until(play.now + MINUTE), [1]);
        let result = if comes { Delivery::Sent } else { Delivery::Failed("no answer".into()) };
        assert_eq!(play.tell(1, result), "resolved [] [1]");
        assert_eq!(play.look_until(play.now + 9 * MINUTE), [] as [u64; 0], "once");
        assert_eq!((play.tenant().dispatch.alerts().len(), play.state.next()), (0, None));
        // What fires again is new.
        play.evaluate("g", &[Ok(&["1"])]);
        play.look_until(play.now + MINUTE);
        assert_eq!(play.send_all(), ["new [1] []"]);
    }
}

#[test]
fn what_fires_again_is_told_where_its_end_may_have_come() {
    // All alerts end, or one of them. The end is given up, or still waits when the begin is known.
    for (left, end) in [(&[][..], "resolved [] [1]"), (&["0"], "resolved [0] [1]")] {
        for is_given_up in [true, false] {
            let all = [left, &["1"]].concat();
            let mut play = play();
            play.evaluate("g", &[Ok(&all)]);
            play.look_until(play.now + MINUTE);
            play.send_all();
            play.evaluate("g", &[Ok(left)]);
            play.look_until(play.now + MINUTE);
            assert_eq!(play.tenant().intents.len(), 1);
            if is_given_up {
                assert_eq!(play.tell(1, Delivery::Failed("no answer".into())), end);
            }
            play.evaluate("g", &[Ok(&all)]);
            let again = format!("changed [{}] []", all.join(" "));
            // Until it is known to have come.
            for number in [2, 3] {
                play.look_until(play.now + MINUTE);
                play.state = states::decode(&states::encode(&play.state)).unwrap();
                assert_eq!(play.tell(number, Delivery::Failed("no answer".into())), again);
            }
            play.look_until(play.now + MINUTE);
            assert_eq!(play.send_all(), [again]);
            assert_eq!(play.look_until(play.now + 9 * MINUTE), [] as [u64; 0]);
        }
    }
}

#[test]
fn what_ends_again_is_told_where_its_second_begin_may_have_come() {
    for is_given_up in [true, false] {
        let mut play = play();
        for present in [&["0", "1"][..], &["0"]] {
            play.evaluate("g", &[Ok(present)]);
            play.look_until(play.now + MINUTE);
            play.send_all();
        }
        play.evaluate("g", &[Ok(&["0", "1"])]);
        play.look_until(play.now + MINUTE);
        if is_given_up {
            assert_eq!(play.tell(2, Delivery::Failed("no answer".into())), "changed [0 1] []");
        }
        play.evaluate("g", &[Ok(&["0"])]);
        play.look_until(play.now + MINUTE);
        assert_eq!(play.send_all(), ["changed [0] [1]"]);
    }
}

#[test]
fn an_end_is_told_although_nobody_knows_whether_the_begin_or_another_end_came() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + MINUTE);
    play.tell(0, Delivery::Failed("no answer".into()));
    play.evaluate("g", &[Ok(&[])]);
    assert_eq!(play.look_until(play.now + MINUTE), [1]);
    // Nobody is told of the second one's begin.
    play.evaluate("g", &[Ok(&["2"])]);
    play.now += SECOND;
    play.evaluate("g", &[Ok(&[])]);
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [1 2]"]);
    assert_eq!((play.tenant().dispatch.alerts().len(), play.state.next()), (0, None));
}

#[test]
fn that_attempts_fail_is_known_while_the_message_waits() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + 10 * SECOND);
    let begun = play.now;
    for error in ["no such host", "refused"] {
        play.apply(Command::Failing { tenant: tenant(), intent: 0, error: error.into() }).unwrap();
        play.now += SECOND;
    }
    let health = play.tenant().integrations[&("chat".to_owned(), WEBHOOK)].clone();
    assert_eq!((health.failing_since, health.failed_at), (Some(begun), Some(begun + SECOND)));
    assert_eq!((health.failures, health.last_error.as_deref()), (0, Some("refused")));
    play.send_all();
    let health = play.tenant().integrations[&("chat".to_owned(), WEBHOOK)].clone();
    assert_eq!((health.failing_since, health.failed_at, health.last_error), (None, None, None));
    // Of one that is not there any more nothing is noted.
    play.apply(Command::Failing { tenant: tenant(), intent: 0, error: "late".into() }).unwrap();
    assert_eq!(play.tenant().integrations[&("chat".to_owned(), WEBHOOK)].last_error, None);
}

#[test]
fn what_was_given_up_keeps_its_key_while_it_says_the_same() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    let key = |play: &Play| match play.tenant().intents.values().collect::<Vec<_>>()[..] {
        [intent] => intent.dedup_key.clone(),
        ref other => panic!("{other:?}"),
    };
    let give_up = |play: &mut Play| {
        let number = *play.tenant().intents.keys().next().unwrap();
        play.tell(number, Delivery::Failed("no answer".into()));
        play.state = states::decode(&states::encode(&play.state)).unwrap();
    };
    play.look_until(play.now + MINUTE);
    let first = key(&play);
    // The receiver may have it: only the answer was lost.
    give_up(&mut play);
    play.look_until(play.now + MINUTE);
    assert_eq!((key(&play), play.tenant().intents.contains_key(&0)), (first.clone(), false));
    give_up(&mut play);
    play.evaluate("g", &[Ok(&["1", "2"])]);
    play.look_until(play.now + MINUTE);
    let second = key(&play);
    assert_ne!(second, first, "it says something else");
    assert_eq!(play.send_all(), ["new [1 2] []"]);
    play.evaluate("g", &[Ok(&[])]);
    play.look_until(play.now + MINUTE);
    assert!(key(&play) != first && key(&play) != second && play.tenant().given_up.is_empty());
}

#[test]
fn what_begins_after_a_message_was_given_up_has_a_key_of_its_own() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + MINUTE);
    let keys = |play: &Play| play.tenant().intents.values().map(|intent| intent.dedup_key.clone()).collect::<Vec<_>>();
    let first = keys(&play);
    // Its way goes and comes back; meanwhile the alert ends.
    play.set_config(&CONFIG.replace("webhook_configs", "alertmanager_configs")).unwrap();
    assert_eq!(play.tenant().given_up.len(), 1);
    play.evaluate("g", &[Ok(&[])]);
    play.look_until(play.now + MINUTE);
    play.set_config(CONFIG).unwrap();
    play.send_all();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + MINUTE);
    let second = keys(&play);
    assert!(first.len() == 1 && second.len() == 1 && first != second, "{first:?} {second:?}");
}

#[test]
fn another_alertmanager_is_told_at_each_look() {
    let mut play = play();
    play.set_config(&CONFIG.replace("webhook_configs", "alertmanager_configs")).unwrap();
    play.evaluate("g", &[Ok(&["1"])]);
    for why in ["new", "repeated", "repeated"] {
        let next = play.state.next().unwrap().0;
        assert_eq!(play.look_until(next).len(), 1);
        assert_eq!(play.send_all(), [format!("{why} [1] []")]);
    }
    play.evaluate("g", &[Ok(&[])]);
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [1]"]);
}

#[test]
fn another_configuration_puts_alerts_into_other_groups_and_remembers_what_was_told() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1", "2"])]);
    play.look_until(play.now + MINUTE);
    assert_eq!(play.set_config(CONFIG), Ok(Outcome::Revision(3)), "the same again");
    // What waits goes on waiting, where its way is still there.
    play.set_config(&CONFIG.replace("group_wait: 10s", "group_wait: 20s")).unwrap();
    assert_eq!(play.look_until(play.now + MINUTE), [] as [u64; 0]);
    assert_eq!(play.tenant().intents[&0].dedup_key, "t-f6950-0");
    assert_eq!(play.send_all(), ["new [1 2] []"]);
    play.set_config(&CONFIG.replace("group_wait: 10s", "group_wait: 30s")).unwrap();
    assert_eq!(play.look_until(play.now + MINUTE), [] as [u64; 0], "it was told");
    play.set_config(&CONFIG.replace("[alertname]", "[alertname, x]")).unwrap();
    assert_eq!(play.look_until(play.now + MINUTE).len(), 2);
    // Ways that are gone have nothing to send.
    play.set_config(&CONFIG.replace("chat", "other")).unwrap();
    assert!(play.tenant().intents.is_empty() && play.tenant().ways.is_empty());
    assert!(play.tenant().integrations.is_empty());
}

#[test]
fn what_an_integration_was_told_stays_its_own_whichever_others_come_and_go() {
    let by = |play: &Play| -> Vec<String> {
        play.tenant().intents.values().map(|intent| intent.message.integration.to_string()).collect()
    };
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [1] []"]);
    // The pager comes before the webhook in a receiver: it alone does not know yet.
    let pager = CONFIG.replace("webhook_configs:", "pagerduty_configs: [{routing_key: k}], webhook_configs:");
    play.set_config(&pager).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(by(&play), ["pagerduty[0]"]);
    let sent_at = play.tenant().integrations[&("chat".to_owned(), WEBHOOK)].sent_at;
    play.tell(1, Delivery::Failed("no such host".into()));
    assert_eq!(play.tenant().integrations[&("chat".to_owned(), WEBHOOK)].sent_at, sent_at);
    play.set_config(CONFIG).unwrap();
    assert_eq!(play.look_until(play.now + MINUTE), [] as [u64; 0]);
    assert_eq!(play.tenant().integrations.len(), 1);
    // A message that waits goes on by its own.
    play.evaluate("g", &[Ok(&["1", "2"])]);
    play.look_until(play.now + MINUTE);
    play.set_config(&pager).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(by(&play), ["webhook[0]", "pagerduty[0]"]);
    assert_eq!(play.send_all(), ["changed [1 2] []", "new [1 2] []"]);
}

#[test]
fn a_message_whose_integration_was_gone_for_a_while_keeps_its_key_and_its_end_is_told() {
    let without = CONFIG.replace("webhook_configs: [{url: 'http://chat'}]", "slack_configs: [{api_url: 'http://x'}]");
    for ends in [false, true] {
        let mut play = play();
        play.evaluate("g", &[Ok(&["1"])]);
        play.look_until(play.now + 10 * SECOND);
        let key = play.tenant().intents[&0].dedup_key.clone();
        play.set_config(&without).unwrap();
        assert!(play.tenant().intents.is_empty());
        if ends {
            play.evaluate("g", &[Ok(&[])]);
        }
        play.set_config(CONFIG).unwrap();
        play.look_until(play.now + MINUTE);
        assert_eq!(play.tenant().intents[&1].dedup_key == key, !ends);
        assert_eq!(play.send_all(), [if ends { "resolved [] [1]" } else { "new [1] []" }]);
    }
}

#[test]
fn without_a_configuration_alerts_are_kept_and_nobody_is_told() {
    let mut play = Play::new();
    play.set_rules(RULES).unwrap();
    play.evaluate("g", &[Ok(&["1"])]);
    play.receive(outside("2")).unwrap();
    assert_eq!(play.look_until(play.now + 4 * MINUTE), [] as [u64; 0]);
    assert_eq!(play.tenant().dispatch.alerts().len(), 2);
    // The alert from outside times out.
    play.look_until(play.now + 20 * MINUTE);
    assert_eq!(play.tenant().dispatch.alerts().len(), 1);
    play.set_config(CONFIG).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [1] []"]);
    play.apply(Command::DeleteNotifications { tenant: tenant() }).unwrap();
    assert_eq!(play.look_until(play.now + 20 * MINUTE), [] as [u64; 0]);
}

#[test]
fn an_alert_from_outside_is_believed_as_long_as_it_is_told() {
    let mut play = play();
    for _ in 0..4 {
        play.receive(outside("1")).unwrap();
        play.look_until(play.now + 2 * MINUTE);
    }
    assert_eq!(play.send_all(), ["new [1] []"]);
    play.look_until(play.now + 2 * MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [1]"]);

    // One that says its end ends there, and one that ends at once was over.
    let mut alert = outside("2");
    alert.ends_at = Some(play.now + 10 * MINUTE);
    play.receive(alert.clone()).unwrap();
    play.look_until(play.now + 9 * MINUTE);
    assert_eq!(play.send_all(), ["new [2] []"]);
    alert.ends_at = Some(play.now);
    play.receive(alert).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [2]"]);
    let mut wrong = outside("3");
    (wrong.begins_at, wrong.ends_at) = (Some(play.now), Some(play.now - 1));
    assert_eq!(play.receive(wrong), Ok(Outcome::Received { refused: 1 }));
}

#[test]
fn nobody_outside_ends_an_alert_of_a_rule() {
    let mut play = play();
    play.evaluate("g", &[Ok(&["1"])]);
    let mut alert = outside("1");
    alert.labels = Labels::of(&[("alertname", "A"), ("x", "1")]);
    alert.ends_at = Some(play.now);
    assert_eq!(play.receive(alert), Ok(Outcome::Received { refused: 0 }));
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [1] []"]);
}

#[test]
fn an_alert_that_two_rules_fire_ends_with_the_second() {
    let mut play = play();
    play.set_rules("name: h\nrules:\n- {alert: A, expr: other}\n").unwrap();
    for group in ["g", "h"] {
        play.evaluate(group, &[Ok(&["1"])]);
    }
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [1] []"]);
    play.evaluate("g", &[Ok(&[])]);
    assert_eq!(play.look_until(play.now + 2 * MINUTE), [] as [u64; 0]);
    play.evaluate("h", &[Ok(&[])]);
    play.look_until(play.now + 2 * MINUTE);
    assert_eq!(play.send_all(), ["resolved [] [1]"]);
}

#[test]
fn what_is_silenced_by_inhibition_is_heard_when_its_source_ends() {
    let mut play = Play::new();
    let inhibited =
        format!("{CONFIG}inhibit_rules:\n- {{source_matchers: [alertname=Out], target_matchers: [alertname=A]}}\n");
    play.set_rules(RULES).unwrap();
    play.set_config(&inhibited).unwrap();
    play.evaluate("g", &[Ok(&["1"])]);
    play.receive(outside("2")).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(play.send_all(), ["new [2] []"]);
    let (inhibited, _) = (Labels::of(&[("alertname", "A"), ("x", "1")]), ());
    let tenant = play.tenant();
    assert!(tenant.dispatch.inhibited_by(tenant.config(), &inhibited, play.now).is_some());
    play.look_until(play.now + 4 * MINUTE);
    let mut said = play.send_all();
    said.sort();
    assert_eq!(said, ["new [1] []", "resolved [] [2]"]);
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_before_it_is_proposed() {
    let problems = |config: &str, template: &str| {
        let templates = [("a.tmpl".to_owned(), template.to_owned())].into();
        let problems = Command::set_notifications(tenant(), config.into(), templates).err().unwrap_or_default();
        problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()
    };
    assert_eq!(problems(CONFIG, "{{ define \"a\" }}b{{ end }}"), "");
    assert!(problems(CONFIG, "\n{{ define }}").starts_with("2:"), "{}", problems(CONFIG, "\n{{ define }}"));
    assert!(problems("route: 7", "").starts_with("1:8: a route"), "{}", problems("route: 7", ""));
    let slack = CONFIG
        .replace("webhook_configs: [{url: 'http://chat'}]", "slack_configs: [{api_url: 'http://x', text: '{{ .x'}]");
    assert!(problems(&slack, "").contains("text"), "{}", problems(&slack, ""));
}
