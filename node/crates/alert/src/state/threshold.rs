//! Threshold rules: how bad each series of a query's result is.
//!
//! ```text
//!              N of the last M checks           N of the last M checks
//!              reach `warning`                  reach `critical`
//!      ok  ------------------------> warning  ------------------------>  critical
//!       ^  <------------------------          <------------------------     |
//!       |      fewer do, counting               fewer do, counting          |
//!       |      values beyond its recovery       values beyond its recovery  |
//!       |                                                                   |
//!       |                   series gone for `after`, behavior `alert`       |
//!       +----- no_data <------------- from ok, warning, critical -----------+
//!                        series back: its checks begin anew
//! ```
//! A check is an evaluation that did not fail. A series that is gone is left as it is for `after`; then its checks are good ones (`ok`), or it is
//! left so further (`keep`), or it is `no_data` (`alert`), until it is forgotten.
//!
//! A grade is not yet an alert: `for` and `keep_firing_for` hold for it, see [`watch`]. What a value reaches is its [`Zone`], found out where the query
//! is evaluated; what becomes of it follows from zones, [`Grading`] and time alone. Thresholds are known to [`reading`] only.

pub mod reading;
pub mod watch;

use bellwether_model::Timestamp;

/// Checks of a series that are remembered.
pub const CHECKS_MAX: u8 = 64;
/// How long a series that is gone is remembered after it counts as gone, if the rule does not say.
pub const FORGET_AFTER_MS: i64 = 24 * 3_600_000;

/// How bad something is, from the best. What is none of it is ok.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// There is nothing to look at.
    NoData,
    /// At the warning threshold.
    Warning,
    /// At the critical threshold.
    Critical,
}

impl Severity {
    /// All, from the best.
    pub const ALL: [Severity; 3] = [Severity::NoData, Severity::Warning, Severity::Critical];

    /// The value of an alert's label `severity`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::NoData => "no_data",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// Of the label's value.
    pub fn of(label: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.as_str() == label)
    }
}

/// What a value reaches: thresholds, and recovery thresholds beyond which it holds a severity that is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Zone(u8);

impl Zone {
    /// It reaches `critical`.
    pub const CRITICAL: Zone = Zone(1);
    /// It has not recovered from `critical`.
    pub const CRITICAL_HELD: Zone = Zone(2);
    /// It reaches `warning`.
    pub const WARNING: Zone = Zone(4);
    /// It has not recovered from `warning`.
    pub const WARNING_HELD: Zone = Zone(8);

    /// Of its bits; none of bits that mean nothing.
    pub fn from_bits(bits: u8) -> Option<Zone> {
        (bits < 16).then_some(Zone(bits))
    }

    /// A bit for each constant.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// This and the other, if that is so.
    pub fn with(self, other: Zone, is_so: bool) -> Zone {
        if is_so { Zone(self.0 | other.0) } else { self }
    }

    /// Whether the value is good, whatever was before.
    pub fn is_good(self) -> bool {
        self.0 == 0
    }

    fn has(self, other: Zone) -> bool {
        self.0 & other.0 != 0
    }

    /// What a check of it comes to where that was the grade before.
    fn level(self, before: Option<Severity>) -> Option<Severity> {
        let holds = |severity, held| before >= Some(severity) && self.has(held);
        if self.has(Zone::CRITICAL) || holds(Severity::Critical, Zone::CRITICAL_HELD) {
            Some(Severity::Critical)
        } else if self.has(Zone::WARNING) || holds(Severity::Warning, Zone::WARNING_HELD) {
            Some(Severity::Warning)
        } else {
            None
        }
    }
}

/// How zones become grades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grading {
    /// How many checks must be bad.
    pub checks: Checks,
    /// What no data means.
    pub no_data: NoData,
}

/// N of the last M.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// So many; at least 1.
    pub at_least: u8,
    /// Of so many; at least as many, [`CHECKS_MAX`] at most.
    pub of: u8,
}

/// What it means that a series is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoData {
    /// What becomes of it.
    pub behavior: Behavior,
    /// How long it is left as it is before.
    pub after_ms: i64,
    /// How long it is remembered without data.
    pub forget_after_ms: i64,
}

/// What becomes of a series without data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Behavior {
    /// Nothing is wrong.
    #[default]
    Ok,
    /// Somebody is to be told.
    Alert,
    /// It stays as bad as it was.
    Keep,
}

impl Behavior {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Behavior::Ok => "ok",
            Behavior::Alert => "alert",
            Behavior::Keep => "keep",
        }
    }

    /// Of what is written.
    pub fn of(text: &str) -> Option<Behavior> {
        [Behavior::Ok, Behavior::Alert, Behavior::Keep].into_iter().find(|behavior| behavior.as_str() == text)
    }
}

impl Default for Checks {
    /// Every check counts.
    fn default() -> Checks {
        Checks { at_least: 1, of: 1 }
    }
}

impl Default for NoData {
    /// As in Prometheus: what is gone is good.
    fn default() -> NoData {
        NoData { behavior: Behavior::Ok, after_ms: 0, forget_after_ms: FORGET_AFTER_MS }
    }
}

impl Grading {
    /// Whether good series are watched as well, so that it is noticed when they are gone.
    pub fn watches_all(&self) -> bool {
        self.no_data.behavior == Behavior::Alert
    }
}

/// Whether a series is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is; what its value reaches.
    There(Zone),
    /// It is not.
    Gone {
        /// The first evaluation without it.
        since: Timestamp,
    },
}

/// How a series stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is there.
    pub presence: Presence,
    /// It stands for a query that has no series at all.
    pub is_whole: bool,
    /// Its last checks, a bit for each, the latest lowest: whether they were critical.
    pub critical: u64,
    /// The same: whether they were at least a warning.
    pub warning: u64,
    /// What they come to; none if it is ok.
    pub grade: Option<Severity>,
    /// Since when that is at least a warning.
    pub raised_at: Option<Timestamp>,
}

impl Standing {
    /// Of a series that has no checks yet.
    pub fn new(presence: Presence) -> Standing {
        Standing { presence, is_whole: false, critical: 0, warning: 0, grade: None, raised_at: None }
    }

    /// After one more evaluation; none if there is nothing left to remember. `is_alone`: no other series is watched.
    pub fn step(self, grading: &Grading, now: Timestamp, is_alone: bool) -> Option<Standing> {
        let Grading { checks, no_data } = grading;
        let mut next = self;
        match self.presence {
            Presence::There(zone) => next.check(zone.level(self.grade), *checks),
            Presence::Gone { since } => {
                let gone_ms = now.saturating_sub(since);
                if gone_ms >= no_data.forget_after_ms && !self.is_whole {
                    return None;
                }
                match no_data.behavior {
                    _ if gone_ms < no_data.after_ms => {}
                    Behavior::Ok => next.check(None, *checks),
                    Behavior::Keep => {}
                    // Each of the others says so itself.
                    Behavior::Alert if self.is_whole && !is_alone => next.grade = None,
                    Behavior::Alert => (next.critical, next.warning, next.grade) = (0, 0, Some(Severity::NoData)),
                }
            }
        }
        next.raised_at = if next.grade >= Some(Severity::Warning) { self.raised_at.or(Some(now)) } else { None };
        let is_good = match self.presence {
            Presence::There(zone) => zone.is_good(),
            Presence::Gone { .. } => true,
        };
        let is_nothing = is_good && next.grade.is_none() && next.warning == 0 && !grading.watches_all();
        (!is_nothing).then_some(next)
    }

    fn check(&mut self, level: Option<Severity>, Checks { at_least, of }: Checks) {
        let mask = u64::MAX >> (CHECKS_MAX - of.clamp(1, CHECKS_MAX));
        let push = |bits: u64, is_bad: bool| ((bits << 1) | u64::from(is_bad)) & mask;
        self.critical = push(self.critical, level == Some(Severity::Critical));
        self.warning = push(self.warning, level >= Some(Severity::Warning));
        let enough = |bits: u64| bits.count_ones() >= u32::from(at_least.max(1));
        self.grade = match (enough(self.critical), enough(self.warning)) {
            (true, _) => Some(Severity::Critical),
            (false, true) => Some(Severity::Warning),
            (false, false) => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// What values reach whose thresholds are 10 and 5, and whose recovery thresholds 8 and 3.
    fn zone(value: i64) -> Zone {
        Zone::default()
            .with(Zone::CRITICAL, value > 10)
            .with(Zone::CRITICAL_HELD, value > 8)
            .with(Zone::WARNING, value > 5)
            .with(Zone::WARNING_HELD, value > 3)
    }

    /// A value each minute; `-` is none.
    #[track_caller]
    fn check(grading: Grading, values: &str, expected: &Expect) {
        let mut standing = Some(Standing::new(Presence::There(Zone::default())));
        let mut said = Vec::new();
        for (minute, value) in values.split(' ').enumerate() {
            let now = minute as i64 * 60_000;
            let mut known = standing.unwrap_or(Standing::new(Presence::There(Zone::default())));
            known.presence = match (value.parse(), known.presence) {
                (Ok(value), _) => Presence::There(zone(value)),
                (Err(_), gone @ Presence::Gone { .. }) => gone,
                (Err(_), Presence::There(_)) => Presence::Gone { since: now },
            };
            standing = known.step(&grading, now, true);
            said.push(match standing {
                None => "-",
                Some(Standing { grade, .. }) => grade.map_or("ok", Severity::as_str),
            });
        }
        expected.assert_eq(&said.join(" "));
    }

    fn grading(at_least: u8, of: u8, behavior: Behavior, after_minutes: i64) -> Grading {
        let no_data = NoData { behavior, after_ms: after_minutes * 60_000, forget_after_ms: 5 * 60_000 };
        Grading { checks: Checks { at_least, of }, no_data }
    }

    #[test]
    fn a_severity_holds_until_its_recovery_threshold() {
        let grading = grading(1, 1, Behavior::Ok, 0);
        check(grading, "1 4 6 4 3 4", &expect!["- ok warning warning - ok"]);
        check(grading, "11 9 8 9 4 3", &expect!["critical critical warning warning warning -"]);
        check(grading, "9 11 6 3", &expect!["warning critical warning -"]);
    }

    #[test]
    fn enough_of_the_last_checks_must_be_bad() {
        let grading = grading(2, 3, Behavior::Ok, 0);
        check(grading, "6 1 6 1 1 1", &expect!["ok ok warning ok ok -"]);
        // Two of three are at least a warning before two are critical.
        check(grading, "6 11 1 11 11 1 1", &expect!["ok warning warning critical critical critical ok"]);
    }

    #[test]
    fn a_series_that_is_gone_is_good_or_stays_or_is_told_of() {
        check(grading(1, 1, Behavior::Ok, 2), "6 - - - 1", &expect!["warning warning warning - -"]);
        check(grading(2, 3, Behavior::Ok, 0), "6 6 - - -", &expect!["ok warning warning ok -"]);
        check(
            grading(1, 1, Behavior::Keep, 0),
            "6 - - - - - - 1",
            &expect!["warning warning warning warning warning warning - -"],
        );
        check(grading(1, 1, Behavior::Keep, 0), "1 - 6 - 4 -", &expect!["- - warning warning warning warning"]);
        check(
            grading(1, 1, Behavior::Alert, 2),
            "1 - - - - - - 11 - - - 4",
            &expect!["ok ok ok no_data no_data no_data - critical critical critical no_data ok"],
        );
    }

    #[test]
    fn a_query_without_series_is_told_of_only_if_no_series_is() {
        let grading = grading(1, 1, Behavior::Alert, 1);
        let whole = Standing { is_whole: true, ..Standing::new(Presence::Gone { since: 0 }) };
        let grade = |now, is_alone| whole.step(&grading, now, is_alone).unwrap().grade;
        assert_eq!([grade(59_999, true), grade(60_000, false)], [None, None]);
        assert_eq!(grade(60_000, true), Some(Severity::NoData));
        assert_eq!(grade(i64::MAX, true), Some(Severity::NoData), "it is not forgotten");
    }

    #[test]
    fn sixty_four_checks_are_remembered() {
        let checks = Checks { at_least: 64, of: 64 };
        let mut standing = Standing::new(Presence::There(zone(6)));
        for minute in 0..64 {
            assert_eq!(standing.grade, None, "{minute}");
            standing = standing.step(&Grading { checks, no_data: NoData::default() }, minute, true).unwrap();
        }
        assert_eq!((standing.grade, standing.raised_at), (Some(Severity::Warning), Some(63)));
    }
}
