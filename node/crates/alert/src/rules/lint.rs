//! Rules that are right by themselves and wrong together.

use std::collections::BTreeMap;

use super::{Rule, RuleFile};
use crate::yaml::Place;

/// Rules of one name and one set of labels: what they store, or alert of, cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The name of the series, or of the alert.
    pub name: String,
    /// The labels, as they are written.
    pub labels: Vec<(String, String)>,
    /// Where each of them is: which of the files, and where there.
    pub places: Vec<(usize, Place)>,
}

/// What tells rules apart: a name and labels.
type Identity = (String, Vec<(String, String)>);

/// Rules that are there more than once, over all files.
pub fn duplicates(files: &[&RuleFile]) -> Vec<Duplicate> {
    let mut places: BTreeMap<Identity, Vec<(usize, Place)>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        for rule in file.groups.iter().flat_map(|group| &group.rules) {
            let labels = match rule {
                Rule::Recording(rule) => rule.labels.clone(),
                Rule::Alerting(rule) => {
                    rule.labels.iter().map(|label| (label.name.clone(), label.text.clone())).collect()
                }
            };
            places.entry((rule.name().to_owned(), labels)).or_default().push((at, rule.place()));
        }
    }
    let several = places.into_iter().filter(|(_, places)| places.len() > 1);
    several.map(|((name, labels), places)| Duplicate { name, labels, places }).collect()
}
