//! Alertmanager's API v2 (<https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>): errors are JSON strings, as
//! amtool reads them.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bellwether_alert::notify::config::without_secrets;
use bellwether_alert::notify::matchers::Matchers;
use bellwether_alert::notify::silence::SilenceState;
use bellwether_model::{Label, Labels, MatchOp, Matcher, PatternBudget, WholeRegex};
use serde_json::{Map, Value, json};

use super::super::calendar::format_rfc3339;
use super::super::error::retry_after;
use super::super::params::Params;
use super::posted::{PostedAlert, PostedSilence};
use super::{ApiError, DeskError, Gateway};
use crate::alerting::desk::NamedSilence;
use crate::alerting::desk::alerts::{AlertFilter, FiringAlert, FiringGroup};
use crate::alerting::desk::read_matchers;

/// The Alertmanager that this was compared with; amtool warns of another than its own.
const ALERTMANAGER_VERSION: &str = "0.25.0";
/// What is shown as configuration where there is none.
const NOBODY: &str = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n";

/// An error answer.
pub struct V2Error(ApiError);

impl<E: Into<ApiError>> From<E> for V2Error {
    fn from(error: E) -> V2Error {
        V2Error(error.into())
    }
}

impl IntoResponse for V2Error {
    fn into_response(self) -> Response {
        let mut response = super::json(self.0.kind.status(), Value::String(self.0.message).to_string());
        if let Some(delay) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after(delay));
        }
        response
    }
}

fn shown(value: &Value) -> Response {
    uncached(super::json(StatusCode::OK, value.to_string()))
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /api/v2/status`
pub async fn status(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    let stored = gateway.state.desk.notifications(&tenant);
    let config = stored.and_then(|stored| without_secrets(&stored.config)).unwrap_or_else(|| NOBODY.to_owned());
    Ok(shown(&json!({
        "cluster": { "name": "", "peers": [], "status": "ready" },
        "config": { "original": config },
        "uptime": format_rfc3339(gateway.state.started_ms),
        "versionInfo": {
            "branch": "",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "revision": concat!("bellwether ", env!("CARGO_PKG_VERSION")),
            "version": ALERTMANAGER_VERSION,
        },
    })))
}

/// `GET /api/v2/receivers`
pub async fn receivers(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    let names = gateway.state.desk.receivers(&tenant);
    Ok(shown(&names.into_iter().map(|name| json!({ "name": name })).collect()))
}

/// `GET /api/v2/alerts`
pub async fn alerts(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    let filter = filter(&params)?;
    let alerts = gateway.state.desk.firing(&tenant, &filter);
    Ok(uncached(super::items(alerts, |out, alert| out.extend_from_slice(alert_json(alert).to_string().as_bytes()))))
}

/// `GET /api/v2/alerts/groups`
pub async fn groups(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    let filter = filter(&params)?;
    let groups = gateway.state.desk.firing_groups(&tenant, &filter);
    Ok(uncached(super::items(groups, |out, group| out.extend_from_slice(group_json(group).to_string().as_bytes()))))
}

/// `POST /api/v2/alerts`: those that are right are taken, whatever the others are.
pub async fn receive(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<StatusCode, V2Error> {
    let tenant = gateway.tenant(request.headers())?;
    let body = gateway.body_of(request).await?;
    let posted: Vec<PostedAlert> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_data(format!("parsing alerts body failed: {error}")))?;
    let (mut alerts, mut wrong) = (Vec::with_capacity(posted.len()), Vec::new());
    for posted in posted {
        match posted.read() {
            Ok(alert) => alerts.push(alert),
            Err(message) => wrong.push(message),
        }
    }
    if !alerts.is_empty() {
        gateway.state.desk.receive(&tenant, alerts).await?;
    }
    if wrong.is_empty() { Ok(StatusCode::OK) } else { Err(ApiError::bad_data(wrong.join("; ")).into()) }
}

/// `GET /api/v2/silences`
pub async fn silences(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    let wanted = read_matchers(params.all("filter"))?;
    let mut silences = gateway.state.desk.silences(&tenant);
    // A silence is wanted if it has all these matchers, whatever it meets.
    silences.retain(|named| {
        wanted.iter().all(|wanted| matchers_of(named).is_some_and(|own| own.iter().any(|own| own == wanted)))
    });
    Ok(shown(&silences.iter().map(silence_json).collect()))
}

/// `POST /api/v2/silences`
pub async fn set_silence(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(request.headers())?;
    let body = gateway.body_of(request).await?;
    let posted: PostedSilence = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_data(format!("parsing silence body failed: {error}")))?;
    let wish = posted.read().map_err(ApiError::bad_data)?;
    let id = gateway.state.desk.set_silence(&tenant, wish).await?;
    Ok(shown(&json!({ "silenceID": id })))
}

/// `GET /api/v2/silence/<id>`
pub async fn silence(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    Ok(match gateway.state.desk.silence(&tenant, &id) {
        Some(silence) => shown(&silence_json(&silence)),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

/// `DELETE /api/v2/silence/<id>`
pub async fn expire_silence(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, V2Error> {
    let tenant = gateway.tenant(&headers)?;
    match gateway.state.desk.expire_silence(&tenant, &id).await {
        Ok(()) => Ok(StatusCode::OK),
        Err(DeskError::NotFound(_)) => Ok(StatusCode::NOT_FOUND),
        Err(error) => Err(error.into()),
    }
}

fn filter(params: &Params) -> Result<AlertFilter, ApiError> {
    let is_wanted = |name: &'static str| match params.get(name) {
        None => Ok(true),
        Some(_) => params.flag(name),
    };
    // There is nothing that was not processed: an alert is in its groups from its entry of the log on.
    is_wanted("unprocessed")?;
    let receiver = match params.get("receiver") {
        None => None,
        Some(pattern) => {
            let compiled = WholeRegex::new(pattern, &mut PatternBudget::default());
            Some(compiled.map_err(|error| ApiError::bad_data(format!("failed to parse receiver param: {error}")))?)
        }
    };
    Ok(AlertFilter {
        matchers: read_matchers(params.all("filter"))?,
        receiver,
        active: is_wanted("active")?,
        silenced: is_wanted("silenced")?,
        inhibited: is_wanted("inhibited")?,
        muted: is_wanted("muted")?,
    })
}

fn labels_json(labels: &Labels) -> Value {
    let pair = |label: Label<'_>| (label.name.to_owned(), Value::String(label.value.to_owned()));
    Value::Object(labels.iter().map(pair).collect::<Map<_, _>>())
}

fn alert_json(alert: &FiringAlert) -> Value {
    let inhibited_by: Vec<String> = alert.inhibited_by.iter().map(ToString::to_string).collect();
    let receivers: Value = alert.receivers.iter().map(|name| json!({ "name": name })).collect();
    let mut shown = json!({
        "annotations": labels_json(&alert.annotations),
        "endsAt": format_rfc3339(alert.ends_at),
        "fingerprint": alert.fingerprint.to_string(),
        "labels": labels_json(&alert.labels),
        "receivers": receivers,
        "startsAt": format_rfc3339(alert.begins_at),
        "status": {
            "inhibitedBy": inhibited_by,
            "mutedBy": alert.muted_by,
            "silencedBy": alert.silenced_by,
            "state": if alert.is_suppressed() { "suppressed" } else { "active" },
        },
        "updatedAt": format_rfc3339(alert.updated_at),
    });
    if let Some(acknowledged) = &alert.acknowledged {
        shown["status"]["acknowledged"] = json!({ "at": format_rfc3339(acknowledged.at), "by": &*acknowledged.by });
    }
    if !alert.generator_url.is_empty() {
        shown["generatorURL"] = Value::String(alert.generator_url.to_string());
    }
    shown
}

fn group_json(group: &FiringGroup) -> Value {
    json!({
        "alerts": group.alerts.iter().map(alert_json).collect::<Value>(),
        "labels": labels_json(&group.labels),
        "receiver": { "name": group.receiver },
    })
}

/// Its matchers; none if they mean nothing to this program.
fn matchers_of(named: &NamedSilence) -> Option<&Matchers> {
    named.silence.parsed.as_ref().ok()
}

fn silence_json(named: &NamedSilence) -> Value {
    let silence = &named.silence;
    let matcher = |matcher: &Matcher| {
        json!({
            "isEqual": matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex),
            "isRegex": matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex),
            "name": matcher.name(),
            "value": matcher.value(),
        })
    };
    let during = silence.during.as_ref().map(|(text, _)| &**text);
    let matchers: Value = matchers_of(named).into_iter().flat_map(Matchers::iter).map(matcher).collect();
    let mut shown = json!({
        "comment": &*silence.comment,
        "createdBy": &*silence.created_by,
        "endsAt": format_rfc3339(silence.ends_at),
        "id": named.id,
        "matchers": matchers,
        "startsAt": format_rfc3339(silence.begins_at),
        "status": { "state": state_of(named.state) },
        "updatedAt": format_rfc3339(silence.updated_at),
    });
    if let Some(during) = during {
        shown["while"] = during.into();
    }
    shown
}

/// What a silence does, in a word.
pub fn state_of(state: SilenceState) -> &'static str {
    match state {
        SilenceState::Pending => "pending",
        SilenceState::Active => "active",
        SilenceState::Expired => "expired",
    }
}
