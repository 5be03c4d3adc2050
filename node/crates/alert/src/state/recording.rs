//! Recording rules: the result of a query, under another name.

use std::collections::BTreeSet;

use bellwether_model::{Labels, LabelsBuilder, METRIC_NAME, Timestamp};
use bellwether_promql::VectorSample;

use super::{RuleSample, RuleValue, StepError, mark_vanished};
use crate::rules::RecordingRule;

/// What a recording rule remembers from one evaluation to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingState {
    /// Series of the last evaluation that did not fail.
    pub series: BTreeSet<Labels>,
}

/// One evaluation. `timestamp` is that of the samples: the time of evaluation less the query's offset.
pub fn step(
    rule: &RecordingRule,
    state: &RecordingState,
    timestamp: Timestamp,
    vector: Vec<VectorSample>,
    limit: Option<usize>,
) -> Result<(RecordingState, Vec<RuleSample>), StepError> {
    let mut samples = Vec::with_capacity(vector.len());
    let mut series = BTreeSet::new();
    for VectorSample { labels, point, histogram } in vector {
        let mut builder = LabelsBuilder::from_labels(&labels);
        builder.set(METRIC_NAME, &rule.record);
        for (name, value) in &rule.labels {
            builder.set(name, value);
        }
        let labels = builder.build().expect("names are set once and are not empty");
        if !series.insert(labels.clone()) {
            return Err(StepError::SameSeries);
        }
        let value = histogram.map_or(RuleValue::Float(point.value), RuleValue::Histogram);
        samples.push(RuleSample { labels, timestamp, value });
    }
    let count = samples.len();
    if let Some(limit) = limit.filter(|limit| count > *limit) {
        return Err(StepError::TooManySeries { limit, count });
    }
    let series = mark_vanished(&state.series, &mut samples, timestamp);
    Ok((RecordingState { series }, samples))
}
