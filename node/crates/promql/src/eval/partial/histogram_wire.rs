//! Histograms in partial results. `node/docs/format/partial.md` draws them.

use std::sync::Arc;

use bellwether_model::CounterResetHint;
use bellwether_model::histogram::{CUSTOM_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN};

use crate::eval::meter::Account;
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::functions::summation::Sum;
use crate::histogram::{FloatHistogram, HistogramTotal, Slot, TotalFlags};

/// A number of a histogram.
pub(crate) trait WireNumber: Sized {
    fn write(&self, out: &mut Output);
    fn read(input: &mut Input<'_>) -> Result<Self, Damage>;
}

impl WireNumber for f64 {
    fn write(&self, out: &mut Output) {
        out.number(*self);
    }

    fn read(input: &mut Input<'_>) -> Result<f64, Damage> {
        input.number()
    }
}

impl WireNumber for Sum {
    fn write(&self, out: &mut Output) {
        out.number(self.sum);
        out.number(self.lost);
    }

    fn read(input: &mut Input<'_>) -> Result<Sum, Damage> {
        Ok(Sum { sum: input.number()?, lost: input.number()? })
    }
}

pub(crate) fn write<C: WireNumber>(histogram: &FloatHistogram<C>, out: &mut Output) {
    out.byte(match histogram.hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    });
    out.count(histogram.schema.cast_unsigned());
    out.number(histogram.zero_threshold);
    [&histogram.zero_count, &histogram.count, &histogram.sum].into_iter().for_each(|number| number.write(out));
    for slots in [&histogram.positive, &histogram.negative] {
        out.count(slots.len() as u32);
        for slot in slots {
            out.count(slot.index.cast_unsigned());
            slot.count.write(out);
        }
    }
    out.count(histogram.custom_values.len() as u32);
    histogram.custom_values.iter().for_each(|bound| out.number(*bound));
}

pub(crate) fn read<C: WireNumber>(
    input: &mut Input<'_>,
    account: &mut Account<'_>,
) -> Result<FloatHistogram<C>, Damage> {
    let hint = match input.byte()? {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => return Err(input.damage("no hint about resets")),
    };
    let schema = input.count()?.cast_signed();
    if schema != CUSTOM_SCHEMA && !(EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&schema) {
        return Err(input.damage("a schema that is not known here"));
    }
    let zero_threshold = input.number()?;
    if zero_threshold.is_nan() || zero_threshold < 0.0 {
        return Err(input.damage("a zero bucket without width"));
    }
    account.take(size_of::<FloatHistogram<C>>())?;
    let (zero_count, count, sum) = (C::read(input)?, C::read(input)?, C::read(input)?);
    let (positive, negative) = (read_slots(input, account)?, read_slots(input, account)?);
    let bounds = input.count()? as usize;
    account.take(bounds.saturating_mul(size_of::<f64>()))?;
    let mut custom_values: Vec<f64> = Vec::new();
    for _ in 0..bounds {
        let bound = input.number()?;
        if !bound.is_finite() || custom_values.last().is_some_and(|last| *last >= bound) {
            return Err(input.damage("custom bounds do not ascend"));
        }
        custom_values.push(bound);
    }
    let custom_values = Arc::from(custom_values);
    Ok(FloatHistogram { hint, schema, zero_threshold, zero_count, count, sum, positive, negative, custom_values })
}

fn read_slots<C: WireNumber>(input: &mut Input<'_>, account: &mut Account<'_>) -> Result<Vec<Slot<C>>, Damage> {
    let count = input.count()? as usize;
    account.take(count.saturating_mul(size_of::<Slot<C>>()))?;
    let mut slots: Vec<Slot<C>> = Vec::new();
    for _ in 0..count {
        let index = input.count()?.cast_signed();
        if slots.last().is_some_and(|last| last.index >= index) {
            return Err(input.damage("buckets do not ascend"));
        }
        slots.push(Slot { index, count: C::read(input)? });
    }
    Ok(slots)
}

pub(crate) fn write_total(total: &HistogramTotal, out: &mut Output) {
    out.byte(total.flags.to_byte());
    out.number(total.count);
    out.flag(total.total.is_some());
    if let Some(histogram) = &total.total {
        write(histogram, out);
    }
}

pub(crate) fn read_total(input: &mut Input<'_>, account: &mut Account<'_>) -> Result<HistogramTotal, Damage> {
    let flags = TotalFlags::of_byte(input.byte()?).ok_or_else(|| input.damage("no flags of a total"))?;
    let count = input.number()?;
    let total = if input.flag()? { Some(read(input, account)?) } else { None };
    Ok(HistogramTotal { total, count, flags })
}
