//! Mimir's ruler: rule groups as YAML, by namespace. Errors are plain text, as mimirtool prints them.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_alert::rules::{RuleGroup, write_group, write_namespaces};

use super::super::error::TextError;
use super::definitions::NAMESPACE;
use super::{ApiError, ErrorKind, Gateway, json, yaml};
use crate::alerting::desk::NamedGroup;

/// What Mimir answers when something was changed.
const DONE: &str = r#"{"status":"success","data":null,"errorType":"","error":""}"#;

/// `POST /api/v1/rules/<namespace>`: one group.
pub async fn set(
    State(gateway): State<Arc<Gateway>>,
    Path(namespace): Path<String>,
    request: Request,
) -> Result<Response, TextError> {
    let tenant = gateway.tenant(request.headers())?;
    refuse_definitions(&namespace)?;
    let text = gateway.text_of(request).await?;
    gateway.state.desk.set_rule_group(&tenant, &namespace, &text).await.map_err(ApiError::from)?;
    Ok(json(StatusCode::ACCEPTED, DONE))
}

/// `DELETE /api/v1/rules/<namespace>/<group>`
pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Path((namespace, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, TextError> {
    let tenant = gateway.tenant(&headers)?;
    refuse_definitions(&namespace)?;
    gateway.state.desk.delete_rule_group(&tenant, &namespace, &group).await.map_err(ApiError::from)?;
    Ok(json(StatusCode::ACCEPTED, DONE))
}

/// `DELETE /api/v1/rules/<namespace>`
pub async fn delete_namespace(
    State(gateway): State<Arc<Gateway>>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
) -> Result<Response, TextError> {
    let tenant = gateway.tenant(&headers)?;
    refuse_definitions(&namespace)?;
    gateway.state.desk.delete_namespace(&tenant, &namespace).await.map_err(ApiError::from)?;
    Ok(json(StatusCode::ACCEPTED, DONE))
}

/// `GET /prometheus/config/v1/rules`: all groups by namespace, but for what `/v1/alerts` keeps: who makes the cluster equal to
/// his files deletes whatever is listed here and is in none of them.
pub async fn all(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, TextError> {
    let tenant = gateway.tenant(&headers)?;
    let mut groups = gateway.state.desk.rule_groups(&tenant, None);
    groups.retain(|named| named.namespace != NAMESPACE);
    Ok(yaml(listed(&groups)))
}

/// `GET /api/v1/rules/<namespace>`
pub async fn of_namespace(
    State(gateway): State<Arc<Gateway>>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
) -> Result<Response, TextError> {
    let tenant = gateway.tenant(&headers)?;
    let groups = gateway.state.desk.rule_groups(&tenant, Some(&namespace));
    if groups.is_empty() {
        return Err(ApiError::new(ErrorKind::NotFound, "no rule groups found").into());
    }
    Ok(yaml(listed(&groups)))
}

/// `GET /api/v1/rules/<namespace>/<group>`
pub async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path((namespace, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, TextError> {
    let tenant = gateway.tenant(&headers)?;
    let Some(stored) = gateway.state.desk.rule_group(&tenant, &namespace, &group) else {
        return Err(ApiError::new(ErrorKind::NotFound, "group does not exist").into());
    };
    Ok(yaml(stored.parsed.as_ref().map_or_else(|_| stored.text.to_string(), |group| write_group(group))))
}

/// What `/v1/alerts` keeps is changed there.
fn refuse_definitions(namespace: &str) -> Result<(), ApiError> {
    if namespace != NAMESPACE {
        return Ok(());
    }
    Err(ApiError::bad_data(format!("the namespace {NAMESPACE:?} is that of /v1/alerts: change its alerts there")))
}

/// Groups come sorted by namespace. What this program cannot read is left out: it could not be told apart from the list.
fn listed(groups: &[NamedGroup]) -> String {
    let namespaces = groups.chunk_by(|one, next| one.namespace == next.namespace);
    write_namespaces(namespaces.map(|groups| {
        let readable: Vec<&RuleGroup> = groups.iter().filter_map(NamedGroup::rules).collect();
        (groups[0].namespace.as_str(), readable)
    }))
}
