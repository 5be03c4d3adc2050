//! Discord (<https://discord.com/developers/docs/resources/webhook>), Telegram (<https://core.telegram.org/bots/api#sendmessage>)
//! and Webex (<https://developer.webex.com/docs/api/v1/messages/create-a-message>).

use std::collections::BTreeMap;

use serde_json::json;

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::{Given, truncated, truncated_bytes};
use crate::alerting::send::request::Request;

const DISCORD_CONTENT_CHARS_MAX: usize = 2000;
const DISCORD_TITLE_CHARS_MAX: usize = 256;
const DISCORD_MESSAGE_CHARS_MAX: usize = 4096;
const DISCORD_RED: u32 = 0x99_2d_22;
const DISCORD_GREEN: u32 = 0x2e_cc_71;
const TELEGRAM_CHARS_MAX: usize = 4096;
const WEBEX_BYTES_MAX: usize = 7439;

pub fn discord(given: &Given<'_>) -> Result<Request, Failure> {
    let mut body = json!({
        "content": truncated(given.text("content")?, DISCORD_CONTENT_CHARS_MAX),
        "embeds": [{
            "title": truncated(given.text("title")?, DISCORD_TITLE_CHARS_MAX),
            "description": truncated(given.text("message")?, DISCORD_MESSAGE_CHARS_MAX),
            "color": if given.is_firing() { DISCORD_RED } else { DISCORD_GREEN },
        }],
    });
    for name in ["username", "avatar_url"] {
        let text = given.text(name)?;
        if !text.is_empty() {
            body[name] = text.into();
        }
    }
    Request::post(given.secret_url("webhook_url")?, &body)
}

/// All values are texts, as the interface takes them from forms.
pub fn telegram(given: &Given<'_>) -> Result<Request, Failure> {
    let chat = match given.secret("chat_id")? {
        Some(of_file) => of_file.reveal().to_owned(),
        None => given.settings.number("chat_id").unwrap_or_default().to_string(),
    };
    if chat.parse::<i64>().is_err() {
        return Err(Failure::lasting(Reason::Configuration, "chat_id is no number"));
    }
    let text = given.text("message")?;
    let parse_mode = given.text("parse_mode")?;
    let is_long = text.chars().count() > TELEGRAM_CHARS_MAX;
    let text = match parse_mode.as_str() {
        // Half of a tag would be refused.
        "HTML" if is_long => without_tags(&text),
        _ => text,
    };
    let mut body = BTreeMap::from([
        ("chat_id", chat),
        ("text", truncated(text, TELEGRAM_CHARS_MAX)),
        ("disable_web_page_preview", "true".to_owned()),
    ]);
    if !(parse_mode.is_empty() || parse_mode == "HTML" && is_long) {
        body.insert("parse_mode", parse_mode);
    }
    if given.settings.flag("disable_notifications") {
        body.insert("disable_notification", "true".to_owned());
    }
    if let Some(thread) = given.settings.number("message_thread_id").filter(|thread| *thread != 0) {
        body.insert("message_thread_id", thread.to_string());
    }
    let token = given.needed_secret("bot_token")?;
    let mut url = given.url("api_url")?;
    let path = format!("{}/bot{}/sendMessage", url.path().trim_end_matches('/'), token.reveal());
    url.set_path(&path);
    Ok(Request::post(url, &body)?.hiding(token.reveal()))
}

/// What remains of HTML as text: a long message is rather plain than not there.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&#34;", "\""), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text, |text, (entity, plain)| text.replace(entity, plain))
}

pub fn webex(given: &Given<'_>) -> Result<Request, Failure> {
    let body = json!({
        "markdown": truncated_bytes(given.text("message")?, WEBEX_BYTES_MAX),
        "roomId": given.text("room_id")?,
    });
    Request::post(given.url("api_url")?, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_loses_its_tags_and_not_its_text() {
        assert_eq!(without_tags("<b>a &lt; b</b> &amp;&#39;<i class='x'>c</i>"), "a < b &'c");
    }
}
