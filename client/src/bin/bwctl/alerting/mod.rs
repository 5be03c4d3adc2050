//! What nodes know of alerting: `bwctl rules load|list|show|delete|status|replay`, `bwctl notify load|show|status|delete`, `bwctl alerts`, `bwctl
//! silence`, `bwctl oncall`. What is done to files without a node is in [`rules`](crate::rules) and [`notify`](crate::notify).

mod history;
pub mod notifications;
pub mod on_call;
mod receivers;
mod replay;
pub mod rules;
pub mod silences;

use bellwether_client::Client;
use bellwether_client::v1::{Alert, Label};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::arguments::{AlertsCommand, TenantOption};
use crate::failure::Failure;
use crate::table::{Column, Table};
use crate::times::print_time;

/// The client for a tenant's things.
fn client_of(context: &Context, option: &TenantOption) -> Result<Client, Failure> {
    match &option.tenant {
        Some(tenant) => Ok(context.client.for_tenant(tenant)?),
        None => Ok(context.client.clone()),
    }
}

/// `bwctl alerts`
pub async fn run(context: &Context, command: AlertsCommand) -> Result<(), Failure> {
    match command {
        AlertsCommand::List { matchers, of } => {
            let alerts = client_of(context, &of)?.alerting().alerts(&matchers).await?;
            Ok(context.output.print(|| table(&alerts), || alerts.iter().map(alert_json).collect())?)
        }
        AlertsCommand::History(arguments) => history::run(context, arguments).await,
        AlertsCommand::Acknowledge { matchers, author, of } => {
            let count = client_of(context, &of)?.alerting().acknowledge(&matchers, &author).await?;
            let line = format!("{count} alert{} acknowledged now", if count == 1 { " is" } else { "s are" });
            Ok(context.output.print_line(&line, &json!({"acknowledged": count}))?)
        }
    }
}

fn table(alerts: &[Alert]) -> Table {
    let columns = ["ALERT", "STATE", "SINCE", "VALUE", "TOLD TO", "LABELS"].map(Column::Left);
    let mut table = Table::new(columns);
    for alert in alerts {
        let name = alert.labels.iter().find(|label| label.name == NAME).map_or("", |label| &label.value);
        let others = alert.labels.iter().filter(|label| label.name != NAME);
        let others: Vec<String> = others.map(|label| format!("{}={:?}", label.name, label.value)).collect();
        let value = alert.value.map(|value| value.to_string()).unwrap_or_default();
        let quiet = match (alert.silenced_by.first(), alert.inhibited_by.first()) {
            (Some(id), _) => format!("nobody: silence {id}"),
            (None, Some(fingerprint)) => format!("nobody: inhibited by {fingerprint}"),
            (None, None) if !alert.muted_by.is_empty() => format!("nobody: muted by {}", alert.muted_by.join(", ")),
            (None, None) => alert.receivers.join(", "),
        };
        let state = match alert.acknowledged_ms {
            0 => alert.state.clone(),
            _ => format!("{}, {} takes care", alert.state, alert.acknowledged_by),
        };
        table.row([name.to_owned(), state, print_time(alert.active_since_ms), value, quiet, others.join(" ")]);
    }
    table
}

const NAME: &str = "alertname";

fn alert_json(alert: &Alert) -> Value {
    json!({
        "labels": pairs(&alert.labels),
        "annotations": pairs(&alert.annotations),
        "state": alert.state,
        "active_since_ms": alert.active_since_ms,
        "value": alert.value,
        "fingerprint": alert.fingerprint,
        "receivers": alert.receivers,
        "silenced_by": alert.silenced_by,
        "inhibited_by": alert.inhibited_by,
        "muted_by": alert.muted_by,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_ms": alert.acknowledged_ms,
    })
}

fn pairs(labels: &[Label]) -> Value {
    let pair = |label: &Label| (label.name.clone(), Value::String(label.value.clone()));
    Value::Object(labels.iter().map(pair).collect::<Map<_, _>>())
}
