//! Named times of the week and the year, at which routes are muted or alone active.
//!
//! A [`TimeInterval`] holds at a time if each of its parts does that it has; a part holds if one of its ranges does. Time
//! zones come from the IANA database in the binary, never from the machine: nodes must agree.

use std::collections::BTreeMap;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, civil};

use bellwether_model::Timestamp;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// The shortest month: what no month has in order is a mistake.
const DAYS_MIN: i16 = 28;

/// Two ends, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: i16,
    /// The last.
    pub last: i16,
}

/// Minutes of a day, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minutes {
    /// The first.
    pub begin: i16,
    /// The first after them, at most 1440.
    pub end: i16,
}

/// Intervals by their names; each holds if one of several does.
pub type Intervals = BTreeMap<String, Vec<TimeInterval>>;

/// When something holds. A part that is absent holds always, one without ranges never.
#[derive(Debug, Clone, Default)]
pub struct TimeInterval {
    /// Of the day.
    pub times: Option<Vec<Minutes>>,
    /// 0 is Sunday.
    pub weekdays: Option<Vec<Range>>,
    /// Negative ones count from the end of the month, -1 is its last day.
    pub days_of_month: Option<Vec<Range>>,
    /// 1 is January.
    pub months: Option<Vec<Range>>,
    /// As they are counted.
    pub years: Option<Vec<Range>>,
    /// Where; UTC if absent.
    pub location: Option<TimeZone>,
}

impl TimeInterval {
    /// Whether it holds at a time.
    pub fn contains(&self, now: Timestamp) -> bool {
        // What no calendar reaches is in no interval.
        let Ok(instant) = Instant::from_millisecond(now) else { return false };
        let zone = self.location.clone().unwrap_or(TimeZone::UTC);
        let local = zone.to_datetime(instant);
        let (date, minute) = (local.date(), i16::from(local.hour()) * 60 + i16::from(local.minute()));
        holds(&self.times, |times| times.begin <= minute && minute < times.end)
            && holds(&self.days_of_month, |days| day_holds(*days, date))
            && holds(&self.months, |months| within(*months, i16::from(date.month())))
            && holds(&self.weekdays, |days| within(*days, i16::from(date.weekday().to_sunday_zero_offset())))
            && holds(&self.years, |years| within(*years, date.year()))
    }
}

fn holds<R>(part: &Option<Vec<R>>, test: impl FnMut(&R) -> bool) -> bool {
    part.as_ref().is_none_or(|ranges| ranges.iter().any(test))
}

fn within(range: Range, value: i16) -> bool {
    range.first <= value && value <= range.last
}

fn day_holds(range: Range, date: civil::Date) -> bool {
    let days = i16::from(date.days_in_month());
    let from_begin = |day: i16| if day < 0 { days + day + 1 } else { day };
    within(Range { first: from_begin(range.first), last: from_begin(range.last) }, i16::from(date.day()))
}

/// A time zone by its name in the IANA database.
pub fn parse_location(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => return Ok(TimeZone::UTC),
        "Local" => return Err("the nodes' local time zone may differ; name one, such as Europe/Berlin".to_owned()),
        _ => {}
    }
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| format!("there is no time zone {name:?}"))?;
    match zone.iana_name() {
        Some(proper) if proper != name => Err(format!("there is no time zone {name:?}; do you mean {proper}?")),
        _ => Ok(zone),
    }
}

/// `09:00`, or `24:00` for the end of a day, in minutes.
pub fn parse_minute(text: &str) -> Result<i16, String> {
    let wrong = || format!("{text:?} is no time of day; write it as 09:30, the end of the day as 24:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| {
        let is_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i16>().ok().filter(|_| is_two).ok_or_else(wrong)
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Ok(24 * 60),
        (hour @ 0..=23, minute @ 0..=59) => Ok(hour * 60 + minute),
        _ => Err(wrong()),
    }
}

/// The times from one to another.
pub fn minutes(begin: i16, end: i16) -> Result<Minutes, String> {
    if begin < end { Ok(Minutes { begin, end }) } else { Err("start_time must be before end_time".to_owned()) }
}

/// `monday:friday` or `saturday`.
pub fn parse_weekdays(text: &str) -> Result<Range, String> {
    let range = range(text, |name| {
        let at = WEEKDAYS.iter().position(|weekday| *weekday == name);
        at.map(|at| at as i16).ok_or_else(|| format!("{name:?} is no day of the week"))
    })?;
    if range.first > range.last {
        return Err(format!("{text:?}: the last day is before the first; weeks begin on Sunday, so write two ranges"));
    }
    Ok(range)
}

/// `1:7`, `-3:-1` or `15`.
pub fn parse_days_of_month(text: &str) -> Result<Range, String> {
    let range = range(text, |name| match name.parse::<i16>() {
        Ok(day @ (-31..=-1 | 1..=31)) => Ok(day),
        _ => Err(format!("{name:?} is no day of a month: they go from 1 to 31, or from -1, the last, to -31")),
    })?;
    if range.first < 0 && range.last > 0 {
        return Err(format!("{text:?}: where the first day counts from the end of the month, the last must too"));
    }
    let in_shortest = |day: i16| if day < 0 { DAYS_MIN + day } else { day };
    if in_shortest(range.first) > in_shortest(range.last) {
        return Err(format!("{text:?}: the last day is before the first"));
    }
    Ok(range)
}

/// `january:march`, `1:3` or `december`.
pub fn parse_months(text: &str) -> Result<Range, String> {
    let range = range(text, |name| {
        let named = MONTHS.iter().position(|month| *month == name).map(|at| at as i16 + 1);
        let month = named.or_else(|| name.parse().ok()).filter(|month| (1..=12).contains(month));
        month.ok_or_else(|| format!("{name:?} is no month"))
    })?;
    ascending(text, range)
}

/// `2026:2028` or `2026`.
pub fn parse_years(text: &str) -> Result<Range, String> {
    let range = range(text, |name| name.parse().map_err(|_| format!("{name:?} is no year")))?;
    ascending(text, range)
}

fn ascending(text: &str, range: Range) -> Result<Range, String> {
    if range.first > range.last { Err(format!("{text:?}: the last is before the first")) } else { Ok(range) }
}

fn range(text: &str, one: impl Fn(&str) -> Result<i16, String>) -> Result<Range, String> {
    let lower = text.to_lowercase();
    let (first, last) = lower.split_once(':').unwrap_or((&lower, &lower));
    if last.contains(':') && first != last {
        return Err(format!("{text:?} is no range; write it as first:last"));
    }
    Ok(Range { first: one(first)?, last: one(last)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse::<Instant>().unwrap().as_millisecond()
    }

    fn check(interval: &TimeInterval, inside: &[&str], outside: &[&str]) {
        for time in inside {
            assert!(interval.contains(at(time)), "{time}");
        }
        for time in outside {
            assert!(!interval.contains(at(time)), "{time}");
        }
    }

    #[test]
    fn a_range_of_times_does_not_hold_its_end() {
        let interval = TimeInterval { times: Some(vec![minutes(540, 1020).unwrap()]), ..TimeInterval::default() };
        check(
            &interval,
            &["2026-11-21T09:00:00Z", "2026-11-21T16:59:59Z"],
            &["2026-11-21T08:59:59Z", "2026-11-21T17:00:00Z"],
        );
    }

    #[test]
    fn days_count_from_both_ends_of_a_month() {
        let days = |text| TimeInterval {
            days_of_month: Some(vec![parse_days_of_month(text).unwrap()]),
            ..TimeInterval::default()
        };
        check(&days("-1"), &["2026-02-28T00:00:00Z", "2028-02-29T12:00:00Z"], &["2028-02-28T12:00:00Z"]);
        check(&days("-3:-1"), &["2026-11-28T00:00:00Z"], &["2026-11-27T00:00:00Z"]);
        check(&days("30:31"), &["2026-11-30T00:00:00Z"], &["2026-02-28T00:00:00Z"]);
        check(&days("1:-2"), &["2026-11-29T00:00:00Z"], &["2026-11-30T00:00:00Z"]);
        for bad in ["0", "32", "-32", "-1:5", "7:1", "-1:-3", "1:2:3", "", ":"] {
            assert!(parse_days_of_month(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weekdays_months_and_years_are_ranges() {
        let interval = TimeInterval {
            weekdays: Some(vec![parse_weekdays("Monday:friday").unwrap()]),
            months: Some(vec![parse_months("november:12").unwrap(), parse_months("2").unwrap()]),
            years: Some(vec![parse_years("2026:2027").unwrap()]),
            ..TimeInterval::default()
        };
        check(
            &interval,
            &["2026-11-20T00:00:00Z", "2026-02-02T00:00:00Z"],
            &["2026-11-21T00:00:00Z", "2026-10-20T00:00:00Z", "2028-02-01T00:00:00Z"],
        );
        for bad in ["friday:monday", "mon", "1", "monday:"] {
            assert!(parse_weekdays(bad).is_err(), "{bad}");
        }
        for bad in ["13", "0", "may:april", "mai"] {
            assert!(parse_months(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_without_ranges_never_holds() {
        check(&TimeInterval::default(), &["2026-11-20T00:00:00Z"], &[]);
        check(&TimeInterval { years: Some(Vec::new()), ..TimeInterval::default() }, &[], &["2026-11-20T00:00:00Z"]);
        assert!(!TimeInterval::default().contains(Timestamp::MAX));
    }

    #[test]
    fn a_location_has_its_own_midnight_and_summer_time() {
        let interval = TimeInterval {
            times: Some(vec![minutes(0, 60).unwrap()]),
            location: Some(parse_location("Europe/Berlin").unwrap()),
            ..TimeInterval::default()
        };
        check(
            &interval,
            &["2026-11-20T23:30:00Z", "2026-07-20T22:30:00Z"],
            &["2026-11-20T22:30:00Z", "2026-07-20T23:30:00Z"],
        );
        for bad in ["Local", "europe/berlin", "Nowhere/Here", "../etc/passwd"] {
            assert!(parse_location(bad).is_err(), "{bad}");
        }
        assert!(parse_location("Asia/Calcutta").is_ok());
    }

    #[test]
    fn a_time_of_day_has_four_digits() {
        assert_eq!(parse_minute("24:00"), Ok(1440));
        assert_eq!(parse_minute("09:30"), Ok(570));
        for bad in ["9:30", "24:01", "12:60", "", "1200", "+1:00"] {
            assert!(parse_minute(bad).is_err(), "{bad}");
        }
    }
}
