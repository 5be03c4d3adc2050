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

    /// Goes on from what earlier evaluations of the query have read.
    pub(crate) fn after_samples(self, samples: u64) -> Meter<'a> {
        self.samples.set(samples);
        self
    }

    /// Samples read, those of earlier evaluations included.
    pub(crate) fn samples_read(&self) -> u64 {
        self.samples.get()
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

    /// An account for something that has been paid for.
    pub(crate) fn paid(&self, bytes: u64) -> Account<'a> {
        Account::of(self.query, bytes)
    }
}

/// Memory of one part of an evaluation; given back when dropped.
#[derive(Debug)]
pub(crate) struct Account<'m> {
    query: &'m QueryAccount,
    bytes: u64,
}

impl<'m> Account<'m> {
    /// Of something that has been paid for.
    pub(crate) fn of(query: &'m QueryAccount, bytes: u64) -> Account<'m> {
        Account { query, bytes }
    }

    /// Takes more, before it is allocated.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.query.take(bytes as u64)?;
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Takes more or gives back until it is so much.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), EvalError> {
        let bytes = bytes as u64;
        if bytes > self.bytes {
            self.query.take(bytes - self.bytes)?;
        } else {
            self.query.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Leaves what was taken with the query, for what lives longer than an evaluation; says how much that is.
    pub(crate) fn keep(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.query.give_back(self.bytes);
    }
}
