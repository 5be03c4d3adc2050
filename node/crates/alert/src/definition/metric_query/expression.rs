//! What a monitor compares, and how it is written in PromQL.

use std::fmt::Write;

use bellwether_promql::{duration_text, number_text};

/// What of its samples a series gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// As they are.
    Value,
    /// By how much they rise in a second.
    Rate,
    /// By how much they rise over the window.
    Increase,
}

impl SeriesKind {
    /// As it is written.
    pub fn modifier(self) -> &'static str {
        match self {
            SeriesKind::Value => "no modifier",
            SeriesKind::Rate => ".as_rate()",
            SeriesKind::Increase => ".as_count()",
        }
    }

    /// How such series are looked at over time.
    pub fn goes_with(self) -> &'static str {
        match self {
            SeriesKind::Value | SeriesKind::Rate => "avg",
            SeriesKind::Increase => "sum",
        }
    }
}

/// What binds an operand from outside, from the loosest up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// Nothing does.
    Loosest,
    /// `+` or `-`.
    Sum,
    /// `*` or `/`.
    Product,
    /// A subquery, or a sign.
    Postfix,
}

/// What is compared.
pub enum Expression {
    /// A number.
    Number(f64),
    /// Series, and how they are put together.
    Series { how: &'static str, selector: String, groups: Vec<String>, kind: SeriesKind },
    /// With the other sign.
    Negative(Box<Expression>),
    /// A function.
    Call(&'static str, Box<Expression>),
    /// Two of them.
    Binary { op: char, left: Box<Expression>, right: Box<Expression> },
}

impl Expression {
    /// Appends it.
    pub fn print(&self, out: &mut String, window_ms: i64, outside: Binding) {
        match self {
            Expression::Number(number) => out.push_str(&number_text(*number)),
            Expression::Series { how, selector, groups, kind } => {
                out.push_str(how);
                if !groups.is_empty() {
                    let _ = write!(out, " by ({}) ", groups.join(", "));
                }
                let window = duration_text(window_ms);
                let _ = match kind {
                    SeriesKind::Value => write!(out, "({selector})"),
                    SeriesKind::Rate => write!(out, "(rate({selector}[{window}]))"),
                    SeriesKind::Increase => write!(out, "(increase({selector}[{window}]))"),
                };
            }
            Expression::Negative(inner) => {
                out.push_str("(-");
                inner.print(out, window_ms, Binding::Postfix);
                out.push(')');
            }
            Expression::Call(name, inner) => {
                let _ = write!(out, "{name}(");
                inner.print(out, window_ms, Binding::Loosest);
                out.push(')');
            }
            Expression::Binary { op, left, right } => {
                let own = if matches!(op, '+' | '-') { Binding::Sum } else { Binding::Product };
                // What stands at the right of an operator of its own rank needs parentheses, as `a - (b - c)` does.
                let behind = if own == Binding::Sum { Binding::Product } else { Binding::Postfix };
                if own < outside {
                    out.push('(');
                }
                left.print(out, window_ms, own);
                let _ = write!(out, " {op} ");
                right.print(out, window_ms, behind);
                if own < outside {
                    out.push(')');
                }
            }
        }
    }
}
