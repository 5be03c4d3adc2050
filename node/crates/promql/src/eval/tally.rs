//! How many samples each step of a query sees, for its statistics.

use std::cell::{Cell, RefCell};

use crate::plan::{CountedBy, Plan};

pub(crate) struct Tally {
    /// Empty where nobody asks.
    steps: RefCell<Vec<u64>>,
    /// Who counts what is being read.
    counted: Cell<CountedBy>,
}

impl Tally {
    pub(crate) fn new(plan: &Plan) -> Tally {
        Tally { steps: RefCell::new(plan.no_samples_per_step()), counted: Cell::default() }
    }

    /// Who counts what a node reads that is entered now. The nodes above take what it gives while nodes below are still at
    /// work, so each asks when it is entered.
    pub(crate) fn counted(&self) -> CountedBy {
        self.counted.get()
    }

    /// Enters a node whose samples are counted so.
    pub(crate) fn within<T>(&self, counted: CountedBy, enter: impl FnOnce() -> T) -> T {
        let before = self.counted.replace(counted);
        let left = enter();
        self.counted.set(before);
        left
    }

    /// Enters a node that is evaluated once for all steps.
    pub(crate) fn once<T>(&self, enter: impl FnOnce() -> T) -> T {
        self.within(self.counted().once(), enter)
    }

    /// Counts the samples of some steps.
    #[inline]
    pub(crate) fn add(&self, counted: CountedBy, samples: impl Iterator<Item = (usize, u64)>) {
        let mut steps = self.steps.borrow_mut();
        if steps.is_empty() || counted == CountedBy::None {
            return;
        }
        for (step, samples) in samples {
            match counted {
                CountedBy::Every => steps.iter_mut().for_each(|count| *count += samples),
                _ => steps.get_mut(step).into_iter().for_each(|count| *count += samples),
            }
        }
    }

    /// Takes in what was counted elsewhere.
    pub(crate) fn join(&self, other: &[u64]) {
        join(&mut self.steps.borrow_mut(), other);
    }

    pub(crate) fn into_steps(self) -> Vec<u64> {
        self.steps.into_inner()
    }
}

/// Adds counts of the same steps.
pub(crate) fn join(steps: &mut [u64], other: &[u64]) {
    steps.iter_mut().zip(other).for_each(|(count, other)| *count = count.saturating_add(*other));
}
