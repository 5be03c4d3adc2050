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
    /// The revision of its rules, if one of them is critical.
    pub critical: Option<u64>,
}

/// What a group is evaluated for out of its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// A tick that is due.
    Tick(Timestamp),
    /// A time between the ticks: none is due.
    Between(Timestamp),
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
    /// When it was first known here: it is not evaluated for a time before that, unless others have begun with it.
    since: Timestamp,
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
            let since = entries.get(&key).map_or(now, |entry| entry.since);
            let next = known.ticks.next(known.last, since);
            let Some(entry) = entries.get_mut(&key) else {
                queue.insert((next, key.clone()));
                entries.insert(key, Entry { known, next: Some(next), began: None, is_wanted: true, since });
                continue;
            };
            // One that lies ahead was of a clock that has been set right: what the group says counts.
            let last = entry.known.last.filter(|last| *last <= now).max(known.last);
            let known = Known { last, ..known };
            if known == entry.known {
                continue;
            }
            entry.known = known;
            if let Some(before) = entry.next {
                queue.remove(&(before, key.clone()));
                let next = known.ticks.next(last, since);
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
                    let next = entry.known.ticks.next(entry.known.last, entry.since).max(now + 1);
                    entry.next = Some(next);
                    self.queue.insert((next, key));
                }
            }
        }
        None
    }

    /// Whether a group is to be evaluated here and is not being evaluated just now.
    pub fn is_idle(&self, key: &GroupKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.is_wanted && entry.next.is_some())
    }

    /// Takes an idle group out of its turn. What is due comes first; else it is evaluated for `now`, if that is after its last
    /// evaluation. It is not given out again until it has [ended](Self::end).
    pub fn begin(&mut self, key: &GroupKey, now: Timestamp) -> Option<Begun> {
        let entry = self.entries.get_mut(key)?;
        let next = entry.next?;
        let Known { ticks, last, .. } = entry.known;
        // Also while it rests after one that came to nothing: what is evaluated for later would leave it out.
        let is_due = ticks.next(last, entry.since) <= now;
        let due = if is_due { ticks.due(last, entry.began, now) } else { None };
        let begun = match due {
            Some(time) => Begun::Tick(time),
            None if last.is_none_or(|last| last < now) => Begun::Between(now),
            None => return None,
        };
        self.queue.remove(&(next, key.clone()));
        (entry.next, entry.began) = (None, Some(now));
        Some(begun)
    }

    /// An evaluation has ended; the group's last one was at `last`. Without success the group rests before the next one.
    pub fn end(&mut self, key: GroupKey, last: Option<Timestamp>, succeeded: bool, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if !entry.is_wanted {
            self.entries.remove(&key);
            return;
        }
        entry.known.last = entry.known.last.max(last);
        let mut next = entry.known.ticks.next(entry.known.last, entry.since);
        if !succeeded {
            // What was due is still to be done.
            entry.began = None;
            next = next.max(now + RETRY_PAUSE_MS);
        }
        entry.next = Some(next);
        self.queue.insert((next, key));
    }

    /// The clock went back to `now`: what was to wait until a time that was too late waits no longer than its tick.
    pub fn clock_went_back(&mut self, now: Timestamp) {
        let Schedule { entries, queue } = self;
        queue.clear();
        for (key, entry) in entries {
            entry.since = entry.since.min(now);
            entry.began = entry.began.filter(|began| *began <= now);
            if let Some(next) = &mut entry.next {
                *next = entry.known.ticks.next(entry.known.last, entry.since);
                queue.insert((*next, key.clone()));
            }
        }
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
        let known = |name: &&str| {
            let (ticks, critical) = (ticks(name), None);
            (key(name), Known { ticks, last: Some(ticks.at_or_before(last)), critical })
        };
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
    fn a_clock_that_was_ahead_for_a_while_makes_nothing_wait() {
        const AHEAD_MS: i64 = 3_600_000;
        let mut schedule = Schedule::default();
        schedule.set(known(&["failed", "running"], 100_000), 100_000);
        let mut all = known(&["failed", "running"], 100_000);
        all.insert(key("new"), Known { ticks: ticks("new"), last: None, critical: None });
        schedule.set(all, 100_000 + AHEAD_MS);
        let started = [schedule.start(100_000 + AHEAD_MS), schedule.start(100_000 + AHEAD_MS)];
        assert_eq!(names(started.into_iter().flatten()), ["failed", "running"]);
        schedule.end(key("failed"), None, false, 100_000 + AHEAD_MS);
        let now = 101_000;
        schedule.clock_went_back(now);
        schedule.end(key("running"), None, false, now);
        let mut started = names(std::iter::from_fn(|| schedule.start(now + INTERVAL_MS)));
        started.sort();
        assert_eq!(started, ["failed", "new", "running"]);
    }

    #[test]
    fn an_evaluation_that_is_ahead_counts_no_longer_than_its_group_says() {
        const AHEAD_MS: i64 = 3_600_000;
        let mut schedule = Schedule::default();
        schedule.set(known(&["a"], 100_000), 100_000);
        let (_, time) = schedule.start(100_000 + AHEAD_MS).unwrap();
        assert!(time > 100_000 + INTERVAL_MS);
        let now = 101_000;
        schedule.clock_went_back(now);
        schedule.end(key("a"), Some(time), true, now);
        schedule.set(known(&["a"], time), now);
        assert_eq!(schedule.start(now + INTERVAL_MS), None, "it is the last one");
        schedule.set(known(&["a"], now), now);
        assert_eq!(names(schedule.start(now + INTERVAL_MS)), ["a"], "the group's time is set back");
    }

    #[test]
    fn a_group_that_is_new_begins_with_the_first_tick_after_it_was_known() {
        let mut schedule = Schedule::default();
        let new = || BTreeMap::from([(key("a"), Known { ticks: ticks("a"), last: None, critical: None })]);
        let first = ticks("a").after(100_000);
        schedule.set(new(), first - 4_000);
        schedule.set(new(), first - 2_000);
        assert_eq!((schedule.start(first - 1), schedule.next()), (None, Some(first)));
        // Nobody committed it: the same tick again.
        assert_eq!(schedule.start(first), Some((key("a"), first)));
        schedule.end(key("a"), None, false, first);
        assert_eq!(schedule.start(first + RETRY_PAUSE_MS), Some((key("a"), first)));
        // What is loaded at a tick has it.
        let mut schedule = Schedule::default();
        schedule.set(new(), first);
        assert_eq!(schedule.start(first), Some((key("a"), first)));
    }

    #[test]
    fn between_ticks_no_tick_is_left_out() {
        let mut schedule = Schedule::default();
        schedule.set(known(&["a"], 100_000), 100_000);
        let (last, next) = (ticks("a").at_or_before(100_000), ticks("a").after(100_000));
        assert_eq!(schedule.begin(&key("a"), last), None, "times increase");
        assert_eq!(schedule.begin(&key("a"), last + 5), Some(Begun::Between(last + 5)));
        assert_eq!(
            (schedule.is_idle(&key("a")), schedule.begin(&key("a"), next), schedule.start(next)),
            (false, None, None)
        );
        schedule.end(key("a"), Some(last + 5), true, next);
        assert_eq!(schedule.begin(&key("a"), next + 1), Some(Begun::Tick(next)));
        // Not even one that is tried again later.
        schedule.end(key("a"), Some(last + 5), false, next + 2);
        assert_eq!(schedule.begin(&key("a"), next + 3), Some(Begun::Tick(next)));
        assert_eq!(schedule.begin(&key("b"), next), None);
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
        schedule.set([(key("a"), Known { ticks, last: Some(last), critical: None })].into(), 100_000);
        assert_eq!(schedule.next(), Some(ticks.after(last)));
    }
}
