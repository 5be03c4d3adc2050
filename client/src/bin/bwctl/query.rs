//! `bwctl query`: results as tables, as Prometheus's JSON, as CSV, or drawn.

use std::collections::BTreeSet;

use bellwether_client::{Answer, Bucket, HistogramSample, HistogramValue, ResultSeries, Sample, Value};
use serde_json::json;

use crate::Context;
use crate::arguments::{QueryCommand, QueryFormat, QueryOptions};
use crate::excerpt::of_expression;
use crate::explain;
use crate::failure::Failure;
use crate::plot::plot;
use crate::table::{Column, Table};
use crate::times::{now_ms, print_time};

/// Steps of a range for which none was given.
const STEPS: i64 = 250;
const STEP_MS_MIN: i64 = 1000;
const NAME: &str = "__name__";

pub async fn run(context: &Context, command: QueryCommand) -> Result<(), Failure> {
    let (answer, options) = match command {
        QueryCommand::Instant { expression, time, how } => {
            let client = of_tenant(context, &how)?;
            let time = time.map(|time| time.resolve(now_ms()));
            let answer = client.instant_with(&expression, time, reading(&how)).await;
            (answer.map_err(|error| of_expression(&expression, error))?, how)
        }
        QueryCommand::Range { expression, start, end, step, how } => {
            let client = of_tenant(context, &how)?;
            let now = now_ms();
            let (start, end) = (start.resolve(now), end.resolve(now));
            if start > end {
                return Err(Failure::Usage("--start is after --end".to_owned()));
            }
            let (start, end, step_ms) = match step {
                Some(step) => (start, end, i64::try_from(step.as_millis()).unwrap_or(i64::MAX)),
                None => aligned(start, end),
            };
            let answer = client.range_with(&expression, start, end, step_ms, reading(&how)).await;
            (answer.map_err(|error| of_expression(&expression, error))?, how)
        }
    };
    for warning in answer.warnings.iter().chain(&answer.infos) {
        eprintln!("bwctl: {warning}");
    }
    if let Some(explanation) = &answer.explanation {
        return Ok(explain::print(context.output, explanation)?);
    }
    let text = match options.format {
        QueryFormat::Json => format!("{:#}\n", to_json(&answer)),
        QueryFormat::Table if context.output.json => format!("{:#}\n", to_json(&answer)),
        QueryFormat::Table => to_table(&answer),
        QueryFormat::Csv => to_csv(&answer),
        QueryFormat::Plot => {
            let width = options.width.unwrap_or_else(|| context.output.columns());
            plot(&answer, usize::from(width), context.output.has_colors())
        }
    };
    Ok(context.output.print_text(&text)?)
}

/// A step for a range for which none was given: whole seconds, and about so many steps. The range begins and ends at multiples of it, so
/// that nodes can keep what they compute for the next time.
fn aligned(start: i64, end: i64) -> (i64, i64, i64) {
    let wanted = end.saturating_sub(start) / STEPS;
    let step_ms = wanted.saturating_add(STEP_MS_MIN - 1) / STEP_MS_MIN * STEP_MS_MIN;
    let step_ms = step_ms.max(STEP_MS_MIN);
    let down = |time: i64| time.saturating_sub(time.rem_euclid(step_ms));
    (down(start), down(end), step_ms)
}

/// What the answer may leave out.
fn reading(how: &QueryOptions) -> bellwether_client::QueryOptions {
    let QueryOptions { stale, partial_response, explain, no_cache, .. } = *how;
    bellwether_client::QueryOptions { stale, partial_response, explain, no_cache }
}

fn of_tenant(context: &Context, options: &QueryOptions) -> Result<bellwether_client::Client, Failure> {
    match &options.tenant {
        Some(tenant) => Ok(context.client.for_tenant(tenant)?),
        None => Ok(context.client.clone()),
    }
}

/// All series of an answer; a scalar is one without labels.
fn rows(answer: &Answer) -> Vec<ResultSeries> {
    match &answer.value {
        Value::Scalar(sample) => vec![ResultSeries { samples: vec![*sample], ..ResultSeries::default() }],
        Value::Text { .. } => Vec::new(),
        Value::Vector(series) | Value::Matrix(series) => series.clone(),
    }
}

fn to_table(answer: &Answer) -> String {
    if let Value::Text { value, .. } = &answer.value {
        return format!("{value}\n");
    }
    let mut table = Table::new([Column::Left("SERIES"), Column::Left("TIME"), Column::Right("VALUE")]);
    for series in rows(answer) {
        for (timestamp_ms, value) in printed(&series) {
            table.row([print_labels(&series), print_time(timestamp_ms), value]);
        }
    }
    table.to_string()
}

/// Times and values of a series, in order of time.
fn printed(series: &ResultSeries) -> Vec<(i64, String)> {
    let numbers = series.samples.iter().map(|sample| (sample.timestamp_ms, print_value(sample.value)));
    let histograms = series.histograms.iter().map(|sample| (sample.timestamp_ms, print_histogram(sample)));
    let mut all: Vec<(i64, String)> = numbers.chain(histograms).collect();
    all.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
    all
}

/// As Prometheus prints one: `{count:6, sum:7, [-0.5,0.5]:1, (0.5,1]:5}`.
fn print_histogram(sample: &HistogramSample) -> String {
    let HistogramValue { count, sum, buckets } = sample.histogram.clone().unwrap_or_default();
    let mut text = format!("{{count:{}, sum:{}", print_value(count), print_value(sum));
    for bucket in &buckets {
        let left = if bucket.lower_inclusive { '[' } else { '(' };
        let right = if bucket.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(print_value);
        text.push_str(&format!(", {left}{lower},{upper}{right}:{count}"));
    }
    text + "}"
}

/// As the HTTP API writes one.
fn histogram_json(sample: &HistogramSample) -> serde_json::Value {
    let HistogramValue { count, sum, buckets } = sample.histogram.clone().unwrap_or_default();
    let mut value = json!({"count": print_value(count), "sum": print_value(sum)});
    let bucket = |bucket: &Bucket| {
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        json!([rule, print_value(bucket.lower), print_value(bucket.upper), print_value(bucket.count)])
    };
    if !buckets.is_empty() {
        value["buckets"] = buckets.iter().map(bucket).collect();
    }
    json!([sample.timestamp_ms as f64 / 1000.0, value])
}

/// `name{label="value"}`
pub fn print_labels(series: &ResultSeries) -> String {
    let name = series.labels.iter().find(|label| label.name == NAME).map_or("", |label| &label.value);
    let others = series.labels.iter().filter(|label| label.name != NAME);
    let others: Vec<String> = others.map(|label| format!("{}={:?}", label.name, label.value)).collect();
    if others.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", others.join(", ")) }
}

/// As Prometheus writes it.
pub fn print_value(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ if value.is_nan() => "NaN".to_owned(),
        _ => value.to_string(),
    }
}

fn to_json(answer: &Answer) -> serde_json::Value {
    let point = |sample: &Sample| json!([sample.timestamp_ms as f64 / 1000.0, print_value(sample.value)]);
    let metric = |series: &ResultSeries| {
        let labels = series.labels.iter().map(|label| (label.name.clone(), label.value.clone().into()));
        serde_json::Value::Object(labels.collect())
    };
    let (kind, result) = match &answer.value {
        Value::Scalar(sample) => ("scalar", point(sample)),
        Value::Text { timestamp_ms, value } => ("string", json!([*timestamp_ms as f64 / 1000.0, value])),
        Value::Vector(series) => {
            let one = |series: &ResultSeries| match series.histograms.first() {
                Some(sample) => json!({"metric": metric(series), "histogram": histogram_json(sample)}),
                None => json!({"metric": metric(series), "value": series.samples.first().map(point)}),
            };
            ("vector", series.iter().map(one).collect())
        }
        Value::Matrix(series) => {
            let one = |series: &ResultSeries| {
                let mut one = json!({"metric": metric(series)});
                if !series.samples.is_empty() {
                    one["values"] = series.samples.iter().map(point).collect();
                }
                if !series.histograms.is_empty() {
                    one["histograms"] = series.histograms.iter().map(histogram_json).collect();
                }
                one
            };
            ("matrix", series.iter().map(one).collect())
        }
    };
    json!({"resultType": kind, "result": result})
}

fn to_csv(answer: &Answer) -> String {
    if let Value::Text { timestamp_ms, value } = &answer.value {
        return format!("timestamp_ms,value\n{timestamp_ms},{}\n", csv_field(value));
    }
    let rows = rows(answer);
    let names: BTreeSet<&str> =
        rows.iter().flat_map(|series| &series.labels).map(|label| label.name.as_str()).collect();
    let mut text = String::new();
    let mut line = |fields: &[String]| {
        text.push_str(&fields.join(","));
        text.push('\n');
    };
    let fixed = ["timestamp_ms", "value"].map(str::to_owned);
    line(&names.iter().map(|name| csv_field(name)).chain(fixed).collect::<Vec<_>>());
    for series in &rows {
        let of = |name: &str| series.labels.iter().find(|label| label.name == name).map_or("", |label| &label.value);
        let labels: Vec<String> = names.iter().map(|name| csv_field(of(name))).collect();
        for (timestamp_ms, value) in printed(series) {
            let fields = [timestamp_ms.to_string(), csv_field(&value)];
            line(&labels.iter().cloned().chain(fields).collect::<Vec<_>>());
        }
    }
    text
}

/// As RFC 4180 has it.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_client::series;

    fn answer(value: Value) -> Answer {
        Answer { value, warnings: Vec::new(), infos: Vec::new(), explanation: None }
    }

    fn vector() -> Answer {
        answer(Value::Vector(vec![
            series([(NAME, "up"), ("job", "a,\"b\"")], [(1_795_161_600_000, 1.0)]).into(),
            series([("zone", "x")], [(1_795_161_600_500, f64::NEG_INFINITY)]).into(),
        ]))
    }

    #[test]
    fn a_range_without_a_step_lies_on_multiples_of_one() {
        assert_eq!(aligned(1_795_158_001_234, 1_795_161_601_234), (1_795_158_000_000, 1_795_161_600_000, 15_000));
        assert_eq!(aligned(1_500, 2_700), (1_000, 2_000, 1_000));
        assert_eq!(aligned(-1_500, -1_500), (-2_000, -2_000, 1_000));
        let (start, end, step_ms) = aligned(i64::MIN, i64::MAX);
        assert!(start <= end && step_ms > 0);
    }

    #[test]
    fn a_vector_is_printed_in_three_ways() {
        expect_test::expect![[r#"
            SERIES             TIME                      VALUE
            up{job="a,\"b\""}  2026-11-20T08:00:00.000Z      1
            {zone="x"}         2026-11-20T08:00:00.500Z   -Inf
        "#]]
        .assert_eq(&to_table(&vector()));
        expect_test::expect![[r#"
            __name__,job,zone,timestamp_ms,value
            up,"a,""b""",,1795161600000,1
            ,,x,1795161600500,-Inf
        "#]]
        .assert_eq(&to_csv(&vector()));
        expect_test::expect![[r#"{"result":[{"metric":{"__name__":"up","job":"a,\"b\""},"value":[1795161600.0,"1"]},{"metric":{"zone":"x"},"value":[1795161600.5,"-Inf"]}],"resultType":"vector"}"#]].assert_eq(&to_json(&vector()).to_string());
    }

    #[test]
    fn histograms_are_printed_in_three_ways() {
        let bucket =
            |lower, upper, count| Bucket { lower, upper, count, lower_inclusive: lower < 0.0, upper_inclusive: true };
        let buckets = vec![bucket(f64::NEG_INFINITY, 0.5, 1.0), bucket(1.0, 2.0, 5.0)];
        let full = HistogramValue { count: 6.0, sum: 7.5, buckets };
        let at = |timestamp_ms, histogram: &HistogramValue| HistogramSample {
            timestamp_ms,
            histogram: Some(histogram.clone()),
        };
        let histograms = vec![at(2000, &full), at(4000, &HistogramValue::default())];
        let mixed = ResultSeries { histograms, ..series([(NAME, "h")], [(3000, 1.0)]).into() };
        let vector = ResultSeries { samples: Vec::new(), histograms: vec![at(2000, &full)], ..mixed.clone() };
        let (matrix, vector) = (answer(Value::Matrix(vec![mixed])), answer(Value::Vector(vec![vector])));
        expect_test::expect![[r#"
            SERIES  TIME                                                          VALUE
            h       1970-01-01T00:00:02.000Z  {count:6, sum:7.5, [-Inf,0.5]:1, (1,2]:5}
            h       1970-01-01T00:00:03.000Z                                          1
            h       1970-01-01T00:00:04.000Z                           {count:0, sum:0}
        "#]]
        .assert_eq(&to_table(&matrix));
        expect_test::expect![[r#"
            __name__,timestamp_ms,value
            h,2000,"{count:6, sum:7.5, [-Inf,0.5]:1, (1,2]:5}"
            h,3000,1
            h,4000,"{count:0, sum:0}"
        "#]]
        .assert_eq(&to_csv(&matrix));
        expect_test::expect![[r#"{"result":[{"histograms":[[2.0,{"buckets":[[3,"-Inf","0.5","1"],[0,"1","2","5"]],"count":"6","sum":"7.5"}],[4.0,{"count":"0","sum":"0"}]],"metric":{"__name__":"h"},"values":[[3.0,"1"]]}],"resultType":"matrix"}"#]].assert_eq(&to_json(&matrix).to_string());
        expect_test::expect![[r#"{"result":[{"histogram":[2.0,{"buckets":[[3,"-Inf","0.5","1"],[0,"1","2","5"]],"count":"6","sum":"7.5"}],"metric":{"__name__":"h"}}],"resultType":"vector"}"#]].assert_eq(&to_json(&vector).to_string());
    }

    #[test]
    fn the_other_kinds_of_results_have_their_shapes() {
        let sample = Sample { timestamp_ms: 1500, value: f64::NAN };
        expect_test::expect![[r#"{"result":[1.5,"NaN"],"resultType":"scalar"}"#]]
            .assert_eq(&to_json(&answer(Value::Scalar(sample))).to_string());
        let text = answer(Value::Text { timestamp_ms: 1500, value: "a,b".into() });
        expect_test::expect![[r#"
            timestamp_ms,value
            1500,"a,b"
        "#]]
        .assert_eq(&to_csv(&text));
        let matrix = answer(Value::Matrix(vec![series([(NAME, "up")], [(0, 1.0), (1000, 0.5)]).into()]));
        expect_test::expect![[r#"
            SERIES  TIME                      VALUE
            up      1970-01-01T00:00:00.000Z      1
            up      1970-01-01T00:00:01.000Z    0.5
        "#]]
        .assert_eq(&to_table(&matrix));
        expect_test::expect![[
            r#"{"result":[{"metric":{"__name__":"up"},"values":[[0.0,"1"],[1.0,"0.5"]]}],"resultType":"matrix"}"#
        ]]
        .assert_eq(&to_json(&matrix).to_string());
    }
}
