//! Whether the wall clock can be trusted with retention: what it drops does not come back when the clock is corrected.

use std::time::Duration;

use bellwether_model::Timestamp;
use tokio::time::Instant;

/// The wall clock must have kept pace with the monotonic one for this long.
const SETTLED_AFTER: Duration = Duration::from_secs(3600);
/// How far the two may part before the wall clock counts as having jumped, in milliseconds.
const JUMP_MS: i64 = 60_000;

/// Compares the two clocks at every look.
pub struct ClockWatch {
    /// Since when they have kept pace, and what the wall clock said then.
    since: Instant,
    wall_ms: Timestamp,
}

impl ClockWatch {
    /// Begins to watch.
    pub fn new(wall_ms: Timestamp) -> ClockWatch {
        ClockWatch { since: Instant::now(), wall_ms }
    }

    /// Compares; a jump begins the wait anew.
    pub fn look(&mut self, wall_ms: Timestamp) {
        let expected = self.wall_ms.saturating_add(self.since.elapsed().as_millis() as i64);
        if expected.abs_diff(wall_ms) > JUMP_MS as u64 {
            tracing::warn!(
                jump_ms = wall_ms.saturating_sub(expected),
                "the clock jumped: retention waits until it has settled"
            );
            *self = ClockWatch::new(wall_ms);
        }
    }

    /// Whether the wall clock has kept pace for long enough.
    pub fn is_trusted(&self) -> bool {
        self.since.elapsed() >= SETTLED_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_jump_begins_the_wait_anew() {
        let mut watch = ClockWatch::new(0);
        tokio::time::advance(SETTLED_AFTER).await;
        watch.look(3_600_000 + 30_000);
        assert!(watch.is_trusted(), "half a minute of drift is no jump");
        watch.look(3_600_000 + 864_000_000);
        assert!(!watch.is_trusted());
        tokio::time::advance(SETTLED_AFTER).await;
        assert!(watch.is_trusted());
    }
}
