//! Has the groups that are led here follow the version that is active in the cluster.
//!
//! A group's own log says from which entry on a later version may be written, so that every replica knows it at the same place: the leader
//! proposes that once the meta group has made the version active, which it does only when every node knows it. A group that was split
//! off begins with its parent's.

use std::sync::Arc;
use std::time::Duration;

use bellwether_ingest::ControlCommand;
use bellwether_raft::Leadership;
use futures::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{ShardGroup, Shards};
use crate::env::WallClock;
use crate::meta::MetaState;

/// How often it is looked whether a group is behind.
const TICK: Duration = Duration::from_secs(1);
/// How long a group may take.
const COMMAND_WAIT: Duration = Duration::from_secs(5);
/// Groups that are told at a time.
const AT_ONCE_MAX: usize = 16;

/// Works until `stop` is true.
pub async fn follow(
    state: watch::Receiver<Arc<MetaState>>,
    shards: Arc<Shards>,
    clock: Arc<dyn WallClock>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let version = state.borrow().active_version;
            let is_behind = |group: &Arc<ShardGroup>| {
                group.owned().version < version && group.raft.leadership() == Leadership::Here
            };
            let behind = shards.serving().into_iter().filter(is_behind);
            stream::iter(behind).for_each_concurrent(AT_ONCE_MAX, |group| raise(group, version, &*clock)).await;
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

async fn raise(group: Arc<ShardGroup>, version: u32, clock: &dyn WallClock) {
    let command = ControlCommand::SetActiveVersion { version };
    match timeout(COMMAND_WAIT, group.command(&command, clock)).await {
        Ok(Ok(_)) => tracing::info!(group = group.id().0, version, "a shard group uses another format version"),
        Ok(Err(error)) => tracing::debug!(group = group.id().0, %error, "the format version is raised later"),
        Err(_) => tracing::debug!(group = group.id().0, "the format version is raised later: nobody answered"),
    }
}
