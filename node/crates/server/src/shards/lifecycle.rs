//! Replicas that start, stop, fail and start again while the node runs.

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::ShardGroupId;
use bellwether_probe::{Bug, planted};
use bellwether_raft::{GroupId, HandOver, RemoveError, ReplicaId};

use super::open::{GroupTrouble, Start};
use super::replica_store::replica_directory;
use super::{Cause, NotServed, Quarantined, RingGroup, ShardGroup, Shards, Slot};

impl Shards {
    /// Starts a replica of a group on this node, which must have none of it. Where it cannot be opened it is quarantined,
    /// with the reason returned.
    pub async fn start_replica(&self, group: &RingGroup, replica: ReplicaId, start: Start) -> Result<(), Quarantined> {
        let reason = "it is being started".to_owned();
        let starting = Err(Quarantined { group: group.id, reason, cause: Cause::Starting });
        self.slots.write().insert(group.id, Slot { replica, start, state: starting });
        let opened = self.opener.open(group, replica, start).await;
        self.fill(group.id, opened.map_err(|trouble| (trouble, Cause::Damaged)))
    }

    /// Whether a replica of this node may be started. A replica of a group that was split off is made by the parent's replica here,
    /// where its log says so: until that is applied it must not begin empty, as it would count for the group's quorum without
    /// what it should have.
    pub async fn may_start(&self, group: &RingGroup, replica: ReplicaId) -> bool {
        let Some(parent) = group.origin.parent.filter(|_| !planted(Bug::ChildBeginsEmpty)) else { return true };
        match self.local(parent) {
            Err(NotServed::NotHere(_)) => true,
            Ok(parent) if !parent.range().overlaps(group.range) => true,
            // What is damaged makes no child: its data come from the others.
            Err(NotServed::Quarantined(Quarantined { cause: Cause::Damaged, .. })) => true,
            Ok(_) | Err(NotServed::Quarantined(_)) => self.opener.has_data(group.id, replica).await,
        }
    }

    /// Stops this node's replica of a group; what it has stays on the disk. Who still reads it keeps its data open.
    pub async fn stop_replica(&self, group: ShardGroupId) {
        let removed = self.slots.write().remove(&group);
        if let Some(Slot { state: Ok(running), .. }) = removed {
            running.raft.shutdown().await;
        }
        self.opener.stop_waiting(group).await;
    }

    /// Stops this node's replica of a group and removes its log, for good; returns the directory that its data are in, which
    /// is to be removed once nobody reads it. Only for a replica that its group does not have any more.
    pub async fn remove_replica(&self, group: ShardGroupId, replica: ReplicaId) -> Result<String, RemoveError> {
        if self.slots.read().get(&group).is_some_and(|slot| slot.replica == replica) {
            self.stop_replica(group).await;
        }
        self.opener.raft().remove_replica(GroupId(group.0), replica).await?;
        Ok(replica_directory(group, replica))
    }

    /// Removes a directory that [`remove_replica`](Self::remove_replica) returned; says whether it is gone.
    pub async fn remove_directory(&self, directory: String) -> bool {
        self.opener.remove_directory(directory).await
    }

    /// Hands every group over that is led here and has another voter. Where nobody takes over in time, the others elect one
    /// when this node is gone.
    pub async fn hand_over(&self, within: Duration) {
        let HandOver { moved, kept, .. } = self.opener.raft().hand_over_all(within).await;
        if moved > 0 {
            tracing::info!(groups = moved, "leadership was handed over");
        }
        for (group, error) in kept {
            tracing::warn!(group = group.0, %error, "leadership was not handed over");
        }
    }

    /// The replicas that this node has, running or not.
    pub fn replicas(&self) -> Vec<(ShardGroupId, ReplicaId)> {
        self.slots.read().iter().map(|(group, slot)| (*group, slot.replica)).collect()
    }

    /// Groups whose replica stopped while it served, and groups whose replica does not serve: each may be
    /// [restarted](Self::restart).
    pub fn troubled(&self) -> Vec<ShardGroupId> {
        let troubled = |slot: &Slot| match &slot.state {
            Ok(group) => group.raft.state().failure.is_some(),
            Err(_) => true,
        };
        self.slots.read().iter().filter(|(_, slot)| troubled(slot)).map(|(group, _)| *group).collect()
    }

    /// Opens a troubled replica again, from what is on disk: what it held in memory may be half of something.
    pub async fn restart(&self, group: ShardGroupId) -> Result<(), NotServed> {
        let not_here = || NotServed::NotHere(group);
        let ring = self.ring();
        let of_ring = ring.group(group).ok_or_else(not_here)?;
        let Slot { replica, start, state } = self.slots.read().get(&group).cloned().ok_or_else(not_here)?;
        let is_damaged = state.as_ref().is_err_and(|quarantined| quarantined.cause == Cause::Damaged);
        // What else goes wrong now goes wrong with a group that was good.
        let otherwise = if is_damaged { Cause::Damaged } else { Cause::Stopped };
        if let Ok(running) = state {
            let reason = running.raft.state().failure.unwrap_or_else(|| "it is started again".to_owned());
            tracing::error!(group = group.0, reason, "a shard group stopped");
            let state = Err(Quarantined { group, reason, cause: Cause::Stopped });
            self.slots.write().insert(group, Slot { replica, start, state });
            running.raft.shutdown().await;
        }
        // Whoever still reads the stopped replica keeps its engine open; then this fails, and the next attempt succeeds.
        let opened = self.opener.open(of_ring, replica, start).await;
        Ok(self.fill(group, opened.map_err(|trouble| (trouble, otherwise)))?)
    }

    /// Puts what opening came to into the group's slot.
    fn fill(
        &self,
        group: ShardGroupId,
        opened: Result<Arc<ShardGroup>, (GroupTrouble, Cause)>,
    ) -> Result<(), Quarantined> {
        let state = opened.map_err(|(trouble, otherwise)| {
            let cause = match trouble {
                GroupTrouble::DiskFull(_) => Cause::DiskFull,
                // Of a group that was good it is known only now, and new at that: others may have what it lost.
                GroupTrouble::Corrupt(_) => Cause::Damaged,
                GroupTrouble::Failed(_) | GroupTrouble::NewerFormat(_) => otherwise,
            };
            Quarantined { group, reason: trouble.into_reason(), cause }
        });
        let result = state.as_ref().map(|_| ()).map_err(Quarantined::clone);
        if let Some(slot) = self.slots.write().get_mut(&group) {
            slot.state = state;
        }
        result
    }
}
