//! `label_replace` and `label_join`.

use bellwether_model::{Label, Labels, METRIC_NAME};

use crate::limits::MADE_VALUE_BYTES_MAX;
use crate::outcome::EvalError;
use crate::plan::LabelOp;
use crate::series::SeriesLabels;

impl LabelOp {
    /// The labels that a series gets.
    pub(crate) fn apply(&self, labels: &SeriesLabels) -> Result<SeriesLabels, EvalError> {
        match self {
            LabelOp::Replace { regex, destination, replacement, source } => {
                let text = labels.value(source);
                // Each group that the replacement names is a part of the text at most.
                let groups = replacement.bytes().filter(|byte| *byte == b'$').count();
                check_length("label_replace", destination, replacement.len() + groups.saturating_mul(text.len()))?;
                let replaced = regex.expand(text, replacement);
                Ok(replaced.map_or_else(|| labels.clone(), |value| with_label(labels, destination, &value)))
            }
            LabelOp::Join { destination, separator, sources } => {
                let values: Vec<&str> = sources.iter().map(|source| labels.value(source)).collect();
                let length = values.iter().map(|value| value.len() + separator.len()).sum();
                check_length("label_join", destination, length)?;
                Ok(with_label(labels, destination, &values.join(separator)))
            }
        }
    }
}

/// Refuses a value before it is made.
fn check_length(function: &str, destination: &str, length: usize) -> Result<(), EvalError> {
    if length <= MADE_VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(EvalError::Execution(format!(
        "{function}() would make a value of up to {length} bytes for label {destination:?}, the limit is {MADE_VALUE_BYTES_MAX}"
    )))
}

/// The labels with one set, or removed if the value is empty. A name that is set is there to stay.
pub(crate) fn with_label(labels: &SeriesLabels, name: &str, value: &str) -> SeriesLabels {
    let others = labels.iter().filter(|label| label.name != name);
    let mut all: Vec<Label<'_>> = others.collect();
    if !value.is_empty() {
        let at = all.partition_point(|label| label.name < name);
        all.insert(at, Label { name, value });
    }
    let made = SeriesLabels::new(Labels::from_sorted(all.into_iter()));
    if labels.is_name_marked() && name != METRIC_NAME { made.with_name_marked() } else { made }
}
