//! The file of an alert group's state, and the copy for another node: `node/docs/format/alert-group.md`.
//!
//! ```text
//! magic "BWAG" | version u8 | length of the mark u32 | applied mark | state | xxh3 of all before u64
//! ```
//! Integers are little-endian. The mark is the shards' [`applied_mark`]; the state is the alert crate's.

use bellwether_alert::alert_group::{AlertGroupState, DecodeError, states};
use bellwether_raft::Applied;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::shards::applied_mark::{self, MarkError};

const MAGIC: &[u8; 4] = b"BWAG";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = MAGIC.len() + 1 + 4;
const CHECKSUM_BYTES: usize = 8;

/// Why a node's copy of an alert group's state could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// A newer program wrote it.
    #[error("it has format version {found}, this program reads up to {VERSION}: start a newer bellwether")]
    NewerFormat {
        /// The version found.
        found: u8,
    },
    /// It is not what was written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// How far it is.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The state itself.
    #[error(transparent)]
    State(#[from] DecodeError),
    /// Reading or writing failed.
    #[error(transparent)]
    Storage(#[from] bellwether_kv::Error),
}

/// The bytes of a state and of how far the log is applied in it.
pub fn encode(state: &AlertGroupState, applied: &Applied) -> Vec<u8> {
    let mark = applied_mark::encode(applied);
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&(mark.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&mark);
    bytes.extend_from_slice(&states::encode(state));
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a state back.
pub fn decode(bytes: &[u8]) -> Result<(AlertGroupState, Applied), StateFileError> {
    let (applied, state) = checked(bytes)?;
    Ok((states::decode(state)?, applied))
}

/// Reads how far the log is applied in it, and no more: rules are parsed to read a state.
pub fn applied(bytes: &[u8]) -> Result<Applied, StateFileError> {
    checked(bytes).map(|(applied, _)| applied)
}

fn checked(bytes: &[u8]) -> Result<(Applied, &[u8]), StateFileError> {
    let short = StateFileError::Damaged("it is too short");
    let Some(body) = bytes.len().checked_sub(CHECKSUM_BYTES).filter(|body| *body >= HEADER_BYTES) else {
        return Err(short);
    };
    let (body, checksum) = bytes.split_at(body);
    if !body.starts_with(MAGIC) {
        return Err(StateFileError::Damaged("it is not a state of an alert group"));
    }
    if xxh3_64(body).to_le_bytes() != checksum {
        return Err(StateFileError::Damaged("its checksum does not fit"));
    }
    let found = body[MAGIC.len()];
    if found > VERSION {
        return Err(StateFileError::NewerFormat { found });
    }
    let (header, rest) = body.split_at(HEADER_BYTES);
    let length = header[HEADER_BYTES - 4..].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let Some((mark, state)) = rest.split_at_checked(length) else { return Err(short) };
    Ok((applied_mark::decode(&Bytes::copy_from_slice(mark))?, state))
}

#[cfg(test)]
mod tests {
    use bellwether_raft::{LogPosition, ReplicaId};

    use super::*;

    fn applied() -> Applied {
        let log = Some(LogPosition { term: 2, leader: ReplicaId(3), index: 4 });
        Applied { log, membership: Some(Bytes::from_static(b"members")) }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = encode(&AlertGroupState::default(), &applied());
        let (state, read) = decode(&bytes).unwrap();
        assert_eq!(read, applied());
        assert_eq!(super::applied(&bytes).unwrap(), applied());
        assert_eq!(encode(&state, &read), bytes);
    }

    #[test]
    fn damage_anywhere_and_newer_programs_are_noticed() {
        let bytes = encode(&AlertGroupState::default(), &applied());
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err());
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "{at}");
        }
        let mut newer = bytes[..bytes.len() - CHECKSUM_BYTES].to_vec();
        newer[MAGIC.len()] = 9;
        let checksum = xxh3_64(&newer);
        newer.extend_from_slice(&checksum.to_le_bytes());
        assert!(matches!(decode(&newer), Err(StateFileError::NewerFormat { found: 9 })));
    }
}
