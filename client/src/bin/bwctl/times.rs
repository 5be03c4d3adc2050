//! Times and durations as people write them.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 24 * 3600 * 1000;
const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("y", 365 * 24 * 3600 * 1000),
];

/// A time on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeArgument {
    /// So many milliseconds before now.
    Ago(i64),
    /// Milliseconds since the Unix epoch.
    At(i64),
}

impl TimeArgument {
    /// Milliseconds since the Unix epoch.
    pub fn resolve(self, now_ms: i64) -> i64 {
        match self {
            TimeArgument::Ago(ago) => now_ms.saturating_sub(ago),
            TimeArgument::At(at) => at,
        }
    }
}

/// This machine's clock, in milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the program's own clock; the library has none")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads `15s`, `1h30m`, `500ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 15s, 1h30m or 500ms");
    let mut rest = text;
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit_ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?;
        rest = &rest[letters..];
        total_ms = number.checked_mul(*unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(wrong)?;
    }
    if total_ms == 0 {
        return Err(format!("{text:?} must be longer than nothing"));
    }
    Ok(Duration::from_millis(total_ms))
}

/// Reads Unix seconds, RFC 3339 or its beginning, `now`, or a time ago such as `-5m`.
pub fn parse_time(text: &str) -> Result<TimeArgument, String> {
    if text == "now" {
        return Ok(TimeArgument::Ago(0));
    }
    if let Ok(seconds) = f64::from_str(text)
        && seconds.is_finite()
        && !text.starts_with('-')
    {
        return Ok(TimeArgument::At((seconds * 1000.0).round() as i64));
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago)?;
        return Ok(TimeArgument::Ago(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    // What is left out is zero, and UTC.
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ if text.ends_with(|c: char| c.is_ascii_digit())
            && !text.get(19..).is_some_and(|zone| zone.contains(['+', '-'])) =>
        {
            format!("{text}Z")
        }
        _ => text.to_owned(),
    };
    parse_rfc3339(&whole).map(TimeArgument::At).ok_or_else(|| {
        format!("{text:?} is no time: write Unix seconds, 2026-01-31T12:00:00Z, now, or a time ago such as -5m")
    })
}

/// `2026-01-31T12:00:00.123Z`, with an offset such as `+01:00` in place of the Z.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 61 && date.next().is_none();
    let midnight = days_from_civil(year, month, day);
    if !valid || clock.next().is_some() || civil_from_days(midnight) != (year, month, day) {
        return None;
    }
    number(fraction)?;
    let fraction_ms = (format!("0.{fraction}").parse::<f64>().ok()? * 1000.0).floor() as i64;
    let offset_min = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let offset = number(hours)? * 60 + number(minutes)?;
            if zone.starts_with('-') { -offset } else { offset }
        }
    };
    Some(midnight * DAY_MS + ((hour * 60 + minute - offset_min) * 60 + second) * 1000 + fraction_ms)
}

fn number(digits: &str) -> Option<i64> {
    let all_digits = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}

/// `2026-01-31T12:00:00.123Z`.
pub fn print_time(ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, fraction) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

// Howard Hinnant's algorithms for the proleptic Gregorian calendar, <https://howardhinnant.github.io/date_algorithms.html>.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "m", "0s", "5 s", "99999999999999999999s", "1h30"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_in_every_way_that_is_offered() {
        let at = |text: &str| parse_time(text).map(|time| time.resolve(1_000_000));
        assert_eq!(at("now"), Ok(1_000_000));
        assert_eq!(at("-5m"), Ok(700_000));
        assert_eq!(at("1795161600.5"), Ok(1_795_161_600_500));
        assert_eq!(at("2026-11-20T08:00:00Z"), Ok(1_795_161_600_000));
        assert_eq!(at("2026-11-20T09:00:00.25+01:00"), Ok(1_795_161_600_250));
        assert_eq!(at("2026-11-20T09:00:00+01:00"), Ok(1_795_161_600_000));
        assert_eq!(at("2026-11-20"), Ok(1_795_161_600_000 - 8 * 3_600_000));
        for same in ["2026-11-20 08:00", "2026-11-20T08:00:00", "2026-11-20 08:00:00.000"] {
            assert_eq!(at(same), Ok(1_795_161_600_000), "{same}");
        }
        for bad in [
            "",
            "yesterday",
            "NaN",
            "2026-02-30T00:00:00Z",
            "2026-01-32",
            "2026-01-01T00:00Z",
            "2026-01-01 24:00",
            "-5",
            "2026-01-01T00:00:00+1",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_printed_as_it_is_read() {
        for ms in [0, -1, 1_795_161_600_123, 951_782_400_000, 4_102_444_799_999] {
            assert_eq!(parse_rfc3339(&print_time(ms)), Some(ms), "{}", print_time(ms));
        }
        assert_eq!(print_time(1_795_161_600_000), "2026-11-20T08:00:00.000Z");
    }
}
