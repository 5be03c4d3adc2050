//! What one query has used: series and samples fetched for it, and memory wherever it is held, in fetched data, in the
//! columns of its evaluation, in its result. Everybody who works for the query, on any thread, shares one account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::series::FetchedSeries;

/// What one query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series fetched; one that two selectors read counts twice.
    pub series: u64,
    /// Samples fetched, likewise; and samples that the evaluation reads, points of subqueries included.
    pub samples: u64,
    /// Bytes held at one time.
    pub memory_bytes: u64,
}

impl Default for Limits {
    /// A million series, Prometheus's 50 million samples, and a gigabyte.
    fn default() -> Limits {
        Limits { series: 1_000_000, samples: 50_000_000, memory_bytes: 1 << 30 }
    }
}

/// A query would use more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too many series.
    #[error("the query touches more series than its limit of {limit}")]
    Series {
        /// The limit.
        limit: u64,
    },
    /// Too many samples.
    #[error("query processing would load too many samples into memory in query execution (limit samples: {limit})")]
    Samples {
        /// The limit.
        limit: u64,
    },
    /// Too much memory.
    #[error("query processing would use too much memory (limit memory_bytes: {limit})")]
    Memory {
        /// The limit.
        limit: u64,
    },
    /// Too much memory, together with all other queries.
    #[error("all queries together would use too much memory (limit of the pool: {limit} bytes)")]
    TotalMemory {
        /// The limit.
        limit: u64,
    },
}

/// Memory that several queries share.
#[derive(Debug)]
pub struct MemoryPool {
    limit: u64,
    used: AtomicU64,
}

impl MemoryPool {
    /// A pool of so many bytes.
    pub fn new(limit: u64) -> Arc<MemoryPool> {
        Arc::new(MemoryPool { limit, used: AtomicU64::new(0) })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes there are.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct QueryAccount {
    limits: Limits,
    series: AtomicU64,
    samples: AtomicU64,
    // Invariant: the pool has given out exactly this much for this account.
    memory: AtomicU64,
    peak: AtomicU64,
    pool: Option<Arc<MemoryPool>>,
}

impl QueryAccount {
    /// An account of a query that runs alone.
    pub fn new(limits: Limits) -> QueryAccount {
        QueryAccount {
            limits,
            series: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            pool: None,
        }
    }

    /// An account whose memory comes from a pool as well.
    pub fn within(limits: Limits, pool: Arc<MemoryPool>) -> QueryAccount {
        let mut account = QueryAccount::new(limits);
        account.pool = Some(pool);
        account
    }

    /// What the query may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Series fetched so far.
    pub fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    /// Samples fetched so far.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// The most memory that it held at one time, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Counts what is fetched, before it is.
    pub fn fetch(&self, series: u64, samples: u64) -> Result<(), LimitError> {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        if add(&self.series, series) > self.limits.series {
            return Err(LimitError::Series { limit: self.limits.series });
        }
        if add(&self.samples, samples) > self.limits.samples {
            return Err(LimitError::Samples { limit: self.limits.samples });
        }
        Ok(())
    }

    /// Takes the memory of fetched series, but for their timestamps; the evaluation gives it back.
    pub fn hold(&self, fetched: &[FetchedSeries]) -> Result<(), LimitError> {
        self.take(fetched.iter().map(FetchedSeries::byte_len).sum())
    }

    /// Takes memory, before it is allocated.
    pub fn take(&self, bytes: u64) -> Result<(), LimitError> {
        let grow = |counter: &AtomicU64, limit: u64| {
            let grown = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
        };
        let Ok(before) = grow(&self.memory, self.limits.memory_bytes) else {
            return Err(LimitError::Memory { limit: self.limits.memory_bytes });
        };
        if let Some(pool) = &self.pool
            && grow(&pool.used, pool.limit).is_err()
        {
            self.memory.fetch_sub(bytes, Ordering::Relaxed);
            return Err(LimitError::TotalMemory { limit: pool.limit });
        }
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives memory back that was taken.
    pub fn give_back(&self, bytes: u64) {
        let before = self.memory.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "a query gives back no more than it took");
        if let Some(pool) = &self.pool {
            pool.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for QueryAccount {
    fn drop(&mut self) {
        self.give_back(self.memory.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_share_a_pool_and_return_what_they_took() {
        let pool = MemoryPool::new(100);
        let limits = Limits { memory_bytes: 80, ..Limits::default() };
        let (a, b) = (QueryAccount::within(limits, pool.clone()), QueryAccount::within(limits, pool.clone()));
        assert_eq!(a.take(81), Err(LimitError::Memory { limit: 80 }));
        a.take(80).unwrap();
        assert_eq!(b.take(21), Err(LimitError::TotalMemory { limit: 100 }));
        b.take(20).unwrap();
        a.give_back(30);
        b.take(30).unwrap();
        assert_eq!((pool.used(), a.peak_bytes(), b.peak_bytes()), (100, 80, 50));
        drop(a);
        assert_eq!(pool.used(), 50);
        drop(b);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn what_is_fetched_is_counted_together() {
        let account = QueryAccount::new(Limits { series: 3, samples: 10, ..Limits::default() });
        account.fetch(2, 5).unwrap();
        assert_eq!(account.fetch(2, 1), Err(LimitError::Series { limit: 3 }));
        let account = QueryAccount::new(Limits { series: 3, samples: 10, ..Limits::default() });
        account.fetch(1, 10).unwrap();
        assert_eq!(account.fetch(1, 1), Err(LimitError::Samples { limit: 10 }));
    }
}
