//! Where groups can be read so that everything acknowledged before is seen.
//!
//! A replica here that leads makes sure of that itself. One that follows waits until it has come as far as its leader is.
//! Where there is none, or one that is too far behind or not in its group yet, the leader's node is asked.
//!
//! A read that may be stale is answered by any replica that lately had everything that its leader had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::ShardGroupId;
use bellwether_probe::{Bug, planted};
use bellwether_raft::{Leadership, NodeId, ReadError};
use futures::future::join_all;
use tokio::time::Instant;

use super::Router;
use super::error::RouteError;
use super::leaders::Leader;
use crate::shards::ShardGroup;

/// How long a replica here may take to come as far as its leader is, before the leader's node is asked.
const FOLLOW_WAIT: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub struct Sources {
    /// Replicas here, which have come far enough.
    pub here: Vec<Arc<ShardGroup>>,
    /// Groups to be read where they are led.
    pub there: BTreeMap<NodeId, Vec<ShardGroupId>>,
    /// Groups that nobody can be asked about now, whom that was found out from, and why.
    pub nowhere: Vec<(ShardGroupId, NodeId, RouteError)>,
}

impl Router {
    /// Where to read each of `groups`. Each attempt may give another answer.
    pub(super) async fn sources(&self, groups: &[ShardGroupId], stale: Option<Duration>, attempt: usize) -> Sources {
        let mut sources = Sources::default();
        let (mut leading, mut following, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            let local = self.shards.member(*group);
            if let (Some(stale), Ok(local)) = (stale, &local)
                && !local.is_worse_than_others()
                && local.raft.staleness().is_some_and(|staleness| staleness <= stale)
                && self.shards.ring().group(*group).is_none_or(|known| known.range == local.range())
            {
                sources.here.push(local.clone());
                continue;
            }
            match local {
                Ok(local) if local.is_worse_than_others() => elsewhere.push(local.id()),
                Ok(local) if local.raft.leadership() == Leadership::Here => leading.push(local),
                Ok(local) if local.raft.has_others() => following.push(local),
                // Between two terms: its own word is the only one.
                Ok(local) => leading.push(local),
                Err(_) => elsewhere.push(*group),
            }
        }
        let led = join_all(leading.iter().map(|local| local.raft.read_barrier())).await;
        for (local, barrier) in leading.into_iter().zip(led) {
            match barrier {
                Ok(()) => sources.here.push(local),
                Err(ReadError::NotLeader { .. }) if !local.raft.is_member() => elsewhere.push(local.id()),
                Err(ReadError::NotLeader { .. }) if local.raft.has_others() => following.push(local),
                Err(error) => sources.nowhere.push((local.id(), self.shards.node(), error.into())),
            }
        }
        if !following.is_empty() {
            self.follow(following, &mut sources, &mut elsewhere).await;
        }
        for group in elsewhere {
            match self.leader_of(group, attempt) {
                Leader::There(node) => sources.there.entry(node).or_default().push(group),
                Leader::Here(local) => {
                    // It leads since a moment ago.
                    let error = ReadError::NotLeader { hint: None };
                    sources.nowhere.push((local.id(), self.shards.node(), error.into()));
                }
                Leader::Nowhere(error) => sources.nowhere.push((group, self.shards.node(), error)),
            }
        }
        sources
    }

    /// Has replicas that follow come as far as their leaders are.
    async fn follow(&self, following: Vec<Arc<ShardGroup>>, sources: &mut Sources, elsewhere: &mut Vec<ShardGroupId>) {
        if planted(Bug::FollowerReadsAtOnce) {
            sources.here.extend(following);
            return;
        }
        let groups: Vec<ShardGroupId> = following.iter().map(|local| local.id()).collect();
        let fresh = match self.freshness(&groups, false).await {
            Ok(fresh) => fresh,
            Err((group, error)) => {
                sources.nowhere.push((group, self.shards.node(), error));
                return;
            }
        };
        let deadline = Instant::now() + FOLLOW_WAIT;
        let waits = following.iter().zip(fresh).map(|(local, fresh)| local.raft.wait_applied(fresh.position, deadline));
        for (local, waited) in following.iter().zip(join_all(waits).await) {
            match waited {
                Ok(()) => sources.here.push(local.clone()),
                Err(_) => elsewhere.push(local.id()),
            }
        }
    }
}
