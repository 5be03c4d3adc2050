//! Messages between the replicas of a group: bytes that a [`Transport`](crate::Transport) carries without looking.
//!
//! `version u8 | kind u8 | fields`, integers big-endian. The transport checks integrity and identity.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::codec::{self, DecodeError, Reader, VERSION};
use crate::limits;
use crate::record;
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types, Vote};

/// What one replica asks of another.
#[derive(Debug)]
pub(crate) enum Message {
    /// With how long ago a quorum answered its sender, in milliseconds.
    Append(AppendEntriesRequest<Types>, QuorumAge),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    TransferLeader(TransferLeaderRequest<Types>),
}

/// How long ago a quorum answered a leader, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuorumAge(u32);

impl QuorumAge {
    /// None ever did, or the sender does not lead.
    pub const UNHEARD: QuorumAge = QuorumAge(u32::MAX);

    pub fn of(age: Duration) -> QuorumAge {
        // Rounded up: never younger than it is.
        QuorumAge(u32::try_from(age.as_micros().div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// None where nobody knows.
    pub fn duration(self) -> Option<Duration> {
        (self != QuorumAge::UNHEARD).then(|| Duration::from_millis(self.0.into()))
    }
}

/// Bytes of the log that a replica holds and has not applied, as far as 32 bits can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog(u32);

impl Backlog {
    pub fn of(bytes: u64) -> Backlog {
        Backlog(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    pub fn bytes(self) -> u64 {
        self.0.into()
    }
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// With what the replica has yet to apply.
    Append(AppendEntriesResponse<Types>, Backlog),
    Vote(VoteResponse<Types>),
    TransferLeader(TransferLeaderResponse<Types>),
    Install(SnapshotResponse<Types>),
}

/// Sent along with a checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InstallHeader {
    pub vote: Vote,
    pub meta: SnapshotMeta,
}

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE: u8 = 3;
const TRANSFER_LEADER: u8 = 4;
const INSTALL: u8 = 5;

const APPENDED: u8 = 0;
const APPENDED_PARTLY: u8 = 1;
const CONFLICT: u8 = 2;
const HIGHER_VOTE: u8 = 3;

const ACCEPTED: u8 = 0;
const VOTE_CHANGED: u8 = 1;
const LOG_NOT_FLUSHED: u8 = 2;

/// Term, candidate, and whether it is committed.
const VOTE_BYTES: usize = 8 + 8 + 1;
/// Term, leader and index.
const LOG_ID_BYTES: usize = 8 + 8 + 8;

/// How long ago a quorum answered.
const AGE_BYTES: usize = 4;

/// Index, kind, term, leader and length of an entry.
const ENTRY_HEADER_BYTES: usize = 8 + 1 + 8 + 8 + 4;

fn start(kind: u8, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out
}

impl Message {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Append(request, age) => encode_append(request, *age),
            Self::Vote(request) => encode_vote_request(VOTE, request),
            Self::PreVote(request) => encode_vote_request(PRE_VOTE, request),
            Self::TransferLeader(request) => {
                let mut out = start(TRANSFER_LEADER, 64);
                codec::put_vote(&mut out, request.from_leader());
                out.put_u64(*request.to_node_id());
                codec::put_optional_log_id(&mut out, request.last_log_id());
                out.into()
            }
        }
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let message = match reader.u8("kind of message")? {
            APPEND => {
                let (request, age) = decode_append(&mut reader)?;
                Self::Append(request, age)
            }
            VOTE => Self::Vote(decode_vote_request(&mut reader)?),
            PRE_VOTE => Self::PreVote(decode_vote_request(&mut reader)?),
            TRANSFER_LEADER => Self::TransferLeader(TransferLeaderRequest::new(
                reader.vote()?,
                reader.u64("replica")?,
                reader.optional_log_id()?,
            )),
            value => return Err(DecodeError::Invalid { field: "kind of message", value: value.into() }),
        };
        reader.end()?;
        Ok(message)
    }
}

fn encode_append(request: &AppendEntriesRequest<Types>, age: QuorumAge) -> Bytes {
    let payloads: Vec<(u8, Bytes)> =
        request.entries.iter().map(|entry| record::encode_payload(&entry.payload)).collect();
    let bytes: usize = payloads.iter().map(|(_, payload)| ENTRY_HEADER_BYTES + payload.len()).sum();
    let mut out = start(APPEND, bytes + 128);
    codec::put_vote(&mut out, &request.vote);
    codec::put_optional_log_id(&mut out, request.prev_log_id.as_ref());
    codec::put_optional_log_id(&mut out, request.leader_commit.as_ref());
    out.put_u32(age.0);
    out.put_u32(u32::try_from(payloads.len()).expect("bounded by ENTRIES_PER_MESSAGE_MAX"));
    for (entry, (kind, payload)) in request.entries.iter().zip(payloads) {
        codec::put_log_id(&mut out, &entry.log_id);
        out.put_u8(kind);
        out.put_u32(u32::try_from(payload.len()).expect("bounded by ENTRY_BYTES_MAX"));
        out.extend_from_slice(&payload);
    }
    out.into()
}

/// Whether a message is an append without entries. Looks at no more than it must: every message is looked at.
pub(crate) fn is_empty_append(message: &[u8]) -> bool {
    let Some(fields) = message.strip_prefix(&[VERSION, APPEND]) else { return false };
    let behind_position = |at: usize| Some(at + 1 + if *fields.get(at)? == 0 { 0 } else { LOG_ID_BYTES });
    let count = behind_position(VOTE_BYTES).and_then(behind_position).and_then(|at| fields.get(at + AGE_BYTES..));
    count.is_some_and(|count| count == [0; 4])
}

fn decode_append(reader: &mut Reader) -> Result<(AppendEntriesRequest<Types>, QuorumAge), DecodeError> {
    let vote = reader.leader_vote()?;
    let prev_log_id = reader.optional_log_id()?;
    let leader_commit = reader.optional_log_id()?;
    let age = QuorumAge(reader.u32("age of the quorum")?);
    let (found, limit) = (reader.u32("count of entries")? as usize, limits::ENTRIES_PER_MESSAGE_MAX as usize);
    if found > limit {
        return Err(DecodeError::TooMany { field: "entries", found, limit });
    }
    let mut entries = Vec::with_capacity(found);
    let mut next = prev_log_id.map_or(0, |id: LogId| id.index.saturating_add(1));
    for _ in 0..found {
        let log_id = reader.log_id()?;
        if log_id.index != next {
            return Err(DecodeError::Invalid { field: "index behind the entry before", value: log_id.index });
        }
        next = next.saturating_add(1);
        if log_id.leader_id > vote.leader_id {
            return Err(DecodeError::Contradiction("an entry of a later leader than the one that sends it"));
        }
        let kind = reader.u8("kind of entry")?;
        let length = reader.u32("length of a payload")? as usize;
        entries.push(Entry { log_id, payload: record::decode_payload(kind, reader, length)? });
    }
    Ok((AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }, age))
}

fn encode_vote_request(kind: u8, request: &VoteRequest<Types>) -> Bytes {
    let mut out = start(kind, 64);
    codec::put_vote(&mut out, &request.vote);
    codec::put_optional_log_id(&mut out, request.last_log_id.as_ref());
    out.put_u8(request.leadership_transfer.into());
    out.into()
}

fn decode_vote_request(reader: &mut Reader) -> Result<VoteRequest<Types>, DecodeError> {
    Ok(VoteRequest {
        vote: reader.vote()?,
        last_log_id: reader.optional_log_id()?,
        leadership_transfer: reader.bool("transfer flag")?,
    })
}

impl Answer {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Append(answer, backlog) => {
                let mut out = start(APPEND, 64);
                out.put_u32(backlog.0);
                match answer {
                    AppendEntriesResponse::Success => out.put_u8(APPENDED),
                    AppendEntriesResponse::PartialSuccess(upto) => {
                        out.put_u8(APPENDED_PARTLY);
                        codec::put_optional_log_id(&mut out, upto.as_ref());
                    }
                    AppendEntriesResponse::Conflict => out.put_u8(CONFLICT),
                    AppendEntriesResponse::HigherVote(vote) => {
                        out.put_u8(HIGHER_VOTE);
                        codec::put_vote(&mut out, vote);
                    }
                }
                out.into()
            }
            Self::Vote(answer) => {
                let mut out = start(VOTE, 64);
                codec::put_vote(&mut out, &answer.vote);
                out.put_u8(answer.vote_granted.into());
                codec::put_optional_log_id(&mut out, answer.last_log_id.as_ref());
                out.into()
            }
            Self::TransferLeader(answer) => {
                let mut out = start(TRANSFER_LEADER, 64);
                match answer {
                    Ok(()) => out.put_u8(ACCEPTED),
                    Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                        out.put_u8(VOTE_CHANGED);
                        codec::put_vote(&mut out, expected);
                        codec::put_vote(&mut out, actual);
                    }
                    Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                        out.put_u8(LOG_NOT_FLUSHED);
                        codec::put_optional_log_id(&mut out, expected.as_ref());
                        codec::put_optional_log_id(&mut out, actual.as_ref());
                    }
                }
                out.into()
            }
            Self::Install(answer) => {
                let mut out = start(INSTALL, 32);
                codec::put_vote(&mut out, &answer.vote);
                out.into()
            }
        }
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let answer = match reader.u8("kind of answer")? {
            APPEND => {
                let backlog = Backlog(reader.u32("backlog")?);
                let answer = match reader.u8("outcome")? {
                    APPENDED => AppendEntriesResponse::Success,
                    APPENDED_PARTLY => AppendEntriesResponse::PartialSuccess(reader.optional_log_id()?),
                    CONFLICT => AppendEntriesResponse::Conflict,
                    HIGHER_VOTE => AppendEntriesResponse::HigherVote(reader.vote()?),
                    value => return Err(DecodeError::Invalid { field: "outcome of an append", value: value.into() }),
                };
                Self::Append(answer, backlog)
            }
            VOTE => {
                let vote = reader.vote()?;
                let vote_granted = reader.bool("grant flag")?;
                Self::Vote(VoteResponse { vote, vote_granted, last_log_id: reader.optional_log_id()? })
            }
            TRANSFER_LEADER => Self::TransferLeader(match reader.u8("outcome")? {
                ACCEPTED => Ok(()),
                VOTE_CHANGED => {
                    Err(TransferLeaderError::VoteChanged { expected: reader.vote()?, actual: reader.vote()? })
                }
                LOG_NOT_FLUSHED => Err(TransferLeaderError::LogNotFlushed {
                    expected: reader.optional_log_id()?,
                    actual: reader.optional_log_id()?,
                }),
                value => return Err(DecodeError::Invalid { field: "outcome of a transfer", value: value.into() }),
            }),
            INSTALL => Self::Install(SnapshotResponse { vote: reader.vote()? }),
            value => return Err(DecodeError::Invalid { field: "kind of answer", value: value.into() }),
        };
        reader.end()?;
        Ok(answer)
    }
}

impl InstallHeader {
    pub fn encode(&self) -> Bytes {
        let mut out = start(INSTALL, 256);
        codec::put_vote(&mut out, &self.vote);
        codec::put_optional_log_id(&mut out, self.meta.last_log_id.as_ref());
        codec::put_optional_log_id(&mut out, self.meta.last_membership.log_id().as_ref());
        codec::put_membership(&mut out, self.meta.last_membership.membership());
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version()?;
        match reader.u8("kind of message")? {
            INSTALL => {}
            value => return Err(DecodeError::Invalid { field: "kind of message", value: value.into() }),
        }
        let vote = reader.leader_vote()?;
        let last_log_id = reader.optional_log_id()?;
        let last_membership = StoredMembership::new(reader.optional_log_id()?, reader.membership()?);
        reader.end()?;
        // What no leader makes would end openraft.
        let contradiction = |what| Err(DecodeError::Contradiction(what));
        let Some(last) = last_log_id else { return contradiction("a checkpoint of nothing") };
        if last.leader_id > vote.leader_id {
            return contradiction("a checkpoint of a later leader than the one that sends it");
        }
        if last_membership.log_id().as_ref().is_some_and(|at| *at > last || at.index > last.index) {
            return contradiction("its membership comes behind its end");
        }
        Ok(Self { vote, meta: SnapshotMeta { last_log_id, last_membership } })
    }
}

#[cfg(test)]
mod tests;
