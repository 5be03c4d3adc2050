//! Monitors as Datadog writes them, in PromQL:
//!
//! ```text
//! avg(last_5m):sum:http.errors{service:api-gateway} / sum:http.requests{service:api-gateway} > 0.05
//! ```
//!
//! 1. `avg`, `min`, `max` or `sum` over time of the whole expression: a subquery of the window, whose points lie closer the shorter
//!    it is (what Datadog calls a rollup).
//! 2. Each `how:metric{tags} by {tags}` is a selector under an aggregation. Dots and whatever else PromQL's plain names lack become
//!    `_`; a metric's name in double quotes stays as it is.
//! 3. `.as_rate()` and `.as_count()` are for counters, on all series of an expression or on none: the counters' rate or increase over
//!    the window comes first, then the arithmetic, and no subquery is needed.
//!
//! What the language has beyond this is refused by its name, never left out.

use std::fmt::Write;

use bellwether_promql::ast::BinaryOp;
use bellwether_promql::{duration_text, number_text, parse_duration_ms};

use super::cursor::{Cursor, TextError};

/// Depth of an expression: parentheses in parentheses.
pub const DEPTH_MAX: usize = 32;
/// The longest window.
const WINDOW_MS_MAX: i64 = 31 * 24 * 3_600_000;
/// Points of a window never lie closer.
const STEP_MS_MIN: i64 = 15_000;
/// Points of a long window.
const STEPS: i64 = 60;

/// A monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery {
    /// What is compared, in PromQL.
    pub value: String,
    /// Over which time it is looked at.
    pub window_ms: i64,
    /// How it is compared.
    pub op: BinaryOp,
    /// With what.
    pub threshold: f64,
}

/// Whether a text that is not PromQL is meant to be one of these.
pub fn looks_like_one(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    name.len() < text.len() && name.strip_prefix('(').is_some_and(|rest| rest.trim_start().starts_with("last_"))
}

/// Reads one.
pub fn read(text: &str) -> Result<MetricQuery, TextError> {
    let mut reader = Reader { cursor: Cursor::new(text), depth: 0, kind: None, groups: None };
    let over_time = reader.over_time()?;
    let window_ms = reader.window()?;
    let expression = reader.sum()?;
    let (op, threshold) = reader.comparison()?;
    let kind = match reader.kind {
        Some((kind, _)) => kind,
        None => return Err(TextError::new(0, "the query names no metric: write for example sum:http.errors{*}")),
    };
    if kind != SeriesKind::Value && kind.goes_with() != over_time {
        let message = format!(
            "{} goes with {}(last_..): the counters' {} over the whole window is compared",
            kind.modifier(),
            kind.goes_with(),
            if kind == SeriesKind::Rate { "rate" } else { "increase" }
        );
        return Err(TextError::new(0, message));
    }
    let mut value = String::new();
    if kind == SeriesKind::Value {
        let step_ms = (window_ms / STEPS / 1000 * 1000).max(STEP_MS_MIN);
        let _ = write!(value, "{over_time}_over_time(");
        expression.print(&mut value, window_ms, Binding::Postfix);
        let _ = write!(value, "[{}:{}])", duration_text(window_ms), duration_text(step_ms));
    } else {
        expression.print(&mut value, window_ms, Binding::Loosest);
    }
    Ok(MetricQuery { value, window_ms, op, threshold })
}

/// What of its samples a series gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeriesKind {
    Value,
    Rate,
    Increase,
}

impl SeriesKind {
    fn modifier(self) -> &'static str {
        match self {
            SeriesKind::Value => "no modifier",
            SeriesKind::Rate => ".as_rate()",
            SeriesKind::Increase => ".as_count()",
        }
    }

    /// How such series are looked at over time.
    fn goes_with(self) -> &'static str {
        match self {
            SeriesKind::Value | SeriesKind::Rate => "avg",
            SeriesKind::Increase => "sum",
        }
    }
}

/// What binds an operand from outside, from the loosest up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Loosest,
    Sum,
    Product,
    Postfix,
}

enum Expression {
    Number(f64),
    Series { how: &'static str, selector: String, groups: Vec<String>, kind: SeriesKind },
    Negative(Box<Expression>),
    Call(&'static str, Box<Expression>),
    Binary { op: char, left: Box<Expression>, right: Box<Expression> },
}

impl Expression {
    fn print(&self, out: &mut String, window_ms: i64, outside: Binding) {
        match self {
            Expression::Number(number) => out.push_str(&number_text(*number)),
            Expression::Series { how, selector, groups, kind } => {
                out.push_str(how);
                if !groups.is_empty() {
                    let _ = write!(out, " by ({}) ", groups.join(", "));
                }
                let window = duration_text(window_ms);
                let _ = match kind {
                    SeriesKind::Value => write!(out, "({selector})"),
                    SeriesKind::Rate => write!(out, "(rate({selector}[{window}]))"),
                    SeriesKind::Increase => write!(out, "(increase({selector}[{window}]))"),
                };
            }
            Expression::Negative(inner) => {
                out.push_str("(-");
                inner.print(out, window_ms, Binding::Postfix);
                out.push(')');
            }
            Expression::Call(name, inner) => {
                let _ = write!(out, "{name}(");
                inner.print(out, window_ms, Binding::Loosest);
                out.push(')');
            }
            Expression::Binary { op, left, right } => {
                let own = if matches!(op, '+' | '-') { Binding::Sum } else { Binding::Product };
                // What stands at the right of an operator of its own rank needs parentheses, as `a - (b - c)` does.
                let behind = if own == Binding::Sum { Binding::Product } else { Binding::Postfix };
                if own < outside {
                    out.push('(');
                }
                left.print(out, window_ms, own);
                let _ = write!(out, " {op} ");
                right.print(out, window_ms, behind);
                if own < outside {
                    out.push(')');
                }
            }
        }
    }
}

struct Reader<'t> {
    cursor: Cursor<'t>,
    depth: usize,
    /// That of the first series, and where that is.
    kind: Option<(SeriesKind, usize)>,
    /// Tags by which the first series is grouped.
    groups: Option<Vec<String>>,
}

impl<'t> Reader<'t> {
    fn over_time(&mut self) -> Result<&'static str, TextError> {
        self.cursor.skip_space();
        let at = self.cursor.offset();
        let word = self.cursor.word();
        known(word, &["avg", "sum", "min", "max"])
            .ok_or_else(|| TextError::new(at, format!("{word:?} over time is not possible: avg, sum, min and max are")))
    }

    fn window(&mut self) -> Result<i64, TextError> {
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

    fn comparison(&mut self) -> Result<(BinaryOp, f64), TextError> {
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

    fn sum(&mut self) -> Result<Expression, TextError> {
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
            Some((first, _)) if first != kind => {
                let message = format!("this series has {}, the first one {}", kind.modifier(), first.modifier());
                Err(TextError::new(at, message))
            }
            _ => {
                self.kind = Some((kind, at));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, value: &str, op: BinaryOp, threshold: f64) {
        let read = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((read.value.as_str(), read.op, read.threshold), (value, op, threshold), "{text}");
        bellwether_promql::parse(&read.value).unwrap_or_else(|error| panic!("{}: {error}", read.value));
    }

    fn check_error(text: &str, character: usize, part: &str) {
        let error = read(text).expect_err(text);
        assert!(error.message.contains(part), "{text}: {error}");
        assert_eq!(error.character(text), character, "{text}: {error}");
    }

    #[test]
    fn a_monitor_is_a_subquery() {
        check(
            "avg(last_5m):sum:http.errors{service:api-gateway} / sum:http.requests{service:api-gateway} > 0.05",
            "avg_over_time((sum(http_errors{service=\"api-gateway\"}) / sum(http_requests{service=\"api-gateway\"}))[5m:15s])",
            BinaryOp::Greater,
            0.05,
        );
        check(
            "max(last_1h):avg:system.load.1{*} <= -2e3",
            "max_over_time(avg(system_load_1{})[1h:1m])",
            BinaryOp::LessEqual,
            -2e3,
        );
        check(
            " min( last_4h ) : count:\"http.errors\"{ !env:dev , host:web-*.eu,zone:a:b } by {host,env.name} < 1 ",
            "min_over_time(count by (env_name, host) ({\"http.errors\",env!=\"dev\",host=~\"web-.*\\\\.eu\",zone=\"a:b\"})[4h:4m])",
            BinaryOp::Less,
            1.0,
        );
        check(
            "avg(last_15s):avg:a{k IN (x, y*) AND l NOT IN (z)} - (avg:b{*} - 1) * -2 == 0",
            "avg_over_time((avg(a{k=~\"x|y.*\",l!=\"z\"}) - (avg(b{}) - 1) * (-2))[15s:15s])",
            BinaryOp::Equal,
            0.0,
        );
        check(
            "avg(last_1d):abs(sum:7a/b{*}) / 8 / (2 / 3) != 5",
            "avg_over_time((abs(sum(_7a_b{})) / 8 / (2 / 3))[1d:24m])",
            BinaryOp::NotEqual,
            5.0,
        );
    }

    #[test]
    fn counters_come_before_arithmetic() {
        check(
            "sum(last_10m):sum:errors{*}.as_count() / sum:requests{*}.as_count() >= 1",
            "sum(increase(errors{}[10m])) / sum(increase(requests{}[10m]))",
            BinaryOp::GreaterEqual,
            1.0,
        );
        check(
            "avg(last_5m):sum:errors{*} by {host}.as_rate() > 1",
            "sum by (host) (rate(errors{}[5m]))",
            BinaryOp::Greater,
            1.0,
        );
    }

    #[test]
    fn what_is_not_possible_is_refused_where_it_stands() {
        check_error("p99(last_5m):sum:a{*} > 1", 1, "over time is not possible");
        check_error("change(avg(last_5m),last_1h):sum:a{*} > 1", 1, "\"change\" over time");
        check_error("avg(5m):sum:a{*} > 1", 5, "no window");
        check_error("avg(last_1mo):sum:a{*} > 1", 5, "no window");
        check_error("avg(last_1s):sum:a{*} > 1", 5, "shortest");
        check_error("avg(last_99d):sum:a{*} > 1", 5, "longest");
        check_error("avg(last_5m):sum:a > 1", 20, "\"{\" should be here");
        check_error("avg(last_5m):p95:a{*} > 1", 14, "of series");
        check_error("avg(last_5m):sum:a{*}.rollup(avg, 60) > 1", 22, ".rollup() is not possible");
        check_error("avg(last_5m):anomalies(sum:a{*}, 'basic') > 1", 14, "function anomalies()");
        check_error("avg(last_5m):sum:a{*}", 22, "without a comparison");
        check_error("avg(last_5m):sum:a{*} > ", 25, "a number");
        check_error("avg(last_5m):sum:a{*} > 1 2", 27, "should end");
        check_error("avg(last_5m):sum:a{*} ? 1", 23, "neither an operator");
        check_error("avg(last_5m):1 > 1", 1, "names no metric");
        check_error("avg(last_5m):sum:a{b} > 1", 20, "no value");
        check_error("avg(last_5m):sum:a{b:$c} > 1", 22, "variable");
        check_error("avg(last_5m):sum:a{b:c OR b:d} > 1", 24, "OR is not possible");
        check_error("avg(last_5m):sum:a{*} by {x} / sum:b{*} > 1", 32, "same tags");
        check_error("avg(last_5m):sum:a{*}.as_rate() / sum:b{*} > 1", 35, "no modifier");
        check_error("avg(last_5m):sum:a{*}.as_count() > 1", 1, "goes with sum(last_..)");
        check_error("max(last_5m):sum:a{*}.as_rate() > 1", 1, "goes with avg(last_..)");
        check_error(&format!("avg(last_5m):{}sum:a{{*}} > 1", "(".repeat(40)), 14 + DEPTH_MAX, "deeper");
        check_error("avg(last_5m):sum:ä{*} > 1", 18, "name of a metric");
    }

    #[test]
    fn texts_are_told_apart_by_their_beginning() {
        assert!(looks_like_one(" avg( last_5m):x") && looks_like_one("p99(last_1h"));
        assert!(!looks_like_one("avg(x) > 1") && !looks_like_one("(last_5m)") && !looks_like_one(""));
    }
}
