//! The building blocks of what is stored and sent: big-endian integers, positions, votes, memberships. Decoders take
//! outside data: they check every count before they allocate, and return errors instead of panicking.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use crate::limits;
use crate::types::{Leader, LogId, Member, Membership, StoredMembership, Vote};

/// Version of the encoding of entries, votes, memberships and messages.
pub(crate) const VERSION: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it ends within its {0}")]
    Truncated(&'static str),
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    #[error("{value} is no {field}")]
    Invalid { field: &'static str, value: u64 },
    #[error("it contradicts itself: {0}")]
    Contradiction(&'static str),
    #[error("it has {found} {field}, more than {limit}")]
    TooMany { field: &'static str, found: usize, limit: usize },
    #[error("its membership is not valid: {0}")]
    Membership(String),
    #[error("it has format version {found}, and this program knows versions up to {VERSION}")]
    Version { found: u8 },
    #[error("its checksum does not match")]
    Checksum,
}

/// Takes values off the front of some bytes. What it slices off shares their memory.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Truncated(field))
    }

    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.0.try_get_u16().map_err(|_| DecodeError::Truncated(field))
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.0.try_get_u32().map_err(|_| DecodeError::Truncated(field))
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.0.try_get_u64().map_err(|_| DecodeError::Truncated(field))
    }

    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Invalid { field, value: value.into() }),
        }
    }

    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if self.0.len() < count {
            return Err(DecodeError::Truncated(field));
        }
        Ok(self.0.split_to(count))
    }

    pub fn version(&mut self) -> Result<(), DecodeError> {
        match self.u8("version")? {
            VERSION => Ok(()),
            found => Err(DecodeError::Version { found }),
        }
    }

    pub fn log_id(&mut self) -> Result<LogId, DecodeError> {
        let leader_id = Leader { term: self.u64("term")?, node_id: self.u64("leader")? };
        let index = self.u64("index")?;
        // Everybody adds one to it.
        if index == u64::MAX {
            return Err(DecodeError::Invalid { field: "index", value: index });
        }
        Ok(LogId { leader_id, index })
    }

    pub fn optional_log_id(&mut self) -> Result<Option<LogId>, DecodeError> {
        if self.bool("position flag")? { self.log_id().map(Some) } else { Ok(None) }
    }

    /// The vote of a leader, which a quorum has granted.
    pub fn leader_vote(&mut self) -> Result<Vote, DecodeError> {
        let vote = self.vote()?;
        if vote.committed { Ok(vote) } else { Err(DecodeError::Contradiction("its vote is no leader's")) }
    }

    pub fn vote(&mut self) -> Result<Vote, DecodeError> {
        let leader_id = Leader { term: self.u64("term")?, node_id: self.u64("candidate")? };
        Ok(Vote { leader_id, committed: self.bool("vote flag")? })
    }

    fn count(&mut self, field: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let found = usize::from(self.u16(field)?);
        if found > limit { Err(DecodeError::TooMany { field, found, limit }) } else { Ok(found) }
    }

    pub fn membership(&mut self) -> Result<Membership, DecodeError> {
        let sets = self.count("sets of voters", limits::VOTER_SETS_MAX)?;
        let mut voters = Vec::with_capacity(sets);
        for _ in 0..sets {
            let mut set = BTreeSet::new();
            for _ in 0..self.count("voters", limits::MEMBERS_MAX)? {
                let voter = self.u64("voter")?;
                if set.last().is_some_and(|last| *last >= voter) {
                    return Err(DecodeError::Invalid { field: "voter behind the one before", value: voter });
                }
                set.insert(voter);
            }
            voters.push(set);
        }
        let mut members = BTreeMap::new();
        for _ in 0..self.count("members", limits::MEMBERS_MAX)? {
            let replica = self.u64("member")?;
            if members.last_key_value().is_some_and(|(last, _)| *last >= replica) {
                return Err(DecodeError::Invalid { field: "member behind the one before", value: replica });
            }
            members.insert(replica, Member { node: self.u64("node")? });
        }
        Membership::new(voters, members).map_err(|error| DecodeError::Membership(error.to_string()))
    }

    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.put_u64(id.leader_id.term);
    out.put_u64(id.leader_id.node_id);
    out.put_u64(id.index);
}

pub(crate) fn put_optional_log_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.put_u8(id.is_some().into());
    if let Some(id) = id {
        put_log_id(out, id);
    }
}

pub(crate) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.node_id);
    out.put_u8(vote.committed.into());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u16(u16::try_from(count).expect("memberships are checked against MEMBERS_MAX before they are proposed"));
}

pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let sets = membership.get_joint_config();
    put_count(out, sets.len());
    for set in sets {
        put_count(out, set.len());
        for voter in set {
            out.put_u64(*voter);
        }
    }
    put_count(out, membership.nodes().count());
    for (replica, member) in membership.nodes() {
        out.put_u64(*replica);
        out.put_u64(member.node);
    }
}

/// The bytes of a membership and its position, as a state machine keeps them.
pub(crate) fn encode_stored_membership(stored: &StoredMembership) -> Bytes {
    let mut out = vec![VERSION];
    put_optional_log_id(&mut out, stored.log_id().as_ref());
    put_membership(&mut out, stored.membership());
    out.into()
}

/// The inverse of [`encode_stored_membership`].
pub(crate) fn decode_stored_membership(bytes: Bytes) -> Result<StoredMembership, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.version()?;
    let id = reader.optional_log_id()?;
    let membership = reader.membership()?;
    reader.end()?;
    Ok(StoredMembership::new(id, membership))
}
