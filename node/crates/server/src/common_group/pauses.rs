//! Pauses between attempts.

use std::time::Duration;

use crate::env::Seed;

/// Pauses between attempts: ever longer, up to a bound, and never quite the same on two nodes.
pub struct Pauses {
    seed: Seed,
    next: Duration,
    max: Duration,
}

impl Pauses {
    /// Pauses from `min` to `max`, drawn of a seed.
    pub fn new(seed: Seed, min: Duration, max: Duration) -> Pauses {
        Pauses { seed, next: min, max }
    }

    /// Between a half and the whole of what is due.
    #[expect(clippy::should_implement_trait, reason = "pauses have no end")]
    pub fn next(&mut self) -> Duration {
        self.seed = self.seed.split("next");
        let due = self.next;
        self.next = (due * 2).min(self.max);
        due / 2 + (due / 2).mul_f64((self.seed.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}
