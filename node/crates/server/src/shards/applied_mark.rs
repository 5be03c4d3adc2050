//! What a shard keeps with its flushed data: how far Raft's log is in it, and the group's membership there.
//!
//! ```text
//! version u8 | has position u8 | term u64 | leader u64 | index u64 | has membership u8 | membership ...
//! ```
//! Integers are little-endian; without a position its three numbers are zero. The shard's own record has the checksum.

use bellwether_raft::{Applied, LogPosition, ReplicaId};
use bytes::Bytes;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 3 * 8 + 1;

/// Why a mark could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// A newer program wrote it.
    #[error("the applied mark has format version {found}, this program reads up to {VERSION}")]
    NewerFormat {
        /// The version found.
        found: u8,
    },
    /// The group uses a version of what is replicated that this program does not know.
    #[error("format version {active} is active in it, this program knows up to {supported}: start a newer bellwether")]
    Unsupported {
        /// What the group uses.
        active: u32,
        /// What this program knows.
        supported: u32,
    },
    /// The bytes are not what was written.
    #[error("the applied mark is damaged")]
    Damaged,
}

/// The bytes of a mark.
pub fn encode(applied: &Applied) -> Bytes {
    let position = applied.log.unwrap_or(LogPosition { term: 0, leader: ReplicaId(0), index: 0 });
    let membership = applied.membership.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + membership.len());
    bytes.extend_from_slice(&[VERSION, u8::from(applied.log.is_some())]);
    for number in [position.term, position.leader.0, position.index] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.push(u8::from(applied.membership.is_some()));
    bytes.extend_from_slice(membership);
    bytes.into()
}

/// Reads a mark back; a shard without data has an empty one.
pub fn decode(bytes: &Bytes) -> Result<Applied, MarkError> {
    if bytes.is_empty() {
        return Ok(Applied::default());
    }
    if bytes[0] > VERSION {
        return Err(MarkError::NewerFormat { found: bytes[0] });
    }
    if bytes.len() < HEADER_BYTES || bytes[0] == 0 {
        return Err(MarkError::Damaged);
    }
    let flag = |at: usize| match bytes[at] {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(MarkError::Damaged),
    };
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let position = LogPosition { term: number(2), leader: ReplicaId(number(10)), index: number(18) };
    let log = flag(1)?.then_some(position);
    let membership = flag(HEADER_BYTES - 1)?.then(|| bytes.slice(HEADER_BYTES..));
    if membership.is_none() && bytes.len() > HEADER_BYTES {
        return Err(MarkError::Damaged);
    }
    Ok(Applied { log, membership })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied() -> Applied {
        let log = Some(LogPosition { term: 2, leader: ReplicaId(3), index: 0x0102 });
        Applied { log, membership: Some(Bytes::from_static(b"members")) }
    }

    #[test]
    fn marks_are_read_back() {
        let without_membership = Applied { membership: None, ..applied() };
        let empty_membership = Applied { membership: Some(Bytes::new()), log: None };
        for applied in [applied(), without_membership, empty_membership, Applied::default()] {
            assert_eq!(decode(&encode(&applied)), Ok(applied));
        }
        assert_eq!(decode(&Bytes::new()), Ok(Applied::default()));
    }

    #[test]
    fn the_bytes_are_golden() {
        let hex: String = encode(&applied()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0101020000000000000003000000000000000201000000000000016d656d62657273");
    }

    #[test]
    fn what_is_too_short_or_newer_is_refused() {
        let bytes = encode(&Applied { membership: None, ..applied() });
        assert!((1..bytes.len()).all(|length| decode(&bytes.slice(..length)).is_err()));
        assert_eq!(decode(&Bytes::from_static(&[9])), Err(MarkError::NewerFormat { found: 9 }));
    }
}
