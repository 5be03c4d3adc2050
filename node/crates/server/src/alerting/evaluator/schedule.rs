//! Which rule group is evaluated next: of those that are due, the one that has been due longest; none twice at a time.
//!
//! Pure: which groups there are and what time it is are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bellwether_model::{Tenant, Timestamp};

use super::ticks::Ticks;

/// How long a group rests whose evaluation came to nothing: nobody committed it, or somebody else's holds.
pub const RETRY_PAUSE_MS: i64 = 1_000;

/// Which rule group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Whose.
    pub tenant: Tenant,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub group: Arc<str>,
}

impl fmt::Display for GroupKey {
    /// What the group's place on the evaluator ring and the phase of its ticks follow from: never to be changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.namespace, self.group)
    }
}

/// What is known of a group that is to be evaluated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// When it is evaluated.
    pub ticks: Ticks,
    /// When it was evaluated last, by whomever.
    pub last: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Schedule {
    // Invariant: an entry is in the queue, at its `next`, unless that is none.
    entries: BTreeMap<GroupKey, Entry>,
    queue: BTreeSet<(Timestamp, GroupKey)>,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// When it is looked at next; none while it is evaluated.
    next: Option<Timestamp>,
    /// When the evaluation began that was the last thing that happened to it.
    began: Option<Timestamp>,
    is_wanted: bool,
}

impl Schedule {
    /// Takes what is to be evaluated here from now on.
    pub fn set(&mut self, groups: BTreeMap<GroupKey, Known>, now: Timestamp) {
        let Schedule { entries, queue } = self;
        entries.retain(|key, entry| {
            entry.is_wanted = groups.contains_key(key);
            if let (false, Some(next)) = (entry.is_wanted, entry.next) {
                queue.remove(&(next, key.clone()));
            }
            entry.is_wanted || entry.next.is_none()
        });
        for (key, known) in groups {
            let next = known.ticks.next(known.last, now);
            let Some(entry) = entries.get_mut(&key) else {
                queue.insert((next, key.clone()));
                entries.insert(key, Entry { known, next: Some(next), began: None, is_wanted: true });
                continue;
            };
            let last = entry.known.last.max(known.last);
            let known = Known { last, ..known };
            if known == entry.known {
                continue;
            }
            entry.known = known;
            if let Some(before) = entry.next {
                queue.remove(&(before, key.clone()));
                let next = known.ticks.next(last, now);
                entry.next = Some(next);
                queue.insert((next, key));
            }
        }
    }

    /// Whether a group is to be evaluated here.
    pub fn wants(&self, key: &GroupKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.is_wanted)
    }

    /// What to evaluate now, and for what time. It is not given out again until it has [ended](Self::end).
    pub fn start(&mut self, now: Timestamp) -> Option<(GroupKey, Timestamp)> {
        while let Some((at, _)) = self.queue.first()
            && *at <= now
            && let Some((_, key)) = self.queue.pop_first()
        {
            let entry = self.entries.get_mut(&key).expect("what is in the queue has an entry");
            match entry.known.ticks.due(entry.known.last, entry.began, now) {
                Some(time) => {
                    entry.next = None;
                    entry.began = Some(now);
                    return Some((key, time));
                }
                None => {
                    // The clock went back.
                    let next = entry.known.ticks.next(entry.known.last, now).max(now + 1);
                    entry.next = Some(next);
                    self.queue.insert((next, key));
                }
            }
        }
        None
    }

    /// An evaluation has ended; the group's last one was at `last`. Without success the group rests before the next one.
    pub fn end(&mut self, key: GroupKey, last: Option<Timestamp>, succeeded: bool, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if !entry.is_wanted {
            self.entries.remove(&key);
            return;
        }
        entry.known.last = entry.known.last.max(last);
        let mut next = entry.known.ticks.next(entry.known.last, now);
        if !succeeded {
            // What was due is still to be done.
            entry.began = None;
            next = next.max(now + RETRY_PAUSE_MS);
        }
        entry.next = Some(next);
        self.queue.insert((next, key));
    }

    /// When there is something to start next.
    pub fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Groups that are to be evaluated here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_MS: i64 = 10_000;

    fn key(name: &str) -> GroupKey {
        GroupKey { tenant: Tenant::default_tenant(), namespace: "n".into(), group: name.into() }
    }

    fn ticks(name: &str) -> Ticks {
        Ticks::of(key(name).to_string().as_bytes(), INTERVAL_MS)
    }

    fn known(names: &[&str], last: i64) -> BTreeMap<GroupKey, Known> {
        let known = |name: &&str| (key(name), Known { ticks: ticks(name), last: Some(ticks(name).at_or_before(last)) });
        names.iter().map(known).collect()
    }

    fn names(started: impl IntoIterator<Item = (GroupKey, Timestamp)>) -> Vec<String> {
        started.into_iter().map(|(key, _)| key.group.to_string()).collect()
    }

    #[test]
    fn what_has_been_due_longest_is_first_and_nothing_is_given_out_twice() {
        let mut schedule = Schedule::default();
        schedule.set(known(&["a", "b", "c"], 100_000), 100_000);
        let mut by_due = ["a", "b", "c"];
        by_due.sort_by_key(|name| ticks(name).after(100_000));
        assert_eq!(schedule.start(100_000), None);
        let now = 100_000 + INTERVAL_MS;
        assert_eq!(names(std::iter::from_fn(|| schedule.start(now))), by_due);
        assert_eq!((schedule.start(now + INTERVAL_MS), schedule.next()), (None, None));
        schedule.end(key("a"), Some(ticks("a").at_or_before(now)), true, now);
        assert_eq!(schedule.next(), Some(ticks("a").after(now)));
    }

    #[test]
    fn what_is_not_wanted_any_more_is_forgotten_also_while_it_is_evaluated() {
        let mut schedule = Schedule::default();
        schedule.set(known(&["a", "b"], 100_000), 100_000);
        let now = 100_000 + INTERVAL_MS;
        let started = [schedule.start(now).unwrap().0, schedule.start(now).unwrap().0];
        schedule.set(BTreeMap::new(), now);
        assert!(!schedule.wants(&started[0]));
        // One comes back before its evaluation has ended.
        schedule.set(known(&[&started[0].group], 100_000), now);
        assert_eq!(schedule.start(now), None);
        for key in &started {
            schedule.end(key.clone(), Some(now), true, now);
        }
        assert_eq!(schedule.len(), 1);
        assert!(schedule.wants(&started[0]) && !schedule.wants(&started[1]));
    }

    #[test]
    fn what_came_to_nothing_is_tried_again_after_a_pause_for_the_same_time() {
        let mut schedule = Schedule::default();
        schedule.set(known(&["a"], 100_000), 100_000);
        let now = ticks("a").after(100_000);
        let (_, first) = schedule.start(now).unwrap();
        schedule.end(key("a"), None, false, now + 500);
        assert_eq!(schedule.start(now + 600), None);
        assert_eq!(schedule.start(now + 500 + RETRY_PAUSE_MS).unwrap().1, first);
    }

    #[test]
    fn what_others_evaluated_meanwhile_is_not_evaluated_again() {
        let mut schedule = Schedule::default();
        schedule.set(known(&["a"], 100_000), 100_000);
        let now = ticks("a").after(100_000);
        schedule.set(known(&["a"], now), now);
        assert_eq!(schedule.start(now), None);
        assert_eq!(schedule.next(), Some(now + INTERVAL_MS));
    }

    #[test]
    fn a_new_interval_holds_from_the_next_tick_on() {
        let mut schedule = Schedule::default();
        schedule.set(known(&["a"], 100_000), 100_000);
        let last = ticks("a").at_or_before(100_000);
        let ticks = Ticks::of(key("a").to_string().as_bytes(), 1_000);
        schedule.set([(key("a"), Known { ticks, last: Some(last) })].into(), 100_000);
        assert_eq!(schedule.next(), Some(ticks.after(last)));
    }
}
