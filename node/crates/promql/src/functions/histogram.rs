//! Quantiles and fractions of classic histograms: series of cumulative buckets with a label `le`. And what is one number of
//! a native one.

use crate::histogram::FloatHistogram;

/// The label that holds a bucket's upper bound.
pub(crate) const BUCKET_LABEL: &str = "le";
/// Relative difference of neighbouring counts that is taken for a rounding error.
const COUNT_TOLERANCE: f64 = 1e-12;

/// A number of a native histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistogramMeasure {
    Count,
    Sum,
    Mean,
    Variance,
    Deviation,
}

impl HistogramMeasure {
    pub(crate) fn of(self, histogram: &FloatHistogram) -> f64 {
        match self {
            HistogramMeasure::Count => histogram.count(),
            HistogramMeasure::Sum => histogram.sum(),
            HistogramMeasure::Mean => histogram.sum() / histogram.count(),
            HistogramMeasure::Variance => histogram.variance(),
            HistogramMeasure::Deviation => histogram.variance().sqrt(),
        }
    }
}

/// How many observations lie at or below a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) upper_bound: f64,
    pub(crate) count: f64,
}

/// A bucket label's bound, as Go reads it.
pub(crate) fn parse_bound(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Counts that fell from one bucket to the next, and were raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Falls {
    /// Bounds of the first and of the last such bucket.
    pub(crate) least_bound: f64,
    pub(crate) greatest_bound: f64,
    /// The most that was missing.
    pub(crate) greatest: f64,
}

/// The `q`-quantile, and what counts had to be raised for it. `buckets` is in ascending order of bounds and not empty; it
/// is changed.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Falls>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !has_infinite_bucket(buckets) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let forced = make_monotonic(buckets);
    if buckets.len() < 2 {
        return (f64::NAN, None);
    }
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if observations == 0.0 {
        return (f64::NAN, None);
    }
    let mut rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return (buckets[last - 1].upper_bound, forced);
    }
    let Bucket { upper_bound: end, mut count } = buckets[at];
    if at == 0 && end <= 0.0 {
        return (end, forced);
    }
    let mut start = 0.0;
    if at > 0 {
        start = buckets[at - 1].upper_bound;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    (start + (end - start) * (rank / count), forced)
}

/// The share of observations between two values. `buckets` as in [`quantile`].
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !has_infinite_bucket(buckets) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets.last().map_or(0.0, |bucket| bucket.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value| rank_of(value, buckets).unwrap_or(count).min(count);
    (rank(upper) - rank(lower)) / count
}

/// Observations at or below `value`, interpolated; `None` above the highest bound.
fn rank_of(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    for (at, bucket) in buckets.iter().enumerate() {
        let lower_bound = match at {
            0 if bucket.upper_bound <= 0.0 => f64::NEG_INFINITY,
            0 => 0.0,
            _ => buckets[at - 1].upper_bound,
        };
        if lower_bound >= value {
            return Some(rank);
        }
        if bucket.upper_bound > value {
            let share = (value - lower_bound) / (bucket.upper_bound - lower_bound);
            return Some(rank + (bucket.count - rank) * share);
        }
        rank = bucket.count;
    }
    None
}

fn has_infinite_bucket(buckets: &[Bucket]) -> bool {
    buckets.last().is_some_and(|bucket| bucket.upper_bound == f64::INFINITY)
}

/// Merges buckets with the same bound.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let same = next.upper_bound == kept.upper_bound;
        if same {
            kept.count += next.count;
        }
        same
    });
}

/// Removes decreases between buckets, which scrapes and rounding cause; tells of those that were more than rounding.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Falls> {
    let mut falls: Option<Falls> = None;
    let mut previous = buckets[0].count;
    for Bucket { upper_bound: bound, count } in &mut buckets[1..] {
        if *count == previous {
            continue;
        }
        if nearly_equal(previous, *count) {
            *count = previous;
        } else if *count < previous {
            let first = Falls { least_bound: *bound, greatest_bound: *bound, greatest: 0.0 };
            let falls = falls.get_or_insert(first);
            falls.greatest_bound = *bound;
            falls.greatest = falls.greatest.max(previous - *count);
            *count = previous;
        } else {
            previous = *count;
        }
    }
    falls
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < COUNT_TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < COUNT_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(bounds: &[(f64, f64)]) -> Vec<Bucket> {
        bounds.iter().map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_interpolate_inside_a_bucket() {
        let all = [(1.0, 10.0), (2.0, 20.0), (INF, 20.0)];
        assert_eq!(quantile(0.5, &mut buckets(&all)), (1.0, None));
        assert_eq!(quantile(0.75, &mut buckets(&all)), (1.5, None));
        assert_eq!(quantile(1.0, &mut buckets(&all)), (2.0, None));
        assert_eq!(quantile(0.9, &mut buckets(&[(1.0, 1.0), (INF, 20.0)])), (1.0, None));
    }

    #[test]
    fn no_infinite_bucket_means_no_answer() {
        assert!(quantile(0.5, &mut buckets(&[(1.0, 1.0)])).0.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(INF, 1.0)])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_raised_and_reported() {
        let mut falling = buckets(&[(1.0, 10.0), (2.0, 5.0), (3.0, 8.0), (INF, 20.0)]);
        let (value, falls) = quantile(0.5, &mut falling);
        assert_eq!(falls, Some(Falls { least_bound: 2.0, greatest_bound: 3.0, greatest: 5.0 }));
        assert_eq!(value, 1.0);
        assert_eq!(quantile(0.5, &mut falling), (1.0, None));
        let rounding = quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-14), (INF, 20.0)]));
        assert_eq!(rounding.1, None);
    }

    #[test]
    fn fractions_count_from_bound_to_bound() {
        let all = [(1.0, 10.0), (2.0, 20.0), (INF, 40.0)];
        assert_eq!(fraction(0.0, 1.0, &mut buckets(&all)), 0.25);
        assert_eq!(fraction(1.5, 2.0, &mut buckets(&all)), 0.125);
        assert_eq!(fraction(f64::NEG_INFINITY, INF, &mut buckets(&all)), 1.0);
    }
}
