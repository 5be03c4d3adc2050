//! What an evaluation has used so far, and whether it should stop.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::limits::Limits;
use crate::outcome::EvalError;

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
    limits: Limits,
    cancel: &'a dyn Cancel,
    work: Cell<u64>,
    samples: Cell<u64>,
    memory: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(limits: Limits, cancel: &'a dyn Cancel) -> Meter<'a> {
        Meter { limits, cancel, work: Cell::new(WORK_BETWEEN_CHECKS), samples: Cell::new(0), memory: Cell::new(0) }
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
        if samples > self.limits.samples { Err(EvalError::Samples { limit: self.limits.samples }) } else { Ok(()) }
    }

    /// An account for something that is about to grow.
    pub(crate) fn account(&self) -> Account<'_> {
        Account { memory: &self.memory, limit: self.limits.memory_bytes, bytes: 0 }
    }
}

/// Memory of one part of an evaluation; given back when dropped.
pub(crate) struct Account<'m> {
    memory: &'m Cell<u64>,
    limit: u64,
    bytes: u64,
}

impl Account<'_> {
    /// Takes more, before it is allocated.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), EvalError> {
        let used = self.memory.get().saturating_add(bytes as u64);
        if used > self.limit {
            return Err(EvalError::Memory { limit: self.limit });
        }
        self.memory.set(used);
        self.bytes += bytes as u64;
        Ok(())
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.memory.set(self.memory.get() - self.bytes);
    }
}
