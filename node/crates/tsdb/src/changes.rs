//! When what is stored was changed last, span of time by span of time: whoever keeps something that was computed from it can tell
//! whether that still stands.
//!
//! A change is named by the place in the log of the command that made it. So all replicas name it alike, a restart that applies
//! the log again names it as before, and no name ever means two contents. What was changed before the shard was opened (or before
//! more spans than are kept were changed) is not known: it counts as changed up to there.

use std::collections::BTreeMap;

use bellwether_model::{TimeRange, Timestamp, limits};

/// Length of a span: a part of a Window, so that what arrives now leaves most of what was read today as it was.
pub const CHANGE_SPAN_MS: i64 = limits::WINDOW_MS / 24;
/// Spans whose last change is kept; of more the half that was changed longest ago is forgotten.
const SPANS_MAX: usize = 2048;
/// A change that concerns more spans at once concerns everything.
const SPANS_PER_CHANGE_MAX: i64 = 512;

/// The last change of each span.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The last command that was applied.
    as_of: u64,
    /// Before it nothing is known.
    known_after: u64,
    /// By the number of the span.
    spans: BTreeMap<i64, u64>,
    /// Everything before this time was changed by this command, the last one that raised the retention floor.
    dropped: Option<(Timestamp, u64)>,
    pending: Pending,
}

/// What commands have changed that have no place yet.
#[derive(Debug)]
struct Pending {
    spans: Vec<i64>,
    /// The times of the last one.
    last: TimeRange,
    dropped: Option<Timestamp>,
    everything: bool,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending { spans: Vec::new(), last: TimeRange::new(1, 0), dropped: None, everything: false }
    }
}

/// What was changed after a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedSince {
    /// The last command that this takes into account.
    pub as_of: u64,
    /// Times in which something may have changed, ascending; those outside stand.
    pub times: Vec<TimeRange>,
}

fn span_of(timestamp: Timestamp) -> i64 {
    timestamp.div_euclid(CHANGE_SPAN_MS)
}

fn times_of(span: i64) -> TimeRange {
    let first = span.saturating_mul(CHANGE_SPAN_MS);
    TimeRange::new(first, first.saturating_add(CHANGE_SPAN_MS - 1))
}

impl Changes {
    /// Of a shard that has been opened as of a command.
    pub(crate) fn known_after(&mut self, log_index: u64) {
        *self = Changes { as_of: log_index, known_after: log_index, ..Changes::default() };
    }

    /// A sample was stored.
    #[inline]
    pub(crate) fn stored(&mut self, timestamp: Timestamp) {
        // Neighbours in an entry mostly lie in one span.
        if !self.pending.last.contains(timestamp) {
            let span = span_of(timestamp);
            self.pending.last = times_of(span);
            self.pending.spans.push(span);
        }
    }

    /// Samples inside the range are gone.
    pub(crate) fn deleted(&mut self, range: TimeRange) {
        let (first, last) = (span_of(range.first), span_of(range.last));
        if last.saturating_sub(first) >= SPANS_PER_CHANGE_MAX {
            self.pending.everything = true;
        } else {
            self.pending.spans.extend(first..=last);
        }
    }

    /// Samples before `floor` are gone.
    pub(crate) fn dropped(&mut self, floor: Timestamp) {
        self.pending.dropped = self.pending.dropped.max(Some(floor));
    }

    /// Whatever was stored may be another now.
    pub(crate) fn everything(&mut self) {
        self.pending.everything = true;
    }

    /// The changes since the last call are those of the command at this place of the log.
    pub(crate) fn made_by(&mut self, log_index: u64) {
        self.as_of = self.as_of.max(log_index);
        if std::mem::take(&mut self.pending.everything) {
            self.known_after(log_index);
            return;
        }
        if let Some(floor) = self.pending.dropped.take() {
            let known = self.dropped.map_or(floor, |(known, _)| known);
            self.dropped = Some((floor.max(known), log_index));
        }
        let mut pending = std::mem::take(&mut self.pending.spans);
        pending.sort_unstable();
        pending.dedup();
        for span in pending.drain(..) {
            self.spans.insert(span, log_index);
        }
        self.pending = Pending { spans: pending, ..Pending::default() };
        if self.spans.len() > SPANS_MAX {
            self.forget_half();
        }
    }

    fn forget_half(&mut self) {
        let mut commands: Vec<u64> = self.spans.values().copied().collect();
        let (_, median, _) = commands.select_nth_unstable(SPANS_MAX / 2);
        let known_after = *median;
        self.spans.retain(|_, command| *command > known_after);
        self.known_after = self.known_after.max(known_after);
    }

    /// What was changed after a command, as far as it lies in `range`.
    pub(crate) fn since(&self, log_index: u64, range: TimeRange) -> ChangedSince {
        let as_of = self.as_of;
        if log_index == u64::MAX || range.is_empty() {
            return ChangedSince { as_of, times: Vec::new() };
        }
        // Who asks for more than is applied here knows something that is not known here.
        if log_index < self.known_after || log_index > as_of {
            return ChangedSince { as_of, times: vec![range] };
        }
        let mut times: Vec<TimeRange> = Vec::new();
        if let Some((floor, command)) = self.dropped
            && command > log_index
            && range.first < floor
        {
            times.push(TimeRange::new(range.first, range.last.min(floor - 1)));
        }
        for (span, command) in self.spans.range(span_of(range.first)..=span_of(range.last)) {
            if *command <= log_index {
                continue;
            }
            let changed = times_of(*span);
            match times.last_mut() {
                Some(last) if last.last >= changed.first.saturating_sub(1) => last.last = last.last.max(changed.last),
                _ => times.push(changed),
            }
        }
        ChangedSince { as_of, times }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: i64 = CHANGE_SPAN_MS;
    const ALL: TimeRange = TimeRange { first: -100 * SPAN, last: 100 * SPAN - 1 };

    fn changes(index: u64) -> Changes {
        let mut changes = Changes::default();
        changes.known_after(index);
        changes
    }

    fn times(changes: &Changes, since: u64) -> Vec<(i64, i64)> {
        changes.since(since, ALL).times.iter().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn what_was_stored_after_a_command_has_changed_and_nothing_else_has() {
        let mut changes = changes(10);
        for (index, times) in [(11, [0, 1]), (12, [SPAN, 5 * SPAN]), (13, [-1, -1])] {
            times.into_iter().for_each(|time| changes.stored(time));
            changes.made_by(index);
        }
        assert_eq!(times(&changes, 10), [(-SPAN, 2 * SPAN - 1), (5 * SPAN, 6 * SPAN - 1)]);
        assert_eq!(times(&changes, 11), [(-SPAN, -1), (SPAN, 2 * SPAN - 1), (5 * SPAN, 6 * SPAN - 1)]);
        assert_eq!(times(&changes, 12), [(-SPAN, -1)]);
        assert_eq!(times(&changes, 13), []);
        assert_eq!(changes.since(13, ALL).as_of, 13);
        assert_eq!(changes.since(10, TimeRange::new(2 * SPAN, 4 * SPAN)).times, []);
    }

    #[test]
    fn what_is_not_known_counts_as_changed() {
        let changes = changes(10);
        assert_eq!(changes.since(9, ALL).times, [ALL]);
        assert_eq!(changes.since(10, ALL), ChangedSince { as_of: 10, times: Vec::new() });
        assert_eq!(changes.since(11, ALL).times, [ALL]);
        assert_eq!(changes.since(u64::MAX, ALL).times, []);
    }

    #[test]
    fn deletions_and_the_floor_change_what_they_take_away() {
        let mut changes = changes(0);
        changes.deleted(TimeRange::new(SPAN, 2 * SPAN));
        changes.made_by(1);
        assert_eq!(times(&changes, 0), [(SPAN, 3 * SPAN - 1)]);
        changes.dropped(10);
        changes.made_by(2);
        assert_eq!(times(&changes, 1), [(ALL.first, 9)]);
        changes.deleted(TimeRange::ALL);
        changes.made_by(3);
        assert_eq!(times(&changes, 2), [(ALL.first, ALL.last)]);
        assert_eq!(times(&changes, 3), []);
    }

    #[test]
    fn what_was_changed_longest_ago_is_forgotten() {
        let mut changes = changes(0);
        let count = SPANS_MAX as i64 + 1;
        for span in 0..count {
            changes.stored(span * SPAN);
            changes.made_by(span as u64 + 1);
        }
        assert!(changes.spans.len() <= SPANS_MAX);
        assert_eq!(times(&changes, 1), [(ALL.first, ALL.last)]);
        let late = changes.since(count as u64 - 1, TimeRange::new(0, count * SPAN));
        assert_eq!(late.times, [times_of(count - 1)]);
    }
}
