//! Whose pages a browser lets read answers, as Prometheus decides it by `--web.cors.origin`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bellwether_model::WholeRegex;

use crate::config::OriginPattern;

/// The origins whose pages may read.
#[derive(Clone)]
pub enum Origins {
    /// All.
    Any,
    /// Those that match.
    Matching(Arc<WholeRegex>),
}

impl Origins {
    /// Of a configuration.
    pub fn new(pattern: &OriginPattern) -> Origins {
        if pattern.is_any() {
            return Origins::Any;
        }
        Origins::Matching(Arc::new(pattern.compile().expect("a configured pattern was compiled before")))
    }

    /// What the answer to a page of `origin` allows.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Matching(regex) => origin.to_str().is_ok_and(|text| regex.is_match(text)).then(|| origin.clone()),
        }
    }
}

/// Says in the answers to pages who may read them, and answers the browser's question beforehand.
pub(super) async fn allow_origins(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let Some(origin) = origin else { return response };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin, X-Scope-OrgID"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(allowed) = origins.allowed(&origin) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting;

    fn allowed(pattern: &str, origin: &'static str) -> Option<String> {
        let origins = Origins::new(&OriginPattern::parse(pattern).unwrap());
        origins.allowed(&HeaderValue::from_static(origin)).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_origin_that_matches_as_a_whole_may_read() {
        assert_eq!(allowed(".*", "https://any.example"), Some("*".to_owned()));
        let pattern = r"https?://(grafana|status)\.example";
        assert_eq!(allowed(pattern, "https://grafana.example"), Some("https://grafana.example".to_owned()));
        assert_eq!(allowed(pattern, "https://grafana.example.evil"), None);
        assert_eq!(allowed("", "https://grafana.example"), None);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        assert!(OriginPattern::parse("(").unwrap_err().starts_with("is refused: invalid regular expression"));
    }
}
