//! Fetched series on their way into an evaluation: the last node that reads a selection consumes it.

use std::cell::{Cell, RefCell};

use crate::eval::meter::Meter;
use crate::outcome::EvalError;
use crate::plan::Plan;
use crate::series::FetchedSeries;

/// The series of one selection.
pub(crate) struct Input {
    series: RefCell<Vec<FetchedSeries>>,
    /// Nodes of the plan that have not read it yet.
    readers: Cell<u32>,
}

impl Input {
    pub(crate) fn new(mut series: Vec<FetchedSeries>, readers: u32, plan: &Plan) -> Input {
        if plan.needs_order && !series.is_sorted_by(|a, b| a.labels <= b.labels) {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Input { series: RefCell::new(series), readers: Cell::new(readers) }
    }

    /// Visits every series. Each is dropped behind the visit of the last reader, so that a result can grow where its
    /// input shrinks.
    pub(crate) fn read(
        &self,
        meter: &Meter<'_>,
        visit: &mut dyn FnMut(&FetchedSeries) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let left = self.readers.get().saturating_sub(1);
        self.readers.set(left);
        if left > 0 {
            return self.series.borrow().iter().try_for_each(visit);
        }
        for series in self.series.take() {
            visit(&series)?;
            meter.consumed(&series);
        }
        Ok(())
    }
}
