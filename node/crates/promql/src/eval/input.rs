//! Fetched series on their way into an evaluation: the last node that reads a selection consumes it.

use std::cell::{Cell, RefCell};

use crate::eval::meter::Meter;
use crate::outcome::EvalError;
use crate::plan::Plan;
use crate::series::{FetchedSeries, TYPE_LABEL, UNIT_LABEL};

/// The series of one selection.
pub(crate) struct Input {
    series: RefCell<Vec<FetchedSeries>>,
    /// Nodes of the plan that have not read it yet.
    readers: Cell<u32>,
    /// A series has its type or its unit as a label.
    pub(crate) typed: bool,
}

impl Input {
    pub(crate) fn new(mut series: Vec<FetchedSeries>, readers: u32, plan: &Plan) -> Input {
        if plan.needs_order && !series.is_sorted_by(|a, b| a.labels <= b.labels) {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        // Labels are sorted, and these are among the first of all but the oddest series.
        let is_typed = |series: &FetchedSeries| {
            let mut labels = series.labels.iter().take_while(|label| label.name <= UNIT_LABEL);
            labels.any(|label| label.name == TYPE_LABEL || label.name == UNIT_LABEL)
        };
        let typed = series.iter().any(is_typed);
        Input { series: RefCell::new(series), readers: Cell::new(readers), typed }
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
