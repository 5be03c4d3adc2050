//! Series that must be seen together.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Column;
use crate::eval::meter::Account;
use crate::eval::{Sink, same_labelset};
use crate::outcome::EvalError;
use crate::series::{Series, SeriesLabels};

/// What to do with two series of the same labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// They cannot occur.
    Impossible,
    /// They are an error, as for functions of ranges.
    Refuse,
    /// They are one series if they share no step, and an error otherwise.
    Merge,
}

pub(crate) struct SeriesSet<'m> {
    pub(crate) series: Vec<Series>,
    duplicates: Duplicates,
    /// Places in `series` by labels.
    index: HashTable<usize>,
    account: Account<'m>,
}

impl<'m> SeriesSet<'m> {
    pub(crate) fn new(duplicates: Duplicates, account: Account<'m>) -> SeriesSet<'m> {
        SeriesSet { series: Vec::new(), duplicates, index: HashTable::new(), account }
    }

    /// Adds a series and takes its column's content.
    pub(crate) fn push(&mut self, labels: &SeriesLabels, column: &mut Column) -> Result<(), EvalError> {
        if self.duplicates == Duplicates::Impossible {
            return self.append(labels.clone(), column);
        }
        // Labels are compared as they are seen.
        let own = labels.settled();
        let hash = |labels: &SeriesLabels| xxh3_64(labels.stored().canonical_bytes());
        let known = self.index.find(hash(&own), |at| self.series[*at].labels.stored() == own.stored()).copied();
        if let Some(at) = known {
            let existing = &mut self.series[at];
            if self.duplicates == Duplicates::Refuse || existing.column.presence().overlaps(&column.presence()) {
                return same_labelset();
            }
            // What is to become of the name, the first step says.
            if column.presence().first() < existing.column.presence().first() {
                existing.labels = own;
            }
            existing.column.merge(column);
            return Ok(());
        }
        self.append(own.clone(), column)?;
        let series = &self.series;
        self.index.insert_unique(hash(&own), series.len() - 1, |at| hash(&series[*at].labels));
        Ok(())
    }

    fn append(&mut self, labels: SeriesLabels, column: &mut Column) -> Result<(), EvalError> {
        let series = Series { labels, column: std::mem::take(column) };
        self.account.take(series.byte_len())?;
        self.series.push(series);
        Ok(())
    }

    /// Pushes all series on, in order.
    pub(crate) fn push_into(self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        for mut series in self.series {
            if series.column.any() {
                sink(&series.labels, &mut series.column)?;
            }
        }
        Ok(())
    }
}
