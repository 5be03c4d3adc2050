//! Monitors as Datadog writes them, in PromQL:
//!
//! ```text
//! avg(last_5m):sum:http.errors{service:api-gateway} / sum:http.requests{service:api-gateway} > 0.05
//! ```
//!
//! 1. `avg`, `min`, `max` or `sum` over time of the whole expression: a subquery of the window, whose points lie closer the shorter
//!    it is (what Datadog calls a rollup).
//! 2. Each `how:metric{tags} by {tags}` is a selector under an aggregation. Dots and whatever else PromQL's plain names lack become
//!    `_`; a metric's name in double quotes stays as it is.
//! 3. `.as_rate()` and `.as_count()` are for counters, on all series of an expression or on none: the counters' rate or increase over
//!    the window comes first, then the arithmetic, and no subquery is needed.
//!
//! What the language has beyond this is refused by its name, never left out.

mod expression;
mod reader;

use std::fmt::Write;

use bellwether_promql::ast::BinaryOp;
use bellwether_promql::duration_text;

use crate::cursor::TextError;
use expression::{Binding, SeriesKind};
use reader::Reader;

/// Depth of an expression: parentheses in parentheses.
pub const DEPTH_MAX: usize = 32;
/// The longest window.
const WINDOW_MS_MAX: i64 = 31 * 24 * 3_600_000;
/// Points of a window never lie closer.
const STEP_MS_MIN: i64 = 15_000;
/// Points of a long window.
const STEPS: i64 = 60;

/// A monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery {
    /// What is compared, in PromQL.
    pub value: String,
    /// Over which time it is looked at.
    pub window_ms: i64,
    /// How it is compared.
    pub op: BinaryOp,
    /// With what.
    pub threshold: f64,
}

/// Whether a text that is not PromQL is meant to be one of these.
pub fn looks_like_one(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    name.len() < text.len() && name.strip_prefix('(').is_some_and(|rest| rest.trim_start().starts_with("last_"))
}

/// Reads one.
pub fn read(text: &str) -> Result<MetricQuery, TextError> {
    let mut reader = Reader::new(text);
    let over_time = reader.over_time()?;
    let window_ms = reader.window()?;
    let expression = reader.sum()?;
    let (op, threshold) = reader.comparison()?;
    let kind = match reader.kind {
        Some(kind) => kind,
        None => return Err(TextError::new(0, "the query names no metric: write for example sum:http.errors{*}")),
    };
    if kind != SeriesKind::Value && kind.goes_with() != over_time {
        let message = format!(
            "{} goes with {}(last_..): the counters' {} over the whole window is compared",
            kind.modifier(),
            kind.goes_with(),
            if kind == SeriesKind::Rate { "rate" } else { "increase" }
        );
        return Err(TextError::new(0, message));
    }
    let mut value = String::new();
    if kind == SeriesKind::Value {
        let step_ms = (window_ms / STEPS / 1000 * 1000).max(STEP_MS_MIN);
        let _ = write!(value, "{over_time}_over_time(");
        expression.print(&mut value, window_ms, Binding::Postfix);
        let _ = write!(value, "[{}:{}])", duration_text(window_ms), duration_text(step_ms));
    } else {
        expression.print(&mut value, window_ms, Binding::Loosest);
    }
    Ok(MetricQuery { value, window_ms, op, threshold })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, value: &str, op: BinaryOp, threshold: f64) {
        let read = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((read.value.as_str(), read.op, read.threshold), (value, op, threshold), "{text}");
        bellwether_promql::parse(&read.value).unwrap_or_else(|error| panic!("{}: {error}", read.value));
    }

    fn check_error(text: &str, character: usize, part: &str) {
        let error = read(text).expect_err(text);
        assert!(error.message.contains(part), "{text}: {error}");
        assert_eq!(error.character(text), character, "{text}: {error}");
    }

    #[test]
    fn a_monitor_is_a_subquery() {
        check(
            "avg(last_5m):sum:http.errors{service:api-gateway} / sum:http.requests{service:api-gateway} > 0.05",
            "avg_over_time((sum(http_errors{service=\"api-gateway\"}) / sum(http_requests{service=\"api-gateway\"}))[5m:15s])",
            BinaryOp::Greater,
            0.05,
        );
        check(
            "max(last_1h):avg:system.load.1{*} <= -2e3",
            "max_over_time(avg(system_load_1{})[1h:1m])",
            BinaryOp::LessEqual,
            -2e3,
        );
        check(
            " min( last_4h ) : count:\"http.errors\"{ !env:dev , host:web-*.eu,zone:a:b } by {host,env.name} < 1 ",
            "min_over_time(count by (env_name, host) ({\"http.errors\",env!=\"dev\",host=~\"web-.*\\\\.eu\",zone=\"a:b\"})[4h:4m])",
            BinaryOp::Less,
            1.0,
        );
        check(
            "avg(last_15s):avg:a{k IN (x, y*) AND l NOT IN (z)} - (avg:b{*} - 1) * -2 == 0",
            "avg_over_time((avg(a{k=~\"x|y.*\",l!=\"z\"}) - (avg(b{}) - 1) * (-2))[15s:15s])",
            BinaryOp::Equal,
            0.0,
        );
        check(
            "avg(last_1d):abs(sum:7a/b{*}) / 8 / (2 / 3) != 5",
            "avg_over_time((abs(sum(_7a_b{})) / 8 / (2 / 3))[1d:24m])",
            BinaryOp::NotEqual,
            5.0,
        );
    }

    #[test]
    fn counters_come_before_arithmetic() {
        check(
            "sum(last_10m):sum:errors{*}.as_count() / sum:requests{*}.as_count() >= 1",
            "sum(increase(errors{}[10m])) / sum(increase(requests{}[10m]))",
            BinaryOp::GreaterEqual,
            1.0,
        );
        check(
            "avg(last_5m):sum:errors{*} by {host}.as_rate() > 1",
            "sum by (host) (rate(errors{}[5m]))",
            BinaryOp::Greater,
            1.0,
        );
    }

    #[test]
    fn what_is_not_possible_is_refused_where_it_stands() {
        check_error("p99(last_5m):sum:a{*} > 1", 1, "over time is not possible");
        check_error("change(avg(last_5m),last_1h):sum:a{*} > 1", 1, "\"change\" over time");
        check_error("avg(5m):sum:a{*} > 1", 5, "no window");
        check_error("avg(last_1mo):sum:a{*} > 1", 5, "no window");
        check_error("avg(last_1s):sum:a{*} > 1", 5, "shortest");
        check_error("avg(last_99d):sum:a{*} > 1", 5, "longest");
        check_error("avg(last_5m):sum:a > 1", 20, "\"{\" should be here");
        check_error("avg(last_5m):p95:a{*} > 1", 14, "of series");
        check_error("avg(last_5m):sum:a{*}.rollup(avg, 60) > 1", 22, ".rollup() is not possible");
        check_error("avg(last_5m):anomalies(sum:a{*}, 'basic') > 1", 14, "function anomalies()");
        check_error("avg(last_5m):sum:a{*}", 22, "without a comparison");
        check_error("avg(last_5m):sum:a{*} > ", 25, "a number");
        check_error("avg(last_5m):sum:a{*} > 1 2", 27, "should end");
        check_error("avg(last_5m):sum:a{*} ? 1", 23, "neither an operator");
        check_error("avg(last_5m):1 > 1", 1, "names no metric");
        check_error("avg(last_5m):sum:a{b} > 1", 20, "no value");
        check_error("avg(last_5m):sum:a{b:$c} > 1", 22, "variable");
        check_error("avg(last_5m):sum:a{b:c OR b:d} > 1", 24, "OR is not possible");
        check_error("avg(last_5m):sum:a{*} by {x} / sum:b{*} > 1", 32, "same tags");
        check_error("avg(last_5m):sum:a{*}.as_rate() / sum:b{*} > 1", 35, "no modifier");
        check_error("avg(last_5m):sum:a{*}.as_count() > 1", 1, "goes with sum(last_..)");
        check_error("max(last_5m):sum:a{*}.as_rate() > 1", 1, "goes with avg(last_..)");
        check_error(&format!("avg(last_5m):{}sum:a{{*}} > 1", "(".repeat(40)), 14 + DEPTH_MAX, "deeper");
        check_error("avg(last_5m):sum:ä{*} > 1", 18, "name of a metric");
    }

    #[test]
    fn texts_are_told_apart_by_their_beginning() {
        assert!(looks_like_one(" avg( last_5m):x") && looks_like_one("p99(last_1h"));
        assert!(!looks_like_one("avg(x) > 1") && !looks_like_one("(last_5m)") && !looks_like_one(""));
    }
}
