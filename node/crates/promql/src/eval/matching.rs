//! Two vectors: arithmetic and comparisons between matching series, and set operators.

use bellwether_model::{Label, Labels, METRIC_NAME};

use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::column::{Column, Presence};
use crate::eval::binary::Operation;
use crate::eval::collect::{Duplicates, SeriesSet};
use crate::eval::group::Groups;
use crate::eval::{Evaluator, execution_error};
use crate::outcome::EvalError;
use crate::series::{Series, SeriesLabels};
use crate::windows::Grid;

/// Where any series of a side has a value.
fn anywhere(series: &[Series], steps: usize) -> Presence {
    let mut any = Presence::none(steps);
    series.iter().for_each(|series| any.union(&series.column.present));
    any
}

impl Evaluator<'_> {
    pub(crate) fn match_vectors(
        &self,
        operation: Operation,
        matching: &Matching,
        lhs: SeriesSet<'_>,
        rhs: SeriesSet<'_>,
        grid: &Grid,
    ) -> Result<SeriesSet<'_>, EvalError> {
        let one_left = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if one_left { (rhs, lhs) } else { (lhs, rhs) };
        let mut result = self.new_set(Duplicates::Merge);
        // A step where a side is empty matches nothing, not even duplicates.
        let mut matchable = anywhere(&many.series, grid.steps);
        matchable.intersect(&anywhere(&one.series, grid.steps));
        if !matchable.any() {
            return Ok(result);
        }
        let mut groups = Groups::new(!matching.on, &matching.labels);
        let mut account = self.meter.account();
        let mut ones: Vec<Vec<&Series>> = Vec::new();
        for series in &one.series {
            let group = groups.number(&series.labels, &mut account)?;
            if group == ones.len() {
                ones.push(Vec::new());
            }
            let both = |other: &&&Series| {
                let mut both = other.column.present.clone();
                both.intersect(&series.column.present);
                both.overlaps(&matchable)
            };
            if let Some(twin) = ones[group].iter().find(both) {
                return duplicate_error(groups.labels(group), one_left, series, twin);
            }
            ones[group].push(series);
            self.meter.work(1 + ones[group].len())?;
        }
        // Steps at which a group has its one-to-one result already.
        let mut matched: Vec<Option<Presence>> = vec![None; groups.len()];
        for series in many.series {
            let Some(group) = groups.known(&series.labels) else { continue };
            for one in &ones[group] {
                self.meter.work(grid.steps)?;
                if !series.column.present.overlaps(&one.column.present) {
                    continue;
                }
                let mut column: Column = series.column.clone();
                operation.columns(&mut column, &one.column, one_left);
                if !column.present.any() {
                    continue;
                }
                if matching.cardinality == Cardinality::OneToOne {
                    let matched = matched[group].get_or_insert_with(|| Presence::none(grid.steps));
                    if matched.overlaps(&column.present) {
                        let message = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                        return execution_error(message.to_owned());
                    }
                    matched.union(&column.present);
                }
                let labels = result_labels(operation, matching, &series.labels, &one.labels);
                result.push(&labels, &mut column).map_err(|error| grouping_error(error, matching))?;
            }
        }
        Ok(result)
    }

    pub(crate) fn combine_sets(
        &self,
        op: BinaryOp,
        matching: &Matching,
        lhs: SeriesSet<'_>,
        rhs: SeriesSet<'_>,
        grid: &Grid,
    ) -> Result<SeriesSet<'_>, EvalError> {
        let mut groups = Groups::new(!matching.on, &matching.labels);
        let mut account = self.meter.account();
        // For `or` the left side hides series of the right one; for the others the right side decides about the left.
        let (deciding, decided) = if op == BinaryOp::Or { (&lhs, &rhs) } else { (&rhs, &lhs) };
        let mut present: Vec<Presence> = Vec::new();
        for series in &deciding.series {
            let group = groups.number(&series.labels, &mut account)?;
            if group == present.len() {
                present.push(Presence::none(grid.steps));
            }
            present[group].union(&series.column.present);
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
                (Some(group), BinaryOp::And) => column.present.intersect(&present[group]),
                (None, BinaryOp::And) => continue,
                (Some(group), _) => column.present.subtract(&present[group]),
                (None, _) => {}
            }
            if column.present.any() {
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
fn grouping_error(error: EvalError, matching: &Matching) -> EvalError {
    match error {
        EvalError::Execution(_) if matching.cardinality != Cardinality::OneToOne => {
            EvalError::Execution("multiple matches for labels: grouping labels must ensure unique matches".to_owned())
        }
        other => other,
    }
}

fn result_labels(operation: Operation, matching: &Matching, many: &SeriesLabels, one: &SeriesLabels) -> SeriesLabels {
    let drops_name = operation.return_bool || !operation.op.is_comparison();
    let one_to_one = matching.cardinality == Cardinality::OneToOne;
    if !one_to_one && matching.include.is_empty() {
        return if drops_name { many.without_name() } else { many.clone() };
    }
    let keeps = |label: &Label<'_>| {
        let dropped = drops_name && label.name == METRIC_NAME;
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
