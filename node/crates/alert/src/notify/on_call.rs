//! Who is on call: people who take turns, in the times of a place, and overrides.
//!
//! 1. Of the overrides that hold at a time the one that was set last says who is on call; those set by hand stand above those of the
//!    configuration. One that names a receiver that is not there any more says nothing.
//! 2. Otherwise the last of the rotations says it that has begun and whose time intervals hold, if it has any.
//! 3. A rotation's turns follow each other from its begin on. One of whole days ends at the same time of the day in its place, so that
//!    it is longer or shorter by an hour where clocks change; another one is as long as it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Instant};

use super::Config;

/// Schedules of one configuration.
pub const SCHEDULES_MAX: usize = 1_000;
/// Rotations of a schedule, people of a rotation, overrides of a schedule in the configuration.
pub const ROTATION_PARTS_MAX: usize = 500;
/// A turn is not shorter.
pub const TURN_MS_MIN: i64 = 60 * 1000;
/// Overrides of one tenant that are set by hand.
pub const OVERRIDES_MAX: usize = 1_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Where its times are meant.
    pub zone: TimeZone,
    /// Later ones stand above those before.
    pub rotations: Vec<Rotation>,
    /// Later ones stand above those before.
    pub overrides: Vec<Shift>,
}

/// People who take turns.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Receivers, in their order; not empty.
    pub users: Vec<String>,
    /// When the first turn begins.
    pub begins: DateTime,
    /// How long each is.
    pub length_ms: i64,
    /// Time intervals outside of which it says nothing, if there are any.
    pub active: Vec<String>,
}

/// Somebody is on call for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// The receiver.
    pub user: String,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when, not included.
    pub ends_at: Timestamp,
}

/// Overrides that were set by hand, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(pub BTreeMap<String, Override>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Of which schedule.
    pub schedule: String,
    /// Who is on call instead.
    pub shift: Shift,
    /// Who set it.
    pub created_by: Arc<str>,
    /// Rises: of two the higher one stands above.
    pub revision: u64,
}

impl Shift {
    fn holds(&self, at: Timestamp) -> bool {
        (self.begins_at..self.ends_at).contains(&at)
    }
}

impl Schedule {
    /// The receiver of who is on call; none if nobody is.
    pub fn at<'s>(&'s self, name: &str, overrides: &'s Overrides, config: &Config, at: Timestamp) -> Option<&'s str> {
        let by_hand = overrides.0.values().filter(|one| one.schedule == name && one.shift.holds(at));
        // The users of the configuration are checked with it.
        let by_hand = by_hand.filter(|one| config.receivers.contains_key(&one.shift.user));
        let by_hand = by_hand.max_by_key(|one| one.revision).map(|one| &one.shift);
        if let Some(shift) = by_hand.or_else(|| self.overrides.iter().rev().find(|shift| shift.holds(at))) {
            return Some(&shift.user);
        }
        let holds =
            |name: &String| config.intervals.get(name).is_some_and(|all| all.iter().any(|one| one.contains(at)));
        let active = self.rotations.iter().rev().filter(|one| one.active.is_empty() || one.active.iter().any(holds));
        active.filter_map(|rotation| rotation.at(&self.zone, at)).next()
    }
}

impl Rotation {
    fn at(&self, zone: &TimeZone, at: Timestamp) -> Option<&str> {
        let turn = match self.length_ms % DAY_MS {
            0 => self.turn_of_days(zone, at)?,
            _ => at.checked_sub(self.handoff(zone, 0)?)?.div_euclid(self.length_ms),
        };
        let turn = usize::try_from(turn).ok()?;
        self.users.get(turn % self.users.len().max(1)).map(String::as_str)
    }

    /// The turn of a time where turns are whole days.
    fn turn_of_days(&self, zone: &TimeZone, at: Timestamp) -> Option<i64> {
        // The civil clock tells the turn but for one, near where it is changed.
        let local = zone.to_datetime(Instant::from_millisecond(at).ok()?);
        let since_ms = local.duration_since(self.begins).as_millis();
        let about = i64::try_from(since_ms).ok()?.div_euclid(self.length_ms);
        let has_begun = |turn: &i64| self.handoff(zone, *turn).is_some_and(|handoff| handoff <= at);
        [about + 1, about, about - 1].into_iter().find(has_begun)
    }

    /// When a turn begins, the first one or one of whole days.
    fn handoff(&self, zone: &TimeZone, turn: i64) -> Option<Timestamp> {
        let days = Span::new().try_days(turn.checked_mul(self.length_ms / DAY_MS)?).ok()?;
        let local = self.begins.checked_add(days).ok()?;
        Some(local.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

/// A local time: `2026-11-16T09:00`, `2026-11-16 09:00`, or a day alone.
pub fn parse_local(text: &str) -> Result<DateTime, String> {
    let wrong = |_| format!("{text:?} is no local time such as 2026-11-16T09:00");
    text.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is on call at local times (with their offset from UTC).
    #[track_caller]
    fn check(schedule: &str, times: &[(&str, &str)]) {
        let receivers = "receivers: [{name: a}, {name: b}, {name: c}]\nroute: {receiver: a}\n";
        let intervals = "time_intervals: [{name: nights, time_intervals: [{location: Europe/Berlin, times: [{start_time: '18:00', end_time: '24:00'}, {start_time: '00:00', end_time: '08:00'}]}]}]\n";
        let config = format!("{receivers}{intervals}on_call: [{{name: s, time_zone: Europe/Berlin, {schedule}}}]\n");
        let config = Config::read(&config).unwrap_or_else(|problems| panic!("{config}{problems:?}"));
        let none = Overrides::default();
        for (at, user) in times {
            let at = at.parse::<Instant>().unwrap().as_millisecond();
            let on_call = config.on_call["s"].at("s", &none, &config, at);
            assert_eq!(on_call.unwrap_or("nobody"), *user, "{at}");
        }
    }

    #[test]
    fn turns_of_days_end_at_the_same_time_of_the_day_where_clocks_change() {
        // Clocks went back on 2026-10-25 at 03:00, and go on on 2027-03-28 at 02:00.
        check(
            "rotations: [{users: [a, b, c], begins: 2026-10-24T09:00, length: 1d}]",
            &[
                ("2026-10-24T08:59+02:00", "nobody"),
                ("2026-10-24T09:00+02:00", "a"),
                ("2026-10-25T08:59+01:00", "a"),
                ("2026-10-25T09:00+01:00", "b"),
                ("2026-10-26T09:00+01:00", "c"),
                ("2026-10-27T09:00+01:00", "a"),
                ("2027-03-27T09:00+01:00", "b"),
                ("2027-03-28T08:59+02:00", "b"),
                ("2027-03-28T09:00+02:00", "c"),
            ],
        );
        // A time that there is twice: the turn begins with the first of both and does not go back.
        check(
            "rotations: [{users: [a, b], begins: 2026-10-24T02:30, length: 1d}]",
            &[
                ("2026-10-25T02:29+02:00", "a"),
                ("2026-10-25T02:30+02:00", "b"),
                ("2026-10-25T02:10+01:00", "b"),
                ("2026-10-25T02:40+01:00", "b"),
                ("2026-10-26T02:30+01:00", "a"),
            ],
        );
        // One that there is not: an hour later.
        check(
            "rotations: [{users: [a, b], begins: 2027-03-27T02:30, length: 1d}]",
            &[("2027-03-28T01:59+01:00", "a"), ("2027-03-28T03:29+02:00", "a"), ("2027-03-28T03:30+02:00", "b")],
        );
    }

    #[test]
    fn turns_of_hours_are_as_long_as_they_say() {
        check(
            "rotations: [{users: [a, b], begins: 2026-10-24T20:00, length: 12h}]",
            &[("2026-10-25T06:59+01:00", "a"), ("2026-10-25T07:00+01:00", "b"), ("2026-10-25T19:00+01:00", "a")],
        );
    }

    #[test]
    fn turns_of_minutes_go_on_where_clocks_change() {
        let zone = crate::notify::interval::parse_location("Europe/Berlin").unwrap();
        for (begins, length_min) in
            [("2026-10-24T00:10", 30), ("2026-10-24T00:10", 1), ("2027-03-27T00:10", 30), ("2027-03-27T00:10", 1)]
        {
            let users: Vec<String> = (0..7).map(|user| user.to_string()).collect();
            let begins = parse_local(begins).unwrap();
            let rotation = Rotation { users, begins, length_ms: length_min * 60_000, active: vec![] };
            let begin = rotation.handoff(&zone, 0).unwrap();
            assert_eq!(rotation.at(&zone, begin - 1), None);
            for minute in 0..3 * 24 * 60 {
                let user = (minute / length_min % 7).to_string();
                assert_eq!(rotation.at(&zone, begin + minute * 60_000), Some(user.as_str()), "{begins} {minute}");
            }
        }
    }

    #[test]
    fn later_rotations_and_overrides_stand_above() {
        check(
            "rotations: [{users: [a], begins: 2026-11-01, length: 1w}, {users: [b, c], begins: 2026-11-01, length: 1w, active_time_intervals: [nights]}], \
             overrides: [{user: c, begins: 2026-11-04T10:00, ends: 2026-11-04T12:00}]",
            &[
                ("2026-11-02T12:00+01:00", "a"),
                ("2026-11-02T20:00+01:00", "b"),
                ("2026-11-09T20:00+01:00", "c"),
                ("2026-11-04T11:59+01:00", "c"),
                ("2026-11-04T12:00+01:00", "a"),
            ],
        );
    }

    #[test]
    fn no_turn_is_left_out_and_none_is_seen_twice() {
        for (begins, length) in [("2026-10-20T02:30", "1d"), ("2026-10-20T00:00", "7h"), ("2027-03-20T02:15", "2d")] {
            let zone = crate::notify::interval::parse_location("Europe/Berlin").unwrap();
            let users: Vec<String> = (0..400).map(|user| user.to_string()).collect();
            let length_ms = crate::duration::parse_duration_ms(length).unwrap();
            let rotation = Rotation { users, begins: parse_local(begins).unwrap(), length_ms, active: vec![] };
            let begin = rotation.handoff(&zone, 0).unwrap();
            let mut last = 0;
            for minute in (0..20 * 24 * 60).step_by(5) {
                let turn: i64 = rotation.at(&zone, begin + minute * 60_000).unwrap().parse().unwrap();
                assert!(turn == last || turn == last + 1, "{begins}: {last} then {turn}");
                last = turn;
            }
        }
    }
}
