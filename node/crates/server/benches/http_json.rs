//! Encoding of query answers: many series with one value, and fewer with many.
//! `cargo bench -p bellwether-server --bench http_json`

use bellwether_model::Labels;
use bellwether_promql::{MatrixSeries, Outcome, Point, Value, VectorSample};
use bellwether_server::gateway::{push_float, query_answer};
use divan::Bencher;
use divan::counter::ItemsCount;

const NOW_MS: i64 = 1_795_132_800_000;

fn main() {
    divan::main();
}

fn labels(series: u64) -> Labels {
    let (host, instance) =
        (format!("host-{:05}", series / 10), format!("10.0.{}.{}:9100", series / 250 % 250, series % 250));
    Labels::of(&[
        ("__name__", "cpu_gauge_dec_0"),
        ("hostname", &host),
        ("instance", &instance),
        ("region", "eu-central-1"),
        ("service", "checkout"),
        ("env", "production"),
    ])
}

/// A value with `decimals` decimals, or all the digits that a float has when there are none.
fn value(seed: u64, decimals: Option<i32>) -> f64 {
    let unit = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1_u64 << 53) as f64;
    match decimals {
        Some(decimals) => (unit * 100.0 * 10_f64.powi(decimals)).round() / 10_f64.powi(decimals),
        None => unit * 100.0,
    }
}

fn outcome(value: Value) -> Outcome {
    Outcome { value, warnings: Vec::new(), infos: Vec::new(), samples_per_step: Vec::new() }
}

fn encode(bencher: Bencher, points: u64, make: impl Fn() -> Outcome + Sync) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    bencher.counter(ItemsCount::new(points)).with_inputs(make).bench_local_values(|outcome| {
        let answer = query_answer(outcome, None, None, None);
        runtime.block_on(async {
            use futures::StreamExt;
            let mut bytes = 0;
            let mut pieces = answer.into_body().into_data_stream();
            while let Some(piece) = pieces.next().await {
                bytes += piece.expect("encoding does not fail").len();
            }
            bytes
        })
    });
}

#[divan::bench(args = [100_000], sample_count = 20)]
fn vector(bencher: Bencher, series: u64) {
    encode(bencher, series, || {
        let sample = |at| VectorSample {
            labels: labels(at),
            point: Point { timestamp: NOW_MS, value: value(at, Some(2)) },
            histogram: None,
        };
        outcome(Value::Vector((0..series).map(sample).collect()))
    });
}

#[divan::bench(args = [Some(0), Some(2), None], sample_count = 20)]
fn matrix_1000_by_120(bencher: Bencher, decimals: Option<i32>) {
    encode(bencher, 120_000, || {
        let points = |at: u64| {
            (0..120).map(move |step| Point {
                timestamp: NOW_MS + step * 15_000,
                value: value(at * 120 + step as u64, decimals),
            })
        };
        let series = |at| MatrixSeries { labels: labels(at), points: points(at).collect(), histograms: Vec::new() };
        outcome(Value::Matrix((0..1000).map(series).collect()))
    });
}

#[divan::bench(args = [Some(0), Some(2), None])]
fn floats(bencher: Bencher, decimals: Option<i32>) {
    let values: Vec<f64> = (0..10_000).map(|seed| value(seed, decimals)).collect();
    let mut out = Vec::with_capacity(1 << 20);
    bencher.counter(ItemsCount::new(values.len())).bench_local(|| {
        out.clear();
        values.iter().for_each(|value| push_float(&mut out, *value));
        out.len()
    });
}
