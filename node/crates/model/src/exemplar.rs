//! A measurement that stands beside a series as an example of what it counts, most often with a trace to look at.

use crate::labels::{LabelError, Labels, LabelsBuilder};
use crate::limits::EXEMPLAR_LABEL_CHARS_MAX;
use crate::sample::Timestamp;

/// An exemplar of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// What it says of itself. Invariant of what is stored: [`Exemplar::check_labels`] holds.
    pub labels: Labels,
    /// What was measured.
    pub value: f64,
    /// When.
    pub timestamp: Timestamp,
}

/// Why something is not an exemplar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExemplarError {
    /// Names and values are too long together.
    #[error("label length for exemplar exceeds maximum of {EXEMPLAR_LABEL_CHARS_MAX} UTF-8 characters")]
    TooLong,
    /// The labels are none.
    #[error(transparent)]
    Label(#[from] LabelError),
}

impl Exemplar {
    /// Labels from names and values off the wire, in any order.
    pub fn labels_of<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Labels, ExemplarError> {
        let mut labels = LabelsBuilder::default();
        let mut bytes = 0;
        for (name, value) in pairs {
            // A character has at most four bytes: what is longer need not be looked at, and is not copied.
            bytes += (name.len() + value.len()).max(1);
            if bytes > 4 * EXEMPLAR_LABEL_CHARS_MAX {
                return Err(ExemplarError::TooLong);
            }
            labels.push_bytes(name, value)?;
        }
        let labels = labels.build()?;
        Exemplar::check_labels(&labels)?;
        Ok(labels)
    }

    /// Whether an exemplar may have these labels.
    pub fn check_labels(labels: &Labels) -> Result<(), ExemplarError> {
        let chars = labels.iter().map(|label| label.name.chars().count() + label.value.chars().count());
        if chars.sum::<usize>() > EXEMPLAR_LABEL_CHARS_MAX { Err(ExemplarError::TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, ExemplarError> {
        Exemplar::labels_of(pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        let long = "ä".repeat(EXEMPLAR_LABEL_CHARS_MAX - 1);
        assert_eq!(labels(&[("a", &long)]).unwrap().len(), 1);
        let error = labels(&[("ab", &long)]).unwrap_err();
        assert_eq!(error.to_string(), "label length for exemplar exceeds maximum of 128 UTF-8 characters");
        assert_eq!(labels(&[("a", &"x".repeat(1 << 20))]), Err(ExemplarError::TooLong));
        assert_eq!(labels(&[("", ""); 600]), Err(ExemplarError::TooLong));
    }

    #[test]
    fn labels_need_no_metric_name_and_are_sorted() {
        assert_eq!(labels(&[]).unwrap(), Labels::empty());
        assert_eq!(labels(&[("b", "2"), ("a", "1")]).unwrap(), Labels::of(&[("a", "1"), ("b", "2")]));
        assert!(labels(&[("a", "1"), ("a", "2")]).is_err() && labels(&[("", "1")]).is_err());
    }
}
