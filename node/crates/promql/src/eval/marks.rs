//! Which groups of an aggregation lose their names when the query ends.

use bellwether_model::Labels;

use crate::column::{Column, Presence};
use crate::series::{Name, SeriesLabels};

/// What a group's last step says: any series that loses its name there takes that of the group along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    last: Option<usize>,
    pub(crate) marked: bool,
}

impl Mark {
    /// Of what has values at the steps of `present`.
    pub(crate) fn of(present: &Presence, marked: bool) -> Mark {
        Mark { last: present.last(), marked }
    }

    /// Takes in what other series of the group say.
    pub(crate) fn join(&mut self, other: Mark) {
        if other.last > self.last {
            *self = other;
        } else if other.last == self.last {
            self.marked |= other.marked;
        }
    }
}

/// The mark of each group; none at all where names are dropped at once.
#[derive(Debug)]
pub(crate) struct Marks(Option<Vec<Mark>>);

impl Marks {
    pub(crate) fn new(delays_names: bool) -> Marks {
        Marks(delays_names.then(Vec::new))
    }

    pub(crate) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes for each group.
    pub(crate) fn group_bytes(&self) -> usize {
        if self.are_kept() { size_of::<Mark>() } else { 0 }
    }

    /// Takes in a series of a group; groups are numbered in the order of their first series.
    #[inline]
    pub(crate) fn add(&mut self, group: usize, labels: &SeriesLabels, column: &Column) {
        if self.are_kept() {
            self.join(group, Some(Mark::of(&column.presence(), labels.is_name_marked())));
        }
    }

    pub(crate) fn join(&mut self, group: usize, mark: Option<Mark>) {
        let (Some(marks), Some(mark)) = (&mut self.0, mark) else { return };
        match marks.get_mut(group) {
            Some(known) => known.join(mark),
            None => marks.push(mark),
        }
    }

    pub(crate) fn get(&self, group: usize) -> Option<Mark> {
        self.0.as_ref().and_then(|marks| marks.get(group).copied())
    }

    /// The labels of a group.
    pub(crate) fn label(&self, group: usize, labels: &Labels) -> SeriesLabels {
        let marked = self.get(group).is_some_and(|mark| mark.marked);
        SeriesLabels::with_name(labels.clone(), if marked { Name::Marked } else { Name::Kept })
    }
}
