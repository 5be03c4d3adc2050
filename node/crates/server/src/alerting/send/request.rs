//! One HTTP request to a receiver, and what its answer means.

use std::fmt;

use axum::http::{HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use serde::Serialize;
use url::Url;

use super::failure::{Failure, Reason};

/// Characters of an answer that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;
/// Shorter ones cannot be told from words.
const HIDDEN_BYTES_MIN: usize = 6;
const HIDDEN: &str = "<secret>";

/// A request.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where to; as good as a password with many services.
    pub url: Url,
    /// Headers beside those of every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// What the receiver may repeat and nobody may see, beside the address.
    pub hidden: Vec<String>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Request {
    /// One with a body of JSON.
    pub fn json(method: Method, url: Url, body: &impl Serialize) -> Result<Request, Failure> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| Failure::lasting(Reason::Template, error.to_string()))?;
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Ok(Request { method, url, headers, body: body.into(), hidden: Vec::new() })
    }

    /// The same as a POST.
    pub fn post(url: Url, body: &impl Serialize) -> Result<Request, Failure> {
        Request::json(Method::POST, url, body)
    }

    /// Adds a header that nobody may see.
    pub fn with_secret_header(mut self, name: HeaderName, value: &str) -> Result<Request, Failure> {
        let mut header = HeaderValue::from_str(value).map_err(|_| {
            Failure::lasting(
                Reason::Configuration,
                format!("what is to be sent as {name} has bytes that no header has"),
            )
        })?;
        header.set_sensitive(true);
        self.hidden.extend(value.split(' ').map(str::to_owned));
        self.headers.push((name, header));
        Ok(self)
    }

    /// Hides a text where the receiver repeats it.
    pub fn hiding(mut self, text: &str) -> Request {
        self.hidden.push(text.to_owned());
        self
    }
}

/// What a receiver said.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its first bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the receiver took the request: all of 200 to 299. 429 and all from 500 on may pass.
    pub fn check_status(&self, request: &Request) -> Result<(), Failure> {
        let (reason, retryable) = match self.status {
            200..=299 => return Ok(()),
            429 => (Reason::RateLimited, true),
            500.. => (Reason::ServerError, true),
            _ => (Reason::ClientError, false),
        };
        let said = self.quoted(request);
        let message = format!("the receiver answered {}{}{said}", self.status, if said.is_empty() { "" } else { ": " });
        Err(if retryable { Failure::passing(reason, message) } else { Failure::lasting(reason, message) })
    }

    /// What it said, on one line, without what nobody may see.
    pub fn quoted(&self, request: &Request) -> String {
        let mut text = String::from_utf8_lossy(&self.body).into_owned();
        let url = &request.url;
        let of_url = [url.as_str(), url.path(), url.query().unwrap_or_default(), url.password().unwrap_or_default()];
        for hidden in of_url.into_iter().chain(request.hidden.iter().map(String::as_str)) {
            if hidden.len() >= HIDDEN_BYTES_MIN {
                text = text.replace(hidden, HIDDEN);
            }
        }
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
        super::given::truncated(words.join(" "), QUOTED_CHARS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<(), Failure> {
        let url = Url::parse("https://hooks.slack.com/services/T0/B0/very-secret").unwrap();
        let request =
            Request::post(url, &"body").unwrap().with_secret_header(header::AUTHORIZATION, "GenieKey abc-def-key");
        Answer { status, body: body.as_bytes().to_vec() }.check_status(&request.unwrap())
    }

    #[test]
    fn what_a_status_means() {
        assert_eq!(answer(204, ""), Ok(()));
        for (status, reason, retryable) in [
            (302, Reason::ClientError, false),
            (404, Reason::ClientError, false),
            (429, Reason::RateLimited, true),
            (500, Reason::ServerError, true),
            (503, Reason::ServerError, true),
        ] {
            let failure = answer(status, "").unwrap_err();
            assert_eq!((failure.reason, failure.retryable), (reason, retryable), "{status}");
        }
    }

    #[test]
    fn an_answer_is_quoted_without_secrets() {
        let said = "no team at https://hooks.slack.com/services/T0/B0/very-secret\r\n(/services/T0/B0/very-secret, key abc-def-key)";
        assert_eq!(
            answer(404, said).unwrap_err().to_string(),
            "the receiver answered 404: no team at <secret> (<secret>, key <secret>)"
        );
        assert_eq!(answer(500, &"x".repeat(300)).unwrap_err().to_string().chars().count(), 27 + QUOTED_CHARS_MAX);
    }
}
