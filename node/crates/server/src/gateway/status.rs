//! `/api/v1/status`: what this server is and how it is set up, in the shape that Prometheus's clients read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bellwether_model::{Label, Labels, METRIC_NAME, TimeRange};
use serde::Serialize;

use super::answer::Notes;
use super::calendar::format_rfc3339;
use super::params::Params;
use super::{ApiError, ErrorKind, Gateway, answer};
use crate::config::keys;
use crate::query::LabelsQuery;

/// The Prometheus whose API and semantics these are. Grafana and others compare it with the versions that brought a
/// feature, so it names the newest whose features are there: UTF-8 names, `match[]` and limits on labels, left-open ranges.
const PROMETHEUS_VERSION: &str = "3.5.0";
/// Series that the storage statistics look at.
const STATISTICS_SERIES_MAX: usize = 200_000;
/// Entries of each list of the storage statistics when the client sets no limit; as in Prometheus.
const STATISTICS_ENTRIES: usize = 10;
/// How far back the storage statistics look, in milliseconds: Prometheus's head, roughly.
const STATISTICS_SPAN_MS: i64 = 2 * 3_600_000;

fn json<T: Serialize>(data: &T, notes: &Notes) -> Result<Response, ApiError> {
    match serde_json::to_vec(data) {
        Ok(data) => Ok(answer::with_notes(data, notes)),
        Err(error) => Err(ApiError::new(ErrorKind::Internal, error.to_string())),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    application: &'static str,
    application_version: &'static str,
}

/// `/api/v1/status/buildinfo`. There must be no `features`: by that Grafana takes a server for Mimir.
pub async fn build_info() -> Result<Response, ApiError> {
    let info = BuildInfo {
        version: PROMETHEUS_VERSION,
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "Bellwether",
        application_version: env!("CARGO_PKG_VERSION"),
    };
    json(&info, &Notes::default())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    start_time: String,
    server_time: String,
    reload_config_success: bool,
    last_config_time: String,
    corruption_count: u64,
    storage_retention: String,
    series: u64,
    active_series: u64,
    head_bytes: u64,
    disk_bytes: u64,
}

/// `/api/v1/status/runtimeinfo`
pub(super) async fn runtime_info(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let state = &gateway.state;
    let stats = state.router.shards().stats();
    let info = RuntimeInfo {
        start_time: format_rfc3339(state.started_ms),
        server_time: format_rfc3339(state.clock.now_ms()),
        reload_config_success: true,
        last_config_time: format_rfc3339(state.started_ms),
        corruption_count: 0,
        storage_retention: setting(&gateway, "retention"),
        series: stats.series,
        active_series: stats.active_series,
        head_bytes: stats.head_bytes,
        disk_bytes: stats.disk_bytes,
    };
    json(&info, &Notes::default())
}

fn setting(gateway: &Gateway, name: &str) -> String {
    keys().into_iter().find(|key| key.name == name).map(|key| key.value(&gateway.state.config)).unwrap_or_default()
}

/// `/api/v1/status/flags`: all settings by name, and those of Prometheus that its clients look for.
pub(super) async fn flags(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let mut flags: BTreeMap<String, String> =
        keys().into_iter().map(|key| (key.name.to_owned(), key.value(&gateway.state.config))).collect();
    for (theirs, ours) in [
        ("query.lookback-delta", "query.lookback_delta"),
        ("query.max-concurrency", "query.max_concurrent"),
        ("query.max-samples", "query.max_samples"),
        ("query.timeout", "query.timeout"),
        ("storage.tsdb.path", "data_dir"),
        ("storage.tsdb.retention.time", "retention"),
        ("web.listen-address", "http"),
    ] {
        flags.insert(theirs.to_owned(), setting(&gateway, ours));
    }
    for (name, value) in [("web.enable-admin-api", "true"), ("web.enable-remote-write-receiver", "true")] {
        flags.insert(name.to_owned(), value.to_owned());
    }
    let delays_names = gateway.state.config.query.delayed_name_removal;
    let features = if delays_names { DELAYED_NAME_REMOVAL } else { "" };
    flags.insert("enable-feature".to_owned(), features.to_owned());
    json(&flags, &Notes::default())
}

/// What Prometheus calls that feature.
const DELAYED_NAME_REMOVAL: &str = "promql-delayed-name-removal";

/// `/api/v1/status/config`: the settings as YAML, which is what Prometheus's clients expect.
pub(super) async fn config(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    // A JSON string is a YAML string.
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    let yaml: String =
        keys().iter().map(|key| format!("{}: {}\n", key.name, quoted(key.value(&gateway.state.config)))).collect();
    json(&BTreeMap::from([("yaml", yaml)]), &Notes::default())
}

/// `/api/v1/status/active_queries`: what the tenant has running and waiting now; not of Prometheus.
pub(super) async fn active_queries(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let queries: Vec<serde_json::Value> = gateway
        .state
        .queries
        .active()
        .into_iter()
        .filter(|query| query.tenant == tenant)
        .map(|query| {
            serde_json::json!({
                "id": query.id,
                "tenant": query.tenant.as_str(),
                "query": &*query.text,
                "seconds": query.running.as_secs_f64(),
            })
        })
        .collect();
    json(&queries, &Notes::default())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    head_stats: HeadStatistics,
    series_count_by_metric_name: Vec<Count>,
    label_value_count_by_label_name: Vec<Count>,
    memory_in_bytes_by_label_name: Vec<Count>,
    series_count_by_label_value_pair: Vec<Count>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadStatistics {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize, Debug, PartialEq)]
struct Count {
    name: String,
    value: u64,
}

/// `/api/v1/status/tsdb`: the tenant's series of the last two hours, by metric and label.
pub(super) async fn tsdb(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let entries = params.limit()?.unwrap_or(STATISTICS_ENTRIES);
    let now = gateway.state.clock.now_ms();
    let span = TimeRange::new(now - STATISTICS_SPAN_MS, now);
    let query = LabelsQuery {
        tenant,
        selectors: vec![format!("{{{METRIC_NAME}!=\"\"}}")],
        selective: false,
        range: span,
        limit: STATISTICS_SERIES_MAX.saturating_add(1),
        timeout: params.timeout()?,
        partial: false,
    };
    let found = gateway.state.queries.series(&query).await?;
    let (mut series, _place) = (found.items, found.place);
    let mut notes = Notes::default();
    if series.len() > STATISTICS_SERIES_MAX {
        series.truncate(STATISTICS_SERIES_MAX);
        notes.warnings.push(format!("only the first {STATISTICS_SERIES_MAX} series are counted"));
    }
    let runs = gateway.state.router.shards().stats().runs;
    let count = move || statistics(&series, entries, runs, span);
    let statistics = gateway.state.queries.executor().run(count).await;
    json(&statistics.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?, &notes)
}

fn statistics(series: &[Labels], entries: usize, runs: u64, span: TimeRange) -> Statistics {
    let mut pairs: BTreeMap<Label<'_>, u64> = BTreeMap::new();
    for label in series.iter().flat_map(Labels::iter) {
        *pairs.entry(label).or_default() += 1;
    }
    let mut values_of: BTreeMap<&str, u64> = BTreeMap::new();
    let mut bytes_of: BTreeMap<&str, u64> = BTreeMap::new();
    for (label, series) in &pairs {
        *values_of.entry(label.name).or_default() += 1;
        *bytes_of.entry(label.name).or_default() += label.value.len() as u64 * series;
    }
    let by_metric = pairs.iter().filter(|(label, _)| label.name == METRIC_NAME);
    let by_pair = pairs.iter().map(|(label, series)| (format!("{}={}", label.name, label.value), *series));
    Statistics {
        head_stats: HeadStatistics {
            num_series: series.len() as u64,
            num_label_pairs: pairs.len() as u64,
            chunk_count: runs,
            min_time: span.first,
            max_time: span.last,
        },
        series_count_by_metric_name: largest(
            by_metric.map(|(label, series)| (label.value.to_owned(), *series)),
            entries,
        ),
        label_value_count_by_label_name: largest(
            values_of.iter().map(|(name, count)| ((*name).to_owned(), *count)),
            entries,
        ),
        memory_in_bytes_by_label_name: largest(
            bytes_of.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)),
            entries,
        ),
        series_count_by_label_value_pair: largest(by_pair, entries),
    }
}

/// The entries with the largest counts; of equal ones the first by name.
fn largest(counts: impl Iterator<Item = (String, u64)>, entries: usize) -> Vec<Count> {
    let mut counts: Vec<Count> = counts.map(|(name, value)| Count { name, value }).collect();
    counts.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(entries);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_count_series_values_and_bytes() {
        let series: Vec<Labels> = (0..10)
            .map(|host| Labels::of(&[("__name__", "up"), ("host", &format!("h{host}"))]))
            .chain([Labels::of(&[("__name__", "load1")])])
            .collect();
        let statistics = statistics(&series, 2, 3, TimeRange::new(1, 2));
        let count = |name: &str, value| Count { name: name.to_owned(), value };
        assert_eq!(statistics.head_stats.num_series, 11);
        assert_eq!(statistics.head_stats.num_label_pairs, 12);
        assert_eq!(statistics.series_count_by_metric_name, [count("up", 10), count("load1", 1)]);
        assert_eq!(statistics.label_value_count_by_label_name, [count("host", 10), count("__name__", 2)]);
        assert_eq!(statistics.memory_in_bytes_by_label_name, [count("__name__", 25), count("host", 20)]);
        assert_eq!(statistics.series_count_by_label_value_pair, [count("__name__=up", 10), count("__name__=load1", 1)]);
    }
}
