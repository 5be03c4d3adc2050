//! Results of aggregations over a part of the series: computed where the series are, merged where the query runs.
//!
//! A [`Reducer`] takes the series of one selection in batches and keeps none of them: what remains is the state of each
//! aggregation that reads the selection. Its [`Partial`] merges with those of other parts, travels in pieces, and stands in
//! for the series in [`crate::evaluate_with`]. Sums merge by their compensated parts, so the order of merging shows in the
//! last bits: whoever merges keeps to one order.

pub(crate) mod candidates;
pub(crate) mod grouped;
pub(crate) mod histogram_wire;
pub(crate) mod state;
pub(crate) mod value_counts;
pub(crate) mod wire;

use std::cell::RefCell;

use crate::account::QueryAccount;
use crate::column::Column;
use crate::eval::input::Input;
use crate::eval::meter::{Account, Cancel, Meter};
use crate::eval::tally::{Tally, join};
use crate::eval::{Evaluator, check_columns};
use crate::outcome::{Annotations, EvalError};
use crate::plan::{Plan, Reduction};
use crate::series::{FetchedSeries, SeriesLabels};
use state::State;
pub use wire::Damage;
use wire::Output;

/// What pieces of other rules are told apart by.
const PIECE_VERSION: u8 = 2;
/// A piece ends once it has so many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// See the module.
pub struct Reducer<'a> {
    plan: &'a Plan,
    selection: usize,
    query: &'a QueryAccount,
    cancel: &'a dyn Cancel,
    states: Vec<(usize, State, Account<'a>)>,
    samples: u64,
    samples_per_step: Vec<u64>,
    annotations: Annotations,
}

/// What the aggregations that read a selection have made of some of its series.
pub struct Partial {
    /// By the number of the reduction.
    pub(crate) states: Vec<(usize, State)>,
    /// Samples read for it.
    pub(crate) samples: u64,
    /// See [`crate::Outcome::samples_per_step`].
    pub(crate) samples_per_step: Vec<u64>,
    pub(crate) annotations: Annotations,
    /// What the query's account has been charged for it.
    charged: u64,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let items: Vec<usize> = self.states.iter().map(|(_, state)| state.items()).collect();
        f.debug_struct("Partial").field("items", &items).field("charged", &self.charged).finish_non_exhaustive()
    }
}

impl Partial {
    /// Samples that were read for it.
    pub fn samples_read(&self) -> u64 {
        self.samples
    }
}

impl<'a> Reducer<'a> {
    /// A reducer of a selection that is [`crate::Selection::reduced`].
    pub fn new(
        plan: &'a Plan,
        selection: usize,
        query: &'a QueryAccount,
        cancel: &'a dyn Cancel,
    ) -> Result<Reducer<'a>, EvalError> {
        let mut reducer = Reducer {
            plan,
            selection,
            query,
            cancel,
            states: Vec::new(),
            samples: 0,
            samples_per_step: plan.no_samples_per_step(),
            annotations: Annotations::default(),
        };
        let evaluator = reducer.evaluator(Vec::new());
        for (number, reduction) in plan.reductions_of(selection) {
            let state = State::new(&evaluator, &reduction.node, &reduction.grid, plan.needs_order)?;
            let mut account = evaluator.meter.account();
            let state = state.expect("a reduction's states merge");
            account.set(state.byte_len())?;
            reducer.states.push((number, state, account));
        }
        Ok(reducer)
    }

    fn evaluator(&self, batch: Vec<FetchedSeries>) -> Evaluator<'a> {
        let mut batch = Some(batch);
        let inputs = self.plan.readers.iter().enumerate().map(|(at, readers)| {
            let series = if at == self.selection { batch.take() } else { None };
            Input::new(series.unwrap_or_default(), *readers, self.plan)
        });
        Evaluator {
            inputs: inputs.collect(),
            reduced: RefCell::default(),
            lookback_ms: self.plan.lookback_ms,
            delays_names: self.plan.delays_names,
            meter: Meter::new(self.query, self.cancel).after_samples(self.samples),
            annotations: RefCell::default(),
            tally: Tally::new(self.plan),
            trace: None,
        }
    }

    /// Takes series in, whose [`FetchedSeries::byte_len`] the account has been charged; they and it are given back.
    pub fn add(&mut self, batch: Vec<FetchedSeries>) -> Result<(), EvalError> {
        check_columns(&batch)?;
        let evaluator = self.evaluator(batch);
        for (number, state, account) in &mut self.states {
            let reduction = &self.plan.reductions[*number];
            let mut take = |labels: &SeriesLabels, column: &mut Column| {
                state.add(labels, column, account)?;
                evaluator.meter.work(column.work())
            };
            let Reduction { node, grid, counted, .. } = reduction;
            evaluator.tally.within(*counted, || evaluator.vector(&node.arg, grid, &mut take))?;
            state.settle(&evaluator, node.arg_span, account)?;
        }
        self.samples = evaluator.meter.samples_read();
        self.annotations.extend(evaluator.annotations.into_inner());
        join(&mut self.samples_per_step, &evaluator.tally.into_steps());
        Ok(())
    }

    /// What became of all of them. It stays charged.
    pub fn finish(self) -> Result<Partial, EvalError> {
        let mut partial = Partial {
            states: Vec::new(),
            samples: self.samples,
            samples_per_step: self.samples_per_step,
            annotations: self.annotations,
            charged: 0,
        };
        for (number, state, mut account) in self.states {
            account.set(state.byte_len())?;
            partial.charged += state.byte_len() as u64;
            account.keep();
            partial.states.push((number, state));
        }
        Ok(partial)
    }
}

impl Partial {
    /// Of no series at all.
    pub fn empty(
        plan: &Plan,
        selection: usize,
        query: &QueryAccount,
        cancel: &dyn Cancel,
    ) -> Result<Partial, EvalError> {
        let mut reducer = Reducer::new(plan, selection, query, cancel)?;
        // What is to be said of the parameters is said without data too.
        reducer.add(Vec::new())?;
        reducer.finish()
    }

    /// Takes in what other series have become, under the same plan and selection.
    pub fn merge(&mut self, other: Partial, query: &QueryAccount, cancel: &dyn Cancel) -> Result<(), EvalError> {
        debug_assert!(self.states.iter().map(|(number, _)| number).eq(other.states.iter().map(|(number, _)| number)));
        let meter = Meter::new(query, cancel).after_samples(self.samples);
        meter.samples(usize::try_from(other.samples).unwrap_or(usize::MAX))?;
        self.samples = meter.samples_read();
        join(&mut self.samples_per_step, &other.samples_per_step);
        self.annotations.extend(other.annotations);
        self.charged += other.charged;
        for ((_, ours), (_, theirs)) in self.states.iter_mut().zip(other.states) {
            meter.work(theirs.items())?;
            ours.merge(theirs, &meter)?;
        }
        self.charge(query)
    }

    /// What the query's account has been charged for it.
    pub fn byte_len(&self) -> u64 {
        self.charged
    }

    /// Makes the account agree with what it is now.
    fn charge(&mut self, query: &QueryAccount) -> Result<(), EvalError> {
        let mut account = Account::of(query, self.charged);
        account.set(self.states.iter().map(|(_, state)| state.byte_len()).sum())?;
        self.charged = account.keep();
        Ok(())
    }

    /// Cuts it into pieces of about 256 KiB.
    pub fn into_pieces(self) -> impl Iterator<Item = Vec<u8>> + Send {
        let Partial { states, samples, samples_per_step, annotations, .. } = self;
        let counts_steps = !samples_per_step.is_empty();
        let mut said = Some((samples, samples_per_step, annotations));
        let (mut at, mut item) = (0, 0);
        std::iter::from_fn(move || {
            if at == states.len() && said.is_none() {
                return None;
            }
            let mut out = Output::default();
            out.byte(PIECE_VERSION);
            let (samples, samples_per_step, annotations) = said.take().unwrap_or_default();
            out.bits(samples);
            if counts_steps {
                out.count(samples_per_step.len() as u32);
                samples_per_step.iter().for_each(|count| out.bits(*count));
            }
            let (warnings, infos) = annotations.into_parts();
            for texts in [warnings, infos] {
                out.count(texts.len() as u32);
                texts.iter().for_each(|text| out.text(text.as_bytes()));
            }
            while let Some((number, state)) = states.get(at).filter(|_| out.0.len() < PIECE_BYTES) {
                let first = item;
                out.count(*number as u32);
                let place = out.0.len();
                out.count(0);
                while item < state.items() && out.0.len() < PIECE_BYTES {
                    state.write(item, &mut out);
                    item += 1;
                }
                out.0[place..place + 4].copy_from_slice(&((item - first) as u32).to_le_bytes());
                if item == state.items() {
                    (at, item) = (at + 1, 0);
                }
            }
            Some(out.0)
        })
    }

    /// Puts the next piece of a partial result into one that began as [`Partial::empty`].
    pub fn read_piece(&mut self, piece: &[u8], query: &QueryAccount) -> Result<(), Damage> {
        let mut input = wire::Input::new(piece);
        if input.byte()? != PIECE_VERSION {
            return Err(input.damage("a version that is not known here"));
        }
        self.samples = self.samples.saturating_add(input.bits()?);
        if !self.samples_per_step.is_empty() {
            let steps = input.count()? as usize;
            if steps != 0 && steps != self.samples_per_step.len() {
                return Err(input.damage("counts of other steps"));
            }
            for count in &mut self.samples_per_step[..steps] {
                *count = count.saturating_add(input.bits()?);
            }
        }
        for is_warning in [true, false] {
            for _ in 0..input.count()? {
                let text = std::str::from_utf8(input.text()?).map_err(|_| input.damage("a text that is none"))?;
                self.annotations.repeat(text, is_warning);
            }
        }
        let mut account = Account::of(query, self.charged);
        while !input.is_empty() {
            let number = input.count()? as usize;
            let known = self.states.iter_mut().find(|(known, _)| *known == number);
            let (_, state) = known.ok_or_else(|| input.damage("an aggregation that the query has not"))?;
            for _ in 0..input.count()? {
                state.read(&mut input, &mut account)?;
            }
        }
        self.charged = account.keep();
        Ok(())
    }
}
