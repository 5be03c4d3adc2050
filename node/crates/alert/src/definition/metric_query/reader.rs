//! From a monitor's text to its parts.

use std::fmt::Write;

use bellwether_promql::ast::BinaryOp;
use bellwether_promql::parse_duration_ms;

use super::expression::{Expression, SeriesKind};
use super::{DEPTH_MAX, STEP_MS_MIN, WINDOW_MS_MAX};
use crate::cursor::{Cursor, TextError};

/// Reads the parts of a monitor, one after the other.
pub struct Reader<'t> {
    cursor: Cursor<'t>,
    depth: usize,
    /// That of the first series.
    pub kind: Option<SeriesKind>,
    /// Tags by which the first series is grouped.
    groups: Option<Vec<String>>,
}

impl<'t> Reader<'t> {
    /// At the beginning of a text.
    pub fn new(text: &'t str) -> Reader<'t> {
        Reader { cursor: Cursor::new(text), depth: 0, kind: None, groups: None }
    }

    /// How it is looked at over time.
    pub fn over_time(&mut self) -> Result<&'static str, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let word = self.cursor.word();
        known(word, &["avg", "sum", "min", "max"])
            .ok_or_else(|| TextError::new(at, format!("{word:?} over time is not possible: avg, sum, min and max are")))
    }

    /// The window, in milliseconds.
    pub fn window(&mut self) -> Result<i64, TextError> {
        self.cursor.expect("(")?;
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let word = self.cursor.word();
        let wrong = |reason: &str| TextError::new(at, format!("{word:?} is no window such as last_5m{reason}"));
        let span = word.strip_prefix("last_").ok_or_else(|| wrong(""))?;
        let window_ms = parse_duration_ms(span).map_err(|error| wrong(&format!(": {error}")))?;
        if !(STEP_MS_MIN..=WINDOW_MS_MAX).contains(&window_ms) {
            return Err(wrong(": the shortest is 15s, the longest 31d"));
        }
        self.cursor.expect(")")?;
        self.cursor.expect(":")?;
        Ok(window_ms)
    }

    /// The comparison, which ends the text.
    pub fn comparison(&mut self) -> Result<(BinaryOp, f64), TextError> {
        const OPS: [(&str, BinaryOp); 6] = [
            (">=", BinaryOp::GreaterEqual),
            ("<=", BinaryOp::LessEqual),
            ("==", BinaryOp::Equal),
            ("!=", BinaryOp::NotEqual),
            (">", BinaryOp::Greater),
            ("<", BinaryOp::Less),
        ];
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let found = OPS.iter().find(|(text, _)| self.cursor.take(text));
        let Some((_, op)) = found else {
            let message = match self.cursor.is_at_end() {
                true => "the query ends without a comparison: write for example > 0.05 behind it".to_owned(),
                false => format!("{} is neither an operator nor a comparison", self.cursor.next_shown()),
            };
            return Err(TextError::new(at, message));
        };
        self.cursor.skip_space();
        let sign = if self.cursor.take("-") { -1.0 } else { 1.0 };
        let threshold = sign * self.number()?;
        self.cursor.skip_space();
        if !self.cursor.is_at_end() {
            let message =
                format!("the query should end behind its threshold, but {} follows", self.cursor.next_shown());
            return Err(TextError::new(self.cursor.offset(), message));
        }
        Ok((*op, threshold))
    }

    /// The expression that is compared.
    pub fn sum(&mut self) -> Result<Expression, TextError> {
        let mut left = self.product()?;
        while let Some(op) = self.operator(&['+', '-']) {
            let right = self.product()?;
            left = Expression::Binary { op, left: Box::new(left), right: Box::new(right) };
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression, TextError> {
        let mut left = self.factor()?;
        while let Some(op) = self.operator(&['*', '/']) {
            let right = self.factor()?;
            left = Expression::Binary { op, left: Box::new(left), right: Box::new(right) };
        }
        Ok(left)
    }

    fn operator(&mut self, ops: &[char]) -> Option<char> {
        self.cursor.skip_space();
        let op = self.cursor.peek().filter(|c| ops.contains(c))?;
        self.cursor.bump();
        Some(op)
    }

    fn factor(&mut self) -> Result<Expression, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        if self.depth >= DEPTH_MAX {
            return Err(TextError::new(at, format!("the query is deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let factor = match self.cursor.peek() {
            Some('(') => {
                self.cursor.bump();
                let inner = self.sum()?;
                self.cursor.expect(")")?;
                inner
            }
            Some('-') => {
                self.cursor.bump();
                Expression::Negative(Box::new(self.factor()?))
            }
            Some(c) if c.is_ascii_digit() || c == '.' => Expression::Number(self.number()?),
            Some(c) if c.is_ascii_alphabetic() => self.series_or_call(at)?,
            Some(_) => {
                let message =
                    format!("a series such as sum:http.errors{{*}} should be here, not {}", self.cursor.next_shown());
                return Err(TextError::new(at, message));
            }
            None => {
                return Err(TextError::new(at, "the query ends where a series such as sum:http.errors{*} should be"));
            }
        };
        self.depth -= 1;
        Ok(factor)
    }

    fn number(&mut self) -> Result<f64, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let text = self.cursor.number();
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| TextError::new(at, format!("a number should be here, not {}", shown(text, &self.cursor))))
    }

    fn series_or_call(&mut self, at: usize) -> Result<Expression, TextError> {
        let word = self.cursor.word();
        self.cursor.skip_space();
        if self.cursor.take("(") {
            let name = known(word, &["abs", "ceil", "floor", "log2", "log10"]).ok_or_else(|| {
                TextError::new(
                    at,
                    format!("the function {word}() is not possible: abs, ceil, floor, log2 and log10 are"),
                )
            })?;
            let inner = self.sum()?;
            self.cursor.expect(")")?;
            return Ok(Expression::Call(name, Box::new(inner)));
        }
        let how = known(word, &["avg", "sum", "min", "max", "count"]).ok_or_else(|| {
            TextError::new(at, format!("{word:?} of series is not possible: avg, sum, min, max and count are"))
        })?;
        self.cursor.expect(":")?;
        let mut selector = self.metric()?;
        self.tags(&mut selector)?;
        let groups = self.groups(at)?;
        let kind = self.modifier(at)?;
        Ok(Expression::Series { how, selector, groups, kind })
    }

    /// The beginning of a selector, its brace open.
    fn metric(&mut self) -> Result<String, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        if self.cursor.take("\"") {
            let name = self.cursor.until('"');
            if !self.cursor.take("\"") || name.is_empty() {
                return Err(TextError::new(at, "the name in quotes has no end, or nothing is in it"));
            }
            return Ok(format!("{{{}", quoted(name)));
        }
        let name = self.cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'));
        if name.is_empty() {
            let message = format!("the name of a metric should be here, not {}", self.cursor.next_shown());
            return Err(TextError::new(at, message));
        }
        Ok(format!("{}{{", plain_name(name)))
    }

    fn tags(&mut self, selector: &mut String) -> Result<(), TextError> {
        self.cursor.expect("{")?;
        self.cursor.skip_space();
        if self.cursor.take("*") {
            selector.push('}');
            return self.cursor.expect("}");
        }
        loop {
            self.tag(selector)?;
            self.cursor.skip_space();
            if self.cursor.take("}") {
                selector.push('}');
                return Ok(());
            }
            let at = self.cursor.offset();
            if self.cursor.take_word("OR") {
                return Err(TextError::new(at, "OR is not possible: for one tag write key IN (a, b)"));
            }
            if !self.cursor.take(",") && !self.cursor.take_word("AND") {
                let message = format!("a comma or }} should be here, not {}", self.cursor.next_shown());
                return Err(TextError::new(at, message));
            }
        }
    }

    /// `key:value`, `!key:value`, `key:val*`, `key IN (a, b)`
    fn tag(&mut self, selector: &mut String) -> Result<(), TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let mut is_not = self.cursor.take("!");
        let key = self.cursor.take_while(is_key);
        if key.is_empty() {
            let message = format!("a tag such as service:api should be here, not {}", self.cursor.next_shown());
            return Err(TextError::new(at, message));
        }
        let mut values = Vec::new();
        if self.cursor.take(":") {
            values.push(self.tag_value()?);
        } else {
            self.cursor.skip_space();
            is_not ^= self.cursor.take_word("NOT");
            self.cursor.skip_space();
            if !self.cursor.take_word("IN") {
                return Err(TextError::new(at, format!("the tag {key:?} has no value: write {key}:value")));
            }
            self.cursor.expect("(")?;
            loop {
                values.push(self.tag_value()?);
                self.cursor.skip_space();
                if self.cursor.take(")") {
                    break;
                }
                self.cursor.expect(",")?;
            }
        }
        let is_pattern = values.len() > 1 || values[0].contains('*');
        let op = match (is_not, is_pattern) {
            (false, false) => "=",
            (true, false) => "!=",
            (false, true) => "=~",
            (true, true) => "!~",
        };
        let value = match is_pattern {
            true => values.iter().map(|value| pattern(value)).collect::<Vec<_>>().join("|"),
            false => values[0].to_owned(),
        };
        if !selector.ends_with('{') {
            selector.push(',');
        }
        let _ = write!(selector, "{}{op}{}", plain_name(key), quoted(&value));
        Ok(())
    }

    fn tag_value(&mut self) -> Result<&'t str, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let value = self.cursor.take_while(|c| !c.is_whitespace() && !matches!(c, ',' | '{' | '}' | '(' | ')' | '"'));
        match value {
            "" => Err(TextError::new(at, "the tag has no value")),
            value if value.starts_with('$') => {
                Err(TextError::new(at, format!("{value} is a variable of a dashboard, which nobody fills in here")))
            }
            value => Ok(value),
        }
    }

    /// Series of one expression find each other by their labels, so all are grouped alike.
    fn groups(&mut self, at: usize) -> Result<Vec<String>, TextError> {
        self.cursor.skip_space();
        let mut groups = Vec::new();
        if self.cursor.take_word("by") {
            self.cursor.expect("{")?;
            loop {
                self.cursor.skip_space();
                let at = self.cursor.offset();
                let key = self.cursor.take_while(is_key);
                if key.is_empty() {
                    return Err(TextError::new(at, "a tag to group by should be here"));
                }
                groups.push(plain_name(key));
                self.cursor.skip_space();
                if self.cursor.take("}") {
                    break;
                }
                self.cursor.expect(",")?;
            }
            groups.sort();
            groups.dedup();
        }
        match &self.groups {
            Some(first) if *first != groups => Err(TextError::new(
                at,
                "all series of a query must be grouped by the same tags: these would not meet the others",
            )),
            _ => {
                self.groups = Some(groups.clone());
                Ok(groups)
            }
        }
    }

    fn modifier(&mut self, at: usize) -> Result<SeriesKind, TextError> {
        let mut kind = SeriesKind::Value;
        while self.cursor.peek() == Some('.') {
            let at = self.cursor.offset();
            self.cursor.bump();
            let word = self.cursor.word();
            kind = match word {
                "as_rate" => SeriesKind::Rate,
                "as_count" => SeriesKind::Increase,
                _ => {
                    return Err(TextError::new(
                        at,
                        format!(".{word}() is not possible: .as_rate() and .as_count() are"),
                    ));
                }
            };
            self.cursor.expect("(")?;
            self.cursor.expect(")")?;
        }
        match self.kind {
            Some(first) if first != kind => {
                let message = format!("this series has {}, the first one {}", kind.modifier(), first.modifier());
                Err(TextError::new(at, message))
            }
            _ => {
                self.kind = Some(kind);
                Ok(kind)
            }
        }
    }
}

fn known(word: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().find(|known| **known == word).copied()
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

/// A name that PromQL takes without quotes.
fn plain_name(name: &str) -> String {
    let mut plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    plain
}

/// A value in which `*` stands for anything, as a regular expression.
fn pattern(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        match c {
            '*' => out.push_str(".*"),
            '.' | '+' | '?' | '^' | '$' | '|' | '[' | ']' | '(' | ')' | '{' | '}' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A text as PromQL has it in double quotes.
fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn shown(text: &str, cursor: &Cursor<'_>) -> String {
    if text.is_empty() { cursor.next_shown() } else { format!("{text:?}") }
}
