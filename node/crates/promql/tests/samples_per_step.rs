//! How many samples each step of a query sees.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{Labels, stale_marker};
use bellwether_promql::{EvalTimes, FetchedSeries, Limits, Plan, PlanOptions, QueryAccount, evaluate, parse};

/// A sample every 10 s from 0 to 1,000 s; the last series ends with a marker.
fn series(name: &str, number: usize) -> FetchedSeries {
    let timestamps: Arc<[i64]> = (0..=100).map(|at| at * 10_000).collect();
    let mut values = vec![1.0; 101];
    if number == 2 {
        values[100] = stale_marker();
    }
    FetchedSeries {
        labels: Labels::of(&[("__name__", name), ("n", &number.to_string())]),
        timestamps,
        values,
        histograms: None,
    }
}

fn counts(query: &str, times: EvalTimes, samples_per_step: bool) -> Vec<u64> {
    let options = PlanOptions { samples_per_step, ..PlanOptions::default() };
    let plan = Plan::with_options(&parse(query).unwrap(), times, options).unwrap();
    let fetched = plan.selections().iter().map(|selection| {
        let name = selection.matchers[0].value();
        (0..if name == "three" { 3 } else { 1 }).map(|number| series(name, number)).collect()
    });
    let fetched: Vec<Vec<FetchedSeries>> = fetched.collect();
    let account = QueryAccount::new(Limits::default());
    fetched.iter().for_each(|series| account.hold(series).unwrap());
    evaluate(&plan, fetched, &account, &AtomicBool::new(false)).unwrap().samples_per_step
}

#[test]
fn a_time_sees_what_is_read_for_it() {
    for (query, count) in [
        ("1", 0),
        ("\"text\"", 0),
        ("time()", 0),
        ("one", 1),
        ("one offset 10s", 1),
        ("three @ 15", 3),
        ("timestamp(three)", 3),
        ("three > 5", 3),
        ("three + three", 6),
        ("one[1m]", 6),
        ("three[1m] offset 10s", 18),
        ("one[1m] @ 30", 4),
        ("rate(one[1m])", 6),
        ("absent_over_time(one[1m])", 6),
        ("sum(max_over_time(three[1m] @ 30))", 12),
        ("one[1m:5s]", 12),
        ("max_over_time(one[1m])[20s:5s]", 24),
        ("max_over_time(three[1m:5s])", 36),
        ("sum(sum_over_time(sum(three)[1m:5s]))", 12),
        ("max_over_time(max_over_time(one[1m])[1m:5s])", 12),
        ("quantile(0.5, three) + on () count(one)", 4),
    ] {
        assert_eq!(counts(query, EvalTimes::instant(201_000), true), [count], "{query}");
    }
}

#[test]
fn each_step_sees_its_own() {
    let times = EvalTimes::range(201_000, 220_000, 5_000).unwrap();
    for (query, each) in [
        ("2", 0),
        ("one", 1),
        ("three", 3),
        ("sum(three)", 3),
        ("rate(three[1m])", 18),
        ("three @ 15", 3),
        ("max_over_time(three[1m] @ 30)", 12),
        ("max_over_time(three[1m:5s])", 36),
        ("sum(max_over_time(three[1m:5s])) + sum(max_over_time(one[1m:5s]))", 48),
        ("one + on () sum(three @ 15)", 4),
    ] {
        assert_eq!(counts(query, times, true), [each; 4], "{query}");
    }
    let ending = EvalTimes::range(991_000, 1_021_000, 10_000).unwrap();
    assert_eq!(counts("max_over_time(one[10s])", ending, true), [1, 1, 0, 0]);
    assert_eq!(counts("three", ending, true), [3, 2, 2, 2]);
}

#[test]
fn nothing_is_counted_unasked() {
    assert!(counts("one", EvalTimes::instant(201_000), false).is_empty());
}
