//! Whether composite rules go together with all other rules: names are known, and nothing depends on itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Reference;
use crate::rules::{Rule, RuleGroup};
use crate::yaml::Place;
use crate::yaml::problems::Problem;

/// Composite rules that depend on each other, one below the other.
pub const COMPOSITE_LEVELS_MAX: usize = 8;

/// Alerting rules by their names, with the names that their conditions speak of.
#[derive(Debug, Default)]
pub struct Others(BTreeMap<String, BTreeSet<String>>);

impl Others {
    /// Adds the alerting rules of a group.
    pub fn add(&mut self, group: &RuleGroup) {
        for rule in &group.rules {
            let Rule::Alerting(rule) = rule else { continue };
            let names = self.0.entry(rule.alert.clone()).or_default();
            let references = rule.composite.iter().flat_map(|composite| &composite.references);
            names.extend(references.map(|reference| reference.name.clone()));
        }
    }

    /// The way from a name to itself, or one that is too long; names may be visited several times, but only in few levels.
    fn way(&self, from: &str) -> Option<Vec<&str>> {
        let (start, names) = self.0.get_key_value(from)?;
        let mut levels: Vec<(&str, Vec<&str>)> = vec![(start, names.iter().map(String::as_str).collect())];
        let mut seen: BTreeSet<(usize, &str)> = BTreeSet::new();
        while let Some((_, names)) = levels.last_mut() {
            let Some(name) = names.pop() else {
                levels.pop();
                continue;
            };
            let way = || levels.iter().map(|(name, _)| *name).chain([name]).collect();
            if name == from || levels.len() > COMPOSITE_LEVELS_MAX {
                return Some(way());
            }
            if let Some((name, below)) = self.0.get_key_value(name)
                && seen.insert((levels.len(), name))
            {
                levels.push((name, below.iter().map(String::as_str).collect()));
            }
        }
        None
    }
}

/// What is wrong with a composite rule beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The rule.
    pub alert: String,
    /// What is wrong.
    pub message: String,
    /// The byte of its condition that it is about.
    pub offset: usize,
    /// Where that is in the group's text.
    pub place: Place,
}

impl Misfit {
    /// As a problem of the group's text.
    pub fn problem(&self, group: &str) -> Problem {
        let message = format!("group {group:?}, {:?}: composite: {}", self.alert, self.message);
        Problem { place: self.place, message }
    }
}

/// What is wrong with the composite rules of a group beside a tenant's other rules.
pub fn check(group: &RuleGroup, mut others: Others) -> Vec<Misfit> {
    others.add(group);
    let is_unknown = |name: &str| !others.0.contains_key(name);
    misfits(group, &others, &is_unknown)
}

/// What is wrong with the composite rules of some groups beside each other, with the number of the group. A name that none of them
/// has may be known elsewhere.
pub fn check_together(groups: &[&RuleGroup]) -> Vec<(usize, Misfit)> {
    let mut all = Others::default();
    groups.iter().for_each(|group| all.add(group));
    let of_group = |(number, group): (usize, &&RuleGroup)| {
        misfits(group, &all, &|_| false).into_iter().map(move |misfit| (number, misfit)).collect::<Vec<_>>()
    };
    groups.iter().enumerate().flat_map(of_group).collect()
}

/// An order of some groups, by their numbers, in which each comes after those that its composite rules speak of, if there is one.
pub fn dependencies_first(groups: &[&RuleGroup]) -> Vec<usize> {
    let of_group = |group: &&RuleGroup| {
        let mut own = Others::default();
        own.add(group);
        own
    };
    let mut waiting: Vec<(usize, Others)> = groups.iter().map(of_group).enumerate().collect();
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_of_others = |number: usize, name: &String| {
            waiting.iter().any(|(other, rules)| *other != number && rules.0.contains_key(name))
        };
        let waits = |(number, own): &(usize, Others)| own.0.values().flatten().any(|name| is_of_others(*number, name));
        let next = waiting.iter().position(|group| !waits(group)).unwrap_or(0);
        order.push(waiting.remove(next).0);
    }
    order
}

fn misfits(group: &RuleGroup, all: &Others, is_unknown: &dyn Fn(&str) -> bool) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    for rule in &group.rules {
        let Rule::Alerting(rule) = rule else { continue };
        let Some(composite) = &rule.composite else { continue };
        let mut add = |at: Option<&Reference>, message: String| {
            let (offset, place) = at.map_or((0, rule.place), |at| (at.offset, at.place));
            misfits.push(Misfit { alert: rule.alert.clone(), message, offset, place });
        };
        for reference in composite.references.iter().filter(|reference| is_unknown(&reference.name)) {
            add(Some(reference), format!("there is no alerting rule {:?}", reference.name));
        }
        let Some(way) = all.way(&rule.alert) else { continue };
        let first = composite.references.iter().find(|reference| way.get(1) == Some(&reference.name.as_str()));
        add(
            first,
            match way.last() == Some(&rule.alert.as_str()) {
                true => format!("it depends on itself: {}", way.join(", ")),
                false => format!("more than {COMPOSITE_LEVELS_MAX} rules depend on each other: {}", way.join(", ")),
            },
        );
    }
    misfits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::read_group;

    fn group(rules: &[(&str, &str)]) -> RuleGroup {
        let rule = |(name, composite): &(&str, &str)| match *composite {
            "" => format!("- {{alert: {name}, expr: a}}\n"),
            composite => format!("- {{alert: {name}, composite: {composite:?}}}\n"),
        };
        let text = format!("name: g\nrules:\n{}", rules.iter().map(rule).collect::<String>());
        read_group(&text).unwrap_or_else(|problems| panic!("{problems:?} in {text}"))
    }

    fn told(rules: &[(&str, &str)], others: &[(&str, &str)]) -> Vec<String> {
        let mut all = Others::default();
        all.add(&group(others));
        check(&group(rules), all).iter().map(|misfit| misfit.problem("g").to_string()).collect()
    }

    #[test]
    fn names_must_be_known() {
        assert!(told(&[("A", "B && !C"), ("B", "")], &[("C", "")]).is_empty());
        let expected = ["3:32: group \"g\", \"A\": composite: there is no alerting rule \"C\""];
        assert_eq!(told(&[("A", "B && !C"), ("B", "")], &[]), expected);
    }

    #[test]
    fn nothing_depends_on_itself() {
        let expected = ["3:26: group \"g\", \"A\": composite: it depends on itself: A, B, C, A"];
        assert_eq!(told(&[("A", "B")], &[("B", "C || D"), ("C", "A"), ("D", "")]), expected);
        assert!(told(&[("A", "B && C")], &[("B", "C"), ("C", "")]).is_empty());
    }

    #[test]
    fn groups_are_checked_beside_each_other_and_ordered() {
        let (a, b, c) = (group(&[("A", "B && Elsewhere")]), group(&[("B", "C")]), group(&[("C", "")]));
        assert_eq!(check_together(&[&a, &b, &c]), []);
        assert_eq!(dependencies_first(&[&a, &b, &c]), [2, 1, 0]);
        let circle = group(&[("C", "A")]);
        let found = check_together(&[&a, &b, &circle]);
        let told = |(number, misfit): &(usize, Misfit)| (*number, misfit.message.clone());
        let expected = [(0, "A, B, C, A"), (1, "B, C, A, B"), (2, "C, A, B, C")];
        let expected = expected.map(|(number, way)| (number, format!("it depends on itself: {way}")));
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
        assert_eq!(
            dependencies_first(&[&a, &b, &circle]),
            [0, 2, 1],
            "there is no such order: all the same all of them"
        );
    }

    #[test]
    fn few_rules_depend_on_each_other() {
        let names: Vec<String> = (0..11).map(|number| format!("N{number}")).collect();
        let others: Vec<(&str, &str)> =
            names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).chain([("N10", "")]).collect();
        assert!(told(&[("A", "N3")], &others).is_empty());
        let told = told(&[("A", "N0")], &others);
        assert!(told[0].contains("more than 8 rules depend on each other: A, N0, N1"), "{told:?}");
    }
}
