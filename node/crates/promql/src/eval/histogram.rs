//! Brings the buckets of each classic histogram together, and asks it and native ones.

use bellwether_model::{Labels, METRIC_NAME, Timestamp};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::{Column, HistogramColumn};
use crate::eval::collect::Duplicates;
use crate::eval::scalar::ScalarColumn;
use crate::eval::{Evaluator, Sink, same_labelset};
use crate::functions::histogram::{BUCKET_LABEL, Bucket, Falls, fraction, parse_bound, quantile};
use crate::functions::labels::with_label;
use crate::histogram::{FloatHistogram, NanObservations};
use crate::literal::general_text;
use crate::outcome::{EvalError, Raised};
use crate::plan::{HistogramOp, ScalarNode, VectorNode};
use crate::series::SeriesLabels;
use crate::span::Span;
use crate::windows::Grid;

/// One histogram: its labels but for `le`, and its buckets' counts.
struct Histogram {
    labels: Labels,
    /// In ascending order of bounds once all are known.
    buckets: Vec<(f64, Column)>,
    /// The series of these very labels that is a native one.
    native: Option<Box<HistogramColumn>>,
}

/// Where the histogram of these labels is, new if it is not known.
fn place_of(labels: Labels, histograms: &mut Vec<Histogram>, index: &mut HashTable<usize>) -> usize {
    let hash = |labels: &Labels| xxh3_64(labels.canonical_bytes());
    let key_hash = hash(&labels);
    if let Some(at) = index.find(key_hash, |at| histograms[*at].labels == labels) {
        return *at;
    }
    let at = histograms.len();
    histograms.push(Histogram { labels, buckets: Vec::new(), native: None });
    index.insert_unique(key_hash, at, |at| hash(&histograms[*at].labels));
    at
}

impl Evaluator<'_> {
    pub(crate) fn histogram(
        &self,
        op: &HistogramOp,
        arg: &VectorNode,
        arg_span: Span,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut account = self.meter.account();
        let mut histograms: Vec<Histogram> = Vec::new();
        let mut index: HashTable<usize> = HashTable::new();
        let mut natives: Vec<(Labels, Box<HistogramColumn>)> = Vec::new();
        self.vector(arg, grid, &mut |labels, column| {
            if column.has_histograms() {
                account.take(column.byte_len() + labels.byte_len())?;
                natives.extend(column.histograms.take().map(|histograms| (labels.to_labels(), histograms)));
            }
            if !column.present.any() {
                return Ok(());
            }
            let Some(bound) = labels.get(BUCKET_LABEL).and_then(parse_bound) else {
                self.warn_of_bucket_label(labels, arg_span);
                return Ok(());
            };
            account.take(column.byte_len() + labels.byte_len())?;
            let key = Labels::from_sorted(labels.iter().filter(|label| label.name != BUCKET_LABEL));
            let at = place_of(key, &mut histograms, &mut index);
            histograms[at].buckets.push((bound, std::mem::take(column)));
            Ok(())
        })?;
        for (labels, native) in natives {
            let at = place_of(labels, &mut histograms, &mut index);
            histograms[at].native = Some(native);
        }
        let mut answers = self.new_set(Duplicates::Merge);
        self.answer(op, histograms, arg_span, grid, &mut |labels, column| answers.push(labels, column))?;
        answers.push_into(sink)
    }

    fn warn_of_bucket_label(&self, labels: &SeriesLabels, span: Span) {
        let mut text =
            format!("bucket label \"le\" is missing or has a malformed value of {:?}", labels.value(BUCKET_LABEL));
        if let Some(name) = labels.get(METRIC_NAME) {
            text.push_str(&format!(" for metric name {name:?}"));
        }
        self.annotations.borrow_mut().warn(text, span);
    }

    fn answer(
        &self,
        op: &HistogramOp,
        histograms: Vec<Histogram>,
        arg_span: Span,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        // A node is evaluated once: the last reader of a selection consumes it.
        let questions = self.questions(op, grid)?;
        let mut buckets: Vec<Bucket> = Vec::new();
        for mut histogram in histograms {
            histogram.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let histogram_name = histogram.labels.get(METRIC_NAME).unwrap_or_default().to_owned();
            let labels = self.drop_name(&SeriesLabels::new(histogram.labels));
            // One column for each label that an answer has.
            let mut answers: Vec<(Option<f64>, Column)> = Vec::new();
            for step in 0..grid.steps {
                buckets.clear();
                let present = histogram.buckets.iter().filter_map(|(upper_bound, counts)| {
                    Some(Bucket { upper_bound: *upper_bound, count: counts.get(step)? })
                });
                buckets.extend(present);
                self.meter.work(1 + buckets.len())?;
                let native = histogram.native.as_ref().and_then(|native| native.get(step));
                if native.is_some() && !buckets.is_empty() {
                    self.warn_of_mixed_histograms(histogram_name.as_str(), arg_span);
                    continue;
                }
                if buckets.is_empty() && native.is_none() {
                    continue;
                }
                for question in &questions {
                    let value = match (question, native) {
                        (Question::Quantile { q, .. }, None) => {
                            let (value, falls) = quantile(q.at(step), &mut buckets);
                            if let Some(falls) = falls {
                                self.inform_of_falls(falls, grid.time(step), arg_span);
                            }
                            value
                        }
                        (Question::Fraction { lower, upper, .. }, None) => {
                            fraction(lower.at(step), upper.at(step), &mut buckets)
                        }
                        (question, Some(native)) => {
                            self.meter.work(native.work())?;
                            let (value, nan, span) = question.answer_of(native, step);
                            if let Some(nan) = nan {
                                self.inform_of_nan(nan, labels.value(METRIC_NAME), span);
                            }
                            value
                        }
                    };
                    let label = question.label(step);
                    let same = |known: Option<f64>| known.map(f64::to_bits) == label.map(f64::to_bits);
                    let at = answers.iter().position(|(known, _)| same(*known)).unwrap_or_else(|| {
                        answers.push((label, Column::absent(grid.steps)));
                        answers.len() - 1
                    });
                    if answers[at].1.present.get(step) {
                        return same_labelset();
                    }
                    answers[at].1.set(step, value);
                }
            }
            for (label, mut column) in answers {
                match (label, op) {
                    (Some(q), HistogramOp::Quantiles { label, .. }) => {
                        sink(&with_label(&labels, label, &quantile_text(q)), &mut column)?;
                    }
                    _ => sink(&labels, &mut column)?,
                }
            }
        }
        Ok(())
    }

    /// What is asked of each histogram.
    fn questions<'s>(&'s self, op: &HistogramOp, grid: &Grid) -> Result<Vec<Question<'s>>, EvalError> {
        Ok(match op {
            HistogramOp::Quantile { q, q_span } => {
                let q = self.quantile_parameter(q, *q_span, grid)?;
                vec![Question::Quantile { q, is_labelled: false, span: *q_span }]
            }
            HistogramOp::Quantiles { qs, .. } => {
                let question = |(q, span): &(ScalarNode, Span)| {
                    let q = self.quantile_parameter(q, *span, grid)?;
                    Ok(Question::Quantile { q, is_labelled: true, span: *span })
                };
                qs.iter().map(question).collect::<Result<_, EvalError>>()?
            }
            HistogramOp::Fraction { lower, lower_span, upper } => {
                let (lower, upper) = (self.scalar(lower, grid)?, self.scalar(upper, grid)?);
                vec![Question::Fraction { lower, upper, span: *lower_span }]
            }
        })
    }

    fn inform_of_falls(&self, falls: Falls, time: Timestamp, span: Span) {
        let Falls { least_bound, greatest_bound, greatest } = falls;
        let raised =
            Raised { first: time, last: time, least_bound, greatest_bound, greatest_fall: greatest, samples: 1 };
        self.annotations.borrow_mut().inform_of_raised(raised, span);
    }
}

/// A question to a histogram, at each step.
enum Question<'m> {
    Quantile { q: ScalarColumn<'m>, is_labelled: bool, span: Span },
    Fraction { lower: ScalarColumn<'m>, upper: ScalarColumn<'m>, span: Span },
}

impl Question<'_> {
    /// The answer of a native histogram, what is to be said of it, and where.
    fn answer_of(&self, histogram: &FloatHistogram, step: usize) -> (f64, Option<NanObservations>, Span) {
        let ((value, nan), span) = match self {
            Question::Quantile { q, span, .. } => (histogram.quantile(q.at(step)), span),
            Question::Fraction { lower, upper, span } => (histogram.fraction(lower.at(step), upper.at(step)), span),
        };
        (value, nan, *span)
    }

    /// What tells its answer from those to others.
    fn label(&self, step: usize) -> Option<f64> {
        match self {
            Question::Quantile { q, is_labelled: true, .. } => Some(q.at(step)),
            _ => None,
        }
    }
}

/// A quantile as a label's value: `1.0` rather than `1`, as in OpenMetrics.
fn quantile_text(q: f64) -> String {
    let text = general_text(q, None);
    if q.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}
