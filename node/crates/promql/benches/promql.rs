//! What parsing and evaluation cost.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::Labels;
use bellwether_promql::{EvalTimes, FetchedSeries, Limits, Outcome, Plan, QueryAccount, evaluate, parse};

fn main() {
    divan::main();
}

const SERIES: usize = 1000;
const SAMPLES: usize = 120;
const INTERVAL_MS: i64 = 15_000;
const STEPS: i64 = 120;

/// Counters of 1000 hosts, scraped together.
fn fetched() -> Vec<FetchedSeries> {
    let timestamps: Arc<[i64]> = (0..SAMPLES as i64).map(|at| at * INTERVAL_MS).collect();
    let series = |number: usize| {
        let (host, region) = (format!("host-{number:05}"), format!("region-{}", number % 4));
        let labels = Labels::of(&[
            ("__name__", "http_requests_total"),
            ("env", "prod"),
            ("hostname", &host),
            ("region", &region),
            ("service", "api"),
        ]);
        let values = (0..SAMPLES).map(|at| (at * (number % 50)) as f64).collect();
        FetchedSeries { labels, timestamps: timestamps.clone(), values, histograms: None }
    };
    (0..SERIES).map(series).collect()
}

fn range() -> EvalTimes {
    EvalTimes::range(300_000, 300_000 + (STEPS - 1) * 10_000, 10_000).expect("a valid range")
}

fn bench(bencher: divan::Bencher<'_, '_>, query: &str, times: EvalTimes) {
    let plan = Plan::new(&parse(query).expect("a query"), times, 300_000).expect("a plan");
    let fetched = vec![fetched(); plan.selections().len()];
    let never = AtomicBool::new(false);
    bencher
        .counter(divan::counter::ItemsCount::new(SERIES))
        .with_inputs(|| {
            let account = QueryAccount::new(Limits::default());
            fetched.iter().for_each(|series| account.hold(series).expect("it is small"));
            (fetched.clone(), account)
        })
        .bench_values(|(fetched, account)| -> Outcome {
            evaluate(&plan, fetched, &account, &never).expect("an outcome")
        });
}

#[divan::bench]
fn parse_query() -> bool {
    let text = "histogram_quantile(0.9, sum by (le, path) (rate(http_request_duration_seconds_bucket{job=\"api\"}[5m]))) > 0.5";
    parse(divan::black_box(text)).is_ok()
}

#[divan::bench]
fn instant_selector(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "http_requests_total", EvalTimes::instant(600_000));
}

#[divan::bench]
fn range_selector(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "http_requests_total", range());
}

#[divan::bench]
fn rate_alone(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "rate(http_requests_total[5m])", range());
}

#[divan::bench]
fn sum_by_rate(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "sum by (region) (rate(http_requests_total[5m]))", range());
}

#[divan::bench]
fn avg_over_time(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "avg_over_time(http_requests_total[5m])", range());
}

#[divan::bench]
fn max_over_time(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "max_over_time(http_requests_total[5m])", range());
}

#[divan::bench]
fn topk_rate(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "topk(5, rate(http_requests_total[5m]))", range());
}

#[divan::bench]
fn quantile_by(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "quantile by (region) (0.9, http_requests_total)", range());
}

#[divan::bench]
fn ratio(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, "http_requests_total / http_requests_total", range());
}
