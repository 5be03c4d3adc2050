//! YAML out of values: block style, each scalar in the plainest style that is read as the same text everywhere.

use std::fmt::Write;

use super::{Kind, Node, Style};

/// Spaces by which what is inside stands further right.
pub const INDENT: usize = 2;

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// The beginning of an item.
pub fn push_dash(out: &mut String, indent: usize) {
    push_indent(out, indent);
    out.push_str("- ");
}

/// The first of a mapping's fields stands behind what is already on its line.
pub struct Mapping<'o> {
    /// Where it is written.
    pub out: &'o mut String,
    /// Where its keys stand.
    pub indent: usize,
    /// Whether nothing of it is written.
    pub is_first: bool,
}

impl Mapping<'_> {
    /// A key and its colon.
    pub fn key(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            push_indent(self.out, self.indent);
        }
        push_scalar(self.out, name, self.indent);
        self.out.push(':');
    }

    /// A key and a text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.out.push(' ');
        push_scalar(self.out, value, self.indent);
        self.out.push('\n');
    }

    /// A key and a number.
    pub fn number(&mut self, name: &str, value: f64) {
        self.key(name);
        let _ = writeln!(self.out, " {value}");
    }

    /// A key, and the mapping behind it.
    pub fn mapping(&mut self, name: &str) -> Mapping<'_> {
        self.key(name);
        self.out.push('\n');
        Mapping { out: &mut *self.out, indent: self.indent + INDENT, is_first: false }
    }

    /// A key and a mapping of texts, unless that is empty.
    pub fn pairs<'p>(&mut self, name: &str, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) {
        let mut pairs = pairs.into_iter().peekable();
        if pairs.peek().is_none() {
            return;
        }
        let mut below = self.mapping(name);
        for (name, value) in pairs {
            below.text(name, value);
        }
    }
}

/// How the value of a key is shown that is hidden.
#[derive(Clone, Copy)]
pub enum Shown {
    /// This stands for it and all below it.
    As(&'static str),
    /// Another text stands for each in it.
    Each(fn(&str) -> String),
}

/// How the value of a key is shown, where that is hidden.
type Hidden<'h> = &'h dyn Fn(&str) -> Option<Shown>;

/// A document as it was read, but for comments, styles, and values that are hidden.
pub fn push_document(out: &mut String, root: &Node, hidden: Hidden<'_>) {
    push_node(out, root, 0, hidden, None);
    end_line(out);
}

/// A node behind what is already on its line; what has lines of its own ends with the last of them. `each`: what stands for each text
/// of a value that is hidden.
fn push_node(out: &mut String, node: &Node, indent: usize, hidden: Hidden<'_>, each: Option<fn(&str) -> String>) {
    if let (Kind::Scalar(scalar), Some(each)) = (&node.kind, each) {
        return push_quoted(out, &each(&scalar.value));
    }
    match &node.kind {
        Kind::Scalar(scalar) if scalar.style == Style::Plain && !scalar.value.contains('\n') => {
            out.push_str(if scalar.value.is_empty() { "null" } else { &scalar.value });
        }
        Kind::Scalar(scalar) => push_quoted(out, &scalar.value),
        Kind::Sequence(items) if items.is_empty() => out.push_str("[]"),
        Kind::Mapping(entries) if entries.is_empty() => out.push_str("{}"),
        Kind::Sequence(items) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    push_indent(out, indent);
                }
                out.push_str("- ");
                push_node(out, item, indent + INDENT, hidden, each);
                end_line(out);
            }
        }
        Kind::Mapping(entries) => {
            for (at, (key, value)) in entries.iter().enumerate() {
                let Kind::Scalar(key) = &key.kind else { continue };
                if at > 0 {
                    push_indent(out, indent);
                }
                push_quoted(out, &key.value);
                out.push(':');
                // Of what is hidden already nothing is shown because of its name.
                let each = match (each, hidden(&key.value)) {
                    (None, Some(Shown::As(shown))) => {
                        let _ = writeln!(out, " {shown}");
                        continue;
                    }
                    (None, Some(Shown::Each(each))) | (Some(each), _) => Some(each),
                    (None, None) => None,
                };
                if is_block(value) {
                    out.push('\n');
                    push_indent(out, indent + INDENT);
                } else {
                    out.push(' ');
                }
                push_node(out, value, indent + INDENT, hidden, each);
                end_line(out);
            }
        }
    }
}

fn is_block(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(_) => false,
        Kind::Sequence(items) => !items.is_empty(),
        Kind::Mapping(entries) => !entries.is_empty(),
    }
}

fn end_line(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// A text on one line.
fn push_quoted(out: &mut String, text: &str) {
    match is_plain(text) {
        true => out.push_str(text),
        false => push_escaped(out, text),
    }
}

/// A scalar in the plainest style that is read as this very text everywhere.
pub fn push_scalar(out: &mut String, text: &str, indent: usize) {
    if is_plain(text) {
        out.push_str(text);
    } else if fits_block(text) {
        out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
        for line in text.trim_end_matches('\n').split('\n') {
            out.push('\n');
            if !line.is_empty() {
                push_indent(out, indent + INDENT);
                out.push_str(line);
            }
        }
    } else if !text.chars().any(is_special) {
        let _ = write!(out, "'{}'", text.replace('\'', "''"));
    } else {
        push_escaped(out, text);
    }
}

/// Whether no reader takes it for anything but text, whatever version of YAML it knows.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    // A duration looks like nothing else either.
    let is_duration =
        text.starts_with(|c: char| c.is_ascii_digit()) && bellwether_promql::parse_duration_ms(text).is_ok();
    (begins || is_duration)
        && text.bytes().all(|byte| byte == b' ' || (byte.is_ascii_graphic() && byte != b'#'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a literal block holds it: several lines, the first of which shows the indentation.
fn fits_block(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    lines.contains('\n')
        && !lines.ends_with('\n')
        && !lines.starts_with([' ', '\n'])
        && !lines.chars().any(|c| c != '\n' && is_special(c))
}

/// What stands in double quotes alone: breaks, control characters, and what some readers take for those.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn push_escaped(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_special(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::read;

    fn rewritten(text: &str) -> String {
        let mut out = String::new();
        push_document(&mut out, &read(text).unwrap().unwrap(), &|key| match key {
            "secret" => Some(Shown::As("<secret>")),
            "loud" => Some(Shown::Each(str::to_uppercase)),
            _ => None,
        });
        out
    }

    #[test]
    fn a_document_is_written_without_what_is_hidden() {
        let text = "a: [1, '2', {b: c, secret: [x, y]}, [], [[d]]]\nloud: {secret: s, all: [a, {b: '\"'}, []]}\ne: {f: {}, g: \"two\\nlines\"}\nsecret: s\nh:\n";
        let expected = "a:\n  - 1\n  - \"2\"\n  - b: c\n    secret: <secret>\n  - []\n  - - - d\nloud:\n  secret: S\n  all:\n    - A\n    - b: \"\\\"\"\n    - []\ne:\n  f: {}\n  g: \"two\\nlines\"\nsecret: <secret>\nh: null\n";
        assert_eq!(rewritten(text), expected);
        assert_eq!(rewritten(expected), expected);
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(
            text in prop_oneof![
                any::<String>(),
                "[-a1 :#'\"\\\\{}\\[\\],&*!|>%@`~?\n\t=.+]{0,12}",
                "(yes|no|null|~|1e3|0x1|12:30|5m|=|<<|\\.inf|\u{2028}|\r|\u{85})",
            ],
            indent in 0..6_usize,
        ) {
            let mut out = "k:".to_owned();
            let mut root = Mapping { out: &mut out, indent, is_first: false };
            root.out.clear();
            root.pairs("k", [("first", text.as_str()), ("second", "end")]);
            let node = read(&out).unwrap_or_else(|problem| panic!("{problem} in {out}")).unwrap();
            let Kind::Mapping(entries) = &node.kind else { panic!("{out}") };
            let Kind::Mapping(entries) = &entries[0].1.kind else { panic!("{out}") };
            let Kind::Scalar(first) = &entries[0].1.kind else { panic!("{out}") };
            prop_assert_eq!(&first.value, &text, "{}", out);
            prop_assert!(!entries[0].1.is_null(), "{}", out);
            prop_assert_eq!(entries.len(), 2);
        }
    }
}
