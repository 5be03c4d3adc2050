//! Plain pages: what this is, whether it is alive and ready, its metrics, and what is not there.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use prometheus::{Encoder, TextEncoder};

use super::{ApiError, ErrorKind, Gateway};

const INDEX: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Bellwether</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em }</style>
<h1>Bellwether</h1>
<p>A database for metrics. This node takes Prometheus remote write at <code>/api/v1/write</code> and answers PromQL under
<code>/api/v1</code>: give Grafana's Prometheus data source, promtool or curl this address.
<ul>
<li><a href="/api/v1/query?query=up">What is collected right now</a>: the query <code>up</code>
<li><a href="/metrics">This node's own metrics</a>
<li><a href="/api/v1/status/tsdb">What is stored</a>: series by metric and label
</ul>
</html>
"#;

/// `GET /`
pub async fn index() -> Html<&'static str> {
    Html(INDEX)
}

/// `GET /-/healthy`: the process runs.
pub async fn healthy() -> &'static str {
    "Bellwether is Healthy.\n"
}

/// `GET /-/ready`: the node serves requests.
pub(super) async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, &'static str) {
    if *gateway.state.ready.borrow() {
        (StatusCode::OK, "Bellwether is Ready.\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Bellwether is starting.\n")
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&gateway.state.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => ApiError::new(ErrorKind::Internal, error.to_string()).into_response(),
    }
}

/// Every other path.
pub async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("there is nothing at {}", uri.path()))
}

/// Every other method.
pub async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, format!("{} does not take the method {method}", uri.path()))
}
