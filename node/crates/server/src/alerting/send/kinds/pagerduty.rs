//! PagerDuty: <https://developer.pagerduty.com/docs/events-api-v2-overview>, and version 1 for whoever has a `service_key`.

use std::collections::BTreeMap;

use bellwether_alert::notify::dispatch::Why;
use serde::Serialize;
use url::Url;

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::{Given, truncated};
use crate::alerting::send::request::Request;

/// Characters of a summary.
const SUMMARY_CHARS_MAX: usize = 1024;
/// Bytes of an event, in both versions.
const EVENT_BYTES_MAX: usize = 512_000;
const DETAILS_REMOVED: &str =
    "Custom details have been removed because the original event exceeds the maximum size of 512KB";
const SEVERITY_DEFAULT: &str = "error";
const VERSION_1_URL: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";

#[derive(Serialize)]
struct Event {
    routing_key: String,
    dedup_key: String,
    event_action: &'static str,
    payload: Payload,
    #[serde(skip_serializing_if = "String::is_empty")]
    client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Payload {
    summary: String,
    source: String,
    severity: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    class: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    component: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    custom_details: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Image {
    src: String,
    alt: String,
    href: String,
}

#[derive(Serialize)]
struct Link {
    href: String,
    text: String,
}

/// An event of version 1.
#[derive(Serialize)]
struct OldEvent {
    service_key: String,
    incident_key: String,
    event_type: &'static str,
    description: String,
    event_action: &'static str,
    payload: Option<()>,
    #[serde(skip_serializing_if = "String::is_empty")]
    client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, String>,
}

pub fn request(given: &Given<'_>) -> Result<Request, Failure> {
    let action = match given.message.why {
        Why::Acknowledged => "acknowledge",
        _ if given.is_firing() => "trigger",
        _ => "resolve",
    };
    let details = given.map("details")?;
    match given.secret("service_key")? {
        Some(key) => version_1(given, action, details, key.reveal()),
        None => version_2(given, action, details, given.needed_secret("routing_key")?.reveal()),
    }
}

fn version_2(
    given: &Given<'_>,
    action: &'static str,
    details: BTreeMap<String, String>,
    key: &str,
) -> Result<Request, Failure> {
    let text = |name| given.text(name);
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let (mut images, mut links) = (Vec::new(), Vec::new());
    for image in given.settings.many("images") {
        let part = |name| given.text_of(image, name);
        images.push(Image { src: part("src")?, alt: part("alt")?, href: part("href")? });
    }
    for link in given.settings.many("links") {
        links.push(Link { href: given.text_of(link, "href")?, text: given.text_of(link, "text")? });
    }
    images.retain(|image| !image.src.is_empty());
    links.retain(|link| !link.href.is_empty());
    let client = text("client")?;
    let mut event = Event {
        routing_key: key.to_owned(),
        dedup_key: given.group_hash(),
        event_action: action,
        payload: Payload {
            summary: truncated(text("description")?, SUMMARY_CHARS_MAX),
            source: if given.settings.is_set("source") { text("source")? } else { client.clone() },
            severity: or(text("severity")?, SEVERITY_DEFAULT),
            class: text("class")?,
            component: text("component")?,
            group: text("group")?,
            custom_details: details,
        },
        client,
        client_url: text("client_url")?,
        images,
        links,
    };
    let mut request = Request::post(given.url("url")?, &event)?;
    if request.body.len() > EVENT_BYTES_MAX {
        event.payload.custom_details = removed();
        request = within_bounds(Request::post(given.url("url")?, &event)?)?;
    }
    Ok(request.hiding(key))
}

fn version_1(
    given: &Given<'_>,
    action: &'static str,
    details: BTreeMap<String, String>,
    key: &str,
) -> Result<Request, Failure> {
    // Whoever resolves an incident is not shown.
    let client = |name| if given.is_firing() { given.text(name) } else { Ok(String::new()) };
    let mut event = OldEvent {
        service_key: key.to_owned(),
        incident_key: given.group_hash(),
        event_type: action,
        description: truncated(given.text("description")?, SUMMARY_CHARS_MAX),
        event_action: "",
        payload: None,
        client: client("client")?,
        client_url: client("client_url")?,
        details,
    };
    let url = || Url::parse(VERSION_1_URL).map_err(|error| Failure::lasting(Reason::Configuration, error.to_string()));
    let mut request = Request::post(url()?, &event)?;
    if request.body.len() > EVENT_BYTES_MAX {
        event.details = removed();
        request = within_bounds(Request::post(url()?, &event)?)?;
    }
    Ok(request.hiding(key))
}

fn removed() -> BTreeMap<String, String> {
    BTreeMap::from([("error".to_owned(), DETAILS_REMOVED.to_owned())])
}

fn within_bounds(request: Request) -> Result<Request, Failure> {
    match request.body.len() {
        ..=EVENT_BYTES_MAX => Ok(request),
        bytes => Err(Failure::lasting(
            Reason::Template,
            format!("the event has {bytes} bytes without its details, PagerDuty takes {EVENT_BYTES_MAX}"),
        )),
    }
}
