//! What is left of a group whose majority is gone: a replica's own log, and the membership of a group that begins with it
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;

use super::RaftGroup;
use crate::codec;
use crate::limits;
use crate::state_machine::{CommittedEntry, EntryPayload};
use crate::types::{self, LogPosition, Member, Membership, NodeId, Payload, ReplicaId, StoredMembership};

impl RaftGroup {
    /// Entries of this replica's log from `start` on, about as many as one batch that is applied, whether a quorum ever
    /// had them or not; none at the end of the log. Who applies them makes them true: only for a replica whose group has
    /// lost its majority for ever, to begin another group with.
    pub async fn salvage(&self, start: u64) -> io::Result<Vec<CommittedEntry>> {
        let entries = self.0.log.read(start, u64::MAX, limits::READ_BYTES_MAX).await?;
        let salvaged = entries.into_iter().map(|entry| {
            let payload = match entry.payload {
                Payload::Blank => EntryPayload::Blank,
                Payload::Normal(command) => EntryPayload::Normal(command.0),
                Payload::Membership(membership) => EntryPayload::Membership(codec::encode_stored_membership(
                    &StoredMembership::new(Some(entry.log_id), membership),
                )),
            };
            CommittedEntry { position: types::position(&entry.log_id), payload }
        });
        Ok(salvaged.collect())
    }

    /// The last entry of this replica's log.
    pub fn log_end(&self) -> Option<LogPosition> {
        self.0.log.end()
    }
}

/// The bytes of the membership of a group with one replica, as of the position `at`.
pub fn sole_membership(replica: ReplicaId, node: NodeId, at: LogPosition) -> Bytes {
    let members = BTreeMap::from([(replica.0, Member { node })]);
    let membership = Membership::new(vec![BTreeSet::from([replica.0])], members).expect("its one voter is a member");
    codec::encode_stored_membership(&StoredMembership::new(Some(types::log_id(at)), membership))
}
