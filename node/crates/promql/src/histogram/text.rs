//! A histogram in the series notation, as `count_values` labels it.

use bellwether_model::CounterResetHint;
use bellwether_model::limits::HISTOGRAM_BUCKETS_MAX;

use crate::histogram::{FloatHistogram, Slot};
use crate::literal::general_text;

impl FloatHistogram {
    /// The text; `None` if the buckets lie so far apart that nobody would read it.
    pub(crate) fn notation(&self) -> Option<String> {
        let number = |value: f64| general_text(value, None);
        let numbers = |values: &[f64]| values.iter().map(|value| number(*value)).collect::<Vec<_>>().join(" ");
        let mut items = Vec::new();
        if self.schema != 0 {
            items.push(format!("schema:{}", self.schema));
        }
        let totals = [
            ("count", self.count),
            ("sum", self.sum),
            ("z_bucket", self.zero_count),
            ("z_bucket_w", self.zero_threshold),
        ];
        items.extend(
            totals.iter().filter(|(_, value)| *value != 0.0).map(|(name, value)| format!("{name}:{}", number(*value))),
        );
        if self.is_custom() {
            items.push(format!("custom_values:[{}]", numbers(&self.custom_values)));
        }
        match self.hint {
            CounterResetHint::Unknown => {}
            CounterResetHint::CounterReset => items.push("counter_reset_hint:reset".to_owned()),
            CounterResetHint::NotCounterReset => items.push("counter_reset_hint:not_reset".to_owned()),
            CounterResetHint::Gauge => items.push("counter_reset_hint:gauge".to_owned()),
        }
        for (slots, offset, buckets) in
            [(&self.positive, "offset", "buckets"), (&self.negative, "n_offset", "n_buckets")]
        {
            let Some((first, counts)) = dense(slots)? else { continue };
            if first != 0 {
                items.push(format!("{offset}:{first}"));
            }
            items.push(format!("{buckets}:[{}]", numbers(&counts)));
        }
        Some(format!("{{{{{}}}}}", items.join(" ")))
    }
}

/// The first bucket with observations, and the counts from there to the last one.
fn dense(slots: &[Slot<f64>]) -> Option<Option<(i32, Vec<f64>)>> {
    let mut filled = slots.iter().filter(|slot| slot.count != 0.0);
    let Some(first) = filled.next() else { return Some(None) };
    let last = filled.next_back().unwrap_or(first);
    let length = usize::try_from(i64::from(last.index) - i64::from(first.index) + 1).ok()?;
    if length > HISTOGRAM_BUCKETS_MAX {
        return None;
    }
    let mut counts = vec![0.0; length];
    for slot in slots.iter().filter(|slot| (first.index..=last.index).contains(&slot.index)) {
        counts[(slot.index - first.index) as usize] = slot.count;
    }
    Some(Some((first.index, counts)))
}

#[cfg(test)]
mod tests {
    use crate::histogram::tests::noted;

    #[test]
    fn the_notation_is_read_back() {
        for text in [
            "{{}}",
            "{{schema:2 count:7 sum:-2.5 z_bucket:1 z_bucket_w:0.001 offset:-2 buckets:[1 0 2] n_buckets:[3]}}",
            "{{schema:-53 count:3 sum:7 custom_values:[1 2.5] counter_reset_hint:gauge offset:1 buckets:[1 2]}}",
        ] {
            assert_eq!(noted(text).notation().as_deref(), Some(text));
        }
        assert_eq!(
            noted("{{count:2 buckets:[0 2 0]}}").notation().as_deref(),
            Some("{{count:2 offset:1 buckets:[2]}}")
        );
    }

    #[test]
    fn gaps_that_nobody_reads_have_no_text() {
        let mut histogram = noted("{{count:2 buckets:[1 1]}}");
        histogram.positive[1].index = 1 << 20;
        assert_eq!(histogram.notation(), None);
    }
}
