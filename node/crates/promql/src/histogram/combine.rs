//! Two histograms become one.
//!
//! Exponential ones: the coarser resolution and the larger zero bucket win, and a zero bucket grows until it cuts no
//! populated bucket in two. Custom ones: what both have as bounds remains. One of each kind: there is no result.

use std::sync::Arc;

use bellwether_model::CounterResetHint;

use crate::histogram::bounds::exponential_bound;
use crate::histogram::{Amount, FloatHistogram, Slot};

/// What should be said of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Combined {
    /// One knows of a reset and the other of none.
    pub(crate) hints_collide: bool,
    /// The bounds of custom buckets were not the same.
    pub(crate) bounds_differ: bool,
}

/// One has exponential buckets and the other custom ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incompatible;

impl FloatHistogram {
    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Combined, Incompatible> {
        self.combine(other, |count| count)
    }

    pub(crate) fn subtract(&mut self, other: &FloatHistogram) -> Result<Combined, Incompatible> {
        self.combine(other, |count| -count)
    }
}

impl<C: Amount> FloatHistogram<C> {
    /// Adds what `term` makes of the other's numbers.
    pub(crate) fn combine<D: Amount>(
        &mut self,
        other: &FloatHistogram<D>,
        term: impl Fn(D) -> C + Copy,
    ) -> Result<Combined, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut combined = Combined { hints_collide: self.join_hint(other.hint), bounds_differ: false };
        if self.is_custom() {
            if self.custom_values == other.custom_values {
                merge(&mut self.positive, other.positive.iter().map(|slot| (slot.index, term(slot.count))));
            } else {
                combined.bounds_differ = true;
                self.combine_custom(other, term);
            }
        } else {
            let zero_count = self.join_zero_bucket(other);
            self.zero_count = self.zero_count.plus(term(zero_count));
            self.reduce_to(other.schema);
            let (schema, threshold) = (self.schema, self.zero_threshold);
            let by = other.schema.abs_diff(schema);
            for (ours, theirs) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
                let reduced;
                let theirs = if by == 0 {
                    &theirs[..]
                } else {
                    reduced = reduce(theirs, by);
                    &reduced[..]
                };
                // What lies in the zero bucket has been counted there.
                let inside = theirs.partition_point(|slot| exponential_bound(slot.index.into(), schema) <= threshold);
                merge(ours, theirs[inside..].iter().map(|slot| (slot.index, term(slot.count))));
            }
        }
        self.count = self.count.plus(term(other.count));
        self.sum = self.sum.plus(term(other.sum));
        Ok(combined)
    }

    /// Whether the hints contradict each other.
    fn join_hint(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (joined, collide) = match (self.hint, other) {
            (ours, theirs) if ours == theirs => (ours, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.hint = joined;
        collide
    }

    /// Merges buckets until they are those of a schema that is not larger; a larger one changes nothing.
    pub(crate) fn reduce_to(&mut self, schema: i32) {
        if schema < self.schema && !self.is_custom() {
            let by = self.schema.abs_diff(schema);
            self.positive = reduce(&self.positive, by);
            self.negative = reduce(&self.negative, by);
            self.schema = schema;
        }
    }

    /// Widens the zero bucket until it would do for the other too; gives what that would have in it then.
    fn join_zero_bucket<D: Amount>(&mut self, other: &FloatHistogram<D>) -> D {
        let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
        // Each turn raises the lower of the two, to a bound of a bucket or to the other: they meet.
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (count, threshold) = other.zero_count_within(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_count_within(threshold);
                self.drop_buckets_within_zero();
            }
        }
        count
    }

    /// What the zero bucket would have in it if it reached as far as `threshold`, or as far as it must to cut no populated
    /// bucket; and how far that is.
    pub(crate) fn zero_count_within(&self, threshold: f64) -> (C, f64) {
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        let mut threshold = threshold;
        loop {
            let mut count = self.zero_count;
            let mut farther = threshold;
            // The negative side sees what the positive one has made of the threshold.
            for slots in [&self.positive, &self.negative] {
                for slot in slots {
                    if self.bound(i64::from(slot.index) - 1) >= farther {
                        break;
                    }
                    count = count.plus(slot.count);
                    let end = self.bound(slot.index.into());
                    if end > farther {
                        if slot.count.value() != 0.0 {
                            farther = end;
                        }
                        break;
                    }
                }
            }
            if farther == threshold {
                return (count, threshold);
            }
            threshold = farther;
        }
    }

    fn drop_buckets_within_zero(&mut self) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let outside = |slot: &Slot<C>| exponential_bound(i64::from(slot.index) - 1, schema) >= threshold;
        self.positive.retain(outside);
        self.negative.retain(outside);
    }

    fn combine_custom<D: Amount>(&mut self, other: &FloatHistogram<D>, term: impl Fn(D) -> C) {
        let shared = intersection(&self.custom_values, &other.custom_values);
        let mut slots: Vec<Slot<C>> = Vec::new();
        for slot in &self.positive {
            push(&mut slots, place(&shared, self.bound(slot.index.into())), slot.count);
        }
        let theirs =
            other.positive.iter().map(|slot| (place(&shared, other.bound(slot.index.into())), term(slot.count)));
        let mut mapped: Vec<Slot<C>> = Vec::new();
        theirs.for_each(|(index, count)| push(&mut mapped, index, count));
        merge(&mut slots, mapped.iter().map(|slot| (slot.index, slot.count)));
        slots.retain(|slot| slot.count.value() != 0.0);
        self.positive = slots;
        self.custom_values = shared;
    }
}

/// The bounds that both have.
pub(crate) fn intersection(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter().copied().filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}

/// The bucket among these bounds into which one goes that ends at `bound`.
pub(crate) fn place(bounds: &[f64], bound: f64) -> i32 {
    bounds.partition_point(|shared| *shared < bound) as i32
}

/// Appends a bucket, or adds to the last one.
fn push<C: Amount>(slots: &mut Vec<Slot<C>>, index: i32, count: C) {
    match slots.last_mut() {
        Some(last) if last.index == index => last.count = last.count.plus(count),
        _ => slots.push(Slot { index, count }),
    }
}

/// The same observations in buckets of a schema that is smaller by so much.
pub(crate) fn reduce<C: Amount>(slots: &[Slot<C>], by: u32) -> Vec<Slot<C>> {
    let mut reduced = Vec::new();
    for slot in slots {
        // Buckets end where a power of two ends: the number before says in which of the wider ones a bucket lies.
        let index = ((i64::from(slot.index) - 1) >> by) + 1;
        push(&mut reduced, index as i32, slot.count);
    }
    reduced
}

/// Adds buckets that come in ascending order.
fn merge<C: Amount>(ours: &mut Vec<Slot<C>>, theirs: impl ExactSizeIterator<Item = (i32, C)>) {
    let mut theirs = theirs.peekable();
    // As long as there is nothing new, nothing moves.
    let mut at = 0;
    while let Some((index, count)) = theirs.peek().copied() {
        at += ours[at..].iter().take_while(|slot| slot.index < index).count();
        match ours.get_mut(at) {
            Some(slot) if slot.index == index => slot.count = slot.count.plus(count),
            _ => break,
        }
        theirs.next();
    }
    if theirs.peek().is_none() {
        return;
    }
    let rest = ours.split_off(at);
    ours.reserve(rest.len() + theirs.len());
    let mut rest = rest.into_iter().peekable();
    loop {
        match (rest.peek(), theirs.peek()) {
            (Some(slot), Some((index, count))) => {
                let (slot, index, count) = (*slot, *index, *count);
                if slot.index <= index {
                    rest.next();
                }
                if index <= slot.index {
                    theirs.next();
                }
                ours.push(match slot.index.cmp(&index) {
                    std::cmp::Ordering::Less => slot,
                    std::cmp::Ordering::Equal => Slot { index, count: slot.count.plus(count) },
                    std::cmp::Ordering::Greater => Slot { index, count },
                });
            }
            (Some(_), None) => ours.extend(rest.by_ref()),
            (None, Some(_)) => ours.extend(theirs.by_ref().map(|(index, count)| Slot { index, count })),
            (None, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::tests::noted;

    fn sum(a: &str, b: &str) -> (FloatHistogram, Combined) {
        let mut sum = noted(a);
        let combined = sum.add(&noted(b)).unwrap();
        (sum, combined)
    }

    fn check(a: &str, b: &str, want: &str) {
        for (a, b) in [(a, b), (b, a)] {
            let (mut sum, _) = sum(a, b);
            sum.compact();
            let mut want = noted(want);
            want.compact();
            assert_eq!(sum, want, "{a} + {b}");
        }
    }

    #[test]
    fn buckets_add_up_wherever_they_are() {
        check(
            "{{count:6 sum:1 buckets:[1 2 3]}}",
            "{{count:6 sum:2 buckets:[3 2 1]}}",
            "{{count:12 sum:3 buckets:[4 4 4]}}",
        );
        check(
            "{{count:3 buckets:[1 2] offset:2}}",
            "{{count:7 buckets:[3 4] offset:-1}}",
            "{{count:10 buckets:[3 4 0 1 2] offset:-1}}",
        );
        check("{{count:3 buckets:[1 2]}}", "{{count:4 n_buckets:[4]}}", "{{count:7 buckets:[1 2] n_buckets:[4]}}");
    }

    #[test]
    fn the_coarser_resolution_wins() {
        // Schema 1 halves the buckets of schema 0: 0 and -1 go to 0, 1 and 2 to 1.
        check(
            "{{schema:1 count:10 buckets:[1 2 3 4] offset:-1}}",
            "{{count:2 buckets:[1 1]}}",
            "{{count:12 buckets:[4 8]}}",
        );
    }

    #[test]
    fn the_zero_bucket_grows_until_it_cuts_nothing() {
        // 0.5 to 1 is populated and the other's zero bucket ends within it: it goes into the zero bucket.
        check(
            "{{count:5 z_bucket:1 z_bucket_w:0.75 buckets:[4] offset:1}}",
            "{{count:7 z_bucket:2 z_bucket_w:0.001 buckets:[2 3]}}",
            "{{count:12 z_bucket:5 z_bucket_w:1 buckets:[0 7]}}",
        );
        // An empty bucket is cut in two without harm.
        check(
            "{{count:5 z_bucket:1 z_bucket_w:0.75 buckets:[4] offset:1}}",
            "{{count:5 z_bucket:2 z_bucket_w:0.001 buckets:[0 3]}}",
            "{{count:10 z_bucket:3 z_bucket_w:0.75 buckets:[0 7]}}",
        );
        // Both sides, one after the other.
        check(
            "{{count:2 z_bucket:1 z_bucket_w:0.75 n_buckets:[1] n_offset:1}}",
            "{{count:4 buckets:[2] n_buckets:[2]}}",
            "{{count:6 z_bucket:5 z_bucket_w:1 n_buckets:[1] n_offset:1}}",
        );
    }

    #[test]
    fn custom_buckets_keep_the_bounds_that_both_have() {
        let (sum, combined) = sum(
            "{{schema:-53 custom_values:[1 2 4] count:10 buckets:[1 2 3 4]}}",
            "{{schema:-53 custom_values:[2 3 4] count:26 buckets:[5 6 7 8]}}",
        );
        assert!(combined.bounds_differ);
        assert!(sum.same(&noted("{{schema:-53 custom_values:[2 4] count:36 buckets:[8 16 12]}}")), "{sum:?}");
    }

    #[test]
    fn kinds_do_not_mix() {
        let mut histogram = noted("{{count:1 buckets:[1]}}");
        assert_eq!(histogram.add(&noted("{{schema:-53 custom_values:[1] count:1 buckets:[1]}}")), Err(Incompatible));
    }

    #[test]
    fn hints_join() {
        let hinted = |hint: &str| format!("{{{{count:1 buckets:[1] counter_reset_hint:{hint}}}}}");
        let joined = |a: &str, b: &str| {
            let (sum, combined) = sum(&hinted(a), &hinted(b));
            (sum.hint, combined.hints_collide)
        };
        assert_eq!(joined("gauge", "reset"), (CounterResetHint::Gauge, false));
        assert_eq!(joined("not_reset", "gauge"), (CounterResetHint::Gauge, false));
        assert_eq!(joined("unknown", "reset"), (CounterResetHint::Unknown, false));
        assert_eq!(joined("reset", "reset"), (CounterResetHint::CounterReset, false));
        assert_eq!(joined("not_reset", "reset"), (CounterResetHint::Unknown, true));
    }
}
