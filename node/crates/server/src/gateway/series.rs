//! Series, label names, label values and metadata.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bellwether_model::{MetricMetadata, TimeRange};

use super::answer::{Notes, Pieces};
use super::params::Params;
use super::{ApiError, ErrorKind, Gateway, answer, json};
use crate::query::{LabelsQuery, Listed, TIME_MAX, TIME_MIN};

/// Names or values that one answer lists when the client sets no limit; more are cut off with a warning.
const NAMES_MAX: usize = 1_000_000;
/// What Prometheus says when it cut an answer.
const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/series`
pub(super) async fn series(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let asked = params.limit()?;
    let max = usize::try_from(gateway.state.config.query.max_series).unwrap_or(usize::MAX);
    let limit = asked.unwrap_or(max).min(max);
    let query = LabelsQuery { selective: true, ..labels_query(&gateway, &headers, &params, limit)? };
    let mut found = gateway.state.queries.series(&query).await?;
    if found.items.len() > max && limit == max {
        let message = format!("the selection touches more than {max} series (query.max_series)");
        return Err(ApiError::new(ErrorKind::Execution, message));
    }
    let notes = truncate(&mut found, limit);
    Ok(answer::pieces(List::new(found.items, json::push_labels), notes, Some(found.place)))
}

/// `/api/v1/labels`
pub(super) async fn label_names(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?.unwrap_or(NAMES_MAX).min(NAMES_MAX);
    let query = labels_query(&gateway, &headers, &params, limit)?;
    Ok(texts(gateway.state.queries.label_names(&query).await?, limit))
}

/// `/api/v1/label/<name>/values`
pub(super) async fn label_values(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let name = unescape_label_name(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    let limit = params.limit()?.unwrap_or(NAMES_MAX).min(NAMES_MAX);
    let query = labels_query(&gateway, &headers, &params, limit)?;
    Ok(texts(gateway.state.queries.label_values(&query, &name).await?, limit))
}

/// What these endpoints have in common; asks for one more than `limit`, to know whether there are more.
fn labels_query(
    gateway: &Gateway,
    headers: &HeaderMap,
    params: &Params,
    limit: usize,
) -> Result<LabelsQuery, ApiError> {
    Ok(LabelsQuery {
        tenant: gateway.tenant(headers)?,
        selectors: selectors(params),
        selective: false,
        range: TimeRange::new(params.time_or("start", TIME_MIN)?, params.time_or("end", TIME_MAX)?),
        limit: limit.saturating_add(1),
        timeout: params.timeout()?,
        partial: params.flag("partial_response")?,
    })
}

/// The texts of every `match[]`.
pub fn selectors(params: &Params) -> Vec<String> {
    params.all("match[]").map(str::to_owned).collect()
}

/// `/api/v1/metadata`
pub(super) async fn metadata(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let number = |name: &str| -> Result<Option<usize>, ApiError> {
        let Some(text) = params.get(name) else { return Ok(None) };
        // Prometheus takes a negative number for "all".
        let number: i64 = text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
        Ok(usize::try_from(number).ok())
    };
    let limit = number("limit")?.unwrap_or(usize::MAX);
    // There is one for each metric; in Prometheus, less than one means all.
    number("limit_per_metric")?;
    let only = params.get("metric");
    let (mut all, place) = gateway.state.queries.metadata(&tenant, params.timeout()?).await?;
    all.retain(|metric, _| only.is_none_or(|only| only == metric));
    let chosen: Vec<(String, MetricMetadata)> = all.into_iter().take(limit).collect();
    Ok(answer::pieces(List::object(chosen, push_metadata), Notes::default(), Some(place)))
}

fn push_metadata(out: &mut Vec<u8>, (metric, metadata): &(String, MetricMetadata)) {
    json::push_string(out, metric);
    out.extend_from_slice(b":[");
    for (name, value) in
        [("{\"type\":", metadata.kind.as_str()), (",\"unit\":", &metadata.unit), (",\"help\":", &metadata.help)]
    {
        out.extend_from_slice(name.as_bytes());
        json::push_string(out, value);
    }
    out.extend_from_slice(b"}]");
}

fn truncate<T>(found: &mut Listed<T>, limit: usize) -> Notes {
    let mut notes = Notes { warnings: std::mem::take(&mut found.warnings), infos: Vec::new() };
    if found.items.len() > limit {
        found.items.truncate(limit);
        notes.warnings.push(TRUNCATED.to_owned());
    }
    notes
}

fn texts(mut found: Listed<String>, limit: usize) -> Response {
    let notes = truncate(&mut found, limit);
    answer::pieces(List::new(found.items, |out, text| json::push_string(out, text)), notes, Some(found.place))
}

/// A JSON array or object on its way out.
pub struct List<T> {
    items: Vec<T>,
    written: usize,
    brackets: [u8; 2],
    push: fn(&mut Vec<u8>, &T),
}

impl<T> List<T> {
    /// An array.
    pub fn new(items: Vec<T>, push: fn(&mut Vec<u8>, &T)) -> List<T> {
        List { items, written: 0, brackets: *b"[]", push }
    }

    /// Of items that write their key too.
    fn object(items: Vec<T>, push: fn(&mut Vec<u8>, &T)) -> List<T> {
        List { items, written: 0, brackets: *b"{}", push }
    }
}

impl<T: Send + 'static> Pieces for List<T> {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        if self.written == 0 {
            out.push(self.brackets[0]);
        }
        while out.len() < enough {
            let Some(item) = self.items.get(self.written) else {
                out.push(self.brackets[1]);
                return true;
            };
            if self.written > 0 {
                out.push(b',');
            }
            (self.push)(out, item);
            self.written += 1;
        }
        false
    }
}

/// Undoes Prometheus's escaping of label names that do not fit into a path: `U__` in front, `__` for an underscore,
/// `_2e_` for a character by its code. What is not well escaped stands for itself.
fn unescape_label_name(name: &str) -> String {
    let unescape = |escaped: &str| -> Option<String> {
        let mut out = String::with_capacity(escaped.len());
        let mut rest = escaped;
        while let Some(at) = rest.find('_') {
            out.push_str(&rest[..at]);
            let (code, tail) = rest[at + 1..].split_once('_')?;
            if code.is_empty() {
                out.push('_');
            } else {
                let valid = code.len() <= 6 && code.bytes().all(|byte| byte.is_ascii_hexdigit());
                out.push(char::from_u32(u32::from_str_radix(code, 16).ok().filter(|_| valid)?)?);
            }
            rest = tail;
        }
        out.push_str(rest);
        Some(out)
    };
    name.strip_prefix("U__").and_then(unescape).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read() {
        for (escaped, name) in [
            ("job", "job"),
            ("U__service_2e_name", "service.name"),
            ("U__a__b", "a_b"),
            ("U___1f980_", "🦀"),
            ("U__http_2e_status__code", "http.status_code"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__bad_2e", "U__bad_2e"),
            ("U__d800_d800_", "U__d800_d800_"),
            ("U__", ""),
        ] {
            assert_eq!(unescape_label_name(escaped), name);
        }
    }
}
