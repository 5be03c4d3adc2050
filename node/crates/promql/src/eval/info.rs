//! `info`: labels of the series that describe a target, on the series of that target.
//!
//! Both sides find each other by [`IDENTIFYING_LABELS`]. Which series describes a target can change from step to step, so
//! one series may come out under several label sets, each at its own steps.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::METRIC_NAME;

use crate::column::{Column, Presence};
use crate::eval::collect::Duplicates;
use crate::eval::selector::Sight;
use crate::eval::{Evaluator, Sink, execution_error};
use crate::functions::labels::with_label;
use crate::outcome::EvalError;
use crate::plan::{InfoNode, VectorNode};
use crate::series::{Series, SeriesLabels};
use crate::windows::Grid;

/// Labels that say which target a series is of.
const IDENTIFYING_LABELS: [&str; 2] = ["instance", "job"];

/// The values of [`IDENTIFYING_LABELS`].
type Target<'s> = [&'s str; IDENTIFYING_LABELS.len()];

fn target(labels: &SeriesLabels) -> Target<'_> {
    IDENTIFYING_LABELS.map(|name| labels.value(name))
}

/// What describes a target at each step, for one metric that does so: a number of a series.
type Choice = Vec<Option<usize>>;

impl Evaluator<'_> {
    pub(crate) fn info(
        &self,
        arg: &VectorNode,
        info: &InfoNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let base = self.collect(arg, grid)?;
        // The value is the sample's time: the newest sample of a target tells.
        let mut descriptions = self.new_set(Duplicates::Impossible);
        let mut push = |labels: &SeriesLabels, column: &mut Column| descriptions.push(labels, column);
        self.newest(&info.selector, grid, &mut push, Sight::Times, |timestamps, _, at| timestamps[at] as f64)?;
        let describes = |series: &Series| {
            let name = series.labels.value(METRIC_NAME);
            info.names.iter().any(|matcher| matcher.matches(name))
        };
        let chosen = self.choose(&base.series, &descriptions.series, describes, grid)?;
        let mut result = self.new_set(Duplicates::Merge);
        for series in &base.series {
            self.meter.work(grid.steps)?;
            let choices = chosen.get(&target(&series.labels)).filter(|_| !describes(series));
            if describes(series) {
                result.push(&series.labels, &mut series.column.clone())?;
                continue;
            }
            for (chosen, steps) in same_choices(choices, &series.column.presence()) {
                let chosen = chosen.iter().flatten().map(|at| &descriptions.series[*at].labels);
                if let Some(labels) = described(&series.labels, chosen, info)? {
                    let mut column = series.column.clone();
                    column.intersect(&steps);
                    result.push(&labels, &mut column)?;
                }
            }
        }
        result.push_into(sink)
    }

    /// For each target and each metric that describes it, the series with the newest sample at each step.
    fn choose<'s>(
        &self,
        base: &[Series],
        descriptions: &'s [Series],
        describes: impl Fn(&Series) -> bool,
        grid: &Grid,
    ) -> Result<BTreeMap<Target<'s>, BTreeMap<&'s str, Choice>>, EvalError> {
        let mut asked = Presence::none(grid.steps);
        let mut known: [BTreeSet<&str>; IDENTIFYING_LABELS.len()] = Default::default();
        for series in base {
            asked.union(&series.column.presence());
            if !describes(series) {
                let values = known.iter_mut().zip(target(&series.labels)).filter(|(_, value)| !value.is_empty());
                for (known, value) in values {
                    known.insert(value);
                }
            }
        }
        let mut chosen: BTreeMap<Target<'s>, BTreeMap<&'s str, Choice>> = BTreeMap::new();
        if known.iter().all(BTreeSet::is_empty) {
            return Ok(chosen);
        }
        let mut account = self.meter.account();
        for (at, series) in descriptions.iter().enumerate() {
            self.meter.work(grid.steps)?;
            let target = target(&series.labels);
            if !known.iter().zip(target).all(|(known, value)| known.is_empty() || known.contains(value)) {
                continue;
            }
            let of_metric = chosen.entry(target).or_default().entry(series.labels.value(METRIC_NAME));
            let choice = match of_metric {
                Entry::Occupied(choice) => choice.into_mut(),
                Entry::Vacant(vacant) => {
                    account.take(grid.steps.saturating_mul(size_of::<Option<usize>>()))?;
                    vacant.insert(vec![None; grid.steps])
                }
            };
            for step in series.column.present.iter().filter(|step| asked.get(*step)) {
                let Some(other) = choice[step] else {
                    choice[step] = Some(at);
                    continue;
                };
                let (time, known) = (series.column.values[step], descriptions[other].column.values[step]);
                if time == known {
                    let (existing, new) = (descriptions[other].labels.to_labels(), series.labels.to_labels());
                    return execution_error(format!(
                        "found duplicate series for info metric: existing {existing} @ {known}, new {new} @ {time}"
                    ));
                }
                if time > known {
                    choice[step] = Some(at);
                }
            }
        }
        Ok(chosen)
    }
}

/// The steps at which the same series describe a target.
fn same_choices(choices: Option<&BTreeMap<&str, Choice>>, steps: &Presence) -> BTreeMap<Vec<Option<usize>>, Presence> {
    let mut same = BTreeMap::new();
    let Some(choices) = choices else {
        same.insert(Vec::new(), steps.clone());
        return same;
    };
    for step in steps.iter() {
        let chosen: Vec<Option<usize>> = choices.values().map(|choice| choice[step]).collect();
        same.entry(chosen).or_insert_with(|| Presence::none(steps.steps())).set(step);
    }
    same
}

/// The labels of a series and of what describes it; `None` if it needs a description and has none.
fn described<'s>(
    base: &SeriesLabels,
    descriptions: impl Iterator<Item = &'s SeriesLabels>,
    info: &InfoNode,
) -> Result<Option<SeriesLabels>, EvalError> {
    let mut more: BTreeMap<&str, &str> = BTreeMap::new();
    let mut any = false;
    for labels in descriptions {
        any = true;
        for label in labels.iter().filter(|label| label.name != METRIC_NAME) {
            let wanted = info.labels.is_empty() || info.labels.iter().any(|matcher| matcher.name() == label.name);
            if !wanted {
                continue;
            }
            if more.get(label.name).is_some_and(|known| *known != label.value) {
                return execution_error(format!("conflicting label: {}", label.name));
            }
            if base.get(label.name).is_none() {
                more.insert(label.name, label.value);
            }
        }
    }
    if !any && !info.labels.iter().all(|matcher| matcher.matches_empty()) {
        return Ok(None);
    }
    Ok(Some(more.into_iter().fold(base.clone(), |labels, (name, value)| with_label(&labels, name, value))))
}
