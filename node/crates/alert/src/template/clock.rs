//! Times and spans of time as values, written as Go writes them. All in UTC.

use super::numbers;
use super::value::{Object, Value};

const MS_PER_DAY: i64 = 86_400_000;
/// Beyond this, in seconds, Go refuses a number as a time.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// `time.Time`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    ms: i64,
}

/// `time.Duration`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    seconds: f64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Year, month and day, both from 1, of a day since 1970; the algorithm of
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as usize, day)
}

fn in_range(seconds: f64) -> Result<f64, String> {
    if seconds.is_finite() && seconds.abs() < SECONDS_MAX {
        return Ok(seconds);
    }
    Err(format!(
        "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
        numbers::general(seconds, None, false)
    ))
}

/// As Go prints a time.
pub(crate) fn rfc_time(seconds: f64) -> Result<String, String> {
    Time::of_seconds(seconds).map(|time| time.print())
}

impl Time {
    pub(crate) fn of_seconds(seconds: f64) -> Result<Time, String> {
        Ok(Time { ms: (in_range(seconds)? * 1000.0).floor() as i64 })
    }

    pub(crate) fn at_ms(ms: i64) -> Time {
        Time { ms }
    }

    fn parts(self) -> (i64, usize, i64) {
        civil(self.ms.div_euclid(MS_PER_DAY))
    }

    fn of_day(self, unit_ms: i64, count: i64) -> i64 {
        self.ms.rem_euclid(MS_PER_DAY) / unit_ms % count
    }

    fn weekday(self) -> &'static str {
        DAYS[self.ms.div_euclid(MS_PER_DAY).rem_euclid(7) as usize]
    }

    /// Writes the time by Go's layouts, in which parts of 2006-01-02 15:04:05 stand for those of the time.
    pub(super) fn format(self, layout: &str) -> String {
        let (year, month, day) = self.parts();
        let [hour, minute, second] =
            [(3_600_000, 24), (60_000, 60), (1000, 60)].map(|(unit_ms, count)| self.of_day(unit_ms, count));
        let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let year_day = self.ms.div_euclid(MS_PER_DAY) - days_before(year);
        let mut out = String::new();
        let mut rest = layout;
        while !rest.is_empty() {
            // Longer parts before those that they begin with.
            let parts: [(&str, &dyn Fn() -> String); 29] = [
                ("January", &|| MONTHS[month - 1].to_owned()),
                ("Jan", &|| MONTHS[month - 1][..3].to_owned()),
                ("Monday", &|| self.weekday().to_owned()),
                ("Mon", &|| self.weekday()[..3].to_owned()),
                ("MST", &|| "UTC".to_owned()),
                ("2006", &|| format!("{year:04}")),
                ("Z07:00", &|| "Z".to_owned()),
                ("Z0700", &|| "Z".to_owned()),
                ("-07:00", &|| "+00:00".to_owned()),
                ("-0700", &|| "+0000".to_owned()),
                ("-07", &|| "+00".to_owned()),
                ("002", &|| format!("{:03}", year_day + 1)),
                ("01", &|| format!("{month:02}")),
                ("02", &|| format!("{day:02}")),
                ("03", &|| format!("{hour12:02}")),
                ("04", &|| format!("{minute:02}")),
                ("05", &|| format!("{second:02}")),
                ("06", &|| format!("{:02}", year.rem_euclid(100))),
                ("15", &|| format!("{hour:02}")),
                ("PM", &|| if hour >= 12 { "PM" } else { "AM" }.to_owned()),
                ("pm", &|| if hour >= 12 { "pm" } else { "am" }.to_owned()),
                (".000", &|| format!(".{:03}", self.ms.rem_euclid(1000))),
                (".999999999", &|| self.fraction()),
                (".999", &|| self.fraction()),
                ("_2", &|| format!("{day:2}")),
                ("1", &|| month.to_string()),
                ("2", &|| day.to_string()),
                ("3", &|| hour12.to_string()),
                ("4", &|| minute.to_string()),
            ];
            if let Some((part, write)) = parts.iter().find(|(part, _)| rest.starts_with(part)) {
                out.push_str(&write());
                rest = &rest[part.len()..];
            } else if let Some(after) = rest.strip_prefix('5') {
                out.push_str(&second.to_string());
                rest = after;
            } else {
                let c = rest.chars().next().unwrap_or_default();
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }

    /// The part of a second, without zeros at its end.
    fn fraction(self) -> String {
        match self.ms.rem_euclid(1000) {
            0 => String::new(),
            ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
        }
    }
}

/// Days from 1970 to the beginning of a year.
fn days_before(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + (before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400)) - 477
}

/// Milliseconds since 1970 of `2006-01-02T15:04:05.999Z` or with `+07:00` behind it.
pub(crate) fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let number = |text: &str, most: i64| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| is_number && *number <= most)
    };
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = <[&str; 3]>::try_from(date.split('-').collect::<Vec<_>>()).ok()?;
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (number(year, 9999)?, number(month, 12)?, number(day, 31)?);
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = number(hours, 23)? * 60 + number(minutes, 59)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = <[&str; 3]>::try_from(time.split(':').collect::<Vec<_>>()).ok()?;
    let (hour, minute, second) = (number(hour, 23)?, number(minute, 59)?, number(second, 59)?);
    let fraction = number(fraction, i64::MAX).and_then(|_| format!("0.{fraction}").parse::<f64>().ok())?;
    let days = days_before(year) + day_of_year(year, month, day)?;
    let minutes = (days * 24 + hour) * 60 + minute - offset_minutes;
    Some((minutes * 60 + second) * 1000 + (fraction * 1000.0) as i64)
}

/// Days from the beginning of a year to a day of it, if there is such a day.
fn day_of_year(year: i64, month: i64, day: i64) -> Option<i64> {
    let first = days_before(year);
    (0..366).find(|at| civil(first + at) == (year, usize::try_from(month).unwrap_or(0), day))
}

impl Object for Time {
    fn type_name(&self) -> &'static str {
        "*time.Time"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let (year, month, day) = self.parts();
        let value = match (method, args) {
            ("Format", [Value::Text(layout)]) => Value::text(self.format(layout)),
            ("Format", _) => return Some(Err("wrong arguments for Format: want a layout".to_owned())),
            (_, [_, ..]) => return None,
            ("Unix", _) => Value::Int(self.ms.div_euclid(1000)),
            ("UnixMilli", _) => Value::Int(self.ms),
            ("Year", _) => Value::Int(year),
            ("Month", _) => Value::text(MONTHS[month - 1]),
            ("Day", _) => Value::Int(day),
            ("Weekday", _) => Value::text(self.weekday()),
            ("YearDay", _) => Value::Int(self.ms.div_euclid(MS_PER_DAY) - days_before(year) + 1),
            ("Hour", _) => Value::Int(self.of_day(3_600_000, 24)),
            ("Minute", _) => Value::Int(self.of_day(60_000, 60)),
            ("Second", _) => Value::Int(self.of_day(1000, 60)),
            ("UTC" | "Local", _) => Value::Object(std::sync::Arc::new(*self)),
            ("String", _) => Value::text(self.print()),
            _ => return None,
        };
        Some(Ok(value))
    }

    fn print(&self) -> String {
        self.format("2006-01-02 15:04:05.999 -0700 MST")
    }
}

impl Span {
    pub(crate) const TYPE: &'static str = "*time.Duration";

    pub(crate) fn of_seconds(seconds: f64) -> Result<Span, String> {
        Ok(Span { seconds: in_range(seconds)? })
    }
}

impl Object for Span {
    fn type_name(&self) -> &'static str {
        Span::TYPE
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if !args.is_empty() {
            return None;
        }
        let value = match method {
            "Seconds" => Value::Float(self.seconds),
            "Minutes" => Value::Float(self.seconds / 60.0),
            "Hours" => Value::Float(self.seconds / 3600.0),
            "Milliseconds" => Value::Int((self.seconds * 1000.0) as i64),
            "String" => Value::text(self.print()),
            _ => return None,
        };
        Some(Ok(value))
    }

    /// `1h2m3.5s`
    fn print(&self) -> String {
        let nanoseconds = (self.seconds.abs() * 1e9).round();
        let sign = if self.seconds < 0.0 { "-" } else { "" };
        let plain = |value: f64| format!("{value}");
        if nanoseconds == 0.0 {
            return "0s".to_owned();
        }
        for (below, unit) in [(1e3, "ns"), (1e6, "µs"), (1e9, "ms")] {
            if nanoseconds < below {
                return format!("{sign}{}{unit}", plain(nanoseconds / (below / 1e3)));
            }
        }
        let minutes = (nanoseconds / 60e9).floor();
        let seconds = plain((nanoseconds - minutes * 60e9) / 1e9);
        match minutes as u64 {
            0 => format!("{sign}{seconds}s"),
            minutes if minutes < 60 => format!("{sign}{minutes}m{seconds}s"),
            minutes => format!("{sign}{}h{}m{seconds}s", minutes / 60, minutes % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        let time = Time::of_seconds(1_435_065_584.128).unwrap();
        assert_eq!(time.print(), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(time.format("Mon Jan _2 3:04:05PM 2006"), "Tue Jun 23 1:19:44PM 2015");
        assert_eq!(time.format("2006-01-02T15:04:05.000Z07:00"), "2015-06-23T13:19:44.128Z");
        assert_eq!(time.format("Monday, 02-Jan-06 002"), "Tuesday, 23-Jun-15 174");
        assert_eq!(rfc_time(0.0).unwrap(), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(rfc_time(-1.0).unwrap(), "1969-12-31 23:59:59 +0000 UTC");
        assert_eq!(Time::of_seconds(951_782_400.0).unwrap().print(), "2000-02-29 00:00:00 +0000 UTC");
        assert!(rfc_time(1e300).is_err());
    }

    #[test]
    fn times_are_read() {
        let read = parse_rfc3339_ms;
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("2015-06-23T13:19:44.128Z"), Some(1_435_065_584_128));
        assert_eq!(read("2015-06-23T15:19:44+02:00"), Some(1_435_065_584_000));
        assert_eq!(read("2000-02-29T00:00:00Z"), Some(951_782_400_000));
        for bad in [
            "",
            "2001-02-29T00:00:00Z",
            "2001-13-01T00:00:00Z",
            "2001-01-01",
            "2001-01-01T00:00Z",
            "2001-01-01T00:00:00",
            "é",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_are_written_as_go_does() {
        let print = |seconds| Span::of_seconds(seconds).unwrap().print();
        assert_eq!(print(3723.5), "1h2m3.5s");
        assert_eq!(print(60.0), "1m0s");
        assert_eq!(print(-0.0015), "-1.5ms");
        assert_eq!(print(0.0), "0s");
    }
}
