//! What rules make of templates: `$labels`, `$value` and their like, and what becomes of an error.

use std::sync::Arc;

use bellwether_model::Labels;
use bellwether_promql::{FloatHistogram, VectorSample};

use super::numbers::general;
use super::value::{Object, Record, Value};
use super::{Functions, Surroundings, Template, TemplateError};

/// Stands before each text, so that the variables are there. Columns in error messages count it, as they do in Prometheus.
const PREFIX: &str =
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What the actions of the prefix declare first; the last one always stays, for a tree without actions is its text.
const VARIABLES: [&str; 3] = ["$labels", "$externalLabels", "$externalURL"];

/// The data's type, as Prometheus's messages have it.
const DATA_TYPE: &str =
    "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";

/// Templates of alerting rules.
#[derive(Debug)]
pub struct AlertTemplate;

/// What an alert's templates see of it.
#[derive(Debug)]
pub struct AlertData(Value);

impl AlertData {
    /// Of a series of the rule's query, the metric's name included.
    pub fn new(sample: &VectorSample, external_labels: &Labels, external_url: &str) -> AlertData {
        let map = |labels: &Labels| Value::texts(labels.iter().map(|label| (label.name, label.value)));
        let value = match &sample.histogram {
            Some(histogram) => Value::Object(histogram.clone()),
            None => Value::Float(sample.point.value),
        };
        let fields = vec![
            ("Labels", map(&sample.labels)),
            ("ExternalLabels", map(external_labels)),
            ("ExternalURL", Value::text(external_url)),
            ("Value", value),
        ];
        AlertData(Value::Object(Arc::new(Record { type_name: DATA_TYPE, fields })))
    }
}

impl AlertTemplate {
    /// Parses a label or an annotation of an alert's rule.
    pub fn parse(alert: &str, text: &str) -> Result<Template, TemplateError> {
        let name = format!("__alert_{alert}");
        // Most have no action: nothing to be put before them.
        if !text.contains("{{") {
            return Template::parse(&name, text, &Functions::PROMETHEUS);
        }
        let mut template = Template::parse(&name, &format!("{PREFIX}{text}"), &Functions::PROMETHEUS)?;
        if let Some(parts) = Arc::get_mut(&mut template.parts) {
            // There may be a hundred thousand: variables that the text does not name are not kept.
            let mut number = 0;
            parts.tree.root.retain(|_| {
                number += 1;
                VARIABLES.get(number - 1).is_none_or(|variable| text.contains(variable))
            });
            parts.tree.root.shrink_to_fit();
        }
        Ok(template)
    }

    /// Where in the rule's text an error is.
    pub fn offset(offset: usize) -> usize {
        offset.saturating_sub(PREFIX.len())
    }

    /// Expands one; an error becomes the text, and is told beside it.
    pub fn expand(
        template: &Template,
        alert: &str,
        data: &AlertData,
        surroundings: &dyn Surroundings,
    ) -> (String, Option<String>) {
        match template.expand(&data.0, surroundings) {
            Ok(text) => (text, None),
            Err(error) => {
                let error = format!("error executing template __alert_{alert}: {error}");
                (format!("<error expanding template: {error}>"), Some(error))
            }
        }
    }
}

/// A native histogram: nothing to be computed with, but to be printed.
impl Object for FloatHistogram {
    fn type_name(&self) -> &'static str {
        "*histogram.FloatHistogram"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Count" => Some(Value::Float(self.count())),
            "Sum" => Some(Value::Float(self.sum())),
            _ => None,
        }
    }

    fn print(&self) -> String {
        let number = |number| general(number, None, false);
        let mut out = format!("{{count:{}, sum:{}", number(self.count()), number(self.sum()));
        for bucket in self.buckets() {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(number);
            out.push_str(&format!(", {open}{lower},{upper}{close}:{count}"));
        }
        out + "}"
    }
}
