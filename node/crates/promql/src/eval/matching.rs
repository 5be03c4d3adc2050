//! Two vectors: arithmetic and comparisons between matching series, and set operators.

use bellwether_model::{Label, Labels};

use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::column::{Column, Presence};
use crate::eval::binary::Operation;
use crate::eval::collect::{Duplicates, SeriesSet};
use crate::eval::group::Groups;
use crate::eval::histogram_notes::Kind;
use crate::eval::histogram_range::Sample;
use crate::eval::{Evaluator, execution_error};
use crate::outcome::EvalError;
use crate::series::{Series, SeriesLabels, is_of_metric};
use crate::span::Span;
use crate::windows::Grid;

/// Where any series of a side has a value.
fn anywhere(series: &[Series], steps: usize) -> Presence {
    let mut any = Presence::none(steps);
    series.iter().for_each(|series| any.union(&series.column.presence()));
    any
}

/// Vectors that are being matched.
struct Pairing<'p, 'm> {
    operation: Operation,
    matching: &'p Matching,
    /// The "one" side is the left one.
    one_left: bool,
    delays_names: bool,
    /// Steps at which a group has had a series of the "many" side.
    matched: Vec<Presence>,
    /// Results before a filter takes steps away: what is filtered out may not have twins either.
    unfiltered: SeriesSet<'m>,
    result: SeriesSet<'m>,
    evaluator: &'p Evaluator<'p>,
    span: Span,
}

impl Pairing<'_, '_> {
    /// Takes a pair of one group at the steps that it shares.
    fn take(&mut self, group: usize, many: &Series, one: &Series, steps: Presence) -> Result<(), EvalError> {
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        if one_to_one && self.matched[group].overlaps(&steps) {
            let message = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
            return execution_error(message.to_owned());
        }
        self.matched[group].union(&steps);
        let labels = result_labels(self.operation, self.matching, self.delays_names, &many.labels, &one.labels);
        let mut column = many.column.clone();
        column.intersect(&steps);
        if self.operation.filters() && !one_to_one {
            self.unfiltered.push(&labels, &mut column.clone()).map_err(not_unique)?;
        }
        self.operate(&mut column, &one.column, &steps)?;
        if !column.any() {
            return Ok(());
        }
        let pushed = self.result.push(&labels, &mut column);
        if one_to_one { pushed } else { pushed.map_err(not_unique) }
    }
}

impl Pairing<'_, '_> {
    fn operate(&self, many: &mut Column, one: &Column, steps: &Presence) -> Result<(), EvalError> {
        let Pairing { operation, evaluator, span, one_left, .. } = *self;
        if many.histograms.is_none() && one.histograms.is_none() && !operation.op.is_trim() {
            operation.columns(many, one, one_left);
            return Ok(());
        }
        // Floats with floats first, then what has a histogram in it.
        let mut floats = Column::of_floats(many.values.clone(), many.present.clone());
        floats.present.intersect(&one.present);
        if operation.op.is_trim() {
            if floats.present.any() {
                evaluator.inform_of_kinds(operation.op, (Kind::Float, Kind::Float), span);
            }
            floats.present.clear();
        } else {
            operation.columns(&mut floats, one, one_left);
        }
        let mut both = many.present.clone();
        both.intersect(&one.present);
        evaluator.operate_on_histograms(operation, many, one, one_left, (steps, span))?;
        both.iter().for_each(|step| many.replace(step, floats.get(step).map(Sample::Float)));
        Ok(())
    }
}

/// A series that stands for a missing one.
fn stand_in(labels: &Labels, value: f64, steps: usize) -> Series {
    Series { labels: SeriesLabels::new(labels.clone()), column: Column::constant(value, steps) }
}

impl Evaluator<'_> {
    pub(crate) fn match_vectors(
        &self,
        operation: Operation,
        matching: &Matching,
        lhs: SeriesSet<'_>,
        rhs: SeriesSet<'_>,
        (grid, span): (&Grid, Span),
    ) -> Result<SeriesSet<'_>, EvalError> {
        let one_left = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if one_left { (rhs, lhs) } else { (lhs, rhs) };
        // Prometheus does not turn these around for `group_right`.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        // A step where a side is empty matches nothing, not even duplicates, unless something stands for what is missing.
        let mut matchable = anywhere(&many.series, grid.steps);
        let of_one = anywhere(&one.series, grid.steps);
        if fill_many.is_some() || fill_one.is_some() {
            matchable.union(&of_one);
        } else {
            matchable.intersect(&of_one);
        }
        if !matchable.any() {
            return Ok(self.new_set(Duplicates::Merge));
        }
        let mut groups = Groups::of_matching(matching);
        let mut account = self.meter.account();
        let mut ones: Vec<Vec<&Series>> = Vec::new();
        for series in &one.series {
            let group = groups.number(&series.labels, &mut account)?;
            if group == ones.len() {
                ones.push(Vec::new());
            }
            let both = |other: &&&Series| {
                let mut both = other.column.presence().into_owned();
                both.intersect(&series.column.presence());
                both.overlaps(&matchable)
            };
            if let Some(twin) = ones[group].iter().find(both) {
                return duplicate_error(groups.labels(group), one_left, series, twin);
            }
            ones[group].push(series);
            self.meter.work(1 + ones[group].len())?;
        }
        let matched = vec![Presence::none(grid.steps); groups.len()];
        let (unfiltered, result) = (self.new_set(Duplicates::Merge), self.new_set(Duplicates::Merge));
        let mut pairing = Pairing {
            operation,
            matching,
            one_left,
            delays_names: self.delays_names,
            matched,
            unfiltered,
            result,
            evaluator: self,
            span,
        };
        for series in &many.series {
            let group = match fill_one {
                Some(_) => groups.number(&series.labels, &mut account)?,
                None => match groups.known(&series.labels) {
                    Some(group) => group,
                    None => continue,
                },
            };
            if group == pairing.matched.len() {
                account.take(series.column.present.byte_len())?;
                pairing.matched.push(Presence::none(grid.steps));
            }
            let mut alone = series.column.presence().into_owned();
            for one in ones.get(group).into_iter().flatten() {
                self.meter.work(grid.steps)?;
                let mut shared = series.column.presence().into_owned();
                shared.intersect(&one.column.presence());
                if shared.any() {
                    alone.subtract(&shared);
                    pairing.take(group, series, one, shared)?;
                }
            }
            if let Some(fill) = fill_one
                && alone.any()
            {
                self.meter.work(grid.steps)?;
                pairing.take(group, series, &stand_in(groups.labels(group), fill, grid.steps), alone)?;
            }
        }
        if let Some(fill) = fill_many {
            for (group, ones) in ones.iter().enumerate() {
                let many = stand_in(groups.labels(group), fill, grid.steps);
                for one in ones {
                    self.meter.work(grid.steps)?;
                    let mut alone = one.column.presence().into_owned();
                    alone.subtract(&pairing.matched[group]);
                    if alone.any() {
                        pairing.take(group, &many, one, alone)?;
                    }
                }
            }
        }
        Ok(pairing.result)
    }

    pub(crate) fn combine_sets(
        &self,
        op: BinaryOp,
        matching: &Matching,
        lhs: SeriesSet<'_>,
        rhs: SeriesSet<'_>,
        grid: &Grid,
    ) -> Result<SeriesSet<'_>, EvalError> {
        let mut groups = Groups::of_matching(matching);
        let mut account = self.meter.account();
        // For `or` the left side hides series of the right one; for the others the right side decides about the left.
        let (deciding, decided) = if op == BinaryOp::Or { (&lhs, &rhs) } else { (&rhs, &lhs) };
        let mut present: Vec<Presence> = Vec::new();
        for series in &deciding.series {
            let group = groups.number(&series.labels, &mut account)?;
            if group == present.len() {
                present.push(Presence::none(grid.steps));
            }
            present[group].union(&series.column.presence());
            self.meter.work(1)?;
        }
        let duplicates = if op == BinaryOp::Or { Duplicates::Merge } else { Duplicates::Impossible };
        let mut result = self.new_set(duplicates);
        if op == BinaryOp::Or {
            for series in &lhs.series {
                result.push(&series.labels, &mut series.column.clone())?;
            }
        }
        for series in &decided.series {
            self.meter.work(1)?;
            let mut column = series.column.clone();
            match (groups.known(&series.labels), op) {
                (Some(group), BinaryOp::And) => column.intersect(&present[group]),
                (None, BinaryOp::And) => continue,
                (Some(group), _) => column.subtract(&present[group]),
                (None, _) => {}
            }
            if column.any() {
                result.push(&series.labels, &mut column)?;
            }
        }
        Ok(result)
    }
}

fn duplicate_error<T>(group: &Labels, one_left: bool, series: &Series, twin: &Series) -> Result<T, EvalError> {
    let side = if one_left { "left" } else { "right" };
    let (series, twin) = (series.labels.to_labels(), twin.labels.to_labels());
    execution_error(format!(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
         [{series}, {twin}];many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

/// Series of one match group that get the same labels are the fault of `group_left`'s labels.
fn not_unique(error: EvalError) -> EvalError {
    match error {
        EvalError::Execution(_) => {
            EvalError::Execution("multiple matches for labels: grouping labels must ensure unique matches".to_owned())
        }
        other => other,
    }
}

/// Arithmetic drops the name at once in any case, and what a filter lets through keeps the one that it has, even if that was
/// to be dropped: such are Prometheus's rules.
fn result_labels(
    operation: Operation,
    matching: &Matching,
    delays_names: bool,
    many: &SeriesLabels,
    one: &SeriesLabels,
) -> SeriesLabels {
    let marks_name = operation.return_bool && delays_names;
    let drops_name = operation.op.is_arithmetic() || (operation.return_bool && !delays_names);
    let labels = joined_labels(drops_name, matching, many, one);
    if marks_name { labels.with_name_marked() } else { labels }
}

fn joined_labels(drops_name: bool, matching: &Matching, many: &SeriesLabels, one: &SeriesLabels) -> SeriesLabels {
    let one_to_one = matching.cardinality == Cardinality::OneToOne;
    if !one_to_one && matching.include.is_empty() {
        return if drops_name { many.without_name() } else { many.with_name_kept() };
    }
    let keeps = |label: &Label<'_>| {
        let dropped = drops_name && is_of_metric(label.name);
        let matches_mode = !one_to_one || matching.labels.iter().any(|name| name == label.name) == matching.on;
        !dropped && matches_mode && !matching.include.iter().any(|name| name == label.name)
    };
    let mut labels: Vec<Label<'_>> = many.iter().filter(keeps).collect();
    for name in &matching.include {
        let value = one.value(name);
        let at = labels.partition_point(|label| label.name < name.as_str());
        let known = labels.get(at).is_some_and(|label| label.name == name);
        if !value.is_empty() && !known {
            labels.insert(at, Label { name, value });
        }
    }
    SeriesLabels::new(Labels::from_sorted(labels.into_iter()))
}
