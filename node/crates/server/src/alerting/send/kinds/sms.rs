//! Short messages: Twilio (<https://www.twilio.com/docs/messaging/api/message-resource>), whoever speaks like it, and gateways
//! that take a form with a number and a text.

use axum::http::{HeaderValue, Method, header};

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::{Given, truncated};
use crate::alerting::send::http_config::basic;
use crate::alerting::send::request::Request;

/// Characters of a text, unless the settings say otherwise: one message of the 7-bit alphabet.
const CHARACTERS_DEFAULT: usize = 160;
const NAMES_DEFAULT: [(&str, &str); 3] = [("to", "To"), ("from", "From"), ("text", "Body")];

pub fn request(given: &Given<'_>) -> Result<Request, Failure> {
    let max = given.settings.number("max_characters").and_then(|max| usize::try_from(max).ok());
    let text = given.text("text")?;
    // A line break is a character like others, those at the ends say nothing.
    let text = truncated(text.trim().to_owned(), max.unwrap_or(CHARACTERS_DEFAULT).max(1));
    let to = given.text("to")?;
    if to.trim().is_empty() || text.is_empty() {
        let what = if text.is_empty() { "text" } else { "to" };
        return Err(Failure::lasting(Reason::Template, format!("{what} is empty")));
    }
    let names = given.settings.one("names");
    let mut fields = given.secret_map("form")?;
    for ((setting, default), value) in NAMES_DEFAULT.into_iter().zip([to, given.text("from")?, text]) {
        let name = names.and_then(|names| names.text(setting)).unwrap_or(default);
        if !value.is_empty() && !name.is_empty() {
            fields.insert(name.to_owned(), value);
        }
    }
    let account = given.text("account_sid")?;
    let url = if account.is_empty() {
        given.secret_url("url")?
    } else {
        let mut url = given.url("api_url")?;
        let path = format!("{}/2010-04-01/Accounts/{account}/Messages.json", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    };
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))];
    let request = Request { method: Method::POST, url, headers, body: body.into(), hidden: Vec::new() };
    match account.as_str() {
        "" => Ok(request),
        account => {
            let token = given.needed_secret("auth_token")?;
            let request = request.hiding(token.reveal());
            request.with_secret_header(header::AUTHORIZATION, &basic(account, token.reveal()))
        }
    }
}
