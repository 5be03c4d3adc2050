//! Cuts a query into tokens.
//!
//! Braces and brackets change what characters mean, as in Prometheus: inside `{}` there are only label names, operators
//! and strings; inside `[]` there are only durations and what computes them, and a colon between two of them.

use crate::ast::{AggregateOp, BinaryOp};
use crate::span::Span;

/// Characters of a token that an error message shows.
const DESCRIBED_CHARS_MAX: usize = 10;

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// The text as written.
    pub text: &'a str,
    /// Where.
    pub span: Span,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TokenKind {
    Eof,
    Identifier,
    /// An identifier with a colon: only a metric's name.
    MetricIdentifier,
    String,
    Number,
    Duration,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    /// `=` of a matcher.
    Assign,
    EqualRegex,
    NotEqualRegex,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Without,
    Anchored,
    Smoothed,
    Fill,
    FillLeft,
    FillRight,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl Token<'_> {
    /// How Prometheus names the token in "unexpected ..." messages.
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            TokenKind::Eof => return "end of input".to_owned(),
            TokenKind::Identifier => return format!("identifier {}", go_quote(self.text)),
            TokenKind::MetricIdentifier => return format!("metric identifier {}", go_quote(self.text)),
            TokenKind::Operator(_) | TokenKind::At | TokenKind::EqualRegex | TokenKind::NotEqualRegex => {
                return format!("<op:{}>", self.text);
            }
            TokenKind::Aggregate(_) => return format!("<aggr:{}>", self.text),
            TokenKind::Bool
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
            | TokenKind::FillRight => return format!("<{}>", self.text),
            TokenKind::String => "string ",
            TokenKind::Number => "number ",
            TokenKind::Duration => "duration ",
            _ => "",
        };
        if self.text.len() <= DESCRIBED_CHARS_MAX {
            return format!("{kind}{}", go_quote(self.text));
        }
        let beginning: String = self.text.chars().take(DESCRIBED_CHARS_MAX).collect();
        format!("{kind}{}...", go_quote(&beginning))
    }
}

/// A place where no token begins, or one does not end.
#[derive(Debug, Clone, PartialEq)]
pub struct LexError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// Quotes as Go's `%q` does for ordinary text.
pub(crate) fn go_quote(text: &str) -> String {
    format!("{text:?}")
}

fn go_quote_char(c: char) -> String {
    if c == '\'' { "'\\''".to_owned() } else { format!("{c:?}").replace("'\\\"'", "'\"'") }
}

/// The tokens of `text`, `Eof` at the end; the error, if there is one, follows the tokens before it.
pub fn tokenize(text: &str) -> (Vec<Token<'_>>, Option<LexError>) {
    let mut lexer = Lexer {
        text,
        pos: 0,
        start: 0,
        line: 1,
        line_start: 0,
        counted: 0,
        tokens: Vec::new(),
        paren_depth: 0,
        in_braces: false,
        in_brackets: false,
        duration_seen: false,
        colon_seen: false,
    };
    let error = lexer.run().err();
    (lexer.tokens, error)
}

struct Lexer<'a> {
    text: &'a str,
    /// Next byte to read.
    pos: usize,
    /// First byte of the token being read.
    start: usize,
    line: u32,
    line_start: usize,
    /// Newlines before this offset are in `line`.
    counted: usize,
    tokens: Vec<Token<'a>>,
    paren_depth: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Since the bracket was opened.
    duration_seen: bool,
    colon_seen: bool,
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.pos..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let accepted = self.peek().is_some_and(wanted);
        if accepted {
            self.next();
        }
        accepted
    }

    fn accept_all(&mut self, wanted: impl Fn(char) -> bool) {
        while self.accept(&wanted) {}
    }

    fn span(&mut self) -> Span {
        let bytes = self.text.as_bytes();
        for (at, _) in bytes[self.counted..self.start].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            self.line_start = self.counted + at + 1;
        }
        self.counted = self.counted.max(self.start);
        Span {
            start: self.start as u32,
            end: self.pos as u32,
            line: self.line,
            column: (self.start - self.line_start) as u32 + 1,
        }
    }

    fn emit(&mut self, kind: TokenKind) {
        let span = self.span();
        self.tokens.push(Token { kind, text: &self.text[self.start..self.pos], span });
        self.start = self.pos;
    }

    fn error<T>(&mut self, message: String) -> Result<T, LexError> {
        Err(LexError { message, span: self.span() })
    }

    fn run(&mut self) -> Result<(), LexError> {
        loop {
            self.accept_all(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            self.start = self.pos;
            if self.accept(|c| c == '#') {
                self.accept_all(|c| c != '\n' && c != '\r');
                continue;
            }
            let Some(c) = self.next() else {
                return self.finish();
            };
            if self.in_braces {
                self.inside_braces(c)?;
            } else if self.in_brackets {
                self.inside_brackets(c)?;
            } else {
                self.statement(c)?;
            }
        }
    }

    fn finish(&mut self) -> Result<(), LexError> {
        if self.in_braces {
            return self.error("unexpected end of input inside braces".to_owned());
        }
        if self.in_brackets {
            return self.error("unexpected end of input in duration expression".to_owned());
        }
        if self.paren_depth != 0 {
            return self.error("unclosed left parenthesis".to_owned());
        }
        self.emit(TokenKind::Eof);
        Ok(())
    }

    fn inside_braces(&mut self, c: char) -> Result<(), LexError> {
        match c {
            c if is_alpha(c) => {
                self.accept_all(is_alphanumeric);
                self.emit(TokenKind::Identifier);
            }
            ',' => self.emit(TokenKind::Comma),
            '"' | '\'' | '`' => self.string(c)?,
            '=' => {
                let regex = self.accept(|c| c == '~');
                self.emit(if regex { TokenKind::EqualRegex } else { TokenKind::Assign });
            }
            '!' => match self.next() {
                Some('~') => self.emit(TokenKind::NotEqualRegex),
                Some('=') => self.emit(TokenKind::Operator(BinaryOp::NotEqual)),
                other => {
                    let shown = other.map_or("end of input".to_owned(), go_quote_char);
                    return self.error(format!("unexpected character after '!' inside braces: {shown}"));
                }
            },
            '{' => return self.error("unexpected left brace '{'".to_owned()),
            '}' => {
                self.emit(TokenKind::RightBrace);
                self.in_braces = false;
            }
            c => return self.error(format!("unexpected character inside braces: {}", go_quote_char(c))),
        }
        Ok(())
    }

    fn statement(&mut self, c: char) -> Result<(), LexError> {
        match c {
            ',' => self.emit(TokenKind::Comma),
            '*' => self.emit(TokenKind::Operator(BinaryOp::Mul)),
            '/' => self.emit(TokenKind::Operator(BinaryOp::Div)),
            '%' => self.emit(TokenKind::Operator(BinaryOp::Mod)),
            '+' => self.emit(TokenKind::Operator(BinaryOp::Add)),
            '-' => self.emit(TokenKind::Operator(BinaryOp::Sub)),
            '^' => self.emit(TokenKind::Operator(BinaryOp::Pow)),
            '@' => self.emit(TokenKind::At),
            '=' => {
                if self.peek() == Some('~') {
                    return self.error("unexpected character after '=': '~'".to_owned());
                }
                let double = self.accept(|c| c == '=');
                self.emit(if double { TokenKind::Operator(BinaryOp::Equal) } else { TokenKind::Assign });
            }
            '!' => {
                if !self.accept(|c| c == '=') {
                    let shown = self.peek().map_or("end of input".to_owned(), go_quote_char);
                    return self.error(format!("unexpected character after '!': {shown}"));
                }
                self.emit(TokenKind::Operator(BinaryOp::NotEqual));
            }
            '<' => self.comparison(BinaryOp::Less, BinaryOp::LessEqual, BinaryOp::TrimUpper),
            '>' => self.comparison(BinaryOp::Greater, BinaryOp::GreaterEqual, BinaryOp::TrimLower),
            '"' | '\'' | '`' => self.string(c)?,
            '(' | ')' => self.parenthesis(c)?,
            '{' => {
                self.emit(TokenKind::LeftBrace);
                self.in_braces = true;
            }
            '[' => {
                self.emit(TokenKind::LeftBracket);
                self.in_brackets = true;
                (self.duration_seen, self.colon_seen) = (false, false);
            }
            ']' => return self.error("unexpected right bracket ']'".to_owned()),
            c if is_alpha(c) || c == ':' => {
                self.accept_all(|c| is_alphanumeric(c) || c == ':');
                let kind = word(&self.text[self.start..self.pos]);
                self.emit(kind);
            }
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.pos = self.start;
                self.number_or_duration()?;
            }
            c => return self.error(format!("unexpected character: {}", go_quote_char(c))),
        }
        Ok(())
    }

    fn comparison(&mut self, alone: BinaryOp, with_equal: BinaryOp, with_slash: BinaryOp) {
        let op = if self.accept(|c| c == '=') {
            with_equal
        } else if self.accept(|c| c == '/') {
            with_slash
        } else {
            alone
        };
        self.emit(TokenKind::Operator(op));
    }

    fn parenthesis(&mut self, c: char) -> Result<(), LexError> {
        if c == '(' {
            self.emit(TokenKind::LeftParen);
            self.paren_depth += 1;
            return Ok(());
        }
        if self.paren_depth == 0 {
            self.start = self.pos;
            return self.error("unexpected right parenthesis ')'".to_owned());
        }
        self.emit(TokenKind::RightParen);
        self.paren_depth -= 1;
        Ok(())
    }

    fn inside_brackets(&mut self, c: char) -> Result<(), LexError> {
        match c {
            ']' => {
                self.emit(TokenKind::RightBracket);
                self.in_brackets = false;
            }
            ':' if !self.duration_seen => {
                self.start = self.pos;
                return self.error("unexpected colon before duration in duration expression".to_owned());
            }
            ':' if self.colon_seen => {
                self.start = self.pos;
                return self.error("unexpected repeated colon in duration expression".to_owned());
            }
            ':' => {
                self.emit(TokenKind::Colon);
                self.colon_seen = true;
            }
            '(' | ')' => self.parenthesis(c)?,
            '+' => self.emit(TokenKind::Operator(BinaryOp::Add)),
            '-' => self.emit(TokenKind::Operator(BinaryOp::Sub)),
            '*' => self.emit(TokenKind::Operator(BinaryOp::Mul)),
            '/' => self.emit(TokenKind::Operator(BinaryOp::Div)),
            '%' => self.emit(TokenKind::Operator(BinaryOp::Mod)),
            '^' => self.emit(TokenKind::Operator(BinaryOp::Pow)),
            ',' => self.emit(TokenKind::Comma),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.duration_seen = true;
                self.pos = self.start;
                self.number_or_duration()?;
            }
            c => {
                self.accept_all(is_alpha);
                let kind = word(&self.text[self.start..self.pos]);
                if !matches!(kind, TokenKind::Step | TokenKind::Range | TokenKind::MinOf | TokenKind::MaxOf) {
                    self.pos = self.start + c.len_utf8();
                    let shown = go_quote_char(c);
                    return self.error(format!("unexpected character in duration expression: {shown}"));
                }
                self.duration_seen = true;
                self.emit(kind);
            }
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), LexError> {
        loop {
            match self.next() {
                None if quote == '`' => return self.error("unterminated raw string".to_owned()),
                None => return self.error("unterminated quoted string".to_owned()),
                Some('\n') if quote != '`' => return self.error("unterminated quoted string".to_owned()),
                Some('\\') if quote != '`' => {
                    if self.next().is_none() {
                        return self.error("escape sequence not terminated".to_owned());
                    }
                }
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(TokenKind::String);
        Ok(())
    }

    fn number_or_duration(&mut self) -> Result<(), LexError> {
        if self.number() {
            self.emit(TokenKind::Number);
        } else if self.rest_of_duration() {
            self.emit(TokenKind::Duration);
        } else {
            let text = go_quote(&self.text[self.start..self.pos]);
            return self.error(format!("bad number or duration syntax: {text}"));
        }
        Ok(())
    }

    /// Reads a number; false if a letter follows, so that it may be a duration.
    fn number(&mut self) -> bool {
        let rest = &self.text.as_bytes()[self.pos..];
        if rest.len() >= 2 && rest[0] == b'0' && matches!(rest[1], b'x' | b'X') {
            self.pos += 2;
            self.digits(|c| c.is_ascii_hexdigit());
            return !self.peek().is_some_and(is_alphanumeric);
        }
        self.digits(|c| c.is_ascii_digit());
        if self.accept(|c| c == '.') {
            self.digits(|c| c.is_ascii_digit());
        }
        let before_exponent = self.pos;
        if self.accept(|c| matches!(c, 'e' | 'E')) {
            self.accept(|c| matches!(c, '+' | '-'));
            let digits = self.pos;
            self.digits(|c| c.is_ascii_digit());
            if self.pos == digits {
                self.pos = before_exponent;
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// Digits with single underscores between them.
    fn digits(&mut self, is_digit: impl Fn(char) -> bool) {
        loop {
            self.accept_all(&is_digit);
            let mut ahead = self.text[self.pos..].chars();
            let separated = ahead.next() == Some('_') && ahead.next().is_some_and(&is_digit);
            if !separated {
                return;
            }
            self.next();
        }
    }

    fn rest_of_duration(&mut self) -> bool {
        let is_unit = |c| matches!(c, 's' | 'm' | 'h' | 'd' | 'w' | 'y');
        loop {
            if !self.accept(is_unit) {
                return false;
            }
            self.accept(|c| c == 's');
            if !self.accept(|c| c.is_ascii_digit()) {
                return !self.peek().is_some_and(is_alphanumeric);
            }
            self.accept_all(|c| c.is_ascii_digit());
        }
    }
}

/// The kind of a word outside braces; keywords are found whatever their case.
fn word(text: &str) -> TokenKind {
    if text.contains(':') {
        return TokenKind::MetricIdentifier;
    }
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "and" => TokenKind::Operator(BinaryOp::And),
        "or" => TokenKind::Operator(BinaryOp::Or),
        "unless" => TokenKind::Operator(BinaryOp::Unless),
        "atan2" => TokenKind::Operator(BinaryOp::Atan2),
        "offset" => TokenKind::Offset,
        "by" => TokenKind::By,
        "without" => TokenKind::Without,
        "on" => TokenKind::On,
        "ignoring" => TokenKind::Ignoring,
        "group_left" => TokenKind::GroupLeft,
        "group_right" => TokenKind::GroupRight,
        "bool" => TokenKind::Bool,
        "anchored" => TokenKind::Anchored,
        "smoothed" => TokenKind::Smoothed,
        "fill" => TokenKind::Fill,
        "fill_left" => TokenKind::FillLeft,
        "fill_right" => TokenKind::FillRight,
        "start" => TokenKind::Start,
        "end" => TokenKind::End,
        "step" => TokenKind::Step,
        "range" => TokenKind::Range,
        "max_of" => TokenKind::MaxOf,
        "min_of" => TokenKind::MinOf,
        "inf" | "nan" => TokenKind::Number,
        name => match AggregateOp::ALL.iter().find(|op| op.as_str() == name) {
            Some(op) => TokenKind::Aggregate(*op),
            None => TokenKind::Identifier,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        let (tokens, error) = tokenize(text);
        assert_eq!(error, None, "{text}");
        tokens.iter().map(|token| token.kind).collect()
    }

    #[test]
    fn a_colon_separates_only_inside_brackets() {
        use TokenKind::*;
        assert_eq!(kinds("a:b[5m:1m]"), [MetricIdentifier, LeftBracket, Duration, Colon, Duration, RightBracket, Eof]);
    }

    #[test]
    fn brackets_hold_durations_and_what_computes_them() {
        use TokenKind::*;
        assert_eq!(
            kinds("a[min_of(step(), 5m) * 2:]"),
            [
                Identifier,
                LeftBracket,
                MinOf,
                LeftParen,
                Step,
                LeftParen,
                RightParen,
                Comma,
                Duration,
                RightParen,
                Operator(BinaryOp::Mul),
                Number,
                Colon,
                RightBracket,
                Eof
            ]
        );
        assert_eq!(tokenize("a[sum]").1.unwrap().message, "unexpected character in duration expression: 's'");
    }

    #[test]
    fn keywords_are_ordinary_labels_inside_braces() {
        use TokenKind::*;
        assert_eq!(
            kinds("{sum=\"x\",by!~'y'}"),
            [LeftBrace, Identifier, Assign, String, Comma, Identifier, NotEqualRegex, String, RightBrace, Eof]
        );
    }

    #[test]
    fn positions_count_lines_and_columns() {
        let (tokens, _) = tokenize("a +\n  # comment\n  b");
        assert_eq!((tokens[2].span.line, tokens[2].span.column), (3, 3));
    }

    #[test]
    fn numbers_and_durations_are_told_apart() {
        use TokenKind::*;
        assert_eq!(
            kinds("1 1.5e3 .5 5. 0x1F 1_000 5m 1h30m 100ms Inf nan"),
            [Number, Number, Number, Number, Number, Number, Duration, Duration, Duration, Number, Number, Eof]
        );
        assert!(tokenize("5mm").1.is_some());
        assert!(tokenize("1__0").1.is_some());
    }
}
