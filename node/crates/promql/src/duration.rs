//! Lengths of time in a query's text: literals, and expressions that are computed once the query's times are known.

use std::fmt;

use crate::ast::BinaryOp;
use crate::literal::{duration_text, number_text};
use crate::plan::{EvalTimes, PlanError};
use crate::span::Span;

/// Prometheus keeps durations in nanoseconds.
pub(crate) const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

/// A length of time.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// A literal, in milliseconds.
    Fixed(i64),
    /// `step() * 2`
    Computed(Box<DurationExpr>),
}

impl Default for Duration {
    fn default() -> Duration {
        Duration::Fixed(0)
    }
}

/// An expression that gives a number of seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Place.
    pub span: Span,
}

/// The forms of a [`DurationExpr`].
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// `5m` or `300`
    Number {
        /// In seconds, if it is a length of time.
        value: f64,
        /// Written as a duration (`5m`).
        is_duration: bool,
    },
    /// `step()`: the step of a range query, 0 for an instant query.
    Step,
    /// `range()`: from the start of the query to its end.
    Range,
    /// `min_of(a, b)` or `max_of(a, b)`
    Bound {
        /// The greater one.
        greater: bool,
        /// One of them.
        lhs: Box<DurationExpr>,
        /// The other.
        rhs: Box<DurationExpr>,
    },
    /// `-a` or `+a`
    Unary {
        /// `-` rather than `+`.
        negative: bool,
        /// Operand.
        inner: Box<DurationExpr>,
    },
    /// `a + b`
    Binary {
        /// One of the arithmetic operators.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<DurationExpr>,
        /// Right operand.
        rhs: Box<DurationExpr>,
    },
    /// `(a)`
    Paren(Box<DurationExpr>),
}

impl Duration {
    /// Its milliseconds, if it is a literal.
    pub fn fixed_ms(&self) -> Option<i64> {
        match self {
            Duration::Fixed(ms) => Some(*ms),
            Duration::Computed(_) => None,
        }
    }

    /// Its milliseconds in a query at these times; at least 1 unless it is an offset.
    pub fn resolve(&self, times: &EvalTimes, is_offset: bool) -> Result<i64, PlanError> {
        let expr = match self {
            Duration::Fixed(ms) => return Ok(*ms),
            Duration::Computed(expr) => expr,
        };
        let seconds = expr.seconds(times)?;
        if seconds <= 0.0 && !is_offset {
            return Err(expr.error("duration must be greater than 0"));
        }
        let ms = seconds * 1000.0;
        if ms.is_nan() || ms.abs() >= DURATION_MS_MAX as f64 {
            return Err(expr.error("duration is out of range"));
        }
        // A range of less than a millisecond would hold nothing.
        Ok(if is_offset { ms as i64 } else { (ms as i64).max(1) })
    }
}

impl DurationExpr {
    fn error(&self, what: &'static str) -> PlanError {
        PlanError::Duration { first: self.span.start, behind: self.span.end, what }
    }

    fn seconds(&self, times: &EvalTimes) -> Result<f64, PlanError> {
        Ok(match &self.kind {
            DurationKind::Number { value, .. } => *value,
            DurationKind::Step => times.step_s(),
            DurationKind::Range => times.range_s(),
            DurationKind::Bound { greater, lhs, rhs } => {
                let (lhs, rhs) = (lhs.seconds(times)?, rhs.seconds(times)?);
                if *greater { lhs.max(rhs) } else { lhs.min(rhs) }
            }
            DurationKind::Unary { negative, inner } => {
                let inner = inner.seconds(times)?;
                if *negative { -inner } else { inner }
            }
            DurationKind::Paren(inner) => inner.seconds(times)?,
            DurationKind::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (lhs.seconds(times)?, rhs.seconds(times)?);
                match op {
                    BinaryOp::Sub => lhs - rhs,
                    BinaryOp::Mul => lhs * rhs,
                    BinaryOp::Div if rhs == 0.0 => return Err(self.error("division by zero")),
                    BinaryOp::Div => lhs / rhs,
                    BinaryOp::Mod if rhs == 0.0 => return Err(self.error("modulo by zero")),
                    BinaryOp::Mod => lhs % rhs,
                    BinaryOp::Pow => lhs.powf(rhs),
                    // The parser takes no operator but these and `+`.
                    _ => lhs + rhs,
                }
            }
        })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Duration::Fixed(ms) => f.write_str(&duration_text(*ms)),
            Duration::Computed(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number { value, is_duration } => f.write_str(&seconds_text(*value, *is_duration)),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Bound { greater, lhs, rhs } => {
                write!(f, "{}({lhs}, {rhs})", if *greater { "max_of" } else { "min_of" })
            }
            DurationKind::Unary { negative, inner } => write!(f, "{}{inner}", if *negative { "-" } else { "+" }),
            DurationKind::Binary { op, lhs, rhs } => write!(f, "{lhs} {op} {rhs}"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A number, as a duration if it was written as one and can be.
pub(crate) fn seconds_text(value: f64, is_duration: bool) -> String {
    let ms = (value * 1000.0).round();
    if is_duration && ms / 1000.0 == value && ms.abs() < DURATION_MS_MAX as f64 {
        return duration_text(ms as i64);
    }
    number_text(value)
}
