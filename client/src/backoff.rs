//! Pauses between attempts: they double, and are spread so that clients that failed together do not come back together.

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The first pause is between half of this and this.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Random numbers out of one seed, for all calls of a client.
pub struct Jitter(Mutex<StdRng>);

impl Jitter {
    pub fn new(seed: u64) -> Jitter {
        Jitter(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Between half of `pause` and `pause`.
    pub fn spread(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.0.lock().random_range(0.5..=1.0))
    }
}

/// The pauses of one call.
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    pub fn new() -> Backoff {
        Backoff { next: PAUSE_FIRST }
    }

    pub fn pause(&mut self, jitter: &Jitter) -> Duration {
        let pause = jitter.spread(self.next);
        self.next = (self.next * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_the_same_for_the_same_seed() {
        let pauses = |seed| {
            let (jitter, mut backoff) = (Jitter::new(seed), Backoff::new());
            (0..12).map(|_| backoff.pause(&jitter)).collect::<Vec<_>>()
        };
        let first = pauses(7);
        assert_eq!(first, pauses(7));
        assert_ne!(first, pauses(8));
        for (turn, pause) in first.iter().enumerate() {
            let bound = PAUSE_MAX.min(PAUSE_FIRST * (1 << turn));
            assert!(*pause >= bound / 2 && *pause <= bound, "pause {turn} is {pause:?}");
        }
    }
}
