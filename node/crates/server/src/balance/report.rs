//! What a node says of what it carries and how it fares.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_model::{PlacementKey, ShardGroupId};
use bellwether_proto::peer::v1::{Member, Members, Progress, ReplicaReport, ReportAnswer, ReportRequest};
use bellwether_raft::{GroupState, ReplicaId};
use tokio::sync::watch;

use crate::clock_rule::Judgement;
use crate::config::Config;
use crate::env::{DiskSpace, Env, ExecutorHandle, Volume, WallClock};
use crate::peers::error::wire_position;
use crate::routing::{DiskRoom, Router};
use crate::shards::{Cause, ShardGroup, Shards};

/// Makes a node's report.
#[derive(Clone)]
pub struct Reporter {
    shards: Arc<Shards>,
    /// The file system under the data.
    volume: Arc<dyn Volume>,
    /// Where the file system is asked.
    background: ExecutorHandle,
    clock: Arc<dyn WallClock>,
    judgement: watch::Receiver<Judgement>,
    disk_room: Arc<DiskRoom>,
    /// Bytes that the node offers; zero: all of its file system.
    capacity_bytes: u64,
}

impl Reporter {
    /// Reports of the replicas that `router` reaches here.
    pub fn new(router: &Router, judgement: watch::Receiver<Judgement>, config: &Config, env: &Env) -> Reporter {
        Reporter {
            shards: router.shards().clone(),
            disk_room: router.disk_room().clone(),
            capacity_bytes: config.cluster.capacity.0,
            volume: env.volume.clone(),
            background: env.executors.background.clone(),
            clock: env.clock.clone(),
            judgement,
        }
    }

    /// The key below which half of the series of a group lie, of which there is a replica here.
    pub async fn middle_of(&self, group: ShardGroupId) -> Option<PlacementKey> {
        let shard = self.shards.local(group).ok()?.shard();
        self.background.run(move || shard.middle_key()).await.ok()?
    }

    /// The report that another node asks for.
    pub async fn answer(&self, request: &ReportRequest) -> ReportAnswer {
        let mut report = self.report().await;
        for replica in report.replicas.iter_mut().filter(|replica| request.middle_of.contains(&replica.group)) {
            replica.middle_key = self.middle_of(ShardGroupId(replica.group)).await.map(|key| key.0);
        }
        report
    }

    /// The report of this moment.
    pub async fn report(&self) -> ReportAnswer {
        let volume = self.volume.clone();
        let space = self.background.run(move || volume.space()).await.ok().and_then(Result::ok);
        let stats = self.shards.stats();
        let held_bytes = stats.disk_bytes.saturating_add(stats.unflushed_log_bytes);
        let space = space.map(|space| offered(space, self.capacity_bytes, held_bytes));
        let mut replicas: Vec<ReplicaReport> = self.shards.serving().iter().map(|group| replica(group)).collect();
        let ids: BTreeMap<ShardGroupId, ReplicaId> = self.shards.replicas().into_iter().collect();
        replicas.extend(self.shards.quarantined().into_iter().map(|quarantined| ReplicaReport {
            group: quarantined.group.0,
            replica: ids.get(&quarantined.group).map_or(0, |replica| replica.0),
            damaged: quarantined.cause == Cause::Damaged,
            trouble: quarantined.reason,
            ..ReplicaReport::default()
        }));
        ReportAnswer {
            now_ms: self.clock.now_ms(),
            free_bytes: space.map_or(0, |space| space.free_bytes),
            total_bytes: space.map_or(0, |space| space.total_bytes),
            replicas,
            placement_epoch: self.shards.ring().epoch(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_off_ms: self.judgement.borrow().off_ms,
            // What the meta group says of itself is added where it is known.
            leads_meta: false,
            meta_end: None,
            disk_full: self.disk_room.reason().map_or_else(String::new, |reason| reason.to_string()),
        }
    }
}

/// What a node offers of its file system, where it holds so many bytes, and what of that is left.
fn offered(space: DiskSpace, capacity_bytes: u64, held_bytes: u64) -> DiskSpace {
    if capacity_bytes == 0 || capacity_bytes >= space.total_bytes {
        return space;
    }
    let left = capacity_bytes.saturating_sub(held_bytes);
    DiskSpace { free_bytes: space.free_bytes.min(left), total_bytes: capacity_bytes }
}

fn replica(group: &ShardGroup) -> ReplicaReport {
    let raft = group.raft.state();
    let stats = group.shard().stats();
    let progress = raft.progress.iter().map(|(replica, progress)| Progress {
        replica: replica.0,
        matched: progress.matched,
        behind: progress.entries_behind,
    });
    ReplicaReport {
        group: group.id().0,
        replica: group.replica().0,
        leads: raft.is_leader,
        disk_bytes: stats.run_bytes,
        foreign_bytes: stats.foreign_bytes,
        middle_key: None,
        series: stats.active_series,
        samples: stats.run_samples + stats.unflushed_samples,
        applied: raft.applied.map(wire_position),
        membership: raft.membership.map(wire_position),
        members: raft.membership_committed.then(|| next_members(&raft)),
        is_joint: raft.is_joint,
        damaged: group.damage().is_some(),
        progress: progress.collect(),
        term: raft.term,
        trouble: raft.failure.unwrap_or_default(),
    }
}

/// Who is in a group once a change under way has ended, if one is. Voters that lose their vote by it go on learning: what
/// else was meant for them shows in what is planned next.
fn next_members(raft: &GroupState) -> Members {
    let mut members = Members::default();
    for (replica, node) in raft.voters.iter().chain(&raft.learners) {
        let votes = raft.next_voters.contains(replica);
        let of = if votes { &mut members.voters } else { &mut members.learners };
        of.push(Member { replica: replica.0, node: *node });
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_offers_no_more_than_it_is_told_to() {
        let space = DiskSpace { free_bytes: 600, total_bytes: 1000 };
        let check = |capacity, held, free_bytes, total_bytes| {
            assert_eq!(offered(space, capacity, held), DiskSpace { free_bytes, total_bytes });
        };
        check(0, 300, 600, 1000);
        check(2000, 300, 600, 1000);
        check(500, 300, 200, 500);
        check(500, 501, 0, 500);
        check(950, 0, 600, 950);
    }
}
