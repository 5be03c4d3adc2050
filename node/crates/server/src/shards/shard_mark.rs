//! What a shard keeps with its flushed data: how far Raft's log is in it, and what the group owns there.
//!
//! ```text
//! version u8: 2 or 3 | first key u64 | last key u64 | range generation u32
//! | has split u8 | child u32 | outcome u8 | in version 3: active version u32 | the applied mark
//! ```
//! Integers are little-endian; without a split its two numbers are zero. Version 3 is written once a later version than the
//! first is active in the group: whoever reads the mark then knows it. What begins with version 1 is an applied mark alone, of a group
//! that owns what it was founded with.

use bellwether_model::{HashRange, PlacementKey, ShardGroupId};
use bellwether_raft::Applied;
use bytes::Bytes;

use super::applied_mark::{self, MarkError};
use super::split::{Ownership, SettledSplit, SplitOutcome, VERSION_FIRST};

/// Of a group in which the first version is active.
const VERSION_PLAIN: u8 = 2;
/// With the active version.
const VERSION: u8 = 3;
const HEADER_BYTES: usize = 1 + 8 + 8 + 4 + 1 + 4 + 1;
const ACTIVE_BYTES: usize = 4;

/// The bytes of a mark.
pub fn encode(applied: &Applied, owned: &Ownership) -> Bytes {
    let applied = applied_mark::encode(applied);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + ACTIVE_BYTES + applied.len());
    let is_plain = owned.version <= VERSION_FIRST;
    bytes.push(if is_plain { VERSION_PLAIN } else { VERSION });
    bytes.extend_from_slice(&owned.range.first.0.to_le_bytes());
    bytes.extend_from_slice(&owned.range.last.0.to_le_bytes());
    bytes.extend_from_slice(&owned.generation.to_le_bytes());
    bytes.push(u8::from(owned.last_split.is_some()));
    bytes.extend_from_slice(&owned.last_split.map_or(0, |split| split.child.0).to_le_bytes());
    bytes.push(owned.last_split.map_or(0, |split| split.outcome as u8));
    if !is_plain {
        bytes.extend_from_slice(&owned.version.to_le_bytes());
    }
    bytes.extend_from_slice(&applied);
    bytes.into()
}

/// Reads a mark back. No ownership: the group owns what it was founded with.
pub fn decode(bytes: &Bytes) -> Result<(Applied, Option<Ownership>), MarkError> {
    let header_bytes = match bytes.first() {
        Some(&VERSION_PLAIN) => HEADER_BYTES,
        Some(&VERSION) => HEADER_BYTES + ACTIVE_BYTES,
        Some(&found) if found > VERSION => return Err(MarkError::NewerFormat { found }),
        _ => return Ok((applied_mark::decode(bytes)?, None)),
    };
    if bytes.len() <= header_bytes {
        return Err(MarkError::Damaged);
    }
    let key = |at: usize| PlacementKey(u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")));
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let range = HashRange { first: key(1), last: key(9) };
    let last_split = match (bytes[21], bytes[26]) {
        (0, 0) => None,
        (1, outcome) => {
            let outcome = SplitOutcome::numbered(outcome.into()).ok_or(MarkError::Damaged)?;
            Some(SettledSplit { child: ShardGroupId(number(22)), outcome })
        }
        _ => return Err(MarkError::Damaged),
    };
    if range.first > range.last {
        return Err(MarkError::Damaged);
    }
    let version = if header_bytes > HEADER_BYTES { number(HEADER_BYTES) } else { VERSION_FIRST };
    let applied = applied_mark::decode(&bytes.slice(header_bytes..))?;
    Ok((applied, Some(Ownership { range, generation: number(17), last_split, version })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_raft::{LogPosition, ReplicaId};
    use proptest::prelude::*;

    fn applied() -> Applied {
        let log = Some(LogPosition { term: 2, leader: ReplicaId(3), index: 0x0102 });
        Applied { log, membership: Some(Bytes::from_static(b"members")) }
    }

    fn owned() -> Ownership {
        let range = HashRange { first: PlacementKey(0x10), last: PlacementKey(u64::MAX) };
        let last_split = Some(SettledSplit { child: ShardGroupId(9), outcome: SplitOutcome::OtherMembers });
        Ownership { range, generation: 7, last_split, version: 1 }
    }

    #[test]
    fn marks_are_read_back_and_those_of_before_too() {
        for owned in [owned(), Ownership { last_split: None, ..owned() }, Ownership { version: 2, ..owned() }] {
            for applied in [applied(), Applied::default()] {
                assert_eq!(decode(&encode(&applied, &owned)), Ok((applied, Some(owned))));
            }
        }
        assert_eq!(decode(&applied_mark::encode(&applied())), Ok((applied(), None)));
        assert_eq!(decode(&Bytes::new()), Ok((Applied::default(), None)));
    }

    #[test]
    fn the_bytes_are_golden() {
        let hex: String = encode(&applied(), &owned()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "021000000000000000ffffffffffffffff07000000010900000004\
             0101020000000000000003000000000000000201000000000000016d656d62657273"
        );
        let later = encode(&applied(), &Ownership { version: 0x0203, ..owned() });
        let hex: String = later.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "031000000000000000ffffffffffffffff0700000001090000000403020000\
             0101020000000000000003000000000000000201000000000000016d656d62657273"
        );
    }

    #[test]
    fn what_is_too_short_or_newer_is_refused() {
        let bytes = encode(&Applied { membership: None, ..applied() }, &owned());
        assert!((1..bytes.len()).all(|length| decode(&bytes.slice(..length)).is_err()));
        assert_eq!(decode(&Bytes::from_static(&[9])), Err(MarkError::NewerFormat { found: 9 }));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_never_panics(at: prop::sample::Index, bit in 0..8u32) {
            let mut bytes = encode(&applied(), &owned()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = decode(&bytes.into());
        }
    }
}
