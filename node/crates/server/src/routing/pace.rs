//! How attempts that failed are repeated: ever more rarely, not all at once, and not for long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::env::Seed;

/// For how long an attempt is repeated: an election takes two seconds, when all goes wrong twice that.
pub const RETRY_BUDGET: Duration = Duration::from_secs(5);
/// The first pause; doubled for each further one.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// How many hints are followed without a pause.
const HOPS_IN_A_ROW: u32 = 3;

const _: () = assert!(PAUSE_MAX.as_millis() * 4 < RETRY_BUDGET.as_millis());

/// Where the pauses' randomness comes from.
pub struct Jitter {
    seed: u64,
    drawn: AtomicU64,
}

impl Jitter {
    /// The same seed gives the same pauses.
    pub fn new(seed: Seed) -> Jitter {
        Jitter { seed: seed.0, drawn: AtomicU64::new(0) }
    }

    /// Between half of `pause` and all of it.
    fn of(&self, pause: Duration) -> Duration {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let half = pause / 2;
        let share = xxh3_64_with_seed(&drawn.to_le_bytes(), self.seed) >> 32;
        half + half.mul_f64(share as f64 / f64::from(u32::MAX))
    }
}

/// The attempts of one thing.
pub struct Pace<'a> {
    jitter: &'a Jitter,
    end: Instant,
    pause: Duration,
    hops: u32,
}

impl<'a> Pace<'a> {
    /// The budget begins now.
    pub fn begin(jitter: &'a Jitter) -> Pace<'a> {
        Pace { jitter, end: Instant::now() + RETRY_BUDGET, pause: PAUSE_MIN, hops: 0 }
    }

    /// Goes on at once, to where a node said that it leads to. Two nodes that name each other end with the budget.
    pub async fn hop(&mut self) -> bool {
        self.hops += 1;
        if self.hops.is_multiple_of(HOPS_IN_A_ROW) { self.pause().await } else { Instant::now() < self.end }
    }

    /// Waits before the next attempt. `false`: the budget is spent, there is none.
    pub async fn pause(&mut self) -> bool {
        let pause = self.jitter.of(self.pause);
        if Instant::now() + pause > self.end {
            return false;
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_become_rarer_and_end_with_the_budget() {
        let jitter = Jitter::new(Seed(1));
        let began = Instant::now();
        let mut pace = Pace::begin(&jitter);
        let mut pauses = Vec::new();
        loop {
            let before = Instant::now();
            if !pace.pause().await {
                break;
            }
            pauses.push(before.elapsed());
        }
        assert!(began.elapsed() <= RETRY_BUDGET && began.elapsed() > RETRY_BUDGET - PAUSE_MAX);
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN + Duration::from_millis(1), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX + Duration::from_millis(1)), "{pauses:?}");
        assert!(pauses.len() < 40, "{}", pauses.len());
    }
}
