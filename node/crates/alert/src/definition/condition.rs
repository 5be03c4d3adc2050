//! What the query of a definition compares, and with what.

use bellwether_promql::ast::{Binary, BinaryOp};
use bellwether_promql::{Expr, parse};

use super::{FieldError, metric_query, wrong};

/// What a query compares.
pub(super) struct Condition {
    /// The value alone, in PromQL; none if the query is not of that kind.
    pub value: Option<String>,
    /// With what it is compared, if the query says so.
    pub comparison: Option<(BinaryOp, f64)>,
    /// The window that the query has.
    pub window_ms: Option<i64>,
}

impl Condition {
    pub fn of(query: &str) -> Result<Condition, FieldError> {
        let error = match parse(query) {
            Ok(expr) => return Condition::of_promql(&expr),
            Err(error) => error,
        };
        if !metric_query::looks_like_one(query) {
            return wrong("query", error.to_string());
        }
        match metric_query::read(query) {
            Ok(read) => Ok(Condition {
                value: Some(read.value),
                comparison: Some((read.op, read.threshold)),
                window_ms: Some(read.window_ms),
            }),
            Err(error) => wrong("query", format!("character {}: {error}", error.character(query))),
        }
    }

    fn of_promql(expr: &Expr) -> Result<Condition, FieldError> {
        let of_value = |value: &Expr| {
            let text = value.to_string();
            let text = if is_atom(value) { text } else { format!("({text})") };
            // What cannot be compared with a number is no vector.
            match parse(&format!("{text} > 1")) {
                Ok(_) => Ok(Some(text)),
                Err(error) => {
                    wrong("query", format!("it is nothing that could be compared with a number: {}", error.message))
                }
            }
        };
        let window_ms = None;
        let is_condition = |expr: &Expr| matches!(expr.without_parens(), Expr::Binary(binary) if binary.op.is_comparison() && !binary.return_bool);
        match expr.without_parens() {
            Expr::Binary(binary) if binary.op.is_comparison() && !binary.return_bool => match with_number(binary) {
                // What is compared may be what is left of a comparison.
                Some((value, op, number)) if !is_condition(value) => {
                    Ok(Condition { value: of_value(value)?, comparison: Some((op, number)), window_ms })
                }
                _ => Ok(Condition { value: None, comparison: None, window_ms }),
            },
            Expr::Binary(binary) if binary.op.is_set() => Ok(Condition { value: None, comparison: None, window_ms }),
            value => Ok(Condition { value: of_value(value)?, comparison: None, window_ms }),
        }
    }
}

/// Whether it can be an operand as it is written.
fn is_atom(expr: &Expr) -> bool {
    !matches!(expr, Expr::Binary(_) | Expr::Unary(_) | Expr::Number(_))
}

/// A comparison with a number: what is compared, how as if the number stood at the right, and the number.
fn with_number(binary: &Binary) -> Option<(&Expr, BinaryOp, f64)> {
    if let Some(number) = number(&binary.rhs) {
        return Some((&binary.lhs, binary.op, number));
    }
    let mirrored = match binary.op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEqual => BinaryOp::GreaterEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEqual => BinaryOp::LessEqual,
        op => op,
    };
    number(&binary.lhs).map(|number| (&*binary.rhs, mirrored, number))
}

fn number(expr: &Expr) -> Option<f64> {
    match expr.without_parens() {
        Expr::Number(number) => Some(number.value),
        Expr::Unary(unary) => number(&unary.expr).map(|number| if unary.negative { -number } else { number }),
        _ => None,
    }
}
