//! When people are not told of a rule's alerts: spans of the week, or of each day.
//!
//! `Saturday 00:00 - Monday 06:00`, `Friday 18:00 - 22:00`, `Saturday - Sunday`, `22:00 - 06:00`. The begin belongs to it, the end does not. Times are those of clocks on
//! the wall: where an hour is there twice, both are meant.

use bellwether_model::Timestamp;
use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

use crate::notify::interval::{parse_location, parse_minute, parse_weekdays};

const DAY: i32 = 24 * 60;
const WEEK: i32 = 7 * DAY;

/// One such span.
#[derive(Debug, Clone, PartialEq)]
pub struct Mute {
    /// As it was written.
    pub schedule: String,
    /// Where; UTC if it does not say.
    pub time_zone: Option<String>,
    span: Span,
    zone: TimeZone,
}

/// Minutes, from the first to before the last; over the end of the period where that is not later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    begin: i32,
    end: i32,
    /// A week, from Sunday on, or a day.
    period: i32,
}

/// What is wrong, and with which part: `schedule` or `time_zone`.
pub type MuteError = (&'static str, String);

impl Mute {
    /// Reads one.
    pub fn new(schedule: &str, time_zone: Option<&str>) -> Result<Mute, MuteError> {
        let span = Span::read(schedule).map_err(|message| ("schedule", message))?;
        let zone = parse_location(time_zone.unwrap_or_default()).map_err(|message| ("time_zone", message))?;
        Ok(Mute { schedule: schedule.to_owned(), time_zone: time_zone.map(str::to_owned), span, zone })
    }

    /// Whether it holds at a time.
    pub fn holds(&self, now: Timestamp) -> bool {
        // What no calendar reaches is in no span.
        let Ok(instant) = Instant::from_millisecond(now) else { return false };
        let local = self.zone.to_datetime(instant);
        let day = i32::from(local.date().weekday().to_sunday_zero_offset());
        self.span.contains(day * DAY + i32::from(local.hour()) * 60 + i32::from(local.minute()))
    }
}

impl Span {
    fn read(text: &str) -> Result<Span, String> {
        let wrong =
            || format!("{text:?} is no schedule such as \"Saturday 00:00 - Monday 06:00\" or \"22:00 - 06:00\"");
        let (begin, end) = text.split_once('-').ok_or_else(wrong)?;
        let (begin, end) = (Moment::read(begin)?, Moment::read(end)?);
        let minute = |moment: Moment, default| moment.minute.unwrap_or(default);
        let span = match (begin.day, end.day) {
            (None, None) if begin.minute.is_none() || end.minute.is_none() => return Err(wrong()),
            (None, None) => Span { begin: minute(begin, 0) % DAY, end: minute(end, DAY), period: DAY },
            (None, Some(_)) => return Err(format!("{text:?} says on which day it ends, not on which it begins")),
            (Some(day), end_day) => {
                let begin = day * DAY + minute(begin, 0);
                let same_day = day * DAY + minute(end, DAY);
                let end = match end_day {
                    Some(day) => day * DAY + minute(end, DAY),
                    None if same_day <= begin => same_day + DAY,
                    None => same_day,
                };
                let end = if end > WEEK { end - WEEK } else { end };
                Span { begin: begin % WEEK, end, period: WEEK }
            }
        };
        if span.begin == span.end {
            return Err(format!("{text:?} ends when it begins"));
        }
        Ok(span)
    }

    fn contains(self, minute_of_week: i32) -> bool {
        let minute = minute_of_week % self.period;
        match self.begin < self.end {
            true => self.begin <= minute && minute < self.end,
            false => self.begin <= minute || minute < self.end,
        }
    }
}

/// A day of the week, 0 is Sunday, or a minute of a day, or both.
#[derive(Clone, Copy)]
struct Moment {
    day: Option<i32>,
    minute: Option<i32>,
}

impl Moment {
    fn read(text: &str) -> Result<Moment, String> {
        let mut words = text.split_whitespace();
        let (mut day, mut next) = (None, words.next());
        if let Some(word) = next.filter(|word| !word.contains(':')) {
            day = Some(i32::from(parse_weekdays(word)?.first));
            next = words.next();
        }
        let minute = next.map(parse_minute).transpose()?.map(i32::from);
        if words.next().is_some() || (day.is_none() && minute.is_none()) {
            return Err(format!("{:?} is no time such as \"Saturday 06:00\"", text.trim()));
        }
        Ok(Moment { day, minute })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &str, time_zone: Option<&str>, inside: &[&str], outside: &[&str]) {
        let mute = Mute::new(schedule, time_zone).unwrap_or_else(|error| panic!("{error:?}"));
        let holds = |time: &&str| mute.holds(time.parse::<Instant>().unwrap().as_millisecond());
        inside.iter().for_each(|time| assert!(holds(time), "{schedule}: {time}"));
        outside.iter().for_each(|time| assert!(!holds(time), "{schedule}: {time}"));
    }

    #[test]
    fn a_span_of_the_week_may_go_over_its_end() {
        // The 21st is a Saturday.
        check(
            "Saturday 00:00 - Monday 06:00",
            Some("Europe/Berlin"),
            &["2026-11-20T23:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T04:59:59Z"],
            &["2026-11-20T22:59:59Z", "2026-11-23T05:00:00Z", "2026-11-25T12:00:00Z"],
        );
        check("saturday - sunday", None, &["2026-11-21T00:00:00Z", "2026-11-22T23:59:00Z"], &["2026-11-23T00:00:00Z"]);
        check(
            "Friday 18:00 - 22:00",
            None,
            &["2026-11-20T21:59:00Z"],
            &["2026-11-20T22:00:00Z", "2026-11-21T18:00:00Z"],
        );
        check("Saturday 22:00 - 06:00", None, &["2026-11-22T05:59:00Z"], &["2026-11-21T05:59:00Z"]);
    }

    #[test]
    fn a_span_of_each_day_may_go_over_midnight() {
        check("22:00 - 06:00", None, &["2026-11-20T22:00:00Z", "2026-11-21T05:59:59Z"], &["2026-11-21T06:00:00Z"]);
        check("00:00-24:00", None, &["2026-11-20T00:00:00Z", "2026-11-21T23:59:59Z"], &[]);
        check("Sunday - Saturday", None, &["2026-11-20T00:00:00Z", "2026-11-21T23:59:59Z"], &[]);
    }

    #[test]
    fn clocks_on_the_wall_count() {
        let berlin = Some("Europe/Berlin");
        // Two o'clock is there twice on 2026-10-25, and not at all on 2026-03-29.
        check(
            "Sunday 02:00 - 03:00",
            berlin,
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
            &["2026-10-25T02:00:00Z"],
        );
        check("Sunday 02:00 - 03:00", berlin, &[], &["2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z"]);
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        let wrong = |schedule, time_zone| Mute::new(schedule, time_zone).map(drop).unwrap_err();
        let of = |schedule| wrong(schedule, None).1;
        assert_eq!(
            of("always"),
            "\"always\" is no schedule such as \"Saturday 00:00 - Monday 06:00\" or \"22:00 - 06:00\""
        );
        assert_eq!(of("Samstag - Sunday"), "\"samstag\" is no day of the week");
        assert_eq!(
            of("10:00 - Sunday 11:00"),
            "\"10:00 - Sunday 11:00\" says on which day it ends, not on which it begins"
        );
        assert_eq!(of("Sunday 10:00 - Sunday 10:00"), "\"Sunday 10:00 - Sunday 10:00\" ends when it begins");
        assert_eq!(
            of("Sunday 9:00 - 10:00"),
            "\"9:00\" is no time of day; write it as 09:30, the end of the day as 24:00"
        );
        assert_eq!(of("Sunday 10:00 11:00 - 10:00"), "\"Sunday 10:00 11:00\" is no time such as \"Saturday 06:00\"");
        assert_eq!(of(" - 10:00"), "\"\" is no time such as \"Saturday 06:00\"");
        assert_eq!(wrong("10:00 - 11:00", Some("Berlin")).0, "time_zone");
    }
}
