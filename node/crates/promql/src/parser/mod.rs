//! Text to syntax tree: precedence climbing over the tokens, then the type checks of [`crate::types`].
//!
//! Selectors, what follows them, and durations have files of their own.
//!
//! Stops at the first error. Messages and positions are Prometheus's; what Prometheus leaves to a generic message
//! ("unexpected ...") gets the same one here.

mod duration;
mod modifiers;
mod selector;

use std::fmt;

use bellwether_model::{Matcher, PatternBudget};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Extension, Grouping, Matching, Number, Paren,
    StringLiteral, TimeShift, Unary,
};
use crate::functions;
use crate::lexer::{LexError, Token, TokenKind, go_quote, tokenize};
use crate::limits::{EXPRESSION_DEPTH_MAX, QUERY_BYTES_MAX, SELECTIONS_MAX};
use crate::literal;
use crate::span::Span;
use crate::types;

/// Why a text is not a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in Prometheus's words.
    pub message: String,
    /// Where.
    pub span: Span,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: parse error: {}", self.span, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses and checks a query.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_within(text, &mut PatternBudget::default())
}

/// Refuses a text of so many bytes that it cannot be a query: costs nothing, to be asked before the text is kept anywhere.
pub fn check_length(bytes: usize) -> Result<(), ParseError> {
    if bytes > QUERY_BYTES_MAX {
        let message = format!("the query has {bytes} bytes, the limit is {QUERY_BYTES_MAX}");
        return Err(ParseError { message, span: Span { line: 1, column: 1, ..Span::default() } });
    }
    Ok(())
}

fn parse_within(text: &str, patterns: &mut PatternBudget) -> Result<Expr, ParseError> {
    check_length(text.len())?;
    let mut parser = Parser::new(text, patterns);
    if parser.tokens.first().is_some_and(|token| token.kind == TokenKind::Eof) {
        return Err(ParseError { message: "no expression found in input".to_owned(), span: Span::default() });
    }
    let (mut expr, _) = parser.expression(0, 0)?;
    parser.expect_end()?;
    types::check(&mut expr)?;
    Ok(expr)
}

/// Parses selectors alone, as the `match[]` parameters of the HTTP API give them; gives their matchers. Together they are
/// one query, with its limits.
pub fn parse_selectors<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<Vec<Matcher>>, ParseError> {
    let mut patterns = PatternBudget::default();
    let (mut all, mut bytes) = (Vec::new(), 0);
    for text in texts {
        bytes += text.len();
        let refused = |message: String| ParseError { message, span: Span { line: 1, column: 1, ..Span::default() } };
        if all.len() == SELECTIONS_MAX {
            return Err(refused(format!("there are more than {SELECTIONS_MAX} selectors")));
        }
        if bytes > QUERY_BYTES_MAX {
            return Err(refused(format!("the selectors have more than {QUERY_BYTES_MAX} bytes together")));
        }
        match parse_within(text, &mut patterns)? {
            Expr::Selector(selector)
                if selector.shift == TimeShift::default() && selector.extension == Extension::None =>
            {
                all.push(selector.matchers);
            }
            other => {
                return Err(ParseError { message: "expected a vector selector".to_owned(), span: other.span() });
            }
        }
    }
    Ok(all)
}

/// An expression and the depth of its tree.
type Deep = (Expr, usize);

struct Parser<'a, 'b> {
    patterns: &'b mut PatternBudget,
    tokens: Vec<Token<'a>>,
    lex_error: Option<LexError>,
    at: usize,
    /// Stands behind the last token when the text ends in something that is no token.
    end: Token<'a>,
}

/// Binding strength of unary operators: that of `*`.
const UNARY_PRECEDENCE: u8 = 5;

fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => UNARY_PRECEDENCE,
        BinaryOp::Pow => 6,
    }
}

impl<'a, 'b> Parser<'a, 'b> {
    fn new(text: &'a str, patterns: &'b mut PatternBudget) -> Parser<'a, 'b> {
        let (tokens, lex_error) = tokenize(text);
        let span = lex_error.as_ref().map(|error| error.span).or(tokens.last().map(|token| token.span));
        let end = Token { kind: TokenKind::Eof, text: "", span: span.unwrap_or_default() };
        Parser { patterns, tokens, lex_error, at: 0, end }
    }

    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(self.end)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    fn accept(&mut self, kind: TokenKind) -> Option<Token<'a>> {
        (self.peek().kind == kind && self.at < self.tokens.len()).then(|| self.next())
    }

    /// The last token consumed.
    fn last_span(&self) -> Span {
        self.tokens.get(self.at.saturating_sub(1)).map_or(self.end.span, |token| token.span)
    }

    /// "unexpected <the next token> in <context>, expected <what>".
    fn unexpected<T>(&self, context: &str, expected: &str) -> Result<T, ParseError> {
        if self.at >= self.tokens.len()
            && let Some(LexError { message, span }) = self.lex_error.clone()
        {
            return Err(ParseError { message, span });
        }
        let token = self.peek();
        let mut message = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        Err(ParseError { message, span: token.span })
    }

    fn fail<T>(&self, span: Span, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { message: message.into(), span })
    }

    fn expect(&mut self, kind: TokenKind) -> Result<Token<'a>, ParseError> {
        self.accept(kind).map_or_else(|| self.unexpected("", ""), Ok)
    }

    fn expect_end(&mut self) -> Result<(), ParseError> {
        if self.accept(TokenKind::Eof).is_some() { Ok(()) } else { self.unexpected("", "") }
    }

    fn deeper(&self, depth: usize, span: Span) -> Result<usize, ParseError> {
        if depth >= EXPRESSION_DEPTH_MAX {
            return self.fail(span, format!("the expression is nested more than {EXPRESSION_DEPTH_MAX} levels deep"));
        }
        Ok(depth + 1)
    }

    /// An expression whose operators bind at least as strongly as `least`; `level` is how deep the parser is.
    fn expression(&mut self, least: u8, level: usize) -> Result<Deep, ParseError> {
        let level = self.deeper(level, self.peek().span)?;
        let (mut left, mut depth) = self.operand(level)?;
        while let TokenKind::Operator(op) = self.peek().kind {
            let strength = precedence(op);
            if strength < least {
                break;
            }
            let op_token = self.next();
            let return_bool = self.accept(TokenKind::Bool).is_some();
            let matching = self.matching()?;
            let op_span = op_token.span.to(self.last_span());
            // Only `^` groups to the right.
            let least_right = if op == BinaryOp::Pow { strength } else { strength + 1 };
            let (right, right_depth) = self.expression(least_right, level)?;
            let span = left.span().to(right.span());
            depth = self.deeper(depth.max(right_depth), op_span)?;
            let (lhs, rhs) = (Box::new(left), Box::new(right));
            left = Expr::Binary(Binary { op, lhs, rhs, return_bool, matching, op_span, span });
        }
        Ok((left, depth))
    }

    fn matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = self.match_labels()?;
        if self.next_is_fill(TokenKind::Fill) {
            matching.fill_left = Some(self.fill_value()?);
            matching.fill_right = matching.fill_left;
        } else if self.next_is_fill(TokenKind::FillLeft) {
            matching.fill_left = Some(self.fill_value()?);
            if self.next_is_fill(TokenKind::FillRight) {
                matching.fill_right = Some(self.fill_value()?);
            }
        } else if self.next_is_fill(TokenKind::FillRight) {
            matching.fill_right = Some(self.fill_value()?);
            if self.next_is_fill(TokenKind::FillLeft) {
                matching.fill_left = Some(self.fill_value()?);
            }
        }
        Ok(matching)
    }

    /// Whether a fill modifier comes next, and not a metric of that name.
    fn next_is_fill(&self, kind: TokenKind) -> bool {
        self.peek().kind == kind && self.kind_after_next() == Some(TokenKind::LeftParen)
    }

    fn kind_after_next(&self) -> Option<TokenKind> {
        self.tokens.get(self.at + 1).map(|token| token.kind)
    }

    /// The modifier's word and its number in parentheses.
    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.next();
        self.expect(TokenKind::LeftParen)?;
        let negative = self.sign();
        let token = self.peek();
        let value = match token.kind {
            TokenKind::Number => self.number_value(token)?,
            TokenKind::Duration => self.duration_value(token)? as f64 / 1000.0,
            _ => return self.unexpected("", ""),
        };
        self.next();
        self.expect(TokenKind::RightParen)?;
        Ok(match value {
            value if value.is_nan() => f64::NAN,
            value if negative => -value,
            value => value,
        })
    }

    /// Takes a sign, if there is one; says whether it is negative.
    fn sign(&mut self) -> bool {
        let negative = self.accept(TokenKind::Operator(BinaryOp::Sub)).is_some();
        if !negative {
            self.accept(TokenKind::Operator(BinaryOp::Add));
        }
        negative
    }

    fn match_labels(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if self.accept(TokenKind::On).is_some() {
            matching.on = true;
        } else if self.accept(TokenKind::Ignoring).is_none() {
            return Ok(matching);
        }
        matching.labels = self.grouping_labels()?;
        if self.accept(TokenKind::GroupLeft).is_some() {
            matching.cardinality = Cardinality::ManyToOne;
        } else if self.accept(TokenKind::GroupRight).is_some() {
            matching.cardinality = Cardinality::OneToMany;
        } else {
            return Ok(matching);
        }
        let begins_labels = matches!(
            self.peek().kind,
            TokenKind::LeftParen
                | TokenKind::On
                | TokenKind::Ignoring
                | TokenKind::GroupLeft
                | TokenKind::GroupRight
                | TokenKind::Bool
        );
        if begins_labels {
            matching.include = self.grouping_labels()?;
        }
        Ok(matching)
    }

    fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
        if self.accept(TokenKind::LeftParen).is_none() {
            return self.unexpected("grouping opts", "\"(\"");
        }
        let mut labels = Vec::new();
        loop {
            if self.accept(TokenKind::RightParen).is_some() {
                return Ok(labels);
            }
            labels.push(self.grouping_label()?);
            if self.accept(TokenKind::Comma).is_none() && self.peek().kind != TokenKind::RightParen {
                return self.unexpected("grouping opts", "\",\" or \")\"");
            }
        }
    }

    fn grouping_label(&mut self) -> Result<String, ParseError> {
        let token = self.peek();
        let label = match token.kind {
            TokenKind::Identifier
            | TokenKind::Aggregate(_)
            | TokenKind::Bool
            | TokenKind::By
            | TokenKind::GroupLeft
            | TokenKind::GroupRight
            | TokenKind::Ignoring
            | TokenKind::Offset
            | TokenKind::On
            | TokenKind::Without
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
            | TokenKind::MinOf => token.text.to_owned(),
            TokenKind::Operator(op) if op.is_set() || op == BinaryOp::Atan2 => token.text.to_owned(),
            TokenKind::String => {
                let label = self.unquoted(token)?;
                if label.is_empty() {
                    return self.fail(token.span, "invalid label name for grouping: \"\"");
                }
                label
            }
            _ => return self.unexpected("grouping opts", "label"),
        };
        self.next();
        Ok(label)
    }

    fn operand(&mut self, level: usize) -> Result<Deep, ParseError> {
        let token = self.peek();
        if let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = token.kind {
            self.next();
            let (inner, depth) = self.expression(UNARY_PRECEDENCE + 1, level)?;
            let span = token.span.to(inner.span());
            let negative = op == BinaryOp::Sub;
            if let Expr::Number(number) = inner {
                let value = if negative { -number.value } else { number.value };
                return Ok((Expr::Number(Number { value, span, ..number }), depth));
            }
            let depth = self.deeper(depth, span)?;
            return Ok((Expr::Unary(Unary { negative, expr: Box::new(inner), span }), depth));
        }
        let (mut expr, mut depth) = self.primary(level)?;
        loop {
            match self.peek().kind {
                TokenKind::LeftBracket => {
                    expr = self.brackets(expr, level)?;
                    depth = self.deeper(depth, expr.span())?;
                }
                TokenKind::Offset => self.offset(&mut expr, level)?,
                TokenKind::At => self.at_modifier(&mut expr)?,
                TokenKind::Anchored => self.extension(&mut expr, Extension::Anchored)?,
                TokenKind::Smoothed => self.extension(&mut expr, Extension::Smoothed)?,
                _ => return Ok((expr, depth)),
            }
        }
    }

    fn primary(&mut self, level: usize) -> Result<Deep, ParseError> {
        let token = self.peek();
        match token.kind {
            TokenKind::Number => {
                self.next();
                let value = self.number_value(token)?;
                Ok((Expr::Number(Number { value, is_duration: false, span: token.span }), 1))
            }
            TokenKind::Duration => {
                self.next();
                let value = self.duration_value(token)? as f64 / 1000.0;
                Ok((Expr::Number(Number { value, is_duration: true, span: token.span }), 1))
            }
            TokenKind::String => {
                let value = self.unquoted(token)?;
                self.next();
                Ok((Expr::String(StringLiteral { value, span: token.span }), 1))
            }
            TokenKind::LeftParen => {
                self.next();
                let (inner, depth) = self.expression(0, level)?;
                let close = self.expect(TokenKind::RightParen)?;
                let span = token.span.to(close.span);
                let depth = self.deeper(depth, span)?;
                Ok((Expr::Paren(Paren { expr: Box::new(inner), span }), depth))
            }
            TokenKind::LeftBrace => Ok((Expr::Selector(self.braces(None)?), 1)),
            TokenKind::Aggregate(op) => match self.kind_after_next() {
                Some(TokenKind::LeftParen | TokenKind::By | TokenKind::Without) => self.aggregate(op, level),
                _ => self.named_selector(),
            },
            TokenKind::Identifier
            | TokenKind::Start
            | TokenKind::End
            | TokenKind::Step
            | TokenKind::Range
            | TokenKind::MaxOf
            | TokenKind::MinOf => {
                let is_call = self.kind_after_next() == Some(TokenKind::LeftParen);
                if is_call { self.call(level) } else { self.named_selector() }
            }
            TokenKind::MetricIdentifier
            | TokenKind::By
            | TokenKind::Without
            | TokenKind::Offset
            | TokenKind::Anchored
            | TokenKind::Smoothed
            | TokenKind::Fill
            | TokenKind::FillLeft
            | TokenKind::FillRight
            | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => self.named_selector(),
            _ => self.unexpected("", ""),
        }
    }

    fn number_value(&self, token: Token<'_>) -> Result<f64, ParseError> {
        literal::parse_number(token.text).or_else(|reason| {
            let text = go_quote(token.text);
            self.fail(token.span, format!("error parsing number: strconv.ParseFloat: parsing {text}: {reason}"))
        })
    }

    fn duration_value(&self, token: Token<'_>) -> Result<i64, ParseError> {
        literal::parse_duration_ms(token.text).or_else(|message| self.fail(token.span, message))
    }

    fn unquoted(&self, token: Token<'_>) -> Result<String, ParseError> {
        literal::unquote(token.text).or_else(|reason| self.fail(token.span, reason))
    }

    fn arguments(&mut self, level: usize) -> Result<(Vec<Expr>, usize), ParseError> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        let mut depth = 0;
        if self.accept(TokenKind::RightParen).is_some() {
            return Ok((args, depth));
        }
        loop {
            let (arg, arg_depth) = self.expression(0, level)?;
            depth = depth.max(arg_depth);
            args.push(arg);
            if self.accept(TokenKind::RightParen).is_some() {
                return Ok((args, depth));
            }
            let comma = self.expect(TokenKind::Comma)?;
            if self.peek().kind == TokenKind::RightParen {
                return self.fail(comma.span, "trailing commas not allowed in function call args");
            }
        }
    }

    fn call(&mut self, level: usize) -> Result<Deep, ParseError> {
        let name = self.next();
        let (args, depth) = self.arguments(level)?;
        let Some(function) = functions::find(name.text) else {
            return self.fail(name.span, format!("unknown function with name {}", go_quote(name.text)));
        };
        let span = name.span.to(self.last_span());
        let depth = self.deeper(depth, span)?;
        Ok((Expr::Call(Call { function, args, span }), depth))
    }

    fn aggregate(&mut self, op: AggregateOp, level: usize) -> Result<Deep, ParseError> {
        let name = self.next();
        let before = self.grouping()?;
        if self.peek().kind != TokenKind::LeftParen {
            return self.unexpected("aggregation", "");
        }
        let (mut args, depth) = self.arguments(level)?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or_default(),
        };
        let span = name.span.to(self.last_span());
        if args.is_empty() {
            return self.fail(span, "no arguments for aggregate expression provided");
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        let given = args.len();
        let (Some(expr), true) = (args.pop(), given == wanted) else {
            let counts = format!("expected {wanted}, got {given}");
            return self.fail(span, format!("wrong number of arguments for aggregate expression provided, {counts}"));
        };
        let depth = self.deeper(depth, span)?;
        let (expr, param) = (Box::new(expr), args.pop().map(Box::new));
        Ok((Expr::Aggregate(Aggregate { op, expr, param, grouping, span }), depth))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.peek().kind {
            TokenKind::By => false,
            TokenKind::Without => true,
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(Grouping { without, labels: self.grouping_labels()? }))
    }
}
