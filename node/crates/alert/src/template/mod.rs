//! Go's `text/template`, as far as Prometheus's rules and Alertmanager's notifications use it.
//!
//! A text is parsed once ([`Template::parse`]), against the functions that it may call, and expanded for each alert
//! ([`Template::expand`]) within bounds of steps, calls and output. Words of error messages are Go's: they end up in annotations,
//! where people know them.
//!
//! [`alert`] is what rules make of it. Reading order: `lexer`, `ast`, `parser`, [`value`], `execute`, `functions`.

pub mod alert;
pub mod value;

mod ast;
mod clock;
mod constants;
mod escape;
mod execute;
mod expressions;
mod format;
mod functions;
mod humanize;
mod label_methods;
mod lexer;
mod notification;
mod numbers;
mod parser;

use std::fmt;
use std::sync::Arc;

use bellwether_model::Labels;

pub use functions::Functions;
pub(crate) use label_methods::labels as labels_value;
pub use value::{Object, Record, Value};

/// A time, in milliseconds since 1970, as Go's `time.Time`.
pub(crate) fn time_value(ms: i64) -> Value {
    Value::Object(Arc::new(clock::Time::at_ms(ms)))
}

/// Texts in Go's notation, for whoever prints like Go.
pub(crate) mod text {
    pub(crate) use super::clock::parse_rfc3339_ms;
    pub(crate) use super::format::quoted;

    /// A number as `%E` with as many digits as it needs.
    pub(crate) fn exponent(value: f64) -> String {
        let text = super::numbers::exponent(value, None, false);
        if value.is_finite() { text.to_uppercase() } else { text }
    }
}

/// A text that can be expanded.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    name: String,
    text: String,
    tree: ast::Tree,
}

/// What a text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// Text as it is.
    Plain,
    /// HTML: values are escaped, unless `safeHtml` says that they are HTML.
    Html,
}

/// What functions may ask of the world.
pub trait Surroundings {
    /// The time of evaluation.
    fn now_ms(&self) -> i64;

    /// Where people reach the server.
    fn external_url(&self) -> &str;

    /// Evaluates a query at the time of evaluation.
    fn query(&self, text: &str) -> Result<Vec<(Labels, f64)>, String>;
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Where in the text, in bytes.
    pub offset: usize,
    name: String,
    line: usize,
    message: String,
}

impl TemplateError {
    fn new(name: &str, text: &str, offset: usize, message: String) -> TemplateError {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        TemplateError { offset, name: name.to_owned(), line, message }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template: {}:{}: {}", self.name, self.line, self.message)
    }
}

impl std::error::Error for TemplateError {}

/// Why a template could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpandError(String);

impl ExpandError {
    pub(crate) fn new(message: String) -> ExpandError {
        ExpandError(message)
    }
}

impl Template {
    /// Parses a text that may call `functions`.
    pub fn parse(name: &str, text: &str, functions: &Functions) -> Result<Template, TemplateError> {
        let tree = parser::parse(name, text, functions)?;
        Ok(Template { parts: Arc::new(Parts { name: name.to_owned(), text: text.to_owned(), tree }) })
    }

    /// Expands it; `data` is what `.` stands for.
    pub fn expand(&self, data: &Value, surroundings: &dyn Surroundings) -> Result<String, ExpandError> {
        self.expand_with(&[], data, surroundings, TextKind::Plain)
    }

    /// The same where it can call the templates that others define.
    pub fn expand_with(
        &self,
        library: &[Template],
        data: &Value,
        surroundings: &dyn Surroundings,
        kind: TextKind,
    ) -> Result<String, ExpandError> {
        // Most are without any action.
        if let ([] | [ast::Node::Text(_)], true) = (self.parts.tree.root.as_slice(), self.parts.tree.defined.is_empty())
        {
            return Ok(self.parts.text.clone());
        }
        execute::execute(&self.parts, library, data, surroundings, kind).map_err(ExpandError)
    }
}
