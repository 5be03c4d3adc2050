//! What a replica knows of its log without reading it: positions, sizes and memberships. Eight bytes per entry.

use std::collections::{BTreeMap, VecDeque};

use crate::types::{Leader, LogId, Membership};

/// Index of the entries between the cut and the end of a log. Invariant: entries are consecutive.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    /// Up to where the log was cut. The first entry follows it.
    purged: Option<LogId>,
    /// For each entry, the bytes of all entries ever indexed up to and with it.
    ends: VecDeque<u64>,
    /// The same total before the first entry.
    base: u64,
    /// Index of the first entry of each run of entries by one leader, ascending.
    leaders: VecDeque<(u64, Leader)>,
    memberships: BTreeMap<u64, Membership>,
}

impl LogIndex {
    pub fn new(purged: Option<LogId>) -> Self {
        Self { purged, ..Self::default() }
    }

    pub fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// Index of the first entry, or of the next one if there is none.
    pub fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// Index of the entry to come.
    pub fn next(&self) -> u64 {
        self.first() + self.ends.len() as u64
    }

    /// The last entry, or the cut if there is none.
    pub fn last(&self) -> Option<LogId> {
        match self.leaders.back() {
            Some(&(_, leader_id)) => Some(LogId { leader_id, index: self.next() - 1 }),
            None => self.purged,
        }
    }

    /// The first entry of each run of entries by one leader, ascending.
    pub fn runs(&self) -> impl Iterator<Item = LogId> + '_ {
        self.leaders.iter().map(|&(index, leader_id)| LogId { leader_id, index })
    }

    pub fn log_id(&self, index: u64) -> Option<LogId> {
        if index < self.first() || index >= self.next() {
            return None;
        }
        let run = self.leaders.partition_point(|&(first, _)| first <= index).checked_sub(1)?;
        Some(LogId { leader_id: self.leaders[run].1, index })
    }

    pub fn membership(&self, index: u64) -> Option<&Membership> {
        self.memberships.get(&index)
    }

    pub fn last_membership(&self) -> Option<&Membership> {
        self.memberships.values().next_back()
    }

    pub fn push(&mut self, id: LogId, bytes: u64, membership: Option<Membership>) {
        assert_eq!(id.index, self.next(), "entries are appended in order, without gaps");
        if self.leaders.back().is_none_or(|&(_, leader)| leader != id.leader_id) {
            self.leaders.push_back((id.index, id.leader_id));
        }
        self.ends.push_back(self.total() + bytes);
        if let Some(membership) = membership {
            self.memberships.insert(id.index, membership);
        }
    }

    /// Forgets the entries from index `from` on.
    pub fn truncate(&mut self, from: u64) {
        self.ends.truncate(from.saturating_sub(self.first()) as usize);
        let next = self.next();
        while self.leaders.back().is_some_and(|&(first, _)| first >= next) {
            self.leaders.pop_back();
        }
        self.memberships.split_off(&next);
    }

    /// Forgets the entries up to and with `upto`, which may lie behind the last one.
    pub fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        let count = (upto.index + 1 - self.first()).min(self.ends.len() as u64) as usize;
        let next = self.next();
        if let Some(end) = self.ends.drain(..count).next_back() {
            self.base = end;
        }
        self.purged = Some(upto);
        if upto.index + 1 >= next {
            self.leaders.clear();
            self.memberships.clear();
            return;
        }
        while self.leaders.get(1).is_some_and(|&(first, _)| first <= upto.index + 1) {
            self.leaders.pop_front();
        }
        if let Some(run) = self.leaders.front_mut() {
            run.0 = run.0.max(upto.index + 1);
        }
        self.memberships = self.memberships.split_off(&(upto.index + 1));
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.total() - self.base
    }

    /// Bytes of the entries from index `from` on.
    pub fn bytes_from(&self, from: u64) -> u64 {
        self.total() - self.total_before(from)
    }

    /// The index behind the entries from `start` that have at most `bytes` together; at least one, at most up to `end`.
    pub fn end_within(&self, start: u64, end: u64, bytes: u64) -> u64 {
        let first = self.first();
        let (start, end) = (start.max(first), end.min(self.next()));
        if start >= end {
            return end;
        }
        let limit = self.total_before(start) + bytes;
        let fitting = self.ends.partition_point(|&total| total <= limit) as u64 + first;
        fitting.clamp(start + 1, end)
    }

    /// The lowest index such that the entries from it on have at most `bytes` together.
    pub fn start_of_last(&self, bytes: u64) -> u64 {
        let limit = self.total().saturating_sub(bytes);
        if self.base >= limit {
            return self.first();
        }
        self.first() + self.ends.partition_point(|&total| total < limit) as u64 + 1
    }

    fn total(&self) -> u64 {
        self.ends.back().copied().unwrap_or(self.base)
    }

    fn total_before(&self, index: u64) -> u64 {
        match index.saturating_sub(self.first()) {
            0 => self.base,
            count => self.ends.get(count as usize - 1).copied().unwrap_or_else(|| self.total()),
        }
    }
}

#[cfg(test)]
mod tests;
