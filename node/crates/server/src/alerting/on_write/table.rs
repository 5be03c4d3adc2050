//! Which series critical rules read. Made anew when there are other rules; a selector that stays keeps its number.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_alert::alert_group::{AlertGroupState, StoredGroup};
use bellwether_alert::rules::Rule;
use bellwether_alert::state::alerting::is_alert_series;
use bellwether_model::{METRIC_NAME, MatchOp, Tenant};
use bellwether_promql::ast::VectorSelector;

use super::{GroupKey, Touch, add};
use crate::shards::watches::{Selector, TouchedSelectors, WatchId};

/// Selectors of critical rules that are followed. Rules whose selectors have no room are evaluated at their ticks alone.
pub const SELECTORS_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub struct Table {
    known: BTreeMap<(Tenant, String), Followed>,
    readers: BTreeMap<WatchId, Vec<Reader>>,
    next: u64,
    without_room: usize,
}

struct Followed {
    id: WatchId,
    selector: Selector,
}

/// A rule that reads a selector's series.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reader {
    key: GroupKey,
    revision: u64,
    rule: u32,
}

impl Table {
    /// Takes over the rules that there are.
    pub fn read(&mut self, groups: &[(GroupKey, Arc<StoredGroup>)]) {
        let mut known = BTreeMap::new();
        self.readers.clear();
        self.without_room = 0;
        for (key, group) in groups {
            for (rule, selectors) in critical(group) {
                for selector in selectors {
                    let reader = Reader { key: key.clone(), revision: group.revision, rule };
                    self.follow(&mut known, selector, reader);
                }
            }
        }
        self.known = known;
    }

    fn follow(&mut self, known: &mut BTreeMap<(Tenant, String), Followed>, selector: &VectorSelector, reader: Reader) {
        let text: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
        let name = (reader.key.tenant.clone(), text.join(","));
        if !known.contains_key(&name) {
            if known.len() >= SELECTORS_MAX {
                self.without_room += 1;
                return;
            }
            let before = self.known.remove(&name);
            let followed = before.unwrap_or_else(|| {
                self.next += 1;
                let selector = Selector { tenant: name.0.clone(), matchers: selector.matchers.as_slice().into() };
                Followed { id: WatchId(self.next), selector }
            });
            known.insert(name.clone(), followed);
        }
        let readers = self.readers.entry(known[&name].id).or_default();
        if readers.last() != Some(&reader) {
            readers.push(reader);
        }
    }

    /// All selectors.
    pub fn selectors(&self) -> BTreeMap<WatchId, Selector> {
        self.known.values().map(|followed| (followed.id, followed.selector.clone())).collect()
    }

    /// Selectors that have no room.
    pub fn without_room(&self) -> usize {
        self.without_room
    }

    /// Adds the rule groups that are to be told of what was touched.
    pub fn concerned(&self, touched: &TouchedSelectors, to: &mut BTreeMap<GroupKey, Touch>) {
        for ((_, id), touched) in touched {
            for Reader { key, revision, rule } in self.readers.get(id).into_iter().flatten() {
                let (rules, revision) = ([*rule].into(), *revision);
                let touch = Touch { rules, revision, since: touched.since, newest: touched.newest };
                add(to, key.clone(), touch);
            }
        }
    }
}

/// All rule groups that have a critical rule.
pub fn critical_groups(state: &AlertGroupState) -> impl Iterator<Item = (GroupKey, Arc<StoredGroup>)> {
    state.tenants.iter().flat_map(|(tenant, of_tenant)| {
        of_tenant.namespaces.iter().flat_map(move |(namespace, groups)| {
            let has_critical = |group: &Arc<StoredGroup>| group.progress.rules.iter().any(|rule| rule.shape.critical);
            groups.iter().filter(move |(_, group)| has_critical(group)).map(move |(name, group)| {
                let (namespace, group_name) = (namespace.as_str().into(), name.as_str().into());
                (GroupKey { tenant: tenant.clone(), namespace, group: group_name }, group.clone())
            })
        })
    })
}

/// The critical rules of a group, and what of their selectors a sample that is stored now can matter to.
fn critical(group: &StoredGroup) -> impl Iterator<Item = (u32, Vec<&VectorSelector>)> {
    let rules = group.parsed.as_ref().map_or(&[][..], |parsed| &parsed.rules[..]);
    rules.iter().zip(0..).filter_map(|(rule, number)| {
        let Rule::Alerting(rule) = rule else { return None };
        let selectors = rule.query.expr.selectors().into_iter().filter(|selector| selector.shift.at.is_none());
        // An evaluation stores these itself: it would call for the next one.
        let is_own = |selector: &&VectorSelector| metric(selector).is_some_and(is_alert_series);
        rule.critical.then(|| (number, selectors.filter(|selector| !is_own(selector)).collect()))
    })
}

fn metric(selector: &VectorSelector) -> Option<&str> {
    let is_name = |op, name: &str| op == MatchOp::Equal && name == METRIC_NAME;
    selector.matchers.iter().find(|matcher| is_name(matcher.op(), matcher.name())).map(|matcher| matcher.value())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bellwether_alert::alert_group::{Command, Request, apply};
    use bellwether_model::ShardGroupId;
    use tokio::time::Instant;

    use super::*;
    use crate::shards::watches::Touched;

    fn set(state: &mut AlertGroupState, index: u64, text: &str) {
        let command = Command::set_rule_group(Tenant::default_tenant(), "n".to_owned(), text).unwrap();
        apply(state, Request { proposed_ms: 0, command }, index).unwrap();
    }

    fn shown(table: &Table) -> Vec<String> {
        let shown = |(id, selector): (WatchId, Selector)| {
            let matchers: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
            let readers = table.readers[&id].iter().map(|reader| format!("{}/{}", reader.key.group, reader.rule));
            format!("{} {}: {}", id.0, matchers.join(","), readers.collect::<Vec<_>>().join(" "))
        };
        table.selectors().into_iter().map(shown).collect()
    }

    #[test]
    fn what_critical_rules_read_is_followed() {
        let mut state = AlertGroupState::default();
        set(
            &mut state,
            1,
            "name: g\nrules:\n- {alert: A, expr: 'sum(rate(a{x=\"1\"}[5m])) / sum(b) + a{x=\"1\"} > 0', critical: true}\n\
             - {alert: B, expr: c}\n- {alert: C, expr: 'b unless (old @ 7) unless ALERTS', critical: true}\n",
        );
        let mut table = Table::default();
        table.read(&critical_groups(&state).collect::<Vec<_>>());
        assert_eq!(shown(&table), ["1 x=\"1\",__name__=\"a\": g/0", "2 __name__=\"b\": g/0 g/2"]);
        set(&mut state, 2, "name: h\nrules:\n- {alert: D, expr: d or b, critical: true}\n");
        set(&mut state, 3, "name: g\nrules:\n- {alert: A, expr: b, critical: true}\n");
        table.read(&critical_groups(&state).collect::<Vec<_>>());
        assert_eq!(shown(&table), ["2 __name__=\"b\": g/0 h/0", "3 __name__=\"d\": h/0"]);
        let touched = |newest| Touched { since: Instant::now(), newest };
        let touched = [
            ((ShardGroupId(1), WatchId(2)), touched(5)),
            ((ShardGroupId(2), WatchId(2)), touched(7)),
            ((ShardGroupId(2), WatchId(1)), touched(9)),
        ];
        let mut concerned = BTreeMap::new();
        table.concerned(&touched.into(), &mut concerned);
        let concerned: Vec<(&str, u64, i64, &BTreeSet<u32>)> =
            concerned.iter().map(|(key, touch)| (&*key.group, touch.revision, touch.newest, &touch.rules)).collect();
        assert_eq!(concerned, [("g", 3, 7, &[0].into()), ("h", 2, 7, &[0].into())]);
    }

    #[test]
    fn only_so_many_selectors_are_followed() {
        let rule = |number| format!("- {{alert: A, expr: m{number}, critical: true}}\n");
        let rules = |from: usize| (from..from + 5_001).map(rule).collect::<String>();
        let mut state = AlertGroupState::default();
        set(&mut state, 1, &format!("name: g\nrules:\n{}", rules(0)));
        set(&mut state, 2, &format!("name: h\nrules:\n{}", rules(5_000)));
        let mut table = Table::default();
        table.read(&critical_groups(&state).collect::<Vec<_>>());
        assert_eq!((table.selectors().len(), table.without_room()), (SELECTORS_MAX, 1));
    }
}
