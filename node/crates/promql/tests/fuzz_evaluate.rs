//! Any data under any function: a result or an error, never a panic, and within the limits.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Span, stale_marker};
use bellwether_promql::{EvalTimes, FetchedHistograms, FetchedSeries, Limits, Plan, QueryAccount, evaluate, parse};

const QUERIES: [&str; 73] = [
    "m",
    "m offset 1s @ 3",
    "m[1m]",
    "rate(m[5s])",
    "increase(m[5s:1s])",
    "irate(m[7s])",
    "deriv(m[9s])",
    "predict_linear(m[9s], 5)",
    "double_exponential_smoothing(m[9s], 0.5, 0.5)",
    "quantile_over_time(scalar(m), m[9s])",
    "mad_over_time(m[9s])",
    "stddev_over_time(m[9s])",
    "avg_over_time(m[9s])",
    "ts_of_max_over_time(m[9s])",
    "sum(m)",
    "avg by (a) (m)",
    "stddev without (a) (m)",
    "topk(2, m)",
    "bottomk by (b) (1, m)",
    "limitk(1, m)",
    "limit_ratio(-0.5, m)",
    "quantile(0.3, m)",
    "count_values(\"a\", m)",
    "m + on(a) m",
    "m / ignoring(a) group_left m",
    "m > bool on(b) group_right(a) m",
    "m and on(a) m > 0",
    "m or -m",
    "m unless m offset 2s",
    "label_replace(m, \"a\", \"$1\", \"b\", \"(.).*\")",
    "label_join(m, \"c\", \"-\", \"a\", \"b\")",
    "sort_desc(m)",
    "sort_by_label(m, \"b\")",
    "histogram_quantile(0.9, m)",
    "histogram_fraction(0, scalar(m), m)",
    "absent(m) or absent_over_time(m[2s])",
    "round(m, 0.1) % clamp(m, 1, 2)",
    "year(m) + day_of_year(m) + days_in_month(m) + minute()",
    "timestamp(m) atan2 time()",
    "max_over_time(sum_over_time(m[5s:3s])[10s:2s] offset -4s)",
    "m + on(a) fill(3) m{b=\"0\"}",
    "m{b=\"0\"} * on(b) group_left fill_left(NaN) fill_right(2) sum by (b) (m)",
    "sum by (b) (m) - on(b) group_right fill(-0) m",
    "m > fill_left(0) m offset 3s",
    "m == bool fill_right(1) m offset -3s",
    "m </ 5 or m >/ m",
    "m smoothed",
    "sum(m smoothed @ 5 offset -2s)",
    "rate(m[5s] anchored)",
    "increase(m[7s] smoothed)",
    "delta(m[3s] smoothed offset 1s)",
    "delta(m[3s] anchored @ end())",
    "changes(m[4s] anchored) - resets(m[4s] anchored)",
    "info(m, {__name__=~\".+\", b=~\".*\"})",
    "info(m * 2, {__name__=\"m\", le=~\".+\"})",
    "histogram_quantiles(m, \"q\", 0.5, scalar(m), 2)",
    "count_over_time(m[step() + 3s:min_of(1s, 2s)] offset (range() / 2))",
    "m offset -max_of(range(), 2s)",
    "sum_over_time(m[2 ^ 3 * 1s])",
    "start() + end() * step() - range() % max_of(1, min_of(2, scalar(m)))",
    "first_over_time(m[9s]) - last_over_time(m[9s]) + ts_of_first_over_time(m[9s])",
    "sort(m) or sort_by_label_desc(m, \"a\", \"b\")",
    "histogram_stddev(m) + histogram_avg(m) - histogram_count(m) * histogram_sum(m)",
    "histogram_quantiles(m * -1, \"q\", 0.1, 0.9)",
    "m - on(a) group_left m offset 3s",
    "m >/ 0.5 or m </ -0.5",
    "m / 0 or m * NaN",
    "sum_over_time(m[9s]) == avg_over_time(m[9s])",
    "increase(m[9s] anchored) + rate(m[9s] smoothed)",
    "idelta(m[9s]) != irate(m[9s])",
    "delta((m * 3)[9s:1s])",
    "stdvar_over_time(m[9s]) + resets(m[9s]) + changes(m[9s])",
    "histogram_fraction(-1, 1, sum by (a) (m))",
];

/// One sample: times may be anything that ascends, values any bits.
type Bits = (u8, bool, u64);

fn value(selector: bool, bits: u64) -> f64 {
    const ODD: [f64; 8] = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, f64::MAX, 1.0];
    match bits % 16 {
        _ if selector => f64::from_bits(bits),
        at @ 0..=7 => ODD[at as usize],
        8 => stale_marker(),
        _ => (bits >> 8) as f64 / 3.0,
    }
}

/// A histogram of any kind, if it is one that storage would keep.
fn histogram(bits: u64) -> Option<Histogram> {
    const HINTS: [CounterResetHint; 4] = [
        CounterResetHint::Unknown,
        CounterResetHint::CounterReset,
        CounterResetHint::NotCounterReset,
        CounterResetHint::Gauge,
    ];
    let byte = |at: u32| (bits >> (8 * at)) as u8;
    let is_custom = byte(1).is_multiple_of(4);
    let count = |at: u32| value(false, (bits >> (at * 5)) % 4096).abs();
    let positive: Vec<f64> = (0..u32::from(byte(2) % 4)).map(count).collect();
    let negative: Vec<f64> = if is_custom { Vec::new() } else { (0..u32::from(byte(3) % 3)).map(count).collect() };
    let span = |counts: &[f64], offset: i32| Span { offset, length: counts.len() as u32 };
    let reach = if byte(4) == 0 { i32::MAX - 70_000 } else { i32::from(byte(4)) - 100 };
    let offset = if is_custom { i32::from(byte(4) % 2) } else { reach };
    let histogram = Histogram {
        counter_reset_hint: HINTS[usize::from(byte(5)) % 4],
        schema: if is_custom { -53 } else { i32::from(byte(6) % 13) - 4 },
        zero_threshold: if is_custom { 0.0 } else { f64::from(byte(6) % 5) / 3.0 },
        sum: value(false, bits >> 3),
        counts: Counts::Float {
            count: count(7),
            zero_count: if is_custom { 0.0 } else { count(8) },
            positive: positive.clone(),
            negative: negative.clone(),
        },
        positive_spans: vec![span(&positive, offset)],
        negative_spans: if is_custom { Vec::new() } else { vec![span(&negative, -offset)] },
        custom_values: if is_custom {
            (0..4).map(|at| f64::from(at) + f64::from(byte(6) % 2)).collect()
        } else {
            Vec::new()
        },
    };
    histogram.validate().is_ok().then_some(histogram)
}

#[test]
fn any_data_is_evaluated_or_refused() {
    bolero::check!().with_type::<(u8, Vec<Vec<Bits>>, i64, bool)>().for_each(|(query, input, base, range)| {
        let text = QUERIES[*query as usize % QUERIES.len()];
        let bounds = ["0.1", "1", "+Inf", "x", "1"];
        let series: Vec<FetchedSeries> = input
            .iter()
            .take(8)
            .enumerate()
            .map(|(number, samples)| {
                let mut time = *base;
                let mut timestamps = Vec::new();
                let mut values = Vec::new();
                let (mut histogram_times, mut histograms) = (Vec::new(), Vec::new());
                for (gap, raw, bits) in samples.iter().take(64) {
                    let next = time.saturating_add(i64::from(*gap) * 100 + 1);
                    if next == time {
                        break;
                    }
                    time = next;
                    if let Some(histogram) =
                        Some(*bits).filter(|bits| gap % 3 == 0 && bits % 3 == 0).and_then(histogram)
                    {
                        histogram_times.push(time);
                        histograms.push(histogram);
                        continue;
                    }
                    timestamps.push(time);
                    values.push(value(*raw, *bits));
                }
                let labels = Labels::of(&[
                    ("__name__", "m"),
                    ("a", &(number / 2).to_string()),
                    ("b", &(number % 2).to_string()),
                    ("le", bounds[number % bounds.len()]),
                ]);
                let histograms = FetchedHistograms { timestamps: Arc::from(histogram_times), histograms };
                let histograms = (!histograms.histograms.is_empty()).then(|| Box::new(histograms));
                FetchedSeries { labels, timestamps: Arc::from(timestamps), values, histograms }
            })
            .collect();
        let times = match range {
            true if !text.ends_with("[1m]") => EvalTimes::range(*base, base.saturating_add(20_000), 1000).unwrap(),
            _ => EvalTimes::instant(base.saturating_add(10_000)),
        };
        let plan = Plan::new(&parse(text).unwrap(), times, 5_000).unwrap();
        let fetched = vec![series; plan.selections().len()];
        let account = QueryAccount::new(Limits { samples: 1_000_000, memory_bytes: 64 << 20, ..Limits::default() });
        fetched.iter().try_for_each(|series| account.hold(series)).unwrap();
        let _ = evaluate(&plan, fetched, &account, &AtomicBool::new(false));
    });
}
