//! Silences: for a time, nobody is told of alerts that meet their matchers.

mod stored;

use bellwether_model::{Labels, Timestamp};

use super::matchers::Matchers;
pub use stored::{SetError, Silences, StoredSilence};

/// Silences at a time that hold while an alert fires: each looks at all alerts.
pub const CONDITIONAL_SILENCES_MAX: usize = 100;
/// Silences at a time.
pub const SILENCES_MAX: usize = 10_000;

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Which alerts.
    pub matchers: Matchers,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when, not included.
    pub ends_at: Timestamp,
}

/// What a silence does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceState {
    /// Nothing yet.
    Pending,
    /// It silences.
    Active,
    /// Nothing any more.
    Expired,
}

impl Silence {
    /// What it does at a time.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        Silence::state_between(self.begins_at, self.ends_at, now)
    }

    fn state_between(begins_at: Timestamp, ends_at: Timestamp, now: Timestamp) -> SilenceState {
        match now {
            _ if now >= ends_at => SilenceState::Expired,
            _ if now < begins_at => SilenceState::Pending,
            _ => SilenceState::Active,
        }
    }

    /// Whether it silences an alert at a time.
    pub fn silences(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active && self.matchers.match_labels(labels)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::notify::matchers::parse_matchers;
    use bellwether_model::PatternBudget;

    #[test]
    fn a_silence_holds_from_its_begin_to_before_its_end() {
        let matchers = parse_matchers("host=~a.*", &mut PatternBudget::default()).unwrap();
        let silence = Silence { matchers, begins_at: 10, ends_at: 20 };
        let alert = Labels::of(&[("host", "a1")]);
        let states = [9, 10, 19, 20].map(|now| silence.state(now));
        assert_eq!(states, [SilenceState::Pending, SilenceState::Active, SilenceState::Active, SilenceState::Expired]);
        assert!(silence.silences(&alert, 10) && !silence.silences(&alert, 9));
        assert!(!silence.silences(&Labels::of(&[("host", "b")]), 10));
    }

    #[test]
    fn what_silences_wait_for_is_looked_at_once_for_all_alerts() {
        let mut silences = Silences::default();
        let waiting = [("a", Some("x=1"), 0), ("b", Some("x=2"), 0), ("c", Some("x=1"), 20), ("d", None, 0)];
        for (id, during, begins_at) in waiting {
            let silence = StoredSilence::new("host=~h.*", (begins_at, 30), "me", "").during(during);
            silences.insert_stored(id.to_owned(), silence);
        }
        let asked = Cell::new(0);
        let fires = |during: &Matchers| {
            asked.set(asked.get() + 1);
            during.match_labels(&Labels::of(&[("x", "1")]))
        };
        let holding = silences.holding(&fires, 10);
        for host in ["h1", "h2", "h3"] {
            let alert = Labels::of(&[("host", host)]);
            let by = holding.iter().filter(|(_, silence)| silence.silences(&alert, 10)).map(|(id, _)| id.as_str());
            assert_eq!(by.collect::<Vec<_>>(), ["a", "d"]);
        }
        assert_eq!(asked.get(), 2, "of those whose time has come");
    }
}
