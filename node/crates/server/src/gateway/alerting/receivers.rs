//! How receivers fare.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bellwether_model::Timestamp;
use serde_json::{Value, json};

use super::super::calendar::format_rfc3339;
use super::{ApiError, Gateway, json as answer};
use crate::alerting::desk::notifications::{IntegrationStatus, ReceiverStatus};

/// `GET /api/v1/alertmanager/receivers`
pub async fn statuses(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenant = gateway.tenant(&headers)?;
    let receivers: Value = gateway.state.desk.receiver_statuses(&tenant).iter().map(receiver_json).collect();
    Ok(answer(StatusCode::OK, json!({ "status": "success", "data": { "receivers": receivers } }).to_string()))
}

fn receiver_json(receiver: &ReceiverStatus) -> Value {
    let (groups, messages) = receiver.held_back;
    json!({
        "name": receiver.name,
        "held_back": { "groups": groups, "messages": messages },
        "integrations": receiver.integrations.iter().map(integration_json).collect::<Value>(),
    })
}

fn integration_json(integration: &IntegrationStatus) -> Value {
    let time = |time: Option<Timestamp>| time.map(format_rfc3339);
    let health = &integration.health;
    json!({
        "kind": integration.kind.name(),
        "health": integration.word(),
        "sent_at": time(health.sent_at),
        "failing_since": time(health.failing_since),
        "failed_at": time(health.failed_at),
        "last_error": health.last_error,
        "given_up": health.failures,
        "waiting": integration.waiting,
        "waiting_since": time(integration.waiting_since),
    })
}
