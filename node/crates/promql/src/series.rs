//! Series as they come in, and as they pass between the parts of an evaluation.

use std::sync::Arc;

use bellwether_model::{Histogram, Label, Labels, METRIC_NAME};

use crate::column::Column;
use crate::histogram::FloatHistogram;

/// One series of a [`crate::Selection`].
#[derive(Debug, Clone)]
pub struct FetchedSeries {
    /// Its labels; no two series of a selection have the same.
    pub labels: Labels,
    /// Times of its samples, ascending and unique. Series that share the very same column are evaluated faster.
    pub timestamps: Arc<[i64]>,
    /// One value for each time; stale markers included.
    pub values: Vec<f64>,
    /// Its samples that are histograms: few series have any.
    pub histograms: Option<Box<FetchedHistograms>>,
}

/// Samples of a series that are histograms.
#[derive(Debug, Clone)]
pub struct FetchedHistograms {
    /// Their times, ascending and unique, and none of them the time of a value.
    pub timestamps: Arc<[i64]>,
    /// One for each time, [valid](Histogram::validate); stale markers included.
    pub histograms: Vec<Histogram>,
}

impl FetchedHistograms {
    /// Those that are no stale markers.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (i64, Arc<FloatHistogram>)> + '_ {
        let samples = self.timestamps.iter().zip(&self.histograms).filter(|(_, histogram)| !histogram.is_stale());
        samples.map(|(timestamp, histogram)| (*timestamp, Arc::new(FloatHistogram::from(histogram))))
    }

    pub(crate) fn byte_len(&self) -> usize {
        let histograms = self.histograms.iter().map(Histogram::byte_len).sum::<usize>();
        size_of::<FetchedHistograms>() + self.timestamps.len() * size_of::<i64>() + histograms
    }
}

impl FetchedSeries {
    /// Bytes that it holds for itself, its timestamps not included: many series share those.
    pub fn byte_len(&self) -> u64 {
        let histograms = self.histograms.as_ref().map_or(0, |histograms| histograms.byte_len());
        let values = self.values.capacity() * size_of::<f64>();
        (size_of::<FetchedSeries>() + self.labels.byte_len() + values + histograms) as u64
    }

    /// Samples of either kind.
    pub fn sample_count(&self) -> usize {
        self.values.len() + self.histograms.as_ref().map_or(0, |histograms| histograms.histograms.len())
    }
}

/// What goes with the name of a metric, and is dropped with it.
pub(crate) const TYPE_LABEL: &str = "__type__";
pub(crate) const UNIT_LABEL: &str = "__unit__";

/// Whether a label says what metric a series is of: its name, its type, its unit.
pub(crate) fn is_of_metric(label: &str) -> bool {
    label == METRIC_NAME || label == TYPE_LABEL || label == UNIT_LABEL
}

/// What has become of the name of a series, and of its type and unit, where they are labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Kept,
    /// Gone.
    Dropped,
    /// There until the query ends, and dropped then.
    Marked,
}

/// Labels of a result in the making: those of a stored series, with the name possibly dropped without a copy.
#[derive(Debug, Clone)]
pub(crate) struct SeriesLabels {
    labels: Labels,
    name: Name,
}

impl SeriesLabels {
    pub(crate) fn new(labels: Labels) -> SeriesLabels {
        SeriesLabels::with_name(labels, Name::Kept)
    }

    pub(crate) fn with_name(labels: Labels, name: Name) -> SeriesLabels {
        SeriesLabels { labels, name }
    }

    pub(crate) fn empty() -> SeriesLabels {
        SeriesLabels::new(Labels::empty())
    }

    pub(crate) fn without_name(&self) -> SeriesLabels {
        SeriesLabels { labels: self.labels.clone(), name: Name::Dropped }
    }

    /// With the name to be dropped when the query ends, if it is there.
    pub(crate) fn with_name_marked(&self) -> SeriesLabels {
        let name = if self.name == Name::Dropped { Name::Dropped } else { Name::Marked };
        SeriesLabels { labels: self.labels.clone(), name }
    }

    /// With the name to stay, if it is there.
    pub(crate) fn with_name_kept(&self) -> SeriesLabels {
        let name = if self.name == Name::Dropped { Name::Dropped } else { Name::Kept };
        SeriesLabels { labels: self.labels.clone(), name }
    }

    /// The labels as they are stored, the name among them.
    pub(crate) fn stored(&self) -> &Labels {
        &self.labels
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }

    pub(crate) fn is_name_marked(&self) -> bool {
        self.name == Name::Marked
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Label<'_>> {
        let name_dropped = self.name == Name::Dropped;
        self.labels.iter().filter(move |label| !name_dropped || !is_of_metric(label.name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|label| label.name == name).map(|label| label.value)
    }

    /// The value of a label, empty if it is absent.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The labels as they are seen now.
    pub(crate) fn to_labels(&self) -> Labels {
        if self.name == Name::Dropped { self.nameless() } else { self.labels.clone() }
    }

    /// The labels as the caller of the query sees them.
    pub(crate) fn to_result(&self) -> Labels {
        if self.name == Name::Kept { self.labels.clone() } else { self.nameless() }
    }

    fn nameless(&self) -> Labels {
        if self.labels.iter().any(|label| is_of_metric(label.name)) {
            let others = self.labels.iter().filter(|label| !is_of_metric(label.name));
            return Labels::from_sorted(others);
        }
        self.labels.clone()
    }

    /// The same with nothing stored that is not seen.
    pub(crate) fn settled(&self) -> SeriesLabels {
        let name = if self.name == Name::Marked { Name::Marked } else { Name::Kept };
        SeriesLabels { labels: self.to_labels(), name }
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
