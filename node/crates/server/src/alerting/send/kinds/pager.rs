//! Pushover (<https://pushover.net/api>) and VictorOps, now Splunk On-Call
//! (<https://help.splunk.com/en/splunk-enterprise/alert-and-respond/splunk-on-call>: REST endpoint).

use std::collections::BTreeMap;

use axum::http::{HeaderValue, Method, header};
use bytes::Bytes;
use url::Url;

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::{Given, truncated};
use crate::alerting::send::request::Request;

const PUSHOVER_URL: &str = "https://api.pushover.net/1/messages.json";
const PUSHOVER_TITLE_CHARS_MAX: usize = 250;
const PUSHOVER_MESSAGE_CHARS_MAX: usize = 1024;
const PUSHOVER_URL_CHARS_MAX: usize = 512;
const VICTOROPS_MESSAGE_CHARS_MAX: usize = 20_480;

/// Everything is in the address, which is therefore secret.
pub fn pushover(given: &Given<'_>) -> Result<Request, Failure> {
    let (token, user) = (given.needed_secret("token")?, given.needed_secret("user_key")?);
    let message = truncated(given.text("message")?, PUSHOVER_MESSAGE_CHARS_MAX);
    let message = match message.trim() {
        // Empty ones are refused.
        "" => "(no details)",
        message => message,
    };
    let seconds = |name| given.settings.ms(name).unwrap_or_default() / 1000;
    let mut parameters = BTreeMap::from([
        ("token", token.reveal().to_owned()),
        ("user", user.reveal().to_owned()),
        ("title", truncated(given.text("title")?, PUSHOVER_TITLE_CHARS_MAX)),
        ("message", message.to_owned()),
        ("url", truncated(given.text("url")?, PUSHOVER_URL_CHARS_MAX)),
        ("url_title", given.text("url_title")?),
        ("priority", given.text("priority")?),
        ("retry", seconds("retry").to_string()),
        ("expire", seconds("expire").to_string()),
        ("sound", given.text("sound")?),
    ]);
    for (name, is_on) in [("html", given.settings.flag("html")), ("monospace", given.settings.flag("monospace"))] {
        if is_on {
            parameters.insert(name, "1".to_owned());
        }
    }
    let device = given.text("device")?;
    if !device.is_empty() {
        parameters.insert("device", device);
    }
    if seconds("ttl") > 0 {
        parameters.insert("ttl", seconds("ttl").to_string());
    }
    let url = Url::parse_with_params(PUSHOVER_URL, parameters);
    let url = url.map_err(|_| Failure::lasting(Reason::Configuration, "Pushover's address cannot be made"))?;
    let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))];
    let request = Request { method: Method::POST, url, headers, body: Bytes::new(), hidden: Vec::new() };
    Ok(request.hiding(token.reveal()).hiding(user.reveal()))
}

pub fn victorops(given: &Given<'_>) -> Result<Request, Failure> {
    let message_type = match given.text("message_type")? {
        _ if !given.is_firing() => "RECOVERY".to_owned(),
        known if ["INFO", "WARNING", "CRITICAL"].contains(&known.as_str()) => known,
        _ => "CRITICAL".to_owned(),
    };
    let mut body = given.map("custom_fields")?;
    let fields = [
        ("message_type", message_type),
        ("entity_id", given.group_hash()),
        ("entity_display_name", given.text("entity_display_name")?),
        ("state_message", truncated(given.text("state_message")?, VICTOROPS_MESSAGE_CHARS_MAX)),
        ("monitoring_tool", given.text("monitoring_tool")?),
    ];
    body.extend(fields.map(|(name, text)| (name.to_owned(), text)));
    let key = given.needed_secret("api_key")?;
    let mut url = given.url("api_url")?;
    let path = format!("{}{}/{}", url.path(), key.reveal(), given.text("routing_key")?);
    url.set_path(&path);
    Ok(Request::post(url, &body)?.hiding(key.reveal()))
}
