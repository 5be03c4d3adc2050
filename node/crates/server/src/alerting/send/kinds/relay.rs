//! Another Alertmanager: alerts by its API (<https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>), as
//! Prometheus sends them. Grouping, silences and whom to tell are its own.

use std::collections::BTreeMap;

use bellwether_alert::notify::dispatch::Alert;
use serde::Serialize;

use super::webhook::borrowed;
use crate::alerting::send::failure::Failure;
use crate::alerting::send::given::Given;
use crate::alerting::send::request::Request;
use crate::gateway::calendar::format_rfc3339;

/// Alerts of one request.
const ALERTS_PER_REQUEST_MAX: usize = 1_000;
/// What fires is believed for so many of the group's intervals, in each of which it is told again.
const INTERVALS_BELIEVED: i64 = 4;
/// And for so long at the least.
const BELIEVED_MS_MIN: i64 = 4 * 60_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'m> {
    labels: BTreeMap<&'m str, &'m str>,
    annotations: BTreeMap<&'m str, &'m str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
}

pub fn requests(given: &Given<'_>) -> Result<Vec<Request>, Failure> {
    let mut url = given.url("url")?;
    let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
    url.set_path(&path);
    // Whoever takes them must not wait for ever if nobody is left to tell of the end.
    let believed_ms = given.interval_ms.saturating_mul(INTERVALS_BELIEVED).max(BELIEVED_MS_MIN);
    let believed_until = given.at.saturating_add(believed_ms);
    let posted = |alert, ends_at| posted(alert, ends_at, given.external_url);
    let firing = given.message.firing.iter().map(|alert| posted(alert, believed_until));
    let resolved = given.message.resolved.iter().map(|alert| posted(alert, alert.ends_at.unwrap_or(given.at)));
    let all: Vec<Posted<'_>> = firing.chain(resolved).collect();
    all.chunks(ALERTS_PER_REQUEST_MAX).map(|some| Request::post(url.clone(), &some)).collect()
}

fn posted<'m>(alert: &'m Alert, ends_at: i64, external_url: &str) -> Posted<'m> {
    Posted {
        labels: borrowed(&alert.labels),
        annotations: borrowed(&alert.annotations),
        starts_at: format_rfc3339(alert.begins_at),
        ends_at: format_rfc3339(ends_at),
        generator_url: alert.generator_address(external_url),
    }
}
