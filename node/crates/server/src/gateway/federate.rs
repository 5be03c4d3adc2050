//! `/federate`: the newest samples of chosen series in the formats that Prometheus scrapes: text, or messages (`federate/protobuf.rs`),
//! which alone have native histograms.
//!
//! As in Prometheus the text format is version 0.0.4 with timestamps, all metrics are untyped, ended series are left out, and a series
//! without the label `instance` gets an empty one, so that who scrapes it does not put its own there.

mod protobuf;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bellwether_model::{METRIC_NAME, TimeRange};
use bellwether_promql::FetchedSeries;

use super::answer::Pieces;
use super::error::TextError;
use super::name_escaping::{NameEscaping, is_plain};
use super::number::push_exposition_float;
use super::params::Params;
use super::{ApiError, Gateway, answer, series};
use crate::query::LabelsQuery;

/// What Prometheus labels a scraped series with, unless it has that label.
const INSTANCE: &str = "instance";

/// `/federate`
pub(super) async fn federate(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, TextError> {
    let now = gateway.state.clock.now_ms();
    let lookback_ms = i64::try_from(gateway.state.config.query.lookback_delta.as_millis()).unwrap_or(i64::MAX);
    let query = LabelsQuery {
        tenant: gateway.tenant(&headers)?,
        selectors: series::selectors(&params),
        selective: false,
        range: TimeRange::new(now.saturating_sub(lookback_ms), now),
        limit: usize::MAX,
        timeout: params.timeout()?,
        partial: params.flag("partial_response")?,
    };
    let found = gateway.state.queries.newest(&query).await.map_err(ApiError::from)?;
    for warning in &found.warnings {
        tracing::warn!(warning, "/federate answered without some of the data");
    }
    let escaping = NameEscaping::accepted(&headers);
    let (body, kind) = if protobuf::is_wanted(&headers) {
        let families = protobuf::Families::new(found.items, escaping);
        (answer::body(families, Some(found.place)), protobuf::content_type(escaping))
    } else {
        let lines = Lines { series: found.items, written: 0, metric: None, escaping };
        let kind = format!("text/plain; version=0.0.4; charset=utf-8; escaping={}", escaping.as_str());
        (answer::body(lines, Some(found.place)), kind)
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::try_from(kind).expect("names of escapings are ASCII");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Lines on their way out.
struct Lines {
    /// Sorted by metric.
    series: Vec<FetchedSeries>,
    written: usize,
    /// The metric that the last line is of.
    metric: Option<String>,
    escaping: NameEscaping,
}

impl Pieces for Lines {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while out.len() < enough {
            let Some(series) = self.series.get(self.written) else { return true };
            self.written += 1;
            let Some(metric) = series.labels.metric_name() else { continue };
            let (Some(timestamp), Some(value)) = (series.timestamps.last(), series.values.last()) else { continue };
            if self.metric.as_deref() != Some(metric) {
                self.metric = Some(metric.to_owned());
                out.extend_from_slice(b"# TYPE ");
                push_name(out, &self.escaping.escape(metric));
                out.extend_from_slice(b" untyped\n");
            }
            push_series(out, series, metric, self.escaping);
            out.push(b' ');
            push_exposition_float(out, *value);
            out.extend_from_slice(format!(" {timestamp}\n").as_bytes());
        }
        false
    }
}

/// `name{label="value",..}`, or `{"any name",label="value",..}`.
fn push_series(out: &mut Vec<u8>, series: &FetchedSeries, metric: &str, escaping: NameEscaping) {
    let metric = escaping.escape(metric);
    let mut separator = b'{';
    if !is_plain(&metric) {
        out.push(separator);
        separator = b',';
    }
    push_name(out, &metric);
    let labels = series.labels.iter().filter(|label| label.name != METRIC_NAME);
    let labels = labels.map(|label| (label.name, label.value));
    let instance = series.labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
    for (name, value) in labels.chain(instance) {
        out.push(separator);
        separator = b',';
        push_name(out, &escaping.escape(name));
        out.push(b'=');
        push_quoted(out, value);
    }
    // There is always the label `instance`.
    out.push(b'}');
}

/// A name as it stands, or in quotes where that would not be read as one.
fn push_name(out: &mut Vec<u8>, name: &str) {
    if is_plain(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_quoted(out, name);
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use bellwether_model::Labels;
    use expect_test::{Expect, expect};

    use super::*;

    fn series(labels: &[(&str, &str)], timestamp: i64, value: f64) -> FetchedSeries {
        FetchedSeries {
            labels: Labels::of(labels),
            timestamps: [timestamp].into(),
            values: vec![value],
            histograms: None,
        }
    }

    fn check(series: &[FetchedSeries], escaping: NameEscaping, want: Expect) {
        let text = |enough: usize| {
            let mut lines = Lines { series: series.to_vec(), written: 0, metric: None, escaping };
            let mut out = Vec::new();
            loop {
                let mut piece = Vec::new();
                let ended = lines.write(&mut piece, enough);
                out.extend(piece);
                if ended {
                    return String::from_utf8(out).unwrap();
                }
            }
        };
        assert_eq!(text(1), text(1 << 20));
        want.assert_eq(&text(1));
    }

    #[test]
    fn a_metric_is_announced_once_and_lacks_no_instance() {
        let all = [
            series(&[("__name__", "a"), ("instance", "x"), ("job", "j")], 1, 1e6),
            series(&[("__name__", "a"), ("job", "back\\slash \"quoted\"\nnext")], -2, f64::NAN),
            series(&[("__name__", "b")], 1_795_161_600_000, 0.5),
            series(&[("nameless", "yes")], 1, 1.0),
        ];
        check(
            &all,
            NameEscaping::Underscores,
            expect![[r#"
                # TYPE a untyped
                a{instance="x",job="j"} 1e+06 1
                a{job="back\\slash \"quoted\"\nnext",instance=""} NaN -2
                # TYPE b untyped
                b{instance=""} 0.5 1795161600000
            "#]],
        );
        check(&[], NameEscaping::Underscores, expect![[""]]);
    }

    #[test]
    fn names_that_are_not_plain_are_escaped_or_quoted_as_the_client_likes() {
        let odd = [series(&[("__name__", "ключ.a"), ("service.name", "v")], 1, 1.0)];
        check(
            &odd,
            NameEscaping::AllowUtf8,
            expect![[r#"
                # TYPE "ключ.a" untyped
                {"ключ.a","service.name"="v",instance=""} 1 1
            "#]],
        );
        check(
            &odd,
            NameEscaping::Underscores,
            expect![[r#"
                # TYPE _____a untyped
                _____a{service_name="v",instance=""} 1 1
            "#]],
        );
    }
}
