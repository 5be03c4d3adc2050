//! When a node that could not be reached is tried again.

use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::limits::{RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN};
use crate::env::Seed;

/// Doubling pauses with jitter, so that a node that comes back is not met by everybody at once.
#[derive(Debug)]
pub struct Pace {
    seed: Seed,
    failures: u32,
    attempts: u64,
    not_before: Option<Instant>,
}

impl Pace {
    /// Nothing has failed yet.
    pub fn new(seed: Seed) -> Pace {
        Pace { seed, failures: 0, attempts: 0, not_before: None }
    }

    /// How long the next attempt must wait.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.not_before.map(|at| at.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// An attempt failed.
    pub fn failed(&mut self, now: Instant) {
        let longest = RECONNECT_PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(RECONNECT_PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.attempts += 1;
        let jitter = xxh3_64_with_seed(&self.attempts.to_le_bytes(), self.seed.0) % 1000;
        self.not_before = Some(now + longest.mul_f64(0.5 + jitter as f64 / 2000.0));
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let now = Instant::now();
        let mut pace = Pace::new(Seed(1));
        assert_eq!(pace.wait(now), None);
        let mut longest = RECONNECT_PAUSE_MIN;
        for _ in 0..100 {
            pace.failed(now);
            let wait = pace.wait(now).unwrap();
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
            longest = (longest * 2).min(RECONNECT_PAUSE_MAX);
        }
        pace.succeeded();
        assert_eq!(pace.wait(now), None);
        pace.failed(now);
        assert!(pace.wait(now).unwrap() <= RECONNECT_PAUSE_MIN);
        assert_eq!(pace.wait(now + RECONNECT_PAUSE_MAX), None);
    }
}
