//! The bytes: read back, golden, cut short, flipped; and the same commands come to the same bytes.

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{
    AlertGroupState, Command, Delivery, Limited, Outcome, Refusal, Reply, Request, SilenceDraft, TenantState, apply,
    replies, requests, states,
};
use bellwether_alert::notify::on_call::Shift;
use bellwether_alert::state::alerting::Phase;
use bellwether_model::Labels;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::draw::Draw;
use crate::play::{CONFIG, MINUTE, Play, SECOND, outside, tenant};

const COMMANDS: usize = 80;

/// What some commands lead to: each with its reply, and the state.
fn played(seed: u64) -> (Vec<(Vec<u8>, Reply)>, Play) {
    let mut draw = Draw(seed);
    let mut play = Play::new();
    let mut log = vec![];
    for _ in 0..COMMANDS {
        let request = draw.request(&play);
        log.push((requests::encode(&request), play.apply(request.command)));
        draw.wait(&mut play);
    }
    (log, play)
}

fn replay(
    log: &[(Vec<u8>, Reply)],
    mut state: AlertGroupState,
    before: impl Fn(usize, &mut AlertGroupState),
) -> AlertGroupState {
    for (at, (bytes, reply)) in log.iter().enumerate() {
        before(at, &mut state);
        let told = apply(&mut state, requests::decode(bytes).unwrap(), at as u64 + 2);
        assert_eq!(told, *reply);
    }
    state
}

/// What everybody begins with in these tests.
fn beginning() -> AlertGroupState {
    Play::new().state
}

/// What is counted along is what a walk would count.
fn check_totals(tenant: &TenantState) {
    let groups = tenant.namespaces.values().flat_map(|groups| groups.values());
    let rules = groups.clone().flat_map(|group| &group.progress.rules);
    let totals = tenant.totals;
    assert_eq!(totals.groups, groups.clone().count());
    assert_eq!(totals.rules, rules.clone().count());
    assert_eq!(totals.text_bytes, groups.map(|group| group.text.len()).sum::<usize>());
    assert_eq!(totals.alerts, rules.clone().map(|rule| rule.alerts.len()).sum::<usize>());
    assert_eq!(totals.watched, rules.map(|rule| rule.watched.len()).sum::<usize>());
    let ways: Vec<u64> =
        tenant.intents.values().filter_map(|intent| tenant.ways.get(&intent.message.way())).copied().collect();
    assert_eq!(ways, tenant.intents.keys().copied().collect::<Vec<_>>());
    assert_eq!(tenant.ways.len(), tenant.intents.len());
    // People are told of what fires by rules, and of nothing else that rules could end.
    let alerts = tenant.namespaces.values().flat_map(|groups| groups.values()).flat_map(|group| &group.progress.rules);
    let mut firing: BTreeMap<&Labels, u32> = BTreeMap::new();
    for (labels, alert) in alerts.flat_map(|rule| &*rule.alerts) {
        if matches!(alert.phase, Phase::Firing { .. }) {
            *firing.entry(labels).or_default() += 1;
        }
    }
    let told = tenant.dispatch.alerts().filter(|known| known.rules > 0);
    let told = told.map(|known| {
        assert_eq!(known.alert.ends_at, None);
        (&known.alert.labels, known.rules)
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), firing);
    assert_eq!(tenant.dispatch.next(), tenant.dispatch.groups().map(|(_, group)| group.next).min());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_commands_come_to_the_same_bytes_wherever_the_state_was_copied(seed: u64, every in 1..20usize) {
        let (log, play) = played(seed);
        let bytes = states::encode(&play.state);
        let again = replay(&log, beginning(), |_, _| {});
        prop_assert!(states::encode(&again) == bytes);
        let copied = replay(&log, beginning(), |at, state| {
            if at % every == 0 {
                *state = states::decode(&states::encode(state)).unwrap();
            }
        });
        prop_assert!(states::encode(&copied) == bytes);
        for state in [&play.state, &copied] {
            state.tenants.values().for_each(check_totals);
        }
    }

    #[test]
    fn requests_and_replies_are_read_back(seed: u64) {
        let (log, _) = played(seed);
        for (bytes, reply) in log {
            let request = requests::decode(&bytes).unwrap();
            prop_assert_eq!(requests::encode(&request), bytes);
            prop_assert_eq!(replies::decode(&replies::encode(&reply)), Ok(reply));
        }
    }

    #[test]
    fn commands_whose_bytes_are_damaged_break_nothing(seed: u64, at: prop::sample::Index, bit in 0..8u8) {
        let (log, mut play) = played(seed);
        for (bytes, _) in &log[..20] {
            let at = at.index(bytes.len());
            assert!(requests::decode(&bytes[..at]).is_err());
            assert!(requests::decode(&[&bytes[..], &[0]].concat()).is_err());
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            if let Ok(request) = requests::decode(&damaged) {
                let _ = apply(&mut play.state, request, 1000);
            }
        }
        play.state.tenants.values().for_each(check_totals);
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_state_is_noticed() {
    let bytes = states::encode(&played(3).1.state);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(states::decode(&damaged).is_err(), "byte {at}");
        assert!(states::decode(&bytes[..at]).is_err());
    }
}

#[test]
fn every_reply_is_read_back() {
    let [namespace, group, id] = ["a", "b", "c"].map(str::to_owned);
    let mut all: Vec<Reply> = vec![
        Ok(Outcome::Done),
        Ok(Outcome::Ring { epoch: 1 }),
        Ok(Outcome::Revision(2)),
        Ok(Outcome::Silence { id: id.clone() }),
        Ok(Outcome::Received { refused: 3 }),
        Ok(Outcome::Advanced { intents: vec![4, 5] }),
        Ok(Outcome::Acknowledged { alerts: 6 }),
        Err(Refusal::NoRuleGroup { namespace: namespace.clone(), group }),
        Err(Refusal::NoNamespace { namespace }),
        Err(Refusal::OldRing { current: 2, got: 1 }),
        Err(Refusal::OldRevision { current: 2, got: 1 }),
        Err(Refusal::AlreadyEvaluated { last: Some(3), before: None, at: 2 }),
        Err(Refusal::OtherRules { rules: 9 }),
        Err(Refusal::NoSilence { id: id.clone() }),
        Err(Refusal::SilenceExists { id }),
        Err(Refusal::SilenceOver { ends_at: -1 }),
    ];
    let limits = (1..=17).chain(32..=35).map(|number| {
        let bytes = [&[1, 1, 7, number][..], &1u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
        replies::decode(&bytes).unwrap()
    });
    all.extend(limits);
    assert!(all.contains(&Err(Refusal::Limit { what: Limited::AlertBytes, got: 1, limit: 0 })));
    for reply in all {
        let bytes = replies::encode(&reply);
        assert!((0..bytes.len()).all(|end| replies::decode(&bytes[..end]).is_err()));
        assert_eq!(replies::decode(&bytes), Ok(reply));
    }
}

#[test]
fn what_a_newer_program_wrote_is_refused_with_both_versions() {
    let newer =
        "a command of an alert group has format version 9, this program reads up to 2: start a newer bellwether";
    assert_eq!(requests::decode(&[9, 1, 2]).unwrap_err().to_string(), newer);
    let mut bytes = states::encode(&beginning());
    bytes.truncate(bytes.len() - 8);
    // A section of the next version, empty.
    bytes.extend_from_slice(&[6, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(&bytes).to_le_bytes());
    let newer = "a section of the state of an alert group has format version 6, this program reads up to 5: start a newer bellwether";
    assert_eq!(states::decode(&bytes).unwrap_err().to_string(), newer);
}

#[test]
fn a_state_whose_texts_mean_nothing_any_more_is_read() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    play.receive(outside("1")).unwrap();
    play.look_until(play.now + MINUTE);
    assert_eq!(play.tenant().intents.len(), 1);
    // As if this program read the configuration otherwise than the one that wrote it.
    let mut bytes = states::encode(&play.state);
    let at = bytes.windows(5).position(|window| window == b"route").unwrap();
    bytes[at] = b'x';
    let end = bytes.len() - 8;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    play.state = states::decode(&bytes).unwrap();
    assert!(play.tenant().notifications.as_ref().unwrap().parsed.is_err());
    assert!(play.tenant().intents.is_empty());
    assert_eq!(play.tenant().dispatch.alerts().len(), 1);
    play.look_until(play.now + 20 * MINUTE);
}

#[track_caller]
fn golden(bytes: &[u8], expected: Expect) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<&str> = (0..hex.len()).step_by(100).map(|at| &hex[at..hex.len().min(at + 100)]).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn request(command: Command) -> Vec<u8> {
    requests::encode(&Request { proposed_ms: 0x0c0d, command })
}

#[test]
fn the_bytes_of_commands_are_golden() {
    let rules =
        Command::set_rule_group(tenant(), "n".into(), "name: g\nrules: [{alert: A, expr: a, for: 1s}]").unwrap();
    golden(
        &request(rules),
        expect![[r#"
        010d0c000000000000020100000074010000006e01000000672d0000006e616d653a20670a72756c65733a205b7b616c6572
        743a20412c20657870723a20612c20666f723a2031737d5d01000000906c4d5f1d955ef5a04677d4faa73e5201e803000000
        0000000000000000000000"#]],
    );
    let mut play = Play::new();
    play.set_rules("name: g\nrules: [{alert: A, expr: a}, {record: r, expr: a}]").unwrap();
    play.evaluate("g", &[Ok(&["1"]), Ok(&[])]);
    let evaluated = play.evaluation("g", play.now + 1, &[Ok(&["2"]), Err("no")]);
    golden(
        &request(Command::Evaluated(evaluated.into())),
        expect![[r#"
        010d0c000000000000070100000074010000006e0100000067010000000000000002000000000000000140420f0000000000
        41420f0000000000000000000000000009000000020000000500000005000000020000000000000000000000010000001c00
        000009000000616c6572746e616d65010000004101000000780100000032000000000000f03f010000000100000078010000
        003200000000010000001c00000009000000616c6572746e616d650100000041010000007801000000310100000001020200
        00006e6f000000000000000000000000000000"#]],
    );
    golden(
        &request(Command::Receive { tenant: tenant(), alerts: vec![outside("1")] }),
        expect![[r#"
        010d0c000000000000080100000074010000001e00000009000000616c6572746e616d65030000004f757401000000780100
        00003100000000000000000000"#]],
    );
    let silence = SilenceDraft {
        replaces: Some("a".into()),
        new_id: "b".into(),
        matchers: "x=1".into(),
        during: None,
        begins_at: 1,
        ends_at: 2,
        created_by: "c".into(),
        comment: "d".into(),
    };
    golden(
        &request(Command::SetSilence { tenant: tenant(), silence }),
        expect![[r#"
        010d0c000000000000090100000074010100000061010000006203000000783d310100000000000000020000000000000001
        000000630100000064"#]],
    );
    let result = Delivery::Failed("no".into());
    golden(
        &request(Command::Told { tenant: tenant(), intent: 7, result }),
        expect!["010d0c0000000000000c0100000074070000000000000001020000006e6f"],
    );
    let alerts = [outside("1").labels].into();
    golden(
        &request(Command::Acknowledge { tenant: tenant(), alerts, by: "me".into() }),
        expect![[r#"
        010d0c000000000000160100000074010000001e00000009000000616c6572746e616d65030000004f757401000000780100
        000031020000006d65"#]],
    );
    golden(
        &request(Command::SetLinkKey { tenant: tenant(), key: [7; 32] }),
        expect!["010d0c0000000000001501000000740707070707070707070707070707070707070707070707070707070707070707"],
    );
    let shift = Shift { user: "u".into(), begins_at: 1, ends_at: 2 };
    let (id, schedule, by) = ("i".to_owned(), "s".to_owned(), "me".to_owned());
    let set = Command::SetOverride { tenant: tenant(), id: id.clone(), schedule, shift, by };
    golden(
        &request(set),
        expect![[r#"
        010d0c0000000000001701000000740100000069010000007301000000750100000000000000020000000000000002000000
        6d65"#]],
    );
    golden(
        &request(Command::DeleteOverride { tenant: tenant(), id }),
        expect!["010d0c0000000000001801000000740100000069"],
    );
    golden(
        &request(Command::Failing { tenant: tenant(), intent: 7, error: "no".into() }),
        expect!["010d0c0000000000001401000000740700000000000000020000006e6f"],
    );
}

#[test]
fn the_bytes_of_threshold_rules_are_golden() {
    let text = "name: g\nrules: [{alert: A, expr: a, thresholds: {critical: 4, warning: 2}, checks: {at_least: 1, of: 2}, no_data: {behavior: alert, after: 1m}}]";
    golden(
        &request(Command::set_rule_group(tenant(), "n".into(), text).unwrap()),
        expect![[r#"
        020d0c000000000000020100000074010000006e0100000067900000006e616d653a20670a72756c65733a205b7b616c6572
        743a20412c20657870723a20612c207468726573686f6c64733a207b637269746963616c3a20342c207761726e696e673a20
        327d2c20636865636b733a207b61745f6c656173743a20312c206f663a20327d2c206e6f5f646174613a207b626568617669
        6f723a20616c6572742c2061667465723a20316d7d7d5d01000000906c4d5f1d955ef5a04677d4faa73e5202000000000000
        0000000000000000000001020160ea0000000000006046270500000000"#]],
    );
    let mut play = Play::new();
    play.set_rules(text).unwrap();
    play.evaluate("g", &[Ok(&["1=5", "2=1"])]);
    play.now += 1;
    let evaluated = play.evaluation("g", play.now, &[Ok(&["1=3"])]);
    golden(
        &request(Command::Evaluated(evaluated.clone().into())),
        expect![[r#"
            020d0c000000000000070100000074010000006e0100000067010000000000000002000000000000000140420f0000000000
            41420f0000000000000000000000000009000000010000000500000001000000000000000000000000000000000000000000
            00000100000000020000001c00000009000000616c6572746e616d65010000004101000000780100000031000c0000000000
            000840000000001c00000009000000616c6572746e616d65010000004101000000780100000032010000"#]],
    );
    play.apply(Command::Evaluated(evaluated.into())).unwrap();
    golden(
        &states::encode(&play.state),
        expect![[r#"
            4257414701010001240000000000000041420f00000000000000000000000000010000000000000001000000010000000000
            0000020001800000000000000004000000000000001c00000009000000616c6572746e616d65010000004101000000780100
            0000311c00000009000000616c6572746e616d650100000041010000007801000000323400000009000000616c6572746e61
            6d65010000004108000000736576657269747908000000637269746963616c01000000780100000031030001d90100000000
            000001000000010000007401000000010000006e010000000100000067900000006e616d653a20670a72756c65733a205b7b
            616c6572743a20412c20657870723a20612c207468726573686f6c64733a207b637269746963616c3a20342c207761726e69
            6e673a20327d2c20636865636b733a207b61745f6c656173743a20312c206f663a20327d2c206e6f5f646174613a207b6265
            686176696f723a20616c6572742c2061667465723a20316d7d7d5d02000000000000000141420f0000000000090000000000
            00000000000001000000906c4d5f1d955ef5a04677d4faa73e52020000000000000000000000000000000001020160ea0000
            0000000060462705000000000105000000080000002f67726170683f4101000000030000000140420f00000000000040420f
            000000000000000000000008400000000041420f00000000000001000000030000000000000040420f000000000000080000
            002f67726170683f4141420f00000000000001000000010000000000000000000000010000000300000070b70f0000000000
            0000000000000000000000000000000000000000000200000040420f00000000000300000000000000000000144040420f00
            000000000300000001000000000000144000000000000000000400018500000000000000010000000100000074010000006e
            010000006700000000000200000001000000000c0002000000000000000300000000000000030140420f0000000000000000
            00000008400000000041420f0000000000020000000141420f00000000000000000000000000000000000000000000000000
            0000000000f03f0000000040420f0000000000ab53dae7f96addf3"#]],
    );
}

#[test]
fn the_bytes_of_a_state_are_golden() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    play.set_rules("name: g\nrules: [{alert: A, expr: a}]").unwrap();
    play.evaluate("g", &[Ok(&["1", "2"])]);
    play.look_until(play.now + MINUTE);
    play.send_all();
    play.evaluate("g", &[Ok(&["1"])]);
    play.look_until(play.now + MINUTE);
    let silence = SilenceDraft {
        replaces: None,
        new_id: "a".into(),
        matchers: "x=1".into(),
        during: None,
        begins_at: play.now,
        ends_at: play.now + 1,
        created_by: "c".into(),
        comment: "d".into(),
    };
    play.apply(Command::SetSilence { tenant: tenant(), silence }).unwrap();
    assert_eq!(play.tenant().intents.len(), 1);
    let known = play.tenant().dispatch.alert(&Labels::of(&[("alertname", "A"), ("x", "1")]));
    assert!(known.is_some());
    golden(
        &states::encode(&play.state),
        expect![[r#"
            4257414701010001240000000000000000171100000000000200000000000000010000000000000001000000010000000000
            00000200017600000000000000050000000a000000010000007801000000310a000000010000007801000000321200000009
            000000616c6572746e616d6501000000411c00000009000000616c6572746e616d650100000041010000007801000000311c
            00000009000000616c6572746e616d650100000041010000007801000000320300014d040000000000000100000001000000
            7401000000010000006e010000000100000067240000006e616d653a20670a72756c65733a205b7b616c6572743a20412c20
            657870723a20617d5d030000000000000001a02c10000000000009000000000000000000000001000000906c4d5f1d955ef5
            a04677d4faa73e5201000000000000000000000000000000000105000000080000002f67726170683f410200000003000000
            0140420f00000000000040420f0000000000000000000000f03f010000000100000078010000003140420f00000000000400
            000002a02c10000000000040420f0000000000000000000000f03f010000000100000078010000003240420f000000000001
            ce000000676c6f62616c3a207b7265736f6c76655f74696d656f75743a20336d7d0a726f7574653a0a202072656365697665
            723a20636861740a202067726f75705f62793a205b616c6572746e616d655d0a202067726f75705f776169743a203130730a
            202067726f75705f696e74657276616c3a20316d0a20207265706561745f696e74657276616c3a2031680a72656365697665
            72733a0a2d207b6e616d653a20636861742c20776562686f6f6b5f636f6e666967733a205b7b75726c3a2027687474703a2f
            2f63686174277d5d7d0a0000000002000000000000000102000000030000000000000040420f000000000000080000002f67
            726170683f4140420f00000000000001000000040000000100000040420f000000000001a02c100000000000080000002f67
            726170683f41a02c1000000000000000000000010000000000000002000000020000000300000004000000103e1100000000
            0001b0531000000000000100000007000000776562686f6f6b0000000001000000120000007b7d3a7b616c6572746e616d65
            3d2241227d040000006368617407000000776562686f6f6b0000000002000000fb5d188a601dea120c3a7dec87ecc2140000
            0000a02c100000000000a0097e000000000000010000000100000000000000b0531000000000000a000000742d3130353362
            302d31120000007b7d3a7b616c6572746e616d653d2241227d0200000000000000040000006368617407000000776562686f
            6f6b000000000201000000030000000000000040420f000000000000080000002f67726170683f4101000000040000000100
            000040420f000000000001a02c100000000000080000002f67726170683f4101000000010000006103000000783d31001711
            0000000000011711000000000001000000630100000064001711000000000001000000040000006368617407000000776562
            686f6f6b0000000001a02c1000000000000000000000000000000500000040420f00000000000300000000000000000000f0
            3f40420f00000000000300000001000000000000f03f40420f00000000000400000000000000000000f03f40420f00000000
            000400000001000000000000f03fa02c1000000000000400000002000000000000f03f00000000000000008ea8caffa4d450
            79"#]],
    );
}

/// Whoever replicates a state applies in one thread and copies in another.
#[test]
fn a_state_goes_between_threads() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<AlertGroupState>();
    check::<Command>();
}

/// Section 4 alone.
#[track_caller]
fn golden_people(play: &Play, expected: Expect) {
    let bytes = states::encode(&play.state);
    let mut at = 5;
    for _ in 0..3 {
        let length: [u8; 8] = bytes[at + 3..at + 11].try_into().unwrap();
        at += 11 + u64::from_le_bytes(length) as usize;
    }
    golden(&bytes[at..bytes.len() - 8], expected);
    let again = states::decode(&bytes).unwrap();
    assert_eq!(states::encode(&again), bytes);
}

#[test]
fn the_bytes_of_what_is_known_of_people_are_golden() {
    let mut play = Play::new();
    play.set_config(CONFIG).unwrap();
    play.receive(outside("1")).unwrap();
    golden_people(&play, expect![[""]]);
    play.look_until(play.now + MINUTE);
    play.apply(Command::Failing { tenant: tenant(), intent: 0, error: "no".into() }).unwrap();
    golden_people(
        &play,
        expect![[r#"
            0500014f0000000000000001000000010000007401000000040000006368617407000000776562686f6f6b0000000001a02c
            10000000000001a02c10000000000000000000000000000000000000000000000000000000000000"#]],
    );
    let throttled = CONFIG.replace("{name: chat, ", "{name: chat, throttle: {messages: 1, per: 10m}, ");
    play.set_config(&throttled.replace("[alertname]", "[x]")).unwrap();
    play.receive(outside("2")).unwrap();
    play.look_until(play.now + 10 * SECOND);
    golden_people(
        &play,
        expect![[r#"
            050001db0000000000000001000000010000007401000000040000006368617407000000776562686f6f6b0000000001a02c
            10000000000001a02c10000000000001000000040000006368617401000000a02c10000000000001000000000000000a0000
            0001000000780100000032010000000000000001707b19000000000001000000000000000000000000000000000000000000
            01000000140000007b7d3a7b616c6572746e616d653d224f7574227d040000006368617407000000776562686f6f6b000000
            0009000000742d66363935302d305fd900aada6cf824a02c100000000000"#]],
    );
    let alerts = [outside("2").labels].into();
    play.apply(Command::Acknowledge { tenant: tenant(), alerts, by: "me".into() }).unwrap();
    play.apply(Command::SetLinkKey { tenant: tenant(), key: [7; 32] }).unwrap();
    golden_people(
        &play,
        expect![[r#"
            0500010d0100000000000001000000010000007401000000040000006368617407000000776562686f6f6b0000000001a02c
            10000000000001a02c10000000000001000000040000006368617401000000a02c10000000000001000000000000000a0000
            0001000000780100000032010000000000000001707b19000000000001000000000100000004000000b05310000000000002
            0000006d65010707070707070707070707070707070707070707070707070707070707070707000000000000000000000000
            01000000140000007b7d3a7b616c6572746e616d653d224f7574227d040000006368617407000000776562686f6f6b000000
            0009000000742d66363935302d305fd900aada6cf824a02c100000000000"#]],
    );
    let policy = "escalation_policies: [{name: e, steps: [{notify: chat, after: 1m}]}]\n";
    let escalated = CONFIG.replace("  group_wait", "  escalation: e\n  group_wait") + policy;
    play.set_config(&escalated).unwrap();
    play.look_until(play.now + MINUTE);
    let shift = Shift { user: "u".into(), begins_at: play.now, ends_at: play.now + 2 };
    let (id, schedule, by) = ("i".into(), "s".into(), "me".into());
    play.apply(Command::SetOverride { tenant: tenant(), id, schedule, shift, by }).unwrap();
    golden_people(
        &play,
        expect![[r#"
            0500011a0100000000000001000000010000007401000000040000006368617407000000776562686f6f6b0000000001a02c
            10000000000001a02c100000000000000000000100000003000000b053100000000000020000006d65010707070707070707
            07070707070707070707070707070707070707070707070701000000000000001400000009000000616c6572746e616d6503
            0000004f75740100000000000000000000000001000000010000006901000000730100000075103e110000000000123e1100
            00000000020000006d650f0000000000000000000000010000000a0000007b7d3a7b783d2231227d04000000636861740700
            0000776562686f6f6b000000000a000000742d3130326361302d315fd900aada6cf824b053100000000000"#]],
    );
    let silence = SilenceDraft {
        replaces: None,
        new_id: "a".into(),
        matchers: "x=1".into(),
        during: Some("x=2".into()),
        begins_at: play.now,
        ends_at: play.now + 9,
        created_by: "c".into(),
        comment: "d".into(),
    };
    golden(
        &request(Command::SetSilence { tenant: tenant(), silence: silence.clone() }),
        expect![[r#"
        010d0c00000000000019010000007400010000006103000000783d31103e110000000000193e110000000000010000006301
        0000006403000000783d32"#]],
    );
    play.apply(Command::SetSilence { tenant: tenant(), silence }).unwrap();
    golden_people(
        &play,
        expect![[r#"
            050001260100000000000001000000010000007401000000040000006368617407000000776562686f6f6b0000000001a02c
            10000000000001a02c100000000000000000000100000003000000b053100000000000020000006d65010707070707070707
            07070707070707070707070707070707070707070707070701000000000000001400000009000000616c6572746e616d6503
            0000004f75740100000000000000000000000001000000010000006901000000730100000075103e110000000000123e1100
            00000000020000006d650f0000000000000001000000010000006103000000783d32010000000a0000007b7d3a7b783d2231
            227d040000006368617407000000776562686f6f6b000000000a000000742d3130326361302d315fd900aada6cf824b05310
            0000000000"#]],
    );
}
