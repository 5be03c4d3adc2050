//! What becomes of a rule with each evaluation.
//!
//! State machines, pure: `step(rule, state, now, vector) -> (state, what happened)`. Nothing reads a clock or asks a query but
//! through what it is given. A state is a plain value, so that it can be stored and sent.

pub mod alerting;
pub mod recording;
pub mod threshold;

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp, is_stale_marker, stale_marker};
use bellwether_promql::FloatHistogram;

/// A sample to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSample {
    /// Of which series.
    pub labels: Labels,
    /// When.
    pub timestamp: Timestamp,
    /// What.
    pub value: RuleValue,
}

/// What a sample is.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleValue {
    /// A number; a stale marker too, whatever the series was.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl RuleSample {
    fn float(labels: Labels, timestamp: Timestamp, value: f64) -> RuleSample {
        RuleSample { labels, timestamp, value: RuleValue::Float(value) }
    }

    /// Whether it ends its series.
    pub fn is_end(&self) -> bool {
        matches!(&self.value, RuleValue::Float(value) if is_stale_marker(*value))
    }
}

/// Why an evaluation failed; Prometheus's words. The state stays as it was, but for a limit on alerts, which forgets them all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Alerts of one rule that cannot be told apart.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    SameAlerts,
    /// Series of one rule that cannot be told apart.
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    SameSeries,
    /// More alerts than the group allows.
    #[error("exceeded limit of {limit} with {count} alerts")]
    TooManyAlerts {
        /// The limit.
        limit: usize,
        /// Alerts there are.
        count: usize,
    },
    /// More series than the group allows.
    #[error("exceeded limit of {limit} with {count} series")]
    TooManySeries {
        /// The limit.
        limit: usize,
        /// Series there are.
        count: usize,
    },
}

/// Adds a stale marker for each series that was written before and is not now; the series that are.
fn mark_vanished(before: &BTreeSet<Labels>, samples: &mut Vec<RuleSample>, timestamp: Timestamp) -> BTreeSet<Labels> {
    let now: BTreeSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
    let vanished = before.difference(&now);
    samples.extend(vanished.map(|labels| RuleSample::float(labels.clone(), timestamp, stale_marker())));
    now
}
