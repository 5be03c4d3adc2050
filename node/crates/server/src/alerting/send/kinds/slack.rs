//! Slack: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>, and the attachments of
//! <https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>.

use bellwether_alert::notify::config::settings::Settings;
use serde::{Deserialize, Serialize};

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::{Given, truncated};
use crate::alerting::send::request::{Answer, Request};

/// Characters of a title.
const TITLE_CHARS_MAX: usize = 1024;
const MARKDOWN_IN_DEFAULT: [&str; 3] = ["fallback", "pretext", "text"];

#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "String::is_empty")]
    channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_emoji: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_url: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    link_names: bool,
    attachments: [Attachment; 1],
}

#[derive(Serialize)]
struct Attachment {
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title_link: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pretext: String,
    text: String,
    fallback: String,
    callback_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Action>,
    #[serde(skip_serializing_if = "String::is_empty")]
    image_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thumb_url: String,
    footer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    color: String,
    mrkdwn_in: Vec<String>,
}

#[derive(Serialize)]
struct Field {
    title: String,
    value: String,
    short: bool,
}

#[derive(Serialize)]
struct Action {
    r#type: String,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    style: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<Confirmation>,
}

#[derive(Serialize)]
struct Confirmation {
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ok_text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dismiss_text: String,
}

pub fn request(given: &Given<'_>) -> Result<Request, Failure> {
    let text = |name| given.text(name);
    let settings = given.settings;
    let markdown_in = match settings.list("mrkdwn_in") {
        [] => MARKDOWN_IN_DEFAULT.map(str::to_owned).to_vec(),
        written => written.to_vec(),
    };
    let attachment = Attachment {
        title: truncated(text("title")?, TITLE_CHARS_MAX),
        title_link: text("title_link")?,
        pretext: text("pretext")?,
        text: text("text")?,
        fallback: text("fallback")?,
        callback_id: text("callback_id")?,
        fields: settings.many("fields").iter().map(|field| field_of(given, field)).collect::<Result<_, _>>()?,
        actions: settings.many("actions").iter().map(|action| action_of(given, action)).collect::<Result<_, _>>()?,
        image_url: text("image_url")?,
        thumb_url: text("thumb_url")?,
        footer: text("footer")?,
        color: text("color")?,
        mrkdwn_in: markdown_in,
    };
    let body = Body {
        channel: text("channel")?,
        username: text("username")?,
        icon_emoji: text("icon_emoji")?,
        icon_url: text("icon_url")?,
        link_names: settings.flag("link_names"),
        attachments: [attachment],
    };
    Request::post(given.secret_url("api_url")?, &body)
}

fn field_of(given: &Given<'_>, field: &Settings) -> Result<Field, Failure> {
    let is_short = if field.get("short").is_some() { field.flag("short") } else { given.settings.flag("short_fields") };
    Ok(Field { title: given.text_of(field, "title")?, value: given.text_of(field, "value")?, short: is_short })
}

fn action_of(given: &Given<'_>, action: &Settings) -> Result<Action, Failure> {
    let text = |name| given.text_of(action, name);
    let confirm = match action.one("confirm") {
        None => None,
        Some(confirm) => Some(Confirmation {
            text: given.text_of(confirm, "text")?,
            title: given.text_of(confirm, "title")?,
            ok_text: given.text_of(confirm, "ok_text")?,
            dismiss_text: given.text_of(confirm, "dismiss_text")?,
        }),
    };
    Ok(Action {
        r#type: text("type")?,
        text: text("text")?,
        url: text("url")?,
        style: text("style")?,
        name: text("name")?,
        value: text("value")?,
        confirm,
    })
}

/// Slack's and Telegram's interfaces say `"ok": false` with a status of success, too.
pub fn check(request: &Request, answer: &Answer) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Said {
        ok: Option<bool>,
    }
    match serde_json::from_slice::<Said>(&answer.body) {
        Ok(Said { ok: Some(false) }) => {
            Err(Failure::lasting(Reason::ClientError, format!("the receiver refused it: {}", answer.quoted(request))))
        }
        _ => Ok(()),
    }
}
