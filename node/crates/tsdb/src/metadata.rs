//! What senders say about metrics, as one shard keeps it: within bounds that every replica meets alike, so that all keep the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{MetricMetadata, Tenant};

/// Bytes of a metric's name, help and unit together; longer ones are ignored.
const RECORD_BYTES_MAX: usize = 16 << 10;

/// What the records may take; what is beyond is ignored until others go.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    records: usize,
    bytes: usize,
    tenant_bytes: usize,
}

/// Of one shard. One tenant cannot take the room of all.
const BOUNDS: Bounds = Bounds { records: 100_000, bytes: 64 << 20, tenant_bytes: 8 << 20 };

/// Whose metric.
pub type MetricKey = (Tenant, String);
/// What is kept now of a metric that changed; `None`: nothing any more.
pub type Change = (MetricKey, Option<Arc<MetricMetadata>>);

/// The metadata of one shard.
#[derive(Debug, Default)]
pub struct MetadataStore {
    records: BTreeMap<MetricKey, Arc<MetricMetadata>>,
    /// Bytes of texts, by tenant.
    tenant_bytes: BTreeMap<Tenant, usize>,
    bytes: usize,
    /// Metrics whose records changed since the last flush.
    changed: Vec<MetricKey>,
}

fn text_bytes(key: &MetricKey, metadata: &MetricMetadata) -> usize {
    key.1.len() + metadata.help.len() + metadata.unit.len()
}

impl MetadataStore {
    /// What a flush has stored.
    pub fn loaded(records: impl IntoIterator<Item = (MetricKey, MetricMetadata)>) -> MetadataStore {
        let mut store = MetadataStore::default();
        records.into_iter().for_each(|(key, metadata)| store.put(key, metadata));
        store
    }

    /// Keeps what a sender says, if there is room for it.
    pub fn set(&mut self, key: MetricKey, metadata: MetricMetadata) {
        self.set_within(BOUNDS, key, metadata);
    }

    fn set_within(&mut self, bounds: Bounds, key: MetricKey, metadata: MetricMetadata) {
        let known = self.records.get(&key);
        if known.is_some_and(|known| **known == metadata) {
            return;
        }
        let bytes = text_bytes(&key, &metadata);
        let freed = known.map_or(0, |known| text_bytes(&key, known));
        let of_tenant = self.tenant_bytes.get(&key.0).copied().unwrap_or_default();
        let is_full = self.records.len() >= bounds.records && known.is_none()
            || of_tenant - freed + bytes > bounds.tenant_bytes
            || self.bytes - freed + bytes > bounds.bytes;
        if is_full || bytes > RECORD_BYTES_MAX {
            return;
        }
        self.changed.push(key.clone());
        self.put(key, metadata);
    }

    fn put(&mut self, key: MetricKey, metadata: MetricMetadata) {
        self.take(&key);
        let bytes = text_bytes(&key, &metadata);
        self.bytes += bytes;
        *self.tenant_bytes.entry(key.0.clone()).or_default() += bytes;
        self.records.insert(key, Arc::new(metadata));
    }

    fn take(&mut self, key: &MetricKey) -> bool {
        let Some(taken) = self.records.remove(key) else { return false };
        let bytes = text_bytes(key, &taken);
        self.bytes -= bytes;
        if let Some(of_tenant) = self.tenant_bytes.get_mut(&key.0) {
            *of_tenant -= bytes;
            if *of_tenant == 0 {
                self.tenant_bytes.remove(&key.0);
            }
        }
        true
    }

    /// Drops what is kept of a metric.
    pub fn remove(&mut self, key: MetricKey) {
        if self.take(&key) {
            self.changed.push(key);
        }
    }

    /// Whose metrics something is kept of.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenant_bytes.keys()
    }

    /// What is kept of a tenant's metrics.
    pub fn of_tenant(&self, tenant: &Tenant) -> impl Iterator<Item = (&String, &MetricMetadata)> {
        let from = self.records.range((tenant.clone(), String::new())..);
        from.take_while(move |((owner, _), _)| owner == tenant).map(|((_, metric), metadata)| (metric, &**metadata))
    }

    /// What changed since the last call, as it is now.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let now = |key: MetricKey| {
            let metadata = self.records.get(&key).cloned();
            (key, metadata)
        };
        changed.into_iter().map(now).collect()
    }

    /// Takes changes back that could not be stored.
    pub fn changed_still(&mut self, changes: Vec<Change>) {
        self.changed.extend(changes.into_iter().map(|(key, _)| key));
    }
}

#[cfg(test)]
mod tests {
    use bellwether_model::MetricKind;

    use super::*;

    fn about(help: &str) -> MetricMetadata {
        MetricMetadata { kind: MetricKind::Gauge, help: help.to_owned(), unit: String::new() }
    }

    fn key(tenant: &str, metric: &str) -> MetricKey {
        (Tenant::new(tenant).unwrap(), metric.to_owned())
    }

    fn kept(store: &MetadataStore, tenant: &str) -> Vec<String> {
        store.of_tenant(&Tenant::new(tenant).unwrap()).map(|(metric, _)| metric.clone()).collect()
    }

    #[test]
    fn one_tenant_cannot_take_the_room_of_another() {
        let bounds = Bounds { records: 5, bytes: 30, tenant_bytes: 12 };
        let mut store = MetadataStore::default();
        for metric in ["m1", "m2", "m3", "m4"] {
            store.set_within(bounds, key("a", metric), about("12"));
        }
        assert_eq!(kept(&store, "a"), ["m1", "m2", "m3"]);
        store.set_within(bounds, key("b", "m"), about("123456"));
        assert_eq!(kept(&store, "b"), ["m"]);
        // A change of what is known needs room for the difference alone.
        store.set_within(bounds, key("a", "m1"), about("1"));
        store.set_within(bounds, key("a", "m2"), about("123"));
        store.set_within(bounds, key("a", "m3"), about("123"));
        let helps: Vec<usize> =
            store.of_tenant(&Tenant::new("a").unwrap()).map(|(_, metadata)| metadata.help.len()).collect();
        assert_eq!(helps, [1, 3, 2]);
        store.remove(key("a", "m2"));
        store.set_within(bounds, key("a", "m4"), about("12"));
        assert_eq!(kept(&store, "a"), ["m1", "m3", "m4"]);
        store.set_within(bounds, key("c", "m"), about(""));
        store.set_within(bounds, key("d", "m"), about(""));
        assert!(kept(&store, "c").len() == 1 && kept(&store, "d").is_empty(), "five records at most");
    }

    #[test]
    fn what_is_loaded_has_the_room_that_it_had() {
        let mut store = MetadataStore::default();
        for metric in ["m1", "m2", "m3"] {
            store.set(key("a", metric), about(metric));
        }
        store.remove(key("a", "m2"));
        let changes = store.take_changes();
        assert_eq!(changes.iter().filter(|(_, metadata)| metadata.is_none()).count(), 1);
        let stored = changes.iter().filter_map(|(key, metadata)| Some((key.clone(), (**metadata.as_ref()?).clone())));
        let loaded = MetadataStore::loaded(stored);
        assert_eq!((loaded.bytes, &loaded.tenant_bytes), (store.bytes, &store.tenant_bytes));
        assert_eq!(loaded.records, store.records);
        assert!(store.take_changes().is_empty());
        store.changed_still(changes);
        assert_eq!(store.take_changes().len(), 3);
    }
}
