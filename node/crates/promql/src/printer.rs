//! Syntax tree to text, in Prometheus's canonical form. What is printed parses back to the same tree.

use std::fmt;

use bellwether_model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Duration, Expr, Extension, Grouping, Number, Subquery, TimeShift,
    VectorSelector,
};
use crate::duration::seconds_text;
use crate::lexer::{TokenKind, tokenize};
use crate::literal::{number_text, quote};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(number) => write_number(f, number),
            Expr::String(string) => f.write_str(&quote(&string.value)),
            Expr::Selector(selector) => {
                write_selector(f, selector)?;
                write_at(f, selector.shift.at)?;
                write_extension(f, selector.extension)?;
                write_offset(f, &selector.shift.offset)
            }
            Expr::Range(range) => {
                write_selector(f, &range.selector)?;
                write!(f, "[{}]", range.range)?;
                write_extension(f, range.selector.extension)?;
                write_shift(f, &range.selector.shift)
            }
            Expr::Subquery(subquery) => {
                write!(f, "{}{}", subquery.expr, SubqueryRange(subquery))
            }
            Expr::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, &call.args)?;
                f.write_str(")")
            }
            Expr::Aggregate(aggregate) => {
                write!(f, "{}(", Head(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Expr::Binary(binary) => {
                write!(f, "{} {} {}", binary.lhs, Operator(binary), binary.rhs)
            }
            Expr::Unary(unary) => write!(f, "{}{}", if unary.negative { "-" } else { "+" }, unary.expr),
            Expr::Paren(paren) => write!(f, "({})", paren.expr),
        }
    }
}

/// What stands behind a subquery's expression.
pub(crate) struct SubqueryRange<'e>(pub(crate) &'e Subquery);

impl fmt::Display for SubqueryRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.0.step.as_ref().map(Duration::to_string).unwrap_or_default();
        write!(f, "[{}:{step}]", self.0.range)?;
        write_shift(f, &self.0.shift)
    }
}

/// What stands before an aggregation's arguments.
pub(crate) struct Head<'e>(pub(crate) &'e Aggregate);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        write_grouping(f, &self.0.grouping)
    }
}

/// What stands between two operands.
pub(crate) struct Operator<'e>(pub(crate) &'e Binary);

impl fmt::Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        write_matching(f, self.0)
    }
}

fn write_number(f: &mut fmt::Formatter<'_>, number: &Number) -> fmt::Result {
    if number.value == f64::INFINITY {
        // A sign would bind to more than the number: `+Inf ^ x`.
        return f.write_str("Inf");
    }
    f.write_str(&seconds_text(number.value, number.is_duration))
}

fn write_list(f: &mut fmt::Formatter<'_>, args: &[Expr]) -> fmt::Result {
    for (at, arg) in args.iter().enumerate() {
        write!(f, "{}{arg}", if at == 0 { "" } else { ", " })?;
    }
    Ok(())
}

fn is_plain_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
}

/// Whether a name can stand before the braces as it is.
fn is_plain_metric(name: &str) -> bool {
    let (tokens, error) = tokenize(name);
    let is_name = |kind| match kind {
        TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Aggregate(_)
        | TokenKind::By
        | TokenKind::Without
        | TokenKind::Offset
        | TokenKind::Anchored
        | TokenKind::Smoothed
        | TokenKind::Fill
        | TokenKind::FillLeft
        | TokenKind::FillRight
        | TokenKind::Start
        | TokenKind::End
        | TokenKind::Step
        | TokenKind::Range
        | TokenKind::MaxOf
        | TokenKind::MinOf => true,
        TokenKind::Operator(op) => op.is_set(),
        _ => false,
    };
    error.is_none() && tokens.len() == 2 && tokens[0].text == name && is_name(tokens[0].kind)
}

fn label_text(name: &str) -> String {
    if is_plain_label(name) { name.to_owned() } else { quote(name) }
}

fn matcher_text(matcher: &Matcher) -> String {
    format!("{}{}{}", label_text(matcher.name()), matcher.op().as_str(), quote(matcher.value()))
}

fn write_selector(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let mut matchers = selector.matchers.as_slice();
    if let Some(name) = &selector.name {
        // The name's own matcher is the last one.
        matchers = &matchers[..matchers.len().saturating_sub(1)];
        f.write_str(name)?;
        if matchers.is_empty() {
            return Ok(());
        }
    }
    let text = |matcher: &Matcher| {
        let is_name = selector.name.is_none() && matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
        if is_name && !is_plain_metric(matcher.value()) && !matcher.value().is_empty() {
            quote(matcher.value())
        } else {
            matcher_text(matcher)
        }
    };
    let mut texts: Vec<String> = matchers.iter().map(text).collect();
    texts.sort_unstable();
    write!(f, "{{{}}}", texts.join(","))
}

fn write_extension(f: &mut fmt::Formatter<'_>, extension: Extension) -> fmt::Result {
    if extension == Extension::None { Ok(()) } else { write!(f, " {}", extension.as_str()) }
}

fn write_shift(f: &mut fmt::Formatter<'_>, shift: &TimeShift) -> fmt::Result {
    write_at(f, shift.at)?;
    write_offset(f, &shift.offset)
}

fn write_at(f: &mut fmt::Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        Some(At::Time(ms)) => write!(f, " @ {}.{:03}", Seconds(ms), (ms % 1000).abs()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        None => Ok(()),
    }
}

fn write_offset(f: &mut fmt::Formatter<'_>, offset: &Duration) -> fmt::Result {
    if *offset == Duration::default() { Ok(()) } else { write!(f, " offset {offset}") }
}

/// Whole seconds of a time; keeps the sign of times between -1 s and 0.
struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs() / 1000)
    }
}

fn write_labels(f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
    let labels: Vec<String> = labels.iter().map(|label| label_text(label)).collect();
    write!(f, "({})", labels.join(", "))
}

fn write_grouping(f: &mut fmt::Formatter<'_>, grouping: &Grouping) -> fmt::Result {
    if grouping.without {
        f.write_str(" without ")?;
    } else if grouping.labels.is_empty() {
        return Ok(());
    } else {
        f.write_str(" by ")?;
    }
    write_labels(f, &grouping.labels)?;
    f.write_str(" ")
}

fn write_matching(f: &mut fmt::Formatter<'_>, binary: &Binary) -> fmt::Result {
    let matching = &binary.matching;
    if binary.return_bool {
        f.write_str(" bool")?;
    }
    let grouped = matching.cardinality != Cardinality::OneToOne;
    if matching.on || !matching.labels.is_empty() || grouped {
        f.write_str(if matching.on { " on " } else { " ignoring " })?;
        write_labels(f, &matching.labels)?;
    }
    if grouped {
        let left = matching.cardinality == Cardinality::ManyToOne;
        f.write_str(if left { " group_left " } else { " group_right " })?;
        write_labels(f, &matching.include)?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            write!(f, " fill ({})", number_text(left))
        }
        (left, right) => {
            let write = |f: &mut fmt::Formatter<'_>, word: &str, fill: Option<f64>| match fill {
                Some(fill) => write!(f, " {word} ({})", number_text(fill)),
                None => Ok(()),
            };
            write(f, "fill_left", left)?;
            write(f, "fill_right", right)
        }
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
