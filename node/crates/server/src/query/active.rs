//! The queries that wait, run, or send their answer now; and how one is ended by somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_model::Tenant;
use parking_lot::Mutex;
use tokio::sync::Notify;
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
    end: Arc<End>,
}

/// Whether somebody ended a query.
#[derive(Default)]
struct End {
    killed: AtomicBool,
    told: Notify,
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
        let end = Arc::new(End::default());
        let entry = Entry { tenant: tenant.clone(), text: text.into(), started, end: end.clone() };
        let mut state = self.0.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.entries.insert(id, entry);
        ActiveGuard { queries: self.clone(), id, end }
    }

    /// Ends a tenant's query; says whether there is such a one.
    pub fn kill(&self, tenant: &Tenant, id: u64) -> bool {
        let state = self.0.lock();
        let Some(entry) = state.entries.get(&id).filter(|entry| entry.tenant == *tenant) else { return false };
        entry.end.killed.store(true, Ordering::Relaxed);
        entry.end.told.notify_waiters();
        true
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
    end: Arc<End>,
}

impl ActiveGuard {
    /// Whether somebody ended the query.
    pub fn is_killed(&self) -> bool {
        self.end.killed.load(Ordering::Relaxed)
    }

    /// Returns once somebody ends the query.
    pub async fn killed(&self) {
        // Listens before it looks, so that nothing falls between.
        let told = self.end.told.notified();
        if !self.is_killed() {
            told.await;
        }
    }
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

    #[tokio::test]
    async fn a_query_is_killed_by_its_own_tenant_only() {
        let queries = Arc::new(ActiveQueries::default());
        let tenant = Tenant::default_tenant();
        let guard = queries.enter(&tenant, "up", Instant::now());
        let id = queries.list(Instant::now())[0].id;
        assert!(!queries.kill(&Tenant::new("other").unwrap(), id) && !queries.kill(&tenant, id + 1));
        assert!(!guard.is_killed());
        assert!(queries.kill(&tenant, id));
        guard.killed().await;
        drop(guard);
        assert!(!queries.kill(&tenant, id));
    }
}
