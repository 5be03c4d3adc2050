//! The syntax before 0.27: what stands between an operator and the next comma outside of quotes is the value.

use bellwether_model::MatchOp;

use super::Written;

const SPACE: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// Reads matchers, or tells that they are none.
pub fn parse_classic(text: &str) -> Option<Vec<Written>> {
    let begin = usize::from(text.starts_with('{'));
    let inner = &text[begin..];
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let mut matchers = Vec::new();
    let (mut in_quotes, mut is_escaped, mut from) = (false, false, 0);
    for (at, c) in inner.char_indices() {
        match c {
            ',' if !in_quotes => {
                matchers.push(one(&inner[from..at], begin + from)?);
                from = at + 1;
                continue;
            }
            '"' if !is_escaped => in_quotes = !in_quotes,
            '\\' => {
                is_escaped = !is_escaped;
                continue;
            }
            _ => {}
        }
        is_escaped = false;
    }
    if !inner[from..].trim().is_empty() {
        matchers.push(one(&inner[from..], begin + from)?);
    }
    Some(matchers)
}

fn one(text: &str, offset: usize) -> Option<Written> {
    let trimmed = text.trim_start_matches(SPACE);
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let end = trimmed.find(|c: char| !is_first(c) && !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let name = &trimmed[..end];
    if !name.starts_with(is_first) {
        return None;
    }
    let rest = trimmed[end..].trim_start_matches(SPACE);
    let (op, length) = match rest.as_bytes() {
        [b'=', b'~', ..] => (MatchOp::Regex, 2),
        [b'!', b'~', ..] => (MatchOp::NotRegex, 2),
        [b'!', b'=', ..] => (MatchOp::NotEqual, 2),
        [b'=', ..] => (MatchOp::Equal, 1),
        _ => return None,
    };
    let value = rest[length..].trim_start_matches(SPACE);
    let offset = offset + text.len() - value.len();
    let value = unescape(value.trim_end_matches(SPACE))?;
    Some(Written { op, name: name.to_owned(), value, offset })
}

/// Takes quotes away, if there are any, and resolves `\n`, `\\` and `\"`; other backslashes stand for themselves.
fn unescape(text: &str) -> Option<String> {
    let is_quoted = text.starts_with('"');
    let inner = if is_quoted { &text[1..] } else { text };
    let mut value = String::with_capacity(inner.len());
    let mut is_closed = !is_quoted;
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('n')) => {
                chars.next();
                value.push('\n');
            }
            ('\\', Some(next @ ('"' | '\\'))) => {
                value.push(*next);
                chars.next();
            }
            ('"', None) if is_quoted => is_closed = true,
            ('"', _) => return None,
            (c, _) => value.push(c),
        }
    }
    is_closed.then_some(value)
}
