//! When a node that has started is ready: once its replicas have come as far as their leaders were.

use std::sync::Arc;
use std::time::Duration;

use bellwether_model::ShardGroupId;
use bellwether_raft::LogPosition;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Router;
use super::error::RouteError;
use crate::shards::ShardGroup;

/// How long a node that has started waits for its replicas. After that it takes requests all the same: it can pass them
/// on, and its replicas catch up beside.
const CATCH_UP_WAIT: Duration = Duration::from_secs(60);

/// Pause before leaders are asked again.
const ASK_PAUSE: Duration = Duration::from_millis(500);

impl Router {
    /// Whether every replica here is alone in its group, and so has caught up by itself.
    pub fn is_alone(&self) -> bool {
        self.shards.serving().iter().all(|local| !local.raft.has_others())
    }

    /// Whether every copy of everything is on this node.
    pub fn keeps_everything(&self) -> bool {
        let own = self.shards.node();
        self.shards.ring().groups().iter().flat_map(|group| group.nodes()).all(|node| node == own)
    }

    /// Says that the node is ready once its replicas have caught up, or the wait is over; gives up when the node stops.
    pub async fn become_ready(self: Arc<Self>, ready: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        let began = Instant::now();
        let deadline = began + CATCH_UP_WAIT;
        let caught_up = timeout_at(deadline, async {
            while !self.catch_up(deadline).await {
                tokio::time::sleep(ASK_PAUSE).await;
            }
        });
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            caught_up = caught_up => match caught_up {
                Ok(()) => tracing::info!(took = ?began.elapsed(), "the replicas of this node have caught up"),
                Err(_) => tracing::warn!(waited = ?CATCH_UP_WAIT, "replicas of this node have not caught up yet"),
            },
        }
        ready.send_replace(true);
    }

    /// This node's replica of a group once it has applied everything that was acknowledged before the call, and the
    /// position up to which it then has.
    pub async fn caught_up_here(
        &self,
        group: ShardGroupId,
        deadline: Instant,
    ) -> Result<(Arc<ShardGroup>, LogPosition), RouteError> {
        let local = self.shards.local(group)?;
        let fresh = self.freshness(&[group], false).await.map_err(|(_, error)| error)?;
        let position = fresh.first().map(|fresh| fresh.position).ok_or(RouteError::NoLeader(group))?;
        local.raft.wait_applied(position, deadline).await?;
        Ok((local, position))
    }

    /// Waits until the replicas here have come as far as their leaders are now. `false`: not all leaders answered.
    async fn catch_up(&self, deadline: Instant) -> bool {
        let serving = self.shards.serving();
        let groups: Vec<_> = serving.iter().map(|local| local.id()).collect();
        let Ok(fresh) = self.freshness(&groups, false).await else { return false };
        let waits = serving.iter().zip(fresh).map(|(local, fresh)| local.raft.wait_applied(fresh.position, deadline));
        join_all(waits).await.iter().all(Result::is_ok)
    }
}
