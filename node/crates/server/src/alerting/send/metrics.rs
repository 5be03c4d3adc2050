//! What is counted of notifications.

use std::time::Duration;

use bellwether_alert::notify::config::kinds::{KINDS, Kind};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::failure::{Failure, Reason};

/// Bounds of an attempt's duration in seconds.
const ATTEMPT_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Of attempts to tell receivers.
pub struct SendMetrics {
    attempts: IntCounterVec,
    failed: IntCounterVec,
    seconds: HistogramVec,
}

impl SendMetrics {
    /// Registers them, with all kinds that messages go out by.
    pub fn new(registry: &Registry) -> Result<SendMetrics, prometheus::Error> {
        let attempts = IntCounterVec::new(
            Opts::new("bellwether_notifications_total", "Attempts to tell a receiver, by the kind of integration."),
            &["integration"],
        )?;
        let failed = IntCounterVec::new(
            Opts::new("bellwether_notifications_failed_total", "Attempts to tell a receiver that failed, by reason."),
            &["integration", "reason"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "bellwether_notification_duration_seconds",
                "How long attempts to tell a receiver took.",
            )
            .buckets(ATTEMPT_BUCKETS.to_vec()),
            &["integration"],
        )?;
        registry.register(Box::new(attempts.clone()))?;
        registry.register(Box::new(failed.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        // Whoever watches rates needs the zero before the first.
        for (kind, _) in KINDS.iter().filter(|(kind, _)| kind.is_sent()) {
            attempts.with_label_values(&[kind.name()]);
            for reason in Reason::ALL {
                failed.with_label_values(&[kind.name(), reason.as_str()]);
            }
        }
        Ok(SendMetrics { attempts, failed, seconds })
    }

    /// Counts an attempt.
    pub fn count(&self, kind: Kind, took: Duration, failure: Option<&Failure>) {
        self.attempts.with_label_values(&[kind.name()]).inc();
        self.seconds.with_label_values(&[kind.name()]).observe(took.as_secs_f64());
        if let Some(failure) = failure {
            self.failed.with_label_values(&[kind.name(), failure.reason.as_str()]).inc();
        }
    }
}
