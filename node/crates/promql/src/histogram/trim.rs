//! `</` and `>/`: the observations on one side of a value.
//!
//! The bucket that the value lies in is cut where it would be for a quantile. The sum is estimated anew from the middles of
//! what remains. Of a bucket without end nothing is known: it goes as a whole unless all of it is on the right side.

use crate::histogram::estimate::logarithmic_share;
use crate::histogram::{Bucket, FloatHistogram, Slot};

/// What remains of a bucket: how many observations, and where they are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rest {
    count: f64,
    middle: f64,
}

impl FloatHistogram {
    /// What lies below `value`, or else above it.
    pub(crate) fn trimmed(&self, value: f64, keeps_below: bool) -> FloatHistogram {
        let mut trimmed = self.clone();
        let (mut count, mut sum) = (0.0, 0.0);
        let mut add = |rest: Rest| {
            count += rest.count;
            sum += rest.middle * rest.count;
        };
        let mut is_cut = false;
        let mut sides = [false, false];
        let buckets: [Vec<Bucket>; 2] = [self.positive_buckets().collect(), self.negative_buckets().collect()];
        for (side, (slots, buckets)) in
            [&mut trimmed.positive, &mut trimmed.negative].into_iter().zip(buckets).enumerate()
        {
            for (slot, bucket) in slots.iter_mut().zip(buckets).filter(|(slot, _)| slot.count != 0.0) {
                let slot: &mut Slot<f64> = slot;
                sides[side] = true;
                let rest = self.rest_of(&bucket, value, keeps_below);
                if let Some(rest) = rest {
                    add(rest);
                }
                let left = rest.map_or(0.0, |rest| rest.count);
                is_cut |= rest.is_none() || left != slot.count;
                slot.count = left;
            }
        }
        if self.zero_count > 0.0 {
            let [has_positive, has_negative] = sides;
            let mut bucket = self.zero_bucket();
            if has_positive && !has_negative {
                bucket.lower = 0.0;
            } else if has_negative && !has_positive {
                bucket.upper = 0.0;
            }
            let rest = rest_of_zero(&bucket, value, keeps_below);
            is_cut |= rest.count != self.zero_count;
            trimmed.zero_count = rest.count;
            add(rest);
        }
        if is_cut {
            (trimmed.count, trimmed.sum) = (count, sum);
            trimmed.compact();
        }
        trimmed
    }

    /// `None` if all of it lies on the wrong side.
    fn rest_of(&self, bucket: &Bucket, value: f64, keeps_below: bool) -> Option<Rest> {
        let is_whole = if keeps_below { bucket.upper <= value } else { bucket.lower >= value };
        if is_whole {
            return Some(Rest { count: bucket.count, middle: self.middle(bucket.lower, bucket.upper) });
        }
        let is_cut = if keeps_below { bucket.lower < value } else { bucket.upper > value };
        if !is_cut {
            return None;
        }
        if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
            return Some(rest_of_endless(bucket, value, keeps_below));
        }
        let below = bucket.count * self.share_below(bucket, value);
        Some(if keeps_below {
            Rest { count: below, middle: self.middle(bucket.lower, value) }
        } else {
            Rest { count: bucket.count - below, middle: self.middle(value, bucket.upper) }
        })
    }

    fn share_below(&self, bucket: &Bucket, value: f64) -> f64 {
        if self.is_custom() {
            (value - bucket.lower) / (bucket.upper - bucket.lower)
        } else {
            logarithmic_share(bucket, value)
        }
    }

    /// Where the observations between two bounds of a bucket are, on the whole.
    fn middle(&self, lower: f64, upper: f64) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.is_custom() => (lower + upper) / 2.0,
            (false, false) => (lower * upper).abs().sqrt().copysign(lower + upper),
        }
    }
}

/// Of a bucket without lower or upper end that `value` lies in.
fn rest_of_endless(bucket: &Bucket, value: f64, keeps_below: bool) -> Rest {
    let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    if bucket.lower == f64::NEG_INFINITY {
        let begins_at_zero = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
        return match keeps_below {
            true if value > 0.0 && begins_at_zero => {
                Rest { count: bucket.count * value / bucket.upper, middle: value / 2.0 }
            }
            true if bucket.upper <= 0.0 => Rest { count: bucket.count, middle: value },
            false if value >= 0.0 && begins_at_zero => {
                let count = bucket.count * (1.0 - value / bucket.upper);
                Rest { count, middle: (value + bucket.upper) / 2.0 }
            }
            _ => Rest { count: 0.0, middle: finite(bucket.upper) },
        };
    }
    if !keeps_below && value >= bucket.lower {
        return Rest { count: bucket.count, middle: value };
    }
    Rest { count: 0.0, middle: finite(bucket.lower) }
}

fn rest_of_zero(bucket: &Bucket, value: f64, keeps_below: bool) -> Rest {
    let Bucket { lower, upper, count, .. } = *bucket;
    let (none, whole) = (Rest { count: 0.0, middle: 0.0 }, Rest { count, middle: (lower + upper) / 2.0 });
    if value <= lower {
        return if keeps_below { none } else { whole };
    }
    if value >= upper {
        return if keeps_below { whole } else { none };
    }
    let (from, to) = if keeps_below { (lower, value) } else { (value, upper) };
    Rest { count: count * (to - from) / (upper - lower), middle: (from + to) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::tests::noted;

    fn check(text: &str, value: f64, keeps_below: bool, want: &str) {
        let (got, want) = (noted(text).trimmed(value, keeps_below), noted(want));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let slots = |slots: &[Slot<f64>]| -> Vec<(i32, f64)> {
            let filled = slots.iter().filter(|slot| slot.count != 0.0);
            filled.map(|slot| (slot.index, (slot.count * 1e9).round())).collect()
        };
        let same = near(got.count, want.count)
            && near(got.sum, want.sum)
            && near(got.zero_count, want.zero_count)
            && slots(&got.positive) == slots(&want.positive)
            && slots(&got.negative) == slots(&want.negative);
        assert!(same, "{text} at {value}: {got:?}");
    }

    #[test]
    fn whole_buckets_stay_or_go() {
        let text = "{{schema:-53 custom_values:[5 10 15] count:10 sum:90 buckets:[1 2 3 4]}}";
        check(text, 10.0, true, "{{schema:-53 custom_values:[5 10 15] count:3 sum:17.5 buckets:[1 2]}}");
        check(text, 10.0, false, "{{schema:-53 custom_values:[5 10 15] count:7 sum:97.5 buckets:[0 0 3 4]}}");
        // Nothing is cut: the sum stays what it was.
        check(text, f64::INFINITY, true, text);
        check(text, f64::NEG_INFINITY, false, text);
    }

    #[test]
    fn a_bucket_is_cut_where_the_value_lies() {
        let custom = "{{schema:-53 custom_values:[5 10] count:10 sum:75 buckets:[0 10]}}";
        check(custom, 6.0, true, "{{schema:-53 custom_values:[5 10] count:2 sum:11 buckets:[0 2]}}");
        check(custom, 6.0, false, "{{schema:-53 custom_values:[5 10] count:8 sum:64 buckets:[0 8]}}");
        // Half of a bucket from 1 to 4 lies below 2; the middle of what is above is the square root of 8.
        let (below, above) = (format!("{}", 2.0 * 2f64.sqrt()), format!("{}", 2.0 * 8f64.sqrt()));
        let exponential = "{{schema:-1 count:4 sum:8 buckets:[4] offset:1}}";
        check(exponential, 2.0, true, &format!("{{{{schema:-1 count:2 sum:{below} buckets:[2] offset:1}}}}"));
        check(exponential, 2.0, false, &format!("{{{{schema:-1 count:2 sum:{above} buckets:[2] offset:1}}}}"));
        let negative = "{{schema:-1 count:4 sum:-8 n_buckets:[4] n_offset:1}}";
        check(negative, -2.0, false, &format!("{{{{schema:-1 count:2 sum:-{below} n_buckets:[2] n_offset:1}}}}"));
    }

    #[test]
    fn the_zero_bucket_is_cut_too() {
        let both = "{{count:8 sum:0 z_bucket:4 z_bucket_w:1 buckets:[2] offset:1 n_buckets:[2] n_offset:1}}";
        let root = 2.0 * 2f64.sqrt();
        let below = format!("{{{{count:5 sum:{} z_bucket:3 z_bucket_w:1 n_buckets:[2] n_offset:1}}}}", -root - 0.75);
        check(both, 0.5, true, &below);
        check("{{count:4 z_bucket:4}}", 1.0, true, "{{count:4 z_bucket:4}}");
    }

    #[test]
    fn buckets_without_end_go_unless_all_of_them_is_right() {
        let text = "{{schema:-53 custom_values:[5] count:10 sum:60 buckets:[4 6]}}";
        check(text, 7.0, true, "{{schema:-53 custom_values:[5] count:4 sum:10 buckets:[4]}}");
        check(text, 2.5, true, "{{schema:-53 custom_values:[5] count:2 sum:2.5 buckets:[2]}}");
        check(text, 2.5, false, "{{schema:-53 custom_values:[5] count:8 sum:37.5 buckets:[2 6]}}");
    }
}
