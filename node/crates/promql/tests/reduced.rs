//! Aggregations computed part by part come to what they come to over all series at once.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Span, stale_marker};
use bellwether_promql::{
    EvalError, EvalTimes, Fetched, FetchedHistograms, FetchedSeries, FloatHistogram, LimitError, Limits, MemoryPool,
    Outcome, Partial, Plan, PlanOptions, QueryAccount, Reducer, Value, evaluate, evaluate_with, parse,
};
use proptest::prelude::*;

const QUERIES: [&str; 41] = [
    "sum(m)",
    "sum by (a) (rate(m[40s]))",
    "sum without (b) (m offset 10s)",
    "avg by (a, b) (m)",
    "avg(avg_over_time(m[30s]))",
    "min(m)",
    "max by (b) (m)",
    "count by (a) (m > 0)",
    "group without (a, n) (m)",
    "stddev by (a) (m)",
    "stdvar(m * 2)",
    "count_values(\"v\", m)",
    "count_values by (a) (\"b\", floor(m))",
    "count_values without (v) (\"v\", m)",
    "topk(2, m)",
    "topk by (a) (1, m)",
    "bottomk(3, m)",
    "bottomk without (n) (2, -m)",
    "limitk(2, m)",
    "limitk by (a) (1, m)",
    "topk(time() % 3, m)",
    "topk(2, {a=~\".+\"})",
    "sum(m) / count(m)",
    "sum(m) + on () group_left topk(1, m)",
    "topk(1, sum by (a) (m))",
    "topk(2, count_values(\"v\", m))",
    "sort(sum by (a, b) (m))",
    "sum(max_over_time(rate(m[30s])[1m:10s]))",
    "max(quantile_over_time(1.5, m[30s]))",
    "sum(m @ 30) * count(m @ end())",
    "sum(timestamp(m))",
    "sum_over_time(sum(m)[30s:5s])",
    "sum by (__name__, a) (-m)",
    "max by (__name__, b) (abs(m) > 1)",
    "topk by (__name__) (2, -m)",
    "count by (__name__) (m)",
    "sum(histogram_count(m))",
    "sum by (a) (increase(m[40s]))",
    "avg by (b) (sum_over_time(m[20s]))",
    "limitk by (b) (2, m * 2)",
    "count_values by (a) (\"v\", last_over_time(m[20s]))",
];

type Sample = (u16, u8, i16);

/// Many equal values, some that are no numbers, some that have ended.
fn value((_, kind, number): Sample) -> f64 {
    match kind % 16 {
        0 => stale_marker(),
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => -0.0,
        4..=8 => f64::from(number % 4),
        _ => f64::from(number) / 7.0,
    }
}

/// Of one width of the zero bucket, and none of the others within it: what becomes of such depends on their order.
fn histogram((_, kind, number): Sample) -> Histogram {
    const HINTS: [CounterResetHint; 4] = [
        CounterResetHint::Unknown,
        CounterResetHint::CounterReset,
        CounterResetHint::NotCounterReset,
        CounterResetHint::Gauge,
    ];
    let counts = [f64::from(number % 5).abs(), f64::from(kind) / 3.0, 0.0];
    Histogram {
        counter_reset_hint: HINTS[usize::from(kind) / 16 % 4],
        schema: i32::from(number.rem_euclid(3)),
        zero_threshold: 0.001,
        sum: f64::from(number) / 7.0,
        counts: Counts::Float {
            count: 9.0,
            zero_count: 1.0,
            positive: counts.to_vec(),
            negative: counts[..1].to_vec(),
        },
        positive_spans: vec![
            Span { offset: i32::from(number.rem_euclid(9)), length: 1 },
            Span { offset: i32::from(kind % 4), length: 2 },
        ],
        negative_spans: vec![Span { offset: 2, length: 1 }],
        custom_values: Vec::new(),
    }
}

fn series(number: usize, samples: &[Sample], no_infinity: bool) -> FetchedSeries {
    let (a, b, n) = ((number % 3).to_string(), (number % 2).to_string(), (number * 7919 % 101).to_string());
    let mut time = 0;
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    let (mut histogram_times, mut histograms) = (Vec::new(), Vec::new());
    for sample in samples {
        time += i64::from(sample.0 % 30_000) + 1;
        if number.is_multiple_of(2) && sample.1 % 16 >= 12 {
            histogram_times.push(time);
            histograms.push(histogram(*sample));
            continue;
        }
        let value = value(*sample);
        timestamps.push(time);
        values.push(if no_infinity && value.is_infinite() { 3.5 } else { value });
    }
    let labels = Labels::of(&[("__name__", "m"), ("A", &n), ("a", &a), ("b", &b), ("n", &n)]);
    let histograms = FetchedHistograms { timestamps: Arc::from(histogram_times), histograms };
    let histograms = (!histograms.histograms.is_empty()).then(|| Box::new(histograms));
    FetchedSeries { labels, timestamps: Arc::from(timestamps), values, histograms }
}

/// Series as parts have them: each in the order of its storage, whatever that is.
fn parts(series: &[FetchedSeries], of: &[u8], count: usize) -> Vec<Vec<FetchedSeries>> {
    let mut parts = vec![Vec::new(); count];
    for (series, part) in series.iter().zip(of) {
        parts[usize::from(*part) % count].push(series.clone());
    }
    parts
}

fn reduce(
    plan: &Plan,
    selection: usize,
    part: &[FetchedSeries],
    batch: usize,
    account: &QueryAccount,
) -> Result<Partial, EvalError> {
    let never = AtomicBool::new(false);
    let mut reducer = Reducer::new(plan, selection, account, &never)?;
    for batch in part.chunks(batch) {
        account.hold(batch)?;
        reducer.add(batch.to_vec())?;
    }
    reducer.finish()
}

/// Reduces what can be; parts travel.
fn evaluate_in_parts(
    plan: &Plan,
    parts: &[Vec<FetchedSeries>],
    batch: usize,
    account: &QueryAccount,
) -> Result<Outcome, EvalError> {
    let never = AtomicBool::new(false);
    let mut fetched = Vec::new();
    for (at, selection) in plan.selections().iter().enumerate() {
        if !selection.reduced {
            let all = parts.concat();
            account.hold(&all)?;
            fetched.push(Fetched::Series(all));
            continue;
        }
        let mut merged = Partial::empty(plan, at, account, &never)?;
        for part in parts {
            let elsewhere = QueryAccount::new(Limits::default());
            let mut arrived = Partial::empty(plan, at, account, &never)?;
            for piece in reduce(plan, at, part, batch, &elsewhere)?.into_pieces() {
                arrived.read_piece(&piece, account).unwrap();
            }
            merged.merge(arrived, account, &never)?;
        }
        fetched.push(Fetched::Reduced(merged));
    }
    evaluate_with(plan, fetched, account, &never)
}

fn evaluate_at_once(plan: &Plan, series: &[FetchedSeries]) -> Result<Outcome, EvalError> {
    let account = QueryAccount::new(Limits::default());
    let fetched = vec![series.to_vec(); plan.selections().len()];
    fetched.iter().try_for_each(|series| account.hold(series))?;
    evaluate(plan, fetched, &account, &AtomicBool::new(false))
}

fn same_value(a: f64, b: f64, exactly: bool) -> bool {
    let near = || (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || a == b || (!exactly && near())
}

fn assert_same(query: &str, a: &Outcome, b: &Outcome) {
    let exactly = !["sum", "avg", "stddev", "stdvar"].iter().any(|op| query.contains(op));
    assert_eq!((&a.warnings, &a.infos), (&b.warnings, &b.infos), "{query}");
    assert_eq!(a.samples_per_step, b.samples_per_step, "{query}");
    // Of histograms every number.
    let numbers = |histogram: &FloatHistogram| -> Vec<f64> {
        let buckets = histogram.buckets().flat_map(|bucket| [bucket.lower, bucket.upper, bucket.count]);
        [histogram.count(), histogram.sum()].into_iter().chain(buckets).collect()
    };
    let flat = |outcome: &Outcome| -> Vec<(Labels, i64, f64)> {
        match &outcome.value {
            Value::Vector(samples) => samples
                .iter()
                .flat_map(|one| {
                    let values = one.histogram.as_deref().map_or_else(|| vec![one.point.value], numbers);
                    values.into_iter().map(|value| (one.labels.clone(), one.point.timestamp, value))
                })
                .collect(),
            Value::Matrix(matrix) => {
                let points = |one: &bellwether_promql::MatrixSeries| {
                    let labels = one.labels.clone();
                    let floats = one.points.iter().map(|point| (point.timestamp, vec![point.value]));
                    let histograms = one.histograms.iter().map(|point| (point.timestamp, numbers(&point.histogram)));
                    let all = floats.chain(histograms).flat_map(|(time, values)| {
                        let labels = labels.clone();
                        values.into_iter().map(move |value| (labels.clone(), time, value))
                    });
                    all.collect::<Vec<_>>()
                };
                matrix.iter().flat_map(points).collect()
            }
            other => panic!("{query}: {other:?}"),
        }
    };
    let (a, b) = (flat(a), flat(b));
    assert_eq!(a.len(), b.len(), "{query}: {a:?} {b:?}");
    for (a, b) in a.iter().zip(&b) {
        assert_eq!((&a.0, a.1), (&b.0, b.1), "{query}");
        assert!(same_value(a.2, b.2, exactly), "{query} {} at {}: {} {}", a.0, a.1, a.2, b.2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn parts_come_to_what_the_whole_does(
        query in 0..QUERIES.len(),
        data in prop::collection::vec(prop::collection::vec(any::<Sample>(), 0..24), 0..24),
        of in prop::collection::vec(any::<u8>(), 24),
        count in 1..4usize,
        batch in 1..9usize,
        instant in any::<bool>(),
        delayed_name_removal in any::<bool>(),
        samples_per_step in any::<bool>(),
    ) {
        let text = QUERIES[query];
        // Deviations of infinite values are no numbers in any order, but the moment at which they become so differs.
        let no_infinity = text.contains("avg") || text.contains("std");
        let all: Vec<FetchedSeries> =
            data.iter().enumerate().map(|(number, samples)| series(number, samples, no_infinity)).collect();
        let times = match instant {
            true => EvalTimes::instant(60_000),
            false => EvalTimes::range(0, 300_000, 7_000).unwrap(),
        };
        let options =
            PlanOptions { lookback_ms: 60_000, delayed_name_removal, samples_per_step, ..PlanOptions::default() };
        let plan = Plan::with_options(&parse(text).unwrap(), times, options).unwrap();
        prop_assert!(plan.selections().iter().any(|selection| selection.reduced), "{}", text);
        let whole = evaluate_at_once(&plan, &all);
        let account = QueryAccount::new(Limits::default());
        let in_parts = evaluate_in_parts(&plan, &parts(&all, &of, count), batch, &account);
        match (whole, in_parts) {
            (Ok(whole), Ok(in_parts)) => assert_same(text, &whole, &in_parts),
            (whole, in_parts) => prop_assert_eq!(whole, in_parts, "{}", text),
        }
    }
}

fn counters(series: usize, samples: usize) -> Vec<FetchedSeries> {
    let timestamps: Arc<[i64]> = (0..samples as i64).map(|at| at * 15_000).collect();
    let one = |number: usize| FetchedSeries {
        labels: Labels::of(&[("__name__", "m"), ("a", &(number % 4).to_string()), ("n", &number.to_string())]),
        timestamps: timestamps.clone(),
        values: (0..samples).map(|at| (at * (number % 50)) as f64).collect(),
        histograms: None,
    };
    (0..series).map(one).collect()
}

#[test]
fn memory_is_that_of_the_groups_and_one_batch() {
    let all = counters(5_000, 240);
    let times = EvalTimes::range(0, 3_600_000, 60_000).unwrap();
    for (query, most) in [
        ("sum by (a) (rate(m[5m]))", 700_000),
        ("avg by (a) (m) + on (a) max by (a) (m)", 700_000),
        ("topk by (a) (5, rate(m[5m]))", 1_200_000),
    ] {
        let plan = Plan::new(&parse(query).unwrap(), times, 300_000).unwrap();
        let pool = MemoryPool::new(1 << 30);
        let account = QueryAccount::within(Limits::default(), pool.clone());
        let outcome = evaluate_in_parts(&plan, &parts(&all, &[0; 5_000], 1), 256, &account).unwrap();
        let Value::Matrix(matrix) = &outcome.value else { panic!("a matrix") };
        let result: usize = matrix.iter().map(|one| 100 + one.labels.byte_len() + one.points.len() * 16).sum();
        assert!(account.peak_bytes() < most, "{query}: {}", account.peak_bytes());
        assert!(pool.used() <= result as u64, "{query}: {} are left for {result}", pool.used());
        drop(account);
        assert_eq!(pool.used(), 0);
    }
    let plan = Plan::new(&parse("sum by (n) (m)").unwrap(), times, 300_000).unwrap();
    let small = QueryAccount::new(Limits { memory_bytes: 1 << 20, ..Limits::default() });
    let error = reduce(&plan, 0, &all, 100, &small).unwrap_err();
    assert_eq!(error, EvalError::Limit(LimitError::Memory { limit: 1 << 20 }));
}

#[test]
fn samples_are_counted_over_all_parts() {
    let all = counters(10, 240);
    let plan = Plan::new(&parse("sum(rate(m[1h]))").unwrap(), EvalTimes::instant(3_600_000), 1).unwrap();
    for (samples, fits) in [(2_400, true), (2_399, false)] {
        let account = QueryAccount::new(Limits { samples, ..Limits::default() });
        let done = evaluate_in_parts(&plan, &[all[..5].to_vec(), all[5..].to_vec()], 2, &account);
        assert_eq!(done.is_ok(), fits, "{done:?}");
    }
}

fn pieces(query: &str) -> (Plan, Vec<Vec<u8>>) {
    pieces_with(query, PlanOptions { lookback_ms: 60_000, ..PlanOptions::default() })
}

fn pieces_of_delayed_names(query: &str) -> (Plan, Vec<Vec<u8>>) {
    pieces_with(query, PlanOptions { lookback_ms: 60_000, delayed_name_removal: true, ..PlanOptions::default() })
}

fn pieces_with(query: &str, options: PlanOptions) -> (Plan, Vec<Vec<u8>>) {
    let times = EvalTimes::range(0, 30_000, 15_000).unwrap();
    let plan = Plan::with_options(&parse(query).unwrap(), times, options).unwrap();
    let partial = reduce(&plan, 0, &counters(2, 3), 9, &QueryAccount::new(Limits::default())).unwrap();
    let pieces = partial.into_pieces().collect();
    (plan, pieces)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pieces_have_these_bytes() {
    let (_, sum) = pieces("sum by (a) (m)");
    let header = "02".to_owned() + "0600000000000000" + "00000000" + "00000000" + "00000000" + "02000000";
    let group = |value: &str| "0a000000".to_owned() + "0100000061" + "01000000" + value + "0700000000000000";
    let zeros = "0".repeat(16 * 6);
    let ones =
        format!("{}{}{}", "0".repeat(32), "000000000000f03f0000000000000000", "00000000000000400000000000000000");
    assert_eq!(sum.len(), 1);
    assert_eq!(hex(&sum[0]), header + &group("30") + &zeros + "00000000" + &group("31") + &ones + "00000000");
    let (_, top) = pieces("limitk(1, m)");
    let header = "02".to_owned() + "0600000000000000" + "00000000" + "00000000" + "00000000" + "01000000";
    let labels =
        "25000000".to_owned() + "080000005f5f6e616d655f5f010000006d" + "01000000610100000030" + "010000006e0100000030";
    let steps = "03000000".to_owned() + "00000000" + "01000000" + "02000000";
    assert_eq!(
        top.iter().map(|piece| hex(piece)).collect::<Vec<_>>(),
        [header + &labels + "00" + &steps + &"0".repeat(48) + "00000000"]
    );
}

#[test]
fn pieces_say_what_becomes_of_names_where_that_is_delayed() {
    let group = |marked: &str| {
        let header = "02".to_owned() + "0600000000000000" + "00000000" + "00000000" + "00000000" + "01000000";
        header + "11000000" + "080000005f5f6e616d655f5f" + "010000006d" + marked + "0700000000000000"
    };
    let (_, kept) = pieces_of_delayed_names("group by (__name__) (m)");
    let (_, marked) = pieces_of_delayed_names("group by (__name__) (-m)");
    assert_eq!((hex(&kept[0]), hex(&marked[0])), (group("00"), group("01")));
    let name_of_first = |pieces: &[Vec<u8>]| pieces[0][25 + 4 + 37];
    assert_eq!(name_of_first(&pieces("limitk(1, -m)").1), 1);
    assert_eq!(name_of_first(&pieces_of_delayed_names("limitk(1, m)").1), 0);
    assert_eq!(name_of_first(&pieces_of_delayed_names("limitk(1, -m)").1), 2);
}

#[test]
fn pieces_say_what_each_step_has_seen_where_that_is_asked_for() {
    let options = PlanOptions { lookback_ms: 60_000, samples_per_step: true, ..PlanOptions::default() };
    let (_, pieces) = pieces_with("group(m)", options);
    let per_step = "03000000".to_owned() + &"0200000000000000".repeat(3);
    let header = "02".to_owned() + "0600000000000000" + &per_step + "00000000" + "00000000" + "00000000" + "01000000";
    assert_eq!(hex(&pieces[0]), header + "00000000" + "0700000000000000");
}

#[test]
fn plans_whose_pieces_differ_do_not_fit_together() {
    let fingerprint = |delayed_name_removal: bool, samples_per_step: bool| {
        let options = PlanOptions { delayed_name_removal, samples_per_step, ..PlanOptions::default() };
        Plan::with_options(&parse("sum(m)").unwrap(), EvalTimes::instant(0), options).unwrap().fingerprint(0)
    };
    let all = [fingerprint(false, false), fingerprint(true, false), fingerprint(false, true), fingerprint(true, true)];
    assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{all:?}");
}

#[test]
fn large_results_travel_in_many_pieces() {
    let plan = Plan::new(&parse("sum by (n) (m)").unwrap(), EvalTimes::range(0, 3_600_000, 15_000).unwrap(), 60_000);
    let plan = plan.unwrap();
    let account = QueryAccount::new(Limits::default());
    let sent: Vec<Vec<u8>> = reduce(&plan, 0, &counters(200, 240), 64, &account).unwrap().into_pieces().collect();
    assert!(sent.len() > 2 && sent.iter().all(|piece| piece.len() < 300 << 10), "{}", sent.len());
    let mut arrived = Partial::empty(&plan, 0, &account, &AtomicBool::new(false)).unwrap();
    sent.iter().for_each(|piece| arrived.read_piece(piece, &account).unwrap());
    assert!(arrived.into_pieces().eq(sent));
}

#[test]
fn damaged_pieces_are_refused_or_harmless() {
    for query in ["avg by (a) (m)", "topk(1, rate(m[1m]))", "count_values(\"v\", m)", "topk(1, stddev by (n) (m))"] {
        let counted = PlanOptions { lookback_ms: 60_000, samples_per_step: true, ..PlanOptions::default() };
        for (plan, pieces) in &[pieces(query), pieces_of_delayed_names(query), pieces_with(query, counted)] {
            let read = |piece: &[u8]| {
                let account = QueryAccount::new(Limits { memory_bytes: 1 << 20, ..Limits::default() });
                let mut partial = Partial::empty(plan, 0, &account, &AtomicBool::new(false)).unwrap();
                partial.read_piece(piece, &account)
            };
            for piece in pieces {
                assert_eq!(read(piece), Ok(()), "{query}");
                // Without its only aggregation a piece is still one.
                let whole: Vec<usize> = (0..piece.len()).filter(|length| read(&piece[..*length]).is_ok()).collect();
                assert_eq!(whole.len(), 1, "{query}: {whole:?}");
                for bit in 0..piece.len() * 8 {
                    let mut damaged = piece.clone();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    let _ = read(&damaged);
                }
            }
        }
    }
}
