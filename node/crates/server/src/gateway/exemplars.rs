//! `/api/v1/query_exemplars`: the exemplars of the series that an expression selects.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bellwether_model::{Matcher, TimeRange};
use bellwether_promql::Expr;

use super::answer::Notes;
use super::json::{push_array, push_labels};
use super::params::Params;
use super::series::List;
use super::{ApiError, Gateway, answer, push_float, push_seconds, query};
use crate::query::{LabelsQuery, TIME_MAX, TIME_MIN};
use crate::shards::SeriesExemplars;

/// `/api/v1/query_exemplars`
pub(super) async fn exemplars(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let range = TimeRange::new(params.time_or("start", TIME_MIN)?, params.time_or("end", TIME_MAX)?);
    if range.last < range.first {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let selectors = |expr: &Expr| -> Vec<Arc<[Matcher]>> {
        expr.selectors().into_iter().map(|selector| selector.matchers.as_slice().into()).collect()
    };
    let parsed = query::parsed(&gateway, &params, selectors).await?;
    let selectors = parsed.map_err(|error| ApiError::bad_data(error.to_string()))?;
    if selectors.is_empty() {
        // As Prometheus answers an expression that selects nothing.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let asked = LabelsQuery {
        tenant,
        selectors: vec![params.get("query").unwrap_or_default().to_owned()],
        selective: false,
        range,
        limit: usize::MAX,
        timeout: params.timeout()?,
        partial: params.flag("partial_response")?,
    };
    let found = gateway.state.queries.exemplars(&asked, selectors.into()).await?;
    let notes = Notes { warnings: found.warnings, ..Notes::default() };
    Ok(answer::pieces(List::new(found.items, push_series), notes, Some(found.place)))
}

fn push_series(out: &mut Vec<u8>, series: &SeriesExemplars) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    push_labels(out, &series.labels);
    out.extend_from_slice(b",\"exemplars\":");
    push_array(out, &series.exemplars, |out, exemplar| {
        out.extend_from_slice(b"{\"labels\":");
        push_labels(out, &exemplar.labels);
        out.extend_from_slice(b",\"value\":\"");
        push_float(out, exemplar.value);
        out.extend_from_slice(b"\",\"timestamp\":");
        push_seconds(out, exemplar.timestamp);
        out.push(b'}');
    });
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use bellwether_model::{Exemplar, Labels};

    use super::*;

    #[test]
    fn series_are_written_as_prometheus_writes_them() {
        let exemplar = |value, timestamp| Exemplar { labels: Labels::of(&[("trace_id", "a\"7")]), value, timestamp };
        let exemplars = vec![exemplar(6.0, 1_600_096_945_479), exemplar(f64::INFINITY, -1)];
        let mut out = Vec::new();
        push_series(&mut out, &SeriesExemplars { labels: Labels::of(&[("__name__", "m")]), exemplars });
        expect_test::expect![[r#"{"seriesLabels":{"__name__":"m"},"exemplars":[{"labels":{"trace_id":"a\"7"},"value":"6","timestamp":1600096945.479},{"labels":{"trace_id":"a\"7"},"value":"+Inf","timestamp":-0.001}]}"#]].assert_eq(&String::from_utf8(out).unwrap());
    }
}
