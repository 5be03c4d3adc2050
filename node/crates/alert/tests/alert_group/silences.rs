//! Silences as Alertmanager has them.

use bellwether_alert::alert_group::{Command, Outcome, Refusal, Reply, SilenceDraft};
use bellwether_model::Timestamp;

use crate::play::{CONFIG, MINUTE, Play, outside, tenant};

pub fn set(play: &mut Play, replaces: Option<&str>, id: &str, matchers: &str, times: (Timestamp, Timestamp)) -> Reply {
    let silence = SilenceDraft {
        replaces: replaces.map(str::to_owned),
        new_id: id.into(),
        matchers: matchers.into(),
        during: None,
        begins_at: times.0,
        ends_at: times.1,
        created_by: "me".into(),
        comment: "why".into(),
    };
    play.apply(Command::SetSilence { tenant: tenant(), silence })
}

fn given(id: &str) -> Reply {
    Ok(Outcome::Silence { id: id.into() })
}

#[test]
fn an_edit_that_changes_what_was_silenced_makes_another() {
    let mut play = Play::new();
    let (begin, hour) = (play.now, 60 * MINUTE);
    assert_eq!(set(&mut play, None, "a", "x=1", (begin, begin + hour)), given("a"));
    assert_eq!(set(&mut play, None, "a", "x=1", (begin, begin + hour)), given("a"), "again is the same");
    let taken = set(&mut play, None, "a", "x=2", (begin, begin + hour));
    assert_eq!(taken, Err(Refusal::SilenceExists { id: "a".into() }));

    play.now += MINUTE;
    assert_eq!(set(&mut play, Some("a"), "b", "x=1", (begin, begin + 2 * hour)), given("a"), "a later end");
    assert_eq!(play.tenant().silences.get("a").unwrap().ends_at, begin + 2 * hour);
    assert_eq!(set(&mut play, Some("a"), "c", "x=2", (begin, begin + hour)), given("c"), "other matchers");
    assert_eq!(play.tenant().silences.get("a").unwrap().ends_at, play.now);
    assert_eq!(play.tenant().silences.get("c").unwrap().begins_at, play.now);
    assert_eq!(set(&mut play, Some("a"), "c", "x=2", (begin, begin + hour)), given("c"), "again is the same");

    let now = play.now;
    assert_eq!(set(&mut play, Some("c"), "d", "x=2", (now - 2 * MINUTE, begin + hour)), given("d"), "another begin");
    let no_such = set(&mut play, Some("z"), "e", "x=2", (now, now + hour));
    assert_eq!(no_such, Err(Refusal::NoSilence { id: "z".into() }));
    let over = set(&mut play, None, "f", "x=2", (now - hour, now - MINUTE));
    assert_eq!(over, Err(Refusal::SilenceOver { ends_at: now - MINUTE }));
}

#[test]
fn a_silence_keeps_people_from_being_told_until_it_expires() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    let now = play.now;
    set(&mut play, None, "a", "x=~\"1|2\"", (now, now + 60 * MINUTE)).unwrap();
    for x in ["1", "3"] {
        let mut alert = outside(x);
        alert.ends_at = Some(now + 60 * MINUTE);
        play.receive(alert).unwrap();
    }
    play.look_until(now + MINUTE);
    assert_eq!(play.send_all(), ["new [3] []"]);
    play.apply(Command::ExpireSilence { tenant: tenant(), id: "a".into() }).unwrap();
    play.apply(Command::ExpireSilence { tenant: tenant(), id: "a".into() }).unwrap();
    let no_such = play.apply(Command::ExpireSilence { tenant: tenant(), id: "b".into() });
    assert_eq!(no_such, Err(Refusal::NoSilence { id: "b".into() }));
    play.look_until(now + 3 * MINUTE);
    assert_eq!(play.send_all(), ["changed [1 3] []"]);
    play.look_until(now + 119 * 60 * MINUTE);
    assert!(play.tenant().silences.get("a").is_some());
    play.look_until(now + 121 * 60 * MINUTE);
    assert!(play.state.tenants[&tenant()].silences.is_empty());
}

#[test]
fn what_is_wrong_with_a_silence_is_told_before_it_is_proposed() {
    let check = |matchers: &str, ends_at| {
        let draft = SilenceDraft {
            replaces: None,
            new_id: "a".into(),
            matchers: matchers.into(),
            during: None,
            begins_at: 1,
            ends_at,
            created_by: String::new(),
            comment: String::new(),
        };
        draft.check().err().unwrap_or_default()
    };
    assert_eq!(check("x=1,y=~\".*\"", 2), "");
    assert!(check("y=~\".*\",z!=1", 2).starts_with("at least one matcher"));
    assert!(check("", 2).starts_with("at least one matcher"));
    assert!(check("x=~\"(\"", 2).starts_with("at character 4"), "{}", check("x=~\"(\"", 2));
    assert_eq!(check("x=1", 1), "the silence ends before it begins");
}

#[test]
fn a_silence_holds_while_another_alert_fires() {
    let mut play = Play::new();
    play.set_config(&CONFIG.replace("[alertname]", "[x]").replace("3m", "2d")).unwrap();
    let silence = SilenceDraft {
        replaces: None,
        new_id: "s".into(),
        matchers: "x=~.+".into(),
        during: Some("x=maintenance".into()),
        begins_at: play.now,
        ends_at: play.now + 600 * MINUTE,
        created_by: "me".into(),
        comment: String::new(),
    };
    assert_eq!(silence.check(), Ok(()));
    play.apply(Command::SetSilence { tenant: tenant(), silence }).unwrap();
    ["maintenance", "1"].into_iter().for_each(|x| drop(play.receive(outside(x)).unwrap()));
    play.look_until(play.now + MINUTE);
    // What it waits for it does not silence.
    assert_eq!(play.send_all(), ["new [maintenance] []"]);
    let over = bellwether_alert::alert_group::ReceivedAlert {
        begins_at: Some(0),
        ends_at: Some(play.now),
        ..outside("maintenance")
    };
    play.receive(over).unwrap();
    play.look_until(play.now + 2 * MINUTE);
    let mut told = play.send_all();
    told.sort_unstable();
    assert_eq!(told, ["new [1] []", "resolved [] [maintenance]"]);
}
