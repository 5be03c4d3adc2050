//! `/v1/alerts`: alerts with thresholds, each a rule group of its own in a namespace of theirs. As it was defined it stands as JSON in
//! the first line of the group's text, a comment.

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_alert::alert_group::{Health, StoredGroup};
use bellwether_alert::definition::{Behavior, Definition, SEVERITY, Severity};
use bellwether_alert::duration::parse_duration_ms;
use bellwether_alert::rules::{Mute, write_group};
use bellwether_alert::state::alerting::Phase;
use bellwether_alert::state::threshold::Checks;
use bellwether_model::{Tenant, Timestamp};
use bellwether_promql::duration_text;
use serde_json::{Map, Value, json};

use super::super::calendar::format_rfc3339;
use super::{ApiError, ErrorKind, Gateway, json as answer};
use crate::alerting::desk::NamedGroup;

/// Where the groups are.
pub const NAMESPACE: &str = "v1_alerts";
/// What stands before the JSON.
const COMMENT: &str = "# definition: ";
const FIELDS: [&str; 12] = [
    "name",
    "query",
    "composite",
    "message",
    "notify",
    "thresholds",
    "checks",
    "evaluation_window",
    "no_data_behavior",
    "no_data_after",
    "critical",
    "mute",
];
const THRESHOLDS: [&str; 4] = ["critical", "warning", "critical_recovery", "warning_recovery"];

/// `POST /v1/alerts`
pub async fn create(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(request.headers())?;
    let definition = read(&gateway.body_of(request).await?)?;
    let id = Definition::id(&definition.name);
    if let Some(known) = gateway.state.desk.rule_group(&tenant, NAMESPACE, &id)
        && written(&known) != Some(to_json(&definition))
    {
        let message = format!("there is an alert {:?} already: PUT /v1/alerts/{id} changes it", definition.name);
        return Err(ApiError::new(ErrorKind::Conflict, message));
    }
    store(&gateway, &tenant, &id, &definition).await?;
    Ok(answer(StatusCode::CREATED, json!({ "alert_id": id }).to_string()))
}

/// `PUT /v1/alerts/<id>`
pub async fn replace(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(request.headers())?;
    find(&gateway, &tenant, &id)?;
    let definition = read(&gateway.body_of(request).await?)?;
    store(&gateway, &tenant, &id, &definition).await?;
    Ok(answer(StatusCode::OK, json!({ "alert_id": id }).to_string()))
}

/// `DELETE /v1/alerts/<id>`
pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    find(&gateway, &tenant, &id)?;
    gateway.state.desk.delete_rule_group(&tenant, NAMESPACE, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/alerts/<id>`: as it was defined, and how it is.
pub async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let group = find(&gateway, &tenant, &id)?;
    let mut shown = written(&group).unwrap_or_default();
    shown.append(&mut status(&id, &group));
    Ok(answer(StatusCode::OK, Value::Object(shown).to_string()))
}

/// `GET /v1/alerts`
pub async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let mut out = b"{\"alerts\":".to_vec();
    push_list(&mut out, &gateway.state.desk.rule_groups(&tenant, Some(NAMESPACE)));
    out.push(b'}');
    Ok(answer(StatusCode::OK, out))
}

/// Appends what is defined among the groups, and how it is.
pub fn push_list(out: &mut Vec<u8>, groups: &[NamedGroup]) {
    let defined = groups.iter().filter(|named| named.namespace == NAMESPACE);
    super::super::json::push_array(out, defined, |out, named| {
        out.extend_from_slice(Value::Object(status(&named.name, &named.group)).to_string().as_bytes());
    });
}

fn find(gateway: &Gateway, tenant: &Tenant, id: &str) -> Result<Arc<StoredGroup>, ApiError> {
    let group = gateway.state.desk.rule_group(tenant, NAMESPACE, id);
    group.ok_or_else(|| ApiError::new(ErrorKind::NotFound, format!("there is no alert {id:?}")))
}

async fn store(gateway: &Gateway, tenant: &Tenant, id: &str, definition: &Definition) -> Result<(), ApiError> {
    let group = definition.rules(id).map_err(|error| ApiError::bad_data(error.to_string()))?;
    if let Some(misfit) = gateway.state.desk.check_composites(tenant, NAMESPACE, &group).first() {
        let before = definition.composite.as_ref().and_then(|text| text.get(..misfit.offset)).unwrap_or_default();
        let message = format!("composite: character {}: {}", before.chars().count() + 1, misfit.message);
        return Err(ApiError::bad_data(message));
    }
    let text = format!("{COMMENT}{}\n{}", Value::Object(to_json(definition)), write_group(&group));
    gateway.state.desk.set_checked(tenant, NAMESPACE, text).await?;
    Ok(())
}

/// What a group was made of.
fn written(group: &StoredGroup) -> Option<Map<String, Value>> {
    serde_json::from_str(group.text.strip_prefix(COMMENT)?.lines().next()?).ok()
}

/// How an alert is: the worst of what fires of it, since when, and with which value.
fn status(id: &str, group: &StoredGroup) -> Map<String, Value> {
    let mut worst: Option<(Severity, Timestamp, f64)> = None;
    let mut error = None;
    for known in &group.progress.rules {
        if let Health::Failed(reason) = &known.health {
            error.get_or_insert_with(|| reason.clone());
        }
        for (labels, alert) in &*known.alerts {
            let Phase::Firing { since, .. } = alert.phase else { continue };
            let Some(severity) = labels.get(SEVERITY).and_then(Severity::of) else { continue };
            // Of several series the first that fired tells.
            let is_worse = |(known, known_since, _): (Severity, Timestamp, f64)| {
                severity > known || (severity == known && since < known_since)
            };
            if worst.is_none_or(is_worse) {
                worst = Some((severity, since, alert.value));
            }
        }
    }
    let status = match worst.map(|(severity, _, _)| severity) {
        None => "ok",
        Some(Severity::NoData) => "no_data",
        Some(Severity::Warning) => "warning",
        Some(Severity::Critical) => "triggered",
    };
    let definition = written(group).unwrap_or_default();
    let of = |field: &str| definition.get(field).cloned().unwrap_or_default();
    let mut shown = Map::new();
    shown.insert("alert_id".to_owned(), id.into());
    shown.insert("name".to_owned(), of("name"));
    shown.insert("status".to_owned(), status.into());
    shown.insert("query".to_owned(), of("query"));
    shown.insert("triggered_at".to_owned(), worst.map(|(_, since, _)| format_rfc3339(since)).into());
    // Where there is no data there is no value, and one that is no number has no JSON.
    let value = worst.filter(|(severity, ..)| *severity != Severity::NoData).map(|(_, _, value)| value);
    shown.insert("value".to_owned(), value.into());
    if let Some(error) = error {
        shown.insert("error".to_owned(), error.into());
    }
    shown
}

fn to_json(definition: &Definition) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("name", definition.name.clone().into());
    match &definition.composite {
        None => put("query", definition.query.clone().into()),
        Some(composite) => put("composite", composite.clone().into()),
    };
    if let Some(message) = &definition.message {
        put("message", message.clone().into());
    }
    if !definition.notify.is_empty() {
        put("notify", definition.notify.clone().into());
    }
    let Definition { critical, warning, critical_recovery, warning_recovery, .. } = definition;
    let thresholds = THRESHOLDS.into_iter().zip([critical, warning, critical_recovery, warning_recovery]);
    let thresholds: Map<String, Value> =
        thresholds.filter_map(|(name, value)| Some((name.to_owned(), (*value)?.into()))).collect();
    if !thresholds.is_empty() {
        put("thresholds", thresholds.into());
    }
    if let Some(ms) = definition.evaluation_window_ms {
        put("evaluation_window", duration_text(ms).into());
    }
    if let Some(Checks { at_least, of }) = definition.checks {
        put("checks", json!({ "at_least": at_least, "of": of }));
    }
    put("no_data_behavior", definition.no_data.as_str().into());
    if let Some(ms) = definition.no_data_after_ms {
        put("no_data_after", duration_text(ms).into());
    }
    if definition.is_critical {
        put("critical", true.into());
    }
    if !definition.mute.is_empty() {
        let mute = |mute: &Mute| {
            let zone = mute.time_zone.iter().map(|zone| ("time_zone", zone.as_str()));
            let pairs = [("schedule", mute.schedule.as_str())].into_iter().chain(zone);
            pairs.map(|(name, text)| (name.to_owned(), text.into())).collect::<Map<String, Value>>()
        };
        put("mute", definition.mute.iter().map(mute).collect());
    }
    out
}

fn read(body: &[u8]) -> Result<Definition, ApiError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| ApiError::bad_data(format!("the body is no JSON: {error}")))?;
    let Value::Object(fields) = &body else {
        return Err(ApiError::bad_data(format!("the body must be an object, this is {}", kind_of(&body))));
    };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let message = format!("unknown field {unknown:?}: an alert has {}", FIELDS.join(", "));
        return Err(ApiError::bad_data(message));
    }
    let composite = text(fields, "composite")?;
    if composite.is_some() && field(fields, "query").is_some() {
        return Err(ApiError::bad_data("composite: there is a query already"));
    }
    let thresholds = within(fields, "thresholds", &THRESHOLDS)?;
    let threshold = |name: &str| match field(thresholds, name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| not_a(&format!("thresholds.{name}"), "a number", value)),
    };
    let is_critical = match field(fields, "critical") {
        None => false,
        Some(Value::Bool(is_critical)) => *is_critical,
        Some(other) => return Err(not_a("critical", "true or false", other)),
    };
    let no_data = text(fields, "no_data_behavior")?;
    let no_data = no_data.map_or(Ok(Behavior::Ok), |text| {
        let message = || format!("no_data_behavior: {text:?} is none of \"alert\", \"ok\", \"keep\"");
        Behavior::of(&text).ok_or_else(|| ApiError::bad_data(message()))
    })?;
    Ok(Definition {
        name: required(fields, "name")?,
        query: if composite.is_some() { String::new() } else { required(fields, "query")? },
        composite,
        message: text(fields, "message")?,
        notify: targets(fields)?,
        critical: threshold("critical")?,
        warning: threshold("warning")?,
        critical_recovery: threshold("critical_recovery")?,
        warning_recovery: threshold("warning_recovery")?,
        checks: checks(fields)?,
        evaluation_window_ms: duration(fields, "evaluation_window")?,
        no_data,
        is_critical,
        no_data_after_ms: duration(fields, "no_data_after")?,
        mute: mutes(fields)?,
    })
}

fn mutes(fields: &Map<String, Value>) -> Result<Vec<Mute>, ApiError> {
    let items = match field(fields, "mute") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(not_a("mute", "a list of objects", other)),
    };
    let mute = |item: &Value| {
        let Value::Object(of) = item else { return Err(not_a("mute", "a list of objects", item)) };
        if let Some(unknown) = of.keys().find(|name| !["schedule", "time_zone"].contains(&name.as_str())) {
            let message = format!("unknown field \"mute.{unknown}\": mute has schedule, time_zone");
            return Err(ApiError::bad_data(message));
        }
        Mute::new(&required(of, "schedule")?, text(of, "time_zone")?.as_deref())
            .map_err(|(field, message)| ApiError::bad_data(format!("mute.{field}: {message}")))
    };
    items.iter().map(mute).collect()
}

fn checks(fields: &Map<String, Value>) -> Result<Option<Checks>, ApiError> {
    if field(fields, "checks").is_none() {
        return Ok(None);
    }
    let checks = within(fields, "checks", &["at_least", "of"])?;
    let number = |name: &str| {
        let path = format!("checks.{name}");
        let value = field(checks, name).ok_or_else(|| ApiError::bad_data(format!("{path}: it is missing")))?;
        value
            .as_u64()
            .map(|number| u8::try_from(number).unwrap_or(u8::MAX))
            .ok_or_else(|| not_a(&path, "a whole number", value))
    };
    Ok(Some(Checks { at_least: number("at_least")?, of: number("of")? }))
}

/// The fields of an object in a field; none if that is not there.
fn within<'f>(fields: &'f Map<String, Value>, name: &str, known: &[&str]) -> Result<&'f Map<String, Value>, ApiError> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    let of = match field(fields, name) {
        None => &NONE,
        Some(Value::Object(of)) => of,
        Some(other) => return Err(not_a(name, "an object", other)),
    };
    match of.keys().find(|field| !known.contains(&field.as_str())) {
        None => Ok(of),
        Some(unknown) => {
            let message = format!("unknown field \"{name}.{unknown}\": {name} has {}", known.join(", "));
            Err(ApiError::bad_data(message))
        }
    }
}

fn duration(fields: &Map<String, Value>, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = text(fields, name)? else { return Ok(None) };
    parse_duration_ms(&text).map(Some).map_err(|error| ApiError::bad_data(format!("{name}: {error}")))
}

/// A field; `null` is none.
fn field<'f>(fields: &'f Map<String, Value>, name: &str) -> Option<&'f Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match field(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(not_a(name, "a text", other)),
    }
}

fn required(fields: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    text(fields, name)?.ok_or_else(|| ApiError::bad_data(format!("{name}: it is missing")))
}

fn targets(fields: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    let items = match field(fields, "notify") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(not_a("notify", "a list of texts", other)),
    };
    let target =
        |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| not_a("notify", "a list of texts", item));
    items.iter().map(target).collect()
}

fn not_a(name: &str, wanted: &str, found: &Value) -> ApiError {
    ApiError::bad_data(format!("{name}: it must be {wanted}, this is {}", kind_of(found)))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
