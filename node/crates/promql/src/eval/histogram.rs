//! Brings the buckets of each classic histogram together.

use bellwether_model::{Labels, METRIC_NAME, Timestamp};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Column;
use crate::eval::collect::Duplicates;
use crate::eval::scalar::ScalarColumn;
use crate::eval::{Evaluator, Sink, same_labelset};
use crate::functions::histogram::{BUCKET_LABEL, Bucket, Falls, fraction, parse_bound, quantile};
use crate::functions::labels::with_label;
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
        self.vector(arg, grid, &mut |labels, column| {
            let Some(bound) = labels.get(BUCKET_LABEL).and_then(parse_bound) else {
                self.warn_of_bucket_label(labels, arg_span);
                return Ok(());
            };
            account.take(column.byte_len() + labels.byte_len())?;
            let key = Labels::from_sorted(labels.iter().filter(|label| label.name != BUCKET_LABEL));
            let hash = |labels: &Labels| xxh3_64(labels.canonical_bytes());
            let at = match index.find(hash(&key), |at| histograms[*at].labels == key) {
                Some(at) => *at,
                None => {
                    let at = histograms.len();
                    let key_hash = hash(&key);
                    histograms.push(Histogram { labels: key, buckets: Vec::new() });
                    index.insert_unique(key_hash, at, |at| hash(&histograms[*at].labels));
                    at
                }
            };
            histograms[at].buckets.push((bound, std::mem::take(column)));
            Ok(())
        })?;
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
                if buckets.is_empty() {
                    continue;
                }
                for question in &questions {
                    let value = match question {
                        Question::Quantile { q, .. } => {
                            let (value, falls) = quantile(q.at(step), &mut buckets);
                            if let Some(falls) = falls {
                                self.inform_of_falls(falls, grid.time(step), arg_span);
                            }
                            value
                        }
                        Question::Fraction { lower, upper } => fraction(lower.at(step), upper.at(step), &mut buckets),
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
                vec![Question::Quantile { q: self.quantile_parameter(q, *q_span, grid)?, is_labelled: false }]
            }
            HistogramOp::Quantiles { qs, .. } => {
                let question = |(q, span): &(ScalarNode, Span)| {
                    Ok(Question::Quantile { q: self.quantile_parameter(q, *span, grid)?, is_labelled: true })
                };
                qs.iter().map(question).collect::<Result<_, EvalError>>()?
            }
            HistogramOp::Fraction { lower, upper } => {
                vec![Question::Fraction { lower: self.scalar(lower, grid)?, upper: self.scalar(upper, grid)? }]
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
    Quantile { q: ScalarColumn<'m>, is_labelled: bool },
    Fraction { lower: ScalarColumn<'m>, upper: ScalarColumn<'m> },
}

impl Question<'_> {
    /// What tells its answer from those to others.
    fn label(&self, step: usize) -> Option<f64> {
        match self {
            Question::Quantile { q, is_labelled: true } => Some(q.at(step)),
            _ => None,
        }
    }
}

/// A quantile as a label's value: `1.0` rather than `1`, as in OpenMetrics.
fn quantile_text(q: f64) -> String {
    let text = general_text(q, None);
    if q.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}
