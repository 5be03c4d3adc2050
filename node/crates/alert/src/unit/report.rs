//! What was expected and what there was, as promtool says it.

use bellwether_promql::duration_text;

use super::{AlertTest, ExpectedSample, ExprTest, FiringAlert, Options, UnitTest};
use crate::template::text::{exponent, quoted};

const INDENT: &str = "            ";
/// Lines of either side that a comparison line by line looks at.
const DIFF_LINES_MAX: usize = 2000;

pub(super) fn alerts(test: &UnitTest, alert: &AlertTest, got: &[FiringAlert], options: Options) -> String {
    let name = match test.name.as_str() {
        "" => String::new(),
        name => format!("    name: {name},\n"),
    };
    let (expected, got) = (alert_texts(&alert.expected), alert_texts(got));
    let time = duration_text(alert.eval_time_ms);
    let alertname = &alert.alertname;
    if options.diff {
        let diff = indented(&diff(&expected, &got));
        return format!("{name}    alertname: {alertname}, time: {time},\n        diff:\n{INDENT}{diff}");
    }
    let (expected, got) = (indented(&expected), indented(&got));
    format!("{name}    alertname: {alertname}, time: {time}, \n        exp:{expected}, \n        got:{got}")
}

pub(super) fn samples(test: &ExprTest, got: &[ExpectedSample], options: Options) -> String {
    let (expr, time) = (quoted(&test.expr), duration_text(test.eval_time_ms));
    if options.diff {
        let lines = |samples: &[ExpectedSample]| samples.iter().map(sample_text).collect::<Vec<_>>().join("\n");
        let diff = indented(&diff(&lines(&test.expected), &lines(got)));
        return format!("    expr: {expr}, time: {time},\n        diff:\n{INDENT}{diff}");
    }
    let texts = |samples: &[ExpectedSample]| match samples {
        [] => "nil".to_owned(),
        samples => samples.iter().map(sample_text).collect::<Vec<_>>().join(", "),
    };
    let (expected, got) = (texts(&test.expected), texts(got));
    format!("    expr: {expr}, time: {time},\n        exp: {expected}\n        got: {got}")
}

fn alert_texts(alerts: &[FiringAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let text = |(at, alert): (usize, &FiringAlert)| {
        let [labels, annotations] = [&alert.labels, &alert.annotations]
            .map(|pairs| labels_text(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
        format!("{at}:\n  Labels:{labels}\n  Annotations:{annotations}")
    };
    let texts: Vec<String> = alerts.iter().enumerate().map(text).collect();
    format!("[\n{}\n]", texts.join(",\n"))
}

fn sample_text(sample: &ExpectedSample) -> String {
    let value = match &sample.histogram {
        Some(histogram) => histogram.notation().unwrap_or_else(|| "a histogram too wide to be written".to_owned()),
        None => exponent(sample.value),
    };
    format!("{} {value}", labels_text(sample.labels.iter().map(|label| (label.name, label.value))))
}

/// `{__name__="up", job="a"}`
fn labels_text<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> String {
    let is_plain = |name: &str| {
        name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let text = |(name, value): (&str, &str)| {
        let name = if is_plain(name) { name.to_owned() } else { quoted(name) };
        format!("{name}={}", quoted(value))
    };
    format!("{{{}}}", labels.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

/// A time as Go prints a duration: `1h0m0s`.
pub(super) fn go_duration(ms: i64) -> String {
    let (hours, minutes, seconds, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes, seconds) {
        (0, 0, 0) if rest > 0 => format!("{rest}ms"),
        (0, 0, _) => format!("{seconds}{fraction}s"),
        (0, _, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', &format!("\n{INDENT}"))
}

/// Lines of both texts in order: `-` what was expected alone, `+` what there was alone.
fn diff(expected: &str, got: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) =
        (expected.lines().take(DIFF_LINES_MAX).collect(), got.lines().take(DIFF_LINES_MAX).collect());
    // The longest common part of what is left, from each pair of places on.
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", a[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", b[j]));
            j += 1;
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_line_by_line() {
        assert_eq!(diff("a\nb\nc", "a\nx\nc\nd"), "  a\n- b\n+ x\n  c\n+ d");
        assert_eq!(diff("", "a"), "+ a");
    }

    #[test]
    fn times_are_printed_as_go_does() {
        assert_eq!([0, 500, 1500, 60_000, 3_600_000].map(go_duration), ["0s", "500ms", "1.5s", "1m0s", "1h0m0s"]);
    }
}
