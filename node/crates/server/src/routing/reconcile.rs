//! Makes this node's replicas what the placement says, and starts those again that stopped.
//!
//! One task does all of it, so that no replica is started and stopped at a time. What the placement gives to this node is
//! started; what it does not mention any more goes on, until the group's own leader confirms a membership without it that
//! a quorum has: the placement is intent, the membership is the truth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_model::ShardGroupId;
use bellwether_probe::{buggify, reached};
use bellwether_raft::{Leadership, ReplicaId};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Router;
use crate::meta::Meta;
use crate::shards::{RingGroup, Start};

/// How often it is looked whether something is to be done, where the placement does not change.
const TICK: Duration = Duration::from_secs(1);

/// The same where a replica waits for its parent's to make it: that takes moments.
const SPLIT_LOOK: Duration = Duration::from_millis(50);

/// Pause before a replica that stopped is started a second time; doubled for each further time.
const RESTART_WAIT_MIN: Duration = Duration::from_secs(2);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(300);

/// How late the simulation has the map be followed.
const LATE: Duration = Duration::from_secs(3);

/// What one round leaves to the next.
#[derive(Default)]
struct Pending {
    /// When a replica that stopped may be started again, and how long it waits after that.
    restarts: BTreeMap<ShardGroupId, (Instant, Duration)>,
    /// Data of removed replicas that somebody still read.
    directories: Vec<String>,
}

/// Works until `stop` is true.
///
/// `map`: what the placement comes from, if it does not come from a test.
pub async fn reconcile(router: Arc<Router>, map: Option<Meta>, mut stop: watch::Receiver<bool>) {
    let work = async {
        let mut ring = router.shards.watch_ring();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = Pending::default();
        let mut is_split_under_way = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = ring.changed() => {}
                () = sleep(SPLIT_LOOK), if is_split_under_way => {}
            }
            if buggify("the map is followed late") {
                sleep(LATE).await;
            }
            is_split_under_way = !router.start_missing().await;
            router.replace_recovered(&mut pending).await;
            router.restart_troubled(&mut pending).await;
            router.remove_superfluous(&mut pending, map.as_ref()).await;
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

impl Router {
    /// Starts the replicas that the placement gives to this node; whether all could be.
    async fn start_missing(&self) -> bool {
        let ring = self.shards.ring();
        let present = self.shards.replicas();
        let missing = ring.groups().iter().filter_map(|group| {
            let replica = group.replica_on(self.shards.node())?;
            (!present.iter().any(|(of, _)| *of == group.id)).then_some((group, replica))
        });
        let started = join_all(missing.map(|(group, replica)| async move {
            if !self.shards.may_start(group, replica).await {
                reached("a child waited for its parent's replica");
                return false;
            }
            match self.shards.start_replica(group, replica, Start::of(group)).await {
                Ok(()) => {
                    tracing::info!(group = group.id.0, replica = replica.0, "a replica was started");
                    self.elect_beside_parent(group);
                }
                Err(error) => tracing::error!(%error, replica = replica.0, "a replica could not be started"),
            }
            true
        }));
        started.await.into_iter().all(|started| started)
    }

    /// Where a group was split off that is led here, this replica of the new one is the most likely to be elected: it need not
    /// wait until it is clear that nobody else leads.
    fn elect_beside_parent(&self, group: &RingGroup) {
        let Some(Ok(parent)) = group.origin.parent.map(|parent| self.shards.local(parent)) else { return };
        if parent.raft.leadership() == Leadership::Here
            && let Ok(child) = self.shards.local(group.id)
        {
            child.raft.elect_first();
        }
    }

    /// Puts replicas that were prepared for a group's next incarnation in the place of those that they were made of.
    async fn replace_recovered(&self, pending: &mut Pending) {
        let ring = self.shards.ring();
        for (id, old) in self.shards.replicas() {
            let Some(group) = ring.group(id) else { continue };
            let Some(new) = group.replica_on(self.shards.node()).filter(|new| *new != old) else { continue };
            if !self.shards.has_data(id, new).await {
                continue;
            }
            self.shards.stop_replica(id).await;
            match self.shards.start_replica(group, new, Start::Waiting).await {
                Ok(()) => tracing::warn!(group = id.0, replica = new.0, "a shard group begins anew with what is left"),
                Err(error) => tracing::error!(%error, replica = new.0, "a recovered replica could not be started"),
            }
            match self.shards.remove_replica(id, old).await {
                Ok(directory) => pending.directories.push(directory),
                Err(error) => tracing::warn!(group = id.0, replica = old.0, %error, "a replica was not removed"),
            }
        }
    }

    /// Starts replicas again that stopped or could not be opened, ever more rarely while it does not help.
    async fn restart_troubled(&self, pending: &mut Pending) {
        let troubled = self.shards.troubled();
        pending.restarts.retain(|group, _| troubled.contains(group));
        for group in troubled {
            let (due, wait) = *pending.restarts.entry(group).or_insert((Instant::now(), RESTART_WAIT_MIN));
            if due > Instant::now() {
                continue;
            }
            let mut next_wait = (wait * 2).min(RESTART_WAIT_MAX);
            match self.shards.restart(group).await {
                Ok(()) => tracing::info!(group = group.0, "a shard group serves again"),
                Err(error) => {
                    tracing::warn!(%error, retry = ?wait, "a shard group could not be started again");
                    // Room comes from elsewhere, and looking for it costs little.
                    if error.is_disk_full() {
                        next_wait = RESTART_WAIT_MIN;
                    }
                }
            }
            pending.restarts.insert(group, (Instant::now() + wait, next_wait));
        }
    }

    /// Removes replicas that the placement does not mention any more and that their groups do not have any more.
    ///
    /// The placement that does not mention them is durable here before: a start that went by an older one would begin them
    /// anew, without the votes that they gave and the entries that they acknowledged.
    async fn remove_superfluous(&self, pending: &mut Pending, map: Option<&Meta>) {
        for directory in std::mem::take(&mut pending.directories) {
            if !self.shards.remove_directory(directory.clone()).await {
                pending.directories.push(directory);
            }
        }
        let ring = self.shards.ring();
        let mut replicas = self.shards.replicas();
        replicas
            .retain(|(group, replica)| ring.group(*group).is_some_and(|group| !group.replicas.contains_key(replica)));
        if let Some(map) = map.filter(|_| !replicas.is_empty())
            && let Err(error) = map.group().flush().await
        {
            tracing::warn!(%error, "replicas are removed later: the placement without them is not stored here yet");
            return;
        }
        for (group, replica) in replicas {
            if !self.has_left(group, replica).await {
                continue;
            }
            match self.shards.remove_replica(group, replica).await {
                Ok(directory) => {
                    tracing::info!(
                        group = group.0,
                        replica = replica.0,
                        "a replica was removed: its group goes on without it"
                    );
                    pending.directories.push(directory);
                }
                Err(error) => tracing::warn!(group = group.0, replica = replica.0, %error, "a replica was not removed"),
            }
        }
    }

    /// Whether the group's leader confirms that the group does not have a replica. One of an incarnation that is over needs
    /// no such word: whoever leads it is over, too.
    async fn has_left(&self, group: ShardGroupId, replica: ReplicaId) -> bool {
        let ring = self.shards.ring();
        let now = ring.group(group).map(|group| group.ref_epoch);
        if let (Some(now), Ok(local)) = (now, self.shards.local(group))
            && local.scope().epoch != now
        {
            return true;
        }
        match self.members_of(group).await {
            Ok(members) => !members.is_empty() && !members.contains(&replica),
            Err(error) => {
                tracing::debug!(group = group.0, %error, "nobody says who is in the group");
                false
            }
        }
    }
}
