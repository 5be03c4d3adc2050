//! Results of range queries that were computed before, kept in memory within a bound.
//!
//! A query that comes again (a dashboard that refreshes) finds the steps that it had before and computes only the others. A
//! step that is kept serves only while nothing it was made of has changed: every shard group that the query concerns says, as
//! freshly as for a read, which times have changed since the step was read ([`crate::routing::GroupChanges`]); samples that come late,
//! deletions and retention count like any other change. What a group was read at includes its incarnation and what it owned, so
//! that after a split, or another beginning of the group, nothing of it serves.
//!
//! Kept are whole answers to queries at multiples of their step, each of whose steps stands alone
//! ([`bellwether_promql::step_reach`]): no partial ones, no stale ones, no errors. Of each query one stretch of steps is kept; what was
//! not asked for longest goes first; of the tenant that has most, so that one with many queries does not push out those of others.

mod extent;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::Tenant;
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub use extent::{
    Extent, Notes, Steps, Stretch, append, beside, is_of_one_map, kept_count, matrix_bytes, places, stretches,
};

/// One answer takes at most this part of the cache.
const ENTRY_SHARE: usize = 8;
/// What an entry takes beside its key and its extent, about.
const ENTRY_BYTES: usize = 256;

/// Which answers can take steps from each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey {
    /// Whose data it reads.
    pub tenant: Tenant,
    /// As it was written: what is said about it names places in it.
    pub text: String,
    /// Distance of the steps.
    pub step_ms: i64,
    /// How far an instant selector looks back.
    pub lookback_ms: i64,
}

impl CacheKey {
    fn byte_len(&self) -> usize {
        ENTRY_BYTES + self.tenant.as_str().len() + self.text.len()
    }
}

/// See the module.
pub struct ResultCache {
    bytes_max: usize,
    state: Mutex<State>,
    metrics: CacheMetrics,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Arc<CacheKey>, Entry>,
    // Invariant: none without entries.
    tenants: BTreeMap<Tenant, Share>,
    /// Counts uses: the clock of this cache.
    uses: u64,
    bytes: usize,
}

/// What a tenant has.
#[derive(Default)]
struct Share {
    /// Keys by when they were asked for last.
    by_use: BTreeMap<u64, Arc<CacheKey>>,
    bytes: usize,
}

struct Entry {
    extent: Arc<Extent>,
    bytes: usize,
    used: u64,
}

/// How much of an answer was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All of it.
    Hit,
    /// Some steps.
    Partial,
    /// Nothing.
    Miss,
}

struct CacheMetrics {
    requests: IntCounterVec,
    steps: IntCounter,
    evictions: IntCounter,
    bytes: IntGauge,
    bytes_max: IntGauge,
}

impl ResultCache {
    /// A cache of so many bytes; of none it keeps nothing. Registers its metrics.
    ///
    /// # Panics
    /// If the registry has them already: a node has one coordinator.
    pub fn new(bytes_max: u64, registry: &Registry) -> ResultCache {
        let metrics = CacheMetrics::new(registry);
        metrics.bytes_max.set(i64::try_from(bytes_max).unwrap_or(i64::MAX));
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        ResultCache { bytes_max, state: Mutex::default(), metrics }
    }

    /// Whether it keeps anything at all.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// What is kept of a query.
    pub fn get(&self, key: &CacheKey) -> Option<Arc<Extent>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let entry = state.entries.get_mut(key)?;
        let share = state.tenants.get_mut(&key.tenant)?;
        let key = share.by_use.remove(&entry.used)?;
        state.uses += 1;
        entry.used = state.uses;
        share.by_use.insert(entry.used, key);
        Some(entry.extent.clone())
    }

    /// Whether an answer of so many bytes may be kept.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        bytes <= self.bytes_max / ENTRY_SHARE
    }

    /// Keeps an extent in place of what was kept of the query, unless it is too large.
    pub fn put(&self, key: CacheKey, extent: Extent) {
        let bytes = key.byte_len() + extent.byte_len();
        let key = Arc::new(key);
        let mut state = self.state.lock();
        state.remove(&key);
        if self.has_room_for(bytes) {
            state.uses += 1;
            let used = state.uses;
            state.bytes += bytes;
            let share = state.tenants.entry(key.tenant.clone()).or_default();
            share.by_use.insert(used, key.clone());
            share.bytes += bytes;
            state.entries.insert(key, Entry { extent: Arc::new(extent), bytes, used });
        }
        while state.bytes > self.bytes_max
            && let Some(oldest) = state.oldest_of_the_largest()
        {
            state.remove(&oldest);
            self.metrics.evictions.inc();
        }
        self.metrics.bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
    }

    /// Counts an answer.
    pub fn observe(&self, found: Found, steps: i64) {
        let result = match found {
            Found::Hit => "hit",
            Found::Partial => "partial",
            Found::Miss => "miss",
        };
        self.metrics.requests.with_label_values(&[result]).inc();
        self.metrics.steps.inc_by(steps.unsigned_abs());
    }
}

impl State {
    fn remove(&mut self, key: &CacheKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.bytes -= entry.bytes;
        if let Some(share) = self.tenants.get_mut(&key.tenant) {
            share.by_use.remove(&entry.used);
            share.bytes -= entry.bytes;
            if share.by_use.is_empty() {
                self.tenants.remove(&key.tenant);
            }
        }
    }

    /// What was not asked for longest of the tenant that has most.
    fn oldest_of_the_largest(&self) -> Option<Arc<CacheKey>> {
        let largest = self.tenants.values().max_by_key(|share| share.bytes)?;
        largest.by_use.first_key_value().map(|(_, key)| key.clone())
    }
}

impl CacheMetrics {
    fn new(registry: &Registry) -> CacheMetrics {
        const VALID: &str = "the names are valid";
        let requests =
            Opts::new("bellwether_query_cache_requests_total", "Range queries by how much of them was kept.");
        let metrics = CacheMetrics {
            requests: IntCounterVec::new(requests, &["result"]).expect(VALID),
            steps: IntCounter::new("bellwether_query_cache_steps_total", "Steps that were not computed again.")
                .expect(VALID),
            evictions: IntCounter::new(
                "bellwether_query_cache_evictions_total",
                "Results that were dropped to make room.",
            )
            .expect(VALID),
            bytes: IntGauge::new("bellwether_query_cache_bytes", "Memory of results that are kept.").expect(VALID),
            bytes_max: IntGauge::new("bellwether_query_cache_limit_bytes", "Memory that they may take.").expect(VALID),
        };
        for result in ["hit", "partial", "miss"] {
            metrics.requests.with_label_values(&[result]);
        }
        let collectors: [Box<dyn Collector>; 5] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.steps.clone()),
            Box::new(metrics.evictions.clone()),
            Box::new(metrics.bytes.clone()),
            Box::new(metrics.bytes_max.clone()),
        ];
        for collector in collectors {
            registry.register(collector).expect("a registry has one coordinator");
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use bellwether_model::Labels;
    use bellwether_promql::{MatrixSeries, Point};

    use super::*;

    fn key(text: &str) -> CacheKey {
        CacheKey { tenant: Tenant::default_tenant(), text: text.to_owned(), step_ms: 10, lookback_ms: 1 }
    }

    fn extent(points: i64) -> Extent {
        let points = (0..points).map(|at| Point { timestamp: at * 10, value: 0.0 }).collect();
        let steps = Steps { first: 0, last: 10_000, step_ms: 10 };
        let series = vec![MatrixSeries { labels: Labels::empty(), points, histograms: Vec::new() }];
        Extent { steps, series, notes: Notes::default(), read_at: Default::default() }
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let cache = ResultCache::new(100_000, &Registry::new());
        let kept = |cache: &ResultCache| {
            (0..9).filter(|n| cache.state.lock().entries.contains_key(&key(&n.to_string()))).collect::<Vec<_>>()
        };
        for n in 0..8 {
            cache.put(key(&n.to_string()), extent(700));
        }
        assert_eq!(kept(&cache), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(cache.get(&key("0")).is_some());
        cache.put(key("8"), extent(700));
        assert_eq!(kept(&cache), [0, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(cache.metrics.evictions.get(), 1);
        let state = cache.state.lock();
        assert_eq!(state.bytes, state.entries.values().map(|entry| entry.bytes).sum::<usize>());
        assert_eq!(state.tenants.values().map(|share| share.by_use.len()).sum::<usize>(), state.entries.len());
        assert!(state.bytes <= 100_000 && cache.metrics.bytes.get() == state.bytes as i64);
    }

    #[test]
    fn a_tenant_with_many_queries_gives_up_its_own() {
        let cache = ResultCache::new(100_000, &Registry::new());
        let of = |tenant: &str, n: usize| CacheKey { tenant: Tenant::new(tenant).unwrap(), ..key(&n.to_string()) };
        cache.put(of("quiet", 0), extent(700));
        cache.put(of("quiet", 1), extent(700));
        (0..50).for_each(|n| cache.put(of("busy", n), extent(700)));
        assert!((0..2).all(|n| cache.get(&of("quiet", n)).is_some()));
        let state = cache.state.lock();
        assert!(state.bytes <= 100_000 && state.entries.len() == 8);
        for (tenant, share) in &state.tenants {
            let own = || state.entries.iter().filter(|(key, _)| key.tenant == *tenant);
            assert_eq!(
                (own().count(), own().map(|(_, entry)| entry.bytes).sum::<usize>()),
                (share.by_use.len(), share.bytes)
            );
        }
    }

    #[test]
    fn an_answer_that_is_too_large_is_not_kept_and_neither_is_what_it_replaces() {
        let cache = ResultCache::new(100_000, &Registry::new());
        cache.put(key("a"), extent(10));
        assert!(cache.get(&key("a")).is_some());
        cache.put(key("a"), extent(1000));
        assert!(cache.get(&key("a")).is_none());
        assert_eq!(cache.metrics.bytes.get(), 0);
        assert!(!ResultCache::new(0, &Registry::new()).is_on());
    }

    #[test]
    fn tenants_and_steps_are_apart() {
        let cache = ResultCache::new(100_000, &Registry::new());
        cache.put(key("a"), extent(1));
        assert!(cache.get(&CacheKey { tenant: Tenant::new("other").unwrap(), ..key("a") }).is_none());
        assert!(cache.get(&CacheKey { step_ms: 20, ..key("a") }).is_none());
        assert!(cache.get(&CacheKey { lookback_ms: 2, ..key("a") }).is_none());
    }
}
