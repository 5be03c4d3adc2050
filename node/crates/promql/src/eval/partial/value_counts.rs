//! How often each value occurs in each group: the state of `count_values`.

use std::sync::Arc;

use bellwether_model::Labels;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::Column;
use crate::eval::group::Groups;
use crate::eval::meter::Account;
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::eval::{Sink, execution_error};
use crate::functions::labels::with_label;
use crate::histogram::FloatHistogram;
use crate::literal::number_text;
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::series::SeriesLabels;

/// A group and a value.
type Key = (usize, Counted);

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Counted {
    /// Bits of a number; any NaN is the same.
    Float(u64),
    /// A histogram in the series notation.
    Histogram(Arc<str>),
    /// Nobody sees which.
    Any,
}

impl Counted {
    fn of(value: f64) -> Counted {
        Counted::Float(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
    }

    fn of_histogram(histogram: &FloatHistogram) -> Result<Counted, EvalError> {
        match histogram.notation() {
            Some(text) => Ok(Counted::Histogram(text.into())),
            None => execution_error("the buckets of a histogram lie too far apart to be a label's value".to_owned()),
        }
    }

    fn text(&self) -> String {
        match self {
            Counted::Float(bits) => value_text(f64::from_bits(*bits)),
            Counted::Histogram(text) => text.to_string(),
            Counted::Any => String::new(),
        }
    }

    /// Bytes that it holds beside itself.
    fn byte_len(&self) -> usize {
        if let Counted::Histogram(text) = self { text.len() } else { 0 }
    }
}

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
    match &key.1 {
        Counted::Float(bits) => xxh3_64(&[key.0.to_le_bytes(), bits.to_le_bytes()].concat()),
        Counted::Histogram(text) => xxh3_64(&[&key.0.to_le_bytes(), text.as_bytes()].concat()),
        Counted::Any => xxh3_64(&key.0.to_le_bytes()),
    }
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
        // Step by step, whatever the kind: the order of counts may depend on where they began.
        for step in column.presence().iter() {
            let value = match column.histogram(step) {
                None => Counted::of(column.values[step]),
                Some(histogram) => Counted::of_histogram(histogram)?,
            };
            self.count((group, value), labels, step, account)?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        (group, value): Key,
        labels: &SeriesLabels,
        step: usize,
        account: &mut Account<'_>,
    ) -> Result<(), EvalError> {
        let key = (group, if self.hidden { Counted::Any } else { value });
        let at = match self.find(&key) {
            Some(at) => at,
            None => {
                let fresh = Column::absent(self.steps);
                account.take(self.bytes_of(&fresh, labels.byte_len()) + key.1.byte_len())?;
                self.append(key, fresh, (labels.stored(), step as u32))
            }
        };
        self.begins(at, labels.stored(), step as u32);
        let count = self.counts[at].1.get(step).unwrap_or(0.0);
        self.counts[at].1.set(step, count + 1.0);
        Ok(())
    }

    fn find(&self, key: &Key) -> Option<usize> {
        self.index.find(hash(key), |at| self.counts[*at].0 == *key).copied()
    }

    fn append(&mut self, key: Key, column: Column, (series, step): (&Labels, u32)) -> usize {
        let at = self.counts.len();
        let key_hash = hash(&key);
        self.counts.push((key, column));
        if let Some(first) = &mut self.first {
            first.push((series.clone(), step));
        }
        let counts = &self.counts;
        self.index.insert_unique(key_hash, at, |at| hash(&counts[*at].0));
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
        for ((group, value), column) in other.counts {
            self.adopt(other.groups.labels(group), value, column, others.next());
        }
    }

    fn adopt(&mut self, labels: &Labels, value: Counted, column: Column, first: Option<(Labels, u32)>) {
        let key = (self.groups.adopt(labels), value);
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
        let mut push = |((group, value), mut column): (Key, Column)| {
            let labels = SeriesLabels::new(groups.labels(group).clone());
            let labels = if hidden { labels } else { with_label(&labels, &label, &value.text()) };
            sink(&labels, &mut column)
        };
        let Some(first) = first else { return counts.into_iter().try_for_each(push) };
        let mut ordered: Vec<_> = first.into_iter().zip(counts).collect();
        ordered.sort_by(|a, b| a.0.cmp(&b.0));
        ordered.into_iter().try_for_each(|(_, count)| push(count))
    }

    pub(crate) fn byte_len(&self) -> usize {
        let columns: usize = self.counts.iter().map(|((_, value), column)| value.byte_len() + column.byte_len()).sum();
        let first = self.first.iter().flatten().map(|(series, _)| series.byte_len()).sum::<usize>();
        self.groups.byte_len() + columns + first
    }

    /// Pairs of a group and a value.
    pub(crate) fn items(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn write(&self, at: usize, out: &mut Output) {
        let ((group, value), column) = &self.counts[at];
        out.labels(self.groups.labels(*group));
        match value {
            Counted::Float(bits) => {
                out.byte(0);
                out.bits(*bits);
            }
            Counted::Histogram(text) => {
                out.byte(1);
                out.text(text.as_bytes());
            }
            Counted::Any => out.byte(2),
        }
        if let Some(first) = &self.first {
            out.labels(&first[at].0);
            out.count(first[at].1);
        }
        out.presence(&column.present);
        column.present.iter().for_each(|step| out.number(column.values[step]));
    }

    pub(crate) fn read(&mut self, input: &mut Input<'_>, account: &mut Account<'_>) -> Result<(), Damage> {
        let labels = input.labels()?;
        let value = match input.byte()? {
            0 => Counted::Float(input.bits()?),
            1 => {
                let text = std::str::from_utf8(input.text()?);
                Counted::Histogram(text.map_err(|_| input.damage("a value that is no text"))?.into())
            }
            2 => Counted::Any,
            _ => return Err(input.damage("nothing that is counted")),
        };
        let first = if self.first.is_some() { Some((input.labels()?, input.count()?)) } else { None };
        let mut column = Column::absent(self.steps);
        let first_bytes = first.as_ref().map_or(0, |(series, _)| series.byte_len());
        account.take(Groups::bytes_of(&labels) + self.bytes_of(&column, first_bytes) + value.byte_len())?;
        let present = input.presence(self.steps)?;
        for step in present.iter() {
            column.set(step, input.number()?);
        }
        self.adopt(&labels, value, column, first);
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
