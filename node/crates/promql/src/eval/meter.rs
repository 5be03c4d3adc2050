//! What an evaluation has used so far, and whether it should stop.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::account::{LimitError, QueryAccount};
use crate::outcome::EvalError;
use crate::series::FetchedSeries;

/// Tells an evaluation to stop.
pub trait Cancel {
    /// Whether the result is no longer wanted; asked about every millisecond.
    fn is_cancelled(&self) -> bool;
}

impl Cancel for AtomicBool {
    fn is_cancelled(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// Points computed between two questions to [`Cancel`]; well under a millisecond's work each.
const WORK_BETWEEN_CHECKS: u64 = 16 * 1024;

pub(crate) struct Meter<'a> {
    query: &'a QueryAccount,
    cancel: &'a dyn Cancel,
    work: Cell<u64>,
    samples: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(query: &'a QueryAccount, cancel: &'a dyn Cancel) -> Meter<'a> {
        Meter { query, cancel, work: Cell::new(WORK_BETWEEN_CHECKS), samples: Cell::new(0) }
    }

    /// Counts work done, in points; fails once the query is cancelled.
    #[inline]
    pub(crate) fn work(&self, points: usize) -> Result<(), EvalError> {
        let work = self.work.get() + points as u64;
        if work < WORK_BETWEEN_CHECKS {
            self.work.set(work);
            return Ok(());
        }
        self.work.set(0);
        if self.cancel.is_cancelled() { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// Counts samples read.
    pub(crate) fn samples(&self, count: usize) -> Result<(), EvalError> {
        let samples = self.samples.get().saturating_add(count as u64);
        self.samples.set(samples);
        let limit = self.query.limits().samples;
        if samples > limit { Err(LimitError::Samples { limit }.into()) } else { Ok(()) }
    }

    /// Gives back what was taken for a fetched series that is no longer needed.
    pub(crate) fn consumed(&self, series: &FetchedSeries) {
        self.query.give_back(series.byte_len());
    }

    /// An account for something that is about to grow.
    pub(crate) fn account(&self) -> Account<'a> {
        Account { query: self.query, bytes: 0 }
    }
}

/// Memory of one part of an evaluation; given back when dropped.
#[derive(Debug)]
pub(crate) struct Account<'m> {
    query: &'m QueryAccount,
    bytes: u64,
}

impl Account<'_> {
    /// Takes more, before it is allocated.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.query.take(bytes as u64)?;
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Leaves what was taken with the query: its result lives longer than its evaluation.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.query.give_back(self.bytes);
    }
}
