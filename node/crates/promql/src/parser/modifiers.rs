//! What can follow an expression: `[range]`, `[range:step]`, `offset`, `@`, `anchored` and `smoothed`.

use bellwether_model::Timestamp;

use crate::ast::{At, Duration, Expr, Extension, RangeSelector, Subquery, TimeShift};
use crate::lexer::TokenKind;
use crate::literal;
use crate::parser::{ParseError, Parser};
use crate::span::Span;

impl Parser<'_, '_> {
    pub(super) fn brackets(&mut self, expr: Expr, level: usize) -> Result<Expr, ParseError> {
        let open = self.next();
        let range = self.positive_duration(level)?;
        if self.accept(TokenKind::Colon).is_some() {
            let step = match self.peek().kind {
                TokenKind::RightBracket => None,
                kind if Self::begins_duration(kind) => Some(self.positive_duration(level)?),
                _ => {
                    return self.unexpected("subquery selector", "number, duration, step(), range(), or \"]\"");
                }
            };
            let Some(close) = self.accept(TokenKind::RightBracket) else {
                return self.unexpected("subquery selector", "\"]\"");
            };
            let span = expr.span().to(close.span);
            let shift = TimeShift::default();
            return Ok(Expr::Subquery(Subquery { expr: Box::new(expr), range, step, shift, span }));
        }
        let Some(close) = self.accept(TokenKind::RightBracket) else {
            return self.unexpected("subquery or range", "\":\" or \"]\"");
        };
        let brackets = open.span.to(close.span);
        match expr {
            Expr::Selector(selector) if selector.shift.offset != Duration::default() => {
                self.fail(brackets, "no offset modifiers allowed before range")
            }
            Expr::Selector(selector) if selector.shift.at.is_some() => {
                self.fail(brackets, "no @ modifiers allowed before range")
            }
            Expr::Selector(selector) => {
                let span = selector.span.to(close.span);
                Ok(Expr::Range(RangeSelector { selector, range, span }))
            }
            _ => self.fail(brackets, "ranges only allowed for vector selectors"),
        }
    }

    pub(super) fn offset(&mut self, expr: &mut Expr, level: usize) -> Result<(), ParseError> {
        self.next();
        let offset = self.offset_duration(level)?;
        let (end, whole) = (self.last_span(), expr.span());
        let Some((shift, span)) = shift_of(expr) else {
            let message =
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return self.fail(whole, message);
        };
        if shift.offset != Duration::default() {
            return self.fail(whole, "offset may not be set multiple times");
        }
        shift.offset = offset;
        *span = span.to(end);
        Ok(())
    }

    pub(super) fn at_modifier(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.next();
        let whole = expr.span();
        let at = match self.peek().kind {
            TokenKind::Start | TokenKind::End => {
                let at = if self.next().kind == TokenKind::Start { At::Start } else { At::End };
                for paren in [TokenKind::LeftParen, TokenKind::RightParen] {
                    if self.accept(paren).is_none() {
                        return self.unexpected("@", "timestamp");
                    }
                }
                at
            }
            _ => At::Time(self.at_time(whole)?),
        };
        let end = self.last_span();
        let Some((shift, span)) = shift_of(expr) else {
            let message =
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return self.fail(whole, message);
        };
        if shift.at.is_some() {
            return self.fail(whole, "@ <timestamp> may not be set multiple times");
        }
        shift.at = Some(at);
        *span = span.to(end);
        Ok(())
    }

    fn at_time(&mut self, whole: Span) -> Result<Timestamp, ParseError> {
        let negative = self.sign();
        let token = self.peek();
        let seconds = match token.kind {
            TokenKind::Number => self.number_value(token)?,
            TokenKind::Duration => self.duration_value(token)? as f64 / 1000.0,
            _ => return self.unexpected("@", "timestamp"),
        };
        self.next();
        let seconds = if negative { -seconds } else { seconds };
        // Milliseconds must fit as well, which Prometheus leaves to the wind.
        if seconds.is_nan() || seconds.abs() >= i64::MAX as f64 / 1000.0 {
            let message = format!("timestamp out of bounds for @ modifier: {}", literal::fixed_text(seconds));
            return self.fail(whole, message);
        }
        Ok((seconds * 1000.0).round() as Timestamp)
    }

    pub(super) fn extension(&mut self, expr: &mut Expr, extension: Extension) -> Result<(), ParseError> {
        let end = self.next().span;
        let whole = expr.span();
        let (set, span) = match expr {
            Expr::Selector(node) => (&mut node.extension, &mut node.span),
            Expr::Range(node) => (&mut node.selector.extension, &mut node.span),
            Expr::Subquery(_) => {
                let message = format!("{} modifier is not supported for subqueries", extension.as_str());
                return self.fail(whole, message);
            }
            _ => return self.fail(whole, format!("{} modifier not implemented", extension.as_str())),
        };
        if *set != Extension::None && *set != extension {
            return self.fail(whole, "anchored and smoothed modifiers cannot be used together");
        }
        *set = extension;
        *span = span.to(end);
        Ok(())
    }
}

/// The place of `offset` and `@` in an expression that can have them, and its span.
fn shift_of(expr: &mut Expr) -> Option<(&mut TimeShift, &mut Span)> {
    match expr {
        Expr::Selector(node) => Some((&mut node.shift, &mut node.span)),
        Expr::Range(node) => Some((&mut node.selector.shift, &mut node.span)),
        Expr::Subquery(node) => Some((&mut node.shift, &mut node.span)),
        _ => None,
    }
}
