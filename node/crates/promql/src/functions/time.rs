//! Values read as seconds since the epoch, and parts of their date in UTC.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeOp {
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
    Month,
    Year,
}

const DAY_S: i64 = 86_400;
/// Seconds beyond which a year number overflows; about the year 290 million.
const SECONDS_MAX: f64 = 9e15;

#[derive(Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl TimeOp {
    pub(crate) fn apply(self, value: f64) -> f64 {
        if value.is_nan() {
            return f64::NAN;
        }
        let seconds = value.clamp(-SECONDS_MAX, SECONDS_MAX) as i64;
        let days = seconds.div_euclid(DAY_S);
        let second_of_day = seconds.rem_euclid(DAY_S);
        let part = match self {
            TimeOp::Hour => second_of_day / 3600,
            TimeOp::Minute => second_of_day / 60 % 60,
            // The epoch was a Thursday.
            TimeOp::DayOfWeek => (days + 4).rem_euclid(7),
            TimeOp::DayOfMonth => date(days).day,
            TimeOp::Month => date(days).month,
            TimeOp::Year => date(days).year,
            TimeOp::DayOfYear => days - days_before(date(days).year, 1) + 1,
            TimeOp::DaysInMonth => {
                let Date { year, month, .. } = date(days);
                let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                days_before(next_year, next_month) - days_before(year, month)
            }
        };
        part as f64
    }
}

/// A time in seconds since the epoch, as in `2024-02-28T05:01:36Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let Date { year, month, day } = date(seconds.div_euclid(DAY_S));
    let second = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day counted from the epoch (Howard Hinnant's `civil_from_days`: years begin in March, in eras of 400).
fn date(days: i64) -> Date {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day: day_of_year - (153 * shifted_month + 2) / 5 + 1 }
}

/// Days from the epoch to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        // 2024-02-28 05:01:36 UTC
        let value = 1_709_096_496.0;
        let parts = [
            (TimeOp::Year, 2024.0),
            (TimeOp::Month, 2.0),
            (TimeOp::DayOfMonth, 28.0),
            (TimeOp::DayOfYear, 59.0),
            (TimeOp::DaysInMonth, 29.0),
            (TimeOp::DayOfWeek, 3.0),
            (TimeOp::Hour, 5.0),
            (TimeOp::Minute, 1.0),
        ];
        for (op, want) in parts {
            assert_eq!(op.apply(value), want, "{op:?}");
        }
    }

    #[test]
    fn times_before_the_epoch_count_backwards() {
        assert_eq!(TimeOp::Year.apply(-86_401.0), 1969.0);
        assert_eq!(TimeOp::DayOfMonth.apply(-86_401.0), 30.0);
        assert_eq!(TimeOp::Hour.apply(-86_401.0), 23.0);
        assert_eq!(TimeOp::DayOfYear.apply(-1.0), 365.0);
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(1_709_096_496), "2024-02-28T05:01:36Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn days_and_dates_invert_each_other() {
        for days in (-1_000_000..1_000_000).step_by(97) {
            let Date { year, month, day } = date(days);
            assert_eq!(days_before(year, month) + day - 1, days);
        }
        assert!(TimeOp::Year.apply(f64::INFINITY).is_finite());
    }
}
