//! The points among which `topk`, `bottomk` and `limitk` pick.
//!
//! At each step these take the series of a group in the order of their labels into a heap of k. A point can get into it
//! only if fewer than k of those before it are as good; the others leave no trace, not even in the choice among equals. So
//! points that have k as good ones before them in any part of the series can be left out, and picking among the rest gives
//! exactly what picking among all would. Of n points in random order about k (1 + ln(n / k)) remain.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use bellwether_model::Labels;

use crate::ast::{AggregateOp, Grouping};
use crate::column::Column;
use crate::eval::group::Groups;
use crate::eval::histogram_range::Sample;
use crate::eval::meter::{Account, Meter};
use crate::eval::partial::histogram_wire;
use crate::eval::partial::wire::{Damage, Input, Output};
use crate::eval::pick::{Best, Offer};
use crate::eval::{Evaluator, Sink};
use crate::histogram::FloatHistogram;
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::series::{Name, SeriesLabels};
use crate::span::Span;

/// Bytes of a point.
const POINT_BYTES: usize = size_of::<u32>() + size_of::<f64>();

pub(crate) struct Candidates {
    rule: Rule,
    /// Ascending by stored labels.
    settled: Vec<Candidate>,
    /// Of the batch that is being taken in; likewise.
    fresh: Vec<Candidate>,
    sieve: Sieve,
    /// Histograms have come, and are not picked.
    met_histograms: bool,
}

/// What is picked.
struct Rule {
    grouping: Grouping,
    /// How many, at each step.
    counts: Vec<usize>,
    /// The best are the largest; else the smallest.
    largest: bool,
    /// All are equally good.
    any: bool,
    op: AggregateOp,
}

struct Candidate {
    labels: SeriesLabels,
    /// Ascending.
    steps: Vec<u32>,
    values: Vec<f64>,
    /// Those of some of the steps, whose values mean nothing then; ascending.
    histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

impl Candidate {
    /// Of a column; histograms are candidates only where all are as good.
    fn new(labels: &SeriesLabels, column: &Column, any: bool) -> Candidate {
        let histograms = column.histograms.iter().filter(|_| any).flat_map(|histograms| histograms.iter());
        let histograms: Vec<_> = histograms.map(|(step, histogram)| (step as u32, histogram.clone())).collect();
        let present = if any { column.presence() } else { Cow::Borrowed(&column.present) };
        Candidate {
            labels: labels.clone(),
            steps: present.iter().map(|step| step as u32).collect(),
            values: present.iter().map(|step| column.values[step]).collect(),
            histograms,
        }
    }

    fn byte_len(&self) -> usize {
        let histograms = self.histograms.iter().map(|(_, histogram)| histogram.byte_len() + POINT_BYTES);
        let points = self.steps.len() * POINT_BYTES;
        size_of::<Candidate>() + self.labels.byte_len() + points + histograms.sum::<usize>()
    }

    fn order(&self, other: &Candidate) -> Ordering {
        self.labels.stored().cmp(other.labels.stored())
    }
}

/// Lets points through that may be picked, of series that come in the order of their labels.
struct Sieve {
    groups: Groups,
    best: Vec<Best>,
}

impl Sieve {
    fn new(grouping: &Grouping) -> Sieve {
        Sieve { groups: Groups::new(grouping.without, &grouping.labels), best: Vec::new() }
    }

    /// Where the heaps of a series' group begin.
    fn heaps(&mut self, labels: &SeriesLabels, rule: &Rule, account: &mut Account<'_>) -> Result<usize, EvalError> {
        let steps = rule.counts.len();
        let first = self.groups.number(labels, account)? * steps;
        if first == self.best.len() {
            account.take(steps * size_of::<Best>())?;
            self.best.resize_with(first + steps, Best::default);
        }
        Ok(first)
    }

    /// Leaves of a series what passes; gives the bytes by which heaps have grown.
    fn sift(&mut self, first: usize, candidate: &mut Candidate, rule: &Rule) -> usize {
        let (mut kept, mut grown) = (0, 0);
        for at in 0..candidate.steps.len() {
            let (step, value) = (candidate.steps[at], candidate.values[at]);
            let k = rule.counts[step as usize];
            if k == 0 {
                continue;
            }
            let offered = if rule.any { 0.0 } else { value };
            let offer = self.best[first + step as usize].offer((offered, 0), k, rule.largest);
            grown += usize::from(offer == Offer::Added);
            if offer != Offer::Refused {
                (candidate.steps[kept], candidate.values[kept]) = (step, value);
                kept += 1;
            }
        }
        candidate.steps.truncate(kept);
        candidate.values.truncate(kept);
        let steps = &candidate.steps;
        candidate.histograms.retain(|(step, _)| steps.binary_search(step).is_ok());
        grown * Best::CANDIDATE_BYTES
    }
}

impl Candidates {
    pub(crate) fn new(node: &AggregateNode, counts: Vec<usize>) -> Candidates {
        let rule = Rule {
            grouping: node.grouping.clone(),
            counts,
            largest: node.op == AggregateOp::Topk,
            any: node.op == AggregateOp::Limitk,
            op: node.op,
        };
        let sieve = Sieve::new(&rule.grouping);
        Candidates { rule, settled: Vec::new(), fresh: Vec::new(), sieve, met_histograms: false }
    }

    /// Series come in the order of their labels until [`Candidates::settle`].
    pub(crate) fn add(
        &mut self,
        labels: &SeriesLabels,
        column: &Column,
        account: &mut Account<'_>,
    ) -> Result<(), EvalError> {
        let first = self.sieve.heaps(labels, &self.rule, account)?;
        self.met_histograms |= !self.rule.any && column.has_histograms();
        let mut candidate = Candidate::new(labels, column, self.rule.any);
        account.take(self.sieve.sift(first, &mut candidate, &self.rule))?;
        if !candidate.steps.is_empty() {
            candidate.steps.shrink_to_fit();
            candidate.values.shrink_to_fit();
            account.take(candidate.byte_len())?;
            self.fresh.push(candidate);
        }
        Ok(())
    }

    pub(crate) fn tell_of_ignored(&mut self, evaluator: &Evaluator<'_>, arg_span: Span) {
        if std::mem::take(&mut self.met_histograms) {
            evaluator.inform_of_ignored_in(self.rule.op.as_str(), arg_span);
        }
    }

    /// Ends a batch: what came with it stands among the rest now, and the heaps are gone.
    pub(crate) fn settle(&mut self, meter: &Meter<'_>) -> Result<(), EvalError> {
        self.sieve = Sieve::new(&self.rule.grouping);
        let fresh = std::mem::take(&mut self.fresh);
        self.join(fresh, meter)
    }

    pub(crate) fn merge(&mut self, other: Candidates, meter: &Meter<'_>) -> Result<(), EvalError> {
        self.join(other.settled, meter)
    }

    fn join(&mut self, more: Vec<Candidate>, meter: &Meter<'_>) -> Result<(), EvalError> {
        if self.settled.is_empty() || more.is_empty() {
            self.settled.extend(more);
            return Ok(());
        }
        let mut sieve = Sieve::new(&self.rule.grouping);
        let mut account = meter.account();
        let (mut ours, mut theirs) =
            (std::mem::take(&mut self.settled).into_iter().peekable(), more.into_iter().peekable());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(our), Some(their)) if our.order(their) == Ordering::Greater => theirs.next(),
                (Some(_), _) => ours.next(),
                (None, _) => theirs.next(),
            };
            let Some(mut candidate) = next else { break };
            let first = sieve.heaps(&candidate.labels, &self.rule, &mut account)?;
            meter.work(1 + candidate.steps.len())?;
            account.take(sieve.sift(first, &mut candidate, &self.rule))?;
            if !candidate.steps.is_empty() {
                self.settled.push(candidate);
            }
        }
        Ok(())
    }

    /// Pushes the candidates as series.
    pub(crate) fn push_into(self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut column = Column::default();
        for candidate in self.settled {
            column.reset(self.rule.counts.len());
            for (step, value) in candidate.steps.iter().zip(&candidate.values) {
                column.set(*step as usize, *value);
            }
            for (step, histogram) in candidate.histograms {
                column.replace(step as usize, Some(Sample::Histogram(histogram)));
            }
            sink(&candidate.labels, &mut column)?;
        }
        Ok(())
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.settled.iter().map(Candidate::byte_len).sum::<usize>() + self.rule.counts.len() * size_of::<usize>()
    }

    /// Series.
    pub(crate) fn items(&self) -> usize {
        self.settled.len()
    }

    pub(crate) fn write(&self, at: usize, out: &mut Output) {
        let candidate = &self.settled[at];
        out.labels(candidate.labels.stored());
        out.byte(name_byte(candidate.labels.name()));
        out.count(candidate.steps.len() as u32);
        candidate.steps.iter().for_each(|step| out.count(*step));
        candidate.values.iter().for_each(|value| out.number(*value));
        if self.rule.any {
            out.count(candidate.histograms.len() as u32);
            for (step, histogram) in &candidate.histograms {
                out.count(*step);
                histogram_wire::write(histogram, out);
            }
        }
    }

    pub(crate) fn read(&mut self, input: &mut Input<'_>, account: &mut Account<'_>) -> Result<(), Damage> {
        let labels: Labels = input.labels()?;
        let labels = SeriesLabels::with_name(labels, read_name(input)?);
        let count = input.count()? as usize;
        if count > self.rule.counts.len() {
            return Err(input.damage("a series has more points than there are steps"));
        }
        let mut candidate = Candidate { labels, steps: Vec::new(), values: Vec::new(), histograms: Vec::new() };
        account.take(candidate.byte_len() + count * POINT_BYTES)?;
        for _ in 0..count {
            let step = input.count()?;
            let ascends = candidate.steps.last().is_none_or(|last| *last < step);
            if !ascends || step as usize >= self.rule.counts.len() {
                return Err(input.damage("a point lies outside of the steps"));
            }
            candidate.steps.push(step);
        }
        for _ in 0..count {
            candidate.values.push(input.number()?);
        }
        let histograms = if self.rule.any { input.count()? } else { 0 };
        for _ in 0..histograms {
            let step = input.count()?;
            let ascends = candidate.histograms.last().is_none_or(|(last, _)| *last < step);
            if !ascends || candidate.steps.binary_search(&step).is_err() {
                return Err(input.damage("a histogram lies outside of the points"));
            }
            candidate.histograms.push((step, Arc::new(histogram_wire::read(input, account)?)));
        }
        if self.settled.last().is_some_and(|last| last.order(&candidate) != Ordering::Less) {
            return Err(input.damage("series do not ascend"));
        }
        self.settled.push(candidate);
        Ok(())
    }
}

fn name_byte(name: Name) -> u8 {
    match name {
        Name::Kept => 0,
        Name::Dropped => 1,
        Name::Marked => 2,
    }
}

fn read_name(input: &mut Input<'_>) -> Result<Name, Damage> {
    Ok(match input.byte()? {
        0 => Name::Kept,
        1 => Name::Dropped,
        2 => Name::Marked,
        _ => return Err(input.damage("nothing that becomes of a name")),
    })
}
