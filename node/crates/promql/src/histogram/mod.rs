//! Native histograms in arithmetic.
//!
//! What is stored as spans ([`bellwether_model::Histogram`]) is a list of numbered buckets here, so that two histograms add up by
//! one walk over both. Counts are floats, or [`Sum`](crate::functions::summation::Sum)s that remember what rounding took.
//! The rules are those of Prometheus's `FloatHistogram`: which one loses resolution or widens its zero bucket so that both
//! agree, what becomes of the hint, when a counter has been reset.
//!
//! Read this, `bounds`, `combine`, `reset`, `total`; then what is asked of a histogram: `estimate`, `trim`, `text`.

mod bounds;
mod combine;
mod estimate;
mod reset;
mod text;
mod total;
mod trim;

use std::sync::Arc;

use bellwether_model::{CounterResetHint, Counts, Histogram, Span};

use crate::functions::summation::Sum;
pub use bounds::Bucket;
pub(crate) use combine::{Combined, Incompatible};
pub(crate) use estimate::NanObservations;
pub(crate) use total::{HistogramTotal, TotalFlags};

/// A histogram that a query computes with.
#[derive(Debug, Clone)]
pub struct FloatHistogram<C = f64> {
    pub(crate) hint: CounterResetHint,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: C,
    pub(crate) count: C,
    pub(crate) sum: C,
    // Invariant: ascending by index, each once.
    pub(crate) positive: Vec<Slot<C>>,
    pub(crate) negative: Vec<Slot<C>>,
    pub(crate) custom_values: Arc<[f64]>,
}

/// A bucket by its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Slot<C> {
    pub(crate) index: i32,
    pub(crate) count: C,
}

/// What observations are counted in.
pub trait Amount: Copy {
    /// Both together.
    fn plus(self, other: Self) -> Self;
    /// The number that it is.
    fn value(self) -> f64;
}

impl Amount for f64 {
    fn plus(self, other: f64) -> f64 {
        self + other
    }

    fn value(self) -> f64 {
        self
    }
}

impl Amount for Sum {
    fn plus(mut self, other: Sum) -> Sum {
        self.merge(other);
        self
    }

    fn value(self) -> f64 {
        Sum::value(self)
    }
}

impl<C> FloatHistogram<C> {
    /// Whether the bounds of its buckets are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == bellwether_model::histogram::CUSTOM_SCHEMA
    }

    /// Bytes that it holds.
    pub fn byte_len(&self) -> usize {
        let slots = self.positive.len() + self.negative.len();
        size_of::<FloatHistogram<C>>() + slots * size_of::<Slot<C>>() + self.custom_values.len() * size_of::<f64>()
    }

    /// What it costs to walk over, in points.
    pub(crate) fn work(&self) -> usize {
        1 + self.positive.len() + self.negative.len()
    }

    fn map<D>(&self, mut f: impl FnMut(&C) -> D) -> FloatHistogram<D> {
        let mut slots =
            |slots: &[Slot<C>]| slots.iter().map(|slot| Slot { index: slot.index, count: f(&slot.count) }).collect();
        let (positive, negative) = (slots(&self.positive), slots(&self.negative));
        FloatHistogram {
            hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: f(&self.zero_count),
            count: f(&self.count),
            sum: f(&self.sum),
            positive,
            negative,
            custom_values: self.custom_values.clone(),
        }
    }

    fn each_mut(&mut self, f: impl Fn(&mut C)) {
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|slot| &mut slot.count);
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().chain(buckets).for_each(f);
    }
}

impl<C: Amount> FloatHistogram<C> {
    /// Its largest number, whatever the sign.
    pub(crate) fn largest(&self) -> f64 {
        let slots = self.positive.iter().chain(&self.negative).map(|slot| slot.count);
        let all = [self.zero_count, self.count, self.sum].into_iter().chain(slots);
        all.fold(0.0, |largest, count| count.value().abs().max(largest))
    }
}

impl FloatHistogram<Sum> {
    /// Nothing yet has been lost.
    pub(crate) fn beginning_with(first: &FloatHistogram) -> FloatHistogram<Sum> {
        first.map(|count| Sum::of_one(*count))
    }

    /// Divided by a number that is not zero; what was lost is added where that counts.
    pub(crate) fn divided_by(&self, divisor: f64) -> FloatHistogram {
        self.map(
            |count| {
                if count.sum.is_infinite() { count.sum / divisor } else { count.sum / divisor + count.lost / divisor }
            },
        )
    }

    /// What it comes to.
    pub(crate) fn value(&self) -> FloatHistogram {
        self.map(|count| count.value())
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        self.each_mut(|count| *count = Sum { sum: count.sum * factor, lost: count.lost * factor });
    }
}

impl FloatHistogram {
    /// How many observations it has.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// The sum of its observations.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Nothing, in buckets like those of another.
    pub(crate) fn empty_like(other: &FloatHistogram) -> FloatHistogram {
        FloatHistogram {
            hint: CounterResetHint::Unknown,
            schema: other.schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_values: other.custom_values.clone(),
        }
    }

    pub(crate) fn is_gauge(&self) -> bool {
        self.hint == CounterResetHint::Gauge
    }

    pub(crate) fn multiply(&mut self, factor: f64) {
        self.each_mut(|count| *count *= factor);
        self.turned_by(factor);
    }

    /// Division by zero leaves no buckets.
    pub(crate) fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.each_mut(|count| *count /= divisor);
        self.turned_by(divisor);
    }

    /// What has been turned around is no counter.
    fn turned_by(&mut self, factor: f64) {
        if factor < 0.0 {
            self.hint = CounterResetHint::Gauge;
        }
    }

    /// Drops buckets without observations.
    pub(crate) fn compact(&mut self) {
        self.positive.retain(|slot| slot.count != 0.0);
        self.negative.retain(|slot| slot.count != 0.0);
    }

    /// Whether both are the same data, bit for bit, buckets without observations included; the hints do not count.
    pub(crate) fn same(&self, other: &FloatHistogram) -> bool {
        let same_slots = |a: &[Slot<f64>], b: &[Slot<f64>]| {
            let same = |(a, b): (&Slot<f64>, &Slot<f64>)| a.index == b.index && a.count.to_bits() == b.count.to_bits();
            a.len() == b.len() && a.iter().zip(b).all(same)
        };
        let totals = |of: &FloatHistogram| [of.count, of.sum, of.zero_count].map(f64::to_bits);
        self.schema == other.schema
            && totals(self) == totals(other)
            && self.zero_threshold == other.zero_threshold
            && self.custom_values == other.custom_values
            && same_slots(&self.positive, &other.positive)
            && same_slots(&self.negative, &other.negative)
    }
}

impl PartialEq for FloatHistogram {
    fn eq(&self, other: &FloatHistogram) -> bool {
        self.hint == other.hint && self.same(other)
    }
}

/// The buckets of valid spans.
fn slots(spans: &[Span], counts: impl Iterator<Item = f64>) -> Vec<Slot<f64>> {
    let mut next = 0i32;
    let indices = spans.iter().flat_map(|span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add_unsigned(span.length);
        first..next
    });
    indices.zip(counts).map(|(index, count)| Slot { index, count }).collect()
}

/// Of a [valid](Histogram::validate) histogram.
impl From<&Histogram> for FloatHistogram {
    fn from(histogram: &Histogram) -> FloatHistogram {
        let (positive_spans, negative_spans) = (&histogram.positive_spans, &histogram.negative_spans);
        let (count, zero_count, positive, negative) = match &histogram.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                let as_floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<_>>();
                let (positive, negative) = (as_floats(positive), as_floats(negative));
                let positive = slots(positive_spans, positive.into_iter());
                (*count as f64, *zero_count as f64, positive, slots(negative_spans, negative.into_iter()))
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let positive = slots(positive_spans, positive.iter().copied());
                (*count, *zero_count, positive, slots(negative_spans, negative.iter().copied()))
            }
        };
        FloatHistogram {
            hint: histogram.counter_reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count,
            count,
            sum: histogram.sum,
            positive,
            negative,
            custom_values: Arc::from(&histogram.custom_values[..]),
        }
    }
}

/// Spans of buckets, and their counts.
fn spans(slots: &[Slot<f64>]) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for slot in slots {
        match spans.last_mut() {
            Some(last) if slot.index == next => last.length += 1,
            _ => spans.push(Span { offset: slot.index.wrapping_sub(next), length: 1 }),
        }
        next = slot.index.wrapping_add(1);
    }
    (spans, slots.iter().map(|slot| slot.count).collect())
}

impl From<&FloatHistogram> for Histogram {
    fn from(histogram: &FloatHistogram) -> Histogram {
        let (positive_spans, positive) = spans(&histogram.positive);
        let (negative_spans, negative) = spans(&histogram.negative);
        let FloatHistogram { count, zero_count, .. } = *histogram;
        Histogram {
            counter_reset_hint: histogram.hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            sum: histogram.sum,
            counts: Counts::Float { count, zero_count, positive, negative },
            positive_spans,
            negative_spans,
            custom_values: histogram.custom_values.to_vec(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::series_notation::{NotedValue, parse_values};

    /// The histogram of one item of the series notation.
    pub(crate) fn noted(text: &str) -> FloatHistogram {
        match &parse_values(text).unwrap()[..] {
            [Some(NotedValue::Histogram(histogram))] => FloatHistogram::from(&**histogram),
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn what_is_stored_comes_back() {
        for text in [
            "{{schema:1 count:9 sum:3 z_bucket:1 z_bucket_w:0.1 buckets:[1 0 2] offset:-3 n_buckets:[5] n_offset:7}}",
            "{{schema:-53 custom_values:[1 2.5] count:3 sum:2 buckets:[1 0 2]}}",
            "{{}}",
        ] {
            let histogram = noted(text);
            let stored = Histogram::from(&histogram);
            stored.validate().unwrap();
            assert_eq!(FloatHistogram::from(&stored), histogram, "{text}");
        }
        let gaps = Histogram {
            positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
            counts: Counts::Integer { count: 6, zero_count: 0, positive: vec![1, 2, 3], negative: vec![] },
            ..Histogram::from(&noted("{{}}"))
        };
        let histogram = FloatHistogram::from(&gaps);
        assert_eq!(histogram.positive.iter().map(|slot| slot.index).collect::<Vec<_>>(), [-2, -1, 3]);
        assert_eq!(Histogram::from(&histogram).positive_spans, gaps.positive_spans);
    }

    #[test]
    fn a_division_by_zero_leaves_no_buckets() {
        let mut histogram = noted("{{count:3 sum:-2 buckets:[3]}}");
        histogram.divide(0.0);
        assert!(histogram.positive.is_empty() && histogram.zero_count.is_nan());
        assert_eq!((histogram.count, histogram.sum), (f64::INFINITY, f64::NEG_INFINITY));
    }
}
