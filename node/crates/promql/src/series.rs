//! Series as they come in, and as they pass between the parts of an evaluation.

use std::sync::Arc;

use bellwether_model::{Label, Labels, METRIC_NAME};

use crate::column::Column;

/// One series of a [`crate::Selection`].
#[derive(Debug, Clone)]
pub struct FetchedSeries {
    /// Its labels; no two series of a selection have the same.
    pub labels: Labels,
    /// Times of its samples, ascending and unique. Series that share the very same column are evaluated faster.
    pub timestamps: Arc<[i64]>,
    /// One value for each time; stale markers included.
    pub values: Vec<f64>,
}

impl FetchedSeries {
    /// Bytes that it holds for itself, its timestamps not included: many series share those.
    pub fn byte_len(&self) -> u64 {
        (size_of::<FetchedSeries>() + self.labels.byte_len() + self.values.capacity() * size_of::<f64>()) as u64
    }
}

/// What goes with the name of a metric, and is dropped with it.
pub(crate) const TYPE_LABEL: &str = "__type__";
pub(crate) const UNIT_LABEL: &str = "__unit__";

/// Whether a label says what metric a series is of: its name, its type, its unit.
pub(crate) fn is_of_metric(label: &str) -> bool {
    label == METRIC_NAME || label == TYPE_LABEL || label == UNIT_LABEL
}

/// Labels of a result in the making: those of a stored series, with the name (and type and unit, where they are labels)
/// possibly dropped without a copy.
#[derive(Debug, Clone)]
pub(crate) struct SeriesLabels {
    labels: Labels,
    name_dropped: bool,
}

impl SeriesLabels {
    pub(crate) fn new(labels: Labels) -> SeriesLabels {
        SeriesLabels { labels, name_dropped: false }
    }

    pub(crate) fn empty() -> SeriesLabels {
        SeriesLabels::new(Labels::empty())
    }

    pub(crate) fn without_name(&self) -> SeriesLabels {
        SeriesLabels { labels: self.labels.clone(), name_dropped: true }
    }

    /// The labels as they are stored, the name among them.
    pub(crate) fn stored(&self) -> &Labels {
        &self.labels
    }

    pub(crate) fn is_name_dropped(&self) -> bool {
        self.name_dropped
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Label<'_>> {
        let name_dropped = self.name_dropped;
        self.labels.iter().filter(move |label| !name_dropped || !is_of_metric(label.name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|label| label.name == name).map(|label| label.value)
    }

    /// The value of a label, empty if it is absent.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(crate) fn to_labels(&self) -> Labels {
        if self.name_dropped && self.labels.iter().any(|label| is_of_metric(label.name)) {
            return Labels::from_sorted(self.iter());
        }
        self.labels.clone()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.labels.byte_len()
    }
}

/// A series of an instant vector over all steps.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) labels: SeriesLabels,
    pub(crate) column: Column,
}

impl Series {
    pub(crate) fn byte_len(&self) -> usize {
        size_of::<Series>() + self.labels.byte_len() + self.column.byte_len()
    }
}
