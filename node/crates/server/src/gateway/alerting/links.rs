//! Pages of the links in messages. `GET` shows what a link would do, and a button; only the button does it, since programs that look
//! through people's mail follow links.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::{DeskError, Gateway, answer};
use crate::alerting::desk::acknowledgements::{LinkError, LinkOffer};
use crate::alerting::links::SILENCE_MS;

/// Characters of a name that somebody gives.
const NAME_CHARS_MAX: usize = 100;
const HOUR_MS: i64 = 3600 * 1000;

/// `GET /alerting/<token>`
pub async fn show(State(gateway): State<Arc<Gateway>>, Path(token): Path<String>) -> Response {
    match gateway.state.desk.offer(&token) {
        Err(error) => refused(&error),
        Ok(LinkOffer::Acknowledge { group, firing: 0, .. }) => page(
            StatusCode::OK,
            "Nothing to acknowledge",
            &format!("<p>Nothing fires any more in {}.</p>", html(&group)),
        ),
        Ok(LinkOffer::Acknowledge { group, firing, open: 0 }) => {
            let text = format!("<p>{} of {} {} acknowledged already.</p>", alerts(firing), html(&group), are(firing));
            page(StatusCode::OK, "Acknowledged", &text)
        }
        Ok(LinkOffer::Acknowledge { group, firing, open }) => {
            let text = format!("{firing} fire in {}, {open} not acknowledged yet.", html(&group));
            page(StatusCode::OK, "Acknowledge alerts?", &form(&text, "Acknowledge"))
        }
        Ok(LinkOffer::Silence { matchers }) => {
            let text =
                format!("Nobody would be told of alerts with {} for {} hours.", html(&matchers), SILENCE_MS / HOUR_MS);
            page(StatusCode::OK, "Silence alerts?", &form(&text, "Silence"))
        }
    }
}

/// `POST /alerting/<token>`
pub async fn follow(State(gateway): State<Arc<Gateway>>, Path(token): Path<String>, request: Request) -> Response {
    let body = match gateway.body_of(request).await {
        Ok(body) => body,
        Err(error) => return page(StatusCode::BAD_REQUEST, "Not done", &format!("<p>{}</p>", html(&error.message))),
    };
    let by = form_urlencoded::parse(&body).find(|(name, _)| name == "by").map(|(_, by)| by.into_owned());
    let by: String = by.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    match gateway.state.desk.follow(&token, &by).await {
        Ok(Ok(count)) => {
            let text = format!("<p>{} {} acknowledged now.</p>", alerts(count as usize), are(count as usize));
            page(StatusCode::OK, "Acknowledged", &text)
        }
        Ok(Err(id)) => page(StatusCode::OK, "Silenced", &format!("<p>Silence {} holds.</p>", html(&id))),
        Err(error) => refused(&error),
    }
}

fn refused(error: &LinkError) -> Response {
    let status = match error {
        LinkError::Forged => StatusCode::FORBIDDEN,
        LinkError::Expired => StatusCode::GONE,
        LinkError::Desk(DeskError::Unanswered(_)) => StatusCode::SERVICE_UNAVAILABLE,
        LinkError::Desk(_) => StatusCode::BAD_REQUEST,
    };
    page(status, "Not done", &format!("<p>{}</p>", html(&error.to_string())))
}

fn form(text: &str, button: &str) -> String {
    format!(
        "<p>{text}</p>\n<form method=\"post\">\n<p><label>Your name: <input name=\"by\" maxlength=\"{NAME_CHARS_MAX}\"></label></p>\n\
         <button type=\"submit\">{button}</button>\n</form>"
    )
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    );
    let mut response = answer(status, "text/html; charset=utf-8", page);
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        // The address is what may be done.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn alerts(count: usize) -> String {
    format!("{count} alert{}", if count == 1 { "" } else { "s" })
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
