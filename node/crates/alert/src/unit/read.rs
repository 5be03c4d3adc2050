//! From a file's text to tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{Labels, LabelsBuilder};
use bellwether_promql::series_notation::{NotedSeries, NotedValue, parse_labels, parse_values};
use bellwether_promql::{FloatHistogram, parse};

use super::{AlertTest, ExpectedSample, ExprTest, FiringAlert, UnitTest, UnitTestFile};
use crate::limits::UNIT_TEST_SAMPLES_MAX;
use crate::state::alerting::ALERT_NAME;
use crate::template::text::parse_rfc3339_ms;
use crate::yaml::fields::Fields;
use crate::yaml::problems::{Problem, Problems};
use crate::yaml::{self, Node};

const FILE_FIELDS: &[&str] = &["rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare"];
const TEST_FIELDS: &[&str] = &[
    "interval",
    "input_series",
    "alert_rule_test",
    "promql_expr_test",
    "external_labels",
    "external_url",
    "name",
    "start_timestamp",
];
const EVALUATION_INTERVAL_MS_DEFAULT: i64 = 60_000;
/// A test does not begin later than in the year 9999.
const START_SECONDS_MAX: f64 = 253_402_300_800.0;

/// Reads a file of unit tests.
pub fn read(file: &str) -> Result<UnitTestFile, Vec<Problem>> {
    let root = match yaml::read(file) {
        Ok(Some(root)) => root,
        Ok(None) => return Ok(UnitTestFile::default()),
        Err(problem) => return Err(vec![problem]),
    };
    let mut reader = Reader { file, problems: Problems::default(), of_test: Problems::default() };
    let read = reader.file(&root).unwrap_or_default();
    let Err(mut problems) = reader.problems.into_result(()) else { return Ok(read) };
    problems.extend(read.tests.into_iter().flat_map(|test| test.problems));
    problems.sort_by_key(|problem| problem.place);
    Err(problems)
}

struct Reader<'f> {
    file: &'f str,
    /// What makes the file none of unit tests.
    problems: Problems,
    /// What makes one test fail, and no other: its series, labels and queries.
    of_test: Problems,
}

impl Reader<'_> {
    fn file(&mut self, root: &Node) -> Option<UnitTestFile> {
        let fields = Fields::of(root, "a file of unit tests", FILE_FIELDS, &mut self.problems)?;
        let rule_files = fields.texts("rule_files", &mut self.problems);
        let interval = fields.duration_ms("evaluation_interval", &mut self.problems).map(|interval| interval.value);
        let evaluation_interval_ms = interval.filter(|ms| *ms > 0).unwrap_or(EVALUATION_INTERVAL_MS_DEFAULT);
        let mut group_eval_order: Vec<String> = Vec::new();
        for name in fields.texts("group_eval_order", &mut self.problems) {
            if group_eval_order.contains(&name.value) {
                self.problems.add(name.place, format!("group name repeated in evaluation order: {}", name.value));
            }
            group_eval_order.push(name.value);
        }
        let fuzzy_compare = fields.truth("fuzzy_compare", &mut self.problems).unwrap_or(false);
        let mut tests = Vec::new();
        for (at, node) in fields.list("tests", &mut self.problems).iter().enumerate() {
            self.set_context(format!("test {}: ", at + 1));
            tests.extend(self.test(node, at + 1, evaluation_interval_ms));
        }
        Some(UnitTestFile { rule_files, evaluation_interval_ms, group_eval_order, fuzzy_compare, tests })
    }

    fn set_context(&mut self, context: String) {
        self.problems.set_context(context.clone());
        self.of_test.set_context(context);
    }

    fn test(&mut self, node: &Node, number: usize, default_interval_ms: i64) -> Option<UnitTest> {
        let fields = Fields::of(node, "a test", TEST_FIELDS, &mut self.problems)?;
        let text = |name: &str, problems: &mut Problems| {
            fields.text(name, problems).map(|text| text.value).unwrap_or_default()
        };
        let name = text("name", &mut self.problems);
        if !name.is_empty() {
            self.set_context(format!("test {number}, {name:?}: "));
        }
        let interval = fields.duration_ms("interval", &mut self.problems).map(|interval| interval.value);
        let interval_ms = interval.filter(|ms| *ms > 0).unwrap_or(default_interval_ms);
        let external_url = text("external_url", &mut self.problems);
        let external_labels = self.external_labels(&fields);
        let start_ms = self.start_ms(&fields);
        let input_series = self.input_series(&fields);
        let list = fields.list("alert_rule_test", &mut self.problems);
        let alerts = list.iter().filter_map(|node| self.alert_test(node)).collect();
        let list = fields.list("promql_expr_test", &mut self.problems);
        let exprs = list.iter().filter_map(|node| self.expr_test(node)).collect();
        let problems = std::mem::take(&mut self.of_test).into_result(()).err().unwrap_or_default();
        Some(UnitTest {
            name,
            start_ms,
            interval_ms,
            input_series,
            external_labels,
            external_url,
            alerts,
            exprs,
            problems,
        })
    }

    /// When a test begins: seconds since 1970, or a time as in RFC 3339.
    fn start_ms(&mut self, fields: &Fields<'_>) -> i64 {
        let Some(text) = fields.text("start_timestamp", &mut self.problems) else { return 0 };
        let seconds = || text.value.parse::<f64>().ok().filter(|seconds| (0.0..START_SECONDS_MAX).contains(seconds));
        match parse_rfc3339_ms(&text.value).or_else(|| Some((seconds()? * 1000.0) as i64)) {
            Some(ms) => ms,
            None => {
                let message = "start_timestamp must be seconds since 1970, or a time such as 2021-01-01T00:00:00Z";
                self.of_test.add(text.place, message);
                0
            }
        }
    }

    fn labels(&mut self, fields: &Fields<'_>, name: &str) -> BTreeMap<String, String> {
        let pairs = fields.pairs(name, &mut self.problems);
        pairs.iter().map(|pair| (pair.name.to_owned(), pair.value.to_owned())).collect()
    }

    fn external_labels(&mut self, fields: &Fields<'_>) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in self.labels(fields, "external_labels") {
            builder.set(&name, &value);
        }
        builder.build().unwrap_or_else(|error| {
            self.of_test.add(fields.key_place("external_labels"), format!("external_labels: {error}"));
            Labels::empty()
        })
    }

    fn input_series(&mut self, fields: &Fields<'_>) -> Vec<NotedSeries> {
        let mut all: Vec<NotedSeries> = Vec::new();
        let mut samples = 0;
        for node in fields.list("input_series", &mut self.problems) {
            let Some(fields) = Fields::of(node, "a series", &["series", "values"], &mut self.problems) else {
                continue;
            };
            let series = fields.text("series", &mut self.problems);
            let values = fields.text("values", &mut self.problems);
            let Some(series) = series else {
                self.of_test.add(fields.place, "a series needs the field 'series'");
                continue;
            };
            let labels = parse_labels(series.value.trim());
            let labels = labels.map_err(|error| self.of_test.add(series.place, format!("series: {error}"))).ok();
            let place = values.as_ref().map_or(fields.place, |values| values.place);
            let values = parse_values(values.as_ref().map_or("", |values| values.value.trim()));
            let values = values.map_err(|error| self.of_test.add(place, format!("values: {error}"))).ok();
            let (Some(labels), Some(values)) = (labels, values) else { continue };
            samples += values.len();
            if samples > UNIT_TEST_SAMPLES_MAX {
                self.of_test
                    .add(place, format!("the series of a test have at most {UNIT_TEST_SAMPLES_MAX} values together"));
                break;
            }
            // As in Prometheus, the last series of its labels counts.
            all.retain(|known| known.labels != labels);
            all.push(NotedSeries { labels, values });
        }
        all
    }

    /// When a test looks; the beginning if it does not say.
    fn eval_time_ms(&mut self, fields: &Fields<'_>) -> i64 {
        fields.duration_ms("eval_time", &mut self.problems).map_or(0, |time| time.value)
    }

    fn alert_test(&mut self, node: &Node) -> Option<AlertTest> {
        let known = &["eval_time", "alertname", "exp_alerts"];
        let fields = Fields::of(node, "an alert test", known, &mut self.problems)?;
        let eval_time_ms = self.eval_time_ms(&fields);
        let alertname = fields.text("alertname", &mut self.problems).map(|name| name.value).unwrap_or_default();
        if alertname.is_empty() {
            self.of_test.add(fields.place, "an item under alert_rule_test misses required attribute alertname");
        }
        let mut expected = Vec::new();
        for node in fields.list("exp_alerts", &mut self.problems) {
            let known = &["exp_labels", "exp_annotations"];
            let Some(fields) = Fields::of(node, "an expected alert", known, &mut self.problems) else { continue };
            let mut labels = self.labels(&fields, "exp_labels");
            labels.insert(ALERT_NAME.to_owned(), alertname.clone());
            let annotations = self.labels(&fields, "exp_annotations");
            expected.push(FiringAlert { labels, annotations });
        }
        expected.sort();
        Some(AlertTest { eval_time_ms, alertname, expected })
    }

    fn expr_test(&mut self, node: &Node) -> Option<ExprTest> {
        let known = &["expr", "eval_time", "exp_samples"];
        let fields = Fields::of(node, "an expression test", known, &mut self.problems)?;
        let eval_time_ms = self.eval_time_ms(&fields);
        let mut expected = Vec::new();
        for node in fields.list("exp_samples", &mut self.problems) {
            expected.extend(self.expected_sample(node));
        }
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let Some(expr) = fields.text("expr", &mut self.problems) else {
            self.of_test.add(fields.place, "an expression test needs the field 'expr'");
            return None;
        };
        if let Err(error) = parse(&expr.value)
            && let Some(node) = fields.get("expr")
        {
            self.of_test.add_within(self.file, node, error.span.start as usize, format!("expr: {error}"));
        }
        Some(ExprTest { expr: expr.value, eval_time_ms, expected })
    }

    fn expected_sample(&mut self, node: &Node) -> Option<ExpectedSample> {
        let fields = Fields::of(node, "an expected sample", &["labels", "value", "histogram"], &mut self.problems)?;
        let text = fields.text("labels", &mut self.problems);
        let value = fields.number("value", &mut self.problems).map_or(0.0, |value| value.value);
        let labels = match &text {
            None => Labels::empty(),
            Some(text) if text.value.trim().is_empty() => Labels::empty(),
            Some(text) => match parse_labels(text.value.trim()) {
                Ok(labels) => labels,
                Err(error) => {
                    self.of_test.add(text.place, format!("labels: {error}"));
                    return None;
                }
            },
        };
        let histogram = self.histogram(&fields);
        Some(ExpectedSample { labels, value, histogram })
    }

    /// The histogram of an expected sample, in the notation of series.
    fn histogram(&mut self, fields: &Fields<'_>) -> Option<Arc<FloatHistogram>> {
        let text = fields.text("histogram", &mut self.problems)?;
        let message = match parse_values(text.value.trim()).as_deref() {
            Ok([Some(NotedValue::Histogram(histogram))]) => return Some(Arc::new(FloatHistogram::from(&**histogram))),
            Ok([]) => return None,
            Ok(_) => "histogram: one histogram is expected".to_owned(),
            Err(error) => format!("histogram: {error}"),
        };
        self.of_test.add(text.place, message);
        None
    }
}
