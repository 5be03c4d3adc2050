//! Numbers and texts in a template: from their tokens to values.

use super::ast::Number;
use super::lexer::{Token, TokenKind};

/// The text inside of a token's quotes.
pub(super) fn unquoted(token: &Token<'_>) -> Result<String, String> {
    let inner = &token.text[1..token.text.len() - 1];
    if token.kind == TokenKind::Raw {
        return Ok(inner.replace('\r', ""));
    }
    unescape(inner, '"').ok_or_else(|| "invalid syntax".to_owned())
}

/// The number of a token; a character is one, too.
pub(super) fn number(token: &Token<'_>) -> Result<Number, String> {
    let bad = || format!("illegal number syntax: {:?}", token.text);
    let text = token.text.to_owned();
    if token.kind == TokenKind::Char {
        let inner = unescape(&text[1..text.len() - 1], '\'').ok_or_else(bad)?;
        let mut chars = inner.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return Err(format!("malformed character constant: {text}"));
        };
        let (int, float) = (Some(i64::from(u32::from(c))), f64::from(u32::from(c)));
        return Ok(Number { text, int, float, is_float: false });
    }
    let plain = text.replace('_', "");
    if let Some(int) = parse_int(&plain) {
        return Ok(Number { text, int: Some(int), float: int as f64, is_float: false });
    }
    // What is too large is an error where it is used.
    if !plain.starts_with('0')
        && let Ok(whole) = plain.parse::<u64>()
    {
        return Ok(Number { text, int: None, float: whole as f64, is_float: false });
    }
    let is_hex = plain.contains(['x', 'X']);
    let float: f64 = if is_hex { hex_float(&plain) } else { plain.parse().ok() }.ok_or_else(bad)?;
    if float.is_infinite() || (!is_hex && !plain.contains(['.', 'e', 'E'])) {
        return Err(format!("integer overflow: {text:?}"));
    }
    let int = (float.fract() == 0.0 && float.abs() < i64::MAX as f64).then_some(float as i64);
    Ok(Number { text, int, float, is_float: true })
}

/// `0x1.8p4`
fn hex_float(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, power) = digits.get(2..)?.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let bits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let power = power.parse::<i32>().ok()?.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    Some(sign * bits as f64 * f64::powi(2.0, power))
}

/// A whole number as Go writes it; a leading zero means octal.
fn parse_int(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// The text inside quotes; bytes that are no UTF-8 together become the replacement character.
fn unescape(inner: &str, quote: char) -> Option<String> {
    let mut bytes: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next()?;
        let mut digits = |count: usize, radix: u32, first: Option<char>| {
            let text: String = first.into_iter().chain(chars.by_ref().take(count)).collect();
            (text.chars().count() == count + usize::from(first.is_some())).then_some(())?;
            u32::from_str_radix(&text, radix).ok()
        };
        match escape {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            c if c == quote => bytes.push(quote as u8),
            'x' => bytes.push(u8::try_from(digits(2, 16, None)?).ok()?),
            c @ '0'..='7' => bytes.push(u8::try_from(digits(2, 8, Some(c))?).ok()?),
            'u' => bytes.extend(char::from_u32(digits(4, 16, None)?)?.to_string().bytes()),
            'U' => bytes.extend(char::from_u32(digits(8, 16, None)?)?.to_string().bytes()),
            _ => return None,
        }
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
