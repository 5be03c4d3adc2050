//! The values of one series at every step of an evaluation, and which steps have one.

use std::borrow::Cow;
use std::sync::Arc;

use crate::histogram::FloatHistogram;

/// One bit for each step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    // Invariant: bits at and behind `steps` are zero.
    words: Vec<u64>,
    steps: usize,
}

const WORD_BITS: usize = 64;

impl Presence {
    /// No step is present.
    pub(crate) fn none(steps: usize) -> Presence {
        Presence { words: vec![0; steps.div_ceil(WORD_BITS)], steps }
    }

    /// Every step is present.
    pub(crate) fn all(steps: usize) -> Presence {
        let mut presence = Presence::none(steps);
        presence.fill();
        presence
    }

    /// Makes every step present.
    pub(crate) fn fill(&mut self) {
        self.words.fill(u64::MAX);
        if !self.steps.is_multiple_of(WORD_BITS)
            && let Some(last) = self.words.last_mut()
        {
            *last = (1 << (self.steps % WORD_BITS)) - 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    #[inline]
    pub(crate) fn get(&self, step: usize) -> bool {
        self.words[step / WORD_BITS] >> (step % WORD_BITS) & 1 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, step: usize) {
        self.words[step / WORD_BITS] |= 1 << (step % WORD_BITS);
    }

    #[inline]
    pub(crate) fn unset(&mut self, step: usize) {
        self.words[step / WORD_BITS] &= !(1 << (step % WORD_BITS));
    }

    pub(crate) fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count() == self.steps
    }

    pub(crate) fn union(&mut self, other: &Presence) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn intersect(&mut self, other: &Presence) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub(crate) fn subtract(&mut self, other: &Presence) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    pub(crate) fn overlaps(&self, other: &Presence) -> bool {
        self.words.iter().zip(&other.words).any(|(word, other)| word & other != 0)
    }

    /// The present steps in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(at * WORD_BITS + bit)
            })
        })
    }

    pub(crate) fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    pub(crate) fn last(&self) -> Option<usize> {
        let at = self.words.iter().rposition(|word| *word != 0)?;
        Some(at * WORD_BITS + self.words[at].ilog2() as usize)
    }

    /// The bits of 64 steps each.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Sets the bits of 64 steps; says whether all of them exist.
    pub(crate) fn set_word(&mut self, at: usize, word: u64) -> bool {
        let left = self.steps - at * WORD_BITS;
        self.words[at] = word;
        left >= WORD_BITS || word >> left == 0
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

/// Values of one series; those of absent steps mean nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    pub(crate) values: Vec<f64>,
    /// Steps that have a value.
    pub(crate) present: Presence,
    /// What has a histogram instead. Few series do, so the steps of all others are not asked.
    // Invariant: no step has both.
    pub(crate) histograms: Option<Box<HistogramColumn>>,
}

/// Histograms of one series.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistogramColumn {
    at: Vec<Option<Arc<FloatHistogram>>>,
    present: Presence,
}

/// Bytes of histograms, of which neighbours may be one and the same.
pub(crate) fn bytes_of_shared<'h>(histograms: impl Iterator<Item = &'h Arc<FloatHistogram>>) -> usize {
    let mut last: Option<&Arc<FloatHistogram>> = None;
    histograms.fold(0, |bytes, histogram| {
        let is_known = last.replace(histogram).is_some_and(|last| Arc::ptr_eq(last, histogram));
        if is_known { bytes } else { bytes + histogram.byte_len() }
    })
}

impl HistogramColumn {
    fn absent(steps: usize) -> HistogramColumn {
        HistogramColumn { at: vec![None; steps], present: Presence::none(steps) }
    }

    pub(crate) fn present(&self) -> &Presence {
        &self.present
    }

    #[inline]
    pub(crate) fn get(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.at.get(step)?.as_ref()
    }

    fn set(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        self.at[step] = Some(histogram);
        self.present.set(step);
    }

    fn unset(&mut self, step: usize) {
        self.at[step] = None;
        self.present.unset(step);
    }

    /// Steps in ascending order and what they have.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<FloatHistogram>)> + '_ {
        self.at.iter().enumerate().filter_map(|(step, histogram)| Some((step, histogram.as_ref()?)))
    }

    fn retain(&mut self, keeps: impl Fn(usize) -> bool) {
        for step in 0..self.at.len() {
            if self.at[step].is_some() && !keeps(step) {
                self.unset(step);
            }
        }
    }

    fn byte_len(&self) -> usize {
        let slots = self.at.len() * size_of::<Option<Arc<FloatHistogram>>>();
        slots + self.present.byte_len() + bytes_of_shared(self.iter().map(|(_, histogram)| histogram))
    }
}

impl Column {
    /// Absent everywhere.
    pub(crate) fn absent(steps: usize) -> Column {
        Column::of_floats(vec![0.0; steps], Presence::none(steps))
    }

    /// One value everywhere.
    pub(crate) fn constant(value: f64, steps: usize) -> Column {
        Column::of_floats(vec![value; steps], Presence::all(steps))
    }

    pub(crate) fn of_floats(values: Vec<f64>, present: Presence) -> Column {
        Column { values, present, histograms: None }
    }

    /// Makes it absent everywhere, whatever a consumer did to it, keeping its memory.
    pub(crate) fn reset(&mut self, steps: usize) {
        if self.values.len() != steps || self.present.steps() != steps {
            *self = Column::absent(steps);
        } else {
            self.present.clear();
            self.histograms = None;
        }
    }

    /// Whether some step has something.
    pub(crate) fn any(&self) -> bool {
        self.present.any() || self.has_histograms()
    }

    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.as_ref().is_some_and(|histograms| histograms.present.any())
    }

    /// Steps that have something.
    pub(crate) fn presence(&self) -> Cow<'_, Presence> {
        match &self.histograms {
            None => Cow::Borrowed(&self.present),
            Some(histograms) => {
                let mut both = self.present.clone();
                both.union(&histograms.present);
                Cow::Owned(both)
            }
        }
    }

    /// Leaves only steps of `present`.
    pub(crate) fn intersect(&mut self, present: &Presence) {
        self.present.intersect(present);
        if let Some(histograms) = &mut self.histograms {
            histograms.retain(|step| present.get(step));
        }
    }

    /// Leaves no step of `present`.
    pub(crate) fn subtract(&mut self, present: &Presence) {
        self.present.subtract(present);
        if let Some(histograms) = &mut self.histograms {
            histograms.retain(|step| !present.get(step));
        }
    }

    #[inline]
    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        self.present.get(step).then(|| self.values[step])
    }

    #[inline]
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present.set(step);
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.as_ref()?.get(step)
    }

    /// Sets the histogram of a step that has no value.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        let steps = self.present.steps();
        self.histograms.get_or_insert_with(|| Box::new(HistogramColumn::absent(steps))).set(step, histogram);
    }

    /// Takes away what a step has.
    pub(crate) fn unset(&mut self, step: usize) {
        self.present.unset(step);
        if let Some(histograms) = &mut self.histograms {
            histograms.unset(step);
        }
    }

    /// Replaces every histogram.
    pub(crate) fn map_histograms(&mut self, f: impl Fn(&mut FloatHistogram)) {
        if let Some(histograms) = &mut self.histograms {
            histograms.at.iter_mut().flatten().for_each(|histogram| f(Arc::make_mut(histogram)));
        }
    }

    /// Replaces every value; absent ones are computed too, which costs less than asking.
    #[inline]
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        self.values.iter_mut().for_each(|value| *value = f(*value));
    }

    /// Fills the steps that are absent here from a column that shares no step with this one.
    pub(crate) fn merge(&mut self, other: &Column) {
        for step in other.present.iter() {
            self.values[step] = other.values[step];
        }
        self.present.union(&other.present);
        for (step, histogram) in other.histograms.iter().flat_map(|histograms| histograms.iter()) {
            self.set_histogram(step, histogram.clone());
        }
    }

    /// What it costs to walk over, in points.
    pub(crate) fn work(&self) -> usize {
        let work = |histograms: &HistogramColumn| histograms.iter().map(|(_, histogram)| histogram.work()).sum();
        self.values.len() + self.histograms.as_deref().map_or(0, work)
    }

    pub(crate) fn byte_len(&self) -> usize {
        let histograms = self.histograms.as_ref().map_or(0, |histograms| histograms.byte_len());
        self.values.len() * size_of::<f64>() + self.present.byte_len() + histograms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_knows_its_last_step() {
        for steps in [0, 1, 63, 64, 65, 200] {
            let all = Presence::all(steps);
            assert!(all.is_full());
            assert_eq!(all.iter().collect::<Vec<_>>(), (0..steps).collect::<Vec<_>>());
        }
    }

    #[test]
    fn disjoint_columns_merge() {
        let mut a = Column::absent(3);
        a.set(0, 1.0);
        let mut b = Column::absent(3);
        b.set(2, 3.0);
        assert!(!a.present.overlaps(&b.present));
        a.merge(&b);
        assert_eq!((a.get(0), a.get(1), a.get(2)), (Some(1.0), None, Some(3.0)));
    }
}
