//! The queries that run or wait now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::Tenant;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A query that runs or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveQuery {
    /// Rising; unique while the process runs.
    pub id: u64,
    /// Whose data it reads.
    pub tenant: Tenant,
    /// Its text.
    pub text: Arc<str>,
    /// Since when.
    pub running: Duration,
}

struct Entry {
    tenant: Tenant,
    text: Arc<str>,
    started: Instant,
}

#[derive(Default)]
struct State {
    next_id: u64,
    entries: BTreeMap<u64, Entry>,
}

/// All of them.
#[derive(Default)]
pub struct ActiveQueries(Mutex<State>);

impl ActiveQueries {
    /// Notes a query until the guard is dropped.
    pub fn enter(self: &Arc<Self>, tenant: &Tenant, text: &str, started: Instant) -> ActiveGuard {
        let entry = Entry { tenant: tenant.clone(), text: text.into(), started };
        let mut state = self.0.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.entries.insert(id, entry);
        ActiveGuard { queries: self.clone(), id }
    }

    /// Those noted now, oldest first.
    pub fn list(&self, now: Instant) -> Vec<ActiveQuery> {
        let state = self.0.lock();
        let shown = |(id, entry): (&u64, &Entry)| ActiveQuery {
            id: *id,
            tenant: entry.tenant.clone(),
            text: entry.text.clone(),
            running: now - entry.started,
        };
        state.entries.iter().map(shown).collect()
    }
}

/// See [`ActiveQueries::enter`].
pub struct ActiveGuard {
    queries: Arc<ActiveQueries>,
    id: u64,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.queries.0.lock().entries.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_query_is_listed_until_its_guard_goes() {
        let queries = Arc::new(ActiveQueries::default());
        let first = queries.enter(&Tenant::default_tenant(), "up", Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        let second = queries.enter(&Tenant::default_tenant(), "down", Instant::now());
        let listed = queries.list(Instant::now());
        assert_eq!(listed.iter().map(|query| &*query.text).collect::<Vec<_>>(), ["up", "down"]);
        assert_eq!(listed[0].running, Duration::from_secs(2));
        drop(first);
        assert_eq!(queries.list(Instant::now()).len(), 1);
        drop(second);
        assert!(queries.list(Instant::now()).is_empty());
    }
}
