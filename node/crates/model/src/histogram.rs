//! Native histograms as samples: what a sender measured, kept as it came.

use crate::limits::HISTOGRAM_BUCKETS_MAX;
use crate::sample::is_stale_marker;

/// The largest resolution of exponential buckets: 256 of them for each power of two.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;
/// The smallest resolution of exponential buckets: one for sixteen powers of two.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The schema of buckets whose bounds are listed.
pub const CUSTOM_SCHEMA: i32 = -53;

/// One measured distribution. Bits of floats are kept and compared as they are.
///
/// Exponential buckets of schema `s`: bucket `i` reaches from `2^((i - 1) / 2^s)`, excluded, to `2^(i / 2^s)`, included;
/// negative ones mirror them. Custom buckets: bucket `i` reaches from bound `i - 1` to bound `i`, the first from minus infinity, the last to infinity.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// What its sender knows about resets before it.
    pub counter_reset_hint: CounterResetHint,
    /// -4 to 8 for exponential buckets, -53 for custom ones.
    pub schema: i32,
    /// Observations no further than this from zero are in the zero bucket.
    pub zero_threshold: f64,
    /// Sum of observations; the stale marker in it says that the series has ended.
    pub sum: f64,
    /// How many observations there are, in all and in each bucket.
    pub counts: Counts,
    /// Which positive (or custom) buckets there are.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets there are.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, but for the last, which is infinite.
    pub custom_values: Vec<f64>,
}

/// Numbers of observations, absolute for each bucket.
#[derive(Debug, Clone)]
pub enum Counts {
    /// Observations were counted.
    Integer {
        /// All of them.
        count: u64,
        /// Those in the zero bucket.
        zero_count: u64,
        /// Those of each bucket of the positive spans.
        positive: Vec<u64>,
        /// Those of each bucket of the negative spans.
        negative: Vec<u64>,
    },
    /// The numbers were computed.
    Float {
        /// All of them.
        count: f64,
        /// Those in the zero bucket.
        zero_count: f64,
        /// Those of each bucket of the positive spans.
        positive: Vec<f64>,
        /// Those of each bucket of the negative spans.
        negative: Vec<f64>,
    },
}

/// Buckets side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Buckets between it and the span before it; of the first span, the number of its first bucket.
    pub offset: i32,
    /// How many they are.
    pub length: u32,
}

/// What is known about resets between a histogram and the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    /// Compare to know.
    #[default]
    Unknown,
    /// There was one.
    CounterReset,
    /// There was none.
    NotCounterReset,
    /// A gauge, which does not reset.
    Gauge,
}

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Neither exponential nor custom.
    #[error(
        "histogram has schema {schema}, which must be between {EXPONENTIAL_SCHEMA_MIN} and {EXPONENTIAL_SCHEMA_MAX} for exponential buckets, or {CUSTOM_SCHEMA} for custom buckets"
    )]
    Schema {
        /// What it has.
        schema: i32,
    },
    /// Larger than is kept.
    #[error(
        "histogram has {got} buckets, spans and custom bounds together, at most {HISTOGRAM_BUCKETS_MAX} are accepted"
    )]
    TooLarge {
        /// How many.
        got: usize,
    },
    /// A threshold that is negative or not a finite number.
    #[error("histogram has a zero threshold of {threshold}, which must be finite and not negative")]
    ZeroThreshold {
        /// What it has.
        threshold: f64,
    },
    /// Spans that overlap.
    #[error("{side} span {span} of the histogram has a negative offset of {offset}")]
    NegativeOffset {
        /// Which buckets.
        side: Side,
        /// Which span, from zero.
        span: usize,
        /// What it has.
        offset: i32,
    },
    /// A bucket number that nothing can hold.
    #[error("{side} spans of the histogram reach past the largest bucket number")]
    BucketNumber {
        /// Which buckets.
        side: Side,
    },
    /// Spans and counts disagree.
    #[error("{side} spans of the histogram are of {spans} buckets, {counts} counts are given")]
    BucketsMismatch {
        /// Which buckets.
        side: Side,
        /// Buckets of the spans.
        spans: u64,
        /// Counts that came.
        counts: usize,
    },
    /// Fewer than no observations.
    #[error("histogram has a negative count of {count} ({part})")]
    NegativeCount {
        /// Where.
        part: &'static str,
        /// What it has.
        count: f64,
    },
    /// The total is not the sum of its parts.
    #[error("{in_buckets} observations are in the buckets of the histogram, and its count is {count}")]
    CountMismatch {
        /// In the buckets.
        in_buckets: u64,
        /// In all.
        count: u64,
    },
    /// The total is smaller than the sum of its parts. (Observations that are NaN are in no bucket.)
    #[error("{in_buckets} observations are in the buckets of the histogram, more than its count of {count}")]
    CountTooSmall {
        /// In the buckets.
        in_buckets: u64,
        /// In all.
        count: u64,
    },
    /// Bounds with exponential buckets.
    #[error("histogram with exponential buckets has custom bounds")]
    BoundsOfExponential,
    /// Custom buckets have neither a zero bucket nor negative ones.
    #[error("histogram with custom buckets has {part}")]
    NotOfCustom {
        /// What it must not have.
        part: &'static str,
    },
    /// Bounds that do not rise.
    #[error("custom bound {bound} of the histogram is not above {previous} before it")]
    BoundsOrder {
        /// The bound before.
        previous: f64,
        /// The bound.
        bound: f64,
    },
    /// A bound that is infinite or NaN.
    #[error("custom bound {bound} of the histogram is not finite")]
    BoundNotFinite {
        /// The bound.
        bound: f64,
    },
    /// A bucket behind the last bound's.
    #[error("custom bounds of the histogram are for {have} buckets, its spans reach {want}")]
    TooFewBounds {
        /// Buckets of the bounds.
        have: usize,
        /// Buckets up to the end of the spans.
        want: u64,
    },
}

/// Which buckets of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Of positive observations; custom ones too.
    Positive,
    /// Of negative observations.
    Negative,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Side::Positive => "positive",
            Side::Negative => "negative",
        })
    }
}

impl Histogram {
    /// Says that the series has ended.
    pub fn is_stale(&self) -> bool {
        is_stale_marker(self.sum)
    }

    /// Whether the bounds of its buckets are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Buckets, spans and custom bounds together: what it takes.
    pub fn parts(&self) -> usize {
        let buckets = match &self.counts {
            Counts::Integer { positive, negative, .. } => positive.len() + negative.len(),
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        };
        buckets + self.positive_spans.len() + self.negative_spans.len() + self.custom_values.len()
    }

    /// Bytes that it holds.
    pub fn byte_len(&self) -> usize {
        size_of::<Histogram>() + self.parts() * size_of::<u64>()
    }

    /// Checks that it means something: what passes can be computed with.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let parts = self.parts();
        if parts > HISTOGRAM_BUCKETS_MAX {
            return Err(HistogramError::TooLarge { got: parts });
        }
        match self.schema {
            CUSTOM_SCHEMA => self.validate_custom()?,
            EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX => self.validate_exponential()?,
            schema => return Err(HistogramError::Schema { schema }),
        }
        match &self.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                check_total(*count, *zero_count, positive, negative, self.sum)
            }
            // Counts that were computed are rounded: their sum need not be the total.
            Counts::Float { count, zero_count, positive, negative } => {
                check_not_negative("count", &[*count])?;
                check_not_negative("zero bucket", &[*zero_count])?;
                check_not_negative("positive bucket", positive)?;
                check_not_negative("negative bucket", negative)
            }
        }
    }

    fn validate_exponential(&self) -> Result<(), HistogramError> {
        if !self.custom_values.is_empty() {
            return Err(HistogramError::BoundsOfExponential);
        }
        if !(self.zero_threshold.is_finite() && self.zero_threshold >= 0.0) {
            return Err(HistogramError::ZeroThreshold { threshold: self.zero_threshold });
        }
        let (positive, negative) = self.bucket_counts();
        check_spans(Side::Positive, &self.positive_spans, positive)?;
        check_spans(Side::Negative, &self.negative_spans, negative)?;
        Ok(())
    }

    fn validate_custom(&self) -> Result<(), HistogramError> {
        let (positive, negative) = self.bucket_counts();
        let zero_count = match &self.counts {
            Counts::Integer { zero_count, .. } => *zero_count != 0,
            Counts::Float { zero_count, .. } => *zero_count != 0.0,
        };
        let forbidden = [
            (zero_count, "observations in a zero bucket"),
            (self.zero_threshold != 0.0, "a zero threshold"),
            (!self.negative_spans.is_empty(), "negative spans"),
            (negative != 0, "negative buckets"),
        ];
        if let Some((_, part)) = forbidden.into_iter().find(|(has, _)| *has) {
            return Err(HistogramError::NotOfCustom { part });
        }
        let mut previous = f64::NEG_INFINITY;
        for &bound in &self.custom_values {
            if !bound.is_finite() {
                return Err(HistogramError::BoundNotFinite { bound });
            }
            if bound <= previous {
                return Err(HistogramError::BoundsOrder { previous, bound });
            }
            previous = bound;
        }
        if let Some(first) = self.positive_spans.first()
            && first.offset < 0
        {
            return Err(HistogramError::NegativeOffset { side: Side::Positive, span: 0, offset: first.offset });
        }
        let want = check_spans(Side::Positive, &self.positive_spans, positive)?;
        let have = self.custom_values.len() + 1;
        if want > have as u64 {
            return Err(HistogramError::TooFewBounds { have, want });
        }
        Ok(())
    }

    fn bucket_counts(&self) -> (usize, usize) {
        match &self.counts {
            Counts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        }
    }
}

/// Checks the spans of one side; gives the number of the bucket behind the last, where the first is not negative.
fn check_spans(side: Side, spans: &[Span], counts: usize) -> Result<u64, HistogramError> {
    let mut next = 0i64;
    let mut buckets = 0u64;
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(HistogramError::NegativeOffset { side, span: at, offset: span.offset });
        }
        buckets += u64::from(span.length);
        next += i64::from(span.offset) + i64::from(span.length);
        // The bound behind a bucket and the one before it are computed too.
        if !(i64::from(i32::MIN) + 1..i64::from(i32::MAX)).contains(&next) {
            return Err(HistogramError::BucketNumber { side });
        }
    }
    if buckets != counts as u64 {
        return Err(HistogramError::BucketsMismatch { side, spans: buckets, counts });
    }
    Ok(u64::try_from(next).unwrap_or(0))
}

fn check_not_negative(part: &'static str, counts: &[f64]) -> Result<(), HistogramError> {
    match counts.iter().find(|count| **count < 0.0) {
        Some(count) => Err(HistogramError::NegativeCount { part, count: *count }),
        None => Ok(()),
    }
}

fn check_total(
    count: u64,
    zero_count: u64,
    positive: &[u64],
    negative: &[u64],
    sum: f64,
) -> Result<(), HistogramError> {
    let in_buckets = positive.iter().chain(negative).fold(zero_count, |sum, count| sum.saturating_add(*count));
    if in_buckets > count {
        return Err(HistogramError::CountTooSmall { in_buckets, count });
    }
    if in_buckets < count && !sum.is_nan() {
        return Err(HistogramError::CountMismatch { in_buckets, count });
    }
    Ok(())
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

impl PartialEq for Counts {
    fn eq(&self, other: &Counts) -> bool {
        match (self, other) {
            (
                Counts::Integer { count, zero_count, positive, negative },
                Counts::Integer {
                    count: other_count,
                    zero_count: other_zero_count,
                    positive: other_positive,
                    negative: other_negative,
                },
            ) => {
                (count, zero_count, positive, negative)
                    == (other_count, other_zero_count, other_positive, other_negative)
            }
            (
                Counts::Float { count, zero_count, positive, negative },
                Counts::Float {
                    count: other_count,
                    zero_count: other_zero_count,
                    positive: other_positive,
                    negative: other_negative,
                },
            ) => {
                same_bits(&[*count, *zero_count], &[*other_count, *other_zero_count])
                    && same_bits(positive, other_positive)
                    && same_bits(negative, other_negative)
            }
            _ => false,
        }
    }
}

impl Eq for Counts {}

/// Bit for bit: a NaN equals itself, and 0 is not -0.
impl PartialEq for Histogram {
    fn eq(&self, other: &Histogram) -> bool {
        self.counter_reset_hint == other.counter_reset_hint
            && self.schema == other.schema
            && same_bits(&[self.zero_threshold, self.sum], &[other.zero_threshold, other.sum])
            && self.counts == other.counts
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && same_bits(&self.custom_values, &other.custom_values)
    }
}

impl Eq for Histogram {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::stale_marker;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    fn integer() -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 1,
            zero_threshold: 0.001,
            sum: 18.4,
            counts: Counts::Integer { count: 12, zero_count: 2, positive: vec![1, 2, 3], negative: vec![4] },
            positive_spans: vec![span(-2, 2), span(3, 1)],
            negative_spans: vec![span(0, 1)],
            custom_values: vec![],
        }
    }

    fn custom() -> Histogram {
        Histogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: CUSTOM_SCHEMA,
            zero_threshold: 0.0,
            sum: 7.0,
            counts: Counts::Float { count: 3.5, zero_count: 0.0, positive: vec![1.0, 2.5], negative: vec![] },
            positive_spans: vec![span(0, 1), span(1, 1)],
            negative_spans: vec![],
            custom_values: vec![1.0, 2.0],
        }
    }

    fn refused(histogram: Histogram, change: impl FnOnce(&mut Histogram)) -> HistogramError {
        let mut histogram = histogram;
        histogram.validate().unwrap();
        change(&mut histogram);
        histogram.validate().unwrap_err()
    }

    #[test]
    fn schemas_are_known() {
        for schema in [-5, 9, 52, -9, -52, i32::MAX, i32::MIN] {
            assert_eq!(refused(integer(), |h| h.schema = schema), HistogramError::Schema { schema });
        }
    }

    #[test]
    fn spans_and_counts_agree() {
        let error = refused(integer(), |h| h.positive_spans[0].length = 3);
        assert_eq!(error, HistogramError::BucketsMismatch { side: Side::Positive, spans: 4, counts: 3 });
        let error = refused(integer(), |h| h.positive_spans[1].offset = -1);
        assert_eq!(error, HistogramError::NegativeOffset { side: Side::Positive, span: 1, offset: -1 });
        let error = refused(integer(), |h| h.negative_spans[0].offset = i32::MAX);
        assert_eq!(error, HistogramError::BucketNumber { side: Side::Negative });
        let error = refused(integer(), |h| h.negative_spans[0].length = u32::MAX);
        assert_eq!(error, HistogramError::BucketNumber { side: Side::Negative });
    }

    #[test]
    fn the_count_is_that_of_the_buckets() {
        let with_count = |count| Counts::Integer { count, zero_count: 2, positive: vec![1, 2, 3], negative: vec![4] };
        let error = refused(integer(), |h| h.counts = with_count(13));
        assert_eq!(error, HistogramError::CountMismatch { in_buckets: 12, count: 13 });
        let error = refused(integer(), |h| h.counts = with_count(11));
        assert_eq!(error, HistogramError::CountTooSmall { in_buckets: 12, count: 11 });
        let observed_nan = Histogram { counts: with_count(13), sum: f64::NAN, ..integer() };
        assert_eq!(observed_nan.validate(), Ok(()));
    }

    #[test]
    fn counts_are_not_negative() {
        let error = refused(custom(), |h| {
            h.counts = Counts::Float { count: 1.0, zero_count: 0.0, positive: vec![2.0, -1.0], negative: vec![] };
        });
        assert_eq!(error, HistogramError::NegativeCount { part: "positive bucket", count: -1.0 });
    }

    #[test]
    fn custom_bounds_rise_and_are_finite() {
        let error = refused(custom(), |h| h.custom_values[1] = 1.0);
        assert_eq!(error, HistogramError::BoundsOrder { previous: 1.0, bound: 1.0 });
        let error = refused(custom(), |h| h.custom_values[1] = f64::INFINITY);
        assert_eq!(error, HistogramError::BoundNotFinite { bound: f64::INFINITY });
        assert_eq!(refused(integer(), |h| h.custom_values = vec![1.0]), HistogramError::BoundsOfExponential);
    }

    #[test]
    fn custom_buckets_have_their_bounds_and_nothing_else() {
        let error = refused(custom(), |h| h.positive_spans[1].offset = 2);
        assert_eq!(error, HistogramError::TooFewBounds { have: 3, want: 4 });
        let error = refused(custom(), |h| h.positive_spans[0].offset = -1);
        assert_eq!(error, HistogramError::NegativeOffset { side: Side::Positive, span: 0, offset: -1 });
        let error = refused(custom(), |h| h.zero_threshold = 1.0);
        assert_eq!(error, HistogramError::NotOfCustom { part: "a zero threshold" });
    }

    #[test]
    fn the_size_is_bounded() {
        let error = refused(custom(), |h| h.custom_values = vec![0.0; HISTOGRAM_BUCKETS_MAX]);
        assert_eq!(error, HistogramError::TooLarge { got: HISTOGRAM_BUCKETS_MAX + 4 });
    }

    #[test]
    fn equality_is_of_bits() {
        let with_sum = |sum| Histogram { sum, ..custom() };
        assert_eq!(with_sum(f64::NAN), with_sum(f64::NAN));
        assert_ne!(with_sum(0.0), with_sum(-0.0));
        assert_ne!(with_sum(f64::NAN), with_sum(stale_marker()));
        assert!(with_sum(stale_marker()).is_stale() && !with_sum(f64::NAN).is_stale());
        assert_ne!(integer(), custom());
    }
}
