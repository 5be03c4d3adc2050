//! The syntax for any UTF-8: names and values are quoted as in Go, or have none of the characters that stand for something.

use bellwether_model::MatchOp;

use super::{MatcherError, Written, is_reserved};

/// Reads matchers.
pub fn parse_utf8(text: &str) -> Result<Vec<Written>, MatcherError> {
    let mut tokens = Tokens { text, at: 0 };
    let mut matchers = Vec::new();
    let opening = tokens.peek()?;
    let has_brace = opening.token == Token::Open;
    if has_brace {
        tokens.pass(&opening);
    }
    loop {
        let next = tokens.peek()?;
        match next.token {
            Token::End | Token::Close => break,
            Token::Word(_) => matchers.push(tokens.matcher()?),
            _ if matchers.is_empty() => return Err(next.error("a label name is expected here")),
            _ => return Err(next.error("a matcher or the end is expected after the comma")),
        }
        let next = tokens.peek()?;
        match next.token {
            Token::Comma => tokens.pass(&next),
            Token::End | Token::Close => break,
            _ => return Err(next.error("a comma or the end is expected here")),
        }
    }
    let closing = tokens.peek()?;
    match (has_brace, &closing.token) {
        (true, Token::Close) => tokens.pass(&closing),
        (true, _) => return Err(closing.error("a closing brace is expected here")),
        (false, Token::Close) => return Err(closing.error("this brace was never opened")),
        (false, _) => {}
    }
    let end = tokens.peek()?;
    if end.token != Token::End { Err(end.error("nothing is expected after the matchers")) } else { Ok(matchers) }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Comma,
    Op(MatchOp),
    /// Quotes taken away.
    Word(String),
    End,
}

struct Placed {
    token: Token,
    from: usize,
    to: usize,
}

impl Placed {
    fn error(&self, message: &str) -> MatcherError {
        MatcherError::at(self.from, message)
    }
}

struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl Tokens<'_> {
    fn pass(&mut self, token: &Placed) {
        self.at = token.to;
    }

    fn matcher(&mut self) -> Result<Written, MatcherError> {
        let name = self.word("a label name is expected here")?;
        let operator = self.peek()?;
        let Token::Op(op) = operator.token else {
            return Err(operator.error("an operator is expected here: =, !=, =~ or !~"));
        };
        self.pass(&operator);
        let value = self.word("a label value is expected here")?;
        Ok(Written { op, name: name.1, value: value.1, offset: value.0 })
    }

    fn word(&mut self, message: &str) -> Result<(usize, String), MatcherError> {
        let next = self.peek()?;
        self.pass(&next);
        match next.token {
            Token::Word(text) => Ok((next.from, text)),
            _ => Err(next.error(message)),
        }
    }

    fn peek(&self) -> Result<Placed, MatcherError> {
        let rest = self.text[self.at..].trim_start();
        let from = self.text.len() - rest.len();
        let (token, length) = match rest.as_bytes() {
            [] => (Token::End, 0),
            [b'{', ..] => (Token::Open, 1),
            [b'}', ..] => (Token::Close, 1),
            [b',', ..] => (Token::Comma, 1),
            [b'!', b'=', ..] => (Token::Op(MatchOp::NotEqual), 2),
            [b'!', b'~', ..] => (Token::Op(MatchOp::NotRegex), 2),
            [b'=', b'~', ..] => (Token::Op(MatchOp::Regex), 2),
            [b'=', ..] => (Token::Op(MatchOp::Equal), 1),
            [b'"', ..] => {
                let length = quoted_len(rest).ok_or(MatcherError::at(from, "these quotes have no end"))?;
                let word = unquote(&rest[1..length - 1]).map_err(|message| MatcherError::at(from, message))?;
                (Token::Word(word), length)
            }
            [b'!', ..] => return Err(MatcherError::at(from, "no operator begins so; there are =, !=, =~ and !~")),
            _ => {
                let length = rest.find(is_reserved).unwrap_or(rest.len());
                if length == 0 {
                    return Err(MatcherError::at(from, "this character stands in quotes only"));
                }
                (Token::Word(rest[..length].to_owned()), length)
            }
        };
        Ok(Placed { token, from, to: from + length })
    }
}

/// Bytes to the closing quote and with it.
fn quoted_len(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Resolves the escapes of Go's strings (<https://go.dev/ref/spec#String_literals>).
fn unquote(inner: &str) -> Result<String, &'static str> {
    const WRONG: &str = "quotes hold what no Go string can: an unknown escape";
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\n' {
            return Err("quotes hold a line break; write it \\n");
        }
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next().ok_or(WRONG)?;
        rest = &rest[escape.len_utf8()..];
        let mut digits = |count: usize, radix: u32| {
            let (digits, after) = rest.split_at_checked(count).ok_or(WRONG)?;
            rest = after;
            let all_digits = digits.chars().all(|c| c.is_digit(radix));
            if all_digits { u32::from_str_radix(digits, radix).map_err(|_| WRONG) } else { Err(WRONG) }
        };
        let scalar = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '"' => u32::from(escape),
            'u' => digits(4, 16)?,
            'U' => digits(8, 16)?,
            'x' => {
                bytes.push(u8::try_from(digits(2, 16)?).map_err(|_| WRONG)?);
                continue;
            }
            '0'..='7' => {
                rest = &inner[inner.len() - rest.len() - 1..];
                let (digits, after) = rest.split_at_checked(3).ok_or(WRONG)?;
                rest = after;
                bytes.push(u8::from_str_radix(digits, 8).map_err(|_| WRONG)?);
                continue;
            }
            _ => return Err(WRONG),
        };
        let c = char::from_u32(scalar).ok_or(WRONG)?;
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| "quotes hold what is not valid UTF-8")
}
