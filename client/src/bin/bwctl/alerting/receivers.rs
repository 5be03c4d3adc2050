//! How receivers fare.

use bellwether_client::v1::{IntegrationStatus, ReceiverStatus};
use serde_json::{Value, json};

use super::client_of;
use crate::Context;
use crate::arguments::TenantOption;
use crate::failure::Failure;
use crate::table::{Column, Table};
use crate::times::print_time;

const FAILING: &str = "failing";

/// `bwctl notify status`
pub async fn status(context: &Context, failing: bool, of: &TenantOption) -> Result<(), Failure> {
    let mut receivers = client_of(context, of)?.alerting().receivers().await?;
    if failing {
        for receiver in &mut receivers {
            receiver.integrations.retain(|integration| integration.health == FAILING);
        }
        receivers.retain(|receiver| !receiver.integrations.is_empty());
    }
    context.output.print(|| table(&receivers), || receivers.iter().map(receiver_json).collect())?;
    if failing && !receivers.is_empty() { Err(Failure::Found) } else { Ok(()) }
}

fn table(receivers: &[ReceiverStatus]) -> Table {
    use Column::{Left, Right};
    let mut table = Table::new([
        Left("RECEIVER"),
        Left("BY"),
        Left("HEALTH"),
        Left("TOLD LAST"),
        Left("FAILED LAST"),
        Right("GIVEN UP"),
        Right("WAITING"),
        Right("HELD BACK"),
        Left("WHY"),
    ]);
    for receiver in receivers {
        for integration in &receiver.integrations {
            table.row([
                receiver.name.clone(),
                integration.kind.clone(),
                integration.health.clone(),
                time(integration.sent_ms),
                time(integration.failed_ms),
                integration.given_up.to_string(),
                integration.waiting.to_string(),
                receiver.held_back_groups.to_string(),
                integration.last_error.clone(),
            ]);
        }
        if receiver.integrations.is_empty() {
            let nothing = || "-".to_owned();
            let row = [receiver.name.clone(), "nobody".to_owned()];
            let [name, by] = row;
            table.row([name, by, nothing(), nothing(), nothing(), nothing(), nothing(), nothing(), String::new()]);
        }
    }
    table
}

fn time(ms: i64) -> String {
    if ms == 0 { "-".to_owned() } else { print_time(ms) }
}

fn receiver_json(receiver: &ReceiverStatus) -> Value {
    json!({
        "name": receiver.name,
        "held_back": {"groups": receiver.held_back_groups, "messages": receiver.held_back_messages},
        "integrations": receiver.integrations.iter().map(integration_json).collect::<Value>(),
    })
}

fn integration_json(integration: &IntegrationStatus) -> Value {
    json!({
        "kind": integration.kind,
        "health": integration.health,
        "sent_ms": integration.sent_ms,
        "failing_since_ms": integration.failing_since_ms,
        "failed_ms": integration.failed_ms,
        "last_error": integration.last_error,
        "given_up": integration.given_up,
        "waiting": integration.waiting,
        "waiting_since_ms": integration.waiting_since_ms,
    })
}
