//! Critical composite rules are evaluated as soon as an alert that they ask after fires or does no longer: this node's copy of the alert
//! group tells, whoever evaluated that alert.
//!
//! Pure: what happened is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bellwether_alert::alert_group::{StoredGroup, Transition};
use bellwether_alert::rules::{Composite, Rule};
use bellwether_alert::state::alerting::Change;
use bellwether_model::{Tenant, Timestamp};
use tokio::time::Instant;

use super::schedule::GroupKey;
use crate::alerting::on_write::Touch;

/// See the module.
#[derive(Default)]
pub struct Composites {
    tenants: BTreeMap<Tenant, OfTenant>,
}

#[derive(Default)]
struct OfTenant {
    rules: Vec<CriticalComposite>,
    /// The last transition that was looked at.
    seen: Option<Transition>,
}

struct CriticalComposite {
    key: GroupKey,
    revision: u64,
    rule: u32,
    composite: Box<Composite>,
}

impl Composites {
    /// Takes over which groups are evaluated here. What happened before a tenant was known is not told: each new revision is
    /// evaluated once anyway.
    pub fn set<'g>(
        &mut self,
        groups: impl Iterator<Item = (&'g GroupKey, &'g Arc<StoredGroup>)>,
        last: impl Fn(&Tenant) -> Option<Transition>,
    ) {
        let mut before = std::mem::take(&mut self.tenants);
        for (key, rule) in groups.flat_map(|(key, group)| critical(key, group)) {
            let tenant = &key.tenant;
            let of_tenant = self.tenants.entry(tenant.clone()).or_insert_with(|| {
                let seen = before.remove(tenant).map_or_else(|| last(tenant), |before| before.seen);
                OfTenant { rules: Vec::new(), seen }
            });
            of_tenant.rules.push(rule);
        }
    }

    /// Tenants that have any here.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.keys()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// The rules that are to be evaluated for what has become of a tenant's alerts since it was looked at last.
    pub fn touched(&mut self, tenant: &Tenant, history: &VecDeque<Transition>) -> Vec<(GroupKey, Touch)> {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return Vec::new() };
        let OfTenant { rules, seen } = of_tenant;
        let is_new = |transition: &&Transition| seen.as_ref().is_none_or(|seen| !is_same(seen, transition));
        let turns = |transition: &&Transition| matches!(transition.change, Change::Firing | Change::Resolved);
        let news: Vec<&Transition> = history.iter().rev().take_while(is_new).filter(turns).collect();
        let is_touched = |rule: &&CriticalComposite| {
            let mut references = rule.composite.references.iter();
            references.any(|reference| news.iter().any(|transition| reference.means(&transition.labels)))
        };
        let touch = |rule: &CriticalComposite| {
            let rules = [rule.rule].into();
            let touch = Touch { rules, revision: rule.revision, since: Instant::now(), newest: Timestamp::MIN };
            (rule.key.clone(), touch)
        };
        let touched = rules.iter().filter(is_touched).map(touch).collect();
        seen.clone_from(&history.back().cloned());
        touched
    }
}

/// The values of two may be no numbers, which are never equal.
fn is_same(one: &Transition, other: &Transition) -> bool {
    one.at == other.at && one.change == other.change && one.labels == other.labels
}

fn critical<'g>(key: &'g GroupKey, group: &'g StoredGroup) -> impl Iterator<Item = (&'g GroupKey, CriticalComposite)> {
    let rules = group.parsed.as_ref().map_or(&[][..], |parsed| &parsed.rules[..]);
    rules.iter().zip(0..).filter_map(move |(rule, number)| {
        let Rule::Alerting(rule) = rule else { return None };
        let composite = rule.composite.clone().filter(|_| rule.critical)?;
        Some((key, CriticalComposite { key: key.clone(), revision: group.revision, rule: number, composite }))
    })
}

#[cfg(test)]
mod tests {
    use bellwether_alert::alert_group::{AlertGroupState, Command, Request, apply};
    use bellwether_model::Labels;

    use super::*;
    use crate::alerting::on_write::critical_groups;

    const RULES: &str = "name: g\nrules:\n- {alert: A, expr: a}\n- {alert: B, expr: b}\n- {alert: C, expr: c}\n\
                         - {alert: AandB, composite: 'A && B{n=\"1\"}', critical: true}\n\
                         - {alert: NotC, composite: '!C', critical: true}\n- {alert: Slow, composite: A}\n";

    fn transition(at: Timestamp, name: &str, n: &str, change: Change) -> Transition {
        Transition { at, labels: Labels::of(&[("alertname", name), ("n", n)]), change, value: f64::NAN }
    }

    #[test]
    fn a_rule_is_touched_by_begins_and_ends_of_what_it_asks_after() {
        let mut state = AlertGroupState::default();
        let command = Command::set_rule_group(Tenant::default_tenant(), "n".to_owned(), RULES).unwrap();
        apply(&mut state, Request { proposed_ms: 0, command }, 7).unwrap();
        let groups: Vec<(GroupKey, Arc<StoredGroup>)> = critical_groups(&state).collect();
        let mut history = VecDeque::from([transition(1, "A", "1", Change::Firing)]);
        let mut composites = Composites::default();
        let set = |composites: &mut Composites, history: &VecDeque<Transition>| {
            composites.set(groups.iter().map(|(key, group)| (key, group)), |_| history.back().cloned());
        };
        set(&mut composites, &history);
        let tenant = Tenant::default_tenant();
        let mut touched = |composites: &mut Composites, news: &[Transition]| -> Vec<u32> {
            history.extend(news.iter().cloned());
            let touched = composites.touched(&tenant, &history);
            assert!(touched.iter().all(|(key, touch)| &*key.group == "g" && touch.revision == 7));
            touched.into_iter().flat_map(|(_, touch)| touch.rules).collect()
        };
        assert!(touched(&mut composites, &[]).is_empty(), "what was before is seen as the rules are new");
        assert_eq!(touched(&mut composites, &[transition(2, "B", "1", Change::Firing)]), [3]);
        assert!(touched(&mut composites, &[]).is_empty(), "once");
        assert!(touched(&mut composites, &[transition(3, "B", "2", Change::Firing)]).is_empty(), "not this one");
        assert!(touched(&mut composites, &[transition(4, "A", "1", Change::Pending)]).is_empty(), "not yet");
        let both = [transition(5, "C", "", Change::Firing), transition(5, "A", "1", Change::Resolved)];
        assert_eq!(touched(&mut composites, &both), [3, 4]);
        set(&mut composites, &VecDeque::new());
        assert!(touched(&mut composites, &[]).is_empty(), "what was seen stays seen");
        composites.set(std::iter::empty(), |_| None);
        assert!(composites.is_empty());
    }
}
