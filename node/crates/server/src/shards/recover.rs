//! What one replica has of a group that lost its majority for ever, made into the first replica of the group's next
//! incarnation.
//!
//! 1. Everything that the replica has applied is flushed, and its files are linked to a copy. It goes on running meanwhile: without a
//!    majority it can commit nothing.
//! 2. What else is in its log is applied to the copy. No quorum may have had all of it; what a quorum had and this replica has is part of it.
//! 3. The copy gets a ref epoch and a membership of its own, as of the end of that log, and is moved to the new
//!    replica's place. Refs that only the lost replicas gave out mean nothing from then on.
//!
//! Nothing counts before the placement names the new replica: then [`reconcile`](crate::routing::reconcile) puts it in the place of the old.

use bellwether_model::{RefEpoch, ShardGroupId, Timestamp};
use bellwether_raft::{Applied, FatalError, LogPosition, ReplicaId, StateMachine as _, sole_membership};
use bellwether_tsdb::AppliedMark;

use super::replica_store::ReplicaStore;
use super::split::SettledSplit;
use super::state_machine::ShardStateMachine;
use super::{NotServed, Shards, shard_mark};
use crate::env::JobFailed;

/// How far a replica has come that is all that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remains {
    /// Index of the last entry that it has applied.
    pub applied: u64,
    /// Index of the last entry in its log.
    pub last: u64,
    /// The latest time that an applied entry carries; `Timestamp::MIN` if none does.
    pub time: Timestamp,
    /// The latest split that it has settled.
    pub last_split: Option<SettledSplit>,
}

/// Why nothing can be made of a replica.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// It does not serve.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// What it has cannot be read or written.
    #[error("what this node has of shard group {group} cannot be used: {reason}")]
    Unusable {
        /// The group.
        group: ShardGroupId,
        /// Why.
        reason: String,
    },
    /// A job failed.
    #[error(transparent)]
    Job(#[from] JobFailed),
}

impl Shards {
    /// What this node has of a group.
    pub fn remains(&self, group: ShardGroupId) -> Result<Remains, RecoverError> {
        let local = self.local(group)?;
        let applied = local.raft.state().applied.map_or(0, |applied| applied.index);
        let last = local.raft.log_end().map_or(applied, |last| last.index.max(applied));
        let last_split = local.owned().last_split;
        Ok(Remains { applied, last, time: local.shard().group_time(), last_split })
    }

    /// Makes `replica` of what this node has of a group: see the module. Done again, it begins anew.
    pub async fn prepare_recovery(
        &self,
        group: ShardGroupId,
        replica: ReplicaId,
        ref_epoch: RefEpoch,
    ) -> Result<Remains, RecoverError> {
        let local = self.local(group)?;
        let unusable = |reason: String| RecoverError::Unusable { group, reason };
        let (range, node, fatal) = (local.range(), self.node, self.opener.fatal());
        local.raft.flush().await.map_err(|error| unusable(error.to_string()))?;
        let (of_job, store) = (local.clone(), self.opener.store(group, replica, ref_epoch));
        let (old_epoch, target) = (local.scope().epoch, store.clone());
        let copied = self.background.run(move || {
            target.disk.remove(&target.directory()).map_err(|error| error.to_string())?;
            let copy =
                of_job.copy_as_it_is().map_err(|error| error.to_string())?.directory.to_string_lossy().into_owned();
            // A split in what is to be applied makes the child's replica that was meant to be beside the old one.
            let of_old = ReplicaStore { replica: of_job.replica(), ref_epoch: old_epoch, ..target };
            let shard = of_old.open_copy(&copy).map_err(|error| error.to_string())?;
            let machine =
                ShardStateMachine::new((0, shard), of_old, range, fatal).map_err(|error| error.to_string())?;
            Ok::<_, String>((machine, copy))
        });
        let (mut machine, copy) = copied.await?.map_err(unusable)?;
        loop {
            let next = machine.applied().log.map_or(0, |applied| applied.index + 1);
            let entries = local.raft.salvage(next).await.map_err(|error| unusable(error.to_string()))?;
            if entries.is_empty() {
                break;
            }
            let apply = move || {
                machine.apply(entries)?;
                Ok::<_, FatalError>(machine)
            };
            machine = self.background.run(apply).await?.map_err(|error| unusable(error.to_string()))?;
        }
        let applied = machine.applied().log.map_or(0, |applied| applied.index);
        let last_split = machine.owned().last_split;
        let remains = Remains { applied, last: applied, time: machine.time(), last_split };
        let placed = self.background.run(move || {
            // A term before all others: whoever is elected first goes on from here.
            let at = LogPosition { term: 0, leader: ReplicaId(0), index: applied };
            let membership = Some(sole_membership(replica, node, at));
            let owned = machine.owned();
            let mark = AppliedMark(shard_mark::encode(&Applied { log: Some(at), membership }, &owned));
            machine.shard().become_child(ref_epoch, owned.range, mark).map_err(|error| error.to_string())?;
            drop(machine);
            store.disk.rename(&copy, &store.generation(0)).map_err(|error| error.to_string())
        });
        placed.await?.map_err(unusable)?;
        Ok(remains)
    }

    /// Whether a replica has data here.
    pub async fn has_data(&self, group: ShardGroupId, replica: ReplicaId) -> bool {
        self.opener.has_data(group, replica).await
    }
}
