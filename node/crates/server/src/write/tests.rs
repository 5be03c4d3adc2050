//! Tests of the way in.

use std::time::Duration;

use bellwether_ingest::{CacheEntry, Encoding};
use bellwether_kv::MemDisk;
use bellwether_model::{Labels, Sample, SeriesRef, Tenant};

use super::own_body;
use super::*;
use crate::config::ByteSize;
use crate::shards::ring::id_of;
use crate::shards::{Limits, QueryAccount, ReadContext};
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
        "2 refused: 1 older than retention allows (retention is 395d), 1 too far in the future (more than 10m \
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
async fn series_beyond_a_tenants_limit_are_refused_for_good_and_nobody_elses() {
    let storage = Storage::open(MemDisk::new(), |config| {
        config.shard_groups = 1;
        config.ingest.max_series = 2;
    })
    .await;
    let of = |names: [&str; 2], value| {
        names.map(|name| (Labels::of(&[("__name__", name)]), sample(value))).into_iter().collect::<Vec<_>>()
    };
    let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
    let write = |tenant, samples| storage.write.write_samples(tenant, samples, Vec::new());
    assert_eq!(write(&one, of(["a", "b"], 1.0)).await.unwrap().samples, 2);
    let outcome = write(&one, of(["a", "c"], 2.0)).await.unwrap();
    assert_eq!(outcome.samples, 1, "a known series goes on");
    assert_eq!(
        outcome.refused.to_string(),
        "1 refused: 1 of new series over the tenant's limit (tenant one may have 2 series, ingest.max_series; the first \
         is c)"
    );
    assert_eq!(write(&two, of(["a", "b"], 1.0)).await.unwrap().samples, 2, "another tenant has a limit of its own");
}

#[tokio::test]
async fn a_body_counts_as_what_it_decompresses_to_whatever_its_first_frame_says() {
    let storage = Storage::open(MemDisk::new(), |config| config.ingest.max_inflight_bytes = ByteSize(100_000)).await;
    let mut body = zstd::bulk::compress(b"", 1).unwrap();
    body.extend(zstd::bulk::compress(&vec![0; 200_000], 1).unwrap());
    let tenant = Tenant::default_tenant();
    let error =
        storage.write.remote_write(&tenant, RemoteWriteVersion::V1, Encoding::Zstd, body.into()).await.unwrap_err();
    assert_eq!(error.to_string(), "overloaded: 0 of 100000 bytes of writes are in flight, no room for 200000 more");
}

#[tokio::test]
async fn a_body_of_tiny_new_series_is_refused_before_it_takes_the_memory() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    let metrics = (0..400_000).map(|number: u32| (Labels::of(&[("__name__", &number.to_string())]), sample(1.0)));
    let body = own_body::encode(&metrics.collect::<Vec<_>>(), &[]);
    assert!(body.len() < 20 << 20);
    let tenant = Tenant::default_tenant();
    let sent = storage.write.remote_write(&tenant, RemoteWriteVersion::V1, Encoding::Identity, body.into()).await;
    let Err(WriteError::TooManyNewSeries(reason)) = sent else { panic!("{sent:?}") };
    assert_eq!(
        reason,
        "the new series of one request take more than 67108864 bytes of memory: send them in several requests"
    );
    assert_eq!(storage.shards.stats().series, 0);
}

/// Many samples of one series, which compress badly.
fn noise(from: usize) -> Vec<(Labels, Sample)> {
    let labels = Labels::of(&[("__name__", "noise")]);
    let value = |at: usize| f64::from_bits(xxhash_rust::xxh3::xxh3_64(&at.to_le_bytes()) >> 2);
    let sample = |at: usize| Sample { timestamp: NOW_MS - 3_000_000 + at as i64, value: value(at) };
    (from..from + 2000).map(|at| (labels.clone(), sample(at))).collect()
}

#[tokio::test]
async fn writes_are_refused_while_unflushed_samples_take_too_much_memory() {
    let storage = Storage::open(MemDisk::new(), |config| config.memory_limit = ByteSize(4 << 20)).await;
    let tenant = Tenant::default_tenant();
    let mut accepted = 0;
    let error = loop {
        match storage.write.write_samples(&tenant, noise(accepted), Vec::new()).await {
            Ok(outcome) => accepted += outcome.samples as usize,
            Err(error) => break error,
        }
        assert!(accepted < 1_000_000, "{}", storage.shards.stats().head_bytes);
    };
    let WriteError::Transient { reason, retry_after } = error else { panic!("{error}") };
    assert!(reason.contains("the limit is 2.0 MB (50 % of memory_limit)"), "{reason}");
    assert_eq!(retry_after, RETRY_AFTER);
    let held = storage.shards.stats().head_bytes;
    assert!(held > 2 << 20 && held < 3 << 20, "{held}");
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_much_memory_is_flushed_at_once() {
    let storage = Storage::open(MemDisk::new(), |config| config.memory_limit = ByteSize(4 << 20)).await;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(storage.maintenance().run(stopped));
    let tenant = Tenant::default_tenant();
    let (mut accepted, mut refused) = (0, 0);
    let began = Instant::now();
    while accepted < 1_000_000 {
        match storage.write.write_samples(&tenant, noise(accepted), Vec::new()).await {
            Ok(outcome) => accepted += outcome.samples as usize,
            Err(WriteError::Transient { .. }) => {
                refused += 1;
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(refused < 10_000);
        assert!(storage.shards.stats().head_bytes < 3 << 20);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "without waiting for the next look: {:?}", began.elapsed());
    assert!(storage.shards.stats().run_samples > 500_000);
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
async fn metadata_of_a_request_that_fails_is_stored_when_it_is_told_again() {
    let storage = Storage::open(MemDisk::new(), |config| {
        config.ingest.max_tenant_inflight_bytes = ByteSize(20_000);
    })
    .await;
    let about = MetricMetadata {
        kind: bellwether_model::MetricKind::Counter,
        help: "Requests.".to_owned(),
        unit: String::new(),
    };
    let (tenant, metadata) = (Tenant::default_tenant(), vec![("m".to_owned(), about)]);
    let series = |at: u64| (Labels::of(&[("__name__", "m"), ("at", &at.to_string())]), sample(1.0));
    let error = storage.write.write_samples(&tenant, (0..100).map(series).collect(), metadata.clone()).await;
    assert!(matches!(error, Err(WriteError::Transient { .. })), "{error:?}");
    storage.write.write_samples(&tenant, Vec::new(), metadata.clone()).await.unwrap();
    let read = ReadContext::new(QueryAccount::new(Limits::default()));
    assert_eq!(storage.router.metadata(&tenant, &read).await.unwrap(), metadata.into_iter().collect());
}

#[tokio::test]
async fn a_body_keeps_its_room_until_its_job_is_done_and_is_dropped_where_nobody_waits() {
    let storage = Storage::open(MemDisk::new(), |_| {}).await;
    let bytes = own_body::encode(&[(Labels::of(&[("__name__", "m")]), sample(1.0))], &[]);
    let body = storage.write.body(RemoteWriteVersion::V1, Encoding::Identity, bytes.into()).unwrap();
    let request = Arc::new(storage.write.let_in(&Tenant::default_tenant(), 100_000).unwrap());
    let job = request.clone();
    drop(request);
    assert_eq!(storage.metrics.in_flight_bytes.get(), 100_000, "the job has not come to its turn");
    assert!(matches!(storage.write.send_if_wanted(&job, &body), Err(DecodeError::GivenUp)));
    let request = job.clone();
    assert!(storage.write.send_if_wanted(&job, &body).is_ok_and(|sent| sent.parts.len() == 1));
    drop((job, request));
    assert_eq!(storage.metrics.in_flight_bytes.get(), 0);
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
    let read = ReadContext::new(QueryAccount::new(Limits::default()));
    let found = storage.router.metadata(&tenant, &read).await.unwrap();
    assert_eq!(found, metadata.into_iter().collect());
}
