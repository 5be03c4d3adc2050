//! Everything that a shard holds, Window by Window: the same as a query over all of it finds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_kv::{KvDisk, MemDisk};
use bellwether_model::{Labels, Matcher, RefEpoch, SeriesHash, Tenant, TimeRange, limits::WINDOW_MS};
use bellwether_tsdb::{AppliedMark, PackCache, SPACES, SelectLimits, SelectRequest, Shard, ShardMetrics, ShardOptions};

type Samples = BTreeMap<String, Vec<(i64, u64)>>;

fn open(disk: &dyn KvDisk) -> Arc<Shard> {
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
    let engine = disk.open("shard", SPACES).unwrap();
    let options = ShardOptions { new_ref_epoch: RefEpoch(1) };
    Arc::new(Shard::open(engine, options, PackCache::new(1 << 20), metrics).unwrap())
}

fn write(shard: &Shard, tenant: &Tenant, series: usize, window: i64, rows: i64) {
    let mut writer = shard.writer();
    for number in 0..series {
        let labels = Labels::of(&[("__name__", "m"), ("series", &number.to_string())]);
        let series = writer.register(SeriesHash::of(tenant, &labels), tenant, &labels).unwrap();
        for row in 0..rows {
            let value = number as f64 + row as f64 / 7.0;
            writer.append(&[series.0], &[window * WINDOW_MS + row * 1000], &[value], TimeRange::ALL);
        }
    }
    writer.mark_applied(AppliedMark(format!("{window} {rows}").into()), window * WINDOW_MS, 0);
}

fn selected(shard: &Shard, tenant: &Tenant) -> Samples {
    let limits = SelectLimits { series: 1000, samples: 1_000_000 };
    let request = SelectRequest { tenant, matchers: &[], range: TimeRange::ALL, limits };
    let found = shard.select(&request, &AtomicBool::new(false)).unwrap();
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    let rows = found.into_iter().map(|series| {
        let rows = series.timestamps.iter().copied().zip(bits(series.values)).collect();
        (series.labels.to_string(), rows)
    });
    rows.collect()
}

/// By Windows, some series at a time.
fn exported(shard: &Arc<Shard>, tenant: &Tenant, samples: u64) -> (Samples, usize) {
    let (mut all, mut reads) = (Samples::new(), 0);
    for window in shard.windows() {
        let mut reader = shard.read_window(tenant, window).unwrap();
        loop {
            let read = reader.next(samples).unwrap();
            if read.is_empty() {
                break;
            }
            reads += 1;
            for series in read {
                assert!(series.timestamps.iter().all(|timestamp| window.contains(*timestamp)));
                let rows = series.timestamps.iter().copied().zip(series.values.iter().map(|value| value.to_bits()));
                all.entry(series.labels.to_string()).or_default().extend(rows);
            }
        }
    }
    (all, reads)
}

#[test]
fn windows_read_in_pieces_are_what_a_query_finds() {
    let disk = MemDisk::new();
    let shard = open(&disk);
    let (first, second) = (Tenant::new("first").unwrap(), Tenant::new("second").unwrap());
    write(&shard, &first, 50, 1, 30);
    shard.flush().unwrap();
    write(&shard, &first, 20, 1, 40);
    write(&shard, &second, 5, 3, 10);
    shard.writer().delete(&first, &[Matcher::equal("series", "7")], TimeRange::ALL, 9);
    write(&shard, &first, 3, 2, 5);
    shard.flush().unwrap();
    assert_eq!(shard.tenants(), [first.clone(), second.clone()]);
    assert_eq!(shard.windows().len(), 3);
    for samples in [1, 100, 1_000_000] {
        let (all, reads) = exported(&shard, &first, samples);
        assert_eq!(all, selected(&shard, &first));
        assert!(!all.keys().any(|labels| labels.contains("series=\"7\"")), "what is deleted stays away");
        assert!(samples > 1 || reads >= all.len(), "{reads} reads");
        assert_eq!(exported(&shard, &second, samples).0, selected(&shard, &second));
    }
    // What is below the floor is gone for good.
    shard.writer().raise_floor(2 * WINDOW_MS);
    assert_eq!(exported(&shard, &first, 100).0, selected(&shard, &first));
    assert_eq!(exported(&shard, &Tenant::new("nobody").unwrap(), 100).0, Samples::new());
}
