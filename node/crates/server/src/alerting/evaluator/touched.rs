//! Rule groups whose critical rules are to be evaluated between the ticks: samples of theirs were stored, or something becomes of
//! their alerts by time alone.
//!
//! After an evaluation a group rests, for longer if it took longer, so that a rule that is expensive, or one whose series come in
//! without end, leaves the machine to others. What happens while a group rests is seen by the evaluation after it.
//!
//! Pure: what happened and what time it is are told.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::Timestamp;
use tokio::time::Instant;

use super::schedule::{GroupKey, RETRY_PAUSE_MS};
use crate::alerting::on_write::Touch;

/// A group rests for so long at the least.
pub const REST_MS_MIN: i64 = 50;
/// And for so many times as long as its evaluation took.
pub const REST_PER_EVALUATION: i64 = 2;
/// But no longer than this.
pub const REST_MS_MAX: i64 = 10_000;
/// A sample that is so far ahead of the clock is seen by the group's ticks alone.
const AHEAD_MS_MAX: i64 = 60_000;

/// What is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Rules that were touched. Those of other revisions do not count.
    pub touch: Option<Touch>,
    /// Whether all critical rules are wanted, because of time or of a new revision.
    pub all: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct TouchedGroups {
    groups: BTreeMap<GroupKey, Group>,
}

#[derive(Debug, Default)]
struct Group {
    touch: Option<Touch>,
    rests_until: Timestamp,
    /// When all critical rules are to be looked at.
    look_at: Option<Timestamp>,
    is_running: bool,
}

impl Group {
    /// When it can be evaluated.
    fn due(&self) -> Option<Timestamp> {
        let wanted = match (&self.touch, self.look_at) {
            _ if self.is_running => return None,
            (Some(_), _) => Timestamp::MIN,
            (None, Some(at)) => at,
            (None, None) => return None,
        };
        Some(wanted.max(self.rests_until))
    }
}

impl TouchedGroups {
    /// Samples were stored.
    pub fn touch(&mut self, key: GroupKey, touch: Touch) {
        let group = self.groups.entry(key).or_default();
        match &mut group.touch {
            Some(known) => known.merge(touch),
            None => group.touch = Some(touch),
        }
    }

    /// All critical rules of a group are to be evaluated at a time.
    pub fn look_at(&mut self, key: GroupKey, at: Timestamp) {
        let group = self.groups.entry(key).or_default();
        group.look_at = Some(group.look_at.map_or(at, |known| known.min(at)));
    }

    /// Forgets all groups but these.
    pub fn retain(&mut self, is_wanted: impl Fn(&GroupKey) -> bool) {
        self.groups.retain(|key, group| is_wanted(key) || group.is_running);
    }

    /// The clock went back to `now`: no group rests until a time that was too late, and none is looked at only then. One look too many
    /// finds out when the next one is due.
    pub fn clock_went_back(&mut self, now: Timestamp) {
        for group in self.groups.values_mut() {
            group.rests_until = group.rests_until.min(now);
            group.look_at = group.look_at.map(|at| at.min(now));
        }
    }

    /// When there is something to start next.
    pub fn next(&self) -> Option<Timestamp> {
        self.groups.values().filter_map(Group::due).min()
    }

    /// What to evaluate now, of groups that are `free`: what was touched first. It is not given out again until it has
    /// [ended](Self::ended).
    pub fn start(&mut self, now: Timestamp, is_free: impl Fn(&GroupKey) -> bool) -> Option<(GroupKey, Wanted)> {
        let due = self.groups.iter().filter(|(key, group)| group.due().is_some_and(|at| at <= now) && is_free(key));
        let since = |group: &Group| group.touch.as_ref().map(|touch| touch.since);
        // What nobody has touched waits for nobody.
        let (key, _) = due.min_by_key(|(_, group)| since(group))?;
        let key = key.clone();
        let group = self.groups.get_mut(&key)?;
        group.is_running = true;
        let all = group.look_at.is_some_and(|at| at <= now);
        if all {
            group.look_at = None;
        }
        Some((key, Wanted { touch: group.touch.take(), all }))
    }

    /// An evaluation has begun and is over at once: the group's tick comes first.
    pub fn put_back(&mut self, key: &GroupKey, wanted: Wanted, now: Timestamp) {
        if let Some(group) = self.groups.get_mut(key) {
            group.is_running = false;
        }
        if let Some(touch) = wanted.touch {
            self.touch(key.clone(), touch);
        }
        if wanted.all {
            self.look_at(key.clone(), now);
        }
    }

    /// An evaluation came to nothing.
    pub fn failed(&mut self, key: &GroupKey, wanted: Wanted, now: Timestamp) {
        self.put_back(key, wanted, now);
        self.tick_failed(key, now);
    }

    /// The evaluation of a group's tick came to nothing. It is still to be done before all that was touched, which rests with it.
    pub fn tick_failed(&mut self, key: &GroupKey, now: Timestamp) {
        if let Some(group) = self.groups.get_mut(key) {
            group.rests_until = now.saturating_add(RETRY_PAUSE_MS);
        }
    }

    /// An evaluation is over that took so long, the query's offset being `offset_ms`.
    pub fn ended(&mut self, key: &GroupKey, wanted: &Wanted, took_ms: i64, offset_ms: i64, now: Timestamp) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.is_running = false;
        let rest = took_ms.saturating_mul(REST_PER_EVALUATION).clamp(REST_MS_MIN, REST_MS_MAX);
        group.rests_until = now.saturating_add(rest);
        // A sample that is ahead of the clock is not seen before its time.
        let newest = wanted.touch.as_ref().map(|touch| touch.newest.saturating_add(offset_ms));
        if let Some(newest) = newest.filter(|newest| (now..now + AHEAD_MS_MAX).contains(newest)) {
            self.look_at(key.clone(), newest);
        }
    }
}

impl Wanted {
    /// Which of the critical rules of a revision are evaluated.
    pub fn rules(&self, revision: u64, critical: &BTreeSet<usize>) -> BTreeSet<usize> {
        match &self.touch {
            Some(touch) if touch.revision == revision && !self.all => {
                critical.iter().filter(|rule| touch.rules.contains(&(**rule as u32))).copied().collect()
            }
            _ => critical.clone(),
        }
    }

    /// When the first of the samples could be read.
    pub fn since(&self) -> Option<Instant> {
        self.touch.as_ref().map(|touch| touch.since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bellwether_model::Tenant;

    use super::*;

    fn key(name: &str) -> GroupKey {
        GroupKey { tenant: Tenant::default_tenant(), namespace: "n".into(), group: name.into() }
    }

    fn touch(began: Instant, after_ms: u64, rules: &[u32], newest: Timestamp) -> Touch {
        let rules = rules.iter().copied().collect();
        Touch { rules, revision: 7, since: began + Duration::from_millis(after_ms), newest }
    }

    fn start(groups: &mut TouchedGroups, now: Timestamp) -> Option<(String, Wanted)> {
        groups.start(now, |_| true).map(|(key, wanted)| (key.group.to_string(), wanted))
    }

    #[test]
    fn what_was_touched_first_is_first_and_what_comes_meanwhile_is_seen_after_a_rest() {
        let began = Instant::now();
        let mut groups = TouchedGroups::default();
        assert_eq!(groups.next(), None);
        groups.touch(key("b"), touch(began, 5, &[1], 0));
        groups.touch(key("a"), touch(began, 7, &[0], 0));
        groups.touch(key("b"), touch(began, 9, &[2], 0));
        assert!(groups.next().is_some_and(|next| next <= 1000));
        let (name, wanted) = start(&mut groups, 1000).unwrap();
        assert_eq!((name.as_str(), &wanted.touch), ("b", &Some(touch(began, 5, &[1, 2], 0))));
        assert_eq!(start(&mut groups, 1000).unwrap().0, "a");
        assert_eq!(start(&mut groups, 1000), None);
        groups.touch(key("b"), touch(began, 20, &[3], 0));
        assert_eq!(start(&mut groups, 1000), None, "it is being evaluated");
        groups.ended(&key("b"), &wanted, 100, 0, 1100);
        assert_eq!(groups.next(), Some(1300));
        assert_eq!(start(&mut groups, 1299), None);
        assert_eq!(start(&mut groups, 1300).unwrap().1.touch, Some(touch(began, 20, &[3], 0)));
        // One that takes no time rests all the same, but for no longer than the clock says.
        groups.ended(&key("b"), &Wanted::default(), 0, 0, 1300);
        groups.touch(key("b"), touch(began, 30, &[3], 0));
        assert_eq!(groups.next(), Some(1300 + REST_MS_MIN));
        groups.clock_went_back(1000);
        assert_eq!(groups.next(), Some(1000));
        groups.look_at(key("c"), 5000);
        groups.clock_went_back(900);
        assert_eq!(start(&mut groups, 900).map(|(name, _)| name), Some("c".to_owned()));
    }

    #[test]
    fn a_sample_that_is_ahead_is_seen_when_its_time_has_come() {
        let began = Instant::now();
        let mut groups = TouchedGroups::default();
        groups.touch(key("a"), touch(began, 0, &[1], 1500));
        let (_, wanted) = start(&mut groups, 1000).unwrap();
        groups.ended(&key("a"), &wanted, 1, 200, 1001);
        assert_eq!(groups.next(), Some(1700));
        let (_, wanted) = start(&mut groups, 1700).unwrap();
        assert_eq!(wanted, Wanted { touch: None, all: true });
        groups.ended(&key("a"), &wanted, 1, 200, 1701);
        assert_eq!(groups.next(), None);
    }

    #[test]
    fn a_group_that_is_evaluated_otherwise_waits_and_keeps_what_it_was_told() {
        let began = Instant::now();
        let mut groups = TouchedGroups::default();
        groups.touch(key("a"), touch(began, 0, &[1], 0));
        assert_eq!(groups.start(1000, |_| false), None);
        let (_, wanted) = start(&mut groups, 1000).unwrap();
        groups.put_back(&key("a"), wanted.clone(), 1000);
        assert_eq!(start(&mut groups, 1000).unwrap().1, wanted);
        groups.put_back(&key("a"), wanted.clone(), 1000);
        groups.tick_failed(&key("a"), 1000);
        assert_eq!(start(&mut groups, 1000), None, "its tick would come to nothing again");
        assert_eq!(start(&mut groups, 1000 + RETRY_PAUSE_MS).unwrap().1, wanted);
        groups.retain(|_| false);
        assert_eq!(groups.next(), None);
    }

    #[test]
    fn numbers_of_another_revision_mean_all() {
        let critical = BTreeSet::from([1, 4, 6]);
        let wanted = Wanted { touch: Some(touch(Instant::now(), 0, &[1, 2, 6], 0)), all: false };
        assert_eq!(wanted.rules(7, &critical), [1, 6].into());
        assert_eq!(wanted.rules(8, &critical), critical);
        assert_eq!(Wanted { all: true, ..wanted }.rules(7, &critical), critical);
    }
}
