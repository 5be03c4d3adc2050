//! One histogram in the notation: `{{schema:1 count:9 sum:-0.3 z_bucket:2 z_bucket_w:0.05 buckets:[5 2] offset:-3}}`.
//!
//! What is not named is zero or empty. `n_buckets` and `n_offset` are those of negative observations, `custom_values` the bounds
//! of custom buckets, `counter_reset_hint` is `unknown`, `reset`, `not_reset` or `gauge`.

use bellwether_model::{CounterResetHint, Counts, Histogram, HistogramError, Span};

use crate::series_notation::{NotationError, parse_number};

/// Reads what stands between double braces, and these.
pub(super) fn parse(text: &str) -> Result<Histogram, NotationError> {
    let wrong = |what| NotationError::Value { item: text.to_owned(), what };
    let inner = text.strip_prefix("{{").and_then(|inner| inner.strip_suffix("}}"));
    let mut rest = inner.ok_or_else(|| wrong("a histogram stands in double braces"))?.trim_start();
    let mut noted = Noted::default();
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once(':').ok_or_else(|| wrong("a name, a colon and a value were expected"))?;
        if seen.contains(&name) {
            return Err(wrong("something is said twice"));
        }
        seen.push(name);
        let end = match value.strip_prefix('[') {
            Some(list) => list.find(']').map(|at| at + 2).ok_or_else(|| wrong("a list ends with ]"))?,
            None => value.find(char::is_whitespace).unwrap_or(value.len()),
        };
        let (value, behind) = value.split_at(end);
        noted.set(name, value).map_err(wrong)?;
        rest = behind.trim_start();
    }
    let histogram = noted.histogram();
    match histogram.validate() {
        Ok(()) | Err(HistogramError::NegativeCount { .. }) => Ok(histogram),
        Err(source) => Err(NotationError::Histogram { item: text.to_owned(), source }),
    }
}

#[derive(Default)]
struct Noted {
    schema: i32,
    sum: f64,
    count: f64,
    zero_count: f64,
    zero_threshold: f64,
    positive: (i32, Vec<f64>),
    negative: (i32, Vec<f64>),
    custom_values: Vec<f64>,
    hint: CounterResetHint,
}

impl Noted {
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let number = || parse_number(value).ok_or("a number was expected");
        let whole = || value.parse::<i32>().map_err(|_| "a whole number was expected");
        match name {
            "schema" => self.schema = whole()?,
            "sum" => self.sum = number()?,
            "count" => self.count = number()?,
            "z_bucket" => self.zero_count = number()?,
            "z_bucket_w" => self.zero_threshold = number()?,
            "buckets" => self.positive.1 = list(value)?,
            "offset" => self.positive.0 = whole()?,
            "n_buckets" => self.negative.1 = list(value)?,
            "n_offset" => self.negative.0 = whole()?,
            "custom_values" => self.custom_values = list(value)?,
            "counter_reset_hint" => {
                self.hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::CounterReset,
                    "not_reset" => CounterResetHint::NotCounterReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return Err("unknown, reset, not_reset or gauge was expected"),
                }
            }
            _ => return Err("no histogram has such a thing"),
        }
        Ok(())
    }

    fn histogram(self) -> Histogram {
        let span = |(offset, buckets): &(i32, Vec<f64>)| match buckets.len() {
            0 => Vec::new(),
            length => vec![Span { offset: *offset, length: u32::try_from(length).unwrap_or(u32::MAX) }],
        };
        let (positive_spans, negative_spans) = (span(&self.positive), span(&self.negative));
        let (positive, negative) = (self.positive.1, self.negative.1);
        Histogram {
            counter_reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            counts: Counts::Float { count: self.count, zero_count: self.zero_count, positive, negative },
            positive_spans,
            negative_spans,
            custom_values: self.custom_values,
        }
    }
}

/// Numbers in brackets.
fn list(text: &str) -> Result<Vec<f64>, &'static str> {
    let inner = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).ok_or("a list was expected")?;
    inner.split_whitespace().map(|number| parse_number(number).ok_or("a list of numbers was expected")).collect()
}
