//! Sums and means of many histograms, each number of them compensated for rounding.

use bellwether_model::CounterResetHint;

use crate::functions::summation::Sum;
use crate::histogram::{Combined, FloatHistogram, Incompatible};

/// A mean is a sum as long as its numbers are smaller than this; afterwards it is one all along, for it will not overflow.
const SUMMED_MAX: f64 = f64::MAX / 4.0;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistogramTotal {
    pub(crate) total: Option<FloatHistogram<Sum>>,
    pub(crate) count: f64,
    pub(crate) flags: TotalFlags,
}

/// What has been met on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TotalFlags {
    /// The total is a mean already.
    pub(crate) is_mean: bool,
    /// Both kinds of buckets: there is no total.
    pub(crate) is_mixed: bool,
    /// Custom buckets had other bounds.
    pub(crate) bounds_differ: bool,
    /// Hints of a reset, and of none.
    pub(crate) knows_reset: bool,
    pub(crate) knows_no_reset: bool,
}

impl TotalFlags {
    const COUNT: usize = 5;

    fn all(&mut self) -> [&mut bool; TotalFlags::COUNT] {
        let TotalFlags { is_mean, is_mixed, bounds_differ, knows_reset, knows_no_reset } = self;
        [is_mean, is_mixed, bounds_differ, knows_reset, knows_no_reset]
    }

    /// As bits.
    pub(crate) fn to_byte(mut self) -> u8 {
        self.all().into_iter().enumerate().fold(0, |byte, (at, flag)| byte | u8::from(*flag) << at)
    }

    pub(crate) fn of_byte(byte: u8) -> Option<TotalFlags> {
        let mut flags = TotalFlags::default();
        flags.all().into_iter().enumerate().for_each(|(at, flag)| *flag = byte >> at & 1 != 0);
        (byte >> TotalFlags::COUNT == 0).then_some(flags)
    }

    fn join(&mut self, mut other: TotalFlags) {
        self.all().into_iter().zip(other.all()).for_each(|(ours, theirs)| *ours |= *theirs);
    }

    pub(crate) fn hints_collide(self) -> bool {
        self.knows_reset && self.knows_no_reset
    }
}

impl HistogramTotal {
    /// Takes one in. `averages` says that a mean is wanted in the end.
    pub(crate) fn add(&mut self, histogram: &FloatHistogram, averages: bool) {
        if self.flags.is_mixed {
            return;
        }
        match histogram.hint {
            CounterResetHint::CounterReset => self.flags.knows_reset = true,
            CounterResetHint::NotCounterReset => self.flags.knows_no_reset = true,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        self.count += 1.0;
        let Some(total) = &mut self.total else {
            self.total = Some(FloatHistogram::beginning_with(histogram));
            return;
        };
        if averages && !self.flags.is_mean && total.largest().max(histogram.largest()) > SUMMED_MAX {
            total.scale(1.0 / (self.count - 1.0));
            self.flags.is_mean = true;
        }
        let count = self.count;
        let combined = if self.flags.is_mean {
            total.scale((count - 1.0) / count);
            total.combine(histogram, |term| Sum::of_one(term / count))
        } else {
            total.combine(histogram, Sum::of_one)
        };
        self.note(combined);
    }

    /// Takes in what another total has.
    pub(crate) fn merge(&mut self, mut other: HistogramTotal, averages: bool) {
        let (ours, theirs) = (self.count, other.count);
        self.count = ours + theirs;
        if let (Some(total), Some(more)) = (&mut self.total, &mut other.total) {
            let is_mean = self.flags.is_mean || other.flags.is_mean;
            if averages && (is_mean || total.largest().max(more.largest()) > SUMMED_MAX) {
                // Divided by their counts if they are sums, and weighted by their counts.
                total.scale(if self.flags.is_mean { ours } else { 1.0 } / self.count);
                more.scale(if other.flags.is_mean { theirs } else { 1.0 } / self.count);
                self.flags.is_mean = true;
            }
            let combined = total.combine(more, |sum| sum);
            self.note(combined);
        } else if self.total.is_none() {
            self.total = other.total;
        }
        self.flags.join(other.flags);
    }

    fn note(&mut self, combined: Result<Combined, Incompatible>) {
        match combined {
            Ok(combined) => self.flags.bounds_differ |= combined.bounds_differ,
            Err(Incompatible) => self.flags.is_mixed = true,
        }
    }

    /// The sum, or the mean; `None` if there is none.
    pub(crate) fn value(&self, averages: bool) -> Option<FloatHistogram> {
        let total = self.total.as_ref().filter(|_| !self.flags.is_mixed)?;
        let mut value = if averages && !self.flags.is_mean { total.divided_by(self.count) } else { total.value() };
        value.compact();
        Some(value)
    }

    pub(crate) fn byte_len(&self) -> usize {
        size_of::<HistogramTotal>() + self.total.as_ref().map_or(0, FloatHistogram::byte_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::tests::noted;

    fn total(texts: &[&str], averages: bool) -> HistogramTotal {
        let mut total = HistogramTotal::default();
        texts.iter().for_each(|text| total.add(&noted(text), averages));
        total
    }

    #[test]
    fn rounding_is_made_good() {
        let texts = ["{{count:1e100 sum:1e100}}", "{{count:1 sum:1}}", "{{count:1 sum:-1e100}}"];
        assert_eq!(total(&texts, false).value(false).unwrap().sum, 1.0);
        assert_eq!(total(&texts, true).value(true).unwrap().sum, 1.0 / 3.0);
    }

    #[test]
    fn means_do_not_overflow() {
        let large = "{{count:2 sum:1.5e308 buckets:[2]}}";
        let mean = total(&[large, large, large], true);
        assert!(mean.flags.is_mean);
        let value = mean.value(true).unwrap();
        assert!((value.sum - 1.5e308).abs() < 1e293 && (value.count - 2.0).abs() < 1e-15);
        assert_eq!(total(&[large, large], false).value(false).unwrap().sum, f64::INFINITY);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        for large in ["{{count:9 sum:1.5e308 buckets:[9]}}", "{{count:9 sum:1.5 buckets:[9]}}"] {
            let (one, two) = ([large, "{{count:1 sum:1 buckets:[0 1]}}"], ["{{count:3 sum:2 buckets:[3]}}", large]);
            let mut merged = total(&one, true);
            merged.merge(total(&two, true), true);
            let (merged, whole) = (merged.value(true).unwrap(), total(&[one, two].concat(), true).value(true).unwrap());
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs();
            assert!(near(merged.sum, whole.sum) && near(merged.count, whole.count));
            assert_eq!(merged.positive.len(), whole.positive.len());
        }
    }

    #[test]
    fn flags_survive_as_a_byte() {
        for byte in 0..=u8::MAX {
            match TotalFlags::of_byte(byte) {
                Some(flags) => assert_eq!(flags.to_byte(), byte),
                None => assert!(byte >= 1 << TotalFlags::COUNT),
            }
        }
    }

    #[test]
    fn hints_and_kinds_are_noted() {
        let both = total(&["{{counter_reset_hint:reset}}", "{{counter_reset_hint:not_reset}}"], false);
        assert!(both.flags.hints_collide() && both.value(false).is_some());
        let mixed = total(&["{{}}", "{{schema:-53}}", "{{}}"], false);
        assert!(mixed.flags.is_mixed && mixed.value(false).is_none());
    }
}
