//! Reading a replica's log back: once as a whole when its group starts, keeping positions and sizes only, and later in
//! parts, as whole entries. Every value is checked on every read.

use std::ops::ControlFlow;

use bellwether_kv::{KeyRange, KvEngine, Space};
use bytes::Bytes;

use crate::errors::LogError;
use crate::log_index::LogIndex;
use crate::record::{self, EntryRange, RecordKind};
use crate::types::{self, Entry, LogPosition, Payload, ReplicaKey, Vote};

/// What a replica's records say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub vote: Option<Vote>,
    pub index: LogIndex,
}

fn get(
    engine: &dyn KvEngine,
    space: Space,
    id: ReplicaKey,
    kind: RecordKind,
) -> Result<Option<([u8; record::KEY_BYTES], Bytes)>, LogError> {
    let key = record::key(id, kind, 0);
    let value = engine.get(space, &key).map_err(|source| LogError::engine(id, source))?;
    Ok(value.map(|value| (key, value)))
}

/// Reads and checks a replica's records. Entries that the state machine has in its durable state are not looked at: what
/// was kept of them for replicas that were behind is as good as cut.
pub(crate) fn recover(
    engine: &dyn KvEngine,
    space: Space,
    id: ReplicaKey,
    applied: Option<LogPosition>,
) -> Result<Recovered, LogError> {
    let vote = match get(engine, space, id, RecordKind::Vote)? {
        Some((key, value)) => {
            Some(record::decode_vote(&key, &value).map_err(|error| LogError::record(id, "vote", &error))?)
        }
        None => None,
    };
    if let Some(purged) = cut(engine, space, id)?.map(|cut| cut.index)
        && applied.is_none_or(|applied| applied.index < purged)
    {
        let applied = applied.map(|applied| applied.index);
        return Err(LogError::StateBehindLog { group: id.group, replica: id.replica, purged, applied });
    }
    let mut index = LogIndex::new(applied.as_ref().map(|applied| types::log_id(*applied)));
    // Entries up to there may still be stored: their space is given back later.
    let first = index.first();
    visit(engine, space, id, first, u64::MAX, |entry, bytes| {
        let membership = match entry.payload {
            Payload::Membership(membership) => Some(membership),
            Payload::Blank | Payload::Normal(_) => None,
        };
        index.push(entry.log_id, bytes, membership);
        ControlFlow::Continue(())
    })?;
    Ok(Recovered { vote, index })
}

/// Up to where a replica's log was cut.
pub(crate) fn cut(engine: &dyn KvEngine, space: Space, id: ReplicaKey) -> Result<Option<LogPosition>, LogError> {
    let Some((key, value)) = get(engine, space, id, RecordKind::Purged)? else { return Ok(None) };
    let cut = record::decode_purged(&key, &value).map_err(|error| LogError::record(id, "cut", &error))?;
    Ok(Some(types::position(&cut)))
}

/// Reads the entries from index `start`, included, to `end`, excluded, without gaps; fewer if the log ends before.
pub(crate) fn read(
    engine: &dyn KvEngine,
    space: Space,
    id: ReplicaKey,
    start: u64,
    end: u64,
) -> Result<Vec<Entry>, LogError> {
    let mut entries = Vec::new();
    visit(engine, space, id, start, end, |entry, _| {
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

/// Calls `each` with the entries from `start` on and their stored bytes. A gap is an error.
fn visit(
    engine: &dyn KvEngine,
    space: Space,
    id: ReplicaKey,
    start: u64,
    end: u64,
    mut each: impl FnMut(Entry, u64) -> ControlFlow<()>,
) -> Result<(), LogError> {
    let range = EntryRange::new(id, start, end);
    let mut expected = start;
    let mut failure = None;
    let scanned = engine.scan(space, range.keys(), &mut |key, value| {
        let decoded = match record::entry_index(key) {
            Some(index) if index == expected => record::decode_entry(key, Bytes::copy_from_slice(value))
                .map_err(|error| LogError::entry(id, expected, &error)),
            found => Err(LogError::hole(id, expected, found.unwrap_or(u64::MAX))),
        };
        match decoded {
            Ok(entry) => {
                expected += 1;
                each(entry, stored_bytes(value.len()))
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    scanned.map_err(|source| match source {
        // The engine's own checksums found it first: say where it was reading.
        bellwether_kv::Error::Corrupt(reason) => {
            LogError::CorruptEntry { group: id.group, replica: id.replica, index: expected, reason }
        }
        source => LogError::engine(id, source),
    })
}

/// What an entry is said to occupy: key and value.
pub(crate) fn stored_bytes(value: usize) -> u64 {
    (record::KEY_BYTES + value) as u64
}

/// The replicas that have records in the store.
pub(crate) fn stored_replicas(engine: &dyn KvEngine, space: Space) -> Result<Vec<ReplicaKey>, bellwether_kv::Error> {
    let mut replicas: Vec<ReplicaKey> = Vec::new();
    let mut next = Vec::new();
    loop {
        let mut found = None;
        engine.scan(space, KeyRange { first: &next, end: None }, &mut |key, _| {
            found = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        let Some(key) = found else { return Ok(replicas) };
        let Some(replica) = record::owner(&key) else {
            return Err(bellwether_kv::Error::Corrupt(format!("the log store has a key of {} bytes", key.len())));
        };
        replicas.push(replica);
        // Behind all of this replica's records.
        next = record::key(replica, RecordKind::Entry, u64::MAX).to_vec();
        next.push(0);
    }
}
