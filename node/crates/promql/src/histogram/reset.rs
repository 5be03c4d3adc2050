//! Whether a counter has begun anew between two histograms.

use bellwether_model::CounterResetHint;

use crate::histogram::combine::{intersection, place, reduce};
use crate::histogram::{FloatHistogram, Slot};

impl FloatHistogram {
    /// Whether it cannot be what `previous` has become by counting on. Its hint is believed.
    pub(crate) fn is_reset_after(&self, previous: &FloatHistogram) -> bool {
        match self.hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            // A gauge where a counter should be is taken for one.
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.is_custom() {
            if !previous.is_custom() {
                return true;
            }
            if self.custom_values != previous.custom_values {
                return self.falls_within_shared_bounds(previous);
            }
        }
        // Resolution and threshold change in one direction only while a counter lives.
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (previous_zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < previous_zero_count {
            return true;
        }
        let by = if previous.is_custom() { 0 } else { previous.schema.abs_diff(self.schema) };
        falls(self.outside_zero(&self.positive), &reduce(self.outside_zero_of(previous, &previous.positive), by))
            || falls(self.outside_zero(&self.negative), &reduce(self.outside_zero_of(previous, &previous.negative), by))
    }

    fn outside_zero<'s>(&self, slots: &'s [Slot<f64>]) -> &'s [Slot<f64>] {
        self.outside_zero_of(self, slots)
    }

    /// The buckets of another histogram that lie outside of the zero bucket of this one.
    fn outside_zero_of<'s>(&self, other: &FloatHistogram, slots: &'s [Slot<f64>]) -> &'s [Slot<f64>] {
        if self.is_custom() || self.zero_threshold == 0.0 {
            return slots;
        }
        let inside = slots.partition_point(|slot| other.bound(slot.index.into()) <= self.zero_threshold);
        &slots[inside..]
    }

    fn falls_within_shared_bounds(&self, previous: &FloatHistogram) -> bool {
        let shared = intersection(&self.custom_values, &previous.custom_values);
        let mapped = |of: &FloatHistogram| {
            let mut counts = vec![0.0; shared.len() + 1];
            for slot in &of.positive {
                counts[place(&shared, of.bound(slot.index.into())) as usize] += slot.count;
            }
            counts
        };
        mapped(self).iter().zip(mapped(previous)).any(|(now, before)| *now < before)
    }
}

/// Whether a bucket has fewer observations than it had before, or is gone with what was in it.
fn falls(now: &[Slot<f64>], before: &[Slot<f64>]) -> bool {
    let mut at = 0;
    before.iter().any(|before| {
        at += now[at..].iter().take_while(|slot| slot.index < before.index).count();
        match now.get(at) {
            Some(slot) if slot.index == before.index => slot.count < before.count,
            _ => before.count != 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::histogram::tests::noted;

    fn is_reset(before: &str, after: &str) -> bool {
        noted(after).is_reset_after(&noted(before))
    }

    #[test]
    fn what_grows_is_no_reset() {
        assert!(!is_reset("{{count:3 buckets:[1 2]}}", "{{count:4 buckets:[2 2]}}"));
        assert!(!is_reset("{{count:3 buckets:[1 2]}}", "{{count:6 buckets:[3 1 2] offset:-1}}"));
        assert!(!is_reset("{{count:1 buckets:[0 1]}}", "{{count:1 buckets:[1] offset:1}}"));
    }

    #[test]
    fn what_falls_anywhere_is() {
        assert!(is_reset("{{count:3 buckets:[1 2]}}", "{{count:2 buckets:[0 2]}}"));
        assert!(is_reset("{{count:3 buckets:[1 2]}}", "{{count:9 buckets:[0 9]}}"));
        assert!(is_reset("{{count:3 n_buckets:[1 2]}}", "{{count:9 n_buckets:[9]}}"));
        assert!(is_reset("{{count:3 z_bucket:3}}", "{{count:3 z_bucket:2 buckets:[1]}}"));
    }

    #[test]
    fn resolution_falls_and_the_zero_bucket_grows() {
        assert!(!is_reset("{{schema:1 count:3 buckets:[1 2] offset:1}}", "{{count:3 buckets:[3] offset:1}}"));
        assert!(is_reset("{{count:3 buckets:[3] offset:1}}", "{{schema:1 count:3 buckets:[1 2] offset:1}}"));
        assert!(!is_reset("{{count:3 buckets:[1 2]}}", "{{count:3 z_bucket:1 z_bucket_w:1 buckets:[2] offset:1}}"));
        assert!(is_reset("{{count:3 z_bucket_w:1}}", "{{count:3 z_bucket_w:0.5}}"));
        assert!(is_reset("{{count:3 buckets:[1 2]}}", "{{count:9 z_bucket:9 z_bucket_w:1.5}}"));
    }

    #[test]
    fn custom_buckets_are_compared_where_bounds_agree() {
        let before = "{{schema:-53 custom_values:[1 2 4] count:6 buckets:[1 2 3]}}";
        assert!(!is_reset(before, "{{schema:-53 custom_values:[2 4] count:6 buckets:[3 3]}}"));
        assert!(is_reset(before, "{{schema:-53 custom_values:[2 4] count:6 buckets:[2 4]}}"));
        assert!(is_reset("{{count:1 buckets:[1]}}", before));
    }

    #[test]
    fn hints_are_believed() {
        assert!(is_reset("{{count:1 buckets:[1]}}", "{{count:2 buckets:[2] counter_reset_hint:reset}}"));
        assert!(!is_reset("{{count:2 buckets:[2]}}", "{{count:1 buckets:[1] counter_reset_hint:not_reset}}"));
    }
}
