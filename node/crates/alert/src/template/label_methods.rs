//! What templates of notifications can do with labels and annotations: `.CommonLabels.SortedPairs.Values`, `.Labels.Remove ...`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::{Map, Object, Record, Value};

/// This one comes before all others.
const ALERT_NAME: &str = "alertname";

/// Calls a method; none if the map is no labels, or there is no such method.
pub(super) fn call(map: &Map, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
    if !map.is_labels {
        return None;
    }
    match (method, args) {
        ("SortedPairs", []) => Some(Ok(Value::Object(Arc::new(Pairs(pairs(map)))))),
        ("Names", []) => Some(Ok(names(&pairs(map)))),
        ("Values", []) => Some(Ok(values(&pairs(map)))),
        ("Remove", [removed]) => Some(match removed.items() {
            Some(removed) => {
                let removed: Vec<&str> = removed.iter().filter_map(Value::as_text).collect();
                let kept = map.entries.iter().filter(|(name, _)| !removed.contains(&name.as_str()));
                Ok(labels(kept.map(|(name, value)| (name.clone(), value.clone())).collect()))
            }
            None => Err("Remove takes a list of names".to_owned()),
        }),
        ("SortedPairs" | "Names" | "Values" | "Remove", _) => Some(Err("wrong number of arguments".to_owned())),
        _ => None,
    }
}

/// A map with these methods.
pub(crate) fn labels(entries: BTreeMap<String, Value>) -> Value {
    Value::Map(Arc::new(Map { entries, zero: Value::text(""), is_labels: true, depth: 0 }))
}

/// `template.Pairs`
#[derive(Debug)]
struct Pairs(Vec<Value>);

fn pairs(map: &Map) -> Vec<Value> {
    let first = map.entries.get_key_value(ALERT_NAME);
    let rest = map.entries.iter().filter(|(name, _)| *name != ALERT_NAME);
    let pair = |(name, value): (&String, &Value)| {
        let fields = vec![("Name", Value::text(name.as_str())), ("Value", value.clone())];
        Value::Object(Arc::new(Record { type_name: "template.Pair", fields }))
    };
    first.into_iter().chain(rest).map(pair).collect()
}

fn of_pairs(pairs: &[Value], field: &str) -> Value {
    let one = |pair: &Value| match pair {
        Value::Object(pair) => pair.field(field),
        _ => None,
    };
    Value::list(pairs.iter().filter_map(one).collect())
}

fn names(pairs: &[Value]) -> Value {
    of_pairs(pairs, "Name")
}

fn values(pairs: &[Value]) -> Value {
    of_pairs(pairs, "Value")
}

impl Object for Pairs {
    fn type_name(&self) -> &'static str {
        "template.Pairs"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (method, args) {
            ("Names", []) => Some(Ok(names(&self.0))),
            ("Values", []) => Some(Ok(values(&self.0))),
            _ => None,
        }
    }

    fn items(&self) -> Option<&[Value]> {
        Some(&self.0)
    }

    fn print(&self) -> String {
        Value::list(self.0.clone()).print()
    }
}
