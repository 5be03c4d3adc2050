//! RFC 3339 dates, without a time zone database: every offset is written out.

use bellwether_model::Timestamp;

const MS_PER_DAY: i64 = 86_400_000;

/// Reads `2026-11-20T10:11:12.345Z` or the same with an offset such as `+02:00`.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let month_fits = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !month_fits || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if is(at, b".") {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..3 {
            let digit = if place < digits { i64::from(bytes[at + 1 + place] - b'0') } else { 0 };
            millis = millis * 10 + digit;
        }
        at += 1 + digits;
    }
    let offset_minutes = match bytes.get(at..)? {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(days_since_epoch(year, month, day) * MS_PER_DAY + seconds * 1000 + millis)
}

/// Prints a time as `2026-11-20T10:11:12.345Z`.
pub fn format_rfc3339(timestamp: Timestamp) -> String {
    let (year, month, day) = civil_date(timestamp.div_euclid(MS_PER_DAY));
    let ms = timestamp.rem_euclid(MS_PER_DAY);
    let (hour, minute, second, millis) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day comes last.
/// <https://howardhinnant.github.io/date_algorithms.html>
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse, from the same source.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (text, timestamp) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-20T10:11:12.345678Z", 1_795_169_472_345),
            ("2026-11-20T10:11:12.3Z", 1_795_169_472_300),
            ("2026-11-20t05:11:12-05:00", 1_795_169_472_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(timestamp), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026",
            "2026-11-20",
            "2026-11-20T10:11:12",
            "2026-13-20T10:11:12Z",
            "2026-02-29T10:11:12Z",
            "2026-11-20T24:11:12Z",
            "2026-11-20T10:60:12Z",
            "2026-11-20T10:11:12.Z",
            "2026-11-20T10:11:12+0200",
            "2026-11-20T10:11:12Zx",
            "2026-11-20T10:11:12+02:00x",
            "2026-1１-20T10:11:12Z",
            "+026-11-20T10:11:12Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for timestamp in [0, -1, 951_825_600_000, 1_795_169_472_345, -62_135_596_800_000, 253_402_300_799_999] {
            assert_eq!(parse_rfc3339(&format_rfc3339(timestamp)), Some(timestamp));
        }
        assert_eq!(format_rfc3339(1_795_169_472_345), "2026-11-20T10:11:12.345Z");
    }
}
