//! Critical composite rules are evaluated as soon as an alert that they ask after fires or does no longer: this node's copy of the alert
//! group tells, whoever evaluated that alert.
//!
//! Pure: what became of alerts is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_alert::alert_group::StoredGroup;
use bellwether_alert::rules::composite::Reference;
use bellwether_alert::rules::{AlertingRule, Rule, RuleGroup};
use bellwether_alert::state::alerting::ALERT_NAME;
use bellwether_model::{Labels, Tenant, Timestamp};
use tokio::time::Instant;

use super::schedule::GroupKey;
use crate::alerting::machine::Turned;
use crate::alerting::on_write::Touch;

/// See the module.
#[derive(Default)]
pub struct Composites {
    tenants: BTreeMap<Tenant, OfTenant>,
}

struct OfTenant {
    rules: Vec<CriticalComposite>,
    /// Of each name that is asked after, the rules that do.
    askers: BTreeMap<String, Vec<usize>>,
    /// The last entry of the alert group's log that was looked at.
    seen: u64,
}

struct CriticalComposite {
    key: GroupKey,
    revision: u64,
    group: Arc<RuleGroup>,
    rule: u32,
}

impl CriticalComposite {
    fn rule(&self) -> Option<&AlertingRule> {
        match &self.group.rules[self.rule as usize] {
            Rule::Alerting(rule) => Some(rule),
            Rule::Recording(_) => None,
        }
    }

    fn references(&self) -> &[Reference] {
        self.rule().and_then(|rule| rule.composite.as_ref()).map_or(&[], |composite| &composite.references)
    }
}

impl Composites {
    /// Takes over which groups with critical rules are evaluated here. Of a new tenant nothing is told that happened before `applied`,
    /// the last entry that is applied: each new revision is evaluated once anyway.
    pub fn set(&mut self, groups: &[(GroupKey, Arc<StoredGroup>)], applied: &dyn Fn(&Tenant) -> u64) {
        let before = std::mem::take(&mut self.tenants);
        let mut rules: BTreeMap<&Tenant, Vec<CriticalComposite>> = BTreeMap::new();
        for (key, group) in groups {
            rules.entry(&key.tenant).or_default().extend(critical(key, group));
        }
        for (tenant, rules) in rules {
            let rules = without_circles(rules);
            if rules.is_empty() {
                continue;
            }
            let mut askers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (number, rule) in rules.iter().enumerate() {
                let names: BTreeSet<&String> = rule.references().iter().map(|reference| &reference.name).collect();
                names.into_iter().for_each(|name| askers.entry(name.clone()).or_default().push(number));
            }
            let seen = before.get(tenant).map_or_else(|| applied(tenant), |before| before.seen);
            self.tenants.insert(tenant.clone(), OfTenant { rules, askers, seen });
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// The rules that are to be evaluated for what has become of alerts since they were looked at last; `turned_since` tells that of a
    /// tenant and an entry of its alert group's log.
    pub fn touched(&mut self, turned_since: &dyn Fn(&Tenant, u64) -> Turned) -> Vec<(GroupKey, Touch)> {
        let mut touched = Vec::new();
        for (tenant, of_tenant) in &mut self.tenants {
            let Turned { alerts, until } = turned_since(tenant, of_tenant.seen);
            of_tenant.seen = until;
            let numbers = match alerts {
                Some(turned) => of_tenant.concerned(&turned),
                None => (0..of_tenant.rules.len()).collect(),
            };
            touched.extend(numbers.into_iter().map(|number| touch(&of_tenant.rules[number])));
        }
        touched
    }
}

impl OfTenant {
    /// The rules that ask after any of these alerts.
    fn concerned(&self, turned: &[Labels]) -> BTreeSet<usize> {
        let mut concerned = BTreeSet::new();
        for labels in turned {
            let askers = labels.get(ALERT_NAME).and_then(|name| self.askers.get(name));
            for number in askers.into_iter().flatten() {
                if self.rules[*number].references().iter().any(|reference| reference.means(labels)) {
                    concerned.insert(*number);
                }
            }
        }
        concerned
    }
}

fn touch(rule: &CriticalComposite) -> (GroupKey, Touch) {
    let (rules, revision) = ([rule.rule].into(), rule.revision);
    (rule.key.clone(), Touch { rules, revision, since: Instant::now(), newest: Timestamp::MIN })
}

fn critical(key: &GroupKey, group: &StoredGroup) -> impl Iterator<Item = CriticalComposite> {
    let (key, revision) = (key.clone(), group.revision);
    group.parsed.as_ref().ok().cloned().into_iter().flat_map(move |group| {
        let is_one = |rule: &Rule| matches!(rule, Rule::Alerting(rule) if rule.critical && rule.composite.is_some());
        let numbers: Vec<u32> = group.rules.iter().zip(0..).filter(|(rule, _)| is_one(rule)).map(|one| one.1).collect();
        let key = key.clone();
        let one = move |rule| CriticalComposite { key: key.clone(), revision, group: group.clone(), rule };
        numbers.into_iter().map(one)
    })
}

/// Two groups that were set at the same moment can depend on each other unnoticed: such rules are left to their ticks, since they would
/// call for each other without end.
fn without_circles(mut rules: Vec<CriticalComposite>) -> Vec<CriticalComposite> {
    let mut free = Vec::with_capacity(rules.len());
    loop {
        let waiting: BTreeSet<String> = rules.iter().filter_map(|rule| Some(rule.rule()?.alert.to_string())).collect();
        let depends = |rule: &CriticalComposite| rule.references().iter().any(|one| waiting.contains(&one.name));
        let (left, done): (Vec<CriticalComposite>, Vec<CriticalComposite>) = rules.into_iter().partition(depends);
        let is_over = done.is_empty();
        free.extend(done);
        if is_over {
            return free;
        }
        rules = left;
    }
}

#[cfg(test)]
mod tests {
    use bellwether_alert::alert_group::{AlertGroupState, Command, Request, apply};

    use super::*;
    use crate::alerting::on_write::critical_groups;

    fn composites(rules: &str) -> Composites {
        let mut state = AlertGroupState::default();
        let text = format!("name: g\nrules:\n{rules}");
        let command = Command::set_rule_group(Tenant::default_tenant(), "n".to_owned(), &text).unwrap();
        apply(&mut state, Request { proposed_ms: 0, command }, 7).unwrap();
        let mut composites = Composites::default();
        composites.set(&critical_groups(&state).collect::<Vec<_>>(), &|_| 7);
        composites
    }

    /// The rules that are touched by alerts that have turned, if that is known, after an entry.
    fn touched(composites: &mut Composites, after: u64, turned: Option<&[(&str, &str)]>) -> Vec<u32> {
        let turned_since = |_: &Tenant, index: u64| {
            assert_eq!(index, after);
            let labels = |(name, n): &(&str, &str)| Labels::of(&[("alertname", name), ("n", n)]);
            Turned { alerts: turned.map(|turned| turned.iter().map(labels).collect()), until: after + 1 }
        };
        let touched = composites.touched(&turned_since);
        assert!(touched.iter().all(|(key, touch)| &*key.group == "g" && touch.revision == 7));
        touched.into_iter().flat_map(|(_, touch)| touch.rules).collect()
    }

    #[test]
    fn a_rule_is_touched_by_what_it_asks_after() {
        let mut composites = composites(
            "- {alert: A, expr: a}\n- {alert: B, expr: b}\n- {alert: C, expr: c}\n\
             - {alert: AandB, composite: 'A && B{n=\"1\"}', critical: true}\n\
             - {alert: NotC, composite: '!C', critical: true}\n- {alert: Slow, composite: A}\n",
        );
        assert!(!composites.is_empty());
        assert!(touched(&mut composites, 7, Some(&[])).is_empty());
        assert_eq!(touched(&mut composites, 8, Some(&[("B", "1")])), [3]);
        assert!(touched(&mut composites, 9, Some(&[("B", "2"), ("D", "1")])).is_empty(), "nobody asks after these");
        assert_eq!(touched(&mut composites, 10, Some(&[("C", ""), ("A", "1")])), [3, 4]);
        assert_eq!(touched(&mut composites, 11, None), [3, 4], "whatever may have happened");
        composites.set(&[], &|_| 0);
        assert!(composites.is_empty());
    }

    #[test]
    fn rules_that_ask_after_each_other_do_not_call_for_each_other() {
        let rule =
            |name: &str, composite: &str| format!("- {{alert: {name}, composite: '{composite}', critical: true}}\n");
        let rules = ["- {alert: A, expr: a}\n".to_owned(), rule("B", "A"), rule("C", "!B")].concat();
        let mut in_line = composites(&rules);
        assert_eq!(touched(&mut in_line, 7, None), [1, 2]);
        // The desk refuses a circle; two groups that come at once can be one.
        let other = rules.replace("!B", "!B || D") + &rule("D", "C");
        let mut in_circle = composites(&other);
        assert_eq!(touched(&mut in_circle, 7, None), [1]);
    }
}
