//! Durations: literals, and the small language that computes them inside brackets and behind `offset`.

use crate::ast::{BinaryOp, Duration, DurationExpr, DurationKind};
use crate::duration::DURATION_MS_MAX;
use crate::lexer::TokenKind;
use crate::parser::{ParseError, Parser, UNARY_PRECEDENCE, precedence};

/// What can stand for a duration, in the words of error messages.
const EXPECTED: &str = "number, duration, step(), or range()";
const IN_BRACKETS: &str = "subquery or range selector";
const IN_OFFSET: &str = "offset";

impl Parser<'_, '_> {
    pub(super) fn begins_duration(kind: TokenKind) -> bool {
        matches!(
            kind,
            TokenKind::Number
                | TokenKind::Duration
                | TokenKind::LeftParen
                | TokenKind::Step
                | TokenKind::Range
                | TokenKind::MaxOf
                | TokenKind::MinOf
                | TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub)
        )
    }

    /// The length of a range, or the step of a subquery.
    pub(super) fn positive_duration(&mut self, level: usize) -> Result<Duration, ParseError> {
        let expr = self.duration_expression(IN_BRACKETS, 0, level)?;
        let span = expr.span;
        match self.fixed(expr)? {
            Duration::Fixed(ms) if ms <= 0 => self.fail(span, "duration must be greater than 0"),
            duration => Ok(duration),
        }
    }

    /// What follows `offset`. It ends behind a number or a call: `a offset 5m + b` adds `b` to `a offset 5m`.
    pub(super) fn offset_duration(&mut self, level: usize) -> Result<Duration, ParseError> {
        let expr = match self.peek().kind {
            TokenKind::LeftParen => self.duration_expression(IN_OFFSET, 0, level)?,
            _ => self.duration_operand(IN_OFFSET, UNARY_PRECEDENCE + 2, level)?,
        };
        self.fixed(expr)
    }

    /// The duration that an expression is, if it is a literal.
    fn fixed(&self, expr: DurationExpr) -> Result<Duration, ParseError> {
        let DurationKind::Number { value, .. } = expr.kind else {
            return Ok(Duration::Computed(Box::new(expr)));
        };
        let ms = (value * 1000.0).round();
        if ms.is_nan() || ms.abs() >= DURATION_MS_MAX as f64 {
            return self.fail(expr.span, "duration out of range");
        }
        Ok(Duration::Fixed(ms as i64))
    }

    fn duration_expression(&mut self, context: &str, least: u8, level: usize) -> Result<DurationExpr, ParseError> {
        let level = self.deeper(level, self.peek().span)?;
        let mut left = self.duration_operand(context, UNARY_PRECEDENCE + 1, level)?;
        let mut depth = level;
        while let TokenKind::Operator(op) = self.peek().kind {
            let strength = precedence(op);
            let is_arithmetic = strength >= precedence(BinaryOp::Add) && op != BinaryOp::Atan2;
            if !is_arithmetic || strength < least {
                break;
            }
            let token = self.next();
            // The tree grows to the left with each operator.
            depth = self.deeper(depth, token.span)?;
            let least_right = if op == BinaryOp::Pow { strength } else { strength + 1 };
            let right = self.duration_expression(context, least_right, level)?;
            let is_zero = matches!(right.kind, DurationKind::Number { value, .. } if value == 0.0);
            match op {
                BinaryOp::Div if is_zero => return self.fail(token.span, "division by zero"),
                BinaryOp::Mod if is_zero => return self.fail(token.span, "modulo by zero"),
                _ => {}
            }
            let span = left.span.to(right.span);
            let kind = DurationKind::Binary { op, lhs: Box::new(left), rhs: Box::new(right) };
            left = DurationExpr { kind, span };
        }
        Ok(left)
    }

    /// An operand; a sign before it takes in operators that bind at least as strongly as `least`.
    fn duration_operand(&mut self, context: &str, least: u8, level: usize) -> Result<DurationExpr, ParseError> {
        let token = self.peek();
        let (kind, last) = match token.kind {
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.next();
                let level = self.deeper(level, token.span)?;
                let inner = if least > precedence(BinaryOp::Pow) {
                    self.duration_operand(context, least, level)?
                } else {
                    self.duration_expression(context, least, level)?
                };
                let (negative, last) = (op == BinaryOp::Sub, inner.span);
                match inner.kind {
                    DurationKind::Number { value, is_duration } => {
                        let value = if negative { -value } else { value };
                        (DurationKind::Number { value, is_duration }, last)
                    }
                    _ => (DurationKind::Unary { negative, inner: Box::new(inner) }, last),
                }
            }
            TokenKind::Number | TokenKind::Duration => {
                self.next();
                let is_duration = token.kind == TokenKind::Duration;
                let value =
                    if is_duration { self.duration_value(token)? as f64 / 1000.0 } else { self.number_value(token)? };
                // In seconds.
                if value.is_nan() || value.abs() >= DURATION_MS_MAX as f64 / 1000.0 {
                    return self.fail(token.span, "duration out of range");
                }
                (DurationKind::Number { value, is_duration }, token.span)
            }
            TokenKind::Step | TokenKind::Range => {
                self.next();
                self.expect_in(context, TokenKind::LeftParen)?;
                self.expect_in(context, TokenKind::RightParen)?;
                let kind = if token.kind == TokenKind::Step { DurationKind::Step } else { DurationKind::Range };
                (kind, self.last_span())
            }
            TokenKind::MaxOf | TokenKind::MinOf => {
                self.next();
                self.expect_in(context, TokenKind::LeftParen)?;
                let lhs = Box::new(self.duration_expression(context, 0, level)?);
                self.expect_in(context, TokenKind::Comma)?;
                let rhs = Box::new(self.duration_expression(context, 0, level)?);
                self.expect_in(context, TokenKind::RightParen)?;
                let greater = token.kind == TokenKind::MaxOf;
                (DurationKind::Bound { greater, lhs, rhs }, self.last_span())
            }
            TokenKind::LeftParen => {
                self.next();
                let inner = self.duration_expression(context, 0, level)?;
                self.expect_in(context, TokenKind::RightParen)?;
                (DurationKind::Paren(Box::new(inner)), self.last_span())
            }
            _ => return self.unexpected(context, EXPECTED),
        };
        Ok(DurationExpr { kind, span: token.span.to(last) })
    }

    fn expect_in(&mut self, context: &str, kind: TokenKind) -> Result<(), ParseError> {
        if self.accept(kind).is_none() {
            return self.unexpected(context, EXPECTED);
        }
        Ok(())
    }
}
