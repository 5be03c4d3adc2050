//! How often each value occurs in each group: the state of `count_values`.

use bellwether_model::Labels;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Column;
use crate::eval::Sink;
use crate::eval::group::Groups;
use crate::eval::meter::Account;
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::functions::labels::with_label;
use crate::literal::number_text;
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::series::SeriesLabels;

/// A group and a value's bits.
type Key = (usize, u64);

pub(crate) struct ValueCounts {
    groups: Groups,
    /// The label that the value becomes.
    label: String,
    /// The grouping leaves that label out.
    hidden: bool,
    index: HashTable<usize>,
    counts: Vec<(Key, Column)>,
    steps: usize,
    /// Where each count began, as series and step, where that decides about their order.
    first: Option<Vec<(Labels, u32)>>,
}

fn hash(key: &Key) -> u64 {
    xxh3_64(&[key.0.to_le_bytes(), key.1.to_le_bytes()].concat())
}

impl ValueCounts {
    pub(crate) fn new(node: &AggregateNode, steps: usize, is_ordered: bool) -> ValueCounts {
        // The value's label stands in place of one of the same name that the series had.
        let mut names = node.grouping.labels.clone();
        let listed = names.binary_search(&node.label);
        let hidden = node.grouping.without && listed.is_ok();
        match listed {
            Ok(at) if !node.grouping.without => drop(names.remove(at)),
            Err(at) if node.grouping.without => names.insert(at, node.label.clone()),
            _ => {}
        }
        ValueCounts {
            groups: Groups::new(node.grouping.without, &names),
            label: node.label.clone(),
            hidden,
            index: HashTable::new(),
            counts: Vec::new(),
            steps,
            first: is_ordered.then(Vec::new),
        }
    }

    pub(crate) fn add(
        &mut self,
        labels: &SeriesLabels,
        column: &Column,
        account: &mut Account<'_>,
    ) -> Result<(), EvalError> {
        let group = self.groups.number(labels, account)?;
        for step in column.present.iter() {
            let value = column.values[step];
            let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            let key = (group, if self.hidden { 0 } else { bits });
            let at = match self.find(&key) {
                Some(at) => at,
                None => {
                    let fresh = Column::absent(self.steps);
                    account.take(self.bytes_of(&fresh, labels.byte_len()))?;
                    self.append(key, fresh, (labels.stored(), step as u32))
                }
            };
            self.begins(at, labels.stored(), step as u32);
            let count = self.counts[at].1.get(step).unwrap_or(0.0);
            self.counts[at].1.set(step, count + 1.0);
        }
        Ok(())
    }

    fn find(&self, key: &Key) -> Option<usize> {
        self.index.find(hash(key), |at| self.counts[*at].0 == *key).copied()
    }

    fn append(&mut self, key: Key, column: Column, (series, step): (&Labels, u32)) -> usize {
        let at = self.counts.len();
        self.counts.push((key, column));
        if let Some(first) = &mut self.first {
            first.push((series.clone(), step));
        }
        let counts = &self.counts;
        self.index.insert_unique(hash(&key), at, |at| hash(&counts[*at].0));
        at
    }

    fn begins(&mut self, at: usize, series: &Labels, step: u32) {
        if let Some(first) = &mut self.first
            && (series, step) < (&first[at].0, first[at].1)
        {
            first[at] = (series.clone(), step);
        }
    }

    fn bytes_of(&self, column: &Column, first_bytes: usize) -> usize {
        column.byte_len() + if self.first.is_some() { first_bytes } else { 0 }
    }

    pub(crate) fn merge(&mut self, other: ValueCounts) {
        let mut others = other.first.unwrap_or_default().into_iter();
        for ((group, bits), column) in other.counts {
            self.adopt(other.groups.labels(group), bits, column, others.next());
        }
    }

    fn adopt(&mut self, labels: &Labels, bits: u64, column: Column, first: Option<(Labels, u32)>) {
        let key = (self.groups.adopt(labels), bits);
        let (series, step) = first.unwrap_or_else(|| (Labels::empty(), 0));
        let Some(at) = self.find(&key) else {
            self.append(key, column, (&series, step));
            return;
        };
        self.begins(at, &series, step);
        let known = &mut self.counts[at].1;
        for step in column.present.iter() {
            let count = known.get(step).unwrap_or(0.0);
            known.set(step, count + column.values[step]);
        }
    }

    pub(crate) fn finish(self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let ValueCounts { groups, label, hidden, counts, first, .. } = self;
        let mut push = |((group, bits), mut column): (Key, Column)| {
            let labels = SeriesLabels::new(groups.labels(group).clone());
            let labels = if hidden { labels } else { with_label(&labels, &label, &value_text(f64::from_bits(bits))) };
            sink(&labels, &mut column)
        };
        let Some(first) = first else { return counts.into_iter().try_for_each(push) };
        let mut ordered: Vec<_> = first.into_iter().zip(counts).collect();
        ordered.sort_by(|a, b| a.0.cmp(&b.0));
        ordered.into_iter().try_for_each(|(_, count)| push(count))
    }

    pub(crate) fn byte_len(&self) -> usize {
        let columns: usize = self.counts.iter().map(|(_, column)| column.byte_len()).sum();
        let first = self.first.iter().flatten().map(|(series, _)| series.byte_len()).sum::<usize>();
        self.groups.byte_len() + columns + first
    }

    /// Pairs of a group and a value.
    pub(crate) fn items(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn write(&self, at: usize, out: &mut Output) {
        let ((group, bits), column) = &self.counts[at];
        out.labels(self.groups.labels(*group));
        out.bits(*bits);
        if let Some(first) = &self.first {
            out.labels(&first[at].0);
            out.count(first[at].1);
        }
        out.presence(&column.present);
        column.present.iter().for_each(|step| out.number(column.values[step]));
    }

    pub(crate) fn read(&mut self, input: &mut Input<'_>, account: &mut Account<'_>) -> Result<(), Damage> {
        let labels = input.labels()?;
        let bits = input.bits()?;
        let first = if self.first.is_some() { Some((input.labels()?, input.count()?)) } else { None };
        let mut column = Column::absent(self.steps);
        let first_bytes = first.as_ref().map_or(0, |(series, _)| series.byte_len());
        account.take(Groups::bytes_of(&labels) + self.bytes_of(&column, first_bytes))?;
        let present = input.presence(self.steps)?;
        for step in present.iter() {
            column.set(step, input.number()?);
        }
        self.adopt(&labels, bits, column, first);
        Ok(())
    }
}

/// A value as a label: all digits, no exponent.
fn value_text(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { number_text(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_labels_without_exponents() {
        assert_eq!(value_text(1e21), "1000000000000000000000");
        assert_eq!(value_text(f64::INFINITY), "+Inf");
        assert_eq!(value_text(0.1), "0.1");
    }
}
