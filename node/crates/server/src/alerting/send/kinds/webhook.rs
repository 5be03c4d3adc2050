//! Webhooks: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use std::collections::BTreeMap;

use bellwether_alert::notify::dispatch::{Alert, Message};
use bellwether_alert::notify::fingerprint::Fingerprint;
use bellwether_model::{Labels, Timestamp};
use serde::Serialize;

use crate::alerting::send::failure::Failure;
use crate::alerting::send::given::Given;
use crate::alerting::send::request::Request;
use crate::gateway::calendar::format_rfc3339;

/// Go's zero time: the end of alerts that fire.
const NO_END: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'m> {
    receiver: &'m str,
    status: &'static str,
    alerts: Vec<AlertBody<'m>>,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: &'m str,
    version: &'static str,
    group_key: &'m str,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertBody<'m> {
    status: &'static str,
    labels: BTreeMap<&'m str, &'m str>,
    annotations: BTreeMap<&'m str, &'m str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

pub fn request(given: &Given<'_>) -> Result<Request, Failure> {
    let max = given.settings.number("max_alerts").and_then(|max| usize::try_from(max).ok()).filter(|max| *max > 0);
    // What is the same in all alerts is so in all that are told.
    let told = max.map(|max| first_alerts(given.message, max));
    let message = told.as_ref().unwrap_or(given.message);
    let all = given.message.firing.len() + given.message.resolved.len();
    let firing = message.firing.iter().map(|alert| body_of(alert, true, given.external_url));
    let alerts: Vec<AlertBody<'_>> =
        firing.chain(message.resolved.iter().map(|alert| body_of(alert, false, given.external_url))).collect();
    let body = Body {
        receiver: &message.receiver,
        status: message.status(),
        truncated_alerts: all - alerts.len(),
        alerts,
        group_labels: owned(&message.group),
        common_labels: owned(&message.common_labels()),
        common_annotations: owned(&message.common_annotations()),
        external_url: given.external_url,
        version: "4",
        group_key: &message.group_key,
    };
    Request::post(given.secret_url("url")?, &body)
}

fn first_alerts(message: &Message, max: usize) -> Message {
    let mut message = message.clone();
    message.firing.truncate(max);
    message.resolved.truncate(max - message.firing.len());
    message
}

fn body_of<'m>(alert: &'m Alert, is_firing: bool, external_url: &str) -> AlertBody<'m> {
    AlertBody {
        status: if is_firing { "firing" } else { "resolved" },
        labels: borrowed(&alert.labels),
        annotations: borrowed(&alert.annotations),
        starts_at: rfc3339(alert.begins_at),
        ends_at: alert.ends_at.filter(|_| !is_firing).map_or(NO_END.to_owned(), rfc3339),
        generator_url: alert.generator_address(external_url),
        fingerprint: Fingerprint::of(&alert.labels).to_string(),
    }
}

pub fn borrowed(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().map(|label| (label.name, label.value)).collect()
}

fn owned(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect()
}

/// A time without zeros at its end, as Go prints it.
fn rfc3339(timestamp: Timestamp) -> String {
    let text = format_rfc3339(timestamp);
    match text.trim_end_matches('Z').split_once('.') {
        Some((seconds, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            format!("{seconds}{}{fraction}Z", if fraction.is_empty() { "" } else { "." })
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_zeros_at_their_ends() {
        let at = 1_795_161_600_000;
        for (ms, expected) in [(0, "T08:00:00Z"), (500, "T08:00:00.5Z"), (7, "T08:00:00.007Z"), (10_000, "T08:00:10Z")]
        {
            assert!(rfc3339(at + ms).ends_with(expected), "{}", rfc3339(at + ms));
        }
    }
}
