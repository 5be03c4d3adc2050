//! Types of expressions, and the checks that the grammar leaves open. Messages are Prometheus's.

use bellwether_model::METRIC_NAME;

use crate::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, VectorSelector};
use crate::functions::{FunctionKind, Variadic};
use crate::parser::ParseError;
use crate::span::Span;

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number at each time.
    Scalar,
    /// A text.
    String,
    /// One sample of each series at each time.
    InstantVector,
    /// Many samples of each series at each time.
    RangeVector,
}

impl ValueType {
    /// The word in the documentation and in error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::InstantVector => "instant vector",
            ValueType::RangeVector => "range vector",
        }
    }

    /// The word that the HTTP API uses.
    pub fn api_name(self) -> &'static str {
        match self {
            ValueType::InstantVector => "vector",
            ValueType::RangeVector => "matrix",
            other => other.as_str(),
        }
    }
}

impl Expr {
    /// The type of what it evaluates to.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Selector(_) | Expr::Aggregate(_) => ValueType::InstantVector,
            Expr::Range(_) | Expr::Subquery(_) => ValueType::RangeVector,
            Expr::Call(call) => call.function.returns,
            Expr::Binary(binary) => {
                let both_scalar =
                    binary.lhs.value_type() == ValueType::Scalar && binary.rhs.value_type() == ValueType::Scalar;
                if both_scalar { ValueType::Scalar } else { ValueType::InstantVector }
            }
            Expr::Unary(unary) => unary.expr.value_type(),
            Expr::Paren(paren) => paren.expr.value_type(),
        }
    }
}

fn fail<T>(span: Span, message: String) -> Result<T, ParseError> {
    Err(ParseError { span, message })
}

/// Checks a whole tree; gives its type.
pub(crate) fn check(expr: &mut Expr) -> Result<ValueType, ParseError> {
    match expr {
        Expr::Number(_) => Ok(ValueType::Scalar),
        Expr::String(_) => Ok(ValueType::String),
        Expr::Selector(selector) => check_selector(selector).map(|()| ValueType::InstantVector),
        Expr::Range(range) => check_selector(&range.selector).map(|()| ValueType::RangeVector),
        Expr::Subquery(subquery) => {
            let inner = check(&mut subquery.expr)?;
            if inner != ValueType::InstantVector {
                let got = inner.api_name();
                return fail(subquery.span, format!("subquery is only allowed on instant vector, got {got} instead"));
            }
            Ok(ValueType::RangeVector)
        }
        Expr::Paren(paren) => check(&mut paren.expr),
        Expr::Unary(unary) => {
            let inner = check(&mut unary.expr)?;
            if !matches!(inner, ValueType::Scalar | ValueType::InstantVector) {
                let got = inner.as_str();
                return fail(
                    unary.span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {got:?}"
                    ),
                );
            }
            Ok(inner)
        }
        Expr::Aggregate(aggregate) => check_aggregate(aggregate),
        Expr::Binary(binary) => check_binary(binary),
        Expr::Call(call) => check_call(call),
    }
}

fn check_selector(selector: &VectorSelector) -> Result<(), ParseError> {
    if let Some(name) = &selector.name {
        let others = &selector.matchers[..selector.matchers.len().saturating_sub(1)];
        if let Some(twice) = others.iter().find(|matcher| matcher.name() == METRIC_NAME) {
            let message = format!("metric name must not be set twice: {name:?} or {:?}", twice.value());
            return fail(selector.span, message);
        }
        return Ok(());
    }
    if selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
        return fail(selector.span, "vector selector must contain at least one non-empty matcher".to_owned());
    }
    Ok(())
}

fn expect_type(expr: &mut Expr, want: ValueType, context: &str) -> Result<(), ParseError> {
    let got = check(expr)?;
    if got != want {
        let message = format!("expected type {} in {context}, got {}", want.as_str(), got.as_str());
        return fail(expr.span(), message);
    }
    Ok(())
}

fn check_aggregate(aggregate: &mut Aggregate) -> Result<ValueType, ParseError> {
    expect_type(&mut aggregate.expr, ValueType::InstantVector, "aggregation expression")?;
    if let Some(param) = &mut aggregate.param {
        let want = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        expect_type(param, want, "aggregation parameter")?;
    }
    Ok(ValueType::InstantVector)
}

fn check_binary(binary: &mut Binary) -> Result<ValueType, ParseError> {
    let left = check(&mut binary.lhs)?;
    let right = check(&mut binary.rhs)?;
    let op = binary.op;
    if binary.return_bool && !op.is_comparison() {
        return fail(binary.op_span, "bool modifier can only be used on comparison operators".to_owned());
    }
    let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
    if op.is_comparison() && !binary.return_bool && both_scalar {
        return fail(binary.op_span, "comparisons between scalars must use BOOL modifier".to_owned());
    }
    if binary.matching.on
        && let Some(label) = binary.matching.labels.iter().find(|label| binary.matching.include.contains(label))
    {
        return fail(binary.op_span, format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    for (side, span) in [(left, binary.lhs.span()), (right, binary.rhs.span())] {
        if !matches!(side, ValueType::Scalar | ValueType::InstantVector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return fail(span, message.to_owned());
        }
    }
    let fills = binary.matching.fill_left.is_some() || binary.matching.fill_right.is_some();
    if left == ValueType::Scalar || right == ValueType::Scalar {
        if !binary.matching.labels.is_empty() {
            return fail(binary.span, "vector matching only allowed between instant vectors".to_owned());
        }
        if fills {
            let message = "filling in missing series only allowed between instant vectors";
            return fail(binary.span, message.to_owned());
        }
        if op.is_set() {
            let message = format!("set operator {:?} not allowed in binary scalar expression", op.as_str());
            return fail(binary.span, message);
        }
        binary.matching = Default::default();
    } else if op.is_set() && binary.matching.cardinality != Cardinality::OneToOne {
        return fail(binary.span, format!("no grouping allowed for {:?} operation", op.as_str()));
    } else if op.is_set() && fills {
        return fail(binary.span, "filling in missing series not allowed for set operators".to_owned());
    }
    Ok(if both_scalar { ValueType::Scalar } else { ValueType::InstantVector })
}

fn check_call(call: &mut Call) -> Result<ValueType, ParseError> {
    let function = call.function;
    let (name, listed, given) = (function.name, function.args.len(), call.args.len());
    match function.variadic {
        Variadic::No if given != listed => {
            return fail(call.span, format!("expected {listed} argument(s) in call to {name:?}, got {given}"));
        }
        Variadic::UpTo(_) | Variadic::Any if given + 1 < listed => {
            let least = listed - 1;
            return fail(call.span, format!("expected at least {least} argument(s) in call to {name:?}, got {given}"));
        }
        Variadic::UpTo(more) if given > listed - 1 + more => {
            let most = listed - 1 + more;
            return fail(call.span, format!("expected at most {most} argument(s) in call to {name:?}, got {given}"));
        }
        _ => {}
    }
    if function.kind == FunctionKind::Info
        && let [vector, data_labels] = &mut call.args[..]
    {
        expect_type(vector, ValueType::InstantVector, "call to function \"info\"")?;
        return check_label_selectors(data_labels, call.span).map(|()| function.returns);
    }
    for (at, arg) in call.args.iter_mut().enumerate() {
        let want = function.args[at.min(listed - 1)];
        expect_type(arg, want, &format!("call to function {name:?}"))?;
    }
    Ok(function.returns)
}

/// The second argument of `info`: braces alone, which may select anything.
fn check_label_selectors(arg: &Expr, call: Span) -> Result<(), ParseError> {
    let got = arg.value_type();
    if got != ValueType::InstantVector {
        let (want, got) = (ValueType::InstantVector.as_str(), got.as_str());
        return fail(call, format!("expected type {want} in call to function \"info\", got {got}"));
    }
    match arg {
        Expr::Selector(selector) if selector.name.is_none() => Ok(()),
        Expr::Selector(_) => fail(arg.span(), "expected label selectors only, got vector selector instead".to_owned()),
        _ => fail(arg.span(), "expected label selectors only".to_owned()),
    }
}
