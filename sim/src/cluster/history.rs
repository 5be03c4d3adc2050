//! What clients wrote, and what may be read.
//!
//! Every value says a serial number that is used once (how: [`values`](super::values)), so that a sample says which write it
//! comes from. A write whose outcome is unknown may be stored now, later, or never, and after a later write to the same time as well: once unknown, a value
//! may be read for ever. The same holds for deletions: one whose outcome is unknown may take away what is written later.
//!
//! What retention is over for may be gone, and nobody says when it goes. But whatever an answer lacks is gone for good.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use bellwether_model::{Labels, Tenant, Timestamp, limits};

/// One series of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Whose: 0 is the tenant by default.
    pub tenant: usize,
    /// The client that writes it.
    pub writer: usize,
    /// Its number among those.
    pub number: usize,
}

/// Names of metrics; series with one name lie on neighbouring points of the ring.
pub const METRICS: usize = 7;

impl Series {
    /// Its metric's number.
    pub fn metric_number(self) -> usize {
        self.number % METRICS
    }

    /// Its metric's name.
    pub fn metric(self) -> String {
        format!("m{}", self.metric_number())
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

/// How far back it is known when something happened.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What may be read at one time of one series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// The last value that was acknowledged.
    pub acknowledged: Option<u64>,
    /// Since when there is such a value, this one or those before.
    pub since: Moment,
    /// Values whose outcome is not known.
    pub unknown: BTreeSet<u64>,
    /// Values that were acknowledged before, and when others took their places or they were deleted.
    pub replaced: BTreeMap<u64, Moment>,
    /// Whether a deletion that covers it may happen now, or retention is over for it.
    pub may_be_gone: bool,
    /// When a deletion that covers it was last begun or acknowledged, or its retention was over.
    pub deletion: Moment,
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

    /// Whether a query that was sent at a moment must find a value, where this was known at that moment or later; `now` is what
    /// is known since.
    pub fn is_due(&self, now: &Cell, sent: Moment) -> bool {
        self.acknowledged.is_some() && self.since <= sent && !self.may_be_gone && now.deletion <= sent
    }

    /// The one thing that can be read, a value or none, if there is but one.
    pub fn certain(&self) -> Option<Option<u64>> {
        let is_certain = !self.may_be_gone && self.unknown.iter().all(|serial| Some(*serial) == self.acknowledged);
        is_certain.then_some(self.acknowledged)
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
    /// What the value says.
    pub serial: u64,
}

/// What a deletion covers: series of one tenant and writer, one of them or all, and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Whose.
    pub tenant: usize,
    /// By which writer.
    pub writer: usize,
    /// One of the writer's series; all of them without.
    pub number: Option<usize>,
    /// Both ends are deleted.
    pub times: RangeInclusive<Timestamp>,
}

impl Erasure {
    fn covers(&self, series: Series, timestamp: Timestamp) -> bool {
        (series.tenant, series.writer) == (self.tenant, self.writer)
            && self.number.is_none_or(|number| number == series.number)
            && self.times.contains(&timestamp)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    cells: Cells,
    /// Where each serial number was written, from 1.
    places: Vec<(Series, Timestamp)>,
    moment: Moment,
    /// Which moment it was when so much simulated time had passed, for the last seconds.
    timed: VecDeque<(Duration, Moment)>,
    /// Deletions that may happen now.
    erasures: Vec<Erasure>,
    /// What is before this may be gone.
    floor: Timestamp,
    /// What is before this may be refused.
    oldest: Timestamp,
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
        if cell.acknowledged.is_none() {
            cell.since = moment;
        }
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
        let Write { series, timestamp, .. } = write;
        let (erasures, floor) = (&self.erasures, self.floor);
        self.cells.entry(series).or_default().entry(timestamp).or_insert_with(|| {
            let may_be_gone = timestamp < floor || erasures.iter().any(|erasure| erasure.covers(series, timestamp));
            Cell { may_be_gone, ..Cell::default() }
        })
    }

    /// A deletion is about to be sent: from now on it may happen.
    pub fn begin_erasure(&mut self, erasure: &Erasure) {
        self.moment += 1;
        let moment = self.moment;
        self.erasures.push(erasure.clone());
        self.erased(erasure, |cell| {
            cell.may_be_gone = true;
            cell.deletion = moment;
        });
    }

    /// A deletion was acknowledged. If it was sent more than once, a copy of it may still be under way.
    pub fn acknowledge_erasure(&mut self, erasure: &Erasure, may_come_again: bool) {
        self.moment += 1;
        let moment = self.moment;
        if !may_come_again {
            let open = self.erasures.iter().position(|open| open == erasure);
            open.map(|open| self.erasures.swap_remove(open));
        }
        self.erased(erasure, |cell| {
            cell.deletion = moment;
            if let Some(gone) = cell.acknowledged.take() {
                cell.replaced.insert(gone, moment);
            }
        });
        let (erasures, floor) = (&self.erasures, self.floor);
        for (series, cells) in &mut self.cells {
            for (timestamp, cell) in cells.range_mut(floor..).filter(|(_, cell)| cell.may_be_gone) {
                cell.may_be_gone = erasures.iter().any(|erasure| erasure.covers(*series, *timestamp));
            }
        }
    }

    fn erased(&mut self, erasure: &Erasure, what: impl Fn(&mut Cell)) {
        for (series, cells) in &mut self.cells {
            let covered = cells.iter_mut().filter(|(timestamp, _)| erasure.covers(*series, **timestamp));
            covered.for_each(|(_, cell)| what(cell));
        }
    }

    /// Retention is over for what is older: it may be refused, and what is there of it may go, a storage Window at a time.
    pub fn retain_from(&mut self, oldest: Timestamp) {
        self.oldest = oldest;
        self.expire_before(oldest - oldest.rem_euclid(limits::WINDOW_MS));
    }

    /// What is before this may be gone from now on.
    pub fn expire_before(&mut self, floor: Timestamp) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.moment += 1;
        for cells in self.cells.values_mut() {
            // Also what was over before and there when all was at rest: a restore does not take it.
            for (_, cell) in cells.range_mut(..floor) {
                cell.may_be_gone = true;
                cell.deletion = self.moment;
            }
        }
    }

    /// Whether a sample of this time must be taken.
    pub fn is_kept(&self, timestamp: Timestamp) -> bool {
        timestamp >= self.oldest
    }

    /// A whole answer has come. What it lacks although it had been acknowledged when its query was sent, when `before` was known,
    /// is gone: whoever asks from now on must not find it.
    pub fn missed(&mut self, before: &Cells, found: &Found) {
        let moment = self.moment + 1;
        for (series, cells) in before {
            let samples = found.get(series).map_or(&[][..], Vec::as_slice);
            for (timestamp, known) in cells {
                let Some(serial) = known.acknowledged else { continue };
                let Some(cell) = self.cells.get_mut(series).and_then(|cells| cells.get_mut(timestamp)) else {
                    continue;
                };
                let is_missing = samples.binary_search_by_key(timestamp, |(timestamp, _)| *timestamp).is_err();
                if is_missing && cell.acknowledged == Some(serial) && !cell.unknown.contains(&serial) {
                    cell.acknowledged = None;
                    cell.replaced.insert(serial, moment);
                    self.moment = moment;
                }
            }
        }
    }

    /// Nothing is under way any more, and this is what there is: nothing else may be read from now on.
    pub fn settle(&mut self, tenant: usize, found: &Found) {
        self.erasures.retain(|erasure| erasure.tenant != tenant);
        for (series, cells) in self.cells.iter_mut().filter(|(series, _)| series.tenant == tenant) {
            let samples = found.get(series).map_or(&[][..], Vec::as_slice);
            for (timestamp, cell) in cells {
                let at = samples.binary_search_by_key(timestamp, |(timestamp, _)| *timestamp);
                *cell = Cell { acknowledged: at.ok().map(|at| samples[at].1), ..Cell::default() };
            }
        }
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// So much simulated time has passed.
    pub fn passes(&mut self, now: Duration) {
        if self.timed.back().is_none_or(|(_, moment)| *moment < self.moment) {
            self.timed.push_back((now, self.moment));
        }
        // One that is older says what was so at the beginning of the time that is remembered.
        while self.timed.get(1).is_some_and(|(at, _)| *at + REMEMBERED < now) {
            self.timed.pop_front();
        }
    }

    /// A moment at which everything had happened that was over when so much simulated time had passed, and nothing else.
    pub fn moment_at(&self, at: Duration) -> Moment {
        let passed = self.timed.partition_point(|(time, _)| *time <= at);
        passed.checked_sub(1).map_or(0, |last| self.timed[last].1)
    }

    /// Times of a series that were written.
    pub fn times(&self, series: Series) -> Vec<Timestamp> {
        self.cells.get(&series).map(|cells| cells.keys().copied().collect()).unwrap_or_default()
    }

    /// The wanted series as they are now, between two times.
    pub fn cells(&self, wanted: impl Fn(Series) -> bool, times: RangeInclusive<Timestamp>) -> Cells {
        let wanted = self.cells.iter().filter(|(series, _)| wanted(**series));
        let within = |cells: &BTreeMap<Timestamp, Cell>| {
            cells.range(times.clone()).map(|(time, cell)| (*time, cell.clone())).collect()
        };
        wanted.map(|(series, cells)| (*series, within(cells))).collect()
    }

    /// A time of a series as it is now.
    pub fn now(&self, series: Series, timestamp: Timestamp) -> Option<&Cell> {
        self.cells.get(&series)?.get(&timestamp)
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
    const ALL: RangeInclusive<Timestamp> = Timestamp::MIN..=Timestamp::MAX;

    fn allows(history: &History, write: Write, sent: Moment) -> bool {
        history.cells(|_| true, ALL)[&SERIES][&write.timestamp].allows(write.serial, sent)
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
    fn an_answer_of_before_lacks_only_what_was_acknowledged_since() {
        let mut history = History::default();
        let seconds = Duration::from_secs;
        let mut writes = Vec::new();
        for (second, timestamp) in (0..).zip([0, 10, 0]) {
            history.passes(seconds(second));
            let write = history.begin(SERIES, timestamp);
            history.acknowledge(write, false);
            writes.push(write);
        }
        history.passes(seconds(3));
        let before = history.cells(|_| true, ALL);
        let must_have = |timestamp: Timestamp, as_of: Duration| {
            let sent = history.moment_at(as_of);
            before[&SERIES][&timestamp].is_due(history.now(SERIES, timestamp).unwrap(), sent)
        };
        assert_eq!([0, 1, 2, 3].map(|second| must_have(0, seconds(second))), [false, true, true, true]);
        assert_eq!([0, 1, 2, 3].map(|second| must_have(10, seconds(second))), [false, false, true, true]);
        let may_read = |write: Write, as_of: Duration| allows(&history, write, history.moment_at(as_of));
        assert!(
            may_read(writes[0], seconds(2)) && !may_read(writes[0], seconds(3)),
            "it was replaced within the third second"
        );
        history.passes(seconds(100));
        assert_eq!(history.moment_at(seconds(50)), history.moment());
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

    const ERASURE: Erasure = Erasure { tenant: 0, writer: 1, number: None, times: 10..=20 };

    #[test]
    fn what_was_deleted_is_not_read_again_and_not_missed() {
        let mut history = History::default();
        let [inside, outside] = [20, 21].map(|timestamp| history.begin(SERIES, timestamp));
        [inside, outside].into_iter().for_each(|write| history.acknowledge(write, false));
        let (before, sent) = (history.cells(|_| true, ALL), history.moment());
        let is_due = |history: &History, write: Write| {
            before[&SERIES][&write.timestamp].is_due(history.now(SERIES, write.timestamp).unwrap(), sent)
        };
        assert!(is_due(&history, inside));
        history.begin_erasure(&ERASURE);
        assert!(!is_due(&history, inside) && is_due(&history, outside));
        assert!(allows(&history, inside, history.moment()) && history.now(SERIES, 20).unwrap().certain().is_none());
        history.acknowledge_erasure(&ERASURE, false);
        assert!(allows(&history, inside, sent) && !allows(&history, inside, history.moment()));
        assert_eq!(history.now(SERIES, 20).unwrap().certain(), Some(None));
        let again = history.begin(SERIES, 20);
        history.acknowledge(again, false);
        assert_eq!(history.now(SERIES, 20).unwrap().certain(), Some(Some(again.serial)));
    }

    #[test]
    fn what_retention_is_over_for_is_missed_for_good_or_not_at_all() {
        let mut history = History::default();
        let [early, late] = [1, 2 * limits::WINDOW_MS].map(|timestamp| history.begin(SERIES, timestamp));
        [early, late].into_iter().for_each(|write| history.acknowledge(write, false));
        let sent = history.moment();
        history.retain_from(limits::WINDOW_MS - 1);
        assert!(history.now(SERIES, 1).unwrap().certain().is_some() && !history.is_kept(1));
        history.retain_from(2 * limits::WINDOW_MS);
        assert!(history.now(SERIES, 1).unwrap().certain().is_none());
        assert_eq!(history.now(SERIES, late.timestamp).unwrap().certain(), Some(Some(late.serial)));
        let before = history.cells(|_| true, ALL);
        assert!(allows(&history, early, history.moment()), "it may still be there");
        history.missed(&before, &Found::from([(SERIES, vec![(late.timestamp, late.serial)])]));
        assert!(allows(&history, early, sent) && !allows(&history, early, history.moment()));
        assert!(allows(&history, late, history.moment()));
    }

    #[test]
    fn a_deletion_whose_outcome_was_unknown_may_come_again() {
        let mut history = History::default();
        history.begin_erasure(&ERASURE);
        history.acknowledge_erasure(&ERASURE, true);
        let write = history.begin(SERIES, 15);
        history.acknowledge(write, false);
        assert!(history.now(SERIES, 15).unwrap().certain().is_none());
        history.settle(0, &Found::from([(SERIES, vec![(15, write.serial)])]));
        assert_eq!(history.now(SERIES, 15).unwrap().certain(), Some(Some(write.serial)));
    }
}
