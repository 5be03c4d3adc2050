//! Rule groups come, change and go.

use bellwether_alert::alert_group::{Command, Limited, Outcome, Refusal};

use crate::play::{Play, SECOND, tenant};

const TWO: &str = "name: g\nrules:\n- {alert: A, expr: a}\n- {alert: B, expr: b, labels: {l: m}}\n";

#[test]
fn the_same_text_again_is_the_same_revision() {
    let mut play = Play::new();
    assert_eq!(play.set_rules(TWO), Ok(Outcome::Revision(2)));
    assert_eq!(play.set_rules(TWO), Ok(Outcome::Revision(2)));
    assert_eq!(play.set_rules(&TWO.replace("expr: b", "expr: c")), Ok(Outcome::Revision(4)));
    assert_eq!((play.tenant().totals.groups, play.tenant().totals.rules), (1, 2));
}

#[test]
fn a_rule_of_the_same_name_and_labels_keeps_its_alerts_and_others_end() {
    let mut play = Play::new();
    play.set_rules(TWO).unwrap();
    play.evaluate("g", &[Ok(&["1"]), Ok(&["2", "3"])]);
    assert_eq!(play.history(), "1 pending, 1 firing, 2 pending, 2 firing, 3 pending, 3 firing");
    let swapped =
        "name: g\nrules:\n- {alert: B, expr: 'b > 1', labels: {l: m}}\n- {alert: A, expr: a, labels: {l: n}}\n";
    play.set_rules(swapped).unwrap();
    assert_eq!((play.alerts("g", 0), play.alerts("g", 1)), ("2 firing, 3 firing".into(), String::new()));
    assert!(play.history().ends_with(", 1 resolved"), "{}", play.history());
    let over = play.tenant().dispatch.alerts().filter(|known| known.alert.ends_at.is_some());
    assert_eq!(over.map(|known| known.alert.labels.get("x").unwrap().to_owned()).collect::<Vec<_>>(), ["1"]);
    assert_eq!(play.tenant().totals.alerts, 2);

    play.apply(Command::DeleteRuleGroup { tenant: tenant(), namespace: "n".into(), group: "g".into() }).unwrap();
    assert!(play.history().ends_with(", 2 resolved, 3 resolved"), "{}", play.history());
    let totals = play.tenant().totals;
    assert_eq!((totals.groups, totals.rules, totals.alerts, totals.text_bytes), (0, 0, 0, 0));
    let again = play.apply(Command::DeleteRuleGroup { tenant: tenant(), namespace: "n".into(), group: "g".into() });
    assert_eq!(again, Err(Refusal::NoRuleGroup { namespace: "n".into(), group: "g".into() }));
}

#[test]
fn a_tenant_of_whom_nothing_is_known_is_forgotten() {
    let mut play = Play::new();
    play.set_rules(TWO).unwrap();
    play.apply(Command::DeleteNamespace { tenant: tenant(), namespace: "n".into() }).unwrap();
    assert!(play.state.tenants.is_empty());
    let again = play.apply(Command::DeleteNamespace { tenant: tenant(), namespace: "n".into() });
    assert_eq!(again, Err(Refusal::NoNamespace { namespace: "n".into() }));
    assert!(play.state.tenants.is_empty());
}

#[test]
fn a_text_that_means_nothing_is_kept() {
    let mut play = Play::new();
    let Ok(Command::SetRuleGroup { tenant, namespace, group, rules, .. }) =
        Command::set_rule_group(tenant(), "n".into(), TWO)
    else {
        panic!("a group")
    };
    let text = "name: g\nrules: 7\n".into();
    play.apply(Command::SetRuleGroup { tenant, namespace, group, text, rules }).unwrap();
    assert!(play.group("g").parsed.is_err());
    assert_eq!(play.group("g").progress.rules.len(), 2);
}

#[test]
fn limits_are_told_by_name() {
    let mut play = Play::new();
    let long = format!("name: g\n#{}\nrules: []\n", "x".repeat(2 << 20));
    let refused = play.set_rules(&long).unwrap_err();
    assert!(matches!(refused, Refusal::Limit { what: Limited::GroupTextBytes, .. }), "{refused}");
    assert_eq!(refused.to_string(), "bytes of the rule group would be 2097172, the limit is 2097152");
    for at in 0..1_000 {
        let command = Command::set_rule_group(tenant(), format!("n{at}"), "name: g\nrules: []\n").unwrap();
        play.apply(command).unwrap();
    }
    let refused = play.set_rules(TWO).unwrap_err();
    assert!(matches!(refused, Refusal::Limit { what: Limited::Namespaces, got: 1001, .. }), "{refused}");
}

#[test]
fn the_ring_changes_when_its_nodes_do() {
    let mut play = Play::new();
    assert_eq!(play.ring(&[1]), 1);
    assert_eq!(play.ring(&[1, 2]), 3);
    assert_eq!(play.ring(&[2, 1]), 3);
}

#[test]
fn time_never_goes_back() {
    let mut play = Play::new();
    let before = play.now;
    play.now -= SECOND;
    play.set_rules(TWO).unwrap();
    assert_eq!(play.state.time, before);
}
