//! What an evaluation gives, or why it gave nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bellwether_model::{Labels, Timestamp};

use crate::account::LimitError;
use crate::functions::time::rfc3339;
use crate::histogram::FloatHistogram;
use crate::limits::{ANNOTATIONS_MAX, ANNOTATIONS_SHOWN_MAX};
use crate::literal::general_text;
use crate::span::Span;

/// The result of an evaluation and what its author should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The result.
    pub value: Value,
    /// Things that are probably wrong, each once with its first place in the text, in alphabetical order; the last may say
    /// how many more there are.
    pub warnings: Vec<String>,
    /// Things that may be wrong, likewise.
    pub infos: Vec<String>,
    /// How many samples each step has seen, however often these were read; empty unless the plan asks for it.
    pub samples_per_step: Vec<u64>,
}

impl Outcome {
    /// Whether each warning and info is said of some steps, and would be said in the same words of these alone: not what sums
    /// up over all steps.
    pub fn is_told_step_by_step(&self) -> bool {
        !self.warnings.iter().chain(&self.infos).any(|text| text.contains(RAISED) || text.ends_with(OMITTED))
    }
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a range query, or of a range vector in an instant query; sorted by labels.
    Matrix(Vec<MatrixSeries>),
    /// Of an instant query; sorted by labels unless the query sorts.
    Vector(Vec<VectorSample>),
    /// Of an instant query.
    Scalar(Point),
    /// Of an instant query.
    String {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The text.
        value: String,
    },
}

impl Value {
    /// Whether there is a histogram in it.
    pub fn has_histograms(&self) -> bool {
        match self {
            Value::Matrix(series) => series.iter().any(|series| !series.histograms.is_empty()),
            Value::Vector(samples) => samples.iter().any(|sample| sample.histogram.is_some()),
            Value::Scalar(_) | Value::String { .. } => false,
        }
    }
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The evaluation time, or the sample's own time in a range vector.
    pub timestamp: Timestamp,
    /// The value.
    pub value: f64,
}

/// A histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramPoint {
    /// As that of a [`Point`].
    pub timestamp: Timestamp,
    /// The histogram.
    pub histogram: Arc<FloatHistogram>,
}

impl HistogramPoint {
    /// Bytes that it holds.
    pub fn byte_len(&self) -> usize {
        size_of::<HistogramPoint>() + self.histogram.byte_len()
    }
}

/// One series of a [`Value::Matrix`]; never without points of either kind.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// Labels.
    pub labels: Labels,
    /// Points in ascending order of time.
    pub points: Vec<Point>,
    /// Those that are histograms, likewise; none of them at the time of a point.
    pub histograms: Vec<HistogramPoint>,
}

/// One series of a [`Value::Vector`].
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Labels.
    pub labels: Labels,
    /// Its value at the evaluation time; not a number where it is a histogram.
    pub point: Point,
    /// The histogram that it is.
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The data or a parameter do not fit the query; Prometheus's words.
    #[error("{0}")]
    Execution(String),
    /// The query was cancelled.
    #[error("query was canceled in query execution")]
    Cancelled,
    /// A limit was reached.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// What was fetched is not what the plan asked for.
    #[error("the plan has {wanted} selections, but {given} were fetched")]
    Selections {
        /// Selections of the plan.
        wanted: usize,
        /// Selections given.
        given: usize,
    },
    /// A fetched series whose columns differ in length.
    #[error("series {labels} was fetched with {timestamps} timestamps and {values} values")]
    Columns {
        /// The series.
        labels: String,
        /// Length of one column.
        timestamps: usize,
        /// Length of the other.
        values: usize,
    },
    /// A fetched histogram that nobody can compute with.
    #[error("series {labels} was fetched with a damaged histogram: {what}")]
    Histogram {
        /// The series.
        labels: String,
        /// What is wrong.
        what: String,
    },
}

/// Collects warnings and infos. What is said of several places is told of the first one.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: Notes,
    infos: Notes,
    /// Buckets of classic histograms that had fewer observations than those below them.
    raised: Option<(Raised, Span)>,
}

/// Texts and their places.
type Notes = BTreeMap<String, Place>;

/// Line and column; none for what has no place.
type Place = Option<(u32, u32)>;

/// How far the buckets of classic histograms had to be raised, over all steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Raised {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) least_bound: f64,
    pub(crate) greatest_bound: f64,
    pub(crate) greatest_fall: f64,
    pub(crate) samples: u64,
}

/// How what is said of [`Raised`] begins.
const RAISED: &str = "input to histogram_quantile needed to be fixed for monotonicity";
/// How a count of what is not said ends.
const OMITTED: &str = "annotations omitted";

impl Raised {
    fn merge(&mut self, other: Raised) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.least_bound = self.least_bound.min(other.least_bound);
        self.greatest_bound = self.greatest_bound.max(other.greatest_bound);
        self.greatest_fall = self.greatest_fall.max(other.greatest_fall);
        self.samples += other.samples;
    }

    fn text(self) -> String {
        let (from, to) = (general_text(self.least_bound, None), general_text(self.greatest_bound, None));
        let (fall, samples) = (general_text(self.greatest_fall, Some(2)), self.samples);
        let (first, last) = (rfc3339(self.first / 1000), rfc3339(self.last / 1000));
        format!(
            "{RAISED} (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets \
             {from} to {to}, with a max diff of {fall}, over {samples} samples from {first} to {last}"
        )
    }
}

impl Annotations {
    pub(crate) fn warn(&mut self, text: String, span: Span) {
        add(&mut self.warnings, format!("PromQL warning: {text}"), Some((span.line, span.column)));
    }

    pub(crate) fn inform(&mut self, text: String, span: Span) {
        add(&mut self.infos, format!("PromQL info: {text}"), Some((span.line, span.column)));
    }

    pub(crate) fn inform_of_raised(&mut self, raised: Raised, span: Span) {
        match &mut self.raised {
            Some((known, _)) => known.merge(raised),
            None => self.raised = Some((raised, span)),
        }
    }

    /// One that was made elsewhere, its place at the end.
    pub(crate) fn repeat(&mut self, text: &str, is_warning: bool) {
        let notes = if is_warning { &mut self.warnings } else { &mut self.infos };
        let place = |text: &str| {
            let (line, column) = text.strip_suffix(')')?.split_once(':')?;
            Some((line.parse().ok()?, column.parse().ok()?))
        };
        match text.rsplit_once(" (").and_then(|(text, rest)| Some((text, place(rest)?))) {
            Some((text, place)) => add(notes, text.to_owned(), Some(place)),
            None => add(notes, text.to_owned(), None),
        }
    }

    pub(crate) fn extend(&mut self, more: Annotations) {
        more.warnings.into_iter().for_each(|(text, place)| add(&mut self.warnings, text, place));
        more.infos.into_iter().for_each(|(text, place)| add(&mut self.infos, text, place));
        if let Some((raised, span)) = more.raised {
            self.inform_of_raised(raised, span);
        }
    }

    /// All warnings, and all infos.
    pub(crate) fn into_parts(mut self) -> (Vec<String>, Vec<String>) {
        if let Some((raised, span)) = self.raised.take() {
            self.inform(raised.text(), span);
        }
        let texts = |notes: Notes| notes.into_iter().map(with_place).collect();
        (texts(self.warnings), texts(self.infos))
    }

    /// As many as an outcome shows.
    pub(crate) fn into_shown(self) -> (Vec<String>, Vec<String>) {
        let (warnings, infos) = self.into_parts();
        (shown(warnings, "warning"), shown(infos, "info"))
    }
}

fn add(notes: &mut Notes, text: String, place: Place) {
    let is_full = notes.len() >= ANNOTATIONS_MAX;
    match notes.entry(text) {
        Entry::Occupied(mut known) if place < *known.get() => {
            known.insert(place);
        }
        Entry::Vacant(vacant) if !is_full => {
            vacant.insert(place);
        }
        _ => {}
    }
}

fn with_place((text, place): (String, Place)) -> String {
    match place {
        Some((line, column)) => format!("{text} ({})", Span { line, column, ..Span::default() }),
        None => text,
    }
}

fn shown(mut texts: Vec<String>, kind: &str) -> Vec<String> {
    let more = texts.len().saturating_sub(ANNOTATIONS_SHOWN_MAX);
    if more > 0 {
        texts.truncate(ANNOTATIONS_SHOWN_MAX);
        texts.push(format!("{more} more {kind} {OMITTED}"));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: u32, column: u32) -> Span {
        Span { line, column, ..Span::default() }
    }

    #[test]
    fn what_is_said_twice_is_told_of_the_first_place() {
        let mut notes = Annotations::default();
        notes.warn("odd".to_owned(), span(2, 1));
        notes.warn("odd".to_owned(), span(1, 9));
        notes.repeat("PromQL warning: odd (1:12)", true);
        notes.repeat("PromQL info: strange (a:b)", false);
        let (warnings, infos) = notes.into_parts();
        assert_eq!(warnings, ["PromQL warning: odd (1:9)"]);
        assert_eq!(infos, ["PromQL info: strange (a:b)"]);
    }

    #[test]
    fn many_are_counted() {
        let mut notes = Annotations::default();
        for number in 0..ANNOTATIONS_SHOWN_MAX + 3 {
            notes.inform(number.to_string(), span(1, 1));
        }
        let (warnings, infos) = notes.into_shown();
        assert_eq!((warnings.len(), infos.len()), (0, ANNOTATIONS_SHOWN_MAX + 1));
        assert_eq!(infos[ANNOTATIONS_SHOWN_MAX], "3 more info annotations omitted");
    }
}
