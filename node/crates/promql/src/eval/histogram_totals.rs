//! The histograms of one group at all steps, as they add up.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::column::{Column, HistogramColumn, Presence};
use crate::eval::Evaluator;
use crate::eval::histogram_notes::Combination;
use crate::eval::meter::Account;
use crate::eval::partial::histogram_wire::{read_total, write_total};
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::histogram::HistogramTotal;
use crate::span::Span;

/// See the module.
pub(crate) struct HistogramTotals {
    /// A metric of the group, for what is said of it.
    name: String,
    steps: Vec<Option<Box<HistogramTotal>>>,
    averages: bool,
}

/// What is to be said of the groups of an aggregation.
#[derive(Debug, Default)]
pub(crate) struct GroupNotes {
    mixes_kinds: bool,
    hints_collide: bool,
    bounds_differ: bool,
    /// Metrics with both kinds of buckets.
    mixed: BTreeSet<String>,
}

impl GroupNotes {
    pub(crate) fn tell(self, evaluator: &Evaluator<'_>, span: Span) {
        if self.mixes_kinds {
            evaluator.warn_of_mixed_group(span);
        }
        if self.hints_collide {
            evaluator.warn_of_collision(Combination::Aggregation, span);
        }
        if self.bounds_differ {
            evaluator.inform_of_bounds(Combination::Aggregation, span);
        }
        self.mixed.iter().for_each(|name| evaluator.warn_of_mixed_schemas(name, span));
    }
}

impl HistogramTotals {
    pub(crate) fn new(name: &str, steps: usize, averages: bool) -> HistogramTotals {
        HistogramTotals { name: name.to_owned(), steps: vec![None; steps], averages }
    }

    /// Takes histograms in; gives the bytes by which it has grown.
    pub(crate) fn add(&mut self, histograms: &HistogramColumn) -> usize {
        let mut grown = 0;
        for (step, histogram) in histograms.iter() {
            let total = self.steps[step].get_or_insert_default();
            let before = total.byte_len();
            total.add(histogram, self.averages);
            grown += total.byte_len().saturating_sub(if total.count == 1.0 { 0 } else { before });
        }
        grown
    }

    pub(crate) fn merge(&mut self, other: HistogramTotals) {
        for (ours, theirs) in self.steps.iter_mut().zip(other.steps) {
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => ours.merge(*theirs, self.averages),
                (ours @ None, theirs) => *ours = theirs,
                (Some(_), None) => {}
            }
        }
    }

    /// Puts the results beside the values. A step that has both has neither.
    pub(crate) fn finish(self, column: &mut Column, notes: &mut GroupNotes) {
        for (step, total) in self.steps.into_iter().enumerate() {
            let Some(total) = total else { continue };
            notes.bounds_differ |= total.flags.bounds_differ;
            if total.flags.is_mixed {
                notes.mixed.insert(self.name.clone());
            }
            if column.present.get(step) {
                notes.mixes_kinds = true;
                column.unset(step);
                continue;
            }
            let Some(value) = total.value(self.averages) else { continue };
            notes.hints_collide |= total.flags.hints_collide();
            column.set_histogram(step, Arc::new(value));
        }
    }

    /// Steps that have seen a histogram.
    pub(crate) fn present(&self) -> Presence {
        let mut present = Presence::none(self.steps.len());
        let seen = self.steps.iter().enumerate().filter(|(_, total)| total.is_some());
        seen.for_each(|(step, _)| present.set(step));
        present
    }

    pub(crate) fn byte_len(&self) -> usize {
        let totals = self.steps.iter().flatten().map(|total| total.byte_len()).sum::<usize>();
        HistogramTotals::slot_bytes(self.steps.len()) + totals
    }

    /// What it costs before there is a histogram.
    pub(crate) fn slot_bytes(steps: usize) -> usize {
        size_of::<HistogramTotals>() + steps * size_of::<Option<Box<HistogramTotal>>>()
    }

    pub(crate) fn write(&self, out: &mut Output) {
        let totals = || self.steps.iter().enumerate().filter_map(|(step, total)| Some((step, total.as_ref()?)));
        out.count(totals().count() as u32);
        out.text(self.name.as_bytes());
        for (step, total) in totals() {
            out.count(step as u32);
            write_total(total, out);
        }
    }

    /// Reads what stands behind the count of steps, which is not zero.
    pub(crate) fn read(
        (count, steps, averages): (usize, usize, bool),
        input: &mut Input<'_>,
        account: &mut Account<'_>,
    ) -> Result<HistogramTotals, Damage> {
        let name = std::str::from_utf8(input.text()?).map_err(|_| input.damage("a name that is no text"))?;
        account.take(HistogramTotals::slot_bytes(steps) + name.len())?;
        let mut totals = HistogramTotals::new(name, steps, averages);
        for _ in 0..count {
            let step = input.count()? as usize;
            if totals.steps.get(step).is_none_or(Option::is_some) {
                return Err(input.damage("a histogram lies outside of the steps"));
            }
            account.take(size_of::<HistogramTotal>())?;
            totals.steps[step] = Some(Box::new(read_total(input, account)?));
        }
        Ok(totals)
    }
}
