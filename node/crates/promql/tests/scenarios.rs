//! Runs the scripts in `tests/scenarios`: load samples, evaluate, compare.
//!
//! ```text
//! # comment
//! clear
//! load 10s                                a sample every 10 s from time 0
//!   up{job="a"} 1 2+1x3 _ 5x2 stale _x2   as `bellwether_promql::series_notation` reads it
//!   h {{count:1 sum:2 buckets:[1]}}x3     histograms too
//! eval at 50s up > 3                      an instant query
//!   up{job="a"} 4                         each line a series and its value; `= 4` for a scalar, `= "a"` for a string
//! eval from 0 to 1m step 10s up           a range query
//!   up{job="a"} 1 2 _ 4                   one value for each step
//! names delayed                           from here on names that are dropped stay until a query ends
//! names at once                           and from here on they do not, as at the beginning
//! ```
//! Below `eval` there may also be `ordered` (the order of an instant vector counts), `fail TEXT` (what the error
//! contains), `warn TEXT` and `info TEXT` (all that there are, in order). A result without lines is empty. Histograms are
//! compared without empty buckets, and without their hints where none is expected.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Span};
use bellwether_promql::series_notation::{NotedValue, parse_series};
use bellwether_promql::{
    EvalTimes, Expr, FetchedHistograms, FetchedSeries, FloatHistogram, Limits, Outcome, Plan, PlanOptions,
    QueryAccount, Value, VectorSample, evaluate, parse,
};

const LOOKBACK_MS: i64 = 300_000;
const TOLERANCE: f64 = 1e-9;

type Samples = BTreeMap<Labels, Vec<(i64, NotedValue)>>;

#[derive(Default)]
struct Expected {
    ordered: bool,
    fail: Option<String>,
    warnings: Vec<String>,
    infos: Vec<String>,
    scalar: Option<f64>,
    text: Option<String>,
    series: Vec<(Labels, Vec<Option<NotedValue>>)>,
}

#[test]
fn every_scenario_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = Vec::new();
    for path in paths {
        run(&path, &mut failures);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn run(path: &Path, failures: &mut Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end()).collect();
    let mut samples = Samples::new();
    let mut options = PlanOptions { lookback_ms: LOOKBACK_MS, ..PlanOptions::default() };
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let place = format!("{}:{}", path.file_name().unwrap().to_string_lossy(), at + 1);
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let body_start = at;
        while at < lines.len() && lines[at].starts_with(' ') {
            at += 1;
        }
        let body: Vec<&str> = lines[body_start..at].iter().map(|line| line.trim()).collect();
        match line.split_once(' ') {
            None if line == "clear" => samples.clear(),
            Some(("load", step)) => load(&mut samples, duration_ms(step), &body),
            Some(("names", "delayed")) => options.delayed_name_removal = true,
            Some(("names", "at once")) => options.delayed_name_removal = false,
            Some(("eval", rest)) => {
                if let Err(message) = check(&samples, options, rest, &body) {
                    failures.push(format!("{place}: {line}\n    {message}"));
                }
            }
            _ => panic!("{place}: {line:?} is no command"),
        }
    }
}

fn duration_ms(text: &str) -> i64 {
    match parse(text).unwrap() {
        Expr::Number(number) => (number.value * 1000.0).round() as i64,
        other => panic!("{other} is no duration"),
    }
}

fn load(samples: &mut Samples, step_ms: i64, body: &[&str]) {
    for line in body {
        let (labels, values) = series(line);
        let column = samples.entry(labels).or_default();
        let present = values.into_iter().enumerate().filter_map(|(at, value)| Some((at as i64 * step_ms, value?)));
        column.extend(present);
    }
}

/// `name{label="value"} values...`
fn series(line: &str) -> (Labels, Vec<Option<NotedValue>>) {
    let series = parse_series(line).unwrap();
    (series.labels, series.values)
}

fn check(samples: &Samples, options: PlanOptions, rest: &str, body: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = rest.splitn(7, ' ').collect();
    let (times, query) = if words[0] == "at" {
        let (time, query) = rest["at ".len()..].split_once(' ').unwrap();
        (EvalTimes::instant(duration_ms(time)), query)
    } else {
        let [start, end, step] = [words[1], words[3], words[5]].map(duration_ms);
        (EvalTimes::range(start, end, step).map_err(|error| error.to_string())?, words[6])
    };
    let expected = expected(body);
    let outcome = match (outcome(samples, options, times, query), &expected.fail) {
        (Err(error), Some(fail)) if error.contains(fail.as_str()) => return Ok(()),
        (Err(error), _) => return Err(format!("error: {error}")),
        (Ok(outcome), Some(fail)) => return Err(format!("no error {fail:?} but {outcome:?}")),
        (Ok(outcome), None) => outcome,
    };
    let plain = |text: &String| text.split_once(": ").map_or(text.as_str(), |(_, text)| text).to_owned();
    let texts = |texts: &[String]| texts.iter().map(plain).collect();
    let (warnings, infos): (Vec<String>, Vec<String>) = (texts(&outcome.warnings), texts(&outcome.infos));
    if warnings != expected.warnings || infos != expected.infos {
        return Err(format!("warnings {warnings:?}, infos {infos:?}"));
    }
    compare(&expected, &outcome.value, times)
}

fn expected(body: &[&str]) -> Expected {
    let mut expected = Expected::default();
    for line in body {
        match line.split_once(' ') {
            Some(("fail", text)) => expected.fail = Some(text.to_owned()),
            Some(("warn", text)) => expected.warnings.push(text.to_owned()),
            Some(("info", text)) => expected.infos.push(text.to_owned()),
            Some(("=", value)) if value.starts_with('"') => expected.text = Some(value.to_owned()),
            Some(("=", value)) => expected.scalar = Some(value.parse().unwrap()),
            None if *line == "ordered" => expected.ordered = true,
            _ => expected.series.push(series(line)),
        }
    }
    expected
}

fn outcome(samples: &Samples, options: PlanOptions, times: EvalTimes, query: &str) -> Result<Outcome, String> {
    let expr = parse(query).map_err(|error| error.to_string())?;
    let printed = expr.to_string();
    let again = parse(&printed).map_err(|error| format!("prints as {printed}, which fails: {error}"))?;
    assert_eq!(again.to_string(), printed, "printing {query} is not stable");
    let plan = Plan::with_options(&expr, times, options).map_err(|error| error.to_string())?;
    let fetched: Vec<Vec<FetchedSeries>> = plan
        .selections()
        .iter()
        .map(|selection| {
            let mut shared: Vec<Arc<[i64]>> = Vec::new();
            let matching = samples.iter().filter(|(labels, _)| {
                let matches = |m: &bellwether_model::Matcher| m.matches(labels.get(m.name()).unwrap_or_default());
                selection.matchers.iter().all(matches)
            });
            matching
                .map(|(labels, samples)| {
                    let inside: Vec<_> = samples.iter().filter(|(time, _)| selection.range.contains(*time)).collect();
                    let floats = inside.iter().filter_map(|(time, value)| match value {
                        NotedValue::Float(value) => Some((*time, *value)),
                        NotedValue::Histogram(_) => None,
                    });
                    let (times, values): (Vec<i64>, Vec<f64>) = floats.unzip();
                    let histograms = inside.iter().filter_map(|(time, value)| match value {
                        NotedValue::Float(_) => None,
                        NotedValue::Histogram(histogram) => Some((*time, Histogram::clone(histogram))),
                    });
                    let (histogram_times, histograms): (Vec<i64>, Vec<Histogram>) = histograms.unzip();
                    let histograms = (!histograms.is_empty())
                        .then(|| Box::new(FetchedHistograms { timestamps: Arc::from(histogram_times), histograms }));
                    let known = shared.iter().find(|column| column[..] == times[..]).cloned();
                    let timestamps = known.unwrap_or_else(|| Arc::from(times));
                    shared.push(timestamps.clone());
                    FetchedSeries { labels: labels.clone(), timestamps, values, histograms }
                })
                .collect()
        })
        .collect();
    let account = QueryAccount::new(Limits::default());
    fetched.iter().try_for_each(|series| account.hold(series)).map_err(|error| error.to_string())?;
    evaluate(&plan, fetched, &account, &AtomicBool::new(false)).map_err(|error| error.to_string())
}

fn compare(expected: &Expected, value: &Value, times: EvalTimes) -> Result<(), String> {
    let mut wanted = expected.series.clone();
    let float = NotedValue::Float;
    let histogram = |histogram: &FloatHistogram| NotedValue::Histogram(Box::new(Histogram::from(histogram)));
    let mut got: Vec<(Labels, Vec<Option<NotedValue>>)> = match value {
        Value::Scalar(point) => {
            return match expected.scalar {
                Some(scalar) if near(scalar, point.value) => Ok(()),
                other => Err(format!("{:?}, expected {other:?}", point.value)),
            };
        }
        Value::Vector(samples) => {
            let value = |s: &VectorSample| s.histogram.as_deref().map_or(float(s.point.value), histogram);
            samples.iter().map(|s| (s.labels.clone(), vec![Some(value(s))])).collect()
        }
        Value::Matrix(series) if times.is_instant() => series
            .iter()
            .map(|series| {
                let floats = series.points.iter().map(|point| (point.timestamp, float(point.value)));
                let histograms = series.histograms.iter().map(|point| (point.timestamp, histogram(&point.histogram)));
                let mut all: Vec<_> = floats.chain(histograms).collect();
                all.sort_by_key(|(time, _)| *time);
                (series.labels.clone(), all.into_iter().map(|(_, value)| Some(value)).collect())
            })
            .collect(),
        Value::Matrix(series) => {
            let steps = (times.end() - times.start()) / times.step_ms() + 1;
            let at = |step: i64| times.start() + step * times.step_ms();
            series
                .iter()
                .map(|series| {
                    let value = |time| {
                        let point = series.points.iter().find(|p| p.timestamp == time).map(|p| float(p.value));
                        let of_histogram = series.histograms.iter().find(|p| p.timestamp == time);
                        point.or(of_histogram.map(|p| histogram(&p.histogram)))
                    };
                    (series.labels.clone(), (0..steps).map(|step| value(at(step))).collect())
                })
                .collect()
        }
        Value::String { value, .. } => {
            let wanted = expected.text.as_deref().map(|text| parse(text).unwrap());
            return match wanted {
                Some(Expr::String(wanted)) if wanted.value == *value => Ok(()),
                _ => Err(format!("the string {value:?}")),
            };
        }
    };
    if !expected.ordered {
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        got.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let same_values = |a: &[Option<NotedValue>], b: &[Option<NotedValue>]| {
        let same = |pair: (Option<&NotedValue>, Option<&NotedValue>)| match pair {
            (Some(NotedValue::Float(a)), Some(NotedValue::Float(b))) => near(*a, *b),
            (Some(NotedValue::Histogram(a)), Some(NotedValue::Histogram(b))) => near_histograms(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        // Missing steps at the end need not be written.
        let padded = |values: &[Option<NotedValue>], at: usize| values.get(at).cloned().flatten();
        (0..a.len().max(b.len())).all(|at| same((padded(a, at).as_ref(), padded(b, at).as_ref())))
    };
    let same = wanted.len() == got.len()
        && wanted.iter().zip(&got).all(|(want, got)| want.0 == got.0 && same_values(&want.1, &got.1));
    if same { Ok(()) } else { Err(format!("got {got:?}")) }
}

fn near_histograms(want: &Histogram, got: &Histogram) -> bool {
    let hint = want.counter_reset_hint;
    let (want, got) = (Plain::of(want), Plain::of(got));
    let near_all = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(*a, *b));
    let near_buckets = |a: &[(i64, f64)], b: &[(i64, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
    };
    (hint == CounterResetHint::Unknown || hint == got.hint)
        && want.schema == got.schema
        && near_all(&want.totals, &got.totals)
        && near_all(&want.custom_values, &got.custom_values)
        && near_buckets(&want.positive, &got.positive)
        && near_buckets(&want.negative, &got.negative)
}

/// A histogram without empty buckets.
struct Plain {
    hint: CounterResetHint,
    schema: i32,
    totals: [f64; 4],
    custom_values: Vec<f64>,
    positive: Vec<(i64, f64)>,
    negative: Vec<(i64, f64)>,
}

impl Plain {
    fn of(histogram: &Histogram) -> Plain {
        let Counts::Float { count, zero_count, positive, negative } = &histogram.counts else { panic!("floats only") };
        let buckets = |spans: &[Span], counts: &[f64]| {
            let mut next = 0;
            let indices = spans.iter().flat_map(|span| {
                let first = next + i64::from(span.offset);
                next = first + i64::from(span.length);
                first..next
            });
            indices.zip(counts.iter().copied()).filter(|(_, count)| *count != 0.0).collect()
        };
        Plain {
            hint: histogram.counter_reset_hint,
            schema: histogram.schema,
            totals: [*count, *zero_count, histogram.sum, histogram.zero_threshold],
            custom_values: histogram.custom_values.clone(),
            positive: buckets(&histogram.positive_spans, positive),
            negative: buckets(&histogram.negative_spans, negative),
        }
    }
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
