//! What templates can call: Go's functions, Prometheus's, and those that Alertmanager has too; the rest of Alertmanager's are in
//! [`notification`].

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::clock::{Span, Time, rfc_time};
use super::value::{Map, Record, Value};
use super::{Surroundings, escape, expressions, format, humanize, notification};
use crate::duration::{DurationError, parse_duration_ms};
use crate::limits::{
    TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_QUERIES_MAX, TEMPLATE_REGEX_BYTES_MAX, TEMPLATE_REGEX_STEPS,
    TEMPLATE_VALUE_DEPTH_MAX,
};

/// What a text may call.
#[derive(Debug, Clone, Copy)]
pub struct Functions(&'static [&'static [Function]]);

impl Functions {
    /// What Prometheus's rules may call.
    pub const PROMETHEUS: Functions = Functions(&[GO, SHARED, PROMETHEUS]);

    /// What Alertmanager's templates may call.
    pub const ALERTMANAGER: Functions = Functions(&[GO, SHARED, notification::FUNCTIONS]);

    pub(crate) fn get(&self, name: &str) -> Option<&'static Function> {
        self.0.iter().flat_map(|table| table.iter()).find(|function| function.name == name)
    }
}

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Param],
    /// What any number of further arguments are.
    pub(crate) rest: Option<Param>,
    pub(crate) run: Run,
}

/// How it is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// The first that is not true, or the last.
    And,
    /// The first that is true, or the last.
    Or,
    Plain(fn(&mut Call<'_>, &[Value]) -> Result<Value, String>),
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    Any,
    Text,
    /// What a query gave.
    Samples,
    Sample,
}

impl Param {
    pub(crate) fn can_be_nil(self) -> bool {
        self != Param::Text
    }

    pub(crate) fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Param::Any, _) | (Param::Text, Value::Text(_)) => true,
            (Param::Samples, Value::List(items)) => items.iter().all(|item| Param::Sample.takes(item)),
            (Param::Sample, Value::Object(object)) => object.type_name() == SAMPLE,
            _ => false,
        }
    }

    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Param::Any => "interface {}",
            Param::Text => "string",
            Param::Samples => "template.queryResult",
            Param::Sample => SAMPLE,
        }
    }
}

const SAMPLE: &str = "*template.sample";

/// What functions see beside their arguments.
pub(crate) struct Call<'s> {
    pub(super) surroundings: &'s dyn Surroundings,
    queries: usize,
    /// Steps that functions took beyond one for each call.
    pub(crate) steps: usize,
    /// Bytes that functions made.
    made: usize,
}

impl<'s> Call<'s> {
    pub(crate) fn new(surroundings: &'s dyn Surroundings) -> Call<'s> {
        Call { surroundings, queries: 0, steps: 0, made: 0 }
    }

    /// A text that a function made: all of them together are bounded.
    pub(super) fn text(&mut self, text: String) -> Result<Value, String> {
        self.made += text.len();
        // A template can throw away what it made.
        if self.made > 16 * TEMPLATE_OUTPUT_BYTES_MAX {
            return Err(format!("the template makes more than {} bytes", 16 * TEMPLATE_OUTPUT_BYTES_MAX));
        }
        Ok(Value::text(text))
    }
}

pub(super) const fn plain(
    name: &'static str,
    params: &'static [Param],
    run: fn(&mut Call<'_>, &[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, params, rest: None, run: Run::Plain(run) }
}

pub(super) const fn variadic(
    name: &'static str,
    params: &'static [Param],
    run: fn(&mut Call<'_>, &[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, params, rest: Some(Param::Any), run: Run::Plain(run) }
}

use Param::{Any, Sample, Samples, Text};

static GO: &[Function] = &[
    Function { name: "and", params: &[Any], rest: Some(Any), run: Run::And },
    Function { name: "or", params: &[Any], rest: Some(Any), run: Run::Or },
    plain("not", &[Any], |_, args| Ok(Value::Bool(!args[0].is_true()))),
    variadic("eq", &[Any], |_, args| {
        if args.len() < 2 {
            return Err("missing argument for comparison".to_owned());
        }
        for other in &args[1..] {
            if args[0].equals(other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    plain("ne", &[Any, Any], |_, args| args[0].equals(&args[1]).map(|equal| Value::Bool(!equal))),
    plain("lt", &[Any, Any], |_, args| Ok(Value::Bool(args[0].compare(&args[1])?.is_some_and(|order| order.is_lt())))),
    plain("le", &[Any, Any], |_, args| Ok(Value::Bool(args[0].compare(&args[1])?.is_some_and(|order| order.is_le())))),
    // As in Go, what is greater is what is not less or equal: NaN is greater than anything.
    plain("gt", &[Any, Any], |_, args| Ok(Value::Bool(args[0].compare(&args[1])?.is_none_or(|order| order.is_gt())))),
    plain("ge", &[Any, Any], |_, args| Ok(Value::Bool(args[0].compare(&args[1])?.is_none_or(|order| order.is_ge())))),
    plain("len", &[Any], |_, args| length(&args[0]).map(|length| Value::Int(length as i64))),
    variadic("index", &[Any], |_, args| args[1..].iter().try_fold(args[0].clone(), |value, key| index(&value, key))),
    variadic("slice", &[Any], |_, args| slice(&args[0], &args[1..])),
    variadic("print", &[], |call, args| call.text(format::print(args)?)),
    variadic("println", &[], |call, args| call.text(format::println(args)?)),
    variadic("printf", &[Text], |call, args| {
        let text = format::printf(args[0].as_text().unwrap_or_default(), &args[1..])?;
        call.text(text)
    }),
    variadic("html", &[], |call, args| call.text(escape::html(&format::print(args)?))),
    variadic("js", &[], |call, args| call.text(escape::js(&format::print(args)?))),
    variadic("urlquery", &[], |call, args| call.text(escape::url_query(&format::print(args)?))),
    variadic("call", &[Any], |_, args| match &args[0] {
        Value::Missing => Err("call of nil".to_owned()),
        // No value is a function.
        other => Err(format!("non-function of type {}", other.type_name())),
    }),
];

/// What rules and notifications may call.
static SHARED: &[Function] = &[
    plain("reReplaceAll", &[Text, Text, Text], |call, args| {
        let [pattern, with, text] = [0, 1, 2].map(|at| args[at].as_text().unwrap_or_default());
        call.steps += TEMPLATE_REGEX_STEPS;
        let regex = regex(pattern).map_err(|error| format!("regexp: Compile(`{pattern}`): {error}"))?;
        call.text(replace_all(&regex, with, text)?)
    }),
    plain("match", &[Text, Text], |call, args| {
        call.steps += TEMPLATE_REGEX_STEPS;
        let [pattern, text] = [0, 1].map(|at| args[at].as_text().unwrap_or_default());
        Ok(Value::Bool(regex(pattern)?.is_match(text)))
    }),
    plain("safeHtml", &[Text], |_, args| Ok(args[0].clone())),
    plain("title", &[Text], |call, args| call.text(escape::title(args[0].as_text().unwrap_or_default()))),
    plain("toUpper", &[Text], |call, args| call.text(escape::to_upper(args[0].as_text().unwrap_or_default()))),
    plain("toLower", &[Text], |call, args| call.text(escape::to_lower(args[0].as_text().unwrap_or_default()))),
    plain("humanizeDuration", &[Any], |call, args| call.text(humanize::duration(float(&args[0])?))),
];

static PROMETHEUS: &[Function] = &[
    plain("query", &[Text], |call, args| {
        call.queries += 1;
        if call.queries > TEMPLATE_QUERIES_MAX {
            return Err(format!("the template asks more than {TEMPLATE_QUERIES_MAX} queries"));
        }
        let rows = call.surroundings.query(args[0].as_text().unwrap_or_default())?;
        let sample = |(labels, value): (bellwether_model::Labels, f64)| {
            let labels = Value::texts(labels.iter().map(|label| (label.name, label.value)));
            let fields = vec![("Labels", labels), ("Value", Value::Float(value))];
            Value::Object(Arc::new(Record { type_name: SAMPLE, fields }))
        };
        Ok(Value::list(rows.into_iter().map(sample).collect()))
    }),
    plain("first", &[Samples], |_, args| match args[0].items().and_then(|items| items.first()) {
        Some(sample) => Ok(sample.clone()),
        None => Err("first() called on vector with no elements".to_owned()),
    }),
    plain("label", &[Text, Sample], |_, args| label(&args[1], args[0].as_text().unwrap_or_default())),
    plain("value", &[Sample], |_, args| of_sample(&args[0], "Value")),
    plain("strvalue", &[Sample], |_, args| label(&args[0], "__value__")),
    plain("sortByLabel", &[Text, Samples], |_, args| {
        let name = args[0].as_text().unwrap_or_default();
        let mut items = args[1].items().unwrap_or_default().to_vec();
        let key = |item: &Value| label(item, name).map(|value| value.print()).unwrap_or_default();
        items.sort_by_cached_key(key);
        Ok(Value::list(items))
    }),
    variadic("args", &[], |_, args| {
        let entries = args.iter().enumerate().map(|(at, arg)| (format!("arg{at}"), arg.clone())).collect();
        let depth_of = |arg: &Value| if let Value::Map(map) = arg { map.depth } else { 0 };
        let depth = 1 + args.iter().map(depth_of).max().unwrap_or(0);
        if depth > TEMPLATE_VALUE_DEPTH_MAX {
            return Err(format!("more than {TEMPLATE_VALUE_DEPTH_MAX} maps are inside of one another"));
        }
        Ok(Value::Map(Arc::new(Map { entries, zero: Value::Missing, is_labels: false, depth })))
    }),
    plain("graphLink", &[Text], |call, args| call.text(link(&args[0], 0))),
    plain("tableLink", &[Text], |call, args| call.text(link(&args[0], 1))),
    plain("stripPort", &[Text], |call, args| call.text(humanize::strip_port(args[0].as_text().unwrap_or_default()))),
    plain("stripDomain", &[Text], |call, args| {
        call.text(humanize::strip_domain(args[0].as_text().unwrap_or_default()))
    }),
    plain("humanize", &[Any], |call, args| call.text(humanize::humanize(float(&args[0])?))),
    plain("humanize1024", &[Any], |call, args| call.text(humanize::humanize_1024(float(&args[0])?))),
    plain("humanizePercentage", &[Any], |call, args| call.text(humanize::percentage(float(&args[0])?))),
    plain("humanizeTimestamp", &[Any], |call, args| {
        let seconds = float(&args[0])?;
        match seconds.is_finite() {
            true => rfc_time(seconds).map(Value::text),
            false => call.text(super::numbers::general(seconds, Some(4), false)),
        }
    }),
    plain("toTime", &[Any], |_, args| Ok(Value::Object(Arc::new(Time::of_seconds(float(&args[0])?)?)))),
    plain("toDuration", &[Any], |_, args| Ok(Value::Object(Arc::new(Span::of_seconds(float(&args[0])?)?)))),
    plain("now", &[], |call, _| Ok(Value::Float(call.surroundings.now_ms() as f64 / 1000.0))),
    plain("parseDuration", &[Text], |_, args| {
        let ms = parse_duration_ms(args[0].as_text().unwrap_or_default()).map_err(|DurationError(message)| message)?;
        Ok(Value::Float(ms as f64 / 1000.0))
    }),
    plain("externalURL", &[], |call, _| Ok(Value::text(call.surroundings.external_url()))),
    plain("pathPrefix", &[], |call, _| Ok(Value::text(escape::url_path(call.surroundings.external_url())))),
    plain("urlQueryEscape", &[Text], |call, args| call.text(escape::url_query(args[0].as_text().unwrap_or_default()))),
];

fn of_sample(sample: &Value, field: &str) -> Result<Value, String> {
    match sample {
        Value::Object(object) => Ok(object.field(field).unwrap_or_default()),
        _ => Err("runtime error: invalid memory address or nil pointer dereference".to_owned()),
    }
}

fn label(sample: &Value, name: &str) -> Result<Value, String> {
    match of_sample(sample, "Labels")? {
        Value::Map(map) => Ok(expressions::entry(&map, name)),
        _ => Ok(Value::text("")),
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(TEMPLATE_REGEX_BYTES_MAX).build();
    built.map_err(|error| {
        // The library's message draws the pattern, and says at last what is wrong with it.
        let reason = error.to_string().lines().last().unwrap_or_default().replace("error: ", "");
        match reason.as_str() {
            "unclosed group" => format!("error parsing regexp: missing closing ): `{pattern}`"),
            reason => format!("error parsing regexp: {reason}"),
        }
    })
}

/// All matches replaced, as far as anybody may write.
fn replace_all(regex: &Regex, with: &str, text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut behind = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[behind..whole.start()]);
        captures.expand(with, &mut out);
        behind = whole.end();
        format::check_length(&out)?;
    }
    out.push_str(&text[behind..]);
    Ok(out)
}

fn link(expression: &Value, tab: u8) -> String {
    let expression = escape::url_query(expression.as_text().unwrap_or_default());
    format!("/graph?g0.expr={expression}&g0.tab={tab}")
}

/// A number, from a number or a text.
fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(float) => Ok(*float),
        Value::Int(int) => Ok(*int as f64),
        Value::Text(text) => {
            parse_float(text).ok_or_else(|| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
        }
        Value::Object(object) => match object.call("Seconds", &[]) {
            Some(Ok(Value::Float(seconds))) if object.type_name() == Span::TYPE => Ok(seconds),
            _ => Err(format!("can't convert {} to float", object.type_name())),
        },
        Value::Missing => Err("can't convert <nil> to float".to_owned()),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

fn parse_float(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    match digits.to_ascii_lowercase().as_str() {
        "inf" | "infinity" | "nan" => text.parse().ok(),
        _ if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => text.parse().ok(),
        _ => None,
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Text(text) => Ok(text.len()),
        Value::Map(map) => Ok(map.entries.len()),
        Value::Missing => Err("len of nil pointer".to_owned()),
        other => match other.items() {
            Some(items) => Ok(items.len()),
            None => Err(format!("len of type {}", other.type_name())),
        },
    }
}

fn position(key: &Value, length: usize, last_included: bool) -> Result<usize, String> {
    let Value::Int(at) = key else {
        return match key {
            Value::Missing => Err("cannot index slice/array with nil".to_owned()),
            other => Err(format!("cannot index slice/array with type {}", other.type_name())),
        };
    };
    let in_range = |at: &usize| *at < length || (last_included && *at == length);
    usize::try_from(*at).ok().filter(in_range).ok_or_else(|| format!("index out of range: {at}"))
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match value {
        Value::Map(map) => match key {
            Value::Text(name) => Ok(expressions::entry(map, name)),
            other => Err(format!("value has type {}; should be string", other.type_name())),
        },
        Value::Text(text) => Ok(Value::Int(i64::from(text.as_bytes()[position(key, text.len(), false)?]))),
        Value::Missing => Err("index of untyped nil".to_owned()),
        other => match other.items() {
            Some(items) => Ok(items[position(key, items.len(), false)?].clone()),
            None => Err(format!("can't index item of type {}", other.type_name())),
        },
    }
}

fn slice(value: &Value, keys: &[Value]) -> Result<Value, String> {
    if keys.len() > 3 {
        return Err(format!("too many slice indexes: {}", keys.len()));
    }
    let length = match value {
        Value::Text(text) if keys.len() < 3 => text.len(),
        Value::Text(_) => return Err("cannot 3-index slice a string".to_owned()),
        Value::Missing => return Err("slice of untyped nil".to_owned()),
        other => match other.items() {
            Some(items) => items.len(),
            None => return Err(format!("can't slice item of type {}", other.type_name())),
        },
    };
    let from = keys.first().map_or(Ok(0), |key| position(key, length, true))?;
    let to = keys.get(1).map_or(Ok(length), |key| position(key, length, true))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match value {
        Value::Text(text) => Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())),
        other => Ok(Value::list(other.items().unwrap_or_default()[from..to].to_vec())),
    }
}
