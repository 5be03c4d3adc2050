//! Texts made fit for where they go.

use std::fmt::Write;

/// `html`
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `js`
pub(crate) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => unicode(&mut out, c),
            c if c.is_control() => unicode(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

fn unicode(out: &mut String, c: char) {
    // Writing to a text does not fail.
    let _ = write!(out, "\\u{:04X}", u32::from(c));
}

/// `urlquery`: a value in a URL's query.
pub(crate) fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Undoes [`url_query`].
pub(crate) fn url_unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '+']) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        if rest[at..].starts_with('+') {
            bytes.push(b' ');
            rest = &rest[at + 1..];
            continue;
        }
        let digits = rest.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("invalid URL escape in {text:?}"))?);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is no UTF-8 once it is unescaped"))
}

/// The path of a URL.
pub(crate) fn url_path(url: &str) -> &str {
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => url,
    };
    rest.split(['?', '#']).next().unwrap_or_default()
}

/// `toUpper`: character by character, as in Go.
pub(crate) fn to_upper(text: &str) -> String {
    text.chars().map(upper).collect()
}

/// `toLower`
pub(crate) fn to_lower(text: &str) -> String {
    text.chars().map(|c| single(c, c.to_lowercase())).collect()
}

fn upper(c: char) -> char {
    single(c, c.to_uppercase())
}

/// What a character becomes, if that is one character.
fn single(c: char, mut changed: impl Iterator<Item = char>) -> char {
    match (changed.next(), changed.next()) {
        (Some(changed), None) => changed,
        _ => c,
    }
}

/// `title`: the first letter of each word in upper case.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        // As Go has it, which is no apostrophe's friend.
        let is_separator = match before {
            '_' => false,
            c if c.is_ascii() => !c.is_ascii_alphanumeric(),
            c => c.is_whitespace(),
        };
        out.push(if is_separator { upper(c) } else { c });
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        assert_eq!(html("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&#34;");
        assert_eq!(js("it's <b>\n"), "it\\'s \\u003Cb\\u003E\\u000A");
        assert_eq!(url_query("a b/ü{x=\"1\"}"), "a+b%2F%C3%BC%7Bx%3D%221%22%7D");
        assert_eq!(title("aa bB x_y it's ß"), "Aa BB X_y It'S ß");
        assert_eq!((to_upper("ß é"), to_lower("ÀB")), ("ß É".to_owned(), "àb".to_owned()));
        assert_eq!(url_path("http://host:1/a/b?c=d"), "/a/b");
        assert_eq!(url_path("http://host"), "");
    }
}
