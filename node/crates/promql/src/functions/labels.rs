//! `label_replace` and `label_join`.

use bellwether_model::{Label, Labels};

use crate::plan::LabelOp;
use crate::series::SeriesLabels;

impl LabelOp {
    /// The labels that a series gets.
    pub(crate) fn apply(&self, labels: &SeriesLabels) -> SeriesLabels {
        match self {
            LabelOp::Replace { regex, destination, replacement, source } => {
                let Some(captures) = regex.captures(labels.value(source)) else {
                    return labels.clone();
                };
                let mut value = String::new();
                captures.expand(replacement, &mut value);
                with_label(labels, destination, &value)
            }
            LabelOp::Join { destination, separator, sources } => {
                let values: Vec<&str> = sources.iter().map(|source| labels.value(source)).collect();
                with_label(labels, destination, &values.join(separator))
            }
        }
    }
}

/// The labels with one set, or removed if the value is empty.
pub(crate) fn with_label(labels: &SeriesLabels, name: &str, value: &str) -> SeriesLabels {
    let others = labels.iter().filter(|label| label.name != name);
    let mut all: Vec<Label<'_>> = others.collect();
    if !value.is_empty() {
        let at = all.partition_point(|label| label.name < name);
        all.insert(at, Label { name, value });
    }
    SeriesLabels::new(Labels::from_sorted(all.into_iter()))
}
