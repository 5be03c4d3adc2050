//! Remote write, versions 1.0 and 2.0: from headers to a call of the write path, from its outcome to a status.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::retry_after;
use super::{Gateway, body};
use crate::write::{ContentEncoding, RETRY_AFTER, RemoteWriteVersion, WriteError, WriteOutcome};

/// Unit in which room for bodies is counted: a semaphore counts no further than a u32.
pub const BODY_UNIT_BYTES: u64 = 1 << 10;

/// How much of its request a 2.0 sender may take off its queue.
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Room for `bytes`, in units.
pub fn body_units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(BODY_UNIT_BYTES)).unwrap_or(usize::MAX).min(u32::MAX as usize)
}

/// `POST /api/v1/write`
pub(super) async fn remote_write(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let version = match version(request.headers()) {
        Ok(version) => version,
        Err(refusal) => return refusal.into_response(),
    };
    let result = write(&gateway, version, request).await;
    let mut response = match &result {
        Ok(outcome) if !outcome.refused.fail_request() => StatusCode::NO_CONTENT.into_response(),
        Ok(outcome) => Refusal::bad(format!("{}; stored: {}", outcome.refused, stored(outcome))).into_response(),
        Err(refusal) => refusal.clone().into_response(),
    };
    if version == RemoteWriteVersion::V2 {
        let outcome = result.unwrap_or_default();
        for (name, count) in [
            (SAMPLES_WRITTEN, outcome.samples),
            (HISTOGRAMS_WRITTEN, outcome.histograms),
            (EXEMPLARS_WRITTEN, outcome.exemplars),
        ] {
            response.headers_mut().insert(name, HeaderValue::from(count));
        }
    }
    response
}

async fn write(gateway: &Gateway, version: RemoteWriteVersion, request: Request) -> Result<WriteOutcome, Refusal> {
    let encoding = encoding(request.headers())?;
    let tenant = gateway.tenant(request.headers()).map_err(|error| Refusal::new(error.kind.status(), error.message))?;
    if !*gateway.state.ready.borrow() {
        return Err(Refusal::transient("the node is not ready yet".to_owned(), RETRY_AFTER));
    }
    let Ok(_permit) = gateway.writes.try_acquire() else {
        let message = format!("too many writes at once, the limit is {}", super::WRITES_IN_FLIGHT_MAX);
        return Err(Refusal::transient(message, RETRY_AFTER));
    };
    let limit = gateway.state.config.ingest.max_body_bytes.0;
    let room = body_units(body::announced_length(request.headers()).unwrap_or(limit).min(limit)) as u32;
    let Ok(_room) = gateway.write_bodies.try_acquire_many(room) else {
        let message = "the bodies of requests in work reach ingest.max_inflight_bytes".to_owned();
        return Err(Refusal::transient(message, RETRY_AFTER));
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = body::read(request, limit).await.map_err(|error| Refusal::new(error.status(), error.to_string()))?;
    Ok(gateway.state.write.remote_write(&tenant, version, encoding, body).await?)
}

fn stored(outcome: &WriteOutcome) -> String {
    match (outcome.histograms, outcome.exemplars) {
        (0, 0) => format!("{} samples", outcome.samples),
        (histograms, exemplars) => {
            format!("{} samples, {histograms} histograms, {exemplars} exemplars", outcome.samples)
        }
    }
}

/// An error answer: plain text, as senders log it.
#[derive(Debug, Clone)]
struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, message: String) -> Refusal {
        Refusal { status, message, retry_after: None }
    }

    fn bad(message: String) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    fn transient(message: String, delay: Duration) -> Refusal {
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, message, retry_after: Some(delay) }
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Refusal {
        let message = error.to_string();
        match error {
            WriteError::Malformed(_) => Refusal::bad(message),
            WriteError::TooLarge { .. } | WriteError::TooManyNewSeries(_) => {
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
            }
            WriteError::Transient { retry_after, .. } => Refusal::transient(message, retry_after),
            WriteError::Internal(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = self.message, "a write failed");
        }
        let mut response = (self.status, self.message + "\n").into_response();
        if let Some(delay) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after(delay));
        }
        response
    }
}

/// The protocol's version by `Content-Type`; without one, 1.0, as Prometheus assumes.
fn version(headers: &HeaderMap) -> Result<RemoteWriteVersion, Refusal> {
    let unsupported = |message: String| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(RemoteWriteVersion::V1) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(unsupported(format!("Content-Type {text:?} is not supported, expected application/x-protobuf")));
    }
    let message = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("proto"));
    match message.map(|(_, name)| name.trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(RemoteWriteVersion::V1),
        Some("io.prometheus.write.v2.Request") => Ok(RemoteWriteVersion::V2),
        Some(other) => Err(unsupported(format!(
            "message {other:?} in Content-Type is not supported, expected prometheus.WriteRequest or \
             io.prometheus.write.v2.Request"
        ))),
    }
}

/// The body's compression by `Content-Encoding`; without one, snappy, as Prometheus assumes.
fn encoding(headers: &HeaderMap) -> Result<ContentEncoding, Refusal> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(ContentEncoding::Snappy) };
    match value.as_bytes().to_ascii_lowercase().as_slice() {
        b"" | b"snappy" => Ok(ContentEncoding::Snappy),
        b"zstd" => Ok(ContentEncoding::Zstd),
        b"identity" | b"none" => Ok(ContentEncoding::Identity),
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Encoding {value:?} is not supported, expected snappy, zstd or identity"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_content_type_tells_the_version() {
        let version = |value| version(&headers(header::CONTENT_TYPE, value)).map_err(|refusal| refusal.status.as_u16());
        assert_eq!(version("application/x-protobuf"), Ok(RemoteWriteVersion::V1));
        assert_eq!(version("application/x-protobuf;proto=prometheus.WriteRequest"), Ok(RemoteWriteVersion::V1));
        assert_eq!(version("application/x-protobuf; proto=io.prometheus.write.v2.Request"), Ok(RemoteWriteVersion::V2));
        assert_eq!(version("application/x-protobuf;proto=some.Other"), Err(415));
        assert_eq!(version("application/json"), Err(415));
        assert_eq!(version(""), Err(415));
    }

    #[test]
    fn the_content_encoding_tells_the_compression() {
        let encoding =
            |value| encoding(&headers(header::CONTENT_ENCODING, value)).map_err(|refusal| refusal.status.as_u16());
        assert_eq!(encoding("Snappy"), Ok(ContentEncoding::Snappy));
        assert_eq!(encoding("zstd"), Ok(ContentEncoding::Zstd));
        assert_eq!(encoding("identity"), Ok(ContentEncoding::Identity));
        assert_eq!(encoding("gzip"), Err(415));
    }
}
