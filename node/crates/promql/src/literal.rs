//! Numbers, durations and strings: from their text and back.

use std::fmt::Write;

use crate::duration::DURATION_MS_MAX;

/// Milliseconds of a duration written as in `1h30m`: units from large to small, each at most once.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 24 * 3_600_000),
        ("w", 7 * 24 * 3_600_000),
        ("d", 24 * 3_600_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let bad = || format!("not a valid duration string: {text:?}");
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return Err("empty duration string".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let count: i64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit_ms) = units.by_ref().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(bad)?;
        rest = &rest[letters..];
        total = count
            .checked_mul(*unit_ms)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or("duration out of range")?;
    }
    Ok(total)
}

/// Writes milliseconds as Prometheus does: `5m`, `1h30m`, `0s`.
pub fn duration_text(ms: i64) -> String {
    let mut out = String::new();
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 0 {
        out.push('-');
    }
    let mut rest = ms.unsigned_abs();
    // Years and weeks are written only when nothing else is left.
    let units: [(&str, u64, bool); 7] = [
        ("y", 365 * 24 * 3_600_000, true),
        ("w", 7 * 24 * 3_600_000, true),
        ("d", 24 * 3_600_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    for (unit, unit_ms, exact) in units {
        if exact && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        let count = rest / unit_ms;
        if count > 0 {
            let _ = write!(out, "{count}{unit}");
            rest -= count * unit_ms;
        }
    }
    out
}

/// The value of a number token, or why it has none, in Go's words.
pub(crate) fn parse_number(text: &str) -> Result<f64, &'static str> {
    let text = text.replace('_', "");
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).map(|value| value as f64).map_err(|_| "invalid syntax");
    }
    if text.len() > 1
        && text.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(&text, 8)
    {
        return Ok(octal as f64);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() && text.starts_with(|c: char| !c.is_ascii_alphabetic()) => {
            Err("value out of range")
        }
        Ok(value) => Ok(value),
        Err(_) => Err("invalid syntax"),
    }
}

/// A number as Go's `%g` writes it: with as many digits as it needs, or with at most `digits`.
pub(crate) fn general_text(value: f64, digits: Option<usize>) -> String {
    if !value.is_finite() || value == 0.0 {
        return number_text(value);
    }
    let scientific = match digits {
        Some(digits) => format!("{value:.*e}", digits.saturating_sub(1)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // From so many digits before the point on, Go writes an exponent.
    let whole_digits_max = digits.unwrap_or(6);
    let trimmed = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    if exponent < -4 || exponent >= whole_digits_max as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{trimmed}e{sign}{:0>2}", exponent.unsigned_abs());
    }
    // Rounded to the digits that are left, then written in full.
    scientific.parse::<f64>().map_or_else(|_| number_text(value), |rounded| format!("{rounded}"))
}

/// Writes a number so that it parses back to the same value.
pub fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) { exponent_text(value) } else { format!("{value}") }
}

/// `1.5e+300`, with at least two digits of exponent.
fn exponent_text(value: f64) -> String {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A number as Go's `%f` writes it.
pub(crate) fn fixed_text(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { number_text(value) }
}

/// The text inside a string token, escapes resolved.
pub(crate) fn unquote(token: &str) -> Result<String, String> {
    let quote = token.chars().next().ok_or("invalid syntax")?;
    let inner = token.get(1..token.len().saturating_sub(1)).ok_or("invalid syntax")?;
    if quote == '`' {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next().ok_or("escape sequence not terminated")?;
        let simple = match escape {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            c if c == quote => Some(c as u8),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            continue;
        }
        let (radix, count, first) = match escape {
            '0'..='7' => (8, 3, Some(escape)),
            'x' => (16, 2, None),
            'u' => (16, 4, None),
            'U' => (16, 8, None),
            other => return Err(format!("unknown escape sequence U+{:04X} {other:?}", other as u32)),
        };
        let mut code = 0_u32;
        for at in 0..count {
            let c = match first {
                Some(first) if at == 0 => first,
                _ => chars.next().ok_or("escape sequence not terminated")?,
            };
            let digit = c
                .to_digit(radix)
                .ok_or_else(|| format!("illegal character U+{:04X} {c:?} in escape sequence", c as u32))?;
            code = code * radix + digit;
        }
        if matches!(escape, 'u' | 'U') {
            let c = char::from_u32(code).ok_or("escape sequence is an invalid Unicode code point")?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            let byte = u8::try_from(code).map_err(|_| "escape sequence is an invalid Unicode code point")?;
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| "string is not valid UTF-8".to_owned())
}

/// Writes a string so that it parses back.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_alike() {
        for (text, ms) in
            [("5m", 300_000), ("1h30m", 5_400_000), ("1w", 604_800_000), ("100ms", 100), ("1y", 31_536_000_000)]
        {
            assert_eq!(parse_duration_ms(text), Ok(ms));
            assert_eq!(duration_text(ms), text);
        }
        assert!(parse_duration_ms("1m1h").is_err());
        assert!(parse_duration_ms("1m1m").is_err());
        assert_eq!(parse_duration_ms("300y"), Err("duration out of range".to_owned()));
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        for (text, value) in
            [("0x1F", 31.0), ("010", 8.0), ("09", 9.0), ("1_000", 1000.0), ("5.", 5.0), (".5", 0.5), ("1e3", 1000.0)]
        {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert_eq!(parse_number("0xffffffffffffffff"), Err("invalid syntax"));
        assert_eq!(parse_number("1e999"), Err("value out of range"));
        assert_eq!(parse_number("Inf"), Ok(f64::INFINITY));
        assert_eq!(number_text(1e300), "1e+300");
        assert_eq!(number_text(0.25), "0.25");
    }

    #[test]
    fn general_numbers_are_short() {
        for (value, text) in
            [(2.0, "2"), (-0.5, "-0.5"), (1e6, "1e+06"), (123456.0, "123456"), (1e-5, "1e-05"), (f64::NAN, "NaN")]
        {
            assert_eq!(general_text(value, None), text);
        }
        for (value, text) in [(5.0, "5"), (15.4, "15"), (155.0, "1.6e+02"), (0.125, "0.12"), (1e-7, "1e-07")] {
            assert_eq!(general_text(value, Some(2)), text);
        }
    }

    #[test]
    fn strings_unescape() {
        assert_eq!(unquote(r#""a\n\x41\u00e9\101\"""#).unwrap(), "a\nAéA\"");
        assert_eq!(unquote(r"'\''").unwrap(), "'");
        assert_eq!(unquote(r"`\n`").unwrap(), "\\n");
        assert!(unquote(r#""\q""#).is_err());
        assert!(unquote(r#""\xff""#).is_err());
        let text = "q\"\\\u{7}\nü";
        assert_eq!(unquote(&quote(text)).unwrap(), text);
    }
}
