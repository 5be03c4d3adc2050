//! Rule groups come, change and go. A rule that was there keeps its alerts; those of a rule that is gone end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Entry;
use crate::alert_group::command::{Limited, Outcome, Refusal, Reply};
use crate::alert_group::limits::{
    GROUP_TEXT_BYTES_MAX, GROUPS_MAX, NAME_BYTES_MAX, NAMESPACES_MAX, RULE_TEXT_BYTES_MAX, RULES_MAX,
    RULES_PER_GROUP_MAX,
};
use crate::alert_group::state::{GroupProgress, RuleProgress, RuleShape, StoredGroup, TenantState, Totals};

impl TenantState {
    pub(super) fn set_rule_group(
        &mut self,
        namespace: String,
        group: String,
        text: Arc<str>,
        rules: &[RuleShape],
        entry: &Entry<'_>,
    ) -> Reply {
        let known = self.namespaces.get(&namespace).and_then(|groups| groups.get(&group));
        if let Some(known) = known.filter(|known| known.text == text) {
            return Ok(Outcome::Revision(known.revision));
        }
        let before = known.map(|known| Totals::of(known)).unwrap_or_default();
        let after = Totals {
            groups: self.totals.groups + 1 - before.groups,
            rules: self.totals.rules + rules.len() - before.rules,
            text_bytes: self.totals.text_bytes + text.len() - before.text_bytes,
            ..self.totals
        };
        let is_new_namespace = !self.namespaces.contains_key(&namespace);
        let namespaces = self.namespaces.len() + usize::from(is_new_namespace);
        Refusal::check(Limited::NameBytes, namespace.len().max(group.len()), NAME_BYTES_MAX)?;
        Refusal::check(Limited::GroupTextBytes, text.len(), GROUP_TEXT_BYTES_MAX)?;
        Refusal::check(Limited::RulesPerGroup, rules.len(), RULES_PER_GROUP_MAX)?;
        Refusal::check(Limited::Namespaces, namespaces, NAMESPACES_MAX)?;
        Refusal::check(Limited::Groups, after.groups, GROUPS_MAX)?;
        Refusal::check(Limited::Rules, after.rules, RULES_MAX)?;
        Refusal::check(Limited::RuleTextBytes, after.text_bytes, RULE_TEXT_BYTES_MAX)?;

        let progress = known.map(|known| known.progress.clone()).unwrap_or_default();
        let (rules, gone) = matched(progress.rules, rules);
        let progress = GroupProgress { rules, ..progress };
        let stored = StoredGroup::new(text, entry.index, progress);
        self.namespaces.entry(namespace).or_default().insert(group, Arc::new(stored));
        self.totals = after;
        self.end(gone, entry);
        Ok(Outcome::Revision(entry.index))
    }

    pub(super) fn delete_rule_group(&mut self, namespace: String, group: String, entry: &Entry<'_>) -> Reply {
        let groups = self.namespaces.get_mut(&namespace);
        let Some(removed) = groups.and_then(|groups| groups.remove(&group)) else {
            return Err(Refusal::NoRuleGroup { namespace, group });
        };
        if self.namespaces.get(&namespace).is_some_and(BTreeMap::is_empty) {
            self.namespaces.remove(&namespace);
        }
        self.removed(&removed, entry);
        Ok(Outcome::Done)
    }

    pub(super) fn delete_namespace(&mut self, namespace: String, entry: &Entry<'_>) -> Reply {
        let Some(groups) = self.namespaces.remove(&namespace) else { return Err(Refusal::NoNamespace { namespace }) };
        groups.values().for_each(|group| self.removed(group, entry));
        Ok(Outcome::Done)
    }

    fn removed(&mut self, group: &StoredGroup, entry: &Entry<'_>) {
        let of = Totals::of(group);
        self.totals.groups -= of.groups;
        self.totals.rules -= of.rules;
        self.totals.text_bytes -= of.text_bytes;
        self.end(group.progress.rules.clone(), entry);
    }

    /// Alerts of rules that are no more.
    fn end(&mut self, gone: Vec<RuleProgress>, entry: &Entry<'_>) {
        for rule in gone {
            self.totals.alerts -= rule.alerts.len();
            self.totals.watched -= rule.watched.len();
            let news = rule.ended(entry.now);
            self.tell(news, entry);
        }
    }
}

impl Totals {
    /// What a group counts for.
    pub(in crate::alert_group) fn of(group: &StoredGroup) -> Totals {
        let rules = &group.progress.rules;
        let alerts = rules.iter().map(|rule| rule.alerts.len()).sum();
        let watched = rules.iter().map(|rule| rule.watched.len()).sum();
        Totals { groups: 1, rules: rules.len(), text_bytes: group.text.len(), alerts, watched }
    }
}

/// What is known of rules, in the order of the new ones; and of those that are no more. Of rules that are alike the first
/// takes what was the first's.
fn matched(known: Vec<RuleProgress>, shapes: &[RuleShape]) -> (Vec<RuleProgress>, Vec<RuleProgress>) {
    let key = |shape: &RuleShape| (shape.identity, shape.sort());
    let mut places: BTreeMap<(u128, u8), VecDeque<usize>> = BTreeMap::new();
    for (at, rule) in known.iter().enumerate() {
        places.entry(key(&rule.shape)).or_default().push_back(at);
    }
    let mut known: Vec<Option<RuleProgress>> = known.into_iter().map(Some).collect();
    let mut take = |shape: &RuleShape| known.get_mut(places.get_mut(&key(shape))?.pop_front()?)?.take();
    let rules = shapes.iter().map(|shape| match take(shape) {
        Some(rule) => RuleProgress { shape: *shape, ..rule },
        None => RuleProgress::new(*shape),
    });
    let rules = rules.collect();
    (rules, known.into_iter().flatten().collect())
}
