//! The data of a query's answer, written piece by piece.

use bellwether_model::Timestamp;
use bellwether_promql::{EvalTimes, MatrixSeries, Outcome, Point, Value, VectorSample};

use super::answer::{Notes, Pieces};
use super::histogram_json::push_histogram;
use super::json::{push_labels, push_string};
use super::number::{NUMBER_BYTES, push_float, push_seconds, write_float, write_seconds};
use crate::query::QueryCost;

/// What Prometheus says when it cut a result.
const TRUNCATED: &str = "results truncated due to limit";
/// What stands before a value in a list: a comma, a bracket, a time, a comma, a quote.
const BEFORE_VALUE_BYTES: usize = 32;
/// Room for one point of a list.
const POINT_BYTES: usize = BEFORE_VALUE_BYTES + NUMBER_BYTES + 2;
/// Times whose texts are kept: series of one result mostly have the same, and formatting them is a third of the work.
const TIMES_MAX: usize = 4096;

/// What is told beside a result.
#[derive(Debug, Clone, Copy)]
pub struct Statistics {
    /// What the query has cost.
    pub cost: QueryCost,
    /// Its times, if each step is told of by itself.
    pub steps: Option<EvalTimes>,
}

/// A result on its way out.
pub struct QueryResult {
    value: Value,
    stats: Option<Statistics>,
    samples_per_step: Vec<u64>,
    /// JSON that says where the time went.
    trace: Option<String>,
    /// Series or samples written.
    series: usize,
    /// Points written of the series that comes next.
    points: usize,
    begun: bool,
    times: TimeTexts,
}

impl QueryResult {
    /// Splits an outcome into its data, cut to `limit` series, and its notes.
    pub fn new(outcome: Outcome, limit: Option<usize>, stats: Option<Statistics>) -> (QueryResult, Notes) {
        let Outcome { mut value, warnings, infos, samples_per_step } = outcome;
        let mut notes = Notes { warnings, infos };
        let limit = limit.unwrap_or(usize::MAX);
        let cut = match &mut value {
            Value::Matrix(series) => cut(series, limit),
            Value::Vector(samples) => cut(samples, limit),
            Value::Scalar(_) | Value::String { .. } => false,
        };
        if cut {
            notes.warnings.push(TRUNCATED.to_owned());
        }
        let times = TimeTexts::default();
        let trace = None;
        (QueryResult { value, stats, samples_per_step, trace, series: 0, points: 0, begun: false, times }, notes)
    }

    /// The same, with JSON that says where the time went.
    pub fn with_trace(self, trace: Option<String>) -> QueryResult {
        QueryResult { trace, ..self }
    }
}

fn cut<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let longer = items.len() > limit;
    items.truncate(limit);
    longer
}

impl Pieces for QueryResult {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        if !self.begun {
            self.begun = true;
            let head: &[u8] = match &self.value {
                Value::Matrix(_) => b"{\"resultType\":\"matrix\",\"result\":[",
                Value::Vector(_) => b"{\"resultType\":\"vector\",\"result\":[",
                Value::Scalar(_) => b"{\"resultType\":\"scalar\",\"result\":[",
                Value::String { .. } => b"{\"resultType\":\"string\",\"result\":[",
            };
            out.extend_from_slice(head);
        }
        let ended = match &self.value {
            Value::Matrix(all) => write_matrix(all, &mut self.series, &mut self.points, &mut self.times, out, enough),
            Value::Vector(samples) => write_vector(samples, &mut self.series, out, enough),
            Value::Scalar(point) => {
                push_inside(out, *point);
                true
            }
            Value::String { timestamp, value } => {
                push_seconds(out, *timestamp);
                out.push(b',');
                push_string(out, value);
                true
            }
        };
        if ended {
            out.push(b']');
            if let Some(stats) = &self.stats {
                push_stats(out, stats, &self.samples_per_step);
            }
            if let Some(trace) = &self.trace {
                out.extend_from_slice(b",\"trace\":");
                out.extend_from_slice(trace.as_bytes());
            }
            out.push(b'}');
        }
        ended
    }
}

fn write_matrix(
    all: &[MatrixSeries],
    series: &mut usize,
    points: &mut usize,
    times: &mut TimeTexts,
    out: &mut Vec<u8>,
    enough: usize,
) -> bool {
    while let Some(one) = all.get(*series) {
        if out.len() >= enough {
            return false;
        }
        if *points == 0 {
            out.extend_from_slice(if *series > 0 { b",{\"metric\":" } else { b"{\"metric\":" });
            push_labels(out, &one.labels);
            if !one.points.is_empty() {
                out.extend_from_slice(b",\"values\":[");
            }
        }
        if *points >= one.points.len() {
            if !write_histograms(one, points, out, enough) {
                return false;
            }
            out.push(b'}');
            *series += 1;
            *points = 0;
            continue;
        }
        // A piece may grow by what fits, not by a whole long series.
        let room = (enough.saturating_sub(out.len()) / POINT_BYTES).max(1);
        let rest = &one.points[*points..];
        let now = &rest[..rest.len().min(room)];
        let mut at = out.len();
        out.resize(at + now.len() * POINT_BYTES, 0);
        for point in now {
            let before = times.before_value(*points, point.timestamp);
            out[at..at + BEFORE_VALUE_BYTES].copy_from_slice(&before.text);
            at += usize::from(before.length);
            let value = out[at..].first_chunk_mut().expect("there is room for a point");
            at += write_float(value, point.value);
            out[at..at + 2].copy_from_slice(b"\"]");
            at += 2;
            *points += 1;
        }
        out.truncate(at);
        if *points == one.points.len() {
            out.push(b']');
            if one.histograms.is_empty() {
                out.push(b'}');
                *series += 1;
                *points = 0;
            }
        }
    }
    true
}

/// Writes the histograms of a series, which stand behind its points; says whether all of them are written.
fn write_histograms(one: &MatrixSeries, points: &mut usize, out: &mut Vec<u8>, enough: usize) -> bool {
    let mut written = *points - one.points.len();
    while let Some(point) = one.histograms.get(written) {
        out.extend_from_slice(if written > 0 { b",[" } else { b",\"histograms\":[[" });
        push_seconds(out, point.timestamp);
        out.push(b',');
        push_histogram(out, &point.histogram);
        out.push(b']');
        written += 1;
        *points += 1;
        // Each piece has one at least, or there would be no end.
        if out.len() >= enough && written < one.histograms.len() {
            return false;
        }
    }
    if written > 0 {
        out.push(b']');
    }
    true
}

fn write_vector(all: &[VectorSample], series: &mut usize, out: &mut Vec<u8>, enough: usize) -> bool {
    while let Some(sample) = all.get(*series) {
        if out.len() >= enough {
            return false;
        }
        out.extend_from_slice(if *series > 0 { b",{\"metric\":" } else { b"{\"metric\":" });
        push_labels(out, &sample.labels);
        match &sample.histogram {
            None => {
                out.extend_from_slice(b",\"value\":[");
                push_inside(out, sample.point);
            }
            Some(histogram) => {
                out.extend_from_slice(b",\"histogram\":[");
                push_seconds(out, sample.point.timestamp);
                out.push(b',');
                push_histogram(out, histogram);
            }
        }
        out.extend_from_slice(b"]}");
        *series += 1;
    }
    true
}

/// The texts before the values of a list, by position; made anew where a series has another time there.
#[derive(Default)]
struct TimeTexts {
    known: Vec<TimeText>,
    other: TimeText,
}

#[derive(Clone, Copy, Default)]
struct TimeText {
    timestamp: Timestamp,
    /// Zero: not made yet.
    length: u8,
    text: [u8; BEFORE_VALUE_BYTES],
}

impl TimeTexts {
    /// `,[1435781451.781,"`; without the comma for the first point.
    #[inline]
    fn before_value(&mut self, position: usize, timestamp: Timestamp) -> &TimeText {
        if self.known.len() <= position && position < TIMES_MAX {
            self.known.resize(position + 1, TimeText::default());
        }
        let known = self.known.get_mut(position).unwrap_or(&mut self.other);
        if known.timestamp != timestamp || known.length == 0 {
            *known = TimeText::new(position > 0, timestamp);
        }
        known
    }
}

impl TimeText {
    fn new(comma: bool, timestamp: Timestamp) -> TimeText {
        let mut number = [0; NUMBER_BYTES];
        let digits = write_seconds(&mut number, timestamp);
        let begin: &[u8] = if comma { b",[" } else { b"[" };
        let mut text = [0; BEFORE_VALUE_BYTES];
        let mut length = 0;
        for part in [begin, &number[..digits], b",\""] {
            text[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        TimeText { timestamp, length: length as u8, text }
    }
}

/// `1435781451.781,"1"`
#[inline]
fn push_inside(out: &mut Vec<u8>, point: Point) {
    let timestamp: Timestamp = point.timestamp;
    push_seconds(out, timestamp);
    out.extend_from_slice(b",\"");
    push_float(out, point.value);
    out.push(b'"');
}

/// A time and a value.
const SAMPLE_BYTES: u64 = 16;

/// Prometheus's names; what it measures apart and we do not is zero.
fn push_stats(out: &mut Vec<u8>, stats: &Statistics, samples_per_step: &[u64]) {
    let cost = &stats.cost;
    let (fetch, evaluate, queue) = (cost.fetch.as_secs_f64(), cost.evaluate.as_secs_f64(), cost.queue.as_secs_f64());
    let text = format!(
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{:.6},\"resultSortTime\":0,\"queryPreparationTime\":{fetch:.6},\
         \"innerEvalTime\":{evaluate:.6},\"execQueueTime\":{queue:.6},\"execTotalTime\":{:.6}}},\
         \"samples\":{{",
        fetch + evaluate,
        queue + fetch + evaluate,
    );
    out.extend_from_slice(text.as_bytes());
    if let Some(times) = &stats.steps {
        out.extend_from_slice(b"\"totalQueryableSamplesPerStep\":[");
        for (step, samples) in samples_per_step.iter().enumerate() {
            out.extend_from_slice(if step > 0 { b",[" } else { b"[" });
            push_seconds(out, times.start().saturating_add(times.step_ms().saturating_mul(step as i64)));
            out.extend_from_slice(format!(",{samples}]").as_bytes());
        }
        out.extend_from_slice(b"],");
    }
    let total = samples_per_step.iter().sum::<u64>();
    // What is aggregated where it is stored was never here all at once.
    let peak = cost.samples.min(cost.peak_bytes / SAMPLE_BYTES);
    out.extend_from_slice(format!("\"totalQueryableSamples\":{total},\"peakSamples\":{peak}}}}}").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bellwether_model::Labels;
    use bellwether_promql::HistogramPoint;
    use expect_test::{Expect, expect};

    use super::super::histogram_json::tests::noted;
    use super::*;

    fn outcome(value: Value) -> Outcome {
        Outcome { value, warnings: Vec::new(), infos: Vec::new(), samples_per_step: vec![3, 4] }
    }

    fn point(timestamp: Timestamp, value: f64) -> Point {
        Point { timestamp, value }
    }

    fn whole(mut result: QueryResult, enough: usize) -> String {
        let mut all = Vec::new();
        loop {
            let mut piece = Vec::new();
            let ended = result.write(&mut piece, enough);
            all.extend(piece);
            if ended {
                return String::from_utf8(all).unwrap();
            }
        }
    }

    fn check(value: Value, want: Expect) {
        // However small the pieces are, the text is the same.
        let texts =
            [1, 7, 60, 1 << 16].map(|enough| whole(QueryResult::new(outcome(value.clone()), None, None).0, enough));
        assert!(texts.iter().all(|text| *text == texts[0]));
        serde_json::from_str::<serde_json::Value>(&texts[0]).unwrap();
        want.assert_eq(&texts[0]);
    }

    #[test]
    fn a_vector_has_one_value_each() {
        let sample = |name: &str, value| VectorSample {
            labels: Labels::of(&[("__name__", name), ("job", "a\"b")]),
            point: point(1_500, value),
            histogram: None,
        };
        check(
            Value::Vector(vec![sample("a", 1.0), sample("b", f64::NAN)]),
            expect![[
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"a","job":"a\"b"},"value":[1.500,"1"]},{"metric":{"__name__":"b","job":"a\"b"},"value":[1.500,"NaN"]}]}"#
            ]],
        );
        check(Value::Vector(vec![]), expect![[r#"{"resultType":"vector","result":[]}"#]]);
    }

    #[test]
    fn a_matrix_has_many_values_each() {
        let series = |name: &str, points: &[Point]| MatrixSeries {
            labels: Labels::of(&[("n", name)]),
            points: points.to_vec(),
            histograms: Vec::new(),
        };
        check(
            Value::Matrix(vec![
                series("a", &[point(1_000, 1.0), point(2_000, f64::INFINITY), point(3_001, -0.5)]),
                series("b", &[point(1_000, 1e-7)]),
            ]),
            expect![[
                r#"{"resultType":"matrix","result":[{"metric":{"n":"a"},"values":[[1,"1"],[2,"+Inf"],[3.001,"-0.5"]]},{"metric":{"n":"b"},"values":[[1,"1e-07"]]}]}"#
            ]],
        );
        check(Value::Matrix(vec![]), expect![[r#"{"resultType":"matrix","result":[]}"#]]);
    }

    #[test]
    fn a_series_may_have_times_of_its_own() {
        let series = |name: &str, times: &[Timestamp]| MatrixSeries {
            labels: Labels::of(&[("n", name)]),
            points: times.iter().map(|time| point(*time, 0.0)).collect(),
            histograms: Vec::new(),
        };
        check(
            Value::Matrix(vec![series("a", &[0, 1]), series("b", &[1]), series("c", &[0, i64::MIN, i64::MAX])]),
            expect![[
                r#"{"resultType":"matrix","result":[{"metric":{"n":"a"},"values":[[0,"0"],[0.001,"0"]]},{"metric":{"n":"b"},"values":[[0.001,"0"]]},{"metric":{"n":"c"},"values":[[0,"0"],[-9223372036854775.808,"0"],[9223372036854775.807,"0"]]}]}"#
            ]],
        );
        let long = Value::Matrix(vec![MatrixSeries {
            labels: Labels::empty(),
            points: (0..2 * TIMES_MAX as i64).map(|at| point(at * 1000, at as f64)).collect(),
            histograms: Vec::new(),
        }]);
        let text = whole(QueryResult::new(outcome(long), None, None).0, 1 << 16);
        let data: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(data["result"][0]["values"][5000].to_string(), "[5000,\"5000\"]");
    }

    #[test]
    fn histograms_stand_behind_the_values() {
        let one = Arc::new(noted("{{count:1 sum:2 buckets:[1]}}"));
        let of = |timestamp| HistogramPoint { timestamp, histogram: one.clone() };
        let series = |name: &str, points: &[Point], histograms: &[HistogramPoint]| MatrixSeries {
            labels: Labels::of(&[("n", name)]),
            points: points.to_vec(),
            histograms: histograms.to_vec(),
        };
        check(
            Value::Matrix(vec![
                series("a", &[point(1_000, 1.0)], &[of(2_000), of(3_000)]),
                series("b", &[], &[of(1_000)]),
                series("c", &[point(1_000, 1.0)], &[]),
            ]),
            expect![[
                r#"{"resultType":"matrix","result":[{"metric":{"n":"a"},"values":[[1,"1"]],"histograms":[[2,{"count":"1","sum":"2","buckets":[[0,"0.5","1","1"]]}],[3,{"count":"1","sum":"2","buckets":[[0,"0.5","1","1"]]}]]},{"metric":{"n":"b"},"histograms":[[1,{"count":"1","sum":"2","buckets":[[0,"0.5","1","1"]]}]]},{"metric":{"n":"c"},"values":[[1,"1"]]}]}"#
            ]],
        );
        let (labels, point, histogram) = (Labels::empty(), point(1_000, f64::NAN), Some(one.clone()));
        check(
            Value::Vector(vec![VectorSample { labels, point, histogram }]),
            expect![[
                r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"2","buckets":[[0,"0.5","1","1"]]}]}]}"#
            ]],
        );
    }

    #[test]
    fn scalars_and_strings_have_no_labels() {
        check(Value::Scalar(point(1_000, 2.5)), expect![[r#"{"resultType":"scalar","result":[1,"2.5"]}"#]]);
        check(
            Value::String { timestamp: -1, value: "te\nxt".to_owned() },
            expect![[r#"{"resultType":"string","result":[-0.001,"te\nxt"]}"#]],
        );
    }

    #[test]
    fn a_limit_cuts_and_says_so() {
        let series: Vec<MatrixSeries> = ["a", "b", "c"]
            .map(|name| MatrixSeries {
                labels: Labels::of(&[("n", name)]),
                points: vec![point(0, 0.0)],
                histograms: Vec::new(),
            })
            .into();
        let (result, notes) = QueryResult::new(outcome(Value::Matrix(series.clone())), Some(2), None);
        assert_eq!(notes.warnings, [TRUNCATED]);
        assert!(!whole(result, 100).contains("\"c\""));
        let (_, notes) = QueryResult::new(outcome(Value::Matrix(series)), Some(3), None);
        assert!(notes.warnings.is_empty());
    }

    #[test]
    fn stats_stand_beside_the_result() {
        let cost = QueryCost {
            cached_steps: 0,
            series: 1,
            samples: 7,
            peak_bytes: 5 * SAMPLE_BYTES + 1,
            queue: Duration::from_millis(1),
            fetch: Duration::from_millis(2),
            evaluate: Duration::from_millis(3),
        };
        let stats = |steps| Some(Statistics { cost, steps });
        let (result, _) = QueryResult::new(outcome(Value::Scalar(point(0, 1.0))), None, stats(None));
        expect![[r#"{"resultType":"scalar","result":[0,"1"],"stats":{"timings":{"evalTotalTime":0.005000,"resultSortTime":0,"queryPreparationTime":0.002000,"innerEvalTime":0.003000,"execQueueTime":0.001000,"execTotalTime":0.006000},"samples":{"totalQueryableSamples":7,"peakSamples":5}}}"#]]
            .assert_eq(&whole(result, 100));
        let times = EvalTimes::range(1000, 2500, 1500).unwrap();
        let (result, _) = QueryResult::new(outcome(Value::Matrix(Vec::new())), None, stats(Some(times)));
        let text = whole(result, 100);
        let samples = r#""samples":{"totalQueryableSamplesPerStep":[[1,3],[2.500,4]],"totalQueryableSamples":7,"peakSamples":5}}}"#;
        assert!(text.ends_with(samples), "{text}");
    }
}
