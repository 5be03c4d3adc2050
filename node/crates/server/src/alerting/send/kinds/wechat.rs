//! WeChat Work: <https://developer.work.weixin.qq.com/document/path/90236>. A token is fetched for each message; the service
//! gives the same one for two hours.

use axum::http::Method;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::alerting::send::failure::{Failure, Reason};
use crate::alerting::send::given::Given;
use crate::alerting::send::request::{Answer, Request};

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    access_token: String,
}

#[derive(Deserialize)]
struct Said {
    errcode: i64,
}

/// Asks for a token.
pub fn token_request(given: &Given<'_>) -> Result<Request, Failure> {
    let secret = given.needed_secret("api_secret")?;
    let mut url = given.url("api_url")?;
    url.set_path(&format!("{}gettoken", url.path()));
    let corporation = given.text("corp_id")?;
    url.query_pairs_mut().append_pair("corpid", &corporation).append_pair("corpsecret", secret.reveal());
    let request = Request { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), hidden: Vec::new() };
    Ok(request.hiding(secret.reveal()))
}

/// The token in the answer.
pub fn token(answer: &Answer) -> Result<String, Failure> {
    let token = serde_json::from_slice::<Token>(&answer.body).map(|token| token.access_token).unwrap_or_default();
    match token.is_empty() {
        false => Ok(token),
        true => {
            Err(Failure::lasting(Reason::ClientError, "the receiver gives no token: corp_id or api_secret is wrong"))
        }
    }
}

/// The message, with a token.
pub fn request(given: &Given<'_>, token: &str) -> Result<Request, Failure> {
    let kind = given.text("message_type")?;
    let is_markdown = kind == "markdown";
    let message = given.text("message")?;
    let (text, markdown) = if is_markdown { ("", message.as_str()) } else { (message.as_str(), "") };
    let mut body = json!({
        "text": { "content": text },
        "markdown": { "content": markdown },
        "safe": "0",
        "msgtype": kind,
    });
    for (name, setting) in
        [("touser", "to_user"), ("toparty", "to_party"), ("totag", "to_tag"), ("agentid", "agent_id")]
    {
        let text = given.text(setting)?;
        if !text.is_empty() {
            body[name] = text.into();
        }
    }
    let mut url = given.url("api_url")?;
    url.set_path(&format!("{}message/send", url.path()));
    url.query_pairs_mut().append_pair("access_token", token);
    Ok(Request::post(url, &body)?.hiding(token))
}

/// The body says whether it was taken.
pub fn check(request: &Request, answer: &Answer) -> Result<(), Failure> {
    /// The token is no longer good.
    const EXPIRED: i64 = 42001;
    let message = || format!("the receiver refused it: {}", answer.quoted(request));
    match serde_json::from_slice::<Said>(&answer.body) {
        Ok(Said { errcode: 0 }) => Ok(()),
        Ok(Said { errcode: EXPIRED }) => Err(Failure::passing(Reason::ClientError, message())),
        _ => Err(Failure::lasting(Reason::ClientError, message())),
    }
}
