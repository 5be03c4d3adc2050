//! `bwctl notify simulate`: the messages that alerts of a timeline make.

use std::path::Path;

use bellwether_alert::notify::dispatch::{Alert, Message};
use bellwether_alert::notify::route::PrintedLabels;
use serde_json::{Value, json};

use super::{messages, read, refused};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};
use crate::times::print_time;

/// Plays it.
pub fn simulate(output: Output, config_path: &Path, timeline_path: &Path) -> Result<bool, Failure> {
    let config = read(config_path).map_err(|problems| refused(config_path, &problems))?;
    let messages = messages(&config, timeline_path)?;
    output.print(|| table(&messages), || json_of(&messages))?;
    Ok(true)
}

fn table(messages: &[(i64, Message)]) -> Table {
    let mut table = Table::new([
        Column::Left("TIME"),
        Column::Left("RECEIVER"),
        Column::Left("BY"),
        Column::Left("WHY"),
        Column::Right("FIRING"),
        Column::Right("RESOLVED"),
        Column::Left("GROUP"),
    ]);
    for (at, message) in messages {
        table.row([
            print_time(*at),
            message.receiver.clone(),
            message.integration.kind.name().to_owned(),
            message.why.as_str().to_owned(),
            message.firing.len().to_string(),
            message.resolved.len().to_string(),
            PrintedLabels(&message.group).to_string(),
        ]);
    }
    table
}

fn json_of(messages: &[(i64, Message)]) -> Value {
    let alerts = |alerts: &[Alert]| {
        let labels = |alert: &Alert| -> serde_json::Map<String, Value> {
            alert.labels.iter().map(|label| (label.name.to_owned(), label.value.into())).collect()
        };
        let alert = |alert: &Alert| {
            let ends_at = alert.ends_at.map(print_time);
            json!({ "labels": labels(alert), "startsAt": print_time(alert.begins_at), "endsAt": ends_at })
        };
        alerts.iter().map(alert).collect::<Vec<_>>()
    };
    let one = |(at, message): &(i64, Message)| {
        json!({
            "time": print_time(*at),
            "receiver": message.receiver,
            "by": message.integration.kind.name(),
            "why": message.why.as_str(),
            "groupKey": message.group_key,
            "firing": alerts(&message.firing),
            "resolved": alerts(&message.resolved),
        })
    };
    Value::Array(messages.iter().map(one).collect())
}
