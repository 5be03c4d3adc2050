//! Opsgenie: <https://docs.opsgenie.com/docs/alert-api>.

use std::collections::BTreeMap;

use axum::http::{Method, header};
use bellwether_alert::notify::dispatch::Why;
use serde::Serialize;

use crate::alerting::send::failure::Failure;
use crate::alerting::send::given::{Given, truncated};
use crate::alerting::send::request::Request;

/// Characters of an alert's message.
const MESSAGE_CHARS_MAX: usize = 130;

#[derive(Serialize)]
struct Created {
    alias: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    details: BTreeMap<String, String>,
    source: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    responders: Vec<Responder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    priority: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    entity: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
}

#[derive(Serialize, Default, PartialEq)]
struct Responder {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    r#type: String,
}

pub fn requests(given: &Given<'_>) -> Result<Vec<Request>, Failure> {
    let alias = given.group_hash();
    let mut requests = Vec::new();
    let source = given.text("source")?;
    let is_acknowledged = given.message.why == Why::Acknowledged;
    if is_acknowledged || !given.is_firing() {
        let body = BTreeMap::from([("source", source)]);
        let what = if is_acknowledged { "acknowledge" } else { "close" };
        requests.push(request(given, Method::POST, &format!("/{alias}/{what}"), true, &body)?);
        return Ok(requests);
    }
    let message = truncated(given.text("message")?, MESSAGE_CHARS_MAX);
    let description = given.text("description")?;
    let common = given.message.common_labels();
    let mut details: BTreeMap<String, String> =
        common.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
    details.extend(given.map("details")?);
    let created = Created {
        alias: alias.clone(),
        message: message.clone(),
        description: description.clone(),
        details,
        source,
        responders: responders(given)?,
        tags: parts(&given.text("tags")?),
        note: given.text("note")?,
        priority: given.text("priority")?,
        entity: given.text("entity")?,
        actions: parts(&given.text("actions")?),
    };
    requests.push(request(given, Method::POST, "", false, &created)?);
    if given.settings.flag("update_alerts") {
        for (name, text) in [("message", message), ("description", description)] {
            let body: BTreeMap<&str, String> = BTreeMap::from([(name, text)]);
            requests.push(request(given, Method::PUT, &format!("/{alias}/{name}"), true, &body)?);
        }
    }
    Ok(requests)
}

fn request(
    given: &Given<'_>,
    method: Method,
    path: &str,
    by_alias: bool,
    body: &impl Serialize,
) -> Result<Request, Failure> {
    let mut url = given.url("api_url")?;
    url.set_path(&format!("{}v2/alerts{path}", url.path()));
    if by_alias {
        url.query_pairs_mut().append_pair("identifierType", "alias");
    }
    let key = given.needed_secret("api_key")?;
    Request::json(method, url, body)?.with_secret_header(header::AUTHORIZATION, &format!("GenieKey {}", key.reveal()))
}

fn responders(given: &Given<'_>) -> Result<Vec<Responder>, Failure> {
    let mut responders = Vec::new();
    for settings in given.settings.many("responders") {
        let text = |name| given.text_of(settings, name);
        let responder =
            Responder { id: text("id")?, name: text("name")?, username: text("username")?, r#type: text("type")? };
        if responder.r#type == "teams" {
            let team = |name: String| Responder { name, r#type: "team".to_owned(), ..Responder::default() };
            responders.extend(parts(&responder.name).into_iter().map(team));
        } else if responder != Responder::default() {
            responders.push(responder);
        }
    }
    Ok(responders)
}

fn parts(text: &str) -> Vec<String> {
    text.trim().split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
