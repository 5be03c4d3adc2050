//! Where buckets begin and end.

use crate::histogram::{FloatHistogram, Slot};

/// A bucket: from where to where, whether the ends belong to it, and how many observations it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// The lower bound lies inside.
    pub lower_inclusive: bool,
    /// The upper bound lies inside.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// `2^(1/2)`, `2^(1/4)` and so on. The first is the number below the nearest one: Prometheus's bounds are products of these, and
/// whoever compares texts of bounds sees every bit.
const ROOTS_OF_TWO: [f64; 8] = [
    std::f64::consts::SQRT_2.next_down(),
    1.189207115002721,
    1.0905077326652577,
    1.0442737824274138,
    1.0218971486541166,
    1.0108892860517005,
    1.0054299011128027,
    1.0027112750502025,
];

/// `2^(part / 2^schema)` for a part of a power of two: the product of the roots for its bits, the highest first.
fn root_power(part: i64, schema: i32) -> f64 {
    let roots = ROOTS_OF_TWO.iter().take(schema as usize).enumerate();
    roots.fold(
        1.0,
        |product, (at, root)| if part >> (schema - 1 - at as i32) & 1 != 0 { product * root } else { product },
    )
}

/// The upper bound of a positive exponential bucket.
pub(crate) fn exponential_bound(index: i64, schema: i32) -> f64 {
    let (exponent, fraction) = if schema < 0 {
        (index << -schema, 1.0)
    } else {
        (index >> schema, root_power(index & ((1i64 << schema) - 1), schema))
    };
    if exponent == 1024 && fraction == 1.0 {
        // Infinity would begin one bucket too early.
        return f64::MAX;
    }
    times_power_of_two(fraction, exponent)
}

/// `value * 2^exponent`, rounded once.
fn times_power_of_two(value: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-2000, 2000) as i32;
    let (near, far) = (exponent.clamp(-1000, 1000), exponent - exponent.clamp(-1000, 1000));
    value * f64::powi(2.0, near) * f64::powi(2.0, far)
}

impl<C> FloatHistogram<C> {
    /// The bound behind bucket `index`: the one farther from zero, without its sign, if buckets are exponential.
    pub(crate) fn bound(&self, index: i64) -> f64 {
        if !self.is_custom() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(at) => self.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }
}

impl FloatHistogram {
    fn positive_bucket(&self, slot: &Slot<f64>) -> Bucket {
        let (index, count) = (i64::from(slot.index), slot.count);
        let (lower, upper) = (self.bound(index - 1), self.bound(index));
        let lower_inclusive = self.is_custom() && index == 0;
        Bucket { lower, upper, lower_inclusive, upper_inclusive: true, count }
    }

    fn negative_bucket(&self, slot: &Slot<f64>) -> Bucket {
        let (index, count) = (i64::from(slot.index), slot.count);
        let (lower, upper) = (-self.bound(index), -self.bound(index - 1));
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    /// The buckets of positive observations, or the custom ones, ascending.
    pub(crate) fn positive_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.positive.iter().map(|slot| self.positive_bucket(slot))
    }

    /// The buckets of negative observations, from zero downwards.
    pub(crate) fn negative_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.negative.iter().map(|slot| self.negative_bucket(slot))
    }

    pub(crate) fn zero_bucket(&self) -> Bucket {
        let threshold = self.zero_threshold;
        let (lower_inclusive, upper_inclusive) = (true, true);
        Bucket { lower: -threshold, upper: threshold, lower_inclusive, upper_inclusive, count: self.zero_count }
    }

    /// All buckets in ascending order, the zero bucket if something is in it. Those that the zero bucket overlaps begin at its
    /// end.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let threshold = self.zero_threshold;
        let negative = self.negative_buckets().rev().map(move |mut bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            }
            bucket
        });
        let positive = self.positive_buckets().map(move |mut bucket| {
            if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        });
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        negative.chain(zero).chain(positive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::tests::noted;

    #[test]
    fn bounds_are_powers_of_two_and_what_lies_between() {
        let bounds = [(0, 0), (1, 0), (-3, 0), (1, 1), (3, 1), (8, 3), (-1, -2), (2, -4)];
        let root = std::f64::consts::SQRT_2.next_down();
        let want = [1.0, 2.0, 0.125, root, 2.0 * root, 2.0, 0.0625, 4_294_967_296.0];
        assert_eq!(bounds.map(|(index, schema)| exponential_bound(index, schema)), want);
    }

    /// Against bounds that Prometheus 3 prints.
    #[test]
    fn bounds_are_prometheus_s_to_the_bit() {
        let bounds = [(-2, 2), (-1, 3), (-33, 6), (-1, 6), (-255, 8), (-127, 8), (-1, 8)];
        let want = [
            0.707_106_781_186_547_5,
            0.917_004_043_204_671_1,
            0.699_489_836_269_155_5,
            0.989_228_013_193_975_2,
            0.501_355_637_525_101_3,
            0.709_023_942_160_207_6,
            0.997_296_056_085_469_8,
        ];
        assert_eq!(bounds.map(|(index, schema)| exponential_bound(index, schema)), want);
    }

    #[test]
    fn the_ends_of_the_numbers_have_buckets() {
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
        assert_eq!(exponential_bound(64, -4), f64::MAX);
        assert_eq!(exponential_bound(1024 << 8, 8), f64::MAX);
        assert_eq!(exponential_bound(-1074, 0), 5e-324);
        assert_eq!(exponential_bound(i64::from(i32::MIN), -4), 0.0);
        assert_eq!(exponential_bound(i64::from(i32::MAX), 8), f64::INFINITY);
    }

    #[test]
    fn buckets_come_in_order() {
        let histogram = noted("{{z_bucket:1 z_bucket_w:0.75 count:10 buckets:[2 3] n_buckets:[4]}}");
        let ranges: Vec<_> = histogram.buckets().map(|bucket| (bucket.lower, bucket.upper, bucket.count)).collect();
        assert_eq!(ranges, [(-1.0, -0.75, 4.0), (-0.75, 0.75, 1.0), (0.75, 1.0, 2.0), (1.0, 2.0, 3.0)]);
        let custom = noted("{{schema:-53 custom_values:[1 2] count:3 buckets:[1 1 1]}}");
        let ranges: Vec<_> =
            custom.buckets().map(|bucket| (bucket.lower, bucket.upper, bucket.lower_inclusive)).collect();
        let infinity = f64::INFINITY;
        assert_eq!(ranges, [(-infinity, 1.0, true), (1.0, 2.0, false), (2.0, infinity, false)]);
    }
}
