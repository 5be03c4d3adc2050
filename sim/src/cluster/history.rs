//! What clients wrote, and what may be read.
//!
//! Every value is a serial number that is used once, so that a sample says which write it comes from. A write whose outcome
//! is unknown may be stored now, later, or never, and after a later write to the same time as well: once unknown, a value
//! may be read for ever.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{Labels, Tenant, Timestamp};

/// One series of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Whose: 0 or 1.
    pub tenant: usize,
    /// The client that writes it.
    pub writer: usize,
    /// Its number among those.
    pub number: usize,
}

/// Names of metrics; series with one name lie on neighbouring points of the ring.
pub const METRICS: usize = 7;

impl Series {
    /// Its metric's name.
    pub fn metric(self) -> String {
        format!("m{}", self.number % METRICS)
    }

    /// Its labels.
    pub fn labels(self) -> Labels {
        let (writer, number) = (self.writer.to_string(), self.number.to_string());
        Labels::of(&[("__name__", &self.metric()), ("writer", &writer), ("n", &number)])
    }
}

/// The tenants of the workload.
pub fn tenant(index: usize) -> Tenant {
    if index == 0 { Tenant::default_tenant() } else { Tenant::new(&format!("tenant-{index}")).expect("a legal name") }
}

/// What may be read at one time of one series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// The last value that was acknowledged.
    pub acknowledged: Option<u64>,
    /// Values whose outcome is not known.
    pub unknown: BTreeSet<u64>,
    /// Values that were acknowledged before, and when others took their places.
    pub replaced: BTreeMap<u64, Moment>,
}

/// Counts acknowledgements: what a query may see depends on what was acknowledged before it was sent, and during it.
pub type Moment = u64;

impl Cell {
    /// Whether this value may be read by a query that was sent at a moment.
    pub fn allows(&self, serial: u64, sent: Moment) -> bool {
        self.acknowledged == Some(serial)
            || self.unknown.contains(&serial)
            || self.replaced.get(&serial).is_some_and(|replaced| *replaced > sent)
    }
}

/// Cells of series: all of them, or some as they were at a moment.
pub type Cells = BTreeMap<Series, BTreeMap<Timestamp, Cell>>;

/// Samples as a query gave them.
pub type Found = BTreeMap<Series, Vec<(Timestamp, u64)>>;

/// One sample of a write.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// Of which series.
    pub series: Series,
    /// When.
    pub timestamp: Timestamp,
    /// The value.
    pub serial: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    cells: Cells,
    /// Where each serial number was written, from 1.
    places: Vec<(Series, Timestamp)>,
    moment: Moment,
}

impl History {
    /// A new value for a time of a series. Until its outcome is known it may be read.
    pub fn begin(&mut self, series: Series, timestamp: Timestamp) -> Write {
        self.places.push((series, timestamp));
        let write = Write { series, timestamp, serial: self.places.len() as u64 };
        self.cell(write).unknown.insert(write.serial);
        write
    }

    /// A write was acknowledged. If it was sent before, or is sent again, an older copy of it may still be under way.
    pub fn acknowledge(&mut self, write: Write, may_come_again: bool) {
        self.moment += 1;
        let moment = self.moment;
        let cell = self.cell(write);
        if let Some(before) = cell.acknowledged.replace(write.serial).filter(|before| *before != write.serial) {
            cell.replaced.insert(before, moment);
        }
        if !may_come_again {
            cell.unknown.remove(&write.serial);
        }
    }

    /// A write that was acknowledged is about to be sent again.
    pub fn repeat(&mut self, write: Write) {
        self.cell(write).unknown.insert(write.serial);
    }

    fn cell(&mut self, write: Write) -> &mut Cell {
        self.cells.entry(write.series).or_default().entry(write.timestamp).or_default()
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// Times of a series that were written.
    pub fn times(&self, series: Series) -> Vec<Timestamp> {
        self.cells.get(&series).map(|cells| cells.keys().copied().collect()).unwrap_or_default()
    }

    /// The wanted series as they are now.
    pub fn cells(&self, wanted: impl Fn(Series) -> bool) -> Cells {
        let wanted = self.cells.iter().filter(|(series, _)| wanted(**series));
        wanted.map(|(series, cells)| (*series, cells.clone())).collect()
    }

    /// Where a value was written.
    pub fn place(&self, serial: u64) -> Option<(Series, Timestamp)> {
        self.places.get(serial.checked_sub(1)? as usize).copied()
    }

    /// Samples that must be there.
    pub fn acknowledged(&self) -> usize {
        self.cells.values().flat_map(BTreeMap::values).filter(|cell| cell.acknowledged.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series = Series { tenant: 0, writer: 1, number: 2 };

    fn allows(history: &History, write: Write, sent: Moment) -> bool {
        history.cells(|_| true)[&SERIES][&write.timestamp].allows(write.serial, sent)
    }

    #[test]
    fn a_replaced_value_is_seen_only_by_queries_that_were_under_way() {
        let mut history = History::default();
        let first = history.begin(SERIES, 10);
        history.acknowledge(first, false);
        let sent = history.moment();
        let second = history.begin(SERIES, 10);
        assert!(allows(&history, first, sent) && allows(&history, second, sent), "either may be read");
        history.acknowledge(second, false);
        assert!(allows(&history, first, sent), "the query may have been answered before");
        assert!(!allows(&history, first, history.moment()));
        assert!(allows(&history, second, history.moment()));
    }

    #[test]
    fn a_value_whose_outcome_was_unknown_may_come_again() {
        let mut history = History::default();
        let first = history.begin(SERIES, 10);
        history.acknowledge(first, true);
        let second = history.begin(SERIES, 10);
        history.acknowledge(second, false);
        assert!(allows(&history, first, history.moment()) && allows(&history, second, history.moment()));
    }
}
