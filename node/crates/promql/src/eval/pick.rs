//! Aggregations that pick among the series of a group, or need all values of a step at once.

use xxhash_rust::xxh64::xxh64;

use crate::ast::AggregateOp;
use crate::column::Column;
use crate::eval::group::Groups;
use crate::eval::marks::Marks;
use crate::eval::scalar::ScalarColumn;
use crate::eval::{Evaluator, Sink, execution_error};
use crate::functions::math::{quantile_of_sorted, sort_nan_first};
use crate::literal::general_text;
use crate::outcome::EvalError;
use crate::plan::AggregateNode;
use crate::series::SeriesLabels;
use crate::windows::Grid;

/// Pushes series into the sink that it is given.
pub(crate) type Produce<'p> = &'p mut dyn FnMut(&mut Sink<'_>) -> Result<(), EvalError>;

/// A candidate of `topk`: its value and the number of its series.
type Candidate = (f64, u32);

/// The best candidates of one group at one step.
///
/// A binary heap with the worst candidate first, moved exactly as Go's `container/heap` moves it: which of several equal
/// candidates is dropped depends on that.
#[derive(Default)]
pub(crate) struct Best {
    heap: Vec<Candidate>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It stands beside the others.
    Added,
    /// It stands in place of another.
    Replaced,
    /// The others are as good.
    Refused,
}

impl Best {
    /// What each of them costs.
    pub(crate) const CANDIDATE_BYTES: usize = size_of::<Candidate>();

    /// Whether `a` is worse than `b`; NaN is worst.
    fn worse(a: f64, b: f64, largest: bool) -> bool {
        a.is_nan() || if largest { a < b } else { a > b }
    }

    pub(crate) fn offer(&mut self, candidate: Candidate, k: usize, largest: bool) -> Offer {
        if self.heap.len() < k {
            self.heap.push(candidate);
            self.up(self.heap.len() - 1, largest);
            return Offer::Added;
        }
        let worst = self.heap[0].0;
        let better = if largest { worst < candidate.0 } else { worst > candidate.0 };
        if better || (worst.is_nan() && !candidate.0.is_nan()) {
            self.heap[0] = candidate;
            self.down(largest);
            return Offer::Replaced;
        }
        Offer::Refused
    }

    fn up(&mut self, mut at: usize, largest: bool) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !Best::worse(self.heap[at].0, self.heap[parent].0, largest) {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    fn down(&mut self, largest: bool) {
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let right_first = right < self.heap.len() && Best::worse(self.heap[right].0, self.heap[left].0, largest);
            let child = if right_first { right } else { left };
            if !Best::worse(self.heap[child].0, self.heap[at].0, largest) {
                break;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// Best first, NaN last.
    fn sort(&mut self, largest: bool) {
        self.heap.sort_by(|a, b| {
            let order = a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal);
            a.0.is_nan().cmp(&b.0.is_nan()).then(if largest { order.reverse() } else { order })
        });
    }
}

/// Picked values by number of the series.
struct Picked {
    labels: Vec<SeriesLabels>,
    columns: Vec<Option<Column>>,
    steps: usize,
}

impl Picked {
    fn set(&mut self, series: u32, step: usize, value: f64) {
        self.columns[series as usize].get_or_insert_with(|| Column::absent(self.steps)).set(step, value);
    }

    fn push_into(self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        for (labels, column) in self.labels.iter().zip(self.columns) {
            if let Some(mut column) = column {
                sink(labels, &mut column)?;
            }
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    fn param(&self, node: &AggregateNode, grid: &Grid) -> Result<ScalarColumn<'_>, EvalError> {
        node.param.as_ref().map_or(Ok(ScalarColumn::Constant(f64::NAN)), |param| self.scalar(param, grid))
    }

    /// How many series each step picks.
    pub(crate) fn counts(&self, node: &AggregateNode, grid: &Grid) -> Result<Vec<usize>, EvalError> {
        let param = self.param(node, grid)?;
        let count = |step| {
            let k = param.at(step);
            if k.is_nan() {
                return execution_error("Parameter value is NaN".to_owned());
            }
            if k <= i64::MIN as f64 {
                return execution_error(format!("Scalar value {} underflows int64", general_text(k, None)));
            }
            if k >= i64::MAX as f64 {
                return execution_error(format!("Scalar value {} overflows int64", general_text(k, None)));
            }
            Ok(k.max(0.0) as usize)
        };
        (0..grid.steps).map(count).collect()
    }

    /// Picks among the series that `produce` pushes, which come in the order of their labels.
    pub(crate) fn pick_extremes(
        &self,
        node: &AggregateNode,
        produce: Produce<'_>,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let largest = node.op == AggregateOp::Topk;
        let counts = self.counts(node, grid)?;
        let mut groups = Groups::new(node.grouping.without, &node.grouping.labels);
        let mut account = self.meter.account();
        let mut best: Vec<Best> = Vec::new();
        let mut picked = Picked { labels: Vec::new(), columns: Vec::new(), steps: grid.steps };
        produce(&mut |labels, column| {
            if column.has_histograms() {
                self.inform_of_ignored_in(node.op.as_str(), node.arg_span);
                if !column.present.any() {
                    return Ok(());
                }
            }
            let number = picked.labels.len() as u32;
            let first = groups.number(labels, &mut account)? * grid.steps;
            if first == best.len() {
                account.take(grid.steps * size_of::<Best>())?;
                best.resize_with(first + grid.steps, Best::default);
            }
            account.take(labels.byte_len() + size_of::<SeriesLabels>())?;
            picked.labels.push(labels.clone());
            let mut grown = 0;
            for step in column.present.iter().filter(|step| counts[*step] > 0) {
                let candidate = (column.values[step], number);
                grown += usize::from(best[first + step].offer(candidate, counts[step], largest) == Offer::Added);
            }
            account.take(grown * size_of::<Candidate>())?;
            self.meter.work(grid.steps)
        })?;
        picked.columns.resize_with(picked.labels.len(), || None);
        if grid.steps == 1 {
            // The order of an instant query's result is part of it.
            for group in &mut best {
                group.sort(largest);
                for (value, series) in &group.heap {
                    sink(&picked.labels[*series as usize], &mut Column::constant(*value, 1))?;
                }
            }
            return Ok(());
        }
        for (at, best) in best.iter().enumerate() {
            self.meter.work(best.heap.len())?;
            for (value, series) in &best.heap {
                picked.set(*series, at % grid.steps, *value);
            }
        }
        picked.push_into(sink)
    }

    /// Picks the first series of each group among those that `produce` pushes, in the order of their labels.
    pub(crate) fn pick_first(
        &self,
        node: &AggregateNode,
        produce: Produce<'_>,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let counts = self.counts(node, grid)?;
        let mut groups = Groups::new(node.grouping.without, &node.grouping.labels);
        let mut account = self.meter.account();
        let mut taken: Vec<usize> = Vec::new();
        produce(&mut |labels, column| {
            let first = groups.number(labels, &mut account)? * grid.steps;
            if first == taken.len() {
                account.take(grid.steps * size_of::<usize>())?;
                taken.resize(first + grid.steps, 0);
            }
            for step in 0..grid.steps {
                if !column.present.get(step) && column.histogram(step).is_none() {
                    continue;
                }
                if taken[first + step] >= counts[step] {
                    column.unset(step);
                } else {
                    taken[first + step] += 1;
                }
            }
            self.meter.work(grid.steps)?;
            if column.any() { sink(labels, column) } else { Ok(()) }
        })
    }

    pub(crate) fn pick_share(&self, node: &AggregateNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let param = self.param(node, grid)?;
        let mut ratios = Vec::with_capacity(grid.steps);
        for step in 0..grid.steps {
            let ratio = param.at(step);
            if ratio.is_nan() {
                return execution_error("Ratio value is NaN".to_owned());
            }
            let capped = ratio.clamp(-1.0, 1.0);
            if capped != ratio {
                let (got, to) = (general_text(ratio, None), general_text(capped, None));
                let text = format!("ratio value should be between -1 and 1, got {got}, capping to {to}");
                self.annotations.borrow_mut().warn(text, node.param_span);
            }
            ratios.push(capped);
        }
        self.vector(&node.arg, grid, &mut |labels, column| {
            // The same series is picked by every query, so its place is its hash: that of Prometheus's string labels.
            let place = xxh64(&string_labels(labels), 0) as f64 / u64::MAX as f64;
            for (step, ratio) in ratios.iter().enumerate() {
                let picked = if *ratio >= 0.0 { place < *ratio } else { place >= 1.0 + *ratio };
                if !picked {
                    column.unset(step);
                }
            }
            self.meter.work(grid.steps)?;
            if column.any() { sink(labels, column) } else { Ok(()) }
        })
    }

    pub(crate) fn quantiles(&self, node: &AggregateNode, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let Some(param) = &node.param else { return Ok(()) };
        let q = self.quantile_parameter(param, node.param_span, grid)?;
        let mut groups = Groups::new(node.grouping.without, &node.grouping.labels);
        let mut account = self.meter.account();
        let mut members: Vec<Vec<Column>> = Vec::new();
        let mut marks = Marks::new(self.delays_names);
        self.vector(&node.arg, grid, &mut |labels, column| {
            if column.has_histograms() {
                column.histograms = None;
                self.inform_of_ignored_in(node.op.as_str(), node.arg_span);
                if !column.present.any() {
                    return Ok(());
                }
            }
            let group = groups.number(labels, &mut account)?;
            if group == members.len() {
                account.take(marks.group_bytes())?;
                members.push(Vec::new());
            }
            marks.add(group, labels, column);
            account.take(column.byte_len())?;
            members[group].push(std::mem::take(column));
            Ok(())
        })?;
        let mut values = Vec::new();
        for (group, members) in members.iter().enumerate() {
            let mut result = Column::absent(grid.steps);
            for step in 0..grid.steps {
                values.clear();
                values.extend(members.iter().filter_map(|column| column.get(step)));
                self.meter.work(1 + values.len())?;
                if !values.is_empty() {
                    sort_nan_first(&mut values);
                    result.set(step, quantile_of_sorted(q.at(step), &values));
                }
            }
            sink(&marks.label(group, groups.labels(group)), &mut result)?;
        }
        Ok(())
    }
}

/// The bytes that Prometheus hashes: each text after its length, in one byte or in three behind a 255.
fn string_labels(labels: &SeriesLabels) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(labels.byte_len());
    for label in labels.iter() {
        for text in [label.name, label.value] {
            match u8::try_from(text.len()) {
                Ok(length) if length < 255 => bytes.push(length),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use bellwether_model::Labels;

    use super::*;

    #[test]
    fn the_best_are_kept_and_sorted() {
        let mut best = Best::default();
        for (number, value) in [3.0, f64::NAN, 1.0, 5.0, 4.0].into_iter().enumerate() {
            best.offer((value, number as u32), 3, true);
        }
        best.sort(true);
        assert_eq!(best.heap, [(5.0, 3), (4.0, 4), (3.0, 0)]);
    }

    #[test]
    fn string_labels_are_prometheus_s() {
        let labels = SeriesLabels::new(Labels::of(&[("a", "bc")]));
        assert_eq!(string_labels(&labels), b"\x01a\x02bc");
    }
}
