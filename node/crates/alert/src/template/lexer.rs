//! From a template's text to tokens: text outside of `{{ }}`, words inside.

/// A token, and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token<'t> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'t str,
    pub(crate) offset: usize,
    /// White space stands before it.
    pub(crate) spaced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Text,
    Open,
    Close,
    /// `.`
    Dot,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    Identifier,
    Keyword(Keyword),
    Bool,
    Number,
    /// `'c'`
    Char,
    /// `"text"`
    Quoted,
    /// `` `text` ``
    Raw,
    LeftParen,
    RightParen,
    Pipe,
    Declare,
    Assign,
    Comma,
    /// A character that nothing begins with.
    Other,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// What is no template, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LexError {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

pub(crate) fn tokenize(text: &str) -> Result<Vec<Token<'_>>, LexError> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), parens: 0 };
    let mut trims_left = false;
    while let Some(open) = text[lexer.at..].find(OPEN).map(|found| lexer.at + found) {
        let trims_right = trim_follows(&text[open + OPEN.len()..]);
        lexer.text_token(open, trims_left, trims_right);
        let mut inside = open + OPEN.len();
        if trims_right {
            inside += 2;
        }
        if text[inside..].starts_with("/*") {
            trims_left = lexer.comment(inside)?;
            continue;
        }
        lexer.push(TokenKind::Open, open, inside, false);
        lexer.at = inside;
        lexer.parens = 0;
        trims_left = lexer.action()?;
    }
    lexer.text_token(text.len(), trims_left, false);
    lexer.push(TokenKind::End, text.len(), text.len(), false);
    Ok(lexer.tokens)
}

/// Whether `- ` stands here: white space before it goes.
fn trim_follows(inside: &str) -> bool {
    inside.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token<'t>>,
    parens: usize,
}

impl<'t> Lexer<'t> {
    fn push(&mut self, kind: TokenKind, from: usize, to: usize, spaced: bool) {
        self.tokens.push(Token { kind, text: &self.text[from..to], offset: from, spaced });
    }

    fn text_token(&mut self, end: usize, trims_left: bool, trims_right: bool) {
        let (mut from, mut to) = (self.at, end);
        if trims_left {
            from = end - self.text[from..end].trim_start_matches(is_space).len();
        }
        if trims_right {
            to = from + self.text[from..end].trim_end_matches(is_space).len();
        }
        if from < to {
            self.push(TokenKind::Text, from, to, false);
        }
        self.at = end;
    }

    /// Goes past a comment; whether white space behind it goes.
    fn comment(&mut self, from: usize) -> Result<bool, LexError> {
        let unclosed = LexError { offset: from, message: "unclosed comment".to_owned() };
        let end = self.text[from..].find("*/").map(|found| from + found + 2).ok_or(unclosed)?;
        let rest = &self.text[end..];
        let trims = rest.starts_with(is_space) && rest[1..].starts_with("-}}");
        let close = if trims { end + 2 } else { end };
        if !self.text[close..].starts_with(CLOSE) {
            return Err(LexError { offset: end, message: "comment ends before closing delimiter".to_owned() });
        }
        self.at = close + CLOSE.len();
        Ok(trims)
    }

    /// The tokens up to `}}`; whether white space behind it goes.
    fn action(&mut self) -> Result<bool, LexError> {
        loop {
            let start = self.at;
            let trimmed = self.text[start..].trim_start_matches(is_space);
            let begin = self.text.len() - trimmed.len();
            let spaced = begin > start;
            if spaced && trimmed.starts_with("-}}") {
                return self.close(begin, begin + 1, true);
            }
            if trimmed.starts_with(CLOSE) {
                return self.close(begin, begin, false);
            }
            let Some(first) = trimmed.chars().next() else {
                return Err(LexError { offset: begin, message: "unclosed action".to_owned() });
            };
            let (kind, length) = self.word(first, trimmed, begin)?;
            match kind {
                TokenKind::LeftParen => self.parens += 1,
                // One too many is for the parser to see.
                TokenKind::RightParen => self.parens = self.parens.saturating_sub(1),
                _ => {}
            }
            self.push(kind, begin, begin + length, spaced);
            self.at = begin + length;
        }
    }

    fn close(&mut self, begin: usize, braces: usize, trims: bool) -> Result<bool, LexError> {
        if self.parens > 0 {
            return Err(LexError { offset: begin, message: "unclosed left paren".to_owned() });
        }
        self.push(TokenKind::Close, braces, braces + CLOSE.len(), begin > self.at);
        self.at = braces + CLOSE.len();
        Ok(trims)
    }

    /// The kind and the length of the token that `rest` begins with.
    fn word(&self, first: char, rest: &str, offset: usize) -> Result<(TokenKind, usize), LexError> {
        let fail = |message: String| Err(LexError { offset, message });
        let second = rest[first.len_utf8()..].chars().next();
        let name = |from: usize| from + rest[from..].find(|c| !is_word(c)).unwrap_or(rest.len() - from);
        let ended = |length: usize| match rest[length..].chars().next() {
            None => true,
            Some(c) => {
                is_space(c) || matches!(c, '.' | ',' | '|' | ':' | ')' | '(') || rest[length..].starts_with(CLOSE)
            }
        };
        let bad = |length: usize| {
            let c = rest[length..].chars().next().unwrap_or_default();
            fail(format!("bad character U+{:04X} '{c}'", u32::from(c)))
        };
        match first {
            '(' => Ok((TokenKind::LeftParen, 1)),
            ')' => Ok((TokenKind::RightParen, 1)),
            '|' => Ok((TokenKind::Pipe, 1)),
            ',' => Ok((TokenKind::Comma, 1)),
            '=' => Ok((TokenKind::Assign, 1)),
            ':' if second == Some('=') => Ok((TokenKind::Declare, 2)),
            ':' => fail("expected :=".to_owned()),
            '"' => quoted(rest, '"')
                .map_or_else(|| fail("unterminated quoted string".to_owned()), |end| Ok((TokenKind::Quoted, end))),
            '\'' => quoted(rest, '\'')
                .map_or_else(|| fail("unterminated character constant".to_owned()), |end| Ok((TokenKind::Char, end))),
            '`' => match rest[1..].find('`') {
                Some(end) => Ok((TokenKind::Raw, end + 2)),
                None => fail("unterminated raw quoted string".to_owned()),
            },
            '$' => {
                let end = name(1);
                if ended(end) { Ok((TokenKind::Variable, end)) } else { bad(end) }
            }
            '.' if second.is_none_or(|c| !c.is_ascii_digit()) => {
                let end = name(1);
                let kind = if end == 1 { TokenKind::Dot } else { TokenKind::Field };
                if ended(end) { Ok((kind, end)) } else { bad(end) }
            }
            '+' | '-' | '.' | '0'..='9' => {
                let end = number_end(rest);
                let next = rest[end..].chars().next();
                if end == usize::from(matches!(first, '+' | '-')) || next.is_some_and(is_word) {
                    let end = end + next.filter(|c| is_word(*c)).map_or(0, char::len_utf8);
                    return fail(format!("bad number syntax: {:?}", &rest[..end]));
                }
                Ok((TokenKind::Number, end))
            }
            c if is_word(c) => {
                let end = name(0);
                if !ended(end) {
                    return bad(end);
                }
                Ok((word_kind(&rest[..end]), end))
            }
            c if c.is_ascii_graphic() => Ok((TokenKind::Other, 1)),
            c => fail(format!("unrecognized character in action: U+{:04X} '{c}' in command", u32::from(c))),
        }
    }
}

fn word_kind(word: &str) -> TokenKind {
    let keyword = match word {
        "true" | "false" => return TokenKind::Bool,
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "nil" => Keyword::Nil,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return TokenKind::Identifier,
    };
    TokenKind::Keyword(keyword)
}

/// Where a quoted text ends, quotes included; a line's end does not stand in one.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Where what looks like a number ends.
fn number_end(rest: &str) -> usize {
    let sign = usize::from(rest.starts_with(['+', '-']));
    let body = &rest[sign..];
    let (prefix, digits, exponent): (usize, fn(char) -> bool, &[char]) = match body.get(..2) {
        Some("0x" | "0X") => (2, |c| c.is_ascii_hexdigit() || c == '_', &['p', 'P']),
        Some("0o" | "0O") => (2, |c| matches!(c, '0'..='7' | '_'), &[]),
        Some("0b" | "0B") => (2, |c| matches!(c, '0' | '1' | '_'), &[]),
        _ => (0, |c| c.is_ascii_digit() || c == '_', &['e', 'E']),
    };
    let run = |from: usize| from + body[from..].find(|c| !digits(c)).unwrap_or(body.len() - from);
    let mut end = run(prefix);
    if body[end..].starts_with('.') {
        end = run(end + 1);
    }
    if body[end..].starts_with(exponent) && !exponent.is_empty() {
        end += 1;
        if body[end..].starts_with(['+', '-']) {
            end += 1;
        }
        end += body[end..].find(|c: char| !c.is_ascii_digit()).unwrap_or(body.len() - end);
    }
    sign + end
}
