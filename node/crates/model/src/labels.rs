//! A set of labels in one allocation.
//!
//! Canonical bytes: for each label in ascending order of its name, a little-endian `u32` of the name's length, the name,
//! a `u32` of the value's length, the value. Two sets are equal exactly when their canonical bytes are, and
//! [`crate::SeriesHash`] is a hash of those bytes, so the layout is frozen.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// One name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label<'a> {
    /// Any non-empty UTF-8.
    pub name: &'a str,
    /// Any non-empty UTF-8; an empty value means that the label is absent.
    pub value: &'a str,
}

/// A set of labels. Cloning shares the bytes.
// Invariant: `bytes` is in the canonical layout above, names ascend strictly, names and values are non-empty UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    bytes: Arc<[u8]>,
}

/// Why a set of labels was refused; names the label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The name or value bytes are not UTF-8.
    #[error("label {position} ({name:?}): {part} is not valid UTF-8")]
    NotUtf8 {
        /// Which label, counted from 0 in the order received.
        position: usize,
        /// The name, lossily.
        name: String,
        /// `"name"` or `"value"`.
        part: &'static str,
    },
    /// A name is empty.
    #[error("label {position} has an empty name (value {value:?})")]
    EmptyName {
        /// Which label, counted from 0 in the order received.
        position: usize,
        /// Its value.
        value: String,
    },
    /// Two labels have one name.
    #[error("label {name:?} occurs more than once")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name is too long.
    #[error("label name {name:?}... has {length} bytes, the limit is {limit}")]
    NameTooLong {
        /// Its beginning.
        name: String,
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// A value is too long.
    #[error("the value of label {name:?} has {length} bytes, the limit is {limit}")]
    ValueTooLong {
        /// The label's name.
        name: String,
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// More labels than a series may have.
    #[error("the series has {count} labels, the limit is {limit}")]
    TooMany {
        /// Labels it has.
        count: usize,
        /// Labels it may have.
        limit: usize,
    },
    /// There is no metric name.
    #[error("the series has no metric name (label __name__): {labels}")]
    NoMetricName {
        /// The labels it has.
        labels: String,
    },
    /// The stored bytes are not a canonical label set.
    #[error("label bytes are damaged at offset {offset}")]
    Damaged {
        /// Where.
        offset: usize,
    },
}

impl Labels {
    /// The empty set.
    pub fn empty() -> Labels {
        Labels { bytes: Arc::from([]) }
    }

    /// A set from name/value pairs in any order; empty values are dropped. For tests and small sets of our own.
    ///
    /// # Panics
    /// If a name is empty or occurs twice: those come from our own code here, data from outside uses [`LabelsBuilder`].
    pub fn of(pairs: &[(&str, &str)]) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        builder.build().expect("our own labels are valid")
    }

    /// Reads canonical bytes back, checking the whole invariant.
    pub fn from_canonical(bytes: &[u8]) -> Result<Labels, LabelError> {
        let mut offset = 0;
        let mut previous: Option<&str> = None;
        let text = |offset: &mut usize| -> Result<&str, LabelError> {
            let damaged = LabelError::Damaged { offset: *offset };
            let length = bytes.get(*offset..*offset + 4).ok_or(damaged.clone())?;
            let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
            let end = (*offset + 4).checked_add(length).ok_or(damaged.clone())?;
            let part = bytes.get(*offset + 4..end).ok_or(damaged.clone())?;
            *offset = end;
            std::str::from_utf8(part).ok().filter(|part| !part.is_empty()).ok_or(damaged)
        };
        while offset < bytes.len() {
            let start = offset;
            let name = text(&mut offset)?;
            text(&mut offset)?;
            if previous.is_some_and(|previous| previous >= name) {
                return Err(LabelError::Damaged { offset: start });
            }
            previous = Some(name);
        }
        Ok(Labels { bytes: Arc::from(bytes) })
    }

    /// Joins labels that already are in ascending order of their names, unique and non-empty.
    ///
    /// # Panics
    /// If they are not: the order is the caller's promise.
    pub fn from_sorted<'a>(labels: impl Iterator<Item = Label<'a>>) -> Labels {
        let mut bytes = Vec::with_capacity(192);
        let mut previous: Option<&str> = None;
        for label in labels {
            assert!(previous.is_none_or(|previous| previous < label.name), "labels are not sorted: {}", label.name);
            debug_assert!(!label.name.is_empty() && !label.value.is_empty());
            previous = Some(label.name);
            push_canonical(&mut bytes, label);
        }
        Labels { bytes: bytes.into() }
    }

    /// The canonical bytes.
    pub fn canonical_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All labels in ascending order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.bytes }
    }

    /// The value of a label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|label| label.name == name).map(|label| label.value)
    }

    /// The metric's name, if there is one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The labels that `keep` wants.
    pub fn filtered(&self, mut keep: impl FnMut(Label<'_>) -> bool) -> Labels {
        Labels::from_sorted(self.iter().filter(|label| keep(*label)))
    }

    /// Memory held by the bytes, shared between clones.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }
}

fn push_canonical(bytes: &mut Vec<u8>, label: Label<'_>) {
    for part in [label.name, label.value] {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Label by label, name before value, a prefix before what it begins: Prometheus's order.
    fn cmp(&self, other: &Labels) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Display for Labels {
    /// `metric{name="value", ...}` as Prometheus prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        f.write_str(name.unwrap_or_default())?;
        let mut rest = self.iter().filter(|label| label.name != METRIC_NAME).peekable();
        if rest.peek().is_none() && name.is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (at, label) in rest.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}={:?}", label.name, label.value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// See [`Labels::iter`].
#[derive(Debug, Clone)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> LabelsIter<'a> {
    fn text(&mut self) -> &'a str {
        let (length, rest) = self.rest.split_first_chunk::<4>().expect("canonical bytes hold whole labels");
        let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        self.rest = rest;
        // SAFETY: the invariant of `Labels` says that names and values are UTF-8; every constructor checks it.
        unsafe { std::str::from_utf8_unchecked(text) }
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = Label<'a>;

    #[inline]
    fn next(&mut self) -> Option<Label<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(Label { name: self.text(), value: self.text() })
    }
}

/// Collects labels in any order and validates them as a whole.
#[derive(Debug, Default, Clone)]
pub struct LabelsBuilder {
    labels: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Begins with the labels of `labels`.
    pub fn from_labels(labels: &Labels) -> LabelsBuilder {
        let labels = labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
        LabelsBuilder { labels }
    }

    /// Adds a label; a second one of the same name is an error in [`build`](Self::build).
    pub fn push(&mut self, name: &str, value: &str) -> &mut LabelsBuilder {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a label from bytes off the wire.
    pub fn push_bytes(&mut self, name: &[u8], value: &[u8]) -> Result<&mut LabelsBuilder, LabelError> {
        let position = self.labels.len();
        let text = |bytes, part| {
            std::str::from_utf8(bytes).map_err(|_| LabelError::NotUtf8 {
                position,
                name: excerpt(&String::from_utf8_lossy(name)),
                part,
            })
        };
        Ok(self.push(text(name, "name")?, text(value, "value")?))
    }

    /// Sets a label, replacing one of the same name; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut LabelsBuilder {
        self.labels.retain(|(existing, _)| existing != name);
        if !value.is_empty() {
            self.push(name, value);
        }
        self
    }

    /// Removes a label if it is there.
    pub fn remove(&mut self, name: &str) -> &mut LabelsBuilder {
        self.set(name, "")
    }

    /// Sorts and checks names; labels with an empty value are absent. Lengths and counts are not checked here.
    pub fn build(mut self) -> Result<Labels, LabelError> {
        if let Some(position) = self.labels.iter().position(|(name, _)| name.is_empty()) {
            return Err(LabelError::EmptyName { position, value: excerpt(&self.labels[position].1) });
        }
        self.labels.sort();
        if let Some(pair) = self.labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(LabelError::Duplicate { name: excerpt(&pair[0].0) });
        }
        let present = self.labels.iter().filter(|(_, value)| !value.is_empty());
        Ok(Labels::from_sorted(present.map(|(name, value)| Label { name, value })))
    }

    /// As [`build`](Self::build), and checks what a stored series must be: a metric name, and lengths and count inside
    /// the limits.
    pub fn build_series(self) -> Result<Labels, LabelError> {
        let count = self.labels.len();
        if count > limits::LABELS_PER_SERIES_MAX {
            return Err(LabelError::TooMany { count, limit: limits::LABELS_PER_SERIES_MAX });
        }
        let labels = self.build()?;
        for label in labels.iter() {
            if label.name.len() > limits::LABEL_NAME_BYTES_MAX {
                return Err(LabelError::NameTooLong {
                    name: excerpt(label.name),
                    length: label.name.len(),
                    limit: limits::LABEL_NAME_BYTES_MAX,
                });
            }
            if label.value.len() > limits::LABEL_VALUE_BYTES_MAX {
                return Err(LabelError::ValueTooLong {
                    name: excerpt(label.name),
                    length: label.value.len(),
                    limit: limits::LABEL_VALUE_BYTES_MAX,
                });
            }
        }
        if labels.metric_name().is_none() {
            return Err(LabelError::NoMetricName { labels: excerpt(&labels.to_string()) });
        }
        Ok(labels)
    }
}

/// The beginning of a text, short enough for an error message.
fn excerpt(text: &str) -> String {
    const EXCERPT_CHARS_MAX: usize = 64;
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        builder.build_series()
    }

    #[test]
    fn labels_are_sorted_and_empty_values_are_absent() {
        let labels = series(&[("b", "2"), ("__name__", "up"), ("a", "1"), ("gone", "")]).unwrap();
        assert_eq!(labels.to_string(), r#"up{a="1", b="2"}"#);
        assert_eq!(labels.get("gone"), None);
    }

    #[test]
    fn errors_name_the_label() {
        let message = |pairs: &[(&str, &str)]| series(pairs).unwrap_err().to_string();
        assert_eq!(message(&[("__name__", "up"), ("x", "1"), ("x", "2")]), r#"label "x" occurs more than once"#);
        assert_eq!(message(&[("__name__", "up"), ("", "1")]), r#"label 1 has an empty name (value "1")"#);
        assert_eq!(message(&[("job", "a")]), r#"the series has no metric name (label __name__): {job="a"}"#);
        let long = "v".repeat(limits::LABEL_VALUE_BYTES_MAX + 1);
        assert!(message(&[("__name__", "up"), ("big", &long)]).starts_with(r#"the value of label "big" has"#));
        let many: Vec<(String, String)> = (0..10_000).map(|i| (format!("l{i}"), "v".into())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert!(message(&many).starts_with("the series has 10000 labels"));
        let bad = LabelsBuilder::default().push_bytes(b"job", b"\xff").unwrap_err();
        assert_eq!(bad.to_string(), r#"label 0 ("job"): value is not valid UTF-8"#);
    }

    #[test]
    fn order_is_label_by_label() {
        assert!(Labels::of(&[("a", "2")]) < Labels::of(&[("b", "1")]));
        assert!(Labels::of(&[("a", "1")]) < Labels::of(&[("a", "1"), ("b", "1")]));
        // Byte order of the canonical form would put the shorter name first.
        assert!(Labels::of(&[("ab", "1")]) < Labels::of(&[("b", "1")]));
    }

    proptest! {
        #[test]
        fn canonical_bytes_round_trip(pairs in proptest::collection::btree_map("\\PC{1,8}", "\\PC{1,8}", 0..8)) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let labels = Labels::of(&pairs);
            prop_assert_eq!(&Labels::from_canonical(labels.canonical_bytes()).unwrap(), &labels);
            prop_assert_eq!(labels.len(), pairs.len());
        }

        #[test]
        fn damaged_canonical_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(labels) = Labels::from_canonical(&bytes) {
                prop_assert_eq!(labels.canonical_bytes(), &bytes[..]);
            }
        }
    }
}
