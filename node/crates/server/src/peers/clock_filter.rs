//! How far another node's wall clock is from ours, from exchanges with it.
//!
//! Of an exchange we know how long it took, and what the other clock said at some moment within. The shorter it was, the
//! less that moment can be elsewhere than in its middle: of the last exchanges the shortest counts (as in NTP's clock
//! filter, RFC 5905 section 10).

use std::collections::VecDeque;
use std::time::Duration;

use bellwether_model::Timestamp;

use super::limits::CLOCK_SAMPLES;

/// The last exchanges with one node.
#[derive(Debug, Default)]
pub struct ClockFilter {
    exchanges: VecDeque<Exchange>,
}

/// One comparison of two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// How long it was under way, both ways together.
    pub round_trip: Duration,
    /// Theirs minus ours, in milliseconds.
    pub offset_ms: i64,
}

impl ClockFilter {
    /// Adds an exchange whose answer, written when their clock said `theirs`, came at `ours`.
    pub fn add(&mut self, round_trip: Duration, theirs: Timestamp, ours: Timestamp) {
        let half_ms = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX);
        let offset_ms = theirs.saturating_add(half_ms).saturating_sub(ours);
        if self.exchanges.len() == CLOCK_SAMPLES {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(Exchange { round_trip, offset_ms });
    }

    /// The best of the last exchanges; of equally good ones the newest.
    pub fn best(&self) -> Option<Exchange> {
        self.exchanges.iter().rev().min_by_key(|exchange| exchange.round_trip).copied()
    }

    /// Forgets everything: the other side may be another process by now.
    pub fn clear(&mut self) {
        self.exchanges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_answer_does_not_spoil_what_a_fast_one_told() {
        let mut filter = ClockFilter::default();
        assert_eq!(filter.best(), None);
        filter.add(2 * MS, 10_000, 5_001);
        // Held up on the way back for two seconds.
        filter.add(2_000 * MS, 10_100, 7_100);
        assert_eq!(filter.best(), Some(Exchange { round_trip: 2 * MS, offset_ms: 5_000 }));
    }

    #[test]
    fn a_clock_that_jumped_is_believed_once_old_exchanges_are_gone() {
        let mut filter = ClockFilter::default();
        filter.add(MS, 5_000, 5_000);
        for _ in 0..CLOCK_SAMPLES {
            filter.add(3 * MS, 3_605_000, 5_001);
        }
        assert_eq!(filter.best().unwrap().offset_ms, 3_600_000);
    }

    #[test]
    fn hostile_clocks_do_not_overflow() {
        let mut filter = ClockFilter::default();
        filter.add(Duration::MAX, i64::MAX, i64::MIN);
        filter.add(Duration::MAX, i64::MIN, i64::MAX);
        assert!(filter.best().is_some());
    }
}
