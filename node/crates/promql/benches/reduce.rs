//! What aggregating series as they come costs, beside fetching them all first: time, and memory at its highest.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::Labels;
use bellwether_promql::{
    EvalTimes, Fetched, FetchedSeries, Limits, Outcome, Partial, Plan, QueryAccount, Reducer, evaluate_with, parse,
};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const SERIES: usize = 20_000;
const SAMPLES: usize = 240;
const INTERVAL_MS: i64 = 15_000;
/// As the server has it.
const BATCH: usize = 546;
const SHARDS: usize = 8;

const QUERIES: [&str; 4] = [
    "sum by (region) (rate(http_requests_total[5m]))",
    "avg by (region) (http_requests_total) / max by (region) (http_requests_total)",
    "topk(10, rate(http_requests_total[5m]))",
    "stddev by (region) (http_requests_total)",
];

fn series(timestamps: &Arc<[i64]>, number: usize) -> FetchedSeries {
    // Not in the order of labels.
    let (host, region) = (format!("host-{:05}", number * 7919 % SERIES), format!("region-{}", number % 4));
    let labels = Labels::of(&[
        ("__name__", "http_requests_total"),
        ("env", "prod"),
        ("hostname", &host),
        ("region", &region),
        ("service", "api"),
    ]);
    let values = (0..SAMPLES).map(|at| (at * (number * 31 % 997)) as f64).collect();
    FetchedSeries { labels, timestamps: timestamps.clone(), values, histograms: None }
}

fn timestamps() -> Arc<[i64]> {
    (0..SAMPLES as i64).map(|at| at * INTERVAL_MS).collect()
}

fn plan(query: &str) -> Plan {
    let times = EvalTimes::range(300_000, 3_600_000, 30_000).expect("a valid range");
    Plan::new(&parse(query).expect("a query"), times, 300_000).expect("a plan")
}

#[divan::bench(args = QUERIES, sample_count = 5, sample_size = 1)]
fn fetched_first(bencher: divan::Bencher<'_, '_>, query: &str) {
    let (plan, never, timestamps) = (plan(query), AtomicBool::new(false), timestamps());
    bencher.counter(divan::counter::ItemsCount::new(SERIES)).bench_local(|| -> Outcome {
        let account = QueryAccount::new(Limits::default());
        let all: Vec<FetchedSeries> = (0..SERIES).map(|number| series(&timestamps, number)).collect();
        account.hold(&all).expect("it is small");
        evaluate_with(&plan, vec![Fetched::Series(all)], &account, &never).expect("an outcome")
    });
}

#[divan::bench(args = QUERIES, sample_count = 5, sample_size = 1)]
fn as_they_come(bencher: divan::Bencher<'_, '_>, query: &str) {
    let (plan, never, timestamps) = (plan(query), AtomicBool::new(false), timestamps());
    bencher.counter(divan::counter::ItemsCount::new(SERIES)).bench_local(|| -> Outcome {
        let account = QueryAccount::new(Limits::default());
        let mut merged = Partial::empty(&plan, 0, &account, &never).expect("an empty result");
        for shard in 0..SHARDS {
            let mut reducer = Reducer::new(&plan, 0, &account, &never).expect("a reducer");
            let numbers: Vec<usize> = (shard..SERIES).step_by(SHARDS).collect();
            for numbers in numbers.chunks(BATCH) {
                let batch: Vec<FetchedSeries> = numbers.iter().map(|number| series(&timestamps, *number)).collect();
                account.hold(&batch).expect("it is small");
                reducer.add(batch).expect("it is added");
            }
            merged.merge(reducer.finish().expect("a part"), &account, &never).expect("one whole");
        }
        evaluate_with(&plan, vec![Fetched::Reduced(merged)], &account, &never).expect("an outcome")
    });
}
