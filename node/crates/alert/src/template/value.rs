//! What templates compute with.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::limits::TEMPLATE_OUTPUT_BYTES_MAX;

/// A value.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// None: Go's nil, or what is not there.
    #[default]
    Missing,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Text(Arc<str>),
    /// A slice.
    List(Arc<Vec<Value>>),
    /// A map from texts.
    Map(Arc<Map>),
    /// Something with fields and methods.
    Object(Arc<dyn Object>),
}

/// A map; what it lacks is there with its type's zero.
#[derive(Debug, Clone, Default)]
pub struct Map {
    /// Its entries.
    pub entries: BTreeMap<String, Value>,
    /// What a missing key gives.
    pub zero: Value,
    /// It is labels of Alertmanager's, which have methods.
    pub is_labels: bool,
    /// How many maps that a template made are inside of one another: what is too deep cannot be dropped.
    pub depth: usize,
}

/// A struct of Go's, as templates see it.
pub trait Object: Debug + Send + Sync {
    /// Its type, for messages.
    fn type_name(&self) -> &'static str;

    /// A field.
    fn field(&self, name: &str) -> Option<Value>;

    /// Calls a method; none if there is none of this name.
    fn call(&self, _method: &str, _args: &[Value]) -> Option<Result<Value, String>> {
        None
    }

    /// Its items, if it is a list with methods.
    fn items(&self) -> Option<&[Value]> {
        None
    }

    /// As `print` shows it.
    fn print(&self) -> String;
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(text.into())
    }

    /// A list.
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(items))
    }

    /// A map of texts.
    pub fn texts<'t>(entries: impl IntoIterator<Item = (&'t str, &'t str)>) -> Value {
        let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), Value::text(value))).collect();
        Value::Map(Arc::new(Map { entries, zero: Value::text(""), is_labels: false, depth: 0 }))
    }

    /// Its type in Go's words.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Missing => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::List(items) => match items.first() {
                Some(Value::Text(_)) => "[]string",
                Some(Value::Object(item)) if item.type_name() == "*template.sample" => "template.queryResult",
                _ => "[]interface {}",
            },
            Value::Map(map) => match map.zero {
                Value::Text(_) => "map[string]string",
                _ => "map[string]interface {}",
            },
            Value::Object(object) => object.type_name(),
        }
    }

    /// Whether it counts as true: what is empty, zero or missing does not.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Missing => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Object(object) => object.items().is_none_or(|items| !items.is_empty()),
        }
    }

    /// Its items, if it is a list.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            Value::Object(object) => object.items(),
            _ => None,
        }
    }

    /// Its text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it equals another; an error if values like these cannot be compared.
    pub fn equals(&self, other: &Value) -> Result<bool, String> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Int(a), Value::Int(b)) => Ok(a == b),
            (Value::Float(a), Value::Float(b)) => Ok(a == b),
            (Value::Text(a), Value::Text(b)) => Ok(a == b),
            (Value::Missing, Value::Missing) => Ok(true),
            (Value::Missing, other) | (other, Value::Missing) => match other {
                Value::List(_) | Value::Map(_) | Value::Object(_) | Value::Missing => Ok(false),
                _ => Ok(false),
            },
            (a, b) if a.is_basic() || b.is_basic() => Err("incompatible types for comparison".to_owned()),
            (Value::Object(a), Value::Object(b)) if a.items().is_none() => Ok(Arc::ptr_eq(a, b)),
            (a, b) => {
                Err(format!("non-comparable types {}: {}, {}: {}", a.print(), a.type_name(), b.type_name(), b.print()))
            }
        }
    }

    fn is_basic(&self) -> bool {
        matches!(self, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
    }

    /// How it compares with another, NaN with nothing; an error if values like these have no order.
    pub fn compare(&self, other: &Value) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
            (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
            (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
            (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
            (a, b) if a.is_basic() && b.is_basic() => Err("incompatible types for comparison".to_owned()),
            _ => Err("invalid type for comparison".to_owned()),
        }
    }

    /// As `print` shows it; of what is longer than anybody may write, the beginning.
    pub fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Writes it as `print` shows it. Values share parts, so that one that is small may be long once it is written.
    pub(crate) fn write(&self, out: &mut String) {
        if out.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            return;
        }
        match self {
            Value::Missing => out.push_str("<nil>"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&super::numbers::general(*value, None, false)),
            Value::Text(text) => out.push_str(text),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if out.len() > TEMPLATE_OUTPUT_BYTES_MAX {
                        break;
                    }
                    out.push_str(if at == 0 { "" } else { " " });
                    item.write(out);
                }
                out.push(']');
            }
            Value::Map(map) => {
                out.push_str("map[");
                for (at, (name, value)) in map.entries.iter().enumerate() {
                    if out.len() > TEMPLATE_OUTPUT_BYTES_MAX {
                        break;
                    }
                    out.push_str(if at == 0 { "" } else { " " });
                    out.push_str(name);
                    out.push(':');
                    value.write(out);
                }
                out.push(']');
            }
            Value::Object(object) => out.push_str(&object.print()),
        }
    }
}

/// A struct that is nothing but fields.
#[derive(Debug)]
pub struct Record {
    /// Its type, for messages.
    pub type_name: &'static str,
    /// Its fields, in order.
    pub fields: Vec<(&'static str, Value)>,
}

impl Object for Record {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn field(&self, name: &str) -> Option<Value> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    fn print(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|(_, value)| value.print()).collect();
        format!("{}{{{}}}", if self.type_name.starts_with('*') { "&" } else { "" }, fields.join(" "))
    }
}
