//! The values of one series at every step of an evaluation, and which steps have one.

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
    pub(crate) present: Presence,
}

impl Column {
    /// Absent everywhere.
    pub(crate) fn absent(steps: usize) -> Column {
        Column { values: vec![0.0; steps], present: Presence::none(steps) }
    }

    /// One value everywhere.
    pub(crate) fn constant(value: f64, steps: usize) -> Column {
        Column { values: vec![value; steps], present: Presence::all(steps) }
    }

    /// Makes it absent everywhere, whatever a consumer did to it, keeping its memory.
    pub(crate) fn reset(&mut self, steps: usize) {
        if self.values.len() != steps || self.present.steps() != steps {
            *self = Column::absent(steps);
        } else {
            self.present.clear();
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
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.values.len() * size_of::<f64>() + self.present.byte_len()
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
