//! What a node says of what it carries and how it fares.

use std::sync::Arc;

use bellwether_proto::peer::v1::{Member, Members, Progress, ReplicaReport, ReportAnswer};
use bellwether_raft::{NodeId, ReplicaId};

use crate::env::{Env, ExecutorHandle, Volume, WallClock};
use crate::peers::error::wire_position;
use crate::shards::{ShardGroup, Shards};

/// Makes a node's report.
#[derive(Clone)]
pub struct Reporter {
    shards: Arc<Shards>,
    /// The file system under the data.
    volume: Arc<dyn Volume>,
    /// Where the file system is asked.
    background: ExecutorHandle,
    clock: Arc<dyn WallClock>,
}

impl Reporter {
    /// Reports of `shards`.
    pub fn new(shards: Arc<Shards>, env: &Env) -> Reporter {
        Reporter {
            shards,
            volume: env.volume.clone(),
            background: env.executors.background.clone(),
            clock: env.clock.clone(),
        }
    }

    /// The report of this moment.
    pub async fn report(&self) -> ReportAnswer {
        let volume = self.volume.clone();
        let space = self.background.run(move || volume.space()).await.ok().and_then(Result::ok);
        let mut replicas: Vec<ReplicaReport> = self.shards.serving().iter().map(|group| replica(group)).collect();
        replicas.extend(self.shards.quarantined().into_iter().map(|quarantined| ReplicaReport {
            group: quarantined.group.0,
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
        }
    }
}

fn replica(group: &ShardGroup) -> ReplicaReport {
    let raft = group.raft.state();
    let stats = group.shard().stats();
    let settled = raft.membership_committed && !raft.is_joint;
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
        series: stats.active_series,
        samples: stats.run_samples + stats.unflushed_samples,
        applied: raft.applied.map(wire_position),
        membership: raft.membership.map(wire_position),
        members: settled.then(|| Members { voters: members(raft.voters), learners: members(raft.learners) }),
        progress: progress.collect(),
        term: raft.term,
        trouble: raft.failure.unwrap_or_default(),
    }
}

fn members(of: impl IntoIterator<Item = (ReplicaId, NodeId)>) -> Vec<Member> {
    of.into_iter().map(|(replica, node)| Member { replica: replica.0, node }).collect()
}
