//! What a write's sender is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long a sender should wait after a transient refusal.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of a request that was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Samples stored, including those that were there already.
    pub samples: u64,
    /// Native histograms stored.
    pub histograms: u64,
    /// Exemplars stored.
    pub exemplars: u64,
    /// What was refused for good while the rest was stored.
    pub refused: Refusals,
}

/// Why something was refused for good: sending it again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// Older than retention.
    TooOld,
    /// Too far ahead of the clock.
    TooFarAhead,
    /// The labels are not valid.
    InvalidLabels,
    /// Another series has the same hash.
    HashConflict,
    /// The tenant may not create series so fast, or so many.
    SeriesLimit,
    /// Native histograms cannot be stored before the upgrade to the program that has them is finalized.
    Histogram,
    /// Native histograms that mean nothing.
    InvalidHistogram,
    /// Exemplars cannot be stored before the upgrade to the program that has them is finalized.
    Exemplar,
    /// Exemplars with labels that are not valid or too long, of times that are not taken, or of series without samples.
    InvalidExemplar,
    /// Part of the body is not what the protocol says.
    Malformed,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [RefusalReason; 10] = [
        RefusalReason::TooOld,
        RefusalReason::TooFarAhead,
        RefusalReason::InvalidLabels,
        RefusalReason::HashConflict,
        RefusalReason::SeriesLimit,
        RefusalReason::Histogram,
        RefusalReason::InvalidHistogram,
        RefusalReason::Exemplar,
        RefusalReason::InvalidExemplar,
        RefusalReason::Malformed,
    ];

    /// Whether a request with such a refusal is answered as one. Exemplars alone are no reason: no sender sends other ones for that, and
    /// nothing else is lost.
    pub fn fails_request(self) -> bool {
        !matches!(self, RefusalReason::Exemplar | RefusalReason::InvalidExemplar)
    }

    /// The value of the metric's label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalReason::TooOld => "too_old",
            RefusalReason::TooFarAhead => "too_far_ahead",
            RefusalReason::InvalidLabels => "invalid_labels",
            RefusalReason::HashConflict => "hash_conflict",
            RefusalReason::SeriesLimit => "series_limit",
            RefusalReason::Histogram => "histogram",
            RefusalReason::InvalidHistogram => "invalid_histogram",
            RefusalReason::Exemplar => "exemplar",
            RefusalReason::InvalidExemplar => "invalid_exemplar",
            RefusalReason::Malformed => "malformed",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            RefusalReason::TooOld => "older than retention allows",
            RefusalReason::TooFarAhead => "too far in the future",
            RefusalReason::InvalidLabels => "with invalid labels",
            RefusalReason::HashConflict => "of a series whose hash another series has",
            RefusalReason::SeriesLimit => "of new series over the tenant's limit",
            RefusalReason::Histogram => "are native histograms, which are not stored until the upgrade is finalized",
            RefusalReason::InvalidHistogram => "are invalid native histograms",
            RefusalReason::Exemplar => "are exemplars, which are not stored until the upgrade is finalized",
            RefusalReason::InvalidExemplar => "are exemplars that cannot be stored",
            RefusalReason::Malformed => "malformed",
        }
    }
}

/// How many were refused for one reason, and one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Samples, histograms or exemplars.
    pub count: u64,
    /// About the first: which labels, which time. May be empty.
    pub example: String,
}

/// Everything that was refused for good, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// At most one entry for each reason.
    pub by_reason: BTreeMap<RefusalReason, Refusal>,
}

impl Refusals {
    /// Adds `count` refusals; the first example of a reason is kept.
    pub fn add(&mut self, reason: RefusalReason, count: u64, example: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        let entry = self.by_reason.entry(reason).or_default();
        entry.count += count;
        if entry.example.is_empty() {
            entry.example = example();
        }
    }

    /// How many in all.
    pub fn count(&self) -> u64 {
        self.by_reason.values().map(|refusal| refusal.count).sum()
    }

    /// Whether anything was refused of which a sender must hear.
    pub fn fail_request(&self) -> bool {
        self.by_reason.keys().any(|reason| reason.fails_request())
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.by_reason.is_empty()
    }
}

impl fmt::Display for Refusals {
    /// `3 samples refused: 2 too far in the future (up{..} at 1), 1 with invalid labels (..)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused: ", self.count())?;
        for (at, (reason, refusal)) in self.by_reason.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", refusal.count, reason.sentence())?;
            if !refusal.example.is_empty() {
                write!(f, " ({})", refusal.example)?;
            }
        }
        Ok(())
    }
}

/// Why a write as a whole was not acknowledged. Mapped to a status once, at the edge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// 400: the body cannot be understood; nothing was stored.
    #[error("{0}")]
    Malformed(String),
    /// 413: nothing was stored.
    #[error("the {what} has {got_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// `body` or `decompressed body`.
        what: &'static str,
        /// Bytes that it has, or claims.
        got_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// 413: nothing was stored, because the series that are new take too much memory.
    #[error("{0}")]
    TooManyNewSeries(String),
    /// 503 with Retry-After: the same request may succeed later; parts of it may have been stored, which is harmless
    /// because a retry is idempotent.
    #[error("{reason}")]
    Transient {
        /// Overload, no leader, disk full, ...
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// 500: our own broken promise.
    #[error("{0}")]
    Internal(String),
}
