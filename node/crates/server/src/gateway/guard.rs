//! What happens around requests: counting, admission, and what pages of other origins may not do.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::time::Instant;

use super::{ApiError, ErrorKind, Gateway, compress};
use crate::sending::paced;

/// When to try again after too many requests at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts a request and its time, and compresses the answer if the client asks for that.
pub(super) async fn observe(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let encoding = compress::accepted(request.headers());
    let response = compress::compress(encoding, next.run(request).await);
    let handler = path.as_ref().map_or("other", MatchedPath::as_str);
    gateway.metrics.observe(handler, response.status(), started.elapsed());
    response
}

/// Refuses reads while the node starts, and when too many are in work; a read is in work until its answer is sent.
pub(super) async fn admit_read(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if !*gateway.state.ready.borrow() {
        return ApiError::unavailable("the node is not ready yet", RETRY_AFTER).into_response();
    }
    let Ok(permit) = gateway.reads.clone().try_acquire_owned() else {
        let message = format!("too many requests at once, the limit is {}", super::READS_IN_FLIGHT_MAX);
        return ApiError::unavailable(message, RETRY_AFTER).into_response();
    };
    let (parts, body) = next.run(request).await.into_parts();
    // An answer of one piece goes to the connection as it is; a longer one keeps its place until it is sent.
    if body.size_hint().exact().is_some() {
        return Response::from_parts(parts, body);
    }
    let pieces = paced(body.into_data_stream(), permit, gateway.state.queries.send_timeout());
    let pieces = pieces.map(|piece| piece.map_err(axum::Error::new).flatten());
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Refuses requests that a page of another origin makes a browser send: they could write to a node that listens only to
/// its own machine, or delete its data.
pub(super) async fn refuse_foreign_pages(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        let message = "pages of another origin may not write to this node or administer it";
        return ApiError::new(ErrorKind::Forbidden, message).into_response();
    }
    next.run(request).await
}

/// Refuses administration to those who may not.
pub(super) async fn refuse_strangers(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    match gateway.state.administrators.check(&request) {
        Ok(()) => next.run(request).await,
        Err(reason) => ApiError::new(ErrorKind::Forbidden, reason.to_string()).into_response(),
    }
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest.as_bytes());
    authority.is_none() || authority != host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:9480"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn only_pages_of_other_origins_are_foreign() {
        assert!(!is_foreign(&headers(None)));
        assert!(!is_foreign(&headers(Some("http://127.0.0.1:9480"))));
        assert!(is_foreign(&headers(Some("https://evil.example"))));
        assert!(is_foreign(&headers(Some("null"))));
    }
}
