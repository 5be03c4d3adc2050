//! What a replica's log is, for those that look at it from outside: without payloads, in memory and in the log store.

use bellwether_kv::{KvEngine, Space};

use crate::errors::LogError;
use crate::group::RaftGroup;
use crate::recovery;
use crate::types::{self, GroupId, LogPosition, ReplicaId, ReplicaKey, Vote};

/// A vote that a replica has stored. Orders as votes do: a later one overrules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredVote {
    /// The term.
    pub term: u64,
    /// For whom.
    pub candidate: ReplicaId,
    /// Whether a quorum voted so: then the candidate leads.
    pub leads: bool,
}

/// A replica's log without payloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOutline {
    /// The vote that is stored.
    pub vote: Option<StoredVote>,
    /// The last entry that was cut.
    pub cut: Option<LogPosition>,
    /// The first entry of each run of entries by one leader, ascending.
    pub runs: Vec<LogPosition>,
    /// The last entry, or the cut.
    pub last: Option<LogPosition>,
}

impl LogOutline {
    /// Index of the first entry that is not cut.
    pub fn first(&self) -> u64 {
        self.cut.map_or(0, |cut| cut.index + 1)
    }

    /// The entry at an index, if the log has it: the cut counts.
    pub fn at(&self, index: u64) -> Option<LogPosition> {
        if let Some(cut) = self.cut.filter(|cut| cut.index == index) {
            return Some(cut);
        }
        if self.last.is_none_or(|last| last.index < index) {
            return None;
        }
        let run = self.runs.partition_point(|run| run.index <= index).checked_sub(1)?;
        Some(LogPosition { index, ..self.runs[run] })
    }
}

/// What a log store has at an index of a replica's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredEntry {
    /// This entry.
    Entry(LogPosition),
    /// Nothing any more: the log was cut behind it.
    Cut,
    /// Nothing.
    Missing,
}

/// Looks at one index of a replica's log in a log store.
pub fn stored_entry(
    engine: &dyn KvEngine,
    space: Space,
    (group, replica): (GroupId, ReplicaId),
    index: u64,
) -> Result<StoredEntry, LogError> {
    let id = ReplicaKey { group, replica };
    if let [entry, ..] = recovery::read(engine, space, id, index, index + 1)?.as_slice() {
        return Ok(StoredEntry::Entry(types::position(&entry.log_id)));
    }
    let cut = recovery::cut(engine, space, id)?;
    Ok(if cut.is_some_and(|cut| cut.index >= index) { StoredEntry::Cut } else { StoredEntry::Missing })
}

impl RaftGroup {
    /// This replica's log without payloads.
    pub fn outline(&self) -> LogOutline {
        self.log().outline()
    }
}

pub(crate) fn stored_vote(vote: &Vote) -> StoredVote {
    let leader = vote.leader_id;
    StoredVote { term: leader.term, candidate: ReplicaId(leader.node_id), leads: vote.committed }
}

#[cfg(test)]
mod tests {
    use bellwether_kv::{Durability, MemEngine, SpaceConfig, SpaceKind, WriteBatch};

    use super::*;
    use crate::record::{self, RecordKind};
    use crate::types::{Entry, Payload};

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term, leader: ReplicaId(1), index }
    }

    #[test]
    fn an_outline_knows_every_entry_behind_the_cut() {
        let outline =
            LogOutline { cut: Some(at(1, 4)), runs: vec![at(1, 5), at(3, 7)], last: Some(at(3, 8)), vote: None };
        let known: Vec<_> = (3..10).map(|index| outline.at(index).map(|at| at.term)).collect();
        assert_eq!(known, [None, Some(1), Some(1), Some(1), Some(3), Some(3), None]);
        assert_eq!(outline.first(), 5);
        assert_eq!(LogOutline::default().at(0), None);
    }

    #[test]
    fn a_log_store_says_what_it_has_of_an_entry() {
        let engine = MemEngine::new(&[SpaceConfig { name: "log", kind: SpaceKind::Log }]).unwrap();
        let id = ReplicaKey { group: GroupId(1), replica: ReplicaId(2) };
        let entry = Entry { log_id: types::log_id(at(3, 7)), payload: Payload::Blank };
        let (entry_key, cut_key) = (record::key(id, RecordKind::Entry, 7), record::key(id, RecordKind::Purged, 0));
        let mut batch = WriteBatch::default();
        batch.put(Space(0), entry_key, record::encode_entry(&entry_key, &entry));
        batch.put(Space(0), cut_key, record::encode_purged(&cut_key, &types::log_id(at(2, 6))));
        engine.write(&batch, Durability::Synced).unwrap();
        let stored = |replica, index| stored_entry(&engine, Space(0), (id.group, ReplicaId(replica)), index).unwrap();
        assert_eq!(stored(2, 7), StoredEntry::Entry(at(3, 7)));
        assert_eq!((stored(2, 6), stored(2, 8)), (StoredEntry::Cut, StoredEntry::Missing));
        assert_eq!(stored(9, 7), StoredEntry::Missing);
    }
}
