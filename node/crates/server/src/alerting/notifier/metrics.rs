//! What is counted of intents, on the nodes that lead alert groups.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGaugeVec, Opts, Registry};

/// Bounds of the time from an intent to its receiver's yes, in seconds.
const DELIVERY_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0];

/// See the module.
pub struct NotifierMetrics {
    leads: IntGaugeVec,
    waiting: IntGaugeVec,
    under_way: IntGaugeVec,
    given_up: IntCounter,
    delivery_seconds: Histogram,
}

impl NotifierMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<NotifierMetrics, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["group"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let given_up = IntCounter::new(
            "bellwether_notifications_given_up_total",
            "Messages that no attempt brought to their receiver; their groups are looked at again.",
        )?;
        let delivery_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "bellwether_notification_delivery_seconds",
                "From a message's making to its receiver's yes.",
            )
            .buckets(DELIVERY_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(given_up.clone()))?;
        registry.register(Box::new(delivery_seconds.clone()))?;
        Ok(NotifierMetrics {
            leads: gauge(
                "bellwether_notifier_leads",
                "Whether this node tells the receivers of the alert group's tenants.",
            )?,
            waiting: gauge("bellwether_notifications_waiting", "Messages that wait for room, by alert group.")?,
            under_way: gauge("bellwether_notifications_under_way", "Messages that are being sent, by alert group.")?,
            given_up,
            delivery_seconds,
        })
    }

    pub(super) fn leads(&self, group: u32, leads: bool) {
        self.leads.with_label_values(&[&group.to_string()]).set(i64::from(leads));
        if !leads {
            self.waiting(group, 0, 0);
        }
    }

    pub(super) fn waiting(&self, group: u32, waiting: usize, under_way: usize) {
        let group = group.to_string();
        self.waiting.with_label_values(&[&group]).set(waiting as i64);
        self.under_way.with_label_values(&[&group]).set(under_way as i64);
    }

    pub(super) fn gave_up(&self) {
        self.given_up.inc();
    }

    pub(super) fn delivered(&self, after_ms: i64) {
        self.delivery_seconds.observe(after_ms.max(0) as f64 / 1000.0);
    }
}
