//! A time that was wrong is set back: the clock that it followed was far ahead, and is set right.
//!
//! What is noted as having happened later than now has happened now; what was to wait for a while waits as long as it had still
//! to.

use bellwether_model::Timestamp;

/// A leader's clock that is so far behind a group's time is believed, and the time set back; by less the clocks of two leaders may
/// differ.
pub const TIME_SET_BACK_MS_MIN: i64 = 60 * 1000;

/// From which time to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetBack {
    before: Timestamp,
    now: Timestamp,
}

impl SetBack {
    /// By a leader's clock, if it is that far behind the time.
    pub fn of(time: Timestamp, clock: Timestamp) -> Option<SetBack> {
        (time.saturating_sub(clock) > TIME_SET_BACK_MS_MIN).then_some(SetBack { before: time, now: clock })
    }

    /// The time that was wrong.
    pub fn before(self) -> Timestamp {
        self.before
    }

    /// The time from now on.
    pub fn now(self) -> Timestamp {
        self.now
    }

    /// Of what has happened.
    pub fn happened(self, at: &mut Timestamp) {
        *at = (*at).min(self.now);
    }

    /// Of what is waited for.
    pub fn awaited(self, at: &mut Timestamp) {
        if *at > self.now {
            *at = self.now.saturating_add(at.saturating_sub(self.before).max(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_happened_is_not_ahead_and_what_is_awaited_comes_as_soon() {
        assert_eq!(SetBack::of(500_000, 440_000), None, "two clocks differ by so much");
        let back = SetBack::of(500_000, 400_000).unwrap();
        let moved = |by: fn(SetBack, &mut Timestamp), mut at: Timestamp| {
            by(back, &mut at);
            at
        };
        assert_eq!([390_000, 450_000].map(|at| moved(SetBack::happened, at)), [390_000, 400_000]);
        let awaited = [390_000, 450_000, 500_000, 530_000].map(|at| moved(SetBack::awaited, at));
        assert_eq!(awaited, [390_000, 400_000, 400_000, 430_000]);
        assert!(SetBack::of(Timestamp::MAX, Timestamp::MIN).is_some());
    }
}
