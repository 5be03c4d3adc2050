//! Evaluations stop at their limits, and when nobody wants them any more.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::Labels;
use bellwether_promql::limits::{MATCHERS_PER_SELECTOR_MAX, SELECTIONS_MAX};
use bellwether_promql::{
    Cancel, EvalError, EvalTimes, FetchedSeries, LabelNames, LimitError, Limits, MemoryPool, Plan, PlanOptions,
    QueryAccount, Value, evaluate, parse, parse_selectors,
};

fn counters(count: usize, samples: usize) -> Vec<FetchedSeries> {
    let timestamps: Arc<[i64]> = (0..samples as i64).map(|at| at * 1000).collect();
    let series = |number: usize| FetchedSeries {
        labels: Labels::of(&[("__name__", "x_total"), ("n", &number.to_string())]),
        timestamps: timestamps.clone(),
        values: (0..samples).map(|at| at as f64).collect(),
        histograms: None,
    };
    (0..count).map(series).collect()
}

/// An account that has paid for what was fetched, as the evaluation expects.
fn charged(mut limits: Limits, fetched: &[Vec<FetchedSeries>]) -> Result<QueryAccount, EvalError> {
    let bytes = fetched.iter().flatten().map(FetchedSeries::byte_len).sum::<u64>();
    limits.memory_bytes = limits.memory_bytes.saturating_add(bytes);
    let account = QueryAccount::new(limits);
    fetched.iter().try_for_each(|series| account.hold(series))?;
    Ok(account)
}

fn run(query: &str, times: EvalTimes, limits: Limits, cancel: &dyn Cancel) -> Result<Value, EvalError> {
    let plan = Plan::new(&parse(query).unwrap(), times, 300_000).unwrap();
    let fetched = vec![counters(100, 100); plan.selections().len()];
    let account = charged(limits, &fetched)?;
    evaluate(&plan, fetched, &account, cancel).map(|outcome| outcome.value)
}

#[test]
fn samples_are_limited() {
    let limits = Limits { samples: 50, ..Limits::default() };
    let never = AtomicBool::new(false);
    let error = run("sum(x_total)", EvalTimes::instant(50_000), limits, &never).unwrap_err();
    assert_eq!(error, EvalError::Limit(LimitError::Samples { limit: 50 }));
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
        let error = run(query, times, limits, &never).unwrap_err();
        assert!(matches!(error, EvalError::Limit(LimitError::Memory { .. })), "{query}: {error}");
    }
    // A subquery of countless steps is refused before it takes its memory.
    let query = "count_over_time(vector(1)[100y:1ms])";
    let limits = Limits::default();
    let error = run(query, EvalTimes::instant(0), limits, &never).unwrap_err();
    assert!(matches!(error, EvalError::Limit(LimitError::Memory { .. })), "{error}");
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
    let none = evaluate(&plan, Vec::new(), &QueryAccount::new(Limits::default()), &never).unwrap_err();
    assert_eq!(none.to_string(), "the plan has 1 selections, but 0 were fetched");
    let uneven = FetchedSeries {
        labels: Labels::of(&[("a", "b")]),
        timestamps: Arc::from([1, 2]),
        values: vec![1.0],
        histograms: None,
    };
    let uneven = evaluate(&plan, vec![vec![uneven]], &QueryAccount::new(Limits::default()), &never).unwrap_err();
    assert_eq!(uneven.to_string(), "series {a=\"b\"} was fetched with 2 timestamps and 1 values");
}

#[test]
fn label_names_can_be_kept_classic() {
    let expr = parse("count_values(\"my.label\", x)").unwrap();
    assert!(Plan::new(&expr, EvalTimes::instant(0), 1).is_ok());
    let options = PlanOptions { label_names: LabelNames::Classic, ..PlanOptions::default() };
    let classic = Plan::with_options(&expr, EvalTimes::instant(0), options);
    assert_eq!(classic.unwrap_err().to_string(), "invalid label name \"my.label\"");
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

fn planned(query: &str) -> Result<Plan, String> {
    let expr = parse(query).map_err(|error| error.to_string())?;
    Plan::new(&expr, EvalTimes::instant(0), 1).map_err(|error| error.to_string())
}

/// Balanced, so that depth is no bound.
fn sum_of(terms: &[String]) -> String {
    match terms {
        [one] => one.clone(),
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            format!("({} + {})", sum_of(left), sum_of(right))
        }
    }
}

#[test]
fn a_query_has_few_different_selectors() {
    let many = |count: usize| sum_of(&(0..count).map(|at| format!("x{at}")).collect::<Vec<_>>());
    assert_eq!(planned(&many(SELECTIONS_MAX)).unwrap().selections().len(), SELECTIONS_MAX);
    let error = planned(&many(SELECTIONS_MAX + 1)).unwrap_err();
    assert!(error.contains("more than 1000 different selectors") && error.starts_with("1:"), "{error}");
    // Equal ones are one, whatever the order of their matchers.
    let equal: Vec<String> =
        (0..5000).map(|at| if at % 2 == 0 { "x{a=\"1\",b=\"2\"}" } else { "x{b=\"2\",a=\"1\"}" }.into()).collect();
    assert_eq!(planned(&sum_of(&equal)).unwrap().selections().len(), 1);
}

#[test]
fn a_selector_has_few_matchers() {
    let matchers = |count: usize| (0..count).map(|at| format!("l{at}=\"\"")).collect::<Vec<_>>().join(",");
    assert!(planned(&format!("x{{{}}}", matchers(MATCHERS_PER_SELECTOR_MAX))).is_ok());
    let error = planned(&format!("x{{{}}}", matchers(MATCHERS_PER_SELECTOR_MAX + 1))).unwrap_err();
    assert!(error.contains("more than 256 matchers"), "{error}");
}

#[test]
fn the_regular_expressions_of_a_query_share_a_budget() {
    let selectors: Vec<String> = (0..500).map(|at| format!("x{{a=~\"({at}|[a-z]b){{50}}.+\"}}")).collect();
    let error = planned(&sum_of(&selectors)).unwrap_err();
    assert!(error.contains("the regular expressions of the query need more than"), "{error}");
    let replaces: Vec<String> =
        (0..500).map(|at| format!("label_replace(x, \"a\", \"\", \"a\", \"({at}|[a-z]b){{50}}.+\")")).collect();
    let error = planned(&sum_of(&replaces)).unwrap_err();
    assert!(error.contains("the regular expressions of the query need more than"), "{error}");
    assert!(parse_selectors(selectors.iter().map(String::as_str)).is_err());
}

#[test]
fn made_label_values_are_bounded_before_they_are_made() {
    let never = AtomicBool::new(false);
    let mut join = "label_join(x_total, \"a\", \"0123456789\", \"n\", \"n\")".to_owned();
    for _ in 0..20 {
        join = format!("label_join({join}, \"a\", \"\", \"a\", \"a\")");
    }
    let replacement = "$1".repeat(50_000);
    let replace = format!(
        "label_replace(label_join(x_total, \"a\", \"{}\", \"n\", \"n\"), \"a\", \"{replacement}\", \"a\", \"(.*)\")",
        "x".repeat(4000)
    );
    for query in [join, replace] {
        let error = run(&query, EvalTimes::instant(50_000), Limits::default(), &never).unwrap_err().to_string();
        assert!(error.contains("the limit is 1048576"), "{error}");
    }
}

#[test]
fn scalars_pay_for_every_step() {
    let never = AtomicBool::new(false);
    let times = EvalTimes::range(0, 9_999_000, 1000).unwrap();
    let sum = vec!["time()".to_owned(); 64];
    // 64 leaves at the depth of a balanced tree hold at most a handful of columns; right-deep, all of them.
    let deep = sum.join(" + (") + &")".repeat(63);
    let limits = Limits { memory_bytes: 2 << 20, ..Limits::default() };
    assert!(matches!(run(&deep, times, limits, &never), Err(EvalError::Limit(LimitError::Memory { .. }))));
}

#[test]
fn what_an_evaluation_took_is_given_back_but_for_its_result() {
    let never = AtomicBool::new(false);
    let times = EvalTimes::range(0, 99_000, 1000).unwrap();
    for query in
        ["x_total + on () group_left () sum(x_total)", "histogram_quantile(scalar(x_total), x_total) or x_total"]
    {
        let plan = Plan::new(&parse(query).unwrap(), times, 300_000).unwrap();
        let pool = MemoryPool::new(1 << 30);
        let account = QueryAccount::within(Limits::default(), pool.clone());
        let fetched = vec![counters(100, 100); plan.selections().len()];
        fetched.iter().try_for_each(|series| account.hold(series)).unwrap();
        let outcome = evaluate(&plan, fetched, &account, &never).unwrap();
        let Value::Matrix(matrix) = &outcome.value else { panic!("a matrix") };
        let result: usize = matrix.iter().map(|one| one.labels.byte_len() + one.points.len() * 16).sum();
        let left = pool.used() as usize;
        assert!((result..result + 100 * matrix.len() + 1).contains(&left), "{query}: {left} for {result}");
        drop(account);
        assert_eq!(pool.used(), 0);
    }
}
