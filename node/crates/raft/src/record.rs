//! The keys and values of the log store; byte diagrams in `node/docs/format/raft-log.md`.
//!
//! A value ends in a checksum over the rest of it, seeded by its key: a flipped byte is found, and so is a value that
//! stands under another key.

use bellwether_kv::KeyRange;
use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::codec::{self, DecodeError, Reader, VERSION};
use crate::types::{Command, Entry, GroupId, Leader, LogId, Payload, ReplicaId, ReplicaKey, Vote};

pub(crate) const KEY_BYTES: usize = 21;
const CHECKSUM_BYTES: usize = 8;
/// Version, kind, term and leader before an entry's payload, the checksum behind it.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 1 + 1 + 8 + 8 + CHECKSUM_BYTES;

const ENTRY_BLANK: u8 = 0;
const ENTRY_NORMAL: u8 = 1;
const ENTRY_MEMBERSHIP: u8 = 2;

/// Kinds of records of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The last vote that the replica cast. Index 0.
    Vote = 0,
    /// The position up to which the log was cut. Index 0.
    Purged = 1,
    /// An entry, under its index.
    Entry = 2,
}

/// `group u32 | replica u64 | kind u8 | index u64`, big-endian: a replica's records lie together, its entries in order.
pub(crate) fn key(id: ReplicaKey, kind: RecordKind, index: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&id.group.0.to_be_bytes());
    key[4..12].copy_from_slice(&id.replica.0.to_be_bytes());
    key[12] = kind as u8;
    key[13..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Owned bounds of a range of a replica's entries.
pub(crate) struct EntryRange {
    first: [u8; KEY_BYTES],
    end: [u8; KEY_BYTES],
}

impl EntryRange {
    /// Entries from index `first`, included, to `end`, excluded.
    pub fn new(id: ReplicaKey, first: u64, end: u64) -> Self {
        Self { first: key(id, RecordKind::Entry, first), end: key(id, RecordKind::Entry, end) }
    }

    pub fn keys(&self) -> KeyRange<'_> {
        KeyRange { first: &self.first, end: Some(&self.end) }
    }

    pub fn into_bounds(self) -> ([u8; KEY_BYTES], [u8; KEY_BYTES]) {
        (self.first, self.end)
    }
}

/// Bounds of all records of a replica, the second excluded.
pub(crate) fn replica_bounds(id: ReplicaKey) -> ([u8; KEY_BYTES], [u8; KEY_BYTES]) {
    let first = key(id, RecordKind::Vote, 0);
    let mut end = [u8::MAX; KEY_BYTES];
    end[..12].copy_from_slice(&first[..12]);
    (first, end)
}

/// The index in an entry's key; `None` if it is no such key.
pub(crate) fn entry_index(key: &[u8]) -> Option<u64> {
    if key.len() != KEY_BYTES || key[12] != RecordKind::Entry as u8 {
        return None;
    }
    Some(u64::from_be_bytes(key[13..].try_into().ok()?))
}

/// The replica that a key belongs to; `None` if it is no key of this store.
pub(crate) fn owner(key: &[u8]) -> Option<ReplicaKey> {
    if key.len() != KEY_BYTES {
        return None;
    }
    Some(ReplicaKey {
        group: GroupId(u32::from_be_bytes(key[..4].try_into().ok()?)),
        replica: ReplicaId(u64::from_be_bytes(key[4..12].try_into().ok()?)),
    })
}

fn checksum(key: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(key))
}

fn seal(key: &[u8], mut value: Vec<u8>) -> Bytes {
    let sum = checksum(key, &value);
    value.put_u64(sum);
    value.into()
}

/// Checks the checksum, then the version: a later version must keep the checksum where it is.
fn open(key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
    let body = value.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeError::Truncated("checksum"))?;
    let (body, stored) = value.split_at(body);
    if checksum(key, body).to_be_bytes() != stored {
        return Err(DecodeError::Checksum);
    }
    match body.first() {
        Some(&VERSION) => Ok(()),
        Some(&found) => Err(DecodeError::Version { found }),
        None => Err(DecodeError::Truncated("version")),
    }
}

fn reader(key: &[u8], value: &Bytes) -> Result<Reader, DecodeError> {
    open(key, value)?;
    Ok(Reader::new(value.slice(1..value.len() - CHECKSUM_BYTES)))
}

/// The value of an entry.
pub(crate) fn encode_entry(key: &[u8; KEY_BYTES], entry: &Entry) -> Bytes {
    let payload: &[u8] = match &entry.payload {
        Payload::Normal(command) => &command.0,
        Payload::Blank | Payload::Membership(_) => &[],
    };
    let mut value = Vec::with_capacity(payload.len() + ENTRY_OVERHEAD_BYTES);
    value.put_u8(VERSION);
    value.put_u8(match &entry.payload {
        Payload::Blank => ENTRY_BLANK,
        Payload::Normal(_) => ENTRY_NORMAL,
        Payload::Membership(_) => ENTRY_MEMBERSHIP,
    });
    value.put_u64(entry.log_id.leader_id.term);
    value.put_u64(entry.log_id.leader_id.node_id);
    match &entry.payload {
        Payload::Membership(membership) => codec::put_membership(&mut value, membership),
        Payload::Blank | Payload::Normal(_) => value.extend_from_slice(payload),
    }
    seal(key, value)
}

/// The inverse of [`encode_entry`]; the payload shares the value's memory.
pub(crate) fn decode_entry(key: &[u8], value: Bytes) -> Result<Entry, DecodeError> {
    let index = entry_index(key).ok_or(DecodeError::Truncated("key"))?;
    let mut reader = reader(key, &value)?;
    let kind = reader.u8("kind")?;
    let leader_id = Leader { term: reader.u64("term")?, node_id: reader.u64("leader")? };
    let payload = decode_payload(kind, &mut reader, value.len() - ENTRY_OVERHEAD_BYTES)?;
    reader.end()?;
    Ok(Entry { log_id: LogId { leader_id, index }, payload })
}

/// Kind and bytes of an entry's payload, as they are stored and sent.
pub(crate) fn encode_payload(payload: &Payload) -> (u8, Bytes) {
    match payload {
        Payload::Blank => (ENTRY_BLANK, Bytes::new()),
        Payload::Normal(command) => (ENTRY_NORMAL, command.0.clone()),
        Payload::Membership(membership) => {
            let mut bytes = Vec::new();
            codec::put_membership(&mut bytes, membership);
            (ENTRY_MEMBERSHIP, bytes.into())
        }
    }
}

/// Takes a payload of `length` bytes off the front.
pub(crate) fn decode_payload(kind: u8, reader: &mut Reader, length: usize) -> Result<Payload, DecodeError> {
    let bytes = reader.bytes(length, "payload")?;
    match kind {
        ENTRY_BLANK if bytes.is_empty() => Ok(Payload::Blank),
        ENTRY_BLANK => Err(DecodeError::Trailing(bytes.len())),
        ENTRY_NORMAL => Ok(Payload::Normal(Command(bytes))),
        ENTRY_MEMBERSHIP => {
            let mut inner = Reader::new(bytes);
            let membership = inner.membership()?;
            inner.end()?;
            Ok(Payload::Membership(membership))
        }
        value => Err(DecodeError::Invalid { field: "kind of entry", value: value.into() }),
    }
}

/// The value of a vote.
pub(crate) fn encode_vote(key: &[u8; KEY_BYTES], vote: &Vote) -> Bytes {
    let mut value = vec![VERSION];
    codec::put_vote(&mut value, vote);
    seal(key, value)
}

/// The inverse of [`encode_vote`].
pub(crate) fn decode_vote(key: &[u8], value: &Bytes) -> Result<Vote, DecodeError> {
    let mut reader = reader(key, value)?;
    let vote = reader.vote()?;
    reader.end()?;
    Ok(vote)
}

/// The value that says up to where the log was cut.
pub(crate) fn encode_purged(key: &[u8; KEY_BYTES], purged: &LogId) -> Bytes {
    let mut value = vec![VERSION];
    codec::put_log_id(&mut value, purged);
    seal(key, value)
}

/// The inverse of [`encode_purged`].
pub(crate) fn decode_purged(key: &[u8], value: &Bytes) -> Result<LogId, DecodeError> {
    let mut reader = reader(key, value)?;
    let purged = reader.log_id()?;
    reader.end()?;
    Ok(purged)
}

#[cfg(test)]
mod tests;
