//! Brings the buckets of each classic histogram together.

use bellwether_model::{Labels, METRIC_NAME};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Column;
use crate::eval::collect::Duplicates;
use crate::eval::{Evaluator, Sink};
use crate::functions::histogram::{BUCKET_LABEL, Bucket, fraction, parse_bound, quantile};
use crate::outcome::EvalError;
use crate::plan::{HistogramOp, VectorNode};
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
        self.annotations.borrow_mut().warn(format!("{text} ({span})"));
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
        let (first, second) = match op {
            HistogramOp::Quantile { q, q_span } => (self.quantile_parameter(q, *q_span, grid)?, None),
            HistogramOp::Fraction { lower, upper } => (self.scalar(lower, grid)?, Some(self.scalar(upper, grid)?)),
        };
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut column = Column::default();
        for mut histogram in histograms {
            histogram.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            column.reset(grid.steps);
            let mut forced = false;
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
                let value = match &second {
                    None => {
                        let (value, raised) = quantile(first.at(step), &mut buckets);
                        forced |= raised;
                        value
                    }
                    Some(second) => fraction(first.at(step), second.at(step), &mut buckets),
                };
                column.set(step, value);
            }
            if forced {
                self.inform_of_monotonicity(&histogram.labels, arg_span);
            }
            sink(&SeriesLabels::new(histogram.labels).without_name(), &mut column)?;
        }
        Ok(())
    }

    fn inform_of_monotonicity(&self, labels: &Labels, span: Span) {
        let mut text = "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
            .to_owned();
        if let Some(name) = labels.metric_name() {
            text.push_str(&format!(" for metric name {name:?}"));
        }
        self.annotations.borrow_mut().inform(format!("{text} ({span})"));
    }
}
