//! When a rule group is evaluated: at `k * interval + phase`, whoever evaluates it. The phase is of the group's id, so that
//! groups of one interval are spread over it.
//!
//! What one node did not evaluate, the next one does at the time that it was due, up to [`CATCH_UP_MAX`] of them; so a
//! `for` that was about to be over ends when it should have. Older ones are counted. A group whose evaluation outlasts its
//! interval is not caught up with: it would be behind for ever.

use bellwether_model::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// Ticks that are evaluated late, at their own times; older ones are missed.
pub const CATCH_UP_MAX: i64 = 4;
/// No group is evaluated more often.
pub const INTERVAL_MS_MIN: i64 = 100;
/// No group is evaluated more seldom.
pub const INTERVAL_MS_MAX: i64 = 365 * 24 * 3600 * 1000;

/// The times at which a group is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    interval_ms: i64,
    phase_ms: i64,
}

impl Ticks {
    /// Of the group of this id.
    pub fn of(group_id: &[u8], interval_ms: i64) -> Ticks {
        let interval_ms = interval_ms.clamp(INTERVAL_MS_MIN, INTERVAL_MS_MAX);
        let phase = xxh3_64(group_id) % interval_ms.unsigned_abs();
        Ticks { interval_ms, phase_ms: phase.cast_signed() }
    }

    /// Milliseconds from one to the next.
    pub fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    /// The last tick that is not after `time`.
    pub fn at_or_before(&self, time: Timestamp) -> Timestamp {
        let since = time.saturating_sub(self.phase_ms).rem_euclid(self.interval_ms);
        time.saturating_sub(since)
    }

    /// The first tick after `time`.
    pub fn after(&self, time: Timestamp) -> Timestamp {
        self.at_or_before(time).saturating_add(self.interval_ms)
    }

    /// The tick to evaluate now, if any. `last` is the time of the last evaluation, `began` when that began if it was here and
    /// is over only now. A group that was never evaluated begins with the newest tick.
    pub fn due(&self, last: Option<Timestamp>, began: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let newest = self.at_or_before(now);
        let Some(last) = last else { return Some(newest) };
        if newest <= last {
            return None;
        }
        let late = self.missed(Some(last), newest).cast_signed().min(CATCH_UP_MAX - 1);
        let oldest = newest - late * self.interval_ms;
        let fell_due_meanwhile = began.is_some_and(|began| oldest > began);
        Some(if fell_due_meanwhile { newest } else { oldest })
    }

    /// How many ticks are between two evaluations.
    pub fn missed(&self, last: Option<Timestamp>, time: Timestamp) -> u64 {
        let Some(last) = last else { return 0 };
        let between = time.saturating_sub(self.after(last)) / self.interval_ms;
        u64::try_from(between).unwrap_or(0)
    }

    /// When there is something to evaluate next after an evaluation at `last`. A group that was never evaluated begins with the first
    /// tick that is not before `since`, when it was first known: what Prometheus does, too.
    pub fn next(&self, last: Option<Timestamp>, since: Timestamp) -> Timestamp {
        self.after(last.unwrap_or(since.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ticks at 3, 13, 23, ... seconds.
    const TICKS: Ticks = Ticks { interval_ms: 10_000, phase_ms: 3_000 };

    fn due(last: i64, began: Option<i64>, now: i64) -> Option<(i64, u64)> {
        TICKS.due(Some(last), began, now).map(|time| (time, TICKS.missed(Some(last), time)))
    }

    #[test]
    fn one_tick_at_a_time_while_nothing_is_late() {
        assert_eq!(due(13_000, None, 13_000), None);
        assert_eq!(due(13_000, None, 22_999), None);
        assert_eq!(due(13_000, Some(13_010), 23_000), Some((23_000, 0)));
        assert_eq!(due(13_000, None, 32_999), Some((23_000, 0)));
        assert_eq!(TICKS.next(Some(13_000), 14_000), 23_000);
    }

    #[test]
    fn a_group_that_was_never_evaluated_begins_with_the_first_tick_after_it_was_known() {
        assert_eq!(TICKS.due(None, None, 14_000), Some(13_000));
        assert_eq!(TICKS.next(None, 13_001), 23_000);
        assert_eq!(TICKS.next(None, 13_000), 13_000);
    }

    #[test]
    fn after_a_pause_four_are_caught_up_in_order_and_older_ones_counted() {
        let (mut last, mut seen) = (13_000, Vec::new());
        while let Some((time, missed)) = due(last, None, 93_000) {
            seen.push((time, missed));
            last = time;
        }
        assert_eq!(seen, [(63_000, 4), (73_000, 0), (83_000, 0), (93_000, 0)]);
    }

    #[test]
    fn what_falls_due_while_the_group_is_evaluated_is_missed_but_for_the_newest() {
        assert_eq!(due(13_000, Some(13_050), 44_000), Some((43_000, 2)));
        // What was late before is still caught up with.
        assert_eq!(due(13_000, Some(24_000), 44_000), Some((23_000, 0)));
    }

    #[test]
    fn an_interval_that_changes_only_moves_the_next_tick() {
        assert_eq!(due(17_500, None, 20_000), None);
        assert_eq!(due(17_500, None, 23_000), Some((23_000, 0)));
    }

    #[test]
    fn groups_are_spread_over_the_interval() {
        let mut seconds = [0; 30];
        for group in 0..3000 {
            let ticks = Ticks::of(format!("default/n/{group}").as_bytes(), 30_000);
            seconds[(ticks.phase_ms / 1000) as usize] += 1;
        }
        assert!(seconds.iter().all(|count| (50..200).contains(count)), "{seconds:?}");
    }

    proptest! {
        #[test]
        fn every_tick_is_evaluated_or_counted_once_and_in_order(
            interval_ms in 100..100_000i64,
            id in any::<[u8; 8]>(),
            start in -1_000_000..1_000_000i64,
            nows in prop::collection::vec((0..400_000i64, any::<bool>()), 1..40),
        ) {
            let ticks = Ticks::of(&id, interval_ms);
            let mut now = start;
            let mut last = ticks.at_or_before(start);
            let (mut evaluated, mut missed) = (0, 0);
            let first = last;
            for (step, overran) in nows {
                let began = overran.then_some(now);
                now += step;
                let mut late = 0;
                while let Some(time) = ticks.due(Some(last), began, now) {
                    prop_assert!(time > last && time <= now);
                    prop_assert_eq!(time, ticks.at_or_before(time));
                    evaluated += 1;
                    missed += ticks.missed(Some(last), time);
                    late += 1;
                    last = time;
                }
                prop_assert!(late <= CATCH_UP_MAX);
                prop_assert_eq!(last, ticks.at_or_before(now));
            }
            prop_assert_eq!((last - first) / ticks.interval_ms(), evaluated + missed.cast_signed());
        }

        #[test]
        fn times_far_away_do_no_harm(now in any::<i64>(), last in any::<Option<i64>>(), interval in any::<i64>()) {
            let ticks = Ticks::of(b"x", interval);
            let last = last.map(|last| last.clamp(-(1 << 60), 1 << 60));
            let now = now.clamp(-(1 << 60), 1 << 60);
            ticks.due(last, None, now);
            prop_assert!(ticks.after(now) > now);
        }
    }
}
