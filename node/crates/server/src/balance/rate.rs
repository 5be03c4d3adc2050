//! How fast a group's samples come in, as an exponential mean over minutes: a second's burst, or one without anything,
//! moves nothing.

use std::time::Duration;

use bellwether_model::ReplicaId;
use tokio::time::Instant;

/// What lies this far back counts for a third of what is now.
pub const RATE_WINDOW: Duration = Duration::from_secs(300);

/// Of one group.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Whose count it was: replicas count alike, but not to the sample.
    replica: ReplicaId,
    samples: u64,
    at: Instant,
    /// For how long it was measured.
    measured: Duration,
    /// As if nothing had come before the first look.
    mean: f64,
}

impl Rate {
    /// Begins with what a replica holds.
    pub fn begin(replica: ReplicaId, samples: u64, now: Instant) -> Rate {
        Rate { replica, samples, at: now, measured: Duration::ZERO, mean: 0.0 }
    }

    /// Takes in what the replica that leads now holds. What another replica held before says nothing of what came since.
    pub fn look(&mut self, replica: ReplicaId, samples: u64, now: Instant) {
        let span = now.duration_since(self.at);
        if replica == self.replica && !span.is_zero() {
            // Retention takes samples away; then it looks as if none had come.
            let rate = samples.saturating_sub(self.samples) as f64 / span.as_secs_f64();
            self.mean += (rate - self.mean) * share(span);
            self.measured += span;
        }
        (self.replica, self.samples, self.at) = (replica, samples, now);
    }

    /// Samples per second; zero until enough was seen to say.
    pub fn per_second(&self) -> u64 {
        if self.measured < RATE_WINDOW { 0 } else { (self.mean / share(self.measured)) as u64 }
    }
}

/// What a span counts for against all that lies before it.
fn share(span: Duration) -> f64 {
    1.0 - (-span.as_secs_f64() / RATE_WINDOW.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: ReplicaId = ReplicaId(1);

    /// The rate after looks a second apart, each with so many more samples.
    fn after(looks: impl Iterator<Item = (ReplicaId, u64)>) -> u64 {
        let mut now = Instant::now();
        let mut samples = 1_000_000;
        let mut rate = Rate::begin(LEADER, samples, now);
        for (replica, more) in looks {
            now += Duration::from_secs(1);
            samples += more;
            rate.look(replica, samples, now);
        }
        rate.per_second()
    }

    #[test]
    fn nothing_is_said_before_a_whole_window_was_seen() {
        assert_eq!(after(std::iter::repeat_n((LEADER, 1000), 299)), 0);
        assert!(after(std::iter::repeat_n((LEADER, 1000), 301)).abs_diff(1000) <= 1);
    }

    #[test]
    fn samples_that_come_once_a_minute_are_a_steady_rate() {
        let bursts = (0..1200).map(|second| (LEADER, if second % 60 == 59 { 60_000 } else { 0 }));
        let rate = after(bursts);
        assert!(rate.abs_diff(1000) < 120, "{rate}");
    }

    #[test]
    fn one_burst_does_not_make_a_rate() {
        let bursts = (0..1200).map(|second| (LEADER, if second == 1199 { 300_000 } else { 1000 }));
        let rate = after(bursts);
        assert!(rate < 2100, "{rate}");
    }

    #[test]
    fn another_leader_counts_from_its_own_count() {
        let looks = (0..1200).map(|second| match second {
            0..600 => (LEADER, 1000),
            // It has a million more than the first one had, for reasons of its own.
            600 => (ReplicaId(2), 1_000_000),
            _ => (ReplicaId(2), 1000),
        });
        assert!(after(looks).abs_diff(1000) <= 1);
    }
}
