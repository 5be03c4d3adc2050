//! Evaluations stop at their limits, and when nobody wants them any more.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::Labels;
use bellwether_promql::{
    Cancel, EvalError, EvalTimes, FetchedSeries, LabelNames, Limits, Plan, PlanOptions, Value, evaluate, parse,
};

fn counters(count: usize, samples: usize) -> Vec<FetchedSeries> {
    let timestamps: Arc<[i64]> = (0..samples as i64).map(|at| at * 1000).collect();
    let series = |number: usize| FetchedSeries {
        labels: Labels::of(&[("__name__", "x_total"), ("n", &number.to_string())]),
        timestamps: timestamps.clone(),
        values: (0..samples).map(|at| at as f64).collect(),
    };
    (0..count).map(series).collect()
}

fn run(query: &str, times: EvalTimes, limits: Limits, cancel: &dyn Cancel) -> Result<Value, EvalError> {
    let plan = Plan::new(&parse(query).unwrap(), times, 300_000).unwrap();
    let fetched = vec![counters(100, 100); plan.selections().len()];
    evaluate(&plan, &fetched, &limits, cancel).map(|outcome| outcome.value)
}

#[test]
fn samples_are_limited() {
    let limits = Limits { samples: 50, ..Limits::default() };
    let never = AtomicBool::new(false);
    let error = run("sum(x_total)", EvalTimes::instant(50_000), limits, &never).unwrap_err();
    assert_eq!(error, EvalError::Samples { limit: 50 });
    assert!(error.to_string().contains("limit samples: 50"));
    assert!(run("sum(x_total{n=\"1\"})", EvalTimes::instant(50_000), Limits::default(), &never).is_ok());
}

#[test]
fn memory_is_limited() {
    let limits = Limits { memory_bytes: 1000, ..Limits::default() };
    let never = AtomicBool::new(false);
    let times = EvalTimes::range(0, 99_000, 1000).unwrap();
    for query in ["x_total", "quantile(0.5, x_total)", "x_total * x_total", "sum by (n) (x_total)", "topk(5, x_total)"]
    {
        assert_eq!(run(query, times, limits, &never), Err(EvalError::Memory { limit: 1000 }), "{query}");
    }
    // A subquery of countless steps is refused before it takes its memory.
    let query = "count_over_time(vector(1)[100y:1ms])";
    let limits = Limits::default();
    let error = run(query, EvalTimes::instant(0), limits, &never).unwrap_err();
    assert_eq!(error, EvalError::Memory { limit: limits.memory_bytes });
}

/// Says stop at the third question.
struct Third(Cell<u32>);

impl Cancel for Third {
    fn is_cancelled(&self) -> bool {
        self.0.set(self.0.get() + 1);
        self.0.get() >= 3
    }
}

#[test]
fn a_cancelled_evaluation_stops_in_the_middle() {
    let times = EvalTimes::range(0, 9_000_000, 1000).unwrap();
    for query in ["sum(rate(x_total[1m]))", "x_total * x_total", "quantile_over_time(0.5, x_total[1h])"] {
        let third = Third(Cell::new(0));
        assert_eq!(run(query, times, Limits::default(), &third), Err(EvalError::Cancelled), "{query}");
        assert_eq!(third.0.get(), 3);
    }
}

#[test]
fn data_that_does_not_fit_the_plan_is_refused() {
    let never = AtomicBool::new(false);
    let plan = Plan::new(&parse("x").unwrap(), EvalTimes::instant(0), 1).unwrap();
    let none = evaluate(&plan, &[], &Limits::default(), &never).unwrap_err();
    assert_eq!(none.to_string(), "the plan has 1 selections, but 0 were fetched");
    let uneven = FetchedSeries { labels: Labels::of(&[("a", "b")]), timestamps: Arc::from([1, 2]), values: vec![1.0] };
    let uneven = evaluate(&plan, &[vec![uneven]], &Limits::default(), &never).unwrap_err();
    assert_eq!(uneven.to_string(), "series {a=\"b\"} was fetched with 2 timestamps and 1 values");
}

#[test]
fn utf8_label_names_can_be_allowed() {
    let expr = parse("count_values(\"my.label\", x)").unwrap();
    let classic = Plan::new(&expr, EvalTimes::instant(0), 1);
    assert_eq!(classic.unwrap_err().to_string(), "invalid label name \"my.label\"");
    let options = PlanOptions { label_names: LabelNames::Utf8, ..PlanOptions::default() };
    assert!(Plan::with_options(&expr, EvalTimes::instant(0), options).is_ok());
}

/// Every pass recurses: the deepest tree allowed must fit a small stack.
#[test]
fn the_deepest_expression_is_evaluated() {
    let never = AtomicBool::new(false);
    let depth = bellwether_promql::limits::EXPRESSION_DEPTH_MAX - 2;
    for query in [
        format!("{}x_total", "-".repeat(depth)),
        format!("x_total{}", " + x_total".repeat(depth)),
        format!("{}x_total{}", "abs(".repeat(depth / 2), ")".repeat(depth / 2)),
        format!("{}x_total{}", "sum(".repeat(depth / 2), ")".repeat(depth / 2)),
    ] {
        assert!(run(&query, EvalTimes::instant(50_000), Limits::default(), &never).is_ok(), "{query}");
    }
}
