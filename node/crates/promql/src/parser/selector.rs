//! Selectors: a metric's name and what is inside braces.

use bellwether_model::{METRIC_NAME, MatchOp, Matcher, PatternError};

use crate::ast::{BinaryOp, Expr, Extension, TimeShift, VectorSelector};
use crate::lexer::TokenKind;
use crate::limits::MATCHERS_PER_SELECTOR_MAX;
use crate::parser::{Deep, ParseError, Parser};
use crate::span::Span;

impl Parser<'_, '_> {
    pub(super) fn named_selector(&mut self) -> Result<Deep, ParseError> {
        let token = self.next();
        let name = token.text.to_owned();
        let mut selector = if self.peek().kind == TokenKind::LeftBrace {
            self.braces(Some(token.span))?
        } else {
            VectorSelector {
                name: None,
                matchers: Vec::new(),
                shift: TimeShift::default(),
                extension: Extension::None,
                span: token.span,
            }
        };
        selector.matchers.push(Matcher::equal(METRIC_NAME, &name));
        selector.name = Some(name);
        Ok((Expr::Selector(selector), 1))
    }

    pub(super) fn braces(&mut self, name: Option<Span>) -> Result<VectorSelector, ParseError> {
        let open = self.expect(TokenKind::LeftBrace)?;
        let mut matchers = Vec::new();
        loop {
            if let Some(close) = self.accept(TokenKind::RightBrace) {
                let span = name.unwrap_or(open.span).to(close.span);
                return Ok(VectorSelector {
                    name: None,
                    matchers,
                    shift: TimeShift::default(),
                    extension: Extension::None,
                    span,
                });
            }
            if matchers.len() == MATCHERS_PER_SELECTOR_MAX {
                let span = self.peek().span;
                return self.fail(span, format!("the selector has more than {MATCHERS_PER_SELECTOR_MAX} matchers"));
            }
            matchers.push(self.matcher()?);
            if self.accept(TokenKind::Comma).is_none() && self.peek().kind != TokenKind::RightBrace {
                return self.unexpected("label matching", "\",\" or \"}\"");
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let label = self.peek();
        let (name, quoted) = match label.kind {
            TokenKind::Identifier => (label.text.to_owned(), false),
            TokenKind::String => (self.unquoted(label)?, true),
            _ => return self.unexpected("label matching", "identifier or \"}\""),
        };
        self.next();
        let op = match self.peek().kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            // A quoted text alone is the metric's name.
            TokenKind::Comma | TokenKind::RightBrace if quoted => return Ok(Matcher::equal(METRIC_NAME, &name)),
            _ => return self.unexpected("label matching", "label matching operator"),
        };
        self.next();
        let value = self.peek();
        if value.kind != TokenKind::String {
            return self.unexpected("label matching", "string");
        }
        let text = self.unquoted(value)?;
        self.next();
        let span = label.span.to(value.span);
        Matcher::within(op, &name, &text, self.patterns).or_else(|error| match error {
            PatternError::Invalid { pattern, reason } => {
                // The library draws the pattern over several lines; its last line says what is wrong.
                let reason = reason.rsplit("error: ").next().unwrap_or_default().trim_end();
                self.fail(span, format!("error parsing regexp: {reason}: {pattern:?}"))
            }
            PatternError::TooCostly { .. } => self.fail(span, error.to_string()),
        })
    }
}
