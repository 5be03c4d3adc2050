//! Which series belong together: by some of their labels, or by all but some.

use bellwether_model::{Label, Labels, METRIC_NAME};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::ast::Matching;
use crate::eval::meter::Account;
use crate::outcome::EvalError;
use crate::series::{SeriesLabels, TYPE_LABEL, UNIT_LABEL};

/// What a group costs beside its labels and its state: its places in the list and in the index.
const GROUP_BYTES: usize = 48;

/// Numbers the groups in the order of their first series. A series costs one walk over its labels and one hash.
#[derive(Debug)]
pub(crate) struct Groups {
    without: bool,
    /// Sorted.
    names: Vec<String>,
    labels: Vec<Labels>,
    index: HashTable<usize>,
    key: Vec<u8>,
}

impl Groups {
    /// `names` are sorted; with `without`, the metric's name is left out in any case.
    pub(crate) fn new(without: bool, names: &[String]) -> Groups {
        debug_assert!(names.is_sorted());
        Groups { without, names: names.to_vec(), labels: Vec::new(), index: HashTable::new(), key: Vec::new() }
    }

    /// Groups of series that match each other. Operators take types and units away with the names: what has gone through one
    /// and what has not must still find each other, so without a list of what counts none of the three does.
    pub(crate) fn of_matching(matching: &Matching) -> Groups {
        let mut names = matching.labels.clone();
        if !matching.on {
            names.extend([TYPE_LABEL, UNIT_LABEL].map(str::to_owned));
            names.sort_unstable();
        }
        Groups::new(!matching.on, &names)
    }

    /// The group of a series, new if it is the first of it.
    pub(crate) fn number(&mut self, series: &SeriesLabels, account: &mut Account<'_>) -> Result<usize, EvalError> {
        let hash = self.read(series);
        if let Some(known) = self.find(hash) {
            return Ok(known);
        }
        account.take(GROUP_BYTES + self.key.len())?;
        let labels = Labels::from_canonical(&self.key).expect("some labels of a canonical set, in its order");
        Ok(self.append(hash, labels))
    }

    /// The group of these labels, which somebody else has numbered; new if it is not known here.
    pub(crate) fn adopt(&mut self, labels: &Labels) -> usize {
        self.key.clear();
        self.key.extend_from_slice(labels.canonical_bytes());
        let hash = xxh3_64(&self.key);
        self.find(hash).unwrap_or_else(|| self.append(hash, labels.clone()))
    }

    fn append(&mut self, hash: u64, group: Labels) -> usize {
        let number = self.labels.len();
        self.labels.push(group);
        let labels = &self.labels;
        self.index.insert_unique(hash, number, |at| xxh3_64(labels[*at].canonical_bytes()));
        number
    }

    /// What all groups have cost.
    pub(crate) fn byte_len(&self) -> usize {
        self.labels.iter().map(Groups::bytes_of).sum()
    }

    /// What a group of these labels costs.
    pub(crate) fn bytes_of(labels: &Labels) -> usize {
        GROUP_BYTES + labels.canonical_bytes().len()
    }

    /// The group of a series, if it has been seen.
    pub(crate) fn known(&mut self, series: &SeriesLabels) -> Option<usize> {
        let hash = self.read(series);
        self.find(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The labels that the series of a group have in common.
    pub(crate) fn labels(&self, number: usize) -> &Labels {
        &self.labels[number]
    }

    fn find(&self, hash: u64) -> Option<usize> {
        self.index.find(hash, |at| self.labels[*at].canonical_bytes() == self.key).copied()
    }

    /// Writes the canonical bytes of the labels that count into `key`; gives their hash.
    fn read(&mut self, series: &SeriesLabels) -> u64 {
        self.key.clear();
        if !self.without && self.names.is_empty() {
            return xxh3_64(&self.key);
        }
        for Label { name, value } in series.iter() {
            let listed = self.names.binary_search_by(|listed| listed.as_str().cmp(name)).is_ok();
            if listed == self.without || (self.without && name == METRIC_NAME) {
                continue;
            }
            for part in [name, value] {
                self.key.extend_from_slice(&(part.len() as u32).to_le_bytes());
                self.key.extend_from_slice(part.as_bytes());
            }
        }
        xxh3_64(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::account::{Limits, QueryAccount};
    use crate::eval::meter::Meter;

    #[test]
    fn series_group_by_the_labels_that_count() {
        let series = |pairs: &[(&str, &str)]| SeriesLabels::new(Labels::of(pairs));
        let a = series(&[("__name__", "m"), ("a", "1"), ("b", "1")]);
        let b = series(&[("__name__", "n"), ("a", "1"), ("b", "2")]);
        let names = ["b".to_owned()];
        let (query, never) = (QueryAccount::new(Limits::default()), AtomicBool::new(false));
        let meter = Meter::new(&query, &never);
        let mut account = meter.account();
        let mut by = Groups::new(false, &names);
        assert_eq!([&a, &b, &a].map(|series| by.number(series, &mut account).unwrap()), [0, 1, 0]);
        assert_eq!([1, 0].map(|number| by.adopt(&by.labels(number).clone())), [1, 0]);
        assert_eq!(by.labels(1), &Labels::of(&[("b", "2")]));
        let mut without = Groups::new(true, &names);
        assert_eq!([&a, &b].map(|series| without.number(series, &mut account).unwrap()), [0, 0]);
        assert_eq!(without.labels(0), &Labels::of(&[("a", "1")]));
    }
}
