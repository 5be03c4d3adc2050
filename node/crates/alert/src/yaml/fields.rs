//! From nodes to values: each reader says what is wrong and goes on, so that all problems of a file are told together.

use std::sync::Arc;

use super::problems::Problems;
use super::{Entry, Kind, Node, Place, Style};
use crate::duration::{DurationError, parse_duration_ms};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// The entries of a mapping whose keys are known.
pub struct Fields<'n> {
    /// Where the mapping begins.
    pub place: Place,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// Reads a mapping; a key that is not among `known` is a problem. `what` names the mapping for messages.
    pub fn of(node: &'n Node, what: &str, known: &[&str], problems: &mut Problems) -> Option<Fields<'n>> {
        if node.is_null() {
            return Some(Fields { place: node.place, entries: &[] });
        }
        let Kind::Mapping(entries) = &node.kind else {
            problems.add(node.place, format!("{what} must be a mapping, this is {}", node.describe()));
            return None;
        };
        for (key, _) in entries {
            if let Kind::Scalar(scalar) = &key.kind
                && !known.contains(&scalar.value.as_str())
            {
                let near = nearest(&scalar.value, known);
                let near = near.map(|near| format!("; do you mean {near}?")).unwrap_or_default();
                problems.add(key.place, format!("unknown field {:?} in {what}{near}", scalar.value));
            }
        }
        Some(Fields { place: node.place, entries })
    }

    /// The node of a field, if it is there and not nothing.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        let (_, value) = self.entries.iter().find(|(key, _)| key_text(key) == name)?;
        (!value.is_null()).then_some(value)
    }

    /// Where the key of a field stands, or else the mapping.
    pub fn key_place(&self, name: &str) -> Place {
        self.entries.iter().find(|(key, _)| key_text(key) == name).map_or(self.place, |(key, _)| key.place)
    }

    /// A text; none if the field is absent.
    pub fn text(&self, name: &str, problems: &mut Problems) -> Option<Placed<String>> {
        let node = self.get(name)?;
        let value = text(node, name, problems)?.to_owned();
        Some(Placed { value, place: node.place })
    }

    /// A duration, in milliseconds.
    pub fn duration_ms(&self, name: &str, problems: &mut Problems) -> Option<Placed<i64>> {
        let node = self.get(name)?;
        let text = text(node, name, problems)?;
        match parse_duration_ms(text) {
            Ok(value) => Some(Placed { value, place: node.place }),
            Err(DurationError(message)) => {
                problems.add(node.place, format!("{name}: {message}"));
                None
            }
        }
    }

    /// A whole number.
    pub fn whole(&self, name: &str, problems: &mut Problems) -> Option<Placed<i64>> {
        let node = self.get(name)?;
        // Up to here every whole number is a float of its own.
        let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() <= 2_f64.powi(53);
        match scalar_of(node).and_then(parse_number).filter(is_whole) {
            Some(value) => Some(Placed { value: value as i64, place: node.place }),
            None => {
                problems.add(node.place, format!("{name} must be a whole number"));
                None
            }
        }
    }

    /// A number.
    pub fn number(&self, name: &str, problems: &mut Problems) -> Option<Placed<f64>> {
        let node = self.get(name)?;
        match scalar_of(node).and_then(parse_number) {
            Some(value) => Some(Placed { value, place: node.place }),
            None => {
                problems.add(node.place, format!("{name} must be a number"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn truth(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        let node = self.get(name)?;
        match scalar_of(node) {
            Some("true" | "True" | "TRUE") => Some(true),
            Some("false" | "False" | "FALSE") => Some(false),
            _ => {
                problems.add(node.place, format!("{name} must be true or false"));
                None
            }
        }
    }

    /// The items of a list; none if the field is absent.
    pub fn list(&self, name: &str, problems: &mut Problems) -> &'n [Arc<Node>] {
        let Some(node) = self.get(name) else { return &[] };
        match &node.kind {
            Kind::Sequence(items) => items,
            _ => {
                problems.add(node.place, format!("{name} must be a list, this is {}", node.describe()));
                &[]
            }
        }
    }

    /// Texts in a list.
    pub fn texts(&self, name: &str, problems: &mut Problems) -> Vec<Placed<String>> {
        let items = self.list(name, problems);
        items
            .iter()
            .filter_map(|item| {
                let value = text(item, &format!("an item of {name}"), problems)?.to_owned();
                Some(Placed { value, place: item.place })
            })
            .collect()
    }

    /// Names and texts, in the order of the file.
    pub fn pairs(&self, name: &str, problems: &mut Problems) -> Vec<Pair<'n>> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let Kind::Mapping(entries) = &node.kind else {
            problems.add(node.place, format!("{name} must be a mapping, this is {}", node.describe()));
            return Vec::new();
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name_of = key_text(key);
            if value.is_null() {
                pairs.push(Pair { name: name_of, name_place: key.place, value: "", node: value });
            } else if let Some(text) = text(value, &format!("{name}: {name_of:?}"), problems) {
                pairs.push(Pair { name: name_of, name_place: key.place, value: text, node: value });
            }
        }
        pairs
    }
}

/// An entry of a mapping from names to texts.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'n> {
    /// The name.
    pub name: &'n str,
    /// Where it stands.
    pub name_place: Place,
    /// The text.
    pub value: &'n str,
    /// What it stands in.
    pub node: &'n Node,
}

/// The text of a scalar.
pub fn text<'n>(node: &'n Node, what: &str, problems: &mut Problems) -> Option<&'n str> {
    match &node.kind {
        Kind::Scalar(scalar) => Some(&scalar.value),
        _ => {
            problems.add(node.place, format!("{what} must be a text, this is {}", node.describe()));
            None
        }
    }
}

fn key_text(key: &Node) -> &str {
    match &key.kind {
        Kind::Scalar(scalar) => &scalar.value,
        _ => "",
    }
}

/// The text of a plain scalar.
fn scalar_of(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.style == Style::Plain => Some(&scalar.value),
        _ => None,
    }
}

/// A number as YAML writes it; what begins with `0` and is a whole number is octal, as in YAML 1.1 and Prometheus.
fn parse_number(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|number| sign * number as f64);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    if let Some((digits, base)) = prefixes.iter().find_map(|(is, base)| Some((unsigned.strip_prefix(is)?, *base))) {
        return radix(digits, base);
    }
    if unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return radix(unsigned, 8);
    }
    let is_decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if is_decimal { text.parse().ok() } else { None }
}

/// The known name that is most like `name`, if one is.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, near) = known.iter().map(|known| (edits(name, known), *known)).min()?;
    (distance <= name.len().min(near.len()) / 3).then_some(near)
}

/// How many characters must be put in, taken out or changed to make one text of the other.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // Names are short; what is not is not near.
    for (at, c) in a.chars().take(64).enumerate() {
        let mut above_left = row[0];
        row[0] = at + 1;
        for (column, d) in b.iter().enumerate() {
            let changed = above_left + usize::from(c != *d);
            above_left = row[column + 1];
            row[column + 1] = changed.min(above_left + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_yaml_writes_them() {
        for (text, number) in [
            ("1", 1.0),
            ("-1.5", -1.5),
            ("1e3", 1000.0),
            ("0x1f", 31.0),
            ("0X1F", 31.0),
            ("-0b101", -5.0),
            ("010", 8.0),
            ("08", 8.0),
            ("0", 0.0),
            (".5", 0.5),
            ("1_000", 1000.0),
            ("-.inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_number(text), Some(number), "{text}");
        }
        assert!(parse_number(".nan").is_some_and(f64::is_nan));
        for text in ["", "x", "inf", "nan", "1x", "0x", "--1", "."] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_misspelt_field_is_recognised() {
        assert_eq!(nearest("anotations", &["annotations", "alert"]), Some("annotations"));
        assert_eq!(nearest("colour", &["annotations", "alert"]), None);
    }
}
