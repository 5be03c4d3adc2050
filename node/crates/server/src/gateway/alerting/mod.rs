//! Alerting for clients of others: Prometheus's rules and alerts, Mimir's ruler, Alertmanager's API, and alerts with thresholds.
//!
//! Each file is a thin edge around the [`Desk`](crate::alerting::desk::Desk): texts in, its calls, texts out. [`rules`] and [`ruler`]
//! are about rules, [`definitions`] about alerts in the dialect of `/v1/alerts`, [`history`] about what became of alerts, [`alertmanager`] about what fires and who is told.

mod alertmanager;
mod definitions;
mod history;
mod links;
mod notifications;
mod posted;
mod receivers;
mod ruler;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use bellwether_model::Timestamp;

pub use definitions::NAMESPACE as DEFINITIONS_NAMESPACE;

use super::answer::{Pieces, body as body_of_pieces};
use super::{ApiError, ErrorKind, Gateway, body, calendar, guard};
use crate::alerting::desk::DeskError;

/// Bytes of a body: of rules, of a configuration with its templates, of alerts.
const BODY_BYTES_MAX: usize = 16 << 20;
/// When to come again if nobody could do it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const _: () = assert!(BODY_BYTES_MAX as u64 <= super::params::FORMS_BYTES_MAX);

/// All that is served of alerting.
pub(super) fn routes(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    // What others may not do, either because a page makes them or because they may not administer.
    let guarded = |routes: MethodRouter<Arc<Gateway>>| {
        let strangers = from_fn_with_state(gateway.clone(), guard::refuse_strangers);
        routes.route_layer(strangers).route_layer(from_fn(guard::refuse_foreign_pages))
    };
    let groups = || guarded(post(ruler::set).delete(ruler::delete_namespace)).get(ruler::of_namespace);
    let group = || guarded(axum::routing::delete(ruler::delete)).get(ruler::one);
    let define = || guarded(post(definitions::create));
    let defined =
        || guarded(axum::routing::put(definitions::replace).delete(definitions::delete)).get(definitions::one);
    let config = guarded(
        get(notifications::show).put(notifications::set).post(notifications::set).delete(notifications::delete),
    );
    let silences = guarded(post(alertmanager::set_silence)).get(alertmanager::silences);
    let silence = guarded(axum::routing::delete(alertmanager::expire_silence)).get(alertmanager::silence);
    let alerts = post(alertmanager::receive).route_layer(from_fn(guard::refuse_foreign_pages));
    Router::new()
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/rules/{namespace}", groups())
        .route("/api/v1/rules/{namespace}/{group}", group())
        .route("/prometheus/config/v1/rules", get(ruler::all))
        .route("/prometheus/config/v1/rules/{namespace}", groups())
        .route("/prometheus/config/v1/rules/{namespace}/{group}", group())
        .route("/api/v1/alerts", define().get(rules::alerts))
        .route("/api/v1/alerts/history", get(history::history))
        .route("/api/v1/alerts/{id}", defined())
        .route("/v1/alerts", define().get(definitions::list))
        .route("/v1/alerts/history", get(history::history))
        .route("/v1/alerts/{id}", defined())
        .route("/api/v1/alertmanager/config", config)
        .route("/api/v1/alertmanager/receivers", get(receivers::statuses))
        .route("/alerting/{token}", get(links::show).post(links::follow))
        .route("/api/v2/status", get(alertmanager::status))
        .route("/api/v2/receivers", get(alertmanager::receivers))
        .route("/api/v2/silences", silences)
        .route("/api/v2/silence/{id}", silence)
        .route("/api/v2/alerts", alerts.get(alertmanager::alerts))
        .route("/api/v2/alerts/groups", get(alertmanager::groups))
}

impl From<DeskError> for ApiError {
    fn from(error: DeskError) -> ApiError {
        let kind = match error {
            DeskError::Wrong(_) | DeskError::Invalid(_) | DeskError::Limit(_) => ErrorKind::BadData,
            DeskError::NotFound(_) => ErrorKind::NotFound,
            DeskError::Unanswered(_) => return ApiError::unavailable(error.to_string(), RETRY_AFTER),
        };
        ApiError::new(kind, error.to_string())
    }
}

impl Gateway {
    /// The body of a request, within bounds.
    async fn body_of(&self, request: Request) -> Result<Bytes, ApiError> {
        let _room = self.room_for_form(request.headers(), BODY_BYTES_MAX)?;
        Ok(body::read(request, BODY_BYTES_MAX).await?)
    }

    /// The same as text.
    async fn text_of(&self, request: Request) -> Result<String, ApiError> {
        let body = self.body_of(request).await?;
        String::from_utf8(body.into()).map_err(|_| ApiError::bad_data("the request's body is not UTF-8"))
    }
}

fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    answer(status, "application/json", body)
}

fn yaml(body: String) -> Response {
    answer(StatusCode::OK, "application/yaml", body)
}

/// A JSON array, an item at a time.
struct Items<T> {
    items: std::vec::IntoIter<T>,
    push: fn(&mut Vec<u8>, &T),
    is_begun: bool,
}

impl<T: Send + 'static> Pieces for Items<T> {
    fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while out.len() < enough {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(if self.is_begun { b"]" } else { b"[]" });
                return true;
            };
            out.push(if std::mem::replace(&mut self.is_begun, true) { b',' } else { b'[' });
            (self.push)(out, &item);
        }
        false
    }
}

/// A long JSON array, made while it is sent.
fn items<T: Send + 'static>(items: Vec<T>, push: fn(&mut Vec<u8>, &T)) -> Response {
    let items = items.into_iter();
    json(StatusCode::OK, body_of_pieces(Items { items, push, is_begun: false }, None))
}

/// A time as Go prints it with as many digits as it needs; its zero time for none.
fn go_time(time: Option<Timestamp>) -> String {
    let Some(time) = time else { return "0001-01-01T00:00:00Z".to_owned() };
    let text = calendar::format_rfc3339(time);
    let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{text}Z")
}

/// A number as Go's `strconv.FormatFloat(value, 'e', -1, 64)` prints it.
fn go_exponential(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_those_of_go() {
        for (time, text) in [
            (Some(1_795_169_472_345), "2026-11-20T10:11:12.345Z"),
            (Some(1_795_169_472_340), "2026-11-20T10:11:12.34Z"),
            (Some(1_795_169_470_000), "2026-11-20T10:11:10Z"),
            (None, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(go_time(time), text);
        }
        for (value, text) in [
            (1.0, "1e+00"),
            (0.05, "5e-02"),
            (-123.456, "-1.23456e+02"),
            (0.0, "0e+00"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(go_exponential(value), text);
        }
    }
}
