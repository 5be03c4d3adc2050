//! The hot paths of a shard: apply, flush, select from the head and from runs.
//!
//! 12,500 series of 100 metrics, 120 rows 10 s apart: an eighth of 1,000 hosts as a sender of host metrics reports them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_kv::MemEngine;
use bellwether_model::{Labels, Matcher, RefEpoch, SeriesHash, Tenant, TimeRange, limits::WINDOW_MS};
use bellwether_tsdb::{
    AppliedMark, PackCache, SPACES, SealWhen, SelectError, SelectLimits, SelectRequest, Shard, ShardMetrics,
    ShardOptions, Wanted,
};
use divan::Bencher;
use divan::counter::ItemsCount;

const HOSTS: u32 = 125;
const METRICS: u32 = 100;
const SERIES: u32 = HOSTS * METRICS;
const ROWS: i64 = 120;
const START: i64 = 250_000 * WINDOW_MS;

fn main() {
    divan::main();
}

fn open() -> Shard {
    let engine = Arc::new(MemEngine::new(SPACES).expect("the spaces are legal"));
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()));
    let options = ShardOptions { new_ref_epoch: RefEpoch(1) };
    Shard::open(engine, options, PackCache::new(64 << 20), metrics).expect("an empty engine opens")
}

fn register(shard: &Shard) {
    let tenant = Tenant::default_tenant();
    let mut writer = shard.writer();
    for host in 0..HOSTS {
        for metric in 0..METRICS {
            let labels = Labels::of(&[
                ("__name__", &format!("area_kind_{metric}_total")),
                ("hostname", &format!("host-{host:05}")),
                ("region", ["us-east-1", "us-west-2", "eu-west-1", "ap-south-1"][host as usize % 4]),
                ("service", ["api", "billing", "search"][host as usize % 3]),
                ("env", "prod"),
                ("rack", &(host % 40).to_string()),
            ]);
            writer.register(SeriesHash::of(&tenant, &labels), &tenant, &labels).expect("hashes differ");
        }
    }
}

/// The values of one row: counters, decimal walks, integers, constants, noise.
fn row_values(row: i64, previous: &mut [f64], seed: &mut u64) {
    for (series, value) in previous.iter_mut().enumerate() {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let random = (*seed >> 11) as f64 / (1u64 << 53) as f64;
        *value = match series % 20 {
            0..=7 => *value + (random * [0.0, 2.0, 20.0, 1000.0, 40_000.0][series % 5]).floor(),
            8..=12 => ((*value + random * 2.0 - 1.0) * 100.0).round() / 100.0,
            13..=16 => (*value + (random * 7.0).floor() - 3.0).max(0.0),
            17..=18 => 16.0,
            _ => random * 100.0,
        };
    }
    let _ = row;
}

fn rows() -> Vec<Vec<f64>> {
    let (mut values, mut seed) = (vec![0.0; SERIES as usize], 88_172_645_463_325_252);
    (0..ROWS)
        .map(|row| {
            row_values(row, &mut values, &mut seed);
            values.clone()
        })
        .collect()
}

fn append(shard: &Shard, refs: &[u32], rows: &[Vec<f64>]) {
    for (row, values) in rows.iter().enumerate() {
        let mut writer = shard.writer();
        writer.append(refs, &[START + row as i64 * 10_000], values, TimeRange::ALL);
        writer.mark_applied(AppliedMark::default(), START, 0);
    }
}

fn filled() -> Shard {
    let shard = open();
    register(&shard);
    append(&shard, &(0..SERIES).collect::<Vec<_>>(), &rows());
    shard
}

#[divan::bench(sample_count = 10)]
fn apply(bencher: Bencher) {
    let (refs, rows) = ((0..SERIES).collect::<Vec<u32>>(), rows());
    bencher
        .counter(ItemsCount::new(SERIES as usize * ROWS as usize))
        .with_inputs(|| {
            let shard = open();
            register(&shard);
            shard
        })
        .bench_values(|shard| {
            append(&shard, &refs, &rows);
            shard
        });
}

#[divan::bench(sample_count = 10)]
fn flush(bencher: Bencher) {
    bencher.counter(ItemsCount::new(SERIES as usize * ROWS as usize)).with_inputs(filled).bench_values(|shard| {
        shard.flush().expect("memory does not fail");
        shard
    });
}

#[divan::bench(sample_count = 10)]
fn seal_two_runs(bencher: Bencher) {
    let (refs, rows) = ((0..SERIES).collect::<Vec<u32>>(), rows());
    let two_runs = || {
        let shard = open();
        register(&shard);
        append(&shard, &refs, &rows[..60]);
        shard.flush().expect("memory does not fail");
        for (row, values) in rows.iter().enumerate().skip(60) {
            shard.writer().append(&refs, &[START + row as i64 * 10_000], values, TimeRange::ALL);
        }
        shard.flush().expect("memory does not fail");
        shard
    };
    bencher.counter(ItemsCount::new(SERIES as usize * ROWS as usize)).with_inputs(two_runs).bench_values(|shard| {
        shard.seal(START + 2 * WINDOW_MS, SealWhen::AllClosed).expect("memory does not fail");
        shard
    });
}

#[divan::bench(sample_count = 10)]
fn register_series(bencher: Bencher) {
    bencher.counter(ItemsCount::new(SERIES as usize)).with_inputs(open).bench_values(|shard| {
        register(&shard);
        shard
    });
}

fn select(bencher: Bencher, flushed: bool, matchers: &[Matcher]) {
    let shard = filled();
    if flushed {
        shard.flush().expect("memory does not fail");
    }
    let tenant = Tenant::default_tenant();
    let limits = SelectLimits { series: 1_000_000, samples: 1_000_000_000 };
    let request = SelectRequest { tenant: &tenant, matchers, range: TimeRange::ALL, limits };
    bencher.bench(|| shard.select(&request, &AtomicBool::new(false)).expect("memory does not fail"));
}

#[divan::bench(args = [false, true])]
fn select_one_metric(bencher: Bencher, flushed: bool) {
    select(bencher, flushed, &[Matcher::equal("__name__", "area_kind_3_total")]);
}

#[divan::bench(args = [false, true])]
fn select_one_host(bencher: Bencher, flushed: bool) {
    select(bencher, flushed, &[Matcher::equal("hostname", "host-00011")]);
}

#[divan::bench(args = [false, true], sample_count = 10)]
fn select_everything(bencher: Bencher, flushed: bool) {
    select(bencher, flushed, &[]);
}

/// A backfill: 500 series, 200 samples each or one per Window if that is more, evenly over so many Windows.
#[divan::bench(args = [8, 200, 2000], sample_count = 3, sample_size = 1)]
fn flush_windows(bencher: Bencher, windows: i64) {
    const BACKFILLED: u32 = 500;
    let refs: Vec<u32> = (0..BACKFILLED).collect();
    let rows = windows.max(200);
    let backfilled = || {
        let shard = open();
        register(&shard);
        for row in 0..rows {
            let values: Vec<f64> = refs.iter().map(|series| f64::from(*series) + row as f64 / 4.0).collect();
            let timestamp = START + row * (windows * WINDOW_MS / rows);
            shard.writer().append(&refs, &[timestamp], &values, TimeRange::ALL);
        }
        shard
    };
    bencher.counter(ItemsCount::new(rows as usize * refs.len())).with_inputs(backfilled).bench_values(|shard| {
        shard.flush().expect("memory does not fail");
        shard
    });
}

/// What an instant query reads: of each series the newest sample of the last five minutes, or all of them.
#[divan::bench(args = [(false, Wanted::All), (false, Wanted::Newest), (true, Wanted::All), (true, Wanted::Newest)], sample_count = 10)]
fn select_five_minutes(bencher: Bencher, (flushed, wanted): (bool, Wanted)) {
    let shard = filled();
    if flushed {
        shard.flush().expect("memory does not fail");
    }
    let tenant = Tenant::default_tenant();
    let limits = SelectLimits { series: usize::MAX, samples: usize::MAX };
    let end = START + (ROWS - 1) * 10_000;
    let range = TimeRange::new(end - 300_000 + 1, end);
    let request = SelectRequest { tenant: &tenant, matchers: &[], range, limits };
    bencher.counter(ItemsCount::new(SERIES as usize)).bench(|| {
        let mut all = Vec::new();
        let read = shard.select_each(&request, wanted, &AtomicBool::new(false), &mut |series| {
            all.push(series);
            Ok::<(), SelectError>(())
        });
        read.expect("memory does not fail");
        all
    });
}
