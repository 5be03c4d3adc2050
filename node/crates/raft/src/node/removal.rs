//! Removing the log of a replica that is in its group no more.

use std::sync::Arc;

use bellwether_kv::{KeyRange, Operation};

use super::{RaftNode, Reserved, Shared};
use crate::blocking::{self, BlockingClass};
use crate::errors::RemoveError;
use crate::record;
use crate::types::{GroupId, ReplicaId, ReplicaKey};

impl RaftNode {
    /// Stops a replica, if it runs, and removes all that the log store holds of it: entries, cut and vote, in one synced
    /// write. Nothing is left to start it from, so its number must never be used again: only for a replica that the
    /// group's committed membership does not contain. What its state machine holds is the caller's.
    ///
    /// Goes on to the end where the call is cancelled. Removing a replica that has no log does nothing.
    pub async fn remove_replica(&self, group: GroupId, replica: ReplicaId) -> Result<(), RemoveError> {
        if let Some(running) = self.group(group, replica) {
            running.shutdown().await;
            // Whatever outlived the shutdown must not bring a record back.
            running.refuse_writes("the replica was removed");
        }
        let (shared, groups) = (self.0.shared.clone(), &self.0.groups);
        let id = ReplicaKey { group, replica };
        let reserved = groups.reserve(id).ok_or(RemoveError::Busy(group, replica))?;
        // Not within this call: it may be cancelled, and until the write is done the replica must not start.
        let removal = tokio::spawn(remove(shared, id, reserved));
        removal.await.unwrap_or_else(|lost| Err(storage(id, lost)))
    }
}

fn storage(id: ReplicaKey, reason: impl ToString) -> RemoveError {
    RemoveError::Storage { group: id.group, replica: id.replica, reason: reason.to_string() }
}

async fn remove(shared: Arc<Shared>, id: ReplicaKey, _reserved: Reserved) -> Result<(), RemoveError> {
    let writer = shared.writer.clone();
    let (first, end) = record::replica_bounds(id);
    let removal = Operation::DeleteRange(writer.space(), first.to_vec(), end.to_vec());
    writer.write(None, vec![removal]).await.map_err(|reason| storage(id, reason))?;
    let dropped = blocking::call(&shared.executor, BlockingClass::Flush, move || {
        writer.engine().drop_range(writer.space(), KeyRange { first: &first, end: Some(&end) })
    });
    dropped.await.map_err(|lost| storage(id, lost))?.map_err(|error| storage(id, error))
}
