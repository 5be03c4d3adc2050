//! Groups and the fixed-size state of each.

use bellwether_model::{Labels, METRIC_NAME};

use crate::ast::Grouping;
use crate::column::{Column, Presence};
use crate::eval::accumulator::Accumulator;
use crate::eval::group::Groups;
use crate::eval::histogram_totals::{GroupNotes, HistogramTotals};
use crate::eval::marks::{Mark, Marks};
use crate::eval::meter::Account;
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::eval::{Evaluator, Sink};
use crate::outcome::EvalError;
use crate::series::SeriesLabels;
use crate::span::Span;

pub(crate) struct Grouped<A> {
    groups: Groups,
    states: Vec<A>,
    steps: usize,
    /// Of each group the first series in the order of labels, where that decides about the order of the groups.
    first: Option<Vec<Labels>>,
    marks: Marks,
    /// Histograms have come, which the aggregation may not know.
    met_histograms: bool,
}

impl<A: Accumulator> Grouped<A> {
    pub(crate) fn new(grouping: &Grouping, steps: usize, is_ordered: bool, marks: Marks) -> Grouped<A> {
        let groups = Groups::new(grouping.without, &grouping.labels);
        Grouped { groups, states: Vec::new(), steps, first: is_ordered.then(Vec::new), marks, met_histograms: false }
    }

    pub(crate) fn add(
        &mut self,
        labels: &SeriesLabels,
        column: &Column,
        account: &mut Account<'_>,
    ) -> Result<(), EvalError> {
        let group = self.groups.number(labels, account)?;
        if group == self.states.len() {
            account.take(self.steps * A::STEP_BYTES + self.marks.group_bytes())?;
            self.states.push(A::new(self.steps));
            if let Some(first) = &mut self.first {
                account.take(labels.byte_len())?;
                first.push(labels.stored().clone());
            }
        } else if let Some(first) = &mut self.first
            && labels.stored() < &first[group]
        {
            first[group] = labels.stored().clone();
        }
        self.marks.add(group, labels, column);
        self.states[group].add(column);
        if let Some(histograms) = &column.histograms {
            self.met_histograms |= column.has_histograms();
            account.take(self.states[group].add_histograms(histograms, labels.value(METRIC_NAME)))?;
        }
        Ok(())
    }

    pub(crate) fn merge(&mut self, other: Grouped<A>) {
        self.met_histograms |= other.met_histograms;
        if self.states.is_empty() {
            *self = other;
            return;
        }
        let mut others = other.first.unwrap_or_default().into_iter();
        for (number, state) in other.states.into_iter().enumerate() {
            self.adopt(other.groups.labels(number), others.next(), other.marks.get(number), state);
        }
    }

    fn adopt(&mut self, labels: &Labels, first: Option<Labels>, mark: Option<Mark>, state: A) {
        let group = self.groups.adopt(labels);
        self.marks.join(group, mark);
        let is_new = group == self.states.len();
        if let (Some(known), Some(first)) = (&mut self.first, first) {
            match known.get_mut(group) {
                Some(known) if first < *known => *known = first,
                Some(_) => {}
                None => known.push(first),
            }
        }
        if is_new {
            self.states.push(state);
        } else {
            self.states[group].merge(state);
        }
    }

    /// Pushes the groups, and tells of what was met where `arg_span` is.
    pub(crate) fn finish(
        self,
        evaluator: &Evaluator<'_>,
        arg_span: Span,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut notes = GroupNotes::default();
        let finished = self.push_into(&mut notes, sink);
        notes.tell(evaluator, arg_span);
        finished
    }

    /// Tells where an aggregation that does not know them has met histograms.
    pub(crate) fn tell_of_ignored(&mut self, evaluator: &Evaluator<'_>, arg_span: Span) {
        if std::mem::take(&mut self.met_histograms)
            && let Some(aggregation) = A::IGNORES_HISTOGRAMS
        {
            evaluator.inform_of_ignored_in(aggregation, arg_span);
        }
    }

    fn push_into(self, notes: &mut GroupNotes, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let (groups, marks) = (self.groups, self.marks);
        let mut push = |group: usize, state: A| {
            let mut column = state.finish(notes);
            if column.any() { sink(&marks.label(group, groups.labels(group)), &mut column) } else { Ok(()) }
        };
        let Some(first) = self.first else {
            return self.states.into_iter().enumerate().try_for_each(|(group, state)| push(group, state));
        };
        let mut ordered: Vec<(Labels, usize, A)> = first
            .into_iter()
            .zip(self.states)
            .enumerate()
            .map(|(group, (first, state))| (first, group, state))
            .collect();
        ordered.sort_by(|a, b| a.0.cmp(&b.0));
        ordered.into_iter().try_for_each(|(_, group, state)| push(group, state))
    }

    pub(crate) fn byte_len(&self) -> usize {
        let first = self.first.iter().flatten().map(Labels::byte_len).sum::<usize>();
        let of_group = self.steps * A::STEP_BYTES + self.marks.group_bytes();
        let histograms = self.states.iter().filter_map(Accumulator::totals).map(HistogramTotals::byte_len);
        self.groups.byte_len() + first + self.states.len() * of_group + histograms.sum::<usize>()
    }

    /// Groups.
    pub(crate) fn items(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn write(&self, group: usize, out: &mut Output) {
        out.labels(self.groups.labels(group));
        if let Some(first) = &self.first {
            out.labels(&first[group]);
        }
        if let Some(mark) = self.marks.get(group) {
            out.flag(mark.marked);
        }
        let state = &self.states[group];
        out.presence(state.present());
        let mut fields = Vec::with_capacity(A::FIELDS);
        for step in state.present().iter() {
            fields.clear();
            state.write(step, &mut fields);
            fields.iter().for_each(|field| out.number(*field));
        }
        if A::KEEPS_HISTOGRAMS {
            match state.totals() {
                Some(totals) => totals.write(out),
                None => out.count(0),
            }
        }
    }

    pub(crate) fn read(&mut self, input: &mut Input<'_>, account: &mut Account<'_>) -> Result<(), Damage> {
        let labels = input.labels()?;
        let first = if self.first.is_some() { Some(input.labels()?) } else { None };
        let first_bytes = first.as_ref().map_or(0, Labels::byte_len);
        let marked = if self.marks.are_kept() { Some(input.flag()?) } else { None };
        let of_group = self.steps * A::STEP_BYTES + self.marks.group_bytes();
        account.take(Groups::bytes_of(&labels) + first_bytes + of_group)?;
        let present: Presence = input.presence(self.steps)?;
        let mut state = A::new(self.steps);
        let mut fields = vec![0.0; A::FIELDS];
        for step in present.iter() {
            fields.iter_mut().try_for_each(|field| input.number().map(|number| *field = number))?;
            state.read(step, &fields);
        }
        if let Some((totals, averages)) = state.histograms() {
            let count = input.count()? as usize;
            if count > 0 {
                *totals = Some(Box::new(HistogramTotals::read((count, self.steps, averages), input, account)?));
            }
        }
        let mark = marked.map(|marked| Mark::of(&state.seen(), marked));
        self.adopt(&labels, first, mark, state);
        Ok(())
    }
}
