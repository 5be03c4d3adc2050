//! Counts and times of HTTP requests.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Upper bounds of the histogram of request times, in seconds.
const SECONDS_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// See [`GatewayMetrics::new`].
pub struct GatewayMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl GatewayMetrics {
    /// Registers the gateway's metrics.
    ///
    /// # Panics
    /// If the registry has them already: a node has one gateway.
    pub fn new(registry: &Registry) -> GatewayMetrics {
        let requests = Opts::new("bellwether_http_requests_total", "HTTP requests answered.");
        let requests = IntCounterVec::new(requests, &["handler", "code"]).expect("the names are valid");
        let seconds = HistogramOpts::new("bellwether_http_request_seconds", "Time until an answer began.")
            .buckets(SECONDS_BUCKETS.to_vec());
        let seconds = HistogramVec::new(seconds, &["handler"]).expect("the names are valid");
        registry.register(Box::new(requests.clone())).expect("a registry has one gateway");
        registry.register(Box::new(seconds.clone())).expect("a registry has one gateway");
        GatewayMetrics { requests, seconds }
    }

    /// Counts an answer.
    pub fn observe(&self, handler: &str, status: StatusCode, time: Duration) {
        self.requests.with_label_values(&[handler, status.as_str()]).inc();
        self.seconds.with_label_values(&[handler]).observe(time.as_secs_f64());
    }
}
