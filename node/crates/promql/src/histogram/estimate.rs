//! What a histogram says about its observations: quantiles, shares, their spread.
//!
//! Inside a bucket observations are taken to lie evenly: on a logarithmic scale in exponential buckets, on a linear one in the
//! zero bucket and in custom ones. The first custom bucket begins at zero unless it ends below, and nothing is known of
//! where the last one ends.

use crate::functions::summation::Sum;
use crate::histogram::{Bucket, FloatHistogram};

/// Observations that are not numbers are counted, and lie in no bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanObservations {
    /// The quantile is one of them.
    Reached,
    /// They count as the largest, and so move quantiles up.
    Skew,
    /// They are in no share.
    Excluded,
}

impl FloatHistogram {
    /// The `q`-quantile.
    pub(crate) fn quantile(&self, q: f64) -> (f64, Option<NanObservations>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // From the nearer end: fewer roundings. NaN counts at the upper end but lies in no bucket, so not from there then.
        let ascends = self.sum.is_nan() || q < 0.5;
        let wanted = if ascends { q * self.count } else { (1.0 - q) * self.count };
        let (found, seen, rest) =
            if ascends { reach(self.buckets(), wanted) } else { reach(self.buckets().rev(), wanted) };
        let mut bucket = found;
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.halve_zero_bucket(&mut bucket);
        }
        let seen = seen.min(self.count);
        if seen < wanted {
            let missing = self.sum.is_nan().then_some(NanObservations::Reached);
            return (if missing.is_some() { f64::NAN } else { bucket.upper }, missing);
        }
        let rank = if ascends { wanted - (seen - bucket.count) } else { seen - wanted };
        // A sum of infinities of both signs is no number either: then nothing is missing from the buckets.
        let skew = (self.sum.is_nan() && seen + rest < self.count).then_some(NanObservations::Skew);
        let share = rank / bucket.count;
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return (bucket.lower + (bucket.upper - bucket.lower) * share, skew);
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = if bucket.lower > 0.0 {
            (lower + (upper - lower) * share).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - share)).exp2()
        };
        (value, skew)
    }

    /// The share of observations from `lower` to `upper`.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<NanObservations>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let mut total = self.count;
        let mut excluded = None;
        if self.sum.is_nan() {
            total = self.buckets().map(|bucket| bucket.count).sum();
            excluded = (total < self.count).then_some(NanObservations::Excluded);
        }
        let rank = |value: f64| self.rank_of(value).unwrap_or(total).min(total);
        ((rank(upper) - rank(lower)) / self.count, excluded)
    }

    /// Observations below `value`; `None` above all buckets.
    fn rank_of(&self, value: f64) -> Option<f64> {
        let mut rank = 0.0;
        for mut bucket in self.buckets() {
            let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if is_zero {
                self.halve_zero_bucket(&mut bucket);
            }
            if bucket.lower >= value {
                return Some(rank);
            }
            if bucket.upper > value {
                let linear = self.is_custom() || is_zero;
                if linear && bucket.lower == f64::NEG_INFINITY {
                    return Some(bucket.count);
                }
                let share = if linear {
                    (value - bucket.lower) / (bucket.upper - bucket.lower)
                } else {
                    logarithmic_share(&bucket, value)
                };
                return Some(rank + bucket.count * share);
            }
            rank += bucket.count;
        }
        None
    }

    /// The zero bucket of a histogram of one sign ends at zero.
    fn halve_zero_bucket(&self, bucket: &mut Bucket) {
        if self.negative.is_empty() && !self.positive.is_empty() {
            bucket.lower = 0.0;
        } else if self.positive.is_empty() && !self.negative.is_empty() {
            bucket.upper = 0.0;
        }
    }

    /// The variance of observations that all lie in the middle of their buckets: the geometric one of exponential buckets.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut squares = Sum::default();
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.is_custom() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let distance = middle - mean;
            squares.add(bucket.count * distance * distance);
        }
        squares.value() / self.count
    }
}

/// How much of a bucket that does not touch zero lies below `value`.
pub(crate) fn logarithmic_share(bucket: &Bucket, value: f64) -> f64 {
    let (lower, upper, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
}

/// The first bucket with which `wanted` observations have been seen, else the last; how many there are up to it, and behind it.
fn reach(mut buckets: impl Iterator<Item = Bucket>, wanted: f64) -> (Bucket, f64, f64) {
    let (lower_inclusive, upper_inclusive) = (false, false);
    let mut found = Bucket { lower: 0.0, upper: 0.0, lower_inclusive, upper_inclusive, count: 0.0 };
    let mut seen = 0.0;
    for bucket in buckets.by_ref() {
        found = bucket;
        if bucket.count == 0.0 {
            continue;
        }
        seen += bucket.count;
        if seen >= wanted {
            break;
        }
    }
    (found, seen, buckets.map(|bucket| bucket.count).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::tests::noted;

    fn near(got: f64, want: f64) -> bool {
        got == want || (got - want).abs() <= 1e-12 * want.abs()
    }

    fn quantiles(text: &str, want: &[(f64, f64)]) {
        for (q, want) in want {
            let got = noted(text).quantile(*q).0;
            assert!(near(got, *want), "{q} of {text}: {got}, not {want}");
        }
    }

    #[test]
    fn exponential_buckets_are_even_on_a_logarithmic_scale() {
        // One bucket from 1 to 2: the median is the square root of 2.
        let one = "{{count:4 sum:6 buckets:[4] offset:1}}";
        quantiles(one, &[(0.0, 1.0), (0.5, 2f64.sqrt()), (0.25, 2f64.powf(0.25)), (1.0, 2.0)]);
        let negative = "{{count:4 sum:-6 n_buckets:[4] n_offset:1}}";
        quantiles(negative, &[(0.0, -2.0), (0.5, -(2f64.sqrt())), (0.75, -(2f64.powf(0.25))), (1.0, -1.0)]);
    }

    #[test]
    fn zero_and_custom_buckets_are_even() {
        quantiles("{{count:4 z_bucket:4 z_bucket_w:0.5}}", &[(0.5, 0.0), (0.25, -0.25)]);
        quantiles("{{count:8 z_bucket:4 z_bucket_w:0.5 buckets:[4]}}", &[(0.25, 0.25), (0.5, 0.5)]);
        let custom = "{{schema:-53 custom_values:[5 10] count:10 buckets:[4 4 2]}}";
        quantiles(custom, &[(0.2, 2.5), (0.6, 7.5), (0.9, 10.0), (1.0, 10.0)]);
        quantiles("{{schema:-53 custom_values:[-1 1] count:2 buckets:[2]}}", &[(0.5, -1.0)]);
    }

    #[test]
    fn what_is_no_number_moves_quantiles_up() {
        // Two of six observations are in no bucket.
        let histogram = noted("{{count:6 sum:NaN buckets:[4] offset:1}}");
        assert!(near(histogram.quantile(1.0 / 3.0).0, 2f64.sqrt()));
        assert_eq!(histogram.quantile(0.25).1, Some(NanObservations::Skew));
        let (value, said) = histogram.quantile(0.9);
        assert!(value.is_nan() && said == Some(NanObservations::Reached));
        assert_eq!(histogram.fraction(0.0, 4.0), (4.0 / 6.0, Some(NanObservations::Excluded)));
        assert_eq!(noted("{{count:4 sum:NaN buckets:[4]}}").quantile(0.25).1, None);
    }

    #[test]
    fn shares_undo_quantiles() {
        for text in [
            "{{count:9 z_bucket:1 z_bucket_w:0.01 buckets:[1 2] n_buckets:[3 2]}}",
            "{{schema:-53 custom_values:[5 10] count:10 buckets:[4 6]}}",
            "{{schema:3 count:6 buckets:[1 2 3] offset:-5}}",
        ] {
            let histogram = noted(text);
            for q in [0.05, 0.3, 0.5, 0.77, 0.99] {
                let (share, _) = histogram.fraction(f64::NEG_INFINITY, histogram.quantile(q).0);
                assert!((share - q).abs() < 1e-9, "{q} of {text}: {share}");
            }
        }
    }

    #[test]
    fn observations_spread_around_their_mean() {
        // 2 observations at the square root of 2, and 2 at the square root of 8; the mean is said to be 2.
        let want = (2.0 * (2f64.sqrt() - 2.0).powi(2) + 2.0 * (8f64.sqrt() - 2.0).powi(2)) / 4.0;
        assert!(near(noted("{{count:4 sum:8 buckets:[2 2] offset:1}}").variance(), want));
        assert!(near(noted("{{schema:-53 custom_values:[2 4] count:2 sum:6 buckets:[0 2]}}").variance(), 0.0));
    }
}
