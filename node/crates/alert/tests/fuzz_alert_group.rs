//! Any bytes as what an alert group stores and is sent: an answer, never a panic, and what is read can be gone on with.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::collections::BTreeMap;

use bellwether_alert::alert_group::{
    AlertGroupState, Command, Evaluated, Evaluation, Found, ReceivedAlert, Request, RuleResult, apply, replies,
    requests, states,
};
use bellwether_alert::state::alerting::Seen;
use bellwether_alert::state::threshold::Zone;
use bellwether_alert::state::threshold::watch::Sighting;
use bellwether_model::{Labels, Tenant};

const CONFIG: &str = "\
route: {receiver: a, group_wait: 0s, group_by: [x]}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]
inhibit_rules: [{source_matchers: [x=1], target_matchers: [x=2]}]
";

const THRESHOLDS: &str =
    "name: t\nrules: [{alert: B, expr: b, thresholds: {critical: 4, warning: 2}, no_data: {behavior: alert}}]";

fn tenant() -> Tenant {
    Tenant::new("t").unwrap()
}

/// One of each kind of thing.
fn state() -> AlertGroupState {
    let alert = |x: &str| ReceivedAlert {
        labels: Labels::of(&[("x", x)]),
        annotations: Labels::empty(),
        begins_at: None,
        ends_at: None,
        generator_url: String::new(),
    };
    let commands = [
        Command::set_rule_group(tenant(), "n".into(), "name: g\nrules: [{alert: A, expr: a}]").unwrap(),
        Command::set_rule_group(tenant(), "n".into(), THRESHOLDS).unwrap(),
        Command::SetNotifications { tenant: tenant(), config: CONFIG.into(), templates: BTreeMap::new() },
        Command::Receive { tenant: tenant(), alerts: vec![alert("1"), alert("2"), alert("3")] },
        Command::Advance { tenant: tenant() },
    ];
    let mut state = AlertGroupState::default();
    for (index, command) in commands.into_iter().enumerate() {
        apply(&mut state, Request { proposed_ms: 1000, command }, index as u64).unwrap();
    }
    let command = evaluated(&state);
    apply(&mut state, Request { proposed_ms: 1000, command }, 9).unwrap();
    state
}

/// An evaluation of the threshold rule that is muted: a series of it is critical.
fn evaluated(state: &AlertGroupState) -> Command {
    let known = state.group(&tenant(), "n", "t").unwrap();
    let seen = Seen { value: 5.0, annotations: [("a".to_owned(), "b".to_owned())].into() };
    let sighting = Sighting::There { zone: Zone::CRITICAL.with(Zone::WARNING, true), seen };
    let reading = [(Labels::of(&[("alertname", "B"), ("x", "1")]), sighting)].into();
    let result = RuleResult {
        found: Ok(Found::Series(reading)),
        duration_us: 1,
        generator_url: "/graph".into(),
        is_muted: true,
    };
    let evaluation = Evaluation {
        tenant: tenant(),
        namespace: "n".into(),
        group: "t".into(),
        epoch: 0,
        at: 1000,
        missed: 0,
        duration_us: 1,
    };
    Command::Evaluated(Evaluated::of(evaluation, known, vec![result]).into())
}

/// What is read is gone on with.
fn go_on(mut state: AlertGroupState) {
    let tenants: Vec<Tenant> = state.tenants.keys().cloned().collect();
    let _ = state.next();
    for tenant in tenants {
        for command in [
            Command::Advance { tenant: tenant.clone() },
            Command::Told { tenant: tenant.clone(), intent: 0, result: bellwether_alert::alert_group::Delivery::Sent },
            Command::DeleteNamespace { tenant: tenant.clone(), namespace: "n".into() },
            Command::DeleteNotifications { tenant },
        ] {
            let _ = apply(&mut state, Request { proposed_ms: i64::MAX, command }, 9);
        }
    }
    assert!(states::decode(&states::encode(&state)).is_ok());
}

#[test]
fn any_bytes_are_a_command_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = replies::decode(bytes);
        if let Ok(request) = requests::decode(bytes) {
            assert_eq!(requests::encode(&request), bytes);
            let mut state = state();
            let _ = apply(&mut state, request, 9);
            go_on(state);
        }
    });
}

#[test]
fn any_change_of_a_state_is_a_state_or_refused() {
    let whole = states::encode(&state());
    bolero::check!().with_type::<Vec<(u16, u8)>>().for_each(|changes: &Vec<(u16, u8)>| {
        let mut bytes = whole.clone();
        let end = bytes.len() - 8;
        for (at, value) in changes {
            bytes[usize::from(*at) % end] = *value;
        }
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        if let Ok(state) = states::decode(&bytes) {
            go_on(state);
        }
    });
}
