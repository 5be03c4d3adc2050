//! Alerts that keep others quiet: while an alert fires that matches a rule's source, alerts that match its target and have the
//! same values of the labels in `equal` are not told of.
//!
//! An alert that matches both sides of a rule is muted by that rule only through alerts that match its source alone, so that
//! none mutes itself, and no two like ones each other.
//!
//! Rules in a **circle** are refused: if all that one rule mutes is a source of a second, and all that the second mutes a source
//! of the first, then a pair of such alerts silences itself and nobody is told of either. [`circle`] finds what is certain to be
//! one from the matchers alone; rules that could merely meet in some alert are left as they are.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{Labels, Matcher};

use super::matchers::Matchers;

/// A rule.
#[derive(Debug, Clone)]
pub struct Inhibition {
    /// What it is called, if it is.
    pub name: String,
    /// Which alerts mute others.
    pub source: Matchers,
    /// Which alerts are muted.
    pub target: Matchers,
    /// The labels whose values both must share; two that lack one share it.
    pub equal: BTreeSet<String>,
}

/// The rules, with the alerts that fire sorted by whom they can mute.
pub struct Inhibitors<'a> {
    rules: Vec<(&'a Inhibition, BySharedValues<'a>)>,
}

/// Sources by the values of the labels that they must share with whom they mute.
type BySharedValues<'a> = BTreeMap<Vec<Option<&'a str>>, Firing<'a>>;

/// Alerts that fire, match a rule's source and share the values of its `equal`.
struct Firing<'a> {
    any: &'a Labels,
    /// One that does not match the rule's target.
    pure: Option<&'a Labels>,
}

impl<'a> Inhibitors<'a> {
    /// Sorts what fires.
    pub fn new(rules: &'a [Inhibition], firing: impl Iterator<Item = &'a Labels> + Clone) -> Inhibitors<'a> {
        let sorted = |rule: &'a Inhibition| {
            let mut sources = BySharedValues::new();
            for labels in firing.clone().filter(|labels| rule.source.match_labels(labels)) {
                let here = sources.entry(rule.shared(labels)).or_insert(Firing { any: labels, pure: None });
                if here.pure.is_none() && !rule.target.match_labels(labels) {
                    here.pure = Some(labels);
                }
            }
            (rule, sources)
        };
        Inhibitors { rules: rules.iter().map(sorted).collect() }
    }

    /// The rule that mutes an alert, if one does, and an alert through which it does.
    pub fn muted_by(&self, labels: &Labels) -> Option<(usize, &'a Labels)> {
        self.rules.iter().enumerate().find_map(|(at, (rule, sources))| {
            let sources = sources.get(&rule.shared(labels)).filter(|_| rule.target.match_labels(labels))?;
            let by = if rule.source.match_labels(labels) { sources.pure } else { Some(sources.any) };
            by.map(|by| (at, by))
        })
    }
}

/// Alerts that can mute others, whether they fire or not, sorted by whom they can mute: what is kept while alerts come and go.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<BTreeMap<Vec<Option<String>>, Candidates>>);

/// Alerts that match a rule's source and share the values of its `equal`.
#[derive(Debug, Clone, Default)]
struct Candidates {
    /// Those that do not match the rule's target.
    pure: BTreeSet<Labels>,
    /// Those that do.
    mixed: BTreeSet<Labels>,
}

impl Sources {
    /// Adds an alert. The rules are always the same.
    pub fn insert(&mut self, rules: &[Inhibition], labels: &Labels) {
        self.0.resize_with(rules.len(), BTreeMap::new);
        for (rule, candidates) in rules.iter().zip(&mut self.0).filter(|(rule, _)| rule.source.match_labels(labels)) {
            let here = candidates.entry(rule.shared_owned(labels)).or_default();
            let kind = if rule.target.match_labels(labels) { &mut here.mixed } else { &mut here.pure };
            kind.insert(labels.clone());
        }
    }

    /// Takes an alert away.
    pub fn remove(&mut self, rules: &[Inhibition], labels: &Labels) {
        for (rule, candidates) in rules.iter().zip(&mut self.0).filter(|(rule, _)| rule.source.match_labels(labels)) {
            let shared = rule.shared_owned(labels);
            let Some(here) = candidates.get_mut(&shared) else { continue };
            here.pure.remove(labels);
            here.mixed.remove(labels);
            if here.pure.is_empty() && here.mixed.is_empty() {
                candidates.remove(&shared);
            }
        }
    }

    /// The rule that mutes an alert, if one does, and an alert that fires through which it does.
    pub fn muting(
        &self,
        rules: &[Inhibition],
        labels: &Labels,
        fires: &dyn Fn(&Labels) -> bool,
    ) -> Option<(usize, &Labels)> {
        rules.iter().zip(&self.0).enumerate().find_map(|(at, (rule, candidates))| {
            if !rule.target.match_labels(labels) {
                return None;
            }
            let here = candidates.get(&rule.shared_owned(labels))?;
            let mixed = here.mixed.iter().filter(|_| !rule.source.match_labels(labels));
            here.pure.iter().chain(mixed).find(|source| fires(source)).map(|source| (at, source))
        })
    }
}

impl Inhibition {
    fn shared_owned(&self, labels: &Labels) -> Vec<Option<String>> {
        self.equal.iter().map(|name| labels.get(name).map(str::to_owned)).collect()
    }

    fn shared<'l>(&self, labels: &'l Labels) -> Vec<Option<&'l str>> {
        self.equal.iter().map(|name| labels.get(name)).collect()
    }
}

/// Rules that mute each other's sources in a circle, in its order, beginning with the first of the file.
pub fn circle(rules: &[Inhibition]) -> Option<Vec<usize>> {
    // A rule whose targets are sources of its own mutes through what is source alone, of which nothing is certain.
    let takes_part: Vec<bool> = rules.iter().map(|rule| !implies(&rule.target, &rule.source)).collect();
    let mutes_sources_of = |from: usize, to: usize| {
        takes_part[from] && takes_part[to] && from != to && implies(&rules[from].target, &rules[to].source)
    };
    for first in 0..rules.len() {
        // The shortest way back to the first, breadth first: `reached` holds each rule and the one that it was reached from.
        let mut reached: Vec<(usize, usize)> = vec![(first, first)];
        let mut at = 0;
        while at < reached.len() {
            let (rule, _) = reached[at];
            at += 1;
            if rule != first && mutes_sources_of(rule, first) {
                return Some(way(&reached, first, rule));
            }
            for next in first + 1..rules.len() {
                if mutes_sources_of(rule, next) && reached.iter().all(|(known, _)| *known != next) {
                    reached.push((next, rule));
                }
            }
        }
    }
    None
}

fn way(reached: &[(usize, usize)], first: usize, last: usize) -> Vec<usize> {
    let mut way = vec![last];
    let mut rule = last;
    while rule != first {
        let before = reached.iter().find(|(known, _)| *known == rule).map_or(first, |(_, before)| *before);
        way.push(before);
        rule = before;
    }
    way.reverse();
    way
}

/// Whether every alert that meets the one surely meets the other.
fn implies(some: &Matchers, other: &Matchers) -> bool {
    !some.is_empty() && other.iter().all(|needed| some.iter().any(|given| gives(given, needed)))
}

fn gives(given: &Matcher, needed: &Matcher) -> bool {
    if given.name() != needed.name() {
        return false;
    }
    let few = given.alternatives().filter(|_| !given.is_negative());
    given == needed || few.is_some_and(|values| values.iter().all(|value| needed.matches(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::matchers::parse_matchers;
    use bellwether_model::PatternBudget;

    fn rule(source: &str, target: &str, equal: &[&str]) -> Inhibition {
        let read = |text| parse_matchers(text, &mut PatternBudget::default()).unwrap();
        let equal = equal.iter().map(|name| (*name).to_owned()).collect();
        Inhibition { name: String::new(), source: read(source), target: read(target), equal }
    }

    /// By what is sorted at once and by what is kept along, which agree.
    fn mutes(rule: &Inhibition, firing: &[&Labels], alert: &Labels) -> bool {
        let rules = std::slice::from_ref(rule);
        let at_once = Inhibitors::new(rules, firing.iter().copied()).muted_by(alert).is_some();
        let mut sources = Sources::default();
        let over = Labels::of(&[("severity", "critical"), ("host", "a"), ("zone", "z")]);
        firing.iter().chain(&[&over]).for_each(|labels| sources.insert(rules, labels));
        let kept_along = sources.muting(rules, alert, &|labels| firing.contains(&labels)).is_some();
        assert_eq!(at_once, kept_along);
        firing.iter().chain(&[&over]).for_each(|labels| sources.remove(rules, labels));
        assert!(sources.0.iter().all(BTreeMap::is_empty));
        at_once
    }

    #[test]
    fn a_source_mutes_targets_with_equal_labels() {
        let rule = rule("severity=critical", "severity=warning", &["host", "zone"]);
        let critical = Labels::of(&[("severity", "critical"), ("host", "a")]);
        let warning = |host| Labels::of(&[("severity", "warning"), ("host", host)]);
        assert!(mutes(&rule, &[&critical], &warning("a")));
        assert!(!mutes(&rule, &[&critical], &warning("b")));
        assert!(!mutes(&rule, &[&warning("a")], &critical));
    }

    #[test]
    fn what_matches_both_sides_is_muted_by_pure_sources_alone() {
        let rule = rule("a=~.+", "b=~.+", &[]);
        let (both, source, target) =
            (Labels::of(&[("a", "1"), ("b", "1")]), Labels::of(&[("a", "1")]), Labels::of(&[("b", "1")]));
        assert!(!mutes(&rule, &[&both], &both));
        assert!(mutes(&rule, &[&both, &source], &both));
        assert!(mutes(&rule, &[&both], &target));
        assert!(!mutes(&rule, &[&target], &both));
    }

    #[test]
    fn rules_that_silence_each_other_are_found() {
        let rules = [
            rule("severity=critical", "severity=warning", &["host"]),
            rule("severity=warning", "severity=info", &[]),
            rule("severity=~warning|info", "severity=critical", &[]),
        ];
        assert_eq!(circle(&rules), Some(vec![0, 2]));
        assert_eq!(circle(&rules[..2]), None);
        let long = [
            rule("a=1", "a=2", &[]),
            rule("b=1", "b=2", &[]),
            rule("a=2", "a=3", &[]),
            rule("a=~\"[3-9]\"", "a=1", &[]),
        ];
        assert_eq!(circle(&long), Some(vec![0, 2, 3]));
    }

    #[test]
    fn rules_that_could_merely_meet_are_left_alone() {
        // What the monitoring mixin for Kubernetes has.
        let usual = [
            rule("severity=critical", "severity=~\"warning|info\"", &["namespace", "alertname"]),
            rule("severity=warning", "severity=info", &["namespace", "alertname"]),
            rule("alertname=InfoInhibitor", "severity=info", &["namespace"]),
            rule("alertname=~.+", "alertname=InfoInhibitor", &[]),
        ];
        assert_eq!(circle(&usual[..3]), None);
        assert_eq!(circle(&usual), None);
        assert_eq!(circle(&[rule("a=1", "a=1", &[]), rule("a=1", "a=1", &[])]), None);
        assert_eq!(circle(&[rule("", "", &[]), rule("", "", &[])]), None);
    }
}
