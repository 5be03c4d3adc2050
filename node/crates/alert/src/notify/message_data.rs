//! What templates of notifications see of a message
//! (<https://prometheus.io/docs/alerting/latest/notifications/#data>).

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::Labels;

use super::Config;
use super::dispatch::{Alert, Message, Why};
use super::fingerprint::Fingerprint;
use super::summary::Summed;
use crate::template::{Object, Record, Value, labels_value, time_value};

/// The end of an alert that has none: Go's zero time, the beginning of the year 1.
const NO_END_MS: i64 = -62_135_596_800_000;

impl Message {
    /// `firing` while an alert does, else `resolved`.
    pub fn status(&self) -> &'static str {
        if self.firing.is_empty() { "resolved" } else { "firing" }
    }

    /// The labels that all alerts have, with the same values.
    pub fn common_labels(&self) -> Labels {
        common(self.firing.iter().chain(&self.resolved).map(|alert| &alert.labels))
    }

    /// The annotations that all alerts have, with the same values.
    pub fn common_annotations(&self) -> Labels {
        common(self.firing.iter().chain(&self.resolved).map(|alert| &alert.annotations))
    }

    /// The data.
    pub fn data(&self, external_url: &str, extras: &Extras) -> Value {
        let firing: Vec<Value> = self.firing.iter().map(|alert| alert_value(alert, true, external_url)).collect();
        let resolved: Vec<Value> = self.resolved.iter().map(|alert| alert_value(alert, false, external_url)).collect();
        record(
            "*template.Data",
            vec![
                ("Receiver", Value::text(self.receiver.as_str())),
                ("Status", Value::text(self.status())),
                ("Alerts", Value::Object(Arc::new(Alerts::new(firing, resolved)))),
                ("GroupLabels", labels_value(entries(&self.group))),
                ("CommonLabels", labels_value(entries(&self.common_labels()))),
                ("CommonAnnotations", labels_value(entries(&self.common_annotations()))),
                ("ExternalURL", Value::text(external_url)),
                ("Summary", extras.summary.as_ref().map_or(Value::Missing, summary_value)),
                ("AcknowledgeURL", Value::text(extras.acknowledge_url.as_str())),
                ("SilenceURL", Value::text(extras.silence_url.as_str())),
                ("HeldBack", held_back_value(self.why)),
            ],
        )
    }
}

/// What is known of a message beside it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extras {
    /// It summed up, if its route says so.
    pub summary: Option<Summed>,
    /// Where somebody says that he takes care of the alerts; empty if nowhere.
    pub acknowledge_url: String,
    /// Where he silences them.
    pub silence_url: String,
}

impl Extras {
    /// What follows from the configuration alone.
    pub fn of(config: &Config, message: &Message) -> Extras {
        let summary = config.routes.get(message.route).summary.as_ref();
        let summary = summary.filter(|_| !matches!(message.why, Why::HeldBack { .. }));
        let summary = summary.map(|summary| summary.of(message, None, &|_| None));
        Extras { summary, ..Extras::default() }
    }
}

fn summary_value(summary: &Summed) -> Value {
    let number = |number: Option<f64>| number.map_or(Value::Missing, Value::Float);
    let worst = summary.worst.iter().map(|(name, value)| {
        record("template.Affected", vec![("Name", Value::text(name.as_str())), ("Value", number(*value))])
    });
    record(
        "template.Summary",
        vec![
            ("Text", Value::text(summary.text.as_str())),
            ("Noun", Value::text(summary.noun.as_str())),
            ("Affected", Value::Int(summary.affected as i64)),
            ("Total", number(summary.total)),
            ("Worst", Value::list(worst.collect())),
            ("Others", Value::Int(summary.others as i64)),
        ],
    )
}

fn held_back_value(why: Why) -> Value {
    let Why::HeldBack { messages, groups } = why else { return Value::Missing };
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    record("template.HeldBack", vec![("Messages", number(messages)), ("Groups", number(groups))])
}

fn record(type_name: &'static str, fields: Vec<(&'static str, Value)>) -> Value {
    Value::Object(Arc::new(Record { type_name, fields }))
}

fn entries(labels: &Labels) -> BTreeMap<String, Value> {
    labels.iter().map(|label| (label.name.to_owned(), Value::text(label.value))).collect()
}

/// What all have, with the same value.
fn common<'l>(mut all: impl Iterator<Item = &'l Labels>) -> Labels {
    let Some(first) = all.next() else { return Labels::default() };
    all.fold(first.clone(), |common, labels| common.filtered(|label| labels.get(label.name) == Some(label.value)))
}

/// Of alerts that fire no end is told, although it may be known already.
fn alert_value(alert: &Alert, is_firing: bool, external_url: &str) -> Value {
    let ends_at = alert.ends_at.filter(|_| !is_firing).unwrap_or(NO_END_MS);
    record(
        "template.Alert",
        vec![
            ("Status", Value::text(if is_firing { "firing" } else { "resolved" })),
            ("Labels", labels_value(entries(&alert.labels))),
            ("Annotations", labels_value(entries(&alert.annotations))),
            ("StartsAt", time_value(alert.begins_at)),
            ("EndsAt", time_value(ends_at)),
            ("GeneratorURL", Value::text(alert.generator_address(external_url))),
            ("Fingerprint", Value::text(Fingerprint::of(&alert.labels).to_string())),
        ],
    )
}

impl Alert {
    /// Where people see what it is made of; empty if nobody knows. Of a path it is that under `external_url`.
    pub fn generator_address(&self, external_url: &str) -> String {
        match self.generator_url.starts_with('/') {
            true => format!("{}{}", external_url.trim_end_matches('/'), self.generator_url),
            false => self.generator_url.to_string(),
        }
    }
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
