//! Which series belong together: by some of their labels, or by all but some.

use bellwether_model::{Label, Labels, METRIC_NAME};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::eval::meter::Account;
use crate::outcome::EvalError;
use crate::series::SeriesLabels;

/// What a group costs beside its labels and its state: its places in the list and in the index.
const GROUP_BYTES: usize = 48;

/// Numbers the groups in the order of their first series. A series costs one walk over its labels and one hash.
pub(crate) struct Groups<'g, 'm> {
    without: bool,
    /// Sorted.
    names: &'g [String],
    labels: Vec<Labels>,
    index: HashTable<usize>,
    key: Vec<u8>,
    account: Account<'m>,
}

impl<'g, 'm> Groups<'g, 'm> {
    /// `names` are sorted; with `without`, the metric's name is left out in any case.
    pub(crate) fn new(without: bool, names: &'g [String], account: Account<'m>) -> Groups<'g, 'm> {
        debug_assert!(names.is_sorted());
        Groups { without, names, labels: Vec::new(), index: HashTable::new(), key: Vec::new(), account }
    }

    /// The group of a series, new if it is the first of it.
    pub(crate) fn number(&mut self, series: &SeriesLabels) -> Result<usize, EvalError> {
        let hash = self.read(series);
        if let Some(known) = self.find(hash) {
            return Ok(known);
        }
        self.account.take(GROUP_BYTES + self.key.len())?;
        let labels = Labels::from_canonical(&self.key).expect("some labels of a canonical set, in its order");
        let number = self.labels.len();
        self.labels.push(labels);
        let labels = &self.labels;
        self.index.insert_unique(hash, number, |at| xxh3_64(labels[*at].canonical_bytes()));
        Ok(number)
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
        let mut by = Groups::new(false, &names, meter.account());
        assert_eq!([&a, &b, &a].map(|series| by.number(series).unwrap()), [0, 1, 0]);
        assert_eq!(by.labels(1), &Labels::of(&[("b", "2")]));
        let mut without = Groups::new(true, &names, meter.account());
        assert_eq!([&a, &b].map(|series| without.number(series).unwrap()), [0, 0]);
        assert_eq!(without.labels(0), &Labels::of(&[("a", "1")]));
    }
}
