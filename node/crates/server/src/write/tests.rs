//! Tests of the way in.

use std::time::Duration;

use bellwether_ingest::{CacheEntry, Encoding};
use bellwether_kv::MemDisk;
use bellwether_model::{Labels, Sample, SeriesRef, Tenant};

use super::own_body;
use super::*;
use crate::shards::ring::id_of;
use crate::testing::{NOW_MS, Storage};

fn sample(value: f64) -> Sample {
    Sample { timestamp: NOW_MS, value }
}

#[tokio::test]
async fn too_old_and_too_new_are_refused_with_reason_while_the_rest_is_stored() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    let series = |name| Labels::of(&[("__name__", name)]);
    let samples = vec![
        (series("ok"), sample(1.0)),
        (series("old"), Sample { timestamp: 0, value: 2.0 }),
        (series("new"), Sample { timestamp: NOW_MS + 11 * 60_000, value: 3.0 }),
    ];
    let outcome = storage.write.write_samples(&Tenant::default_tenant(), samples, Vec::new()).await.unwrap();
    assert_eq!((outcome.samples, outcome.refused.count()), (1, 2));
    assert_eq!(
        outcome.refused.to_string(),
        "2 refused: 1 older than retention allows (retention is 34128000s), 1 too far in the future (more than 600 s \
         ahead of the clock, which says 1795161600000 ms)"
    );
    assert_eq!(storage.values("ok").await.unwrap(), [1.0]);
    assert!(storage.values("old").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ref_that_the_group_does_not_know_is_resolved_and_sent_again() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&["m"], sample(1.0)).await.unwrap();
    // What the cache knows is wrong, as after a group was restored from a backup.
    let body = own_body::encode(&[(Labels::of(&[("__name__", "m")]), sample(2.0))], &[]);
    let tenant = Tenant::default_tenant();
    let empty = SeriesCache::new(storage.write.cache.seed(), 1 << 16);
    let ring = storage.shards.ring();
    let distributor = bellwether_ingest::Distributor::new(&tenant, &empty, &storage.write.metadata, ring.table());
    let miss = distributor.distribute_v1(&body, &mut Default::default()).unwrap().misses.remove(0);
    let scope = storage.shards.local(id_of(miss.group)).unwrap().scope();
    let wrong = CacheEntry { key: miss.key, group: miss.group, scope, series_ref: SeriesRef(4_000_000) };
    storage.write.forget_group(miss.group, scope);
    storage.write.cache.insert(distributor.tenant_key(), &[wrong]);

    let outcome =
        storage.write.remote_write(&tenant, RemoteWriteVersion::V1, Encoding::Identity, body.into()).await.unwrap();
    assert_eq!((outcome.samples, storage.metrics.resends.get()), (1, 1));
    assert_eq!(storage.values("m").await.unwrap(), [2.0]);
    storage.write(&["m"], sample(3.0)).await.unwrap();
    assert_eq!(storage.metrics.resends.get(), 1, "the cache has learnt");
}

#[tokio::test(start_paused = true)]
async fn new_series_beyond_the_budget_wait() {
    let storage = Storage::open(MemDisk::new(), |config| config.ingest.max_new_series_per_second = 2).await;
    let error = storage.write(&["a", "b", "c"], sample(1.0)).await.unwrap_err();
    assert!(
        matches!(&error, WriteError::Transient { reason, .. } if reason.contains("new series too fast")),
        "{error}"
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(storage.write(&["a", "b", "c"], sample(1.0)).await.unwrap().samples, 3);
}

#[tokio::test]
async fn series_beyond_the_limit_are_refused_for_good_and_known_ones_are_not() {
    let storage = Storage::open(MemDisk::new(), |config| {
        config.shard_groups = 1;
        config.ingest.max_series = 1;
    })
    .await;
    let names = ["a", "b", "c", "d"];
    assert_eq!(storage.write(&names, sample(1.0)).await.unwrap().samples, 4, "a group may hold four times its share");
    let outcome = storage.write(&["a", "e"], sample(2.0)).await.unwrap();
    assert_eq!((outcome.samples, outcome.refused.count()), (1, 1));
    assert!(outcome.refused.to_string().contains("new series over the tenant's limit (e)"), "{}", outcome.refused);
}

#[tokio::test]
async fn a_gate_that_is_shut_refuses_and_reads_go_on() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    storage.write(&["m"], sample(1.0)).await.unwrap();
    storage.write.set_refusing(Some("the disk is nearly full".to_owned()));
    let error = storage.write(&["m"], sample(2.0)).await.unwrap_err();
    assert_eq!(error.to_string(), "the disk is nearly full");
    assert_eq!(storage.values("m").await.unwrap(), [1.0]);
}

#[tokio::test]
async fn metadata_is_kept_and_found_again() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    let about = MetricMetadata {
        kind: bellwether_model::MetricKind::Counter,
        help: "Requests.".to_owned(),
        unit: "1".to_owned(),
    };
    let tenant = Tenant::default_tenant();
    let metadata: Vec<_> = (0..20).map(|at| (format!("metric_{at}"), about.clone())).collect();
    storage.write.write_samples(&tenant, Vec::new(), metadata.clone()).await.unwrap();
    let storage = Storage::open(storage.crash().await, |_| {}).await;
    let found = storage.shards.metadata(&tenant).await.unwrap();
    assert_eq!(found, metadata.into_iter().collect());
}

#[test]
fn snappy_lengths_are_read() {
    assert_eq!(snappy_length(&[0x80, 0x01, 9]), Some(128));
    assert_eq!(snappy_length(&[0x7f]), Some(127));
    assert_eq!(snappy_length(&[]), None);
    assert_eq!(snappy_length(&[0x80]), None);
}
