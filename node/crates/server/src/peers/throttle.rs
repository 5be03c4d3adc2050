//! A budget of bytes per second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets bytes pass one after the other, each as long after the one before as the budget says.
pub struct Throttle {
    bytes_per_second: AtomicU64,
    /// When what has passed is paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// A budget of which nothing is used. It is at least one byte.
    pub fn new(bytes_per_second: u64) -> Throttle {
        Throttle { bytes_per_second: AtomicU64::new(bytes_per_second.max(1)), paid_at: Mutex::default() }
    }

    /// Another budget from now on. Where it differs, what has passed is not charged at the old price any more.
    pub fn set(&self, bytes_per_second: u64) {
        let bytes_per_second = bytes_per_second.max(1);
        if self.bytes_per_second.swap(bytes_per_second, Ordering::Relaxed) != bytes_per_second {
            *self.paid_at.lock() = None;
        }
    }

    /// Waits until `bytes` may pass.
    pub async fn pass(&self, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.load(Ordering::Relaxed) as f64);
        let at = {
            let mut paid_at = self.paid_at.lock();
            let now = Instant::now();
            let at = paid_at.map_or(now, |paid_at| paid_at.max(now));
            *paid_at = Some(at + cost);
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_pass_share_the_budget_and_nobody_saves_it_up() {
        let throttle = Throttle::new(1000);
        let start = Instant::now();
        tokio::join!(throttle.pass(500), throttle.pass(500), throttle.pass(500));
        assert_eq!(start.elapsed().as_millis() / 10, 100, "the third waits for the two before");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        throttle.pass(1000).await;
        throttle.pass(1).await;
        assert_eq!(start.elapsed().as_millis() / 10, 100);
        throttle.set(100);
        let start = Instant::now();
        throttle.pass(50).await;
        throttle.pass(1).await;
        assert_eq!(start.elapsed().as_millis() / 10, 50, "the new budget holds");
        throttle.pass(1_000_000).await;
        throttle.set(100);
        assert!(throttle.paid_at.lock().is_some(), "the same budget forgives nothing");
        throttle.set(1_000_000);
        let start = Instant::now();
        throttle.pass(1).await;
        assert_eq!(start.elapsed().as_millis(), 0, "what passed before is not waited for at the old price");
    }
}
