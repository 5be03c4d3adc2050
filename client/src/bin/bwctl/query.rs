//! `bwctl query`: results as tables, as Prometheus's JSON, as CSV, or drawn.

use std::collections::BTreeSet;

use bellwether_client::{Answer, Sample, Series, Value};
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
            let step_ms = match step {
                Some(step) => i64::try_from(step.as_millis()).unwrap_or(i64::MAX),
                None => (end.saturating_sub(start) / STEPS).max(STEP_MS_MIN),
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
fn rows(answer: &Answer) -> Vec<Series> {
    match &answer.value {
        Value::Scalar(sample) => vec![Series { labels: Vec::new(), samples: vec![*sample] }],
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
        for sample in &series.samples {
            table.row([print_labels(&series), print_time(sample.timestamp_ms), print_value(sample.value)]);
        }
    }
    table.to_string()
}

/// `name{label="value"}`
pub fn print_labels(series: &Series) -> String {
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
    let metric = |series: &Series| {
        let labels = series.labels.iter().map(|label| (label.name.clone(), label.value.clone().into()));
        serde_json::Value::Object(labels.collect())
    };
    let (kind, result) = match &answer.value {
        Value::Scalar(sample) => ("scalar", point(sample)),
        Value::Text { timestamp_ms, value } => ("string", json!([*timestamp_ms as f64 / 1000.0, value])),
        Value::Vector(series) => {
            let one = |series: &Series| json!({"metric": metric(series), "value": series.samples.first().map(point)});
            ("vector", series.iter().map(one).collect())
        }
        Value::Matrix(series) => {
            let all = |series: &Series| series.samples.iter().map(point).collect::<Vec<_>>();
            let one = |series: &Series| json!({"metric": metric(series), "values": all(series)});
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
        for sample in &series.samples {
            let fields = [sample.timestamp_ms.to_string(), print_value(sample.value)];
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
            series([(NAME, "up"), ("job", "a,\"b\"")], [(1_795_161_600_000, 1.0)]),
            series([("zone", "x")], [(1_795_161_600_500, f64::NEG_INFINITY)]),
        ]))
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
        let matrix = answer(Value::Matrix(vec![series([(NAME, "up")], [(0, 1.0), (1000, 0.5)])]));
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
