//! Any query over any small data: a range query says at each step what an instant query says at that time. And whatever
//! is asked, there is an answer or an error, never a panic.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bellwether_model::{CounterResetHint, Counts, Histogram, Labels, Span, stale_marker};
use bellwether_promql::{
    EvalTimes, FetchedHistograms, FetchedSeries, FloatHistogram, Limits, Outcome, Plan, QueryAccount, Value, evaluate,
    parse,
};

const LOOKBACK_MS: i64 = 5_000;
const STEP_MS: i64 = 1_500;
const STEPS: i64 = 8;
/// Nodes of a query below its first.
const DEPTH: usize = 3;

/// Bytes that decide what comes next; once they are used up, the simplest does.
struct Choices<'b>(std::slice::Iter<'b, u8>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |byte| *byte as usize % count)
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

fn selector(choices: &mut Choices<'_>) -> String {
    choices.one_of(&["m", "n", "m{a=\"0\"}", "n{b!=\"1\"}", "{a=~\"0|1\",__name__=\"m\"}"]).to_owned()
}

fn shift(choices: &mut Choices<'_>) -> &'static str {
    choices.one_of(&["", " offset 1s", " offset -700ms", " @ 3", " @ 4 offset 2s", " offset (2s - 500ms)"])
}

fn range(choices: &mut Choices<'_>, depth: usize) -> String {
    let length = choices.one_of(&["3s", "1s", "700ms", "2s * 2"]);
    if depth > 0 && choices.below(3) == 2 {
        let step = choices.one_of(&["1s", "300ms", "2s"]);
        return format!("({})[{length}:{step}]{}", vector(choices, depth - 1), shift(choices));
    }
    format!("{}[{length}]{}", selector(choices), shift(choices))
}

fn scalar(choices: &mut Choices<'_>, depth: usize) -> String {
    match choices.below(6) {
        4 => "time()".to_owned(),
        5 if depth > 0 => format!("scalar({})", vector(choices, depth - 1)),
        at => ["2", "0.5", "-1", "NaN"][at % 4].to_owned(),
    }
}

const OVER_TIME: [&str; 16] = [
    "sum_over_time",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "max_over_time",
    "last_over_time",
    "stddev_over_time",
    "mad_over_time",
    "ts_of_min_over_time",
    "absent_over_time",
];
const OF_VALUES: [&str; 10] =
    ["abs", "sgn", "exp", "sin", "day_of_year", "timestamp", "absent", "-", "+", "histogram_quantile(0.5, "];
const AGGREGATIONS: [&str; 9] =
    ["sum", "avg", "min", "max", "count", "group", "stdvar", "quantile(0.7, ", "count_values(\"v\", "];

fn vector(choices: &mut Choices<'_>, depth: usize) -> String {
    if depth == 0 {
        let smoothed = choices.one_of(&["", "", " smoothed"]);
        return format!("{}{smoothed}{}", selector(choices), shift(choices));
    }
    match choices.below(12) {
        0 => vector(choices, 0),
        1 => format!("{}({})", choices.one_of(&OVER_TIME), range(choices, depth)),
        2 => {
            let (function, extension) = [
                ("increase", " anchored"),
                ("rate", " smoothed"),
                ("delta", " smoothed"),
                ("changes", " anchored"),
                ("resets", " anchored"),
            ][choices.below(5)];
            let length = choices.one_of(&["3s", "1s", "700ms"]);
            format!("{function}({}[{length}]{extension}{})", selector(choices), shift(choices))
        }
        3 => {
            let function = choices.one_of(&OF_VALUES);
            let close = if function.contains('(') { ")" } else { "" };
            format!("{function}({}){close}", vector(choices, depth - 1))
        }
        4 => {
            let function = choices.one_of(&AGGREGATIONS);
            let (open, by) =
                (if function.contains('(') { "" } else { "(" }, choices.one_of(&["", "by (a)", "without (b)"]));
            format!("{function}{open}{}) {by}", vector(choices, depth - 1))
        }
        5 | 6 => {
            let op = choices.one_of(&["+", "/", "%", "^", "atan2", ">", "!=", "<= bool"]);
            let matching =
                choices.one_of(&["", "on (a, b)", "on (a) group_left (le)", "ignoring (b, le) group_right ()"]);
            let fill = choices.one_of(&["", "", "fill (1)", "fill_left (NaN)", "fill_right (0) fill_left (2)"]);
            format!("({}) {op} {matching} {fill} ({})", vector(choices, depth - 1), vector(choices, depth - 1))
        }
        7 => {
            let op = choices.one_of(&["and", "or", "unless"]);
            let matching = choices.one_of(&["", "on (a)", "ignoring (le)"]);
            format!("({}) {op} {matching} ({})", vector(choices, depth - 1), vector(choices, depth - 1))
        }
        8 => {
            let op = choices.one_of(&["*", "-", "<", "== bool"]);
            format!("({}) {op} {}", vector(choices, depth - 1), scalar(choices, depth - 1))
        }
        9 => {
            // Which of several equal series is picked is settled by their order, which only selectors keep from step to
            // step; and an instant query has the extremes in the order of their values, which sums above them would tell.
            let picks = ["limitk", "limit_ratio", "topk", "bottomk"];
            let pick = choices.one_of(if depth == DEPTH { &picks } else { &picks[..2] });
            format!("{pick}({}, {})", scalar(choices, 0), vector(choices, 0))
        }
        10 => {
            let labels = choices.one_of(&["", ", {__name__=\"n\"}", ", {__name__=~\".+\",b=~\".*\"}"]);
            let id = format!("label_replace({}, \"job\", \"$1\", \"a\", \"(.*)\")", vector(choices, depth - 1));
            format!("info({id}{labels})")
        }
        _ => format!("clamp({}, {}, 5)", vector(choices, depth - 1), scalar(choices, depth - 1)),
    }
}

/// A histogram that the number chooses: of one of two layouts, with counts that rise and fall.
fn histogram(number: u8) -> Histogram {
    let n = u64::from(number / 16);
    let is_custom = number.is_multiple_of(3);
    let hints = [CounterResetHint::Unknown, CounterResetHint::Gauge, CounterResetHint::CounterReset];
    Histogram {
        counter_reset_hint: hints[usize::from(number % 7) % 3],
        schema: if is_custom { -53 } else { i32::from(number % 2) },
        zero_threshold: 0.0,
        sum: f64::from(number) - 40.0,
        counts: Counts::Integer { count: 2 * n + 3, zero_count: 0, positive: vec![n, n + 3], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        custom_values: if is_custom { vec![f64::from(number % 2) + 1.0] } else { vec![] },
    }
}

/// One sample: distance from the last one in tenths of a second, and what it is.
type Sample = (u8, u8);

fn series(input: &[Vec<Sample>]) -> Vec<FetchedSeries> {
    let one = |(number, samples): (usize, &Vec<Sample>)| {
        let mut time = -2_000;
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        let (mut times, mut histograms) = (Vec::new(), Vec::new());
        for (gap, value) in samples.iter().take(32) {
            time += i64::from(*gap % 32) * 100 + 100;
            if matches!(value % 16, 4..=7) {
                times.push(time);
                histograms.push(histogram(*value));
                continue;
            }
            timestamps.push(time);
            values.push(match value % 16 {
                0 => stale_marker(),
                1 => f64::NAN,
                2 => f64::INFINITY,
                3 => -0.0,
                _ => f64::from(*value) - 40.0,
            });
        }
        let name = if number % 3 == 0 { "n" } else { "m" };
        let (a, b) = ((number / 2).to_string(), (number % 2).to_string());
        let le = ["1", "2", "+Inf"][number % 3];
        let labels = Labels::of(&[("__name__", name), ("a", &a), ("b", &b), ("job", &b), ("le", le)]);
        let own = FetchedHistograms { timestamps: Arc::from(times), histograms };
        let histograms = (!own.histograms.is_empty()).then(|| Box::new(own));
        FetchedSeries { labels, timestamps: Arc::from(timestamps), values, histograms }
    };
    input.iter().take(6).enumerate().map(one).collect()
}

fn run(text: &str, times: EvalTimes, data: &[FetchedSeries]) -> Result<Outcome, String> {
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let plan = Plan::new(&expr, times, LOOKBACK_MS).map_err(|error| error.to_string())?;
    let matching = |selection: &bellwether_promql::Selection| -> Vec<FetchedSeries> {
        let matches = |series: &&FetchedSeries| {
            let passes = |m: &bellwether_model::Matcher| m.matches(series.labels.get(m.name()).unwrap_or_default());
            selection.matchers.iter().all(passes)
        };
        data.iter().filter(matches).cloned().collect()
    };
    let fetched: Vec<Vec<FetchedSeries>> = plan.selections().iter().map(matching).collect();
    let account = QueryAccount::new(Limits { samples: 1_000_000, memory_bytes: 64 << 20, ..Limits::default() });
    fetched.iter().try_for_each(|series| account.hold(series)).unwrap();
    evaluate(&plan, fetched, &account, &AtomicBool::new(false)).map_err(|error| error.to_string())
}

/// What each series is at a time, to the bit; all that is not a number is one.
fn at(value: &Value, time: i64) -> BTreeMap<Labels, String> {
    // Texts of floats name their bits, but for those of NaN.
    let number = |value: f64| format!("{value:?}");
    let distribution = |histogram: &FloatHistogram| format!("{histogram:?}");
    match value {
        Value::Vector(samples) => samples
            .iter()
            .map(|s| (s.labels.clone(), s.histogram.as_deref().map_or_else(|| number(s.point.value), distribution)))
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .filter_map(|series| {
                let point = series.points.iter().find(|point| point.timestamp == time);
                let histogram = series.histograms.iter().find(|point| point.timestamp == time);
                let found = point.map(|point| number(point.value));
                let found = found.or_else(|| histogram.map(|point| distribution(&point.histogram)))?;
                Some((series.labels.clone(), found))
            })
            .collect(),
        other => panic!("{other:?} is no vector"),
    }
}

#[test]
fn a_range_query_is_an_instant_query_at_each_step() {
    bolero::check!().with_type::<(Vec<u8>, Vec<Vec<Sample>>)>().for_each(|(bytes, input)| {
        let text = vector(&mut Choices(bytes.iter()), DEPTH);
        let data = series(input);
        let end = STEP_MS * (STEPS - 1);
        // The other way round there may be more to say: twins that never meet at one step are an error of a range query.
        let Ok(whole) = run(&text, EvalTimes::range(0, end, STEP_MS).unwrap(), &data) else { return };
        for time in (0..STEPS).map(|step| step * STEP_MS) {
            let instant = run(&text, EvalTimes::instant(time), &data);
            let instant = instant.unwrap_or_else(|error| panic!("{text} at {time}: {error}"));
            assert_eq!(at(&whole.value, time), at(&instant.value, time), "{text} at {time}");
        }
    });
}
