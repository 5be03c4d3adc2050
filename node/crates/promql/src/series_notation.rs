//! Series written in one line: labels, then a value for each interval, as tests of rules and of queries write them.
//!
//! ```text
//! up{job="a"} 1 2+1x3 _ 5x2 stale _x2
//! latency {{schema:1 count:3 sum:2.5 buckets:[1 2] offset:-1}}+{{count:1 sum:1 buckets:[1]}}x9
//! ```
//! `2+1x3` is 2 3 4 5, `5x2` is 5 5 5 (a value and how often it is followed by another), `_` is no sample, `_x2` two times none,
//! `stale` the stale marker. Histograms stand in double braces, see [`histogram`], and grow by one another likewise.

mod histogram;

use bellwether_model::{Histogram, HistogramError, LabelError, Labels, LabelsBuilder, MatchOp, stale_marker};

use crate::ast::Expr;
use crate::histogram::FloatHistogram;
use crate::limits::NOTED_VALUES_MAX;
use crate::parser::{ParseError, parse};

/// A series and its values, one for each interval from the first on.
#[derive(Debug, Clone, PartialEq)]
pub struct NotedSeries {
    /// Its labels.
    pub labels: Labels,
    /// What there is at each interval.
    pub values: Vec<Option<NotedValue>>,
}

/// A value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum NotedValue {
    /// A number; a stale marker too.
    Float(f64),
    /// A histogram, its counts as floats. Those of differences may be negative; else it is valid.
    Histogram(Box<Histogram>),
}

/// Why a line is not understood.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotationError {
    /// What should be labels.
    #[error("{text:?} is no series")]
    NoSeries {
        /// It.
        text: String,
    },
    /// The labels have an error of their own.
    #[error("in {text:?}: {source}")]
    Series {
        /// They.
        text: String,
        /// What is wrong.
        source: ParseError,
    },
    /// A label that no series may have.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// What should be a value.
    #[error("{item:?} is no value: {what}")]
    Value {
        /// It.
        item: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A histogram that means nothing.
    #[error("in {item:?}: {source}")]
    Histogram {
        /// It.
        item: String,
        /// What is wrong.
        source: HistogramError,
    },
    /// More than anybody means.
    #[error("the series has more than {NOTED_VALUES_MAX} values")]
    TooMany,
}

/// The series of a line.
pub fn parse_series(line: &str) -> Result<NotedSeries, NotationError> {
    let (labels, values) = split_series(line);
    Ok(NotedSeries { labels: parse_labels(labels)?, values: parse_values(values)? })
}

/// The labels of a line, and what follows them.
pub fn split_series(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (mut quote, mut is_escaped, mut in_braces) = (None, false, false);
    let end = line.find(|c: char| {
        match (quote, c) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some('"' | '\''), '\\') => is_escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => in_braces = true,
            (None, '}') => in_braces = false,
            _ => {}
        }
        c.is_whitespace() && quote.is_none() && !in_braces
    });
    line.split_at(end.unwrap_or(line.len()))
}

/// The labels of a series: a name, conditions of equality in braces, or both. `{}` has none.
pub fn parse_labels(text: &str) -> Result<Labels, NotationError> {
    if text == "{}" {
        return Ok(Labels::empty());
    }
    let expr = parse(text).map_err(|source| NotationError::Series { text: text.to_owned(), source })?;
    let no_series = || NotationError::NoSeries { text: text.to_owned() };
    let Expr::Selector(selector) = &expr else { return Err(no_series()) };
    let mut builder = LabelsBuilder::default();
    for matcher in &selector.matchers {
        if matcher.op() != MatchOp::Equal {
            return Err(no_series());
        }
        builder.push(matcher.name(), matcher.value());
    }
    Ok(builder.build()?)
}

/// The values of a series, separated by spaces.
pub fn parse_values(text: &str) -> Result<Vec<Option<NotedValue>>, NotationError> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (item, behind) = rest.split_at(item_end(rest));
        rest = behind.trim_start();
        let found = if item.starts_with("{{") { histograms_of(item)? } else { floats_of(item)? };
        if values.len() + found.len() > NOTED_VALUES_MAX {
            return Err(NotationError::TooMany);
        }
        values.extend(found);
    }
    Ok(values)
}

/// Where the first item ends: at a space that is in no histogram.
fn item_end(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let space = rest.find(char::is_whitespace).unwrap_or(rest.len());
        match rest.find("{{").filter(|open| *open < space) {
            None => return at + space,
            Some(open) => match rest[open..].find("}}") {
                None => return text.len(),
                Some(close) => at += open + close + 2,
            },
        }
    }
}

/// An item without how often it is repeated, and that.
fn split_times(item: &str) -> Result<(&str, Option<usize>), NotationError> {
    let wrong = || NotationError::Value { item: item.to_owned(), what: "how often is no number" };
    let Some((value, times)) = item.rsplit_once('x').filter(|(value, _)| !is_hexadecimal_prefix(value)) else {
        return Ok((item, None));
    };
    let times = times.parse::<usize>().map_err(|_| wrong())?;
    if times >= NOTED_VALUES_MAX {
        return Err(NotationError::TooMany);
    }
    Ok((value, Some(times)))
}

fn floats_of(item: &str) -> Result<Vec<Option<NotedValue>>, NotationError> {
    let wrong = |what| NotationError::Value { item: item.to_owned(), what };
    let (value, times) = split_times(item)?;
    if value == "_" {
        return Ok(vec![None; times.unwrap_or(1)]);
    }
    // The sign of an exponent, or at the beginning, is none between two numbers.
    let is_between = |at: &usize| {
        let before = &value[..*at];
        let is_exponent = before.ends_with(['e', 'E']) && !before.starts_with("0x");
        !before.is_empty() && !is_exponent
    };
    let sign = value.rmatch_indices(['+', '-']).map(|(at, _)| at).find(is_between);
    let (first, increment) = value.split_at(sign.unwrap_or(value.len()));
    let number = |text: &str| match text {
        "stale" => Ok(stale_marker()),
        _ => parse_number(text).ok_or_else(|| wrong("a number was expected")),
    };
    let first = number(first)?;
    let Some(times) = times else {
        if !increment.is_empty() {
            return Err(wrong("how often it is to be added is missing"));
        }
        return Ok(vec![Some(NotedValue::Float(first))]);
    };
    let increment = if increment.is_empty() { None } else { Some(number(increment)?) };
    let mut values = Vec::with_capacity(times + 1);
    let mut value = first;
    for _ in 0..=times {
        values.push(Some(NotedValue::Float(value)));
        if let Some(increment) = increment {
            value += increment;
        }
    }
    Ok(values)
}

fn histograms_of(item: &str) -> Result<Vec<Option<NotedValue>>, NotationError> {
    let wrong = |what| NotationError::Value { item: item.to_owned(), what };
    let closed = |text: &str| text.find("}}").map(|at| at + 2).ok_or_else(|| wrong("a histogram ends with }}"));
    let noted = |histogram: &Histogram| Some(NotedValue::Histogram(Box::new(histogram.clone())));
    let (first, rest) = item.split_at(closed(item)?);
    let first = histogram::parse(first)?;
    if rest.is_empty() {
        return Ok(vec![noted(&first)]);
    }
    let (increment, times) = split_times(rest)?;
    let Some(times) = times else { return Err(wrong("how often it is repeated is missing")) };
    if first.parts().saturating_mul(times) > NOTED_VALUES_MAX {
        return Err(NotationError::TooMany);
    }
    if increment.is_empty() {
        return Ok(vec![noted(&first); times + 1]);
    }
    let (sign, increment) = increment.split_at(1);
    if !matches!(sign, "+" | "-") || closed(increment)? != increment.len() {
        return Err(wrong("a histogram is followed by a sum, a difference or a repetition"));
    }
    let increment = histogram::parse(increment)?;
    if increment.parts().saturating_mul(times) > NOTED_VALUES_MAX {
        return Err(NotationError::TooMany);
    }
    let increment = FloatHistogram::from(&increment);
    let mut sum = FloatHistogram::from(&first);
    let mut values = vec![noted(&first)];
    for _ in 0..times {
        let combined = if sign == "+" { sum.add(&increment) } else { sum.subtract(&increment) };
        combined.map_err(|_| wrong("buckets of different kinds"))?;
        values.push(noted(&Histogram::from(&sum)));
    }
    Ok(values)
}

fn is_hexadecimal_prefix(text: &str) -> bool {
    matches!(text.trim_start_matches(['+', '-']), "0")
}

fn parse_number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    if let Some(hexadecimal) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(hexadecimal, 16).ok().map(|number| sign * number as f64);
    }
    digits.parse::<f64>().ok().map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let values = parse_values(text).unwrap().into_iter();
        let float = |value| match value {
            NotedValue::Float(value) => value,
            NotedValue::Histogram(_) => panic!("{text} has histograms"),
        };
        values.map(|value| value.map(float)).collect()
    }

    #[test]
    fn values_repeat_and_grow() {
        assert_eq!(
            floats("1 2+1x3 _ 5x2"),
            [1.0, 2.0, 3.0, 4.0, 5.0].map(Some).into_iter().chain([None]).chain([Some(5.0); 3]).collect::<Vec<_>>()
        );
        assert_eq!(floats("-2-3x2 +1x0 _x2"), [Some(-2.0), Some(-5.0), Some(-8.0), Some(1.0), None, None]);
        assert_eq!(floats("1e-3 1e+2-1e-1x1"), [1e-3, 1e2, 1e2 - 1e-1].map(Some));
        assert_eq!(floats("Inf -Inf 0x1f"), [f64::INFINITY, f64::NEG_INFINITY, 31.0].map(Some));
        assert!(floats("stale NaN").iter().all(|value| value.unwrap().is_nan()));
    }

    #[test]
    fn labels_may_hold_anything() {
        let series = parse_series(r#"  up{job="a} b\" c", instance='x y'}  1 _"#).unwrap();
        assert_eq!(series.labels, Labels::of(&[("__name__", "up"), ("instance", "x y"), ("job", "a} b\" c")]));
        assert_eq!(series.values, [Some(NotedValue::Float(1.0)), None]);
        assert_eq!(parse_series("{} 1").unwrap().labels, Labels::empty());
        assert_eq!(parse_series(r#"{"a.b", c="d"}"#).unwrap().labels, Labels::of(&[("__name__", "a.b"), ("c", "d")]));
    }

    #[test]
    fn what_is_no_series_is_an_error() {
        for line in [
            "",
            "1 2",
            "a{b!=\"c\"} 1",
            "a{ 1",
            "a 1+",
            "a 1+2",
            "a x",
            "a 1x",
            "a 1xy",
            "a ++1",
            "a 1x99999999999",
            "a é",
        ] {
            assert!(parse_series(line).is_err(), "{line:?}");
        }
        assert_eq!(parse_values("1x900000 1x900000"), Err(NotationError::TooMany));
    }

    #[test]
    fn histograms_repeat_and_grow() {
        let values =
            parse_values("{{count:1 buckets:[1]}}+{{count:2 buckets:[0 2]}}x2 _ {{}}x1 {{sum:2}}-{{sum:1}}x1").unwrap();
        let histograms: Vec<Option<FloatHistogram>> = values
            .iter()
            .map(|value| match value {
                Some(NotedValue::Histogram(histogram)) => Some(FloatHistogram::from(&**histogram)),
                Some(NotedValue::Float(value)) => panic!("{value}"),
                None => None,
            })
            .collect();
        let texts: Vec<Option<String>> =
            histograms.iter().map(|histogram| histogram.as_ref().and_then(FloatHistogram::notation)).collect();
        let want = [
            Some("{{count:1 buckets:[1]}}"),
            Some("{{count:3 buckets:[1 2]}}"),
            Some("{{count:5 buckets:[1 4]}}"),
            None,
            Some("{{}}"),
            Some("{{}}"),
            Some("{{sum:2}}"),
            Some("{{sum:1}}"),
        ];
        assert_eq!(texts.iter().map(Option::as_deref).collect::<Vec<_>>(), want);
    }

    #[test]
    fn what_is_no_histogram_is_an_error() {
        for text in [
            "{{",
            "{{}",
            "{{}}+",
            "{{}}+{{}}",
            "{{}}*{{}}x2",
            "{{}}x",
            "{{schema:9}}",
            "{{schema:x}}",
            "{{nothing:1}}",
            "{{buckets:[1 2}}",
            "{{buckets:[1 x]}}",
            "{{buckets:1}}",
            "{{sum:1 sum:2}}",
            "{{schema:-53 custom_values:[2 1]}}",
            "{{counter_reset_hint:maybe}}",
            "{{schema:-53}}+{{}}x1",
            "{{buckets:[1] offset:2147483647}}",
        ] {
            assert!(parse_values(text).is_err(), "{text:?}");
        }
    }
}
