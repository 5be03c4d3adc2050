//! What templates of notifications see of a message
//! (<https://prometheus.io/docs/alerting/latest/notifications/#data>).

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::Labels;

use super::dispatch::{Alert, Message};
use crate::template::{Object, Record, Value, labels_value, time_value};

/// The end of an alert that has none: Go's zero time, the beginning of the year 1.
const NO_END_MS: i64 = -62_135_596_800_000;

impl Message {
    /// The data.
    pub fn data(&self, external_url: &str) -> Value {
        let alerts = || self.firing.iter().chain(&self.resolved);
        let firing: Vec<Value> = self.firing.iter().map(|alert| alert_value(alert, "firing")).collect();
        let resolved: Vec<Value> = self.resolved.iter().map(|alert| alert_value(alert, "resolved")).collect();
        let status = if self.firing.is_empty() { "resolved" } else { "firing" };
        record(
            "*template.Data",
            vec![
                ("Receiver", Value::text(self.receiver.as_str())),
                ("Status", Value::text(status)),
                ("Alerts", Value::Object(Arc::new(Alerts::new(firing, resolved)))),
                ("GroupLabels", labels_value(entries(&self.group))),
                ("CommonLabels", labels_value(common(alerts().map(|alert| &alert.labels)))),
                ("CommonAnnotations", labels_value(common(alerts().map(|alert| &alert.annotations)))),
                ("ExternalURL", Value::text(external_url)),
            ],
        )
    }
}

fn record(type_name: &'static str, fields: Vec<(&'static str, Value)>) -> Value {
    Value::Object(Arc::new(Record { type_name, fields }))
}

fn entries(labels: &Labels) -> BTreeMap<String, Value> {
    labels.iter().map(|label| (label.name.to_owned(), Value::text(label.value))).collect()
}

/// What all have, with the same value.
fn common<'l>(mut all: impl Iterator<Item = &'l Labels>) -> BTreeMap<String, Value> {
    let Some(first) = all.next() else { return BTreeMap::new() };
    let common =
        all.fold(first.clone(), |common, labels| common.filtered(|label| labels.get(label.name) == Some(label.value)));
    entries(&common)
}

fn alert_value(alert: &Alert, status: &'static str) -> Value {
    record(
        "template.Alert",
        vec![
            ("Status", Value::text(status)),
            ("Labels", labels_value(entries(&alert.labels))),
            ("Annotations", labels_value(entries(&alert.annotations))),
            ("StartsAt", time_value(alert.begins_at)),
            ("EndsAt", time_value(alert.ends_at.unwrap_or(NO_END_MS))),
            ("GeneratorURL", Value::text(&*alert.generator_url)),
        ],
    )
}

/// `template.Alerts`: a list with methods.
#[derive(Debug)]
struct Alerts {
    /// Those that fire come first.
    all: Vec<Value>,
    firing: usize,
}

impl Alerts {
    fn new(mut firing: Vec<Value>, resolved: Vec<Value>) -> Alerts {
        let count = firing.len();
        firing.extend(resolved);
        Alerts { all: firing, firing: count }
    }
}

impl Object for Alerts {
    fn type_name(&self) -> &'static str {
        "template.Alerts"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let (firing, resolved) = self.all.split_at(self.firing);
        let some = |alerts: &[Value], firing| {
            Some(Ok(Value::Object(Arc::new(Alerts { all: alerts.to_vec(), firing }) as Arc<dyn Object>)))
        };
        match (method, args) {
            ("Firing", []) => some(firing, firing.len()),
            ("Resolved", []) => some(resolved, 0),
            _ => None,
        }
    }

    fn items(&self) -> Option<&[Value]> {
        Some(&self.all)
    }

    fn print(&self) -> String {
        Value::list(self.all.clone()).print()
    }
}
