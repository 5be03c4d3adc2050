//! `absent` and `absent_over_time`: one series where there is none.

use bellwether_model::{Labels, LabelsBuilder};

use crate::column::{Column, Presence};
use crate::eval::{Evaluator, Sink};
use crate::outcome::EvalError;
use crate::plan::{RangeNode, VectorNode};
use crate::series::SeriesLabels;
use crate::windows::Grid;

impl Evaluator<'_> {
    pub(crate) fn absent(
        &self,
        labels: &[(String, String)],
        arg: &VectorNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut found = Presence::none(grid.steps);
        self.vector(arg, grid, &mut |_, column| {
            found.union(&column.presence());
            Ok(())
        })?;
        push_absence(labels, &found, grid, sink)
    }

    pub(crate) fn absent_over_time(
        &self,
        labels: &[(String, String)],
        range: &RangeNode,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut found = Presence::none(grid.steps);
        self.ranges(range, grid, &mut |data| {
            self.meter.work(grid.steps)?;
            for step in (0..grid.steps).filter(|step| data.sample_count(*step) > 0) {
                found.set(step);
            }
            Ok(())
        })?;
        push_absence(labels, &found, grid, sink)
    }
}

fn push_absence(
    labels: &[(String, String)],
    found: &Presence,
    grid: &Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let mut column = Column::constant(1.0, grid.steps);
    column.present.subtract(found);
    if !column.present.any() {
        return Ok(());
    }
    let mut builder = LabelsBuilder::default();
    for (name, value) in labels {
        builder.set(name, value);
    }
    // Names in matchers may be empty; such a label says nothing.
    let labels = builder.build().unwrap_or_else(|_| Labels::empty());
    sink(&SeriesLabels::new(labels), &mut column)
}
